//! Outbound peers that have stayed behind this node's chain: they are replaced, as Bitcoin Core does,
//! so that an attacker cannot surround a node with peers that know nothing new.

use super::header_tree::HeaderTree;
use super::peer::{BehindSince, Peers};
use crate::engine::context::Context;
use chain::pow::Work;
use libp2p::PeerId;
use std::time::Duration;

/// The time for which an outbound peer may have less work before its headers are requested.
const MAX_LAG: Duration = Duration::from_secs(20 * 60);
/// The time after the request for headers at which an outbound peer that still has less work is
/// disconnected.
const RESPONSE_TIME: Duration = Duration::from_secs(2 * 60);

/// Disconnects outbound peers that have had less work than this node for long.
pub(super) fn disconnect_lagging(cx: &mut Context, peers: &mut Peers, tree: &HeaderTree) {
    let (now, tip) = (cx.now.elapsed, cx.chain.tip().chain_work);
    let lagging: Vec<(PeerId, Work)> = peers
        .iter()
        .filter(|(_, peer)| peer.outbound && !peer.is_protected)
        .map(|(id, peer)| (*id, peer.chain_work(tree, cx.chain)))
        .collect();
    for (id, work) in lagging {
        let Some(peer) = peers.get_mut(&id) else { continue };
        let starts = BehindSince { since: now, work: tip, is_challenged: false };
        let behind = match peer.behind {
            _ if work >= tip => {
                peer.behind = None;
                continue;
            }
            Some(behind) if work < behind.work => behind,
            _ => starts,
        };
        let elapsed = now.saturating_sub(behind.since);
        let is_challenged = elapsed >= MAX_LAG;
        peer.must_request_headers |= is_challenged && !behind.is_challenged;
        peer.behind = Some(BehindSince { is_challenged, ..behind });
        if elapsed >= MAX_LAG.saturating_add(RESPONSE_TIME) {
            peer.behind = Some(starts);
            cx.disconnect(id, "chain is far behind");
        }
    }
}
