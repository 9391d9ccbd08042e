//! The connection gater: accepts or denies each connection, first by its address and after the
//! encryption handshake by its peer id. It owns `Peers`, because the swarm needs the decision while
//! it handles the connection.

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

pub(crate) struct ConnectionGater {
    pub(crate) peers: Peers,
    clock: Clock,
    /// Peers to disconnect in favour of new connections.
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
        let connected = self.peers.connection_established(id, peer, address, direction, now);
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
        let closed = match event {
            FromSwarm::ConnectionClosed(closed) => closed.connection_id,
            FromSwarm::ListenFailure(failed) => failed.connection_id,
            _ => return,
        };
        self.peers.connection_closed(closed, self.clock.now());
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
        // No waker is needed: entries are added inside calls of the swarm, which polls afterwards.
        match self.evicted.pop_front() {
            Some(peer_id) => {
                Poll::Ready(ToSwarm::CloseConnection { peer_id, connection: CloseConnection::All })
            }
            None => Poll::Pending,
        }
    }
}
