//! Random access to the records of an open log, from any number of threads and while records are
//! appended. Whole records are checked against their CRC; prefixes are not.

use super::error::LogError;
use super::file::{file_path, open_file, read_header};
use super::gaps::Gaps;
use super::position::RecordLocation;
use super::record::{FileHeader, HEADER_BYTES, Header, MAX_PAYLOAD_BYTES, RecordKind, Salt, Tag};
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The maximum number of open files: opening one is slower than reading a small block. 16 files
/// hold 2 GiB.
const MAX_OPEN: usize = 16;

/// Reads the records of an open log. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LogReader {
    folder: Arc<Path>,
    /// Open files, the least recently opened first.
    open: Arc<Mutex<VecDeque<Arc<OpenFile>>>>,
}

#[derive(Debug)]
struct OpenFile {
    number: u32,
    path: PathBuf,
    file: File,
    salt: Salt,
    gaps: Gaps,
}

impl LogReader {
    pub(super) fn new(folder: Arc<Path>) -> LogReader {
        LogReader { folder, open: Arc::default() }
    }

    /// Reads the record at a location, which [`BlockLog::append`](super::BlockLog::append) returned
    /// or [`BlockLog::open`](super::BlockLog::open) passed to its visitor.
    ///
    /// # Errors
    /// Returns [`LogError::Damaged`] if no valid record of this length is there,
    /// [`LogError::Missing`] if the file does not exist, [`LogError::Removed`] or a disk error.
    pub fn read(&self, location: RecordLocation) -> Result<(RecordKind, Vec<u8>), LogError> {
        let file = self.file(location.file)?;
        if location.length > MAX_PAYLOAD_BYTES {
            return Err(file.damaged(location.offset));
        }
        let mut record = vec![0; (HEADER_BYTES + location.length) as usize];
        file.fill(&mut record, location.offset, location.offset)?;
        let header =
            record.first_chunk().and_then(|header| Header::decode(header, location.offset));
        record.drain(..HEADER_BYTES as usize);
        match header {
            Some(Header { length, tag: Tag::Data(kind), .. })
                if length == location.length
                    && header.is_some_and(|header| header.matches(&record, file.salt)) =>
            {
                Ok((kind, record))
            }
            _ => Err(file.damaged(location.offset)),
        }
    }

    /// Reads the first `bytes` of a record's payload, or all of a shorter payload. The CRC is not
    /// checked: the caller validates the prefix.
    ///
    /// # Errors
    /// Returns [`LogError::Damaged`] if the file ends before the prefix does,
    /// [`LogError::Missing`] if the file does not exist, or a disk error.
    pub fn read_prefix(&self, location: RecordLocation, bytes: u32) -> Result<Vec<u8>, LogError> {
        let file = self.file(location.file)?;
        let mut payload = vec![0; bytes.min(location.length).min(MAX_PAYLOAD_BYTES) as usize];
        file.fill(&mut payload, location.offset.saturating_add(HEADER_BYTES), location.offset)?;
        Ok(payload)
    }

    /// Returns the error of a file that should be there.
    pub fn missing_file(&self, number: u32) -> LogError {
        LogError::Missing { path: file_path(&self.folder, number) }
    }

    /// Closes a file that was replaced by another one.
    pub(super) fn forget(&self, number: u32) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|file| file.number != number);
    }

    /// Returns the file with this number, opening it if necessary.
    fn file(&self, number: u32) -> Result<Arc<OpenFile>, LogError> {
        let find = |open: &VecDeque<Arc<OpenFile>>| {
            open.iter().find(|file| file.number == number).map(Arc::clone)
        };
        let lock = || self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = find(&lock()) {
            return Ok(file);
        }
        let file = Arc::new(OpenFile::open(&self.folder, number)?);
        let mut open = lock();
        if let Some(file) = find(&open) {
            return Ok(file);
        }
        if open.len() >= MAX_OPEN {
            open.pop_front();
        }
        open.push_back(Arc::clone(&file));
        Ok(file)
    }
}

impl OpenFile {
    fn open(folder: &Path, number: u32) -> Result<OpenFile, LogError> {
        let path = file_path(folder, number);
        let mut file = open_file(&path)?;
        match read_header(&mut file, &path)? {
            Some((FileHeader::Valid { salt, .. }, gaps)) => {
                Ok(OpenFile { number, path, file, salt, gaps })
            }
            Some((FileHeader::OtherVersion(found), _)) => Err(LogError::Version { path, found }),
            Some((FileHeader::Invalid, _)) | None => Err(LogError::Damaged { path, offset: 0 }),
        }
    }

    fn damaged(&self, record: u32) -> LogError {
        LogError::Damaged { path: self.path.clone(), offset: record.into() }
    }

    /// Fills the buffer from `offset` on, reading for the record at offset `record`.
    fn fill(&self, buffer: &mut [u8], offset: u32, record: u32) -> Result<(), LogError> {
        let removed = || LogError::Removed { path: self.path.clone(), offset: record };
        let place = self.gaps.place_on_disk(offset).ok_or_else(removed)?;
        read_exact_at(&self.file, buffer, place).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.damaged(record),
            _ => LogError::io("read", &self.path)(error),
        })
    }
}

/// Fills the buffer from an offset of a file.
#[cfg(unix)]
pub(in crate::store) fn read_exact_at(
    file: &File,
    buffer: &mut [u8],
    offset: u64,
) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

/// Fills the buffer from an offset of a file.
#[cfg(windows)]
pub(in crate::store) fn read_exact_at(
    file: &File,
    mut buffer: &mut [u8],
    mut offset: u64,
) -> io::Result<()> {
    use std::os::windows::fs::FileExt;
    while !buffer.is_empty() {
        let read = file.seek_read(buffer, offset)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer = &mut buffer[read..];
        offset = offset.saturating_add(read as u64);
    }
    Ok(())
}
