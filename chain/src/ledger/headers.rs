//! Submission of headers without their blocks. They show how much work a branch has before its blocks
//! are stored.

use super::error::SubmitError;
use super::state::State;
use super::writer::{Writer, find_known, find_parent};
use crate::block::{self, Header, Height, Timestamp};
use crate::block_index::{BlockNode, NodeId};
use crate::header_tree::ValidHeader;
use crate::params::Params;
use crate::pow::Work;
use crate::rules::header::{check_contextual, check_standalone};
use crate::store::StoreError;
use std::sync::Arc;

/// The end of a branch of valid headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderBranch {
    /// The hash of the last header.
    pub hash: block::Hash,
    /// The height of the last header.
    pub height: Height,
    /// The work of the chain that ends in the last header.
    pub chain_work: Work,
    /// The number of headers that were not known before.
    pub new: usize,
    /// Whether the branch has more work than the best chain, so that its blocks are stored at any
    /// depth.
    pub has_more_work: bool,
}

/// An error of submitting headers. The headers before the one that it names are accepted.
#[derive(Debug, thiserror::Error)]
pub enum HeadersError {
    /// There is no header.
    #[error("there are no headers")]
    Empty,
    /// A header is not the child of the one before it.
    #[error("header {index} is not a child of the header before it")]
    Discontinuous {
        /// The position of the header, counted from 0.
        index: usize,
    },
    /// A header breaks a rule, or its parent is unknown.
    #[error("header {index}: {error}")]
    Invalid {
        /// The position of the header, counted from 0.
        index: usize,
        /// The error of the header.
        error: SubmitError,
    },
    /// The headers have less work than all those that fill the memory for headers.
    #[error("the memory for headers is full of branches with more work")]
    Full,
}

impl Writer {
    /// Validates headers of which each is the parent of the next, and keeps those whose blocks are
    /// not stored. Headers with the least work are forgotten first, and all when the process ends.
    ///
    /// # Errors
    /// Returns any [`HeadersError`].
    pub fn submit_headers(
        &mut self,
        headers: &[Header],
        now: Timestamp,
    ) -> Result<HeaderBranch, HeadersError> {
        let first = headers.first().ok_or(HeadersError::Empty)?;
        let shared = Arc::clone(&self.shared);
        let (segment, result) = {
            let state = shared.read();
            // Genesis has no parent.
            let is_genesis = first.hash() == shared.params.genesis_hash();
            let parent = match state.side_branches.headers.get(&first.previous) {
                _ if is_genesis => of_block(&state, NodeId::GENESIS),
                Some(parent) => *parent,
                None => match find_parent(&state, first) {
                    Ok(id) => of_block(&state, id),
                    Err(error) => return Err(HeadersError::Invalid { index: 0, error }),
                },
            };
            let rest = headers.iter().enumerate().skip(is_genesis.into());
            Segment::validate(&state, &shared.params, parent, rest, now)
        };
        let Segment { root, headers, last, new } = segment;
        let mut state = shared.write();
        let fork = state.side_branches.headers.insert(root, &headers);
        let is_kept = headers.is_empty() || state.side_branches.headers.get(&last.hash).is_some();
        let has_more_work = last.chain_work > state.blocks.node(self.tip).chain_work;
        let fork = fork.and_then(|fork| state.blocks.find(&fork));
        let fork = fork.filter(|fork| has_more_work && !state.is_in_best_chain(*fork));
        if let Some(fork) = fork {
            state.side_branches.expect(fork, fork, last.chain_work);
        }
        drop(state);
        result?;
        let ValidHeader { hash, height, chain_work, .. } = last;
        let branch = HeaderBranch { hash, height, chain_work, new, has_more_work };
        if is_kept { Ok(branch) } else { Err(HeadersError::Full) }
    }
}

/// Valid headers of which each is the parent of the next.
struct Segment {
    /// The last block of the segment that is stored, or the parent of the first header.
    root: block::Hash,
    /// The headers of blocks that are not stored.
    headers: Vec<ValidHeader>,
    /// The last header.
    last: ValidHeader,
    /// The number of headers that were not known before.
    new: usize,
}

impl Segment {
    /// Validates headers after `parent`, up to the first that is not valid.
    fn validate<'a>(
        state: &State,
        params: &Params,
        parent: ValidHeader,
        headers: impl Iterator<Item = (usize, &'a Header)>,
        now: Timestamp,
    ) -> (Segment, Result<(), HeadersError>) {
        let mut segment = Segment { root: parent.hash, headers: Vec::new(), last: parent, new: 0 };
        for (index, header) in headers {
            if header.previous != segment.last.hash {
                return (segment, Err(HeadersError::Discontinuous { index }));
            }
            if let Err(error) = segment.push(state, params, header, now) {
                return (segment, Err(HeadersError::Invalid { index, error }));
            }
        }
        (segment, Ok(()))
    }

    fn push(
        &mut self,
        state: &State,
        params: &Params,
        header: &Header,
        now: Timestamp,
    ) -> Result<(), SubmitError> {
        let hash = header.hash();
        if let Some(known) = find_known(state, &hash) {
            known?;
        }
        if let Some(id) = state.blocks.find(&hash) {
            self.last = of_block(state, id);
            self.root = hash;
            return Ok(());
        }
        self.last = match state.side_branches.headers.get(&hash) {
            Some(known) => *known,
            None => {
                check_standalone(header, params)?;
                check_contextual(header, &self.last.as_parent, params, now)?;
                self.new = self.new.saturating_add(1);
                self.last.child(header).ok_or(StoreError::HeightOverflow)?
            }
        };
        self.headers.push(self.last);
        Ok(())
    }
}

/// Returns the header of a stored block.
fn of_block(state: &State, id: NodeId) -> ValidHeader {
    let BlockNode { hash, height, chain_work, .. } = *state.blocks.node(id);
    ValidHeader { hash, height, chain_work, as_parent: state.blocks.as_parent(id) }
}
