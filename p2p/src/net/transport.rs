//! The transport: TCP, encrypted and authenticated by Noise, multiplexed by yamux. The genesis hash
//! is the prologue of the Noise handshake, so the handshake with a node of another network fails. In
//! a private network, the network's key encrypts everything from the first byte on.

use crate::net::bandwidth::{BandwidthMeter, Metered};
use crate::net::dns::{Dns, Resolved};
use crate::net::handshakes::{AbortableHandshakes, PendingHandshakes, await_first_byte};
use crate::network_key::NetworkKey;
use chain::block;
use futures::future::Either;
use futures::{AsyncRead, AsyncWrite};
use libp2p::core::ConnectedPoint;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::Boxed;
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::pnet::PnetConfig;
use libp2p::{Multiaddr, PeerId, Transport, noise, tcp, yamux};
use std::time::Duration;
use tokio::sync::mpsc;

/// Time-out for TCP connection and encryption handshake together, and then for the hello message.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum number of streams of one connection, inbound and outbound together.
const MAX_STREAMS: usize = 128;
/// The length of the queue of connections that are not accepted yet, as far as the system permits.
const BACKLOG: u32 = 4_096;
/// The capacity of the queue of resolved names: more than are dialed at once.
const RESOLVED: usize = 64;

/// An encrypted connection with a peer.
type Connection = (PeerId, StreamMuxerBox);

/// The configuration of the transport.
pub(crate) struct Config<'a> {
    pub(crate) key: &'a Keypair,
    pub(crate) genesis: block::Hash,
    /// The key of a private network.
    pub(crate) network_key: Option<NetworkKey>,
    pub(crate) meter: BandwidthMeter,
    /// Receives the ends of connections with a node that has this node's key, because errors of the
    /// swarm do not name all of them.
    pub(crate) own_key: mpsc::Sender<ConnectedPoint>,
}

/// A transport, and what it reports.
pub(crate) struct Built {
    pub(crate) transport: Boxed<Connection>,
    /// The sockets at which names were dialed.
    pub(crate) resolved: mpsc::Receiver<Resolved>,
    pub(crate) handshakes: PendingHandshakes,
}

/// Builds the transport for a network.
///
/// # Errors
/// The system provides no randomness for the keys of the handshake.
pub(crate) fn build(config: Config) -> Result<Built, noise::Error> {
    let pnet = config.network_key.map(|key| PnetConfig::new(key.pre_shared_key()));
    let tcp = tcp::tokio::Transport::new(tcp::Config::new().nodelay(true).listen_backlog(BACKLOG));
    // One type for both, so that all above is compiled once.
    let encrypt_with_key = move |stream, _: ConnectedPoint| async move {
        match pnet {
            Some(pnet) => pnet.handshake(stream).await.map(Either::Left),
            None => Ok(Either::Right(stream)),
        }
    };
    let inner = encrypt(tcp.and_then(await_first_byte).and_then(encrypt_with_key), config)?;
    let handshakes = PendingHandshakes::default();
    let inner = AbortableHandshakes { inner, pending: handshakes.clone() }.boxed();
    let (sender, resolved) = mpsc::channel(RESOLVED);
    Ok(Built { transport: Dns::new(inner, sender).boxed(), resolved, handshakes })
}

/// Adds Noise and yamux to a transport of bytes.
fn encrypt<T>(transport: T, config: Config) -> Result<Boxed<Connection>, noise::Error>
where
    T: Transport + Send + Unpin + 'static,
    T::Output: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    T::Error: Send + Sync + 'static,
    T::Dial: Send + 'static,
    T::ListenerUpgrade: Send + 'static,
{
    let Config { key, genesis, meter, own_key, .. } = config;
    let noise = noise::Config::new(key)?.with_prologue(genesis.as_bytes().to_vec());
    let mut yamux = yamux::Config::default();
    yamux.set_max_num_streams(MAX_STREAMS);
    let local = key.public().to_peer_id();
    let multiplex = move |peer: &PeerId, end: &ConnectedPoint| {
        if *peer == local {
            // Many at once are not of interest.
            let _ = own_key.try_send(end.clone());
        }
        yamux
    };
    let transport = transport
        .upgrade(Version::V1Lazy)
        .authenticate(noise)
        .multiplex_ext(multiplex)
        .timeout(HANDSHAKE_TIMEOUT)
        .map(move |(peer, muxer), _| {
            (peer, StreamMuxerBox::new(Metered::new(muxer, meter.peer(peer))))
        });
    Ok(transport.boxed())
}

/// Whether an address can be dialed: `/ip4|ip6|dns|dns4|dns6/HOST/tcp/PORT`, optionally with
/// `/p2p/ID`.
pub(crate) fn can_dial(address: &Multiaddr) -> bool {
    let parts: Vec<Protocol> = address.iter().collect();
    let host = |part: &Protocol| {
        matches!(
            part,
            Protocol::Ip4(_)
                | Protocol::Ip6(_)
                | Protocol::Dns(_)
                | Protocol::Dns4(_)
                | Protocol::Dns6(_)
        )
    };
    match parts.as_slice() {
        [first, Protocol::Tcp(port)] | [first, Protocol::Tcp(port), Protocol::P2p(_)] => {
            host(first) && *port != 0
        }
        _ => false,
    }
}

/// Whether the node can listen on an address: `/ip4|ip6/HOST/tcp/PORT`, where port 0 selects any
/// free port.
pub(crate) fn can_listen(address: &Multiaddr) -> bool {
    let parts: Vec<Protocol> = address.iter().collect();
    matches!(parts.as_slice(), [Protocol::Ip4(_) | Protocol::Ip6(_), Protocol::Tcp(_)])
}

/// Splits an address into the part without its peer id and the peer id at its end, if it has one.
pub(crate) fn split_peer_id(address: &Multiaddr) -> (Multiaddr, Option<PeerId>) {
    let mut without_id = address.clone();
    match without_id.pop() {
        Some(Protocol::P2p(peer)) => (without_id, Some(peer)),
        _ => (address.clone(), None),
    }
}

/// The address with a peer id at its end.
pub(crate) fn with_peer_id(address: &Multiaddr, id: PeerId) -> Multiaddr {
    split_peer_id(address).0.with(Protocol::P2p(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognizes_addresses_to_dial_and_to_listen_on() {
        let id = PeerId::random();
        for (address, dials, listens) in [
            ("/ip4/1.2.3.4/tcp/9000".to_owned(), true, true),
            ("/ip6/::1/tcp/9000".to_owned(), true, true),
            (format!("/ip4/1.2.3.4/tcp/9000/p2p/{id}"), true, false),
            ("/dns/example.org/tcp/9000".to_owned(), true, false),
            ("/ip4/127.0.0.1/tcp/0".to_owned(), false, true),
            ("/ip4/1.2.3.4/udp/9000/quic-v1".to_owned(), false, false),
            ("/ip4/1.2.3.4/tcp/9000/ws".to_owned(), false, false),
            ("/ip4/1.2.3.4".to_owned(), false, false),
            (format!("/p2p/{id}"), false, false),
            (format!("/ip4/1.2.3.4/tcp/9000/p2p/{id}/p2p-circuit/p2p/{id}"), false, false),
        ] {
            let address: Multiaddr = address.parse().unwrap();
            assert_eq!((can_dial(&address), can_listen(&address)), (dials, listens), "{address}");
        }
    }

    #[test]
    fn splits_and_appends_peer_ids() {
        let id = PeerId::random();
        let address: Multiaddr = "/ip4/1.2.3.4/tcp/9000".parse().unwrap();
        let with_id = with_peer_id(&address, id);
        assert_eq!(split_peer_id(&with_id), (address.clone(), Some(id)));
        assert_eq!(split_peer_id(&address), (address, None));
    }
}
