//! Requests and replies: one protocol each, because the name of the only one goes out together with
//! the request and saves a round trip.

use crate::message::{Protocol, Request, Response};
use crate::wire::{self, Codec};
use chain::block;
use futures::{AsyncRead, AsyncWrite};
use libp2p::StreamProtocol;
use libp2p::request_response::{self, ProtocolSupport};
use std::io;

/// One protocol.
pub(crate) type Exchange = request_response::Behaviour<LenientCodec>;
/// What comes of it.
pub(crate) type ExchangeEvent = request_response::Event<DecodedRequest, Response>;
/// A request as it was heard.
pub(crate) type DecodedRequest = Result<Request, MalformedRequest>;

/// It could not be decoded, or is above its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MalformedRequest;

/// A codec that tells of requests it could not decode. Of its errors the behaviour only writes a line
/// in the log, and whoever sends nonsense would have it for free.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LenientCodec(Codec);

/// The behaviour for a protocol of a network.
pub(super) fn build(genesis: block::Hash, protocol: Protocol) -> Exchange {
    let limits = protocol.limits();
    let config = request_response::Config::default()
        .with_request_timeout(limits.timeout)
        .with_max_concurrent_streams(limits.streams);
    let name = wire::protocol_name(genesis, protocol);
    Exchange::with_codec(LenientCodec(Codec { protocol }), [(name, ProtocolSupport::Full)], config)
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
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(Err(MalformedRequest)),
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
        let request = request.map_err(|MalformedRequest| io::ErrorKind::InvalidInput)?;
        self.0.write_request(name, io, request).await
    }

    async fn write_response<T>(
        &mut self,
        name: &StreamProtocol,
        io: &mut T,
        reply: Response,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        self.0.write_response(name, io, reply).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::RawBlock;
    use crate::net::bandwidth::BandwidthMeter;
    use crate::net::transport;
    use futures::StreamExt;
    use libp2p::identity::Keypair;
    use libp2p::request_response::{Event, Message};
    use libp2p::swarm::{self, Swarm, SwarmEvent};
    use libp2p::{Multiaddr, PeerId};
    use std::time::Duration;

    const GENESIS: block::Hash = block::Hash::from_bytes([7; 32]);
    /// Replies each way, as long as they may be: more than 100 MB.
    const REPLIES: u32 = 26;
    /// Requests each way at a time.
    const AT_ONCE: u32 = 8;

    /// A node that only asks for blocks and has one; where it listens.
    async fn trader() -> (Swarm<Exchange>, Multiaddr) {
        let key = Keypair::generate_ed25519();
        let transport = transport::build(&key, GENESIS, BandwidthMeter::default()).unwrap();
        let config = swarm::Config::with_tokio_executor()
            .with_idle_connection_timeout(Duration::from_secs(60));
        let id = key.public().to_peer_id();
        let mut swarm = Swarm::new(transport, build(GENESIS, Protocol::Blocks), id, config);
        swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
        loop {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                return (swarm, address);
            }
        }
    }

    /// Asks and answers until all replies have come and gone.
    async fn trade(mut swarm: Swarm<Exchange>, other: PeerId, block: RawBlock) -> Swarm<Exchange> {
        let ask = |swarm: &mut Swarm<Exchange>| {
            let request = Request::Blocks { hashes: vec![GENESIS] };
            swarm.behaviour_mut().send_request(&other, Ok(request));
        };
        let (mut asked, mut came, mut gone) = (0, 0, 0);
        while came < REPLIES || gone < REPLIES {
            while asked < REPLIES.min(came + AT_ONCE) {
                ask(&mut swarm);
                asked += 1;
            }
            let SwarmEvent::Behaviour(event) = swarm.select_next_some().await else { continue };
            match event {
                Event::Message { message: Message::Request { channel, .. }, .. } => {
                    let reply = Response::Blocks(vec![Some(block.clone())]);
                    swarm.behaviour_mut().send_response(channel, reply).unwrap();
                }
                Event::Message { message: Message::Response { response, .. }, .. } => {
                    assert_eq!(response, Response::Blocks(vec![Some(block.clone())]));
                    came += 1;
                }
                Event::ResponseSent { .. } => gone += 1,
                failure => panic!("{failure:?}"),
            }
        }
        swarm
    }

    // N27
    #[tokio::test(flavor = "multi_thread")]
    async fn two_nodes_that_send_each_other_a_hundred_megabytes_at_once_do_not_lock_up() {
        let ((mut one, _), (mut two, address)) = (trader().await, trader().await);
        let (first, second) = (*one.local_peer_id(), *two.local_peer_id());
        one.dial(address).unwrap();
        let (mut knows, mut is_known) = (false, false);
        while !knows || !is_known {
            tokio::select! {
                event = one.select_next_some() => {
                    knows |= matches!(event, SwarmEvent::ConnectionEstablished { .. });
                }
                event = two.select_next_some() => {
                    is_known |= matches!(event, SwarmEvent::ConnectionEstablished { .. });
                }
            }
        }
        let most = Protocol::Blocks.limits().response_bytes;
        let block = RawBlock::from(vec![0x5a; most - 16]);
        let both = async {
            let traded = (trade(one, second, block.clone()), trade(two, first, block));
            tokio::join!(traded.0, traded.1)
        };
        let done = tokio::time::timeout(Duration::from_secs(120), both).await;
        assert!(done.is_ok(), "both still wait");
    }
}
