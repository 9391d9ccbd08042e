//! Handing bodies over to the writer, parents first, and what follows from its validations. Which block
//! is fetched is decided here too, because a validation may rule a branch out.

use super::Sync;
use super::peer::Peer;
use crate::engine::context::Context;
use crate::engine::machine::{BlockValidation, Misbehavior, Output};
use crate::view::ChainView;
use chain::block;
use chain::ledger::Accepted;
use chain::rules::{Rule, Stage};
use libp2p::PeerId;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Blocks of side branches whose sender is remembered until their state is checked.
const REMEMBERED: usize = 1_024;
/// What counts as one delivery, in bytes.
const DELIVERY: usize = 1 << 20;
/// How long nothing is handed over after this node failed, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// How long a peer that sent a wrong body is not asked for more.
const LONG_PAUSE: Duration = Duration::from_secs(60);

/// What is with the writer.
#[derive(Debug, Default)]
pub(super) struct ImportQueue {
    queue: VecDeque<Handed>,
    /// Nothing is handed over before.
    from: Duration,
    /// Failures in a row.
    failures: u32,
    /// Who sent blocks of side branches, oldest first.
    side: VecDeque<(block::Hash, PeerId)>,
}

#[derive(Debug)]
struct Handed {
    hash: block::Hash,
    from: PeerId,
    bytes: usize,
    /// A block before it was refused, so what is said of it means nothing.
    is_stale: bool,
}

impl ImportQueue {
    fn spoil(&mut self) {
        for handed in &mut self.queue {
            handed.is_stale = true;
        }
    }
}

impl Sync {
    /// Hands over the bodies that are next, as many as the writer may have.
    pub(super) fn hand_over<C: ChainView>(&mut self, cx: &mut Context<'_, C>) {
        if cx.now.elapsed < self.imports.from {
            return;
        }
        while self.imports.queue.len() < self.limits.importing {
            let Some((hash, body)) = self.window.next_body() else { return };
            if self.imports.queue.iter().any(|handed| handed.hash == hash) {
                return;
            }
            let (from, bytes) = (body.from, body.bytes);
            cx.out.push(Output::ImportBlock(Arc::clone(&body.block)));
            self.imports.queue.push_back(Handed { hash, from, bytes, is_stale: false });
            self.window.note_handed();
        }
    }

    /// A block was judged.
    pub(super) fn judged<C: ChainView>(
        &mut self,
        cx: &mut Context<'_, C>,
        hash: block::Hash,
        validation: BlockValidation,
    ) {
        let queue = &mut self.imports.queue;
        let handed =
            queue.iter().position(|handed| handed.hash == hash).and_then(|at| queue.remove(at));
        let ours = handed.as_ref().filter(|handed| !handed.is_stale);
        match (validation, handed.as_ref()) {
            (BlockValidation::Accepted(accepted), handed) => {
                if cx.chain.find(&hash).is_some() {
                    self.tree.remove(&hash);
                }
                if let Some(Handed { from, bytes, .. }) = handed {
                    self.credit(cx, (hash, *from, *bytes), accepted);
                }
            }
            (BlockValidation::Invalid { for_ever: true, .. }, _) => {
                if let Some(handed) = ours {
                    cx.report(handed.from, Misbehavior::InvalidBlock);
                }
                self.condemn(&hash);
            }
            // Only this body is wrong; another may be right.
            (BlockValidation::Invalid { rule, .. }, _) if rule.stage() == Stage::Commitment => {
                if let Some(Handed { from, .. }) = ours {
                    cx.report(*from, Misbehavior::WrongBody);
                    if let Some(peer) = self.peers.get_mut(from) {
                        peer.bodies_from = cx.now.elapsed.saturating_add(LONG_PAUSE);
                    }
                    self.window.drop_body(&hash);
                    self.imports.spoil();
                }
            }
            (BlockValidation::Invalid { rule: Rule::InvalidAncestor, .. }, _) => {
                self.blame_side_branch(cx);
                self.condemn(&hash);
            }
            (validation, Some(Handed { is_stale: false, .. })) => {
                // Our clock, our disk, or a block that we thought was here.
                if validation == BlockValidation::UnknownParent {
                    self.window.clear();
                }
                self.pause_imports(cx.now.elapsed);
            }
            (_, _) => {}
        }
        self.retarget(cx);
    }

    fn credit<C: ChainView>(
        &mut self,
        cx: &mut Context<'_, C>,
        (hash, from, bytes): (block::Hash, PeerId, usize),
        accepted: Accepted,
    ) {
        self.imports.failures = 0;
        if accepted == Accepted::SideBranch {
            self.imports.side.push_back((hash, from));
            if self.imports.side.len() > REMEMBERED {
                self.imports.side.pop_front();
            }
        }
        let Some(peer) = self.peers.get_mut(&from) else { return };
        peer.delivered = peer.delivered.saturating_add(bytes);
        while peer.delivered >= DELIVERY {
            peer.delivered -= DELIVERY;
            cx.report(from, Misbehavior::Delivered);
        }
    }

    /// Whoever sent the first block of a side branch that turned out to be invalid checked it, or
    /// should have.
    fn blame_side_branch<C: ChainView>(&mut self, cx: &mut Context<'_, C>) {
        let is_invalid = |(hash, _): &(block::Hash, PeerId)| {
            cx.chain.find(hash).is_some_and(|known| known.is_invalid)
        };
        if let Some((_, from)) = self.imports.side.iter().find(|sent| is_invalid(sent)).copied() {
            self.imports.side.retain(|sent| !is_invalid(sent));
            cx.report(from, Misbehavior::InvalidBlock);
        }
    }

    /// A block can never be valid, nor can any after it.
    fn condemn(&mut self, hash: &block::Hash) {
        self.tree.remove_branch(hash);
        self.imports.spoil();
    }

    fn pause_imports(&mut self, now: Duration) {
        let pause = PAUSE.0.saturating_mul(1 << self.imports.failures.min(6)).min(PAUSE.1);
        self.imports.failures = self.imports.failures.saturating_add(1);
        self.imports.from = now.saturating_add(pause);
        self.imports.spoil();
        self.window.take_back();
    }

    /// Blocks that came into the chain, whoever brought them, are no longer missing.
    fn settle(&mut self, chain: &impl ChainView) {
        while let Some(front) = self.window.front() {
            let Some(known) = chain.find(&front) else { return };
            if known.is_invalid {
                self.tree.remove_branch(&front);
                self.window.clear();
                return;
            }
            self.tree.remove(&front);
            self.window.pop_front();
        }
    }

    /// Leads the window to the best header if that has more work than the tip, and than where it
    /// led before.
    pub(super) fn retarget<C: ChainView>(&mut self, cx: &mut Context<'_, C>) {
        self.settle(cx.chain);
        let least = cx.chain.tip().chain_work;
        let target = self
            .window
            .target()
            .map(|place| place.tip)
            .filter(|tip| tip.chain_work > least && self.tree.place(&tip.hash).is_some());
        let best = self.tree.best(cx.chain).filter(|place| place.tip.chain_work > least);
        match (target, best) {
            (Some(target), Some(best)) if best.tip.chain_work <= target.chain_work => {}
            (_, Some(best)) => {
                if !self.lead_to(best, cx.chain) {
                    // A branch without ground is gone now, so the next try is about another one.
                    return self.retarget(cx);
                }
            }
            (_, None) => self.window.clear(),
        }
        self.note_front(cx.now.elapsed);
    }

    /// Leads the window to a header; whether its branch grows from a good block of the chain. If it
    /// does not, it is forgotten.
    fn lead_to(&mut self, target: super::header_tree::Place, chain: &impl ChainView) -> bool {
        let (mut branch, mut at, mut fork) = (Vec::new(), target.tip.hash, None);
        let mut base = target.tip.height;
        while let (Some(place), Some(parent)) = (self.tree.place(&at), self.tree.parent(&at)) {
            if self.window.contains(place.tip.height, &at) {
                fork = Some(place.tip.height);
                break;
            }
            base = place.tip.height;
            branch.push(at);
            at = *parent;
        }
        if fork.is_none() && chain.find(&at).is_none_or(|known| known.is_invalid) {
            self.tree.remove_branch(&at);
            self.window.clear();
            return false;
        }
        if fork != self.window.target().map(|place| place.tip.height) {
            // What peers said they lack was another branch's.
            self.peers.values_mut().for_each(Peer::forget_lack);
        }
        self.window.lead(fork, branch.into_iter().rev(), (base, target));
        true
    }

    /// The best branch's end.
    pub(super) fn best_leaf(&mut self, chain: &impl ChainView) -> Option<block::Hash> {
        self.tree.best(chain).map(|place| place.tip.hash)
    }

    /// Keeps the tree within its limit; a branch that is just growing stays.
    pub(super) fn bound_forest(&mut self, growing: Option<block::Hash>) {
        if self.tree.len() > self.limits.all_headers {
            let mut protected = self.protected_leaves();
            protected.extend(growing);
            let none = chain::pow::Work::ZERO;
            self.tree.evict(self.limits.all_headers, none, &protected);
        }
    }

    /// Forgets branches that the tip has left far behind.
    pub(super) fn forget_low_branches(&mut self, chain: &impl ChainView) {
        let protected = self.protected_leaves();
        self.tree.evict(self.limits.all_headers, Sync::least_work(chain), &protected);
    }

    /// The ends of the branches that are being fetched.
    fn protected_leaves(&self) -> BTreeSet<block::Hash> {
        let sessions = self.peers.values().filter_map(|peer| peer.session.as_ref()?.last);
        let places = sessions.chain(self.window.target());
        places.map(|place| place.tip.hash).collect()
    }
}
