//! Reading records of a log that is open, by any number of threads at once and while others are
//! appended. A whole record must match its CRC; of a prefix whoever asks checks what it gets.

use super::record::{FileHeader, HEADER_BYTES, Header, MAX_PAYLOAD_BYTES, Salt, Tag};
use super::{LogError, RecordKind, RecordLocation, file_path, open_file, read_header};
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Files kept open, for opening one takes longer than reading a small block: 16 hold 2 GiB.
const MAX_OPEN: usize = 16;

/// Reads records of a log that is open. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LogReader {
    folder: Arc<Path>,
    /// The longest open first.
    open: Arc<Mutex<VecDeque<Arc<OpenFile>>>>,
}

#[derive(Debug)]
struct OpenFile {
    number: u32,
    path: PathBuf,
    file: File,
    salt: Salt,
}

impl LogReader {
    pub(super) fn new(folder: Arc<Path>) -> LogReader {
        LogReader { folder, open: Arc::default() }
    }

    /// The record at a place that [`BlockLog::append`](super::BlockLog::append) or the visitor of
    /// [`BlockLog::open`](super::BlockLog::open) named.
    ///
    /// # Errors
    /// [`LogError::Damaged`] if it is not there as written, [`LogError::Missing`] if its file is
    /// not there, and those of the disk.
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

    /// The first `bytes` of a record's payload, or all if it is shorter, without a look at the
    /// rest: whoever asks checks what it gets.
    ///
    /// # Errors
    /// As [`read`](Self::read), but only for what was read.
    pub fn read_prefix(&self, location: RecordLocation, bytes: u32) -> Result<Vec<u8>, LogError> {
        let file = self.file(location.file)?;
        let mut payload = vec![0; bytes.min(location.length).min(MAX_PAYLOAD_BYTES) as usize];
        file.fill(&mut payload, location.offset.saturating_add(HEADER_BYTES), location.offset)?;
        Ok(payload)
    }

    /// A file by its number, opened unless it is.
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
            Some(FileHeader::Good { salt, .. }) => Ok(OpenFile { number, path, file, salt }),
            Some(FileHeader::Foreign(found)) => Err(LogError::Version { path, found }),
            Some(FileHeader::Bad) | None => Err(LogError::Damaged { path, offset: 0 }),
        }
    }

    fn damaged(&self, record: u32) -> LogError {
        LogError::Damaged { path: self.path.clone(), offset: record.into() }
    }

    /// Fills the buffer from an offset on, for the record at another.
    fn fill(&self, buffer: &mut [u8], offset: u32, record: u32) -> Result<(), LogError> {
        read_exact_at(&self.file, buffer, offset.into()).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.damaged(record),
            _ => LogError::io("read", &self.path)(error),
        })
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
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
