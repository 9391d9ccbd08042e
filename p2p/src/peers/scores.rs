//! How peers behaved. A score is between −100 and 20 and halves every ten minutes, so that what is
//! long ago does not count.

use super::{Peers, Purpose};
use crate::Subject;
use crate::engine::{Misbehavior, Now};
use libp2p::PeerId;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// The best score there is.
pub const BEST_SCORE: f64 = 20.0;
/// The worst score there is.
pub const WORST_SCORE: f64 = -100.0;
/// At this score a peer is disconnected, and left alone for `REST`.
pub const DISCONNECT_SCORE: f64 = -20.0;
/// At this score a peer is banned.
pub const BAN_SCORE: f64 = -60.0;
/// In this time a score halves.
pub const HALF_LIFE: Duration = Duration::from_secs(10 * 60);
/// How long a peer that was disconnected for its score is left alone.
pub const REST: Duration = Duration::from_secs(10 * 60);

/// How long a peer is banned for its score, in seconds.
pub const PEER_BAN: u64 = 24 * 3_600;
/// How long its IP is banned with it, in seconds. Others may come from there too.
pub const IP_BAN: u64 = 3_600;

/// Most peers whose score is remembered.
const MAX_SCORES: usize = 4_096;
/// How many before and after are looked at when one has to be forgotten.
const LOOKED_AT: usize = 8;
/// A score this near to zero is forgotten when its peer is gone.
const FORGOTTEN: f64 = 1.0;

/// What a peer's misbehavior has earned. The peer's connections are to be closed in both cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Penalty {
    /// To be disconnected.
    Disconnect,
    /// To be kept out from now on.
    Ban,
}

impl Misbehavior {
    /// What it counts. −100 is only for what no working node of this network sends.
    pub fn points(self) -> f64 {
        match self {
            Misbehavior::Delivered => 0.5,
            Misbehavior::BadHeader | Misbehavior::WrongBody | Misbehavior::Malformed => -100.0,
            Misbehavior::InvalidBlock | Misbehavior::WrongResponse => -50.0,
            Misbehavior::WrongNetwork => -20.0,
            Misbehavior::BadAnnouncement
            | Misbehavior::BadRequest
            | Misbehavior::TooManyRequests => -10.0,
            Misbehavior::BrokenStream => -5.0,
            Misbehavior::Timeout => -2.0,
        }
    }

    /// Whether it also happens to nodes that do nothing wrong, behind a bad line or after an
    /// upgrade. It may cost the connection, but however often it happens it never makes a ban.
    pub fn is_excusable(self) -> bool {
        matches!(
            self,
            Misbehavior::Delivered
                | Misbehavior::WrongNetwork
                | Misbehavior::BrokenStream
                | Misbehavior::Timeout
        )
    }
}

/// The scores of peers, connected or not.
#[derive(Debug, Default)]
pub(super) struct Scores {
    records: BTreeMap<PeerId, Record>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Record {
    score: f64,
    at: Duration,
    rests_until: Duration,
}

impl Record {
    fn score(&self, now: Now) -> f64 {
        let age = now.elapsed.saturating_sub(self.at).as_secs_f64();
        self.score * 0.5_f64.powf(age / HALF_LIFE.as_secs_f64())
    }

    fn is_forgotten(&self, now: Now) -> bool {
        self.score(now).abs() < FORGOTTEN && self.rests_until <= now.elapsed
    }
}

impl Scores {
    /// Counts what a peer did and returns its score.
    pub(super) fn count(&mut self, peer: PeerId, misbehavior: Misbehavior, now: Now) -> f64 {
        if self.records.len() >= MAX_SCORES && !self.records.contains_key(&peer) {
            self.forget_one(&peer, now);
        }
        let record = self.records.entry(peer).or_default();
        let before = record.score(now);
        let mut after = before + misbehavior.points();
        if misbehavior.is_excusable() {
            // What may happen to anybody brings nobody below the score that disconnects.
            after = after.max(DISCONNECT_SCORE.min(before));
        }
        record.score = after.clamp(WORST_SCORE, BEST_SCORE);
        record.at = now.elapsed;
        record.score
    }

    /// A peer's score.
    pub(super) fn of(&self, peer: &PeerId, now: Now) -> f64 {
        self.records.get(peer).map_or(0.0, |record| record.score(now))
    }

    /// Leaves a peer alone from now on, for `REST`.
    pub(super) fn rest(&mut self, peer: PeerId, now: Now) {
        self.records.entry(peer).or_default().rests_until = now.elapsed.saturating_add(REST);
    }

    /// Whether a peer is to be left alone.
    pub(super) fn is_resting(&self, peer: &PeerId, now: Now) -> bool {
        self.records.get(peer).is_some_and(|record| now.elapsed < record.rests_until)
    }

    /// Starts afresh with a peer.
    pub(super) fn clear(&mut self, peer: &PeerId) {
        self.records.remove(peer);
    }

    /// Drops a peer's score if it no longer says anything.
    pub(super) fn settle(&mut self, peer: &PeerId, now: Now) {
        if self.records.get(peer).is_some_and(|record| record.is_forgotten(now)) {
            self.records.remove(peer);
        }
    }

    /// Drops the scores that no longer say anything.
    pub(super) fn prune(&mut self, now: Now) {
        self.records.retain(|_, record| !record.is_forgotten(now));
    }

    /// How many are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// Makes room by forgetting the mildest of a few scores; ids being hashes, any few will do.
    fn forget_one(&mut self, near: &PeerId, now: Now) {
        let after = self.records.range(near..).take(LOOKED_AT);
        let before = self.records.range(..near).rev().take(LOOKED_AT);
        let mildest = after
            .chain(before)
            .min_by(|(_, a), (_, b)| a.score(now).abs().total_cmp(&b.score(now).abs()))
            .map(|(peer, _)| *peer);
        if let Some(peer) = mildest {
            self.records.remove(&peer);
        }
    }
}

impl Peers {
    /// Counts what a peer did. A peer to keep is disconnected at the most.
    pub fn report(&mut self, peer: PeerId, misbehavior: Misbehavior, now: Now) -> Option<Penalty> {
        let score = self.scores.count(peer, misbehavior, now);
        if misbehavior.points() > 0.0 || score > DISCONNECT_SCORE {
            return None;
        }
        if self.dials.is_kept(&peer) {
            self.dials.postpone(&peer, now);
            Some(Penalty::Disconnect)
        } else if score <= BAN_SCORE {
            self.ban_for(peer, misbehavior, now);
            Some(Penalty::Ban)
        } else {
            self.scores.rest(peer, now);
            Some(Penalty::Disconnect)
        }
    }

    fn ban_for(&mut self, peer: PeerId, misbehavior: Misbehavior, now: Now) {
        let reason = format!("{misbehavior:?}");
        let ips: Vec<IpAddr> = self
            .slots
            .with(&peer)
            .filter(|(_, one)| one.purpose != Some(Purpose::Anchor))
            .filter_map(|(_, one)| one.ip())
            .filter(|ip| self.policy.counts(*ip) && !self.dials.names(*ip))
            .collect();
        self.ban(Subject::Peer(peer), PEER_BAN, reason.clone(), now);
        for ip in ips {
            self.ban(Subject::Ip(ip), IP_BAN, reason.clone(), now);
        }
    }

    /// How a peer behaved: −100 to 20.
    pub fn score(&self, peer: &PeerId, now: Now) -> f64 {
        self.scores.of(peer, now)
    }
}
