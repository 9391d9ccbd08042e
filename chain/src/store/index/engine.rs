//! Calls of sled. After an error or a panic of sled nothing of it can be relied on, so it is not
//! called again until it was opened again.
//!
//! When a write fails, sled may miss to wake the threads that wait for it, which the next write
//! then does. Writes are therefore made on another thread, with a limit of their time.

use super::error::{Failure, IndexError, panic_text};
use super::location::{CLOSE_TIMEOUT, LOCK_PAUSE, wake};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError, RwLock, RwLockWriteGuard, TryLockError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The time after which a thread that waits for a write is woken.
const WAKE_AFTER: Duration = Duration::from_secs(1);

/// The number of times that it is woken before the write counts as failed: far longer than a disk
/// under load needs.
const MAX_WAKES: u32 = 120;

/// The storage engine, which is shared by the index and its readers.
#[derive(Debug)]
pub(super) struct Engine {
    folder: PathBuf,
    /// `None` once the index is closed.
    db: RwLock<Option<sled::Db>>,
    /// Whether `failure` is set.
    has_failed: AtomicBool,
    /// The error after which sled is not called again.
    failure: Mutex<Option<Failure>>,
}

impl Engine {
    pub(super) fn new(folder: PathBuf, db: sled::Db) -> Engine {
        let (db, has_failed) = (RwLock::new(Some(db)), AtomicBool::new(false));
        Engine { folder, db, has_failed, failure: Mutex::new(None) }
    }

    /// Calls sled to read.
    pub(super) fn call<T>(
        &self,
        operation: impl FnOnce(&sled::Db) -> sled::Result<T>,
    ) -> Result<T, IndexError> {
        self.try_call(|db| catch_failure(|| operation(db)))
    }

    /// Calls sled to write, and waits until everything is written to its files.
    pub(super) fn write(
        &self,
        operation: impl FnOnce(&sled::Db) -> sled::Result<()> + Send + 'static,
    ) -> Result<(), IndexError> {
        self.try_call(|db| write_on_thread(db, operation))
    }

    fn try_call<T>(
        &self,
        operation: impl FnOnce(&sled::Db) -> Result<T, Failure>,
    ) -> Result<T, IndexError> {
        self.check()?;
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        let db = db.as_ref().ok_or(IndexError::Closed)?;
        operation(db).map_err(|failure| self.fail(failure))
    }

    /// Returns the error after which sled is not called again, if there was one.
    pub(super) fn check(&self) -> Result<(), IndexError> {
        if !self.has_failed.load(Ordering::Acquire) {
            return Ok(());
        }
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.as_ref().map_or(Ok(()), |failure| Err(IndexError::engine(failure, &self.folder)))
    }

    /// Remembers an error, so that sled is not called again, and returns it.
    pub(super) fn fail(&self, failure: Failure) -> IndexError {
        let error = IndexError::engine(&failure, &self.folder);
        let mut known = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        // Anything else is worse than a full disk, after which the database is opened again.
        if !matches!(*known, Some(Failure::Other(_))) {
            *known = Some(failure);
        }
        self.has_failed.store(true, Ordering::Release);
        error
    }

    /// Allows calls again, after the database was opened again.
    pub(super) fn clear_failure(&self) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.has_failed.store(false, Ordering::Release);
    }

    /// Locks the database for closing or replacing it; readers wait.
    ///
    /// # Errors
    /// Returns [`IndexError::Engine`] if sled failed and a reader does not return from it.
    pub(super) fn lock(&self) -> Result<RwLockWriteGuard<'_, Option<sled::Db>>, IndexError> {
        if self.check().is_ok() {
            return Ok(self.db.write().unwrap_or_else(PoisonError::into_inner));
        }
        // Readers may wait for a write that failed, and no new ones come.
        let mut waited = Duration::ZERO;
        loop {
            match self.db.try_write() {
                Ok(db) => return Ok(db),
                Err(TryLockError::Poisoned(poisoned)) => return Ok(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) if waited < CLOSE_TIMEOUT => {
                    thread::sleep(LOCK_PAUSE);
                    waited += LOCK_PAUSE;
                    self.wake_readers();
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(self.fail(Failure::Other("it does not answer".into())));
                }
            }
        }
    }

    fn wake_readers(&self) {
        if let Ok(db) = self.db.try_read()
            && let Some(db) = db.as_ref()
        {
            wake(db);
        }
    }
}

/// Calls sled, and catches its panic.
fn catch_failure<T>(operation: impl FnOnce() -> sled::Result<T>) -> Result<T, Failure> {
    match catch_unwind(AssertUnwindSafe(operation)) {
        Ok(result) => result.map_err(|error| Failure::from(&error)),
        Err(panic) => Err(Failure::Other(panic_text(panic.as_ref()))),
    }
}

fn write_on_thread(
    db: &sled::Db,
    operation: impl FnOnce(&sled::Db) -> sled::Result<()> + Send + 'static,
) -> Result<(), Failure> {
    let (done, result) = channel();
    let worker = db.clone();
    let write = move || {
        let written = catch_failure(|| operation(&worker).and_then(|()| worker.flush().map(drop)));
        // The caller may close the database.
        drop(worker);
        let _ = done.send(written);
    };
    let spawned = thread::Builder::new().name("index-write".to_owned()).spawn(write);
    spawned.map_err(|error| Failure::Other(error.to_string()))?;
    let mut waking: Option<JoinHandle<()>> = None;
    for _ in 0..MAX_WAKES {
        match result.recv_timeout(WAKE_AFTER) {
            Ok(written) => return written,
            Err(RecvTimeoutError::Timeout) => {
                if waking.as_ref().is_none_or(JoinHandle::is_finished) {
                    let db = db.clone();
                    waking = thread::Builder::new().spawn(move || wake(&db)).ok();
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    Err(Failure::Other("it does not answer".into()))
}
