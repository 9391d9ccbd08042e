//! What comes of a peer's headers: a session of several replies, each checked as a whole before any
//! of it is stored. Headers of a chain with too little work are counted first: see `run`.

use super::Sync;
use super::header_tree::Place;
use super::segment::{Count, HeaderSegment, LowWorkCheck, Reject};
use crate::engine::context::Context;
use crate::engine::machine::{Failure, Misbehavior};
use crate::message::{MAX_HEADERS, Response, ResponseError};
use crate::view::ChainView;
use chain::block::{self, Header, Timestamp};
use chain::pow::Work;
use libp2p::PeerId;
use std::time::Duration;

/// Peers that are asked for the same headers again at the end.
const CHECKS: u32 = 2;
/// A session that brings less than `SLOW` headers a second over this time should end.
const PATIENCE: Duration = Duration::from_secs(120);
const SLOW: u64 = 400;
/// A peer whose headers end this often without its claim is of no use.
const MAX_REFUTALS: u32 = 3;
/// How long a peer rests after a request that failed, in seconds.
const PAUSE: u64 = 10;
/// The longest wait for a header's time to come, in seconds.
const LONGEST_WAIT: u32 = 60;
/// Requests for headers of one peer, one after the other.
#[derive(Debug)]
pub(super) struct Session {
    /// The request that is out; none as long as the peer's pace does not allow one.
    request: Option<u64>,
    /// What that request said.
    locator: Vec<block::Hash>,
    /// The tip that the peer claimed when it was asked.
    claim: block::Hash,
    /// Where it begins.
    start: Option<block::Hash>,
    /// The last header it brought.
    pub(super) last: Option<Place>,
    /// Headers without body from the chain to that one.
    depth: usize,
    since: Duration,
    got: usize,
    pass: Phase,
}

#[derive(Debug)]
enum Phase {
    Store,
    Count(Count),
    LowWorkCheck(LowWorkCheck),
}

/// Why a session is over.
#[derive(Clone, Copy, Debug)]
enum Outcome {
    /// The peer has no more; what it claimed when it was asked.
    Complete(block::Hash),
    /// It has too little work; what it claimed, and the work of its last header.
    Low(block::Hash, Work),
    /// Bodies have to come first.
    Ahead,
    /// It does not go on where it was, and may have reorganised.
    Lost,
    /// See `Reject`.
    Stopped(Reject),
}

impl Session {
    /// One that begins after a header, or at the tip.
    pub(super) fn new(start: Option<block::Hash>, now: Duration) -> Session {
        Session {
            request: None,
            locator: Vec::new(),
            claim: block::Hash::ZERO,
            start,
            last: None,
            depth: 0,
            since: now,
            got: 0,
            pass: Phase::Store,
        }
    }

    /// Whether its next request is still to be sent.
    pub(super) fn is_waiting(&self) -> bool {
        self.request.is_none()
    }

    /// Whether it should leave its turn to another.
    pub(super) fn is_slow(&self, now: Duration) -> bool {
        let took = now.saturating_sub(self.since);
        let due = took.as_secs().saturating_mul(SLOW);
        took >= PATIENCE && u64::try_from(self.got).is_ok_and(|got| got < due)
    }

    /// The stored header to go on from.
    pub(super) fn end(&self) -> Option<block::Hash> {
        self.last.map(|place| place.tip.hash).or(self.start)
    }

    /// While headers are counted: where they leave what is stored, and the last one.
    pub(super) fn counted(&self) -> Option<(Place, Place)> {
        match &self.pass {
            Phase::Store => None,
            Phase::Count(Count { from, at, .. })
            | Phase::LowWorkCheck(LowWorkCheck { from, at, .. }) => Some((*from, *at)),
        }
    }

    /// A request is out.
    pub(super) fn note_asked(
        &mut self,
        request: u64,
        locator: Vec<block::Hash>,
        claim: block::Hash,
    ) {
        (self.request, self.locator, self.claim) = (Some(request), locator, claim);
    }
}

impl Sync {
    /// A request for headers came to its end.
    pub(super) fn headers_replied<C: ChainView>(
        &mut self,
        cx: &mut Context<'_, C>,
        (request, id): (u64, PeerId),
        result: Result<Response, Failure>,
    ) {
        let now = cx.now.elapsed;
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let is_ours = |session: &mut Session| session.request == Some(request);
        let Some(session) = peer.session.take_if(is_ours) else { return };
        let mut wait = |seconds| {
            peer.headers_from = now.saturating_add(Duration::from_secs(seconds));
        };
        match result {
            Ok(Response::Headers(headers)) => self.read_headers(cx, id, session, &headers),
            Ok(Response::Error(ResponseError::Busy { retry_after })) => {
                wait(u64::from(retry_after).clamp(1, 60));
            }
            Ok(Response::Error(ResponseError::RateLimited)) => wait(5),
            Ok(Response::Error(ResponseError::BadRequest)) => wait(60),
            Ok(Response::Error(ResponseError::NotFound)) => {
                self.end_session(cx, id, Outcome::Complete(session.claim));
            }
            Ok(_) => {
                self.end_session(cx, id, Outcome::Stopped(Reject::Bad(Misbehavior::WrongReply)));
            }
            Err(failure) => {
                wait(PAUSE);
                cx.report_failure(id, failure);
            }
        }
    }

    fn read_headers<C: ChainView>(
        &mut self,
        cx: &mut Context<'_, C>,
        id: PeerId,
        mut session: Session,
        headers: &[Header],
    ) {
        let end = match self.read(cx, id, &mut session, headers) {
            Ok(()) if headers.len() < MAX_HEADERS => Some(Outcome::Complete(session.claim)),
            Ok(()) => None,
            Err(end) => Some(end),
        };
        if let Some(end) = end {
            self.end_session(cx, id, end);
        } else {
            session.request = None;
            session.got = session.got.saturating_add(headers.len());
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.session = Some(session);
            }
            self.ask_headers(cx, id);
        }
        self.retarget(cx);
    }

    /// Takes one reply in; `Ok` if the session may go on.
    fn read<C: ChainView>(
        &mut self,
        cx: &Context<'_, C>,
        id: PeerId,
        session: &mut Session,
        headers: &[Header],
    ) -> Result<(), Outcome> {
        let wrong = Outcome::Stopped(Reject::Bad(Misbehavior::WrongReply));
        let Some(first) = headers.first() else { return Ok(()) };
        if headers.len() > MAX_HEADERS || !session.locator.contains(&first.previous) {
            return Err(wrong);
        }
        let (expected, from) = match session.counted() {
            None => (first.previous, self.place(&first.previous, cx.chain)),
            Some((_, at)) => (at.tip.hash, Some(at)),
        };
        // It has reorganised, or what we asked after was forgotten meanwhile.
        let Some(from) = from.filter(|_| first.previous == expected) else {
            return Err(Outcome::Lost);
        };
        let run = HeaderSegment::check(from, headers, &self.tree, cx.chain, cx.now);
        if let Some(stop @ Reject::Bad(_)) = run.stop {
            return Err(Outcome::Stopped(stop));
        }
        self.take_run(cx, id, session, from, &run)?;
        run.stop.map_or(Ok(()), |stop| Err(Outcome::Stopped(stop)))
    }

    /// Counts or stores a run of good headers.
    fn take_run<C: ChainView>(
        &mut self,
        cx: &Context<'_, C>,
        id: PeerId,
        session: &mut Session,
        from: Place,
        run: &HeaderSegment,
    ) -> Result<(), Outcome> {
        let Some(end) = run.end() else { return Ok(()) };
        let is_enough = end.tip.chain_work > Sync::least_work(cx.chain);
        match std::mem::replace(&mut session.pass, Phase::Store) {
            Phase::Store if is_enough || run.known == run.places.len() => {}
            Phase::Store => {
                let mut count = Count { from, at: from, headers: 0, marks: Vec::new() };
                count.add(run);
                return self.go_on_counting(session, count, run);
            }
            Phase::Count(mut count) => {
                count.add(run);
                if !is_enough {
                    return self.go_on_counting(session, count, run);
                }
                session.pass = Phase::LowWorkCheck(count.recall(run.places.len()));
                // The first pass stored nothing; the second begins where it began.
                return Ok(());
            }
            Phase::LowWorkCheck(mut recall) => {
                if !recall.matches(run, MAX_HEADERS) {
                    return Err(Outcome::Lost);
                }
                if !recall.is_done() {
                    session.pass = Phase::LowWorkCheck(recall);
                }
            }
        }
        // Without progress from reply to reply a session would never end.
        if session.last.is_some_and(|last| end.tip.height <= last.tip.height) {
            return Err(Outcome::Lost);
        }
        self.store(cx, id, session, from, run)
    }

    fn go_on_counting(
        &self,
        session: &mut Session,
        count: Count,
        run: &HeaderSegment,
    ) -> Result<(), Outcome> {
        if let Some(stop) = run.stop {
            return Err(Outcome::Stopped(stop));
        }
        if run.places.len() < MAX_HEADERS || count.headers >= self.limits.branch_headers {
            return Err(Outcome::Low(session.claim, count.at.tip.chain_work));
        }
        session.pass = Phase::Count(count);
        Ok(())
    }

    fn store<C: ChainView>(
        &mut self,
        cx: &Context<'_, C>,
        id: PeerId,
        session: &mut Session,
        from: Place,
        run: &HeaderSegment,
    ) -> Result<(), Outcome> {
        let new = run.places.iter().skip(run.known);
        if session.last.map(|last| last.tip.hash) != Some(from.tip.hash) {
            session.depth = self.depth(&from.tip.hash);
        }
        let room = self.limits.branch_headers.saturating_sub(session.depth);
        let is_ahead = run.places.len() > room.saturating_add(run.known);
        let before = run.known.checked_sub(1).and_then(|last| run.places.get(last));
        let mut parent = before.unwrap_or(&from).tip.hash;
        let mut last = None;
        for place in new.take(room) {
            self.tree.insert(parent, *place);
            parent = place.tip.hash;
            session.depth = session.depth.saturating_add(1);
            last = Some(*place);
        }
        let end = if is_ahead { last } else { run.end() };
        if let (Some(end), Some(peer)) = (end, self.peers.get_mut(&id)) {
            session.last = Some(end);
            peer.show(end.tip);
            let tip = cx.chain.tip();
            self.protect(id, end.tip.chain_work >= tip.chain_work);
            self.bound_forest(Some(end.tip.hash));
        }
        if is_ahead { Err(Outcome::Ahead) } else { Ok(()) }
    }

    fn end_session<C: ChainView>(&mut self, cx: &mut Context<'_, C>, id: PeerId, end: Outcome) {
        let Some(peer) = self.peers.get(&id) else { return };
        let claim = peer.claim;
        let is_true = claim.chain_work <= peer.shown.map_or(Work::ZERO, |tip| tip.chain_work)
            || self.is_known(&claim.hash, cx.chain);
        let is_target = peer.shown.map(|tip| tip.hash) == self.best_leaf(cx.chain);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        match end {
            Outcome::Complete(asked) => {
                peer.announced = None;
                if is_true {
                    (peer.refutals, peer.losses) = (0, 0);
                } else if asked == claim.hash {
                    peer.refute(cx.now.elapsed);
                }
                self.checks = self.checks.or(Some(CHECKS));
            }
            // A fork as long as the limit on headers that is still not the best is not followed.
            Outcome::Ahead if !is_target => peer.refute(cx.now.elapsed),
            Outcome::Ahead => peer.is_ahead = true,
            Outcome::Lost => peer.lose(cx.now.elapsed),
            Outcome::Low(asked, work) => {
                peer.announced = None;
                peer.refute(cx.now.elapsed);
                if asked == claim.hash && claim.chain_work > work {
                    cx.disconnect(id, "its chain has too little work");
                    return;
                }
            }
            Outcome::Stopped(Reject::TooNew(time)) => {
                let seconds = wait_for(time, cx);
                if seconds > LONGEST_WAIT {
                    peer.announced = None;
                    peer.refute(cx.now.elapsed);
                }
                let wait = Duration::from_secs(seconds.clamp(1, LONGEST_WAIT).into());
                peer.headers_from = cx.now.elapsed.saturating_add(wait);
            }
            Outcome::Stopped(Reject::Bad(misbehavior)) => {
                peer.announced = None;
                peer.refute(cx.now.elapsed);
                cx.report(id, misbehavior);
            }
            Outcome::Stopped(Reject::Condemned) => {
                peer.announced = None;
                peer.refute(cx.now.elapsed);
                if peer.outbound {
                    cx.disconnect(id, "it follows a chain that breaks a rule");
                    return;
                }
            }
        }
        if self.peers.get(&id).is_some_and(|peer| peer.refutals >= MAX_REFUTALS) {
            cx.disconnect(id, "its headers do not lead to the chain it claims");
        }
    }
}

/// Seconds until a header's time is not too new.
fn wait_for<C: ChainView>(time: Timestamp, cx: &Context<'_, C>) -> u32 {
    let allowed = cx.now.clock.saturating_add(cx.chain.params().spec().max_future_seconds);
    time.get().saturating_sub(allowed.get())
}
