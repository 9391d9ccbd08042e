//! What the driver keeps of a peer while it is connected.

use super::requests::Inbound;
use crate::PeerInfo;
use crate::message::Status;
use crate::net::bandwidth::ByteCounters;
use chain::block;
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A connection with a peer.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    /// Where the peer is, without its id.
    pub(super) address: Multiaddr,
    /// Whether this node called.
    pub(super) outbound: bool,
}

/// A connected peer.
pub(super) struct Peer {
    pub(super) links: BTreeMap<ConnectionId, Connection>,
    pub(super) since: Duration,
    /// What it last said of itself; `None` before its hello.
    pub(super) status: Option<Status>,
    /// Seconds that its clock was ahead of this machine's when it last spoke.
    pub(super) clock_ahead: Option<i64>,
    pub(super) agent: String,
    /// Where it says that it listens.
    pub(super) listens: Vec<Multiaddr>,
    pub(super) latency: Option<Duration>,
    /// Pings in a row that were not answered.
    pub(super) missed_pings: u32,
    pub(super) traffic: Arc<ByteCounters>,
    /// What tip this node last told it of, and when.
    pub(super) told: Option<(block::Hash, Duration)>,
    /// Requests that came before its hello.
    pub(super) early: Vec<Inbound>,
    /// Requests of it that are being answered.
    pub(super) serving: usize,
    /// When to ask it for other nodes.
    pub(super) next_addresses: Option<Duration>,
    /// Since when gossip ignores all that it says.
    pub(super) graylisted: Option<Duration>,
    pub(super) silence: GossipLiveness,
}

/// Whether announcements still arrive: a broken gossip stream shows nowhere else.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct GossipLiveness {
    /// When the peer last told of a new tip.
    since: Duration,
    /// New tips in a row before which no block was announced by anybody.
    tips: u32,
}

impl GossipLiveness {
    pub(super) fn new(now: Duration) -> GossipLiveness {
        GossipLiveness { since: now, tips: 0 }
    }

    /// The peer told of a new tip; how many in a row without an announcement.
    pub(super) fn hear_tip(&mut self, last_announcement: Duration, now: Duration) -> u32 {
        self.tips = if last_announcement > self.since { 0 } else { self.tips.saturating_add(1) };
        self.since = now;
        self.tips
    }
}

impl Peer {
    pub(super) fn new(traffic: Arc<ByteCounters>, now: Duration) -> Peer {
        Peer {
            links: BTreeMap::new(),
            since: now,
            status: None,
            clock_ahead: None,
            agent: String::new(),
            listens: Vec::new(),
            latency: None,
            missed_pings: 0,
            traffic,
            told: None,
            early: Vec::new(),
            serving: 0,
            next_addresses: None,
            graylisted: None,
            silence: GossipLiveness::new(now),
        }
    }

    /// Whether this node called it.
    pub(super) fn is_outbound(&self) -> bool {
        self.links.values().any(|link| link.outbound)
    }

    /// What others may see; `None` before its hello.
    pub(super) fn info(&self, id: PeerId, score: f64, now: Duration) -> Option<PeerInfo> {
        let status = self.status?;
        Some(PeerInfo {
            id,
            address: self.links.values().next()?.address.clone(),
            outbound: self.is_outbound(),
            connections: self.links.len(),
            agent: self.agent.clone(),
            tip: status.tip,
            height: status.height,
            latency: self.latency,
            bytes_received: self.traffic.received(),
            bytes_sent: self.traffic.sent(),
            score,
            connected: now.saturating_sub(self.since),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_tips_that_nobody_announced() {
        let second = Duration::from_secs;
        let mut silence = GossipLiveness::new(second(0));
        assert_eq!(silence.hear_tip(second(4), second(5)), 0);
        assert_eq!(silence.hear_tip(second(4), second(10)), 1);
        assert_eq!(silence.hear_tip(second(4), second(15)), 2);
        assert_eq!(silence.hear_tip(second(16), second(20)), 0);
        assert_eq!(silence.hear_tip(second(16), second(25)), 1);
    }
}
