//! The connection gater: accepts or denies each connection, first by its address and after the
//! encryption handshake by its peer id. It owns `Peers`, because the swarm needs the decision while
//! it handles the connection.

use crate::clock::Clock;
use crate::net::dns::Resolved;
use crate::net::handshakes::PendingHandshakes;
use crate::peers::{Direction, Peers};
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm, dummy,
};
use libp2p::{Multiaddr, PeerId};
use std::convert::Infallible;
use std::task::{Context, Poll};
use tokio::sync::mpsc;

pub(crate) struct ConnectionGater {
    pub(crate) peers: Peers,
    clock: Clock,
    /// Peers to disconnect in favour of new connections.
    evicted: Vec<PeerId>,
    handshakes: PendingHandshakes,
    resolved: mpsc::Receiver<Resolved>,
}

impl ConnectionGater {
    /// The gater of a transport with unfinished handshakes, which reports the sockets at which names
    /// were dialed.
    pub(crate) fn new(
        peers: Peers,
        clock: Clock,
        handshakes: PendingHandshakes,
        resolved: mpsc::Receiver<Resolved>,
    ) -> ConnectionGater {
        ConnectionGater { peers, clock, evicted: Vec::new(), handshakes, resolved }
    }

    /// Removes the peers to disconnect in favour of new connections.
    pub(crate) fn take_evicted(&mut self) -> Vec<PeerId> {
        std::mem::take(&mut self.evicted)
    }

    fn established(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        direction: Direction,
    ) -> Result<dummy::ConnectionHandler, ConnectionDenied> {
        while let Ok(Resolved { address, socket }) = self.resolved.try_recv() {
            self.peers.name_resolved(&address, socket);
        }
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
        let evicted = self.peers.admit(id, remote, self.clock.now());
        for address in evicted.map_err(ConnectionDenied::new)? {
            self.handshakes.abort(&address);
        }
        Ok(())
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
        Poll::Pending
    }
}
