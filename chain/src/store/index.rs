//! The index: sorted keys and small values in sled 0.34, as a cache over the block log. The index
//! does not interpret its keys and guarantees nothing: if its integrity is in doubt when it is
//! opened, it is replaced by an empty one, which the caller rebuilds from the log.
//!
//! | last shutdown | treatment of the index |
//! |---|---|
//! | clean | used if every file has the size and CRC-32C recorded in `index.sum` |
//! | unclean, same boot | used if every record can be read |
//! | unclean, another boot, or unknown | replaced: sled does not survive a power failure |
//!
//! An error or a panic of sled during opening leads to replacement; at any other time it is an
//! [`IndexError`], and the node stops.

mod checksum;
mod error;
mod location;
mod reader;

use self::location::{CLOSE_TIMEOUT, Location, close};
use super::directory::ShutdownKind;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

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
        let (db, opened) = if location.folder.exists() {
            location.wait_until_unlocked(OPEN_TIMEOUT)?;
            match location.open_if_sound(last_shutdown, identity)? {
                Ok(db) => (db, Opened::Reused),
                Err(reason) => (location.replace(identity)?, Opened::Replaced { reason }),
            }
        } else {
            (location.create(identity)?, Opened::Created)
        };
        let index = Index {
            location,
            identity: identity.to_owned(),
            reader: IndexReader::new(db),
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

    /// Writes a batch of changes atomically.
    ///
    /// # Errors
    /// Returns [`IndexError::TooLong`] for a value above [`MAX_VALUE_BYTES`], without writing
    /// anything, or [`IndexError::Engine`].
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
        self.reader.engine.call(|db| {
            db.apply_batch(batch)?;
            (0..=changes.len() / KEYS_PER_COLLECTION).for_each(|_| sled::pin().flush());
            Ok(())
        })?;
        let before = self.written_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        if before + bytes as u64 > REOPEN_AFTER_BYTES { self.reopen() } else { Ok(()) }
    }

    /// Closes sled and opens it again, while readers wait.
    fn reopen(&self) -> Result<(), IndexError> {
        let engine = &self.reader.engine;
        engine.call(|db| db.flush().map(drop))?;
        let mut db = engine.lock();
        close(db.take());
        self.location.wait_until_unlocked(CLOSE_TIMEOUT)?;
        *db = Some(self.location.open_unchecked()?);
        self.written_bytes.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// Replaces the index by an empty one, also for its readers.
    ///
    /// # Errors
    /// Returns the errors of [`open`](Self::open); the index is closed then.
    pub fn replace(&mut self) -> Result<(), IndexError> {
        let engine = &self.reader.engine;
        let mut db = engine.lock();
        close(db.take());
        self.location.wait_until_unlocked(CLOSE_TIMEOUT)?;
        *db = Some(self.location.replace(&self.identity)?);
        engine.clear_failure();
        Ok(())
    }

    /// Flushes the index and records the checksums of its files, so that the next open can verify
    /// them. Readers return [`IndexError::Closed`] from now on.
    ///
    /// # Errors
    /// Returns [`IndexError::Engine`], [`IndexError::InUse`] or a disk error; the shutdown counts
    /// as unclean then.
    pub fn close(self) -> Result<(), IndexError> {
        let engine = &self.reader.engine;
        engine.call(|db| db.flush().map(drop))?;
        close(engine.lock().take());
        self.location.wait_until_unlocked(CLOSE_TIMEOUT)?;
        checksum::write(&self.location.folder)
    }
}

impl Drop for Index {
    /// Closes the database, because readers may outlive the index.
    fn drop(&mut self) {
        close(self.reader.engine.lock().take());
    }
}

#[cfg(test)]
mod tests;
