//! Block download: which blocks to request from which peers, several at a time, and the processing of
//! their responses. Also the choice of the branch to download.

use super::header_tree::{HeaderTree, ValidHeader};
use super::peer::{Peer, Peers};
use super::session::Limits;
use super::window::{Body, Slot, Window};
use super::withheld::WithheldBranches;
use crate::engine::context::Context;
use crate::engine::machine::{Failure, Misbehavior, RequestId};
use crate::engine::requests::{InFlightRequest, Requests};
use crate::message::{
    MAX_BLOCKS, Protocol, RawBlock, Request, Response, ResponseError, SOFT_BLOCKS_BYTES,
};
use crate::view::{ChainView, Tip};
use chain::block::{self, Block, Height};
use libp2p::PeerId;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// The assumed size of a block before the first one: makes the first requests ones for 16 blocks.
const INITIAL_BLOCK_BYTES: usize = SOFT_BLOCKS_BYTES / 16;
/// The maximum time for which all others may wait for one block before another peer is asked for
/// it. It doubles with each stall and decays with each response.
const MIN_STALL_TIMEOUT: Duration = Duration::from_secs(2);
const MAX_STALL_TIMEOUT: Duration = Duration::from_secs(64);
/// Most peers that are asked for the same block at a time, probes not counted.
const MAX_HEDGED: usize = 3;
/// The time after which the blocks requested from an unproven peer are requested from proven ones too.
const PROBE_AFTER: Duration = Duration::from_millis(500);
/// The probability of asking any peer instead of the one with the best score.
const EXPLORATION: f64 = 0.1;
/// Bodies this close to the frontier are stored even if there is no room.
const ALWAYS_STORED: u64 = 16;
/// The time for which a peer is not asked for blocks after a failed request.
const PAUSE: Duration = Duration::from_secs(1);
/// The time for which a peer is not asked for blocks after an invalid response.
pub(super) const LONG_PAUSE: Duration = Duration::from_secs(60);
/// Consecutive blocks that no peer can serve, after which the others are not tried.
const MAX_UNSERVED: usize = 8;
/// How long the first missing block may be missing before another branch is preferred,
const ABANDON_AFTER: Duration = Duration::from_secs(15);
/// and before it is abandoned even though there is no other.
const ABANDON_LAST_AFTER: Duration = Duration::from_secs(60);
/// Most branches that are considered as alternatives.
const MAX_ALTERNATIVES: usize = 16;
/// A peer that withheld the blocks of this many branches is disconnected.
const MAX_WITHHELD: u32 = 2;

/// Consecutive blocks of one request.
#[derive(Debug)]
struct Range {
    first: u64,
    hashes: Vec<block::Hash>,
    /// Whether the request only proves that its peer delivers: the blocks are requested from others as
    /// if it did not exist.
    is_probe: bool,
}

impl Range {
    fn contains(&self, number: u64) -> bool {
        let index = number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        index.is_some_and(|index| index < self.hashes.len())
    }
}

/// The state of block download.
#[derive(Debug)]
pub(super) struct Bodies {
    limits: Limits,
    pub(super) window: Window,
    requests: Requests<Range>,
    rng: Xoshiro256PlusPlus,
    /// The last announced block and its announcer, which is preferred for it.
    pub(super) hint: Option<(block::Hash, PeerId)>,
    /// The size of an encoded block, a decaying average.
    block_bytes: usize,
    stall_timeout: Duration,
    pub(super) withheld: WithheldBranches,
}

impl Bodies {
    /// Returns the initial state. The seed randomizes the selection of peers.
    pub(super) fn new(seed: u64, limits: Limits) -> Bodies {
        Bodies {
            limits,
            window: Window::default(),
            requests: Requests::new(),
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            hint: None,
            block_bytes: INITIAL_BLOCK_BYTES,
            stall_timeout: MIN_STALL_TIMEOUT,
            withheld: WithheldBranches::default(),
        }
    }

    /// Opens further blocks for requests, by whole requests. Returns whether it did.
    pub(super) fn extend_window(&mut self) -> bool {
        let before = self.window.open();
        while self.window.open() < self.window.len() {
            let chunk = self.blocks_per_request();
            let rest = self.window.len().saturating_sub(self.window.open());
            let room = self.limits.window_blocks.saturating_sub(self.window.open());
            if room < chunk.min(rest) || !self.has_room() {
                break;
            }
            self.window.extend(chunk.min(rest));
        }
        self.window.open() > before
    }

    /// As many blocks as fit into a response.
    fn blocks_per_request(&self) -> usize {
        (SOFT_BLOCKS_BYTES / self.block_bytes.max(1)).clamp(1, MAX_BLOCKS)
    }

    /// Returns whether the bodies received and in flight probably leave room for more.
    fn has_room(&self) -> bool {
        let expected = self.window.open().saturating_mul(self.block_bytes);
        self.window.bytes().max(expected) < self.limits.window_bytes
    }

    /// Requests blocks as long as there are peers to ask.
    pub(super) fn send_requests(&mut self, cx: &mut Context, peers: &mut Peers) {
        let (mut from, mut unserved) = (0, 0);
        let max = self.blocks_per_request();
        while let Some((first, count)) = self.window.next_unrequested(from, max) {
            let is_frontier = self.window.frontier() == Some(first);
            let has_room = self.window.bytes() < self.limits.window_bytes;
            if unserved >= MAX_UNSERVED || !(is_frontier || has_room) {
                return;
            }
            match self.select_peer(cx, peers, first) {
                Some(id) => self.send_request(cx, peers, id, (first, count), false),
                None => unserved += 1,
            }
            from = first.saturating_add(1);
        }
    }

    /// Requests the first missing block from each unproven peer while there are proven ones, which are
    /// asked for it as well: a peer that delivers becomes a source, one that does not delays nothing.
    pub(super) fn probe_peers(&mut self, cx: &mut Context, peers: &mut Peers) {
        let now = cx.now.elapsed;
        let Some(number) = self.window.frontier() else { return };
        let height = self.window.height(number);
        if !peers.values().any(|peer| self.is_proven_source(peer, height, now)) {
            return;
        }
        let is_idle = |peer: &Peer| {
            !peer.is_proven
                && peer.in_flight == 0
                && self.has_block(peer, height, now)
                && peer.available_requests(height, now) > 0
        };
        let idle: Vec<PeerId> =
            peers.iter().filter(|(_, peer)| is_idle(peer)).map(|(id, _)| *id).collect();
        for id in idle {
            self.send_request(cx, peers, id, (number, 1), true);
        }
        let is_late = |request: &InFlightRequest<Range>| {
            !request.content.is_probe
                && now.saturating_sub(request.sent_at) >= PROBE_AFTER
                && peers.get(&request.peer).is_some_and(|peer| !peer.is_proven)
        };
        let late = self.requests.iter().filter(|(_, request)| is_late(request));
        let late: Vec<u64> = late.map(|(request, _)| request).collect();
        for request in late {
            self.release(request);
            if let Some(request) = self.requests.get_mut(request) {
                request.content.is_probe = true;
            }
        }
    }

    /// Makes the blocks of a request in flight available to other peers. Its response still counts.
    fn release(&mut self, request: u64) {
        let Some(InFlightRequest { content, .. }) = self.requests.get(request) else { return };
        for block in (content.first..).zip(&content.hashes) {
            self.window.request_ended(block, request, None);
        }
    }

    fn is_proven_source(&self, peer: &Peer, height: Height, now: Duration) -> bool {
        peer.is_proven && peer.may_serve(now) && self.has_block(peer, height, now)
    }

    /// The requests in flight for a block, probes not counted.
    fn requests_for(&self, number: u64) -> impl Iterator<Item = &InFlightRequest<Range>> {
        let requests = self.requests.iter().map(|(_, request)| request);
        requests.filter(move |it| !it.content.is_probe && it.content.contains(number))
    }

    /// Selects a peer for a block, of those that are not busy. Unproven ones are asked only if no
    /// proven one has the block, or to have a new block from its announcer.
    fn select_peer(&mut self, cx: &Context, peers: &Peers, number: u64) -> Option<PeerId> {
        let now = cx.now.elapsed;
        let (hash, height) = (self.window.hash(number)?, self.window.height(number));
        let Slot { failed, .. } = self.window.slot(number)?;
        let asked: Vec<PeerId> = self.requests_for(number).map(|request| request.peer).collect();
        let hint = self.hint.filter(|(hinted, _)| *hinted == hash).map(|(_, id)| id);
        let (mut free, mut has_others, mut has_proven) = (Vec::new(), false, false);
        for (id, peer) in peers {
            if asked.contains(id) || !self.has_block(peer, height, now) {
                continue;
            }
            has_others |= *failed != Some(*id) && peer.may_serve(now);
            has_proven |= peer.is_proven && peer.may_serve(now);
            if peer.available_requests(height, now) > 0 {
                free.push((peer.score(), *id, peer.is_proven));
            }
        }
        // The peer that failed last is asked again only if there is no other.
        free.retain(|(_, id, _)| !has_others || *failed != Some(*id));
        if let Some((_, id, _)) = free.iter().find(|(_, id, _)| hint == Some(*id)) {
            return Some(*id);
        }
        free.retain(|(.., is_proven)| *is_proven || !has_proven);
        if free.len() > 1 && self.rng.random_bool(EXPLORATION) {
            let any = self.rng.random_range(0..free.len());
            return free.get(any).map(|(_, id, _)| *id);
        }
        // The first of equals.
        let best = free.iter().rev().max_by_key(|(score, ..)| *score)?;
        Some(best.1)
    }

    /// Returns whether a peer probably has the block of the window at a height: it has sent a header of
    /// the path at that height or above, or claims one as its tip. A claimed tip without a validated
    /// header does not count.
    fn has_block(&self, peer: &Peer, height: Height, now: Duration) -> bool {
        !peer.lacks(height, now) && self.top(peer).is_some_and(|top| top >= height)
    }

    /// The greatest height of the path up to which a peer probably has the blocks.
    fn top(&self, peer: &Peer) -> Option<Height> {
        let is_on_path = |tip: &Tip| self.window.contains(tip.height, &tip.hash);
        peer.tips().filter(is_on_path).map(|tip| tip.height).max()
    }

    fn send_request(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        id: PeerId,
        (first, count): (u64, usize),
        is_probe: bool,
    ) {
        let now = cx.now.elapsed;
        let height = self.window.height(first);
        let Some(peer) = peers.get_mut(&id) else { return };
        let top = self.top(peer).unwrap_or_default().get();
        let blocks = top.saturating_sub(height.get()).saturating_add(1);
        let count = count.min(usize::try_from(blocks).unwrap_or(usize::MAX)).max(1);
        let hashes: Vec<block::Hash> =
            (first..).take(count).map_while(|number| self.window.hash(number)).collect();
        peer.body_limit.spend(1, now);
        peer.in_flight = peer.in_flight.saturating_add(1);
        let (requested, request) = (hashes.len(), Request::Blocks { hashes: hashes.clone() });
        let number = self.requests.insert(id, now, Range { first, hashes, is_probe });
        if !is_probe {
            self.window.request_sent(first, requested, number);
        }
        cx.request(RequestId::Blocks(number), id, request);
    }

    /// Processes the end of a request. Ignores numbers that are not in flight: the peer may have
    /// disconnected meanwhile.
    pub(super) fn handle_response(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        number: u64,
        result: Result<Response, Failure>,
    ) {
        let now = cx.now.elapsed;
        let Some(InFlightRequest { peer: id, sent_at, content: range }) =
            self.requests.remove(number)
        else {
            return;
        };
        let Some(peer) = peers.get_mut(&id) else { return };
        peer.in_flight = peer.in_flight.saturating_sub(1);
        let mut answered = 0;
        let mut failed = Some(id);
        match result {
            Ok(Response::Blocks(blocks)) if (1..=range.hashes.len()).contains(&blocks.len()) => {
                answered = blocks.len();
                failed = None;
                let elapsed = now.saturating_sub(sent_at);
                self.store_bodies(cx, (id, peer), &range, &blocks, elapsed);
            }
            Ok(Response::Error(error)) => {
                let pause = match error {
                    ResponseError::NotFound => {
                        peer.record_lack(self.window.height(range.first), now);
                        Duration::ZERO
                    }
                    ResponseError::Busy { retry_after } => {
                        Duration::from_secs(u64::from(retry_after).clamp(1, 30))
                    }
                    ResponseError::RateLimited => PAUSE.saturating_mul(2),
                    ResponseError::BadRequest
                    | ResponseError::AboveLimit
                    | ResponseError::IncompatibleVersion { .. } => LONG_PAUSE,
                };
                if !pause.is_zero() {
                    peer.bodies_not_before = now.saturating_add(pause);
                }
            }
            Ok(_) => {
                peer.record_failure(now.saturating_add(LONG_PAUSE));
                cx.report(id, Misbehavior::WrongResponse);
            }
            Err(failure) => {
                peer.record_failure(now.saturating_add(PAUSE));
                cx.report_failure(id, failure);
            }
        }
        for ((block, hash), at) in (range.first..).zip(&range.hashes).zip(0_usize..) {
            // A response may end early, which is no failure.
            let failed = failed.or((at < answered).then_some(id));
            self.window.request_ended((block, hash), number, failed);
        }
    }

    /// Stores the bodies of a response.
    fn store_bodies(
        &mut self,
        cx: &mut Context,
        (id, peer): (PeerId, &mut Peer),
        range: &Range,
        blocks: &[Option<RawBlock>],
        elapsed: Duration,
    ) {
        let now = cx.now.elapsed;
        let (mut bytes, mut is_wrong, mut lack) = (0_usize, false, None);
        let frontier = self.window.frontier().unwrap_or(range.first);
        for ((number, hash), raw) in (range.first..).zip(&range.hashes).zip(blocks) {
            let Some(raw) = raw else {
                lack = lack.or(Some(self.window.height(number)));
                continue;
            };
            let block = Block::decode(raw).ok().filter(|block| block.hash() == *hash);
            let Some(block) = block else {
                is_wrong = true;
                break;
            };
            bytes = bytes.saturating_add(raw.len());
            self.block_bytes = (self.block_bytes.saturating_mul(15) + raw.len()) / 16;
            let has_room = self.window.bytes() < self.limits.window_bytes;
            if has_room || number.saturating_sub(frontier) < ALWAYS_STORED {
                let body = Body { block: Arc::new(block), bytes: raw.len(), sender: id };
                self.window.insert(number, hash, body);
            }
        }
        if let Some(height) = lack {
            peer.record_lack(height, now);
        }
        if bytes > 0 {
            peer.record_blocks(bytes, elapsed);
            self.stall_timeout = (self.stall_timeout.saturating_mul(7) / 8).max(MIN_STALL_TIMEOUT);
        }
        if is_wrong {
            peer.record_failure(now.saturating_add(LONG_PAUSE));
            cx.report(id, Misbehavior::WrongBody);
        }
    }

    /// Requests the block that all others wait for from another peer too, if it is late, and with it
    /// all other blocks that are as late: peers that withhold cost one delay, not one each.
    pub(super) fn hedge_stalled_block(&mut self, cx: &mut Context, peers: &mut Peers) {
        let now = cx.now.elapsed;
        let Some(number) = self.window.frontier() else { return };
        let Some(last) = self.requests_for(number).last() else { return };
        let is_late = now.saturating_sub(last.sent_at) >= self.stall_timeout;
        if !is_late || self.requests_for(number).count() >= MAX_HEDGED {
            return;
        }
        // The other blocks of the late request, as far as they are consecutive.
        let Range { first, hashes, .. } = &last.content;
        let end = first.saturating_add(u64::try_from(hashes.len()).unwrap_or(u64::MAX));
        let is_missing = |slot: &Slot| slot.body.is_none() && !slot.requests.is_empty();
        let count = (number..end)
            .take_while(|number| self.window.slot(*number).is_some_and(is_missing))
            .count();
        let Some(id) = self.select_peer(cx, peers, number) else { return };
        let is_late = |request: &InFlightRequest<Range>| {
            !request.content.is_probe
                && request.peer != id
                && now.saturating_sub(request.sent_at) >= self.stall_timeout
        };
        let late = self.requests.iter().filter(|(_, request)| is_late(request));
        let late: Vec<(u64, PeerId)> =
            late.map(|(number, request)| (number, request.peer)).collect();
        let slow: BTreeSet<PeerId> = late.iter().map(|(_, peer)| *peer).collect();
        for (request, _) in late {
            self.release(request);
        }
        for peer in slow {
            if let Some(peer) = peers.get_mut(&peer) {
                peer.record_stall(now);
            }
        }
        self.stall_timeout = self.stall_timeout.saturating_mul(2).min(MAX_STALL_TIMEOUT);
        self.send_request(cx, peers, id, (number, count.max(1)), false);
    }

    /// Ends requests without a response that are long overdue.
    pub(super) fn expire_requests(&mut self, cx: &mut Context, peers: &mut Peers) {
        let timeout = Protocol::Blocks.limits().timeout;
        for number in self.requests.overdue(timeout, cx.now.elapsed) {
            self.handle_response(cx, peers, number, Err(Failure::Timeout));
        }
    }

    /// Makes the blocks requested from a peer that has disconnected available to the others.
    pub(super) fn remove_peer(&mut self, peer: &PeerId) {
        for (number, InFlightRequest { content, .. }) in self.requests.remove_peer(peer) {
            for block in (content.first..).zip(&content.hashes) {
                self.window.request_ended(block, number, None);
            }
        }
    }

    /// The peer of a request in flight.
    #[cfg(test)]
    pub(super) fn requested_peer(&self, number: u64) -> Option<PeerId> {
        self.requests.get(number).map(|request| request.peer)
    }

    /// Abandons a branch whose first block no peer delivers: soon if there is another one with more
    /// work than the tip.
    pub(super) fn abandon_withheld_branch(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        tree: &mut HeaderTree,
    ) {
        let now = cx.now.elapsed;
        let missing_for = |time| self.withheld.front_missing_for(time, &self.window, now);
        let Some(hash) = missing_for(ABANDON_AFTER) else { return };
        let Some(front) = tree.get(&hash).map(|header| (header.tip.height, hash)) else { return };
        let tip = cx.chain.tip().chain_work;
        let better = tree.leaves().take_while(|(work, _)| *work > tip);
        let is_only = better.take(MAX_ALTERNATIVES).all(|(_, leaf)| tree.descends(leaf, front));
        let is_hopeless = missing_for(ABANDON_LAST_AFTER).is_some();
        if is_only && (peers.is_empty() || !is_hopeless) {
            return;
        }
        self.withheld.record(hash);
        for (id, peer) in peers.iter_mut() {
            if !peer.tips().any(|tip| self.window.contains(tip.height, &tip.hash)) {
                continue;
            }
            if !std::mem::take(&mut peer.delivers) {
                peer.withheld = peer.withheld.saturating_add(1);
            }
            peer.announced = None;
            let pause = ABANDON_AFTER.saturating_mul(1 + peer.withheld);
            peer.headers_not_before = now.saturating_add(pause);
            if peer.withheld >= MAX_WITHHELD {
                cx.disconnect(*id, "withholds the blocks of its headers");
            }
        }
        if is_only {
            // Perhaps the only peers that have the blocks are slow.
            tree.remove_branch(&hash);
        } else {
            tree.abandon_branch(&hash, now);
        }
    }

    /// Points the window to the best header if that has more work than the tip and than the current
    /// target.
    pub(super) fn retarget(&mut self, cx: &Context, peers: &mut Peers, tree: &mut HeaderTree) {
        self.remove_connected(tree, cx.chain);
        let tip = cx.chain.tip().chain_work;
        let target = self.window.target().map(|target| target.tip);
        let mut target =
            target.filter(|target| target.chain_work > tip && tree.get(&target.hash).is_some());
        loop {
            let best = tree.best(cx.chain).filter(|best| best.tip.chain_work > tip);
            match (target, best) {
                (Some(target), Some(best)) if best.tip.chain_work <= target.chain_work => break,
                (_, Some(best)) if self.follow(best, peers, tree, cx.chain) => break,
                // A branch that is not rooted in the chain has been removed: try the next one.
                (_, Some(_)) => target = None,
                (_, None) => {
                    self.window.clear();
                    break;
                }
            }
        }
        self.withheld.update_front(self.window.front(), tree, cx.now.elapsed);
    }

    /// Removes the first blocks that have entered the chain.
    fn remove_connected(&mut self, tree: &mut HeaderTree, chain: &dyn ChainView) {
        while let Some(front) = self.window.front() {
            let Some(known) = chain.find(&front) else { return };
            if known.is_invalid {
                tree.remove_branch(&front);
                self.window.clear();
                return;
            }
            tree.remove(&front);
            self.window.pop_front();
        }
    }

    /// Points the window to a header. Returns whether its branch is rooted in a valid block of the
    /// chain; if not, removes the branch.
    fn follow(
        &mut self,
        target: ValidHeader,
        peers: &mut Peers,
        tree: &mut HeaderTree,
        chain: &dyn ChainView,
    ) -> bool {
        let (mut branch, mut at, mut fork) = (Vec::new(), target.tip.hash, None);
        let mut base = target.tip.height;
        while let (Some(header), Some(parent)) = (tree.get(&at), tree.parent(&at)) {
            if self.window.contains(header.tip.height, &at) {
                fork = Some(header.tip.height);
                break;
            }
            base = header.tip.height;
            branch.push(at);
            at = *parent;
        }
        if fork.is_none() && chain.find(&at).is_none_or(|known| known.is_invalid) {
            tree.remove_branch(&at);
            self.window.clear();
            return false;
        }
        if fork != self.window.target().map(|target| target.tip.height) {
            // The blocks that peers lack were those of another branch.
            peers.values_mut().for_each(Peer::clear_lack);
        }
        self.window.switch_to(fork, branch.into_iter().rev(), (base, target));
        true
    }
}
