//! A sparse index of a run: the first keys of some of its blocks, with the offsets of the blocks.

use super::block::FULL_BYTES;

/// The maximum number of keys in memory, with their offsets: about 3 MB.
pub(super) const MAX_SAMPLES: usize = 1 << 16;

/// First keys of blocks, in order.
#[derive(Debug, Default)]
pub(super) struct Samples {
    keys: Vec<u8>,
    /// The end of each key in `keys`, and the offset of its block in the file.
    entries: Vec<(u32, u64)>,
    /// The minimum distance between two of the blocks, in bytes of the file.
    stride: u64,
}

impl Samples {
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    fn key(&self, at: usize) -> &[u8] {
        let end = |at: usize| self.entries[at].0 as usize;
        &self.keys[at.checked_sub(1).map_or(0, end)..end(at)]
    }

    /// Adds the first key of a block, unless it is too close to the last one.
    pub(super) fn add(&mut self, key: &[u8], offset: u64) {
        if self.entries.last().is_some_and(|(_, last)| offset - last < self.stride) {
            return;
        }
        if self.entries.len() >= MAX_SAMPLES {
            let kept = (0..self.entries.len()).step_by(2);
            let stride = self.stride.max(FULL_BYTES as u64).saturating_mul(2);
            let mut thinned = Samples { stride, ..Samples::default() };
            kept.for_each(|at| thinned.push(self.key(at), self.entries[at].1));
            *self = thinned;
        }
        self.push(key, offset);
    }

    fn push(&mut self, key: &[u8], offset: u64) {
        self.keys.extend_from_slice(key);
        let end = u32::try_from(self.keys.len()).expect("keys are short and few");
        self.entries.push((end, offset));
    }

    /// Returns the offset of a block that does not start after the first row with at least this key.
    pub(super) fn offset_before(&self, key: &[u8]) -> u64 {
        let (mut low, mut high) = (0, self.entries.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.key(middle) <= key { low = middle + 1 } else { high = middle }
        }
        low.checked_sub(1).map_or(0, |at| self.entries[at].1)
    }
}
