//! The exchange of mempools: gossip forgets and loses, and this makes it good. A peer is asked for
//! what came to it since it was asked last, in that order: so a sender's transfers come in the order
//! of their nonces. One peer at a time. Pure, like sync and relay.

use crate::engine::intake::{Intake, OnTheWay, Taken};
use crate::engine::step::Step;
use crate::engine::{Conduct, Failure, RequestId, TransferVerdict};
use crate::message::{MAX_POOL, Protocol, Reply, Request};
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
pub(crate) struct Exchange {
    contacts: BTreeMap<PeerId, Contact>,
    talk: Option<Talk>,
    /// When it is anybody's turn again,
    next_at: Duration,
    /// and when somebody is asked for all.
    start_over_at: Duration,
    next_request: u64,
}

/// What is kept of a peer while it is connected.
#[derive(Default)]
struct Contact {
    /// The place, in the peer's order, up to which all is dealt with.
    place: u64,
    /// Until then it is not asked.
    not_before: Duration,
    /// When no request counts any more with the peer.
    forgotten_at: Duration,
    /// When it was last asked for all that it has.
    started_over_at: Duration,
    /// It is new, or has transfers that were not taken when it announced them.
    is_awaited: bool,
    /// The last exchange stopped before the end.
    is_unfinished: bool,
}

/// An exchange with one peer.
struct Talk {
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

impl Talk {
    fn new(peer: PeerId, place: u64, since: Duration) -> Talk {
        Talk {
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

impl Exchange {
    pub(crate) fn new() -> Exchange {
        Exchange {
            contacts: BTreeMap::new(),
            talk: None,
            next_at: Duration::ZERO,
            start_over_at: Duration::ZERO,
            next_request: 0,
        }
    }

    /// A peer is there.
    pub(crate) fn up(&mut self, peer: PeerId) {
        self.contacts.insert(peer, Contact { is_awaited: true, ..Contact::default() });
    }

    /// A peer is gone. What was asked of it comes to its end by itself.
    pub(crate) fn down(&mut self, peer: &PeerId) {
        self.contacts.remove(peer);
    }

    /// A request came to its end.
    pub(crate) fn replied(
        &mut self,
        step: &mut Step<impl ChainView>,
        request: u64,
        result: Result<Reply, Failure>,
        intake: &mut Intake,
    ) {
        let Some(talk) = self.talk.as_mut().filter(|talk| talk.request == Some(request)) else {
            return;
        };
        talk.request = None;
        let peer = talk.peer;
        let is_good = match result {
            Ok(Reply::PoolIds { ids, next }) if talk.asked_for.is_empty() => {
                talk.ids_came(step, &ids, next, intake)
            }
            Ok(Reply::PoolTransfers(transfers)) => talk.transfers_came(transfers),
            Ok(Reply::Refused(_)) => return self.end(step, AFTER_FAILURE),
            Err(failure) => {
                step.blame(peer, failure);
                return self.end(step, AFTER_FAILURE);
            }
            Ok(_) => false,
        };
        if is_good {
            self.go_on(step, intake);
        } else {
            step.report(peer, Conduct::WrongReply);
            self.end(step, AFTER_FAILURE);
        }
    }

    /// A transfer was judged: there may be room for another one.
    pub(crate) fn judged(
        &mut self,
        step: &mut Step<impl ChainView>,
        came: &OnTheWay,
        verdict: TransferVerdict,
        intake: &mut Intake,
    ) {
        if let Some(talk) = &mut self.talk {
            let is_its = talk.unjudged.remove(&came.transfer.id());
            match verdict {
                TransferVerdict::Invalid if is_its => return self.end(step, AFTER_FAILURE),
                TransferVerdict::TooFar if talk.early.len() < MAX_EARLY => {
                    talk.early.push(Arc::clone(&came.transfer));
                }
                _ => {}
            }
        }
        self.go_on(step, intake);
    }

    /// Time passes.
    pub(crate) fn tick(&mut self, step: &mut Step<impl ChainView>, intake: &mut Intake) {
        for peer in intake.take_behind() {
            if let Some(contact) = self.contacts.get_mut(&peer) {
                contact.is_awaited = true;
            }
        }
        if self.talk.is_none() && step.is_synced {
            self.begin(step.now.elapsed);
        }
        self.go_on(step, intake);
    }

    /// Begins an exchange, if it is time for one.
    fn begin(&mut self, now: Duration) {
        let is_anybodys = now >= self.next_at;
        let mut starts_over = is_anybodys && now >= self.start_over_at;
        let mut next = self.least_of(now, |contact| {
            (starts_over && !contact.is_unfinished).then_some(contact.started_over_at)
        });
        if next.is_none() {
            starts_over = false;
            next = self.least_of(now, |contact| {
                let has_turn = is_anybodys || contact.is_awaited || contact.is_unfinished;
                has_turn.then_some(contact.not_before)
            });
        }
        let Some(peer) = next else { return };
        let Some(contact) = self.contacts.get_mut(&peer) else { return };
        if starts_over {
            self.start_over_at = now.saturating_add(START_OVER);
            contact.started_over_at = now;
            contact.place = 0;
        }
        if is_anybodys {
            self.next_at = now.saturating_add(PERIOD);
        }
        contact.is_awaited = false;
        self.talk = Some(Talk::new(peer, contact.place, now));
    }

    /// Of the peers that may be asked, and have a rank, the one with the least.
    fn least_of(
        &self,
        now: Duration,
        rank: impl Fn(&Contact) -> Option<Duration>,
    ) -> Option<PeerId> {
        let ready = self.contacts.iter().filter(|(_, contact)| contact.may_be_asked(now));
        let ranked = ready.filter_map(|(peer, contact)| Some((rank(contact)?, *peer)));
        ranked.min().map(|(_, peer)| peer)
    }

    fn go_on(&mut self, step: &mut Step<impl ChainView>, intake: &mut Intake) {
        let Some(talk) = &mut self.talk else { return };
        talk.feed(step, intake);
        if !talk.here.is_empty() || talk.request.is_some() {
            return;
        }
        let now = step.now.elapsed;
        // Whoever is gone is asked once more, which ends it.
        let mut gone = Contact::default();
        let contact = self.contacts.get_mut(&talk.peer).unwrap_or(&mut gone);
        let batch = talk.batch(step, intake);
        let what = if !batch.is_empty() {
            Request::PoolTransfers { ids: batch }
        } else {
            contact.place = talk.place;
            contact.is_unfinished = !talk.has_ended;
            let is_short = now.saturating_sub(talk.since) < LONGEST;
            if !talk.has_ended && is_short && contact.has_room(now) {
                talk.pages += 1;
                if talk.pages > 1 {
                    self.start_over_at = self.start_over_at.saturating_add(START_OVER);
                }
                Request::PoolIds { from: talk.place }
            } else if talk.unjudged.is_empty() && !talk.retry(step, intake) {
                return self.end(step, PAUSE);
            } else {
                return;
            }
        };
        contact.count_request(now);
        self.next_request += 1;
        talk.request = Some(self.next_request);
        step.ask(RequestId::Pool(self.next_request), talk.peer, what);
    }

    /// Ends the exchange. Its peer is not asked before a time has passed.
    fn end(&mut self, step: &Step<impl ChainView>, pause: Duration) {
        let Some(talk) = self.talk.take() else { return };
        if let Some(contact) = self.contacts.get_mut(&talk.peer) {
            contact.not_before = step.now.elapsed.saturating_add(pause);
        }
    }
}

impl Contact {
    fn may_be_asked(&self, now: Duration) -> bool {
        self.not_before <= now && self.has_room(now)
    }

    /// Whether a page, and what it leads to, is within what a peer may ask.
    fn has_room(&self, now: Duration) -> bool {
        let limits = Protocol::Pool.limits();
        let each = limits.per / limits.requests;
        let counts = self.forgotten_at.saturating_sub(now);
        counts.saturating_add(each * REQUESTS_PER_PAGE) <= limits.per
    }

    fn count_request(&mut self, now: Duration) {
        let limits = Protocol::Pool.limits();
        let each = limits.per / limits.requests;
        self.forgotten_at = self.forgotten_at.max(now).saturating_add(each);
    }
}

impl Talk {
    /// Whether these can be the ids of a page.
    fn ids_came(
        &mut self,
        step: &Step<impl ChainView>,
        ids: &[Id],
        next: u64,
        intake: &mut Intake,
    ) -> bool {
        self.place = next;
        self.has_ended = ids.len() < MAX_POOL;
        for id in ids {
            if self.lacks(step, id, intake) {
                self.lacking.push_back(*id);
            }
        }
        ids.len() <= MAX_POOL
    }

    /// Whether a transfer is worth asking for. One that was announced and is with the mempool is waited
    /// for: it may have come before those that it follows.
    fn lacks(&mut self, step: &Step<impl ChainView>, id: &Id, intake: &mut Intake) -> bool {
        if intake.is_on_the_way(id) {
            self.unjudged.insert(*id);
            return false;
        }
        intake.wants(step, id)
    }

    /// Hands over as many as are allowed on their way.
    fn feed(&mut self, step: &mut Step<impl ChainView>, intake: &mut Intake) {
        while let Some(transfer) = self.here.pop_front() {
            match intake.fetched(step, self.peer, &transfer) {
                Taken::Yes => drop(self.unjudged.insert(transfer.id())),
                // It was announced meanwhile.
                Taken::Known => drop(self.lacks(step, &transfer.id(), intake)),
                Taken::Full => return self.here.push_front(transfer),
            }
        }
    }

    /// The next transfers to ask for: those that have not come another way meanwhile.
    fn batch(&mut self, step: &Step<impl ChainView>, intake: &mut Intake) -> Vec<Id> {
        let mut batch = Vec::new();
        while batch.len() < BATCH
            && let Some(id) = self.lacking.pop_front()
        {
            if self.lacks(step, &id, intake) && self.asked_for.insert(id) {
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
    fn retry(&mut self, step: &mut Step<impl ChainView>, intake: &mut Intake) -> bool {
        let mut early = std::mem::take(&mut self.early);
        if early.len() > self.most_early {
            return false;
        }
        self.most_early = early.len() / 2;
        early.sort_by_key(|transfer| transfer.nonce);
        self.here = early.into();
        self.feed(step, intake);
        !self.here.is_empty() || !self.unjudged.is_empty()
    }
}

#[cfg(test)]
mod tests;
