//! The blocks between two tips.

use chain::block;
use chain::block_index::BlockNode;
use chain::ledger::Reader;

/// Most blocks of a path between two tips that are logged one by one; a longer path is a gap.
const MAX_PATH: usize = 50_000;

/// The path from one tip to another.
pub(super) struct ChainPath {
    pub fork: BlockNode,
    /// The blocks to disconnect, from the old tip down.
    pub disconnect: Vec<BlockNode>,
    /// The blocks to connect, up to the new tip.
    pub connect: Vec<BlockNode>,
}

/// The path between two blocks; `None` if the chain does not know one of them, or if the path has
/// more than [`MAX_PATH`] blocks.
pub(super) fn find_path(chain: &Reader, from: block::Hash, to: block::Hash) -> Option<ChainPath> {
    let view = chain.view();
    let (mut left, mut right) = (*view.find(&from)?, *view.find(&to)?);
    let (mut disconnect, mut connect) = (Vec::new(), Vec::new());
    while left.hash != right.hash {
        if disconnect.len() + connect.len() >= MAX_PATH {
            return None;
        }
        if left.height >= right.height {
            disconnect.push(left);
            left = *view.node(left.parent);
        } else {
            connect.push(right);
            right = *view.node(right.parent);
        }
    }
    connect.reverse();
    Some(ChainPath { fork: left, disconnect, connect })
}
