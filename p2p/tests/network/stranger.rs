//! A node under the control of a test: it uses the same libp2p protocols but sends arbitrary bytes.

use crate::world::{Node, TIMEOUT};
use chain::Params;
use chain::pow::Work;
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, StreamExt};
use libp2p::gossipsub::{self, IdentTopic, MessageAuthenticity, ValidationMode};
use libp2p::identity::Keypair;
use libp2p::request_response::{self, Message, OutboundFailure, ProtocolSupport};
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder, noise, tcp, yamux};
use p2p::message::{Capabilities, Protocol, Request, Response, Status};
use p2p::wire::{self, Topic};
use std::io;
use std::time::Duration;

/// A codec that sends and receives raw bytes, length prefix included.
#[derive(Clone, Copy, Default)]
pub(crate) struct AnyBytes;

impl request_response::Codec for AnyBytes {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Vec<u8>;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        let mut length = [0; 4];
        io.read_exact(&mut length).await?;
        let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
        io.read_exact(&mut bytes).await?;
        Ok(bytes)
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        let mut bytes = Vec::new();
        io.read_to_end(&mut bytes).await?;
        Ok(bytes)
    }

    async fn write_request<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        bytes: Vec<u8>,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        io.write_all(&bytes).await
    }

    async fn write_response<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        bytes: Vec<u8>,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        io.write_all(&bytes).await
    }
}

/// The bytes with their length prefix.
pub(crate) fn framed(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap();
    [&length.to_le_bytes(), bytes].concat()
}

#[derive(NetworkBehaviour)]
struct Behaviour {
    exchange: request_response::Behaviour<AnyBytes>,
    gossip: gossipsub::Behaviour,
}

/// A controlled node. It makes progress only while one of its methods runs.
pub(crate) struct Stranger {
    swarm: Swarm<Behaviour>,
    protocol: Protocol,
    params: Params,
}

impl Stranger {
    /// A node that supports one request-response protocol, and gossip.
    pub(crate) fn new(params: Params, protocol: Protocol) -> Stranger {
        let genesis = params.genesis_hash();
        let swarm = SwarmBuilder::with_existing_identity(Keypair::generate_ed25519())
            .with_tokio()
            .with_tcp(
                tcp::Config::new(),
                |key: &Keypair| {
                    noise::Config::new(key)
                        .map(|noise| noise.with_prologue(genesis.as_bytes().to_vec()))
                },
                yamux::Config::default,
            )
            .unwrap()
            .with_behaviour(|_| {
                let name = wire::protocol_name(genesis, protocol);
                let names = [(name, ProtocolSupport::Full)];
                let config = gossipsub::ConfigBuilder::default()
                    .validation_mode(ValidationMode::Anonymous)
                    .max_transmit_size(1 << 20)
                    .build()
                    .unwrap();
                let mut gossip =
                    gossipsub::Behaviour::new(MessageAuthenticity::Anonymous, config).unwrap();
                for topic in Topic::ALL {
                    gossip.subscribe(&IdentTopic::new(topic.name(genesis))).unwrap();
                }
                let exchange = request_response::Config::default();
                let exchange = request_response::Behaviour::new(names, exchange);
                Behaviour { exchange, gossip }
            })
            .unwrap()
            .with_swarm_config(|config| {
                config.with_idle_connection_timeout(Duration::from_secs(600))
            })
            .build();
        Stranger { swarm, protocol, params }
    }

    pub(crate) fn id(&self) -> PeerId {
        *self.swarm.local_peer_id()
    }

    /// The status of a node at genesis.
    pub(crate) fn status(&self) -> Status {
        let genesis = self.params.genesis_hash();
        Status {
            capabilities: Capabilities::LOCAL,
            genesis,
            tip: genesis,
            height: chain::Height::new(0),
            chain_work: Work::default(),
            relay: true,
            clock: u64::from(crate::world::now().get()),
            nonce: 12_345,
        }
    }

    /// Listens on a free port of the loopback interface, and returns the address.
    pub(crate) async fn listen(&mut self) -> Multiaddr {
        self.swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
        self.until("an address", |event| match event {
            SwarmEvent::NewListenAddr { address, .. } => Some(address),
            _ => None,
        })
        .await
    }

    /// Waits for a request and responds with bytes.
    pub(crate) async fn respond(&mut self, bytes: Vec<u8>) {
        let is_request = |event| match event {
            SwarmEvent::Behaviour(BehaviourEvent::Exchange(request_response::Event::Message {
                message: Message::Request { channel, .. },
                ..
            })) => Some(channel),
            _ => None,
        };
        let channel = self.until("a request", is_request).await;
        self.swarm.behaviour_mut().exchange.send_response(channel, bytes).unwrap();
    }

    /// Connects to a node and waits for its subscriptions to both topics.
    pub(crate) async fn connect(&mut self, node: &Node) {
        self.swarm.dial(node.address()).unwrap();
        let mut subscribed = 0;
        self.until("connected", |event| {
            let is_one = matches!(
                event,
                SwarmEvent::Behaviour(BehaviourEvent::Gossip(gossipsub::Event::Subscribed { .. }))
            );
            subscribed += u32::from(is_one);
            (subscribed == 2).then_some(())
        })
        .await;
    }

    /// Connects and completes the handshake, as an honest node does.
    pub(crate) async fn handshake(&mut self, node: &Node) {
        assert_eq!(self.protocol, Protocol::Hello);
        self.connect(node).await;
        let hello = framed(&wire::encode_request(&Request::Hello(self.status())));
        let reply = self.request(node, hello).await.unwrap();
        assert!(matches!(reply, Response::Hello(_)), "{reply:?}");
    }

    /// Tries to complete the handshake with a node that may deny the connection.
    pub(crate) async fn try_handshake(&mut self, node: &Node) -> bool {
        self.swarm.dial(node.address()).unwrap();
        let hello = framed(&wire::encode_request(&Request::Hello(self.status())));
        // The behaviour stores the request until the connection is established or fails.
        matches!(self.request(node, hello).await, Ok(Response::Hello(_)))
    }

    /// Sends bytes as a request and reads the response.
    pub(crate) async fn request(
        &mut self,
        node: &Node,
        bytes: Vec<u8>,
    ) -> Result<Response, OutboundFailure> {
        let sent = self.swarm.behaviour_mut().exchange.send_request(&node.id(), bytes);
        let protocol = self.protocol;
        self.until("a response", |event| match event {
            SwarmEvent::Behaviour(BehaviourEvent::Exchange(event)) => match event {
                request_response::Event::Message {
                    message: Message::Response { request_id, response },
                    ..
                } if request_id == sent => {
                    let reply =
                        response.get(4..).map(|bytes| wire::decode_response(protocol, bytes));
                    Some(match reply {
                        Some(reply) => Ok(reply.unwrap()),
                        None => Err(OutboundFailure::ConnectionClosed),
                    })
                }
                request_response::Event::OutboundFailure { request_id, error, .. }
                    if request_id == sent =>
                {
                    Some(Err(error))
                }
                _ => None,
            },
            _ => None,
        })
        .await
    }

    /// Sends bytes as a request without waiting for the response.
    pub(crate) fn send(&mut self, node: &Node, bytes: Vec<u8>) {
        self.swarm.behaviour_mut().exchange.send_request(&node.id(), bytes);
    }

    /// Subscribes to a topic.
    pub(crate) fn subscribe(&mut self, topic: &str) {
        self.swarm.behaviour_mut().gossip.subscribe(&IdentTopic::new(topic)).unwrap();
    }

    /// Publishes raw bytes.
    pub(crate) fn publish(&mut self, topic: Topic, bytes: Vec<u8>) {
        let topic = IdentTopic::new(topic.name(self.params.genesis_hash()));
        self.swarm.behaviour_mut().gossip.publish(topic, bytes).unwrap();
    }

    /// Waits until the node closes the connection.
    pub(crate) async fn disconnected(&mut self) {
        self.until("the connection is closed", |event| {
            matches!(event, SwarmEvent::ConnectionClosed { num_established: 0, .. }).then_some(())
        })
        .await;
    }

    /// Runs until a future completes.
    pub(crate) async fn during<T>(&mut self, other: impl Future<Output = T>) -> T {
        tokio::pin!(other);
        loop {
            tokio::select! {
                done = &mut other => return done,
                _ = self.swarm.select_next_some() => {}
            }
        }
    }

    async fn until<T>(
        &mut self,
        what: &str,
        mut found: impl FnMut(SwarmEvent<BehaviourEvent>) -> Option<T>,
    ) -> T {
        let search = async {
            loop {
                if let Some(value) = found(self.swarm.select_next_some().await) {
                    return value;
                }
            }
        };
        tokio::time::timeout(TIMEOUT, search).await.unwrap_or_else(|_| panic!("timed out: {what}"))
    }
}
