//! The state of the ledger at the last commit, which the writer and the readers share.

use super::error::SubmitError;
use super::layers::Layers;
use super::side_branches::SideBranches;
use crate::block::{self, Height};
use crate::block_index::{BlockIndex, BlockNode, NodeId, Path, Status};
use crate::mempool::Mempool;
use crate::params::Params;
use crate::pow::Work;
use crate::store::blocks::LogReader;
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
    pub(super) invalidated: OperatorBlocks,
    /// The blocks that the operator reconsidered, with their descendants.
    pub(super) reconsidered: OperatorBlocks,
    pub(super) side_branches: SideBranches,
    /// The visible blocks that have no visible child, the highest first.
    pub(super) chain_tips: BTreeMap<TipKey, NodeId>,
    /// The committed rows about transactions: those of the index, and newer ones.
    pub(super) rows: Layers,
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
            let node = self.blocks.node(id);
            if node.status != Status::Pruned {
                self.chain_tips.remove(&self.tip_key(node.parent));
                self.chain_tips.insert(self.tip_key(id), id);
            }
        }
        self.visible = self.blocks.len();
    }

    pub(super) fn tip_key(&self, id: NodeId) -> TipKey {
        let node = self.blocks.node(id);
        (Reverse(node.height), node.hash)
    }

    /// Returns the height of the last block of the best chain on the path from genesis to a block.
    pub(super) fn fork_height(&self, id: NodeId) -> Height {
        self.blocks.fork_height(id, |id| !self.is_in_best_chain(id))
    }

    /// Whether a new block is worth storing, given the most work of a chain of valid headers through
    /// it. `tip` is the last connected block.
    ///
    /// # Errors
    /// Returns [`SubmitError::TooDeep`].
    pub(super) fn check_depth(
        &self,
        params: &Params,
        tip: NodeId,
        (hash, parent): (&block::Hash, NodeId),
        branch_work: Work,
    ) -> Result<(), SubmitError> {
        let is_operators = self.invalidated.contains_child(hash, parent)
            || self.reconsidered.contains_child(hash, parent);
        if is_operators || branch_work > self.blocks.node(tip).chain_work {
            return Ok(());
        }
        let horizon = self.side_branches.horizon(params);
        let depth = self.fork_depth(tip, parent);
        if depth <= horizon { Ok(()) } else { Err(SubmitError::TooDeep { depth, horizon }) }
    }

    /// Whether a block of a side branch is stored at any depth.
    pub(super) fn is_protected(&self, id: NodeId) -> bool {
        let (node, tip) = (self.blocks.node(id), self.blocks.node(self.tip()).chain_work);
        let is_operators = self.invalidated.contains(id) || self.reconsidered.contains(id);
        let may_become_best = !node.is_invalid() && node.chain_work > tip;
        is_operators || may_become_best || self.side_branches.expects_more_than(id, tip)
    }

    /// Forgets a block of a side branch that has no stored children, after its records were removed.
    pub(super) fn forget(&mut self, id: NodeId) {
        let BlockNode { hash, parent, location, status, .. } = *self.blocks.node(id);
        self.chain_tips.remove(&self.tip_key(id));
        self.blocks.prune(id);
        self.side_branches.forget(id, location.length);
        if let Status::Invalid { rule } = status {
            self.blocks.cache_invalid(hash, parent, rule);
        }
    }

    /// Updates the size of the side branches after a change of the best chain along a path.
    pub(super) fn count_bodies(&mut self, path: &Path) {
        let size = |ids: &[NodeId]| -> u64 {
            ids.iter().map(|id| u64::from(self.blocks.node(*id).location.length)).sum()
        };
        let (left, joined) = (size(&path.disconnect), size(&path.connect));
        let bytes = &mut self.side_branches.body_bytes;
        *bytes = bytes.saturating_add(left).saturating_sub(joined);
    }

    /// Returns the number of blocks from the last one that two branches share up to `tip`.
    fn fork_depth(&self, tip: NodeId, branch: NodeId) -> u32 {
        let blocks = &self.blocks;
        let is_off = |id| blocks.ancestor_at(tip, blocks.node(id).height) != Some(id);
        let fork = blocks.fork_height(branch, is_off);
        blocks.node(tip).height.get().saturating_sub(fork.get())
    }
}

/// The blocks that the operator invalidated or reconsidered, with all their descendants.
#[derive(Debug, Default)]
pub(super) struct OperatorBlocks {
    /// The hashes of the blocks that the operator named.
    hashes: BTreeSet<block::Hash>,
    /// The blocks of the block index with these hashes, and their descendants.
    ids: BTreeSet<NodeId>,
}

impl OperatorBlocks {
    pub(super) fn new(hashes: BTreeSet<block::Hash>, blocks: &BlockIndex) -> OperatorBlocks {
        let mut operators = OperatorBlocks { hashes, ids: BTreeSet::new() };
        if !operators.hashes.is_empty() {
            // A parent precedes its children.
            for id in blocks.ids().skip(1) {
                let node = blocks.node(id);
                operators.add_block(id, &node.hash, node.parent);
            }
        }
        operators
    }

    pub(super) fn hashes(&self) -> &BTreeSet<block::Hash> {
        &self.hashes
    }

    pub(super) fn contains(&self, id: NodeId) -> bool {
        self.ids.contains(&id)
    }

    /// Whether a block with this hash and this parent is one of them.
    pub(super) fn contains_child(&self, hash: &block::Hash, parent: NodeId) -> bool {
        self.hashes.contains(hash) || self.ids.contains(&parent)
    }

    /// Adds a new block of the block index if it is one of them.
    pub(super) fn add_block(&mut self, id: NodeId, hash: &block::Hash, parent: NodeId) {
        if self.contains_child(hash, parent) {
            self.ids.insert(id);
        }
    }
}
