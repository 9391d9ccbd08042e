//! The folder of all runs of a data directory.

use super::filter::FilterKey;
use super::merge::Merge;
use super::run::{Cursor, Run, RunDescription};
use super::writer::{Contents, ContentsBuilder, RunWriter};
use crate::store::blocks::LogError;
use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// The size of the buffer for checksums, and for reading a run when it is opened, in bytes.
const BUFFER_BYTES: usize = 128 << 10;
/// The number of merged rows after which a cancellation is noticed.
const CANCEL_ROWS: u32 = 4_096;

/// Appends a row to a run: its key, and its value or `None` if the key is removed.
pub type AppendRow<'a> = dyn FnMut(&[u8], Option<&[u8]>) -> Result<(), LogError> + 'a;

/// The folder of all runs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RunFolder(Arc<Folder>);

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    filter_key: FilterKey,
    hasher: RandomState,
    next: AtomicU32,
}

impl RunFolder {
    /// Returns the folder at a path, which is created with the first run. `filter_key` is the same
    /// for all runs.
    pub fn new(path: &Path, filter_key: FilterKey) -> RunFolder {
        // Random, so that the names of runs that an earlier instance still has are not used again.
        let hasher = RandomState::new();
        let [a, b, c, ..] = hasher.hash_one(path).to_le_bytes();
        let next = AtomicU32::new(u32::from_le_bytes([a, b, c, 0]));
        RunFolder(Arc::new(Folder { path: path.to_owned(), filter_key, hasher, next }))
    }

    /// Removes all files but those of the named runs: those that a killed process left there.
    ///
    /// # Errors
    /// Returns a disk error.
    pub fn remove_others(&self, kept: &[RunDescription]) -> Result<(), LogError> {
        let folder = &self.0.path;
        let kept: HashSet<OsString> = kept.iter().map(|run| name(run.number).into()).collect();
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(LogError::io("read", folder))?,
        };
        for entry in entries {
            let entry = entry.map_err(LogError::io("read", folder))?;
            if !kept.contains(&entry.file_name()) {
                fs::remove_file(entry.path()).map_err(LogError::io("remove", &entry.path()))?;
            }
        }
        Ok(())
    }

    /// Writes a new run. `write` appends the rows, sorted by key, with the function that is its
    /// argument. `keys` is at least the number of keys for the filter.
    ///
    /// # Errors
    /// Returns an error of `write`, or of the disk.
    pub fn write(
        &self,
        keys: usize,
        write: impl FnOnce(&mut AppendRow) -> Result<(), LogError>,
    ) -> Result<Run, LogError> {
        let Folder { path: folder, filter_key, hasher, next } = &*self.0;
        fs::create_dir_all(folder).map_err(LogError::write("create", folder))?;
        let number = next.fetch_add(1, Ordering::Relaxed);
        let path = self.path(number);
        let created =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path);
        let file = created.map_err(LogError::write("create", &path))?;
        let builder = ContentsBuilder::new(keys, *filter_key, hasher.clone());
        let mut writer = RunWriter::new(&file, builder);
        let written = write(&mut |key, value| {
            writer.append(key, value).map_err(LogError::write("write", &path))
        });
        let finished =
            written.and_then(|()| writer.finish().map_err(LogError::write("write", &path)));
        match finished {
            Ok(contents) => Ok(self.run(number, path, file, contents)),
            Err(error) => {
                drop(file);
                // What remains is removed by the next start.
                let _ = fs::remove_file(&path);
                Err(error)
            }
        }
    }

    /// Merges runs, the oldest first, to a new one; `None` if this is cancelled meanwhile. Removed
    /// keys are left out if there are no older runs.
    ///
    /// # Errors
    /// Returns an error of the disk.
    pub fn merge<'a>(
        &self,
        runs: impl IntoIterator<Item = &'a Run> + Clone,
        has_older: bool,
        cancelled: &AtomicBool,
    ) -> Result<Option<Run>, LogError> {
        let keys = runs.clone().into_iter().map(Run::keys).sum();
        let mut rows = Merge::new(runs)?;
        let mut is_cancelled = false;
        let run = self.write(keys, |append| {
            let mut count = 0_u32;
            while let Some((key, value)) = rows.next()? {
                if value.is_some() || has_older {
                    append(key, value)?;
                }
                count = count.wrapping_add(1);
                if count.is_multiple_of(CANCEL_ROWS) && cancelled.load(Ordering::Relaxed) {
                    is_cancelled = true;
                    break;
                }
            }
            Ok(())
        })?;
        Ok((!is_cancelled).then_some(run))
    }

    /// Opens a run that an earlier process wrote; `None` if its file is not the one described. The
    /// file stays when the run is dropped.
    pub fn open(&self, description: RunDescription) -> Option<Run> {
        let Folder { filter_key, hasher, next, .. } = &*self.0;
        let RunDescription { number, bytes, crc, keys } = description;
        next.fetch_max(number.checked_add(1)?, Ordering::Relaxed);
        let path = self.path(number);
        let file = File::open(&path).ok()?;
        let is_sound = file.metadata().is_ok_and(|metadata| metadata.len() == bytes)
            && checksum(&path).is_ok_and(|found| found == crc);
        if !is_sound {
            return None;
        }
        let keys = usize::try_from(u64::from(keys).min(bytes)).ok()?;
        let mut builder = ContentsBuilder::new(keys, *filter_key, hasher.clone());
        let mut cursor = Cursor::new(&file, &path, 0..bytes, BUFFER_BYTES);
        while let Some(row) = cursor.peek().ok()? {
            let (shared, offset) = (row.shared, cursor.offset());
            cursor.accept(&row);
            builder.add(cursor.key(), shared, offset);
        }
        let contents = builder.finish(bytes, crc);
        let run = self.run(number, path, file, contents);
        run.set_kept(true);
        Some(run)
    }

    fn run(&self, number: u32, path: PathBuf, file: File, contents: Contents) -> Run {
        let (filter_key, is_kept) = (self.0.filter_key, AtomicBool::new(false));
        Run { number, path, file, filter_key, contents, is_kept }
    }

    fn path(&self, number: u32) -> PathBuf {
        self.0.path.join(name(number))
    }
}

fn name(number: u32) -> String {
    format!("{number:010}.rows")
}

/// The CRC-32C of a file.
fn checksum(path: &Path) -> io::Result<u32> {
    let mut input = File::open(path)?;
    let (mut crc, mut buffer) = (0, vec![0; BUFFER_BYTES]);
    loop {
        match input.read(&mut buffer)? {
            0 => return Ok(crc),
            length => crc = crc32c::crc32c_append(crc, &buffer[..length]),
        }
    }
}
