//! What sync, relay and the answers to peers ask of the chain: a trait, so that whole networks can
//! be simulated without a disk. The real one is `chain::ledger::Reader`.

mod ledger;

use crate::message::RawBlock;
use chain::Params;
use chain::block::{self, Header, Height};
use chain::pow::Work;
use chain::rules::header::Parent;
use chain::tx::{Id, Transfer};
use std::sync::Arc;

/// The end of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tip {
    /// The last block.
    pub hash: block::Hash,
    /// Its height.
    pub height: Height,
    /// The work of the chain up to it.
    pub chain_work: Work,
}

/// What is known of a block whose body is here.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// The block, and the chain up to it.
    pub tip: Tip,
    /// What its child has to satisfy.
    pub as_parent: Parent,
    /// Whether it is in the best chain.
    pub is_best: bool,
    /// Whether it, or an ancestor, breaks a rule.
    pub is_invalid: bool,
}

/// Reads the chain and the mempool.
pub trait ChainView {
    /// The network's parameters.
    fn params(&self) -> &Params;

    /// The best chain.
    fn tip(&self) -> Tip;

    /// A block, on whatever branch; `None` if its body is not here.
    fn find(&self, hash: &block::Hash) -> Option<Known>;

    /// Whether a block was refused for ever without being kept.
    fn is_known_invalid(&self, hash: &block::Hash) -> bool;

    /// The block of the best chain at a height.
    fn at(&self, height: Height) -> Option<block::Hash>;

    /// Headers of the best chain from a height on, at most so many.
    fn headers(&self, from: Height, max: usize) -> Vec<Header>;

    /// An encoded block, on whatever branch, if it is known to be valid with all its ancestors.
    fn block(&self, hash: &block::Hash) -> Option<RawBlock>;

    /// A transfer of the mempool.
    fn transfer(&self, id: &Id) -> Option<Arc<Transfer>>;

    /// The ids of the mempool in the order of arrival, from a place in that order on, at most so
    /// many; and the place after the last of them. The first place is 0.
    fn pool_page(&self, from: u64, max: usize) -> (Vec<Id>, u64);

    /// The transfers of the mempool whose ids are wanted, in no order. The chain waits for
    /// `is_wanted`: it should be quick, and must not ask for another view.
    fn pool_transfers(&self, is_wanted: &dyn Fn(&Id) -> bool) -> Vec<(Id, Transfer)> {
        let (ids, _) = self.pool_page(0, usize::MAX);
        let wanted = ids.into_iter().filter(is_wanted);
        wanted.filter_map(|id| Some((id, (*self.transfer(&id)?).clone()))).collect()
    }
}
