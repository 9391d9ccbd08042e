//! Announced blocks that the chain has not validated yet: their stages, and how they end.

use crate::engine::compact::Reconstruction;
use crate::engine::context::Context;
use crate::engine::machine::{AnnouncementId, MessageAcceptance};
use crate::message::CompactBlock;
use crate::view::ChainView;
use chain::block::{Block, Header};
use chain::merkle;
use libp2p::PeerId;
use std::sync::Arc;
use std::time::Duration;

/// What an announcement carries.
#[derive(Clone, Debug)]
pub(super) enum Body {
    Whole(Arc<Block>),
    Compact(Arc<CompactBlock>),
}

impl Body {
    pub(super) fn header(&self) -> Header {
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

    pub(super) fn is_held(&self) -> bool {
        matches!(self.stage, Stage::Held(_))
    }

    pub(super) fn is_incomplete(&self) -> bool {
        matches!(self.stage, Stage::Missing(_) | Stage::Fetching(_))
    }
}

/// Some transactions are asked for.
pub(super) struct Missing {
    pub(super) compact: Arc<CompactBlock>,
    pub(super) begun: Reconstruction,
    pub(super) positions: Vec<u32>,
    pub(super) request: u64,
    /// When others are asked.
    pub(super) until: Duration,
    /// When to ask again, if the answer was "not now".
    pub(super) again_at: Option<Duration>,
    pub(super) pause: Duration,
}

/// The whole block is asked for.
pub(super) struct Fetching {
    pub(super) compact: Arc<CompactBlock>,
    /// Who was asked, the last one last.
    pub(super) asked: Vec<PeerId>,
    pub(super) requests: Vec<u64>,
    /// When the next one is asked.
    pub(super) until: Duration,
}

impl Fetching {
    /// From anybody, whoever announced it first.
    pub(super) fn new(compact: &Arc<CompactBlock>) -> Fetching {
        let compact = Arc::clone(compact);
        Fetching { compact, asked: Vec::new(), requests: Vec::new(), until: Duration::ZERO }
    }

    /// From others than whoever failed.
    pub(super) fn without(compact: &Arc<CompactBlock>, failed: Option<PeerId>) -> Fetching {
        Fetching { asked: failed.into_iter().collect(), ..Fetching::new(compact) }
    }
}

pub(super) fn ignore(cx: &mut Context<impl ChainView>, pending: &Pending) {
    if let Some(id) = pending.announcement {
        cx.report_validation(id, MessageAcceptance::Ignore);
    }
}

/// Leaves a block to sync.
pub(super) fn give_up(cx: &mut Context<impl ChainView>, pending: Pending) {
    ignore(cx, &pending);
    for peer in pending.sources {
        if cx.peers.contains_key(&peer) {
            cx.for_sync.push((peer, pending.header));
        }
    }
}

pub(super) fn reject(cx: &mut Context<impl ChainView>, pending: &Pending) {
    if let (Some(peer), Some(id)) = (pending.announcer(), pending.announcement) {
        cx.reject(peer, id);
    }
}

/// Whether the header commits to these transactions and no others.
pub(super) fn belongs_together(block: &Block) -> bool {
    let ids = block.ids();
    merkle::root(&ids) == block.header.merkle_root && !merkle::is_mutated(&ids)
}
