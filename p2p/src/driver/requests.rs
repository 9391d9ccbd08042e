//! Requests and replies, both ways.

use super::outgoing::{Outgoing, weight};
use super::{Answer, Driver};
use crate::engine::{Failure, Input, Misbehavior, RequestId};
use crate::message::{Protocol, Request, Response, ResponseError};
use crate::net::behaviour::{DecodedRequest, ExchangeEvent, MalformedRequest};
use crate::peers::{Allowance, Source};
use libp2p::PeerId;
use libp2p::request_response::{
    Event, InboundRequestId, Message, OutboundFailure, OutboundRequestId, ResponseChannel,
};
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};

/// Requests that are answered at a time.
const WORKERS: usize = 8;
/// Requests that wait for an answer.
const MAX_SERVING: usize = 256;
/// Of those, from one peer; also most that may come before its hello. More than the engine ever has
/// on the way to one peer, eight for blocks and some for the rest: otherwise two nodes alone would
/// call each other busy.
const MAX_SERVING_EACH: usize = 12;
/// What a node says that has too much to do.
const BUSY: ResponseError = ResponseError::Busy { retry_after: 1 };

/// A request of a peer.
pub(super) struct Inbound {
    request: Request,
    back: ReplyTo,
}

/// How the reply to a request gets back.
struct ReplyTo {
    protocol: Protocol,
    id: InboundRequestId,
    channel: ResponseChannel<Response>,
}

/// What a request of this node is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asked {
    Hello,
    Addresses,
    Engine(RequestId),
}

/// A request that was answered.
pub(super) struct Served {
    peer: PeerId,
    back: ReplyTo,
    reply: Response,
}

/// Requests on the way.
pub(super) struct Requests {
    asked: HashMap<(Protocol, OutboundRequestId), Asked>,
    pub(super) serving: JoinSet<Served>,
    workers: Arc<Semaphore>,
    outgoing: Outgoing<(Protocol, InboundRequestId)>,
}

impl Default for Requests {
    fn default() -> Requests {
        let workers = Arc::new(Semaphore::new(WORKERS));
        let (asked, serving) = (HashMap::new(), JoinSet::new());
        Requests { asked, serving, workers, outgoing: Outgoing::default() }
    }
}

impl Driver {
    /// Asks for the engine. It is told in any case how that ended.
    pub(super) fn ask(&mut self, request: RequestId, peer: PeerId, what: Request) {
        if self.linked.get(&peer).is_some_and(|peer| peer.status.is_some()) {
            self.send(peer, what, Asked::Engine(request));
        } else {
            self.ended(peer, Asked::Engine(request), Err(Failure::Disconnected));
        }
    }

    pub(super) fn send(&mut self, peer: PeerId, request: Request, asked: Asked) {
        // The exchange would call a peer that is not connected, and keep the request until then.
        if !self.swarm.is_connected(&peer) {
            return self.ended(peer, asked, Err(Failure::Disconnected));
        }
        let protocol = request.protocol();
        let id = self.swarm.behaviour_mut().exchange(protocol).send_request(&peer, Ok(request));
        self.requests.asked.insert((protocol, id), asked);
    }

    pub(super) fn handle_exchange(&mut self, protocol: Protocol, event: ExchangeEvent) {
        match event {
            Event::Message { peer, message, .. } => self.handle_message(peer, protocol, message),
            Event::OutboundFailure { peer, request_id, error, .. } => {
                tracing::debug!(%peer, ?protocol, %error, "no reply");
                if let Some(asked) = self.requests.asked.remove(&(protocol, request_id)) {
                    self.ended(peer, asked, Err(failure(&error)));
                }
            }
            Event::InboundFailure { peer, request_id, error, .. } => {
                tracing::debug!(%peer, ?protocol, %error, "no reply was sent");
                self.requests.outgoing.end(&(protocol, request_id));
            }
            Event::ResponseSent { request_id, .. } => {
                self.requests.outgoing.end(&(protocol, request_id));
            }
        }
    }

    fn handle_message(
        &mut self,
        peer: PeerId,
        protocol: Protocol,
        message: Message<DecodedRequest, Response>,
    ) {
        match message {
            Message::Request { request_id: id, request, channel } => match request {
                Ok(request) => {
                    let back = ReplyTo { protocol, id, channel };
                    self.requested(peer, Inbound { request, back });
                }
                Err(MalformedRequest) => self.report(peer, Misbehavior::Malformed),
            },
            Message::Response { request_id, response } => {
                if let Some(asked) = self.requests.asked.remove(&(protocol, request_id)) {
                    self.ended(peer, asked, Ok(response));
                }
            }
        }
    }

    /// A request of this node came to its end.
    fn ended(&mut self, peer: PeerId, asked: Asked, result: Result<Response, Failure>) {
        match (asked, result) {
            (Asked::Engine(request), result) => {
                self.tell_engine(Input::Response { id: request, result });
            }
            (Asked::Hello, Ok(Response::Hello(status))) => drop(self.hear_hello(peer, status)),
            (Asked::Addresses, Ok(Response::Addresses(nodes))) => {
                let now = self.now();
                self.peers().heard(Source::Peer(peer), &nodes, now);
            }
            (_, Ok(Response::Error(_))) => {}
            (_, Ok(_)) => self.report(peer, Misbehavior::WrongResponse),
            (asked, Err(failure)) => {
                if let Some(misbehavior) = failure.misbehavior() {
                    self.report(peer, misbehavior);
                }
                if matches!(asked, Asked::Hello) {
                    self.hello_failed(peer);
                }
            }
        }
    }

    fn requested(&mut self, peer: PeerId, inbound: Inbound) {
        let now = self.now();
        match self.peers().allow(&peer, &inbound.request, now) {
            Allowance::Yes => self.serve(peer, inbound),
            Allowance::Refuse => self.refuse(peer, inbound, ResponseError::RateLimited),
            Allowance::Abuse => {
                self.refuse(peer, inbound, ResponseError::RateLimited);
                self.report(peer, Misbehavior::TooManyRequests);
            }
        }
    }

    /// Answers, or has a worker answer.
    pub(super) fn serve(&mut self, peer: PeerId, inbound: Inbound) {
        if let Request::Hello(status) = inbound.request {
            if self.hear_hello(peer, status) {
                let own = self.status();
                self.told(peer, &own);
                self.reply(peer, inbound.back, Response::Hello(own));
            }
            return;
        }
        let Some(entry) = self.linked.get_mut(&peer) else { return };
        if entry.status.is_none() {
            // Its hello and this request are on different streams, and this one may be the faster.
            if entry.early.len() < MAX_SERVING_EACH {
                return entry.early.push(inbound);
            }
            return self.refuse(peer, inbound, BUSY);
        }
        if let Request::Addresses { max } = inbound.request {
            let now = self.now();
            let nodes = self.peers().sample(&peer, max.into(), now);
            return self.reply(peer, inbound.back, Response::Addresses(nodes));
        }
        self.put_to_work(peer, inbound);
    }

    fn put_to_work(&mut self, peer: PeerId, inbound: Inbound) {
        let Some(entry) = self.linked.get_mut(&peer) else { return };
        let requests = &mut self.requests;
        let full = entry.serving >= MAX_SERVING_EACH || requests.serving.len() >= MAX_SERVING;
        if full || !requests.outgoing.has_room(&peer) {
            return self.refuse(peer, inbound, BUSY);
        }
        entry.serving = entry.serving.saturating_add(1);
        let (answer, workers) = (self.channels.answer.clone(), requests.workers.clone());
        requests.serving.spawn(work(answer, workers, peer, inbound));
    }

    pub(super) fn handle_served(&mut self, served: Result<Served, JoinError>) {
        // The work itself has caught what may go wrong in it.
        let Ok(Served { peer, back, reply }) = served else { return };
        if let Some(entry) = self.linked.get_mut(&peer) {
            entry.serving = entry.serving.saturating_sub(1);
        }
        if matches!(reply, Response::Blocks(_)) {
            let now = self.now();
            self.peers().served(&peer, weight(&reply), now);
        }
        self.reply(peer, back, reply);
    }

    fn refuse(&mut self, peer: PeerId, inbound: Inbound, refusal: ResponseError) {
        self.reply(peer, inbound.back, Response::Error(refusal));
    }

    fn reply(&mut self, peer: PeerId, back: ReplyTo, reply: Response) {
        let ReplyTo { protocol, id, channel } = back;
        let bytes = weight(&reply);
        let exchange = self.swarm.behaviour_mut().exchange(protocol);
        // Whoever asked may be gone: then nothing is told of this reply any more.
        if exchange.send_response(channel, reply).is_ok() {
            self.requests.outgoing.begin((protocol, id), peer, bytes);
        }
    }
}

/// Answers one request when a worker is free.
async fn work(answer: Answer, workers: Arc<Semaphore>, peer: PeerId, inbound: Inbound) -> Served {
    let Inbound { request, back } = inbound;
    let worker = workers.acquire_owned().await;
    let reply = tokio::task::spawn_blocking(move || answer(&request)).await;
    drop(worker);
    let reply = reply.unwrap_or_else(|error| {
        tracing::error!(%peer, protocol = ?back.protocol, %error, "a request could not be answered");
        Response::Error(ResponseError::Busy { retry_after: u8::MAX })
    });
    Served { peer, back, reply }
}

fn failure(error: &OutboundFailure) -> Failure {
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
