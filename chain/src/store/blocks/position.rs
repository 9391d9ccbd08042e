//! Positions in the block log.

use super::record::{FILE_HEADER_BYTES, HEADER_BYTES};

/// The location of a record in the block log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordLocation {
    /// The number of the file.
    pub file: u32,
    /// The offset of the record in the file, in bytes.
    pub offset: u32,
    /// The length of the record's payload, without its header, in bytes.
    pub length: u32,
}

impl RecordLocation {
    /// The position of the record.
    pub fn start(self) -> LogPosition {
        LogPosition { file: self.file, offset: self.offset }
    }

    /// The position just after the record.
    pub fn end(self) -> LogPosition {
        let offset = self.offset.saturating_add(HEADER_BYTES).saturating_add(self.length);
        LogPosition { file: self.file, offset }
    }
}

/// A position between two records of the block log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPosition {
    /// The number of the file.
    pub file: u32,
    /// The offset in the file, in bytes.
    pub offset: u32,
}

impl LogPosition {
    /// The position before the first record of a log.
    pub const START: LogPosition = LogPosition { file: 0, offset: FILE_HEADER_BYTES };
}
