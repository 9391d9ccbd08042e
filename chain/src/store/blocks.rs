//! The block log: blocks and their undo data in append-only files, from which everything else
//! derives. The log does not interpret blocks. A record is durable only after
//! [`sync`](BlockLog::sync). An unfinished write that a crash leaves behind is truncated when the
//! log is opened next; damage to synced records is an error and never mistaken for an unfinished
//! write.
//!
//! The files are `FOLDER/00000.log`, `00001.log` and so on: `record` defines their format, `scan`
//! distinguishes unfinished writes from damage.

mod compact;
mod error;
mod file;
mod gaps;
mod position;
mod reader;
mod record;
mod scan;

use self::compact::CompactedFile;
use self::file::create_file;
use self::gaps::Gaps;
use self::record::{FILE_HEADER_BYTES, HEADER_BYTES, Header, Salt, Tag};
use super::directory::sync_folder;
use super::space;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use self::compact::Removal;
pub use self::error::LogError;
pub(super) use self::file::file_path;
pub use self::position::{LogPosition, RecordLocation};
pub use self::reader::LogReader;
pub(super) use self::reader::read_exact_at;
pub use self::record::{MAX_PAYLOAD_BYTES, RecordKind};
pub use self::scan::Truncation;

/// The maximum size of a log file: 128 MiB, about a hundred full blocks. Damage affects at most one
/// file.
pub const FILE_BYTES: u32 = 128 << 20;

/// A log opened for appending. It is not `Clone`: the owner has the exclusive right to append.
#[derive(Debug)]
pub struct BlockLog {
    folder: Arc<Path>,
    reader: LogReader,
    /// The maximum size of a file, in bytes.
    file_bytes: u32,
    /// The size of all files before the last, in bytes.
    earlier_bytes: u64,
    /// The gaps of the files from which records were removed.
    gaps: BTreeMap<u32, Gaps>,
    /// The last file, its number and the salt of its checksums.
    file: File,
    number: u32,
    salt: Salt,
    /// Whether the last file has the oldest version of the format.
    is_oldest: bool,
    /// The offset after the last record.
    end: u32,
    /// The offset up to which the file is synced.
    synced: u32,
    /// Whether a record was appended after the last sync.
    dirty: bool,
    /// Whether the last write failed because the disk was full.
    disk_full: bool,
    /// Set by the first error after which the contents of the disk are unknown.
    stopped: bool,
}

impl BlockLog {
    /// Opens the log in `folder`, or creates it, and calls `visit` with every record from `covered`
    /// on, in order. All visited records are synced when this returns. An unfinished write after
    /// the last whole record is truncated and returned.
    ///
    /// `covered` must have been [`synced`](Self::synced) of the log, so that all records before it
    /// are known to be on the disk. `file_bytes` is [`FILE_BYTES`] except in tests.
    ///
    /// # Errors
    /// Returns the error of `visit`, [`LogError::NotCovered`], [`Lost`](LogError::Lost),
    /// [`Damaged`](LogError::Damaged), [`Missing`](LogError::Missing),
    /// [`Version`](LogError::Version), or a disk error. The log is not changed then.
    pub fn open<E: From<LogError>>(
        folder: &Path,
        file_bytes: u32,
        covered: LogPosition,
        visit: impl FnMut(RecordKind, RecordLocation, &[u8]) -> Result<(), E>,
    ) -> Result<(BlockLog, Option<Truncation>), E> {
        let files = scan::count_files(folder)?;
        let scan = scan::scan_records(folder, files, covered, visit)?;
        scan::create_folder(folder)?;
        Ok(BlockLog::open_at_end(folder, file_bytes, scan)?)
    }

    /// Calls `visit` with every record of the log in `folder` from `covered` on, in order, as
    /// [`open`](Self::open) does, but writes nothing. Returns a reader, and the incomplete record
    /// after the last whole one that opening the log would truncate.
    ///
    /// # Errors
    /// Returns the errors of [`open`](Self::open).
    pub fn scan<E: From<LogError>>(
        folder: &Path,
        covered: LogPosition,
        visit: impl FnMut(RecordKind, RecordLocation, &[u8]) -> Result<(), E>,
    ) -> Result<(LogReader, Option<Truncation>), E> {
        let files = scan::count_files(folder)?;
        let scan = scan::scan_records(folder, files, covered, visit)?;
        Ok((LogReader::new(folder.into()), scan.truncation))
    }

    fn open_at_end(
        folder: &Path,
        file_bytes: u32,
        scan: scan::Scan,
    ) -> Result<(BlockLog, Option<Truncation>), LogError> {
        compact::remove_leftovers(folder, scan.last);
        let path = file_path(folder, scan.last);
        let (file, salt) = match scan.salt {
            Some(salt) => {
                let file = OpenOptions::new().read(true).write(true).open(&path);
                (file.map_err(LogError::io("open", &path))?, salt)
            }
            None => create_file(folder, scan.last, scan.previous)?,
        };
        file.set_len(scan.end.into()).map_err(LogError::io("truncate", &path))?;
        // Visited records may not have been synced before the crash, and the caller relies on them.
        file.sync_all().map_err(LogError::io("sync", &path))?;
        sync_folder(folder).map_err(LogError::io("sync", folder))?;
        let folder: Arc<Path> = folder.into();
        let log = BlockLog {
            reader: LogReader::new(Arc::clone(&folder)),
            folder,
            file_bytes,
            earlier_bytes: scan.earlier_bytes,
            gaps: scan.gaps,
            file,
            number: scan.last,
            salt,
            is_oldest: scan.is_oldest,
            end: scan.end,
            synced: scan.end,
            dirty: false,
            disk_full: false,
            stopped: false,
        };
        Ok((log, scan.truncation))
    }

    /// Appends a record and returns its location. Readers see the record at once; a crash before
    /// the next [`sync`](Self::sync) may lose it.
    ///
    /// # Errors
    /// Returns [`LogError::Full`], [`TooLong`](LogError::TooLong), [`Stopped`](LogError::Stopped)
    /// or a disk error. The log is not changed then.
    pub fn append(&mut self, kind: RecordKind, payload: &[u8]) -> Result<RecordLocation, LogError> {
        if self.stopped {
            return Err(LogError::Stopped);
        }
        let too_long = || LogError::TooLong { bytes: payload.len() };
        let length = u32::try_from(payload.len()).map_err(|_| too_long())?;
        let empty_file_holds = self.file_bytes.saturating_sub(FILE_HEADER_BYTES + HEADER_BYTES);
        if length > empty_file_holds.min(MAX_PAYLOAD_BYTES) {
            return Err(too_long());
        }
        let is_newer = self.is_oldest && kind == RecordKind::Undo;
        if is_newer
            || self.end.saturating_add(HEADER_BYTES).saturating_add(length) > self.file_bytes
        {
            self.rotate()?;
        }
        let location = RecordLocation { file: self.number, offset: self.end, length };
        self.write(Tag::Data(kind), payload)?;
        self.dirty = true;
        Ok(location)
    }

    /// Syncs all appended records to the disk, so that they survive a power failure.
    ///
    /// # Errors
    /// Returns the disk error. Retrying cannot repair it: every later call returns
    /// [`LogError::Stopped`].
    pub fn sync(&mut self) -> Result<(), LogError> {
        if self.stopped {
            return Err(LogError::Stopped);
        }
        if self.dirty {
            self.sync_file()?;
            // A sync marker lets the next open recognise damage to these last records, which would
            // otherwise pass for an unfinished write. Durability does not depend on it.
            if self.end.saturating_add(HEADER_BYTES) <= self.file_bytes {
                match self.write(Tag::SyncMarker, &[]) {
                    Err(error) if !error.is_disk_full() => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Removes the records after a former [`end`](Self::end), which must be in the last file and
    /// not have been synced.
    pub(super) fn retract(&mut self, end: LogPosition) -> Result<(), LogError> {
        if end.file != self.number || end.offset < self.synced || end.offset > self.end {
            self.stopped = true;
            return Err(LogError::Stopped);
        }
        self.truncate(end.offset)
    }

    /// Returns a second handle of the last file, by which another thread can sync it.
    pub(super) fn clone_file(&self) -> Result<File, LogError> {
        self.file.try_clone().map_err(LogError::io("open", &self.path()))
    }

    /// Syncs everything, including the marker that follows the last records, so that the next open
    /// recognises every loss of bytes.
    ///
    /// # Errors
    /// Returns the errors of [`sync`](Self::sync).
    pub fn seal(&mut self) -> Result<(), LogError> {
        self.sync()?;
        if self.synced < self.end { self.sync_file() } else { Ok(()) }
    }

    /// Whether the last file has room for records of these lengths, in bytes.
    pub(super) fn has_room_for(&self, lengths: impl IntoIterator<Item = usize>) -> bool {
        let end = lengths.into_iter().try_fold(self.end as usize, |end, length| {
            end.checked_add(HEADER_BYTES as usize)?.checked_add(length)
        });
        end.is_some_and(|end| end <= self.file_bytes as usize)
    }

    /// Whether the last write failed because the disk was full.
    pub fn is_disk_full(&self) -> bool {
        self.disk_full
    }

    /// Whether the disk has room for this number of bytes.
    ///
    /// # Errors
    /// Returns a disk error.
    pub fn disk_has_room(&self, bytes: usize) -> Result<bool, LogError> {
        let probe = self.folder.join("probe");
        space::has_room(&probe, bytes).map_err(LogError::io("write", &probe))
    }

    /// Returns the position after the last record.
    pub fn end(&self) -> LogPosition {
        LogPosition { file: self.number, offset: self.end }
    }

    /// Returns the position up to which all records are synced.
    pub fn synced(&self) -> LogPosition {
        LogPosition { file: self.number, offset: self.synced }
    }

    /// Returns a reader of the log, which works while records are appended.
    pub fn reader(&self) -> LogReader {
        self.reader.clone()
    }

    /// Returns the size of all files, in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.earlier_bytes + u64::from(self.end)
    }

    fn path(&self) -> PathBuf {
        file_path(&self.folder, self.number)
    }

    fn sync_file(&mut self) -> Result<(), LogError> {
        // After a failed sync the system may have dropped the bytes and report success the next
        // time.
        if let Err(error) = self.file.sync_data() {
            self.stopped = true;
            return Err(LogError::io("sync", &self.path())(error));
        }
        self.synced = self.end;
        self.dirty = false;
        Ok(())
    }

    /// Truncates the last file at `end`. A failure leaves an unknown part of a record behind.
    fn truncate(&mut self, end: u32) -> Result<(), LogError> {
        if let Err(error) = self.file.set_len(end.into()) {
            self.stopped = true;
            return Err(LogError::io("truncate", &self.path())(error));
        }
        self.end = end;
        Ok(())
    }

    fn write(&mut self, tag: Tag, payload: &[u8]) -> Result<(), LogError> {
        let header = Header::new(tag, self.synced, payload, self.salt);
        let record = [&header.encode(), payload].concat();
        let at = u64::from(self.end);
        let written =
            self.file.seek(SeekFrom::Start(at)).and_then(|_| self.file.write_all(&record));
        self.disk_full = written.as_ref().is_err_and(space::is_disk_full);
        if let Err(error) = written {
            self.truncate(self.end)?;
            return Err(LogError::write("write", &self.path())(error));
        }
        self.end = header.end(self.end).expect("`append` and `sync` respect `file_bytes`");
        Ok(())
    }

    /// Whether any record was removed.
    pub fn has_removed(&self) -> bool {
        !self.gaps.is_empty()
    }

    /// Whether a record was removed.
    pub fn is_removed(&self, location: RecordLocation) -> bool {
        self.gaps.get(&location.file).is_some_and(|gaps| gaps.contains(location))
    }

    /// Rewrites the files of records without them, beside the log. The records must not be needed
    /// once [`remove`](Self::remove) is called.
    ///
    /// # Errors
    /// Returns [`LogError::Full`], [`Damaged`](LogError::Damaged) if no record is at a location,
    /// [`Stopped`](LogError::Stopped) or a disk error. The records are not removed then.
    pub fn prepare_removal(&mut self, records: &[RecordLocation]) -> Result<Removal, LogError> {
        if self.stopped {
            return Err(LogError::Stopped);
        }
        let mut by_file: BTreeMap<u32, Vec<RecordLocation>> = BTreeMap::new();
        for record in records {
            by_file.entry(record.file).or_default().push(*record);
        }
        if by_file.contains_key(&self.number) {
            self.rotate()?;
        }
        let rewritten = by_file.into_iter().map(|(number, records)| {
            let path = compact::compacted_path(&self.folder, number);
            let old = self.gaps.get(&number).cloned().unwrap_or_default();
            let rewritten = compact::rewrite(&self.folder, number, &path, &old, &records);
            if rewritten.is_err() {
                let _ = fs::remove_file(&path);
            }
            rewritten
        });
        Ok(Removal(rewritten.collect::<Result<_, _>>()?))
    }

    /// Puts rewritten files in the place of the old ones, and returns the number of freed bytes.
    ///
    /// # Errors
    /// Returns a disk error, after which the log is stopped.
    pub fn remove(&mut self, removal: Removal) -> Result<u64, LogError> {
        let mut freed = 0_u64;
        self.stopped = true;
        for CompactedFile { number, path, gaps, freed_bytes } in removal.0 {
            fs::rename(&path, file_path(&self.folder, number))
                .map_err(LogError::io("rename", &path))?;
            self.gaps.insert(number, gaps);
            self.reader.forget(number);
            freed = freed.saturating_add(freed_bytes);
        }
        sync_folder(&self.folder).map_err(LogError::io("sync", &self.folder))?;
        self.stopped = false;
        self.earlier_bytes = self.earlier_bytes.saturating_sub(freed);
        Ok(freed)
    }

    /// Starts the next file. The previous one is synced first, so damage in it is never an
    /// unfinished write.
    fn rotate(&mut self) -> Result<(), LogError> {
        self.sync_file()?;
        let number = self.number + 1;
        let created = create_file(&self.folder, number, self.end.into());
        self.disk_full = created.as_ref().is_err_and(LogError::is_disk_full);
        // If this fails half-way, nothing may be appended to a file that is no longer the last.
        self.stopped = created.is_err() && !self.disk_full;
        let (file, salt) = created?;
        self.earlier_bytes += u64::from(self.end);
        self.file = file;
        self.number = number;
        self.salt = salt;
        self.is_oldest = false;
        self.end = FILE_HEADER_BYTES;
        self.synced = FILE_HEADER_BYTES;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
