//! How much a peer may ask and tell: token buckets, which let a burst through and then a rate.

use super::{Peers, Policy};
use crate::engine::Now;
use crate::message::{Protocol, Request};
use libp2p::PeerId;
use std::time::Duration;

/// Blocks served to a peer, in bytes, over `SERVED_PER`.
const SERVED_BYTES: f64 = 32.0 * 1024.0 * 1024.0;
/// What `SERVED_BYTES` counts over.
const SERVED_PER: Duration = Duration::from_secs(10);
/// Addresses that a peer may tell at once, and a second.
const ADDRESSES: (f64, f64) = (128.0, 0.1);
/// Transfers that a peer may announce at once, and a second: more than an honest node announces, and
/// more than blocks can carry for long.
const TRANSFERS: (f64, f64) = (20_000.0, 4_000.0);
/// Blocks that a peer may announce at once, and a second.
const BLOCKS: (f64, f64) = (10.0, 1.0);
/// The same where blocks cost nothing: more than a node mines and writes to its disk.
const FREE_BLOCKS: (f64, f64) = (10_000.0, 1_000.0);

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

/// Fills at a rate up to its size, and is emptied by what it counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    level: f64,
    at: Duration,
    size: f64,
    per_second: f64,
}

impl Bucket {
    /// A full one.
    pub(super) fn new((size, per_second): (f64, f64), now: Now) -> Bucket {
        Bucket { level: size, at: now.elapsed, size, per_second }
    }

    /// Takes out so much if it is there.
    pub(super) fn take(&mut self, amount: f64, now: Now) -> bool {
        self.fill(now);
        let enough = self.level >= amount;
        if enough {
            self.level -= amount;
        }
        enough
    }

    /// Takes out so much whether or not it is there.
    pub(super) fn drain(&mut self, amount: f64, now: Now) {
        self.fill(now);
        self.level -= amount;
    }

    /// Whether something is there.
    pub(super) fn is_open(&mut self, now: Now) -> bool {
        self.fill(now);
        self.level > 0.0
    }

    /// Whether it is as if new.
    pub(super) fn is_full(&mut self, now: Now) -> bool {
        self.fill(now);
        self.level >= self.size
    }

    fn fill(&mut self, now: Now) {
        let passed = now.elapsed.saturating_sub(self.at).as_secs_f64();
        self.at = self.at.max(now.elapsed);
        self.level = (self.level + passed * self.per_second).min(self.size);
    }
}

/// The buckets of one peer.
#[derive(Debug)]
pub(super) struct Rates {
    requests: [(Bucket, Bucket); Protocol::ALL.len()],
    served: Bucket,
    transfers: Bucket,
    blocks: Bucket,
    addresses: Bucket,
}

impl Rates {
    /// Full ones.
    pub(super) fn new(policy: &Policy, now: Now) -> Rates {
        let requests = Protocol::ALL.map(|protocol| {
            let limits = protocol.limits();
            let size = f64::from(limits.requests);
            let rate = size / limits.per.as_secs_f64();
            (Bucket::new((size, rate), now), Bucket::new((2.0 * size, 2.0 * rate), now))
        });
        let served = (SERVED_BYTES, SERVED_BYTES / SERVED_PER.as_secs_f64());
        Rates {
            requests,
            served: Bucket::new(served, now),
            transfers: Bucket::new(TRANSFERS, now),
            blocks: Bucket::new(if policy.relaxed { FREE_BLOCKS } else { BLOCKS }, now),
            addresses: Bucket::new(ADDRESSES, now),
        }
    }

    /// Counts a request; one for blocks counts as many as it names.
    pub(super) fn request(&mut self, request: &Request, now: Now) -> Allowance {
        let protocol = request.protocol();
        let amount = match request {
            Request::Blocks { hashes } => amount(hashes.len().max(1)),
            _ => 1.0,
        };
        let served = protocol != Protocol::Blocks || self.served.is_open(now);
        let (limit, abuse) = &mut self.requests[protocol as usize];
        let tolerable = abuse.take(amount, now);
        if !tolerable {
            Allowance::Abuse
        } else if served && limit.take(amount, now) {
            Allowance::Yes
        } else {
            Allowance::Refuse
        }
    }

    /// Counts bytes of blocks that were served.
    pub(super) fn served(&mut self, bytes: usize, now: Now) {
        self.served.drain(amount(bytes), now);
    }

    /// Counts an announcement; whether it is within the limit.
    pub(super) fn announcement(&mut self, topic: Topic, now: Now) -> bool {
        match topic {
            Topic::Block => self.blocks.take(1.0, now),
            Topic::Transfer => self.transfers.take(1.0, now),
        }
    }

    /// Counts an address; whether it is within the limit.
    pub(super) fn address(&mut self, now: Now) -> bool {
        self.addresses.take(1.0, now)
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

fn amount(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
