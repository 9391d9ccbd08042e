//! Requests that this node sends.

use super::connections::Context;
use super::network::Network;
use crate::engine::{Failure, Input, Now, RequestId};
use crate::message::{MAX_ADDRESSES, Protocol, Request};
use libp2p::PeerId;
use libp2p::request_response::{OutboundFailure, OutboundRequestId};
use std::collections::HashMap;
use std::io;
use std::time::Duration;

/// The time between two requests for addresses to one peer.
const ADDRESS_REQUEST_INTERVAL: Duration = Duration::from_secs(600);

/// The part of the node that sent a request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Requester {
    Handshake,
    AddressBook,
    Engine(RequestId),
}

/// The requests in flight.
#[derive(Debug, Default)]
pub(super) struct OutgoingRequests {
    in_flight: HashMap<(Protocol, OutboundRequestId), Requester>,
}

impl OutgoingRequests {
    /// Sends a request to a connected peer.
    pub(super) fn send(
        &mut self,
        network: &mut Network,
        peer: PeerId,
        request: Request,
        requester: Requester,
    ) {
        // The behaviour would dial a disconnected peer and store the request until then.
        if network.swarm.is_connected(&peer) {
            let id = network.request_response().send_request(&peer, request);
            self.in_flight.insert(id, requester);
        } else if let Requester::Engine(id) = requester {
            network.input(Input::Response { id, result: Err(Failure::Disconnected) });
        }
    }

    /// Sends a request of the engine, which receives a response or a failure in any case.
    pub(super) fn send_for_engine(
        &mut self,
        cx: &mut Context,
        (peer, id): (PeerId, RequestId),
        request: Request,
    ) {
        if cx.connections.has_handshake(&peer) {
            self.send(&mut cx.network, peer, request, Requester::Engine(id));
        } else {
            cx.network.input(Input::Response { id, result: Err(Failure::Disconnected) });
        }
    }

    /// Requests addresses from the peers for which that is due, while the address book is not full.
    pub(super) fn request_addresses(&mut self, cx: &mut Context, now: Now) {
        let max = u8::try_from(MAX_ADDRESSES).unwrap_or(u8::MAX);
        for (id, peer) in cx.connections.iter_mut() {
            let due = peer.next_address_request.is_some_and(|due| due <= now.elapsed);
            if peer.status.is_none() || !due {
                continue;
            }
            peer.next_address_request = Some(now.elapsed.saturating_add(ADDRESS_REQUEST_INTERVAL));
            if cx.network.peers().wants_addresses() {
                self.send(&mut cx.network, id, Request::Addresses { max }, Requester::AddressBook);
            }
        }
    }

    /// Removes a completed request and returns its requester.
    pub(super) fn complete(&mut self, id: (Protocol, OutboundRequestId)) -> Option<Requester> {
        self.in_flight.remove(&id)
    }
}

pub(super) fn failure(error: &OutboundFailure) -> Failure {
    match error {
        OutboundFailure::Timeout => Failure::Timeout,
        OutboundFailure::DialFailure | OutboundFailure::ConnectionClosed => Failure::Disconnected,
        OutboundFailure::UnsupportedProtocols => Failure::Unsupported,
        OutboundFailure::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
            Failure::Malformed
        }
        OutboundFailure::Io(_) => Failure::Io,
    }
}
