//! The transport: DNS and TCP, encrypted and authenticated by Noise, multiplexed by yamux. The
//! genesis hash is the prologue of the Noise handshake, so the handshake with a node of another
//! network fails.

use crate::net::bandwidth::{BandwidthMeter, Metered};
use chain::block;
use libp2p::core::ConnectedPoint;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::Boxed;
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId, Transport, dns, noise, tcp, yamux};
use std::time::Duration;
use tokio::sync::mpsc;

/// Time-out for name resolution, TCP connection and encryption handshake together, and then for the
/// hello message.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum number of streams of one connection, inbound and outbound together.
const MAX_STREAMS: usize = 128;

/// Builds the transport for a network. Reports the ends of connections with a node that has this
/// node's key to `own_key`, because errors of the swarm do not name all of them.
///
/// # Errors
/// The system provides no randomness for the keys of the handshake.
pub(crate) fn build(
    key: &Keypair,
    genesis: block::Hash,
    meter: BandwidthMeter,
    own_key: mpsc::Sender<ConnectedPoint>,
) -> Result<Boxed<(PeerId, StreamMuxerBox)>, noise::Error> {
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
    let transport = with_dns(|| tcp::tokio::Transport::new(tcp::Config::new().nodelay(true)))
        .upgrade(Version::V1Lazy)
        .authenticate(noise)
        .multiplex_ext(multiplex)
        .timeout(HANDSHAKE_TIMEOUT)
        .map(move |(peer, muxer), _| {
            (peer, StreamMuxerBox::new(Metered::new(muxer, meter.peer(peer))))
        });
    Ok(transport.boxed())
}

/// Resolves names with the system's configuration. Without one, only IP addresses can be dialed.
fn with_dns<T>(inner: impl Fn() -> T) -> dns::tokio::Transport<T> {
    dns::tokio::Transport::system(inner()).unwrap_or_else(|error| {
        tracing::warn!(%error, "no DNS configuration: only IP addresses can be dialed");
        let options = dns::ResolverOpts::default();
        dns::tokio::Transport::custom(inner(), dns::ResolverConfig::default(), options)
    })
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
