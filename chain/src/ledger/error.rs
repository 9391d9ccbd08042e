//! Errors of submitting and invalidating blocks and transfers.

use crate::block;
use crate::mempool;
use crate::rules::{Rule, RuleError};
use crate::store::StoreError;

/// An error of submitting a block.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The block breaks a rule, which is the fault of its sender.
    #[error("{code}: {0}", code = .0.code())]
    Invalid(#[from] RuleError),
    /// The block was found invalid before, which is the fault of its sender.
    #[error("{}: block {hash} was found invalid before", rule.code())]
    KnownInvalid {
        /// The hash of the block.
        hash: block::Hash,
        /// The rule that the block breaks.
        rule: Rule,
    },
    /// The parent is unknown and has to be submitted first.
    #[error("unknown-parent: this node does not have the parent {parent}")]
    UnknownParent {
        /// The hash of the parent.
        parent: block::Hash,
    },
    /// The storage of this node failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SubmitError {
    /// Returns the code of the broken rule; `None` for an error of the storage.
    pub fn code(&self) -> Option<&'static str> {
        match self {
            SubmitError::Invalid(error) => Some(error.code()),
            SubmitError::KnownInvalid { rule, .. } => Some(rule.code()),
            SubmitError::UnknownParent { .. } => Some(Rule::UnknownParent.code()),
            SubmitError::Store(_) => None,
        }
    }
}

/// An error of submitting a transfer.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The transfer breaks a rule that needs no accounts, so it can never be valid.
    #[error("{code}: {0}", code = .0.code())]
    Invalid(#[from] RuleError),
    /// The mempool rejects the transfer.
    #[error("{code}: {0}", code = .0.code())]
    Rejected(mempool::RejectReason),
    /// The storage of this node failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl TransferError {
    /// Returns the code of the broken rule or of the reject reason; `None` for an error of the
    /// storage.
    pub fn code(&self) -> Option<&'static str> {
        match self {
            TransferError::Invalid(error) => Some(error.code()),
            TransferError::Rejected(reason) => Some(reason.code()),
            TransferError::Store(_) => None,
        }
    }
}

impl From<mempool::InsertError<StoreError>> for TransferError {
    fn from(error: mempool::InsertError<StoreError>) -> Self {
        match error {
            mempool::InsertError::Rejected(reason) => TransferError::Rejected(reason),
            mempool::InsertError::View(error) => TransferError::Store(error),
        }
    }
}

/// An error of invalidating or reconsidering a block.
#[derive(Debug, thiserror::Error)]
pub enum InvalidateError {
    /// The block is unknown.
    #[error("this node does not have the block {hash}")]
    Unknown {
        /// The hash of the block.
        hash: block::Hash,
    },
    /// The block is genesis, with which every chain of the network starts.
    #[error("the genesis block cannot be invalidated")]
    Genesis,
    /// The storage of this node failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
