//! The event log on disk: segments `DATA/events/NNNNN/00000.log` in the block-log format, one batch
//! of events to a record. The oldest segment is pruned when there are too many.
//!
//! A damaged log is moved away as a whole and a new one started with higher numbers than ever
//! before, so subscribers receive a reset. The chain is not affected.

use super::record::{Batch, Record};
use super::recovery::OpenTransfers;
use crate::logging;
use chain::block;
use chain::store::blocks::{
    BlockLog, FILE_BYTES, LogPosition, LogReader, RecordKind, RecordLocation,
};
use chain::store::{LogError, StoreError};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{SystemTime, UNIX_EPOCH};
use std::{fs, io};

/// The size of the event log that is retained.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Bytes after which the next segment is started.
    pub segment_bytes: u64,
    /// Most segments, including the one being appended to.
    pub segments: usize,
}

/// 64 MiB: a few hundred thousand blocks or transfers, or weeks of an idle node.
pub(super) const LIMITS: Limits = Limits { segment_bytes: 4 << 20, segments: 16 };

/// An error of opening the log.
#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error(transparent)]
    Log(#[from] LogError),
    /// A record is intact but does not continue the one before it.
    #[error("{} has a record that does not follow the one before", .0.display())]
    Inconsistent(PathBuf),
    /// The chain cannot be read, with which the events are compared.
    #[error(transparent)]
    Chain(StoreError),
}

/// The locations of all event batches in the log.
#[derive(Debug)]
pub(super) struct Index {
    /// The segments of the log, oldest first; never empty.
    segments: VecDeque<Segment>,
    /// The number of the next event.
    next: u64,
}

#[derive(Debug)]
struct Segment {
    number: u32,
    reader: LogReader,
    /// The number of the first event of each batch, ascending, and the location of the batch.
    batches: Vec<(u64, RecordLocation)>,
}

/// The location of a batch in a segment.
#[derive(Debug)]
pub(super) struct BatchLocation {
    reader: LogReader,
    record: RecordLocation,
}

impl Index {
    /// The number of the oldest retained event, or of the next event if there is none.
    pub fn oldest(&self) -> u64 {
        let first = self.segments.iter().find_map(|segment| segment.batches.first());
        first.map_or(self.next, |(number, _)| *number)
    }

    /// The number of the next event.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The location of the batch that holds an event.
    pub fn find(&self, number: u64) -> Option<BatchLocation> {
        let is_before =
            |segment: &Segment| segment.first_number().is_some_and(|first| first <= number);
        let segment = self.segments.iter().rev().find(|segment| is_before(segment))?;
        let after = segment.batches.partition_point(|(first, _)| *first <= number);
        let (_, record) = segment.batches.get(after.checked_sub(1)?)?;
        Some(BatchLocation { reader: segment.reader.clone(), record: *record })
    }

    /// The location of the last batch.
    fn last(&self) -> Option<BatchLocation> {
        let segment = self.segments.iter().rev().find(|segment| !segment.batches.is_empty())?;
        let (_, record) = segment.batches.last()?;
        Some(BatchLocation { reader: segment.reader.clone(), record: *record })
    }
}

impl Segment {
    fn first_number(&self) -> Option<u64> {
        self.batches.first().map(|(number, _)| *number)
    }
}

impl BatchLocation {
    /// Reads the batch; `None` if its segment was pruned meanwhile or cannot be read.
    pub fn read(&self) -> Option<Batch> {
        match self.reader.read(self.record) {
            Ok((_, bytes)) => Batch::decode(&bytes).ok(),
            Err(LogError::Missing { .. }) => None,
            Err(error) => {
                logging::limited("read events", |dropped| {
                    tracing::warn!(dropped, "cannot read events: {error}");
                });
                None
            }
        }
    }
}

/// The log, open for appending.
pub(super) struct Log {
    folder: PathBuf,
    limits: Limits,
    segment: BlockLog,
    number: u32,
    index: Arc<RwLock<Index>>,
    next: u64,
    tip: block::Hash,
}

impl Log {
    /// Opens the log in `folder`, and lets `transfers` read all events. A new log starts after the
    /// block `tip`.
    pub fn open(
        folder: &Path,
        limits: Limits,
        tip: block::Hash,
        transfers: &mut OpenTransfers,
    ) -> Result<Log, StoreError> {
        match Log::open_existing(folder, limits, transfers) {
            Ok(Some(log)) => Ok(log),
            Ok(None) => Ok(Log::create(folder, limits, tip, 1)?),
            Err(OpenError::Log(error @ (LogError::Io { .. } | LogError::Full { .. }))) => {
                Err(error.into())
            }
            Err(OpenError::Chain(error)) => Err(error),
            Err(error) => {
                transfers.clear();
                let moved = folder.with_extension("damaged");
                let _ = fs::remove_dir_all(&moved);
                fs::rename(folder, &moved).map_err(io_error("move", folder))?;
                let moved = moved.display();
                tracing::warn!("the event log is damaged, moved to {moved} and restarted: {error}");
                // Above all earlier numbers, as no log has had an event every second since 1970.
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Ok(Log::create(folder, limits, tip, now.as_secs().max(1))?)
            }
        }
    }

    /// Opens the log unless there is none.
    fn open_existing(
        folder: &Path,
        limits: Limits,
        transfers: &mut OpenTransfers,
    ) -> Result<Option<Log>, OpenError> {
        let mut segments = VecDeque::new();
        let mut expected = None;
        let mut end = None;
        for number in segment_numbers(folder)? {
            let path = segment_path(folder, number);
            let mut batches = Vec::new();
            let inconsistent = || OpenError::Inconsistent(path.clone());
            let visit = |kind, record, bytes: &[u8]| {
                let batch = Batch::decode(bytes).map_err(|_| inconsistent())?;
                let follows = expected.is_none_or(|expected| expected == batch.first);
                if kind != RecordKind::JournalEntry || !follows {
                    return Err(inconsistent());
                }
                expected = batch.first.checked_add(batch.event_count());
                transfers.read(&batch).map_err(OpenError::Chain)?;
                batches.push((batch.first, record));
                Ok(())
            };
            let (log, truncation) = BlockLog::open(&path, FILE_BYTES, LogPosition::START, visit)?;
            if let Some(truncation) = truncation {
                tracing::warn!("{truncation}");
            }
            segments.push_back(Segment { number, reader: log.reader(), batches });
            end = Some((log, number));
        }
        let (Some((segment, number)), Some(next)) = (end, expected) else { return Ok(None) };
        let index = Index { segments, next };
        let last = index.last().and_then(|location| location.read());
        let Some(Batch { tip, .. }) = last else {
            return Err(OpenError::Inconsistent(segment_path(folder, number)));
        };
        let index = Arc::new(RwLock::new(index));
        Ok(Some(Log { folder: folder.to_owned(), limits, segment, number, index, next, tip }))
    }

    /// Creates a log, whose first batch is empty and records the tip it starts after.
    fn create(folder: &Path, limits: Limits, tip: block::Hash, next: u64) -> Result<Log, LogError> {
        let number = 0;
        let path = segment_path(folder, number);
        let (segment, _) = BlockLog::open(&path, FILE_BYTES, LogPosition::START, no_records)?;
        let reader = segment.reader();
        let segments = VecDeque::from([Segment { number, reader, batches: Vec::new() }]);
        let index = Arc::new(RwLock::new(Index { segments, next }));
        let folder = folder.to_owned();
        let mut log = Log { folder, limits, segment, number, index, next, tip };
        log.append(vec![(tip, Vec::new())])?;
        Ok(log)
    }

    /// The index, for readers.
    pub fn index(&self) -> Arc<RwLock<Index>> {
        Arc::clone(&self.index)
    }

    /// The number of the next event.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The last logged best block.
    pub fn tip(&self) -> block::Hash {
        self.tip
    }

    /// Appends batches, each with the tip after it, syncs them to disk and adds them to the index.
    ///
    /// # Errors
    /// After [`LogError::Full`] a part of the batches may be appended, and a later call may succeed.
    /// No other error can be retried.
    pub fn append(&mut self, batches: Vec<(block::Hash, Vec<Record>)>) -> Result<(), LogError> {
        let rolled = self.roll();
        let mut appended = Vec::with_capacity(batches.len());
        let mut full = rolled.err();
        for (tip, records) in batches {
            if full.is_some() {
                break;
            }
            let batch = Batch { first: self.next, tip, records };
            match self.segment.append(RecordKind::JournalEntry, &batch.encode()) {
                Ok(record) => {
                    appended.push((batch.first, record));
                    self.next = self.next.saturating_add(batch.event_count());
                    self.tip = tip;
                }
                Err(error) => full = Some(error),
            }
        }
        self.segment.sync()?;
        let mut index = write(&self.index);
        let last = index.segments.back_mut().expect("a log has at least one segment");
        last.batches.extend(appended);
        index.next = self.next;
        drop(index);
        match full {
            Some(error) => Err(error),
            None => self.prune(),
        }
    }

    /// Starts the next segment when the current one is full.
    fn roll(&mut self) -> Result<(), LogError> {
        if self.segment.size_bytes() < self.limits.segment_bytes {
            return Ok(());
        }
        let number = self.number.saturating_add(1);
        let path = segment_path(&self.folder, number);
        let (segment, _) = BlockLog::open(&path, FILE_BYTES, LogPosition::START, no_records)?;
        let reader = segment.reader();
        write(&self.index).segments.push_back(Segment { number, reader, batches: Vec::new() });
        (self.segment, self.number) = (segment, number);
        Ok(())
    }

    /// Removes the oldest segments when there are too many.
    fn prune(&self) -> Result<(), LogError> {
        loop {
            let mut index = write(&self.index);
            let oldest = match index.segments.len() > self.limits.segments {
                true => index.segments.pop_front(),
                false => return Ok(()),
            };
            drop(index);
            let Some(Segment { number, .. }) = oldest else { return Ok(()) };
            let path = segment_path(&self.folder, number);
            fs::remove_dir_all(&path).map_err(io_error("remove", &path))?;
        }
    }
}

/// A visitor for new segments, which have no records.
fn no_records(_: RecordKind, _: RecordLocation, _: &[u8]) -> Result<(), LogError> {
    Ok(())
}

fn segment_path(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("{number:05}"))
}

/// The numbers of the existing segments, ascending.
fn segment_numbers(folder: &Path) -> Result<Vec<u32>, LogError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io_error("read", folder)(error)),
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let name = entry.map_err(io_error("read", folder))?.file_name();
        numbers.extend(name.to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn io_error<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> LogError + 'a {
    move |error| LogError::Io { action, path: path.to_owned(), error }
}

/// Locks the index for reading. No change of it can panic half way, so poisoning is ignored.
pub(super) fn read(index: &RwLock<Index>) -> RwLockReadGuard<'_, Index> {
    index.read().unwrap_or_else(PoisonError::into_inner)
}

fn write(index: &RwLock<Index>) -> RwLockWriteGuard<'_, Index> {
    index.write().unwrap_or_else(PoisonError::into_inner)
}
