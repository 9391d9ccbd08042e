//! A peer as a source of headers and blocks.

use super::header_tree::HeaderTree;
use super::session::Session;
use crate::message::{Limits, Protocol, Status};
use crate::rate_limit::TokenBucket;
use crate::view::{ChainView, Tip};
use chain::block::{self, Height};
use chain::pow::Work;
use libp2p::PeerId;
use std::collections::BTreeMap;
use std::time::Duration;

/// Most requests for blocks that a fast peer has in flight.
const MAX_WIDTH: u32 = 8;
/// The limit of a new peer.
const INITIAL_WIDTH: u32 = 2;
/// A response within this time raises the peer's limit by one.
const FAST: Duration = Duration::from_secs(2);
/// The time for which a peer is not asked for blocks that it lacks. A peer announces a block before it
/// has stored it, so one that lacks a new block may have it soon.
const LACK_EXPIRY: Duration = Duration::from_secs(5);
/// The time for which a peer is not asked for blocks after the first that others waited for.
const STALL_PAUSE: Duration = Duration::from_secs(5);
/// The assumed speed of a new peer, in bytes a second.
const INITIAL_SPEED: u64 = 1 << 20;
/// The success rate of a peer that has answered every request.
const FULL_SUCCESS: u64 = 1_000;
/// Outbound peers that may fall behind because they once had a chain as good as ours.
const MAX_PROTECTED: usize = 4;

/// The connected peers by id.
pub(super) type Peers = BTreeMap<PeerId, Peer>;

/// Returns a limit for our requests at nine tenths of what a protocol permits, because clocks and
/// connections are not exact.
fn request_limit(protocol: Protocol) -> TokenBucket {
    let Limits { requests, per, .. } = protocol.limits();
    let interval = per.saturating_mul(10) / requests.max(1) / 9;
    TokenBucket::new(requests.saturating_mul(81) / 100, interval)
}

/// The state of an outbound peer that has less work than this node and does not catch up.
#[derive(Clone, Copy, Debug)]
pub(super) struct BehindSince {
    pub(super) since: Duration,
    /// The work that the peer lacked at the time `since`. A peer that lacks less catches up.
    pub(super) gap: Work,
    pub(super) is_challenged: bool,
}

/// The sync state of a connected peer.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) outbound: bool,
    /// The tip of the peer's last status, which may be a lie.
    pub(super) claimed_tip: Tip,
    /// The monotonic time at which the peer claimed `claimed_tip`; zero for its first status.
    pub(super) claimed_at: Duration,
    /// The claimed tip that the peer's headers did not lead to.
    pub(super) disproved: Option<block::Hash>,
    /// The number of consecutive claims that the peer's headers did not lead to.
    pub(super) disproved_claims: u32,
    /// The monotonic time at which the peer connected, or sent its best header.
    pub(super) shown_at: Duration,
    /// The monotonic time since which the peer waits for its turn to be asked for headers.
    pub(super) waits_since: Duration,
    /// The number of consecutive sessions that ended because the peer's headers did not continue.
    pub(super) discontinuities: u32,
    /// The header with the most work that the peer has sent.
    pub(super) best_known: Option<Tip>,
    /// A header that the peer announced whose ancestors are unknown here.
    pub(super) announced: Option<block::Hash>,
    /// Whether the peer's headers are requested whatever tip it claims.
    pub(super) must_request_headers: bool,
    pub(super) headers_requested: bool,
    /// Whether the peer's headers are so far ahead that their bodies have to come first.
    pub(super) is_branch_full: bool,
    pub(super) session: Option<Session>,
    pub(super) headers_not_before: Duration,
    pub(super) bodies_not_before: Duration,
    /// The monotonic time until which the peer is not asked for blocks because others waited for it.
    stalled_until: Duration,
    /// The height from which on the peer lacks blocks, and the monotonic time until which this is
    /// assumed.
    lacks: Option<(Height, Duration)>,
    pub(super) header_limit: TokenBucket,
    pub(super) body_limit: TokenBucket,
    /// Requests for blocks that the peer may have in flight.
    width: u32,
    /// Requests for blocks that the peer has in flight.
    pub(super) in_flight: u32,
    /// The speed at which the peer delivers blocks, in bytes a second: a decaying average.
    speed: u64,
    /// The share of requests that the peer has answered, in units of 1 / `FULL_SUCCESS`: a decaying
    /// average.
    success: u64,
    /// Bytes of the peer's accepted blocks that are not yet reported as whole MiB.
    pub(super) delivered: usize,
    /// Whether the peer has sent a block since it last withheld some.
    pub(super) delivers: bool,
    /// Whether the peer has sent a block since it last failed to. The blocks requested from others are
    /// requested from proven peers too.
    pub(super) is_proven: bool,
    /// The number of times that other blocks waited for one of this peer, less one for each MiB that
    /// it delivered.
    stalls: u32,
    /// The number of branches that the peer sent headers of without their blocks.
    pub(super) withheld: u32,
    pub(super) behind: Option<BehindSince>,
    /// Whether the peer may fall behind because it once had a chain as good as ours.
    pub(super) is_protected: bool,
}

impl Peer {
    /// Returns a peer that has just connected.
    pub(super) fn new(outbound: bool, status: &Status, now: Duration) -> Peer {
        Peer {
            outbound,
            claimed_tip: claimed_tip(status),
            claimed_at: Duration::ZERO,
            disproved: None,
            disproved_claims: 0,
            shown_at: now,
            waits_since: now,
            discontinuities: 0,
            best_known: None,
            announced: None,
            must_request_headers: false,
            headers_requested: false,
            is_branch_full: false,
            session: None,
            headers_not_before: now,
            bodies_not_before: now,
            stalled_until: Duration::ZERO,
            lacks: None,
            header_limit: request_limit(Protocol::Headers),
            body_limit: request_limit(Protocol::Blocks),
            width: INITIAL_WIDTH,
            in_flight: 0,
            speed: INITIAL_SPEED,
            success: FULL_SUCCESS,
            delivered: 0,
            delivers: false,
            is_proven: false,
            stalls: 0,
            withheld: 0,
            behind: None,
            is_protected: false,
        }
    }

    pub(super) fn update_status(&mut self, status: &Status, now: Duration) {
        if self.claimed_tip != claimed_tip(status) {
            self.claimed_tip = claimed_tip(status);
            self.claimed_at = now;
        }
    }

    /// Records that the peer has a header.
    pub(super) fn has_header(&mut self, tip: Tip, now: Duration) {
        if self.best_known.is_none_or(|best| best.chain_work < tip.chain_work) {
            (self.best_known, self.shown_at) = (Some(tip), now);
        }
    }

    /// The claimed tip and the best header sent.
    pub(super) fn tips(&self) -> impl Iterator<Item = Tip> {
        [Some(self.claimed_tip), self.best_known].into_iter().flatten()
    }

    /// The work that the peer has shown: that of the best header it sent, or of its claimed tip if
    /// that header is known here. A claim alone counts nothing.
    pub(super) fn shown_work(&self, tree: &HeaderTree, chain: &dyn ChainView) -> Work {
        let sent = self.best_known.map_or(Work::ZERO, |tip| tip.chain_work);
        let claimed = tree.lookup(&self.claimed_tip.hash, chain);
        claimed.map_or(sent, |header| header.tip.chain_work.max(sent))
    }

    /// Returns whether the peer claims more work than a chain has with a header that is neither known
    /// here nor disproved.
    pub(super) fn claims_more(&self, than: Work, tree: &HeaderTree, chain: &dyn ChainView) -> bool {
        let claim = self.claimed_tip;
        claim.chain_work > than
            && self.disproved != Some(claim.hash)
            && !tree.is_known(&claim.hash, chain)
    }

    /// Records that the peer's headers ended without its claimed tip.
    pub(super) fn disprove_claim(&mut self, now: Duration) {
        self.disproved = Some(self.claimed_tip.hash);
        self.headers_not_before = now.saturating_add(backoff(self.disproved_claims));
        self.disproved_claims = self.disproved_claims.saturating_add(1);
    }

    /// Records that the peer's headers did not continue: it has reorganised, or wastes our time.
    pub(super) fn record_discontinuity(&mut self, now: Duration) {
        self.discontinuities = self.discontinuities.saturating_add(1);
        self.headers_not_before = now.saturating_add(backoff(self.discontinuities));
    }

    /// Returns the number of requests for blocks from a height on that may be sent to the peer now.
    pub(super) fn available_requests(&self, height: Height, now: Duration) -> u32 {
        let is_busy = self.in_flight >= self.width || !self.may_serve(now);
        if is_busy || self.lacks(height, now) { 0 } else { self.body_limit.available(now) }
    }

    pub(super) fn lacks(&self, height: Height, now: Duration) -> bool {
        self.lacks.is_some_and(|(from, until)| height >= from && now < until)
    }

    /// Records that the peer did not send the block at a height.
    pub(super) fn record_lack(&mut self, height: Height, now: Duration) {
        let from = match self.lacks {
            Some((from, until)) if now < until => from.min(height),
            _ => height,
        };
        self.lacks = Some((from, now.saturating_add(LACK_EXPIRY)));
    }

    /// Clears the lack, which was about another branch.
    pub(super) fn clear_lack(&mut self) {
        self.lacks = None;
    }

    /// Records a response with a number of bytes of blocks.
    pub(super) fn record_blocks(&mut self, bytes: usize, elapsed: Duration) {
        let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let speed = bytes.saturating_mul(1_000) / millis;
        self.speed = average(self.speed, speed);
        self.success = average(self.success, FULL_SUCCESS);
        (self.delivers, self.is_proven) = (true, true);
        if self.stalls <= 1 {
            // It was only slow.
            self.stalled_until = Duration::ZERO;
        }
        if elapsed <= FAST {
            self.width = self.width.saturating_add(1).min(MAX_WIDTH);
        }
    }

    /// Records that a MiB of the peer's blocks was accepted.
    pub(super) fn record_delivery(&mut self) {
        self.stalls = self.stalls.saturating_sub(1);
    }

    /// Records a request for blocks without a usable response, and pauses such requests.
    pub(super) fn record_failure(&mut self, retry_at: Duration) {
        self.success = average(self.success, 0);
        self.width = (self.width / 2).max(1);
        self.is_proven = false;
        self.bodies_not_before = retry_at;
    }

    /// Records that other blocks wait for one of this peer: it is not asked for blocks for a while that
    /// doubles each time.
    pub(super) fn record_stall(&mut self, now: Duration) {
        self.success = average(self.success, 0);
        self.width = 1;
        self.is_proven = false;
        let pause = STALL_PAUSE.saturating_mul(1 << self.stalls.min(4));
        self.stalls = self.stalls.saturating_add(1);
        self.stalled_until = now.saturating_add(pause);
    }

    /// Returns whether the peer may be asked for blocks at all.
    pub(super) fn may_serve(&self, now: Duration) -> bool {
        now >= self.bodies_not_before.max(self.stalled_until)
    }

    /// The peer's rank for the next request: higher is better.
    pub(super) fn score(&self) -> u64 {
        let shared = u64::from(self.in_flight).saturating_add(1);
        self.speed.saturating_mul(self.success.saturating_add(1)) / shared
    }
}

/// Protects an outbound peer with a good chain from being disconnected as lagging.
pub(super) fn protect(peers: &mut Peers, id: PeerId) {
    let protected = peers.values().filter(|peer| peer.is_protected).count();
    if let Some(peer) = peers.get_mut(&id) {
        peer.is_protected |= peer.outbound && protected < MAX_PROTECTED;
    }
}

fn claimed_tip(status: &Status) -> Tip {
    Tip { hash: status.tip, height: status.height, chain_work: status.chain_work }
}

/// One second, doubled at each repetition up to about a minute.
fn backoff(repetitions: u32) -> Duration {
    Duration::from_secs(1 << repetitions.min(6))
}

/// A decaying average with a quarter of the new value.
fn average(old: u64, new: u64) -> u64 {
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
