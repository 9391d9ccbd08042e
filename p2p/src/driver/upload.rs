//! The upload limit: the rate at which blocks are served to peers outside the local network. Requests
//! above it wait, and each address group has its turn.

use crate::message::SOFT_BLOCKS_BYTES;
use crate::peers::AddressGroup;
use crate::rate_limit::TokenBucket;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::time::Duration;

/// The bytes of a token.
const UNIT: u64 = 1 << 10;
/// The maximum time for which a request waits. Its sender waits 30 seconds for the response.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// A request that waits for its turn.
struct Waiting<R> {
    request: R,
    since: Duration,
}

/// The upload limit, and the requests that wait for it.
pub(super) struct Upload<R> {
    /// `None` without a limit.
    bucket: Option<TokenBucket>,
    /// The responses that are being prepared, whose sizes are not known yet.
    preparing: usize,
    /// The requests of each address group that has any.
    waiting: BTreeMap<AddressGroup, VecDeque<Waiting<R>>>,
    /// The group that had its turn last.
    last: Option<AddressGroup>,
}

impl<R> Upload<R> {
    /// Returns a limit of a number of bytes a second; 0 for none. A second's worth may be sent at once.
    pub(super) fn new(bytes_per_second: u64) -> Upload<R> {
        let units = u32::try_from(bytes_per_second.div_ceil(UNIT)).unwrap_or(u32::MAX);
        let bucket =
            (bytes_per_second > 0).then(|| TokenBucket::per_period(units, Duration::from_secs(1)));
        Upload { bucket, preparing: 0, waiting: BTreeMap::new(), last: None }
    }

    /// Adds a request for blocks of a peer outside the local network.
    pub(super) fn push(&mut self, group: AddressGroup, request: R, since: Duration) {
        self.waiting.entry(group).or_default().push_back(Waiting { request, since });
    }

    /// Returns the next request to serve now, if the limit permits one.
    pub(super) fn next(&mut self, now: Duration) -> Option<R> {
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
        self.preparing = self.preparing.saturating_add(1);
        first.map(|first| first.request)
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
    pub(super) fn expired(&mut self, now: Duration) -> Vec<R> {
        let mut expired = Vec::new();
        self.waiting.retain(|_, queue| {
            while queue.front().is_some_and(|it| now.saturating_sub(it.since) >= MAX_WAIT) {
                expired.extend(queue.pop_front().map(|it| it.request));
            }
            !queue.is_empty()
        });
        expired
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use libp2p::PeerId;

    const MIB: usize = 1 << 20;

    fn group() -> AddressGroup {
        AddressGroup::Peer(PeerId::random())
    }

    /// Serves the requests, of 1 MiB each, that the limit permits within a number of seconds.
    fn serve(upload: &mut Upload<u32>, seconds: u64) -> Vec<u32> {
        let mut served = Vec::new();
        for tick in 0..seconds * 4 {
            let now = Duration::from_millis(tick * 250);
            while let Some(request) = upload.next(now) {
                upload.prepared(MIB, now);
                served.push(request);
            }
        }
        served
    }

    #[test]
    fn limits_bytes_per_second() {
        let mut upload = Upload::new(8 * MIB as u64);
        let only = group();
        (0..1_000).for_each(|request| upload.push(only, request, Duration::ZERO));
        // A second's worth at once, and ten seconds' worth afterwards.
        let served = serve(&mut upload, 10).len();
        assert!((84..=90).contains(&served), "{served}");
    }

    #[test]
    fn groups_take_turns() {
        let mut upload = Upload::new(MIB as u64);
        let (greedy, modest) = (group(), group());
        (0..1_000).for_each(|request| upload.push(greedy, request, Duration::ZERO));
        (1_000..1_004).for_each(|request| upload.push(modest, request, Duration::ZERO));
        let served = serve(&mut upload, 10);
        let of_modest = served.iter().filter(|request| **request >= 1_000).count();
        assert_eq!(of_modest, 4, "{served:?}");
    }

    #[test]
    fn responses_in_preparation_count() {
        let mut upload = Upload::new(2 * MIB as u64);
        let only = group();
        (0..10).for_each(|request| upload.push(only, request, Duration::ZERO));
        assert_eq!(std::iter::from_fn(|| upload.next(Duration::ZERO)).count(), 2);
    }

    #[test]
    fn no_limit_delays_nothing() {
        let mut upload = Upload::new(0);
        (0..100).for_each(|request| upload.push(group(), request, Duration::ZERO));
        assert_eq!(std::iter::from_fn(|| upload.next(Duration::ZERO)).count(), 100);
    }

    #[test]
    fn request_expires_after_ten_seconds() {
        let mut upload = Upload::<u32>::new(1);
        let only = group();
        (0..3).for_each(|request| {
            upload.push(only, request, Duration::from_secs(u64::from(request)));
        });
        assert_eq!(upload.expired(Duration::from_secs(9)), [0; 0]);
        assert_eq!(upload.expired(Duration::from_secs(11)), [0, 1]);
        assert_eq!(upload.expired(Duration::from_secs(12)), [2]);
    }
}
