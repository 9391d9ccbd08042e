//! The exchange of mempools: transfers that were announced before this node could hear of them are
//! asked for, one peer at a time. Pure, like sync and relay.

use crate::engine::intake::{Intake, OnTheWay, Origin, Taken};
use crate::engine::step::Step;
use crate::engine::{Conduct, Failure, RequestId, TransferVerdict};
use crate::message::{MAX_POOL, Reply, Request};
use crate::view::ChainView;
use chain::tx::{Id, Transfer};
use libp2p::PeerId;
use std::collections::{BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

/// Most transfers asked for at once: 1 MiB at their longest.
const BATCH: usize = 2_000;
/// Most pages of ids in one exchange: each is followed by two requests for transfers, so that they
/// stay below what a peer may ask in a minute. The next exchange goes on where this one stopped.
const MAX_PAGES: u32 = 6;
/// From the end of an exchange to the next one with anybody.
const PERIOD: Duration = Duration::from_secs(60);

/// The machine.
pub(crate) struct Exchange {
    /// Peers that were not asked yet.
    new_peers: BTreeSet<PeerId>,
    talk: Option<Talk>,
    /// Who was asked last: the others have their turn first.
    last: Option<PeerId>,
    next_at: Duration,
    next_request: u64,
    /// The last id seen, all zero after the end.
    cursor: Id,
}

/// An exchange with one peer.
struct Talk {
    peer: PeerId,
    request: Option<u64>,
    pages: u32,
    has_ended: bool,
    /// Ids of the last page that are not here.
    lacking: VecDeque<Id>,
    asked_for: BTreeSet<Id>,
    /// What came and is not with the mempool yet.
    here: VecDeque<Arc<Transfer>>,
}

impl Talk {
    fn new(peer: PeerId) -> Talk {
        Talk {
            peer,
            request: None,
            pages: 0,
            has_ended: false,
            lacking: VecDeque::new(),
            asked_for: BTreeSet::new(),
            here: VecDeque::new(),
        }
    }
}

impl Exchange {
    pub(crate) fn new() -> Exchange {
        Exchange {
            new_peers: BTreeSet::new(),
            talk: None,
            last: None,
            next_at: Duration::ZERO,
            next_request: 0,
            cursor: Id::ZERO,
        }
    }

    /// A peer is there.
    pub(crate) fn up(&mut self, peer: PeerId) {
        self.new_peers.insert(peer);
    }

    /// A peer is gone. What was asked of it comes to its end by itself.
    pub(crate) fn down(&mut self, peer: &PeerId) {
        self.new_peers.remove(peer);
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
        let is_good = match result {
            Ok(Reply::PoolIds(ids)) if talk.asked_for.is_empty() => {
                self.ids_came(step, &ids, intake)
            }
            Ok(Reply::PoolTransfers(transfers)) => talk.transfers_came(transfers),
            Ok(Reply::Refused(_)) => return self.end(step),
            Err(failure) => {
                let peer = talk.peer;
                step.blame(peer, failure);
                return self.end(step);
            }
            Ok(_) => false,
        };
        if is_good {
            self.go_on(step, intake);
        } else {
            if let Some(talk) = &self.talk {
                step.report(talk.peer, Conduct::WrongReply);
            }
            self.end(step);
        }
    }

    /// Whether these can be the ids after the cursor.
    fn ids_came(&mut self, step: &Step<impl ChainView>, ids: &[Id], intake: &mut Intake) -> bool {
        let Some(talk) = &mut self.talk else { return true };
        let ascend = ids.is_sorted_by(|earlier, later| earlier < later);
        if !ascend || ids.len() > MAX_POOL || ids.first().is_some_and(|id| *id <= self.cursor) {
            return false;
        }
        talk.has_ended = ids.len() < MAX_POOL;
        self.cursor = ids.last().copied().filter(|_| !talk.has_ended).unwrap_or(Id::ZERO);
        talk.lacking.extend(ids.iter().filter(|id| intake.wants(step, id)));
        true
    }

    /// A transfer of an exchange was judged: there is room for another one.
    pub(crate) fn judged(
        &mut self,
        step: &mut Step<impl ChainView>,
        came: OnTheWay,
        verdict: TransferVerdict,
        intake: &mut Intake,
    ) {
        let is_liar = |talk: &Talk| talk.peer == came.peer && came.origin == Origin::Fetched;
        if verdict == TransferVerdict::Invalid && self.talk.as_ref().is_some_and(is_liar) {
            return self.end(step);
        }
        self.go_on(step, intake);
    }

    /// Time passes.
    pub(crate) fn tick(&mut self, step: &mut Step<impl ChainView>, intake: &mut Intake) {
        if self.talk.is_none() && step.is_synced {
            let next = self.new_peers.pop_first().or_else(|| self.anybody(step));
            self.last = next.or(self.last);
            self.talk = next.map(Talk::new);
        }
        self.go_on(step, intake);
    }

    /// Whose turn it is, if it is time again.
    fn anybody(&self, step: &Step<impl ChainView>) -> Option<PeerId> {
        if step.now.elapsed < self.next_at {
            return None;
        }
        let after = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let next = step.peers.range((after, Bound::Unbounded)).next();
        next.or_else(|| step.peers.first_key_value()).map(|(peer, _)| *peer)
    }

    fn go_on(&mut self, step: &mut Step<impl ChainView>, intake: &mut Intake) {
        let Some(talk) = &mut self.talk else { return };
        talk.feed(step, intake);
        if !talk.here.is_empty() || talk.request.is_some() {
            return;
        }
        let peer = talk.peer;
        let batch = talk.batch(step, intake);
        let what = if !batch.is_empty() {
            Request::PoolTransfers { ids: batch }
        } else if !talk.has_ended && talk.pages < MAX_PAGES {
            talk.pages += 1;
            Request::PoolIds { after: self.cursor }
        } else {
            return self.end(step);
        };
        self.next_request += 1;
        talk.request = Some(self.next_request);
        step.ask(RequestId::Pool(self.next_request), peer, what);
    }

    fn end(&mut self, step: &Step<impl ChainView>) {
        self.talk = None;
        self.next_at = step.now.elapsed.saturating_add(PERIOD);
    }
}

impl Talk {
    /// Hands over as many as are allowed on their way.
    fn feed(&mut self, step: &mut Step<impl ChainView>, intake: &mut Intake) {
        while let Some(transfer) = self.here.pop_front() {
            if intake.fetched(step, self.peer, &transfer) == Taken::Full {
                self.here.push_front(transfer);
                return;
            }
        }
    }

    /// The next transfers to ask for: those that have not come another way meanwhile.
    fn batch(&mut self, step: &Step<impl ChainView>, intake: &mut Intake) -> Vec<Id> {
        let mut batch = Vec::new();
        while batch.len() < BATCH
            && let Some(id) = self.lacking.pop_front()
        {
            if intake.wants(step, &id) {
                batch.push(id);
            }
        }
        self.asked_for = batch.iter().copied().collect();
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
}

#[cfg(test)]
mod tests;
