//! The index: sorted keys and small values in sled 0.34, as a cache over the block log. Rows that
//! change with every transaction are in [sorted runs](super::sorted_run), which sled names: sled
//! writes some 100,000 of them in a second, a run several millions. The index does not interpret its
//! keys and guarantees nothing: if its integrity is in doubt when it is
//! opened, it is replaced by an empty one, which the caller rebuilds from the log.
//!
//! | last shutdown | treatment of the index |
//! |---|---|
//! | clean | used if every file has the size and CRC-32C recorded in `index.sum` |
//! | unclean, same boot | used if every record can be read |
//! | unclean, another boot, or unknown | replaced: sled does not survive a power failure |
//!
//! An error or a panic of sled during opening leads to replacement; at any other time it is an
//! [`IndexError`], and the node stops. Only a full disk is different: the index can be opened again
//! without a loss.

mod checksum;
mod engine;
mod error;
mod location;
mod reader;

use self::engine::Engine;
use self::error::Failure;
use self::location::{CLOSE_TIMEOUT, Location, close, read_last_batch, write_last_batch};
use super::directory::ShutdownKind;
use super::space;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub use self::checksum::mismatch as checksum_mismatch;
pub use self::error::IndexError;
pub use self::location::OPENING_THREAD;
pub use self::reader::{IndexReader, Scan};

/// A batch of keys with their new values; `None` removes the key.
pub type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// The maximum length of a value, in bytes. A leaf holds at least sixteen values, and sled writes
/// leaves of more than 128 kB to separate files, which it never syncs.
pub const MAX_VALUE_BYTES: usize = 4096;

/// The time to wait for another owner to release the index: sled may need a second.
const OPEN_TIMEOUT: Duration = Duration::from_secs(1);

/// The room that is kept in reserve, in bytes: what sled writes when it is opened.
const RESERVE_BYTES: usize = 2 << 20;

/// The room in bytes that the disk must have for a batch: a minimum of two of sled's segments, so
/// much for each byte of the batch, and no more than a maximum.
const MIN_ROOM: usize = 1 << 20;
const ROOM_PER_BYTE: usize = 4;
const MAX_ROOM: usize = 64 << 20;

/// The number of written keys per garbage collection of sled, which frees at most 512 objects.
/// Without it 6,000 batches of 1,000 keys occupied 3 GB; with it, and a cache of 64 MB, 0.4 GB.
const KEYS_PER_COLLECTION: usize = 128;

/// The number of written bytes after which sled is closed and opened again, which takes one or two
/// seconds. Sled records the locations of its pages only when it opens; otherwise the next open
/// reads everything written since then.
const REOPEN_AFTER_BYTES: u64 = 64 << 20;

/// The result of opening an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// No index existed, so a new and empty one was created.
    Created,
    /// The existing index is used. After an unclean shutdown the last batches may be missing.
    Reused,
    /// The existing index was unsound; the index is new and empty.
    Replaced {
        /// The reason, as a clause for the log.
        reason: String,
    },
}

/// An open index. It is not `Clone`: the owner has the exclusive right to write. Dropping it
/// without [`close`](Self::close) counts as an unclean shutdown.
#[derive(Debug)]
pub struct Index {
    location: Location,
    identity: Vec<u8>,
    reader: IndexReader,
    /// The number of the last batch that sled has written to its files.
    last_batch: AtomicU64,
    /// The number of bytes of keys and values written since sled was opened.
    written_bytes: AtomicU64,
}

impl Index {
    /// Opens the index in `folder`, or creates an empty one if there is none or it is unsound.
    /// `identity` identifies the contents, including the version of their schema. All names beside
    /// the folder that start with its own name belong to the index.
    ///
    /// # Errors
    /// Returns [`IndexError::InUse`] after a second, or a disk error.
    pub fn open(
        folder: &Path,
        last_shutdown: ShutdownKind,
        identity: &[u8],
        cache_bytes: u64,
    ) -> Result<(Index, Opened), IndexError> {
        // Resolving links preserves a link to a folder on another disk when the folder is replaced.
        let folder = fs::canonicalize(folder)
            .or_else(|_| std::path::absolute(folder))
            .map_err(IndexError::io("find", folder))?;
        let location = Location { folder, cache_bytes };
        location.remove_replaced()?;
        location.release_reserve()?;
        let (db, opened) = if location.folder.exists() {
            location.wait_until_unlocked(OPEN_TIMEOUT)?;
            match location.open_if_sound(last_shutdown, identity)? {
                Ok(db) => (db, Opened::Reused),
                Err(reason) => (location.replace(identity)?, Opened::Replaced { reason }),
            }
        } else {
            (location.create(identity)?, Opened::Created)
        };
        let last_batch = read_last_batch(&db)
            .map_err(|error| IndexError::engine(&Failure::from(&error), &location.folder))?;
        let index = Index {
            reader: IndexReader::new(Engine::new(location.folder.clone(), db)),
            location,
            identity: identity.to_owned(),
            last_batch: AtomicU64::new(last_batch),
            written_bytes: AtomicU64::new(0),
        };
        Ok((index, opened))
    }

    /// Returns the value of a key.
    ///
    /// # Errors
    /// Returns the errors of [`IndexReader::get`].
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        self.reader.get(key)
    }

    /// Returns the records whose keys start with `prefix`, as [`IndexReader::scan_prefix`] does.
    pub fn scan_prefix(&self, prefix: &[u8]) -> Scan {
        self.reader.scan_prefix(prefix)
    }

    /// Returns a reader of this index.
    pub fn reader(&self) -> IndexReader {
        self.reader.clone()
    }

    /// Whether the disk has room for a batch of this size in bytes. A full disk breaks sled, so this is
    /// worth knowing before a batch is applied. Also keeps a little room in reserve, with which the
    /// index can be opened again if the disk is full nevertheless.
    ///
    /// # Errors
    /// Returns a disk error.
    pub fn has_room(&self, bytes: usize) -> Result<bool, IndexError> {
        let reserve = self.location.reserve();
        let reserved = if reserve.exists() {
            true
        } else {
            space::reserve(&reserve, RESERVE_BYTES).map_err(IndexError::io("write", &reserve))?
        };
        let probe = self.location.folder.with_added_extension("probe");
        let bytes = ROOM_PER_BYTE.saturating_mul(bytes).saturating_add(MIN_ROOM).min(MAX_ROOM);
        Ok(reserved && space::has_room(&probe, bytes).map_err(IndexError::io("write", &probe))?)
    }

    /// Writes a batch of changes atomically. It survives the end of this process once this returns.
    /// Call [`reopen_if_due`](Self::reopen_if_due) after some batches.
    ///
    /// # Errors
    /// Returns [`IndexError::TooLong`] for a value above [`MAX_VALUE_BYTES`], without writing
    /// anything, [`IndexError::Engine`], or [`IndexError::Full`]. After the latter it is unknown
    /// whether the batch was written; it can be written again after [`recover`](Self::recover).
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
        let number = self.last_batch.load(Ordering::Relaxed) + 1;
        let collections = 1 + changes.len() / KEYS_PER_COLLECTION;
        self.reader.engine.write(move |db| {
            db.apply_batch(batch)?;
            (0..collections).for_each(|_| sled::pin().flush());
            write_last_batch(db, number)
        })?;
        self.last_batch.store(number, Ordering::Relaxed);
        self.written_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Closes sled and opens it again if much was written since it was opened.
    ///
    /// # Errors
    /// Returns [`IndexError::Engine`], [`IndexError::Full`], [`IndexError::InUse`] or a disk error.
    pub fn reopen_if_due(&self) -> Result<(), IndexError> {
        let is_due = self.written_bytes.load(Ordering::Relaxed) > REOPEN_AFTER_BYTES;
        if is_due { self.reopen() } else { Ok(()) }
    }

    /// Whether the index failed, so that it returns errors until [`recover`](Self::recover).
    pub fn has_failed(&self) -> bool {
        self.reader.engine.check().is_err()
    }

    /// Opens the index again if it failed because the disk was full. It has all batches that were
    /// applied.
    ///
    /// # Errors
    /// Returns [`IndexError::Full`] as long as the disk is full. After any other error the index
    /// stays closed.
    pub fn recover(&self) -> Result<(), IndexError> {
        match self.reader.engine.check() {
            Err(IndexError::Full { .. }) => self.reopen(),
            healthy_or_failed => healthy_or_failed,
        }
    }

    /// Closes sled and opens it again, while readers wait.
    fn reopen(&self) -> Result<(), IndexError> {
        let engine = &self.reader.engine;
        let mut db = engine.lock()?;
        close(db.take());
        self.location.release_reserve()?;
        let opened = self.location.open_again().inspect_err(|error| {
            engine.fail(match error {
                IndexError::Full { .. } => Failure::DiskFull,
                error => Failure::Other(error.to_string()),
            });
        })?;
        let last_batch = self.last_batch.load(Ordering::Relaxed);
        if read_last_batch(&opened).is_ok_and(|found| found >= last_batch) {
            *db = Some(opened);
            engine.clear_failure();
            self.written_bytes.store(0, Ordering::Relaxed);
            Ok(())
        } else {
            close(Some(opened));
            Err(engine.fail(Failure::Other("the disk lost a part of it".into())))
        }
    }

    /// Replaces the index by an empty one, also for its readers.
    ///
    /// # Errors
    /// Returns the errors of [`open`](Self::open); the index is closed then.
    pub fn replace(&mut self) -> Result<(), IndexError> {
        let engine = &self.reader.engine;
        let mut db = engine.lock()?;
        close(db.take());
        self.location.wait_until_unlocked(CLOSE_TIMEOUT)?;
        *db = Some(self.location.replace(&self.identity)?);
        engine.clear_failure();
        self.last_batch.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// Flushes the index and records the checksums of its files, so that the next open can verify
    /// them. Readers return [`IndexError::Closed`] from now on.
    ///
    /// # Errors
    /// Returns [`IndexError::Engine`], [`IndexError::Full`], [`IndexError::InUse`] or a disk error;
    /// the shutdown counts as unclean then.
    pub fn close(&self) -> Result<(), IndexError> {
        let engine = &self.reader.engine;
        engine.write(|_| Ok(()))?;
        close(engine.lock()?.take());
        self.location.wait_until_unlocked(CLOSE_TIMEOUT)?;
        self.location.release_reserve()?;
        checksum::write(&self.location.folder)
    }
}

impl Drop for Index {
    /// Closes the database, because readers may outlive the index.
    fn drop(&mut self) {
        if let Ok(mut db) = self.reader.engine.lock() {
            close(db.take());
        }
    }
}

#[cfg(test)]
mod tests;
