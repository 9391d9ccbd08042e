//! The first half of the extra nonce: unique to each connection, so that no two ever search the same
//! blocks. A miner that lost its connection may have the same one again.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Hands them out.
#[derive(Debug)]
pub struct ExtraNonceAllocator(Arc<Mutex<Allocations>>);

#[derive(Debug)]
struct Allocations {
    /// Where counting began.
    first: u32,
    next: u32,
    in_use: HashSet<u32>,
}

impl ExtraNonceAllocator {
    /// Counts from here on; round the end of all numbers, if need be.
    pub fn starting_at(first: u32) -> ExtraNonceAllocator {
        ExtraNonceAllocator(Arc::new(Mutex::new(Allocations {
            first,
            next: first,
            in_use: HashSet::new(),
        })))
    }

    /// One that nobody uses: the one that is asked for, if it was handed out before and is free.
    pub fn allocate(&self, again: Option<u32>) -> ExtraNonce1 {
        let mut allocations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let was_given = |number: &u32| {
            number.wrapping_sub(allocations.first)
                < allocations.next.wrapping_sub(allocations.first)
        };
        let free = again.filter(was_given).filter(|number| !allocations.in_use.contains(number));
        let number = free.unwrap_or_else(|| {
            while allocations.in_use.contains(&allocations.next) {
                allocations.next = allocations.next.wrapping_add(1);
            }
            let number = allocations.next;
            allocations.next = number.wrapping_add(1);
            number
        });
        allocations.in_use.insert(number);
        ExtraNonce1 { number, of: Arc::clone(&self.0) }
    }
}

impl Clone for ExtraNonceAllocator {
    fn clone(&self) -> ExtraNonceAllocator {
        ExtraNonceAllocator(Arc::clone(&self.0))
    }
}

/// The half that one connection has. Free for others once it is dropped.
#[derive(Debug)]
pub struct ExtraNonce1 {
    number: u32,
    of: Arc<Mutex<Allocations>>,
}

impl ExtraNonce1 {
    /// As it stands in the coinbase.
    pub(super) fn bytes(&self) -> [u8; 4] {
        self.number.to_be_bytes()
    }
}

impl Drop for ExtraNonce1 {
    fn drop(&mut self) {
        let mut allocations = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        allocations.in_use.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // Q12
    #[test]
    fn one_that_was_given_is_given_again_only_when_it_is_free() {
        let numbers = ExtraNonceAllocator::starting_at(u32::MAX);
        let (one, two) = (numbers.allocate(None), numbers.allocate(Some(u32::MAX)));
        assert_eq!((one.number, two.number), (u32::MAX, 0));
        drop(one);
        assert_eq!(numbers.allocate(Some(u32::MAX)).number, u32::MAX);
        assert_eq!(numbers.allocate(Some(77)).number, 1, "nobody ever had 77");
    }

    proptest! {
        // Q12
        #[test]
        fn no_two_connections_have_the_same(
            first: u32,
            steps in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 0..60),
        ) {
            let numbers = ExtraNonceAllocator::starting_at(first);
            let mut open: Vec<ExtraNonce1> = Vec::new();
            for (closes, which) in steps {
                if closes && !open.is_empty() {
                    open.swap_remove(which.index(open.len()));
                } else {
                    let wish = first.wrapping_add(u32::try_from(which.index(60)).unwrap());
                    open.push(numbers.allocate(Some(wish)));
                }
                let distinct: HashSet<u32> = open.iter().map(|it| it.number).collect();
                prop_assert_eq!(distinct.len(), open.len());
            }
        }
    }
}
