//! Calls to other nodes: how they are made, how they fail, and who waits for them.

use super::Driver;
use crate::ConnectError;
use crate::engine::Now;
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

/// How long somebody waits for a connection: connecting and the hello after it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who is told that a connection is there.
pub(super) type ConnectReply = oneshot::Sender<Result<PeerId, ConnectError>>;

/// Calls on the way, and who waits for them.
#[derive(Debug, Default)]
pub(super) struct Calls {
    places: HashMap<ConnectionId, Multiaddr>,
    waiting: Vec<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    place: Multiaddr,
    peer: Option<PeerId>,
    until: Duration,
    told: ConnectReply,
}

impl Calls {
    /// Tells those for whom `is_it` holds.
    fn tell(
        &mut self,
        result: &Result<PeerId, ConnectError>,
        is_it: impl Fn(&Multiaddr, Option<PeerId>) -> bool,
    ) {
        let told = self.waiting.extract_if(.., |one| is_it(&one.place, one.peer));
        for one in told {
            // Nobody may be waiting any more.
            let _ = one.told.send(result.clone());
        }
    }
}

impl Driver {
    /// Calls a node, or whoever answers; unless that is being done.
    pub(super) fn call(&mut self, peer: Option<PeerId>, place: Multiaddr) {
        if self.calls.places.values().any(|other| *other == place) {
            return;
        }
        // Always from another port than this node listens on: two nodes that call each other from
        // there at the same time would meet half way and both think that they called.
        let call = match peer {
            Some(peer) => {
                DialOpts::peer_id(peer).addresses(vec![place.clone()]).allocate_new_port().build()
            }
            None => DialOpts::unknown_peer_id().address(place.clone()).allocate_new_port().build(),
        };
        let id = call.connection_id();
        self.calls.places.insert(id, place);
        if let Err(error) = self.swarm.dial(call) {
            self.call_failed(id, peer, &error);
        }
    }

    /// Calls a node for somebody who waits for it.
    pub(super) fn call_for(&mut self, place: Multiaddr, peer: Option<PeerId>, told: ConnectReply) {
        let until = self.now().elapsed.saturating_add(PATIENCE);
        self.calls.waiting.push(Waiting { place: place.clone(), peer, until, told });
        self.call(peer, place);
    }

    /// A call was answered.
    pub(super) fn call_answered(&mut self, id: ConnectionId, peer: PeerId) {
        let Some(place) = self.calls.places.remove(&id) else { return };
        for one in self.calls.waiting.iter_mut().filter(|one| one.place == place) {
            one.peer = Some(peer);
        }
    }

    /// A peer said hello: whoever waits for it is told.
    pub(super) fn call_ended_well(&mut self, peer: PeerId) {
        self.calls.tell(&Ok(peer), |_, wanted| wanted == Some(peer));
    }

    /// A peer is gone: whoever still waits for its hello is told.
    pub(super) fn call_ended_badly(&mut self, peer: PeerId, why: &str) {
        let error = ConnectError::Unreachable(why.to_owned());
        self.calls.tell(&Err(error), |_, wanted| wanted == Some(peer));
    }

    pub(super) fn call_failed(
        &mut self,
        id: ConnectionId,
        peer: Option<PeerId>,
        error: &DialError,
    ) {
        let Some(place) = self.calls.places.remove(&id) else { return };
        tracing::debug!(%place, %error, "no connection");
        let now = self.now();
        let (failure, told) = judge(error);
        if let Some(failure) = failure {
            self.peers().dial_failed(&place, failure, now);
        }
        if told == ConnectError::Own {
            self.say("self", |more| tracing::info!(%place, more, "that is this node itself"));
        }
        // A second connection was not wanted because there is a first, or will be.
        let first = peer.and_then(|peer| Some((peer, self.linked.get(&peer)?)));
        match first {
            Some((peer, linked)) if linked.status.is_some() => self.call_ended_well(peer),
            Some(_) => {}
            None if failure == Some(DialFailure::NotMade) => {}
            None => self.calls.tell(&Err(told), |other, _| *other == place),
        }
    }

    pub(super) fn expire_calls(&mut self, now: Now) {
        let late = self.calls.waiting.extract_if(.., |one| one.until <= now.elapsed);
        for one in late {
            let _ = one.told.send(Err(ConnectError::Timeout));
        }
    }
}

/// What a failed call says of the node there, and what to say to whoever waits. `peers` itself has
/// refused connections that are denied, so it is not told again.
fn judge(error: &DialError) -> (Option<DialFailure>, ConnectError) {
    let unreachable = || ConnectError::Unreachable(error.to_string());
    match error {
        // Addresses on which this node listens are left out before they are called.
        DialError::LocalPeerId { .. } | DialError::NoAddresses => {
            (Some(DialFailure::Ourselves), ConnectError::Own)
        }
        DialError::DialPeerConditionFalse(_) | DialError::Aborted => {
            (Some(DialFailure::NotMade), unreachable())
        }
        DialError::WrongPeerId { obtained, .. } => {
            (Some(DialFailure::WrongPeer(*obtained)), ConnectError::OtherNode(*obtained))
        }
        DialError::Denied { cause } => match cause.downcast_ref::<Denied>() {
            Some(Denied::Banned) => (None, ConnectError::Banned),
            Some(Denied::Ourselves) => (None, ConnectError::Own),
            Some(denied) => (None, ConnectError::Unreachable(denied.to_string())),
            None => (Some(DialFailure::Unreachable), unreachable()),
        },
        DialError::Transport(errors) => match errors.first() {
            Some((_, error)) if is_other_network(error) => {
                (Some(DialFailure::WrongNetwork), ConnectError::OtherNetwork)
            }
            Some((_, error)) => {
                (Some(DialFailure::Unreachable), ConnectError::Unreachable(innermost(error)))
            }
            None => (Some(DialFailure::Unreachable), unreachable()),
        },
    }
}

/// The network's genesis hash is part of the handshake: with another one it cannot be decrypted.
fn is_other_network(error: &TransportError<io::Error>) -> bool {
    causes(error).any(|cause| match cause.downcast_ref() {
        Some(noise::Error::Io(error)) => error.kind() == io::ErrorKind::InvalidData,
        Some(noise::Error::Noise(_)) => true,
        _ => false,
    })
}

fn innermost(error: &TransportError<io::Error>) -> String {
    causes(error).last().map_or_else(|| error.to_string(), ToString::to_string)
}

/// All errors inside an error.
fn causes(error: &TransportError<io::Error>) -> impl Iterator<Item = &(dyn Error + 'static)> {
    let first: &(dyn Error + 'static) = error;
    std::iter::successors(Some(first), |error| cause(*error))
}

fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    // An error in an `io::Error` is not among its sources.
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

/// Why there is no connection with a node that this node must not call.
pub(super) fn check(
    address: &Multiaddr,
    local: PeerId,
) -> Result<(Multiaddr, Option<PeerId>), ConnectError> {
    if !transport::can_call(address) {
        return Err(ConnectError::Unsupported(address.clone()));
    }
    let (place, peer) = transport::split_id(address);
    if peer == Some(local) { Err(ConnectError::Own) } else { Ok((place, peer)) }
}
