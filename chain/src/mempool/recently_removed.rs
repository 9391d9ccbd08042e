//! What left the pool lately and why, so that whoever asks for it gets an answer.

use super::RejectReason;
use crate::tx::Id;
use std::collections::{HashMap, VecDeque};

/// Answers kept: some 2 MB. Older ones are forgotten.
pub(super) const KEPT: usize = 10_000;

#[derive(Clone, Debug, Default)]
pub(super) struct Recent {
    reasons: HashMap<Id, RejectReason>,
    /// Oldest first, each once.
    order: VecDeque<Id>,
}

impl Recent {
    pub(super) fn add(&mut self, id: Id, reason: RejectReason) {
        if self.reasons.insert(id, reason).is_some() {
            return;
        }
        self.order.push_back(id);
        if self.order.len() > KEPT
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
    fn the_oldest_are_forgotten() {
        let id = |number: usize| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&number.to_le_bytes());
            Id::from_bytes(bytes)
        };
        let mut recent = Recent::default();
        for number in 0..KEPT + 5 {
            recent.add(id(number), RejectReason::MempoolFullOfPending);
            recent.add(id(number), RejectReason::Expired { missing: 1 });
        }
        assert_eq!((recent.reasons.len(), recent.order.len()), (KEPT, KEPT));
        assert_eq!(recent.reason(&id(4)), None);
        assert_eq!(recent.reason(&id(5)), Some(&RejectReason::Expired { missing: 1 }));
    }
}
