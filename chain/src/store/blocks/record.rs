//! How a file of the block log is written, byte for byte. All numbers are little-endian.
//!
//! A file begins with [`FILE_HEADER_BYTES`]: magic (7), version (1), salt u32, bytes of the file
//! before u32 (0 for none), CRC-32C of all these. Records follow without gaps: payload length
//! u32, kind u8, `synced` u32, CRC-32C u32, payload. The CRC covers everything but itself and
//! starts from the salt, which no stranger knows: bytes that a block brings along never pass for
//! a record.
//!
//! `synced` is the offset up to which the file was known to be synced when the record was
//! written: what lies before it was never in flight when the machine went down.

const MAGIC: [u8; 7] = *b"blk log";

/// Version of this format; a file of another is refused.
pub(super) const VERSION: u8 = 1;

/// Bytes before the first record of a file.
pub(super) const FILE_HEADER_BYTES: u32 = 20;

/// Bytes before the payload of a record.
pub(super) const HEADER_BYTES: u32 = 13;

/// Bytes a payload may have: far above a block or its undo data. It bounds what is read, or
/// tried as a record, because a damaged length says so.
pub const MAX_PAYLOAD_BYTES: u32 = 16 << 20;

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// A block as encoded.
    Block,
    /// What takes a block back.
    Undo,
    /// An entry of a journal, which is a log of its own.
    JournalEntry,
}

/// What the byte of a record says: a [`RecordKind`], or a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    Data(RecordKind),
    /// Written after a sync: all before it is synced. No payload.
    Mark,
}

impl Tag {
    fn byte(self) -> u8 {
        match self {
            Tag::Data(RecordKind::Block) => 1,
            Tag::Data(RecordKind::Undo) => 2,
            Tag::Mark => 3,
            Tag::Data(RecordKind::JournalEntry) => 4,
        }
    }

    fn from_byte(byte: u8) -> Option<Tag> {
        match byte {
            1 => Some(Tag::Data(RecordKind::Block)),
            2 => Some(Tag::Data(RecordKind::Undo)),
            3 => Some(Tag::Mark),
            4 => Some(Tag::Data(RecordKind::JournalEntry)),
            _ => None,
        }
    }
}

/// What a CRC of one file starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Salt(u32);

impl Salt {
    /// A new one, which cannot be guessed from outside.
    pub(super) fn fresh() -> Salt {
        use std::hash::{BuildHasher, Hasher, RandomState};
        let hash = RandomState::new().build_hasher().finish().to_le_bytes();
        Salt(u32_at(&hash, 0) ^ u32_at(&hash, 4))
    }
}

/// What the first bytes of a file are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FileHeader {
    Good {
        salt: Salt,
        /// Bytes of the file before.
        previous: u32,
    },
    /// Whole and of another version of the format.
    Foreign(u8),
    Bad,
}

impl FileHeader {
    pub(super) fn encode(Salt(salt): Salt, previous: u32) -> [u8; FILE_HEADER_BYTES as usize] {
        let mut bytes = [0; FILE_HEADER_BYTES as usize];
        bytes[..7].copy_from_slice(&MAGIC);
        bytes[7] = VERSION;
        bytes[8..12].copy_from_slice(&salt.to_le_bytes());
        bytes[12..16].copy_from_slice(&previous.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..16]);
        bytes[16..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8; FILE_HEADER_BYTES as usize]) -> FileHeader {
        if bytes[..7] != MAGIC || u32_at(bytes, 16) != crc32c::crc32c(&bytes[..16]) {
            FileHeader::Bad
        } else if bytes[7] == VERSION {
            FileHeader::Good { salt: Salt(u32_at(bytes, 8)), previous: u32_at(bytes, 12) }
        } else {
            FileHeader::Foreign(bytes[7])
        }
    }
}

/// The bytes before a payload. One that was decoded is plausible, no more, until its payload
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
        let length = u32::try_from(payload.len()).expect("`append` refuses a longer payload");
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

    /// `None` if no record that lies at `offset` begins like this.
    pub(super) fn decode(bytes: &[u8; HEADER_BYTES as usize], offset: u32) -> Option<Header> {
        let header = Header {
            length: u32_at(bytes, 0),
            tag: Tag::from_byte(bytes[4])?,
            synced: u32_at(bytes, 5),
            crc: u32_at(bytes, 9),
        };
        let longest = if header.tag == Tag::Mark { 0 } else { MAX_PAYLOAD_BYTES };
        (header.length <= longest && header.synced <= offset).then_some(header)
    }

    pub(super) fn matches(&self, payload: &[u8], salt: Salt) -> bool {
        self.crc == self.crc_with(payload, salt)
    }

    /// Offset after the record, if this header lies at `offset`.
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
