//! What is kept on disk and how.
//!
//! [`blocks`], the block log, is the truth: a block is acknowledged once its record there is synced.
//! [`index`] is a cache over it, rebuilt from the log whenever it is not to be trusted.
//! [`rows`] documents every key of the index.
//! [`journal`] is for what neither of them holds.
//! [`directory`] is the folder they all lie in: one process, one genesis, and how the last run ended.
//! [`marks`] is what its operator does not want this node to follow.

pub mod blocks;
pub mod directory;
pub mod index;
pub mod invalidated;
pub mod journal;

pub use blocks::LogError;
pub use directory::DirectoryError;
pub use index::IndexError;
pub use journal::{Journal, JournalError};

/// Why what is kept could not be opened, read or written. Always ours: the node stops and says so.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The data directory.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The block log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The index.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// A row of the index is not what it should be.
    #[error("a row of the index is malformed (key {}): restart to rebuild it", hex::encode(key))]
    BadRow {
        /// Its key.
        key: Vec<u8>,
    },
    /// A record of the block log is whole but not what it should be.
    #[error(
        "the record at offset {} of block file {} is not the one expected: run `chain verify`",
        location.offset, location.file
    )]
    BadRecord {
        /// Where.
        location: blocks::RecordLocation,
    },
    /// A block that was valid when it was written is not any more.
    #[error("block {hash} in the log is invalid: {reason}: run `chain verify`")]
    BadBlock {
        /// The block.
        hash: crate::block::Hash,
        /// The broken rule.
        reason: String,
    },
    /// Blocks were taken back, and the accounts are not those of the block before them.
    #[error("taking back the blocks after {fork} does not give its accounts: run `chain verify`")]
    BadUndo {
        /// The last block that was not taken back.
        fork: crate::block::Hash,
    },
    /// Heights are 32 bits.
    #[error("the chain has reached the last height there is")]
    HeightOverflow,
}
