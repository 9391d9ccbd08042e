//! Links between simulated nodes, and the faults of the network.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use std::time::Duration;

/// What may happen to anything that is sent.
#[derive(Clone, Debug)]
pub(super) struct Faults {
    /// Milliseconds one way.
    pub(super) latency: RangeInclusive<u64>,
    /// Of a hundred announcements, statuses and requests, so many are lost.
    pub(super) loss: u32,
    /// Of a hundred announcements, so many more are lost on a link that loses nothing else.
    pub(super) loss_of_gossip: u32,
    /// Of a hundred announcements, so many come twice.
    pub(super) repeats: u32,
}

impl Faults {
    /// A good network.
    pub(super) const NONE: Faults =
        Faults { latency: 5..=60, loss: 0, loss_of_gossip: 0, repeats: 0 };
}

/// Two nodes that want to be connected.
pub(super) struct Link {
    pub(super) caller: usize,
    pub(super) called: usize,
    pub(super) is_up: bool,
    /// Whether it will be called.
    pub(super) is_waiting: bool,
    /// Counts up with every connection.
    pub(super) epoch: u32,
    /// When each side asked the other lately, and for how much.
    pub(super) asked: BTreeMap<(usize, &'static str), VecDeque<(Duration, u32)>>,
}

impl Link {
    pub(super) fn joins(&self, node: usize) -> bool {
        self.caller == node || self.called == node
    }

    pub(super) fn other(&self, node: usize) -> usize {
        if self.caller == node { self.called } else { self.caller }
    }
}
