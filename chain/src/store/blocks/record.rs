//! The binary format of a log file. All integers are little-endian.
//!
//! A file starts with a header of [`FILE_HEADER_BYTES`]: magic (7), version (1), salt u32, size of
//! the previous file u32 (0 for none), CRC-32C of these fields. Records follow without gaps:
//! payload length u32, kind u8, `synced` u32, CRC-32C u32, payload. The CRC covers everything but
//! itself and starts from the salt, which is secret: bytes of a received block never pass for a
//! record.
//!
//! A file from which records were removed has the highest bit of its version set and, as its first
//! record, the list of its gaps: see `gaps`.
//!
//! `synced` is the offset up to which the file was known to be synced when the record was written:
//! records before it were not being written when the machine crashed.

const MAGIC: [u8; 7] = *b"blk log";

/// The version of this format. Files of another version are rejected, except for those of the oldest
/// one. It had the accounts of undo data in full, also the absent ones; nothing else differs, so
/// only undo data may not be appended to its files.
pub(super) const VERSION: u8 = 2;
const OLDEST_VERSION: u8 = 1;

/// The bit of the version that marks a compacted file.
const COMPACTED: u8 = 0x80;

/// The size of a file header, in bytes.
pub(super) const FILE_HEADER_BYTES: u32 = 20;

/// The size of a record header, in bytes.
pub(super) const HEADER_BYTES: u32 = 13;

/// The maximum size of a payload in bytes, far above that of a block or its undo data. It bounds
/// the reads that a damaged length field can cause.
pub const MAX_PAYLOAD_BYTES: u32 = 16 << 20;

/// The kind of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// The encoded block, as received or mined.
    Block,
    /// The undo data of a block.
    Undo,
    /// An entry of a journal, which is a separate log.
    JournalEntry,
}

/// The kind byte of a record: a [`RecordKind`] or a sync marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    Data(RecordKind),
    /// Written after a sync: all records before it are synced. It has no payload.
    SyncMarker,
    /// The list of the gaps of a compacted file, which is its first record.
    Gaps,
}

impl Tag {
    fn byte(self) -> u8 {
        match self {
            Tag::Data(RecordKind::Block) => 1,
            Tag::Data(RecordKind::Undo) => 2,
            Tag::SyncMarker => 3,
            Tag::Data(RecordKind::JournalEntry) => 4,
            Tag::Gaps => 5,
        }
    }

    fn from_byte(byte: u8) -> Option<Tag> {
        match byte {
            1 => Some(Tag::Data(RecordKind::Block)),
            2 => Some(Tag::Data(RecordKind::Undo)),
            3 => Some(Tag::SyncMarker),
            4 => Some(Tag::Data(RecordKind::JournalEntry)),
            5 => Some(Tag::Gaps),
            _ => None,
        }
    }
}

/// The initial value of the CRCs of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Salt(u32);

impl Salt {
    /// Returns a salt that a remote peer cannot guess.
    pub(super) fn random() -> Salt {
        use std::hash::{BuildHasher, Hasher, RandomState};
        let hash = RandomState::new().build_hasher().finish().to_le_bytes();
        Salt(u32_at(&hash, 0) ^ u32_at(&hash, 4))
    }
}

/// The decoded header of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FileHeader {
    Valid {
        salt: Salt,
        /// The original size of the previous file, in bytes.
        previous: u32,
        /// Whether records were removed from the file.
        is_compacted: bool,
        /// Whether the file has the oldest version.
        is_oldest: bool,
    },
    /// An intact header of another format version.
    OtherVersion(u8),
    Invalid,
}

impl FileHeader {
    pub(super) fn encode(
        Salt(salt): Salt,
        previous: u32,
        is_compacted: bool,
    ) -> [u8; FILE_HEADER_BYTES as usize] {
        let mut bytes = [0; FILE_HEADER_BYTES as usize];
        bytes[..7].copy_from_slice(&MAGIC);
        bytes[7] = if is_compacted { COMPACTED | VERSION } else { VERSION };
        bytes[8..12].copy_from_slice(&salt.to_le_bytes());
        bytes[12..16].copy_from_slice(&previous.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..16]);
        bytes[16..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8; FILE_HEADER_BYTES as usize]) -> FileHeader {
        if bytes[..7] != MAGIC || u32_at(bytes, 16) != crc32c::crc32c(&bytes[..16]) {
            FileHeader::Invalid
        } else {
            let version = bytes[7] & !COMPACTED;
            if ![OLDEST_VERSION, VERSION].contains(&version) {
                return FileHeader::OtherVersion(version);
            }
            FileHeader::Valid {
                salt: Salt(u32_at(bytes, 8)),
                previous: u32_at(bytes, 12),
                is_compacted: bytes[7] & COMPACTED != 0,
                is_oldest: version == OLDEST_VERSION,
            }
        }
    }
}

/// The header of a record. A decoded header is only plausible until its payload
/// [`matches`](Header::matches).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) length: u32,
    pub(super) tag: Tag,
    pub(super) synced: u32,
    crc: u32,
}

impl Header {
    pub(super) fn new(tag: Tag, synced: u32, payload: &[u8], salt: Salt) -> Header {
        let length = u32::try_from(payload.len()).expect("`append` rejects a longer payload");
        let unsealed = Header { length, tag, synced, crc: 0 };
        Header { crc: unsealed.crc_with(payload, salt), ..unsealed }
    }

    pub(super) fn encode(&self) -> [u8; HEADER_BYTES as usize] {
        let mut bytes = [0; HEADER_BYTES as usize];
        bytes[..4].copy_from_slice(&self.length.to_le_bytes());
        bytes[4] = self.tag.byte();
        bytes[5..9].copy_from_slice(&self.synced.to_le_bytes());
        bytes[9..].copy_from_slice(&self.crc.to_le_bytes());
        bytes
    }

    /// Decodes a header; `None` if no record at `offset` can start with these bytes.
    pub(super) fn decode(bytes: &[u8; HEADER_BYTES as usize], offset: u32) -> Option<Header> {
        let header = Header {
            length: u32_at(bytes, 0),
            tag: Tag::from_byte(bytes[4])?,
            synced: u32_at(bytes, 5),
            crc: u32_at(bytes, 9),
        };
        let longest = if header.tag == Tag::SyncMarker { 0 } else { MAX_PAYLOAD_BYTES };
        (header.length <= longest && header.synced <= offset).then_some(header)
    }

    pub(super) fn matches(&self, payload: &[u8], salt: Salt) -> bool {
        self.crc == self.crc_with(payload, salt)
    }

    /// The offset after the record whose header is at `offset`.
    pub(super) fn end(&self, offset: u32) -> Option<u32> {
        offset.checked_add(HEADER_BYTES)?.checked_add(self.length)
    }

    fn crc_with(&self, payload: &[u8], Salt(salt): Salt) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c_append(salt, &self.encode()[..9]), payload)
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
