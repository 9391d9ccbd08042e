//! Opening, creating and replacing the sled database of an index.

use super::checksum;
use super::error::{
    Failure, IndexError, engine_error_text, folder_entries, panic_text, remove_path,
};
use crate::store::directory::ShutdownKind;
use crate::store::space;
use std::fs::{self, File, TryLockError};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

/// The name of the thread that opens an index. Panics of this thread are handled.
pub const OPENING_THREAD: &str = "index-open";

/// The time to wait for this process's own sled to release the lock on a slow disk.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(20);

/// The pause between two attempts to lock the database.
pub(super) const LOCK_PAUSE: Duration = Duration::from_millis(25);

/// The interval at which sled flushes and cleans up in the background, in milliseconds.
const FLUSH_EVERY_MS: u64 = 500;

/// The name of the tree that holds the identity and the other keys of the index itself, separate
/// from the caller's keys, and the key of the identity.
const IDENTITY: &[u8] = b"identity";

/// The key of the number of the last batch.
const LAST_BATCH: &[u8] = b"last batch";

/// A key without meaning.
const WAKE: &[u8] = b"wake";

/// The folder and the cache size of an index.
#[derive(Clone, Debug)]
pub(super) struct Location {
    pub(super) folder: PathBuf,
    pub(super) cache_bytes: u64,
}

impl Location {
    fn config(&self) -> sled::Config {
        sled::Config::new()
            .path(&self.folder)
            .cache_capacity(self.cache_bytes)
            .flush_every_ms(Some(FLUSH_EVERY_MS))
            .print_profile_on_drop(false)
    }

    /// Opens the existing database, or returns the reason why it cannot be trusted.
    pub(super) fn open_if_sound(
        &self,
        last_shutdown: ShutdownKind,
        identity: &[u8],
    ) -> Result<Result<sled::Db, String>, IndexError> {
        let unsound = match last_shutdown {
            _ if !self.folder.is_dir() => Some("it is not a folder".to_owned()),
            ShutdownKind::FirstRun => Some("it is unknown how the last run ended".to_owned()),
            ShutdownKind::UncleanOtherBoot => {
                Some("the machine went down while it was in use".to_owned())
            }
            ShutdownKind::UncleanSameBoot => None,
            ShutdownKind::Clean => checksum::mismatch(&self.folder),
        };
        checksum::remove(&self.folder)?;
        if let Some(reason) = unsound {
            return Ok(Err(reason));
        }
        self.remove_unfinished_snapshots()?;
        let read_all = last_shutdown != ShutdownKind::Clean;
        match self.open_on_thread(move |db| if read_all { read_all_records(db) } else { Ok(()) }) {
            Ok(db) => match catch_unwind(AssertUnwindSafe(|| read_identity(&db))) {
                Ok(Ok(Some(found))) if found == identity => Ok(Ok(db)),
                _ => {
                    close(Some(db));
                    self.wait_until_unlocked(CLOSE_TIMEOUT)?;
                    Ok(Err("it is of another network or version".to_owned()))
                }
            },
            Err(OpenFailure::Disk(source)) => Err(IndexError::opening(&self.folder)(source)),
            Err(OpenFailure::Unsound(reason)) => Ok(Err(reason)),
        }
    }

    /// Opens the database without checks, creating it if there is none.
    pub(super) fn open_unchecked(&self) -> Result<sled::Db, IndexError> {
        self.open_on_thread(|_| Ok(())).map_err(|failure| match failure {
            OpenFailure::Disk(source) => IndexError::opening(&self.folder)(source),
            OpenFailure::Unsound(reason) => IndexError::Engine(reason),
        })
    }

    /// The file that keeps room in reserve.
    pub(super) fn reserve(&self) -> PathBuf {
        self.folder.with_added_extension("reserve")
    }

    /// Removes the file that keeps room in reserve.
    pub(super) fn release_reserve(&self) -> Result<(), IndexError> {
        let path = self.reserve();
        space::remove(&path).map_err(IndexError::io("remove", &path))
    }

    /// Opens the database again, after this process has closed it.
    pub(super) fn open_again(&self) -> Result<sled::Db, IndexError> {
        self.wait_until_unlocked(CLOSE_TIMEOUT)?;
        self.remove_unfinished_snapshots()?;
        self.open_unchecked()
    }

    /// Creates a database where there is none.
    pub(super) fn create(&self, identity: &[u8]) -> Result<sled::Db, IndexError> {
        let db = self.open_unchecked()?;
        db.open_tree(IDENTITY)
            .and_then(|tree| tree.insert(IDENTITY, identity))
            .and_then(|_| db.flush())
            .map_err(|error| IndexError::engine(&Failure::from(&error), &self.folder))?;
        Ok(db)
    }

    /// Replaces the existing database by a new one.
    pub(super) fn replace(&self, identity: &[u8]) -> Result<sled::Db, IndexError> {
        let old = (0_u32..)
            .map(|number| self.folder.with_added_extension(format!("old-{number}")))
            .find(|old| fs::symlink_metadata(old).is_err())
            .expect("a folder has fewer names than there are numbers");
        fs::rename(&self.folder, &old).map_err(IndexError::io("move", &self.folder))?;
        let db = self.create(identity)?;
        remove_path(&old)?;
        Ok(db)
    }

    /// Opens and checks the database on a separate thread, because sled may panic.
    fn open_on_thread(
        &self,
        check: impl FnOnce(&sled::Db) -> sled::Result<()> + Send + 'static,
    ) -> Result<sled::Db, OpenFailure> {
        let config = self.config();
        let open = move || {
            let db = config.open()?;
            // Catching the panic here avoids dropping the engine during unwinding.
            match catch_unwind(AssertUnwindSafe(|| check(&db))) {
                Ok(checked) => checked.map(|()| db).map_err(OpenFailure::from),
                Err(panic) => Err(OpenFailure::Unsound(panic_text(panic.as_ref()))),
            }
        };
        thread::Builder::new()
            .name(OPENING_THREAD.to_owned())
            .spawn(open)
            .map_err(OpenFailure::Disk)?
            .join()
            .unwrap_or_else(|panic| Err(OpenFailure::Unsound(panic_text(panic.as_ref()))))
    }

    /// Waits until no one has the database open.
    pub(super) fn wait_until_unlocked(&self, timeout: Duration) -> Result<(), IndexError> {
        let path = self.folder.join("db");
        let Ok(file) = File::open(&path) else {
            return Ok(());
        };
        let mut waited = Duration::ZERO;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::WouldBlock) if waited < timeout => {
                    thread::sleep(LOCK_PAUSE);
                    waited += LOCK_PAUSE;
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(IndexError::InUse { path: self.folder.clone() });
                }
                Err(TryLockError::Error(error)) => {
                    return Err(IndexError::io("lock", &path)(error));
                }
            }
        }
    }

    /// Removes replaced databases that an earlier run did not remove.
    pub(super) fn remove_replaced(&self) -> Result<(), IndexError> {
        let (Some(parent), Some(name)) = (self.folder.parent(), self.folder.file_name()) else {
            return Ok(());
        };
        let start = format!("{}.old-", name.to_string_lossy());
        for path in folder_entries(parent)? {
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&start)) {
                remove_path(&path)?;
            }
        }
        Ok(())
    }

    /// Removes snapshots that sled was writing when it was killed. It never opens them.
    fn remove_unfinished_snapshots(&self) -> Result<(), IndexError> {
        for path in folder_entries(&self.folder)? {
            if path.extension().is_some_and(|extension| extension == "generating") {
                remove_path(&path)?;
            }
        }
        Ok(())
    }
}

/// The reason why sled could not open a database.
enum OpenFailure {
    /// The disk reported an error; the database may be sound.
    Disk(io::Error),
    /// The database is damaged.
    Unsound(String),
}

impl From<sled::Error> for OpenFailure {
    fn from(error: sled::Error) -> OpenFailure {
        use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        match error {
            sled::Error::Io(error)
                if matches!(
                    error.kind(),
                    PermissionDenied | QuotaExceeded | ReadOnlyFilesystem | StorageFull
                ) =>
            {
                OpenFailure::Disk(error)
            }
            error => OpenFailure::Unsound(engine_error_text(&error)),
        }
    }
}

/// Drops the database, which joins its threads and writes. It may panic if the engine failed
/// before.
pub(super) fn close(db: Option<sled::Db>) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(db)));
}

/// Reads every record, which reveals unreadable pages.
fn read_all_records(db: &sled::Db) -> sled::Result<()> {
    db.iter().try_for_each(|record| record.map(drop))
}

/// Records the number of the last batch, which sled writes after that batch.
pub(super) fn write_last_batch(db: &sled::Db, number: u64) -> sled::Result<()> {
    db.open_tree(IDENTITY)?.insert(LAST_BATCH, &number.to_le_bytes()).map(drop)
}

/// Returns the number of the last batch, or 0 if there was none.
pub(super) fn read_last_batch(db: &sled::Db) -> sled::Result<u64> {
    let number = db.open_tree(IDENTITY)?.get(LAST_BATCH)?;
    let number = number.and_then(|number| number.as_ref().try_into().ok());
    Ok(number.map_or(0, u64::from_le_bytes))
}

/// Wakes the threads that wait for a write that failed.
pub(super) fn wake(db: &sled::Db) {
    let write = || db.open_tree(IDENTITY).and_then(|tree| tree.insert(WAKE, WAKE));
    let _ = catch_unwind(AssertUnwindSafe(write));
}

fn read_identity(db: &sled::Db) -> sled::Result<Option<Vec<u8>>> {
    Ok(db.open_tree(IDENTITY)?.get(IDENTITY)?.map(|identity| identity.to_vec()))
}
