//! Decoding of the canonical encoding: integers are little-endian, lengths are checked before
//! anything is allocated, and no trailing bytes are allowed. Each type encodes and decodes itself.

/// The error of bytes that are not a canonical encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The input ends before the value does.
    #[error("{needed} more bytes were expected, {left} are left")]
    Truncated {
        /// The number of bytes that the next field needs.
        needed: usize,
        /// The number of bytes that remain.
        left: usize,
    },
    /// The value ends before the input does.
    #[error("{count} bytes are left over")]
    TrailingBytes {
        /// The number of trailing bytes.
        count: usize,
    },
    /// The first byte of a transaction is neither 0 (coinbase) nor 2 (transfer).
    #[error("unknown transaction kind {kind}")]
    UnknownKind {
        /// The unknown kind: the first byte of the transaction, neither 0 nor 2.
        kind: u8,
    },
    /// A count or length is larger than the remaining input allows.
    #[error("a length of {length} does not fit into {left} bytes")]
    ImpossibleLength {
        /// The encoded count or length.
        length: u32,
        /// The number of bytes that remain.
        left: usize,
    },
    /// The coinbase does not have its canonical form.
    #[error("the coinbase is malformed: {what}")]
    BadCoinbase {
        /// The part of the coinbase that is wrong.
        what: &'static str,
    },
    /// The memo is longer than its limit.
    #[error("a memo of {length} bytes is above the limit of {limit}")]
    MemoTooLong {
        /// The encoded length, in bytes.
        length: u32,
        /// The maximum length of a memo, in bytes.
        limit: usize,
    },
}

/// A decoder, which reads an input from its start to its end.
#[derive(Clone, Copy, Debug)]
pub struct Decoder<'a> {
    left: &'a [u8],
}

impl<'a> Decoder<'a> {
    /// Returns a decoder at the first byte of an input.
    pub fn new(bytes: &'a [u8]) -> Self {
        Decoder { left: bytes }
    }

    /// The number of bytes that are not decoded yet.
    pub fn remaining(&self) -> usize {
        self.left.len()
    }

    /// Decodes the next `count` bytes.
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        match self.left.split_at_checked(count) {
            Some((bytes, rest)) => {
                self.left = rest;
                Ok(bytes)
            }
            None => Err(DecodeError::Truncated { needed: count, left: self.left.len() }),
        }
    }

    /// Decodes the next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N)?);
        Ok(array)
    }

    /// Decodes the next byte as a number.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Decodes a little-endian `u32`.
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_le_bytes)
    }

    /// Decodes a little-endian `i32` in two's complement.
    pub fn i32(&mut self) -> Result<i32, DecodeError> {
        self.array().map(i32::from_le_bytes)
    }

    /// Decodes a little-endian `u64`.
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_le_bytes)
    }

    /// Decodes a `u32` count of items of at least `min_bytes` each. A count of more items than the
    /// remaining input can hold is an error.
    pub fn count(&mut self, min_bytes: usize) -> Result<usize, DecodeError> {
        let length = self.u32()?;
        let left = self.left.len();
        usize::try_from(length)
            .ok()
            .filter(|count| count.checked_mul(min_bytes).is_some_and(|bytes| bytes <= left))
            .ok_or(DecodeError::ImpossibleLength { length, left })
    }

    /// Ends the decoding. Trailing bytes are an error.
    pub fn finish(self) -> Result<(), DecodeError> {
        match self.left.len() {
            0 => Ok(()),
            count => Err(DecodeError::TrailingBytes { count }),
        }
    }
}
