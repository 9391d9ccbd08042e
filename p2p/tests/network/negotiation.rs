//! Negotiation of the protocol's version in the handshake.

use crate::stranger::{Stranger, framed};
use crate::world::Node;
use chain::Params;
use p2p::ConnectError;
use p2p::message::{
    Capabilities, Protocol, Request, Response, ResponseError, SERVES_ALL_BLOCKS, Status,
};
use p2p::wire;

fn stranger() -> Stranger {
    Stranger::new(Params::dev(), Protocol::Hello)
}

fn capabilities(min_version: u16, max_version: u16, features: u64) -> Capabilities {
    Capabilities { min_version, max_version, features }
}

fn status(stranger: &Stranger, capabilities: Capabilities) -> Status {
    Status { capabilities, ..stranger.status() }
}

fn hello(stranger: &Stranger, capabilities: Capabilities) -> Vec<u8> {
    framed(&wire::encode_request(&Request::Hello(status(stranger, capabilities))))
}

/// The response of a node to a hello message with some capabilities.
async fn response(node: &Node, capabilities: Capabilities) -> Response {
    let mut stranger = stranger();
    stranger.connect(node).await;
    let hello = hello(&stranger, capabilities);
    let response = stranger.request(node, hello).await.unwrap();
    if matches!(response, Response::Error(_)) {
        // The node disconnects, and does not count the peer.
        stranger.disconnected().await;
        let bans = node.network.bans().await;
        assert_eq!((node.network.peer_count(), bans.len()), (0, 0));
    }
    response
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_use_the_highest_common_version_or_part_with_a_code() {
    let node = Node::start().await;
    let rejected =
        Response::Error(ResponseError::IncompatibleVersion { supported: Capabilities::LOCAL });
    // A second optional feature, and the first two required ones, which do not exist yet.
    let (optional, required) = (SERVES_ALL_BLOCKS | 1 << 3, [1, 1 << 2]);
    for unknown in required {
        assert_eq!(response(&node, capabilities(1, 1, unknown)).await, rejected);
    }
    assert_eq!(response(&node, capabilities(2, 2, 0)).await, rejected);
    assert_eq!(response(&node, capabilities(0, 0, 0)).await, rejected);
    for (min, max) in [(1, 2), (0, 1), (1, u16::MAX)] {
        let response = response(&node, capabilities(min, max, optional)).await;
        let Response::Hello(status) = response else { panic!("{response:?}") };
        assert_eq!(status.capabilities, Capabilities::LOCAL);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_extensions_of_a_status_are_skipped() {
    let node = Node::start().await;
    let mut stranger = stranger();
    stranger.connect(&node).await;
    let mut bytes = wire::encode_request(&Request::Hello(stranger.status()));
    bytes.truncate(bytes.len() - 2);
    bytes.extend([10, 0, /* type */ 1, 0, /* length */ 0, 0]);
    bytes.extend([/* type */ 9, 0, /* length */ 2, 0, 0xaa, 0xbb]);
    let response = stranger.request(&node, framed(&bytes)).await.unwrap();
    assert!(matches!(response, Response::Hello(_)), "{response:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dialed_node_of_another_version_is_named_and_not_dialed_again() {
    let node = Node::start().await;
    let local = Capabilities::LOCAL;
    // One responds with a code, and one, which does not know it, with its own status.
    let supported = capabilities(2, 3, 0);
    let with_code = Response::Error(ResponseError::IncompatibleVersion { supported });
    let other = capabilities(4, 4, 0);
    for (response, supported) in [(Some(with_code), supported), (None, other)] {
        let mut stranger = stranger();
        let address = stranger.listen().await;
        let status = status(&stranger, supported);
        let response = response.unwrap_or(Response::Hello(status));
        let connect = node.network.connect(address.clone());
        let serve = async {
            stranger.respond(framed(&wire::encode_response(&response))).await;
            stranger.disconnected().await;
        };
        let (connected, ()) = tokio::join!(connect, serve);
        assert_eq!(connected, Err(ConnectError::IncompatibleVersion { supported, local }));
        assert_eq!(node.network.bans().await, []);
    }
    assert_eq!(node.network.peer_count(), 0);
}
