//! libp2p as p2p/PROTOCOL.md describes it: TCP, Noise with the genesis hash as prologue, yamux, gossipsub,
//! identify, ping, and one request-response protocol for each name.

use super::encoding::{Hash, prefix};
use super::tcp::TcpFrom;
use futures_util::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::core::Transport as _;
use libp2p::core::upgrade::Version;
use libp2p::gossipsub::{self, IdentTopic, MessageAuthenticity, MessageId, ValidationMode};
use libp2p::identity::Keypair;
use libp2p::request_response::{self, ProtocolSupport};
use libp2p::swarm::NetworkBehaviour;
use libp2p::{
    StreamProtocol, Swarm, SwarmBuilder, identify, noise, ping, swarm::behaviour::toggle::Toggle,
    yamux,
};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

/// The most bytes of a frame that this client reads.
const MAX_FRAME: usize = 4 << 20;

/// Frames: a u32 length and that many bytes.
#[derive(Clone, Copy, Default)]
pub struct Frames;

impl request_response::Codec for Frames {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Vec<u8>;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        read(io).await
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        read(io).await
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
        write(io, &bytes).await
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
        write(io, &bytes).await
    }
}

async fn read<T: AsyncRead + Unpin>(io: &mut T) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    io.read_exact(&mut length).await?;
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_FRAME {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; length];
    io.read_exact(&mut bytes).await?;
    Ok(bytes)
}

async fn write<T: AsyncWrite + Unpin>(io: &mut T, bytes: &[u8]) -> io::Result<()> {
    io.write_all(&u32::try_from(bytes.len()).unwrap().to_le_bytes()).await?;
    io.write_all(bytes).await?;
    io.flush().await
}

pub type Exchange = request_response::Behaviour<Frames>;

#[derive(NetworkBehaviour)]
pub struct Behaviour {
    pub hello: Exchange,
    pub headers: Exchange,
    pub blocks: Exchange,
    pub blocktxn: Exchange,
    pub mempool: Exchange,
    pub addr: Exchange,
    pub gossip: gossipsub::Behaviour,
    pub identify: identify::Behaviour,
    pub ping: Toggle<ping::Behaviour>,
}

pub fn blocks_topic(genesis: &Hash) -> IdentTopic {
    IdentTopic::new(format!("{}blocks/1", prefix(genesis)))
}

pub fn transfers_topic(genesis: &Hash) -> IdentTopic {
    IdentTopic::new(format!("{}txs/1", prefix(genesis)))
}

/// A swarm that does not listen yet. It dials from `source`, or from an address that the system
/// chooses.
pub fn build(genesis: Hash, agent: &str, source: Option<IpAddr>) -> Swarm<Behaviour> {
    let transport = |key: &Keypair| {
        let noise = noise::Config::new(key).unwrap().with_prologue(genesis.into());
        let tcp = TcpFrom::new(source).upgrade(Version::V1Lazy);
        tcp.authenticate(noise).multiplex(yamux::Config::default())
    };
    SwarmBuilder::with_existing_identity(Keypair::generate_ed25519())
        .with_tokio()
        .with_other_transport(transport)
        .unwrap()
        .with_behaviour(|key| behaviour(&genesis, agent, key))
        .unwrap()
        .with_swarm_config(|it| it.with_idle_connection_timeout(Duration::from_secs(3_600)))
        .build()
}

fn behaviour(genesis: &Hash, agent: &str, key: &Keypair) -> Behaviour {
    let prefix = prefix(genesis);
    let exchange = |name: &str| {
        let name = StreamProtocol::try_from_owned(format!("{prefix}{name}")).unwrap();
        let config = request_response::Config::default()
            .with_request_timeout(Duration::from_secs(30))
            .with_max_concurrent_streams(16);
        Exchange::with_codec(Frames, [(name, ProtocolSupport::Full)], config)
    };
    let identify = identify::Config::new(format!("{prefix}1"), key.public())
        .with_agent_version(agent.to_owned());
    Behaviour {
        hello: exchange("hello/1"),
        headers: exchange("headers/1"),
        blocks: exchange("blocks/1"),
        blocktxn: exchange("blocktxn/1"),
        mempool: exchange("mempool/1"),
        addr: exchange("addr/1"),
        gossip: gossip(genesis),
        identify: identify::Behaviour::new(identify),
        ping: Some(ping::Behaviour::default()).into(),
    }
}

fn gossip(genesis: &Hash) -> gossipsub::Behaviour {
    let id = |message: &gossipsub::Message| {
        let bytes = [message.topic.as_str().as_bytes(), &message.data].concat();
        MessageId::new(&blake3::hash(&bytes).as_bytes()[..20])
    };
    let config = gossipsub::ConfigBuilder::default()
        .validation_mode(ValidationMode::Anonymous)
        .validate_messages()
        .message_id_fn(id)
        .max_transmit_size(1 << 20)
        .build()
        .unwrap();
    let mut gossip = gossipsub::Behaviour::new(MessageAuthenticity::Anonymous, config).unwrap();
    gossip.subscribe(&blocks_topic(genesis)).unwrap();
    gossip.subscribe(&transfers_topic(genesis)).unwrap();
    gossip
}
