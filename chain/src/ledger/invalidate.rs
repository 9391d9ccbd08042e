//! Blocks that the operator invalidates: this node does not follow them or their descendants,
//! whether they are valid or not. They are still accepted; only the choice of the best chain skips
//! them. Invalidation is local policy, not consensus, and survives restarts.
//!
//! The tip is always the first-seen of the blocks with the most work that are neither invalid nor
//! invalidated, so it does not depend on when blocks were invalidated.

use super::error::InvalidateError;
use super::state::OperatorBlocks;
use super::writer::Writer;
use crate::block;
use crate::block_index::{NodeId, Status};
use crate::store::StoreError;
use crate::store::invalidated::{self, List};
use std::collections::BTreeSet;

impl Writer {
    /// Invalidates a block and all its descendants. The tip moves to the best remaining block.
    /// Readers see the change after the next [`commit`](Self::commit).
    ///
    /// # Errors
    /// Returns any [`InvalidateError`].
    pub fn invalidate(&mut self, hash: block::Hash) -> Result<(), InvalidateError> {
        if self.lookup(hash)? == NodeId::GENESIS {
            return Err(InvalidateError::Genesis);
        }
        let mut hashes = self.shared.read().invalidated.hashes().clone();
        hashes.insert(hash);
        Ok(self.set_invalidated(hashes)?)
    }

    /// Reverts the invalidation of a block, its ancestors and its descendants, and stores its
    /// descendants at any depth from now on. The tip moves to the best block. Readers see the
    /// change after the next [`commit`](Self::commit).
    ///
    /// # Errors
    /// Returns [`InvalidateError::Unknown`] or an error of the storage.
    pub fn reconsider(&mut self, hash: block::Hash) -> Result<(), InvalidateError> {
        let block = self.lookup(hash)?;
        self.add_reconsidered(hash)?;
        let hashes = {
            let state = self.shared.read();
            let blocks = &state.blocks;
            let is_related = |hash: &block::Hash| {
                blocks.find(hash).is_some_and(|id| {
                    blocks.is_descendant(block, id) || blocks.is_descendant(id, block)
                })
            };
            state.invalidated.hashes().iter().copied().filter(|hash| !is_related(hash)).collect()
        };
        Ok(self.set_invalidated(hashes)?)
    }

    fn add_reconsidered(&mut self, hash: block::Hash) -> Result<(), StoreError> {
        let mut hashes = self.shared.read().reconsidered.hashes().clone();
        if hashes.insert(hash) {
            invalidated::write(self.directory.path(), List::Reconsidered, &hashes)?;
            let mut state = self.shared.write();
            state.reconsidered = OperatorBlocks::new(hashes, &state.blocks);
        }
        Ok(())
    }

    fn lookup(&self, hash: block::Hash) -> Result<NodeId, InvalidateError> {
        self.shared.read().blocks.find(&hash).ok_or(InvalidateError::Unknown { hash })
    }

    /// Writes the list to the disk before it has any effect.
    fn set_invalidated(&mut self, hashes: BTreeSet<block::Hash>) -> Result<(), StoreError> {
        let is_changed = *self.shared.read().invalidated.hashes() != hashes;
        if is_changed {
            invalidated::write(self.directory.path(), List::Invalidated, &hashes)?;
            let mut state = self.shared.write();
            state.invalidated = OperatorBlocks::new(hashes, &state.blocks);
        }
        self.activate_best_chain()
    }

    /// Moves the tip to the best block that is neither invalid nor invalidated.
    pub(super) fn activate_best_chain(&mut self) -> Result<(), StoreError> {
        loop {
            let best = self.best_candidate();
            if best == self.tip {
                return Ok(());
            }
            // If this fails, the candidate is invalid, so the next round has one candidate less.
            self.try_activate(best)?;
        }
    }

    /// Returns the first-seen of the blocks with the most work that are not known to be invalid.
    fn best_candidate(&self) -> NodeId {
        let state = self.shared.read();
        let mut best = NodeId::GENESIS;
        for id in state.blocks.ids() {
            let node = state.blocks.node(id);
            let is_heavier = node.chain_work > state.blocks.node(best).chain_work;
            let is_eligible = !node.is_invalid() && node.status != Status::Pruned;
            if is_heavier && is_eligible && !state.invalidated.contains(id) {
                best = id;
            }
        }
        best
    }
}
