//! Headers-first sync: it selects the peers to request headers and blocks from, and processes their
//! responses. It learns of announced blocks only by their headers.
//!
//! [`Headers`] builds the tree of validated headers, [`Bodies`] downloads the blocks on the path to
//! the best of them, [`Imports`] submits these to the writer, and [`ProgressTracker`] reports.

mod header_tree;
mod window;
mod segment;
mod session;
mod peer;
mod headers;
mod withheld;
mod bodies;
mod imports;
mod outbound;
mod progress;

use crate::engine::context::Context;
use crate::engine::machine::{BlockValidation, Input, Progress, RequestId};
use crate::view::ChainView;
use bodies::Bodies;
use chain::block::Header;
use chain::pow::Work;
use headers::Headers;
use imports::Imports;
use libp2p::PeerId;
use peer::{Peer, Peers};
use progress::ProgressTracker;
use std::collections::BTreeMap;

pub(crate) use session::Limits;

/// The sync state machine.
#[derive(Debug)]
pub(crate) struct Sync {
    peers: Peers,
    headers: Headers,
    bodies: Bodies,
    imports: Imports,
    progress: ProgressTracker,
}

impl Sync {
    /// Returns a machine without peers. The seed randomizes the selection of peers.
    pub(crate) fn new(seed: u64, limits: Limits) -> Sync {
        Sync {
            peers: Peers::new(),
            headers: Headers::new(limits),
            bodies: Bodies::new(seed, limits),
            imports: Imports::new(limits),
            progress: ProgressTracker::default(),
        }
    }

    /// Processes an input. Ignores those that do not concern sync.
    pub(crate) fn handle(&mut self, cx: &mut Context, input: Input) {
        // These arrive thousands of times a second and do not change which peers to ask.
        let is_routine = match input {
            Input::BlockValidated { validation, .. } => {
                matches!(validation, BlockValidation::Accepted(_))
            }
            Input::TipChanged => true,
            _ => false,
        };
        let Sync { peers, headers, bodies, imports, .. } = self;
        match input {
            Input::PeerConnected { peer, outbound, status } => {
                self.remove_peer(&peer);
                self.headers.peer_connected(cx.now.elapsed);
                self.peers.insert(peer, Peer::new(outbound, &status, cx.now.elapsed));
            }
            Input::PeerStatus { peer, status } => {
                if let Some(peer) = peers.get_mut(&peer) {
                    peer.update_status(&status, cx.now.elapsed);
                }
            }
            Input::PeerDisconnected { peer } => self.remove_peer(&peer),
            Input::Response { id: RequestId::Headers(request), result } => {
                headers.handle_response(cx, peers, &bodies.window, request, result);
                bodies.retarget(cx, peers, &mut headers.tree);
            }
            Input::Response { id: RequestId::Blocks(request), result } => {
                bodies.handle_response(cx, peers, request, result);
            }
            Input::BlockValidated { hash, validation } => {
                let window = &mut bodies.window;
                imports.block_validated(cx, peers, &mut headers.tree, window, hash, validation);
                bodies.retarget(cx, peers, &mut headers.tree);
            }
            Input::TipChanged => {
                headers.tip_changed(cx.now.elapsed);
                bodies.retarget(cx, peers, &mut headers.tree);
            }
            Input::Tick => self.tick(cx),
            Input::Response { .. }
            | Input::Announcement { .. }
            | Input::TransferValidated { .. }
            | Input::TransfersAccepted(_)
            | Input::TransfersDue(_) => return,
        }
        self.advance(cx, is_routine);
    }

    /// Follows a header that a peer announced and whose parent or body is missing here. That peer is
    /// the first to be asked for both.
    pub(crate) fn header_announced(&mut self, cx: &mut Context, peer: PeerId, header: &Header) {
        let Sync { peers, headers, bodies, .. } = self;
        cx.is_synced = self.progress.is_synced();
        if let Some(hash) = headers.header_announced(cx, peers, &bodies.window, peer, header) {
            bodies.hint = Some((hash, peer));
            bodies.retarget(cx, peers, &mut headers.tree);
        }
        self.advance(cx, false);
    }

    /// Returns the work that each peer has shown, for display.
    pub(crate) fn shown_work(&self, chain: &dyn ChainView) -> BTreeMap<PeerId, Work> {
        let peers = self.peers.iter();
        peers.map(|(id, peer)| (*id, peer.shown_work(&self.headers.tree, chain))).collect()
    }

    /// Returns how far sync is, for display. Decisions use [`Sync::is_synced`].
    pub(crate) fn progress(&self, chain: &dyn ChainView) -> Progress {
        self.progress.measure(&self.bodies, chain)
    }

    /// Returns whether this node has been level with its peers since it started. This never reverts:
    /// neither a reorganisation nor a peer that claims much work is a reason to stop mining. A node
    /// that waits for its first peers on a private network counts as synced meanwhile.
    pub(crate) fn is_synced(&self) -> bool {
        self.progress.is_synced()
    }

    fn tick(&mut self, cx: &mut Context) {
        let Sync { peers, headers, bodies, .. } = self;
        headers.expire_requests(cx, peers, &bodies.window);
        bodies.expire_requests(cx, peers);
        headers.end_slow_sessions(cx, peers, bodies);
        bodies.hedge_stalled_block(cx, peers);
        bodies.probe_peers(cx, peers);
        bodies.withheld.detect(cx, &bodies.window);
        bodies.abandon_withheld_branch(cx, peers, &mut headers.tree);
        headers.refresh_stale_tip(cx, peers);
        outbound::disconnect_lagging(cx, peers, &headers.tree);
        headers.evict_low_work(cx.chain, peers, &bodies.window);
        bodies.retarget(cx, peers, &mut headers.tree);
    }

    /// Sends the requests and imports that the state calls for, and reports progress.
    fn advance(&mut self, cx: &mut Context, is_routine: bool) {
        let Sync { peers, headers, bodies, imports, progress } = self;
        if !is_routine {
            headers.advance(cx, peers, bodies);
        }
        if bodies.extend_window() || (!is_routine && bodies.window.unrequested() > 0) {
            bodies.send_requests(cx, peers);
        }
        imports.submit(cx, &mut bodies.window);
        progress.update(cx, peers, headers, bodies);
    }

    fn remove_peer(&mut self, peer: &PeerId) {
        self.peers.remove(peer);
        self.headers.remove_peer(peer);
        self.bodies.remove_peer(peer);
    }
}

#[cfg(test)]
mod tests;
