//! Changes of the tip that the mempool follows, and changes of its contents, for its journal.

use super::reject::RejectReason;
use crate::address::Address;
use crate::rules::tx::CheckedTransfer;
use crate::tx::Id;
use std::collections::BTreeSet;

/// A change from one tip to another, over any number of blocks.
#[derive(Clone, Debug, Default)]
pub struct TipChange {
    /// The transfers of the disconnected blocks.
    pub returned: Vec<CheckedTransfer>,
    /// The ids of the transfers of the connected blocks.
    pub confirmed: BTreeSet<Id>,
    /// The addresses whose accounts changed.
    pub touched: BTreeSet<Address>,
    /// Whether transfers of the same senders may return in a later part of the change, so that a
    /// transfer may wait for any number of them.
    pub is_partial: bool,
}

/// A change of the set of transfers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A transfer was added with this arrival number.
    Added(u64),
    /// A transfer was removed. Without a reason it was confirmed.
    Removed(Id, Option<RejectReason>),
    /// A transfer was submitted to this node after a peer had sent it.
    Local(Id),
}
