//! On-disk storage.
//!
//! - [`blocks`], the block log, is the source of truth: a block is acknowledged once its record
//!   there is synced.
//! - [`index`] is a key-value cache over the log, rebuilt from it whenever its integrity is in
//!   doubt.
//! - [`sorted_run`] has those rows of the index that change with every transaction.
//! - [`journal`] holds data that cannot be derived from the log, such as mining jobs.
//! - [`directory`] is the data directory: it is locked by one process, belongs to one genesis
//!   block, and records how the last run ended.
//! - [`invalidated`] is the operator's list of invalidated blocks.

pub mod blocks;
pub mod directory;
pub mod index;
pub mod invalidated;
pub mod journal;
pub mod sorted_run;
mod space;

pub use blocks::LogError;
pub use directory::{DirectoryError, keeps_modes};
pub use index::IndexError;
pub use journal::{BackgroundSync, Journal, JournalError};

/// An error of the storage. It is always local to this node, which has to stop.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The block log cannot be read or written.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The journal of the mempool cannot be written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The index cannot be read or written.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// A row of the index does not decode.
    #[error("malformed index row (key {}): restart to rebuild the index", hex::encode(key))]
    BadRow {
        /// The key of the row.
        key: Vec<u8>,
    },
    /// A record of the block log has a valid checksum but unexpected contents.
    #[error(
        "unexpected record at offset {} of block file {}: run `chain verify`",
        location.offset, location.file
    )]
    BadRecord {
        /// The location of the record.
        location: blocks::RecordLocation,
    },
    /// A logged block, which was valid when it was written, fails validation.
    #[error("block {hash} in the log is invalid: {reason}: run `chain verify`")]
    BadBlock {
        /// The hash of the block.
        hash: crate::block::Hash,
        /// The reason why the block fails validation, in words.
        reason: String,
    },
    /// Disconnecting blocks did not restore the accounts that the fork block commits to.
    #[error("account state does not match block {fork} after disconnect: run `chain verify`")]
    BadUndo {
        /// The hash of the last block that was not disconnected.
        fork: crate::block::Hash,
    },
    /// The work was interrupted, because the node stops.
    #[error("the node is stopping")]
    Interrupted,
    /// The next height does not fit into 32 bits.
    #[error("the chain has reached the maximum height")]
    HeightOverflow,
}

impl StoreError {
    /// Whether the work was interrupted, because the node stops.
    pub fn is_interruption(&self) -> bool {
        matches!(self, StoreError::Interrupted)
    }

    /// Whether no space was left on the disk. The write had no effect then, and may be repeated.
    pub fn is_disk_full(&self) -> bool {
        matches!(
            self,
            StoreError::Directory(DirectoryError::Full { .. })
                | StoreError::Log(LogError::Full { .. })
                | StoreError::Index(IndexError::Full { .. })
        )
    }
}
