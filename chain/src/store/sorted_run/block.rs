//! The encoding of a block of a run: its length u16, the CRC-32C of its rows u32, its rows. Whatever
//! is read of a run is checked against it.

use super::row::MAX_ROW_BYTES;

/// The length of a block with which it ends, in bytes.
pub(super) const FULL_BYTES: usize = 2_048;
/// The length of the header of a block, in bytes.
pub(super) const HEADER_BYTES: usize = 6;
/// The maximum length of a block with its header, in bytes.
pub(super) const MAX_BYTES: usize = HEADER_BYTES + FULL_BYTES + MAX_ROW_BYTES;

/// Completes the block whose rows follow an empty header, and returns the header.
pub(super) fn seal(block: &mut [u8]) -> [u8; HEADER_BYTES] {
    let (header, rows) = block.split_at_mut(HEADER_BYTES);
    let length = u16::try_from(rows.len()).expect("a block ends once it is full");
    header[..2].copy_from_slice(&length.to_le_bytes());
    header[2..].copy_from_slice(&crc32c::crc32c(rows).to_le_bytes());
    header.try_into().expect("it was split off with this length")
}

/// Returns the header of the block that starts with these bytes, and the length of its rows; `None`
/// if it is incomplete or damaged.
pub(super) fn open(bytes: &[u8]) -> Option<([u8; HEADER_BYTES], usize)> {
    let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>()?;
    let [a, b, crc @ ..] = *header;
    let length = usize::from(u16::from_le_bytes([a, b]));
    let rows = rest.get(..length).filter(|rows| !rows.is_empty())?;
    (crc32c::crc32c(rows) == u32::from_le_bytes(crc)).then_some((*header, length))
}
