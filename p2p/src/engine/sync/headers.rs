//! Headers: whom to ask, and from where on. What comes of it is the business of `session`.

use super::header_tree::Place;
use super::peer::Peer;
use super::segment::{Reject, check};
use super::session::Session;
use super::{InFlightRequest, Sync, What};
use crate::engine::context::Context;
use crate::message::{MAX_HEADERS, MAX_LOCATOR, Request};
use crate::view::{ChainView, Tip};
use chain::block::{self, Header, Height};
use chain::pow::{Target, Work};
use libp2p::PeerId;
use std::time::Duration;

/// Sessions at a time once this node is synced, or cannot go on.
const SESSIONS: usize = 4;
/// Sessions at a time of peers that are asked whatever they claim.
const DUE_SESSIONS: usize = 8;
/// Blocks of the tip's difficulty that a chain may lack to be stored nevertheless.
const LACKING_BLOCKS: u32 = 144;
/// What a relayed block gets before a status makes us fetch it.
const GRACE: Duration = Duration::from_secs(2);
/// How long a peer rests whose session was too slow.
const PAUSE: Duration = Duration::from_secs(10);

impl Sync {
    /// Where a block stands whose header is known and not condemned.
    pub(super) fn place(&self, hash: &block::Hash, chain: &impl ChainView) -> Option<Place> {
        if let Some(place) = self.tree.place(hash) {
            return Some(*place);
        }
        let known = chain.find(hash).filter(|known| !known.is_invalid)?;
        Some(Place { tip: known.tip, as_parent: known.as_parent })
    }

    /// Whether the header of a claimed tip is known.
    pub(super) fn is_known(&self, hash: &block::Hash, chain: &impl ChainView) -> bool {
        self.tree.place(hash).is_some() || chain.find(hash).is_some()
    }

    /// A chain with no more work than this is not stored, nor are its blocks looked at.
    pub(crate) fn least_work(chain: &impl ChainView) -> Work {
        let tip = chain.tip();
        let Some(known) = chain.find(&tip.hash) else { return Work::ZERO };
        let block = known.as_parent.bits.target().map_or(Work::ZERO, Target::work);
        tip.chain_work.saturating_sub(times(block, LACKING_BLOCKS))
    }

    /// Asks for headers whatever is worth asking, of whom is worth asking.
    pub(super) fn pursue<C: ChainView>(&mut self, cx: &mut Context<'_, C>) {
        if !self.may_start(cx) {
            return;
        }
        let is_waiting = |peer: &Peer| peer.session.as_ref().is_some_and(Session::is_waiting);
        let waiting: Vec<PeerId> =
            self.peers.iter().filter(|(_, peer)| is_waiting(peer)).map(|(id, _)| *id).collect();
        for id in waiting {
            self.ask_headers(cx, id);
        }
        let mut sessions = self.peers.values().filter(|peer| peer.session.is_some()).count();
        while sessions < DUE_SESSIONS {
            let Some((id, is_due)) = self.next_source(cx) else { break };
            let most = if self.is_synced || self.is_stuck(cx.now.elapsed) { SESSIONS } else { 1 };
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
        let stuck = self.is_stuck(cx.now.elapsed);
        let target = self.window.target().map_or(Work::ZERO, |place| place.tip.chain_work);
        let best = if stuck { tip.chain_work } else { tip.chain_work.max(target) };
        let is_low = self.window.len() <= self.limits.branch_headers / 2;
        let mut found = None;
        for (id, peer) in &mut self.peers {
            peer.is_ahead &= !is_low;
            let can =
                peer.session.is_none() && !peer.is_ahead && cx.now.elapsed >= peer.headers_from;
            if !can || peer.header_limit.available(cx.now.elapsed) == 0 {
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
                && self.tree.place(&peer.claim.hash).is_none()
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
        let shown = peer.shown.and_then(|tip| self.tree.place(&tip.hash));
        let start = shown.copied().or_else(|| self.window.target());
        let session = Session::new(start.map(|place| place.tip.hash), cx.now.elapsed);
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.session = Some(session);
            (peer.was_asked, peer.is_due) = (true, false);
        }
        self.ask_headers(cx, id);
    }

    /// Sends the session's next request if the peer's pace allows it.
    pub(super) fn ask_headers<C: ChainView>(&mut self, cx: &mut Context<'_, C>, id: PeerId) {
        let is_open = |peer: &&Peer| peer.header_limit.available(cx.now.elapsed) > 0;
        let peer = self.peers.get(&id).filter(is_open);
        let Some(session) = peer.and_then(|peer| peer.session.as_ref()) else { return };
        let locator = match session.counted() {
            None => self.locator(session.end(), cx.chain),
            Some((from, at)) => {
                let mut locator = vec![at.tip.hash];
                locator.extend(locate(from.tip.height, |height| cx.chain.at(height)));
                locator.truncate(MAX_LOCATOR);
                locator
            }
        };
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(session) = peer.session.as_mut() else { return };
        peer.header_limit.spend(1, cx.now.elapsed);
        let max = u16::try_from(MAX_HEADERS).unwrap_or(u16::MAX);
        let what = Request::Headers { locator: locator.clone(), stop: block::Hash::ZERO, max };
        let request = super::request(cx, &mut self.next_request, id, what);
        session.note_asked(request, locator, peer.claim.hash);
        self.requests
            .insert(request, InFlightRequest { peer: id, at: cx.now.elapsed, what: What::Headers });
    }

    /// Headers from the chain to this one, the lowest first; none if it has its body here.
    fn branch(&self, hash: &block::Hash) -> Vec<block::Hash> {
        let mut branch = Vec::new();
        let mut at = *hash;
        while let Some(parent) = self.tree.parent(&at) {
            branch.push(at);
            at = *parent;
        }
        branch.reverse();
        branch
    }

    /// How many headers there are from the chain to this one.
    pub(super) fn depth(&self, hash: &block::Hash) -> usize {
        let place = self.tree.place(hash);
        let in_flight = place.and_then(|place| self.window.depth(place.tip.height, hash));
        in_flight.unwrap_or_else(|| self.branch(hash).len())
    }

    /// Blocks by which a peer finds where its chain leaves the one that ends here: ten, then at
    /// doubling distances, genesis last.
    pub(super) fn locator(
        &self,
        end: Option<block::Hash>,
        chain: &impl ChainView,
    ) -> Vec<block::Hash> {
        let place = end.and_then(|end| self.tree.place(&end));
        if let Some(Tip { hash, height, .. }) = place.map(|place| place.tip)
            && self.window.contains(height, &hash)
        {
            return locate(height, |height| {
                self.window.hash_at(height).or_else(|| chain.at(height))
            });
        }
        let branch = end.map_or_else(Vec::new, |end| self.branch(&end));
        let first = branch.first().and_then(|hash| self.tree.place(hash));
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

    /// Ends sessions that are so slow that another peer should have a turn.
    pub(super) fn end_slow_sessions<C: ChainView>(&mut self, cx: &mut Context<'_, C>) {
        let now = cx.now.elapsed;
        let is_slow = |peer: &Peer| peer.session.as_ref().is_some_and(|one| one.is_slow(now));
        let slow: Vec<PeerId> =
            self.peers.iter().filter(|(_, peer)| is_slow(peer)).map(|(id, _)| *id).collect();
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
        if cx.chain.find(&hash).is_some() || cx.chain.is_known_invalid(&hash) {
            return;
        }
        let place = match (self.place(&hash, cx.chain), self.place(&header.previous, cx.chain)) {
            (Some(place), _) => Some(place),
            (None, Some(parent)) => match check(header, &parent, cx.chain, cx.now) {
                Ok(()) => parent.child(hash, header),
                Err(Reject::Bad(misbehavior)) => return cx.report(id, misbehavior),
                Err(_) => None,
            },
            (None, None) => None,
        };
        let least = Sync::least_work(cx.chain);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        match place {
            Some(place) if place.tip.chain_work <= least => {}
            Some(place) => {
                self.tree.insert(header.previous, place);
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

/// The work of so many blocks.
fn times(block: Work, count: u32) -> Work {
    let bits = (0..u32::BITS.saturating_sub(count.leading_zeros())).rev();
    bits.fold(Work::ZERO, |sum, bit| {
        let twice = sum.saturating_add(sum);
        if count >> bit & 1 == 1 { twice.saturating_add(block) } else { twice }
    })
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
        at = at.checked_sub(step).unwrap_or(Height::GENESIS);
    }
}
