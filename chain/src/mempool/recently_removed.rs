//! The reasons why transfers recently left the mempool, for status queries.

use super::reject::RejectReason;
use crate::tx::Id;
use std::collections::{HashMap, VecDeque};

/// The maximum number of reasons, about 2 MB. The oldest are evicted.
pub(super) const CAPACITY: usize = 10_000;

#[derive(Clone, Debug, Default)]
pub(super) struct RecentlyRemoved {
    reasons: HashMap<Id, RejectReason>,
    /// Each id once, the oldest first.
    order: VecDeque<Id>,
}

impl RecentlyRemoved {
    pub(super) fn insert(&mut self, id: Id, reason: RejectReason) {
        if self.reasons.insert(id, reason).is_some() {
            return;
        }
        self.order.push_back(id);
        if self.order.len() > CAPACITY
            && let Some(oldest) = self.order.pop_front()
        {
            self.reasons.remove(&oldest);
        }
    }

    pub(super) fn reason(&self, id: &Id) -> Option<&RejectReason> {
        self.reasons.get(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // M17
    #[test]
    fn oldest_reasons_are_evicted() {
        let id = |number: usize| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&number.to_le_bytes());
            Id::from_bytes(bytes)
        };
        let mut removed = RecentlyRemoved::default();
        for number in 0..CAPACITY + 5 {
            removed.insert(id(number), RejectReason::MempoolFullOfPending);
            removed.insert(id(number), RejectReason::Expired { missing: 1 });
        }
        assert_eq!((removed.reasons.len(), removed.order.len()), (CAPACITY, CAPACITY));
        assert_eq!(removed.reason(&id(4)), None);
        assert_eq!(removed.reason(&id(5)), Some(&RejectReason::Expired { missing: 1 }));
    }
}
