//! How much a peer may ask and tell: token buckets, which let a burst through and then a rate.

use super::{Peers, Policy};
use crate::engine::Now;
use crate::message::{Limits, Protocol, Request};
use crate::rate_limit::TokenBucket;
use libp2p::PeerId;
use std::time::Duration;

/// Bytes of blocks that a peer is served per `SERVED_PERIOD`.
const SERVED_BYTES: u32 = 32 << 20;
/// The period of `SERVED_BYTES`.
const SERVED_PERIOD: Duration = Duration::from_secs(10);
/// Addresses from one peer: a burst of 128, then one in ten seconds.
const ADDRESSES: TokenBucket = TokenBucket::new(128, Duration::from_secs(10));
/// Announced transfers: 4,000 a second, more than an honest node announces and blocks can carry.
const TRANSFERS: TokenBucket = TokenBucket::new(20_000, Duration::from_micros(250));
/// Announced blocks: one a second.
const BLOCKS: TokenBucket = TokenBucket::new(10, Duration::from_secs(1));
/// Announced blocks where they cost no work: 1,000 a second, more than a node mines and stores.
const FREE_BLOCKS: TokenBucket = TokenBucket::new(10_000, Duration::from_millis(1));

/// What to do with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowance {
    /// Answer it.
    Yes,
    /// Answer with `ResponseError::RateLimited`.
    Refuse,
    /// Refuse it, and report `Misbehavior::TooManyRequests`.
    Abuse,
}

/// What an announcement is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// A block.
    Block,
    /// A transfer.
    Transfer,
}

/// The buckets of one peer.
#[derive(Debug)]
pub(super) struct Rates {
    requests: [(TokenBucket, TokenBucket); Protocol::ALL.len()],
    served: TokenBucket,
    transfers: TokenBucket,
    blocks: TokenBucket,
    addresses: TokenBucket,
}

impl Rates {
    /// Returns full buckets.
    pub(super) fn new(policy: &Policy) -> Rates {
        let requests = Protocol::ALL.map(|protocol| {
            let Limits { requests, per, .. } = protocol.limits();
            let limit = TokenBucket::per_period(requests, per);
            (limit, TokenBucket::per_period(requests.saturating_mul(2), per))
        });
        Rates {
            requests,
            served: TokenBucket::per_period(SERVED_BYTES, SERVED_PERIOD),
            transfers: TRANSFERS,
            blocks: if policy.relaxed { FREE_BLOCKS } else { BLOCKS },
            addresses: ADDRESSES,
        }
    }

    /// Counts a request; one for blocks counts as many as it names.
    pub(super) fn request(&mut self, request: &Request, now: Now) -> Allowance {
        let protocol = request.protocol();
        let amount = match request {
            Request::Blocks { hashes } => amount(hashes.len().max(1)),
            _ => 1,
        };
        let served = protocol != Protocol::Blocks || self.served.available(now.elapsed) > 0;
        let (limit, abuse) = &mut self.requests[protocol as usize];
        let tolerable = abuse.try_acquire(amount, now.elapsed);
        if !tolerable {
            Allowance::Abuse
        } else if served && limit.try_acquire(amount, now.elapsed) {
            Allowance::Yes
        } else {
            Allowance::Refuse
        }
    }

    /// Counts bytes of blocks that were served.
    pub(super) fn served(&mut self, bytes: usize, now: Now) {
        self.served.spend(amount(bytes), now.elapsed);
    }

    /// Counts an announcement; whether it is within the limit.
    pub(super) fn announcement(&mut self, topic: Topic, now: Now) -> bool {
        match topic {
            Topic::Block => self.blocks.try_acquire(1, now.elapsed),
            Topic::Transfer => self.transfers.try_acquire(1, now.elapsed),
        }
    }

    /// Counts an address; whether it is within the limit.
    pub(super) fn address(&mut self, now: Now) -> bool {
        self.addresses.try_acquire(1, now.elapsed)
    }
}

impl Peers {
    /// Counts a request of a peer.
    pub fn allow(&mut self, peer: &PeerId, request: &Request, now: Now) -> Allowance {
        self.slots
            .standing(peer)
            .map_or(Allowance::Refuse, |standing| standing.rates.request(request, now))
    }

    /// Counts bytes of blocks that were sent to a peer in a reply.
    pub fn served(&mut self, peer: &PeerId, bytes: usize, now: Now) {
        if let Some(standing) = self.slots.standing(peer) {
            standing.rates.served(bytes, now);
        }
    }

    /// Counts an announcement of a peer; false if it is to be ignored unread.
    pub fn allow_announcement(&mut self, peer: &PeerId, topic: Topic, now: Now) -> bool {
        self.slots.standing(peer).is_some_and(|standing| standing.rates.announcement(topic, now))
    }
}

fn amount(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
