//! The upload limit: the rate at which blocks are served to peers outside the local network. Requests
//! above it wait. Groups of addresses that leave responses unread come last, and the others in the
//! order of the bytes that they were served recently, the fewest first: those who request the most do
//! not slow down a peer that syncs.

use crate::message::SOFT_BLOCKS_BYTES;
use crate::peers::AddressGroup;
use crate::rate_limit::TokenBucket;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// The bytes of a token.
const UNIT: u64 = 1 << 10;
/// The maximum time for which a request waits. Its sender waits 30 seconds for the response.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// The time in which the bytes that a group was served count half.
const HALF_LIFE: Duration = Duration::from_secs(60);
/// The maximum number of address groups whose bytes are counted.
const MAX_GROUPS: usize = 4_096;
/// The unread bytes from which a group comes last: more than a peer that reads leaves.
const MAX_UNREAD: usize = 1 << 20;

/// A request that waits for its turn.
struct Waiting<R> {
    request: R,
    since: Duration,
}

/// The upload limit, and the requests that wait for it.
pub(super) struct Upload<R> {
    /// `None` without a limit.
    bucket: Option<TokenBucket>,
    /// The units that may be served in a second.
    capacity: u64,
    /// The responses that are being prepared, whose sizes are not known yet.
    preparing: usize,
    /// The requests of each address group that has any.
    waiting: BTreeMap<AddressGroup, VecDeque<Waiting<R>>>,
    /// The units that each group was served recently: half as many after every `HALF_LIFE`.
    served: BTreeMap<AddressGroup, u64>,
    halved_at: Duration,
}

impl<R> Upload<R> {
    /// Returns a limit of a number of bytes a second; 0 for none. A second's worth may be sent at once.
    pub(super) fn new(bytes_per_second: u64) -> Upload<R> {
        let units = u32::try_from(bytes_per_second.div_ceil(UNIT)).unwrap_or(u32::MAX);
        let bucket =
            (bytes_per_second > 0).then(|| TokenBucket::per_period(units, Duration::from_secs(1)));
        Upload {
            bucket,
            capacity: units.into(),
            preparing: 0,
            waiting: BTreeMap::new(),
            served: BTreeMap::new(),
            halved_at: Duration::ZERO,
        }
    }

    /// Adds a request for blocks of a peer outside the local network.
    pub(super) fn push(&mut self, group: AddressGroup, request: R, since: Duration) {
        self.waiting.entry(group).or_default().push_back(Waiting { request, since });
    }

    /// Returns the next request to serve now, if the limit permits one. `unread` are the bytes that a
    /// group has not read yet.
    ///
    /// A part of the limit is left to groups that come before, so that they need not wait until a
    /// large response to another one is paid for: half of a second's bytes by groups with unread
    /// bytes, and a quarter by those that were served more than half of the average.
    pub(super) fn next(
        &mut self,
        unread: impl Fn(&AddressGroup) -> usize,
        now: Duration,
    ) -> Option<R> {
        self.halve(now);
        let rank = |group: &AddressGroup| {
            (unread(group) >= MAX_UNREAD, self.served.get(group).copied().unwrap_or(0), *group)
        };
        let (is_unread, served, group) = self.waiting.keys().map(rank).min()?;
        let total: u64 = self.served.values().sum();
        let half_of_average = total / 2 / (self.served.len() as u64).max(1);
        let reserve = match is_unread {
            true => self.capacity / 2,
            false if served > half_of_average => self.capacity / 4,
            false => 0,
        };
        if !self.has_room(now, reserve) {
            return None;
        }
        let queue = self.waiting.get_mut(&group)?;
        let first = queue.pop_front();
        if queue.is_empty() {
            self.waiting.remove(&group);
        }
        self.preparing = self.preparing.saturating_add(1);
        first.map(|first| first.request)
    }

    /// Returns whether there are tokens for another response besides a reserve and those in
    /// preparation.
    fn has_room(&self, now: Duration, reserve: u64) -> bool {
        let Some(bucket) = &self.bucket else { return true };
        let each = SOFT_BLOCKS_BYTES as u64 / UNIT;
        let reserved = each.saturating_mul(self.preparing as u64).saturating_add(reserve);
        u64::from(bucket.available(now)) > reserved
    }

    /// Records the size of a response to a request of a group that `next` returned.
    pub(super) fn prepared(&mut self, group: AddressGroup, bytes: usize, now: Duration) {
        self.preparing = self.preparing.saturating_sub(1);
        let Some(bucket) = &mut self.bucket else { return };
        let units = (bytes as u64).div_ceil(UNIT);
        bucket.spend(u32::try_from(units).unwrap_or(u32::MAX), now);
        if self.served.len() >= MAX_GROUPS && !self.served.contains_key(&group) {
            // The one that was served the least is closest to one that is not counted.
            let least = self.served.iter().min_by_key(|(_, units)| **units);
            if let Some(least) = least.map(|(group, _)| *group) {
                self.served.remove(&least);
            }
        }
        let served = self.served.entry(group).or_default();
        *served = served.saturating_add(units);
    }

    /// Halves what was served for every `HALF_LIFE` since the last call.
    fn halve(&mut self, now: Duration) {
        while now.saturating_sub(self.halved_at) >= HALF_LIFE {
            self.halved_at = if self.served.is_empty() { now } else { self.halved_at + HALF_LIFE };
            self.served.values_mut().for_each(|units| *units /= 2);
            self.served.retain(|_, units| *units > 0);
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

    /// The unread bytes of groups that read.
    fn read_at_once(_: &AddressGroup) -> usize {
        0
    }

    /// Serves the requests, each by its group and of 1 MiB, that the limit permits within a number of
    /// seconds.
    fn serve(upload: &mut Upload<AddressGroup>, seconds: u64) -> Vec<AddressGroup> {
        let mut served = Vec::new();
        for tick in 0..seconds * 4 {
            let now = Duration::from_millis(tick * 250);
            while let Some(group) = upload.next(read_at_once, now) {
                upload.prepared(group, MIB, now);
                served.push(group);
            }
        }
        served
    }

    #[test]
    fn limits_bytes_per_second() {
        let mut upload = Upload::new(8 * MIB as u64);
        let only = group();
        (0..1_000).for_each(|_| upload.push(only, only, Duration::ZERO));
        // A second's worth at once, and ten seconds' worth afterwards.
        let served = serve(&mut upload, 10).len();
        assert!((84..=90).contains(&served), "{served}");
    }

    #[test]
    fn groups_take_turns() {
        let mut upload = Upload::new(MIB as u64);
        let (greedy, modest) = (group(), group());
        (0..1_000).for_each(|_| upload.push(greedy, greedy, Duration::ZERO));
        (0..4).for_each(|_| upload.push(modest, modest, Duration::ZERO));
        let served = serve(&mut upload, 10);
        assert_eq!(served.iter().filter(|group| **group == modest).count(), 4, "{served:?}");
    }

    #[test]
    fn many_groups_that_request_large_blocks_do_not_slow_down_one_that_syncs() {
        let mut upload = Upload::new(8 * MIB as u64);
        let greedy: Vec<_> = (0..32).map(|_| group()).collect();
        let syncing = group();
        for is_read in [true, false] {
            let unread = |group: &AddressGroup| if *group == syncing || is_read { 0 } else { MIB };
            // Each of the others was served once, in eight seconds. From the tenth on there is a request
            // of 16 KiB each 4 ms: half of the limit.
            let (mut requests, mut served) = (0, 0);
            for tick in 0..11_000_u64 {
                let now = Duration::from_millis(tick);
                greedy.iter().for_each(|group| upload.push(*group, *group, now));
                if tick >= 10_000 && tick % 4 == 0 && requests < 40 {
                    requests += 1;
                    upload.push(syncing, syncing, now);
                }
                while let Some(group) = upload.next(unread, now) {
                    let bytes = if group == syncing { MIB / 64 } else { 2 * MIB };
                    upload.prepared(group, bytes, now);
                    served += u64::from(group == syncing);
                }
                assert!(served + 1 >= requests, "{served} of {requests} after {tick} ms");
            }
            upload = Upload::new(8 * MIB as u64);
        }
    }

    #[test]
    fn what_was_served_is_forgotten() {
        let mut upload = Upload::<AddressGroup>::new(MIB as u64);
        for number in 0..MAX_GROUPS + 10 {
            upload.prepared(group(), MIB, Duration::from_secs(number as u64 / 100));
        }
        assert_eq!(upload.served.len(), MAX_GROUPS);
        upload.next(read_at_once, Duration::from_secs(2_000));
        assert!(upload.served.is_empty());
    }

    #[test]
    fn responses_in_preparation_count() {
        let mut upload = Upload::new(2 * MIB as u64);
        let only = group();
        (0..10).for_each(|request| upload.push(only, request, Duration::ZERO));
        let next = || upload.next(read_at_once, Duration::ZERO);
        assert_eq!(std::iter::from_fn(next).count(), 2);
    }

    #[test]
    fn no_limit_delays_nothing() {
        let mut upload = Upload::new(0);
        (0..100).for_each(|request| upload.push(group(), request, Duration::ZERO));
        let next = || upload.next(read_at_once, Duration::ZERO);
        assert_eq!(std::iter::from_fn(next).count(), 100);
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
