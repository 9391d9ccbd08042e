//! The handshake: both sides exchange hello messages with their status, the dialer first, and
//! repeat them when their status changes.

use super::clock_skew;
use super::connections::Context;
use super::peer::{GossipLiveness, InboundRequest};
use super::requests::{OutgoingRequests, Requester};
use crate::engine::recent::Recent;
use crate::engine::{Input, Misbehavior, Now};
use crate::message::{Capabilities, Request, Status};
use crate::net::transport::HANDSHAKE_TIMEOUT;
use crate::peers::{HandshakeOutcome, INCOMPATIBLE_REST};
use chain::block;
use libp2p::PeerId;
use std::time::Duration;
use tokio::sync::watch;

/// The maximum time between two hello messages to a peer.
const STATUS_INTERVAL: Duration = Duration::from_secs(30);
/// The minimum time between two hello messages to a peer, when the tip changes quickly.
const MIN_STATUS_INTERVAL: Duration = Duration::from_secs(5);
/// The maximum number of incompatible peers that are remembered, so that each is logged once.
const MAX_INCOMPATIBLE: usize = 256;
/// Blocks by which a peer's tip may be ahead of this node's: beyond that, one of the two is catching up
/// and gossip delivers nothing.
const MAX_LEAD: u32 = 8;

/// The result of a received hello message.
pub(super) enum Hello {
    /// The peer is being disconnected.
    Rejected,
    /// There is no version that both nodes support, or the peer requires an unknown feature.
    Incompatible,
    /// The handshake is complete; these requests waited for it.
    Completed(Vec<InboundRequest>),
    /// The status of a known peer is updated.
    Updated,
}

pub(super) struct Handshakes {
    /// This node's status, published by the engine.
    status: watch::Receiver<Status>,
    /// The incompatible peers with the times at which they were logged.
    incompatible: Recent<PeerId, Duration>,
    /// The time between two blocks of the network.
    spacing: Duration,
}

impl Handshakes {
    pub(super) fn new(status: watch::Receiver<Status>, spacing: Duration) -> Handshakes {
        Handshakes { status, incompatible: Recent::new(MAX_INCOMPATIBLE), spacing }
    }

    /// Waits until the node's status changes. Returns false if the engine has ended.
    pub(super) async fn status_changed(&mut self) -> bool {
        self.status.changed().await.is_ok()
    }

    /// Sends a hello message to a peer, which responds with its own.
    pub(super) fn send_hello(
        &self,
        cx: &mut Context,
        requests: &mut OutgoingRequests,
        peer: PeerId,
    ) {
        let status = self.status_for(cx, peer);
        requests.send(&mut cx.network, peer, Request::Hello(status), Requester::Handshake);
    }

    /// The status to send to a peer, which counts as sent.
    pub(super) fn status_for(&self, cx: &mut Context, peer: PeerId) -> Status {
        let now = cx.network.now();
        let status = Status { clock: u64::from(now.clock.get()), ..*self.status.borrow() };
        if let Some(peer) = cx.connections.get_mut(&peer) {
            peer.status_sent = Some((status.tip, now.elapsed));
        }
        status
    }

    /// Sends hello messages to the peers that do not know the current tip, or have received none
    /// for long.
    pub(super) fn send_status(&mut self, cx: &mut Context, requests: &mut OutgoingRequests) {
        let now = cx.network.elapsed();
        let tip = self.status.borrow_and_update().tip;
        let is_due = |(sent, at): (block::Hash, Duration)| {
            let age = now.saturating_sub(at);
            age >= STATUS_INTERVAL || (sent != tip && age >= MIN_STATUS_INTERVAL)
        };
        let due = cx.connections.iter().filter(|(_, peer)| peer.status.is_some());
        let due = due.filter(|(_, peer)| peer.status_sent.is_none_or(is_due));
        let due: Vec<PeerId> = due.map(|(id, _)| id).collect();
        for peer in due {
            self.send_hello(cx, requests, peer);
        }
    }

    /// Handles a hello message. `last_block` is when the last block was announced by any node.
    pub(super) fn receive_hello(
        &self,
        cx: &mut Context,
        (id, status): (PeerId, Status),
        last_block: Duration,
    ) -> Hello {
        let Context { network, connections } = &mut *cx;
        let own = *self.status.borrow();
        if status.nonce == own.nonce {
            // The peer id differs from this node's, so the peer replays a status of this node.
            network.disconnect(id, "hello with this node's nonce");
            return Hello::Rejected;
        }
        if status.genesis != own.genesis {
            network.report(id, Misbehavior::WrongNetwork);
            network.disconnect(id, "another network");
            return Hello::Rejected;
        }
        let Some(version) = own.capabilities.negotiate(status.capabilities) else {
            return Hello::Incompatible;
        };
        let now = network.now();
        let Some(peer) = connections.get_mut(&id) else { return Hello::Rejected };
        peer.version = version;
        peer.clock_skew = Some(clock_skew::skew(status.clock, now));
        let Some(previous) = peer.status.replace(status) else {
            return complete(cx, (id, status), now);
        };
        network.input(Input::PeerStatus { peer: id, status });
        // A frame above a limit closes a gossip stream in one direction without any event.
        let is_synced = previous.relay && status.relay && own.relay;
        let lead = status.height.get().checked_sub(own.height.get());
        let is_update = previous.tip != status.tip && lead.is_some_and(|lead| lead <= MAX_LEAD);
        if is_synced
            && is_update
            && peer.liveness.is_broken_at_tip(last_block, now.elapsed, self.spacing)
        {
            network.disconnect(id, "announcements do not arrive");
        }
        Hello::Updated
    }

    /// What this node supports of the protocol.
    pub(super) fn capabilities(&self) -> Capabilities {
        self.status.borrow().capabilities
    }

    /// The versions or features of a peer do not match those of this node. Its address is not dialed
    /// for a while. Returns what this node supports. The caller disconnects the peer.
    pub(super) fn incompatible(
        &mut self,
        cx: &mut Context,
        id: PeerId,
        supported: Capabilities,
    ) -> Capabilities {
        let Context { network, connections } = cx;
        let now = network.now();
        network.peers().incompatible(id, now);
        let local = self.capabilities();
        let is_logged = |at: &Duration| now.elapsed.saturating_sub(*at) < INCOMPATIBLE_REST;
        if !self.incompatible.get(&id).is_some_and(is_logged) {
            self.incompatible.insert(id, now.elapsed);
            let address = connections.get(&id).and_then(|peer| peer.address());
            let address = address.map(ToString::to_string).unwrap_or_default();
            network.log("incompatible version", |dropped| {
                tracing::info!(
                    peer = %id, address, dropped,
                    "the peer supports {supported} of the protocol, and this node {local}: no \
                     version is common, or one requires a feature that the other does not have"
                );
            });
        }
        local
    }

    /// Disconnects a peer whose handshake has failed, but not one that fails to update its status.
    pub(super) fn failed(cx: &mut Context, id: PeerId) {
        if cx.connections.get(&id).is_some_and(|peer| peer.status.is_none()) {
            cx.network.disconnect(id, "handshake failed");
        }
    }

    /// Disconnects the peers that have not completed the handshake in time.
    pub(super) fn expire(cx: &mut Context, now: Now) {
        for (id, peer) in cx.connections.iter().filter(|(_, peer)| peer.status.is_none()) {
            if now.elapsed.saturating_sub(peer.since) >= HANDSHAKE_TIMEOUT {
                cx.network.disconnect(id, "handshake timed out");
            }
        }
    }
}

/// Handles the first hello message of a peer.
fn complete(cx: &mut Context, (id, status): (PeerId, Status), now: Now) -> Hello {
    let Context { network, connections } = cx;
    let outcome = network.peers().handshake_completed(id, now);
    let Some(peer) = connections.get_mut(&id) else { return Hello::Rejected };
    if outcome == HandshakeOutcome::Disconnect {
        peer.status = None;
        network.disconnect(id, "feeler connection succeeded");
        return Hello::Rejected;
    }
    let outbound = peer.is_outbound();
    peer.liveness = GossipLiveness::new(now.elapsed);
    peer.next_address_request = outbound.then_some(now.elapsed);
    let early_requests = std::mem::take(&mut peer.early_requests);
    let (agent, height) = (&peer.agent, status.height.get());
    let address = peer.address().map(ToString::to_string).unwrap_or_default();
    network.log("connected", |dropped| {
        tracing::info!(peer = %id, %address, outbound, agent, height, dropped, "peer connected");
    });
    network.peers().add_listen_addresses(id, &peer.listen_addresses, now);
    network.input(Input::PeerConnected { peer: id, outbound, status });
    connections.publish_count();
    Hello::Completed(early_requests)
}
