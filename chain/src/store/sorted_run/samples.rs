//! A sparse index of a run: some of its keys, with the offsets of their rows.

/// The maximum number of keys in memory, with their offsets: about 3 MB.
pub(super) const MAX_SAMPLES: usize = 1 << 16;
/// The minimum distance between two of them, in bytes of the file.
pub(super) const MIN_STRIDE: u64 = 2_048;

/// Keys in the order of their rows, which share nothing with the keys before them.
#[derive(Debug)]
pub(super) struct Samples {
    keys: Vec<u8>,
    /// The end of each key in `keys`, and the offset of its row in the file.
    entries: Vec<(u32, u64)>,
    stride: u64,
}

impl Default for Samples {
    fn default() -> Samples {
        Samples { keys: Vec::new(), entries: Vec::new(), stride: MIN_STRIDE }
    }
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

    /// Adds a key whose row shares nothing, unless it is too close to the last one.
    pub(super) fn add(&mut self, key: &[u8], offset: u64) {
        if self.entries.last().is_some_and(|(_, last)| offset - last < self.stride) {
            return;
        }
        if self.entries.len() >= MAX_SAMPLES {
            let kept = (0..self.entries.len()).step_by(2);
            let mut thinned =
                Samples { stride: self.stride.saturating_mul(2), ..Samples::default() };
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

    /// Returns the offset of a row that is not after the first row with at least this key.
    pub(super) fn offset_before(&self, key: &[u8]) -> u64 {
        let (mut low, mut high) = (0, self.entries.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.key(middle) <= key { low = middle + 1 } else { high = middle }
        }
        low.checked_sub(1).map_or(0, |at| self.entries[at].1)
    }
}
