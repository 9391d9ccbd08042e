//! Validation of blocks in isolation, on another thread and several at a time, while the writer
//! connects earlier blocks. The writer validates what was not prechecked.

use super::reader::Reader;
use crate::block::{self, Block, Header, Timestamp};
use crate::pow::Work;
use crate::rules::RuleError;
use crate::rules::body::{self, CheckedBlock};
use crate::rules::header::{Parent, check_contextual, check_standalone};
use std::sync::Arc;

/// A block that is submitted, with what its sender knows of its branch.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The block.
    pub block: Arc<Block>,
    /// The most work of a chain of valid headers through the block that this node has seen; zero if
    /// it has seen none. A branch with more work than the tip is stored at any depth.
    pub branch_work: Work,
}

impl From<Block> for Submission {
    fn from(block: Block) -> Submission {
        Submission::from(Arc::new(block))
    }
}

impl From<Arc<Block>> for Submission {
    fn from(block: Arc<Block>) -> Submission {
        Submission { block, branch_work: Work::ZERO }
    }
}

/// A block for the writer, with the result of validating its body in isolation if it was
/// prechecked. It is created from a block or by [`Prechecker::precheck`].
#[derive(Debug)]
pub struct PrecheckedBlock {
    pub(super) header: Header,
    pub(super) hash: block::Hash,
    pub(super) branch_work: Work,
    pub(super) body: Body,
}

/// A body, or the result of validating it.
#[derive(Debug)]
pub(super) enum Body {
    Unchecked(Arc<Block>),
    Checked(Box<Result<CheckedBlock, RuleError>>),
}

impl<S: Into<Submission>> From<S> for PrecheckedBlock {
    fn from(submission: S) -> PrecheckedBlock {
        let Submission { block, branch_work } = submission.into();
        let (header, hash) = (block.header, block.hash());
        PrecheckedBlock { header, hash, branch_work, body: Body::Unchecked(block) }
    }
}

impl PrecheckedBlock {
    /// Returns the result of validating the body in isolation; `None` if it was not prechecked.
    pub fn precheck_result(&self) -> Option<Result<(), &RuleError>> {
        match &self.body {
            Body::Checked(checked) => Some(checked.as_ref().as_ref().map(|_| ())),
            Body::Unchecked(_) => None,
        }
    }
}

/// Validates blocks in isolation. It skips blocks with invalid headers, whose rules come first and
/// are cheap to check, so that bodies without proof of work cost nothing.
pub struct Prechecker {
    reader: Reader,
    threads: usize,
    /// The last block with a valid header, and the context of its child. The writer may not have
    /// accepted it yet.
    last: Option<(block::Hash, Parent)>,
}

impl Prechecker {
    pub(super) fn new(reader: Reader, threads: usize) -> Prechecker {
        Prechecker { reader, threads, last: None }
    }

    /// Validates the bodies of blocks, in the order in which they will be submitted. It stops
    /// before the first block that is known, has an invalid header, is on a branch that is not worth
    /// storing, or follows neither a block of the block index nor the preceding block.
    pub fn precheck(
        &mut self,
        blocks: Vec<impl Into<Submission>>,
        now: Timestamp,
    ) -> Vec<PrecheckedBlock> {
        self.precheck_on(self.threads, blocks.into_iter().map(Into::into).collect(), now)
    }

    /// Validates the bodies of blocks like [`precheck`](Self::precheck), but uses one thread less,
    /// for use while the writer is busy.
    pub fn precheck_beside_writer(
        &mut self,
        blocks: Vec<Submission>,
        now: Timestamp,
    ) -> Vec<PrecheckedBlock> {
        self.precheck_on(self.threads.saturating_sub(1), blocks, now)
    }

    fn precheck_on(
        &mut self,
        threads: usize,
        mut blocks: Vec<Submission>,
        now: Timestamp,
    ) -> Vec<PrecheckedBlock> {
        let eligible = blocks.iter().take_while(|block| self.is_eligible(block, now)).count();
        let others = blocks.split_off(eligible);
        let headers = blocks
            .iter()
            .map(|Submission { block, branch_work }| (block.header, block.hash(), *branch_work));
        let headers: Vec<(Header, block::Hash, Work)> = headers.collect();
        let blocks = blocks.into_iter().map(|submission| submission.block).collect();
        let reader = &self.reader;
        let is_known = |id: &_| reader.view().mempool().contains(id);
        let checked = body::check_all(blocks, reader.params(), is_known, threads);
        if checked.iter().any(Result::is_err) {
            self.last = None;
        }
        let checked = headers.into_iter().zip(checked).map(|(header, checked)| {
            let ((header, hash, branch_work), body) = (header, Body::Checked(Box::new(checked)));
            PrecheckedBlock { header, hash, branch_work, body }
        });
        checked.chain(others.into_iter().map(PrecheckedBlock::from)).collect()
    }

    /// Whether a block is new, has a known parent and a valid header, and is worth storing.
    fn is_eligible(&mut self, submission: &Submission, now: Timestamp) -> bool {
        let Submission { block, branch_work } = submission;
        let (header, hash, params) = (&block.header, block.hash(), self.reader.params());
        if check_standalone(header, params).is_err() {
            return false;
        }
        let parent = self.parent_of_new(header, &hash, *branch_work);
        let parent = parent.filter(|parent| check_contextual(header, parent, params, now).is_ok());
        let last = parent.map(|parent| (hash, parent.advance(header)));
        self.last = last.or(self.last);
        last.is_some()
    }

    /// Returns the context of a new block, if its parent is known and it is worth storing.
    fn parent_of_new(
        &self,
        header: &Header,
        hash: &block::Hash,
        branch_work: Work,
    ) -> Option<Parent> {
        let view = self.reader.view();
        if view.find(hash).is_some() || view.is_known_invalid(hash) {
            return None;
        }
        let last = self.last.filter(|(last, _)| *last == header.previous);
        last.map(|(_, parent)| parent).or_else(|| {
            let parent = view.find(&header.previous)?;
            let is_eligible = !parent.is_invalid() && view.is_worth_storing(header, branch_work);
            is_eligible.then(|| view.as_parent(parent))
        })
    }
}
