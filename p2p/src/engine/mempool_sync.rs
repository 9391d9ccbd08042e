//! The exchange of mempools: gossip forgets and loses, and this makes it good. A peer is asked for
//! what came to it since it was asked last, in that order: so a sender's transfers come in the order
//! of their nonces. One peer at a time. Pure, like sync and relay.

use crate::engine::context::Context;
use crate::engine::machine::{Failure, Misbehavior, RequestId, TransferValidation};
use crate::engine::transfers::{Admission, InFlightTransfer, InFlightTransfers};
use crate::message::{Limits, MAX_POOL, Protocol, Request, Response};
use crate::rate_limit::TokenBucket;
use crate::view::ChainView;
use chain::tx::{Id, Transfer};
use libp2p::PeerId;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Most transfers asked for at once: 1 MiB at their longest.
const BATCH: usize = 2_000;
/// Requests that a page of ids leads to: itself, and those for its transfers. Without room for so many
/// within what a peer may ask, an exchange stops; the next goes on from there.
const REQUESTS_PER_PAGE: u32 = 3;
/// From one exchange to the next one with whoever was not asked for the longest time. Peers that are
/// known to have more have theirs in between.
const PERIOD: Duration = Duration::from_secs(5);
/// How long an exchange goes on: then others have their turn.
const LONGEST: Duration = Duration::from_secs(20);
/// Most transfers that are kept until those come that they follow.
const MAX_EARLY: usize = 8_000;
/// The least time from one exchange to the next one with the same peer.
const PAUSE: Duration = Duration::from_secs(1);
/// The same where it did not answer, or not well.
const AFTER_FAILURE: Duration = Duration::from_secs(10);
/// From when somebody was asked for all that it has to when the next one is, for each page of it: what
/// was refused, or had to leave, may fit by then. At most 13 kB a second.
const START_OVER: Duration = Duration::from_secs(10);

/// The machine.
pub(crate) struct MempoolSync {
    cursors: BTreeMap<PeerId, PeerCursor>,
    exchange: Option<Exchange>,
    /// When it is anybody's turn again,
    next_at: Duration,
    /// and when somebody is asked for all.
    start_over_at: Duration,
    next_request: u64,
}

/// What is kept of a peer while it is connected.
struct PeerCursor {
    /// The place, in the peer's order, up to which all is dealt with.
    place: u64,
    /// Until then it is not asked.
    not_before: Duration,
    /// The requests that the peer still permits.
    requests: TokenBucket,
    /// When it was last asked for all that it has.
    started_over_at: Duration,
    /// It is new, or has transfers that were not taken when it announced them.
    is_awaited: bool,
    /// The last exchange stopped before the end.
    is_unfinished: bool,
}

/// An exchange with one peer.
struct Exchange {
    peer: PeerId,
    since: Duration,
    request: Option<u64>,
    pages: u32,
    /// The place after the last page.
    place: u64,
    has_ended: bool,
    /// Ids of the last page that are not here.
    lacking: VecDeque<Id>,
    asked_for: BTreeSet<Id>,
    /// What came and is not with the mempool yet.
    here: VecDeque<Arc<Transfer>>,
    /// What is with the mempool, fetched or announced meanwhile.
    unjudged: BTreeSet<Id>,
    /// What came before those that it follows, announced or fetched: it is handed over once more at
    /// the end.
    early: Vec<Arc<Transfer>>,
    /// How many those may be.
    most_early: usize,
}

impl Exchange {
    fn new(peer: PeerId, place: u64, since: Duration) -> Exchange {
        Exchange {
            peer,
            since,
            request: None,
            pages: 0,
            place,
            has_ended: false,
            lacking: VecDeque::new(),
            asked_for: BTreeSet::new(),
            here: VecDeque::new(),
            unjudged: BTreeSet::new(),
            early: Vec::new(),
            most_early: MAX_EARLY,
        }
    }
}

impl MempoolSync {
    pub(crate) fn new() -> MempoolSync {
        MempoolSync {
            cursors: BTreeMap::new(),
            exchange: None,
            next_at: Duration::ZERO,
            start_over_at: Duration::ZERO,
            next_request: 0,
        }
    }

    /// A peer is there.
    pub(crate) fn peer_connected(&mut self, peer: PeerId) {
        self.cursors.insert(peer, PeerCursor::new());
    }

    /// A peer is gone. What was asked of it comes to its end by itself.
    pub(crate) fn peer_disconnected(&mut self, peer: &PeerId) {
        self.cursors.remove(peer);
    }

    /// A request came to its end.
    pub(crate) fn replied(
        &mut self,
        cx: &mut Context<impl ChainView>,
        request: u64,
        result: Result<Response, Failure>,
        transfers: &mut InFlightTransfers,
    ) {
        let Some(exchange) =
            self.exchange.as_mut().filter(|exchange| exchange.request == Some(request))
        else {
            return;
        };
        exchange.request = None;
        let peer = exchange.peer;
        let is_good = match result {
            Ok(Response::PoolIds { ids, next }) if exchange.asked_for.is_empty() => {
                exchange.ids_came(cx, &ids, next, transfers)
            }
            Ok(Response::PoolTransfers(transfers)) => exchange.transfers_came(transfers),
            Ok(Response::Error(_)) => return self.end(cx, AFTER_FAILURE),
            Err(failure) => {
                cx.report_failure(peer, failure);
                return self.end(cx, AFTER_FAILURE);
            }
            Ok(_) => false,
        };
        if is_good {
            self.go_on(cx, transfers);
        } else {
            cx.report(peer, Misbehavior::WrongReply);
            self.end(cx, AFTER_FAILURE);
        }
    }

    /// A transfer was judged: there may be room for another one.
    pub(crate) fn transfer_validated(
        &mut self,
        cx: &mut Context<impl ChainView>,
        came: &InFlightTransfer,
        validation: TransferValidation,
        transfers: &mut InFlightTransfers,
    ) {
        if let Some(exchange) = &mut self.exchange {
            let is_its = exchange.unjudged.remove(&came.transfer.id());
            match validation {
                TransferValidation::Invalid if is_its => return self.end(cx, AFTER_FAILURE),
                TransferValidation::TooFar if exchange.early.len() < MAX_EARLY => {
                    exchange.early.push(Arc::clone(&came.transfer));
                }
                _ => {}
            }
        }
        self.go_on(cx, transfers);
    }

    /// Time passes.
    pub(crate) fn tick(
        &mut self,
        cx: &mut Context<impl ChainView>,
        transfers: &mut InFlightTransfers,
    ) {
        for peer in transfers.take_behind() {
            if let Some(cursor) = self.cursors.get_mut(&peer) {
                cursor.is_awaited = true;
            }
        }
        if self.exchange.is_none() && cx.is_synced {
            self.begin(cx.now.elapsed);
        }
        self.go_on(cx, transfers);
    }

    /// Begins an exchange, if it is time for one.
    fn begin(&mut self, now: Duration) {
        let is_anybodys = now >= self.next_at;
        let mut starts_over = is_anybodys && now >= self.start_over_at;
        let mut next = self.least_of(now, |cursor| {
            (starts_over && !cursor.is_unfinished).then_some(cursor.started_over_at)
        });
        if next.is_none() {
            starts_over = false;
            next = self.least_of(now, |cursor| {
                let has_turn = is_anybodys || cursor.is_awaited || cursor.is_unfinished;
                has_turn.then_some(cursor.not_before)
            });
        }
        let Some(peer) = next else { return };
        let Some(cursor) = self.cursors.get_mut(&peer) else { return };
        if starts_over {
            self.start_over_at = now.saturating_add(START_OVER);
            cursor.started_over_at = now;
            cursor.place = 0;
        }
        if is_anybodys {
            self.next_at = now.saturating_add(PERIOD);
        }
        cursor.is_awaited = false;
        self.exchange = Some(Exchange::new(peer, cursor.place, now));
    }

    /// Of the peers that may be asked, and have a rank, the one with the least.
    fn least_of(
        &self,
        now: Duration,
        rank: impl Fn(&PeerCursor) -> Option<Duration>,
    ) -> Option<PeerId> {
        let ready = self.cursors.iter().filter(|(_, cursor)| cursor.may_be_asked(now));
        let ranked = ready.filter_map(|(peer, cursor)| Some((rank(cursor)?, *peer)));
        ranked.min().map(|(_, peer)| peer)
    }

    fn go_on(&mut self, cx: &mut Context<impl ChainView>, transfers: &mut InFlightTransfers) {
        let Some(exchange) = &mut self.exchange else { return };
        exchange.feed(cx, transfers);
        if !exchange.here.is_empty() || exchange.request.is_some() {
            return;
        }
        let now = cx.now.elapsed;
        // Whoever is gone is asked once more, which ends it.
        let mut gone = PeerCursor::new();
        let cursor = self.cursors.get_mut(&exchange.peer).unwrap_or(&mut gone);
        let batch = exchange.batch(cx, transfers);
        let what = if !batch.is_empty() {
            Request::PoolTransfers { ids: batch }
        } else {
            cursor.place = exchange.place;
            cursor.is_unfinished = !exchange.has_ended;
            let is_short = now.saturating_sub(exchange.since) < LONGEST;
            if !exchange.has_ended && is_short && cursor.has_room(now) {
                exchange.pages += 1;
                if exchange.pages > 1 {
                    self.start_over_at = self.start_over_at.saturating_add(START_OVER);
                }
                Request::PoolIds { from: exchange.place }
            } else if exchange.unjudged.is_empty() && !exchange.retry(cx, transfers) {
                return self.end(cx, PAUSE);
            } else {
                return;
            }
        };
        cursor.requests.spend(1, now);
        self.next_request += 1;
        exchange.request = Some(self.next_request);
        cx.request(RequestId::Mempool(self.next_request), exchange.peer, what);
    }

    /// Ends the exchange. Its peer is not asked before a time has passed.
    fn end(&mut self, cx: &Context<impl ChainView>, pause: Duration) {
        let Some(exchange) = self.exchange.take() else { return };
        if let Some(cursor) = self.cursors.get_mut(&exchange.peer) {
            cursor.not_before = cx.now.elapsed.saturating_add(pause);
        }
    }
}

impl PeerCursor {
    fn new() -> PeerCursor {
        let Limits { requests, per, .. } = Protocol::Pool.limits();
        PeerCursor {
            place: 0,
            not_before: Duration::ZERO,
            requests: TokenBucket::per_period(requests, per),
            started_over_at: Duration::ZERO,
            is_awaited: true,
            is_unfinished: false,
        }
    }

    /// Returns whether the peer permits a page and the requests that follow from it.
    fn has_room(&self, now: Duration) -> bool {
        self.requests.available(now) >= REQUESTS_PER_PAGE
    }

    fn may_be_asked(&self, now: Duration) -> bool {
        self.not_before <= now && self.has_room(now)
    }
}

impl Exchange {
    /// Whether these can be the ids of a page.
    fn ids_came(
        &mut self,
        cx: &Context<impl ChainView>,
        ids: &[Id],
        next: u64,
        transfers: &mut InFlightTransfers,
    ) -> bool {
        self.place = next;
        self.has_ended = ids.len() < MAX_POOL;
        for id in ids {
            if self.lacks(cx, id, transfers) {
                self.lacking.push_back(*id);
            }
        }
        ids.len() <= MAX_POOL
    }

    /// Whether a transfer is worth asking for. One that was announced and is with the mempool is waited
    /// for: it may have come before those that it follows.
    fn lacks(
        &mut self,
        cx: &Context<impl ChainView>,
        id: &Id,
        transfers: &mut InFlightTransfers,
    ) -> bool {
        if transfers.is_in_flight(id) {
            self.unjudged.insert(*id);
            return false;
        }
        transfers.wants(cx, id)
    }

    /// Hands over as many as are allowed on their way.
    fn feed(&mut self, cx: &mut Context<impl ChainView>, transfers: &mut InFlightTransfers) {
        while let Some(transfer) = self.here.pop_front() {
            match transfers.fetched(cx, self.peer, &transfer) {
                Admission::Yes => drop(self.unjudged.insert(transfer.id())),
                // It was announced meanwhile.
                Admission::AlreadyKnown => drop(self.lacks(cx, &transfer.id(), transfers)),
                Admission::Full => return self.here.push_front(transfer),
            }
        }
    }

    /// The next transfers to ask for: those that have not come another way meanwhile.
    fn batch(
        &mut self,
        cx: &Context<impl ChainView>,
        transfers: &mut InFlightTransfers,
    ) -> Vec<Id> {
        let mut batch = Vec::new();
        while batch.len() < BATCH
            && let Some(id) = self.lacking.pop_front()
        {
            if self.lacks(cx, &id, transfers) && self.asked_for.insert(id) {
                batch.push(id);
            }
        }
        batch
    }

    /// Whether these are transfers that were asked for, none twice.
    fn transfers_came(&mut self, transfers: Vec<Transfer>) -> bool {
        let mut asked_for = std::mem::take(&mut self.asked_for);
        let are_wanted = transfers.iter().all(|transfer| asked_for.remove(&transfer.id()));
        if are_wanted {
            self.here.extend(transfers.into_iter().map(Arc::new));
        }
        are_wanted
    }

    /// Hands over once more what came too early: a replaced transfer is in its peer's order behind
    /// those that follow it, and announcements go on meanwhile. Whether there is anything to wait for.
    /// Each time there have to be half as many, so that no transfer is judged without end.
    fn retry(
        &mut self,
        cx: &mut Context<impl ChainView>,
        transfers: &mut InFlightTransfers,
    ) -> bool {
        let mut early = std::mem::take(&mut self.early);
        if early.len() > self.most_early {
            return false;
        }
        self.most_early = early.len() / 2;
        early.sort_by_key(|transfer| transfer.nonce);
        self.here = early.into();
        self.feed(cx, transfers);
        !self.here.is_empty() || !self.unjudged.is_empty()
    }
}

#[cfg(test)]
mod tests;
