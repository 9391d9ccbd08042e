//! A full disk. Blocks are refused, readers go on, and writing goes on once there is room again.
//!
//! The log survives a write that fails. The index does not, so it is written only while the disk
//! has room to spare. Its rows stay in memory meanwhile, and are few, because no block is accepted.

use super::writer::Writer;
use crate::store::blocks::{RecordKind, RecordLocation};
use crate::store::index::MAX_VALUE_BYTES;
use crate::store::{DirectoryError, IndexError, StoreError};

/// The room in bytes that the log must have after its disk was full: more than two blocks.
const LOG_ROOM: usize = 4 << 20;

/// The most that a flush writes, as a share of the memory of the rows.
const WRITTEN_SHARE: usize = 2;

impl Writer {
    /// Whether the disk is full. Meanwhile blocks are refused and reading goes on.
    /// [`flush`](Self::flush) finds out when there is room again.
    pub fn is_disk_full(&self) -> bool {
        self.disk_full
    }

    /// Appends a record to the log, unless the disk is known to be full.
    pub(super) fn append(
        &mut self,
        kind: RecordKind,
        payload: &[u8],
    ) -> Result<RecordLocation, StoreError> {
        self.check_room()?;
        let appended = self.log.append(kind, payload);
        self.disk_full = self.log.is_disk_full();
        Ok(appended?)
    }

    fn check_room(&self) -> Result<(), StoreError> {
        let path = || self.directory.path().to_owned();
        if self.disk_full { Err(DirectoryError::Full { path: path() }.into()) } else { Ok(()) }
    }

    /// Whether the index can be written. If the disk was full, or there are rows to be written, it
    /// must have room; if the index failed on a full disk, it is opened again.
    pub(super) fn can_flush(&mut self) -> Result<bool, StoreError> {
        let chunk_bytes = self.dirty_chunks.len().saturating_mul(MAX_VALUE_BYTES);
        let row_bytes = self.shared.read().rows.memory_bytes() / WRITTEN_SHARE + chunk_bytes;
        if self.disk_full {
            self.disk_full = !self.log.disk_has_room(LOG_ROOM)?;
        }
        if !self.disk_full && row_bytes > 0 {
            self.disk_full = !self.index.has_room(row_bytes)?;
        }
        if self.index.has_failed() {
            self.reopen_index()?;
            return Ok(false);
        }
        Ok(!self.disk_full)
    }

    /// Opens the index again after a write to it found the disk full. Until that succeeds, reading
    /// its rows returns an error.
    pub(super) fn reopen_index(&mut self) -> Result<(), StoreError> {
        self.disk_full = true;
        match self.index.recover() {
            Err(IndexError::Full { .. }) => Ok(()),
            recovered => {
                recovered?;
                Ok(self.jobs.find_named(&self.index)?)
            }
        }
    }

    /// Whether rows that blocks of the log add find room in memory while the disk is full.
    pub(super) fn check_memory(&self) -> Result<(), StoreError> {
        let committed = self.shared.read().rows.memory_bytes();
        let bytes = committed.saturating_add(self.uncommitted.memory_bytes());
        if bytes >= self.flush_bytes.saturating_mul(4) { self.check_room() } else { Ok(()) }
    }
}
