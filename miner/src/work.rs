//! Work units: a header, its target, and the search space of nonces × version rolls.
//! Independent of the threads and kernels that search it.

use chain::hash::Midstate;
use chain::{Header, Target};
use std::ops::RangeInclusive;

/// A header to solve, the target its hash must meet, and the nonces and version rolls to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    id: u64,
    header: Header,
    target: Target,
    nonces: RangeInclusive<u32>,
    rolls: RangeInclusive<u16>,
}

impl Work {
    /// Creates work over the whole search space: 2^32 nonces of 2^16 versions, days of work even
    /// for a large machine. The nonce in `header` is ignored. Events refer to the work by `id`, so
    /// each work needs a distinct one.
    pub fn new(id: u64, header: Header, target: Target) -> Work {
        Work { id, header, target, nonces: 0..=u32::MAX, rolls: 0..=u16::MAX }
    }

    /// Restricts the work to a range of nonces and a range of version rolls. A roll is xored into
    /// the sixteen `Header::ROLLING_BITS` of the version (BIP 320); roll 0 leaves the version
    /// unchanged.
    pub fn within(self, nonces: RangeInclusive<u32>, rolls: RangeInclusive<u16>) -> Work {
        Work { nonces, rolls, ..self }
    }

    /// The id that events refer to.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The target: the largest hash that is a solution.
    pub fn target(&self) -> Target {
        self.target
    }

    /// The nonces to try with each version.
    pub fn nonces(&self) -> RangeInclusive<u32> {
        self.nonces.clone()
    }

    /// The version rolls to try.
    pub fn rolls(&self) -> RangeInclusive<u16> {
        self.rolls.clone()
    }

    /// The header with a given version roll and nonce.
    pub fn header(&self, roll: u16, nonce: u32) -> Header {
        let roll = i32::from(roll) << Header::ROLLING_BITS.trailing_zeros();
        Header { version: self.header.version ^ roll, nonce, ..self.header }
    }

    /// Hashes the constant part of the header of one version roll, for `Kernel::scan`.
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

/// A header without its nonce, with the SHA-256 state of its constant first block, and the limit
/// on the leading bits of its hash.
///
/// The 80 bytes of a header are two SHA-256 blocks. The first is the same for every nonce and is
/// hashed once, in [`Work::prepare`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreparedHeader {
    midstate: Midstate,
    tail: [u32; 3],
    limit: u32,
}

impl PreparedHeader {
    /// The SHA-256 state after the first 64 bytes of the header.
    pub fn midstate(&self) -> Midstate {
        self.midstate
    }

    /// The 12 bytes between the first block and the nonce, as big-endian words.
    pub fn tail(&self) -> [u32; 3] {
        self.tail
    }

    /// The leading 32 bits of the target. Those of a hash are the last word of the SHA-256 state
    /// with its bytes reversed.
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
    fn version_rolls_cover_exactly_the_rolling_bits() {
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
