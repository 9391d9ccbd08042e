//! Which blocks of side branches are stored. A block is worth its disk space if its branch may become
//! the best chain: if the known headers of the branch have more work than the tip, however deep it
//! forks, or if it forks near the tip. Without this limit, blocks of a low difficulty far below the
//! tip would fill the disk at no cost. Source: PROTOCOL.md, "Fork choice".

use crate::block_index::{BlockIndex, NodeId};
use crate::header_tree::HeaderTree;
use crate::params::Params;

/// The least horizon, in blocks.
const MIN_HORIZON: u32 = 1_000;
/// The horizon in half-lives of the difficulty, if that is more blocks.
const HORIZON_HALF_LIVES: u32 = 10;
/// The total size of the bodies of side branches, in bytes, from which on a lighter branch is not
/// extended: about as much as the horizon of full blocks. Blocks below the difficulty of the tip cost
/// little.
const MAX_BODY_BYTES: u64 = 1 << 30;

/// The state of the side branches.
#[derive(Debug, Default)]
pub(super) struct SideBranches {
    /// The headers of blocks that are not stored.
    pub(super) headers: HeaderTree,
    /// The total size of the stored bodies outside the best chain, in bytes. Blocks that are not
    /// committed yet count as outside.
    pub(super) body_bytes: u64,
}

impl SideBranches {
    /// Returns the side branches of an index.
    pub(super) fn new(blocks: &BlockIndex, best_chain: &[NodeId]) -> SideBranches {
        let bytes = |id: NodeId| u64::from(blocks.node(id).location.length);
        let all: u64 = blocks.ids().map(bytes).sum();
        let best: u64 = best_chain.iter().copied().map(bytes).sum();
        SideBranches { body_bytes: all.saturating_sub(best), ..SideBranches::default() }
    }

    /// Returns the number of blocks above a fork up to which lighter branches are stored now.
    pub(super) fn horizon(&self, params: &Params) -> u32 {
        if self.body_bytes >= MAX_BODY_BYTES { 0 } else { horizon(params) }
    }
}

/// Returns the number of blocks below the tip from which on lighter branches are not stored.
fn horizon(params: &Params) -> u32 {
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
