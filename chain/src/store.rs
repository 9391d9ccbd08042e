//! What is kept on disk and how.
//!
//! [`blocks`], the block log, is the truth: a block is acknowledged once its record there is synced.
//! [`index`] is a cache over it, rebuilt from the log whenever it is not to be trusted.
//! [`directory`] is the folder both lie in: one process, one genesis, and how the last run ended.

pub mod blocks;
pub mod directory;

pub use blocks::LogError;
pub use directory::DirectoryError;

/// Why what is kept could not be opened, read or written. Always ours: the node stops and says so.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The data directory.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The block log.
    #[error(transparent)]
    Log(#[from] LogError),
}
