//! Removal of records from the log. A file is rewritten without them and takes the place of the old
//! one at once, so that a crash leaves either. Nothing is ever removed from the last file, which
//! may end in an unfinished write.

use super::BlockLog;
use super::error::LogError;
use super::file::{file_path, open_file, read_header};
use super::gaps::Gaps;
use super::position::RecordLocation;
use super::record::{FileHeader, HEADER_BYTES, Header, Tag};
use crate::store::directory::sync_folder;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Files that were rewritten and do not take the place of the old ones yet.
#[derive(Debug)]
pub struct Removal(Vec<CompactedFile>);

#[derive(Debug)]
struct CompactedFile {
    number: u32,
    path: PathBuf,
    gaps: Gaps,
    /// The number of bytes by which the file is smaller.
    freed_bytes: u64,
}

impl BlockLog {
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
            let path = compacted_path(&self.folder, number);
            let old = self.gaps.get(&number).cloned().unwrap_or_default();
            let rewritten = rewrite(&self.folder, number, &path, &old, &records);
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
}

/// Removes files that were rewritten by a process that ended before they took their place.
pub(super) fn remove_leftovers(folder: &Path, files: u32) {
    for number in 0..files {
        // It is of no use, but does no harm.
        let _ = fs::remove_file(compacted_path(folder, number));
    }
}

fn compacted_path(folder: &Path, number: u32) -> PathBuf {
    file_path(folder, number).with_extension("compacted")
}

/// Writes a file without some of its records to `path`, and syncs it.
fn rewrite(
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
