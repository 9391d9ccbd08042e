//! Announced blocks, from the announcement to the chain's validation.

use super::JUDGE_WITHIN;
use super::pending::{Body, Fetching, Pending, Stage, belongs_together, give_up, ignore, reject};
use crate::engine::compact::{CompactError, Reconstruction};
use crate::engine::context::Context;
use crate::engine::machine::{
    AnnouncementId, BlockValidation, MessageAcceptance, Misbehavior, Output,
};
use crate::engine::recent::Recent;
use crate::engine::sync::Sync;
use crate::engine::transfers::InFlightTransfers;
use crate::message::{Announcement, CompactBlock, MAX_WHOLE_BLOCK};
use crate::view::{ChainView, Known};
use chain::Bits;
use chain::block::{self, Block};
use chain::pow::{Target, Work};
use chain::rules::RuleError;
use chain::rules::header::{check_contextual, check_standalone};
use libp2p::PeerId;
use rand::RngExt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Most announced blocks that wait for their parent's validation.
pub(super) const MAX_HELD: usize = 100;
/// Most of them from one peer.
pub(super) const MAX_HELD_EACH: usize = 20;
/// Most announced blocks that lack transactions: 2 MB each at worst.
pub(super) const MAX_INCOMPLETE: usize = 16;
/// Most peers that are remembered to have one announced block.
const MAX_SOURCES: usize = 8;
/// Blocks that are remembered after they were announced.
const REMEMBERED: usize = 1_024;

/// Announced blocks.
pub(super) struct Blocks {
    pub(super) pending: BTreeMap<block::Hash, Pending>,
    /// Blocks that were forwarded or announced by this node: not again.
    announced: Recent<block::Hash>,
    /// Requests that are open, and the blocks they are for.
    pub(super) asked: BTreeMap<u64, (PeerId, block::Hash)>,
    pub(super) next_request: u64,
}

impl Blocks {
    pub(super) fn new() -> Blocks {
        let (pending, asked) = (BTreeMap::new(), BTreeMap::new());
        Blocks { pending, announced: Recent::new(REMEMBERED), asked, next_request: 0 }
    }

    /// A peer announces a block.
    pub(super) fn announced(
        &mut self,
        cx: &mut Context<impl ChainView>,
        (peer, id): (PeerId, AnnouncementId),
        body: Body,
        importing: &BTreeSet<block::Hash>,
    ) {
        let header = body.header();
        let hash = header.hash();
        if let Some(pending) = self.pending.get_mut(&hash) {
            let is_new = pending.sources.len() < MAX_SOURCES && !pending.sources.contains(&peer);
            if is_new {
                pending.sources.push(peer);
            }
            let helps = is_new && pending.is_incomplete();
            return self.announced_otherwise(cx, hash, id, helps.then_some(&body));
        }
        if self.is_known(cx, &hash) || importing.contains(&hash) {
            return cx.report_validation(id, MessageAcceptance::Ignore);
        }
        if check_standalone(&header, cx.chain.params()).is_err() {
            return cx.reject(peer, id);
        }
        let pending = Pending {
            header,
            announcement: Some(id),
            sources: vec![peer],
            since: cx.now.elapsed,
            stage: Stage::Held(body),
        };
        if cx.is_synced {
            self.go_on(cx, hash, pending, importing);
        } else {
            give_up(cx, pending);
        }
    }

    /// The same block is announced in other bytes. If those are enough where the first were not, they
    /// are what is forwarded: whoever is first with a bad announcement delays nobody.
    fn announced_otherwise(
        &mut self,
        cx: &mut Context<impl ChainView>,
        hash: block::Hash,
        id: AnnouncementId,
        body: Option<&Body>,
    ) {
        let block = match body {
            Some(Body::Whole(block)) if belongs_together(block) => Some(Arc::clone(block)),
            Some(Body::Compact(compact)) => {
                let begun = Reconstruction::start(compact, cx.chain);
                begun.and_then(Reconstruction::finish).ok().map(Arc::new)
            }
            _ => None,
        };
        let Some(block) = block else { return cx.report_validation(id, MessageAcceptance::Ignore) };
        if let Some(mut pending) = self.pending.remove(&hash) {
            ignore(cx, &pending);
            pending.announcement = Some(id);
            pending.stage = Stage::Importing { served_by: None };
            self.forward(cx, hash, pending, block);
        }
    }

    fn is_known(&self, cx: &Context<impl ChainView>, hash: &block::Hash) -> bool {
        let is_here = cx.chain.find(hash).is_some() || cx.chain.is_known_invalid(hash);
        is_here || self.announced.contains(hash)
    }

    /// Checks a held block after its parent, if that is there by now.
    fn go_on(
        &mut self,
        cx: &mut Context<impl ChainView>,
        hash: block::Hash,
        pending: Pending,
        importing: &BTreeSet<block::Hash>,
    ) {
        let previous = pending.header.previous;
        if let Some(parent) = cx.chain.find(&previous) {
            return self.follow(cx, hash, pending, &parent);
        }
        if cx.chain.is_known_invalid(&previous) {
            return ignore(cx, &pending);
        }
        if self.pending.contains_key(&previous) || importing.contains(&previous) {
            return self.hold(cx, hash, pending);
        }
        give_up(cx, pending);
    }

    /// Checks a block after a parent that is here, then its body.
    fn follow(
        &mut self,
        cx: &mut Context<impl ChainView>,
        hash: block::Hash,
        mut pending: Pending,
        parent: &Known,
    ) {
        let params = cx.chain.params();
        let checked = check_contextual(&pending.header, &parent.as_parent, params, cx.now.clock);
        match checked {
            Err(RuleError::TimeTooNew { .. }) => return ignore(cx, &pending),
            Err(_) => return reject(cx, &pending),
            Ok(()) if parent.is_invalid || !is_worthwhile(cx, parent, pending.header.bits) => {
                return ignore(cx, &pending);
            }
            Ok(()) => {}
        }
        let not_held = Stage::Importing { served_by: None };
        match std::mem::replace(&mut pending.stage, not_held) {
            Stage::Held(Body::Whole(block)) if belongs_together(&block) => {
                self.forward(cx, hash, pending, block);
            }
            Stage::Held(Body::Compact(compact)) => self.reconstruct(cx, hash, pending, &compact),
            _ => reject(cx, &pending),
        }
    }

    fn reconstruct(
        &mut self,
        cx: &mut Context<impl ChainView>,
        hash: block::Hash,
        pending: Pending,
        compact: &Arc<CompactBlock>,
    ) {
        let begun = Reconstruction::start(compact, cx.chain).and_then(|begun| {
            let missing = begun.missing();
            if missing.is_empty() { begun.finish().map(Ok) } else { Ok(Err((begun, missing))) }
        });
        match begun {
            Ok(Ok(block)) => self.forward(cx, hash, pending, Arc::new(block)),
            Err(CompactError::Bad(_)) => reject(cx, &pending),
            _ if self.incomplete() >= MAX_INCOMPLETE => give_up(cx, pending),
            Ok(Err((begun, missing))) => self.ask(cx, hash, pending, (compact, begun, missing)),
            Err(_) => self.fetch(cx, hash, pending, Fetching::new(compact)),
        }
    }

    fn incomplete(&self) -> usize {
        self.pending.values().filter(|pending| pending.is_incomplete()).count()
    }

    /// The body is there and belongs to the header: others may have it, before its state is judged.
    pub(super) fn forward(
        &mut self,
        cx: &mut Context<impl ChainView>,
        hash: block::Hash,
        mut pending: Pending,
        block: Arc<Block>,
    ) {
        if let Some(id) = pending.announcement.take() {
            cx.report_validation(id, MessageAcceptance::Accept);
        }
        self.announced.insert(hash, ());
        self.import(cx, hash, pending, block);
    }

    /// Hands a block to the chain.
    pub(super) fn import(
        &mut self,
        cx: &mut Context<impl ChainView>,
        hash: block::Hash,
        pending: Pending,
        block: Arc<Block>,
    ) {
        self.pending.insert(hash, pending);
        cx.out.push(Output::ImportBlock(block));
    }

    /// Keeps a block until its parent is judged. When there are too many, any may have to go.
    fn hold(&mut self, cx: &mut Context<impl ChainView>, hash: block::Hash, pending: Pending) {
        let held = self.pending.iter().filter(|(_, other)| other.is_held());
        let of_peer = held.clone().filter(|(_, other)| other.announcer() == pending.announcer());
        if of_peer.count() >= MAX_HELD_EACH {
            return give_up(cx, pending);
        }
        let held: Vec<block::Hash> = held.map(|(hash, _)| *hash).collect();
        if held.len() >= MAX_HELD {
            let unlucky = held[cx.rng.random_range(..held.len())];
            if let Some(evicted) = self.pending.remove(&unlucky) {
                give_up(cx, evicted);
            }
        }
        self.pending.insert(hash, pending);
    }

    /// The chain has judged a block: those that waited for it go on.
    pub(super) fn validated(
        &mut self,
        cx: &mut Context<impl ChainView>,
        hash: block::Hash,
        validation: BlockValidation,
        importing: &BTreeSet<block::Hash>,
    ) {
        if let Some(Pending { stage: Stage::Importing { served_by }, .. }) = self.pending.get(&hash)
        {
            if let (Some(peer), BlockValidation::Invalid { for_ever: true, .. }) =
                (*served_by, validation)
            {
                cx.report(peer, Misbehavior::InvalidBlock);
            }
            self.pending.remove(&hash);
        }
        self.release(cx, &hash, importing);
    }

    fn release(
        &mut self,
        cx: &mut Context<impl ChainView>,
        parent: &block::Hash,
        importing: &BTreeSet<block::Hash>,
    ) {
        let waits = |pending: &Pending| pending.is_held() && pending.header.previous == *parent;
        let children = self.pending.iter().filter(|(_, pending)| waits(pending));
        let children: Vec<block::Hash> = children.map(|(hash, _)| *hash).collect();
        for hash in children {
            if let Some(pending) = self.pending.remove(&hash) {
                self.go_on(cx, hash, pending, importing);
            }
        }
    }

    /// Blocks that came another way need nothing more.
    pub(super) fn settle_known(&mut self, cx: &mut Context<impl ChainView>) {
        let is_here = |(hash, pending): &(&block::Hash, &Pending)| {
            pending.is_incomplete() && cx.chain.find(hash).is_some()
        };
        let here: Vec<_> = self.pending.iter().filter(is_here).map(|(hash, _)| *hash).collect();
        for hash in here {
            if let Some(pending) = self.pending.remove(&hash) {
                ignore(cx, &pending);
            }
        }
    }

    /// Announces the tip, unless all have seen of it.
    pub(super) fn announce_tip(
        &mut self,
        cx: &mut Context<impl ChainView>,
        transfers: &InFlightTransfers,
    ) {
        let hash = cx.chain.tip().hash;
        if hash == cx.chain.params().genesis_hash() || !self.announced.insert(hash, ()) {
            return;
        }
        let Some(raw) = cx.chain.block(&hash) else { return };
        let Ok(block) = Block::decode(&raw) else { return };
        let announcement = if raw.len() <= MAX_WHOLE_BLOCK {
            Announcement::Block(Arc::new(block))
        } else {
            let compact = CompactBlock::of(&block, cx.rng.random(), &unheard(&block, transfers));
            Announcement::CompactBlock(Arc::new(compact))
        };
        cx.out.push(Output::Announce(announcement));
    }

    pub(super) fn tick(
        &mut self,
        cx: &mut Context<impl ChainView>,
        importing: &BTreeSet<block::Hash>,
    ) {
        let now = cx.now.elapsed;
        let is_late = |pending: &Pending| now.saturating_sub(pending.since) >= JUDGE_WITHIN;
        let is_stray = |pending: &Pending| {
            let parent = &pending.header.previous;
            pending.is_held() && !self.pending.contains_key(parent) && !importing.contains(parent)
        };
        let mut late = Vec::new();
        let mut strays = Vec::new();
        for (hash, pending) in &self.pending {
            if !matches!(pending.stage, Stage::Importing { .. }) && is_late(pending) {
                late.push(*hash);
            } else if is_stray(pending) {
                strays.push(*hash);
            }
        }
        for hash in late {
            if let Some(pending) = self.pending.remove(&hash) {
                give_up(cx, pending);
            }
        }
        for hash in strays {
            if let Some(pending) = self.pending.remove(&hash) {
                self.go_on(cx, hash, pending, importing);
            }
        }
        self.hurry(cx);
    }
}

/// Whether a child of this block could matter: it has about as much work as the best chain.
fn is_worthwhile(cx: &Context<impl ChainView>, parent: &Known, bits: Bits) -> bool {
    let work = bits.target().map_or(Work::ZERO, Target::work);
    parent.tip.chain_work.saturating_add(work) > Sync::least_work(cx.chain)
}

/// Where those of a block's transfers stand that others have probably not seen of.
fn unheard(block: &Block, transfers: &InFlightTransfers) -> Vec<u32> {
    let unheard = block.transfers().filter(|(_, transfer)| !transfers.was_seen(&transfer.id()));
    unheard.filter_map(|(position, _)| u32::try_from(position).ok()).collect()
}
