//! What time brings: peers that keep others waiting, chains that nobody delivers, a tip that grows
//! old, outbound peers that are of no use, and the moment this node is level with its peers.

use super::peer::{BehindSince, Peer};
use super::{Sync, What};
use crate::engine::context::Context;
use crate::engine::machine::{Failure, Output, Progress, SyncState};
use crate::message::Protocol;
use crate::view::ChainView;
use chain::block::Height;
use chain::pow::Work;
use libp2p::PeerId;
use std::time::Duration;

/// Outbound peers to wait for before the first request, and how long at most.
const QUORUM: usize = 3;
const GATHERING: Duration = Duration::from_secs(10);
/// How long the first missing block may be missing before other chains are looked at, before one of
/// those is preferred, and before the branch is given up even though there is no other.
const STUCK: Duration = Duration::from_secs(5);
const GIVE_UP: Duration = Duration::from_secs(15);
const GIVE_UP_ALL: Duration = Duration::from_secs(60);
/// Branches that are looked at as another way on.
const OTHER_BRANCHES: usize = 16;
/// Who showed a branch and sent none of it this often is of no use.
const MAX_WITHHELD: u32 = 2;
/// The tip is stale when it is this many spacings old, and at least so old.
const STALE_SPACINGS: u32 = 6;
const STALE_LEAST: Duration = Duration::from_secs(30);
/// An outbound peer may have less work than we for so long, then answers a challenge or goes.
const LAG: Duration = Duration::from_secs(20 * 60);
const CHALLENGE: Duration = Duration::from_secs(2 * 60);
/// Outbound peers that stay because they once had a chain as good as ours.
const PROTECTED: usize = 4;
/// An answer this long after its time will not come.
const LOST: Duration = Duration::from_secs(10);
/// With more blocks missing than this, relay does not bring them: it is sync again.
const BEHIND: usize = 8;
/// From one report of progress to the next.
const PROGRESS: Duration = Duration::from_millis(250);

impl Sync {
    /// Whether there are peers enough to choose one.
    pub(super) fn may_start<C: ChainView>(&mut self, cx: &Context<'_, C>) -> bool {
        let Some(first) = self.first_peer else { return false };
        let outbound = self.peers.values().filter(|peer| peer.outbound).count();
        self.has_started |= is_private(cx.chain)
            || outbound >= QUORUM
            || cx.now.elapsed.saturating_sub(first) >= GATHERING;
        self.has_started
    }

    /// Time passed.
    pub(super) fn tick<C: ChainView>(&mut self, cx: &mut Context<'_, C>) {
        self.end_lost_requests(cx);
        self.end_slow_sessions(cx);
        self.relieve(cx);
        self.give_up_withheld(cx);
        self.refresh_stale_tip(cx);
        self.watch_lags(cx);
        self.forget_low_branches(cx.chain);
        self.retarget(cx);
    }

    /// Every request is answered, even if the peer is gone: this is for the case that one is not.
    fn end_lost_requests<C: ChainView>(&mut self, cx: &mut Context<'_, C>) {
        let now = cx.now.elapsed;
        let lost: Vec<u64> = self
            .requests
            .iter()
            .filter(|(_, asked)| {
                let protocol = match asked.what {
                    What::Headers => Protocol::Headers,
                    What::Blocks { .. } => Protocol::Blocks,
                };
                now.saturating_sub(asked.at) >= protocol.limits().timeout.saturating_add(LOST)
            })
            .map(|(request, _)| *request)
            .collect();
        for request in lost {
            self.replied(cx, request, Err(Failure::Timeout));
        }
    }

    /// Remembers since when the first missing block is the first.
    pub(super) fn note_front(&mut self, now: Duration) {
        let front = self.window.front();
        if self.front.map(|(hash, _)| hash) != front {
            self.front = front.map(|hash| (hash, now));
        }
    }

    /// Whether the first missing block has not come for long.
    pub(super) fn is_stuck(&self, now: Duration) -> bool {
        self.waits_for_front(now, STUCK)
    }

    fn waits_for_front(&self, now: Duration, long: Duration) -> bool {
        self.front.is_some_and(|(_, since)| now.saturating_sub(since) >= long)
            && self.window.waits_at_front()
    }

    /// Turns away from a branch whose first block nobody delivers: soon if there is another with more
    /// work than the tip.
    fn give_up_withheld<C: ChainView>(&mut self, cx: &mut Context<'_, C>) {
        let now = cx.now.elapsed;
        let Some((hash, _)) = self.front.filter(|_| self.waits_for_front(now, GIVE_UP)) else {
            return;
        };
        let Some(front) = self.tree.place(&hash).map(|place| (place.tip.height, hash)) else {
            return;
        };
        let least = cx.chain.tip().chain_work;
        let better = self.tree.leaves().take_while(|(work, _)| *work > least);
        let mut better = better.take(OTHER_BRANCHES);
        let is_only = better.all(|(_, leaf)| self.tree.descends(leaf, front));
        if is_only && (self.peers.is_empty() || !self.waits_for_front(now, GIVE_UP_ALL)) {
            return;
        }
        drop(better);
        for (id, peer) in &mut self.peers {
            let tips = [Some(peer.claim), peer.shown];
            let mut tips = tips.iter().flatten();
            if !tips.any(|tip| self.window.contains(tip.height, &tip.hash)) {
                continue;
            }
            if !std::mem::take(&mut peer.delivers) {
                peer.withheld = peer.withheld.saturating_add(1);
            }
            peer.announced = None;
            peer.headers_from = now.saturating_add(GIVE_UP.saturating_mul(1 + peer.withheld));
            if peer.withheld >= MAX_WITHHELD {
                cx.disconnect(*id, "it does not deliver the blocks of its headers");
            }
        }
        self.tree.remove_branch(&hash);
    }

    /// Asks all outbound peers if no block came for long.
    fn refresh_stale_tip<C: ChainView>(&mut self, cx: &Context<'_, C>) {
        let spacing = Duration::from_secs(cx.chain.params().spec().spacing_seconds.into());
        let stale = spacing.saturating_mul(STALE_SPACINGS).max(STALE_LEAST);
        if self.is_synced && cx.now.elapsed.saturating_sub(self.tip_since) >= stale {
            self.tip_since = cx.now.elapsed;
            for peer in self.peers.values_mut().filter(|peer| peer.outbound) {
                peer.is_due = true;
            }
        }
    }

    /// Lets outbound peers go that have less work than this node for long.
    fn watch_lags<C: ChainView>(&mut self, cx: &mut Context<'_, C>) {
        let (now, tip) = (cx.now.elapsed, cx.chain.tip().chain_work);
        let lagging: Vec<(PeerId, Work)> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.outbound && !peer.is_protected)
            .map(|(id, peer)| (*id, self.worth(peer, cx.chain)))
            .collect();
        for (id, work) in lagging {
            let Some(peer) = self.peers.get_mut(&id) else { continue };
            let begins = BehindSince { since: now, work: tip, is_challenged: false };
            let lag = match peer.lag {
                _ if work >= tip => {
                    peer.lag = None;
                    continue;
                }
                Some(lag) if work < lag.work => lag,
                _ => begins,
            };
            let took = now.saturating_sub(lag.since);
            let is_challenged = took >= LAG;
            peer.is_due |= is_challenged && !lag.is_challenged;
            peer.lag = Some(BehindSince { is_challenged, ..lag });
            if took >= LAG.saturating_add(CHALLENGE) {
                peer.lag = Some(begins);
                cx.disconnect(id, "it is far behind");
            }
        }
    }

    /// A peer showed a chain; if that is as good as ours the peer may stay whatever comes.
    pub(super) fn protect(&mut self, id: PeerId, is_good: bool) {
        let protected = self.peers.values().filter(|peer| peer.is_protected).count();
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.is_protected |= is_good && peer.outbound && protected < PROTECTED;
        }
    }

    /// The work of a peer's chain as far as that can be told.
    fn worth(&self, peer: &Peer, chain: &impl ChainView) -> Work {
        let shown = peer.shown.map_or(Work::ZERO, |tip| tip.chain_work);
        match self.place(&peer.claim.hash, chain) {
            Some(place) => place.tip.chain_work.max(shown),
            None if peer.refuted == Some(peer.claim.hash) => shown,
            None => peer.claim.chain_work.max(shown),
        }
    }

    /// Notes for ever when this node is level with its peers: those it called, if there are such.
    pub(super) fn latch<C: ChainView>(&mut self, cx: &Context<'_, C>) {
        let has_asked = is_private(cx.chain) || (self.has_started && !self.peers.is_empty());
        if self.is_synced || self.window.len() > 0 || !has_asked {
            return;
        }
        let tip = cx.chain.tip().chain_work;
        let has_outbound = self.peers.values().any(|peer| peer.outbound);
        let mut counted = self.peers.values().filter(|peer| peer.outbound || !has_outbound);
        self.is_synced = !counted.any(|peer| {
            let worth = self.worth(peer, cx.chain);
            worth > tip && !is_here(peer, worth, cx.chain)
        });
    }

    /// How far this node is.
    pub(super) fn measure(&self, chain: &impl ChainView) -> Progress {
        let height = chain.tip().height;
        let target = self.window.target().map_or(Height::GENESIS, |place| place.tip.height);
        let state = match (self.is_synced, self.window.len()) {
            (true, ..=BEHIND) => SyncState::Synced,
            (false, 0) => SyncState::Headers,
            (_, _) => SyncState::Blocks,
        };
        Progress { state, best_header: height.max(target), height }
    }

    /// Tells of progress: a new state at once, numbers four times a second.
    pub(super) fn tell<C: ChainView>(&mut self, cx: &mut Context<'_, C>) {
        let progress = self.measure(cx.chain);
        let is_news = match self.told {
            None => true,
            Some((told, _)) if told.state != progress.state => true,
            Some((told, at)) => told != progress && cx.now.elapsed >= at.saturating_add(PROGRESS),
        };
        if is_news {
            self.told = Some((progress, cx.now.elapsed));
            cx.out.push(Output::Progress(progress));
        }
    }
}

/// Whether all blocks of the best chain of a peer are here, though the best chain here is another:
/// an operator has set some of them aside. There is nothing to wait for then.
fn is_here(peer: &Peer, worth: Work, chain: &impl ChainView) -> bool {
    [Some(peer.claim), peer.shown]
        .into_iter()
        .flatten()
        .any(|tip| chain.find(&tip.hash).is_some_and(|known| known.tip.chain_work >= worth))
}

/// Whether a node that knows nobody may think that there is nobody.
fn is_private(chain: &impl ChainView) -> bool {
    let spec = chain.params().spec();
    spec.fixed_difficulty || spec.boot_nodes.is_empty()
}
