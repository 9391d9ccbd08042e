//! Errors of opening and verifying a ledger, and of submitting and invalidating blocks and
//! transfers.

use crate::accounts::Account;
use crate::address::Address;
use crate::block::{self, Height};
use crate::mempool;
use crate::rules::{Rule, RuleError};
use crate::store::StoreError;
use crate::store::blocks::{LogError, RecordLocation};
use std::io;
use std::path::PathBuf;

/// An error of opening a ledger.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The storage failed: the data directory, the block log or the index cannot be used.
    #[error(transparent)]
    Store(StoreError),
    /// A record of the log has a valid checksum but contains an invalid block.
    #[error(
        "block file {} holds an invalid block at offset {}: {reason}. Blocks after it are not \
         changed; restore the file from a backup or another node's data directory",
        location.file, location.offset
    )]
    InvalidRecord {
        /// The location of the record.
        location: RecordLocation,
        /// The reason why the block is invalid.
        reason: String,
    },
    /// The [`Interrupt`](super::Interrupt) of the options was requested.
    #[error("opening the data directory was interrupted")]
    Interrupted,
    /// The block log ends before the position up to which the index proves that it was synced.
    #[error(
        "{missing} lost: {error}. Restore the folder from a backup or from another node's data \
         directory, or add --accept-loss to continue with what is left of it"
    )]
    Lost {
        /// The blocks of the best chain that are missing, as the start of a sentence.
        missing: String,
        /// The position at which the log ends, and that up to which it was synced.
        error: LogError,
    },
}

impl From<StoreError> for OpenError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Interrupted => OpenError::Interrupted,
            error => OpenError::Store(error),
        }
    }
}

impl From<LogError> for OpenError {
    fn from(error: LogError) -> Self {
        OpenError::Store(error.into())
    }
}

/// An error of verifying a data directory.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The directory cannot be read, or a node would not start with it.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A block of the best chain breaks a rule.
    #[error("block {hash} at height {height} is invalid: {}: {error}", error.code())]
    Block {
        /// The height of the block.
        height: Height,
        /// The hash of the block.
        hash: block::Hash,
        /// The rule that the block breaks.
        error: RuleError,
    },
    /// An account in the index differs from the account that follows from the blocks.
    #[error(
        "the index has balance {1} and nonce {2} for account {0}, but the blocks result in {3} and \
         {4}: delete the folder `index` in the data directory and start again",
        hex::encode(address.as_bytes()), found.balance.units(), found.nonce,
        expected.balance.units(), expected.nonce
    )]
    Account {
        /// The address of the account.
        address: Address,
        /// The account in the index.
        found: Account,
        /// The account that follows from the blocks.
        expected: Account,
    },
    /// The undo data of a block does not match its changes.
    #[error(
        "wrong undo data of block {hash} at height {height} in block file {} at offset {}: restore \
         the file from a backup or another node's data directory",
        location.file, location.offset
    )]
    Undo {
        /// The height of the block.
        height: Height,
        /// The hash of the block.
        hash: block::Hash,
        /// The location of the undo record.
        location: RecordLocation,
    },
    /// The sum of all accounts differs from the issuance.
    #[error(
        "balances and immature rewards sum up to {found} base units, but {expected} were issued"
    )]
    Supply {
        /// The sum of all balances and immature rewards, in base units.
        found: u64,
        /// The sum of all allocations and subsidies, in base units.
        expected: u64,
    },
    /// The index was damaged after a clean shutdown. The block log is sound.
    #[error(
        "the index is damaged: {reason}. The blocks are valid: the next start rebuilds the index \
         from them"
    )]
    Index {
        /// The reason why the index cannot be used, as a clause.
        reason: String,
    },
    /// The index cannot be copied to where it is opened.
    #[error("cannot copy the index to {}: {error}", path.display())]
    Copy {
        /// The folder of the copy.
        path: PathBuf,
        /// The error of the operating system.
        error: io::Error,
    },
}

impl From<StoreError> for VerifyError {
    fn from(error: StoreError) -> Self {
        VerifyError::Open(error.into())
    }
}

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
    /// The block is on a branch with no more work than the best chain that forks too far below the
    /// tip to be stored.
    #[error(
        "too-deep: the branch forks {depth} blocks below the tip and is not known to have more \
         work; this node stores such branches down to {horizon} blocks: submit the headers of the \
         branch first"
    )]
    TooDeep {
        /// The number of blocks of the best chain above the fork.
        depth: u32,
        /// The number of blocks above the fork up to which this node stores such a branch now.
        horizon: u32,
    },
    /// The storage of this node failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SubmitError {
    /// The code of [`SubmitError::TooDeep`].
    pub const TOO_DEEP: &str = "too-deep";

    /// Returns the code of the broken rule, or why the block is not stored; `None` for an error of
    /// the storage.
    pub fn code(&self) -> Option<&'static str> {
        match self {
            SubmitError::Invalid(error) => Some(error.code()),
            SubmitError::KnownInvalid { rule, .. } => Some(rule.code()),
            SubmitError::UnknownParent { .. } => Some(Rule::UnknownParent.code()),
            SubmitError::TooDeep { .. } => Some(SubmitError::TOO_DEEP),
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
