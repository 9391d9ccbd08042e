//! Blocks that an operator has set aside: valid or not, this node does not follow them or what
//! descends from them. They are taken in as ever; only the choice of the tip passes over them. No
//! rule: other nodes are not told, and nobody is blamed. Kept over restarts.
//!
//! The tip is always the first to have come of the heaviest blocks that are neither invalid nor set
//! aside; so it does not depend on when marks were made.

use super::Writer;
use crate::block;
use crate::block_index::{BlockIndex, NodeId, Status};
use crate::store::{StoreError, invalidated};
use std::collections::BTreeSet;

/// Why a block was not set aside, or not followed again.
#[derive(Debug, thiserror::Error)]
pub enum InvalidateError {
    /// It is not here.
    #[error("this node does not have the block {hash}")]
    Unknown {
        /// Which.
        hash: block::Hash,
    },
    /// It is genesis.
    #[error("genesis begins every chain of this network: it cannot be set aside")]
    Genesis,
    /// The disk.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is set aside.
#[derive(Debug, Default)]
pub(super) struct Invalidated {
    /// The blocks that the operator named.
    marks: BTreeSet<block::Hash>,
    /// Those of the tree, and all that descend from them.
    blocks: BTreeSet<NodeId>,
}

impl Invalidated {
    /// These blocks and, of a tree, what descends from them.
    pub(super) fn new(marks: BTreeSet<block::Hash>, tree: &BlockIndex) -> Invalidated {
        let mut aside = Invalidated { marks, blocks: BTreeSet::new() };
        if !aside.marks.is_empty() {
            // A parent comes before its children.
            for number in tree.ids().skip(1) {
                let node = tree.node(number);
                aside.follow(number, &node.hash, node.parent);
            }
        }
        aside
    }

    /// Whether a block is among them.
    pub(super) fn contains(&self, number: NodeId) -> bool {
        self.blocks.contains(&number)
    }

    /// Whether a child of a block would be.
    pub(super) fn takes_in(&self, hash: &block::Hash, parent: NodeId) -> bool {
        self.marks.contains(hash) || self.blocks.contains(&parent)
    }

    /// Notes a block that came into the tree.
    pub(super) fn follow(&mut self, number: NodeId, hash: &block::Hash, parent: NodeId) {
        if self.takes_in(hash, parent) {
            self.blocks.insert(number);
        }
    }
}

impl Writer {
    /// Sets a block aside, and with it all that descend from it: the tip moves to the best of the
    /// others. Readers see it after the next `commit`.
    pub fn invalidate(&mut self, hash: block::Hash) -> Result<(), InvalidateError> {
        let block = self.named(hash)?;
        if block == NodeId::GENESIS {
            return Err(InvalidateError::Genesis);
        }
        let mut marks = self.shared.read().aside.marks.clone();
        marks.insert(hash);
        Ok(self.mark(marks)?)
    }

    /// Follows a block again if it is the best: what was set aside of its ancestors, itself and its
    /// descendants no longer is. Readers see it after the next `commit`.
    pub fn reconsider(&mut self, hash: block::Hash) -> Result<(), InvalidateError> {
        let block = self.named(hash)?;
        let marks = {
            let state = self.shared.read();
            let tree = &state.tree;
            let is_related = |mark: &block::Hash| {
                let number = tree.find(mark);
                number.is_some_and(|mark| {
                    tree.is_descendant(block, mark) || tree.is_descendant(mark, block)
                })
            };
            state.aside.marks.iter().copied().filter(|mark| !is_related(mark)).collect()
        };
        Ok(self.mark(marks)?)
    }

    fn named(&self, hash: block::Hash) -> Result<NodeId, InvalidateError> {
        self.shared.read().tree.find(&hash).ok_or(InvalidateError::Unknown { hash })
    }

    /// The marks are on the disk before anything follows from them.
    fn mark(&mut self, marks: BTreeSet<block::Hash>) -> Result<(), StoreError> {
        let is_news = self.shared.read().aside.marks != marks;
        if is_news {
            invalidated::write(self.directory.path(), &marks)?;
            let mut state = self.shared.write();
            state.aside = Invalidated::new(marks, &state.tree);
        }
        self.settle()
    }

    /// Moves to the best block that is not set aside.
    pub(super) fn settle(&mut self) -> Result<(), StoreError> {
        loop {
            let best = self.best();
            if best == self.tip {
                return Ok(());
            }
            // Unless it gets there, there is one valid block less to choose from.
            self.move_to(best)?;
        }
    }

    /// The first to have come of the heaviest.
    fn best(&self) -> NodeId {
        let state = self.shared.read();
        let mut best = NodeId::GENESIS;
        for number in state.tree.ids() {
            let node = state.tree.node(number);
            let is_invalid = matches!(node.status, Status::Invalid { .. });
            let is_heavier = node.chain_work > state.tree.node(best).chain_work;
            if is_heavier && !is_invalid && !state.aside.contains(number) {
                best = number;
            }
        }
        best
    }
}
