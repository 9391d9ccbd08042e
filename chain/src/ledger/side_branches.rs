//! Which blocks of side branches are stored. A block is worth its disk space if its branch may become
//! the best chain: if the known headers of the branch have more work than the tip, however deep it
//! forks, or if it forks near the tip. Without this limit, blocks of a low difficulty far below the
//! tip would fill the disk at no cost. Source: PROTOCOL.md, "Fork choice".

use crate::block::Height;
use crate::block_index::{BlockIndex, BlockNode, NodeId, Status};
use crate::header_tree::HeaderTree;
use crate::params::Params;
use crate::pow::Work;
use std::collections::BTreeMap;

/// The least horizon, in blocks.
const MIN_HORIZON: u32 = 1_000;
/// The horizon in half-lives of the difficulty, if that is more blocks.
const HORIZON_HALF_LIVES: u32 = 10;
/// The total size of the bodies of side branches, in bytes, from which on a lighter branch is not
/// extended: about as much as the horizon of full blocks. Blocks below the difficulty of the tip cost
/// little.
const MAX_BODY_BYTES: u64 = 1 << 30;
/// The bytes by which the bodies of side branches grow, and the blocks by which the tip moves,
/// between two searches of blocks to prune.
const SEARCH_BYTES: u64 = 16 << 20;
const SEARCH_BLOCKS: u32 = 8;

/// The state of the side branches.
#[derive(Debug, Default)]
pub(super) struct SideBranches {
    /// The headers of blocks that are not stored.
    pub(super) headers: HeaderTree,
    /// The total size of the stored bodies outside the best chain, in bytes. Blocks that are not
    /// committed yet count as outside.
    pub(super) body_bytes: u64,
    /// Blocks of lighter branches whose descendants, as their headers show, had more work than the
    /// tip, with that work.
    expected_work: BTreeMap<NodeId, Work>,
    /// The limit, the size of the bodies and the height of the tip when blocks to prune were last
    /// searched and none was found.
    last_search: Option<(u64, u64, Height)>,
}

impl SideBranches {
    /// Returns the side branches of an index.
    pub(super) fn new(blocks: &BlockIndex, best_chain: &[NodeId]) -> SideBranches {
        let bytes = |id: NodeId| match blocks.node(id) {
            BlockNode { status: Status::Pruned, .. } => 0,
            node => u64::from(node.location.length),
        };
        let all: u64 = blocks.ids().map(bytes).sum();
        let best: u64 = best_chain.iter().copied().map(bytes).sum();
        SideBranches { body_bytes: all.saturating_sub(best), ..SideBranches::default() }
    }

    /// Whether enough has changed since the last search of blocks to prune, which takes the longer
    /// the more blocks there are in side branches, and begins another search.
    pub(super) fn begin_search(&mut self, max_bytes: u64, tip: Height) -> bool {
        let is_due = self.last_search.is_none_or(|(limit, bytes, height)| {
            limit != max_bytes
                || self.body_bytes >= bytes.saturating_add(SEARCH_BYTES)
                || tip.get().abs_diff(height.get()) >= SEARCH_BLOCKS
        });
        if is_due {
            self.last_search = Some((max_bytes, self.body_bytes, tip));
        }
        is_due
    }

    /// Makes another search due, because there may be more to prune.
    pub(super) fn repeat_search(&mut self) {
        self.last_search = None;
    }

    /// Whether the headers of the branch of a block have more work than this.
    pub(super) fn expects_more_than(&self, id: NodeId, work: Work) -> bool {
        self.expected_work.get(&id).is_some_and(|expected| *expected > work)
    }

    /// Forgets a block of some length that was pruned.
    pub(super) fn forget(&mut self, id: NodeId, length: u32) {
        self.body_bytes = self.body_bytes.saturating_sub(length.into());
        self.expected_work.remove(&id);
    }

    /// Forgets the branches whose headers do not have more work than this.
    pub(super) fn forget_expected_up_to(&mut self, work: Work) {
        self.expected_work.retain(|_, expected| *expected > work);
    }

    /// Returns the number of blocks above a fork up to which lighter branches are stored now.
    pub(super) fn horizon(&self, params: &Params) -> u32 {
        if self.body_bytes >= MAX_BODY_BYTES { 0 } else { horizon(params) }
    }

    /// Records that the headers of the branch of a block, which is stored, have more work than the
    /// tip. The block takes the place of its parent.
    pub(super) fn expect(&mut self, id: NodeId, parent: NodeId, branch_work: Work) {
        if self.expected_work.get(&parent).is_some_and(|work| *work <= branch_work) {
            self.expected_work.remove(&parent);
        }
        let expected = self.expected_work.entry(id).or_insert(branch_work);
        *expected = branch_work.max(*expected);
    }
}

/// Returns the number of blocks below the tip from which on lighter branches are not stored.
pub(super) fn horizon(params: &Params) -> u32 {
    let spec = params.spec();
    let half_lives = spec.half_life_seconds.saturating_mul(HORIZON_HALF_LIVES);
    MIN_HORIZON.max(half_lives.div_ceil(spec.spacing_seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    // C25
    #[test]
    fn lighter_branches_are_not_extended_while_side_branches_fill_their_space() {
        let params = Params::dev();
        let filled = |body_bytes| SideBranches { body_bytes, ..SideBranches::default() };
        assert_eq!(filled(MAX_BODY_BYTES - 1).horizon(&params), 1_000);
        assert_eq!(filled(MAX_BODY_BYTES).horizon(&params), 0);
    }
}
