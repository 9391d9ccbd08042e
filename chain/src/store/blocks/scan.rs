//! What an open finds in the files of the log, and what it makes of a bad record: the end of an
//! unfinished write, which is cut off, or damage to what was promised, which is not touched.
//!
//! A bad record is damage if anything shows that it was once synced: a later file, which is
//! started only after a sync; whoever covers the log beyond it; or a later record that says so.

use std::fmt;
use std::fs::{self, File};
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::record::{FILE_HEADER_BYTES, FileHeader, HEADER_BYTES, Header, RecordKind, Salt, Tag};
use super::{
    LogError, LogPosition, RecordLocation, file_path, open_file, read_header, read_whole,
    sync_folder,
};

/// Bytes read at a time.
const BUFFER_BYTES: usize = 1 << 20;

/// Bytes that the search for a later record may run through the CRC: one or two seconds. A file
/// of bytes that all look like records is past deciding, and then counts as damaged.
const SEARCH_BYTES: u64 = 8 << 30;

/// What a crash left behind the last whole record: never promised, and cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truncation {
    /// The file.
    pub path: PathBuf,
    /// Where it ends now, in bytes.
    pub offset: u32,
    /// Bytes that followed.
    pub bytes: u64,
}

impl fmt::Display for Truncation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Truncation { path, offset, bytes } = self;
        let path = path.display();
        write!(f, "cut an unfinished write of {bytes} bytes off {path} at byte {offset}")
    }
}

/// What the log is like at its end.
pub(super) struct Scan {
    /// Number of the last file.
    pub(super) last: u32,
    /// What its CRCs start from; `None` if it is yet to be made.
    pub(super) salt: Option<Salt>,
    /// Offset after its last good record.
    pub(super) end: u32,
    /// Bytes of the files before it.
    pub(super) earlier_bytes: u64,
    /// Bytes of the one just before it.
    pub(super) previous: u64,
    /// What is to be cut off it.
    pub(super) cut: Option<Truncation>,
}

/// How many files there are, making the folder if need be; they are numbered from 0 without gaps.
pub(super) fn files(folder: &Path) -> Result<u32, LogError> {
    if !folder.is_dir() {
        fs::create_dir_all(folder).map_err(LogError::io("create", folder))?;
        let above = folder.parent().unwrap_or(folder);
        sync_folder(above).map_err(LogError::io("sync", above))?;
    }
    let mut numbers = Vec::new();
    for entry in fs::read_dir(folder).map_err(LogError::io("read", folder))? {
        let name = entry.map_err(LogError::io("read", folder))?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".log")?.parse().ok());
        numbers.extend(number.filter(|number| file_path(folder, *number).ends_with(&name)));
    }
    numbers.sort_unstable();
    let count = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
    match (0..count).zip(numbers).find(|(expected, number)| expected != number) {
        Some((gap, _)) => Err(LogError::Missing { path: file_path(folder, gap) }),
        None => Ok(count),
    }
}

/// Shows the records from `covered` on.
pub(super) fn records<E: From<LogError>>(
    folder: &Path,
    files: u32,
    covered: LogPosition,
    mut visit: impl FnMut(RecordKind, RecordLocation, &[u8]) -> Result<(), E>,
) -> Result<Scan, E> {
    let last = files.saturating_sub(1);
    if covered.file > last {
        return Err(LogError::NotCovered(covered).into());
    }
    let (mut earlier_bytes, mut previous) = (0, 0);
    for number in 0..last {
        let path = file_path(folder, number);
        if number >= covered.file {
            let damaged = |offset| LogError::Damaged { path: path.clone(), offset };
            let mut file = LogFile::open(folder, number, previous)?.ok_or_else(|| damaged(0))?;
            if let Some(offset) = file.visit(covered, &mut visit)? {
                return Err(damaged(offset.into()).into());
            }
        }
        previous = bytes_of(&path)?;
        earlier_bytes += previous;
    }
    let end = FILE_HEADER_BYTES;
    let mut scan = Scan { last, salt: None, end, earlier_bytes, previous, cut: None };
    let path = file_path(folder, last);
    let file = if files == 0 { None } else { LogFile::open(folder, last, previous)? };
    let Some(mut file) = file else {
        if covered > (LogPosition { file: last, offset: scan.end }) {
            return Err(LogError::NotCovered(covered).into());
        }
        let bytes = if files == 0 { 0 } else { bytes_of(&path)? };
        scan.cut = (bytes > 0).then_some(Truncation { path, offset: 0, bytes });
        return Ok(scan);
    };
    scan.salt = Some(file.salt);
    if let Some(offset) = file.visit(covered, &mut visit)? {
        let is_covered = (LogPosition { file: last, offset }) < covered;
        let ends_early = covered.file == last && file.bytes < u64::from(covered.offset);
        if file.was_synced_beyond(offset)? || (is_covered && !ends_early) {
            return Err(LogError::Damaged { path, offset: offset.into() }.into());
        }
        // Somebody cut the log. What is whole remains, and whoever covered more starts again.
        if is_covered {
            return Err(LogError::NotCovered(covered).into());
        }
        let bytes = file.bytes - u64::from(offset);
        scan.cut = Some(Truncation { path, offset, bytes });
    }
    scan.end = file.offset;
    Ok(scan)
}

/// A file being read.
struct LogFile {
    path: PathBuf,
    number: u32,
    salt: Salt,
    /// Bytes it has.
    bytes: u64,
    input: BufReader<File>,
    /// Offset after the last good record read.
    offset: u32,
}

impl LogFile {
    /// The file that comes after one of `previous` bytes. `None` if it was never finished being
    /// made: nothing is appended before its head is synced.
    fn open(folder: &Path, number: u32, previous: u64) -> Result<Option<LogFile>, LogError> {
        let path = file_path(folder, number);
        let bytes = bytes_of(&path)?;
        let mut input = BufReader::with_capacity(BUFFER_BYTES, open_file(&path)?);
        match read_header(&mut input, &path)? {
            Some(FileHeader::Good { previous: then, .. }) if u64::from(then) != previous => {
                let path = number.checked_sub(1).map_or(path, |before| file_path(folder, before));
                Err(LogError::Damaged { path, offset: previous.min(then.into()) })
            }
            Some(FileHeader::Good { salt, .. }) => {
                let offset = FILE_HEADER_BYTES;
                Ok(Some(LogFile { path, number, salt, bytes, input, offset }))
            }
            Some(FileHeader::Foreign(found)) => Err(LogError::Version { path, found }),
            _ if bytes <= u64::from(FILE_HEADER_BYTES) => Ok(None),
            _ => Err(LogError::Damaged { path, offset: 0 }),
        }
    }

    /// Shows the records from `covered` on and gives the offset of the first bad one.
    fn visit<E: From<LogError>>(
        &mut self,
        covered: LogPosition,
        visit: &mut impl FnMut(RecordKind, RecordLocation, &[u8]) -> Result<(), E>,
    ) -> Result<Option<u32>, E> {
        let file = self.number;
        let mut payload = Vec::new();
        while u64::from(self.offset) < self.bytes {
            let location = LogPosition { file, offset: self.offset };
            let Some(tag) = self.next(&mut payload)? else {
                return Ok(Some(self.offset));
            };
            if location >= covered {
                if let Tag::Data(kind) = tag {
                    let length = self.offset - location.offset - HEADER_BYTES;
                    visit(
                        kind,
                        RecordLocation { file, offset: location.offset, length },
                        &payload,
                    )?;
                }
            } else if (LogPosition { file, offset: self.offset }) > covered {
                return Err(LogError::NotCovered(covered).into());
            }
        }
        if covered.file == file && self.offset < covered.offset {
            return Err(LogError::NotCovered(covered).into());
        }
        Ok(None)
    }

    /// Reads the next record; `None`, and no further, if it is not a good one.
    fn next(&mut self, payload: &mut Vec<u8>) -> Result<Option<Tag>, LogError> {
        let mut bytes = [0; HEADER_BYTES as usize];
        if !read_whole(&mut self.input, &mut bytes, &self.path)? {
            return Ok(None);
        }
        let Some((header, end)) = self.plausible(&bytes, self.offset) else {
            return Ok(None);
        };
        payload.resize(header.length as usize, 0);
        if !read_whole(&mut self.input, payload, &self.path)? || !header.matches(payload, self.salt)
        {
            return Ok(None);
        }
        self.offset = end;
        Ok(Some(header.tag))
    }

    /// What may be the header of a record at `offset`, and the offset after that record.
    fn plausible(&self, bytes: &[u8; HEADER_BYTES as usize], offset: u32) -> Option<(Header, u32)> {
        let header = Header::decode(bytes, offset)?;
        let end = header.end(offset)?;
        (u64::from(end) <= self.bytes).then_some((header, end))
    }

    /// Whether a record after the bad one at `bad` says that the file was synced beyond `bad`.
    /// As the length of the bad one may be what is bad, a record may begin at any byte.
    fn was_synced_beyond(&mut self, bad: u32) -> Result<bool, LogError> {
        let reading = LogError::io("read", &self.path);
        let mut rest = Vec::new();
        self.input
            .seek(SeekFrom::Start(bad.into()))
            .and_then(|_| self.input.read_to_end(&mut rest))
            .map_err(reading)?;
        let mut tried_bytes = 0;
        for (offset, window) in (bad..).zip(rest.windows(HEADER_BYTES as usize)).skip(1) {
            let bytes = window.try_into().expect("a window has the size asked for");
            let Some((header, end)) = self.plausible(bytes, offset) else { continue };
            if header.synced <= bad {
                continue;
            }
            let payload = (offset + HEADER_BYTES - bad) as usize..(end - bad) as usize;
            tried_bytes += u64::from(header.length);
            if tried_bytes > SEARCH_BYTES || header.matches(&rest[payload], self.salt) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn bytes_of(path: &Path) -> Result<u64, LogError> {
    fs::metadata(path).map(|metadata| metadata.len()).map_err(LogError::io("read", path))
}
