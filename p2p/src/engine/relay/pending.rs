//! Announced blocks whose validation has not finished: their stages, and the ways they end.

use crate::engine::compact::Reconstruction;
use crate::engine::context::Context;
use crate::engine::machine::{AnnouncementId, MessageAcceptance};
use crate::message::CompactBlock;
use chain::block::{self, Block, Header};
use chain::merkle;
use libp2p::PeerId;
use std::sync::Arc;
use std::time::Duration;

/// The maximum time for the validation of an announcement: gossip forgets it after 14 seconds.
pub(super) const VALIDATION_DEADLINE: Duration = Duration::from_secs(12);
/// Most peers that are remembered as announcers of a block.
const MAX_ANNOUNCERS: usize = 8;

/// The body of an announcement.
#[derive(Clone, Debug)]
pub(super) enum Body {
    Full(Arc<Block>),
    Compact(Arc<CompactBlock>),
}

impl Body {
    pub(super) fn header(&self) -> Header {
        match self {
            Body::Full(block) => block.header,
            Body::Compact(block) => block.header,
        }
    }
}

/// The stage at which an announced block is.
pub(super) enum Stage {
    /// The parent of the block is being validated.
    AwaitingParent(Body),
    /// Sync fetches the ancestors of the block, and the block.
    AwaitingSync,
    /// The transactions that the block lacks are requested.
    AwaitingTransactions(Box<TransactionsRequest>),
    /// The full block is requested from peers.
    AwaitingBlock(BlockRequest),
    /// The block is at the writer.
    Importing {
        /// The peer that served the full block on request.
        served_by: Option<PeerId>,
    },
}

/// A request for the transactions that a compact block lacks.
pub(super) struct TransactionsRequest {
    pub(super) compact: Arc<CompactBlock>,
    pub(super) reconstruction: Reconstruction,
    pub(super) positions: Vec<u32>,
    pub(super) request: u64,
    /// The monotonic time at which the full block is requested from other peers.
    pub(super) deadline: Duration,
    /// The monotonic time at which to repeat the request, if the peer was busy.
    pub(super) retry_at: Option<Duration>,
    pub(super) retry_delay: Duration,
}

/// Requests for a full block, one peer after another.
pub(super) struct BlockRequest {
    pub(super) compact: Arc<CompactBlock>,
    /// The peers not to ask again: those already asked, the last one last, and one that failed.
    pub(super) asked: Vec<PeerId>,
    pub(super) requests: Vec<u64>,
    /// The monotonic time at which the next peer is asked for the block.
    pub(super) deadline: Duration,
}

impl BlockRequest {
    /// Returns a request that excludes a peer that failed.
    pub(super) fn new(compact: &Arc<CompactBlock>, failed: Option<PeerId>) -> BlockRequest {
        BlockRequest {
            compact: Arc::clone(compact),
            asked: failed.into_iter().collect(),
            requests: Vec::new(),
            deadline: Duration::ZERO,
        }
    }
}

/// An announced block whose validation is in progress.
pub(super) struct PendingBlock {
    pub(super) hash: block::Hash,
    pub(super) header: Header,
    /// The announcement whose validation is to be reported; `None` once it has been.
    announcement: Option<AnnouncementId>,
    /// The peers that announced the block, the first one first.
    pub(super) announcers: Vec<PeerId>,
    pub(super) since: Duration,
    pub(super) stage: Stage,
}

impl PendingBlock {
    pub(super) fn new(
        hash: block::Hash,
        (peer, id): (PeerId, AnnouncementId),
        body: Body,
        since: Duration,
    ) -> PendingBlock {
        PendingBlock {
            hash,
            header: body.header(),
            announcement: Some(id),
            announcers: vec![peer],
            since,
            stage: Stage::AwaitingParent(body),
        }
    }

    /// The peer that announced the block first.
    pub(super) fn announcer(&self) -> Option<PeerId> {
        self.announcers.first().copied()
    }

    /// Adds a peer that announced the block too. Returns whether it is a new one.
    pub(super) fn add_announcer(&mut self, peer: PeerId) -> bool {
        let is_new = self.announcers.len() < MAX_ANNOUNCERS && !self.announcers.contains(&peer);
        if is_new {
            self.announcers.push(peer);
        }
        is_new
    }

    pub(super) fn is_orphan(&self) -> bool {
        matches!(self.stage, Stage::AwaitingParent(_))
    }

    pub(super) fn awaits_sync(&self) -> bool {
        matches!(self.stage, Stage::AwaitingSync)
    }

    pub(super) fn is_incomplete(&self) -> bool {
        matches!(self.stage, Stage::AwaitingTransactions(_) | Stage::AwaitingBlock(_))
    }

    /// Moves on to `Stage::Importing` and returns the stage before.
    pub(super) fn start_import(&mut self) -> Stage {
        std::mem::replace(&mut self.stage, Stage::Importing { served_by: None })
    }

    /// Replaces the announcement by one with other bytes; the first is ignored.
    pub(super) fn replace_announcement(&mut self, cx: &mut Context, id: AnnouncementId) {
        self.ignore(cx);
        self.announcement = Some(id);
    }

    fn report(&mut self, cx: &mut Context, acceptance: MessageAcceptance) {
        if let Some(id) = self.announcement.take() {
            cx.report_validation(id, acceptance);
        }
    }

    /// Has the announcement forwarded.
    pub(super) fn accept(&mut self, cx: &mut Context) {
        self.report(cx, MessageAcceptance::Accept);
    }

    /// Does not have the announcement forwarded.
    pub(super) fn ignore(&mut self, cx: &mut Context) {
        self.report(cx, MessageAcceptance::Ignore);
    }

    /// Rejects the announcement and reports its peer.
    pub(super) fn reject(self, cx: &mut Context) {
        if let (Some(peer), Some(id)) = (self.announcer(), self.announcement) {
            cx.reject(peer, id);
        }
    }

    /// Ignores the announcement and has sync follow the header.
    pub(super) fn leave_to_sync(mut self, cx: &mut Context) {
        self.ignore(cx);
        self.pass_to_sync(cx);
    }

    /// Has sync follow the header, from any of its announcers.
    pub(super) fn pass_to_sync(&self, cx: &mut Context) {
        for peer in &self.announcers {
            if cx.peers.contains_key(peer) {
                cx.for_sync.push((*peer, self.header));
            }
        }
    }
}

/// Returns whether the header commits to these transactions and no others.
pub(super) fn matches_header(block: &Block) -> bool {
    let ids = block.ids();
    merkle::root(&ids) == block.header.merkle_root && !merkle::is_mutated(&ids)
}
