//! Transfers on their way into the mempool, announced or fetched: all counted together, so that
//! nobody gets more in by one way than by the other, and nobody keeps the others out.

use super::ring::Ring;
use super::step::Step;
use super::{AnnouncementId, Conduct, Output, TransferVerdict};
use crate::view::ChainView;
use chain::tx::{Id, Transfer};
use libp2p::PeerId;
use std::collections::BTreeMap;
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
const NOT_AGAIN: Duration = Duration::from_secs(60);

/// How a transfer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Announced; `None` once that has been judged.
    Announced(Option<AnnouncementId>),
    /// Asked for.
    Fetched,
}

/// A transfer that the mempool is judging.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OnTheWay {
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
    at: Duration,
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
    heard: Ring<Id, Heard>,
    /// Announcements that were taken.
    rounds: Ring<(Id, u32)>,
}

impl Intake {
    pub(crate) fn new() -> Intake {
        Intake {
            on_the_way: BTreeMap::new(),
            of_peer: BTreeMap::new(),
            heard: Ring::new(REMEMBERED),
            rounds: Ring::new(REMEMBERED),
        }
    }

    /// Takes an announced transfer.
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
        let taken = self.take(step, peer, Origin::Announced(Some(id)), transfer);
        if taken == Taken::Yes {
            self.rounds.insert(key, ());
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
        self.on_the_way.insert(id, OnTheWay { peer, origin, since });
        let once_pooled = match origin {
            Origin::Announced(_) => OncePooled::Nothing,
            Origin::Fetched => OncePooled::Tell,
        };
        self.heard.insert(id, Heard { at: since, once_pooled });
        step.out.push(Output::ImportTransfer(Arc::clone(transfer)));
        Taken::Yes
    }

    /// Whether a transfer that a peer has is worth asking for.
    pub(crate) fn wants(&mut self, step: &Step<impl ChainView>, id: &Id) -> bool {
        let now = step.now.elapsed;
        let is_recent = |heard: &mut Heard| now.saturating_sub(heard.at) < NOT_AGAIN;
        !self.heard.get_mut(id).is_some_and(is_recent) && step.chain.transfer(id).is_none()
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
            TransferVerdict::Refused | TransferVerdict::Failed => self.will_not_be_news(id),
            TransferVerdict::Invalid => {
                self.will_not_be_news(id);
                step.report(came.peer, Conduct::BadAnnouncement);
            }
        }
        Some(came)
    }

    fn will_not_be_news(&mut self, id: &Id) {
        if let Some(heard) = self.heard.get_mut(id) {
            heard.once_pooled = OncePooled::TellAgain;
        }
    }

    /// The mempool tells that it took a transfer. The round in which others should hear of it:
    /// `None` if they have.
    pub(crate) fn round(&mut self, step: &Step<impl ChainView>, id: Id) -> Option<u32> {
        let Some(known) = self.heard.get_mut(&id) else {
            let at = step.now.elapsed;
            self.heard.insert(id, Heard { at, once_pooled: OncePooled::TellAgain });
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
