//! Relay: which announcements of peers are forwarded, what they lack, and what this node announces
//! itself. Pure, like sync; a header whose parent is missing here is left to that.

mod blocks;
mod outgoing;
mod rebuild;
#[cfg(test)]
mod tests;

use crate::engine::intake::{Intake, OnTheWay, Origin, Taken};
use crate::engine::step::Step;
use crate::engine::{AnnouncementId, BlockVerdict, Failure, Judgement, TransferVerdict};
use crate::message::{Announcement, Reply};
use crate::view::ChainView;
use blocks::{Blocks, Body};
use chain::block;
use chain::tx::Id;
use libp2p::PeerId;
use outgoing::Outgoing;
use std::collections::BTreeSet;
use std::time::Duration;

/// How long an announcement may wait for its judgement: gossip forgets it after 14 seconds.
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
        step: &mut Step<impl ChainView>,
        (peer, id): (PeerId, AnnouncementId),
        announcement: Announcement,
        intake: &mut Intake,
        importing: &BTreeSet<block::Hash>,
    ) {
        if !step.peers.contains_key(&peer) {
            return step.judge(id, Judgement::Ignore);
        }
        match announcement {
            Announcement::Block(block) => {
                self.blocks.announced(step, (peer, id), Body::Whole(block), importing);
            }
            Announcement::CompactBlock(block) => {
                self.blocks.announced(step, (peer, id), Body::Compact(block), importing);
            }
            Announcement::Transfer { round, transfer } => {
                let is_taken = step.is_synced
                    && intake.announced(step, peer, id, (round, &transfer)) == Taken::Yes;
                if !is_taken {
                    step.judge(id, Judgement::Ignore);
                }
            }
        }
    }

    /// A request came to its end.
    pub(crate) fn replied(
        &mut self,
        step: &mut Step<impl ChainView>,
        request: u64,
        result: Result<Reply, Failure>,
    ) {
        self.blocks.replied(step, request, result);
    }

    /// A block was judged, whoever handed it over.
    pub(crate) fn block_judged(
        &mut self,
        step: &mut Step<impl ChainView>,
        hash: block::Hash,
        verdict: BlockVerdict,
        importing: &BTreeSet<block::Hash>,
    ) {
        self.blocks.judged(step, hash, verdict, importing);
    }

    /// A transfer that was announced was judged.
    pub(crate) fn transfer_judged(
        &mut self,
        step: &mut Step<impl ChainView>,
        came: &OnTheWay,
        verdict: TransferVerdict,
    ) {
        let Origin::Announced(Some(id)) = came.origin else { return };
        step.judge(
            id,
            match verdict {
                TransferVerdict::Added => Judgement::Accept,
                TransferVerdict::Invalid => Judgement::Reject,
                TransferVerdict::Known
                | TransferVerdict::TooFar
                | TransferVerdict::Refused
                | TransferVerdict::Failed => Judgement::Ignore,
            },
        );
    }

    /// The best chain is another one. While more blocks come from others no tip is announced: they
    /// have them. But whether headers without bodies are known says nothing about own blocks.
    pub(crate) fn tip_changed(
        &mut self,
        step: &mut Step<impl ChainView>,
        more_will_come: bool,
        intake: &Intake,
    ) {
        self.blocks.settle_known(step);
        if step.is_synced && !more_will_come {
            self.blocks.announce_tip(step, intake);
        }
    }

    /// The mempool took transfers.
    pub(crate) fn pooled(
        &mut self,
        step: &mut Step<impl ChainView>,
        ids: Vec<Id>,
        intake: &mut Intake,
    ) {
        for id in ids {
            if let Some(round) = intake.round(step, id) {
                self.outgoing.push(id, round);
            }
        }
        self.outgoing.drain(step);
    }

    /// Time passes.
    pub(crate) fn tick(
        &mut self,
        step: &mut Step<impl ChainView>,
        intake: &mut Intake,
        importing: &BTreeSet<block::Hash>,
    ) {
        self.blocks.tick(step, importing);
        if let Some(before) = step.now.elapsed.checked_sub(JUDGE_WITHIN) {
            for id in intake.overdue(before) {
                step.judge(id, Judgement::Ignore);
            }
        }
        self.outgoing.drain(step);
    }
}
