//! The folder of all runs of a data directory.

use super::filter::FilterKey;
use super::merge::Merge;
use super::run::{Cursor, Run, RunDescription};
use super::writer::{Contents, ContentsBuilder, RunWriter};
use crate::store::blocks::LogError;
use crate::store::directory::sync_folder;
use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The size of the buffer for reading a run when it is opened, in bytes.
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
    /// The number of runs that were created.
    created: AtomicU64,
}

impl RunFolder {
    /// Returns the folder at a path, which is created with the first run. `filter_key` is the same
    /// for all runs.
    pub fn new(path: &Path, filter_key: FilterKey) -> RunFolder {
        let (hasher, created) = (RandomState::new(), AtomicU64::new(0));
        RunFolder(Arc::new(Folder { path: path.to_owned(), filter_key, hasher, created }))
    }

    /// Removes all files but those of the named runs: those that a killed process left there.
    ///
    /// # Errors
    /// Returns a disk error.
    pub fn remove_others(&self, kept: &[RunDescription]) -> Result<(), LogError> {
        let folder = &self.0.path;
        if folder.is_file() {
            return remove(folder);
        }
        let kept: HashSet<OsString> = kept.iter().map(|run| name(run.number).into()).collect();
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(LogError::io("read", folder))?,
        };
        for entry in entries {
            let entry = entry.map_err(LogError::io("read", folder))?;
            if !kept.contains(&entry.file_name()) {
                remove(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Syncs all files, so that the next start finds them also after a power failure.
    ///
    /// # Errors
    /// Returns a disk error.
    pub fn sync(&self) -> Result<(), LogError> {
        let folder = &self.0.path;
        if !folder.is_dir() {
            return Ok(());
        }
        for entry in fs::read_dir(folder).map_err(LogError::io("read", folder))? {
            let path = entry.map_err(LogError::io("read", folder))?.path();
            let synced = File::open(&path).and_then(|file| file.sync_data());
            synced.map_err(LogError::io("sync", &path))?;
        }
        sync_folder(folder).map_err(LogError::io("sync", folder))
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
        let Folder { filter_key, hasher, .. } = &*self.0;
        let (number, path, file) = self.create()?;
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
        let Folder { filter_key, hasher, .. } = &*self.0;
        let RunDescription { number, bytes, keys, .. } = description;
        let path = self.path(number);
        let file = File::open(&path).ok()?;
        if file.metadata().ok()?.len() != bytes {
            return None;
        }
        // A malformed number does not reserve more memory than a run of this size needs.
        let keys = usize::try_from(u64::from(keys).min(bytes)).ok()?;
        let mut builder = ContentsBuilder::new(keys, *filter_key, hasher.clone());
        let mut cursor = Cursor::new(&file, &path, 0..bytes, BUFFER_BYTES);
        loop {
            let block = cursor.next_block().ok()?;
            let Some(row) = cursor.peek().ok()? else { break };
            cursor.accept(&row);
            if let Some((header, length)) = block {
                builder.start_block(cursor.key());
                builder.end_block(header, length);
            }
            builder.add_row(cursor.key());
        }
        let run = self.run(number, path, file, builder.finish());
        run.set_kept(true);
        (run.description() == description).then_some(run)
    }

    /// Creates a file with a number that no file has. Numbers are random, so that those of an earlier
    /// instance, which removes its files, are not used again.
    fn create(&self) -> Result<(u32, PathBuf, File), LogError> {
        let Folder { path: folder, hasher, created, .. } = &*self.0;
        fs::create_dir_all(folder).map_err(LogError::write("create", folder))?;
        loop {
            let hash = hasher.hash_one(created.fetch_add(1, Ordering::Relaxed));
            let [a, b, c, d, ..] = hash.to_le_bytes();
            let number = u32::from_le_bytes([a, b, c, d]);
            let path = self.path(number);
            let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path);
            if file.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists) {
                continue;
            }
            let file = file.map_err(LogError::write("create", &path))?;
            return Ok((number, path, file));
        }
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

/// Removes a file, or a folder with its contents.
fn remove(path: &Path) -> Result<(), LogError> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.map_err(LogError::io("remove", path))
}
