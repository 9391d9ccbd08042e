//! Errors of the index, and file operations that return them.

use crate::store::space::is_disk_full;
use std::any::Any;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// An error of opening, reading or writing the index.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
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
    /// No space is left on the disk. The index reads and writes again once there is space and
    /// [`Index::recover`](super::Index::recover) was called.
    #[error("the disk of {} is full: make room on it", path.display())]
    Full {
        /// The folder of the index.
        path: PathBuf,
    },
    /// Another process has the index open.
    #[error("the index {} is in use by another process: stop it and start again", path.display())]
    InUse {
        /// The folder of the index.
        path: PathBuf,
    },
    /// The storage engine failed, now or earlier. It is not called again.
    #[error("the index failed: {0}; check that its disk is sound, and start again")]
    Engine(String),
    /// The index was closed.
    #[error("the index is closed")]
    Closed,
    /// A value exceeds [`MAX_VALUE_BYTES`](super::MAX_VALUE_BYTES); nothing was written.
    #[error("a value of {bytes} bytes is too long for the index")]
    TooLong {
        /// The length of the value, in bytes.
        bytes: usize,
    },
}

impl IndexError {
    pub(super) fn io<'a>(
        action: &'static str,
        path: &'a Path,
    ) -> impl FnOnce(io::Error) -> IndexError + 'a {
        move |error| IndexError::Io { action, path: path.to_owned(), error }
    }

    pub(super) fn engine(failure: &Failure, folder: &Path) -> IndexError {
        match failure {
            Failure::DiskFull => IndexError::Full { path: folder.to_owned() },
            Failure::Other(reason) => IndexError::Engine(reason.clone()),
        }
    }

    /// Returns the error of opening a database, for which sled writes a little.
    pub(super) fn opening(path: &Path) -> impl FnOnce(io::Error) -> IndexError + '_ {
        move |source| match is_disk_full(&source) {
            true => IndexError::Full { path: path.to_owned() },
            false => IndexError::io("open", path)(source),
        }
    }
}

/// The reason why the storage engine failed.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    DiskFull,
    /// Anything else, as a clause.
    Other(String),
}

impl From<&sled::Error> for Failure {
    fn from(error: &sled::Error) -> Failure {
        match error {
            sled::Error::Io(error) if is_disk_full(error) => Failure::DiskFull,
            error => Failure::Other(engine_error_text(error)),
        }
    }
}

/// Describes an error of the storage engine.
pub(super) fn engine_error_text(error: &sled::Error) -> String {
    match error {
        sled::Error::Corruption { .. } => "a part of it is damaged".to_owned(),
        sled::Error::Io(error) => {
            // A later call returns the first error as its debug text.
            let text = error.to_string();
            let code = text.strip_prefix("Os { code: ").and_then(|rest| rest.split(',').next());
            let code = code.and_then(|code| code.parse().ok());
            code.map_or(text, |code| io::Error::from_raw_os_error(code).to_string())
        }
        error => error.to_string(),
    }
}

/// Returns the first line of a panic message.
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    let text = text.unwrap_or_else(|| "it panicked".to_owned());
    text.lines().next().unwrap_or_default().to_owned()
}

/// Lists the paths in a folder.
pub(super) fn folder_entries(folder: &Path) -> Result<Vec<PathBuf>, IndexError> {
    let read = |entry: io::Result<fs::DirEntry>| entry.map(|entry| entry.path());
    fs::read_dir(folder)
        .and_then(|entries| entries.map(read).collect())
        .map_err(IndexError::io("read", folder))
}

/// Removes a file, or a folder with its contents.
pub(super) fn remove_path(path: &Path) -> Result<(), IndexError> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.map_err(IndexError::io("remove", path))
}
