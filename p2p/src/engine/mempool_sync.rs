//! Mempool sync: fetches the transfers that gossip has lost. A peer is asked for the ids that entered
//! its mempool since the last exchange, in that order, so that the transfers of a sender arrive in the
//! order of their nonces. There is one exchange at a time.

use crate::engine::context::Context;
use crate::engine::machine::{Failure, Misbehavior, RequestId, TransferValidation};
use crate::engine::transfers::{Admission, InFlightTransfer, InFlightTransfers};
use crate::message::{Limits, MAX_MEMPOOL_ITEMS, Protocol, Request, Response};
use crate::rate_limit::TokenBucket;
use chain::tx::{Id, Transfer};
use libp2p::PeerId;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Most transfers of one request: 1 MiB at their greatest size.
const MAX_BATCH: usize = 2_000;
/// Requests that a page of ids causes: its own, and those for its transfers. An exchange ends where
/// the peer does not permit that many; the next one continues.
const REQUESTS_PER_PAGE: u32 = 3;
/// From one exchange to the next with the peer that was not asked for the longest time. Peers that
/// are known to have more are asked in between.
const PERIOD: Duration = Duration::from_secs(5);
/// The longest duration of one exchange.
const MAX_DURATION: Duration = Duration::from_secs(20);
/// Most transfers that are stored until those arrive that they depend on.
const MAX_ORPHANS: usize = 8_000;
/// The least time from one exchange to the next with the same peer.
const PAUSE: Duration = Duration::from_secs(1);
/// The least time after an exchange that failed.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(10);
/// From one exchange of a whole mempool to the next, for each page of it: transfers that were
/// rejected or evicted may fit by then. At most 13 kB a second.
const RESTART_PERIOD: Duration = Duration::from_secs(10);

/// The mempool sync state machine.
pub(crate) struct MempoolSync {
    cursors: BTreeMap<PeerId, PeerCursor>,
    exchange: Option<Exchange>,
    /// The monotonic time at which the next exchange with any peer is due.
    next_at: Duration,
    /// The monotonic time at which the next exchange of a whole mempool is due.
    restart_at: Duration,
    next_request: u64,
}

/// The state of a connected peer.
struct PeerCursor {
    /// The position in the peer's order of ids up to which all are processed.
    position: u64,
    not_before: Duration,
    /// The requests that the peer still permits.
    requests: TokenBucket,
    /// The monotonic time at which the peer's whole mempool was last requested.
    restarted_at: Duration,
    /// Whether the peer is new, or has announced transfers that were not admitted.
    is_due: bool,
    /// Whether the last exchange with the peer ended before it was complete.
    is_unfinished: bool,
}

impl PeerCursor {
    fn new() -> PeerCursor {
        let Limits { requests, per, .. } = Protocol::Mempool.limits();
        PeerCursor {
            position: 0,
            not_before: Duration::ZERO,
            requests: TokenBucket::per_period(requests, per),
            restarted_at: Duration::ZERO,
            is_due: true,
            is_unfinished: false,
        }
    }

    fn is_available(&self, now: Duration) -> bool {
        self.not_before <= now && self.permits_page(now)
    }

    /// Returns whether the peer permits a page and the requests that follow from it.
    fn permits_page(&self, now: Duration) -> bool {
        self.requests.available(now) >= REQUESTS_PER_PAGE
    }
}

impl MempoolSync {
    pub(crate) fn new() -> MempoolSync {
        MempoolSync {
            cursors: BTreeMap::new(),
            exchange: None,
            next_at: Duration::ZERO,
            restart_at: Duration::ZERO,
            next_request: 0,
        }
    }

    pub(crate) fn peer_connected(&mut self, peer: PeerId) {
        self.cursors.insert(peer, PeerCursor::new());
    }

    /// Removes a peer. Its request in flight ends with a failure.
    pub(crate) fn peer_disconnected(&mut self, peer: &PeerId) {
        self.cursors.remove(peer);
    }

    /// Processes the end of a request.
    pub(crate) fn handle_response(
        &mut self,
        cx: &mut Context,
        request: u64,
        result: Result<Response, Failure>,
        transfers: &mut InFlightTransfers,
    ) {
        let is_current = |exchange: &&mut Exchange| exchange.request == Some(request);
        let Some(exchange) = self.exchange.as_mut().filter(is_current) else { return };
        exchange.request = None;
        let peer = exchange.peer;
        let is_valid = match result {
            Ok(Response::MempoolIds { ids, next }) if exchange.requested.is_empty() => {
                exchange.handle_ids(cx, &ids, next, transfers)
            }
            Ok(Response::MempoolTransfers(received)) => exchange.handle_transfers(received),
            Ok(Response::Error(_)) => return self.end(cx, PAUSE_AFTER_FAILURE),
            Err(failure) => {
                cx.report_failure(peer, failure);
                return self.end(cx, PAUSE_AFTER_FAILURE);
            }
            Ok(_) => false,
        };
        if is_valid {
            self.advance(cx, transfers);
        } else {
            cx.report(peer, Misbehavior::WrongResponse);
            self.end(cx, PAUSE_AFTER_FAILURE);
        }
    }

    /// Processes the validation result of a transfer, after which there may be room for another.
    pub(crate) fn transfer_validated(
        &mut self,
        cx: &mut Context,
        in_flight: &InFlightTransfer,
        validation: TransferValidation,
        transfers: &mut InFlightTransfers,
    ) {
        if let Some(exchange) = &mut self.exchange {
            let was_awaited = exchange.validating.remove(&in_flight.transfer.id());
            match validation {
                TransferValidation::Invalid if was_awaited => {
                    return self.end(cx, PAUSE_AFTER_FAILURE);
                }
                TransferValidation::NonceTooFar if exchange.orphans.len() < MAX_ORPHANS => {
                    exchange.orphans.push(Arc::clone(&in_flight.transfer));
                }
                _ => {}
            }
        }
        self.advance(cx, transfers);
    }

    pub(crate) fn tick(&mut self, cx: &mut Context, transfers: &mut InFlightTransfers) {
        for peer in transfers.drain_peers_ahead() {
            if let Some(cursor) = self.cursors.get_mut(&peer) {
                cursor.is_due = true;
            }
        }
        if self.exchange.is_none() && cx.is_synced {
            self.begin(cx.now.elapsed);
        }
        self.advance(cx, transfers);
    }

    /// Begins an exchange if one is due.
    fn begin(&mut self, now: Duration) {
        let is_period_over = now >= self.next_at;
        let mut restarts = is_period_over && now >= self.restart_at;
        let mut next = self.min_by_rank(now, |cursor| {
            (restarts && !cursor.is_unfinished).then_some(cursor.restarted_at)
        });
        if next.is_none() {
            restarts = false;
            next = self.min_by_rank(now, |cursor| {
                let is_due = is_period_over || cursor.is_due || cursor.is_unfinished;
                is_due.then_some(cursor.not_before)
            });
        }
        let Some(peer) = next else { return };
        let Some(cursor) = self.cursors.get_mut(&peer) else { return };
        if restarts {
            self.restart_at = now.saturating_add(RESTART_PERIOD);
            cursor.restarted_at = now;
            cursor.position = 0;
        }
        if is_period_over {
            self.next_at = now.saturating_add(PERIOD);
        }
        cursor.is_due = false;
        self.exchange = Some(Exchange::new(peer, cursor.position, now));
    }

    /// The available peer with the least rank, of those that have one.
    fn min_by_rank(
        &self,
        now: Duration,
        rank: impl Fn(&PeerCursor) -> Option<Duration>,
    ) -> Option<PeerId> {
        let available = self.cursors.iter().filter(|(_, cursor)| cursor.is_available(now));
        let ranked = available.filter_map(|(peer, cursor)| Some((rank(cursor)?, *peer)));
        ranked.min().map(|(_, peer)| peer)
    }

    /// Submits transfers and sends the next request.
    fn advance(&mut self, cx: &mut Context, transfers: &mut InFlightTransfers) {
        let Some(exchange) = &mut self.exchange else { return };
        exchange.submit(cx, transfers);
        if !exchange.received.is_empty() || exchange.request.is_some() {
            return;
        }
        let now = cx.now.elapsed;
        // A request to a peer that has disconnected fails, which ends the exchange.
        let mut disconnected = PeerCursor::new();
        let cursor = self.cursors.get_mut(&exchange.peer).unwrap_or(&mut disconnected);
        let batch = exchange.next_batch(cx, transfers);
        let request = if !batch.is_empty() {
            Request::MempoolTransfers { ids: batch }
        } else {
            cursor.position = exchange.position;
            cursor.is_unfinished = !exchange.is_complete;
            let is_short = now.saturating_sub(exchange.since) < MAX_DURATION;
            if !exchange.is_complete && is_short && cursor.permits_page(now) {
                exchange.pages += 1;
                if exchange.pages > 1 {
                    self.restart_at = self.restart_at.saturating_add(RESTART_PERIOD);
                }
                Request::MempoolIds { from: exchange.position }
            } else if exchange.validating.is_empty() && !exchange.retry_orphans(cx, transfers) {
                return self.end(cx, PAUSE);
            } else {
                return;
            }
        };
        cursor.requests.spend(1, now);
        self.next_request += 1;
        exchange.request = Some(self.next_request);
        cx.request(RequestId::Mempool(self.next_request), exchange.peer, request);
    }

    /// Ends the exchange and pauses its peer.
    fn end(&mut self, cx: &Context, pause: Duration) {
        let Some(exchange) = self.exchange.take() else { return };
        if let Some(cursor) = self.cursors.get_mut(&exchange.peer) {
            cursor.not_before = cx.now.elapsed.saturating_add(pause);
        }
    }
}

/// An exchange with one peer.
struct Exchange {
    peer: PeerId,
    since: Duration,
    request: Option<u64>,
    pages: u32,
    /// The position after the last page.
    position: u64,
    is_complete: bool,
    /// Ids of the last page that are missing here.
    missing: VecDeque<Id>,
    /// Ids of the request in flight.
    requested: BTreeSet<Id>,
    /// Received transfers that are not submitted yet.
    received: VecDeque<Arc<Transfer>>,
    /// Transfers at the mempool, fetched or announced meanwhile.
    validating: BTreeSet<Id>,
    /// Transfers that arrived before those they depend on, to be submitted again at the end.
    orphans: Vec<Arc<Transfer>>,
    /// The number of orphans that may be submitted again.
    max_orphans: usize,
}

impl Exchange {
    fn new(peer: PeerId, position: u64, since: Duration) -> Exchange {
        Exchange {
            peer,
            since,
            request: None,
            pages: 0,
            position,
            is_complete: false,
            missing: VecDeque::new(),
            requested: BTreeSet::new(),
            received: VecDeque::new(),
            validating: BTreeSet::new(),
            orphans: Vec::new(),
            max_orphans: MAX_ORPHANS,
        }
    }

    /// Processes a page of ids. Returns whether it is valid.
    fn handle_ids(
        &mut self,
        cx: &Context,
        ids: &[Id],
        next: u64,
        transfers: &InFlightTransfers,
    ) -> bool {
        self.position = next;
        self.is_complete = ids.len() < MAX_MEMPOOL_ITEMS;
        for id in ids {
            if self.is_missing(cx, id, transfers) {
                self.missing.push_back(*id);
            }
        }
        ids.len() <= MAX_MEMPOOL_ITEMS
    }

    /// Returns whether a transfer is worth fetching. If it is in flight because it was announced, the
    /// exchange waits for it: it may have arrived before those it depends on.
    fn is_missing(&mut self, cx: &Context, id: &Id, transfers: &InFlightTransfers) -> bool {
        if transfers.is_in_flight(id) {
            self.validating.insert(*id);
            return false;
        }
        transfers.is_wanted(cx, id)
    }

    /// Submits as many received transfers as are admitted.
    fn submit(&mut self, cx: &mut Context, transfers: &mut InFlightTransfers) {
        while let Some(transfer) = self.received.pop_front() {
            match transfers.fetched(cx, self.peer, &transfer) {
                Admission::Admitted => drop(self.validating.insert(transfer.id())),
                // It was announced meanwhile.
                Admission::Known => drop(self.is_missing(cx, &transfer.id(), transfers)),
                Admission::ShareExceeded => return self.received.push_front(transfer),
            }
        }
    }

    /// The next transfers to request, without those that have arrived by another way.
    fn next_batch(&mut self, cx: &Context, transfers: &InFlightTransfers) -> Vec<Id> {
        let mut batch = Vec::new();
        while batch.len() < MAX_BATCH
            && let Some(id) = self.missing.pop_front()
        {
            if self.is_missing(cx, &id, transfers) && self.requested.insert(id) {
                batch.push(id);
            }
        }
        batch
    }

    /// Processes received transfers. Returns whether all were requested and none is repeated.
    fn handle_transfers(&mut self, received: Vec<Transfer>) -> bool {
        let mut requested = std::mem::take(&mut self.requested);
        let is_valid = received.iter().all(|transfer| requested.remove(&transfer.id()));
        if is_valid {
            self.received.extend(received.into_iter().map(Arc::new));
        }
        is_valid
    }

    /// Submits the orphans again: a replaced transfer comes after those that depend on it in the
    /// peer's order, and announcements arrive meanwhile. Returns whether there is a result to wait
    /// for. Each time there have to be half as many, so that no transfer is validated without end.
    fn retry_orphans(&mut self, cx: &mut Context, transfers: &mut InFlightTransfers) -> bool {
        let mut orphans = std::mem::take(&mut self.orphans);
        if orphans.len() > self.max_orphans {
            return false;
        }
        self.max_orphans = orphans.len() / 2;
        orphans.sort_by_key(|transfer| transfer.nonce);
        self.received = orphans.into();
        self.submit(cx, transfers);
        !self.received.is_empty() || !self.validating.is_empty()
    }
}

#[cfg(test)]
mod tests;
