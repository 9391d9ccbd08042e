//! Sorted runs: the rows of the index in files, sorted by key. A run is written once, and then read
//! by key or in order. A filter in memory avoids reading the file for most absent keys. Runs are
//! merged to fewer and larger ones, so that the rows are those of a log-structured merge tree.
//!
//! A file consists of blocks of a few kilobytes without gaps, each with a checksum, so that damage is
//! never mistaken for rows. A block consists of rows: the number of bytes that the key shares with
//! the one before it u8, the length of the rest of the key u8, the length of the value u8 (255 for a
//! removed key), the rest of the key, the value. The first row of a block shares nothing.
//!
//! A run file that no row of the index names is of no use: it is removed when the run is dropped, or
//! by the next start after a kill. Source: O'Neil et al., "The Log-Structured Merge-Tree".

mod block;
mod filter;
mod folder;
mod merge;
mod row;
mod run;
mod samples;
mod writer;

pub use filter::FilterKey;
pub use folder::{AppendRow, RunFolder};
pub use merge::{Merge, RowRef};
pub use run::{Cursor, Run, RunDescription};

#[cfg(test)]
mod tests;
