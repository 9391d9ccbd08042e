//! Positions in the block log.

use super::record::{FILE_HEADER_BYTES, HEADER_BYTES};

/// Where a record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordLocation {
    /// Number of the file.
    pub file: u32,
    /// Offset of the record in it, in bytes.
    pub offset: u32,
    /// Bytes of its payload.
    pub length: u32,
}

impl RecordLocation {
    /// The position after the record.
    pub fn end(self) -> LogPosition {
        let offset = self.offset.saturating_add(HEADER_BYTES).saturating_add(self.length);
        LogPosition { file: self.file, offset }
    }
}

/// A point between two records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPosition {
    /// Number of the file.
    pub file: u32,
    /// Offset in it, in bytes.
    pub offset: u32,
}

impl LogPosition {
    /// Before the first record.
    pub const START: LogPosition = LogPosition { file: 0, offset: FILE_HEADER_BYTES };
}
