//! Outbound peers that stay behind this node's chain: they are replaced, so that an attacker cannot
//! surround a node with peers that know nothing new. A peer that catches up, however slowly, stays.

use super::header_tree::HeaderTree;
use super::peer::{BehindSince, Peers};
use crate::engine::context::Context;
use chain::pow::Work;
use libp2p::PeerId;
use std::time::Duration;

/// The time for which an outbound peer with less work may fail to catch up before its headers are
/// requested: this many block spacings, and at least `MIN_LAG`.
const LAG_SPACINGS: u32 = 20;
const MIN_LAG: Duration = Duration::from_secs(20 * 60);
/// The time after the request for headers at which an outbound peer that still has less work is
/// disconnected.
const RESPONSE_TIME: Duration = Duration::from_secs(2 * 60);

/// Disconnects outbound peers that have had less work than this node for long without catching up.
pub(super) fn disconnect_lagging(cx: &mut Context, peers: &mut Peers, tree: &HeaderTree) {
    let (now, tip) = (cx.now.elapsed, cx.chain.tip().chain_work);
    let spacing = Duration::from_secs(cx.chain.params().spec().spacing_seconds.into());
    let max_lag = spacing.saturating_mul(LAG_SPACINGS).max(MIN_LAG);
    let lagging: Vec<(PeerId, Work)> = peers
        .iter()
        .filter(|(_, peer)| peer.outbound && !peer.is_protected)
        .map(|(id, peer)| (*id, peer.shown_work(tree, cx.chain)))
        .collect();
    for (id, work) in lagging {
        let Some(peer) = peers.get_mut(&id) else { continue };
        let starts =
            BehindSince { since: now, gap: tip.saturating_sub(work), is_challenged: false };
        let behind = match peer.behind {
            _ if work >= tip => {
                peer.behind = None;
                continue;
            }
            Some(behind) if starts.gap >= behind.gap => behind,
            _ => starts,
        };
        let elapsed = now.saturating_sub(behind.since);
        let is_challenged = elapsed >= max_lag;
        peer.must_request_headers |= is_challenged && !behind.is_challenged;
        peer.behind = Some(BehindSince { is_challenged, ..behind });
        if elapsed >= max_lag.saturating_add(RESPONSE_TIME) {
            peer.behind = Some(starts);
            cx.disconnect(id, "chain is far behind");
        }
    }
}
