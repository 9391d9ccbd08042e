//! What strangers try, and what becomes of them. No honest node is ever banned in any of this.

use crate::stranger::{Stranger, framed};
use crate::world::{Node, SOON, Setting, eventually};
use chain::{Params, block};
use futures::future::join_all;
use p2p::engine::SyncState;
use p2p::message::{Protocol, Request, Response, ResponseError, Status};
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

/// Reads until the other side ends the connection.
async fn ended(mut stream: TcpStream) {
    let reading = async { while stream.read(&mut [0; 1_024]).await.is_ok_and(|read| read > 0) {} };
    tokio::time::timeout(SOON, reading).await.expect("the connection is ended");
}

// N01
#[tokio::test(flavor = "multi_thread")]
async fn whoever_sends_garbage_is_gone_at_once_and_nobody_else() {
    let (node, friend) = (Node::start().await, Node::start().await);
    friend.connect(&node).await.unwrap();
    let start = Instant::now();
    let mut garbage = vec![0x55; 64 << 10];
    for round in 0..50_u8 {
        garbage[..2].copy_from_slice(&[round, 0x80]);
        let mut stream = TcpStream::connect(socket(&node.address())).await.unwrap();
        // The node may end the connection before all is sent.
        let _ = stream.write_all(&garbage).await;
        ended(stream).await;
    }
    assert!(start.elapsed() < Duration::from_secs(9), "not only the timeout ended them");
    assert!(node.knows(&friend).await);
    assert_eq!(node.network.bans().await, []);
}

// N02
#[tokio::test(flavor = "multi_thread")]
async fn whoever_says_nothing_loses_its_place_after_ten_seconds() {
    let node = Node::start().await;
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(TcpStream::connect(socket(&node.address())).await.unwrap());
    }
    let mut without_hello = Stranger::new(Params::dev(), Protocol::Hello);
    without_hello.call(&node).await;
    // There is room for others all the time.
    let friend = Node::start().await;
    friend.connect(&node).await.unwrap();
    let start = Instant::now();
    tokio::join!(join_all(silent.into_iter().map(ended)), without_hello.is_left());
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    assert_eq!(node.network.peer_count(), 1);
    assert_eq!(node.network.bans().await, []);
}

// N24
#[tokio::test(flavor = "multi_thread")]
async fn a_hello_of_another_network_or_version_is_the_last_word() {
    let node = Node::start().await;
    for change in [0, 1] {
        let mut stranger = Stranger::new(Params::dev(), Protocol::Hello);
        stranger.call(&node).await;
        let mut status = stranger.status();
        match change {
            0 => status.genesis = block::Hash::from_bytes([1; 32]),
            _ => status.version += 1,
        }
        assert!(stranger.ask(&node, hello(status)).await.is_err());
        assert!(!is_banned(&node, &stranger).await);
    }
    assert_eq!(node.network.peer_count(), 0);
}

// N25
#[tokio::test(flavor = "multi_thread")]
async fn who_repeats_the_nodes_own_hello_is_not_taken_for_the_node() {
    let node = Node::start().await;
    let mut stranger = Stranger::new(Params::dev(), Protocol::Hello);
    stranger.call(&node).await;
    let Ok(Response::Hello(own)) = stranger.ask(&node, hello(stranger.status())).await else {
        panic!("an honest hello is answered");
    };
    let mut mirror = Stranger::new(Params::dev(), Protocol::Hello);
    mirror.call(&node).await;
    assert!(mirror.ask(&node, hello(own)).await.is_err());
    // The address that both came from is still good.
    let friend = Node::start().await;
    friend.connect(&node).await.unwrap();
    assert_eq!(node.network.bans().await, []);
}

// N03
#[tokio::test(flavor = "multi_thread")]
async fn who_sends_what_is_no_request_is_banned() {
    let node = Node::start().await;
    let friend = Node::start().await;
    friend.connect(&node).await.unwrap();
    let honest = framed(&wire::encode_request(&Request::Addresses { max: 8 }));
    for bytes in [framed(&[0xff; 200]), u32::MAX.to_le_bytes().to_vec(), framed(&honest)] {
        let mut stranger = Stranger::new(Params::dev(), Protocol::Hello);
        stranger.befriend(&node).await;
        assert!(stranger.ask(&node, bytes).await.is_err());
        let banned = async || is_banned(&node, &stranger).await;
        eventually("it is banned", banned).await;
    }
    assert!(node.knows(&friend).await);
    assert!(node.network.bans().await.iter().all(|ban| ban.subject != Subject::Peer(friend.id())));
}

// N09
#[tokio::test(flavor = "multi_thread")]
async fn who_announces_what_is_nothing_is_banned_and_nobody_hears_of_it() {
    let node = Node::start().await;
    let next = Node::calling(&node).await;
    next.has_peers(1).await;
    for topic in Topic::ALL {
        let mut stranger = Stranger::new(Params::dev(), Protocol::Hello);
        stranger.befriend(&node).await;
        stranger.publish(topic, vec![0xff; 300]);
        stranger.is_left().await;
        assert!(is_banned(&node, &stranger).await);
    }
    assert_eq!(next.network.peer_count(), 1);
    assert_eq!(next.network.bans().await, []);
}

// N24
#[tokio::test(flavor = "multi_thread")]
async fn announcements_before_a_hello_are_not_heard() {
    let node = Node::start().await;
    let mut stranger = Stranger::new(Params::dev(), Protocol::Hello);
    stranger.call(&node).await;
    stranger.publish(Topic::Blocks, vec![0xff; 300]);
    // Had it been read, the stranger would be banned now, not welcome.
    let reply = stranger.ask(&node, hello(stranger.status())).await.unwrap();
    assert!(matches!(reply, Response::Hello(_)));
    stranger.during(node.has_peers(1)).await;
    assert_eq!(node.network.bans().await, []);
}

// N11
#[tokio::test(flavor = "multi_thread")]
async fn who_asks_too_much_is_refused_and_then_left() {
    let node = Node::start().await;
    let mut stranger = Stranger::new(Params::dev(), Protocol::Hello);
    stranger.befriend(&node).await;
    let mut refused = 0;
    let mut left = false;
    for _ in 0..100 {
        match stranger.ask(&node, hello(stranger.status())).await {
            Ok(Response::Hello(_)) => {}
            Ok(Response::Error(ResponseError::RateLimited)) => refused += 1,
            Ok(other) => panic!("{other:?}"),
            Err(_) => {
                left = true;
                break;
            }
        }
    }
    assert!(refused > 0 && left, "{refused} refused, left: {left}");
    node.has_peers(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_before_the_hello_waits_for_it() {
    let node = Node::start().await;
    let mut stranger = Stranger::new(Params::dev(), Protocol::Headers);
    stranger.call(&node).await;
    let locator = vec![Params::dev().genesis_hash()];
    let request = Request::Headers { locator, stop: block::Hash::from_bytes([0; 32]), max: 10 };
    let bytes = framed(&wire::encode_request(&request));
    // It never says hello, so there is never an answer.
    assert!(stranger.ask(&node, bytes).await.is_err());
    assert_eq!(node.network.peer_count(), 0);
}

// A broken stream of announcements looks the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_whose_chain_grows_without_announcements_is_called_anew() {
    let node = Node::start().await;
    let mut stranger = Stranger::new(Params::dev(), Protocol::Hello);
    stranger.befriend(&node).await;
    let synced = async || node.network.progress().borrow().state == SyncState::Synced;
    stranger.during(eventually("the node is synced", synced)).await;
    let mut answered = 0;
    for tip in 1..=10 {
        let status = Status { tip: block::Hash::from_bytes([tip; 32]), ..stranger.status() };
        match stranger.ask(&node, hello(status)).await {
            Ok(reply) => assert!(matches!(reply, Response::Hello(_)), "{reply:?}"),
            Err(_) => break,
        }
        answered += 1;
    }
    assert!(answered <= 3, "{answered} tips that nobody announced");
    assert_eq!(node.network.bans().await, []);
}

// N21
#[tokio::test(flavor = "multi_thread")]
async fn no_crowd_brings_a_node_above_its_number_of_peers() {
    let node = Node::start_with(Setting { max_peers: 4, ..Setting::default() }).await;
    let mut crowd = Vec::new();
    for _ in 0..12 {
        crowd.push(Stranger::new(Params::dev(), Protocol::Hello));
    }
    // Some are refused in the middle of it, so nothing is expected of any of them.
    let calls = crowd.iter_mut().map(|stranger| stranger.try_to_befriend(&node));
    let welcome = join_all(calls).await.into_iter().filter(|welcome| *welcome).count();
    assert!(welcome >= 1, "the first ones find a place");
    assert!(node.network.peer_count() <= 4);
    let connections: usize = node.network.peers().await.iter().map(|peer| peer.connections).sum();
    assert!(connections <= 4, "{connections}");
}
