//! The first half of the extra nonce (`extranonce1`): unique to each session, so that no two search
//! the same blocks.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Allocates the first half of the extra nonce to sessions.
#[derive(Clone, Debug)]
pub(super) struct ExtraNonceAllocator(Arc<Mutex<Allocations>>);

#[derive(Debug)]
struct Allocations {
    next: u32,
    in_use: HashSet<u32>,
}

impl Allocations {
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
    pub(super) fn starting_at(first: u32) -> ExtraNonceAllocator {
        ExtraNonceAllocator(Arc::new(Mutex::new(Allocations {
            next: first,
            in_use: HashSet::new(),
        })))
    }

    /// Allocates the next value that is not in use.
    pub(super) fn allocate(&self) -> ExtraNonce1 {
        let mut allocations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let value = allocations.advance();
        allocations.in_use.insert(value);
        ExtraNonce1 { value, allocations: Arc::clone(&self.0) }
    }

    /// Allocates a value that was freed. Returns `None` if it is in use again.
    pub(super) fn reallocate(&self, value: u32) -> Option<ExtraNonce1> {
        let mut allocations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_free = allocations.in_use.insert(value);
        is_free.then(|| ExtraNonce1 { value, allocations: Arc::clone(&self.0) })
    }
}

/// The first half of the extra nonce of one session. Dropping it frees the value for others.
#[derive(Debug)]
pub(super) struct ExtraNonce1 {
    value: u32,
    allocations: Arc<Mutex<Allocations>>,
}

impl ExtraNonce1 {
    /// The value, by which a miner that reconnects names its lost session.
    pub(super) fn value(&self) -> u32 {
        self.value
    }

    /// The bytes in the coinbase: the value in big-endian order.
    pub(super) fn bytes(&self) -> [u8; 4] {
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
    fn reallocates_a_value_only_if_it_is_free() {
        let allocator = ExtraNonceAllocator::starting_at(u32::MAX);
        let (one, two) = (allocator.allocate(), allocator.allocate());
        assert_eq!((one.value, two.value), (u32::MAX, 0));
        assert!(allocator.reallocate(u32::MAX).is_none(), "it is in use");
        drop(one);
        let one = allocator.reallocate(u32::MAX).unwrap();
        assert_eq!((one.value, one.bytes()), (u32::MAX, [0xff; 4]));
        assert_eq!(allocator.allocate().value, 1);
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
                    let wanted = first.wrapping_add(u32::try_from(index.index(60)).unwrap());
                    let reallocated = allocator.reallocate(wanted);
                    live.push(reallocated.unwrap_or_else(|| allocator.allocate()));
                }
                let distinct: HashSet<u32> = live.iter().map(|it| it.value).collect();
                prop_assert_eq!(distinct.len(), live.len());
            }
        }
    }
}
