//! Blocks checked alone ahead of their turn: on another thread and several at a time, while the
//! writer is at those before. Whatever was not checked here the writer checks itself.

use super::Reader;
use crate::block::{self, Block, Header, Timestamp};
use crate::rules::RuleError;
use crate::rules::body::{self, CheckedBlock};
use crate::rules::header::{Parent, check_contextual, check_standalone};
use std::sync::Arc;

/// A block on its way to the writer, with what the rules say of its body alone, if that was asked.
/// Made of a block, or by `Prechecker::check`.
#[derive(Debug)]
pub struct PrecheckedBlock {
    pub(super) header: Header,
    pub(super) hash: block::Hash,
    pub(super) body: Body,
}

/// A body, or what the rules say of it alone.
#[derive(Debug)]
pub(super) enum Body {
    Unchecked(Arc<Block>),
    Checked(Box<Result<CheckedBlock, RuleError>>),
}

impl From<Block> for PrecheckedBlock {
    fn from(block: Block) -> PrecheckedBlock {
        PrecheckedBlock::from(Arc::new(block))
    }
}

impl From<Arc<Block>> for PrecheckedBlock {
    fn from(block: Arc<Block>) -> PrecheckedBlock {
        PrecheckedBlock { header: block.header, hash: block.hash(), body: Body::Unchecked(block) }
    }
}

impl PrecheckedBlock {
    /// What the rules say of its body alone; `None` if that was not asked.
    pub fn precheck_result(&self) -> Option<Result<(), &RuleError>> {
        match &self.body {
            Body::Checked(judged) => Some(judged.as_ref().as_ref().map(|_| ())),
            Body::Unchecked(_) => None,
        }
    }
}

/// Checks blocks alone, if their headers are worth it: what comes first in the order of the rules is
/// cheap, and keeps bodies away that cost whoever made them nothing.
pub struct Prechecker {
    reader: Reader,
    threads: usize,
    /// The last block whose body was found valid alone, and what its child has to satisfy. Perhaps
    /// the writer has not come to it yet.
    last: Option<(block::Hash, Parent)>,
}

impl Prechecker {
    pub(super) fn new(reader: Reader, threads: usize) -> Prechecker {
        Prechecker { reader, threads, last: None }
    }

    /// Checks blocks in the order in which the writer will take them in, up to the first that the
    /// writer knows, that has a bad header, or that follows neither a block of the chain nor the one
    /// right before it.
    pub fn precheck(&mut self, blocks: Vec<Arc<Block>>, now: Timestamp) -> Vec<PrecheckedBlock> {
        self.check_over(self.threads, blocks, now)
    }

    /// The same while the writer is at other blocks: leaves a processor to it, if there are more.
    pub fn precheck_beside_writer(
        &mut self,
        blocks: Vec<Arc<Block>>,
        now: Timestamp,
    ) -> Vec<PrecheckedBlock> {
        self.check_over(self.threads.saturating_sub(1), blocks, now)
    }

    fn check_over(
        &mut self,
        threads: usize,
        mut blocks: Vec<Arc<Block>>,
        now: Timestamp,
    ) -> Vec<PrecheckedBlock> {
        let worthy = blocks.iter().take_while(|block| self.is_worthy(block, now)).count();
        let others = blocks.split_off(worthy);
        let heads: Vec<(Header, block::Hash)> =
            blocks.iter().map(|block| (block.header, block.hash())).collect();
        let reader = &self.reader;
        let is_known = |id: &_| reader.view().mempool().contains(id);
        let judged = body::check_all(blocks, reader.params(), is_known, threads);
        if judged.iter().any(Result::is_err) {
            self.last = None;
        }
        let judged = heads.into_iter().zip(judged).map(|((header, hash), judged)| {
            PrecheckedBlock { header, hash, body: Body::Checked(Box::new(judged)) }
        });
        judged.chain(others.into_iter().map(PrecheckedBlock::from)).collect()
    }

    fn is_worthy(&mut self, block: &Block, now: Timestamp) -> bool {
        let (header, hash, params) = (&block.header, block.hash(), self.reader.params());
        if check_standalone(header, params).is_err() {
            return false;
        }
        let parent = self.parent(header, &hash);
        let parent = parent.filter(|parent| check_contextual(header, parent, params, now).is_ok());
        let last = parent.map(|parent| (hash, parent.advance(header)));
        self.last = last.or(self.last);
        last.is_some()
    }

    /// What the header of a block that is new here has to satisfy, if its parent is there.
    fn parent(&self, header: &Header, hash: &block::Hash) -> Option<Parent> {
        let view = self.reader.view();
        if view.find(hash).is_some() || view.is_known_invalid(hash) {
            return None;
        }
        let before = self.last.filter(|(last, _)| *last == header.previous);
        before.map(|(_, parent)| parent).or_else(|| {
            let parent = view.find(&header.previous)?;
            (!view.is_invalid(parent)).then(|| view.as_parent(parent))
        })
    }
}
