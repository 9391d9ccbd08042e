//! Connections between nodes: dials, the handshake, bans and discovery.

use crate::world::{Node, Settings, eventually};
use chain::Params;
use p2p::{ConnectError, Multiaddr, Subject};

#[tokio::test(flavor = "multi_thread")]
async fn nodes_exchange_their_status_in_the_handshake() {
    let one = Node::start().await;
    one.chain.generate(3, 1).await;
    let two = Node::start().await;
    assert_eq!(two.connect(&one).await, Ok(one.id()));
    let [seen] = two.network.peers().await.try_into().unwrap();
    assert_eq!((seen.id, seen.outbound, seen.height.get()), (one.id(), true, 3));
    assert_eq!(seen.tip, one.chain.tip());
    let [seen] = one.network.peers().await.try_into().unwrap();
    assert_eq!((seen.id, seen.outbound), (two.id(), false));
    eventually("agent string", async || one.network.peers().await[0].agent == "test/1").await;
}

// N24
#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_different_networks_do_not_connect() {
    let dev = Node::start().await;
    let test =
        Node::start_with(Settings { params: Params::testnet(), ..Settings::default() }).await;
    assert_eq!(dev.network.connect(test.address()).await, Err(ConnectError::OtherNetwork));
    assert_eq!(test.network.connect(dev.address()).await, Err(ConnectError::OtherNetwork));
    assert_eq!((dev.network.peer_count(), test.network.peer_count()), (0, 0));
    assert_eq!(dev.network.bans().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn dials_an_address_without_peer_id() {
    let (one, two) = (Node::start().await, Node::start().await);
    let mut address: Multiaddr = one.address();
    address.pop();
    assert_eq!(two.network.connect(address).await, Ok(one.id()));
}

#[tokio::test(flavor = "multi_thread")]
async fn simultaneous_dials_leave_one_connection() {
    let (one, two) = (Node::start().await, Node::start().await);
    let (outbound, inbound) =
        tokio::join!(one.network.connect(two.address()), two.network.connect(one.address()));
    assert_eq!((outbound, inbound), (Ok(two.id()), Ok(one.id())));
    let connections = async |node: &Node| node.network.peers().await[0].connections;
    eventually("one connection on both sides", async || {
        connections(&one).await == 1 && connections(&two).await == 1
    })
    .await;
    // Both sides retain the same one: it is outbound for one side only.
    let outbound = async |node: &Node| node.network.peers().await[0].outbound;
    assert_ne!(outbound(&one).await, outbound(&two).await);
    one.chain.generate(1, 1).await;
    two.wait_for_tip_of(&one).await;
}

// N25
#[tokio::test(flavor = "multi_thread")]
async fn does_not_connect_to_itself() {
    let node = Node::start().await;
    assert_eq!(node.network.connect(node.address()).await, Err(ConnectError::Own));
    let mut address = node.address();
    address.pop();
    assert_eq!(node.network.connect(address.clone()).await, Err(ConnectError::Own));
    let other_name = address.to_string().replace("/ip4/127.0.0.1/", "/dns4/localhost/");
    let other_name: Multiaddr = other_name.parse().unwrap();
    assert_eq!(node.network.connect(other_name).await, Err(ConnectError::Own));
    assert_eq!(node.network.peer_count(), 0);
    assert_eq!(node.network.bans().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_unreachable_and_unsupported_addresses() {
    let (node, stopped) = (Node::start().await, Node::start().await);
    let address = stopped.address();
    stopped.stop().await;
    let result = node.network.connect(address).await;
    assert!(
        matches!(&result, Err(ConnectError::Unreachable(reason)) if reason.contains("refused"))
    );
    let odd: Multiaddr = "/ip4/127.0.0.1/udp/9/quic-v1".parse().unwrap();
    assert_eq!(node.network.connect(odd.clone()).await, Err(ConnectError::Unsupported(odd)));
}

#[tokio::test(flavor = "multi_thread")]
async fn rejects_a_peer_with_another_id_than_dialed() {
    let (node, actual, expected) = (Node::start().await, Node::start().await, Node::start().await);
    let mut address = actual.address();
    address.pop();
    address.push(p2p::multiaddr::Protocol::P2p(expected.id()));
    let result = node.network.connect(address).await;
    assert_eq!(result, Err(ConnectError::OtherNode(actual.id())));
    assert_eq!(node.network.peer_count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn redials_a_persistent_peer_until_it_is_back() {
    let first = Node::start().await;
    let address = first.address();
    let other = Node::start_with(Settings { peers: vec![address], ..Settings::default() }).await;
    other.wait_for_peers(1).await;
    let listen = first.network.listening();
    let directory = first.stop().await;
    other.wait_for_peers(0).await;
    let settings = Settings { listen, ..Settings::default() };
    let again = Node::start_in(directory, settings).await.unwrap();
    other.wait_for_peers(1).await;
    again.wait_for_peers(1).await;
    assert!(again.has_peer(&other).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn ban_of_a_peer_disconnects_and_denies_it() {
    let (one, two) = (Node::start().await, Node::start().await);
    two.connect(&one).await.unwrap();
    let subject = Subject::Peer(two.id());
    one.network.ban(subject, 3_600, "a test".into()).await.unwrap();
    one.wait_for_peers(0).await;
    two.wait_for_peers(0).await;
    let [ban] = one.network.bans().await.try_into().unwrap();
    assert_eq!((ban.subject, ban.reason.as_str()), (subject, "a test"));
    assert_eq!(one.network.connect(two.address()).await, Err(ConnectError::Banned));
    // The encryption handshake succeeds, then the connection is closed.
    assert!(matches!(two.network.connect(one.address()).await, Err(ConnectError::Unreachable(_))));
    assert_eq!((one.network.peer_count(), two.network.peer_count()), (0, 0));

    assert!(one.network.unban(subject).await.unwrap());
    assert!(!one.network.unban(subject).await.unwrap());
    one.wait_for_peers(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ban_of_an_ip_denies_connections_before_the_handshake() {
    let (one, two) = (Node::start().await, Node::start().await);
    two.connect(&one).await.unwrap();
    let subject = Subject::Ip([127, 0, 0, 1].into());
    one.network.ban(subject, 3_600, String::new()).await.unwrap();
    two.wait_for_peers(0).await;
    assert!(matches!(two.network.connect(one.address()).await, Err(ConnectError::Unreachable(_))));
    assert!(one.network.unban(subject).await.unwrap());
    two.wait_for_peers(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn peer_disconnected_by_the_user_does_not_return() {
    let (one, two) = (Node::start().await, Node::start().await);
    one.connect(&two).await.unwrap();
    assert!(one.network.disconnect(two.id()).await.unwrap());
    assert!(!one.network.disconnect(one.id()).await.unwrap());
    two.wait_for_peers(0).await;
    assert_eq!(one.connect(&two).await, Ok(two.id()));
}

#[tokio::test(flavor = "multi_thread")]
async fn restarted_node_has_the_same_id_and_reconnects() {
    let (one, two) = (Node::start().await, Node::start().await);
    two.connect(&one).await.unwrap();
    let id = two.id();
    let directory = two.stop().await;
    one.wait_for_peers(0).await;
    let two = Node::start_in(directory, Settings::default()).await.unwrap();
    assert_eq!(two.id(), id);
    two.wait_for_peers(1).await;
    assert!(two.has_peer(&one).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn dozen_nodes_on_one_host_receive_every_block() {
    let hub = Node::start().await;
    let mut others = Vec::new();
    for _ in 0..12 {
        others.push(Node::connected_to(&hub).await);
    }
    for other in &others {
        eventually("connected with the hub", async || other.has_peer(&hub).await).await;
    }
    for _ in 0..3 {
        others[0].chain.generate(1, 1).await;
        for node in &others {
            node.wait_for_tip_of(&others[0]).await;
        }
    }
    assert!(hub.network.bans().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_discover_each_other_through_a_common_peer() {
    let hub = Node::start().await;
    let (one, two) = (Node::connected_to(&hub).await, Node::connected_to(&hub).await);
    hub.wait_for_peers(2).await;
    // Each requests addresses once; the later one learns the address of the earlier one.
    eventually("the nodes are connected", async || one.has_peer(&two).await).await;
}
