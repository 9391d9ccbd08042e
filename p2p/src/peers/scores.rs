//! Misbehavior scores of peers: between −100 and 20, halved every ten minutes.

use crate::engine::{Misbehavior, Now};
use libp2p::PeerId;
use std::collections::BTreeMap;
use std::time::Duration;

/// The maximum score of a peer.
pub const BEST_SCORE: f64 = 20.0;
/// The minimum score of a peer.
pub const WORST_SCORE: f64 = -100.0;
/// The score at which a peer is disconnected, and denied for `COOL_DOWN`.
pub const DISCONNECT_SCORE: f64 = -20.0;
/// The score at which a peer is banned.
pub const BAN_SCORE: f64 = -60.0;
/// The time in which a score halves.
pub const HALF_LIFE: Duration = Duration::from_secs(10 * 60);
/// The time for which a peer that was disconnected for its score is neither dialed nor accepted.
pub const COOL_DOWN: Duration = Duration::from_secs(10 * 60);

/// The duration of the ban of a peer id for a score, in seconds.
pub const PEER_BAN: u64 = 24 * 3_600;
/// The duration of the ban of an IP address for a peer's score, in seconds: shorter than that of
/// the peer, since other nodes may share the address.
pub const IP_BAN: u64 = 3_600;

/// The maximum number of scores stored.
const MAX_SCORES: usize = 4_096;
/// Neighbours in each direction considered when a score is evicted.
const NEIGHBOURS: usize = 8;
/// The absolute score below which it is dropped when its peer disconnects.
const NEGLIGIBLE: f64 = 1.0;

/// The penalty for a score. Both require that the peer's connections be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Penalty {
    /// The peer is disconnected.
    Disconnect,
    /// The peer is disconnected and banned.
    Ban,
}

impl Misbehavior {
    /// Returns the points added to the score. −100 is reserved for messages that no working node
    /// sends.
    pub fn points(self) -> f64 {
        match self {
            Misbehavior::Delivered => 0.5,
            Misbehavior::BadHeader | Misbehavior::WrongBody | Misbehavior::Malformed => -100.0,
            Misbehavior::InvalidBlock | Misbehavior::WrongResponse => -50.0,
            Misbehavior::WrongNetwork => -20.0,
            Misbehavior::BadAnnouncement
            | Misbehavior::BadRequest
            | Misbehavior::UnreadResponse
            | Misbehavior::TooManyRequests => -10.0,
            Misbehavior::BrokenStream => -5.0,
            Misbehavior::Timeout => -2.0,
        }
    }

    /// Returns the reason to show for a disconnection or a ban.
    pub fn description(self) -> &'static str {
        match self {
            Misbehavior::Delivered => "delivered blocks",
            Misbehavior::BadHeader => "invalid header",
            Misbehavior::WrongBody => "block that is not the one of its header",
            Misbehavior::Malformed => "malformed message",
            Misbehavior::InvalidBlock => "invalid block",
            Misbehavior::WrongResponse => "response that does not fit its request",
            Misbehavior::WrongNetwork => "another network",
            Misbehavior::BadAnnouncement => "invalid announcement",
            Misbehavior::BadRequest => "request that violates the protocol",
            Misbehavior::UnreadResponse => "responses that it does not read",
            Misbehavior::TooManyRequests => "too many requests",
            Misbehavior::BrokenStream => "broken streams",
            Misbehavior::Timeout => "responses that time out",
        }
    }

    /// Returns whether this also happens to honest nodes, on a bad connection or after an upgrade.
    /// It can cost the connection but never, however often it happens, cause a ban.
    pub fn is_excusable(self) -> bool {
        matches!(
            self,
            Misbehavior::Delivered
                | Misbehavior::WrongNetwork
                | Misbehavior::BrokenStream
                | Misbehavior::Timeout
                | Misbehavior::UnreadResponse
        )
    }
}

/// The scores of connected and recently disconnected peers.
#[derive(Debug, Default)]
pub(super) struct Scores {
    records: BTreeMap<PeerId, Record>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Record {
    score: f64,
    at: Duration,
    cools_until: Duration,
}

impl Record {
    fn score(&self, now: Now) -> f64 {
        let age = now.elapsed.saturating_sub(self.at).as_secs_f64();
        self.score * 0.5_f64.powf(age / HALF_LIFE.as_secs_f64())
    }

    fn is_negligible(&self, now: Now) -> bool {
        self.score(now).abs() < NEGLIGIBLE && self.cools_until <= now.elapsed
    }
}

impl Scores {
    /// Adds the points for a peer's behavior and returns its score.
    pub(super) fn record(&mut self, peer: PeerId, misbehavior: Misbehavior, now: Now) -> f64 {
        if self.records.len() >= MAX_SCORES && !self.records.contains_key(&peer) {
            self.evict(&peer, now);
        }
        let record = self.records.entry(peer).or_default();
        let before = record.score(now);
        let mut after = before + misbehavior.points();
        if misbehavior.is_excusable() {
            // Excusable behavior does not lower a score below the one that disconnects.
            after = after.max(DISCONNECT_SCORE.min(before));
        }
        record.score = after.clamp(WORST_SCORE, BEST_SCORE);
        record.at = now.elapsed;
        record.score
    }

    pub(super) fn of(&self, peer: &PeerId, now: Now) -> f64 {
        self.records.get(peer).map_or(0.0, |record| record.score(now))
    }

    /// Denies connections with a peer for `COOL_DOWN`.
    pub(super) fn cool_down(&mut self, peer: PeerId, now: Now) {
        self.records.entry(peer).or_default().cools_until = now.elapsed.saturating_add(COOL_DOWN);
    }

    pub(super) fn is_cooling_down(&self, peer: &PeerId, now: Now) -> bool {
        self.records.get(peer).is_some_and(|record| now.elapsed < record.cools_until)
    }

    pub(super) fn remove(&mut self, peer: &PeerId) {
        self.records.remove(peer);
    }

    /// Drops the score of a disconnected peer if it is negligible.
    pub(super) fn peer_disconnected(&mut self, peer: &PeerId, now: Now) {
        if self.records.get(peer).is_some_and(|record| record.is_negligible(now)) {
            self.records.remove(peer);
        }
    }

    /// Drops the negligible scores.
    pub(super) fn prune(&mut self, now: Now) {
        self.records.retain(|_, record| !record.is_negligible(now));
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// Evicts the smallest of a few scores. Peer ids are hashes, so neighbours are a random sample.
    fn evict(&mut self, near: &PeerId, now: Now) {
        let after = self.records.range(near..).take(NEIGHBOURS);
        let before = self.records.range(..near).rev().take(NEIGHBOURS);
        let smallest = after
            .chain(before)
            .min_by(|(_, a), (_, b)| a.score(now).abs().total_cmp(&b.score(now).abs()))
            .map(|(peer, _)| *peer);
        if let Some(peer) = smallest {
            self.records.remove(&peer);
        }
    }
}
