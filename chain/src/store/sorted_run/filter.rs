//! A Bloom filter over keys, whose bits for a key are in one cache line.
//! Source: Putze et al., "Cache-, Hash- and Space-Efficient Bloom Filters".

use std::hash::{BuildHasher, RandomState};

/// Returns the part of a key that the filter knows: all keys with this part are in the filter or
/// none is.
pub type FilterKey = fn(&[u8]) -> &[u8];

/// The number of bits per key, and the number of those that a key sets.
const BITS_PER_KEY: usize = 10;
const BITS_SET: u64 = 5;
/// The number of 64-bit words of a cache line.
const LINE_WORDS: usize = 8;
/// The maximum number of cache lines: 8 MiB.
const MAX_LINES: usize = 1 << 17;

/// A filter, which may contain keys that were not inserted, but misses none.
#[derive(Debug)]
pub(super) struct Filter {
    words: Vec<u64>,
    hasher: RandomState,
}

impl Filter {
    /// Creates an empty filter for a number of keys.
    pub(super) fn new(keys: usize, hasher: RandomState) -> Filter {
        let bits = keys.max(1).saturating_mul(BITS_PER_KEY);
        let lines = bits.div_ceil(LINE_WORDS * 64).min(MAX_LINES);
        Filter { words: vec![0; lines * LINE_WORDS], hasher }
    }

    pub(super) fn insert(&mut self, key: &[u8]) {
        let (line, bits) = self.positions(key);
        for bit in bits {
            self.words[line + bit / 64] |= 1 << (bit % 64);
        }
    }

    pub(super) fn may_contain(&self, key: &[u8]) -> bool {
        let (line, mut bits) = self.positions(key);
        bits.all(|bit| self.words[line + bit / 64] & (1 << (bit % 64)) != 0)
    }

    /// Returns the first word of the key's cache line, and the key's bits in that line.
    fn positions(&self, key: &[u8]) -> (usize, impl Iterator<Item = usize> + use<>) {
        let hash = self.hasher.hash_one(key);
        let (high, low) = (hash >> 32, hash & 0xffff_ffff);
        // The high half selects the line, the low half the bits.
        let lines = (self.words.len() / LINE_WORDS) as u64;
        let line = usize::try_from((high * lines) >> 32).expect("the filter is in memory");
        let (first, step) = (low & 0x1ff, (low >> 9) | 1);
        let bit = move |at: u64| usize::try_from((first + at * step) & 0x1ff).expect("below 512");
        (line * LINE_WORDS, (0..BITS_SET).map(bit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filter_contains_all_its_keys_and_few_others() {
        let mut filter = Filter::new(10_000, RandomState::new());
        (0..10_000_u32).for_each(|key| filter.insert(&key.to_be_bytes()));
        assert!((0..10_000_u32).all(|key| filter.may_contain(&key.to_be_bytes())));
        let others = (10_000..110_000_u32).filter(|key| filter.may_contain(&key.to_be_bytes()));
        let others = others.count();
        assert!(others < 4_000, "{others} of 100,000");
    }
}
