//! Denial-of-service attacks, before and after the handshake.

use crate::stranger::{Stranger, framed};
use crate::world::{Node, TIMEOUT};
use chain::Params;
use p2p::Multiaddr;
use p2p::message::{Protocol, Request};
use p2p::multiaddr::Protocol as Part;
use p2p::wire;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn dial(address: &Multiaddr) -> TcpStream {
    let port = address.iter().find_map(|part| match part {
        Part::Tcp(port) => Some(port),
        _ => None,
    });
    TcpStream::connect(("127.0.0.1", port.unwrap())).await.unwrap()
}

/// The versions of a crate in Cargo.lock.
fn versions(name: &str) -> Vec<(u32, u32, u32)> {
    let lock = include_str!("../../../Cargo.lock");
    let entry = format!("name = \"{name}\"\nversion = \"");
    let found = lock.split(entry.as_str()).skip(1).map(|rest| {
        let version = rest.split('"').next().unwrap();
        let parts: Vec<u32> = version.split('.').map(|part| part.parse().unwrap()).collect();
        (parts[0], parts[1], parts[2])
    });
    found.collect()
}

// N04
#[tokio::test(flavor = "multi_thread")]
async fn large_message_before_the_handshake_closes_the_connection() {
    let (node, peer) = (Node::start().await, Node::start().await);
    peer.connect(&node).await.unwrap();
    let mut stream = dial(&node.address()).await;
    stream.write_all(b"\x13/multistream/1.0.0\n\x07/noise\n").await.unwrap();
    let frame = [&[0xff; 2][..], &[0x55; 0xffff]].concat();
    let (mut reading, mut writing) = stream.split();
    let send = async {
        // Fails once the node has closed the connection.
        for _ in 0..1_000 {
            if writing.write_all(&frame).await.is_err() {
                return;
            }
        }
        panic!("the node read 65 MB before the handshake");
    };
    let receive = async {
        let mut buffer = [0; 1_024];
        while reading.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
    };
    let both = async { tokio::join!(send, receive) };
    tokio::time::timeout(TIMEOUT, both).await.expect("the connection is closed");
    assert!(node.has_peer(&peer).await);
}

// N06
#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_concurrent_streams_do_not_block_other_peers() {
    let (node, peer) = (Node::start().await, Node::start().await);
    peer.connect(&node).await.unwrap();
    let mut stranger = Stranger::new(Params::dev(), Protocol::Hello);
    stranger.handshake(&node).await;
    let hello = framed(&wire::encode_request(&Request::Hello(stranger.status())));
    for _ in 0..500 {
        stranger.send(&node, hello.clone());
    }
    peer.chain.generate(1, 1).await;
    stranger.during(node.wait_for_tip_of(&peer)).await;
    assert!(node.has_peer(&peer).await);
}

// N06, N07: vulnerabilities of the libraries, fixed in these versions:
// CVE-2026-32314 of yamux, GHSA-vrx6, -g3g5, -gc42 and -xqmp of gossipsub.
#[test]
fn libraries_have_fixes_for_known_vulnerabilities() {
    for (name, fixed) in [("yamux", (0, 13, 10)), ("libp2p-gossipsub", (0, 50, 1))] {
        let found = versions(name);
        assert!(!found.is_empty() && found.iter().all(|version| *version >= fixed), "{found:?}");
    }
}

// N07
#[tokio::test(flavor = "multi_thread")]
async fn flood_of_unknown_topics_does_not_stop_announcements() {
    let (node, peer) = (Node::start().await, Node::start().await);
    peer.connect(&node).await.unwrap();
    let mut stranger = Stranger::new(Params::dev(), Protocol::Hello);
    stranger.handshake(&node).await;
    for number in 0..10_000 {
        stranger.subscribe(&format!("/topic/{number}"));
    }
    for _ in 0..3 {
        peer.chain.generate(1, 1).await;
        stranger.during(node.wait_for_tip_of(&peer)).await;
    }
    assert!(node.has_peer(&peer).await);
    assert!(peer.has_peer(&node).await);
}
