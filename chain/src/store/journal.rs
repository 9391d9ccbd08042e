//! Journals: what can be derived from nothing else, such as jobs. A journal is a list of records
//! that is appended to, and now and then rewritten without those that are obsolete.
//! Does not know what a record says. Losing a journal never harms the chain.
//!
//! `FOLDER/00000.log` is a file of the block log's format, with the same promises: a record is safe
//! once `append` has returned, what a crash leaves of an unfinished one is cut off at the next open,
//! and damage to what was promised is refused. While a journal is rewritten, `FOLDER/new/` holds
//! its next file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::blocks::{BlockLog, LogError, LogPosition, RecordKind, Truncation, file_path};
use super::directory::sync_folder;

/// Bytes a journal may grow by before it should be rewritten, however little it held before.
const LEAST_GROWTH: u64 = 1 << 20;

/// Why a journal cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// What was promised is not there any more.
    #[error(
        "{} is damaged at byte {offset}: restore it from a backup, or move its folder elsewhere to \
         go on without what it remembers; the chain is not affected",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Offset of the first bad record, in bytes; 0 for the head of the file.
        offset: u64,
    },
    /// It has reached its limit: whoever writes it has to rewrite it first.
    #[error("the journal {} is full: it may have {limit_bytes} bytes", folder.display())]
    Full {
        /// Its folder.
        folder: PathBuf,
        /// The limit.
        limit_bytes: u32,
    },
    /// An earlier error left nobody knows what on the disk.
    #[error("the journal {} stopped after an earlier error of the disk: check it and start again",
        folder.display())]
    Stopped {
        /// Its folder.
        folder: PathBuf,
    },
    /// As in the block log.
    #[error(transparent)]
    Log(LogError),
}

impl JournalError {
    /// Whether there is no room on the disk: what was to be written is not, and all else goes on.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, JournalError::Log(LogError::Full { .. }))
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

/// A journal, opened for appending. Not `Clone`: holding it is the right to append.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    limit_bytes: u32,
    /// `None` once nobody knows what is on the disk.
    log: Option<BlockLog>,
    /// Bytes it had when it was last rewritten, or opened.
    rewritten_bytes: u64,
}

impl Journal {
    /// Opens the journal in `folder`, making it if there is none, and shows `visit` every record,
    /// in order. What a crash left behind the last whole record is cut off and told. It never has
    /// more than `limit_bytes`.
    ///
    /// # Errors
    /// What `visit` returns, [`JournalError::Damaged`] and those of the disk. The journal is then
    /// as it was.
    pub fn open<E: From<JournalError>>(
        folder: &Path,
        limit_bytes: u32,
        mut visit: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(Journal, Option<Truncation>), E> {
        /// Tells the log's errors from those of `visit`.
        enum Failure<E> {
            Log(LogError),
            Visit(E),
        }
        impl<E> From<LogError> for Failure<E> {
            fn from(error: LogError) -> Failure<E> {
                Failure::Log(error)
            }
        }
        forget_draft(folder)?;
        let opened =
            BlockLog::open(folder, limit_bytes, LogPosition::START, |kind, location, payload| {
                if kind != RecordKind::JournalEntry {
                    let (path, offset) = (file_path(folder, location.file), location.offset.into());
                    return Err(Failure::Log(LogError::Damaged { path, offset }));
                }
                visit(payload).map_err(Failure::Visit)
            });
        let (log, cut) = opened.map_err(|failure| match failure {
            Failure::Log(error) => JournalError::from(error).into(),
            Failure::Visit(error) => error,
        })?;
        let rewritten_bytes = log.size_bytes();
        let journal =
            Journal { folder: folder.to_owned(), limit_bytes, log: Some(log), rewritten_bytes };
        Ok((journal, cut))
    }

    /// Appends records. They are safe on disk, all of them, when this returns.
    ///
    /// # Errors
    /// [`JournalError::Full`]: nothing was appended. A full disk: some may have been. After any
    /// other error the journal only answers [`JournalError::Stopped`].
    pub fn append<R: AsRef<[u8]>>(&mut self, records: &[R]) -> Result<(), JournalError> {
        let Some(log) = &mut self.log else { return Err(self.stopped()) };
        let mut records = records.iter().map(AsRef::as_ref);
        if !log.holds(records.clone().map(<[u8]>::len)) {
            let (folder, limit_bytes) = (self.folder.clone(), self.limit_bytes);
            return Err(JournalError::Full { folder, limit_bytes });
        }
        let appended =
            records.try_for_each(|record| log.append(RecordKind::JournalEntry, record).map(drop));
        let synced = appended.and_then(|()| log.sync()).map_err(JournalError::from);
        if synced.as_ref().is_err_and(|error| !error.is_disk_full()) {
            self.log = None;
        }
        synced
    }

    /// Whether much was appended since the last rewrite: as much as it left, and 1 MiB.
    pub fn needs_compaction(&self) -> bool {
        let grown = self.size_bytes().saturating_sub(self.rewritten_bytes);
        grown >= self.rewritten_bytes.max(LEAST_GROWTH)
    }

    /// Replaces all records by these. After any crash the old or the new ones are there, whole.
    ///
    /// # Errors
    /// [`JournalError::Full`] and a full disk: the journal is as it was. After any other error it
    /// only answers [`JournalError::Stopped`].
    pub fn compact<R: AsRef<[u8]>>(&mut self, records: &[R]) -> Result<(), JournalError> {
        let Some(old) = self.log.take() else { return Err(self.stopped()) };
        let draft = draft(&self.folder);
        let drafted = Journal::open::<JournalError>(&draft, self.limit_bytes, |_| Ok(()))
            .and_then(|(mut new, _)| new.append(records));
        if let Err(error) = drafted {
            let _ = forget_draft(&self.folder);
            let is_as_it_was = error.is_disk_full() || matches!(error, JournalError::Full { .. });
            self.log = is_as_it_was.then_some(old);
            return Err(error);
        }
        drop(old);
        let path = file_path(&self.folder, 0);
        fs::rename(file_path(&draft, 0), &path)
            .and_then(|()| sync_folder(&self.folder))
            .map_err(JournalError::io("replace", &path))?;
        let (new, _) = Journal::open::<JournalError>(&self.folder, self.limit_bytes, |_| Ok(()))?;
        *self = new;
        Ok(())
    }

    /// Bytes of its file.
    pub fn size_bytes(&self) -> u64 {
        self.log.as_ref().map_or(0, BlockLog::size_bytes)
    }

    fn stopped(&self) -> JournalError {
        JournalError::Stopped { folder: self.folder.clone() }
    }
}

/// Where a journal's next file is written.
fn draft(folder: &Path) -> PathBuf {
    folder.join("new")
}

/// Removes what a crash has left of a rewrite.
fn forget_draft(folder: &Path) -> Result<(), JournalError> {
    let draft = draft(folder);
    match fs::remove_dir_all(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(JournalError::io("remove", &draft)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
