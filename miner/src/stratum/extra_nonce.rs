//! The first half of the extra nonce: unique to each connection, so that no two ever search the same
//! blocks. A miner that lost its connection may have the same one again.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Hands them out.
#[derive(Debug)]
pub struct ExtraNonces(Arc<Mutex<Given>>);

#[derive(Debug)]
struct Given {
    /// Where counting began.
    first: u32,
    next: u32,
    in_use: HashSet<u32>,
}

impl ExtraNonces {
    /// Counts from here on; round the end of all numbers, if need be.
    pub fn from(first: u32) -> ExtraNonces {
        ExtraNonces(Arc::new(Mutex::new(Given { first, next: first, in_use: HashSet::new() })))
    }

    /// One that nobody uses: the one that is asked for, if it was handed out before and is free.
    pub fn claim(&self, again: Option<u32>) -> ExtraNonce {
        let mut given = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let was_given =
            |number: &u32| number.wrapping_sub(given.first) < given.next.wrapping_sub(given.first);
        let free = again.filter(was_given).filter(|number| !given.in_use.contains(number));
        let number = free.unwrap_or_else(|| {
            while given.in_use.contains(&given.next) {
                given.next = given.next.wrapping_add(1);
            }
            let number = given.next;
            given.next = number.wrapping_add(1);
            number
        });
        given.in_use.insert(number);
        ExtraNonce { number, of: Arc::clone(&self.0) }
    }
}

impl Clone for ExtraNonces {
    fn clone(&self) -> ExtraNonces {
        ExtraNonces(Arc::clone(&self.0))
    }
}

/// The half that one connection has. Free for others once it is dropped.
#[derive(Debug)]
pub struct ExtraNonce {
    number: u32,
    of: Arc<Mutex<Given>>,
}

impl ExtraNonce {
    /// As it stands in the coinbase.
    pub(super) fn bytes(&self) -> [u8; 4] {
        self.number.to_be_bytes()
    }
}

impl Drop for ExtraNonce {
    fn drop(&mut self) {
        let mut given = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        given.in_use.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // Q12
    #[test]
    fn one_that_was_given_is_given_again_only_when_it_is_free() {
        let numbers = ExtraNonces::from(u32::MAX);
        let (one, two) = (numbers.claim(None), numbers.claim(Some(u32::MAX)));
        assert_eq!((one.number, two.number), (u32::MAX, 0));
        drop(one);
        assert_eq!(numbers.claim(Some(u32::MAX)).number, u32::MAX);
        assert_eq!(numbers.claim(Some(77)).number, 1, "nobody ever had 77");
    }

    proptest! {
        // Q12
        #[test]
        fn no_two_connections_have_the_same(
            first: u32,
            steps in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 0..60),
        ) {
            let numbers = ExtraNonces::from(first);
            let mut open: Vec<ExtraNonce> = Vec::new();
            for (closes, which) in steps {
                if closes && !open.is_empty() {
                    open.swap_remove(which.index(open.len()));
                } else {
                    let wish = first.wrapping_add(u32::try_from(which.index(60)).unwrap());
                    open.push(numbers.claim(Some(wish)));
                }
                let distinct: HashSet<u32> = open.iter().map(|it| it.number).collect();
                prop_assert_eq!(distinct.len(), open.len());
            }
        }
    }
}
