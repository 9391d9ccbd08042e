//! Branches with valid headers whose bodies no peer delivers.

use super::header_tree::HeaderTree;
use super::window::Window;
use crate::engine::context::Context;
use crate::engine::recent::Recent;
use chain::block;
use std::time::Duration;

/// How long the first missing block may be missing before other chains are searched for.
const STUCK_AFTER: Duration = Duration::from_secs(5);
/// The block spacings for which a synced node waits for the blocks of a branch before it counts as
/// withheld, and the least time of a node that is not synced yet.
const SPACINGS: u32 = 3;
const FIRST_PATIENCE: Duration = Duration::from_secs(30);
/// Withheld branches that are remembered.
const MAX_BRANCHES: usize = 256;

/// Detects and remembers branches whose bodies are withheld: a node waits for each only once.
#[derive(Debug)]
pub(super) struct WithheldBranches {
    /// The first missing block, and since when it has been the first.
    front: Option<(block::Hash, Duration)>,
    /// First missing blocks that were withheld for long.
    withheld: Recent<block::Hash>,
}

impl Default for WithheldBranches {
    fn default() -> WithheldBranches {
        WithheldBranches { front: None, withheld: Recent::new(MAX_BRANCHES) }
    }
}

impl WithheldBranches {
    /// Returns the first missing block if its body has been missing for a time.
    pub(super) fn front_missing_for(
        &self,
        time: Duration,
        window: &Window,
        now: Duration,
    ) -> Option<block::Hash> {
        let (hash, since) = self.front?;
        (now.saturating_sub(since) >= time && window.lacks_front()).then_some(hash)
    }

    /// Returns whether the first missing block has not arrived for long.
    pub(super) fn is_stuck(&self, window: &Window, now: Duration) -> bool {
        self.front_missing_for(STUCK_AFTER, window, now).is_some()
    }

    /// Detects that the bodies of the branch are withheld: the first one is missing for three block
    /// spacings, and until the node is synced for `FIRST_PATIENCE` at least.
    pub(super) fn detect(&mut self, cx: &Context, window: &Window) {
        let spacing = Duration::from_secs(cx.chain.params().spec().spacing_seconds.into());
        let least = if cx.is_synced { Duration::ZERO } else { FIRST_PATIENCE };
        let patience = spacing.saturating_mul(SPACINGS).max(least);
        if let Some(hash) = self.front_missing_for(patience, window, cx.now.elapsed) {
            self.record(hash);
        }
    }

    /// Records that a branch is withheld from a block on.
    pub(super) fn record(&mut self, first: block::Hash) {
        self.withheld.insert(first, ());
    }

    /// Returns whether the bodies of the branch are withheld, or were when the node waited for it
    /// before: the node does not wait for it.
    pub(super) fn is_withheld(&self) -> bool {
        self.front.is_some_and(|(hash, _)| self.withheld.contains(&hash))
    }

    /// Sets the first missing block. The rest of a branch counts as withheld if its beginning did.
    pub(super) fn update_front(
        &mut self,
        front: Option<block::Hash>,
        tree: &HeaderTree,
        now: Duration,
    ) {
        if self.front.map(|(hash, _)| hash) == front {
            return;
        }
        self.front = front.map(|hash| (hash, now));
        if let Some(hash) = front
            && tree.parent(&hash).is_some_and(|parent| self.withheld.contains(parent))
        {
            self.record(hash);
        }
    }
}
