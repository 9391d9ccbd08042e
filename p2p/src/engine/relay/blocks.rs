//! Announced blocks, from the announcement to the writer's validation result.

use super::pending::{
    BlockRequest, Body, PendingBlock, Stage, VALIDATION_DEADLINE, matches_header,
};
use crate::engine::compact::{CompactError, Reconstruction};
use crate::engine::context::Context;
use crate::engine::machine::{
    AnnouncementId, BlockValidation, MessageAcceptance, Misbehavior, Output,
};
use crate::engine::recent::Recent;
use crate::engine::requests::Requests;
use crate::engine::transfers::InFlightTransfers;
use crate::engine::work_threshold::work_threshold;
use crate::message::{Announcement, CompactBlock, MAX_WHOLE_BLOCK};
use crate::view::Known;
use chain::Bits;
use chain::block::{self, Block};
use chain::pow::{Target, Work};
use chain::rules::RuleError;
use chain::rules::header::{check_contextual, check_standalone};
use libp2p::PeerId;
use rand::RngExt;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most announced blocks whose parent is being validated, and most whose parent is unknown.
pub(super) const MAX_ORPHANS: usize = 100;
/// Most announced blocks of one peer whose parent is being validated, and most whose parent is unknown.
pub(super) const MAX_ORPHANS_PER_PEER: usize = 20;
/// Most announced blocks that lack transactions: 2 MB each at worst.
pub(super) const MAX_INCOMPLETE: usize = 16;
/// Missing transactions from which on sync fetches the whole block, if they are most of it: its requests
/// have more time on slow links, and none is sent to the same peer meanwhile.
const MANY_MISSING: usize = 1_000;
/// Announced blocks that are remembered.
const MAX_ANNOUNCED: usize = 1_024;

/// The state of block relay: the announced blocks in progress, and the requests for them.
pub(super) struct Blocks {
    pub(super) pending: BTreeMap<block::Hash, PendingBlock>,
    /// Blocks that this node has forwarded or announced, which it does not announce again.
    announced: Recent<block::Hash>,
    /// Blocks that were announced to this node in full. Gossip does not publish the same bytes again.
    received: Recent<block::Hash>,
    /// The requests in flight, and the blocks they are for.
    pub(super) requests: Requests<block::Hash>,
}

impl Blocks {
    pub(super) fn new() -> Blocks {
        let (pending, requests) = (BTreeMap::new(), Requests::new());
        let (announced, received) = (Recent::new(MAX_ANNOUNCED), Recent::new(MAX_ANNOUNCED));
        Blocks { pending, announced, received, requests }
    }

    /// Processes the announcement of a block.
    pub(super) fn handle_announcement(
        &mut self,
        cx: &mut Context,
        (peer, id): (PeerId, AnnouncementId),
        body: Body,
    ) {
        let header = body.header();
        let hash = header.hash();
        if self.pending.contains_key(&hash) {
            self.record_received(hash, &body);
        }
        if let Some(pending) = self.pending.get_mut(&hash) {
            let is_new = pending.add_announcer(peer);
            if is_new && pending.awaits_sync() {
                cx.for_sync.push((peer, header));
            }
            let is_useful = is_new && pending.is_incomplete();
            return self.handle_duplicate(cx, hash, id, is_useful.then_some(&body));
        }
        if self.is_known(cx, &hash) || cx.importing.contains(&hash) {
            return cx.report_validation(id, MessageAcceptance::Ignore);
        }
        if check_standalone(&header, cx.chain.params()).is_err() {
            return cx.reject(peer, id);
        }
        self.record_received(hash, &body);
        let pending = PendingBlock::new(hash, (peer, id), body, cx.now.elapsed);
        if cx.is_synced {
            self.process(cx, pending);
        } else {
            pending.leave_to_sync(cx);
        }
    }

    /// Records a block that was announced in full.
    fn record_received(&mut self, hash: block::Hash, body: &Body) {
        if matches!(body, Body::Full(_)) {
            self.received.insert(hash, ());
        }
    }

    /// Processes an announcement of a pending block in other bytes. If these suffice where the first
    /// did not, they are forwarded instead: a bad first announcement delays no one.
    fn handle_duplicate(
        &mut self,
        cx: &mut Context,
        hash: block::Hash,
        id: AnnouncementId,
        body: Option<&Body>,
    ) {
        let block = match body {
            Some(Body::Full(block)) if matches_header(block) => Some(Arc::clone(block)),
            Some(Body::Compact(compact)) => {
                let reconstruction = Reconstruction::start(compact, cx.chain);
                reconstruction.and_then(Reconstruction::finish).ok().map(Arc::new)
            }
            _ => None,
        };
        let Some(block) = block else { return cx.report_validation(id, MessageAcceptance::Ignore) };
        if let Some(mut pending) = self.pending.remove(&hash) {
            pending.replace_announcement(cx, id);
            pending.start_import();
            self.forward(cx, pending, block);
        }
    }

    fn is_known(&self, cx: &Context, hash: &block::Hash) -> bool {
        cx.chain.find(hash).is_some()
            || cx.chain.is_known_invalid(hash)
            || self.announced.contains(hash)
    }

    /// Validates a block if its parent is known by now.
    fn process(&mut self, cx: &mut Context, mut pending: PendingBlock) {
        let parent = pending.header.previous;
        if let Some(parent) = cx.chain.find(&parent) {
            self.validate(cx, pending, &parent);
        } else if cx.chain.is_known_invalid(&parent) {
            pending.ignore(cx);
        } else if self.pending.contains_key(&parent) || cx.importing.contains(&parent) {
            self.hold_orphan(cx, pending);
        } else {
            self.await_sync(cx, pending);
        }
    }

    /// Has sync fetch a block with unknown ancestors or transactions, and forwards the announcement once
    /// it has: the neighbours that miss the same blocks learn of them at once.
    fn await_sync(&mut self, cx: &mut Context, mut pending: PendingBlock) {
        let awaiting = self.pending.values().filter(|other| other.awaits_sync());
        let of_peer = awaiting.clone().filter(|other| other.announcer() == pending.announcer());
        if of_peer.count() >= MAX_ORPHANS_PER_PEER || awaiting.count() >= MAX_ORPHANS {
            return pending.leave_to_sync(cx);
        }
        pending.pass_to_sync(cx);
        pending.stage = Stage::AwaitingSync;
        self.pending.insert(pending.hash, pending);
    }

    /// Validates the header of a block after its parent, then the body.
    fn validate(&mut self, cx: &mut Context, mut pending: PendingBlock, parent: &Known) {
        let (header, params) = (&pending.header, cx.chain.params());
        match check_contextual(header, &parent.as_parent, params, cx.now.clock) {
            Err(RuleError::TimeTooNew { .. }) => return pending.ignore(cx),
            Err(_) => return pending.reject(cx),
            Ok(()) if parent.is_invalid || !has_enough_work(cx, parent, header.bits) => {
                return pending.ignore(cx);
            }
            Ok(()) => {}
        }
        match pending.start_import() {
            Stage::AwaitingParent(Body::Full(block)) if matches_header(&block) => {
                self.forward(cx, pending, block);
            }
            Stage::AwaitingParent(Body::Compact(compact)) => {
                self.reconstruct(cx, pending, &compact);
            }
            _ => pending.reject(cx),
        }
    }

    fn reconstruct(
        &mut self,
        cx: &mut Context,
        pending: PendingBlock,
        compact: &Arc<CompactBlock>,
    ) {
        let started = Reconstruction::start(compact, cx.chain).and_then(|started| {
            let missing = started.missing();
            if missing.is_empty() { started.finish().map(Ok) } else { Ok(Err((started, missing))) }
        });
        match started {
            Ok(Ok(block)) => self.forward(cx, pending, Arc::new(block)),
            Err(CompactError::Bad(_)) => pending.reject(cx),
            _ if self.incomplete() >= MAX_INCOMPLETE => pending.leave_to_sync(cx),
            Ok(Err((_, missing))) if is_mostly_missing(compact, missing.len()) => {
                self.await_sync(cx, pending);
            }
            Ok(Err((started, missing))) => {
                self.request_transactions(cx, pending, (compact, started, missing));
            }
            Err(_) => self.request_block(cx, pending, BlockRequest::new(compact, None)),
        }
    }

    fn incomplete(&self) -> usize {
        self.pending.values().filter(|pending| pending.is_incomplete()).count()
    }

    /// Forwards a block whose body is the one of its header, before its state is validated, and
    /// submits it to the writer.
    pub(super) fn forward(
        &mut self,
        cx: &mut Context,
        mut pending: PendingBlock,
        block: Arc<Block>,
    ) {
        pending.accept(cx);
        self.announced.insert(pending.hash, ());
        self.import(cx, pending, block);
    }

    /// Submits a block to the writer.
    pub(super) fn import(&mut self, cx: &mut Context, pending: PendingBlock, block: Arc<Block>) {
        self.pending.insert(pending.hash, pending);
        cx.out.push(Output::ImportBlock(block.into()));
    }

    /// Stores a block until its parent is validated. If there are too many, evicts a random one.
    fn hold_orphan(&mut self, cx: &mut Context, pending: PendingBlock) {
        let orphans = self.pending.values().filter(|other| other.is_orphan());
        let of_peer = orphans.clone().filter(|other| other.announcer() == pending.announcer());
        if of_peer.count() >= MAX_ORPHANS_PER_PEER {
            return pending.leave_to_sync(cx);
        }
        let orphans: Vec<block::Hash> = orphans.map(|orphan| orphan.hash).collect();
        if orphans.len() >= MAX_ORPHANS {
            let evicted = orphans[cx.rng.random_range(..orphans.len())];
            if let Some(evicted) = self.pending.remove(&evicted) {
                evicted.leave_to_sync(cx);
            }
        }
        self.pending.insert(pending.hash, pending);
    }

    /// Processes the validation result of a block: its orphans continue.
    pub(super) fn block_validated(
        &mut self,
        cx: &mut Context,
        hash: block::Hash,
        validation: BlockValidation,
    ) {
        if let Some(PendingBlock { stage: Stage::Importing { served_by }, .. }) =
            self.pending.get(&hash)
        {
            if let (Some(peer), BlockValidation::Invalid) = (*served_by, validation) {
                cx.report(peer, Misbehavior::InvalidBlock);
            }
            self.pending.remove(&hash);
        }
        self.forward_synced(cx);
        let is_child =
            |pending: &PendingBlock| pending.is_orphan() && pending.header.previous == hash;
        for child in self.extract(is_child) {
            self.process(cx, child);
        }
    }

    /// Removes and returns the pending blocks that satisfy a condition.
    pub(super) fn extract(
        &mut self,
        condition: impl Fn(&PendingBlock) -> bool,
    ) -> Vec<PendingBlock> {
        self.pending.extract_if(.., |_, pending| condition(pending)).map(|(_, one)| one).collect()
    }

    /// Ignores the announcements of incomplete blocks that have entered the chain by another way.
    pub(super) fn remove_connected(&mut self, cx: &mut Context) {
        let chain = cx.chain;
        let is_connected =
            |pending: &PendingBlock| pending.is_incomplete() && chain.find(&pending.hash).is_some();
        for mut pending in self.extract(is_connected) {
            pending.ignore(cx);
        }
        self.forward_synced(cx);
    }

    /// Forwards the announcements of blocks that sync has fetched.
    fn forward_synced(&mut self, cx: &mut Context) {
        let chain = cx.chain;
        let is_synced = |pending: &PendingBlock| {
            pending.awaits_sync() && chain.find(&pending.hash).is_some_and(|it| !it.is_invalid)
        };
        for mut pending in self.extract(is_synced) {
            pending.accept(cx);
            self.announced.insert(pending.hash, ());
        }
    }

    /// Announces the tip unless it has been announced.
    pub(super) fn announce_tip(&mut self, cx: &mut Context, transfers: &InFlightTransfers) {
        let hash = cx.chain.tip().hash;
        if hash == cx.chain.params().genesis_hash() || !self.announced.insert(hash, ()) {
            return;
        }
        let Some(raw) = cx.chain.block(&hash) else { return };
        let Ok(block) = Block::decode(&raw) else { return };
        // The full block is the same at every node, and gossip drops the bytes that it has received. A
        // compact block has a random nonce.
        let is_new = !self.received.contains(&hash);
        let announcement = if is_new && raw.len() <= MAX_WHOLE_BLOCK {
            Announcement::Block(Arc::new(block))
        } else {
            let prefill = unseen_transfers(&block, transfers);
            let compact = CompactBlock::of(&block, cx.rng.random(), &prefill);
            Announcement::CompactBlock(Arc::new(compact))
        };
        cx.out.push(Output::Announce(announcement));
    }

    pub(super) fn tick(&mut self, cx: &mut Context) {
        let now = cx.now.elapsed;
        let is_overdue = |pending: &PendingBlock| {
            !matches!(pending.stage, Stage::Importing { .. })
                && now.saturating_sub(pending.since) >= VALIDATION_DEADLINE
        };
        for mut pending in self.extract(is_overdue) {
            if pending.awaits_sync() {
                pending.ignore(cx);
            } else {
                pending.leave_to_sync(cx);
            }
        }
        let lost_parent = |pending: &&PendingBlock| {
            let parent = &pending.header.previous;
            let is_awaited = self.pending.contains_key(parent) || cx.importing.contains(parent);
            pending.is_orphan() && !is_awaited
        };
        let orphans = self.pending.values().filter(lost_parent);
        let orphans: Vec<block::Hash> = orphans.map(|orphan| orphan.hash).collect();
        for hash in orphans {
            if let Some(orphan) = self.pending.remove(&hash) {
                self.process(cx, orphan);
            }
        }
        self.retry_requests(cx);
    }
}

/// Returns whether most transactions of a block are missing, and many.
fn is_mostly_missing(compact: &CompactBlock, missing: usize) -> bool {
    let found = compact.short_ids.len().saturating_sub(missing);
    missing >= MANY_MISSING && missing > found
}

/// Returns whether a child of this block would have about as much work as the best chain.
fn has_enough_work(cx: &Context, parent: &Known, bits: Bits) -> bool {
    let work = bits.target().map_or(Work::ZERO, Target::work);
    parent.tip.chain_work.saturating_add(work) > work_threshold(cx.chain)
}

/// The positions of the transfers of a block that other nodes have probably not seen.
fn unseen_transfers(block: &Block, transfers: &InFlightTransfers) -> Vec<u32> {
    let unseen = block.transfers().filter(|(_, transfer)| !transfers.was_seen(&transfer.id()));
    unseen.filter_map(|(position, _)| u32::try_from(position).ok()).collect()
}
