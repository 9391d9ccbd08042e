//! Scans the files of a log when it is opened. A bad record is either the end of an unfinished
//! write, which is truncated, or damage to synced records, which is reported and left untouched.
//!
//! A bad record counts as damage if there is evidence that it was synced: a later file, which is
//! created only after a sync; a caller that covers the log beyond the record; or a later record
//! whose `synced` offset lies beyond it. A log that ends before the position that its caller covers
//! has lost records, because a position is only covered after a sync.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::error::LogError;
use super::file::{file_path, fill_buffer, open_file, read_header};
use super::gaps::Gaps;
use super::position::{LogPosition, RecordLocation};
use super::record::{FILE_HEADER_BYTES, FileHeader, HEADER_BYTES, Header, RecordKind, Salt, Tag};
use crate::store::directory::sync_folder;

/// The size of the read buffer, in bytes.
const BUFFER_BYTES: usize = 1 << 20;

/// The number of bytes over which the search for a later record may compute CRCs, which takes one
/// or two seconds. A file in which more bytes resemble records counts as damaged.
const SEARCH_BYTES: u64 = 8 << 30;

/// An unfinished write after the last whole record, which was never acknowledged and is truncated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truncation {
    /// The path of the truncated file.
    pub path: PathBuf,
    /// The new size of the file, in bytes.
    pub offset: u32,
    /// The number of bytes that were removed.
    pub bytes: u64,
}

impl fmt::Display for Truncation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Truncation { path, offset, bytes } = self;
        let path = path.display();
        write!(
            f,
            "truncated {path} at byte {offset}: removed an incomplete record of {bytes} bytes"
        )
    }
}

/// The state of a log at its end.
pub(super) struct Scan {
    /// The number of the last file.
    pub(super) last: u32,
    /// The salt of the last file; `None` if the file has to be created.
    pub(super) salt: Option<Salt>,
    /// Whether the last file has the oldest version.
    pub(super) is_oldest: bool,
    /// The offset after the last valid record of the last file.
    pub(super) end: u32,
    /// The size of all files before the last, in bytes.
    pub(super) earlier_bytes: u64,
    /// The original size of the file before the last, in bytes.
    pub(super) previous: u64,
    /// The gaps of the files from which records were removed.
    pub(super) gaps: BTreeMap<u32, Gaps>,
    /// The unfinished write that has to be truncated, if any.
    pub(super) truncation: Option<Truncation>,
}

/// Creates the folder of a log if it does not exist.
pub(super) fn create_folder(folder: &Path) -> Result<(), LogError> {
    if !folder.is_dir() {
        fs::create_dir_all(folder).map_err(LogError::write("create", folder))?;
        let above = folder.parent().unwrap_or(folder);
        sync_folder(above).map_err(LogError::io("sync", above))?;
    }
    Ok(())
}

/// Counts the files, which are numbered from 0 without gaps; 0 if the folder does not exist.
pub(super) fn count_files(folder: &Path) -> Result<u32, LogError> {
    if !folder.exists() {
        return Ok(0);
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

/// Calls `visit` with the records from `covered` on.
pub(super) fn scan_records<E: From<LogError>>(
    folder: &Path,
    files: u32,
    covered: LogPosition,
    mut visit: impl FnMut(RecordKind, RecordLocation, &[u8]) -> Result<(), E>,
) -> Result<Scan, E> {
    let last = files.saturating_sub(1);
    let lost = |end| LogError::Lost { folder: folder.to_owned(), end, covered };
    if covered.file > last {
        let bytes = if files == 0 { 0 } else { file_size(&file_path(folder, last))? };
        let offset = u32::try_from(bytes).unwrap_or(u32::MAX);
        return Err(lost(LogPosition { file: last, offset }).into());
    }
    let (mut earlier_bytes, mut previous) = (0, 0);
    let mut gaps = BTreeMap::new();
    for number in 0..last {
        let path = file_path(folder, number);
        if number >= covered.file {
            let damaged = |offset| LogError::Damaged { path: path.clone(), offset };
            let mut file = FileScan::open(folder, number, previous)?.ok_or_else(|| damaged(0))?;
            if let Some(offset) = file.visit(covered, &mut visit)? {
                return Err(damaged(offset.into()).into());
            }
        }
        earlier_bytes += file_size(&path)?;
        previous = original_size(folder, number, &mut gaps)?;
    }
    let end = FILE_HEADER_BYTES;
    let (salt, is_oldest, truncation) = (None, false, None);
    let mut scan = Scan { last, salt, is_oldest, end, earlier_bytes, previous, gaps, truncation };
    let path = file_path(folder, last);
    let file = if files == 0 { None } else { FileScan::open(folder, last, previous)? };
    let Some(mut file) = file else {
        if covered > (LogPosition { file: last, offset: scan.end }) {
            return Err(lost(LogPosition { file: last, offset: 0 }).into());
        }
        let bytes = if files == 0 { 0 } else { file_size(&path)? };
        scan.truncation = (bytes > 0).then_some(Truncation { path, offset: 0, bytes });
        return Ok(scan);
    };
    (scan.salt, scan.is_oldest) = (Some(file.salt), file.is_oldest);
    if let Some(offset) = file.visit(covered, &mut visit)? {
        let is_covered = (LogPosition { file: last, offset }) < covered;
        let ends_early = covered.file == last && file.bytes < u64::from(covered.offset);
        // Nothing is removed from a file that is still written.
        let is_complete = !file.gaps.is_empty();
        if is_complete || file.was_synced_beyond(offset)? || (is_covered && !ends_early) {
            return Err(LogError::Damaged { path, offset: offset.into() }.into());
        }
        if is_covered {
            return Err(lost(LogPosition { file: last, offset }).into());
        }
        let bytes = file.bytes - u64::from(offset);
        scan.truncation = Some(Truncation { path, offset, bytes });
    }
    scan.end = file.offset;
    if !file.gaps.is_empty() {
        // The files after this one are lost. Nothing is appended to a compacted file.
        scan.earlier_bytes += file_size(&file.path)?;
        scan.previous = file.bytes;
        scan.gaps.insert(last, file.gaps);
        (scan.last, scan.salt, scan.end) = (last + 1, None, FILE_HEADER_BYTES);
        scan.is_oldest = false;
    }
    Ok(scan)
}

/// A log file that is being scanned.
struct FileScan {
    path: PathBuf,
    number: u32,
    salt: Salt,
    is_oldest: bool,
    gaps: Gaps,
    /// The original size of the file.
    bytes: u64,
    input: BufReader<File>,
    /// The offset after the last valid record that was read.
    offset: u32,
}

impl FileScan {
    /// Opens a file that follows one of `previous` bytes. Returns `None` if its creation was not
    /// finished: nothing is appended before the header is synced.
    fn open(folder: &Path, number: u32, previous: u64) -> Result<Option<FileScan>, LogError> {
        let path = file_path(folder, number);
        let bytes = file_size(&path)?;
        let mut input = BufReader::with_capacity(BUFFER_BYTES, open_file(&path)?);
        match read_header(&mut input, &path)? {
            Some((FileHeader::Valid { previous: recorded, .. }, _))
                if u64::from(recorded) != previous =>
            {
                let path = number.checked_sub(1).map_or(path, |before| file_path(folder, before));
                Err(LogError::Damaged { path, offset: previous.min(recorded.into()) })
            }
            Some((FileHeader::Valid { salt, is_oldest, .. }, gaps)) => {
                let (bytes, offset) = (gaps.original_size(bytes), FILE_HEADER_BYTES);
                Ok(Some(FileScan { path, number, salt, is_oldest, gaps, bytes, input, offset }))
            }
            Some((FileHeader::OtherVersion(found), _)) => Err(LogError::Version { path, found }),
            _ if bytes <= u64::from(FILE_HEADER_BYTES) => Ok(None),
            _ => Err(LogError::Damaged { path, offset: 0 }),
        }
    }

    /// Calls `visit` with the records from `covered` on. Returns the offset of the first bad
    /// record, if any.
    fn visit<E: From<LogError>>(
        &mut self,
        covered: LogPosition,
        visit: &mut impl FnMut(RecordKind, RecordLocation, &[u8]) -> Result<(), E>,
    ) -> Result<Option<u32>, E> {
        let file = self.number;
        let mut payload = Vec::new();
        loop {
            self.offset = self.gaps.skip(self.offset);
            if u64::from(self.offset) >= self.bytes {
                break;
            }
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
        let end = LogPosition { file, offset: self.offset };
        if covered.file == file && end < covered {
            let folder = self.path.parent().unwrap_or(&self.path).to_owned();
            return Err(LogError::Lost { folder, end, covered }.into());
        }
        Ok(None)
    }

    /// Reads the next record; `None` if it is not valid, and then the scan does not advance.
    fn next(&mut self, payload: &mut Vec<u8>) -> Result<Option<Tag>, LogError> {
        let mut bytes = [0; HEADER_BYTES as usize];
        if !fill_buffer(&mut self.input, &mut bytes, &self.path)? {
            return Ok(None);
        }
        let Some((header, end)) = self.plausible(&bytes, self.offset) else {
            return Ok(None);
        };
        payload.resize(header.length as usize, 0);
        if !fill_buffer(&mut self.input, payload, &self.path)?
            || !header.matches(payload, self.salt)
        {
            return Ok(None);
        }
        self.offset = end;
        Ok(Some(header.tag))
    }

    /// Decodes a possible record header at `offset`, and returns it with the offset after the
    /// record.
    fn plausible(&self, bytes: &[u8; HEADER_BYTES as usize], offset: u32) -> Option<(Header, u32)> {
        let header = Header::decode(bytes, offset)?;
        let end = header.end(offset)?;
        (u64::from(end) <= self.bytes).then_some((header, end))
    }

    /// Whether a record after the bad one at `bad` proves that the file was synced beyond `bad`.
    /// Since the length of the bad record may be wrong, the next record may start at any byte.
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

/// Returns the size of a file before any removal of records, and adds its gaps.
fn original_size(
    folder: &Path,
    number: u32,
    gaps: &mut BTreeMap<u32, Gaps>,
) -> Result<u64, LogError> {
    let path = file_path(folder, number);
    let size = file_size(&path)?;
    match read_header(&mut open_file(&path)?, &path)? {
        Some((_, found)) if !found.is_empty() => {
            let size = found.original_size(size);
            gaps.insert(number, found);
            Ok(size)
        }
        _ => Ok(size),
    }
}

fn file_size(path: &Path) -> Result<u64, LogError> {
    fs::metadata(path).map(|metadata| metadata.len()).map_err(LogError::io("read", path))
}
