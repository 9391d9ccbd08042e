//! The journal of the mempool: every transfer that enters or leaves it, so that the mempool
//! survives the death of the process.
//!
//! Records are written before a transfer is acknowledged, and synced in the background. The
//! journal is only a copy: a bad record ends its replay, and the rest of it is dropped.

mod record;
mod replay;

pub(crate) use self::replay::{Replay, SavedTransfer};

use self::record::Records;
use self::replay::ReplayError;
use super::change::Change;
use super::{Insertion, Mempool, Source};
use crate::block;
use crate::store::{BackgroundSync, Journal, JournalError, LogError, StoreError};
use crate::tx::Id;
use std::fs;
use std::path::{Path, PathBuf};

/// The seconds of mempool time after which the time is recorded while transfers wait.
const TIME_STEP_SECONDS: u64 = 60;

/// The bounds of a journal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// The maximum size of the journal, in bytes.
    pub(crate) max_bytes: u32,
    /// The maximum number of transfers in the mempool at any time.
    pub(crate) max_transfers: usize,
}

impl Bounds {
    /// Returns the bounds of the journal of a mempool, several times what it needs when it is full.
    pub(crate) fn of(pool: &Mempool) -> Bounds {
        Bounds { max_bytes: 256 << 20, max_transfers: pool.capacity().saturating_mul(2) }
    }
}

/// The journal of the mempool, opened for appending.
#[derive(Debug)]
pub(crate) struct MempoolJournal {
    folder: PathBuf,
    genesis: block::Hash,
    max_bytes: u32,
    /// `None` while the disk has no room to create it.
    journal: Option<Journal>,
    background: BackgroundSync,
    /// Whether changes could not be written because the disk was full. The journal has to be
    /// compacted then before it accepts further transfers.
    is_behind: bool,
    /// Whether the last compaction failed because the disk was full.
    is_compaction_delayed: bool,
    /// The mempool time of the last record, in seconds.
    seconds: u64,
    /// The tip with which the mempool was last up to date; `None` if that is unknown.
    tip: Option<block::Hash>,
}

impl MempoolJournal {
    /// Opens the journal in `folder` for a network, or creates it, and reads it up to the first bad
    /// record. Calls `warn` with a line for the log if something of it is lost; a damaged journal is
    /// moved to `FOLDER.damaged`. The mempool has to be [compacted](Self::compact) into it next.
    ///
    /// # Errors
    /// Returns the error of a disk that cannot be used.
    pub(crate) fn open(
        folder: &Path,
        genesis: block::Hash,
        bounds: Bounds,
        warn: &mut dyn FnMut(String),
    ) -> Result<(MempoolJournal, Replay), StoreError> {
        let Bounds { max_bytes, max_transfers } = bounds;
        let mut replay = Replay::new(genesis, max_transfers);
        let opened = Journal::open(folder, max_bytes, |record| -> Result<(), ReplayError> {
            replay.apply(record)
        });
        let journal = match opened {
            Ok((journal, truncation)) => {
                truncation.into_iter().for_each(|truncation| warn(truncation.to_string()));
                Some(journal)
            }
            Err(ReplayError::Journal(error)) if error.is_disk_full() => None,
            Err(ReplayError::Journal(error)) if !is_bad_record(&error) => {
                return Err(store_error(error));
            }
            Err(error) => {
                let reason = match error {
                    ReplayError::Journal(JournalError::Damaged { offset, .. }) => {
                        format!("it is damaged at byte {offset}")
                    }
                    error => error.to_string(),
                };
                let (journal, moved) = (folder.display(), move_away(folder)?);
                warn(format!(
                    "transfers of the mempool's journal {journal} may be lost, moved to {}: {reason}",
                    moved.display()
                ));
                None
            }
        };
        let mut opened = MempoolJournal {
            folder: folder.to_owned(),
            genesis,
            max_bytes,
            journal,
            background: BackgroundSync::default(),
            is_behind: true,
            is_compaction_delayed: false,
            seconds: replay.seconds,
            tip: replay.tip,
        };
        if let Some(journal) = &mut opened.journal {
            journal.sync_in_background(opened.background.clone()).map_err(store_error)?;
        }
        Ok((opened, replay))
    }

    /// Returns the means by which another thread syncs what is written.
    pub(crate) fn background_sync(&self) -> BackgroundSync {
        self.background.clone()
    }

    /// Writes a transfer that is about to be inserted.
    ///
    /// # Errors
    /// Returns [`LogError::Full`] if the disk is full, and then nothing was written; or the error
    /// of a disk that cannot be used.
    pub(crate) fn log_insertion(
        &mut self,
        insertion: &Insertion,
        source: Source,
        pool: &Mempool,
    ) -> Result<(), StoreError> {
        let mut records = Records::default();
        records.added(source, pool.seconds, insertion.transfer.transfer());
        match &mut self.journal {
            Some(journal) if !self.is_behind => {
                journal.append_unsynced(&records.finish()).map_err(store_error)
            }
            _ => Err(LogError::Full { path: self.folder.clone() }.into()),
        }
    }

    /// Writes changes of the mempool except the insertion of `logged`, which is written already. If
    /// the disk is full, the journal is behind afterwards.
    ///
    /// # Errors
    /// Returns the error of a disk that cannot be used.
    pub(crate) fn log_changes(
        &mut self,
        pool: &Mempool,
        changes: &[Change],
        logged: Option<Id>,
    ) -> Result<(), StoreError> {
        let mut records = Records::default();
        for change in changes {
            match change {
                Change::Added(arrival) => {
                    if let Some(transfer) = pool.transfers.get(arrival)
                        && Some(transfer.id()) != logged
                    {
                        let source = pool.source(*arrival);
                        records.added(source, pool.seconds, transfer.transfer());
                    }
                }
                Change::Removed(id, reason) => records.removed(id, reason.as_ref()),
                Change::Local(id) => records.local(id),
            }
        }
        let is_time_due = pool.seconds.saturating_sub(self.seconds) >= TIME_STEP_SECONDS;
        if is_time_due && pool.queued > 0 {
            records.time(pool.seconds);
            self.seconds = pool.seconds;
        }
        self.write(&records.finish())?;
        self.compact_if_due(pool)
    }

    fn compact_if_due(&mut self, pool: &Mempool) -> Result<(), StoreError> {
        let journal = self.journal.as_ref();
        if !self.is_compaction_delayed && journal.is_some_and(Journal::needs_compaction) {
            self.compact(pool)?;
        }
        Ok(())
    }

    /// Writes that the mempool is up to date with a tip.
    ///
    /// # Errors
    /// Returns the error of a disk that cannot be used.
    pub(crate) fn log_tip(&mut self, tip: block::Hash, pool: &Mempool) -> Result<(), StoreError> {
        self.tip = Some(tip);
        let mut records = Records::default();
        records.tip(tip);
        self.write(&records.finish())?;
        self.compact_if_due(pool)
    }

    /// Sets the tip with which the mempool is up to date, for the next [compaction](Self::compact).
    pub(crate) fn set_tip(&mut self, tip: block::Hash) {
        self.tip = Some(tip);
    }

    /// Tries again what a full disk prevented. Call it every few seconds.
    ///
    /// # Errors
    /// Returns the error of a disk that cannot be used.
    pub(crate) fn retry(&mut self, pool: &Mempool) -> Result<(), StoreError> {
        self.is_compaction_delayed = false;
        if self.is_behind { self.compact(pool) } else { Ok(()) }
    }

    fn write(&mut self, records: &[Vec<u8>]) -> Result<(), StoreError> {
        if records.is_empty() || self.is_behind {
            return Ok(());
        }
        match self.journal.as_mut().map_or(Ok(()), |journal| journal.append_unsynced(records)) {
            Err(error) if is_full(&error) => {
                self.is_behind = true;
                Ok(())
            }
            written => written.map_err(store_error),
        }
    }

    /// Replaces the contents of the journal by those of the mempool. If the disk is full, the
    /// journal does not change.
    ///
    /// # Errors
    /// Returns the error of a disk that cannot be used.
    pub(crate) fn compact(&mut self, pool: &Mempool) -> Result<(), StoreError> {
        let records = snapshot(self.genesis, self.tip, pool);
        match self.create().and_then(|journal| journal.compact(&records)) {
            Ok(()) => {
                (self.is_behind, self.seconds) = (false, pool.seconds);
                Ok(())
            }
            Err(error) if is_full(&error) => {
                self.is_compaction_delayed = true;
                Ok(())
            }
            Err(error) => Err(store_error(error)),
        }
    }

    /// Returns the journal, which is created if it does not exist.
    fn create(&mut self) -> Result<&mut Journal, JournalError> {
        if self.journal.is_none() {
            let visit = |_: &[u8]| Ok::<_, JournalError>(());
            let (mut journal, _) = Journal::open(&self.folder, self.max_bytes, visit)?;
            journal.sync_in_background(self.background.clone())?;
            self.journal = Some(journal);
        }
        Ok(self.journal.as_mut().expect("it was just created"))
    }

    /// Records the mempool time and syncs the journal.
    ///
    /// # Errors
    /// Returns the error of a disk that cannot be used.
    pub(crate) fn close(&mut self, pool: &Mempool) -> Result<(), StoreError> {
        self.retry(pool)?;
        let mut records = Records::default();
        records.time(pool.seconds);
        self.write(&records.finish())?;
        self.journal.as_mut().map_or(Ok(()), Journal::sync).map_err(store_error)
    }
}

impl Drop for MempoolJournal {
    fn drop(&mut self) {
        self.background.close();
    }
}

/// Encodes the contents of the mempool, the reasons of dropped transfers first.
fn snapshot(genesis: block::Hash, tip: Option<block::Hash>, pool: &Mempool) -> Vec<Vec<u8>> {
    let mut records = Records::default();
    records.header(genesis);
    tip.into_iter().for_each(|tip| records.tip(tip));
    for (id, reason) in pool.drop_reasons.iter_in_order() {
        records.removed(id, Some(reason));
    }
    for (arrival, transfer) in &pool.transfers {
        let queue = pool.queues.get(&transfer.details().sender);
        let waits_since = queue.and_then(|queue| {
            queue.gap_since().filter(|_| transfer.details().nonce >= queue.next_nonce())
        });
        let seconds = waits_since.unwrap_or(pool.seconds);
        records.added(pool.source(*arrival), seconds, transfer.transfer());
    }
    records.time(pool.seconds);
    records.finish()
}

/// Moves a folder to `FOLDER.damaged`, in the place of an earlier one.
fn move_away(folder: &Path) -> Result<PathBuf, StoreError> {
    let moved = folder.with_extension("damaged");
    let _ = fs::remove_dir_all(&moved);
    fs::rename(folder, &moved).map_err(|source| LogError::Io {
        action: "move",
        path: folder.to_owned(),
        error: source,
    })?;
    Ok(moved)
}

/// Whether the records from some point on cannot be read, while the disk works.
fn is_bad_record(error: &JournalError) -> bool {
    match error {
        JournalError::Log(LogError::Io { action, .. }) => *action == "read",
        _ => true,
    }
}

fn is_full(error: &JournalError) -> bool {
    error.is_disk_full() || matches!(error, JournalError::Full { .. })
}

fn store_error(error: JournalError) -> StoreError {
    match error {
        JournalError::Log(error) => error.into(),
        JournalError::Full { folder, .. } => LogError::Full { path: folder }.into(),
        error => error.into(),
    }
}

impl Mempool {
    fn source(&self, arrival: u64) -> Source {
        if self.local.contains_key(&arrival) { Source::Local } else { Source::Peer }
    }
}
