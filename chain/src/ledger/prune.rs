//! Pruning: the bodies of lighter branches that fork below the horizon are removed from the log
//! beyond a total size. A block is removed after all its descendants, so that the ancestors of a
//! stored block are stored. Nothing of a removed block remains known: if its branch gains more work
//! than the best chain, it is submitted again.

use super::side_branches::horizon;
use super::state::State;
use super::writer::Writer;
use crate::block_index::{BlockNode, NodeId};
use crate::pow::Work;
use crate::store::StoreError;
use crate::store::blocks::RecordLocation;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// The maximum total size of the bodies of lighter branches that fork below the horizon: 256 MiB.
pub const MAX_PRUNABLE_BYTES: u64 = 256 << 20;

/// The number of log files that are rewritten at a time, each of up to 128 MiB.
const MAX_FILES: usize = 2;

/// The share of the limit by which the size falls below it, so that files are not rewritten for
/// every block.
const SLACK: u64 = 8;

/// The blocks that were pruned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// The number of removed blocks.
    pub blocks: usize,
    /// The disk space that they occupied, in bytes.
    pub freed_bytes: u64,
}

impl Writer {
    /// Removes blocks of side branches if the bodies of lighter branches that fork below the horizon
    /// exceed a limit in bytes, which is [`MAX_PRUNABLE_BYTES`] except in tests. Blocks with the
    /// least work are removed first. Call it from time to time: each call removes the blocks of a few
    /// log files only.
    ///
    /// # Errors
    /// Returns an error of the storage. On a full disk nothing is removed.
    pub fn prune(&mut self, max_bytes: u64) -> Result<Pruned, StoreError> {
        let shared = Arc::clone(&self.shared);
        if !self.begin_search(max_bytes) {
            return Ok(Pruned::default());
        }
        let (victims, leaves) = {
            let state = shared.read();
            Prunable::of(&state, horizon(&shared.params)).victims(&state, max_bytes)
        };
        if victims.is_empty() {
            return Ok(Pruned::default());
        }
        // The index must not refer to blocks that are gone, nor end in a gap of the log.
        self.flush()?;
        if self.covered != self.log.synced() {
            return Ok(Pruned::default());
        }
        let records = {
            let state = shared.read();
            victims.iter().flat_map(|id| records_of(state.blocks.node(*id))).collect::<Vec<_>>()
        };
        let removal = match self.log.prepare_removal(&records) {
            Err(error) if error.is_disk_full() => return Ok(Pruned::default()),
            prepared => prepared?,
        };
        let mut state = shared.write();
        // Readers that hold a view still find what they see.
        let freed_bytes = self.log.remove(removal)?;
        for id in &victims {
            state.forget(*id);
        }
        for id in leaves {
            let key = state.tip_key(id);
            state.chain_tips.insert(key, id);
        }
        state.side_branches.repeat_search();
        Ok(Pruned { blocks: victims.len(), freed_bytes })
    }

    /// Whether to search blocks to prune.
    fn begin_search(&self, max_bytes: u64) -> bool {
        let mut state = self.shared.write();
        let is_committed = state.visible == state.blocks.len() && state.tip() == self.tip;
        if !is_committed || state.side_branches.body_bytes <= max_bytes {
            return false;
        }
        let BlockNode { height, chain_work, .. } = *state.blocks.node(self.tip);
        state.side_branches.forget_expected_up_to(chain_work);
        state.side_branches.begin_search(max_bytes, height)
    }
}

/// Returns the locations of the records of a block.
fn records_of(node: &BlockNode) -> impl Iterator<Item = RecordLocation> + use<> {
    [Some(node.location), node.undo()].into_iter().flatten()
}

/// The stored blocks of the branches that fork below the horizon.
#[derive(Default)]
struct Prunable {
    /// The number of stored children of each block.
    children: HashMap<NodeId, u32>,
    leaves: Vec<NodeId>,
    body_bytes: u64,
}

impl Prunable {
    fn of(state: &State, horizon: u32) -> Prunable {
        let mut prunable = Prunable::default();
        let tip = state.blocks.node(state.tip()).height;
        let highest = tip.checked_sub(horizon).unwrap_or_default();
        for leaf in state.chain_tips.values().copied() {
            let is_below = !state.is_in_best_chain(leaf) && state.fork_height(leaf) < highest;
            if is_below {
                prunable.add_branch(state, leaf);
            }
        }
        prunable
    }

    fn add_branch(&mut self, state: &State, leaf: NodeId) {
        self.leaves.push(leaf);
        let mut at = leaf;
        loop {
            let node = state.blocks.node(at);
            self.body_bytes = self.body_bytes.saturating_add(node.location.length.into());
            if state.is_in_best_chain(node.parent) {
                return;
            }
            let children = self.children.entry(node.parent).or_insert(0);
            *children = children.saturating_add(1);
            // Another leaf has led here before.
            if *children > 1 {
                return;
            }
            at = node.parent;
        }
    }

    /// Returns the blocks to remove, each after its descendants, and the remaining blocks that have
    /// no stored children then.
    fn victims(mut self, state: &State, max_bytes: u64) -> (Vec<NodeId>, Vec<NodeId>) {
        if self.body_bytes <= max_bytes {
            return (Vec::new(), Vec::new());
        }
        let enough = max_bytes - max_bytes / SLACK;
        // Invalid blocks first, then by work.
        let rank = |id: NodeId| {
            let node = state.blocks.node(id);
            (!node.is_invalid(), node.chain_work, id)
        };
        let mut queue: BTreeSet<(bool, Work, NodeId)> =
            self.leaves.iter().map(|id| rank(*id)).collect();
        let (mut victims, mut leaves, mut files) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        while self.body_bytes > enough
            && let Some((.., id)) = queue.pop_first()
        {
            if state.is_protected(id) {
                continue;
            }
            let node = state.blocks.node(id);
            files.extend(records_of(node).map(|location| location.file));
            if files.len() > MAX_FILES && !victims.is_empty() {
                break;
            }
            self.body_bytes = self.body_bytes.saturating_sub(node.location.length.into());
            victims.push(id);
            leaves.remove(&id);
            if let Some(children) = self.children.get_mut(&node.parent) {
                *children = children.saturating_sub(1);
                if *children == 0 {
                    queue.insert(rank(node.parent));
                    leaves.insert(node.parent);
                }
            }
        }
        (victims, leaves.into_iter().collect())
    }
}
