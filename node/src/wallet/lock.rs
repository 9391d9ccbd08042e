//! Locks between processes that use one wallet: advisory locks of files beside it, which the end of a
//! process releases, however it ends. The files are empty and stay.

use super::file::{self, FileError};
use std::fs::{File, TryLockError};
use std::path::Path;

/// An exclusive lock, released when dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for the lock of the file at a path, which is created if it does not exist.
    pub fn acquire(path: &Path) -> Result<Lock, FileError> {
        let file = file::open_lock(path)?;
        file.lock().map_err(|source| FileError::Io { path: path.to_owned(), source })?;
        Ok(Lock { _file: file })
    }

    /// Takes the lock unless another process, or another part of this one, holds it.
    pub fn try_acquire(path: &Path) -> Result<Option<Lock>, FileError> {
        let file = file::open_lock(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => {
                Err(FileError::Io { path: path.to_owned(), source })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("w.lock");
        let lock = Lock::acquire(&path).unwrap();
        assert!(Lock::try_acquire(&path).unwrap().is_none());
        let other = path.clone();
        let waiting = std::thread::spawn(move || Lock::acquire(&other).map(drop));
        drop(lock);
        waiting.join().unwrap().unwrap();
        assert!(Lock::try_acquire(&path).unwrap().is_some());
        assert!(Lock::acquire(&home.path().join("none/w.lock")).is_err());
    }
}
