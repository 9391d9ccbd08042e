//! Block import: submits bodies to the writer, parents first, and processes the validation results.

use super::bodies::LONG_PAUSE;
use super::header_tree::HeaderTree;
use super::peer::Peers;
use super::session::Limits;
use super::window::Window;
use crate::engine::context::Context;
use crate::engine::machine::{BlockValidation, Misbehavior, Output};
use chain::block;
use chain::ledger::{Accepted, Submission};
use chain::pow::Work;
use libp2p::PeerId;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Side-branch blocks whose senders are remembered until their state is validated.
const MAX_SIDE_BLOCKS: usize = 1_024;
/// Bytes of accepted blocks that count as one delivery.
const DELIVERY: usize = 1 << 20;
/// The pause of imports after this node failed to validate a block; it doubles with each failure.
const MIN_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// A block at the writer.
#[derive(Debug)]
struct Import {
    hash: block::Hash,
    sender: PeerId,
    bytes: usize,
    /// A block before it was rejected, so its own result means nothing.
    is_stale: bool,
}

/// The blocks at the writer.
#[derive(Debug)]
pub(super) struct Imports {
    max: usize,
    queue: VecDeque<Import>,
    /// The hashes of the queue.
    hashes: BTreeSet<block::Hash>,
    not_before: Duration,
    /// Failures of this node in a row.
    failures: u32,
    /// Blocks of side branches and their senders, oldest first.
    side_blocks: VecDeque<(block::Hash, PeerId)>,
}

impl Imports {
    pub(super) fn new(limits: Limits) -> Imports {
        Imports {
            max: limits.importing,
            queue: VecDeque::new(),
            hashes: BTreeSet::new(),
            not_before: Duration::ZERO,
            failures: 0,
            side_blocks: VecDeque::new(),
        }
    }

    /// Submits the next bodies to the writer, up to its limit.
    pub(super) fn submit(&mut self, cx: &mut Context, window: &mut Window) {
        if cx.now.elapsed < self.not_before {
            return;
        }
        let branch_work = window.target().map(|target| target.tip.chain_work);
        while self.queue.len() < self.max {
            let Some((hash, body)) = window.next_import() else { return };
            if !self.hashes.insert(hash) {
                return;
            }
            // The headers of the branch were validated up to the target of the window.
            let branch_work = branch_work.unwrap_or(Work::ZERO);
            let block = Arc::clone(&body.block);
            cx.out.push(Output::ImportBlock(Submission { block, branch_work }));
            let (sender, bytes) = (body.sender, body.bytes);
            self.queue.push_back(Import { hash, sender, bytes, is_stale: false });
            window.import_submitted();
        }
    }

    /// Processes the validation result of a block, which another part of the node may have submitted.
    pub(super) fn block_validated(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        tree: &mut HeaderTree,
        window: &mut Window,
        hash: block::Hash,
        validation: BlockValidation,
    ) {
        let is_queued = self.hashes.remove(&hash);
        let position =
            is_queued.then(|| self.queue.iter().position(|import| import.hash == hash)).flatten();
        let import = position.and_then(|at| self.queue.remove(at));
        let current = import.as_ref().filter(|import| !import.is_stale);
        match validation {
            BlockValidation::Accepted(accepted) => {
                if cx.chain.find(&hash).is_some() {
                    tree.remove(&hash);
                }
                if let Some(import) = &import {
                    self.accepted(cx, peers, import, accepted);
                }
            }
            BlockValidation::Invalid => {
                if let Some(import) = current {
                    cx.report(import.sender, Misbehavior::InvalidBlock);
                }
                tree.remove_branch(&hash);
                self.mark_stale();
            }
            BlockValidation::WrongBody => {
                if let Some(Import { sender, .. }) = current {
                    cx.report(*sender, Misbehavior::WrongBody);
                    if let Some(peer) = peers.get_mut(sender) {
                        peer.bodies_not_before = cx.now.elapsed.saturating_add(LONG_PAUSE);
                    }
                    window.drop_body(&hash);
                    self.mark_stale();
                }
            }
            BlockValidation::InvalidAncestor => {
                self.report_side_block(cx);
                tree.remove_branch(&hash);
                self.mark_stale();
            }
            BlockValidation::UnknownParent if current.is_some() => {
                window.clear();
                self.pause(cx.now.elapsed, window);
            }
            // A block is too deep after the tip has moved beyond its branch.
            BlockValidation::InvalidHeader | BlockValidation::TooDeep | BlockValidation::Failed
                if current.is_some() =>
            {
                self.pause(cx.now.elapsed, window);
            }
            BlockValidation::UnknownParent
            | BlockValidation::TooDeep
            | BlockValidation::InvalidHeader
            | BlockValidation::Failed => {}
        }
    }

    fn accepted(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        &Import { hash, sender, bytes, .. }: &Import,
        accepted: Accepted,
    ) {
        self.failures = 0;
        if accepted == Accepted::SideBranch {
            self.side_blocks.push_back((hash, sender));
            if self.side_blocks.len() > MAX_SIDE_BLOCKS {
                self.side_blocks.pop_front();
            }
        }
        let Some(peer) = peers.get_mut(&sender) else { return };
        peer.delivered = peer.delivered.saturating_add(bytes);
        while peer.delivered >= DELIVERY {
            peer.delivered -= DELIVERY;
            peer.record_delivery();
            cx.report(sender, Misbehavior::Delivered);
        }
    }

    /// Reports the sender of the first block of a side branch that is invalid: a peer validates the
    /// blocks that it serves.
    fn report_side_block(&mut self, cx: &mut Context) {
        let is_invalid = |(hash, _): &(block::Hash, PeerId)| {
            cx.chain.find(hash).is_some_and(|known| known.is_invalid)
        };
        if let Some((_, sender)) = self.side_blocks.iter().find(|block| is_invalid(block)).copied()
        {
            self.side_blocks.retain(|block| !is_invalid(block));
            cx.report(sender, Misbehavior::InvalidBlock);
        }
    }

    /// Marks all blocks at the writer as stale.
    fn mark_stale(&mut self) {
        for import in &mut self.queue {
            import.is_stale = true;
        }
    }

    /// Pauses imports for `MIN_PAUSE`, doubled by each further failure up to `MAX_PAUSE`, after a
    /// failure of this node: its clock or disk is wrong, or it lacks a parent that it should have.
    fn pause(&mut self, now: Duration, window: &mut Window) {
        let pause = MIN_PAUSE.saturating_mul(1 << self.failures.min(6)).min(MAX_PAUSE);
        self.failures = self.failures.saturating_add(1);
        self.not_before = now.saturating_add(pause);
        self.mark_stale();
        window.restart_imports();
    }
}
