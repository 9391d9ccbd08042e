//! How bytes get to another node: TCP with names resolved, encrypted and authenticated by noise,
//! streams by yamux. Nodes of another network cannot even finish the handshake: the genesis hash is
//! part of it.

use crate::net::bandwidth::{BandwidthMeter, Metered};
use chain::block;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::Boxed;
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId, Transport, dns, noise, tcp, yamux};
use std::time::Duration;

/// Resolving, connecting and the handshake together take at most this long: whoever opens a
/// connection and says nothing holds its place no longer.
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(10);
/// Streams of one connection, both ways together.
const MAX_STREAMS: usize = 128;

/// The transport for a network.
///
/// # Errors
/// If the system gives no randomness for the handshake's keys.
pub(crate) fn build(
    key: &Keypair,
    genesis: block::Hash,
    counters: BandwidthMeter,
) -> Result<Boxed<(PeerId, StreamMuxerBox)>, noise::Error> {
    let noise = noise::Config::new(key)?.with_prologue(genesis.as_bytes().to_vec());
    let mut yamux = yamux::Config::default();
    yamux.set_max_num_streams(MAX_STREAMS);
    let transport = resolving(|| tcp::tokio::Transport::new(tcp::Config::new().nodelay(true)))
        .upgrade(Version::V1Lazy)
        .authenticate(noise)
        .multiplex(yamux)
        .timeout(HANDSHAKE)
        .map(move |(peer, muxer), _| {
            let counted = Metered::new(muxer, counters.of(peer));
            (peer, StreamMuxerBox::new(counted))
        });
    Ok(transport.boxed())
}

/// Resolves names as the system does; where it has no settings for that, names cannot be called.
fn resolving<T>(inner: impl Fn() -> T) -> dns::tokio::Transport<T> {
    dns::tokio::Transport::system(inner()).unwrap_or_else(|error| {
        tracing::warn!(%error, "names of nodes cannot be resolved, addresses with an IP can");
        let options = dns::ResolverOpts::default();
        dns::tokio::Transport::custom(inner(), dns::ResolverConfig::default(), options)
    })
}

/// Whether this node can call an address: `/ip4|ip6|dns|dns4|dns6/HOST/tcp/PORT`, a node's id or not.
pub(crate) fn can_call(address: &Multiaddr) -> bool {
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

/// Whether this node can listen there: `/ip4|ip6/HOST/tcp/PORT`, port 0 for any.
pub(crate) fn can_listen(address: &Multiaddr) -> bool {
    let parts: Vec<Protocol> = address.iter().collect();
    matches!(parts.as_slice(), [Protocol::Ip4(_) | Protocol::Ip6(_), Protocol::Tcp(_)])
}

/// The address without a node's id at its end, and the id.
pub(crate) fn split_id(address: &Multiaddr) -> (Multiaddr, Option<PeerId>) {
    let mut place = address.clone();
    match place.pop() {
        Some(Protocol::P2p(peer)) => (place, Some(peer)),
        _ => (address.clone(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_addresses_it_can_call_and_listen_on() {
        let id = PeerId::random();
        for (address, calls, listens) in [
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
            assert_eq!((can_call(&address), can_listen(&address)), (calls, listens), "{address}");
        }
    }

    #[test]
    fn takes_the_id_off_an_address() {
        let id = PeerId::random();
        let place: Multiaddr = "/ip4/1.2.3.4/tcp/9000".parse().unwrap();
        let whole = place.clone().with(Protocol::P2p(id));
        assert_eq!(split_id(&whole), (place.clone(), Some(id)));
        assert_eq!(split_id(&place), (place, None));
    }
}
