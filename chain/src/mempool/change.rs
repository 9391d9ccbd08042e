//! Changes of the contents of the mempool, for its journal.

use super::reject::RejectReason;
use crate::tx::Id;

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
