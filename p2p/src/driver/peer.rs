//! The driver's state of one connected peer.

use crate::engine::Now;
use crate::handle::PeerInfo;
use crate::message::{Protocol, Request, Response, Status};
use crate::net::bandwidth::ByteCounters;
use crate::net::transport;
use crate::peers::Peers;
use chain::block;
use chain::pow::Work;
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

/// Consecutive new tips of a peer without any announced block after which its gossip stream counts as
/// broken,
const MAX_SILENT_TIPS: u32 = 3;
/// if they come over this time at least,
const MIN_SILENCE: Duration = Duration::from_secs(15);
/// and over this number of block spacings.
const SILENT_SPACINGS: u32 = 3;

/// Detects a broken gossip stream, which causes no other event: the peer reports new tips that this
/// node does not have yet, but no block is announced. Tips of a peer that is behind do not count.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct GossipLiveness {
    /// The monotonic time at which the peer last reported a new tip.
    last_tip: Duration,
    /// Consecutive new tips without any announced block in between.
    silent_tips: u32,
    /// The monotonic time of the last new tip before these, or of the connection.
    silent_since: Duration,
}

impl GossipLiveness {
    pub(super) fn new(now: Duration) -> GossipLiveness {
        GossipLiveness { last_tip: now, silent_tips: 0, silent_since: now }
    }

    /// Records a new tip of the peer. Returns whether its gossip stream is broken, given the time of
    /// the last announcement by anyone and the block spacing.
    pub(super) fn is_broken_at_tip(
        &mut self,
        last_announcement: Duration,
        now: Duration,
        spacing: Duration,
    ) -> bool {
        if last_announcement > self.last_tip {
            (self.silent_tips, self.silent_since) = (0, now);
        } else {
            self.silent_tips = self.silent_tips.saturating_add(1);
        }
        self.last_tip = now;
        let silence = now.saturating_sub(self.silent_since);
        self.silent_tips >= MAX_SILENT_TIPS
            && silence >= spacing.saturating_mul(SILENT_SPACINGS).max(MIN_SILENCE)
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
            // Known to the engine: set by the handle.
            shown_work: Work::ZERO,
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

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn gossip_is_broken_after_three_tips_and_three_spacings_without_announcement() {
        for (spacing, broken_at) in [(1, 15), (5, 15), (60, 180)] {
            let mut liveness = GossipLiveness::new(seconds(0));
            let mut is_broken_at =
                |at| liveness.is_broken_at_tip(Duration::ZERO, seconds(at), seconds(spacing));
            let first = (5..).step_by(5).find(|at| is_broken_at(*at));
            assert_eq!(first, Some(broken_at), "spacing {spacing}");
        }
    }

    #[test]
    fn announcement_of_anyone_proves_gossip_alive() {
        let mut liveness = GossipLiveness::new(seconds(0));
        for at in (5..600).step_by(5) {
            // A block is announced every 15 seconds.
            let last = at / 15 * 15;
            assert!(!liveness.is_broken_at_tip(seconds(last), seconds(at + 1), seconds(5)), "{at}");
        }
    }

    #[test]
    fn few_tips_over_a_long_time_prove_nothing() {
        let mut liveness = GossipLiveness::new(seconds(0));
        assert!(!liveness.is_broken_at_tip(Duration::ZERO, seconds(600), seconds(5)));
        assert!(!liveness.is_broken_at_tip(Duration::ZERO, seconds(1_200), seconds(5)));
        assert!(liveness.is_broken_at_tip(Duration::ZERO, seconds(1_800), seconds(5)));
    }
}
