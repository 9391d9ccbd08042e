//! Serves the requests of peers: address gossip at once, all others on worker threads.

use super::connections::Context;
use super::in_flight_responses::{InFlightResponses, Room};
use super::network::Network;
use super::peer::{InboundRequest, ReplyTo};
use super::upload::Upload;
use crate::engine::Misbehavior;
use crate::message::{Protocol, Request, Response, ResponseError};
use libp2p::PeerId;
use libp2p::request_response::InboundRequestId;
use std::sync::Arc;
use std::time::Duration;
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

/// The bytes of a response to which the upload limit does not apply.
const EXEMPT: usize = 16 << 10;

/// Responds to a request about the chain or the mempool, unless the response has more than a number of bytes.
/// May block.
pub(crate) type Serve = Arc<dyn Fn(&Request, usize) -> Option<Response> + Send + Sync>;

/// What a worker has done with a request.
pub(super) enum Served {
    /// The response is ready to be sent.
    Response {
        peer: PeerId,
        reply_to: ReplyTo,
        response: Response,
        /// Whether the upload limit counts it.
        is_limited: bool,
    },
    /// The response would be so large that it has to wait for the upload limit.
    Large(PeerId, InboundRequest),
}

pub(super) struct RequestServer {
    serve: Serve,
    workers: Arc<Semaphore>,
    serving: JoinSet<Served>,
    in_flight: InFlightResponses<(Protocol, InboundRequestId)>,
    upload: Upload<(PeerId, InboundRequest)>,
}

impl RequestServer {
    /// Returns a server that sends at most `max_upload` bytes of blocks a second to peers outside the
    /// local network; 0 for no limit.
    pub(super) fn new(serve: Serve, max_upload: u64) -> Self {
        RequestServer {
            serve,
            workers: Arc::new(Semaphore::new(WORKERS)),
            serving: JoinSet::new(),
            in_flight: InFlightResponses::default(),
            upload: Upload::new(max_upload),
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
            return self.reject(network, inbound, BUSY);
        }
        if let Request::Addresses { max } = inbound.request {
            let now = network.now();
            let nodes = network.peers().sample_addresses(&id, max.into(), now);
            send(network, inbound.reply_to, Response::Addresses(nodes));
            return;
        }
        let now = network.elapsed();
        let group = network.peers().address_group(&id);
        let is_full = peer.serving >= MAX_SERVING_PER_PEER || self.serving.len() >= MAX_SERVING;
        match self.in_flight.room(group, now) {
            _ if is_full => return self.reject(network, inbound, BUSY),
            Room::Full => return self.reject(network, inbound, BUSY),
            Room::After(largest) => drop(network.disconnect(largest, "reads too slowly")),
            Room::Free => {}
        }
        peer.serving = peer.serving.saturating_add(1);
        let upload = match is_limited(network, &id, &inbound.request) {
            true => UploadLimit::IfLarge,
            false => UploadLimit::Never,
        };
        self.spawn((id, inbound), upload);
    }

    fn spawn(&mut self, request: (PeerId, InboundRequest), upload: UploadLimit) {
        self.serving.spawn(work(self.serve.clone(), self.workers.clone(), request, upload));
    }

    /// Serves the requests for blocks that the upload limit permits now.
    fn serve_waiting(&mut self, now: Duration) {
        loop {
            let in_flight = &self.in_flight;
            let next = self.upload.next(|group| in_flight.bytes_of(*group), now);
            let Some(request) = next else { return };
            self.spawn(request, UploadLimit::Permitted);
        }
    }

    /// Serves or rejects what waits for the upload limit, and disconnects the peers that leave
    /// responses unread. To be called at every tick.
    pub(super) fn tick(&mut self, cx: &mut Context) {
        let now = cx.network.elapsed();
        self.serve_waiting(now);
        for (id, inbound) in self.upload.expired(now) {
            if let Some(peer) = cx.connections.get_mut(&id) {
                peer.serving = peer.serving.saturating_sub(1);
            }
            self.reject(&mut cx.network, inbound, BUSY);
        }
        let connections = &cx.connections;
        let sent = |id: &PeerId| connections.get(id).map_or(0, |peer| peer.traffic.sent());
        for id in self.in_flight.slow_readers(sent, now) {
            cx.network.report(id, Misbehavior::UnreadResponse);
            cx.network.disconnect(id, "does not read its responses");
        }
    }

    /// The next response of a worker; `None` if no request is being served.
    pub(super) async fn next_served(&mut self) -> Option<Result<Served, JoinError>> {
        self.serving.join_next().await
    }

    pub(super) fn handle_served(&mut self, cx: &mut Context, served: Result<Served, JoinError>) {
        // A panic while serving is already a response.
        let Ok(served) = served else { return };
        let Context { network, connections } = cx;
        let (peer, reply_to, response, is_limited) = match served {
            Served::Large(peer, request) => {
                let (group, now) = (network.peers().address_group(&peer), network.elapsed());
                self.upload.push(group, (peer, request), now);
                return self.serve_waiting(now);
            }
            Served::Response { peer, reply_to, response, is_limited } => {
                (peer, reply_to, response, is_limited)
            }
        };
        let traffic = connections.get_mut(&peer).map(|peer| {
            peer.serving = peer.serving.saturating_sub(1);
            peer.traffic.sent()
        });
        let (now, bytes) = (network.now(), response.size_hint());
        let group = network.peers().address_group(&peer);
        if matches!(response, Response::Headers(_) | Response::Blocks(_)) {
            network.peers().record_served_bytes(&peer, bytes, now);
        }
        if is_limited {
            self.upload.prepared(group, bytes, now.elapsed);
            self.serve_waiting(now.elapsed);
        }
        let id = (reply_to.protocol, reply_to.id);
        // If the peer has disconnected, no event follows for this response.
        if send(network, reply_to, response)
            && let Some(sent) = traffic
        {
            self.in_flight.insert(id, (peer, group), bytes, (sent, now.elapsed));
        }
    }

    pub(super) fn reject(
        &self,
        network: &mut Network,
        inbound: InboundRequest,
        error: ResponseError,
    ) {
        send(network, inbound.reply_to, Response::Error(error));
    }

    /// A response was sent or has failed. Returns whether it was a large one.
    pub(super) fn response_completed(&mut self, protocol: Protocol, id: InboundRequestId) -> bool {
        self.in_flight.remove(&(protocol, id))
    }
}

/// Whether the upload limit applies to a request.
fn is_limited(network: &mut Network, peer: &PeerId, request: &Request) -> bool {
    request.protocol() == Protocol::Blocks && !network.peers().is_local(peer)
}

/// Sends a response. Returns false if the peer has disconnected.
pub(super) fn send(
    network: &mut Network,
    ReplyTo { protocol, channel, .. }: ReplyTo,
    response: Response,
) -> bool {
    network.request_response().send_response(protocol, channel, response)
}

/// How the upload limit applies to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UploadLimit {
    Never,
    /// If the response is large, which is not known yet.
    IfLarge,
    /// The response is large, and the limit permits it now.
    Permitted,
}

/// Serves one request once a worker is free.
async fn work(
    serve: Serve,
    workers: Arc<Semaphore>,
    (peer, inbound): (PeerId, InboundRequest),
    upload: UploadLimit,
) -> Served {
    let InboundRequest { request, reply_to } = inbound;
    let max_bytes = if upload == UploadLimit::IfLarge { EXEMPT } else { usize::MAX };
    let permit = workers.acquire_owned().await;
    let served = tokio::task::spawn_blocking(move || (serve(&request, max_bytes), request)).await;
    drop(permit);
    let response = match served {
        Ok((Some(response), _)) => response,
        Ok((None, request)) => return Served::Large(peer, InboundRequest { request, reply_to }),
        Err(error) => {
            let protocol = reply_to.protocol;
            tracing::error!(%peer, ?protocol, %error, "failed to serve a request");
            Response::Error(ResponseError::Busy { retry_after: u8::MAX })
        }
    };
    Served::Response { peer, reply_to, response, is_limited: upload == UploadLimit::Permitted }
}
