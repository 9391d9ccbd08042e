//! Relay: which announcements of peers are forwarded, what they lack, and what this node announces
//! itself. Pure, like sync; a header whose parent is missing here is left to that.

mod pending;
mod outgoing;
mod blocks;
mod reconstruct;
#[cfg(test)]
mod tests;

use crate::engine::context::Context;
use crate::engine::machine::{
    AnnouncementId, BlockValidation, Failure, MessageAcceptance, TransferValidation,
};
use crate::engine::transfers::{Admission, InFlightTransfer, InFlightTransfers, Origin};
use crate::message::{Announcement, Response};
use crate::view::ChainView;
use blocks::Blocks;
use chain::block;
use chain::tx::Id;
use libp2p::PeerId;
use outgoing::Outgoing;
use pending::Body;
use std::collections::BTreeSet;
use std::time::Duration;

/// How long an announcement may wait for its acceptance: gossip forgets it after 14 seconds.
const JUDGE_WITHIN: Duration = Duration::from_secs(12);

/// The machine.
pub(crate) struct Relay {
    blocks: Blocks,
    outgoing: Outgoing,
}

impl Relay {
    pub(crate) fn new() -> Relay {
        Relay { blocks: Blocks::new(), outgoing: Outgoing::new() }
    }

    /// A peer announces something. `importing` are the blocks that are being judged.
    pub(crate) fn announced(
        &mut self,
        cx: &mut Context<impl ChainView>,
        (peer, id): (PeerId, AnnouncementId),
        announcement: Announcement,
        transfers: &mut InFlightTransfers,
        importing: &BTreeSet<block::Hash>,
    ) {
        if !cx.peers.contains_key(&peer) {
            return cx.report_validation(id, MessageAcceptance::Ignore);
        }
        match announcement {
            Announcement::Block(block) => {
                self.blocks.announced(cx, (peer, id), Body::Whole(block), importing);
            }
            Announcement::CompactBlock(block) => {
                self.blocks.announced(cx, (peer, id), Body::Compact(block), importing);
            }
            Announcement::Transfer { round, transfer } => {
                let is_taken = cx.is_synced
                    && transfers.announced(cx, peer, id, (round, &transfer)) == Admission::Yes;
                if !is_taken {
                    cx.report_validation(id, MessageAcceptance::Ignore);
                }
            }
        }
    }

    /// A request came to its end.
    pub(crate) fn replied(
        &mut self,
        cx: &mut Context<impl ChainView>,
        request: u64,
        result: Result<Response, Failure>,
    ) {
        self.blocks.replied(cx, request, result);
    }

    /// A block was judged, whoever handed it over.
    pub(crate) fn block_validated(
        &mut self,
        cx: &mut Context<impl ChainView>,
        hash: block::Hash,
        validation: BlockValidation,
        importing: &BTreeSet<block::Hash>,
    ) {
        self.blocks.validated(cx, hash, validation, importing);
    }

    /// A transfer that was announced was judged.
    pub(crate) fn transfer_validated(
        &mut self,
        cx: &mut Context<impl ChainView>,
        came: &InFlightTransfer,
        validation: TransferValidation,
    ) {
        let Origin::Announced(Some(id)) = came.origin else { return };
        cx.report_validation(
            id,
            match validation {
                TransferValidation::Added => MessageAcceptance::Accept,
                TransferValidation::Invalid => MessageAcceptance::Reject,
                TransferValidation::Known
                | TransferValidation::TooFar
                | TransferValidation::Refused
                | TransferValidation::Failed => MessageAcceptance::Ignore,
            },
        );
    }

    /// The best chain is another one. While more blocks come from others no tip is announced: they
    /// have them. But whether headers without bodies are known says nothing about own blocks.
    pub(crate) fn tip_changed(
        &mut self,
        cx: &mut Context<impl ChainView>,
        more_will_come: bool,
        transfers: &InFlightTransfers,
    ) {
        self.blocks.settle_known(cx);
        if cx.is_synced && !more_will_come {
            self.blocks.announce_tip(cx, transfers);
        }
    }

    /// The mempool took transfers.
    pub(crate) fn transfers_accepted(
        &mut self,
        cx: &mut Context<impl ChainView>,
        ids: Vec<Id>,
        transfers: &mut InFlightTransfers,
    ) {
        for id in ids {
            if let Some(round) = transfers.round(cx, id) {
                self.outgoing.push(id, round);
            }
        }
        self.outgoing.drain(cx);
    }

    /// Time passes.
    pub(crate) fn tick(
        &mut self,
        cx: &mut Context<impl ChainView>,
        transfers: &mut InFlightTransfers,
        importing: &BTreeSet<block::Hash>,
    ) {
        self.blocks.tick(cx, importing);
        if let Some(before) = cx.now.elapsed.checked_sub(JUDGE_WITHIN) {
            for id in transfers.overdue(before) {
                cx.report_validation(id, MessageAcceptance::Ignore);
            }
        }
        self.outgoing.drain(cx);
    }
}
