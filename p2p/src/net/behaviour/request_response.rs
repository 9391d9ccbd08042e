//! The request-response protocols: one libp2p behaviour for each row of `Protocol`'s table of
//! limits.
//!
//! Each protocol has a behaviour of its own, because a peer that offers a single protocol name can
//! be sent the request together with the negotiation, which saves a round trip.

use crate::message::{Protocol, Request, Response};
use crate::wire::{self, Codec, WireError};
use chain::block;
use futures::{AsyncRead, AsyncWrite};
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::request_response::{self, OutboundRequestId, ProtocolSupport, ResponseChannel};
use libp2p::swarm::handler::multi::MultiHandler;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId, StreamProtocol};
use std::io;
use std::task::{Context, Poll};

/// The behaviour of one protocol.
type ProtocolBehaviour = request_response::Behaviour<LenientCodec>;
/// An event of one protocol.
pub(crate) type ProtocolEvent = request_response::Event<DecodedRequest, Response>;
/// A received request, or the error that it could not be decoded.
pub(crate) type DecodedRequest = Result<Request, MalformedRequest>;

/// A request that is not served because of its encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MalformedRequest {
    /// The bytes cannot be decoded.
    Undecodable,
    /// A count or the length of the request exceeds its limit.
    AboveLimit,
}

impl From<&io::Error> for MalformedRequest {
    fn from(error: &io::Error) -> MalformedRequest {
        let error = error.get_ref().and_then(|error| error.downcast_ref());
        match error {
            Some(WireError::AboveLimit { .. }) => MalformedRequest::AboveLimit,
            _ => MalformedRequest::Undecodable,
        }
    }
}

/// A codec that reports malformed requests as events. The behaviour only logs its errors, so
/// without the event malformed requests would cost their sender nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LenientCodec(Codec);

/// The behaviours of all protocols, in the order of `Protocol::ALL`.
pub(crate) struct RequestResponse {
    protocols: [ProtocolBehaviour; Protocol::ALL.len()],
}

impl RequestResponse {
    pub(super) fn new(genesis: block::Hash) -> RequestResponse {
        let protocols = Protocol::ALL.map(|protocol| {
            let limits = protocol.limits();
            let config = request_response::Config::default()
                .with_request_timeout(limits.timeout)
                .with_max_concurrent_streams(limits.streams);
            let name = (wire::protocol_name(genesis, protocol), ProtocolSupport::Full);
            ProtocolBehaviour::with_codec(LenientCodec(Codec { protocol }), [name], config)
        });
        RequestResponse { protocols }
    }

    /// Sends a request to a connected peer. Its outcome is an event with the returned protocol and
    /// id.
    pub(crate) fn send_request(
        &mut self,
        peer: &PeerId,
        request: Request,
    ) -> (Protocol, OutboundRequestId) {
        let protocol = request.protocol();
        (protocol, self.behaviour(protocol).send_request(peer, Ok(request)))
    }

    /// Sends a response. Returns false if the connection of the request is closed.
    pub(crate) fn send_response(
        &mut self,
        protocol: Protocol,
        channel: ResponseChannel<Response>,
        response: Response,
    ) -> bool {
        self.behaviour(protocol).send_response(channel, response).is_ok()
    }

    fn behaviour(&mut self, protocol: Protocol) -> &mut ProtocolBehaviour {
        &mut self.protocols[protocol as usize]
    }

    fn each(&mut self) -> impl Iterator<Item = (Protocol, &mut ProtocolBehaviour)> {
        Protocol::ALL.into_iter().zip(&mut self.protocols)
    }

    /// Combines the connection handlers of all protocols.
    fn handlers(
        &mut self,
        mut handler: impl FnMut(
            &mut ProtocolBehaviour,
        ) -> Result<THandler<ProtocolBehaviour>, ConnectionDenied>,
    ) -> Result<THandler<RequestResponse>, ConnectionDenied> {
        let handlers: Result<Vec<_>, ConnectionDenied> =
            self.each().map(|(protocol, behaviour)| Ok((protocol, handler(behaviour)?))).collect();
        Ok(MultiHandler::try_from_iter(handlers?).expect("every protocol has a name of its own"))
    }
}

impl NetworkBehaviour for RequestResponse {
    type ConnectionHandler = MultiHandler<Protocol, THandler<ProtocolBehaviour>>;
    type ToSwarm = (Protocol, ProtocolEvent);

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.handlers(|one| one.handle_established_inbound_connection(id, peer, local, remote))
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.handlers(|one| {
            one.handle_established_outbound_connection(id, peer, address, role, port)
        })
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        self.each().for_each(|(_, behaviour)| behaviour.on_swarm_event(event));
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        id: ConnectionId,
        (protocol, event): THandlerOutEvent<Self>,
    ) {
        self.behaviour(protocol).on_connection_handler_event(peer, id, event);
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        for (protocol, behaviour) in self.each() {
            if let Poll::Ready(event) = behaviour.poll(cx) {
                let event = event.map_out(|event| (protocol, event));
                return Poll::Ready(event.map_in(|event| (protocol, event)));
            }
        }
        Poll::Pending
    }
}

impl request_response::Codec for LenientCodec {
    type Protocol = StreamProtocol;
    type Request = DecodedRequest;
    type Response = Response;

    async fn read_request<T>(
        &mut self,
        name: &StreamProtocol,
        io: &mut T,
    ) -> io::Result<DecodedRequest>
    where
        T: AsyncRead + Unpin + Send,
    {
        match self.0.read_request(name, io).await {
            Ok(request) => Ok(Ok(request)),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(Err((&error).into())),
            Err(error) => Err(error),
        }
    }

    async fn read_response<T>(&mut self, name: &StreamProtocol, io: &mut T) -> io::Result<Response>
    where
        T: AsyncRead + Unpin + Send,
    {
        self.0.read_response(name, io).await
    }

    async fn write_request<T>(
        &mut self,
        name: &StreamProtocol,
        io: &mut T,
        request: DecodedRequest,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        let request = request.map_err(|_| io::ErrorKind::InvalidInput)?;
        self.0.write_request(name, io, request).await
    }

    async fn write_response<T>(
        &mut self,
        name: &StreamProtocol,
        io: &mut T,
        response: Response,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        self.0.write_response(name, io, response).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{RawBlock, ResponseError};
    use crate::net::bandwidth::BandwidthMeter;
    use crate::net::transport;
    use futures::StreamExt;
    use libp2p::identity::Keypair;
    use libp2p::request_response::{Event, Message};
    use libp2p::swarm::{self, Swarm, SwarmEvent};
    use std::time::Duration;

    const GENESIS: block::Hash = block::Hash::from_bytes([7; 32]);
    /// Responses in each direction, each of the maximum size: more than 100 MB in all.
    const RESPONSES: u32 = 26;
    /// Concurrent requests in each direction.
    const CONCURRENT: u32 = 8;

    /// A node that only exchanges requests, and the address on which it listens.
    async fn node() -> (Swarm<RequestResponse>, Multiaddr) {
        let key = Keypair::generate_ed25519();
        let (own_key, _) = tokio::sync::mpsc::channel(1);
        let meter = BandwidthMeter::default();
        let config =
            transport::Config { key: &key, genesis: GENESIS, network_key: None, meter, own_key };
        let transport = transport::build(config).unwrap().transport;
        let config = swarm::Config::with_tokio_executor()
            .with_idle_connection_timeout(Duration::from_secs(60));
        let id = key.public().to_peer_id();
        let mut swarm = Swarm::new(transport, RequestResponse::new(GENESIS), id, config);
        swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
        loop {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                return (swarm, address);
            }
        }
    }

    /// Connects the first node to the second.
    async fn connect(
        first: &mut Swarm<RequestResponse>,
        (second, address): &mut (Swarm<RequestResponse>, Multiaddr),
    ) {
        first.dial(address.clone()).unwrap();
        let (mut dialed, mut accepted) = (false, false);
        while !dialed || !accepted {
            tokio::select! {
                event = first.select_next_some() => {
                    dialed |= matches!(event, SwarmEvent::ConnectionEstablished { .. });
                }
                event = second.select_next_some() => {
                    accepted |= matches!(event, SwarmEvent::ConnectionEstablished { .. });
                }
            }
        }
    }

    /// Requests and serves blocks until all responses are received and sent.
    async fn exchange_blocks(
        mut swarm: Swarm<RequestResponse>,
        other: PeerId,
        block: RawBlock,
    ) -> Swarm<RequestResponse> {
        let (mut requested, mut received, mut sent) = (0, 0, 0);
        while received < RESPONSES || sent < RESPONSES {
            while requested < RESPONSES.min(received + CONCURRENT) {
                let request = Request::Blocks { hashes: vec![GENESIS] };
                swarm.behaviour_mut().send_request(&other, request);
                requested += 1;
            }
            let SwarmEvent::Behaviour((protocol, event)) = swarm.select_next_some().await else {
                continue;
            };
            assert_eq!(protocol, Protocol::Blocks);
            match event {
                Event::Message { message: Message::Request { channel, .. }, .. } => {
                    let response = Response::Blocks(vec![Some(block.clone())]);
                    assert!(swarm.behaviour_mut().send_response(protocol, channel, response));
                }
                Event::Message { message: Message::Response { response, .. }, .. } => {
                    assert_eq!(response, Response::Blocks(vec![Some(block.clone())]));
                    received += 1;
                }
                Event::ResponseSent { .. } => sent += 1,
                failure => panic!("{failure:?}"),
            }
        }
        swarm
    }

    // N27
    #[tokio::test(flavor = "multi_thread")]
    async fn nodes_that_exchange_a_hundred_megabytes_at_once_do_not_deadlock() {
        let ((mut one, _), mut two) = (node().await, node().await);
        connect(&mut one, &mut two).await;
        let (first, second) = (*one.local_peer_id(), *two.0.local_peer_id());
        let most = Protocol::Blocks.limits().response_bytes;
        let block = RawBlock::from(vec![0x5a; most - 16]);
        let both = async {
            tokio::join!(
                exchange_blocks(one, second, block.clone()),
                exchange_blocks(two.0, first, block)
            )
        };
        let done = tokio::time::timeout(Duration::from_secs(120), both).await;
        assert!(done.is_ok(), "neither node makes progress");
    }

    #[tokio::test]
    async fn every_protocol_carries_requests_and_responses() {
        let ((mut one, _), mut two) = (node().await, node().await);
        connect(&mut one, &mut two).await;
        let other = *two.0.local_peer_id();
        let requests = [
            Request::Headers { locator: vec![GENESIS], stop: GENESIS, max: 1 },
            Request::Blocks { hashes: vec![GENESIS] },
            Request::BlockTransactions { block: GENESIS, positions: vec![0] },
            Request::MempoolIds { from: 0 },
            Request::Addresses { max: 1 },
        ];
        for request in requests {
            let (sent, _) = one.behaviour_mut().send_request(&other, request.clone());
            let error = Response::Error(ResponseError::NotFound);
            loop {
                tokio::select! {
                    event = one.select_next_some() => {
                        if let SwarmEvent::Behaviour((protocol, event)) = event {
                            let Event::Message { message, .. } = event else { panic!("{event:?}") };
                            let Message::Response { response, .. } = message else { panic!() };
                            assert_eq!((protocol, response), (sent, error));
                            break;
                        }
                    }
                    event = two.0.select_next_some() => {
                        if let SwarmEvent::Behaviour((protocol, Event::Message { message, .. })) = event
                            && let Message::Request { request: received, channel, .. } = message
                        {
                            assert_eq!((protocol, received), (sent, Ok(request.clone())));
                            let behaviour = two.0.behaviour_mut();
                            assert!(behaviour.send_response(protocol, channel, error.clone()));
                        }
                    }
                }
            }
        }
    }
}
