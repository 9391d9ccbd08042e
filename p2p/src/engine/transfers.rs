//! Transfers in flight to the mempool, announced or fetched. Both are counted together, so that no
//! peer gets a greater share by one way than by the other.

use super::context::Context;
use super::machine::{AnnouncementId, Misbehavior, Output, TransferValidation};
use super::recent::Recent;
use chain::tx::{Id, Transfer};
use libp2p::PeerId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Most transfers in flight: a block that arrives behind them waits some 150 ms. All peers have equal
/// shares.
pub(crate) const MAX_IN_FLIGHT: usize = 4_000;
/// The least share of a peer: as many as a node announces at once.
pub(crate) const MIN_SHARE: usize = 750;
/// Transfers that are remembered after they were seen; more than fit into a block.
const MAX_SEEN: usize = 20_000;
/// The time for which a transfer that did not stay in the mempool is not fetched again.
const REFETCH_DELAY: Duration = Duration::from_secs(20);

/// The source of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// An announcement; `None` once its validation has been reported.
    Announced(Option<AnnouncementId>),
    /// A request of mempool sync.
    Fetched,
}

/// A transfer that the mempool is validating.
#[derive(Clone, Debug)]
pub(crate) struct InFlightTransfer {
    pub(crate) transfer: Arc<Transfer>,
    pub(crate) peer: PeerId,
    pub(crate) origin: Origin,
    pub(crate) since: Duration,
}

/// Whether a transfer from a peer was submitted to the mempool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Admitted,
    /// The transfer is in flight or in the mempool, or its announcement was seen before.
    Known,
    /// The peer has used up its share.
    ShareExceeded,
}

/// A transfer that was seen.
#[derive(Clone, Copy, Debug)]
struct Seen {
    fetch_not_before: Duration,
    announce_policy: AnnouncePolicy,
}

/// Whether this node announces a transfer when the mempool accepts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AnnouncePolicy {
    /// No: the announcement it came with is forwarded.
    Never,
    /// Yes: it waited in a part of the network that was separated.
    First,
    /// Yes, in another round: it has been announced before.
    Again,
}

/// The transfers in flight, and those seen lately.
pub(crate) struct InFlightTransfers {
    in_flight: BTreeMap<Id, InFlightTransfer>,
    count_by_peer: BTreeMap<PeerId, usize>,
    /// Peers that announced transfers which were not admitted and may be worth fetching.
    peers_ahead: BTreeSet<PeerId>,
    seen: Recent<Id, Seen>,
    /// Admitted announcements: transfer and round.
    announced: Recent<(Id, u32)>,
}

impl InFlightTransfers {
    pub(crate) fn new() -> InFlightTransfers {
        InFlightTransfers {
            in_flight: BTreeMap::new(),
            count_by_peer: BTreeMap::new(),
            peers_ahead: BTreeSet::new(),
            seen: Recent::new(MAX_SEEN),
            announced: Recent::new(MAX_SEEN),
        }
    }

    /// Submits an announced transfer. If it is being fetched already, it counts as announced from then
    /// on, so that it is forwarded.
    pub(crate) fn announced(
        &mut self,
        cx: &mut Context,
        peer: PeerId,
        id: AnnouncementId,
        (round, transfer): (u32, &Arc<Transfer>),
    ) -> Admission {
        let key = (transfer.id(), round);
        if self.announced.contains(&key) {
            return Admission::Known;
        }
        let origin = Origin::Announced(Some(id));
        let admission = match self.in_flight.get_mut(&key.0) {
            Some(in_flight) if in_flight.origin == Origin::Fetched => {
                in_flight.origin = origin;
                self.set_announce_policy(&key.0, AnnouncePolicy::Never);
                Admission::Admitted
            }
            _ => self.submit(cx, peer, origin, transfer),
        };
        match admission {
            Admission::Admitted => drop(self.announced.insert(key, ())),
            Admission::ShareExceeded => drop(self.peers_ahead.insert(peer)),
            Admission::Known => {}
        }
        admission
    }

    /// Submits a transfer that was fetched.
    pub(crate) fn fetched(
        &mut self,
        cx: &mut Context,
        peer: PeerId,
        transfer: &Arc<Transfer>,
    ) -> Admission {
        self.submit(cx, peer, Origin::Fetched, transfer)
    }

    fn submit(
        &mut self,
        cx: &mut Context,
        peer: PeerId,
        origin: Origin,
        transfer: &Arc<Transfer>,
    ) -> Admission {
        let id = transfer.id();
        if self.in_flight.contains_key(&id) || cx.chain.transfer(&id).is_some() {
            return Admission::Known;
        }
        let share = (MAX_IN_FLIGHT / cx.peers.len().max(1)).max(MIN_SHARE);
        let count = self.count_by_peer.entry(peer).or_default();
        if *count >= share || self.in_flight.len() >= MAX_IN_FLIGHT {
            return Admission::ShareExceeded;
        }
        *count += 1;
        let since = cx.now.elapsed;
        let in_flight = InFlightTransfer { transfer: Arc::clone(transfer), peer, origin, since };
        self.in_flight.insert(id, in_flight);
        let announce_policy = match origin {
            Origin::Announced(_) => AnnouncePolicy::Never,
            // Its first announcement was not forwarded here, and never will be.
            Origin::Fetched if self.seen.contains(&id) => AnnouncePolicy::Again,
            Origin::Fetched => AnnouncePolicy::First,
        };
        let fetch_not_before = since.saturating_add(REFETCH_DELAY);
        self.seen.insert(id, Seen { fetch_not_before, announce_policy });
        cx.out.push(Output::ImportTransfer(Arc::clone(transfer)));
        Admission::Admitted
    }

    pub(crate) fn is_in_flight(&self, id: &Id) -> bool {
        self.in_flight.contains_key(id)
    }

    /// Returns whether a transfer that a peer has is worth fetching.
    pub(crate) fn is_wanted(&self, cx: &Context, id: &Id) -> bool {
        let is_too_early = |seen: &Seen| cx.now.elapsed < seen.fetch_not_before;
        !self.seen.get(id).is_some_and(is_too_early) && cx.chain.transfer(id).is_none()
    }

    /// Processes the validation result of a transfer and returns what was in flight, if it was.
    pub(crate) fn validated(
        &mut self,
        cx: &mut Context,
        id: &Id,
        validation: TransferValidation,
    ) -> Option<InFlightTransfer> {
        let in_flight = self.in_flight.remove(id)?;
        if let Some(count) = self.count_by_peer.get_mut(&in_flight.peer) {
            *count -= 1;
            if *count == 0 {
                self.count_by_peer.remove(&in_flight.peer);
            }
        }
        match validation {
            TransferValidation::Added | TransferValidation::Known => {}
            TransferValidation::NonceTooFar => {
                // A transfer before this one was lost. It may be fetched again after that one, and a
                // peer that announced it has both.
                let announce_policy = AnnouncePolicy::Again;
                let seen = Seen { fetch_not_before: cx.now.elapsed, announce_policy };
                self.seen.insert(*id, seen);
                if in_flight.origin != Origin::Fetched {
                    self.peers_ahead.insert(in_flight.peer);
                }
            }
            TransferValidation::Rejected | TransferValidation::Failed => {
                self.set_announce_policy(id, AnnouncePolicy::Again);
            }
            TransferValidation::Invalid => {
                self.set_announce_policy(id, AnnouncePolicy::Again);
                cx.report(in_flight.peer, Misbehavior::BadAnnouncement);
            }
        }
        Some(in_flight)
    }

    fn set_announce_policy(&mut self, id: &Id, announce_policy: AnnouncePolicy) {
        if let Some(seen) = self.seen.get_mut(id) {
            seen.announce_policy = announce_policy;
        }
    }

    /// Drains the peers that announced transfers which were not admitted.
    pub(crate) fn drain_peers_ahead(&mut self) -> BTreeSet<PeerId> {
        std::mem::take(&mut self.peers_ahead)
    }

    /// The round in which this node announces a transfer that the mempool has accepted. `None` if it
    /// does not.
    pub(crate) fn announcement_round(&mut self, cx: &Context, id: Id) -> Option<u32> {
        let Some(seen) = self.seen.get_mut(&id) else {
            let fetch_not_before = cx.now.elapsed.saturating_add(REFETCH_DELAY);
            let announce_policy = AnnouncePolicy::Again;
            self.seen.insert(id, Seen { fetch_not_before, announce_policy });
            return Some(0);
        };
        match std::mem::replace(&mut seen.announce_policy, AnnouncePolicy::Again) {
            AnnouncePolicy::Never => None,
            AnnouncePolicy::First => Some(0),
            AnnouncePolicy::Again => Some(cx.chain.tip().height.get()),
        }
    }

    /// Returns whether other nodes have probably seen a transfer.
    pub(crate) fn was_seen(&self, id: &Id) -> bool {
        self.seen.contains(id)
    }

    /// Removes and returns the announcements whose validation began before a time.
    pub(crate) fn overdue(&mut self, before: Duration) -> Vec<AnnouncementId> {
        let overdue = self.in_flight.values_mut().filter(|in_flight| in_flight.since <= before);
        let ids = overdue.filter_map(|in_flight| match &mut in_flight.origin {
            Origin::Announced(id) => id.take(),
            Origin::Fetched => None,
        });
        ids.collect()
    }
}
