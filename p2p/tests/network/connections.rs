//! Who connects with whom.

use crate::world::{Node, Setting, eventually};
use chain::Params;
use p2p::{ConnectError, Multiaddr, Subject};

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_connect_and_say_hello() {
    let one = Node::start().await;
    one.chain.generate(3, 1).await;
    let two = Node::start().await;
    assert_eq!(two.connect(&one).await, Ok(one.id()));
    let [seen] = two.network.peers().await.try_into().unwrap();
    assert_eq!((seen.id, seen.outbound, seen.height.get()), (one.id(), true, 3));
    assert_eq!(seen.tip, one.chain.tip());
    let [seen] = one.network.peers().await.try_into().unwrap();
    assert_eq!((seen.id, seen.outbound), (two.id(), false));
    eventually("the agent is known", async || one.network.peers().await[0].agent == "test/1").await;
}

// N24
#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_different_networks_never_connect() {
    let dev = Node::start().await;
    let test = Node::start_with(Setting { params: Params::testnet(), ..Setting::default() }).await;
    assert_eq!(dev.network.connect(test.address()).await, Err(ConnectError::OtherNetwork));
    assert_eq!(test.network.connect(dev.address()).await, Err(ConnectError::OtherNetwork));
    assert_eq!((dev.network.peer_count(), test.network.peer_count()), (0, 0));
    assert_eq!(dev.network.bans().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_without_an_id_is_enough() {
    let (one, two) = (Node::start().await, Node::start().await);
    let mut place: Multiaddr = one.address();
    place.pop();
    assert_eq!(two.network.connect(place).await, Ok(one.id()));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_that_call_each_other_at_once_keep_one_connection() {
    let (one, two) = (Node::start().await, Node::start().await);
    let (called, answered) =
        tokio::join!(one.network.connect(two.address()), two.network.connect(one.address()));
    assert_eq!((called, answered), (Ok(two.id()), Ok(one.id())));
    let connections = async |node: &Node| node.network.peers().await[0].connections;
    eventually("one connection on both sides", async || {
        connections(&one).await == 1 && connections(&two).await == 1
    })
    .await;
    // It is the same one: its caller sees it as outbound, the other side does not.
    let outbound = async |node: &Node| node.network.peers().await[0].outbound;
    assert_ne!(outbound(&one).await, outbound(&two).await);
    one.chain.generate(1, 1).await;
    two.follows(&one).await;
}

// N25
#[tokio::test(flavor = "multi_thread")]
async fn a_node_does_not_stay_connected_with_itself() {
    let node = Node::start().await;
    assert_eq!(node.network.connect(node.address()).await, Err(ConnectError::Own));
    let mut place = node.address();
    place.pop();
    assert_eq!(node.network.connect(place.clone()).await, Err(ConnectError::Own));
    let other_name = place.to_string().replace("/ip4/127.0.0.1/", "/dns4/localhost/");
    let other_name: Multiaddr = other_name.parse().unwrap();
    assert_eq!(node.network.connect(other_name).await, Err(ConnectError::Own));
    assert_eq!(node.network.peer_count(), 0);
    assert_eq!(node.network.bans().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_answers_at_a_port_where_nobody_listens() {
    let (node, gone) = (Node::start().await, Node::start().await);
    let address = gone.address();
    gone.stop().await;
    let result = node.network.connect(address).await;
    assert!(matches!(&result, Err(ConnectError::Unreachable(why)) if why.contains("refused")));
    let odd: Multiaddr = "/ip4/127.0.0.1/udp/9/quic-v1".parse().unwrap();
    assert_eq!(node.network.connect(odd.clone()).await, Err(ConnectError::Unsupported(odd)));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_node_than_the_address_says_is_not_taken() {
    let (node, there, meant) = (Node::start().await, Node::start().await, Node::start().await);
    let mut address = there.address();
    address.pop();
    address.push(p2p::multiaddr::Protocol::P2p(meant.id()));
    let result = node.network.connect(address).await;
    assert_eq!(result, Err(ConnectError::OtherNode(there.id())));
    assert_eq!(node.network.peer_count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wanted_node_is_called_until_it_is_there() {
    let first = Node::start().await;
    let address = first.address();
    let other = Node::start_with(Setting { peers: vec![address], ..Setting::default() }).await;
    other.has_peers(1).await;
    let port = first.network.listening();
    let folder = first.stop().await;
    other.has_peers(0).await;
    let setting = Setting { listen: port, ..Setting::default() };
    let again = Node::start_in(folder, setting).await.unwrap();
    other.has_peers(1).await;
    again.has_peers(1).await;
    assert!(again.knows(&other).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ban_closes_the_connection_and_keeps_the_node_out() {
    let (one, two) = (Node::start().await, Node::start().await);
    two.connect(&one).await.unwrap();
    let subject = Subject::Peer(two.id());
    one.network.ban(subject, 3_600, "a test".into()).await;
    one.has_peers(0).await;
    two.has_peers(0).await;
    let [ban] = one.network.bans().await.try_into().unwrap();
    assert_eq!((ban.subject, ban.reason.as_str()), (subject, "a test"));
    assert_eq!(one.network.connect(two.address()).await, Err(ConnectError::Banned));
    // Its handshake succeeds, and then the connection ends without a hello.
    assert!(matches!(two.network.connect(one.address()).await, Err(ConnectError::Unreachable(_))));
    assert_eq!((one.network.peer_count(), two.network.peer_count()), (0, 0));

    assert!(one.network.unban(subject).await);
    assert!(!one.network.unban(subject).await);
    one.has_peers(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_banned_address_is_refused_before_the_handshake() {
    let (one, two) = (Node::start().await, Node::start().await);
    two.connect(&one).await.unwrap();
    let subject = Subject::Ip([127, 0, 0, 1].into());
    one.network.ban(subject, 3_600, String::new()).await;
    two.has_peers(0).await;
    assert!(matches!(two.network.connect(one.address()).await, Err(ConnectError::Unreachable(_))));
    assert!(one.network.unban(subject).await);
    two.has_peers(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_disconnected_by_the_user_stays_away() {
    let (one, two) = (Node::start().await, Node::start().await);
    one.connect(&two).await.unwrap();
    assert!(one.network.disconnect(two.id()).await);
    assert!(!one.network.disconnect(one.id()).await);
    two.has_peers(0).await;
    assert_eq!(one.connect(&two).await, Ok(two.id()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_node_keeps_its_id_and_finds_the_others_again() {
    let (one, two) = (Node::start().await, Node::start().await);
    two.connect(&one).await.unwrap();
    let id = two.id();
    let folder = two.stop().await;
    one.has_peers(0).await;
    let two = Node::start_in(folder, Setting::default()).await.unwrap();
    assert_eq!(two.id(), id);
    two.has_peers(1).await;
    assert!(two.knows(&one).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dozen_nodes_on_one_machine_hear_of_every_block() {
    let hub = Node::start().await;
    let mut others = Vec::new();
    for _ in 0..12 {
        others.push(Node::calling(&hub).await);
    }
    for other in &others {
        eventually("connected with the hub", async || other.knows(&hub).await).await;
    }
    for _ in 0..3 {
        others[0].chain.generate(1, 1).await;
        for node in &others {
            node.follows(&others[0]).await;
        }
    }
    assert!(hub.network.bans().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_the_same_hub_come_to_know_each_other() {
    let hub = Node::start().await;
    let (one, two) = (Node::calling(&hub).await, Node::calling(&hub).await);
    hub.has_peers(2).await;
    // Each asks the hub once; whoever came first learns of the other when that one calls.
    eventually("they are connected", async || one.knows(&two).await).await;
}
