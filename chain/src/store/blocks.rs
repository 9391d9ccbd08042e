//! The block log: blocks and their undo data in append-only files, the truth all else derives from.
//! Does not know what a block is. A record is promised only after [`sync`](BlockLog::sync);
//! what a crash leaves of the rest is cut off at the next open, and damage to what was promised
//! is never mistaken for it.
//!
//! `FOLDER/00000.log`, `00001.log`, …: `record` has their bytes, `scan` what an open decides.

mod position;
mod reader;
mod record;
mod scan;

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::record::{FILE_HEADER_BYTES, FileHeader, HEADER_BYTES, Header, Salt, Tag};
use super::directory::sync_folder;

pub use self::position::{LogPosition, RecordLocation};
pub use self::reader::LogReader;
pub use self::record::{MAX_PAYLOAD_BYTES, RecordKind};
pub use self::scan::Truncation;

/// Bytes a file may have: 128 MiB, some hundred full blocks. Damage costs at most one file.
pub const FILE_BYTES: u32 = 128 << 20;

/// Why the log cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
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
    /// No space left; what was to be appended is not in the log.
    #[error("the disk of {} is full: make room on it and start again", path.display())]
    Full {
        /// The file that could not grow.
        path: PathBuf,
    },
    /// What was promised is not there any more.
    #[error(
        "{} is damaged at byte {offset}: restore it from a backup of this folder, or the whole \
         folder from another node; to go on with only the blocks before it, move it and the \
         files after it elsewhere",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Offset of the first bad record, in bytes; 0 for the head of the file.
        offset: u64,
    },
    /// A file between others is gone.
    #[error(
        "{} is missing: restore it from a backup of this folder; to go on with only the blocks \
         before it, move the files after it elsewhere",
        path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Written by another version of this program.
    #[error("{} has format {found}, this program knows {}: use the newer program",
        path.display(), record::VERSION)]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u8,
    },
    /// The log does not reach, or has no record end at, the position it was said to be covered
    /// up to: whoever covers it covers another log, and starts again from [`LogPosition::START`].
    #[error("the block log has no record that ends at byte {} of file {}", .0.offset, .0.file)]
    NotCovered(LogPosition),
    /// No record can be that long.
    #[error("a record of {bytes} bytes does not fit into the block log")]
    TooLong {
        /// Bytes of the payload.
        bytes: usize,
    },
    /// An earlier sync or repair failed: nobody knows what is on the disk.
    #[error("the block log stopped after an earlier error of the disk: check it and start again")]
    Stopped,
}

impl LogError {
    pub(super) fn io<'a>(
        action: &'static str,
        path: &'a Path,
    ) -> impl FnOnce(io::Error) -> LogError + 'a {
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                LogError::Full { path: path.to_owned() }
            }
            _ => LogError::Io { action, path: path.to_owned(), source },
        }
    }
}

/// The log, opened for appending. Not `Clone`: holding it is the right to append.
#[derive(Debug)]
pub struct BlockLog {
    folder: Arc<Path>,
    reader: LogReader,
    /// Bytes a file may have.
    file_bytes: u32,
    /// Bytes of all files before the last.
    earlier_bytes: u64,
    /// The last file, its number and what its CRCs start from.
    file: File,
    number: u32,
    salt: Salt,
    /// Offset after the last record.
    end: u32,
    /// Offset before which all is synced.
    synced: u32,
    /// Whether a record came after the last sync.
    dirty: bool,
    /// Set by the first error after which the disk may differ from what is known here.
    stopped: bool,
}

impl BlockLog {
    /// Opens the log in `folder`, making it if there is none, and shows `visit` every record from
    /// `covered` on, in order. Everything it shows is synced when this returns, and what a crash
    /// left behind the last whole record is cut off and told.
    ///
    /// `covered` must have been an [`end`](Self::end) after a [`sync`](Self::sync): what lies
    /// before it is known to have been whole. `file_bytes` is [`FILE_BYTES`] but in tests.
    ///
    /// # Errors
    /// What `visit` returns; [`LogError::NotCovered`], [`Damaged`](LogError::Damaged),
    /// [`Missing`](LogError::Missing), [`Version`](LogError::Version), and those of the disk.
    /// The log is then as it was.
    pub fn open<E: From<LogError>>(
        folder: &Path,
        file_bytes: u32,
        covered: LogPosition,
        visit: impl FnMut(RecordKind, RecordLocation, &[u8]) -> Result<(), E>,
    ) -> Result<(BlockLog, Option<Truncation>), E> {
        let files = scan::files(folder)?;
        let scan = scan::records(folder, files, covered, visit)?;
        Ok(BlockLog::at_end_of(folder, file_bytes, scan)?)
    }

    fn at_end_of(
        folder: &Path,
        file_bytes: u32,
        scan: scan::Scan,
    ) -> Result<(BlockLog, Option<Truncation>), LogError> {
        let path = file_path(folder, scan.last);
        let (file, salt) = match scan.salt {
            Some(salt) => {
                let file = OpenOptions::new().read(true).write(true).open(&path);
                (file.map_err(LogError::io("open", &path))?, salt)
            }
            None => create_file(folder, scan.last, scan.previous)?,
        };
        file.set_len(scan.end.into()).map_err(LogError::io("cut", &path))?;
        // What was read may not have been synced yet, and will now be built on.
        file.sync_all().map_err(LogError::io("sync", &path))?;
        sync_folder(folder).map_err(LogError::io("sync", folder))?;
        let folder: Arc<Path> = folder.into();
        let log = BlockLog {
            reader: LogReader::new(Arc::clone(&folder)),
            folder,
            file_bytes,
            earlier_bytes: scan.earlier_bytes,
            file,
            number: scan.last,
            salt,
            end: scan.end,
            synced: scan.end,
            dirty: false,
            stopped: false,
        };
        Ok((log, scan.cut))
    }

    /// Appends a record: readers see it at once, a crash may still take it.
    ///
    /// # Errors
    /// [`LogError::Full`], [`TooLong`](LogError::TooLong), [`Stopped`](LogError::Stopped) and
    /// those of the disk. The log is then as it was before.
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
        if self.end.saturating_add(HEADER_BYTES).saturating_add(length) > self.file_bytes {
            self.rotate()?;
        }
        let location = RecordLocation { file: self.number, offset: self.end, length };
        self.write(Tag::Data(kind), payload)?;
        self.dirty = true;
        Ok(location)
    }

    /// Makes all that was appended survive a power cut.
    ///
    /// # Errors
    /// Those of the disk. None of them can be repaired by trying again: from then on the log
    /// only answers [`LogError::Stopped`].
    pub fn sync(&mut self) -> Result<(), LogError> {
        if self.stopped {
            return Err(LogError::Stopped);
        }
        if self.dirty {
            self.sync_file()?;
            // Evidence for the next open, not part of the promise: without it that takes damage
            // to these last records for an unfinished write.
            if self.end.saturating_add(HEADER_BYTES) <= self.file_bytes {
                let _ = self.write(Tag::Mark, &[]);
            }
        }
        Ok(())
    }

    /// Whether the file at the end has room for records of these lengths, in bytes.
    pub(super) fn holds(&self, lengths: impl IntoIterator<Item = usize>) -> bool {
        let end = lengths.into_iter().try_fold(self.end as usize, |end, length| {
            end.checked_add(HEADER_BYTES as usize)?.checked_add(length)
        });
        end.is_some_and(|end| end <= self.file_bytes as usize)
    }

    /// The position after the last record.
    pub fn end(&self) -> LogPosition {
        LogPosition { file: self.number, offset: self.end }
    }

    /// Reads records, also while others are appended.
    pub fn reader(&self) -> LogReader {
        self.reader.clone()
    }

    /// Bytes of all files.
    pub fn size_bytes(&self) -> u64 {
        self.earlier_bytes + u64::from(self.end)
    }

    fn path(&self) -> PathBuf {
        file_path(&self.folder, self.number)
    }

    fn sync_file(&mut self) -> Result<(), LogError> {
        // After a failed sync the system may have dropped the bytes and call the next one a success.
        if let Err(error) = self.file.sync_data() {
            self.stopped = true;
            return Err(LogError::io("sync", &self.path())(error));
        }
        self.synced = self.end;
        self.dirty = false;
        Ok(())
    }

    fn write(&mut self, tag: Tag, payload: &[u8]) -> Result<(), LogError> {
        let header = Header::new(tag, self.synced, payload, self.salt);
        let record = [&header.encode(), payload].concat();
        let at = u64::from(self.end);
        let written =
            self.file.seek(SeekFrom::Start(at)).and_then(|_| self.file.write_all(&record));
        if let Err(error) = written {
            self.stopped = self.file.set_len(at).is_err();
            return Err(LogError::io("write", &self.path())(error));
        }
        self.end = header.end(self.end).expect("`append` and `sync` keep to `file_bytes`");
        Ok(())
    }

    /// Starts the next file. The one before is synced: damage in it is never an unfinished write.
    fn rotate(&mut self) -> Result<(), LogError> {
        self.sync_file()?;
        // Should that fail half-way, nothing more may go into a file that is not the last.
        self.stopped = true;
        let number = self.number + 1;
        let (file, salt) = create_file(&self.folder, number, self.end.into())?;
        self.stopped = false;
        self.earlier_bytes += u64::from(self.end);
        self.file = file;
        self.number = number;
        self.salt = salt;
        self.end = FILE_HEADER_BYTES;
        self.synced = FILE_HEADER_BYTES;
        Ok(())
    }
}

pub(super) fn file_path(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("{number:05}.log"))
}

fn open_file(path: &Path) -> Result<File, LogError> {
    File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => LogError::Missing { path: path.to_owned() },
        _ => LogError::io("open", path)(error),
    })
}

/// Starts a file after one of `previous` bytes, durable before anything is appended to it.
fn create_file(folder: &Path, number: u32, previous: u64) -> Result<(File, Salt), LogError> {
    let path = file_path(folder, number);
    let previous = u32::try_from(previous).map_err(|_| LogError::Damaged {
        path: file_path(folder, number.saturating_sub(1)),
        offset: u32::MAX.into(),
    })?;
    let salt = Salt::fresh();
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(&path)
        .map_err(LogError::io("create", &path))?;
    file.write_all(&FileHeader::encode(salt, previous))
        .and_then(|()| file.sync_all())
        .and_then(|()| sync_folder(folder))
        .map_err(LogError::io("write", &path))?;
    Ok((file, salt))
}

/// The head of a file read from its start; `None` if it ends within.
fn read_header(file: &mut impl Read, path: &Path) -> Result<Option<FileHeader>, LogError> {
    let mut bytes = [0; FILE_HEADER_BYTES as usize];
    Ok(read_whole(file, &mut bytes, path)?.then(|| FileHeader::decode(&bytes)))
}

/// Fills the buffer; false if the file ends before.
fn read_whole(file: &mut impl Read, buffer: &mut [u8], path: &Path) -> Result<bool, LogError> {
    match file.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(LogError::io("read", path)(error)),
    }
}

#[cfg(test)]
mod tests;
