//! Dials nodes and replies to the callers that wait for the connection.

use super::connections::{Closed, Context};
use super::network::Network;
use crate::engine::Now;
use crate::handle::ConnectError;
use crate::net::transport;
use crate::peers::{Denied, DialFailure};
use libp2p::core::transport::TransportError;
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::swarm::{ConnectionId, DialError};
use libp2p::{Multiaddr, PeerId, noise};
use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::time::Duration;
use tokio::sync::oneshot;

/// The maximum time for which a caller waits for a connection and its handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// Receives the peer id once the handshake is complete.
pub(super) type ConnectReply = oneshot::Sender<Result<PeerId, ConnectError>>;

/// The dials in progress and the callers that wait for them.
#[derive(Debug, Default)]
pub(super) struct Dialer {
    /// The addresses being dialed, without peer ids.
    dials: HashMap<ConnectionId, Multiaddr>,
    waiting: Vec<Waiting>,
}

/// A caller that waits for a connection.
#[derive(Debug)]
struct Waiting {
    address: Multiaddr,
    /// The peer at the address, once known.
    peer: Option<PeerId>,
    /// Whether the peer was not persistent before.
    is_new: bool,
    until: Duration,
    reply: ConnectReply,
}

impl Dialer {
    /// Connects to a persistent peer for a caller.
    pub(super) fn connect(&mut self, cx: &mut Context, address: &Multiaddr, reply: ConnectReply) {
        let (dialed, peer) = match check(&mut cx.network, address) {
            Ok(checked) => checked,
            Err(error) => return drop(reply.send(Err(error))),
        };
        let is_new = cx.network.peers().save_persistent_peer(address);
        if let Some(peer) = peer.filter(|peer| cx.connections.has_handshake(peer)) {
            return drop(reply.send(Ok(peer)));
        }
        let until = cx.network.elapsed().saturating_add(CONNECT_TIMEOUT);
        self.waiting.push(Waiting { address: dialed.clone(), peer, is_new, until, reply });
        self.dial(cx, peer, dialed);
    }

    /// Dials an address unless that is in progress. `peer` is the expected peer, if known.
    pub(super) fn dial(&mut self, cx: &mut Context, peer: Option<PeerId>, address: Multiaddr) {
        if self.dials.values().any(|other| *other == address) {
            return;
        }
        // From a new port, not the listening one: two nodes that dial each other from their
        // listening ports at once would establish one connection that both believe to have dialed.
        let options = match peer {
            Some(peer) => {
                DialOpts::peer_id(peer).addresses(vec![address.clone()]).allocate_new_port().build()
            }
            None => {
                DialOpts::unknown_peer_id().address(address.clone()).allocate_new_port().build()
            }
        };
        let id = options.connection_id();
        self.dials.insert(id, address);
        if let Err(error) = cx.network.swarm.dial(options) {
            self.failed(cx, (id, peer), &error);
        }
    }

    /// A dial has established a connection.
    pub(super) fn established(&mut self, id: ConnectionId, peer: PeerId) {
        let Some(address) = self.dials.remove(&id) else { return };
        for waiting in self.waiting.iter_mut().filter(|waiting| waiting.address == address) {
            waiting.peer = Some(peer);
        }
    }

    /// A dial has failed.
    pub(super) fn failed(
        &mut self,
        cx: &mut Context,
        (id, peer): (ConnectionId, Option<PeerId>),
        error: &DialError,
    ) {
        let Some(address) = self.dials.remove(&id) else { return };
        let Context { network, connections } = cx;
        tracing::debug!(%address, %error, "dial failed");
        let now = network.now();
        let (failure, connect_error) = classify(error);
        if let Some(failure) = failure {
            network.peers().dial_failed(&address, failure, now);
        }
        // A node with this node's key may also be a copy of it: see `KeyCopies`.
        if matches!(error, DialError::NoAddresses) {
            network.log("self", |dropped| {
                tracing::info!(%address, dropped, "dialed this node itself");
            });
        }
        // A second connection is denied if there is a first one, whose handshake may be pending.
        let first = peer.and_then(|peer| Some((peer, connections.get(&peer)?)));
        match first {
            Some((peer, first)) if first.status.is_some() => self.peer_connected(peer),
            Some(_) => {}
            None if failure == Some(DialFailure::NotAttempted) => {}
            None => {
                log_problem(network, &address, &connect_error.to_string());
                self.fail(network, &connect_error, |waiting| waiting.address == address);
            }
        }
    }

    /// A peer's handshake is complete.
    pub(super) fn peer_connected(&mut self, peer: PeerId) {
        for waiting in self.waiting.extract_if(.., |waiting| waiting.peer == Some(peer)) {
            // The caller may have stopped waiting.
            let _ = waiting.reply.send(Ok(peer));
        }
    }

    /// A peer has disconnected, perhaps before its handshake.
    pub(super) fn peer_disconnected(&mut self, cx: &mut Context, peer: PeerId, closed: &Closed) {
        let Closed { dialed, had_handshake, reason } = closed;
        match dialed {
            // The disconnection itself is logged.
            Some(address) if *had_handshake => {
                let _ = cx.network.peers().dial_problem(address, reason);
            }
            Some(address) => log_problem(&mut cx.network, address, reason),
            None => {}
        }
        self.handshake_failed(cx, peer, &ConnectError::Unreachable(reason.clone()));
    }

    /// A peer's handshake has failed.
    pub(super) fn handshake_failed(
        &mut self,
        cx: &mut Context,
        peer: PeerId,
        error: &ConnectError,
    ) {
        self.fail(&mut cx.network, error, |waiting| waiting.peer == Some(peer));
    }

    pub(super) fn expire(&mut self, cx: &mut Context, now: Now) {
        let is_expired = |waiting: &Waiting| waiting.until <= now.elapsed;
        self.fail(&mut cx.network, &ConnectError::Timeout, is_expired);
    }

    /// Replies with an error. An address that the caller has added, and at which the peer can never
    /// be, does not remain a persistent peer.
    fn fail(
        &mut self,
        network: &mut Network,
        error: &ConnectError,
        is_meant: impl Fn(&Waiting) -> bool,
    ) {
        for waiting in self.waiting.extract_if(.., |waiting| is_meant(waiting)) {
            if waiting.is_new && error.is_permanent() {
                network.peers().remove_persistent_address(&waiting.address);
            }
            // The caller may have stopped waiting.
            let _ = waiting.reply.send(Err(error.clone()));
        }
    }
}

/// Records why a persistent peer is not connected, and logs each cause once.
fn log_problem(network: &mut Network, address: &Multiaddr, cause: &str) {
    if network.peers().dial_problem(address, cause) {
        network.log("persistent peer", |dropped| {
            tracing::warn!(%address, dropped, "cannot connect to a persistent peer: {cause}");
        });
    }
}

/// Splits an address into the one to dial and the peer id, if it may be dialed.
fn check(
    network: &mut Network,
    address: &Multiaddr,
) -> Result<(Multiaddr, Option<PeerId>), ConnectError> {
    if !transport::can_dial(address) {
        return Err(ConnectError::Unsupported(address.clone()));
    }
    let (dialed, peer) = transport::split_peer_id(address);
    let now = network.now();
    match peer {
        Some(peer) if peer == *network.swarm.local_peer_id() => Err(ConnectError::Own),
        Some(peer) if network.peers().is_banned(peer, now) => Err(ConnectError::Banned),
        _ => Ok((dialed, peer)),
    }
}

/// Returns what a failed dial means for the address book and for callers. Connections that `Peers`
/// itself denied are already accounted for in the address book.
fn classify(error: &DialError) -> (Option<DialFailure>, ConnectError) {
    let unreachable = || ConnectError::Unreachable(error.to_string());
    match error {
        // The swarm removes its own listen addresses before it dials.
        DialError::LocalPeerId { .. } | DialError::NoAddresses => {
            (Some(DialFailure::SelfConnection), ConnectError::Own)
        }
        DialError::DialPeerConditionFalse(_) | DialError::Aborted => {
            (Some(DialFailure::NotAttempted), unreachable())
        }
        DialError::WrongPeerId { obtained, .. } => {
            (Some(DialFailure::WrongPeer(*obtained)), ConnectError::OtherNode(*obtained))
        }
        DialError::Denied { cause } => match cause.downcast_ref::<Denied>() {
            Some(Denied::Banned) => (None, ConnectError::Banned),
            Some(Denied::SelfConnection) => (None, ConnectError::Own),
            Some(Denied::NotAllowed) => (None, ConnectError::NotAllowed),
            Some(denied) => (None, ConnectError::Unreachable(denied.to_string())),
            None => (Some(DialFailure::Unreachable), unreachable()),
        },
        DialError::Transport(errors) => match errors.first() {
            Some((_, error)) if is_other_network(error) => {
                (Some(DialFailure::WrongNetwork), ConnectError::OtherNetwork)
            }
            Some((_, error)) => {
                (Some(DialFailure::Unreachable), ConnectError::Unreachable(root_cause(error)))
            }
            None => (Some(DialFailure::Unreachable), unreachable()),
        },
    }
}

/// Whether the Noise handshake failed: its prologue contains the network's genesis hash.
fn is_other_network(error: &TransportError<io::Error>) -> bool {
    causes(error).any(|cause| match cause.downcast_ref() {
        Some(noise::Error::Io(error)) => error.kind() == io::ErrorKind::InvalidData,
        Some(noise::Error::Noise(_)) => true,
        _ => false,
    })
}

fn root_cause(error: &TransportError<io::Error>) -> String {
    causes(error).last().map_or_else(|| error.to_string(), ToString::to_string)
}

/// The error and its causes, outermost first.
fn causes(error: &TransportError<io::Error>) -> impl Iterator<Item = &(dyn Error + 'static)> {
    let first: &(dyn Error + 'static) = error;
    std::iter::successors(Some(first), |error| cause(*error))
}

fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    // The error inside an `io::Error` is not its source.
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}
