//! The upload limit: the rate at which blocks are served to peers outside the local network. Requests
//! above it wait, and each address group has its turn.

use super::peer::InboundRequest;
use crate::message::SOFT_BLOCKS_BYTES;
use crate::peers::AddressGroup;
use crate::rate_limit::TokenBucket;
use libp2p::PeerId;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::time::Duration;

/// The bytes of a token.
const UNIT: u64 = 1 << 10;
/// The maximum time for which a request waits. Its sender waits 30 seconds for the response.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// A request that waits for its turn.
struct Waiting {
    peer: PeerId,
    inbound: InboundRequest,
    since: Duration,
}

/// The upload limit, and the requests that wait for it.
pub(super) struct Upload {
    /// `None` without a limit.
    bucket: Option<TokenBucket>,
    /// The responses that are being prepared, whose sizes are not known yet.
    preparing: usize,
    /// The requests of each address group that has any.
    waiting: BTreeMap<AddressGroup, VecDeque<Waiting>>,
    /// The group that had its turn last.
    last: Option<AddressGroup>,
}

impl Upload {
    /// Returns a limit of a number of bytes a second; 0 for none. A second's worth may be sent at once.
    pub(super) fn new(bytes_per_second: u64) -> Upload {
        let units = u32::try_from(bytes_per_second.div_ceil(UNIT)).unwrap_or(u32::MAX);
        let bucket =
            (bytes_per_second > 0).then(|| TokenBucket::per_period(units, Duration::from_secs(1)));
        Upload { bucket, preparing: 0, waiting: BTreeMap::new(), last: None }
    }

    /// Adds a request for blocks of a peer outside the local network.
    pub(super) fn push(
        &mut self,
        group: AddressGroup,
        (peer, inbound): (PeerId, InboundRequest),
        since: Duration,
    ) {
        self.waiting.entry(group).or_default().push_back(Waiting { peer, inbound, since });
    }

    /// Returns the next request to serve now, if the limit permits one.
    pub(super) fn next(&mut self, now: Duration) -> Option<(PeerId, InboundRequest)> {
        if !self.has_room(now) {
            return None;
        }
        let after = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.waiting.range((after, Bound::Unbounded)).next();
        let group = *next.or_else(|| self.waiting.first_key_value())?.0;
        let queue = self.waiting.get_mut(&group)?;
        let first = queue.pop_front();
        if queue.is_empty() {
            self.waiting.remove(&group);
        }
        self.last = Some(group);
        let Waiting { peer, inbound, .. } = first?;
        self.preparing = self.preparing.saturating_add(1);
        Some((peer, inbound))
    }

    /// Returns whether there are tokens for another response besides those in preparation.
    fn has_room(&self, now: Duration) -> bool {
        let Some(bucket) = &self.bucket else { return true };
        let each = SOFT_BLOCKS_BYTES as u64 / UNIT;
        let reserved = each.saturating_mul(self.preparing as u64);
        u64::from(bucket.available(now)) > reserved
    }

    /// Records the size of a response to a request that `next` returned.
    pub(super) fn prepared(&mut self, bytes: usize, now: Duration) {
        self.preparing = self.preparing.saturating_sub(1);
        if let Some(bucket) = &mut self.bucket {
            let units = (bytes as u64).div_ceil(UNIT);
            bucket.spend(u32::try_from(units).unwrap_or(u32::MAX), now);
        }
    }

    /// Removes and returns the requests that have waited too long.
    pub(super) fn expired(&mut self, now: Duration) -> Vec<(PeerId, InboundRequest)> {
        let mut expired = Vec::new();
        self.waiting.retain(|_, queue| {
            while queue.front().is_some_and(|it| now.saturating_sub(it.since) >= MAX_WAIT) {
                expired.extend(queue.pop_front().map(|it| (it.peer, it.inbound)));
            }
            !queue.is_empty()
        });
        expired
    }
}
