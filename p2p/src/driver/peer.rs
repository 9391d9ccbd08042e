//! The driver's state of one connected peer.

use crate::engine::Now;
use crate::handle::PeerInfo;
use crate::message::{Protocol, Request, Response, Status};
use crate::net::bandwidth::ByteCounters;
use crate::net::transport;
use crate::peers::Peers;
use chain::block;
use libp2p::request_response::{InboundRequestId, ResponseChannel};
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A request of a peer.
pub(super) struct InboundRequest {
    pub(super) request: Request,
    pub(super) reply_to: ReplyTo,
}

/// The way to respond to a request.
pub(super) struct ReplyTo {
    pub(super) protocol: Protocol,
    pub(super) id: InboundRequestId,
    pub(super) channel: ResponseChannel<Response>,
}

#[derive(Clone, Debug)]
pub(super) struct Connection {
    /// The remote address, without the peer id.
    pub(super) address: Multiaddr,
    pub(super) outbound: bool,
}

pub(super) struct Peer {
    pub(super) connections: BTreeMap<ConnectionId, Connection>,
    pub(super) since: Duration,
    /// The last status received; `None` before the handshake is complete.
    pub(super) status: Option<Status>,
    /// The version of the protocol that is used with the peer; 0 before the handshake.
    pub(super) version: u16,
    /// Seconds by which the peer's clock was ahead of the system clock, by its last status.
    pub(super) clock_skew: Option<i64>,
    pub(super) agent: String,
    /// The listen addresses that the peer advertises.
    pub(super) listen_addresses: Vec<Multiaddr>,
    pub(super) latency: Option<Duration>,
    /// Consecutive pings without a response.
    pub(super) missed_pings: u32,
    pub(super) traffic: Arc<ByteCounters>,
    /// The tip in the last status sent to the peer, and when it was sent.
    pub(super) status_sent: Option<(block::Hash, Duration)>,
    /// Requests received before the handshake was complete.
    pub(super) early_requests: Vec<InboundRequest>,
    /// The number of the peer's requests being served.
    pub(super) serving: usize,
    /// The monotonic time at which to request addresses from the peer; `None` for never.
    pub(super) next_address_request: Option<Duration>,
    /// The monotonic time since which gossip ignores the peer's messages because of its gossip
    /// score.
    pub(super) graylisted_since: Option<Duration>,
    pub(super) liveness: GossipLiveness,
}

/// Detects a broken gossip stream, which causes no other event: the peer's tip changes but no block
/// is announced.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct GossipLiveness {
    /// The monotonic time at which the peer last reported a new tip.
    last_tip: Duration,
    /// Consecutive new tips without any announced block in between.
    silent_tips: u32,
}

impl GossipLiveness {
    pub(super) fn new(now: Duration) -> GossipLiveness {
        GossipLiveness { last_tip: now, silent_tips: 0 }
    }

    /// Records a new tip of the peer. Returns the number of consecutive tips without an
    /// announcement.
    pub(super) fn record_tip(&mut self, last_announcement: Duration, now: Duration) -> u32 {
        let announced = last_announcement > self.last_tip;
        self.silent_tips = if announced { 0 } else { self.silent_tips.saturating_add(1) };
        self.last_tip = now;
        self.silent_tips
    }
}

impl Peer {
    pub(super) fn new(traffic: Arc<ByteCounters>, now: Duration) -> Peer {
        Peer {
            connections: BTreeMap::new(),
            since: now,
            status: None,
            version: 0,
            clock_skew: None,
            agent: String::new(),
            listen_addresses: Vec::new(),
            latency: None,
            missed_pings: 0,
            traffic,
            status_sent: None,
            early_requests: Vec::new(),
            serving: 0,
            next_address_request: None,
            graylisted_since: None,
            liveness: GossipLiveness::new(now),
        }
    }

    pub(super) fn is_outbound(&self) -> bool {
        self.connections.values().any(|connection| connection.outbound)
    }

    pub(super) fn address(&self) -> Option<&Multiaddr> {
        self.connections.values().next().map(|connection| &connection.address)
    }

    /// The public information; `None` before the handshake is complete.
    pub(super) fn info(&self, id: PeerId, peers: &Peers, now: Now) -> Option<PeerInfo> {
        let status = self.status?;
        let activity = peers.activity(&id, now);
        Some(PeerInfo {
            id,
            address: transport::with_peer_id(self.address()?, id),
            outbound: self.is_outbound(),
            purpose: activity.purpose,
            version: self.version,
            features: status.capabilities.features,
            claimed_work: status.chain_work,
            last_block: activity.last_block,
            last_transfer: activity.last_transfer,
            connections: self.connections.len(),
            agent: self.agent.clone(),
            tip: status.tip,
            height: status.height,
            latency: self.latency,
            bytes_received: self.traffic.received(),
            bytes_sent: self.traffic.sent(),
            score: peers.score(&id, now),
            connected: now.elapsed.saturating_sub(self.since),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_consecutive_tips_without_announcement() {
        let second = Duration::from_secs;
        let mut liveness = GossipLiveness::new(second(0));
        assert_eq!(liveness.record_tip(second(4), second(5)), 0);
        assert_eq!(liveness.record_tip(second(4), second(10)), 1);
        assert_eq!(liveness.record_tip(second(4), second(15)), 2);
        assert_eq!(liveness.record_tip(second(16), second(20)), 0);
        assert_eq!(liveness.record_tip(second(16), second(25)), 1);
    }
}
