//! Progress reports, and the moment when this node is level with its peers.

use super::headers::{Headers, is_private};
use super::peer::{Peer, Peers};
use super::window::Window;
use crate::engine::context::Context;
use crate::engine::machine::{Output, Progress, SyncState};
use crate::view::ChainView;
use chain::block::Height;
use chain::pow::Work;
use std::time::Duration;

/// With more missing blocks than this, relay does not deliver them: the node is downloading again.
const MAX_SYNCED_GAP: usize = 8;
/// The least time between two `Output::Progress` of the same sync state.
const REPORT_INTERVAL: Duration = Duration::from_millis(250);

/// Whether this node is synced, and the last progress that was reported.
#[derive(Debug, Default)]
pub(super) struct ProgressTracker {
    is_synced: bool,
    reported: Option<(Progress, Duration)>,
}

impl ProgressTracker {
    pub(super) fn is_synced(&self) -> bool {
        self.is_synced
    }

    pub(super) fn measure(&self, window: &Window, chain: &dyn ChainView) -> Progress {
        let height = chain.tip().height;
        let target = window.target().map_or(Height::GENESIS, |target| target.tip.height);
        let state = match (self.is_synced, window.len()) {
            (true, ..=MAX_SYNCED_GAP) => SyncState::Synced,
            (false, 0) => SyncState::Headers,
            (_, _) => SyncState::Blocks,
        };
        Progress { state, best_header: height.max(target), height }
    }

    /// Detects that the node is synced and reports progress: a new state at once, numbers at most
    /// four times a second.
    pub(super) fn update(
        &mut self,
        cx: &mut Context,
        peers: &Peers,
        headers: &Headers,
        window: &Window,
    ) {
        self.is_synced = self.is_synced || is_level(cx, peers, headers, window);
        let progress = self.measure(window, cx.chain);
        let is_due = self.reported.is_none_or(|(last, at)| {
            last.state != progress.state
                || (last != progress && cx.now.elapsed >= at.saturating_add(REPORT_INTERVAL))
        });
        if is_due {
            self.reported = Some((progress, cx.now.elapsed));
            cx.out.push(Output::Progress(progress));
        }
    }
}

/// Returns whether no peer has a better chain. If there are outbound peers, only these count.
fn is_level(cx: &Context, peers: &Peers, headers: &Headers, window: &Window) -> bool {
    let has_asked = is_private(cx.chain) || (headers.has_started() && !peers.is_empty());
    if window.len() > 0 || !has_asked {
        return false;
    }
    let tip = cx.chain.tip().chain_work;
    let has_outbound = peers.values().any(|peer| peer.outbound);
    let mut counted = peers.values().filter(|peer| peer.outbound || !has_outbound);
    !counted.any(|peer| {
        let work = peer.chain_work(&headers.tree, cx.chain);
        work > tip && !has_all_blocks(peer, work, cx.chain)
    })
}

/// Returns whether all blocks of a peer's best chain are here although another chain is the best one
/// here: an operator has invalidated some of them. There is nothing to wait for then.
fn has_all_blocks(peer: &Peer, work: Work, chain: &dyn ChainView) -> bool {
    [Some(peer.claimed_tip), peer.best_known]
        .into_iter()
        .flatten()
        .any(|tip| chain.find(&tip.hash).is_some_and(|known| known.tip.chain_work >= work))
}
