//! Headers: whom to ask, from where on, and what to make of the answer. A peer's headers come in a
//! session of several requests. Those of a chain with too little work are counted before any is
//! stored: see `run`.

use super::forest::Place;
use super::peer::Peer;
use super::run::{Count, Recall, Run, Stop, check};
use super::{Asked, Context, Sync, What};
use crate::engine::{Conduct, Failure};
use crate::message::{MAX_HEADERS, MAX_LOCATOR, Refusal, Reply, Request};
use crate::view::{ChainView, Tip};
use chain::block::{self, Header, Height, Timestamp};
use chain::pow::{Target, Work};
use libp2p::PeerId;
use std::time::Duration;

/// Sessions at a time once this node is synced, or cannot go on.
const SESSIONS: usize = 4;
/// Sessions at a time of peers that are asked whatever they claim.
const DUE_SESSIONS: usize = 8;
/// Blocks of the tip's difficulty that a chain may lack to be stored nevertheless.
const LACKING_BLOCKS: u32 = 144;
/// Peers that are asked for the same headers again at the end.
const CHECKS: u32 = 2;
/// What a relayed block gets before a status makes us fetch it.
const GRACE: Duration = Duration::from_secs(2);
/// A session slower than `SLOW` headers a second over this time ends if another peer is left.
const PATIENCE: Duration = Duration::from_secs(120);
const SLOW: u64 = 400;
/// A peer whose headers end this often without its claim is of no use.
const MAX_REFUTALS: u32 = 3;
/// After a request for headers that failed.
const PAUSE: Duration = Duration::from_secs(10);
/// The longest wait for a header's time to come.
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
    pass: Pass,
}

#[derive(Debug)]
enum Pass {
    Store,
    Count(Count),
    Recall(Recall),
}

/// Why a session is over.
#[derive(Clone, Copy, Debug)]
enum End {
    /// The peer has no more; what it claimed when it was asked.
    Complete(block::Hash),
    /// It has too little work; what it claimed, and the work of its last header.
    Low(block::Hash, Work),
    /// Bodies have to come first.
    Ahead,
    /// It does not go on where it was, and may have reorganised.
    Lost,
    /// See `Stop`.
    Stopped(Stop),
}

impl Sync {
    /// Where a block stands whose header is known and not condemned.
    pub(super) fn place(&self, hash: &block::Hash, chain: &impl ChainView) -> Option<Place> {
        if let Some(place) = self.forest.place(hash) {
            return Some(*place);
        }
        let known = chain.find(hash).filter(|known| !known.is_invalid)?;
        Some(Place { tip: known.tip, as_parent: known.as_parent })
    }

    /// Whether the header of a claimed tip is known.
    pub(super) fn is_known(&self, hash: &block::Hash, chain: &impl ChainView) -> bool {
        self.forest.place(hash).is_some() || chain.find(hash).is_some()
    }

    /// A chain with no more work than this is not stored.
    pub(super) fn least_work(chain: &impl ChainView) -> Work {
        let tip = chain.tip();
        let Some(known) = chain.find(&tip.hash) else { return Work::ZERO };
        let block = known.as_parent.bits.target().map_or(Work::ZERO, Target::work);
        let lacking = (0..LACKING_BLOCKS).fold(Work::ZERO, |sum, _| sum.saturating_add(block));
        tip.chain_work.saturating_sub(lacking)
    }

    /// Asks for headers whatever is worth asking, of whom is worth asking.
    pub(super) fn pursue<C: ChainView>(&mut self, cx: &mut Context<'_, C>) {
        if !self.may_start(cx) {
            return;
        }
        let waiting = |(id, peer): (&PeerId, &Peer)| {
            peer.session.as_ref().is_some_and(|session| session.request.is_none()).then_some(*id)
        };
        let waiting: Vec<PeerId> = self.peers.iter().filter_map(waiting).collect();
        for id in waiting {
            self.ask_headers(cx, id);
        }
        let mut sessions = self.peers.values().filter(|peer| peer.session.is_some()).count();
        while sessions < DUE_SESSIONS {
            let Some((id, is_due)) = self.next_source(cx) else { break };
            let most = if self.is_synced || self.is_stuck(cx.time()) { SESSIONS } else { 1 };
            if !is_due && sessions >= most {
                break;
            }
            self.open_session(cx, id);
            sessions += 1;
        }
    }

    /// The peer to ask next: who announced something, then who has to be asked, then whoever claims
    /// the most work, outbound first.
    fn next_source<C: ChainView>(&mut self, cx: &Context<'_, C>) -> Option<(PeerId, bool)> {
        let tip = cx.chain.tip();
        let stuck = self.is_stuck(cx.time());
        let target = self.window.target().map_or(Work::ZERO, |place| place.tip.chain_work);
        let best = if stuck { tip.chain_work } else { tip.chain_work.max(target) };
        let is_low = self.window.len() <= self.limits.branch_headers / 2;
        let mut found = None;
        for (id, peer) in &mut self.peers {
            peer.is_ahead &= !is_low;
            let can =
                peer.session.is_none() && !peer.is_ahead && cx.now.elapsed >= peer.headers_from;
            if !can || peer.header_pace.room(cx.now.elapsed) == 0 {
                continue;
            }
            let is_due = peer.is_due || peer.announced.is_some();
            let is_fresh = self.is_synced
                && tip.height.next().is_some_and(|next| peer.claim.height <= next)
                && cx.now.elapsed < peer.claimed_at.saturating_add(GRACE)
                && peer.claimed_at > Duration::ZERO;
            let claims = peer.claim.chain_work > best
                && peer.refuted != Some(peer.claim.hash)
                && !is_fresh
                && self.forest.place(&peer.claim.hash).is_none()
                && cx.chain.find(&peer.claim.hash).is_none();
            let rank = (is_due, peer.outbound, peer.claim.chain_work);
            if (is_due || claims) && found.is_none_or(|(best, _)| rank > best) {
                found = Some((rank, *id));
            }
        }
        if let Some(((is_due, ..), id)) = found {
            return Some((id, is_due));
        }
        self.next_check(cx.now.elapsed).map(|id| (id, true))
    }

    /// An outbound peer that was never asked, as long as some are to be asked to confirm the others.
    fn next_check(&mut self, now: Duration) -> Option<PeerId> {
        let left = self.checks.filter(|left| *left > 0)?;
        let is_new = |peer: &Peer| {
            peer.outbound && !peer.was_asked && peer.session.is_none() && now >= peer.headers_from
        };
        let (id, _) = self.peers.iter().find(|(_, peer)| is_new(peer))?;
        self.checks = Some(left.saturating_sub(1));
        Some(*id)
    }

    fn open_session<C: ChainView>(&mut self, cx: &mut Context<'_, C>, id: PeerId) {
        let Some(peer) = self.peers.get(&id) else { return };
        let shown = peer.shown.and_then(|tip| self.forest.place(&tip.hash));
        let start = shown.copied().or_else(|| self.window.target());
        let session = Session {
            request: None,
            locator: Vec::new(),
            claim: block::Hash::ZERO,
            start: start.map(|place| place.tip.hash),
            last: None,
            depth: 0,
            since: cx.time(),
            got: 0,
            pass: Pass::Store,
        };
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.session = Some(session);
            (peer.was_asked, peer.is_due) = (true, false);
        }
        self.ask_headers(cx, id);
    }

    /// Sends the session's next request if the peer's pace allows it.
    fn ask_headers<C: ChainView>(&mut self, cx: &mut Context<'_, C>, id: PeerId) {
        let is_open = |peer: &&Peer| peer.header_pace.room(cx.time()) > 0;
        let peer = self.peers.get(&id).filter(is_open);
        let Some(session) = peer.and_then(|peer| peer.session.as_ref()) else { return };
        let locator = match &session.pass {
            Pass::Store => {
                let last = session.last.map(|place| place.tip.hash);
                self.locator(last.or(session.start), cx.chain)
            }
            Pass::Count(Count { from, at, .. }) | Pass::Recall(Recall { from, at, .. }) => {
                let mut locator = vec![at.tip.hash];
                locator.extend(locate(from.tip.height, |height| cx.chain.at(height)));
                locator.truncate(MAX_LOCATOR);
                locator
            }
        };
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(session) = peer.session.as_mut() else { return };
        peer.header_pace.count(1, cx.time());
        let max = u16::try_from(MAX_HEADERS).unwrap_or(u16::MAX);
        let what = Request::Headers { locator: locator.clone(), stop: block::Hash::ZERO, max };
        (session.locator, session.claim) = (locator, peer.claim.hash);
        let request = cx.ask(&mut self.next_request, id, what);
        session.request = Some(request);
        self.requests.insert(request, Asked { peer: id, at: cx.time(), what: What::Headers });
    }

    /// Headers from the chain to this one, the lowest first; none if it has its body here.
    fn branch(&self, hash: &block::Hash) -> Vec<block::Hash> {
        let mut branch = Vec::new();
        let mut at = *hash;
        while let Some(parent) = self.forest.parent(&at) {
            branch.push(at);
            at = *parent;
        }
        branch.reverse();
        branch
    }

    /// How many headers there are from the chain to this one.
    fn depth(&self, hash: &block::Hash) -> usize {
        let place = self.forest.place(hash);
        let on_the_way = place.and_then(|place| self.window.depth(place.tip.height, hash));
        on_the_way.unwrap_or_else(|| self.branch(hash).len())
    }

    /// Blocks by which a peer finds where its chain leaves the one that ends here: ten, then at
    /// doubling distances, genesis last.
    pub(super) fn locator(
        &self,
        end: Option<block::Hash>,
        chain: &impl ChainView,
    ) -> Vec<block::Hash> {
        let place = end.and_then(|end| self.forest.place(&end));
        if let Some(Tip { hash, height, .. }) = place.map(|place| place.tip)
            && self.window.contains(height, &hash)
        {
            return locate(height, |height| {
                self.window.hash_at(height).or_else(|| chain.at(height))
            });
        }
        let branch = end.map_or_else(Vec::new, |end| self.branch(&end));
        let first = branch.first().and_then(|hash| self.forest.place(hash));
        let Some(base) = first.map(|place| place.tip.height.get()) else {
            let known = end.and_then(|end| chain.find(&end));
            let top = known.map_or(chain.tip().height, |known| known.tip.height);
            return locate(top, |height| chain.at(height));
        };
        let above = u32::try_from(branch.len().saturating_sub(1)).unwrap_or(u32::MAX);
        locate(Height::new(base.saturating_add(above)), |height| {
            match height.get().checked_sub(base) {
                Some(above) => branch.get(usize::try_from(above).ok()?).copied(),
                None => chain.at(height),
            }
        })
    }

    /// A request for headers came to its end.
    pub(super) fn headers_replied<C: ChainView>(
        &mut self,
        cx: &mut Context<'_, C>,
        (request, id): (u64, PeerId),
        result: Result<Reply, Failure>,
    ) {
        let now = cx.time();
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let is_ours = |session: &mut Session| session.request == Some(request);
        let Some(session) = peer.session.take_if(is_ours) else { return };
        let mut wait = |seconds| {
            peer.headers_from = now.saturating_add(Duration::from_secs(seconds));
        };
        match result {
            Ok(Reply::Headers(headers)) => self.read_headers(cx, id, session, &headers),
            Ok(Reply::Refused(Refusal::Busy { retry_after })) => {
                wait(u64::from(retry_after).clamp(1, 60));
            }
            Ok(Reply::Refused(Refusal::RateLimited)) => wait(5),
            Ok(Reply::Refused(Refusal::BadRequest)) => wait(60),
            Ok(Reply::Refused(Refusal::NotFound)) => {
                self.end_session(cx, id, End::Complete(session.claim));
            }
            Ok(_) => {
                self.end_session(cx, id, End::Stopped(Stop::Bad(Conduct::WrongReply)));
            }
            Err(failure) => {
                wait(PAUSE.as_secs());
                cx.blame_failure(id, failure);
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
            Ok(()) if headers.len() < MAX_HEADERS => Some(End::Complete(session.claim)),
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
    ) -> Result<(), End> {
        let wrong = End::Stopped(Stop::Bad(Conduct::WrongReply));
        let Some(first) = headers.first() else { return Ok(()) };
        if headers.len() > MAX_HEADERS || !session.locator.contains(&first.previous) {
            return Err(wrong);
        }
        let expected = match &session.pass {
            Pass::Store => first.previous,
            Pass::Count(Count { at, .. }) | Pass::Recall(Recall { at, .. }) => at.tip.hash,
        };
        let from = match &session.pass {
            Pass::Store => self.place(&first.previous, cx.chain),
            Pass::Count(Count { at, .. }) | Pass::Recall(Recall { at, .. }) => Some(*at),
        };
        // It has reorganised, or what we asked after was forgotten meanwhile.
        let Some(from) = from.filter(|_| first.previous == expected) else {
            return Err(End::Lost);
        };
        let run = Run::check(from, headers, &self.forest, cx.chain, cx.now);
        if let Some(stop @ Stop::Bad(_)) = run.stop {
            return Err(End::Stopped(stop));
        }
        self.take_run(cx, id, session, from, &run)?;
        run.stop.map_or(Ok(()), |stop| Err(End::Stopped(stop)))
    }

    /// Counts or stores a run of good headers.
    fn take_run<C: ChainView>(
        &mut self,
        cx: &Context<'_, C>,
        id: PeerId,
        session: &mut Session,
        from: Place,
        run: &Run,
    ) -> Result<(), End> {
        let Some(end) = run.end() else { return Ok(()) };
        let is_enough = end.tip.chain_work > Sync::least_work(cx.chain);
        match std::mem::replace(&mut session.pass, Pass::Store) {
            Pass::Store if is_enough || run.known == run.places.len() => {}
            Pass::Store => {
                let mut count = Count { from, at: from, headers: 0, marks: Vec::new() };
                count.add(run);
                return self.go_on_counting(session, count, run);
            }
            Pass::Count(mut count) => {
                count.add(run);
                if !is_enough {
                    return self.go_on_counting(session, count, run);
                }
                session.pass = Pass::Recall(count.recall(run.places.len()));
                // The first pass stored nothing; the second begins where it began.
                return Ok(());
            }
            Pass::Recall(mut recall) => {
                if !recall.matches(run, MAX_HEADERS) {
                    return Err(End::Lost);
                }
                if !recall.is_done() {
                    session.pass = Pass::Recall(recall);
                }
            }
        }
        // Without progress from reply to reply a session would never end.
        if session.last.is_some_and(|last| end.tip.height <= last.tip.height) {
            return Err(End::Lost);
        }
        self.store(cx, id, session, from, run)
    }

    fn go_on_counting(&self, session: &mut Session, count: Count, run: &Run) -> Result<(), End> {
        if let Some(stop) = run.stop {
            return Err(End::Stopped(stop));
        }
        if run.places.len() < MAX_HEADERS || count.headers >= self.limits.branch_headers {
            return Err(End::Low(session.claim, count.at.tip.chain_work));
        }
        session.pass = Pass::Count(count);
        Ok(())
    }

    fn store<C: ChainView>(
        &mut self,
        cx: &Context<'_, C>,
        id: PeerId,
        session: &mut Session,
        from: Place,
        run: &Run,
    ) -> Result<(), End> {
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
            self.forest.insert(parent, *place);
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
        if is_ahead { Err(End::Ahead) } else { Ok(()) }
    }

    fn end_session<C: ChainView>(&mut self, cx: &mut Context<'_, C>, id: PeerId, end: End) {
        let Some(peer) = self.peers.get(&id) else { return };
        let claim = peer.claim;
        let is_true = claim.chain_work <= peer.shown.map_or(Work::ZERO, |tip| tip.chain_work)
            || self.is_known(&claim.hash, cx.chain);
        let is_target = peer.shown.map(|tip| tip.hash) == self.best_leaf(cx.chain);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        match end {
            End::Complete(asked) => {
                peer.announced = None;
                if is_true {
                    (peer.refutals, peer.losses) = (0, 0);
                } else if asked == claim.hash {
                    peer.refute(cx.time());
                }
                self.checks = self.checks.or(Some(CHECKS));
            }
            // A fork as long as the limit on headers that is still not the best is not followed.
            End::Ahead if !is_target => peer.refute(cx.time()),
            End::Ahead => peer.is_ahead = true,
            End::Lost => peer.lose(cx.time()),
            End::Low(asked, work) => {
                peer.announced = None;
                peer.refute(cx.time());
                if asked == claim.hash && claim.chain_work > work {
                    cx.disconnect(id, "its chain has too little work");
                    return;
                }
            }
            End::Stopped(Stop::TooNew(time)) => {
                let seconds = wait_for(time, cx);
                if seconds > LONGEST_WAIT {
                    peer.announced = None;
                    peer.refute(cx.time());
                }
                let wait = Duration::from_secs(seconds.clamp(1, LONGEST_WAIT).into());
                peer.headers_from = cx.time().saturating_add(wait);
            }
            End::Stopped(Stop::Bad(conduct)) => {
                peer.announced = None;
                peer.refute(cx.time());
                cx.report(id, conduct);
            }
            End::Stopped(Stop::Condemned) => {
                peer.announced = None;
                peer.refute(cx.time());
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

    /// Ends sessions that are so slow that another peer should have a turn.
    pub(super) fn end_slow_sessions<C: ChainView>(&mut self, cx: &mut Context<'_, C>) {
        let now = cx.time();
        let is_slow = |session: &Session| {
            let took = now.saturating_sub(session.since);
            let due = took.as_secs().saturating_mul(SLOW);
            took >= PATIENCE && u64::try_from(session.got).is_ok_and(|got| got < due)
        };
        let slow = |(id, peer): (&PeerId, &Peer)| {
            peer.session.as_ref().is_some_and(is_slow).then_some(*id)
        };
        let slow: Vec<PeerId> = self.peers.iter().filter_map(slow).collect();
        for id in slow {
            if self.next_source(cx).is_none() {
                return;
            }
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.session = None;
                peer.headers_from = now.saturating_add(PAUSE);
            }
        }
    }

    /// A peer showed a header, on its own accord.
    pub(super) fn announced<C: ChainView>(
        &mut self,
        cx: &mut Context<'_, C>,
        id: PeerId,
        header: &Header,
    ) {
        let hash = header.hash();
        if cx.chain.find(&hash).is_some() || cx.chain.is_condemned(&hash) {
            return;
        }
        let place = match (self.place(&hash, cx.chain), self.place(&header.previous, cx.chain)) {
            (Some(place), _) => Some(place),
            (None, Some(parent)) => match check(header, &parent, cx.chain, cx.now) {
                Ok(()) => parent.child(hash, header),
                Err(Stop::Bad(conduct)) => return cx.report(id, conduct),
                Err(_) => None,
            },
            (None, None) => None,
        };
        let least = Sync::least_work(cx.chain);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        match place {
            Some(place) if place.tip.chain_work <= least => {}
            Some(place) => {
                self.forest.insert(header.previous, place);
                peer.show(place.tip);
                self.hint = Some((hash, id));
                self.protect(id, place.tip.chain_work >= cx.chain.tip().chain_work);
                self.bound_forest(Some(hash));
                self.retarget(cx);
            }
            // While much is missing, statuses tell what there is.
            None if self.is_synced => peer.announced = Some(hash),
            None => {}
        }
    }
}

/// Seconds until a header's time is not too new.
fn wait_for<C: ChainView>(time: Timestamp, cx: &Context<'_, C>) -> u32 {
    let allowed = cx.now.clock.saturating_add(cx.chain.params().spec().max_future_seconds);
    time.get().saturating_sub(allowed.get())
}

/// Hashes at a height, ten below, at doubling distances below those, and genesis.
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
        at = at.back(step).unwrap_or(Height::GENESIS);
    }
}
