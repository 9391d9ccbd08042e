//! The first half of the extra nonce (`extranonce1`): unique to each session, so that no two search
//! the same blocks. A miner that reconnects may reclaim the one it had.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Allocates the first half of the extra nonce to sessions.
///
/// ```
/// use miner::stratum::ExtraNonceAllocator;
///
/// let allocator = ExtraNonceAllocator::starting_at(7);
/// let first = allocator.allocate(None);
/// assert_eq!(first.bytes(), [0, 0, 0, 7]);
/// // It is in use, so a reconnecting miner that requests it is assigned another.
/// assert_eq!(allocator.allocate(Some(7)).bytes(), [0, 0, 0, 8]);
/// drop(first);
/// assert_eq!(allocator.allocate(Some(7)).bytes(), [0, 0, 0, 7]);
/// ```
#[derive(Clone, Debug)]
pub struct ExtraNonceAllocator(Arc<Mutex<Allocations>>);

#[derive(Debug)]
struct Allocations {
    first: u32,
    next: u32,
    in_use: HashSet<u32>,
}

impl Allocations {
    /// Whether a value was ever allocated.
    fn contains(&self, value: u32) -> bool {
        value.wrapping_sub(self.first) < self.next.wrapping_sub(self.first)
    }

    /// The next value that is not in use.
    fn advance(&mut self) -> u32 {
        loop {
            let value = self.next;
            self.next = value.wrapping_add(1);
            if !self.in_use.contains(&value) {
                return value;
            }
        }
    }
}

impl ExtraNonceAllocator {
    /// Creates an allocator that counts up from `first` and wraps around after `u32::MAX`.
    pub fn starting_at(first: u32) -> ExtraNonceAllocator {
        let allocations = Allocations { first, next: first, in_use: HashSet::new() };
        ExtraNonceAllocator(Arc::new(Mutex::new(allocations)))
    }

    /// Allocates a value that is not in use: `preferred` if it was allocated before and is free
    /// again, otherwise the next one.
    pub fn allocate(&self, preferred: Option<u32>) -> ExtraNonce1 {
        let mut allocations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let value = preferred
            .filter(|value| allocations.contains(*value) && !allocations.in_use.contains(value))
            .unwrap_or_else(|| allocations.advance());
        allocations.in_use.insert(value);
        ExtraNonce1 { value, allocations: Arc::clone(&self.0) }
    }
}

/// The first half of the extra nonce of one session. Dropping it frees the value for others.
#[derive(Debug)]
pub struct ExtraNonce1 {
    value: u32,
    allocations: Arc<Mutex<Allocations>>,
}

impl ExtraNonce1 {
    /// The bytes in the coinbase: the value in big-endian order.
    pub fn bytes(&self) -> [u8; 4] {
        self.value.to_be_bytes()
    }
}

impl Drop for ExtraNonce1 {
    fn drop(&mut self) {
        let mut allocations = self.allocations.lock().unwrap_or_else(PoisonError::into_inner);
        allocations.in_use.remove(&self.value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // Q12
    #[test]
    fn reallocates_a_value_only_if_it_was_allocated_and_is_free() {
        let allocator = ExtraNonceAllocator::starting_at(u32::MAX);
        let (one, two) = (allocator.allocate(None), allocator.allocate(Some(u32::MAX)));
        assert_eq!((one.value, two.value), (u32::MAX, 0));
        drop(one);
        assert_eq!(allocator.allocate(Some(u32::MAX)).value, u32::MAX);
        assert_eq!(allocator.allocate(Some(77)).value, 1, "77 was never allocated");
    }

    proptest! {
        // Q12
        #[test]
        fn live_allocations_are_distinct(
            first: u32,
            steps in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 0..60),
        ) {
            let allocator = ExtraNonceAllocator::starting_at(first);
            let mut live: Vec<ExtraNonce1> = Vec::new();
            for (frees, index) in steps {
                if frees && !live.is_empty() {
                    live.swap_remove(index.index(live.len()));
                } else {
                    let preferred = first.wrapping_add(u32::try_from(index.index(60)).unwrap());
                    live.push(allocator.allocate(Some(preferred)));
                }
                let distinct: HashSet<u32> = live.iter().map(|it| it.value).collect();
                prop_assert_eq!(distinct.len(), live.len());
            }
        }
    }
}
