//! Transfers on their way into the mempool, announced or fetched: all counted together, so that
//! nobody gets more in by one way than by the other, and nobody keeps the others out.

use super::ring::Ring;
use super::step::Step;
use super::{AnnouncementId, Conduct, Output, TransferVerdict};
use crate::view::ChainView;
use chain::tx::{Id, Transfer};
use libp2p::PeerId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Most transfers on their way at once: a block that comes behind them waits some 150 ms. All peers
/// have equal shares of it,
pub(crate) const MAX_ON_THE_WAY: usize = 4_000;
/// but never less than a node announces at once.
pub(crate) const LEAST_SHARE: usize = 750;
/// Transfers that are remembered after they came; more than fit into a block.
const REMEMBERED: usize = 20_000;
/// How long a transfer that did not stay in the mempool is not fetched again.
const NOT_AGAIN: Duration = Duration::from_secs(20);

/// How a transfer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Announced; `None` once that has been judged.
    Announced(Option<AnnouncementId>),
    /// Asked for.
    Fetched,
}

/// A transfer that the mempool is judging.
#[derive(Clone, Debug)]
pub(crate) struct OnTheWay {
    pub(crate) transfer: Arc<Transfer>,
    pub(crate) peer: PeerId,
    pub(crate) origin: Origin,
    pub(crate) since: Duration,
}

/// What became of a transfer that a peer sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It was handed to the mempool.
    Yes,
    /// It is here, or was not long ago.
    Known,
    /// The peer has too many on the way.
    Full,
}

/// What is remembered of a transfer.
#[derive(Clone, Copy, Debug)]
struct Heard {
    /// From when on it may be fetched.
    fetch_from: Duration,
    /// What is to be done when the mempool tells that it took it.
    once_pooled: OncePooled,
}

/// What is to be done about a transfer that entered the mempool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OncePooled {
    /// Nothing: whoever announced it has told everybody.
    Nothing,
    /// Tell others: it waited in a part of the network that was apart.
    Tell,
    /// Tell others once more: it has come back.
    TellAgain,
}

/// Transfers on their way, and those that came lately.
pub(crate) struct Intake {
    on_the_way: BTreeMap<Id, OnTheWay>,
    of_peer: BTreeMap<PeerId, usize>,
    /// Peers that announced what was not taken and may be wanted all the same.
    behind: BTreeSet<PeerId>,
    heard: Ring<Id, Heard>,
    /// Announcements that were taken.
    rounds: Ring<(Id, u32)>,
}

impl Intake {
    pub(crate) fn new() -> Intake {
        Intake {
            on_the_way: BTreeMap::new(),
            of_peer: BTreeMap::new(),
            behind: BTreeSet::new(),
            heard: Ring::new(REMEMBERED),
            rounds: Ring::new(REMEMBERED),
        }
    }

    /// Takes an announced transfer. One that is fetched at this moment is one announced from then on,
    /// so that it is forwarded.
    pub(crate) fn announced(
        &mut self,
        step: &mut Step<impl ChainView>,
        peer: PeerId,
        id: AnnouncementId,
        (round, transfer): (u32, &Arc<Transfer>),
    ) -> Taken {
        let key = (transfer.id(), round);
        if self.rounds.contains(&key) {
            return Taken::Known;
        }
        let origin = Origin::Announced(Some(id));
        let taken = match self.on_the_way.get_mut(&key.0) {
            Some(came) if came.origin == Origin::Fetched => {
                came.origin = origin;
                self.will_be(&key.0, OncePooled::Nothing);
                Taken::Yes
            }
            _ => self.take(step, peer, origin, transfer),
        };
        match taken {
            Taken::Yes => drop(self.rounds.insert(key, ())),
            Taken::Full => drop(self.behind.insert(peer)),
            Taken::Known => {}
        }
        taken
    }

    /// Takes a transfer that was asked for.
    pub(crate) fn fetched(
        &mut self,
        step: &mut Step<impl ChainView>,
        peer: PeerId,
        transfer: &Arc<Transfer>,
    ) -> Taken {
        self.take(step, peer, Origin::Fetched, transfer)
    }

    fn take(
        &mut self,
        step: &mut Step<impl ChainView>,
        peer: PeerId,
        origin: Origin,
        transfer: &Arc<Transfer>,
    ) -> Taken {
        let id = transfer.id();
        if self.on_the_way.contains_key(&id) || step.chain.transfer(&id).is_some() {
            return Taken::Known;
        }
        let share = (MAX_ON_THE_WAY / step.peers.len().max(1)).max(LEAST_SHARE);
        let count = self.of_peer.entry(peer).or_default();
        if *count >= share || self.on_the_way.len() >= MAX_ON_THE_WAY {
            return Taken::Full;
        }
        *count += 1;
        let since = step.now.elapsed;
        let came = OnTheWay { transfer: Arc::clone(transfer), peer, origin, since };
        self.on_the_way.insert(id, came);
        let once_pooled = match origin {
            Origin::Announced(_) => OncePooled::Nothing,
            // Its first announcement was not forwarded here, and never will be.
            Origin::Fetched if self.heard.contains(&id) => OncePooled::TellAgain,
            Origin::Fetched => OncePooled::Tell,
        };
        let fetch_from = since.saturating_add(NOT_AGAIN);
        self.heard.insert(id, Heard { fetch_from, once_pooled });
        step.out.push(Output::ImportTransfer(Arc::clone(transfer)));
        Taken::Yes
    }

    /// Whether the mempool is judging a transfer.
    pub(crate) fn is_on_the_way(&self, id: &Id) -> bool {
        self.on_the_way.contains_key(id)
    }

    /// Whether a transfer that a peer has is worth asking for.
    pub(crate) fn wants(&mut self, step: &Step<impl ChainView>, id: &Id) -> bool {
        let is_too_early = |heard: &mut Heard| step.now.elapsed < heard.fetch_from;
        !self.heard.get_mut(id).is_some_and(is_too_early) && step.chain.transfer(id).is_none()
    }

    /// The mempool has judged a transfer; how that came. `None` if it was not one of these.
    pub(crate) fn judged(
        &mut self,
        step: &mut Step<impl ChainView>,
        id: &Id,
        verdict: TransferVerdict,
    ) -> Option<OnTheWay> {
        let came = self.on_the_way.remove(id)?;
        if let Some(count) = self.of_peer.get_mut(&came.peer) {
            *count -= 1;
            if *count == 0 {
                self.of_peer.remove(&came.peer);
            }
        }
        match verdict {
            TransferVerdict::Added | TransferVerdict::Known => {}
            TransferVerdict::TooFar => self.came_too_early(step, id, &came),
            TransferVerdict::Refused | TransferVerdict::Failed => {
                self.will_be(id, OncePooled::TellAgain);
            }
            TransferVerdict::Invalid => {
                self.will_be(id, OncePooled::TellAgain);
                step.report(came.peer, Conduct::BadAnnouncement);
            }
        }
        Some(came)
    }

    fn will_be(&mut self, id: &Id, once_pooled: OncePooled) {
        if let Some(heard) = self.heard.get_mut(id) {
            heard.once_pooled = once_pooled;
        }
    }

    /// Something before this one was lost: it may be fetched again after that, and whoever announced
    /// it has both.
    fn came_too_early(&mut self, step: &Step<impl ChainView>, id: &Id, came: &OnTheWay) {
        let heard = Heard { fetch_from: step.now.elapsed, once_pooled: OncePooled::TellAgain };
        self.heard.insert(*id, heard);
        if came.origin != Origin::Fetched {
            self.behind.insert(came.peer);
        }
    }

    /// Peers that announced what was not taken, since this was asked last.
    pub(crate) fn take_behind(&mut self) -> BTreeSet<PeerId> {
        std::mem::take(&mut self.behind)
    }

    /// The mempool tells that it took a transfer. The round in which others should hear of it:
    /// `None` if they have.
    pub(crate) fn round(&mut self, step: &Step<impl ChainView>, id: Id) -> Option<u32> {
        let Some(known) = self.heard.get_mut(&id) else {
            let fetch_from = step.now.elapsed.saturating_add(NOT_AGAIN);
            self.heard.insert(id, Heard { fetch_from, once_pooled: OncePooled::TellAgain });
            return Some(0);
        };
        match std::mem::replace(&mut known.once_pooled, OncePooled::TellAgain) {
            OncePooled::Nothing => None,
            OncePooled::Tell => Some(0),
            OncePooled::TellAgain => Some(step.chain.tip().height.get()),
        }
    }

    /// Whether others have probably heard of a transfer.
    pub(crate) fn was_heard(&self, id: &Id) -> bool {
        self.heard.contains(id)
    }

    /// Announcements that have waited for a judgement since before a time; they will not be given
    /// one here.
    pub(crate) fn overdue(&mut self, before: Duration) -> Vec<AnnouncementId> {
        let late = self.on_the_way.values_mut().filter(|came| came.since <= before);
        let ids = late.filter_map(|came| match &mut came.origin {
            Origin::Announced(id) => id.take(),
            Origin::Fetched => None,
        });
        ids.collect()
    }
}
