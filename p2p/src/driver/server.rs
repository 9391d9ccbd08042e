//! Serves the requests of peers: address gossip at once, all others on worker threads.

use super::connections::Context;
use super::in_flight_responses::InFlightResponses;
use super::network::Network;
use super::peer::{InboundRequest, ReplyTo};
use crate::message::{Protocol, Request, Response, ResponseError};
use libp2p::PeerId;
use libp2p::request_response::InboundRequestId;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};

/// The number of requests that are served concurrently.
const WORKERS: usize = 8;
/// Requests served or waiting for a worker.
const MAX_SERVING: usize = 256;
/// Requests of one peer served or waiting, and also those received before its handshake. More than
/// the engine sends to one peer (eight for blocks and a few others): with less, two nodes alone
/// would reject each other's requests.
const MAX_SERVING_PER_PEER: usize = 12;
/// The response to a request above these limits.
const BUSY: ResponseError = ResponseError::Busy { retry_after: 1 };

/// Responds to a request about the chain or the mempool. May block.
type Serve = Arc<dyn Fn(&Request) -> Response + Send + Sync>;

/// A response, ready to be sent.
pub(super) struct Served {
    peer: PeerId,
    reply_to: ReplyTo,
    response: Response,
}

pub(super) struct RequestServer {
    serve: Serve,
    workers: Arc<Semaphore>,
    serving: JoinSet<Served>,
    in_flight: InFlightResponses<(Protocol, InboundRequestId)>,
}

impl RequestServer {
    pub(super) fn new(serve: impl Fn(&Request) -> Response + Send + Sync + 'static) -> Self {
        RequestServer {
            serve: Arc::new(serve),
            workers: Arc::new(Semaphore::new(WORKERS)),
            serving: JoinSet::new(),
            in_flight: InFlightResponses::default(),
        }
    }

    /// Serves a request other than a hello. One from before the peer's handshake waits for it.
    pub(super) fn serve(&mut self, cx: &mut Context, id: PeerId, inbound: InboundRequest) {
        let Context { network, connections } = cx;
        let Some(peer) = connections.get_mut(&id) else { return };
        if peer.status.is_none() {
            // The hello and this request use different streams, so this one may arrive first.
            if peer.early_requests.len() < MAX_SERVING_PER_PEER {
                return peer.early_requests.push(inbound);
            }
            return self.reject(network, id, inbound, BUSY);
        }
        if let Request::Addresses { max } = inbound.request {
            let now = network.now();
            let nodes = network.peers().sample_addresses(&id, max.into(), now);
            return self.respond(network, id, inbound.reply_to, Response::Addresses(nodes));
        }
        let is_full = peer.serving >= MAX_SERVING_PER_PEER || self.serving.len() >= MAX_SERVING;
        if is_full || !self.in_flight.has_room(&id) {
            return self.reject(network, id, inbound, BUSY);
        }
        peer.serving = peer.serving.saturating_add(1);
        self.serving.spawn(work(self.serve.clone(), self.workers.clone(), id, inbound));
    }

    /// The next response of a worker; `None` if no request is being served.
    pub(super) async fn next_served(&mut self) -> Option<Result<Served, JoinError>> {
        self.serving.join_next().await
    }

    pub(super) fn handle_served(&mut self, cx: &mut Context, served: Result<Served, JoinError>) {
        let Context { network, connections } = cx;
        // A panic while serving is already a response.
        let Ok(Served { peer, reply_to, response }) = served else { return };
        if let Some(peer) = connections.get_mut(&peer) {
            peer.serving = peer.serving.saturating_sub(1);
        }
        if matches!(response, Response::Blocks(_)) {
            let now = network.now();
            network.peers().record_served_bytes(&peer, response.size_hint(), now);
        }
        self.respond(network, peer, reply_to, response);
    }

    pub(super) fn reject(
        &mut self,
        network: &mut Network,
        peer: PeerId,
        inbound: InboundRequest,
        error: ResponseError,
    ) {
        self.respond(network, peer, inbound.reply_to, Response::Error(error));
    }

    pub(super) fn respond(
        &mut self,
        network: &mut Network,
        peer: PeerId,
        ReplyTo { protocol, id, channel }: ReplyTo,
        response: Response,
    ) {
        let bytes = response.size_hint();
        // If the peer has disconnected, no event follows for this response.
        if network.request_response().send_response(protocol, channel, response) {
            self.in_flight.insert((protocol, id), peer, bytes);
        }
    }

    /// A response was sent or has failed.
    pub(super) fn response_completed(&mut self, protocol: Protocol, id: InboundRequestId) {
        self.in_flight.remove(&(protocol, id));
    }
}

/// Serves one request once a worker is free.
async fn work(
    serve: Serve,
    workers: Arc<Semaphore>,
    peer: PeerId,
    inbound: InboundRequest,
) -> Served {
    let InboundRequest { request, reply_to } = inbound;
    let permit = workers.acquire_owned().await;
    let response = tokio::task::spawn_blocking(move || serve(&request)).await;
    drop(permit);
    let response = response.unwrap_or_else(|error| {
        tracing::error!(%peer, protocol = ?reply_to.protocol, %error, "failed to serve a request");
        Response::Error(ResponseError::Busy { retry_after: u8::MAX })
    });
    Served { peer, reply_to, response }
}
