//! The log on disk: `DATA/events/NNNNN/00000.log`, segments in the format of the block log, one
//! batch a record. When there are too many bytes the oldest segment goes.
//!
//! What is damaged is set aside as a whole and a new log begun, whose numbers are higher than any
//! before: readers hear that what they missed is gone, and the chain is not concerned.

use super::record::{Batch, Entry};
use chain::block;
use chain::store::LogError;
use chain::store::blocks::{
    BlockLog, FILE_BYTES, LogPosition, LogReader, RecordKind, RecordLocation,
};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{SystemTime, UNIX_EPOCH};
use std::{fs, io};

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Bytes after which a segment is followed by the next.
    pub segment_bytes: u64,
    /// Segments, the one at the end included.
    pub segments: usize,
}

/// 64 MiB: a few hundred thousand blocks or transfers, or weeks of a quiet node.
pub(super) const LIMITS: Limits = Limits { segment_bytes: 4 << 20, segments: 16 };

/// Why the log cannot be opened.
#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error(transparent)]
    Log(#[from] LogError),
    /// A record is whole but not the one expected.
    #[error("{} has a record that does not follow the one before", .0.display())]
    Strange(PathBuf),
}

/// Where every batch lies. Readers look here, then into the files.
#[derive(Debug)]
pub(super) struct Index {
    /// Oldest first, never empty.
    segments: VecDeque<Segment>,
    /// The number of the next event.
    next: u64,
}

#[derive(Debug)]
struct Segment {
    number: u32,
    reader: LogReader,
    /// Numbers of the first events, ascending, and where the batches lie.
    batches: Vec<(u64, RecordLocation)>,
}

/// Where to read a batch.
#[derive(Debug)]
pub(super) struct Spot {
    reader: LogReader,
    place: RecordLocation,
}

impl Index {
    /// The number of the oldest event that is kept, or of the next if there is none.
    pub fn oldest(&self) -> u64 {
        let first = self.segments.iter().find_map(|segment| segment.batches.first());
        first.map_or(self.next, |(number, _)| *number)
    }

    /// The number of the next event.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The batch that holds an event.
    pub fn find(&self, number: u64) -> Option<Spot> {
        let is_before = |segment: &Segment| segment.starts().is_some_and(|first| first <= number);
        let segment = self.segments.iter().rev().find(|segment| is_before(segment))?;
        let after = segment.batches.partition_point(|(first, _)| *first <= number);
        let (_, place) = segment.batches.get(after.checked_sub(1)?)?;
        Some(Spot { reader: segment.reader.clone(), place: *place })
    }

    /// The batch at the end.
    fn last(&self) -> Option<Spot> {
        let segment = self.segments.iter().rev().find(|segment| !segment.batches.is_empty())?;
        let (_, place) = segment.batches.last()?;
        Some(Spot { reader: segment.reader.clone(), place: *place })
    }
}

impl Segment {
    fn starts(&self) -> Option<u64> {
        self.batches.first().map(|(number, _)| *number)
    }
}

impl Spot {
    /// The batch there, if it still is.
    pub fn read(&self) -> Option<Batch> {
        match self.reader.read(self.place) {
            Ok((_, bytes)) => Batch::decode(&bytes).ok(),
            Err(LogError::Missing { .. }) => None,
            Err(error) => {
                tracing::warn!("events cannot be read: {error}");
                None
            }
        }
    }
}

/// The log, opened for appending.
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
    /// Opens the log in `folder`. A new one begins at `tip`: what was before is not told.
    pub fn open(folder: &Path, limits: Limits, tip: block::Hash) -> Result<Log, LogError> {
        match Log::open_as_it_is(folder, limits) {
            Ok(Some(log)) => Ok(log),
            Ok(None) => Log::begin(folder, limits, tip, 1),
            Err(OpenError::Log(error @ (LogError::Io { .. } | LogError::Full { .. }))) => {
                Err(error)
            }
            Err(error) => {
                let aside = folder.with_extension("damaged");
                let _ = fs::remove_dir_all(&aside);
                fs::rename(folder, &aside).map_err(failed("move", folder))?;
                let aside = aside.display();
                tracing::warn!("the log of events begins anew, the old one is in {aside}: {error}");
                // Above all numbers there were: nobody has told an event a second since 1970.
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Log::begin(folder, limits, tip, now.as_secs().max(1))
            }
        }
    }

    /// `None` if there is none.
    fn open_as_it_is(folder: &Path, limits: Limits) -> Result<Option<Log>, OpenError> {
        let mut segments = VecDeque::new();
        let mut expected = None;
        let mut end = None;
        for number in numbers(folder)? {
            let path = segment_path(folder, number);
            let mut batches = Vec::new();
            let strange = || OpenError::Strange(path.clone());
            let visit = |kind, place, bytes: &[u8]| {
                let batch = Batch::decode(bytes).map_err(|_| strange())?;
                let follows = expected.is_none_or(|expected| expected == batch.first);
                if kind != RecordKind::JournalEntry || !follows {
                    return Err(strange());
                }
                expected = batch.first.checked_add(batch.count());
                batches.push((batch.first, place));
                Ok(())
            };
            let (log, cut) = BlockLog::open(&path, FILE_BYTES, LogPosition::START, visit)?;
            if let Some(cut) = cut {
                tracing::warn!("{cut}");
            }
            segments.push_back(Segment { number, reader: log.reader(), batches });
            end = Some((log, number));
        }
        let (Some((segment, number)), Some(next)) = (end, expected) else { return Ok(None) };
        let index = Index { segments, next };
        let last = index.last().and_then(|spot| spot.read());
        let Some(Batch { tip, .. }) = last else {
            return Err(OpenError::Strange(segment_path(folder, number)));
        };
        let index = Arc::new(RwLock::new(index));
        Ok(Some(Log { folder: folder.to_owned(), limits, segment, number, index, next, tip }))
    }

    /// A new log, whose first batch says where it begins.
    fn begin(folder: &Path, limits: Limits, tip: block::Hash, next: u64) -> Result<Log, LogError> {
        let number = 0;
        let path = segment_path(folder, number);
        let (segment, _) = BlockLog::open(&path, FILE_BYTES, LogPosition::START, nothing_to_see)?;
        let reader = segment.reader();
        let segments = VecDeque::from([Segment { number, reader, batches: Vec::new() }]);
        let index = Arc::new(RwLock::new(Index { segments, next }));
        let folder = folder.to_owned();
        let mut log = Log { folder, limits, segment, number, index, next, tip };
        log.append(vec![(tip, Vec::new())])?;
        Ok(log)
    }

    /// Where readers look.
    pub fn index(&self) -> Arc<RwLock<Index>> {
        Arc::clone(&self.index)
    }

    /// The number of the next event.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The best block as far as it was told.
    pub fn tip(&self) -> block::Hash {
        self.tip
    }

    /// Appends batches, each with the tip after it, makes them safe and shows them to readers.
    ///
    /// # Errors
    /// [`LogError::Full`]: some may have been appended, those at the end were not. No other error
    /// can be repaired by trying again.
    pub fn append(&mut self, batches: Vec<(block::Hash, Vec<Entry>)>) -> Result<(), LogError> {
        let rolled = self.roll();
        let mut appended = Vec::with_capacity(batches.len());
        let mut full = rolled.err();
        for (tip, entries) in batches {
            if full.is_some() {
                break;
            }
            let batch = Batch { first: self.next, tip, entries };
            match self.segment.append(RecordKind::JournalEntry, &batch.encode()) {
                Ok(place) => {
                    appended.push((batch.first, place));
                    self.next = self.next.saturating_add(batch.count());
                    self.tip = tip;
                }
                Err(error) => full = Some(error),
            }
        }
        self.segment.sync()?;
        let mut index = write(&self.index);
        let last = index.segments.back_mut().expect("there is always one");
        last.batches.extend(appended);
        index.next = self.next;
        drop(index);
        match full {
            Some(error) => Err(error),
            None => self.forget(),
        }
    }

    /// Starts the next segment when this one is long enough.
    fn roll(&mut self) -> Result<(), LogError> {
        if self.segment.size_bytes() < self.limits.segment_bytes {
            return Ok(());
        }
        let number = self.number.saturating_add(1);
        let path = segment_path(&self.folder, number);
        let (segment, _) = BlockLog::open(&path, FILE_BYTES, LogPosition::START, nothing_to_see)?;
        let reader = segment.reader();
        write(&self.index).segments.push_back(Segment { number, reader, batches: Vec::new() });
        (self.segment, self.number) = (segment, number);
        Ok(())
    }

    /// Removes the oldest segments when there are too many.
    fn forget(&self) -> Result<(), LogError> {
        loop {
            let mut index = write(&self.index);
            let oldest = match index.segments.len() > self.limits.segments {
                true => index.segments.pop_front(),
                false => return Ok(()),
            };
            drop(index);
            let Some(Segment { number, .. }) = oldest else { return Ok(()) };
            let path = segment_path(&self.folder, number);
            fs::remove_dir_all(&path).map_err(failed("remove", &path))?;
        }
    }
}

/// A segment that is new has no records.
fn nothing_to_see(_: RecordKind, _: RecordLocation, _: &[u8]) -> Result<(), LogError> {
    Ok(())
}

fn segment_path(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("{number:05}"))
}

/// The numbers of the segments there are, ascending.
fn numbers(folder: &Path) -> Result<Vec<u32>, LogError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("read", folder)(error)),
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed("read", folder))?.file_name();
        numbers.extend(name.to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn failed<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> LogError + 'a {
    move |source| LogError::Io { action, path: path.to_owned(), source }
}

/// What readers see of an index. Nobody panics while changing it half.
pub(super) fn read(index: &RwLock<Index>) -> RwLockReadGuard<'_, Index> {
    index.read().unwrap_or_else(PoisonError::into_inner)
}

fn write(index: &RwLock<Index>) -> RwLockWriteGuard<'_, Index> {
    index.write().unwrap_or_else(PoisonError::into_inner)
}
