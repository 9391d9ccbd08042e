//! Errors of the block log.

use super::position::LogPosition;
use super::record::VERSION;
use crate::store::space::is_disk_full;
use std::io;
use std::path::{Path, PathBuf};

/// An error of opening, reading or writing a log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The operating system reported an error.
    #[error("cannot {action} {}: {error}", path.display())]
    Io {
        /// The operation that failed, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The error of the operating system.
        error: io::Error,
    },
    /// No space is left on the disk. Nothing was written, and a later call may succeed.
    #[error("the disk of {} is full: make room on it", path.display())]
    Full {
        /// The file that could not grow.
        path: PathBuf,
    },
    /// A record that had been synced is damaged.
    #[error(
        "{} is damaged at byte {offset}: restore it from a backup of this folder, or the whole \
         folder from another node; to continue with only the blocks before it, move it and the \
         files after it elsewhere",
        path.display()
    )]
    Damaged {
        /// The path of the damaged file.
        path: PathBuf,
        /// The offset of the first bad record in bytes, or 0 for the file header.
        offset: u64,
    },
    /// The record was removed, with the block of a side branch, while it was about to be read.
    #[error("the record at byte {offset} of {} was removed with its side branch", path.display())]
    Removed {
        /// The path of the file.
        path: PathBuf,
        /// The offset of the record in bytes.
        offset: u32,
    },
    /// A file of the sequence does not exist.
    #[error(
        "{} is missing: restore it from a backup of this folder; to continue with only the blocks \
         before it, move the files after it elsewhere",
        path.display()
    )]
    Missing {
        /// The path of the missing file.
        path: PathBuf,
    },
    /// The file has an unsupported format version.
    #[error("{} has format {found}, this program supports {VERSION}: use the newer program",
        path.display())]
    Version {
        /// The path of the file with the unsupported version.
        path: PathBuf,
        /// The format version in the file's header.
        found: u8,
    },
    /// The log ends before the position up to which it is known to have been synced: records that
    /// may have been acknowledged are lost.
    #[error(
        "{} ends at byte {}, but the log was synced up to byte {} of {:05}.log",
        folder.join(format!("{:05}.log", end.file)).display(), end.offset, covered.offset,
        covered.file
    )]
    Lost {
        /// The folder of the log.
        folder: PathBuf,
        /// The position after the last record that was found.
        end: LogPosition,
        /// The position up to which the log was synced.
        covered: LogPosition,
    },
    /// The log has no record boundary at the position up to which the caller claims to cover it, so
    /// the caller's data belongs to another log. Open the log from [`LogPosition::START`] instead.
    #[error("the block log has no record that ends at byte {} of file {}", .0.offset, .0.file)]
    NotCovered(LogPosition),
    /// The payload exceeds the maximum size of a record.
    #[error("a record of {bytes} bytes does not fit into the block log")]
    TooLong {
        /// The length of the payload, in bytes.
        bytes: usize,
    },
    /// A sync or a repair failed earlier, so the contents of the disk are unknown.
    #[error("the block log stopped after an earlier disk error: check the disk and start again")]
    Stopped,
}

impl LogError {
    /// Whether no space is left on the disk.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, LogError::Full { .. })
    }

    /// Returns the error of an operation that must not be repeated. This includes every sync: after
    /// a failed one, the disk may lack what was written, whatever the reason.
    pub(in crate::store) fn io<'a>(
        action: &'static str,
        path: &'a Path,
    ) -> impl FnOnce(io::Error) -> LogError + 'a {
        move |error| LogError::Io { action, path: path.to_owned(), error }
    }

    /// Returns the error of a write that came before any sync and that the caller has undone:
    /// [`Full`](LogError::Full) if it failed for lack of space.
    pub(in crate::store) fn write<'a>(
        action: &'static str,
        path: &'a Path,
    ) -> impl FnOnce(io::Error) -> LogError + 'a {
        move |error| match is_disk_full(&error) {
            true => LogError::Full { path: path.to_owned() },
            false => LogError::io(action, path)(error),
        }
    }
}
