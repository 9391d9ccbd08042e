//! Progress reports, and the moment when this node is level with its peers.

use super::bodies::Bodies;
use super::headers::{Headers, is_private};
use super::peer::{Peer, Peers};
use crate::engine::context::Context;
use crate::engine::machine::{Output, Progress, SyncState};
use crate::view::ChainView;
use chain::block::Height;
use std::time::Duration;

/// With more blocks between the tip and the best header than this, relay does not deliver them: the
/// node is catching up.
const MAX_SYNCED_GAP: u32 = 8;
/// The least time between two `Output::Progress` of the same sync state.
const REPORT_INTERVAL: Duration = Duration::from_millis(250);
/// The time for which a peer's claim counts before the peer shows its headers.
const CLAIM_TIME: Duration = Duration::from_secs(10);
/// The time for which a node waits in all for headers that peers only claim, however many peers there
/// are and however often they reconnect.
const MAX_CLAIM_WAIT: Duration = Duration::from_secs(30);

/// Whether this node is synced, and the last progress that was reported.
#[derive(Debug, Default)]
pub(super) struct ProgressTracker {
    is_synced: bool,
    /// Whether the node has been level with a peer since it started.
    has_been_level: bool,
    /// The time for which only claims without headers kept the node from being synced.
    waited: Duration,
    updated_at: Duration,
    reported: Option<(Progress, Duration)>,
}

/// How the node's chain compares with those of its peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// No peer has shown a better chain.
    Level,
    /// The node has no peer, and its network may have no other nodes.
    Alone,
    /// Peers claim better chains and have shown none.
    Claimed,
    /// There are no peers to compare with yet, or blocks are missing.
    Behind,
}

impl ProgressTracker {
    pub(super) fn is_synced(&self) -> bool {
        self.is_synced
    }

    pub(super) fn measure(&self, bodies: &Bodies, chain: &dyn ChainView) -> Progress {
        let height = chain.tip().height;
        let target = bodies.window.target().map_or(Height::GENESIS, |target| target.tip.height);
        let gap = target.get().saturating_sub(height.get());
        let state = match self.is_synced {
            true if gap <= MAX_SYNCED_GAP || bodies.withheld.is_withheld() => SyncState::Synced,
            false if bodies.window.len() == 0 => SyncState::Headers,
            _ => SyncState::Blocks,
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
        bodies: &Bodies,
    ) {
        let now = cx.now.elapsed;
        let elapsed = now.saturating_sub(std::mem::replace(&mut self.updated_at, now));
        if !self.has_been_level {
            let standing = standing(cx, peers, headers, bodies);
            if standing == Standing::Claimed {
                self.waited = self.waited.saturating_add(elapsed);
            }
            self.has_been_level = standing == Standing::Level
                || (standing == Standing::Claimed && self.waited >= MAX_CLAIM_WAIT);
            self.is_synced = self.has_been_level || standing == Standing::Alone;
        }
        let progress = self.measure(bodies, cx.chain);
        let is_due = self.reported.is_none_or(|(last, at)| {
            last.state != progress.state
                || (last != progress && now >= at.saturating_add(REPORT_INTERVAL))
        });
        if is_due {
            self.reported = Some((progress, now));
            cx.out.push(Output::Progress(progress));
        }
    }
}

/// Compares the node's chain with those of its peers. If there are outbound peers, only these count.
fn standing(cx: &Context, peers: &Peers, headers: &Headers, bodies: &Bodies) -> Standing {
    let is_private = is_private(cx.chain);
    if bodies.window.len() > 0 && !bodies.withheld.is_withheld() {
        return Standing::Behind;
    }
    if peers.is_empty() {
        return if is_private { Standing::Alone } else { Standing::Behind };
    }
    if !is_private && !headers.has_started() {
        return Standing::Behind;
    }
    let (tip, now) = (cx.chain.tip().chain_work, cx.now.elapsed);
    let has_outbound = peers.values().any(|peer| peer.outbound);
    let counts = |peer: &Peer| {
        (peer.outbound || !has_outbound) && now < peer.shown_at.saturating_add(CLAIM_TIME)
    };
    let mut counted = peers.values().filter(|peer| counts(peer));
    if counted.any(|peer| peer.claims_more(tip, &headers.tree, cx.chain)) {
        Standing::Claimed
    } else {
        Standing::Level
    }
}
