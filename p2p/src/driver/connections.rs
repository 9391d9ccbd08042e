//! Connections as they come and go, and what libp2p itself tells of the peer at the other end.

use super::peer::{Connection, Peer};
use super::{Driver, with_id};
use crate::engine::{Input, Misbehavior, Now};
use crate::message::MAX_ADDRESSES_EACH;
use crate::net::behaviour::{GRAYLIST, clean_agent};
use crate::net::transport::split_id;
use crate::peers::Penalty;
use libp2p::core::ConnectedPoint;
use libp2p::swarm::{ConnectionError, ConnectionId};
use libp2p::{PeerId, identify, ping};
use std::time::Duration;

/// Pings in a row that a peer may leave unanswered.
const MISSED_PINGS: u32 = 2;
/// How long a peer stays that gossip does not listen to.
const GRAYLISTED: Duration = Duration::from_secs(60);

impl Driver {
    pub(super) fn connected(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        endpoint: &ConnectedPoint,
    ) {
        let now = self.now();
        let counters = &self.channels.counters;
        let entry =
            self.linked.entry(peer).or_insert_with(|| Peer::new(counters.of(peer), now.elapsed));
        let (address, _) = split_id(endpoint.get_remote_address());
        let outbound = endpoint.is_dialer();
        tracing::debug!(%peer, %address, outbound, "connected");
        entry.links.insert(connection, Connection { address, outbound });
        let (greeted, told) = (entry.status.is_some(), entry.told.is_some());
        if outbound {
            self.call_answered(connection, peer);
        }
        if greeted {
            self.call_ended_well(peer);
        } else if outbound && !told {
            self.say_hello(peer);
        }
    }

    pub(super) fn closed(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        cause: Option<&ConnectionError>,
    ) {
        let Some(entry) = self.linked.get_mut(&peer) else { return };
        entry.links.remove(&connection);
        if !entry.links.is_empty() {
            return;
        }
        let greeted = entry.status.is_some();
        self.linked.remove(&peer);
        let cause = cause.map_or_else(|| "closed".to_owned(), ToString::to_string);
        self.call_ended_badly(peer, &cause);
        if greeted {
            self.tell_engine(Input::PeerDisconnected { peer });
            self.tell_peer_count();
            self.say("disconnected", |more| tracing::info!(%peer, cause, more, "disconnected"));
        } else {
            tracing::debug!(%peer, cause, "disconnected before its hello");
        }
    }

    pub(super) fn tell_peer_count(&self) {
        let count = self.linked.values().filter(|peer| peer.status.is_some()).count();
        self.channels.peer_count.send_if_modified(|known| std::mem::replace(known, count) != count);
    }

    /// Ends all connections with a peer.
    pub(super) fn disconnect(&mut self, peer: PeerId, why: &str) -> bool {
        tracing::debug!(%peer, why, "disconnecting");
        self.swarm.disconnect_peer_id(peer).is_ok()
    }

    /// Counts what a peer did, and does what that earns.
    pub(super) fn report(&mut self, peer: PeerId, misbehavior: Misbehavior) {
        let now = self.now();
        let sanction = self.peers().report(peer, misbehavior, now);
        let score = self.peers().score(&peer, now);
        self.swarm.behaviour_mut().gossip.set_application_score(&peer, score);
        if misbehavior != Misbehavior::Delivered {
            tracing::debug!(%peer, ?misbehavior, score, "misconduct");
        }
        let Some(sanction) = sanction else { return };
        if sanction == Penalty::Ban {
            self.say("banned", |more| tracing::warn!(%peer, ?misbehavior, more, "banned"));
        }
        self.disconnect(peer, "its misbehavior");
    }

    pub(super) fn handle_identify(&mut self, event: identify::Event) {
        let identify::Event::Received { peer_id, info, .. } = event else { return };
        if info.protocol_version != self.identity_version {
            return;
        }
        let now = self.now();
        let Some(peer) = self.linked.get_mut(&peer_id) else { return };
        peer.agent = clean_agent(&info.agent_version);
        peer.listens = info.listen_addrs;
        peer.listens.truncate(4 * MAX_ADDRESSES_EACH);
        if peer.status.is_some() {
            let listens = peer.listens.clone();
            self.peers().identified(peer_id, &listens, now);
        }
    }

    pub(super) fn handle_ping(&mut self, event: &ping::Event) {
        let ping::Event { peer: id, result, .. } = event;
        let Some(peer) = self.linked.get_mut(id) else { return };
        match result {
            Ok(latency) => {
                peer.latency = Some(*latency);
                peer.missed_pings = 0;
                self.peers().note_ping(id, *latency);
            }
            Err(ping::Failure::Unsupported) => {}
            Err(_) => {
                peer.missed_pings = peer.missed_pings.saturating_add(1);
                if peer.missed_pings >= MISSED_PINGS {
                    self.disconnect(*id, "it does not answer pings");
                }
            }
        }
    }

    /// Tells gossip what this node thinks of a peer, and the other way round.
    pub(super) fn look_at_gossip(&mut self, id: PeerId, now: Now) {
        let score = self.peers().score(&id, now);
        let gossip = &mut self.swarm.behaviour_mut().gossip;
        gossip.set_application_score(&id, score);
        let graylisted = gossip.peer_score(&id).is_some_and(|score| score < GRAYLIST);
        let Some(peer) = self.linked.get_mut(&id) else { return };
        peer.graylisted = peer.graylisted.filter(|_| graylisted);
        if graylisted {
            let since = *peer.graylisted.get_or_insert(now.elapsed);
            if now.elapsed.saturating_sub(since) >= GRAYLISTED {
                self.disconnect(id, "gossip does not listen to it");
            }
        }
    }

    /// Everybody who has said hello.
    pub(super) fn infos(&mut self) -> Vec<crate::PeerInfo> {
        let now = self.now();
        let peers = &self.swarm.behaviour().gater.peers;
        let infos = self.linked.iter().filter_map(|(id, peer)| {
            let mut info = peer.info(*id, peers.score(id, now), now.elapsed)?;
            info.address = with_id(&info.address, *id);
            Some(info)
        });
        infos.collect()
    }
}
