//! Read access to the chain and the mempool for the engine and the request handlers. A trait, so that
//! networks can be simulated without a disk; nodes use `chain::ledger::Reader`.

mod ledger;

use crate::message::RawBlock;
use chain::Params;
use chain::block::{self, Header, Height};
use chain::pow::Work;
use chain::rules::header::Parent;
use chain::tx::{Id, Transfer};
use std::sync::Arc;

/// The last block of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tip {
    /// The hash of the block.
    pub hash: block::Hash,
    /// The height of the block.
    pub height: Height,
    /// The work of the chain up to and including the block.
    pub chain_work: Work,
}

/// A block of the chain, on any branch.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// The block as a tip: its hash, height, and the work of the chain up to it.
    pub tip: Tip,
    /// The properties that a child is validated against.
    pub as_parent: Parent,
    /// The encoded size of the block, in bytes.
    pub bytes: usize,
    /// Whether the block is in the best chain.
    pub is_best: bool,
    /// Whether the block or an ancestor is invalid.
    pub is_invalid: bool,
}

/// Read access to the chain and the mempool.
pub trait ChainView {
    /// Returns the parameters of the network.
    fn params(&self) -> &Params;

    /// Returns the tip of the best chain.
    fn tip(&self) -> Tip;

    /// Returns a block of any branch. `None` if its body is missing.
    fn find(&self, hash: &block::Hash) -> Option<Known>;

    /// Returns whether a block is known to be invalid although it is not stored.
    fn is_known_invalid(&self, hash: &block::Hash) -> bool;

    /// Returns the hash of the block of the best chain at a height.
    fn at(&self, height: Height) -> Option<block::Hash>;

    /// Returns headers of the best chain from a height on, at most `max`.
    fn headers(&self, from: Height, max: usize) -> Vec<Header>;

    /// Returns an encoded block of any branch, if it and all its ancestors are known to be valid.
    fn block(&self, hash: &block::Hash) -> Option<RawBlock>;

    /// Returns a transfer of the mempool.
    fn transfer(&self, id: &Id) -> Option<Arc<Transfer>>;

    /// Returns at most `max` ids of the mempool in the order of acceptance, from a position in that
    /// order on, and the position after the last of them. The first position is 0.
    fn mempool_page(&self, from: u64, max: usize) -> (Vec<Id>, u64);

    /// Returns the transfers of the mempool whose ids are wanted, in any order. `is_wanted` runs under
    /// the lock of the mempool: it should be quick and must not access the chain.
    fn mempool_transfers(&self, is_wanted: &dyn Fn(&Id) -> bool) -> Vec<(Id, Transfer)> {
        let (ids, _) = self.mempool_page(0, usize::MAX);
        let wanted = ids.into_iter().filter(is_wanted);
        wanted.filter_map(|id| Some((id, (*self.transfer(&id)?).clone()))).collect()
    }
}
