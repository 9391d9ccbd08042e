//! What is known of a peer as a source of headers and bodies.

use super::session::Session;
use crate::message::{Limits, Protocol, Status};
use crate::rate_limit::TokenBucket;
use crate::view::Tip;
use chain::block::{self, Height};
use chain::pow::Work;
use std::time::Duration;

/// Most requests for bodies that a fast peer has at a time.
const MAX_WIDTH: u32 = 8;
/// What a new peer begins with.
const FIRST_WIDTH: u32 = 2;
/// An answer within this time lets the peer have one request more at a time.
const FAST: Duration = Duration::from_secs(2);
/// How long a peer is not asked for blocks it said it lacks.
const LACK: Duration = Duration::from_secs(30);
/// Bytes a second that a peer is thought to send before it has sent any.
const FIRST_SPEED: u64 = 1 << 20;
/// What `success` is a part of.
const ALWAYS: u64 = 1_000;

/// Returns a limit for our requests at nine tenths of what a protocol permits, because clocks and
/// connections are not exact.
fn request_limit(protocol: Protocol) -> TokenBucket {
    let Limits { requests, per, .. } = protocol.limits();
    let interval = per.saturating_mul(10) / requests.max(1) / 9;
    TokenBucket::new(requests.saturating_mul(81) / 100, interval)
}

/// An outbound peer that has less work than we, and since when.
#[derive(Clone, Copy, Debug)]
pub(super) struct BehindSince {
    pub(super) since: Duration,
    /// What we had then: a peer that gets that far is not behind for good.
    pub(super) work: Work,
    pub(super) is_challenged: bool,
}

/// A peer.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) outbound: bool,
    /// The tip it says it has.
    pub(super) claim: Tip,
    /// When it said so.
    pub(super) claimed_at: Duration,
    /// The claimed tip that its headers did not lead to.
    pub(super) refuted: Option<block::Hash>,
    /// How often that happened since it last told the truth.
    pub(super) refutals: u32,
    /// How often its headers did not go on where they were.
    pub(super) losses: u32,
    /// The best header it showed.
    pub(super) shown: Option<Tip>,
    /// It announced a header that is to be explained by headers before it.
    pub(super) announced: Option<block::Hash>,
    /// It is to be asked for headers whatever it claims.
    pub(super) is_due: bool,
    /// It was asked for headers.
    pub(super) was_asked: bool,
    /// Its headers are so far ahead that their bodies have to come first.
    pub(super) is_ahead: bool,
    pub(super) session: Option<Session>,
    /// It is not asked for headers before.
    pub(super) headers_from: Duration,
    /// It is not asked for bodies before.
    pub(super) bodies_from: Duration,
    /// It is not asked for blocks from a height on until a time.
    lacks: Option<(Height, Duration)>,
    pub(super) header_limit: TokenBucket,
    pub(super) body_limit: TokenBucket,
    /// Requests for bodies it may have at a time.
    width: u32,
    /// Requests for bodies it has.
    pub(super) in_flight: u32,
    /// Bytes a second, and answers in `ALWAYS` requests: both decaying averages.
    speed: u64,
    success: u64,
    /// Bytes of good blocks that are not yet counted as whole MiB.
    pub(super) delivered: usize,
    /// Whether it sent a block since it was last found to withhold some.
    pub(super) delivers: bool,
    /// How often a branch was given up that it showed and sent nothing of.
    pub(super) withheld: u32,
    pub(super) lag: Option<BehindSince>,
    /// It once showed a chain as good as ours, so it stays for being outbound.
    pub(super) is_protected: bool,
}

impl Peer {
    /// One that has just said hello.
    pub(super) fn new(outbound: bool, status: &Status, now: Duration) -> Peer {
        Peer {
            outbound,
            claim: claim(status),
            claimed_at: Duration::ZERO,
            refuted: None,
            refutals: 0,
            losses: 0,
            shown: None,
            announced: None,
            is_due: false,
            was_asked: false,
            is_ahead: false,
            session: None,
            headers_from: now,
            bodies_from: now,
            lacks: None,
            header_limit: request_limit(Protocol::Headers),
            body_limit: request_limit(Protocol::Blocks),
            width: FIRST_WIDTH,
            in_flight: 0,
            speed: FIRST_SPEED,
            success: ALWAYS,
            delivered: 0,
            delivers: false,
            withheld: 0,
            lag: None,
            is_protected: false,
        }
    }

    /// Takes over what it says of itself now.
    pub(super) fn tell(&mut self, status: &Status, now: Duration) {
        if self.claim != claim(status) {
            self.claim = claim(status);
            self.claimed_at = now;
        }
    }

    /// It has a header.
    pub(super) fn show(&mut self, tip: Tip) {
        if self.shown.is_none_or(|shown| shown.chain_work < tip.chain_work) {
            self.shown = Some(tip);
        }
    }

    /// Its headers ended without its claim.
    pub(super) fn refute(&mut self, now: Duration) {
        self.refuted = Some(self.claim.hash);
        self.headers_from = now.saturating_add(backoff(self.refutals));
        self.refutals = self.refutals.saturating_add(1);
    }

    /// Its headers did not go on where they were: it has reorganised, or wants to keep us busy.
    pub(super) fn lose(&mut self, now: Duration) {
        self.losses = self.losses.saturating_add(1);
        self.headers_from = now.saturating_add(backoff(self.losses));
    }

    /// How many blocks from a height on may be asked of it now.
    pub(super) fn room(&self, height: Height, now: Duration) -> u32 {
        let is_busy = self.in_flight >= self.width || now < self.bodies_from;
        if is_busy || self.lacks(height, now) { 0 } else { self.body_limit.available(now) }
    }

    /// Whether it said that it lacks the block at a height, or did not send it.
    pub(super) fn lacks(&self, height: Height, now: Duration) -> bool {
        self.lacks.is_some_and(|(from, until)| height >= from && now < until)
    }

    /// It said that it lacks the block at a height, or did not send it.
    pub(super) fn note_lack(&mut self, height: Height, now: Duration) {
        let from = match self.lacks {
            Some((from, until)) if now < until => from.min(height),
            _ => height,
        };
        self.lacks = Some((from, now.saturating_add(LACK)));
    }

    /// Blocks of another branch are asked for from now on.
    pub(super) fn forget_lack(&mut self) {
        self.lacks = None;
    }

    /// It answered a request for bodies with so many bytes.
    pub(super) fn note_answer(&mut self, bytes: usize, took: Duration) {
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let speed = bytes.saturating_mul(1_000) / millis;
        self.speed = mean(self.speed, speed);
        self.success = mean(self.success, ALWAYS);
        if took <= FAST {
            self.width = self.width.saturating_add(1).min(MAX_WIDTH);
        }
    }

    /// It did not answer a request for bodies, or not with bodies.
    pub(super) fn note_failure(&mut self) {
        self.success = mean(self.success, 0);
        self.width = (self.width / 2).max(1);
    }

    /// It keeps all others waiting.
    pub(super) fn note_stall(&mut self) {
        self.success = mean(self.success, 0);
        self.width = 1;
    }

    /// The more, the better it is to ask it next.
    pub(super) fn promise(&self) -> u64 {
        let shared = u64::from(self.in_flight).saturating_add(1);
        self.speed.saturating_mul(self.success.saturating_add(1)) / shared
    }
}

/// What a status says of a chain.
fn claim(status: &Status) -> Tip {
    Tip { hash: status.tip, height: status.height, chain_work: status.chain_work }
}

/// One second, twice as long each time, about a minute at most.
fn backoff(times: u32) -> Duration {
    Duration::from_secs(1 << times.min(6))
}

/// A quarter of what is new.
fn mean(old: u64, new: u64) -> u64 {
    (old.saturating_mul(3).saturating_add(new)) / 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_stay_below_the_limit_of_a_protocol() {
        let Limits { requests, per, .. } = Protocol::Headers.limits();
        let mut limit = request_limit(Protocol::Headers);
        let (mut sent, mut now) = (0, Duration::ZERO);
        let end = per * 10;
        while now < end {
            while limit.try_acquire(1, now) {
                sent += 1;
            }
            now += Duration::from_millis(50);
        }
        assert!(sent <= requests * 11, "{sent} of {requests} in ten periods and a burst");
        assert!(sent >= requests * 9, "{sent}");
    }
}
