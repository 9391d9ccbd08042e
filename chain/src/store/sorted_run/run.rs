//! Reading a run.

use super::block;
use super::filter::FilterKey;
use super::row;
use super::writer::Contents;
use crate::store::blocks::{LogError, read_exact_at};
use std::cmp::Ordering;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering as MemoryOrdering};

/// The number of bytes that are read at a time to find a row, and to read all rows.
const SEEK_BYTES: usize = 4 << 10;
const READ_BYTES: usize = 128 << 10;

/// The properties by which a run is found and checked by the next start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunDescription {
    /// The number of the run, from which its name follows.
    pub number: u32,
    /// The size of the file, in bytes.
    pub bytes: u64,
    /// The CRC-32C of the headers of its blocks, which have the checksums of their rows.
    pub crc: u32,
    /// The number of keys of the filter.
    pub keys: u32,
}

/// Rows in a file, sorted by key.
#[derive(Debug)]
pub struct Run {
    pub(super) number: u32,
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) filter_key: FilterKey,
    pub(super) contents: Contents,
    /// Whether the file stays when the run is dropped.
    pub(super) is_kept: AtomicBool,
}

impl Run {
    /// Returns the size of the file, in bytes.
    pub fn bytes(&self) -> u64 {
        self.contents.bytes
    }

    /// Returns the number of rows.
    pub fn rows(&self) -> u64 {
        self.contents.rows
    }

    /// Returns the number of keys of the filter.
    pub fn keys(&self) -> usize {
        self.contents.keys as usize
    }

    /// Returns the properties by which [`RunFolder::open`](super::RunFolder::open) finds the run.
    pub fn description(&self) -> RunDescription {
        let Contents { bytes, crc, keys, .. } = self.contents;
        RunDescription { number: self.number, bytes, crc, keys }
    }

    /// Sets whether the file stays when the run is dropped, because the index names it.
    pub fn set_kept(&self, is_kept: bool) {
        self.is_kept.store(is_kept, MemoryOrdering::Release);
    }

    /// Whether the run may have a row whose part for the filter is this; if not, it has none.
    pub fn may_contain(&self, filter_key: &[u8]) -> bool {
        self.contents.filter.may_contain(filter_key)
    }

    /// Returns the row of a key: its new value, or `None` if it is removed.
    ///
    /// # Errors
    /// Returns a disk error, or that the file is damaged.
    pub fn get(&self, key: &[u8]) -> Result<Option<Option<Vec<u8>>>, LogError> {
        if !self.may_contain((self.filter_key)(key)) {
            return Ok(None);
        }
        let mut cursor = self.seek(key)?;
        let is_found = cursor.advance()? && cursor.key() == key;
        Ok(is_found.then(|| cursor.value().map(<[u8]>::to_vec)))
    }

    /// Returns a cursor before the first row with at least this key.
    ///
    /// # Errors
    /// Returns a disk error, or that the file is damaged.
    pub fn seek(&self, key: &[u8]) -> Result<Cursor<'_>, LogError> {
        let start = self.contents.samples.offset_before(key);
        let mut cursor = Cursor::new(&self.file, &self.path, start..self.bytes(), SEEK_BYTES);
        while let Some(next) = cursor.peek()? {
            if cursor.compare(&next, key) != Ordering::Less {
                break;
            }
            cursor.accept(&next);
        }
        Ok(cursor)
    }

    /// Returns a cursor before the first row.
    pub fn rows_in_order(&self) -> Cursor<'_> {
        Cursor::new(&self.file, &self.path, 0..self.bytes(), READ_BYTES)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if !self.is_kept.load(MemoryOrdering::Acquire) {
            // What remains is removed by the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A position between two rows of a run.
#[derive(Debug)]
pub struct Cursor<'a> {
    file: &'a File,
    path: &'a Path,
    /// What is left of the file after the buffer.
    rest: Range<u64>,
    /// The number of bytes to read at a time.
    chunk: usize,
    buffer: Vec<u8>,
    /// The position of the next row in the buffer.
    at: usize,
    /// The position in the buffer where the block of the next row ends.
    block_end: usize,
    key: Vec<u8>,
    /// The position of the value in the buffer; `None` if the key is removed.
    value: Option<Range<usize>>,
}

impl<'a> Cursor<'a> {
    /// Starts at a block.
    pub(super) fn new(file: &'a File, path: &'a Path, rest: Range<u64>, chunk: usize) -> Self {
        let (buffer, key) = (Vec::new(), Vec::new());
        Cursor { file, path, rest, chunk, buffer, at: 0, block_end: 0, key, value: None }
    }

    /// Moves behind the next row. Returns false at the end.
    ///
    /// # Errors
    /// Returns a disk error, or that the file is damaged.
    pub fn advance(&mut self) -> Result<bool, LogError> {
        let Some(next) = self.peek()? else { return Ok(false) };
        self.accept(&next);
        Ok(true)
    }

    /// Returns the key of the row before the cursor.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// Returns the value of the row before the cursor; `None` if the key is removed.
    pub fn value(&self) -> Option<&[u8]> {
        self.value.clone().map(|value| &self.buffer[value])
    }

    /// Enters the next block if all rows of the last one were read, and returns its header and the
    /// length of its rows. The row before the cursor has no value then.
    pub(super) fn next_block(
        &mut self,
    ) -> Result<Option<([u8; block::HEADER_BYTES], usize)>, LogError> {
        if self.at < self.block_end {
            return Ok(None);
        }
        if self.buffer.len() - self.at < block::MAX_BYTES && !self.rest.is_empty() {
            self.fill().map_err(LogError::io("read", self.path))?;
        }
        if self.at == self.buffer.len() {
            return Ok(None);
        }
        let (header, length) =
            block::open(&self.buffer[self.at..]).ok_or_else(|| self.damaged())?;
        self.value = None;
        self.key.clear();
        self.at += block::HEADER_BYTES;
        self.block_end = self.at + length;
        Ok(Some((header, length)))
    }

    /// Returns the next row; `None` at the end.
    pub(super) fn peek(&mut self) -> Result<Option<row::RowParts>, LogError> {
        self.next_block()?;
        if self.at == self.block_end {
            return Ok(None);
        }
        let next = row::split(&self.buffer[..self.block_end], self.at);
        let next = next.filter(|next| next.shared <= self.key.len());
        next.map(Some).ok_or_else(|| self.damaged())
    }

    pub(super) fn accept(&mut self, next: &row::RowParts) {
        self.key.truncate(next.shared);
        self.key.extend_from_slice(&self.buffer[next.key_at..next.value_at]);
        self.value = (!next.is_removed).then_some(next.value_at..next.end);
        self.at = next.end;
    }

    /// Compares the key of the next row.
    fn compare(&self, next: &row::RowParts, key: &[u8]) -> Ordering {
        let (shared, rest) = key.split_at(next.shared.min(key.len()));
        let own = &self.key[..next.shared];
        own.cmp(shared).then_with(|| self.buffer[next.key_at..next.value_at].cmp(rest))
    }

    fn fill(&mut self) -> io::Result<()> {
        self.value = None;
        self.buffer.drain(..self.at);
        (self.at, self.block_end) = (0, 0);
        let left = usize::try_from(self.rest.end - self.rest.start).unwrap_or(usize::MAX);
        let (start, length) = (self.buffer.len(), left.min(self.chunk));
        self.buffer.resize(start + length, 0);
        read_exact_at(self.file, &mut self.buffer[start..], self.rest.start)?;
        self.rest.start += length as u64;
        Ok(())
    }

    fn damaged(&self) -> LogError {
        let reason = "it is damaged: restart to rebuild the index";
        LogError::io("read", self.path)(io::Error::new(io::ErrorKind::InvalidData, reason))
    }
}
