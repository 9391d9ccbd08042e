//! Links between simulated nodes, and the faults of the network.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use std::time::Duration;

/// The faults of transmission.
#[derive(Clone, Debug)]
pub(super) struct Faults {
    /// The latency of one way in milliseconds.
    pub(super) latency: RangeInclusive<u64>,
    /// The percentage of announcements, statuses and requests that are lost.
    pub(super) loss: u32,
    /// The percentage of announcements that are lost besides, without other messages.
    pub(super) gossip_loss: u32,
    /// The percentage of announcements that are delivered twice.
    pub(super) repeats: u32,
}

impl Faults {
    /// A network without faults.
    pub(super) const NONE: Faults = Faults { latency: 5..=60, loss: 0, gossip_loss: 0, repeats: 0 };
}

/// A link between two nodes.
pub(super) struct Link {
    pub(super) dialer: usize,
    pub(super) dialed: usize,
    pub(super) is_up: bool,
    /// Whether dialing is scheduled.
    pub(super) is_dial_scheduled: bool,
    /// The number of connections so far.
    pub(super) epoch: u32,
    /// The times of the recent requests of each side by protocol.
    pub(super) asked: BTreeMap<(usize, &'static str), VecDeque<Duration>>,
}

impl Link {
    pub(super) fn joins(&self, node: usize) -> bool {
        self.dialer == node || self.dialed == node
    }

    pub(super) fn other(&self, node: usize) -> usize {
        if self.dialer == node { self.dialed } else { self.dialer }
    }
}
