//! Header sync: the tree of validated headers, and which peers to request headers from.

use super::bodies::Bodies;
use super::header_tree::{HeaderTree, ValidHeader};
use super::peer::{Peer, Peers, protect};
use super::segment::{Reject, validate_header};
use super::session::{Limits, Outcome, Session};
use super::window::Window;
use crate::engine::context::Context;
use crate::engine::machine::{Failure, Misbehavior, RequestId};
use crate::engine::requests::{InFlightRequest, Requests};
use crate::engine::work_threshold::work_threshold;
use crate::message::{MAX_HEADERS, MAX_LOCATOR, Protocol, Request, Response, ResponseError};
use crate::view::{ChainView, Tip};
use chain::block::{self, Header, Height, Timestamp};
use chain::pow::Work;
use libp2p::PeerId;
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

/// Most active sessions at a time once the node is synced, or stalled.
const MAX_SESSIONS: usize = 4;
/// Most active sessions at a time before: each brings the same headers, so two are enough to notice a
/// peer that hides some.
const MAX_FIRST_SESSIONS: usize = 2;
/// Most active sessions at a time with peers whose headers are requested whatever they claim.
const MAX_REQUIRED_SESSIONS: usize = 8;
/// Outbound peers whose headers are requested even if nothing is missing after the first of them.
const CONFIRMED_BY: usize = 3;
/// Outbound peers to wait for before the first request.
const QUORUM: usize = 3;
/// The longest wait for the quorum after the first peer has connected.
const QUORUM_TIMEOUT: Duration = Duration::from_secs(10);
/// The time that relay has to deliver a new block before a status makes this node fetch it.
const RELAY_TIME: Duration = Duration::from_secs(2);
/// The time for which a peer with a slow session or a failed request is not asked for headers.
const PAUSE: Duration = Duration::from_secs(10);
/// The longest wait for a header's time to come, in seconds.
const MAX_TIME_WAIT: u32 = 60;
/// A peer whose headers do not lead to this many claims in a row is disconnected.
const MAX_DISPROVED_CLAIMS: u32 = 3;
/// The tip is stale after this many block spacings without a new one.
const STALE_SPACINGS: u32 = 6;
const MIN_STALE_TIME: Duration = Duration::from_secs(30);

/// The state of header sync.
#[derive(Debug)]
pub(super) struct Headers {
    limits: Limits,
    pub(super) tree: HeaderTree,
    requests: Requests<()>,
    first_peer_at: Option<Duration>,
    has_started: bool,
    /// Peers still to be asked for confirmation; `None` before a session was completed.
    confirmations_left: Option<usize>,
    /// The monotonic time at which the tip last changed or was found stale.
    tip_changed_at: Duration,
}

impl Headers {
    pub(super) fn new(limits: Limits) -> Headers {
        Headers {
            limits,
            tree: HeaderTree::default(),
            requests: Requests::new(),
            first_peer_at: None,
            has_started: false,
            confirmations_left: None,
            tip_changed_at: Duration::ZERO,
        }
    }

    /// Returns whether there have been enough peers to begin.
    pub(super) fn has_started(&self) -> bool {
        self.has_started
    }

    pub(super) fn peer_connected(&mut self, now: Duration) {
        self.first_peer_at.get_or_insert(now);
    }

    pub(super) fn remove_peer(&mut self, peer: &PeerId) {
        self.requests.remove_peer(peer).for_each(drop);
    }

    pub(super) fn tip_changed(&mut self, now: Duration) {
        self.tip_changed_at = now;
    }

    /// Sends requests for headers to the peers that may have new ones.
    pub(super) fn advance(&mut self, cx: &mut Context, peers: &mut Peers, bodies: &Bodies) {
        if !self.may_start(cx, peers) {
            return;
        }
        let is_waiting =
            |peer: &Peer| peer.session.as_ref().is_some_and(|session| session.request.is_none());
        let waiting: Vec<PeerId> =
            peers.iter().filter(|(_, peer)| is_waiting(peer)).map(|(id, _)| *id).collect();
        for id in waiting {
            self.send_request(cx, peers, &bodies.window, id);
        }
        let now = cx.now.elapsed;
        let is_active = |peer: &Peer| peer.session.as_ref().is_some_and(|it| it.is_active(now));
        let mut active = peers.values().filter(|peer| is_active(peer)).count();
        let is_parallel = cx.is_synced || bodies.withheld.is_stuck(&bodies.window, now);
        let max_sessions = if is_parallel { MAX_SESSIONS } else { MAX_FIRST_SESSIONS };
        while active < MAX_REQUIRED_SESSIONS {
            let Some((id, is_required)) = self.next_peer(cx, peers, bodies, active > 0) else {
                break;
            };
            if !is_required && active >= max_sessions {
                break;
            }
            self.open_session(cx, peers, &bodies.window, id);
            active += 1;
        }
    }

    /// Ends the slowest of too many sessions that bring the same headers, as there are after a wait
    /// for the first of them.
    fn end_surplus_session(&self, cx: &Context, peers: &mut Peers) {
        let now = cx.now.elapsed;
        let has_received = |peer: &Peer| peer.session.as_ref().is_some_and(Session::has_received);
        let receiving = peers.values_mut().filter(|peer| has_received(peer));
        let mut receiving: Vec<&mut Peer> = receiving.collect();
        if cx.is_synced || receiving.len() <= MAX_FIRST_SESSIONS {
            return;
        }
        let rate = |peer: &&mut Peer| peer.session.as_ref().map_or(0, |it| it.rate(now));
        receiving.sort_by_key(rate);
        if let Some(slowest) = receiving.first_mut() {
            slowest.session = None;
            slowest.headers_not_before = now.saturating_add(PAUSE);
        }
    }

    fn may_start(&mut self, cx: &Context, peers: &Peers) -> bool {
        let Some(first) = self.first_peer_at else { return false };
        let outbound = peers.values().filter(|peer| peer.outbound).count();
        self.has_started |= is_private(cx.chain)
            || outbound >= QUORUM
            || cx.now.elapsed.saturating_sub(first) >= QUORUM_TIMEOUT;
        self.has_started
    }

    /// The next peer to request headers from, and whether that is required whatever it claims:
    /// required ones first, then outbound ones. Of these the one that claims the most work, or, beside
    /// another session, the one that waits longest: no number of false claims, nor of reconnecting
    /// peers, displaces one that waits.
    fn next_peer(
        &mut self,
        cx: &Context,
        peers: &mut Peers,
        bodies: &Bodies,
        in_turn: bool,
    ) -> Option<(PeerId, bool)> {
        let (now, window) = (cx.now.elapsed, &bodies.window);
        let tip = cx.chain.tip();
        let target = window.target().map_or(Work::ZERO, |target| target.tip.chain_work);
        let best = if bodies.withheld.is_stuck(&bodies.window, now) {
            tip.chain_work
        } else {
            tip.chain_work.max(target)
        };
        let has_branch_room = window.len() <= self.limits.branch_headers / 2;
        let mut next = None;
        for (id, peer) in peers.iter_mut() {
            peer.is_branch_full &= !has_branch_room;
            let is_available = peer.session.is_none()
                && !peer.is_branch_full
                && now >= peer.headers_not_before
                && peer.header_limit.available(now) > 0;
            if !is_available {
                continue;
            }
            let claim = peer.claimed_tip;
            let is_required = peer.must_request_headers || peer.announced.is_some();
            let is_left_to_relay = cx.is_synced
                && tip.height.next().is_some_and(|next| claim.height <= next)
                && now < peer.claimed_at.saturating_add(RELAY_TIME)
                && peer.claimed_at > Duration::ZERO;
            let claims_more = !is_left_to_relay && peer.claims_more(best, &self.tree, cx.chain);
            let turn = if in_turn { peer.waits_since } else { Duration::ZERO };
            let rank = (is_required, peer.outbound, Reverse(turn), claim.chain_work);
            if (is_required || claims_more) && next.is_none_or(|(best, _)| rank > best) {
                next = Some((rank, *id));
            }
        }
        if let Some(((is_required, ..), id)) = next {
            return Some((id, is_required));
        }
        self.next_confirmation(now, peers).map(|id| (id, true))
    }

    /// An outbound peer that was never asked, while confirmations are left.
    fn next_confirmation(&mut self, now: Duration, peers: &Peers) -> Option<PeerId> {
        let left = self.confirmations_left.filter(|left| *left > 0)?;
        let is_new = |peer: &Peer| {
            let is_available = peer.session.is_none() && now >= peer.headers_not_before;
            peer.outbound && !peer.headers_requested && is_available
        };
        let (id, _) = peers.iter().find(|(_, peer)| is_new(peer))?;
        self.confirmations_left = Some(left.saturating_sub(1));
        Some(*id)
    }

    fn open_session(&mut self, cx: &mut Context, peers: &mut Peers, window: &Window, id: PeerId) {
        let Some(peer) = peers.get_mut(&id) else { return };
        let best_known = peer.best_known.and_then(|tip| self.tree.get(&tip.hash));
        let start = best_known.copied().or_else(|| window.target());
        let (start, now) = (start.map(|start| start.tip.hash), cx.now.elapsed);
        peer.session = Some(Session::new(start, peer.claimed_tip, now));
        (peer.headers_requested, peer.must_request_headers) = (true, false);
        peer.waits_since = now;
        self.send_request(cx, peers, window, id);
    }

    /// Sends the next request of a session if the peer's rate limit permits it.
    fn send_request(&mut self, cx: &mut Context, peers: &mut Peers, window: &Window, id: PeerId) {
        let now = cx.now.elapsed;
        let Some(peer) = peers.get_mut(&id) else { return };
        let Some(session) = peer.session.as_mut() else { return };
        if !peer.header_limit.try_acquire(1, now) {
            return;
        }
        let locator = match session.unstored_range() {
            None => locator(session.end(), &self.tree, window, cx.chain),
            Some((from, last)) => {
                let mut locator = vec![last.tip.hash];
                locator.extend(locate(from.tip.height, |height| cx.chain.at(height)));
                locator.truncate(MAX_LOCATOR);
                locator
            }
        };
        let max = u16::try_from(MAX_HEADERS).unwrap_or(u16::MAX);
        let request = Request::Headers { locator: locator.clone(), stop: block::Hash::ZERO, max };
        let number = self.requests.insert(id, now, ());
        session.request_sent(number, locator, peer.announced, now);
        cx.request(RequestId::Headers(number), id, request);
    }

    /// Processes the end of a request. Ignores numbers that are not in flight: the peer may have
    /// disconnected meanwhile.
    pub(super) fn handle_response(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        window: &Window,
        number: u64,
        result: Result<Response, Failure>,
    ) {
        let now = cx.now.elapsed;
        let Some(InFlightRequest { peer: id, .. }) = self.requests.remove(number) else { return };
        let Some(peer) = peers.get_mut(&id) else { return };
        let is_current = |session: &mut Session| session.request == Some(number);
        let Some(mut session) = peer.session.take_if(is_current) else { return };
        let mut pause = |seconds| {
            peer.headers_not_before = now.saturating_add(Duration::from_secs(seconds));
        };
        match result {
            Ok(Response::Headers(headers)) => {
                let limits = &self.limits;
                let outcome = session.handle_headers(cx, &mut self.tree, window, limits, &headers);
                if let Some(last) = session.last {
                    self.header_stored(cx, peers, window, id, last.tip);
                }
                match outcome {
                    Ok(()) => {
                        if let Some(peer) = peers.get_mut(&id) {
                            peer.session = Some(session);
                        }
                        self.end_surplus_session(cx, peers);
                        self.send_request(cx, peers, window, id);
                    }
                    Err(outcome) => self.end_session(cx, peers, id, &session, outcome),
                }
            }
            Ok(Response::Error(ResponseError::Busy { retry_after })) => {
                pause(u64::from(retry_after).clamp(1, 60));
            }
            Ok(Response::Error(ResponseError::RateLimited)) => pause(5),
            Ok(Response::Error(ResponseError::BadRequest | ResponseError::AboveLimit)) => pause(60),
            Ok(Response::Error(ResponseError::NotFound)) => {
                self.end_session(cx, peers, id, &session, Outcome::Complete);
            }
            Ok(_) => {
                let reject = Reject::Invalid(Misbehavior::WrongResponse);
                self.end_session(cx, peers, id, &session, Outcome::Rejected(reject));
            }
            Err(failure) => {
                pause(PAUSE.as_secs());
                cx.report_failure(id, failure);
            }
        }
    }

    /// Records that a peer has a header that is now in the tree.
    fn header_stored(
        &mut self,
        cx: &Context,
        peers: &mut Peers,
        window: &Window,
        id: PeerId,
        tip: Tip,
    ) {
        if let Some(peer) = peers.get_mut(&id) {
            peer.has_header(tip, cx.now.elapsed);
        }
        if tip.chain_work >= cx.chain.tip().chain_work {
            protect(peers, id);
        }
        if self.tree.len() > self.limits.all_headers {
            let mut protected = protected_leaves(peers, window);
            protected.insert(tip.hash);
            self.tree.evict(self.limits.all_headers, Work::ZERO, &protected);
        }
    }

    fn end_session(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        id: PeerId,
        session: &Session,
        outcome: Outcome,
    ) {
        let now = cx.now.elapsed;
        if matches!(outcome, Outcome::Complete) {
            let requested = peers.values().filter(|peer| peer.outbound && peer.headers_requested);
            let left = CONFIRMED_BY.saturating_sub(requested.count());
            self.confirmations_left.get_or_insert(left);
        }
        let Some(peer) = peers.get_mut(&id) else { return };
        match outcome {
            Outcome::Complete => {
                if peer.announced == session.announced {
                    peer.announced = None;
                }
                let shown = peer.shown_work(&self.tree, cx.chain);
                let is_shown =
                    |tip: Tip| tip.chain_work <= shown || self.tree.is_known(&tip.hash, cx.chain);
                // A tip that the peer claims only since then is for the next session, however often
                // it claims another one.
                if !is_shown(session.claim) {
                    peer.disprove_claim(now);
                } else if is_shown(peer.claimed_tip) {
                    (peer.disproved_claims, peer.discontinuities) = (0, 0);
                }
            }
            Outcome::BranchFull => {
                let best = self.tree.best(cx.chain).map(|best| best.tip.hash);
                if peer.best_known.map(|tip| tip.hash) == best {
                    peer.is_branch_full = true;
                } else {
                    // A fork with as many headers as a branch may have is not followed further
                    // unless it is the best one.
                    peer.disprove_claim(now);
                }
            }
            Outcome::Discontinuous => peer.record_discontinuity(now),
            Outcome::LowWork(work) => {
                peer.announced = None;
                peer.disprove_claim(now);
                if session.claim.chain_work > work {
                    return cx.disconnect(id, "chain has too little work");
                }
            }
            Outcome::Rejected(Reject::TooNew(time)) => {
                let seconds = seconds_until_valid(time, cx);
                if seconds > MAX_TIME_WAIT {
                    peer.announced = None;
                    peer.disprove_claim(now);
                }
                let wait = Duration::from_secs(seconds.clamp(1, MAX_TIME_WAIT).into());
                peer.headers_not_before = now.saturating_add(wait);
            }
            Outcome::Rejected(Reject::Invalid(misbehavior)) => {
                peer.announced = None;
                peer.disprove_claim(now);
                cx.report(id, misbehavior);
            }
            Outcome::Rejected(Reject::Withheld) => {
                peer.announced = None;
                peer.headers_not_before = now.saturating_add(PAUSE);
            }
            Outcome::Rejected(Reject::KnownInvalid) => {
                peer.announced = None;
                peer.disprove_claim(now);
                if peer.outbound {
                    return cx.disconnect(id, "follows an invalid chain");
                }
            }
        }
        if peer.disproved_claims >= MAX_DISPROVED_CLAIMS {
            cx.disconnect(id, "headers do not lead to the claimed tip");
        }
    }

    /// Processes an announced header whose parent or body is missing here. Returns its hash if it was
    /// added to the tree.
    pub(super) fn header_announced(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        window: &Window,
        id: PeerId,
        header: &Header,
    ) -> Option<block::Hash> {
        let hash = header.hash();
        if cx.chain.find(&hash).is_some()
            || cx.chain.is_known_invalid(&hash)
            || self.tree.is_abandoned(&hash, cx.now.elapsed)
        {
            return None;
        }
        let known = self.tree.lookup(&hash, cx.chain);
        let parent = self.tree.lookup(&header.previous, cx.chain);
        let valid = match (known, parent) {
            (Some(known), _) => Some(known),
            (None, Some(parent)) => match validate_header(header, &parent, cx.chain, cx.now) {
                Ok(()) => parent.child(hash, header),
                Err(Reject::Invalid(misbehavior)) => {
                    cx.report(id, misbehavior);
                    return None;
                }
                Err(Reject::TooNew(_) | Reject::KnownInvalid | Reject::Withheld) => None,
            },
            (None, None) => None,
        };
        let peer = peers.get_mut(&id)?;
        let Some(valid) = valid else {
            // Until this node is synced, the statuses of peers are enough.
            if cx.is_synced {
                peer.announced = Some(hash);
            }
            return None;
        };
        if valid.tip.chain_work <= work_threshold(cx.chain) {
            return None;
        }
        self.tree.insert(header.previous, valid);
        self.header_stored(cx, peers, window, id, valid.tip);
        Some(hash)
    }

    /// Ends requests without a response that are long overdue.
    pub(super) fn expire_requests(&mut self, cx: &mut Context, peers: &mut Peers, window: &Window) {
        let timeout = Protocol::Headers.limits().timeout;
        for number in self.requests.overdue(timeout, cx.now.elapsed) {
            self.handle_response(cx, peers, window, number, Err(Failure::Timeout));
        }
    }

    /// Ends slow sessions while another peer could be asked instead.
    pub(super) fn end_slow_sessions(&mut self, cx: &Context, peers: &mut Peers, bodies: &Bodies) {
        let now = cx.now.elapsed;
        let is_slow =
            |peer: &Peer| peer.session.as_ref().is_some_and(|session| session.is_slow(now));
        let slow: Vec<PeerId> =
            peers.iter().filter(|(_, peer)| is_slow(peer)).map(|(id, _)| *id).collect();
        for id in slow {
            if self.next_peer(cx, peers, bodies, true).is_none() {
                return;
            }
            if let Some(peer) = peers.get_mut(&id) {
                peer.session = None;
                peer.headers_not_before = now.saturating_add(PAUSE);
            }
        }
    }

    /// Requests headers from all outbound peers if there has been no new tip for long.
    pub(super) fn refresh_stale_tip(&mut self, cx: &Context, peers: &mut Peers) {
        let spacing = Duration::from_secs(cx.chain.params().spec().spacing_seconds.into());
        let stale_time = spacing.saturating_mul(STALE_SPACINGS).max(MIN_STALE_TIME);
        if cx.is_synced && cx.now.elapsed.saturating_sub(self.tip_changed_at) >= stale_time {
            self.tip_changed_at = cx.now.elapsed;
            for peer in peers.values_mut().filter(|peer| peer.outbound) {
                peer.must_request_headers = true;
            }
        }
    }

    /// Removes branches that the tip has left far behind.
    pub(super) fn evict_low_work(&mut self, chain: &dyn ChainView, peers: &Peers, window: &Window) {
        let protected = protected_leaves(peers, window);
        self.tree.evict(self.limits.all_headers, work_threshold(chain), &protected);
    }
}

/// Returns whether the network is private: one where a node without peers may consider itself synced.
pub(super) fn is_private(chain: &dyn ChainView) -> bool {
    let spec = chain.params().spec();
    spec.fixed_difficulty || spec.boot_nodes.is_empty()
}

/// The ends of the branches that are being downloaded.
fn protected_leaves(peers: &Peers, window: &Window) -> BTreeSet<block::Hash> {
    let sessions = peers.values().filter_map(|peer| peer.session.as_ref()?.last);
    let headers = sessions.chain(window.target());
    headers.map(|header: ValidHeader| header.tip.hash).collect()
}

/// Seconds until a header's time is no longer too far in the future.
fn seconds_until_valid(time: Timestamp, cx: &Context) -> u32 {
    let allowed = cx.now.clock.saturating_add(cx.chain.params().spec().max_future_seconds);
    time.get().saturating_sub(allowed.get())
}

/// The block locator of the branch that ends at a header, or of the best chain.
pub(super) fn locator(
    end: Option<block::Hash>,
    tree: &HeaderTree,
    window: &Window,
    chain: &dyn ChainView,
) -> Vec<block::Hash> {
    // Only the headers above the window are visited, so that a response costs the same however many
    // there were before.
    let (mut above, mut at, mut top) = (Vec::new(), end, None);
    let mut in_window = false;
    while let Some((hash, header)) = at.and_then(|hash| Some((hash, tree.get(&hash)?))) {
        let height = header.tip.height;
        top = top.or(Some(height));
        in_window = window.contains(height, &hash);
        if in_window {
            break;
        }
        above.push(hash);
        at = tree.parent(&hash).copied();
    }
    let Some(top) = top else {
        let known = end.and_then(|end| chain.find(&end));
        let top = known.map_or(chain.tip().height, |known| known.tip.height);
        return locate(top, |height| chain.at(height));
    };
    locate(top, |height| {
        let depth = usize::try_from(top.get().saturating_sub(height.get())).ok()?;
        let in_window = || in_window.then(|| window.hash_at(height)).flatten();
        above.get(depth).copied().or_else(in_window).or_else(|| chain.at(height))
    })
}

/// The hashes at a height, the next ten below, then at doubling distances down to genesis.
fn locate(top: Height, hash_at: impl Fn(Height) -> Option<block::Hash>) -> Vec<block::Hash> {
    let (mut locator, mut at, mut step) = (Vec::new(), top, 1_u32);
    loop {
        locator.extend(hash_at(at));
        if at == Height::GENESIS || locator.len() >= MAX_LOCATOR {
            return locator;
        }
        if locator.len() >= 10 {
            step = step.saturating_mul(2);
        }
        at = at.checked_sub(step).unwrap_or(Height::GENESIS);
    }
}
