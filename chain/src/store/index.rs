//! The index: sorted keys and small values in sled 0.34, a cache over the block log.
//! Does not know what its keys mean, and promises nothing: whatever is not to be trusted at an
//! open is thrown away, and its owner fills the new one from the log.
//!
//! | stop before | the index is |
//! |---|---|
//! | clean | used if every file has the size and CRC-32C written down in `index.sum` |
//! | killed, same boot | used once every record could be read |
//! | another boot, or unknown | replaced: sled does not survive a power cut |
//!
//! Whatever sled answers with an error or a panic while opening leads to replacement; at any
//! other time it is an [`IndexError`], and the node stops.

mod checksum;
mod scan;

use std::any::Any;
use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use super::directory::ShutdownKind;

pub use self::scan::Scan;

/// Keys with their new values; `None` removes.
pub type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Bytes a value may have. A leaf holds sixteen and more; sled writes one of over 128 kB to a
/// file of its own, which it never syncs.
pub const MAX_VALUE_BYTES: usize = 4096;

/// Name of the thread that opens an index. What panics there is an answer, not an accident.
pub const OPENING_THREAD: &str = "index-open";

/// How long an open waits for someone else to let go of the index: sled may take a second.
const OPENING_PATIENCE: Duration = Duration::from_secs(1);

/// How long this process waits for its own sled to let go, on a disk that may be slow.
const CLOSING_PATIENCE: Duration = Duration::from_secs(20);

/// Pause between two looks at the lock.
const LOCK_PAUSE: Duration = Duration::from_millis(25);

/// How often sled writes out and cleans up by itself, in milliseconds.
const FLUSH_EVERY_MS: u64 = 500;

/// Keys written for one look of sled at what it can free, 512 things at most. Without these looks
/// 6,000 batches of 1,000 keys left 3 GB behind; with them, and a cache of 64 MB, 0.4 GB.
const KEYS_PER_COLLECTION: usize = 128;

/// Bytes of keys and values after which sled is closed and opened again, in one or two seconds:
/// only as it opens does it note where its pages are, else the next open reads all since then.
const REOPEN_AFTER_BYTES: u64 = 64 << 20;

/// Name of the tree that holds the identity, apart from the caller's keys, and its one key.
const IDENTITY: &[u8] = b"identity";

/// What an open found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// Nothing: the index is new and empty.
    Created,
    /// The index as it was left; after a kill perhaps without the last batches.
    Reused,
    /// One not to be trusted: the index is new and empty.
    Replaced {
        /// Why, for the log: a clause.
        reason: String,
    },
}

/// Why the index cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried: a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Something else has it open.
    #[error("the index {} is in use by another process: stop that and start again", path.display())]
    InUse {
        /// The index.
        path: PathBuf,
    },
    /// The engine failed, now or earlier, and is not asked again.
    #[error("the index failed: {0}; see that its disk is sound and not full, and start again")]
    Engine(String),
    /// It was closed.
    #[error("the index is closed")]
    Closed,
    /// The caller's mistake; nothing was changed.
    #[error("a value of {bytes} bytes is too long for the index")]
    TooLong {
        /// Bytes of the value.
        bytes: usize,
    },
}

impl IndexError {
    fn io<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> IndexError + 'a {
        move |source| IndexError::Io { action, path: path.to_owned(), source }
    }
}

/// The index, opened. Not `Clone`: holding it is the right to change it. Dropped without
/// [`close`](Self::close) it is like killed.
#[derive(Debug)]
pub struct Index {
    location: Location,
    identity: Vec<u8>,
    reader: IndexReader,
    /// Bytes of keys and values written since sled was opened.
    written_bytes: AtomicU64,
}

/// Reads the index, from any thread. Cheap to clone.
#[derive(Clone, Debug)]
pub struct IndexReader {
    engine: Arc<Engine>,
}

#[derive(Debug)]
struct Engine {
    /// `None` once closed.
    db: RwLock<Option<sled::Db>>,
    /// Set by the first error of the engine.
    failed: AtomicBool,
}

/// Where an index lies and how much memory it may cache with.
#[derive(Clone, Debug)]
struct Location {
    folder: PathBuf,
    cache_bytes: u64,
}

impl Index {
    /// Opens the index in `folder`, or a new one in its place if there is none to trust.
    /// `identity` says what it is an index of, schema version included. Beside the folder, the
    /// names beginning with its own belong to it.
    ///
    /// # Errors
    /// [`IndexError::InUse`] after a second, and those of the disk.
    pub fn open(
        folder: &Path,
        last_shutdown: ShutdownKind,
        identity: &[u8],
        cache_bytes: u64,
    ) -> Result<(Index, Opened), IndexError> {
        // A link to a folder on another disk stays one, whatever happens to the folder.
        let folder = fs::canonicalize(folder)
            .or_else(|_| std::path::absolute(folder))
            .map_err(IndexError::io("find", folder))?;
        let location = Location { folder, cache_bytes };
        location.remove_leftovers()?;
        let (db, opened) = if location.folder.exists() {
            location.wait_until_free(OPENING_PATIENCE)?;
            match location.open_if_sound(last_shutdown, identity)? {
                Ok(db) => (db, Opened::Reused),
                Err(reason) => (location.replace(identity)?, Opened::Replaced { reason }),
            }
        } else {
            (location.create(identity)?, Opened::Created)
        };
        let engine = Engine { db: RwLock::new(Some(db)), failed: AtomicBool::new(false) };
        let reader = IndexReader { engine: Arc::new(engine) };
        let identity = identity.to_owned();
        Ok((Index { location, identity, reader, written_bytes: AtomicU64::new(0) }, opened))
    }

    /// The value of a key.
    ///
    /// # Errors
    /// As [`IndexReader::get`].
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        self.reader.get(key)
    }

    /// The records whose keys begin with `prefix`, as [`IndexReader::scan_prefix`].
    pub fn scan_prefix(&self, prefix: &[u8]) -> Scan {
        self.reader.scan_prefix(prefix)
    }

    /// Reads this index from anywhere.
    pub fn reader(&self) -> IndexReader {
        self.reader.clone()
    }

    /// Makes all changes or, after a kill, none of them.
    ///
    /// # Errors
    /// [`IndexError::TooLong`] for a value above [`MAX_VALUE_BYTES`], with nothing changed;
    /// [`IndexError::Engine`].
    pub fn apply(&self, changes: &Changes) -> Result<(), IndexError> {
        let longest = changes.values().flatten().map(Vec::len).max().unwrap_or(0);
        if longest > MAX_VALUE_BYTES {
            return Err(IndexError::TooLong { bytes: longest });
        }
        let mut batch = sled::Batch::default();
        let mut bytes = 0;
        for (key, value) in changes {
            bytes += key.len() + value.as_ref().map_or(0, Vec::len);
            match value {
                Some(value) => batch.insert(key.as_slice(), value.as_slice()),
                None => batch.remove(key.as_slice()),
            }
        }
        self.reader.engine.ask(|db| {
            db.apply_batch(batch)?;
            (0..=changes.len() / KEYS_PER_COLLECTION).for_each(|_| sled::pin().flush());
            Ok(())
        })?;
        let before = self.written_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        if before + bytes as u64 > REOPEN_AFTER_BYTES { self.reopen() } else { Ok(()) }
    }

    /// Closes sled and opens it again; readers wait.
    fn reopen(&self) -> Result<(), IndexError> {
        let engine = &self.reader.engine;
        engine.ask(|db| db.flush().map(drop))?;
        let mut db = engine.db.write().unwrap_or_else(PoisonError::into_inner);
        drop_engine(db.take());
        self.location.wait_until_free(CLOSING_PATIENCE)?;
        *db = Some(self.location.open_as_it_is()?);
        self.written_bytes.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// Throws the index away and goes on with an empty one; readers follow.
    ///
    /// # Errors
    /// Those of [`open`](Self::open); the index is then closed.
    pub fn replace(&mut self) -> Result<(), IndexError> {
        let engine = &self.reader.engine;
        let mut db = engine.db.write().unwrap_or_else(PoisonError::into_inner);
        drop_engine(db.take());
        self.location.wait_until_free(CLOSING_PATIENCE)?;
        *db = Some(self.location.replace(&self.identity)?);
        engine.failed.store(false, Ordering::Release);
        Ok(())
    }

    /// Writes everything out and notes what the files are then, so that the next open can trust
    /// them. Readers get [`IndexError::Closed`] from now on.
    ///
    /// # Errors
    /// [`IndexError::Engine`], [`IndexError::InUse`] and those of the disk; the stop is then not
    /// a clean one.
    pub fn close(self) -> Result<(), IndexError> {
        let engine = &self.reader.engine;
        engine.ask(|db| db.flush().map(drop))?;
        drop_engine(engine.db.write().unwrap_or_else(PoisonError::into_inner).take());
        self.location.wait_until_free(CLOSING_PATIENCE)?;
        checksum::write(&self.location.folder)
    }
}

impl Drop for Index {
    /// Readers may outlive the index, its files and their lock must not.
    fn drop(&mut self) {
        let mut db = self.reader.engine.db.write().unwrap_or_else(PoisonError::into_inner);
        drop_engine(db.take());
    }
}

impl IndexReader {
    /// The value of a key.
    ///
    /// # Errors
    /// [`IndexError::Engine`], [`IndexError::Closed`].
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        self.engine.ask(|db| Ok(db.get(key)?.map(|value| value.to_vec())))
    }

    /// The records whose keys begin with `prefix`, in the order of their keys. Not a snapshot:
    /// changes made meanwhile show in what is still to come.
    pub fn scan_prefix(&self, prefix: &[u8]) -> Scan {
        Scan::new(self.clone(), prefix)
    }
}

impl Engine {
    /// Asks sled; an error or a panic is the last thing it is asked.
    fn ask<T>(&self, question: impl FnOnce(&sled::Db) -> sled::Result<T>) -> Result<T, IndexError> {
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        let db = db.as_ref().ok_or(IndexError::Closed)?;
        if self.failed.load(Ordering::Acquire) {
            return Err(IndexError::Engine("it failed before".into()));
        }
        let failure = match catch_unwind(AssertUnwindSafe(|| question(db))) {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => text_of(&error),
            Err(panic) => panic_text(panic.as_ref()),
        };
        self.failed.store(true, Ordering::Release);
        Err(IndexError::Engine(failure))
    }
}

impl Location {
    fn config(&self) -> sled::Config {
        sled::Config::new()
            .path(&self.folder)
            .cache_capacity(self.cache_bytes)
            .flush_every_ms(Some(FLUSH_EVERY_MS))
            .print_profile_on_drop(false)
    }

    /// The index there, or why it is not to be trusted.
    fn open_if_sound(
        &self,
        last_shutdown: ShutdownKind,
        identity: &[u8],
    ) -> Result<Result<sled::Db, String>, IndexError> {
        let distrust = match last_shutdown {
            _ if !self.folder.is_dir() => Some("it is not a folder".to_owned()),
            ShutdownKind::FirstRun => Some("nothing says how the last run ended".to_owned()),
            ShutdownKind::UncleanOtherBoot => {
                Some("the machine went down while it was in use".to_owned())
            }
            ShutdownKind::UncleanSameBoot => None,
            ShutdownKind::Clean => checksum::mismatch(&self.folder),
        };
        checksum::remove(&self.folder)?;
        if let Some(reason) = distrust {
            return Ok(Err(reason));
        }
        self.remove_unfinished_snapshots()?;
        let read_all = last_shutdown != ShutdownKind::Clean;
        match self.on_opening_thread(move |db| if read_all { read_all_of(db) } else { Ok(()) }) {
            Ok(db) => match catch_unwind(AssertUnwindSafe(|| identity_of(&db))) {
                Ok(Ok(Some(found))) if found == identity => Ok(Ok(db)),
                _ => {
                    drop_engine(Some(db));
                    self.wait_until_free(CLOSING_PATIENCE)?;
                    Ok(Err("it is of another network or version".to_owned()))
                }
            },
            Err(RejectReason::Disk(source)) => Err(IndexError::io("open", &self.folder)(source)),
            Err(RejectReason::Unsound(reason)) => Ok(Err(reason)),
        }
    }

    /// Whatever is there, or a new one.
    fn open_as_it_is(&self) -> Result<sled::Db, IndexError> {
        self.on_opening_thread(|_| Ok(())).map_err(|refusal| match refusal {
            RejectReason::Disk(source) => IndexError::io("open", &self.folder)(source),
            RejectReason::Unsound(reason) => IndexError::Engine(reason),
        })
    }

    /// A new index where there is none.
    fn create(&self, identity: &[u8]) -> Result<sled::Db, IndexError> {
        let db = self.open_as_it_is()?;
        db.open_tree(IDENTITY)
            .and_then(|tree| tree.insert(IDENTITY, identity))
            .and_then(|_| db.flush())
            .map_err(|error| IndexError::Engine(text_of(&error)))?;
        Ok(db)
    }

    /// A new index where there was one.
    fn replace(&self, identity: &[u8]) -> Result<sled::Db, IndexError> {
        let aside = (0_u32..)
            .map(|number| self.folder.with_added_extension(format!("old-{number}")))
            .find(|aside| fs::symlink_metadata(aside).is_err())
            .expect("a folder has fewer names than there are numbers");
        fs::rename(&self.folder, &aside).map_err(IndexError::io("move", &self.folder))?;
        let db = self.create(identity)?;
        remove(&aside)?;
        Ok(db)
    }

    /// Opens on a thread of its own, where sled may panic over what it finds.
    fn on_opening_thread(
        &self,
        check: impl FnOnce(&sled::Db) -> sled::Result<()> + Send + 'static,
    ) -> Result<sled::Db, RejectReason> {
        let config = self.config();
        let open = move || {
            let db = config.open()?;
            // Caught here, so that dropping the engine does not happen while it panics.
            match catch_unwind(AssertUnwindSafe(|| check(&db))) {
                Ok(checked) => checked.map(|()| db).map_err(RejectReason::from),
                Err(panic) => Err(RejectReason::Unsound(panic_text(panic.as_ref()))),
            }
        };
        thread::Builder::new()
            .name(OPENING_THREAD.to_owned())
            .spawn(open)
            .map_err(RejectReason::Disk)?
            .join()
            .unwrap_or_else(|panic| Err(RejectReason::Unsound(panic_text(panic.as_ref()))))
    }

    /// Waits until nothing has the index open.
    fn wait_until_free(&self, patience: Duration) -> Result<(), IndexError> {
        let path = self.folder.join("db");
        let Ok(file) = File::open(&path) else {
            return Ok(());
        };
        let mut waited = Duration::ZERO;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::WouldBlock) if waited < patience => {
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

    /// Removes replaced indexes that an earlier run had no time to remove.
    fn remove_leftovers(&self) -> Result<(), IndexError> {
        let (Some(above), Some(name)) = (self.folder.parent(), self.folder.file_name()) else {
            return Ok(());
        };
        let start = format!("{}.old-", name.to_string_lossy());
        for path in entries(above)? {
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&start)) {
                remove(&path)?;
            }
        }
        Ok(())
    }

    /// Removes what sled left of a snapshot it was writing when killed: it never opens again.
    fn remove_unfinished_snapshots(&self) -> Result<(), IndexError> {
        for path in entries(&self.folder)? {
            if path.extension().is_some_and(|extension| extension == "generating") {
                remove(&path)?;
            }
        }
        Ok(())
    }
}

/// Why sled did not open an index.
enum RejectReason {
    /// The disk would not let it; the index may be fine.
    Disk(io::Error),
    /// The index is not as sled left it.
    Unsound(String),
}

impl From<sled::Error> for RejectReason {
    fn from(error: sled::Error) -> RejectReason {
        use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        match error {
            sled::Error::Io(error)
                if matches!(
                    error.kind(),
                    PermissionDenied | QuotaExceeded | ReadOnlyFilesystem | StorageFull
                ) =>
            {
                RejectReason::Disk(error)
            }
            error => RejectReason::Unsound(text_of(&error)),
        }
    }
}

/// Reads every record: a page that cannot be read shows now.
fn read_all_of(db: &sled::Db) -> sled::Result<()> {
    db.iter().try_for_each(|record| record.map(drop))
}

fn identity_of(db: &sled::Db) -> sled::Result<Option<Vec<u8>>> {
    Ok(db.open_tree(IDENTITY)?.get(IDENTITY)?.map(|identity| identity.to_vec()))
}

/// Drops the engine, which joins its threads and writes: it may panic if it failed before.
fn drop_engine(db: Option<sled::Db>) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(db)));
}

fn text_of(error: &sled::Error) -> String {
    match error {
        sled::Error::Corruption { .. } => "a part of it is damaged".to_owned(),
        sled::Error::Io(error) => error.to_string(),
        error => error.to_string(),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    let text = text.unwrap_or_else(|| "it panicked".to_owned());
    text.lines().next().unwrap_or_default().to_owned()
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, IndexError> {
    let read = |entry: io::Result<fs::DirEntry>| entry.map(|entry| entry.path());
    fs::read_dir(folder)
        .and_then(|entries| entries.map(read).collect())
        .map_err(IndexError::io("read", folder))
}

fn remove(path: &Path) -> Result<(), IndexError> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.map_err(IndexError::io("remove", path))
}

#[cfg(test)]
mod tests;
