//! Transfers on their way into the mempool, announced or fetched: all counted together, so that
//! nobody gets more in by one way than by the other, and nobody keeps the others out.

use super::context::Context;
use super::machine::{AnnouncementId, Misbehavior, Output, TransferValidation};
use super::recent::Recent;
use crate::view::ChainView;
use chain::tx::{Id, Transfer};
use libp2p::PeerId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Most transfers on their way at once: a block that comes behind them waits some 150 ms. All peers
/// have equal shares of it,
pub(crate) const MAX_IN_FLIGHT: usize = 4_000;
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
pub(crate) struct InFlightTransfer {
    pub(crate) transfer: Arc<Transfer>,
    pub(crate) peer: PeerId,
    pub(crate) origin: Origin,
    pub(crate) since: Duration,
}

/// What became of a transfer that a peer sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It was handed to the mempool.
    Yes,
    /// It is here, or was not long ago.
    AlreadyKnown,
    /// The peer has too many on the way.
    Full,
}

/// What is remembered of a transfer.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// From when on it may be fetched.
    fetch_from: Duration,
    /// What is to be done when the mempool tells that it took it.
    announce_policy: AnnouncePolicy,
}

/// What is to be done about a transfer that entered the mempool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AnnouncePolicy {
    /// Nothing: whoever announced it has told everybody.
    Never,
    /// Tell others: it waited in a part of the network that was apart.
    First,
    /// Tell others once more: it has come back.
    Again,
}

/// Transfers on their way, and those that came lately.
pub(crate) struct InFlightTransfers {
    in_flight: BTreeMap<Id, InFlightTransfer>,
    of_peer: BTreeMap<PeerId, usize>,
    /// Peers that announced what was not taken and may be wanted all the same.
    behind: BTreeSet<PeerId>,
    seen: Recent<Id, Seen>,
    /// Announcements that were taken.
    rounds: Recent<(Id, u32)>,
}

impl InFlightTransfers {
    pub(crate) fn new() -> InFlightTransfers {
        InFlightTransfers {
            in_flight: BTreeMap::new(),
            of_peer: BTreeMap::new(),
            behind: BTreeSet::new(),
            seen: Recent::new(REMEMBERED),
            rounds: Recent::new(REMEMBERED),
        }
    }

    /// Takes an announced transfer. One that is fetched at this moment is one announced from then on,
    /// so that it is forwarded.
    pub(crate) fn announced(
        &mut self,
        cx: &mut Context<impl ChainView>,
        peer: PeerId,
        id: AnnouncementId,
        (round, transfer): (u32, &Arc<Transfer>),
    ) -> Admission {
        let key = (transfer.id(), round);
        if self.rounds.contains(&key) {
            return Admission::AlreadyKnown;
        }
        let origin = Origin::Announced(Some(id));
        let taken = match self.in_flight.get_mut(&key.0) {
            Some(came) if came.origin == Origin::Fetched => {
                came.origin = origin;
                self.will_be(&key.0, AnnouncePolicy::Never);
                Admission::Yes
            }
            _ => self.take(cx, peer, origin, transfer),
        };
        match taken {
            Admission::Yes => drop(self.rounds.insert(key, ())),
            Admission::Full => drop(self.behind.insert(peer)),
            Admission::AlreadyKnown => {}
        }
        taken
    }

    /// Takes a transfer that was asked for.
    pub(crate) fn fetched(
        &mut self,
        cx: &mut Context<impl ChainView>,
        peer: PeerId,
        transfer: &Arc<Transfer>,
    ) -> Admission {
        self.take(cx, peer, Origin::Fetched, transfer)
    }

    fn take(
        &mut self,
        cx: &mut Context<impl ChainView>,
        peer: PeerId,
        origin: Origin,
        transfer: &Arc<Transfer>,
    ) -> Admission {
        let id = transfer.id();
        if self.in_flight.contains_key(&id) || cx.chain.transfer(&id).is_some() {
            return Admission::AlreadyKnown;
        }
        let share = (MAX_IN_FLIGHT / cx.peers.len().max(1)).max(LEAST_SHARE);
        let count = self.of_peer.entry(peer).or_default();
        if *count >= share || self.in_flight.len() >= MAX_IN_FLIGHT {
            return Admission::Full;
        }
        *count += 1;
        let since = cx.now.elapsed;
        let came = InFlightTransfer { transfer: Arc::clone(transfer), peer, origin, since };
        self.in_flight.insert(id, came);
        let announce_policy = match origin {
            Origin::Announced(_) => AnnouncePolicy::Never,
            // Its first announcement was not forwarded here, and never will be.
            Origin::Fetched if self.seen.contains(&id) => AnnouncePolicy::Again,
            Origin::Fetched => AnnouncePolicy::First,
        };
        let fetch_from = since.saturating_add(NOT_AGAIN);
        self.seen.insert(id, Seen { fetch_from, announce_policy });
        cx.out.push(Output::ImportTransfer(Arc::clone(transfer)));
        Admission::Yes
    }

    /// Whether the mempool is judging a transfer.
    pub(crate) fn is_in_flight(&self, id: &Id) -> bool {
        self.in_flight.contains_key(id)
    }

    /// Whether a transfer that a peer has is worth asking for.
    pub(crate) fn wants(&mut self, cx: &Context<impl ChainView>, id: &Id) -> bool {
        let is_too_early = |seen: &mut Seen| cx.now.elapsed < seen.fetch_from;
        !self.seen.get_mut(id).is_some_and(is_too_early) && cx.chain.transfer(id).is_none()
    }

    /// The mempool has judged a transfer; how that came. `None` if it was not one of these.
    pub(crate) fn validated(
        &mut self,
        cx: &mut Context<impl ChainView>,
        id: &Id,
        validation: TransferValidation,
    ) -> Option<InFlightTransfer> {
        let came = self.in_flight.remove(id)?;
        if let Some(count) = self.of_peer.get_mut(&came.peer) {
            *count -= 1;
            if *count == 0 {
                self.of_peer.remove(&came.peer);
            }
        }
        match validation {
            TransferValidation::Added | TransferValidation::Known => {}
            TransferValidation::TooFar => self.came_too_early(cx, id, &came),
            TransferValidation::Refused | TransferValidation::Failed => {
                self.will_be(id, AnnouncePolicy::Again);
            }
            TransferValidation::Invalid => {
                self.will_be(id, AnnouncePolicy::Again);
                cx.report(came.peer, Misbehavior::BadAnnouncement);
            }
        }
        Some(came)
    }

    fn will_be(&mut self, id: &Id, announce_policy: AnnouncePolicy) {
        if let Some(seen) = self.seen.get_mut(id) {
            seen.announce_policy = announce_policy;
        }
    }

    /// Something before this one was lost: it may be fetched again after that, and whoever announced
    /// it has both.
    fn came_too_early(&mut self, cx: &Context<impl ChainView>, id: &Id, came: &InFlightTransfer) {
        let seen = Seen { fetch_from: cx.now.elapsed, announce_policy: AnnouncePolicy::Again };
        self.seen.insert(*id, seen);
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
    pub(crate) fn round(&mut self, cx: &Context<impl ChainView>, id: Id) -> Option<u32> {
        let Some(known) = self.seen.get_mut(&id) else {
            let fetch_from = cx.now.elapsed.saturating_add(NOT_AGAIN);
            self.seen.insert(id, Seen { fetch_from, announce_policy: AnnouncePolicy::Again });
            return Some(0);
        };
        match std::mem::replace(&mut known.announce_policy, AnnouncePolicy::Again) {
            AnnouncePolicy::Never => None,
            AnnouncePolicy::First => Some(0),
            AnnouncePolicy::Again => Some(cx.chain.tip().height.get()),
        }
    }

    /// Whether others have probably seen of a transfer.
    pub(crate) fn was_seen(&self, id: &Id) -> bool {
        self.seen.contains(id)
    }

    /// Announcements that have waited for a validation result since before a time; they will not be given
    /// one here.
    pub(crate) fn overdue(&mut self, before: Duration) -> Vec<AnnouncementId> {
        let late = self.in_flight.values_mut().filter(|came| came.since <= before);
        let ids = late.filter_map(|came| match &mut came.origin {
            Origin::Announced(id) => id.take(),
            Origin::Fetched => None,
        });
        ids.collect()
    }
}
