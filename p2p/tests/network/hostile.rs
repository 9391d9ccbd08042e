//! Attacks by hostile nodes. No honest node is banned in any of them.

use crate::stranger::{Stranger, framed};
use crate::world::{Node, Settings, TIMEOUT, eventually};
use chain::{Params, block};
use futures::future::join_all;
use p2p::engine::SyncState;
use p2p::message::{MAX_BLOCKS, MAX_LOCATOR, Protocol, Request, Response, ResponseError, Status};
use p2p::multiaddr::Protocol as Part;
use p2p::wire::{self, Topic};
use p2p::{Multiaddr, Subject};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn socket(address: &Multiaddr) -> SocketAddr {
    let port = address.iter().find_map(|part| match part {
        Part::Tcp(port) => Some(port),
        _ => None,
    });
    SocketAddr::from(([127, 0, 0, 1], port.unwrap()))
}

fn hello(status: Status) -> Vec<u8> {
    framed(&wire::encode_request(&Request::Hello(status)))
}

async fn is_banned(node: &Node, stranger: &Stranger) -> bool {
    let bans = node.network.bans().await;
    bans.iter().any(|ban| ban.subject == Subject::Peer(stranger.id()))
}

/// Reads until the other side closes the connection.
async fn closed(mut stream: TcpStream) {
    let reading = async { while stream.read(&mut [0; 1_024]).await.is_ok_and(|read| read > 0) {} };
    tokio::time::timeout(TIMEOUT, reading).await.expect("the connection is closed");
}

// N01
#[tokio::test(flavor = "multi_thread")]
async fn garbage_closes_only_the_connection_of_its_sender() {
    let (node, peer) = (Node::start().await, Node::start().await);
    peer.connect(&node).await.unwrap();
    let start = Instant::now();
    let mut garbage = vec![0x55; 64 << 10];
    for round in 0..50_u8 {
        garbage[..2].copy_from_slice(&[round, 0x80]);
        let mut stream = TcpStream::connect(socket(&node.address())).await.unwrap();
        // The node may close the connection before everything is sent.
        let _ = stream.write_all(&garbage).await;
        closed(stream).await;
    }
    assert!(start.elapsed() < Duration::from_secs(9), "connections were closed by a time-out");
    assert!(node.has_peer(&peer).await);
    assert_eq!(node.network.bans().await, []);
}

// N02
#[tokio::test(flavor = "multi_thread")]
async fn connections_without_handshake_are_closed_in_time() {
    let node = Node::start().await;
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(TcpStream::connect(socket(&node.address())).await.unwrap());
    }
    let mut without_hello = Stranger::new(Params::dev(), Protocol::Hello);
    without_hello.connect(&node).await;
    // Other nodes can connect in the meantime.
    let peer = Node::start().await;
    peer.connect(&node).await.unwrap();
    let start = Instant::now();
    tokio::join!(join_all(silent.into_iter().map(closed)), without_hello.disconnected());
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    assert_eq!(node.network.peer_count(), 1);
    assert_eq!(node.network.bans().await, []);
}

// N02: 64 silent connections closed the port for all others.
#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_do_not_shut_out_a_node() {
    let node = Node::start().await;
    let socket = socket(&node.address());
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(TcpStream::connect(socket).await.unwrap());
    }
    // The oldest ones have given way.
    let first = silent.remove(0);
    closed(first).await;
    let peer = Node::start().await;
    peer.connect(&node).await.unwrap();
    // The others are closed after three seconds without a byte, not after ten.
    let start = Instant::now();
    join_all(silent.into_iter().map(closed)).await;
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    assert!(node.has_peer(&peer).await);
    assert_eq!(node.network.bans().await, []);
}

// N24
#[tokio::test(flavor = "multi_thread")]
async fn disconnects_peers_of_another_network() {
    let node = Node::start().await;
    let mut stranger = Stranger::new(Params::dev(), Protocol::Hello);
    stranger.connect(&node).await;
    let status = Status { genesis: block::Hash::from_bytes([1; 32]), ..stranger.status() };
    assert!(stranger.request(&node, hello(status)).await.is_err());
    assert!(!is_banned(&node, &stranger).await);
    assert_eq!(node.network.peer_count(), 0);
}

// N25
#[tokio::test(flavor = "multi_thread")]
async fn replay_of_the_nodes_own_hello_is_rejected() {
    let node = Node::start().await;
    let mut stranger = Stranger::new(Params::dev(), Protocol::Hello);
    stranger.connect(&node).await;
    let Ok(Response::Hello(own)) = stranger.request(&node, hello(stranger.status())).await else {
        panic!("the handshake succeeds");
    };
    let mut mirror = Stranger::new(Params::dev(), Protocol::Hello);
    mirror.connect(&node).await;
    assert!(mirror.request(&node, hello(own)).await.is_err());
    // Other nodes can still connect from the same address.
    let peer = Node::start().await;
    peer.connect(&node).await.unwrap();
    assert_eq!(node.network.bans().await, []);
}

// N03
#[tokio::test(flavor = "multi_thread")]
async fn malformed_request_is_banned() {
    let node = Node::start().await;
    let peer = Node::start().await;
    peer.connect(&node).await.unwrap();
    let honest = framed(&wire::encode_request(&Request::Addresses { max: 8 }));
    for bytes in [framed(&[0xff; 200]), framed(&honest)] {
        let mut stranger = Stranger::new(Params::dev(), Protocol::Hello);
        stranger.handshake(&node).await;
        let reply = stranger.request(&node, bytes).await.unwrap();
        assert_eq!(reply, Response::Error(ResponseError::BadRequest));
        stranger.disconnected().await;
        let banned = async || is_banned(&node, &stranger).await;
        eventually("the peer is banned", banned).await;
    }
    assert!(node.has_peer(&peer).await);
    assert!(node.network.bans().await.iter().all(|ban| ban.subject != Subject::Peer(peer.id())));
}

// N03: the sender was banned at once, without a code that states the reason.
#[tokio::test(flavor = "multi_thread")]
async fn request_above_a_limit_is_refused_with_a_code_before_any_penalty_bites() {
    let node = Node::start().await;
    let blocks = Request::Blocks { hashes: vec![block::Hash::ZERO; MAX_BLOCKS + 1] };
    let headers = Request::Headers {
        locator: vec![block::Hash::ZERO; MAX_LOCATOR + 1],
        stop: block::Hash::ZERO,
        max: 1,
    };
    for (protocol, bytes) in [
        (Protocol::Blocks, framed(&wire::encode_request(&blocks))),
        (Protocol::Headers, framed(&wire::encode_request(&headers))),
        (Protocol::Headers, u32::MAX.to_le_bytes().to_vec()),
    ] {
        let mut stranger = Stranger::new(Params::dev(), protocol);
        stranger.connect(&node).await;
        let above = Response::Error(ResponseError::AboveLimit);
        assert_eq!(stranger.request(&node, bytes.clone()).await.unwrap(), above);
        assert!(!is_banned(&node, &stranger).await);
        // The second one that has a reply is penalised too, and costs the connection.
        while stranger.request(&node, bytes.clone()).await.is_err() {}
        stranger.disconnected().await;
        assert!(!is_banned(&node, &stranger).await);
    }
}

// N09
#[tokio::test(flavor = "multi_thread")]
async fn malformed_announcement_is_banned_and_not_forwarded() {
    let node = Node::start().await;
    let next = Node::connected_to(&node).await;
    next.wait_for_peers(1).await;
    for topic in Topic::ALL {
        let mut stranger = Stranger::new(Params::dev(), Protocol::Hello);
        stranger.handshake(&node).await;
        stranger.publish(topic, vec![0xff; 300]);
        stranger.disconnected().await;
        assert!(is_banned(&node, &stranger).await);
    }
    assert_eq!(next.network.peer_count(), 1);
    assert_eq!(next.network.bans().await, []);
}

// N24
#[tokio::test(flavor = "multi_thread")]
async fn announcements_before_the_handshake_are_ignored() {
    let node = Node::start().await;
    let mut stranger = Stranger::new(Params::dev(), Protocol::Hello);
    stranger.connect(&node).await;
    stranger.publish(Topic::Blocks, vec![0xff; 300]);
    // Otherwise the stranger would be banned by now.
    let reply = stranger.request(&node, hello(stranger.status())).await.unwrap();
    assert!(matches!(reply, Response::Hello(_)));
    stranger.during(node.wait_for_peers(1)).await;
    assert_eq!(node.network.bans().await, []);
}

// N11
#[tokio::test(flavor = "multi_thread")]
async fn excessive_requests_are_rejected_and_then_disconnected() {
    let node = Node::start().await;
    let mut stranger = Stranger::new(Params::dev(), Protocol::Hello);
    stranger.handshake(&node).await;
    let mut rejected = 0;
    let mut disconnected = false;
    for _ in 0..100 {
        match stranger.request(&node, hello(stranger.status())).await {
            Ok(Response::Hello(_)) => {}
            Ok(Response::Error(ResponseError::RateLimited)) => rejected += 1,
            Ok(other) => panic!("{other:?}"),
            Err(_) => {
                disconnected = true;
                break;
            }
        }
    }
    assert!(rejected > 0 && disconnected, "{rejected} rejected, disconnected: {disconnected}");
    node.wait_for_peers(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_wait_for_the_handshake() {
    let node = Node::start().await;
    let mut stranger = Stranger::new(Params::dev(), Protocol::Headers);
    stranger.connect(&node).await;
    let locator = vec![Params::dev().genesis_hash()];
    let request = Request::Headers { locator, stop: block::Hash::from_bytes([0; 32]), max: 10 };
    let bytes = framed(&wire::encode_request(&request));
    // The stranger sends no hello, so no response arrives.
    assert!(stranger.request(&node, bytes).await.is_err());
    assert_eq!(node.network.peer_count(), 0);
}

// A node that catches up reports new tips and announces nothing.
#[tokio::test(flavor = "multi_thread")]
async fn peer_that_catches_up_is_not_disconnected() {
    let node = Node::start().await;
    node.chain.generate(9, 1).await;
    let mut stranger = Stranger::new(Params::dev(), Protocol::Hello);
    stranger.handshake(&node).await;
    let synced = async || node.network.progress().borrow().state == SyncState::Synced;
    stranger.during(eventually("the node is synced", synced)).await;
    for height in 1..=6_u8 {
        let tip = block::Hash::from_bytes([height; 32]);
        let height = block::Height::new(height.into());
        let status = Status { tip, height, ..stranger.status() };
        let reply = stranger.request(&node, hello(status)).await;
        assert!(matches!(reply, Ok(Response::Hello(_))), "{reply:?}");
    }
    assert_eq!(node.network.bans().await, []);
}

// N21
#[tokio::test(flavor = "multi_thread")]
async fn simultaneous_connections_do_not_exceed_the_maximum_number_of_peers() {
    let node = Node::start_with(Settings { max_peers: 4, ..Settings::default() }).await;
    let mut crowd = Vec::new();
    for _ in 0..12 {
        crowd.push(Stranger::new(Params::dev(), Protocol::Hello));
    }
    // Some are disconnected during the handshake, so each may fail.
    let handshakes = crowd.iter_mut().map(|stranger| stranger.try_handshake(&node));
    let connected = join_all(handshakes).await.into_iter().filter(|connected| *connected).count();
    assert!(connected >= 1, "the first ones find a slot");
    assert!(node.network.peer_count() <= 4);
    let connections: usize = node.network.peers().await.iter().map(|info| info.connections).sum();
    assert!(connections <= 4, "{connections}");
}
