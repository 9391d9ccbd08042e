//! Requests and replies, both ways.

use super::{Answer, Driver};
use crate::behaviour::{ExchangeEvent, Gibberish};
use crate::engine::{Conduct, Failure, Input, RequestId};
use crate::message::{Protocol, Refusal, Reply, Request};
use crate::peers::{Allowance, Source};
use libp2p::PeerId;
use libp2p::request_response::{
    Event, Message, OutboundFailure, OutboundRequestId, ResponseChannel,
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
/// Of those, from one peer; also most that may come before its hello.
const MAX_SERVING_EACH: usize = 4;
/// When to ask a busy node again, in seconds.
const RETRY_AFTER: u8 = 1;

/// A request of a peer.
pub(super) struct Inbound {
    protocol: Protocol,
    request: Request,
    channel: ResponseChannel<Reply>,
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
    protocol: Protocol,
    channel: ResponseChannel<Reply>,
    reply: Reply,
}

/// Requests on the way.
pub(super) struct Requests {
    asked: HashMap<(Protocol, OutboundRequestId), Asked>,
    pub(super) serving: JoinSet<Served>,
    workers: Arc<Semaphore>,
}

impl Default for Requests {
    fn default() -> Requests {
        let workers = Arc::new(Semaphore::new(WORKERS));
        Requests { asked: HashMap::new(), serving: JoinSet::new(), workers }
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
            Event::Message { peer, message: Message::Request { request, channel, .. }, .. } => {
                match request {
                    Ok(request) => self.requested(peer, Inbound { protocol, request, channel }),
                    Err(Gibberish) => self.report(peer, Conduct::Malformed),
                }
            }
            Event::Message {
                peer, message: Message::Response { request_id, response }, ..
            } => {
                if let Some(asked) = self.requests.asked.remove(&(protocol, request_id)) {
                    self.ended(peer, asked, Ok(response));
                }
            }
            Event::OutboundFailure { peer, request_id, error, .. } => {
                tracing::debug!(%peer, ?protocol, %error, "no reply");
                if let Some(asked) = self.requests.asked.remove(&(protocol, request_id)) {
                    self.ended(peer, asked, Err(failure(&error)));
                }
            }
            Event::InboundFailure { peer, error, .. } => {
                tracing::debug!(%peer, ?protocol, %error, "a request failed");
            }
            Event::ResponseSent { .. } => {}
        }
    }

    /// A request of this node came to its end.
    fn ended(&mut self, peer: PeerId, asked: Asked, result: Result<Reply, Failure>) {
        match (asked, result) {
            (Asked::Engine(request), result) => {
                self.tell_engine(Input::Replied { request, result });
            }
            (Asked::Hello, Ok(Reply::Hello(status))) => drop(self.hear_hello(peer, status)),
            (Asked::Addresses, Ok(Reply::Addresses(nodes))) => {
                let now = self.now();
                self.peers().heard(Source::Peer(peer), &nodes, now);
            }
            (_, Ok(Reply::Refused(_))) => {}
            (_, Ok(_)) => self.report(peer, Conduct::WrongReply),
            (asked, Err(failure)) => {
                if let Some(conduct) = conduct(failure) {
                    self.report(peer, conduct);
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
            Allowance::Refuse => self.refuse(inbound, Refusal::RateLimited),
            Allowance::Abuse => {
                self.refuse(inbound, Refusal::RateLimited);
                self.report(peer, Conduct::TooManyRequests);
            }
        }
    }

    /// Answers, or has a worker answer.
    pub(super) fn serve(&mut self, peer: PeerId, inbound: Inbound) {
        if let Request::Hello(status) = inbound.request {
            if self.hear_hello(peer, status) {
                let own = self.status();
                self.told(peer, &own);
                self.reply(inbound.protocol, inbound.channel, Reply::Hello(own));
            }
            return;
        }
        let Some(entry) = self.linked.get_mut(&peer) else { return };
        let busy = Refusal::Busy { retry_after: RETRY_AFTER };
        if entry.status.is_none() {
            // Its hello and this request are on different streams, and this one may be the faster.
            if entry.early.len() < MAX_SERVING_EACH {
                return entry.early.push(inbound);
            }
            return self.refuse(inbound, busy);
        }
        if let Request::Addresses { max } = inbound.request {
            let now = self.now();
            let nodes = self.peers().sample(&peer, max.into(), now);
            return self.reply(inbound.protocol, inbound.channel, Reply::Addresses(nodes));
        }
        if entry.serving >= MAX_SERVING_EACH || self.requests.serving.len() >= MAX_SERVING {
            return self.refuse(inbound, busy);
        }
        entry.serving = entry.serving.saturating_add(1);
        let (answer, workers) = (self.wires.answer.clone(), self.requests.workers.clone());
        self.requests.serving.spawn(work(answer, workers, peer, inbound));
    }

    pub(super) fn handle_served(&mut self, served: Result<Served, JoinError>) {
        // The work itself has caught what may go wrong in it.
        let Ok(Served { peer, protocol, channel, reply }) = served else { return };
        if let Some(entry) = self.linked.get_mut(&peer) {
            entry.serving = entry.serving.saturating_sub(1);
        }
        if let Reply::Blocks(blocks) = &reply {
            let bytes = blocks.iter().flatten().map(|block| block.len()).sum();
            let now = self.now();
            self.peers().served(&peer, bytes, now);
        }
        self.reply(protocol, channel, reply);
    }

    fn refuse(&mut self, inbound: Inbound, refusal: Refusal) {
        self.reply(inbound.protocol, inbound.channel, Reply::Refused(refusal));
    }

    fn reply(&mut self, protocol: Protocol, channel: ResponseChannel<Reply>, reply: Reply) {
        // Whoever asked may be gone.
        let _ = self.swarm.behaviour_mut().exchange(protocol).send_response(channel, reply);
    }
}

/// Answers one request when a worker is free.
async fn work(answer: Answer, workers: Arc<Semaphore>, peer: PeerId, inbound: Inbound) -> Served {
    let Inbound { protocol, request, channel } = inbound;
    let worker = workers.acquire_owned().await;
    let reply = tokio::task::spawn_blocking(move || answer(&request)).await;
    drop(worker);
    let reply = reply.unwrap_or_else(|error| {
        tracing::error!(%peer, ?protocol, %error, "a request could not be answered");
        Reply::Refused(Refusal::Busy { retry_after: u8::MAX })
    });
    Served { peer, protocol, channel, reply }
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

/// What a failed request of the driver's own counts.
fn conduct(failure: Failure) -> Option<Conduct> {
    match failure {
        Failure::Timeout => Some(Conduct::Timeout),
        Failure::Malformed => Some(Conduct::Malformed),
        Failure::Io | Failure::Unsupported => Some(Conduct::BrokenStream),
        Failure::Disconnected => None,
    }
}
