//! Relay: validates what peers announce, requests what announcements lack, and announces this node's
//! new tip and transfers. Headers whose parents are unknown are left to sync.

mod pending;
mod outgoing;
mod blocks;
mod reconstruct;

use crate::engine::context::Context;
use crate::engine::machine::{
    AnnouncementId, BlockValidation, Failure, MessageAcceptance, TransferValidation,
};
use crate::engine::transfers::{Admission, InFlightTransfer, InFlightTransfers, Origin};
use crate::message::{Announcement, Response};
use blocks::Blocks;
use chain::block;
use chain::tx::Id;
use libp2p::PeerId;
use outgoing::OutgoingTransfers;
use pending::{Body, VALIDATION_DEADLINE};

/// The relay state machine.
pub(crate) struct Relay {
    blocks: Blocks,
    outgoing: OutgoingTransfers,
}

impl Relay {
    pub(crate) fn new() -> Relay {
        Relay { blocks: Blocks::new(), outgoing: OutgoingTransfers::new() }
    }

    /// Processes an announcement of a peer.
    pub(crate) fn handle_announcement(
        &mut self,
        cx: &mut Context,
        (peer, id): (PeerId, AnnouncementId),
        announcement: Announcement,
        transfers: &mut InFlightTransfers,
    ) {
        if !cx.peers.contains_key(&peer) {
            return cx.report_validation(id, MessageAcceptance::Ignore);
        }
        let body = match announcement {
            Announcement::Block(block) => Body::Full(block),
            Announcement::CompactBlock(block) => Body::Compact(block),
            Announcement::Transfer { round, transfer } => {
                let is_admitted = cx.is_synced
                    && transfers.announced(cx, peer, id, (round, &transfer)) == Admission::Admitted;
                if !is_admitted {
                    cx.report_validation(id, MessageAcceptance::Ignore);
                }
                return;
            }
        };
        self.blocks.handle_announcement(cx, (peer, id), body);
    }

    /// Processes the end of a request.
    pub(crate) fn handle_response(
        &mut self,
        cx: &mut Context,
        request: u64,
        result: Result<Response, Failure>,
    ) {
        self.blocks.handle_response(cx, request, result);
    }

    /// Processes the validation result of a block of any source.
    pub(crate) fn block_validated(
        &mut self,
        cx: &mut Context,
        hash: block::Hash,
        validation: BlockValidation,
    ) {
        self.blocks.block_validated(cx, hash, validation);
    }

    /// Processes the validation result of a transfer.
    pub(crate) fn transfer_validated(
        &mut self,
        cx: &mut Context,
        transfer: &InFlightTransfer,
        validation: TransferValidation,
    ) {
        let Origin::Announced(Some(id)) = transfer.origin else { return };
        let acceptance = match validation {
            TransferValidation::Added => MessageAcceptance::Accept,
            TransferValidation::Invalid => MessageAcceptance::Reject,
            TransferValidation::Known
            | TransferValidation::NonceTooFar
            | TransferValidation::Rejected
            | TransferValidation::Failed => MessageAcceptance::Ignore,
        };
        cx.report_validation(id, acceptance);
    }

    /// Announces the new tip, unless sync is importing blocks that peers have already. Headers
    /// without bodies do not count: they must not suppress this node's own blocks.
    pub(crate) fn tip_changed(
        &mut self,
        cx: &mut Context,
        is_downloading: bool,
        transfers: &InFlightTransfers,
    ) {
        self.blocks.remove_connected(cx);
        if cx.is_synced && !is_downloading {
            self.blocks.announce_tip(cx, transfers);
        }
    }

    /// Announces transfers that the mempool has accepted.
    pub(crate) fn transfers_accepted(
        &mut self,
        cx: &mut Context,
        ids: Vec<Id>,
        transfers: &mut InFlightTransfers,
    ) {
        for id in ids {
            if let Some(round) = transfers.announcement_round(cx, id) {
                self.outgoing.push(id, round);
            }
        }
        self.outgoing.drain(cx);
    }

    /// Announces transfers again, in a round of their own: peers ignore what was announced to them
    /// before in the same round.
    pub(crate) fn transfers_due(&mut self, cx: &mut Context, ids: Vec<Id>) {
        let round = cx.chain.tip().height.get();
        for id in ids {
            self.outgoing.push(id, round);
        }
        self.outgoing.drain(cx);
    }

    pub(crate) fn tick(&mut self, cx: &mut Context, transfers: &mut InFlightTransfers) {
        self.blocks.tick(cx);
        if let Some(before) = cx.now.elapsed.checked_sub(VALIDATION_DEADLINE) {
            for id in transfers.overdue(before) {
                cx.report_validation(id, MessageAcceptance::Ignore);
            }
        }
        self.outgoing.drain(cx);
    }
}

#[cfg(test)]
mod tests;
