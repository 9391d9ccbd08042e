//! The rate limits of one peer: requests, announcements and gossiped addresses.

use super::policy::Policy;
use crate::engine::Now;
use crate::message::{Limits, Protocol, Request};
use crate::rate_limit::TokenBucket;
use crate::wire::Topic;
use std::time::Duration;

/// Bytes of blocks served to a peer per `SERVED_PERIOD`.
const SERVED_BYTES: u32 = 32 << 20;
/// The period of `SERVED_BYTES`.
const SERVED_PERIOD: Duration = Duration::from_secs(10);
/// The rate limit for addresses from one peer: a burst of 128, then one in ten seconds.
const ADDRESSES: TokenBucket = TokenBucket::new(128, Duration::from_secs(10));
/// The rate limit for announced transfers: 4,000 a second, more than an honest node announces and
/// blocks can carry.
const TRANSFERS: TokenBucket = TokenBucket::new(20_000, Duration::from_micros(250));
/// The rate limit for announced blocks: a burst of 10, then one a second.
const BLOCKS: TokenBucket = TokenBucket::new(10, Duration::from_secs(1));
/// The rate limit for announced blocks where they cost no work: 1,000 a second, more than a node
/// mines and stores.
const FREE_BLOCKS: TokenBucket = TokenBucket::new(10_000, Duration::from_millis(1));

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

#[derive(Debug)]
pub(super) struct PeerLimits {
    /// For each protocol the limit, and twice the limit.
    requests: [(TokenBucket, TokenBucket); Protocol::ALL.len()],
    served: TokenBucket,
    transfers: TokenBucket,
    blocks: TokenBucket,
    addresses: TokenBucket,
}

impl PeerLimits {
    pub(super) fn new(policy: &Policy) -> PeerLimits {
        let requests = Protocol::ALL.map(|protocol| {
            let Limits { requests, per, .. } = protocol.limits();
            let limit = TokenBucket::per_period(requests, per);
            (limit, TokenBucket::per_period(requests.saturating_mul(2), per))
        });
        PeerLimits {
            requests,
            served: TokenBucket::per_period(SERVED_BYTES, SERVED_PERIOD),
            transfers: TRANSFERS,
            blocks: if policy.relaxed { FREE_BLOCKS } else { BLOCKS },
            addresses: ADDRESSES,
        }
    }

    /// Counts a request. One for blocks counts once for each block.
    pub(super) fn allow_request(&mut self, request: &Request, now: Now) -> Allowance {
        let protocol = request.protocol();
        let cost = match request {
            Request::Blocks { hashes } => saturating_u32(hashes.len().max(1)),
            _ => 1,
        };
        let may_serve = protocol != Protocol::Blocks || self.served.available(now.elapsed) > 0;
        let (limit, abuse) = &mut self.requests[protocol as usize];
        if !abuse.try_acquire(cost, now.elapsed) {
            Allowance::Abuse
        } else if may_serve && limit.try_acquire(cost, now.elapsed) {
            Allowance::Allow
        } else {
            Allowance::Reject
        }
    }

    /// Counts bytes of blocks served.
    pub(super) fn record_served_bytes(&mut self, bytes: usize, now: Now) {
        self.served.spend(saturating_u32(bytes), now.elapsed);
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
}

fn saturating_u32(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
