//! Removal of records from the log. A file is rewritten without them and takes the place of the old
//! one at once, so that a crash leaves either. Nothing is ever removed from the last file, which
//! may end in an unfinished write.

use super::error::LogError;
use super::file::{file_path, open_file, read_header};
use super::gaps::Gaps;
use super::position::RecordLocation;
use super::record::{FileHeader, HEADER_BYTES, Header, Tag};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Files that were rewritten and do not take the place of the old ones yet.
#[derive(Debug)]
pub struct Removal(pub(super) Vec<CompactedFile>);

/// A file that was rewritten beside the log.
#[derive(Debug)]
pub(super) struct CompactedFile {
    pub(super) number: u32,
    pub(super) path: PathBuf,
    pub(super) gaps: Gaps,
    /// The number of bytes by which the file is smaller.
    pub(super) freed_bytes: u64,
}

/// Removes files that were rewritten by a process that ended before they took their place.
pub(super) fn remove_leftovers(folder: &Path, files: u32) {
    for number in 0..files {
        // It is of no use, but does no harm.
        let _ = fs::remove_file(compacted_path(folder, number));
    }
}

pub(super) fn compacted_path(folder: &Path, number: u32) -> PathBuf {
    file_path(folder, number).with_extension("compacted")
}

/// Writes a file without some of its records to `path`, and syncs it.
pub(super) fn rewrite(
    folder: &Path,
    number: u32,
    path: &Path,
    old: &Gaps,
    records: &[RecordLocation],
) -> Result<CompactedFile, LogError> {
    let source_path = file_path(folder, number);
    let damaged =
        |offset: u32| LogError::Damaged { path: source_path.clone(), offset: offset.into() };
    let mut source = open_file(&source_path)?;
    let (salt, previous) = match read_header(&mut source, &source_path)? {
        Some((FileHeader::Valid { salt, previous, .. }, gaps)) if gaps == *old => (salt, previous),
        _ => return Err(damaged(0)),
    };
    let reading = || LogError::io("read", &source_path);
    let size_on_disk = source.metadata().map_err(reading())?.len();
    for record in records {
        if !has_record(&mut source, old, *record).map_err(reading())? {
            return Err(damaged(record.offset));
        }
    }
    let gaps = old.with(records);
    let size = u32::try_from(old.original_size(size_on_disk)).map_err(|_| damaged(0))?;
    let writing = || LogError::write("write", path);
    let mut target = File::create(path).map_err(writing())?;
    let header = FileHeader::encode(salt, previous, true);
    target.write_all(&[&header[..], &gaps.encode(salt)].concat()).map_err(writing())?;
    for part in gaps.remaining(size) {
        let start = old.place_on_disk(part.start).ok_or_else(|| damaged(part.start))?;
        source.seek(SeekFrom::Start(start)).map_err(reading())?;
        let length = u64::from(part.end - part.start);
        if io::copy(&mut (&mut source).take(length), &mut target).map_err(writing())? != length {
            return Err(damaged(part.start));
        }
    }
    let compacted_size = target.metadata().map_err(LogError::io("read", path))?.len();
    target.sync_all().map_err(LogError::io("sync", path))?;
    let freed_bytes = size_on_disk.saturating_sub(compacted_size);
    Ok(CompactedFile { number, path: path.to_owned(), gaps, freed_bytes })
}

/// Whether a record of this length starts at a location.
fn has_record(file: &mut File, gaps: &Gaps, location: RecordLocation) -> io::Result<bool> {
    let Some(place) = gaps.place_on_disk(location.offset) else { return Ok(false) };
    let mut bytes = [0; HEADER_BYTES as usize];
    file.seek(SeekFrom::Start(place))?;
    file.read_exact(&mut bytes)?;
    let header = Header::decode(&bytes, location.offset);
    Ok(header.is_some_and(|header| {
        header.length == location.length && matches!(header.tag, Tag::Data(_))
    }))
}
