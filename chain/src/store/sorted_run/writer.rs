//! Writing a run.

use super::block;
use super::filter::{Filter, FilterKey};
use super::row;
use super::samples::Samples;
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
    /// The CRC-32C of the headers of all blocks, which identifies the file.
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

    /// Starts the next block, whose first row has this key.
    pub(super) fn start_block(&mut self, key: &[u8]) {
        self.contents.samples.add(key, self.contents.bytes);
    }

    pub(super) fn add_row(&mut self, key: &[u8]) {
        let contents = &mut self.contents;
        contents.rows += 1;
        let known = (self.filter_key)(key);
        if contents.keys == 0 || self.last != known {
            self.last.clear();
            self.last.extend_from_slice(known);
            contents.filter.insert(known);
            contents.keys = contents.keys.saturating_add(1);
        }
    }

    /// Ends the block with this header.
    pub(super) fn end_block(&mut self, header: [u8; block::HEADER_BYTES], length: usize) {
        self.contents.crc = crc32c::crc32c_append(self.contents.crc, &header);
        self.contents.bytes += (block::HEADER_BYTES + length) as u64;
    }

    pub(super) fn finish(self) -> Contents {
        self.contents
    }
}

/// Writes rows, which are sorted by key, to a file.
pub(super) struct RunWriter<'a> {
    file: &'a File,
    buffer: Vec<u8>,
    /// The position in the buffer of the block that is being filled.
    block: usize,
    builder: ContentsBuilder,
    last_key: Vec<u8>,
}

impl<'a> RunWriter<'a> {
    pub(super) fn new(file: &'a File, builder: ContentsBuilder) -> RunWriter<'a> {
        let buffer = Vec::with_capacity(BUFFER_BYTES + block::MAX_BYTES);
        RunWriter { file, buffer, block: 0, builder, last_key: Vec::new() }
    }

    /// Appends a row with a higher key than the last one.
    ///
    /// # Errors
    /// Returns a disk error, or that the key or the value is too long.
    pub(super) fn append(&mut self, key: &[u8], value: Option<&[u8]>) -> io::Result<()> {
        if self.buffer.len() == self.block {
            self.buffer.extend_from_slice(&[0; block::HEADER_BYTES]);
            self.last_key.clear();
            self.builder.start_block(key);
        }
        let shared = key.iter().zip(&self.last_key).take_while(|(a, b)| a == b).count();
        row::encode(&mut self.buffer, shared, key, value)?;
        self.builder.add_row(key);
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        let is_full = self.buffer.len() - self.block >= block::HEADER_BYTES + block::FULL_BYTES;
        if is_full { self.end_block() } else { Ok(()) }
    }

    fn end_block(&mut self) -> io::Result<()> {
        let block = &mut self.buffer[self.block..];
        let header = block::seal(block);
        self.builder.end_block(header, block.len() - block::HEADER_BYTES);
        self.block = self.buffer.len();
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all(&self.buffer)?;
        self.buffer.clear();
        self.block = 0;
        Ok(())
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// Returns a disk error.
    pub(super) fn finish(mut self) -> io::Result<Contents> {
        if self.buffer.len() > self.block {
            self.end_block()?;
        }
        self.flush()?;
        Ok(self.builder.finish())
    }
}
