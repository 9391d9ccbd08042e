//! Announced blocks, from the announcement to the chain's verdict.

use super::JUDGE_WITHIN;
use super::rebuild::{Fetching, Missing};
use crate::compact::{CompactError, Reconstruction};
use crate::engine::intake::Intake;
use crate::engine::ring::Ring;
use crate::engine::step::Step;
use crate::engine::{AnnouncementId, BlockVerdict, Conduct, Judgement, Output};
use crate::message::{Announcement, CompactBlock, MAX_WHOLE_BLOCK};
use crate::sync::Sync;
use crate::view::{ChainView, Known};
use chain::block::{self, Block, Header};
use chain::pow::{Target, Work};
use chain::rules::RuleError;
use chain::rules::header::{check_contextual, check_standalone};
use chain::{Bits, merkle};
use libp2p::PeerId;
use rand::RngExt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Most announced blocks that wait for their parent's verdict.
pub(super) const MAX_HELD: usize = 100;
/// Most of them from one peer.
pub(super) const MAX_HELD_EACH: usize = 20;
/// Most announced blocks that lack transactions: 2 MB each at worst.
pub(super) const MAX_INCOMPLETE: usize = 16;
/// Most peers that are remembered to have one announced block.
const MAX_SOURCES: usize = 8;
/// Blocks that are remembered after they were announced.
const REMEMBERED: usize = 1_024;

/// What an announcement carries.
#[derive(Clone, Debug)]
pub(super) enum Body {
    Whole(Arc<Block>),
    Compact(Arc<CompactBlock>),
}

impl Body {
    fn header(&self) -> Header {
        match self {
            Body::Whole(block) => block.header,
            Body::Compact(block) => block.header,
        }
    }
}

/// An announced block that the chain has not judged yet.
pub(super) struct Pending {
    pub(super) header: Header,
    /// To be judged; `None` when it has been.
    pub(super) announcement: Option<AnnouncementId>,
    /// Who announced it first, then who else did.
    pub(super) sources: Vec<PeerId>,
    pub(super) since: Duration,
    pub(super) stage: Stage,
}

/// How far an announced block is.
pub(super) enum Stage {
    /// Its parent is being judged.
    Held(Body),
    /// Some of its transactions are asked for.
    Missing(Box<Missing>),
    /// All of it is asked for.
    Fetching(Fetching),
    /// The chain is judging it.
    Importing {
        /// Who served the whole of it on request.
        served_by: Option<PeerId>,
    },
}

impl Pending {
    pub(super) fn announcer(&self) -> Option<PeerId> {
        self.sources.first().copied()
    }

    fn is_held(&self) -> bool {
        matches!(self.stage, Stage::Held(_))
    }

    pub(super) fn is_incomplete(&self) -> bool {
        matches!(self.stage, Stage::Missing(_) | Stage::Fetching(_))
    }
}

/// Announced blocks.
pub(super) struct Blocks {
    pub(super) pending: BTreeMap<block::Hash, Pending>,
    /// Blocks that were forwarded or announced by this node: not again.
    announced: Ring<block::Hash>,
    /// Requests that are open, and the blocks they are for.
    pub(super) asked: BTreeMap<u64, (PeerId, block::Hash)>,
    pub(super) next_request: u64,
}

impl Blocks {
    pub(super) fn new() -> Blocks {
        let (pending, asked) = (BTreeMap::new(), BTreeMap::new());
        Blocks { pending, announced: Ring::new(REMEMBERED), asked, next_request: 0 }
    }

    /// A peer announces a block.
    pub(super) fn announced(
        &mut self,
        step: &mut Step<impl ChainView>,
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
            return self.announced_otherwise(step, hash, id, helps.then_some(&body));
        }
        if self.is_known(step, &hash) || importing.contains(&hash) {
            return step.judge(id, Judgement::Ignore);
        }
        if check_standalone(&header, step.chain.params()).is_err() {
            return step.reject(peer, id);
        }
        let pending = Pending {
            header,
            announcement: Some(id),
            sources: vec![peer],
            since: step.now.elapsed,
            stage: Stage::Held(body),
        };
        if step.is_synced {
            self.go_on(step, hash, pending, importing);
        } else {
            give_up(step, pending);
        }
    }

    /// The same block is announced in other bytes. If those are enough where the first were not, they
    /// are what is forwarded: whoever is first with a bad announcement delays nobody.
    fn announced_otherwise(
        &mut self,
        step: &mut Step<impl ChainView>,
        hash: block::Hash,
        id: AnnouncementId,
        body: Option<&Body>,
    ) {
        let block = match body {
            Some(Body::Whole(block)) if belongs_together(block) => Some(Arc::clone(block)),
            Some(Body::Compact(compact)) => {
                let begun = Reconstruction::start(compact, step.chain);
                begun.and_then(Reconstruction::finish).ok().map(Arc::new)
            }
            _ => None,
        };
        let Some(block) = block else { return step.judge(id, Judgement::Ignore) };
        if let Some(mut pending) = self.pending.remove(&hash) {
            ignore(step, &pending);
            pending.announcement = Some(id);
            pending.stage = Stage::Importing { served_by: None };
            self.forward(step, hash, pending, block);
        }
    }

    fn is_known(&self, step: &Step<impl ChainView>, hash: &block::Hash) -> bool {
        let is_here = step.chain.find(hash).is_some() || step.chain.is_known_invalid(hash);
        is_here || self.announced.contains(hash)
    }

    /// Checks a held block after its parent, if that is there by now.
    fn go_on(
        &mut self,
        step: &mut Step<impl ChainView>,
        hash: block::Hash,
        pending: Pending,
        importing: &BTreeSet<block::Hash>,
    ) {
        let previous = pending.header.previous;
        if let Some(parent) = step.chain.find(&previous) {
            return self.follow(step, hash, pending, &parent);
        }
        if step.chain.is_known_invalid(&previous) {
            return ignore(step, &pending);
        }
        if self.pending.contains_key(&previous) || importing.contains(&previous) {
            return self.hold(step, hash, pending);
        }
        give_up(step, pending);
    }

    /// Checks a block after a parent that is here, then its body.
    fn follow(
        &mut self,
        step: &mut Step<impl ChainView>,
        hash: block::Hash,
        mut pending: Pending,
        parent: &Known,
    ) {
        let params = step.chain.params();
        let checked = check_contextual(&pending.header, &parent.as_parent, params, step.now.clock);
        match checked {
            Err(RuleError::TimeTooNew { .. }) => return ignore(step, &pending),
            Err(_) => return reject(step, &pending),
            Ok(()) if parent.is_invalid || !is_worthwhile(step, parent, pending.header.bits) => {
                return ignore(step, &pending);
            }
            Ok(()) => {}
        }
        let not_held = Stage::Importing { served_by: None };
        match std::mem::replace(&mut pending.stage, not_held) {
            Stage::Held(Body::Whole(block)) if belongs_together(&block) => {
                self.forward(step, hash, pending, block);
            }
            Stage::Held(Body::Compact(compact)) => self.rebuild(step, hash, pending, &compact),
            _ => reject(step, &pending),
        }
    }

    fn rebuild(
        &mut self,
        step: &mut Step<impl ChainView>,
        hash: block::Hash,
        pending: Pending,
        compact: &Arc<CompactBlock>,
    ) {
        let begun = Reconstruction::start(compact, step.chain).and_then(|begun| {
            let missing = begun.missing();
            if missing.is_empty() { begun.finish().map(Ok) } else { Ok(Err((begun, missing))) }
        });
        match begun {
            Ok(Ok(block)) => self.forward(step, hash, pending, Arc::new(block)),
            Err(CompactError::Bad(_)) => reject(step, &pending),
            _ if self.incomplete() >= MAX_INCOMPLETE => give_up(step, pending),
            Ok(Err((begun, missing))) => self.ask(step, hash, pending, (compact, begun, missing)),
            Err(_) => self.fetch(step, hash, pending, Fetching::new(compact)),
        }
    }

    fn incomplete(&self) -> usize {
        self.pending.values().filter(|pending| pending.is_incomplete()).count()
    }

    /// The body is there and belongs to the header: others may have it, before its state is judged.
    pub(super) fn forward(
        &mut self,
        step: &mut Step<impl ChainView>,
        hash: block::Hash,
        mut pending: Pending,
        block: Arc<Block>,
    ) {
        if let Some(id) = pending.announcement.take() {
            step.judge(id, Judgement::Accept);
        }
        self.announced.insert(hash, ());
        self.import(step, hash, pending, block);
    }

    /// Hands a block to the chain.
    pub(super) fn import(
        &mut self,
        step: &mut Step<impl ChainView>,
        hash: block::Hash,
        pending: Pending,
        block: Arc<Block>,
    ) {
        self.pending.insert(hash, pending);
        step.out.push(Output::ImportBlock(block));
    }

    /// Keeps a block until its parent is judged. When there are too many, any may have to go.
    fn hold(&mut self, step: &mut Step<impl ChainView>, hash: block::Hash, pending: Pending) {
        let held = self.pending.iter().filter(|(_, other)| other.is_held());
        let of_peer = held.clone().filter(|(_, other)| other.announcer() == pending.announcer());
        if of_peer.count() >= MAX_HELD_EACH {
            return give_up(step, pending);
        }
        let held: Vec<block::Hash> = held.map(|(hash, _)| *hash).collect();
        if held.len() >= MAX_HELD {
            let unlucky = held[step.rng.random_range(..held.len())];
            if let Some(evicted) = self.pending.remove(&unlucky) {
                give_up(step, evicted);
            }
        }
        self.pending.insert(hash, pending);
    }

    /// The chain has judged a block: those that waited for it go on.
    pub(super) fn judged(
        &mut self,
        step: &mut Step<impl ChainView>,
        hash: block::Hash,
        verdict: BlockVerdict,
        importing: &BTreeSet<block::Hash>,
    ) {
        if let Some(Pending { stage: Stage::Importing { served_by }, .. }) = self.pending.get(&hash)
        {
            if let (Some(peer), BlockVerdict::Invalid { for_ever: true, .. }) =
                (*served_by, verdict)
            {
                step.report(peer, Conduct::InvalidBlock);
            }
            self.pending.remove(&hash);
        }
        self.release(step, &hash, importing);
    }

    fn release(
        &mut self,
        step: &mut Step<impl ChainView>,
        parent: &block::Hash,
        importing: &BTreeSet<block::Hash>,
    ) {
        let waits = |pending: &Pending| pending.is_held() && pending.header.previous == *parent;
        let children = self.pending.iter().filter(|(_, pending)| waits(pending));
        let children: Vec<block::Hash> = children.map(|(hash, _)| *hash).collect();
        for hash in children {
            if let Some(pending) = self.pending.remove(&hash) {
                self.go_on(step, hash, pending, importing);
            }
        }
    }

    /// Blocks that came another way need nothing more.
    pub(super) fn settle_known(&mut self, step: &mut Step<impl ChainView>) {
        let is_here = |(hash, pending): &(&block::Hash, &Pending)| {
            pending.is_incomplete() && step.chain.find(hash).is_some()
        };
        let here: Vec<_> = self.pending.iter().filter(is_here).map(|(hash, _)| *hash).collect();
        for hash in here {
            if let Some(pending) = self.pending.remove(&hash) {
                ignore(step, &pending);
            }
        }
    }

    /// Announces the tip, unless all have heard of it.
    pub(super) fn announce_tip(&mut self, step: &mut Step<impl ChainView>, intake: &Intake) {
        let hash = step.chain.tip().hash;
        if hash == step.chain.params().genesis_hash() || !self.announced.insert(hash, ()) {
            return;
        }
        let Some(raw) = step.chain.block(&hash) else { return };
        let Ok(block) = Block::decode(&raw) else { return };
        let announcement = if raw.len() <= MAX_WHOLE_BLOCK {
            Announcement::Block(Arc::new(block))
        } else {
            let compact = CompactBlock::of(&block, step.rng.random(), &unheard(&block, intake));
            Announcement::CompactBlock(Arc::new(compact))
        };
        step.out.push(Output::Announce(announcement));
    }

    pub(super) fn tick(
        &mut self,
        step: &mut Step<impl ChainView>,
        importing: &BTreeSet<block::Hash>,
    ) {
        let now = step.now.elapsed;
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
                give_up(step, pending);
            }
        }
        for hash in strays {
            if let Some(pending) = self.pending.remove(&hash) {
                self.go_on(step, hash, pending, importing);
            }
        }
        self.hurry(step);
    }
}

/// Whether a child of this block could matter: it has about as much work as the best chain.
fn is_worthwhile(step: &Step<impl ChainView>, parent: &Known, bits: Bits) -> bool {
    let work = bits.target().map_or(Work::ZERO, Target::work);
    parent.tip.chain_work.saturating_add(work) > Sync::least_work(step.chain)
}

/// Whether the header commits to these transactions and no others.
pub(super) fn belongs_together(block: &Block) -> bool {
    let ids = block.ids();
    merkle::root(&ids) == block.header.merkle_root && !merkle::is_mutated(&ids)
}

/// Where those of a block's transfers stand that others have probably not heard of.
fn unheard(block: &Block, intake: &Intake) -> Vec<u32> {
    let unheard = block.transfers().filter(|(_, transfer)| !intake.was_heard(&transfer.id()));
    unheard.filter_map(|(position, _)| u32::try_from(position).ok()).collect()
}

pub(super) fn ignore(step: &mut Step<impl ChainView>, pending: &Pending) {
    if let Some(id) = pending.announcement {
        step.judge(id, Judgement::Ignore);
    }
}

/// Leaves a block to sync.
pub(super) fn give_up(step: &mut Step<impl ChainView>, pending: Pending) {
    ignore(step, &pending);
    for peer in pending.sources {
        if step.peers.contains_key(&peer) {
            step.for_sync.push((peer, pending.header));
        }
    }
}

fn reject(step: &mut Step<impl ChainView>, pending: &Pending) {
    if let (Some(peer), Some(id)) = (pending.announcer(), pending.announcement) {
        step.reject(peer, id);
    }
}
