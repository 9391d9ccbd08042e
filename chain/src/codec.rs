//! Reading the canonical encoding: little-endian integers, lengths checked before anything is
//! allocated, no byte left over. Knows bytes only; what they mean is the business of each type.

/// Why bytes are not the encoding of anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The input ends before the value does.
    #[error("{needed} more bytes were expected, {left} are left")]
    Truncated {
        /// Bytes the next field needs.
        needed: usize,
        /// Bytes that are left.
        left: usize,
    },
    /// The value ends before the input does.
    #[error("{count} bytes are left over")]
    TrailingBytes {
        /// How many.
        count: usize,
    },
    /// The first byte of a transaction is neither 0 (coinbase) nor 2 (transfer).
    #[error("unknown transaction kind {kind}")]
    UnknownKind {
        /// The byte found.
        kind: u8,
    },
    /// A count or length promises more than the input can hold.
    #[error("a length of {length} does not fit into {left} bytes")]
    ImpossibleLength {
        /// The length as encoded.
        length: u32,
        /// Bytes that are left.
        left: usize,
    },
    /// The coinbase is not exactly of the Bitcoin shape this protocol demands.
    #[error("the coinbase is malformed: {what}")]
    BadCoinbase {
        /// The part that differs.
        what: &'static str,
    },
    /// A memo above its limit.
    #[error("a memo of {length} bytes is above the limit of {limit}")]
    MemoTooLong {
        /// The length as encoded.
        length: u32,
        /// Most bytes a memo may have.
        limit: usize,
    },
}

/// What is left of an input.
#[derive(Clone, Copy, Debug)]
pub struct Decoder<'a> {
    left: &'a [u8],
}

impl<'a> Decoder<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Decoder { left: bytes }
    }

    /// Bytes not read yet.
    pub fn remaining(&self) -> usize {
        self.left.len()
    }

    /// The next `count` bytes.
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        match self.left.split_at_checked(count) {
            Some((taken, rest)) => {
                self.left = rest;
                Ok(taken)
            }
            None => Err(DecodeError::Truncated { needed: count, left: self.left.len() }),
        }
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N)?);
        Ok(array)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Four bytes, little-endian.
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_le_bytes)
    }

    /// Four bytes, little-endian, two's complement.
    pub fn i32(&mut self) -> Result<i32, DecodeError> {
        self.array().map(i32::from_le_bytes)
    }

    /// Eight bytes, little-endian.
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_le_bytes)
    }

    /// A u32 count of items that take at least `least` bytes each, so never more than can follow.
    pub fn count(&mut self, least: usize) -> Result<usize, DecodeError> {
        let length = self.u32()?;
        let left = self.left.len();
        usize::try_from(length)
            .ok()
            .filter(|count| count.checked_mul(least).is_some_and(|bytes| bytes <= left))
            .ok_or(DecodeError::ImpossibleLength { length, left })
    }

    /// Nothing may be left.
    pub fn finish(self) -> Result<(), DecodeError> {
        match self.left.len() {
            0 => Ok(()),
            count => Err(DecodeError::TrailingBytes { count }),
        }
    }
}
