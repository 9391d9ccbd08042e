//! Lists and their checks, shared by all messages.

use chain::codec::{DecodeError, Decoder};
use std::io;

/// Why bytes cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A field or transaction is malformed.
    #[error(transparent)]
    Encoding(#[from] DecodeError),
    /// A list is longer than the protocol permits.
    #[error("{count} {what} are above the limit of {limit}")]
    AboveLimit {
        /// The name of the items, for the message.
        what: &'static str,
        /// The number of items that the message claims.
        count: usize,
        /// The most items permitted.
        limit: usize,
    },
    /// A byte has no meaning at its position.
    #[error("{value} is no {what}")]
    Unknown {
        /// The name of the field, for the message.
        what: &'static str,
        /// The value of the byte.
        value: u8,
    },
    /// A list is not in strictly ascending order.
    #[error("the {what} do not ascend")]
    NotAscending {
        /// The name of the items, for the message.
        what: &'static str,
    },
    /// A peer id or an address is malformed.
    #[error("malformed {what}")]
    BadAddress {
        /// The name of the field, for the message.
        what: &'static str,
    },
}

impl From<WireError> for io::Error {
    /// Returns an error of kind `InvalidData`: all bytes were received, but are malformed.
    fn from(error: WireError) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}

pub(super) fn write_count(bytes: &mut Vec<u8>, count: usize) {
    let count = u32::try_from(count).expect("a list in memory has fewer than 2^32 items");
    bytes.extend_from_slice(&count.to_le_bytes());
}

/// Reads a count of at most `limit` items with at least `min_bytes` each.
pub(super) fn read_count(
    input: &mut Decoder,
    min_bytes: usize,
    what: &'static str,
    limit: usize,
) -> Result<usize, WireError> {
    let count = input.count(min_bytes)?;
    check_limit(count, what, limit)?;
    Ok(count)
}

pub(super) fn check_limit(count: usize, what: &'static str, limit: usize) -> Result<(), WireError> {
    if count <= limit { Ok(()) } else { Err(WireError::AboveLimit { what, count, limit }) }
}

/// Reads a number of items.
pub(super) fn read_all<'a, T>(
    input: &mut Decoder<'a>,
    count: usize,
    read: impl Fn(&mut Decoder<'a>) -> Result<T, WireError>,
) -> Result<Vec<T>, WireError> {
    let mut items = Vec::with_capacity(count);
    for _ in 0..count {
        items.push(read(input)?);
    }
    Ok(items)
}

/// Checks that items are in strictly ascending order.
pub(super) fn check_ascending<T: Ord>(
    items: impl Iterator<Item = T> + Clone,
    what: &'static str,
) -> Result<(), WireError> {
    let mut pairs = items.clone().zip(items.skip(1));
    if pairs.all(|(one, next)| one < next) { Ok(()) } else { Err(WireError::NotAscending { what }) }
}
