//! Journals: append-only lists of records for data that cannot be derived from the chain, such as
//! mining jobs. A journal is compacted from time to time, which removes obsolete records. A journal
//! does not interpret its records. Losing one never affects the chain.
//!
//! `FOLDER/00000.log` has the format and the guarantees of a block log file: a record is durable
//! once `append` has returned, or once a [`BackgroundSync`] has synced it after `append_unsynced`; an unfinished write is truncated at the next open, and damage to
//! durable records is an error. During compaction, `FOLDER/new/` holds the next file.

mod background;

pub use self::background::BackgroundSync;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::blocks::{BlockLog, LogError, LogPosition, RecordKind, Truncation, file_path};
use super::directory::sync_folder;

/// The minimum growth in bytes before a journal needs compaction.
const MIN_GROWTH: u64 = 1 << 20;

/// An error of opening, reading or writing a journal.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// A durable record is damaged.
    #[error(
        "{} is damaged at byte {offset}: restore it from a backup, or move its folder elsewhere to \
         continue without its records; the chain is not affected",
        path.display()
    )]
    Damaged {
        /// The path of the damaged file.
        path: PathBuf,
        /// The offset of the first bad record in bytes, or 0 for the file header.
        offset: u64,
    },
    /// The journal has reached its maximum size and has to be compacted first.
    #[error("the journal {} is full: its limit is {limit_bytes} bytes", folder.display())]
    Full {
        /// The folder of the journal.
        folder: PathBuf,
        /// The maximum size, in bytes.
        limit_bytes: u32,
    },
    /// An earlier error left the disk in an unknown state.
    #[error("the journal {} stopped after an earlier disk error: check the disk and start again",
        folder.display())]
    Stopped {
        /// The folder of the journal.
        folder: PathBuf,
    },
    /// The underlying log failed.
    #[error(transparent)]
    Log(LogError),
}

impl JournalError {
    /// Whether the disk is full. Nothing was written then, and the journal stays usable.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, JournalError::Log(error) if error.is_disk_full())
    }

    fn io<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| JournalError::Log(LogError::io(action, path)(source))
    }
}

impl From<LogError> for JournalError {
    fn from(error: LogError) -> JournalError {
        match error {
            LogError::Damaged { path, offset } => JournalError::Damaged { path, offset },
            error => JournalError::Log(error),
        }
    }
}

/// A journal opened for appending. It is not `Clone`: the owner has the exclusive right to append.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    limit_bytes: u32,
    /// `None` once the state of the disk is unknown.
    log: Option<BlockLog>,
    /// The size after the last compaction or opening, in bytes.
    compacted_bytes: u64,
    /// Syncs the records that are appended without a sync.
    background: Option<BackgroundSync>,
}

impl Journal {
    /// Opens the journal in `folder`, or creates it, and calls `visit` with every record, in order.
    /// An unfinished write after the last whole record is truncated and returned. The journal never
    /// exceeds `limit_bytes`.
    ///
    /// # Errors
    /// Returns the error of `visit`, [`JournalError::Damaged`] or a disk error. The journal is not
    /// changed then.
    pub fn open<E: From<JournalError>>(
        folder: &Path,
        limit_bytes: u32,
        mut visit: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(Journal, Option<Truncation>), E> {
        /// Separates the errors of the log from those of `visit`.
        enum Failure<E> {
            Log(LogError),
            Visit(E),
        }
        impl<E> From<LogError> for Failure<E> {
            fn from(error: LogError) -> Failure<E> {
                Failure::Log(error)
            }
        }
        remove_new_folder(folder)?;
        let opened =
            BlockLog::open(folder, limit_bytes, LogPosition::START, |kind, location, payload| {
                if kind != RecordKind::JournalEntry {
                    let (path, offset) = (file_path(folder, location.file), location.offset.into());
                    return Err(Failure::Log(LogError::Damaged { path, offset }));
                }
                visit(payload).map_err(Failure::Visit)
            });
        let (log, truncation) = opened.map_err(|failure| match failure {
            Failure::Log(error) => JournalError::from(error).into(),
            Failure::Visit(error) => error,
        })?;
        let compacted_bytes = log.size_bytes();
        let journal = Journal {
            folder: folder.to_owned(),
            limit_bytes,
            log: Some(log),
            compacted_bytes,
            background: None,
        };
        Ok((journal, truncation))
    }

    /// Lets `background` sync what [`append_unsynced`](Self::append_unsynced) appends.
    ///
    /// # Errors
    /// Returns a disk error.
    pub fn sync_in_background(&mut self, background: BackgroundSync) -> Result<(), JournalError> {
        let Some(log) = &self.log else { return Err(self.stopped()) };
        background.set_file(log.clone_file()?, file_path(&self.folder, 0));
        self.background = Some(background);
        Ok(())
    }

    /// Appends records. All of them are durable when this returns.
    ///
    /// # Errors
    /// After [`JournalError::Full`] or a full disk nothing was appended. After any other error every
    /// later call returns [`JournalError::Stopped`].
    pub fn append<R: AsRef<[u8]>>(&mut self, records: &[R]) -> Result<(), JournalError> {
        self.write(records, BlockLog::sync)
    }

    /// Appends records, which survive the death of the process when this returns, and a power
    /// failure once the [`BackgroundSync`] has synced them.
    ///
    /// # Errors
    /// Returns the errors of [`append`](Self::append), and [`JournalError::Stopped`] after a failed
    /// sync in the background.
    pub fn append_unsynced<R: AsRef<[u8]>>(&mut self, records: &[R]) -> Result<(), JournalError> {
        let written = self.write(records, |_| Ok(()));
        if let Some(background) = &self.background {
            background.mark_unsynced();
        }
        written
    }

    /// Syncs all records.
    ///
    /// # Errors
    /// Returns a disk error. Every later call returns [`JournalError::Stopped`].
    pub fn sync(&mut self) -> Result<(), JournalError> {
        self.write::<&[u8]>(&[], BlockLog::sync)?;
        if let Some(background) = &self.background {
            background.mark_synced();
        }
        Ok(())
    }

    /// Stops the journal if a sync in the background has failed.
    fn check_background(&mut self) {
        if self.background.as_ref().is_some_and(BackgroundSync::has_failed) {
            self.log = None;
        }
    }

    fn write<R: AsRef<[u8]>>(
        &mut self,
        records: &[R],
        sync: impl FnOnce(&mut BlockLog) -> Result<(), LogError>,
    ) -> Result<(), JournalError> {
        self.check_background();
        let Some(log) = &mut self.log else { return Err(self.stopped()) };
        let mut records = records.iter().map(AsRef::as_ref);
        if !log.has_room_for(records.clone().map(<[u8]>::len)) {
            let (folder, limit_bytes) = (self.folder.clone(), self.limit_bytes);
            return Err(JournalError::Full { folder, limit_bytes });
        }
        let end = log.end();
        let appended =
            records.try_for_each(|record| log.append(RecordKind::JournalEntry, record).map(drop));
        let written = match appended {
            // Otherwise a restart would apply changes that were refused.
            Err(error) if error.is_disk_full() => log.retract(end).and(Err(error)),
            appended => appended.and_then(|()| sync(log)),
        };
        if written.as_ref().is_err_and(|error| !error.is_disk_full()) {
            self.log = None;
        }
        written.map_err(JournalError::from)
    }

    /// Whether the journal has doubled, and grown by at least 1 MiB, since the last compaction.
    pub fn needs_compaction(&self) -> bool {
        let grown = self.size_bytes().saturating_sub(self.compacted_bytes);
        grown >= self.compacted_bytes.max(MIN_GROWTH)
    }

    /// Replaces all records by the given ones atomically: after a crash the journal holds either
    /// the old records or the new ones.
    ///
    /// # Errors
    /// After [`JournalError::Full`] or a full disk the journal is not changed. After any other
    /// error every later call returns [`JournalError::Stopped`].
    pub fn compact<R: AsRef<[u8]>>(&mut self, records: &[R]) -> Result<(), JournalError> {
        self.check_background();
        let Some(old) = self.log.take() else { return Err(self.stopped()) };
        let new_folder = new_folder(&self.folder);
        let written = Journal::open::<JournalError>(&new_folder, self.limit_bytes, |_| Ok(()))
            .and_then(|(mut new, _)| new.append(records));
        if let Err(error) = written {
            let _ = remove_new_folder(&self.folder);
            let is_unchanged = error.is_disk_full() || matches!(error, JournalError::Full { .. });
            self.log = is_unchanged.then_some(old);
            return Err(error);
        }
        drop(old);
        let path = file_path(&self.folder, 0);
        fs::rename(file_path(&new_folder, 0), &path)
            .and_then(|()| sync_folder(&self.folder))
            .map_err(JournalError::io("replace", &path))?;
        let (new, _) = Journal::open::<JournalError>(&self.folder, self.limit_bytes, |_| Ok(()))?;
        let background = self.background.take();
        *self = new;
        background.map_or(Ok(()), |background| self.sync_in_background(background))
    }

    /// Returns the size of the journal file, in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.log.as_ref().map_or(0, BlockLog::size_bytes)
    }

    fn stopped(&self) -> JournalError {
        JournalError::Stopped { folder: self.folder.clone() }
    }
}

/// Returns the folder in which compaction writes the next file.
fn new_folder(folder: &Path) -> PathBuf {
    folder.join("new")
}

/// Removes the remains of a compaction that a crash interrupted.
fn remove_new_folder(folder: &Path) -> Result<(), JournalError> {
    let folder = new_folder(folder);
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(JournalError::io("remove", &folder)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
