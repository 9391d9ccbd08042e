//! Asks `peers` whether a connection may be: before its handshake by where it comes from, after it
//! by who it is. Owns `peers`, because the answer is wanted in the middle of the swarm's work.

use crate::clock::Clock;
use crate::peers::{Direction, Peers};
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::{
    CloseConnection, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler,
    THandlerInEvent, THandlerOutEvent, ToSwarm, dummy,
};
use libp2p::{Multiaddr, PeerId};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::task::{Context, Poll};

/// The gate. Part of the swarm's behaviour: the first, since a later denial would leave the ones
/// before with a connection that never was.
pub(crate) struct ConnectionGater {
    /// Who is known, and who may come in.
    pub(crate) peers: Peers,
    clock: Clock,
    /// Have to go, so that others have a place.
    evicted: VecDeque<PeerId>,
}

impl ConnectionGater {
    pub(crate) fn new(peers: Peers, clock: Clock) -> ConnectionGater {
        ConnectionGater { peers, clock, evicted: VecDeque::new() }
    }

    fn established(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        direction: Direction,
    ) -> Result<dummy::ConnectionHandler, ConnectionDenied> {
        let now = self.clock.now();
        let connected = self.peers.connected(id, peer, address, direction, now);
        self.evicted.extend(connected.map_err(ConnectionDenied::new)?.evict);
        Ok(dummy::ConnectionHandler)
    }
}

impl NetworkBehaviour for ConnectionGater {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        _local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.peers.admit(id, remote, self.clock.now()).map_err(ConnectionDenied::new)
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.established(id, peer, remote, Direction::Inbound)
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        _role: Endpoint,
        _port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.established(id, peer, address, Direction::Outbound)
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        match event {
            FromSwarm::ConnectionClosed(closed) => {
                self.peers.closed(closed.connection_id, self.clock.now());
            }
            FromSwarm::ListenFailure(failed) => {
                self.peers.closed(failed.connection_id, self.clock.now());
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        _peer: PeerId,
        _id: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {}
    }

    fn poll(
        &mut self,
        _context: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        // Filled only inside the swarm's own work, which polls again afterwards.
        match self.evicted.pop_front() {
            Some(peer_id) => {
                Poll::Ready(ToSwarm::CloseConnection { peer_id, connection: CloseConnection::All })
            }
            None => Poll::Pending,
        }
    }
}
