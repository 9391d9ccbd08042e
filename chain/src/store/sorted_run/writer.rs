//! Writing a run.

use super::filter::{Filter, FilterKey};
use super::row;
use super::samples::{MIN_STRIDE, Samples};
use std::fs::File;
use std::hash::RandomState;
use std::io::{self, Write};

/// The number of bytes that are written at a time.
const BUFFER_BYTES: usize = 256 << 10;

/// What is in memory of a run.
#[derive(Debug)]
pub(super) struct Contents {
    pub(super) bytes: u64,
    pub(super) rows: u64,
    pub(super) crc: u32,
    /// The number of keys in the filter.
    pub(super) keys: u32,
    pub(super) filter: Filter,
    pub(super) samples: Samples,
}

/// Collects what is in memory of a run, row by row.
pub(super) struct ContentsBuilder {
    filter_key: FilterKey,
    contents: Contents,
    /// The last key of the filter.
    last: Vec<u8>,
}

impl ContentsBuilder {
    /// Starts without rows. `keys` is at least the number of keys for the filter.
    pub(super) fn new(keys: usize, filter_key: FilterKey, hasher: RandomState) -> Self {
        let (filter, samples) = (Filter::new(keys, hasher), Samples::default());
        let contents = Contents { bytes: 0, rows: 0, crc: 0, keys: 0, filter, samples };
        ContentsBuilder { filter_key, contents, last: Vec::new() }
    }

    /// Adds the row at an offset.
    pub(super) fn add(&mut self, key: &[u8], shared: usize, offset: u64) {
        let contents = &mut self.contents;
        contents.rows += 1;
        if shared == 0 {
            contents.samples.add(key, offset);
        }
        let known = (self.filter_key)(key);
        if contents.keys == 0 || self.last != known {
            self.last.clear();
            self.last.extend_from_slice(known);
            contents.filter.insert(known);
            contents.keys += 1;
        }
    }

    pub(super) fn finish(self, bytes: u64, crc: u32) -> Contents {
        Contents { bytes, crc, ..self.contents }
    }
}

/// Writes rows, which are sorted by key, to a file.
pub(super) struct RunWriter<'a> {
    file: &'a File,
    buffer: Vec<u8>,
    /// The number of bytes before the buffer, and their CRC-32C.
    written: u64,
    crc: u32,
    builder: ContentsBuilder,
    last_key: Vec<u8>,
    /// The offset of the last row that shares nothing.
    restart: u64,
}

impl<'a> RunWriter<'a> {
    pub(super) fn new(file: &'a File, builder: ContentsBuilder) -> RunWriter<'a> {
        let buffer = Vec::with_capacity(BUFFER_BYTES + row::MAX_ROW_BYTES);
        RunWriter { file, buffer, written: 0, crc: 0, builder, last_key: Vec::new(), restart: 0 }
    }

    /// Appends a row with a higher key than the last one.
    ///
    /// # Errors
    /// Returns a disk error, or that the key or the value is too long.
    pub(super) fn append(&mut self, key: &[u8], value: Option<&[u8]>) -> io::Result<()> {
        let offset = self.written + self.buffer.len() as u64;
        let shared = if offset - self.restart >= MIN_STRIDE {
            0
        } else {
            key.iter().zip(&self.last_key).take_while(|(a, b)| a == b).count()
        };
        if shared == 0 {
            self.restart = offset;
        }
        row::encode(&mut self.buffer, shared, key, value)?;
        self.builder.add(key, shared, offset);
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all(&self.buffer)?;
        self.crc = crc32c::crc32c_append(self.crc, &self.buffer);
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// Returns a disk error.
    pub(super) fn finish(mut self) -> io::Result<Contents> {
        self.flush()?;
        Ok(self.builder.finish(self.written, self.crc))
    }
}
