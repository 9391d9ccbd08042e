//! Bodies: which blocks to ask of whom, several peers at a time, and what to make of the answers.

use super::peer::Peer;
use super::window::Body;
use super::{InFlightRequest, Sync, What};
use crate::engine::context::Context;
use crate::engine::machine::{Failure, Misbehavior};
use crate::message::{MAX_BLOCKS, RawBlock, Request, Response, ResponseError, SOFT_BLOCKS_BYTES};
use crate::view::{ChainView, Tip};
use chain::block::{self, Block, Height};
use libp2p::PeerId;
use rand::RngExt;
use std::sync::Arc;
use std::time::Duration;

/// What a block is thought to take before any came: makes the first requests ones for 16 blocks.
pub(super) const FIRST_BLOCK_BYTES: usize = SOFT_BLOCKS_BYTES / 16;
/// How long all may wait for one block before another peer is asked for it, at first and at most.
pub(super) const LATE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(64));
/// Peers that are asked for the same block at a time.
const ASKED_AT_A_TIME: usize = 3;
/// The chance to ask any peer instead of the most promising.
const CURIOSITY: f64 = 0.1;
/// Bodies this near to the front are kept even if there is no room.
const ALWAYS_KEPT: u64 = 16;
/// After a failed request.
const PAUSE: Duration = Duration::from_secs(1);
/// After a body that was not the one asked for.
const LONG_PAUSE: Duration = Duration::from_secs(60);
/// Places in a row that nobody can serve, after which the rest is not looked at.
const TRIES: usize = 8;

impl Sync {
    /// Lets the window grow by whole requests; whether it did.
    pub(super) fn extend_window(&mut self) -> bool {
        let before = self.window.open();
        while self.window.open() < self.window.len() {
            let chunk = self.blocks_in_request();
            let rest = self.window.len().saturating_sub(self.window.open());
            let room = self.limits.window_blocks.saturating_sub(self.window.open());
            if room < chunk.min(rest) || !self.has_room() {
                break;
            }
            self.window.extend(chunk.min(rest));
        }
        self.window.open() > before
    }

    /// Blocks that one request names: so many that the reply is not cut short.
    fn blocks_in_request(&self) -> usize {
        (SOFT_BLOCKS_BYTES / self.block_bytes.max(1)).clamp(1, MAX_BLOCKS)
    }

    /// Whether the bodies that wait and those that are on their way probably leave room for more.
    fn has_room(&self) -> bool {
        let on_their_way = self.window.open().saturating_mul(self.block_bytes);
        self.window.held().max(on_their_way) < self.limits.window_bytes
    }

    /// Asks for bodies as long as there are peers to ask.
    pub(super) fn ask_bodies<C: ChainView>(&mut self, cx: &mut Context<'_, C>) {
        let (mut from, mut tries) = (0, 0);
        let most = self.blocks_in_request();
        while let Some((first, count)) = self.window.next_unasked(from, most) {
            let is_front = self.window.frontier() == Some(first);
            if tries >= TRIES || !(is_front || self.window.held() < self.limits.window_bytes) {
                return;
            }
            match self.choose(cx, first) {
                Some(id) => self.ask_blocks(cx, id, first, count),
                None => tries += 1,
            }
            from = first.saturating_add(1);
        }
    }

    /// The peer to ask for a block, of those that are not busy.
    fn choose<C: ChainView>(&mut self, cx: &Context<'_, C>, number: u64) -> Option<PeerId> {
        let now = cx.now.elapsed;
        let (hash, height) = (self.window.hash(number)?, self.window.height(number));
        let slot = self.window.slot(number)?;
        let asked: Vec<PeerId> = slot
            .asked
            .iter()
            .filter_map(|request| self.requests.get(request).map(|asked| asked.peer))
            .collect();
        let failed = slot.failed;
        let hint = self.hint.filter(|(hinted, _)| *hinted == hash).map(|(_, id)| id);
        let (mut free, mut has_others) = (Vec::new(), false);
        for (id, peer) in &self.peers {
            if asked.contains(id) || !self.covers(peer, height, now, cx.chain) {
                continue;
            }
            has_others |= failed != Some(*id) && now >= peer.bodies_from;
            if peer.room(height, now) > 0 {
                free.push((peer.promise(), *id));
            }
        }
        // Whoever failed is the last to be asked again.
        free.retain(|(_, id)| !has_others || failed != Some(*id));
        if let Some((_, id)) = free.iter().find(|(_, id)| hint == Some(*id)) {
            return Some(*id);
        }
        if free.len() > 1 && self.rng.random_bool(CURIOSITY) {
            let any = self.rng.random_range(0..free.len());
            return free.get(any).map(|(_, id)| *id);
        }
        // The first of equals.
        let best = free.iter().rev().max_by_key(|(promise, _)| *promise)?;
        Some(best.1)
    }

    /// Whether a peer can be expected to have the block at a height of the way to the target.
    pub(super) fn covers(
        &self,
        peer: &Peer,
        height: Height,
        now: Duration,
        chain: &impl ChainView,
    ) -> bool {
        if peer.lacks(height, now) {
            return false;
        }
        let in_flight =
            |tip: &Tip| tip.height >= height && self.window.contains(tip.height, &tip.hash);
        if peer.shown.as_ref().is_some_and(in_flight) || in_flight(&peer.claim) {
            return true;
        }
        // A tip that nobody showed may be further along the same way.
        peer.claim.height >= height && !self.is_known(&peer.claim.hash, chain)
    }

    fn ask_blocks<C: ChainView>(
        &mut self,
        cx: &mut Context<'_, C>,
        id: PeerId,
        first: u64,
        count: usize,
    ) {
        let height = self.window.height(first);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let tallest = peer.shown.map_or(peer.claim.height, |tip| tip.height.max(peer.claim.height));
        let has = tallest.get().saturating_sub(height.get()).saturating_add(1);
        let has = usize::try_from(has).unwrap_or(usize::MAX);
        let allowed =
            usize::try_from(peer.body_limit.available(cx.now.elapsed)).unwrap_or(usize::MAX);
        let count = count.min(allowed).min(has).max(1);
        let hashes: Vec<block::Hash> =
            (first..).take(count).map_while(|number| self.window.hash(number)).collect();
        let requested = u32::try_from(hashes.len()).unwrap_or(u32::MAX);
        peer.body_limit.spend(requested, cx.now.elapsed);
        peer.in_flight = peer.in_flight.saturating_add(1);
        let what = Request::Blocks { hashes: hashes.clone() };
        let request = super::request(cx, &mut self.next_request, id, what);
        self.window.note_asked(first, hashes.len(), request);
        let what = What::Blocks { first, hashes };
        self.requests.insert(request, InFlightRequest { peer: id, at: cx.now.elapsed, what });
    }

    /// A request for bodies came to its end.
    pub(super) fn blocks_replied<C: ChainView>(
        &mut self,
        cx: &mut Context<'_, C>,
        (request, id, at): (u64, PeerId, Duration),
        (first, hashes): (u64, &[block::Hash]),
        result: Result<Response, Failure>,
    ) {
        let now = cx.now.elapsed;
        let took = now.saturating_sub(at);
        let height = self.window.height(first);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.in_flight = peer.in_flight.saturating_sub(1);
        let mut answered = 0;
        let mut failed = Some(id);
        match result {
            Ok(Response::Blocks(blocks)) if (1..=hashes.len()).contains(&blocks.len()) => {
                answered = self.take_blocks(cx, id, (first, hashes), (&blocks, took));
                failed = None;
            }
            Ok(Response::Error(ResponseError::NotFound)) => peer.note_lack(height, now),
            Ok(Response::Error(ResponseError::Busy { retry_after })) => {
                let seconds = u64::from(retry_after).clamp(1, 30);
                peer.bodies_from = now.saturating_add(Duration::from_secs(seconds));
            }
            Ok(Response::Error(ResponseError::RateLimited)) => {
                peer.bodies_from = now.saturating_add(PAUSE.saturating_mul(2));
            }
            Ok(Response::Error(ResponseError::BadRequest)) => {
                peer.bodies_from = now.saturating_add(LONG_PAUSE);
            }
            Ok(_) => {
                peer.note_failure();
                peer.bodies_from = now.saturating_add(LONG_PAUSE);
                cx.report(id, Misbehavior::WrongReply);
            }
            Err(failure) => {
                peer.note_failure();
                peer.bodies_from = now.saturating_add(PAUSE);
                cx.report_failure(id, failure);
            }
        }
        for ((number, hash), at) in (first..).zip(hashes).zip(0_usize..) {
            // What a prefix leaves out is nobody's failure.
            let failed = failed.or((at < answered).then_some(id));
            self.window.note_answered((number, hash), request, failed);
        }
    }

    /// Takes bodies in; how many of the first were answered.
    fn take_blocks<C: ChainView>(
        &mut self,
        cx: &mut Context<'_, C>,
        id: PeerId,
        (first, hashes): (u64, &[block::Hash]),
        (blocks, took): (&[Option<RawBlock>], Duration),
    ) -> usize {
        let now = cx.now.elapsed;
        let (mut bytes, mut is_wrong, mut lack) = (0_usize, false, None);
        let frontier = self.window.frontier().unwrap_or(first);
        for ((number, hash), raw) in (first..).zip(hashes).zip(blocks) {
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
            let has_room = self.window.held() < self.limits.window_bytes;
            if has_room || number.saturating_sub(frontier) < ALWAYS_KEPT {
                let body = Body { block: Arc::new(block), bytes: raw.len(), from: id };
                self.window.put(number, hash, body);
            }
        }
        let Some(peer) = self.peers.get_mut(&id) else { return blocks.len() };
        if let Some(height) = lack {
            peer.note_lack(height, now);
        }
        if bytes > 0 {
            peer.note_answer(bytes, took);
            peer.delivers = true;
            self.stall_timeout = (self.stall_timeout.saturating_mul(7) / 8).max(LATE.0);
        }
        if is_wrong {
            peer.note_failure();
            peer.bodies_from = now.saturating_add(LONG_PAUSE);
            cx.report(id, Misbehavior::WrongBody);
        }
        blocks.len()
    }

    /// Asks another peer for the block that all others wait for, if it is late.
    pub(super) fn relieve<C: ChainView>(&mut self, cx: &mut Context<'_, C>) {
        let Some(number) = self.window.frontier() else { return };
        let Some(slot) = self.window.slot(number) else { return };
        let Some(last) = slot.asked.last().and_then(|request| self.requests.get(request)) else {
            return;
        };
        let is_late = cx.now.elapsed.saturating_sub(last.at) >= self.stall_timeout;
        if !is_late || slot.asked.len() >= ASKED_AT_A_TIME {
            return;
        }
        let slow = last.peer;
        // What else the late peer was asked for together with it, as far as it is in a row.
        let What::Blocks { first, hashes } = &last.what else { return };
        let end = first.saturating_add(u64::try_from(hashes.len()).unwrap_or(u64::MAX));
        let waits = |number: &u64| {
            self.window
                .slot(*number)
                .is_some_and(|slot| slot.body.is_none() && !slot.asked.is_empty())
        };
        let count = (number..end).take_while(waits).count();
        let Some(id) = self.choose(cx, number) else { return };
        if let Some(peer) = self.peers.get_mut(&slow) {
            peer.note_stall();
        }
        self.stall_timeout = self.stall_timeout.saturating_mul(2).min(LATE.1);
        self.ask_blocks(cx, id, number, count.max(1));
    }
}
