//! Rate limits: requests, announcements and gossiped addresses. They belong to an address group, not
//! to a connection, so that reconnecting, even under another id, renews none.

use super::netgroup;
use super::policy::Policy;
use crate::engine::Now;
use crate::message::{Limits, Protocol, Request};
use crate::rate_limit::TokenBucket;
use crate::wire::Topic;
use libp2p::PeerId;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// Bytes of headers and blocks served to an address group per `SERVED_PERIOD`.
const SERVED_BYTES: u32 = 32 << 20;
/// The period of `SERVED_BYTES`.
const SERVED_PERIOD: Duration = Duration::from_secs(10);
/// The factor of the limit of handshakes for peers without limits by IP: their links may be cut and
/// healed at any rate, as on a local testnet.
const LOCAL_HANDSHAKES: u32 = 100;
/// The rate limit for addresses from one address group: a burst of 128, then one in ten seconds.
const ADDRESSES: TokenBucket = TokenBucket::new(128, Duration::from_secs(10));
/// The rate limit for announced transfers: 4,000 a second, more than an honest node announces and
/// blocks can carry.
const TRANSFERS: TokenBucket = TokenBucket::new(20_000, Duration::from_micros(250));
/// Blocks that may be announced at once.
const BLOCK_BURST: u32 = 64;
/// Blocks that may be announced per block spacing, and the least rate: one a second.
const BLOCKS_PER_SPACING: u32 = 10;
const MAX_BLOCK_INTERVAL: Duration = Duration::from_secs(1);
/// The rate limit for announced blocks where they cost no work: 1,000 a second, more than a node
/// mines and stores.
const FREE_BLOCKS: TokenBucket = TokenBucket::new(10_000, Duration::from_millis(1));
/// The maximum number of address groups with rate limits.
const MAX_GROUPS: usize = 4_096;

/// The owner of a share of a limited resource: an IPv4 address or an IPv6 /64; on networks and in
/// address ranges without limits by IP, where many nodes share an address, a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AddressGroup {
    /// A public IP address, or the first one of an IPv6 /64.
    Host(IpAddr),
    /// A peer without a public address.
    Peer(PeerId),
}

impl AddressGroup {
    pub(super) fn new(peer: &PeerId, ip: Option<IpAddr>, policy: &Policy) -> AddressGroup {
        match ip {
            Some(ip) if policy.limits(ip) => AddressGroup::Host(netgroup::host(ip)),
            _ => AddressGroup::Peer(*peer),
        }
    }
}

/// The result of a request's rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowance {
    /// Within the rate limit: serve the request.
    Allow,
    /// Above the rate limit: respond with `ResponseError::RateLimited`.
    Reject,
    /// Respond with `ResponseError::RateLimited` and report `Misbehavior::TooManyRequests`.
    Abuse,
}

/// The limits beyond which a connected peer misbehaves: twice those of each protocol. They are the
/// peer's own, since others may share its address.
#[derive(Debug)]
pub(super) struct PeerLimits {
    abuse: [TokenBucket; Protocol::ALL.len()],
}

impl PeerLimits {
    pub(super) fn new() -> PeerLimits {
        let twice = |protocol: Protocol| {
            let Limits { requests, per, .. } = protocol.limits();
            TokenBucket::per_period(requests.saturating_mul(2), per)
        };
        PeerLimits { abuse: Protocol::ALL.map(twice) }
    }

    /// Counts a request and returns whether it is no misbehavior.
    pub(super) fn tolerates_request(&mut self, request: &Request, now: Now) -> bool {
        self.abuse[request.protocol() as usize].try_acquire(1, now.elapsed)
    }
}

/// The limits of one address group.
#[derive(Debug)]
pub(super) struct GroupLimits {
    requests: [TokenBucket; Protocol::ALL.len()],
    /// `None` for peers on the local network.
    served: Option<TokenBucket>,
    transfers: TokenBucket,
    blocks: TokenBucket,
    addresses: TokenBucket,
}

impl GroupLimits {
    fn new(group: AddressGroup, policy: &Policy) -> GroupLimits {
        let is_limited = matches!(group, AddressGroup::Host(_));
        let requests = Protocol::ALL.map(|protocol| {
            let Limits { requests, per, .. } = protocol.limits();
            let is_free = protocol == Protocol::Hello && !is_limited;
            let factor = if is_free { LOCAL_HANDSHAKES } else { 1 };
            TokenBucket::per_period(requests.saturating_mul(factor), per)
        });
        let interval = (policy.spacing / BLOCKS_PER_SPACING).min(MAX_BLOCK_INTERVAL);
        let blocks = TokenBucket::new(BLOCK_BURST, interval.max(Duration::from_millis(1)));
        GroupLimits {
            requests,
            served: is_limited.then(|| TokenBucket::per_period(SERVED_BYTES, SERVED_PERIOD)),
            transfers: TRANSFERS,
            blocks: if policy.relaxed { FREE_BLOCKS } else { blocks },
            addresses: ADDRESSES,
        }
    }

    /// Counts a request and returns whether it is within the limits.
    pub(super) fn allow_request(&mut self, request: &Request, now: Now) -> bool {
        let protocol = request.protocol();
        let is_metered = matches!(protocol, Protocol::Headers | Protocol::Blocks);
        let has_bytes = self.served.is_none_or(|served| served.available(now.elapsed) > 0);
        (has_bytes || !is_metered) && self.requests[protocol as usize].try_acquire(1, now.elapsed)
    }

    /// Counts bytes of headers and blocks served.
    pub(super) fn record_served_bytes(&mut self, bytes: usize, now: Now) {
        if let Some(served) = &mut self.served {
            served.spend(u32::try_from(bytes).unwrap_or(u32::MAX), now.elapsed);
        }
    }

    /// Counts an announcement and returns whether it is within the limit.
    pub(super) fn allow_announcement(&mut self, topic: Topic, now: Now) -> bool {
        match topic {
            Topic::Blocks => self.blocks.try_acquire(1, now.elapsed),
            Topic::Transfers => self.transfers.try_acquire(1, now.elapsed),
        }
    }

    /// Counts a gossiped address and returns whether it is within the limit.
    pub(super) fn allow_address(&mut self, now: Now) -> bool {
        self.addresses.try_acquire(1, now.elapsed)
    }

    /// The time until all limits equal those of a new group.
    fn full_in(&self, now: Now) -> Duration {
        let GroupLimits { requests, served, transfers, blocks, addresses } = self;
        let others = [transfers, blocks, addresses].into_iter().chain(served);
        let all = requests.iter().chain(others).map(|bucket| bucket.full_in(now.elapsed));
        all.max().unwrap_or_default()
    }
}

/// The limits of all address groups, connected or not.
#[derive(Debug, Default)]
pub(super) struct RateLimits {
    groups: BTreeMap<AddressGroup, GroupLimits>,
}

impl RateLimits {
    /// The limits of a group. If there are too many groups, those that are closest to new limits are
    /// forgotten first.
    pub(super) fn of(
        &mut self,
        group: AddressGroup,
        policy: &Policy,
        now: Now,
    ) -> &mut GroupLimits {
        if self.groups.len() >= MAX_GROUPS && !self.groups.contains_key(&group) {
            let first = self.groups.iter().min_by_key(|(_, limits)| limits.full_in(now));
            if let Some(first) = first.map(|(group, _)| *group) {
                self.groups.remove(&first);
            }
        }
        self.groups.entry(group).or_insert_with(|| GroupLimits::new(group, policy))
    }

    /// Drops the limits that equal those of a new group.
    pub(super) fn prune(&mut self, now: Now) {
        self.groups.retain(|_, limits| !limits.full_in(now).is_zero());
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.groups.len()
    }
}
