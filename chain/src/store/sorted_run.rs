//! Sorted runs: rows that are too many for the memory, in temporary files, sorted by key. A run is
//! written once and read by key or as a whole. Its file is removed when the run is dropped, so
//! only a killed process leaves files behind. Runs are never synced: they are of no use after a
//! reboot.
//!
//! A file consists of rows without gaps: key length u8, value length u16 (65,535 for a removed
//! key), key, value; integers are little-endian.

use super::blocks::{LogError, read_exact_at};
use super::index::Changes;
use std::cmp::Ordering;
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::iter::Peekable;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering as MemoryOrdering};

/// A key with its new value; `None` removes the key.
pub type Row = (Vec<u8>, Option<Vec<u8>>);

/// The length of a row without key and value, in bytes.
const HEADER_BYTES: usize = 3;
/// The value length that stands for a removed key.
const REMOVED: u16 = u16::MAX;
/// The maximum number of keys of a run that are in memory, with their offsets: about 1 MB.
const MAX_SAMPLES: usize = 16_384;
/// The minimum distance between two keys in memory, in bytes of the file.
const MIN_STRIDE: u64 = 4_096;
/// The maximum size of a run's filter, in words of 64 bits: 4 MiB.
const MAX_FILTER_WORDS: usize = 1 << 19;
/// The number of bits of the filter per key, and the number of those that a key sets.
const FILTER_BITS: (usize, u64) = (10, 4);
/// The size of the buffers for reading and writing a whole run, in bytes.
const BUFFER_BYTES: usize = 64 << 10;

/// The folder of all runs of a data directory. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RunFolder(Arc<Folder>);

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    next: AtomicU32,
}

impl RunFolder {
    /// Returns the folder at a path, which is created with the first run.
    pub fn new(path: &Path) -> RunFolder {
        // Random, so that the names of runs that an earlier instance still has are not used again.
        let [a, b, c, ..] = RandomState::new().hash_one(path).to_le_bytes();
        let next = AtomicU32::new(u32::from_le_bytes([a, b, c, 0]));
        RunFolder(Arc::new(Folder { path: path.to_owned(), next }))
    }

    /// Removes the folder with all files that a killed process left there.
    ///
    /// # Errors
    /// Returns a disk error.
    pub fn clear(&self) -> Result<(), LogError> {
        match fs::remove_dir_all(&self.0.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(LogError::io("remove", &self.0.path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Writes rows, which are sorted by key, to a new run. `count` is at least their number.
    ///
    /// # Errors
    /// Returns an error of the rows, or of the disk.
    pub fn write<'a, R: AsRef<[u8]> + 'a>(
        &self,
        count: usize,
        rows: impl Iterator<Item = Result<(R, Option<R>), LogError>>,
    ) -> Result<Run, LogError> {
        let folder = &self.0.path;
        fs::create_dir_all(folder).map_err(LogError::write("create", folder))?;
        let number = self.0.next.fetch_add(1, MemoryOrdering::Relaxed);
        let path = self.path(number);
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path);
        let file = file.map_err(LogError::write("create", &path))?;
        let mut run = Run {
            number,
            file,
            path,
            bytes: 0,
            rows: 0,
            crc: 0,
            samples: Vec::new(),
            stride: MIN_STRIDE,
            filter: Filter::new(count),
        };
        let output = run.file.try_clone().map_err(LogError::write("write", &run.path))?;
        let mut output = BufWriter::with_capacity(BUFFER_BYTES, output);
        for row in rows {
            let (key, value) = row?;
            let (key, value) = (key.as_ref(), value.as_ref().map(AsRef::as_ref));
            run.append(&mut output, key, value).map_err(LogError::write("write", &run.path))?;
        }
        output.flush().map_err(LogError::write("write", &run.path))?;
        drop(output);
        Ok(run)
    }

    /// Opens a run that a killed process left behind; `None` if its file is not the one described.
    /// Such a run can only be read as a whole.
    pub fn reopen(&self, description: RunDescription) -> Option<Run> {
        let RunDescription { number, bytes, crc } = description;
        self.0.next.fetch_max(number.checked_add(1)?, MemoryOrdering::Relaxed);
        let path = self.path(number);
        let file = File::open(&path).ok()?;
        let (filter, samples) = (Filter::default(), Vec::new());
        let run = Run { number, file, path, bytes, rows: 0, crc, samples, stride: 0, filter };
        let is_sound = run.file.metadata().is_ok_and(|metadata| metadata.len() == bytes)
            && checksum(&run.path).is_ok_and(|found| found == crc);
        is_sound.then_some(run)
    }

    fn path(&self, number: u32) -> PathBuf {
        self.0.path.join(format!("{number:010}.rows"))
    }
}

/// The properties by which a run is found and checked after a kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunDescription {
    /// The number of the run, from which its name follows.
    pub number: u32,
    /// The size of the file, in bytes.
    pub bytes: u64,
    /// The CRC-32C of the file.
    pub crc: u32,
}

/// Rows in a file, sorted by key.
#[derive(Debug)]
pub struct Run {
    number: u32,
    path: PathBuf,
    file: File,
    bytes: u64,
    rows: usize,
    crc: u32,
    /// Some of the keys with the offsets of their rows, at least `stride` bytes apart.
    samples: Vec<(Box<[u8]>, u64)>,
    stride: u64,
    filter: Filter,
}

impl Run {
    /// Returns the size of the file, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Returns the properties by which [`RunFolder::reopen`] finds the run.
    pub fn description(&self) -> RunDescription {
        RunDescription { number: self.number, bytes: self.bytes, crc: self.crc }
    }

    fn append(
        &mut self,
        output: &mut impl Write,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> io::Result<()> {
        let too_long = || io::Error::from(io::ErrorKind::InvalidInput);
        let key_length = u8::try_from(key.len()).map_err(|_| too_long())?;
        let value_length = match value {
            Some(value) => u16::try_from(value.len()).ok().filter(|length| *length < REMOVED),
            None => Some(REMOVED),
        };
        let [a, b] = value_length.ok_or_else(too_long)?.to_le_bytes();
        let parts = [&[key_length, a, b], key, value.unwrap_or_default()];
        if self.samples.last().is_none_or(|(_, at)| self.bytes - at >= self.stride) {
            if self.samples.len() >= MAX_SAMPLES {
                let mut at = 0;
                self.samples.retain(|_| {
                    at += 1;
                    at % 2 == 1
                });
                self.stride = self.stride.saturating_mul(2);
            }
            self.samples.push((key.into(), self.bytes));
        }
        for part in parts {
            output.write_all(part)?;
            self.crc = crc32c::crc32c_append(self.crc, part);
            self.bytes += part.len() as u64;
        }
        self.rows += 1;
        self.filter.insert(key);
        Ok(())
    }

    /// Returns the row of a key: its new value, or `None` if it is removed.
    ///
    /// # Errors
    /// Returns a disk error.
    pub fn get(&self, key: &[u8]) -> Result<Option<Option<Vec<u8>>>, LogError> {
        if !self.filter.may_contain(key) {
            return Ok(None);
        }
        let after = self.samples.partition_point(|(sample, _)| **sample <= *key);
        let Some((_, start)) = after.checked_sub(1).and_then(|at| self.samples.get(at)) else {
            return Ok(None);
        };
        let end = self.samples.get(after).map_or(self.bytes, |(_, at)| *at);
        let length = usize::try_from(end - start).expect("samples are close to each other");
        let mut part = vec![0; length];
        read_exact_at(&self.file, &mut part, *start).map_err(LogError::io("read", &self.path))?;
        let mut rest = part.as_slice();
        while let Some(((found, value), after)) = split_row(rest) {
            match found.cmp(key) {
                Ordering::Less => rest = after,
                Ordering::Equal => return Ok(Some(value.map(<[u8]>::to_vec))),
                Ordering::Greater => break,
            }
        }
        Ok(None)
    }

    /// Returns all rows, sorted by key.
    ///
    /// # Errors
    /// Returns a disk error.
    pub fn iter(&self) -> Result<RunRows, LogError> {
        let file = File::open(&self.path).map_err(LogError::io("open", &self.path))?;
        let input = BufReader::with_capacity(BUFFER_BYTES, file);
        Ok(RunRows { path: self.path.clone(), input, left: self.bytes })
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // What remains is removed by the next start.
        let _ = fs::remove_file(&self.path);
    }
}

/// The key and the value of a row; `None` for a removed row.
type RowRef<'a> = (&'a [u8], Option<&'a [u8]>);

/// Splits the first row off, and returns it and the rest.
fn split_row(bytes: &[u8]) -> Option<(RowRef<'_>, &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>()?;
    let (key, rest) = rest.split_at_checked(header[0].into())?;
    match u16::from_le_bytes([header[1], header[2]]) {
        REMOVED => Some(((key, None), rest)),
        length => {
            let (value, rest) = rest.split_at_checked(length.into())?;
            Some(((key, Some(value)), rest))
        }
    }
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

/// An iterator over the rows of a run. It ends after an error.
#[derive(Debug)]
pub struct RunRows {
    path: PathBuf,
    input: BufReader<File>,
    /// The number of bytes that are not read yet.
    left: u64,
}

impl RunRows {
    fn read(&mut self) -> io::Result<Row> {
        let mut header = [0; HEADER_BYTES];
        self.input.read_exact(&mut header)?;
        let mut key = vec![0; header[0].into()];
        self.input.read_exact(&mut key)?;
        let value = match u16::from_le_bytes([header[1], header[2]]) {
            REMOVED => None,
            length => {
                let mut value = vec![0; length.into()];
                self.input.read_exact(&mut value)?;
                Some(value)
            }
        };
        let bytes = HEADER_BYTES + key.len() + value.as_ref().map_or(0, Vec::len);
        self.left = self.left.saturating_sub(bytes as u64);
        Ok((key, value))
    }
}

impl Iterator for RunRows {
    type Item = Result<Row, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let row = self.read().map_err(LogError::io("read", &self.path));
        if row.is_err() {
            self.left = 0;
        }
        Some(row)
    }
}

/// The rows of several runs, sorted by key; of rows with the same key that of the newest run. It
/// ends after an error.
#[derive(Debug)]
pub struct Merge {
    /// The runs, the oldest first.
    inputs: Vec<Peekable<RunRows>>,
}

impl Merge {
    /// Merges runs, the oldest first.
    ///
    /// # Errors
    /// Returns a disk error.
    pub fn new<'a>(runs: impl IntoIterator<Item = &'a Run>) -> Result<Merge, LogError> {
        let inputs = runs.into_iter().map(|run| Ok(run.iter()?.peekable()));
        Ok(Merge { inputs: inputs.collect::<Result<_, LogError>>()? })
    }
}

impl Iterator for Merge {
    type Item = Result<Row, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut least: Option<Vec<u8>> = None;
        for at in 0..self.inputs.len() {
            match self.inputs[at].peek() {
                Some(Ok((key, _))) if least.as_ref().is_none_or(|least| key < least) => {
                    least = Some(key.clone());
                }
                Some(Ok(_)) | None => {}
                Some(Err(_)) => {
                    let error = self.inputs[at].next();
                    self.inputs.clear();
                    return error;
                }
            }
        }
        let least = least?;
        let is_least =
            |row: &Result<Row, LogError>| row.as_ref().is_ok_and(|(key, _)| *key == least);
        // The last row that is taken is that of the newest run.
        let mut found = None;
        for input in &mut self.inputs {
            found = input.next_if(is_least).or(found);
        }
        found
    }
}

/// A Bloom filter over the keys of a run. Without words it contains every key.
#[derive(Debug, Default)]
struct Filter {
    words: Vec<u64>,
    hasher: RandomState,
}

impl Filter {
    fn new(keys: usize) -> Filter {
        let bits = keys.max(1).saturating_mul(FILTER_BITS.0);
        let words = bits.div_ceil(64).next_power_of_two().min(MAX_FILTER_WORDS);
        Filter { words: vec![0; words], hasher: RandomState::new() }
    }

    fn insert(&mut self, key: &[u8]) {
        for (word, bit) in self.positions(key) {
            self.words[word] |= bit;
        }
    }

    fn may_contain(&self, key: &[u8]) -> bool {
        self.positions(key).all(|(word, bit)| self.words[word] & bit != 0)
    }

    /// Returns the words and bits of a key.
    fn positions(&self, key: &[u8]) -> impl Iterator<Item = (usize, u64)> + use<> {
        let hash = self.hasher.hash_one(key);
        let (first, step) = (hash, hash.rotate_left(32) | 1);
        let bits = self.words.len() as u64 * 64;
        let count = if bits == 0 { 0 } else { FILTER_BITS.1 };
        (0..count).map(move |at| {
            let bit = first.wrapping_add(step.wrapping_mul(at)) % bits.max(1);
            (usize::try_from(bit / 64).expect("the filter is in memory"), 1 << (bit % 64))
        })
    }
}

/// Returns the rows of a batch, as [`RunFolder::write`] has them as an argument.
pub fn rows_of(
    changes: &Changes,
) -> impl Iterator<Item = Result<(&[u8], Option<&[u8]>), LogError>> {
    changes.iter().map(|(key, value)| Ok((key.as_slice(), value.as_deref())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Rows with keys and values of several lengths; every fifth key is removed.
    fn changes(keys: std::ops::Range<u32>, round: u8) -> Changes {
        let row = |number: u32| {
            let key = [&b"k"[..], &number.to_be_bytes()[..2 + (number % 3) as usize]].concat();
            let value = vec![round; (number % 700) as usize];
            (key, (!number.is_multiple_of(5)).then_some(value))
        };
        keys.map(|number| row(number.wrapping_mul(2_654_435_761))).collect()
    }

    fn write(folder: &RunFolder, changes: &Changes) -> Run {
        folder.write(changes.len(), rows_of(changes)).unwrap()
    }

    fn files(folder: &RunFolder) -> usize {
        fs::read_dir(&folder.0.path).map_or(0, Iterator::count)
    }

    #[test]
    fn run_returns_exactly_its_rows_and_removes_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let folder = RunFolder::new(&directory.path().join("rows"));
        let changes = changes(0..3_000, 1);
        let run = write(&folder, &changes);
        assert_eq!(run.rows(), changes.len());
        assert!(run.samples.len() > 10, "several samples");
        for (key, value) in &changes {
            assert_eq!(run.get(key).unwrap().as_ref(), Some(value));
        }
        for absent in [&b""[..], b"a", b"k", b"kkkkkkk", b"z"] {
            assert_eq!(run.get(absent).unwrap(), changes.get(absent).cloned());
        }
        let rows: Changes = run.iter().unwrap().map(Result::unwrap).collect();
        assert_eq!(rows, changes);
        assert_eq!(files(&folder), 1);
        drop(run);
        assert_eq!(files(&folder), 0);
    }

    #[test]
    fn merge_has_newest_row_of_each_key() {
        let directory = tempfile::tempdir().unwrap();
        let folder = RunFolder::new(directory.path());
        let batches = [changes(0..900, 1), changes(300..1_200, 2), changes(600..700, 3)];
        let runs: Vec<Run> = batches.iter().map(|batch| write(&folder, batch)).collect();
        let mut expected = BTreeMap::new();
        batches.iter().for_each(|batch| expected.extend(batch.clone()));
        let merged: Vec<Row> = Merge::new(&runs).unwrap().map(Result::unwrap).collect();
        assert!(merged.is_sorted_by(|a, b| a.0 < b.0));
        assert_eq!(Changes::from_iter(merged), expected);
    }

    // The memory of a run does not grow with it.
    #[test]
    fn samples_of_a_long_run_are_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let folder = RunFolder::new(directory.path());
        let rows = |count: u32| {
            (0..count).map(|number| Ok((number.to_be_bytes().to_vec(), Some(vec![7; 4_000]))))
        };
        let count = 40_000;
        let run = folder.write(count as usize, rows(count)).unwrap();
        assert!(run.bytes() / MIN_STRIDE > 2 * MAX_SAMPLES as u64);
        assert!(run.samples.len() <= MAX_SAMPLES);
        for number in (0..count).step_by(997).chain([count - 1]) {
            assert_eq!(run.get(&number.to_be_bytes()).unwrap(), Some(Some(vec![7; 4_000])));
        }
        assert_eq!(run.get(&count.to_be_bytes()).unwrap(), None);
    }

    #[test]
    fn only_an_unchanged_run_is_reopened() {
        let directory = tempfile::tempdir().unwrap();
        let folder = RunFolder::new(directory.path());
        let changes = changes(0..500, 1);
        let run = write(&folder, &changes);
        let description = run.description();
        std::mem::forget(run);
        let folder = RunFolder::new(directory.path());
        let other = RunDescription { crc: description.crc ^ 1, ..description };
        let path = folder.path(description.number);
        let bytes = fs::read(&path).unwrap();
        for (description, left) in [(other, &bytes[..]), (description, &bytes[1..])] {
            fs::write(&path, left).unwrap();
            assert!(folder.reopen(description).is_none());
        }
        fs::write(&path, &bytes).unwrap();
        let run = folder.reopen(description).unwrap();
        let rows: Changes = run.iter().unwrap().map(Result::unwrap).collect();
        assert_eq!(rows, changes);
        assert_ne!(write(&folder, &changes).number, description.number);
        folder.clear().unwrap();
        assert!(!directory.path().exists());
    }
}
