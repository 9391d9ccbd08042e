//! Too much of everything, from those who never said who they are and from those who did.

use crate::stranger::{Stranger, framed};
use crate::world::{Node, SOON};
use chain::Params;
use p2p::Multiaddr;
use p2p::message::{Protocol, Request};
use p2p::multiaddr::Protocol as Part;
use p2p::wire;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn socket(address: &Multiaddr) -> TcpStream {
    let ports = address.iter().find_map(|part| match part {
        Part::Tcp(port) => Some(port),
        _ => None,
    });
    TcpStream::connect(("127.0.0.1", ports.unwrap())).await.unwrap()
}

/// The versions of a crate that the binary is built from.
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
async fn a_big_message_before_the_handshake_ends_the_connection() {
    let (node, friend) = (Node::start().await, Node::start().await);
    friend.connect(&node).await.unwrap();
    let mut stream = socket(&node.address()).await;
    stream.write_all(b"\x13/multistream/1.0.0\n\x07/noise\n").await.unwrap();
    let frame = [&[0xff; 2][..], &[0x55; 0xffff]].concat();
    let (mut reading, mut writing) = stream.split();
    let send = async {
        // Ends with an error as soon as the node has closed.
        for _ in 0..1_000 {
            if writing.write_all(&frame).await.is_err() {
                return;
            }
        }
        panic!("65 MB were taken from somebody without a handshake");
    };
    let receive = async {
        let mut answer = [0; 1_024];
        while reading.read(&mut answer).await.is_ok_and(|read| read > 0) {}
    };
    let both = async { tokio::join!(send, receive) };
    tokio::time::timeout(SOON, both).await.expect("the connection is ended");
    assert!(node.knows(&friend).await);
}

// N06
#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_streams_at_once_do_not_keep_a_node_from_its_friends() {
    let (node, friend) = (Node::start().await, Node::start().await);
    friend.connect(&node).await.unwrap();
    let mut stranger = Stranger::new(Params::dev(), Protocol::Hello);
    stranger.befriend(&node).await;
    let hello = framed(&wire::encode_request(&Request::Hello(stranger.status())));
    for _ in 0..500 {
        stranger.begin(&node, hello.clone());
    }
    friend.chain.generate(1, 1).await;
    stranger.during(node.follows(&friend)).await;
    assert!(node.knows(&friend).await);
}

// N06, N07: faults of the libraries themselves, known and mended in these versions:
// CVE-2026-32314 of yamux, GHSA-vrx6, -g3g5, -gc42 and -xqmp of gossipsub.
#[test]
fn libraries_with_known_faults_are_not_built_in() {
    for (name, least) in [("yamux", (0, 13, 10)), ("libp2p-gossipsub", (0, 50, 1))] {
        let found = versions(name);
        assert!(!found.is_empty() && found.iter().all(|version| *version >= least), "{found:?}");
    }
}

// N07
#[tokio::test(flavor = "multi_thread")]
async fn topics_that_nobody_knows_are_not_kept_and_announcements_go_on() {
    let (node, friend) = (Node::start().await, Node::start().await);
    friend.connect(&node).await.unwrap();
    let mut stranger = Stranger::new(Params::dev(), Protocol::Hello);
    stranger.befriend(&node).await;
    for number in 0..10_000 {
        stranger.subscribe(&format!("/topic/{number}"));
    }
    for _ in 0..3 {
        friend.chain.generate(1, 1).await;
        stranger.during(node.follows(&friend)).await;
    }
    assert!(node.knows(&friend).await);
    assert!(friend.knows(&node).await);
}
