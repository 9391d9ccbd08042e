//! Work: a header to find nonces for, its target, and the space to search, which is nonces × the
//! versions that miners may roll. Does not know who searches it.

use chain::hash::Midstate;
use chain::{Header, Target};
use std::ops::RangeInclusive;

/// What to search for, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    id: u64,
    header: Header,
    target: Target,
    nonces: RangeInclusive<u32>,
    rolls: RangeInclusive<u16>,
}

impl Work {
    /// The whole space: 2^32 nonces of 2^16 versions, days even for a large machine. The header's
    /// own nonce does not matter. Events name the work by `id`; give each work another.
    pub fn new(id: u64, header: Header, target: Target) -> Work {
        Work { id, header, target, nonces: 0..=u32::MAX, rolls: 0..=u16::MAX }
    }

    /// The same work in another space. A roll is what the sixteen `Header::ROLLING_BITS` of the
    /// header's version are xored with, so roll 0 leaves the version as it is.
    pub fn within(self, nonces: RangeInclusive<u32>, rolls: RangeInclusive<u16>) -> Work {
        Work { nonces, rolls, ..self }
    }

    /// As its maker named it.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The largest hash that passes.
    pub fn target(&self) -> Target {
        self.target
    }

    /// The nonces to try with each version.
    pub fn nonces(&self) -> RangeInclusive<u32> {
        self.nonces.clone()
    }

    /// The rolls of the version to try.
    pub fn rolls(&self) -> RangeInclusive<u16> {
        self.rolls.clone()
    }

    /// The header at one place of the space.
    pub fn header(&self, roll: u16, nonce: u32) -> Header {
        let roll = i32::from(roll) << Header::ROLLING_BITS.trailing_zeros();
        Header { version: self.header.version ^ roll, nonce, ..self.header }
    }

    /// The header of one roll, made ready for kernels.
    pub fn prepare(&self, roll: u16) -> PreparedHeader {
        let bytes = self.header(roll, 0).encode();
        let (block, rest) = bytes.split_first_chunk().expect("a header has more than 64 bytes");
        let word = |at: usize| u32::from_be_bytes([0, 1, 2, 3].map(|byte| rest[at + byte]));
        let [a, b, c, d, ..] = self.target.to_be_bytes();
        PreparedHeader {
            midstate: Midstate::INITIAL.compress(block),
            tail: [word(0), word(4), word(8)],
            limit: u32::from_be_bytes([a, b, c, d]),
        }
    }
}

/// A header but for its nonce, and the limit to its hash, in the words SHA-256 computes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreparedHeader {
    midstate: Midstate,
    tail: [u32; 3],
    limit: u32,
}

impl PreparedHeader {
    /// SHA-256's state after the first 64 bytes.
    pub fn midstate(&self) -> Midstate {
        self.midstate
    }

    /// The 12 bytes between those and the nonce, as big-endian words.
    pub fn tail(&self) -> [u32; 3] {
        self.tail
    }

    /// The target's leading 32 bits. A hash's are its last word with the bytes reversed.
    pub fn limit(&self) -> u32 {
        self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chain::{Bits, Timestamp, block, merkle};
    use std::collections::HashSet;

    #[test]
    fn rolls_reach_every_version_that_is_allowed_and_no_other() {
        let header = Header {
            version: Header::VERSION | 0x0001_2000,
            previous: block::Hash::ZERO,
            merkle_root: merkle::Root::ZERO,
            time: Timestamp::new(0),
            bits: Bits::new(0),
            nonce: 0,
        };
        let work = Work::new(0, header, Target::MAX);
        assert_eq!(work.header(0, 5), Header { nonce: 5, ..header });
        let versions: HashSet<i32> =
            work.rolls().map(|roll| work.header(roll, 0).version).collect();
        assert_eq!(versions.len(), 1 << 16);
        assert!(versions.iter().all(|v| v & !Header::ROLLING_BITS == Header::VERSION));
    }
}
