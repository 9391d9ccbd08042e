//! The encoding of a row of a run.

use std::io;

/// The length of a row without key and value, in bytes.
const HEADER_BYTES: usize = 3;
/// The value length that stands for a removed key.
const REMOVED: u8 = u8::MAX;
/// The maximum length of an encoded row, in bytes.
pub(super) const MAX_ROW_BYTES: usize = HEADER_BYTES + 2 * u8::MAX as usize;

/// A row that is split off.
pub(super) struct RowParts {
    /// The number of bytes that the key shares with the one before it.
    pub(super) shared: usize,
    /// The position of the rest of the key.
    pub(super) key_at: usize,
    /// The position of the value, which is the end of the key.
    pub(super) value_at: usize,
    /// The position of the next row.
    pub(super) end: usize,
    pub(super) is_removed: bool,
}

/// Appends a row whose key shares its first bytes with the one before it.
///
/// # Errors
/// Returns an error if the key or the value is too long.
pub(super) fn encode(
    output: &mut Vec<u8>,
    shared: usize,
    key: &[u8],
    value: Option<&[u8]>,
) -> io::Result<()> {
    let too_long = || io::Error::from(io::ErrorKind::InvalidInput);
    let rest = key.get(shared..).ok_or_else(too_long)?;
    let length = |length: usize| u8::try_from(length).map_err(|_| too_long());
    let value_length = match value {
        Some(value) => length(value.len())?,
        None => REMOVED,
    };
    if value.is_some() && value_length == REMOVED {
        return Err(too_long());
    }
    output.extend_from_slice(&[length(shared)?, length(rest.len())?, value_length]);
    output.extend_from_slice(rest);
    output.extend_from_slice(value.unwrap_or_default());
    Ok(())
}

/// Splits off the row at a position; `None` if it is incomplete.
pub(super) fn split(bytes: &[u8], at: usize) -> Option<RowParts> {
    let [shared, key_length, value_length] = *bytes.get(at..)?.first_chunk::<HEADER_BYTES>()?;
    let is_removed = value_length == REMOVED;
    let key_at = at + HEADER_BYTES;
    let value_at = key_at + usize::from(key_length);
    let end = value_at + if is_removed { 0 } else { usize::from(value_length) };
    (end <= bytes.len()).then_some(RowParts {
        shared: shared.into(),
        key_at,
        value_at,
        end,
        is_removed,
    })
}
