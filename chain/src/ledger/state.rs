//! The state of the ledger at the last commit, which the writer and the readers share.

use super::rows::Rows;
use crate::block::{self, Height};
use crate::block_index::{BlockIndex, NodeId};
use crate::mempool::Mempool;
use crate::params::Params;
use crate::store::blocks::LogReader;
use crate::store::index::IndexReader;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// The order of the tips of side branches: the highest first, then by hash.
pub(super) type TipKey = (Reverse<Height>, block::Hash);

/// The state behind a lock, and the parameters of the network.
pub(super) struct Shared {
    pub(super) params: Params,
    pub(super) state: RwLock<State>,
}

impl Shared {
    pub(super) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().expect("a thread that panics while writing ends the process")
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().expect("a thread that panics while writing ends the process")
    }
}

/// The state at the last commit. Only the writer changes it.
pub(super) struct State {
    pub(super) blocks: BlockIndex,
    /// The number of blocks that readers may see, because their records are synced.
    pub(super) visible: usize,
    /// The ids of the best chain by height.
    pub(super) best_chain: Vec<NodeId>,
    /// The blocks that the operator invalidated, with their descendants.
    pub(super) invalidated: InvalidatedBlocks,
    /// The visible blocks that have no visible child, the highest first.
    pub(super) chain_tips: BTreeMap<TipKey, NodeId>,
    pub(super) index: IndexReader,
    /// Committed rows that are not in the index yet.
    pub(super) unflushed: Rows,
    pub(super) log: LogReader,
    pub(super) mempool: Mempool,
}

impl State {
    pub(super) fn tip(&self) -> NodeId {
        *self.best_chain.last().expect("genesis is always there")
    }

    pub(super) fn is_in_best_chain(&self, id: NodeId) -> bool {
        self.best_chain.get(self.blocks.node(id).height.get() as usize) == Some(&id)
    }

    pub(super) fn is_visible(&self, id: NodeId) -> bool {
        (id.get() as usize) < self.visible
    }

    /// Makes all blocks of the block index visible to readers.
    pub(super) fn publish_blocks(&mut self) {
        for id in self.blocks.ids().skip(self.visible) {
            self.chain_tips.remove(&self.tip_key(self.blocks.node(id).parent));
            self.chain_tips.insert(self.tip_key(id), id);
        }
        self.visible = self.blocks.len();
    }

    pub(super) fn tip_key(&self, id: NodeId) -> TipKey {
        let node = self.blocks.node(id);
        (Reverse(node.height), node.hash)
    }

    /// Returns the height of the last block of the best chain on the path from genesis to a block.
    pub(super) fn fork_height(&self, id: NodeId) -> Height {
        let first = self.blocks.first_on_path(id, |id| !self.is_in_best_chain(id));
        let fork = first.map_or(id, |first| self.blocks.node(first).parent);
        self.blocks.node(fork).height
    }
}

/// The blocks that the operator invalidated, with all their descendants.
#[derive(Debug, Default)]
pub(super) struct InvalidatedBlocks {
    /// The hashes of the blocks that the operator named.
    hashes: BTreeSet<block::Hash>,
    /// The blocks of the block index with these hashes, and their descendants.
    ids: BTreeSet<NodeId>,
}

impl InvalidatedBlocks {
    pub(super) fn new(hashes: BTreeSet<block::Hash>, blocks: &BlockIndex) -> InvalidatedBlocks {
        let mut invalidated = InvalidatedBlocks { hashes, ids: BTreeSet::new() };
        if !invalidated.hashes.is_empty() {
            // A parent precedes its children.
            for id in blocks.ids().skip(1) {
                let node = blocks.node(id);
                invalidated.add_block(id, &node.hash, node.parent);
            }
        }
        invalidated
    }

    pub(super) fn hashes(&self) -> &BTreeSet<block::Hash> {
        &self.hashes
    }

    pub(super) fn contains(&self, id: NodeId) -> bool {
        self.ids.contains(&id)
    }

    /// Whether a block with this hash and this parent is invalidated.
    pub(super) fn contains_child(&self, hash: &block::Hash, parent: NodeId) -> bool {
        self.hashes.contains(hash) || self.ids.contains(&parent)
    }

    /// Adds a new block of the block index if it is invalidated.
    pub(super) fn add_block(&mut self, id: NodeId, hash: &block::Hash, parent: NodeId) {
        if self.contains_child(hash, parent) {
            self.ids.insert(id);
        }
    }
}
