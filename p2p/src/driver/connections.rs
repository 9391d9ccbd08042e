//! The connected peers: their connections, identify and ping results, and gossip scores.

use super::network::Network;
use super::peer::{Connection, Peer};
use crate::engine::{Input, Now};
use crate::handle::PeerInfo;
use crate::message::MAX_ADDRESSES_EACH;
use crate::net::bandwidth::BandwidthMeter;
use crate::net::behaviour::{GRAYLIST, clean_agent, identify_version};
use crate::net::transport::split_peer_id;
use chain::block;
use libp2p::core::ConnectedPoint;
use libp2p::swarm::{ConnectionError, ConnectionId};
use libp2p::{Multiaddr, PeerId, identify, ping};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::watch;

/// Consecutive missed pings after which a peer is disconnected.
const MAX_MISSED_PINGS: u32 = 2;
/// The maximum time for which a peer may be graylisted by gossip before it is disconnected.
const GRAYLIST_TIMEOUT: Duration = Duration::from_secs(60);

/// The parts of the driver that most of its other parts need: network and connections.
pub(super) struct Context {
    pub(super) network: Network,
    pub(super) connections: Connections,
}

/// The end of the last connection with a peer.
#[derive(Clone, Debug)]
pub(super) struct Closed {
    /// The address, if this node dialed the peer.
    pub(super) dialed: Option<Multiaddr>,
    pub(super) had_handshake: bool,
    pub(super) reason: String,
}

pub(super) struct Connections {
    peers: BTreeMap<PeerId, Peer>,
    meter: BandwidthMeter,
    /// The protocol version of this network in identify messages.
    identify_version: String,
    peer_count: watch::Sender<usize>,
}

impl Connections {
    pub(super) fn new(
        genesis: block::Hash,
        meter: BandwidthMeter,
        peer_count: watch::Sender<usize>,
    ) -> Connections {
        let identify_version = identify_version(genesis);
        Connections { peers: BTreeMap::new(), meter, identify_version, peer_count }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (PeerId, &Peer)> {
        self.peers.iter().map(|(id, peer)| (*id, peer))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (PeerId, &mut Peer)> {
        self.peers.iter_mut().map(|(id, peer)| (*id, peer))
    }

    pub(super) fn get(&self, peer: &PeerId) -> Option<&Peer> {
        self.peers.get(peer)
    }

    pub(super) fn get_mut(&mut self, peer: &PeerId) -> Option<&mut Peer> {
        self.peers.get_mut(peer)
    }

    /// Whether a peer is connected and has completed the handshake.
    pub(super) fn has_handshake(&self, peer: &PeerId) -> bool {
        self.peers.get(peer).is_some_and(|peer| peer.status.is_some())
    }

    /// Adds a connection and returns its peer.
    pub(super) fn established(
        &mut self,
        id: PeerId,
        connection: ConnectionId,
        endpoint: &ConnectedPoint,
        now: Now,
    ) -> &Peer {
        let (address, _) = split_peer_id(endpoint.get_remote_address());
        let outbound = endpoint.is_dialer();
        tracing::debug!(peer = %id, %address, outbound, "connection established");
        let meter = &self.meter;
        let peer = self.peers.entry(id).or_insert_with(|| Peer::new(meter.peer(id), now.elapsed));
        peer.connections.insert(connection, Connection { address, outbound });
        peer
    }

    /// Removes a connection. Returns its end if it was the last one with its peer.
    pub(super) fn closed(
        &mut self,
        network: &mut Network,
        id: PeerId,
        connection: ConnectionId,
        cause: Option<&ConnectionError>,
    ) -> Option<Closed> {
        let peer = self.peers.get_mut(&id)?;
        let connection = peer.connections.remove(&connection);
        if !peer.connections.is_empty() {
            return None;
        }
        let had_handshake = peer.status.is_some();
        let address = connection.as_ref().map(|connection| connection.address.clone());
        self.peers.remove(&id);
        let reason = match (network.take_reason(&id), cause) {
            (Some(reason), _) => reason.to_owned(),
            (None, Some(error)) => format!("closed by the peer: {error}"),
            (None, None) => "closed by this node".to_owned(),
        };
        if had_handshake {
            network.input(Input::PeerDisconnected { peer: id });
            self.publish_count();
            let address = address.as_ref().map(ToString::to_string).unwrap_or_default();
            network.log("disconnected", |dropped| {
                tracing::info!(peer = %id, address, reason, dropped, "peer disconnected");
            });
        } else {
            tracing::debug!(peer = %id, reason, "disconnected before the handshake");
        }
        let dialed = address.filter(|_| connection.is_some_and(|connection| connection.outbound));
        Some(Closed { dialed, had_handshake, reason })
    }

    /// Publishes the number of peers that have completed the handshake.
    pub(super) fn publish_count(&self) {
        let count = self.peers.values().filter(|peer| peer.status.is_some()).count();
        self.peer_count.send_if_modified(|known| std::mem::replace(known, count) != count);
    }

    pub(super) fn handle_identify(&mut self, network: &mut Network, event: identify::Event) {
        let identify::Event::Received { peer_id, info, .. } = event else { return };
        if info.protocol_version != self.identify_version {
            return;
        }
        let Some(peer) = self.peers.get_mut(&peer_id) else { return };
        peer.agent = clean_agent(&info.agent_version);
        peer.listen_addresses = info.listen_addrs;
        peer.listen_addresses.truncate(4 * MAX_ADDRESSES_EACH);
        if peer.status.is_some() {
            let now = network.now();
            network.peers().add_listen_addresses(peer_id, &peer.listen_addresses, now);
        }
    }

    pub(super) fn handle_ping(&mut self, network: &mut Network, event: &ping::Event) {
        let ping::Event { peer: id, result, .. } = event;
        let Some(peer) = self.peers.get_mut(id) else { return };
        match result {
            Ok(latency) => {
                peer.latency = Some(*latency);
                peer.missed_pings = 0;
                network.peers().record_ping(id, *latency);
            }
            Err(ping::Failure::Unsupported) => {}
            Err(_) => {
                peer.missed_pings = peer.missed_pings.saturating_add(1);
                if peer.missed_pings >= MAX_MISSED_PINGS {
                    network.disconnect(*id, "pings time out");
                }
            }
        }
    }

    /// Passes the misbehavior scores to gossip, and disconnects peers that gossip has graylisted
    /// for long.
    pub(super) fn update_gossip_scores(&mut self, network: &mut Network, now: Now) {
        for (id, peer) in &mut self.peers {
            let score = network.peers().score(id, now);
            network.gossip().set_application_score(id, score);
            let gossip_score = network.gossip().peer_score(id);
            if gossip_score.is_none_or(|score| score >= GRAYLIST) {
                peer.graylisted_since = None;
                continue;
            }
            let since = *peer.graylisted_since.get_or_insert(now.elapsed);
            if now.elapsed.saturating_sub(since) >= GRAYLIST_TIMEOUT {
                network.disconnect(*id, "graylisted by gossip");
            }
        }
    }

    /// The peers that have completed the handshake.
    pub(super) fn infos(&self, network: &mut Network) -> Vec<PeerInfo> {
        let now = network.now();
        let peers = network.peers();
        let info = |(id, peer): (PeerId, &Peer)| peer.info(id, peers, now);
        self.iter().filter_map(info).collect()
    }
}
