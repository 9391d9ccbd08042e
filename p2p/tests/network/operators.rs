//! What operators configure: allowed peers, private networks, names, persistent peers.

use crate::world::{Node, Settings, eventually};
use p2p::multiaddr::Protocol;
use p2p::{ConnectError, Multiaddr, NetworkKey, Subject};

/// The node's address without its peer id, or with a name as its host.
fn without_id(node: &Node, host: Option<Protocol<'static>>) -> Multiaddr {
    let mut parts: Vec<Protocol> = node.address().iter().map(Protocol::acquire).collect();
    parts.pop();
    if let Some(host) = host {
        parts[0] = host;
    }
    parts.into_iter().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn node_with_allowed_peers_is_closed_to_others_in_both_directions() {
    let (member, other) = (Node::start().await, Node::start().await);
    let allowed_peers = vec![member.id()];
    let node = Node::start_with(Settings { allowed_peers, ..Settings::default() }).await;
    assert!(member.connect(&node).await.is_ok());
    assert!(other.network.connect(node.address()).await.is_err());
    for address in [other.address(), without_id(&other, None)] {
        assert_eq!(node.network.connect(address.clone()).await, Err(ConnectError::NotAllowed));
        // It cannot become a peer, so it does not stay a persistent one.
        assert_eq!(node.network.persistent_peers().await, []);
    }
    assert!(node.has_peer(&member).await);
    assert_eq!(node.network.peer_count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_nodes_with_the_same_network_key_connect() {
    let [key, another] = [(); 2].map(|()| NetworkKey::generate().unwrap());
    let with = |network_key| Node::start_with(Settings { network_key, ..Settings::default() });
    let (one, two) = (with(Some(key)).await, with(Some(key)).await);
    let (open, foreign) = (with(None).await, with(Some(another)).await);
    one.connect(&two).await.unwrap();
    one.chain.generate(3, 1).await;
    two.wait_for_tip_of(&one).await;
    for (from, to) in [(&open, &one), (&one, &open), (&foreign, &one)] {
        assert!(from.network.connect(to.address()).await.is_err());
    }
    assert_eq!((one.network.peer_count(), two.network.peer_count()), (1, 1));
    assert_eq!(one.network.bans().await, []);
}

// Names never entered the address book, and could not be banned by IP.
#[tokio::test(flavor = "multi_thread")]
async fn peer_dialed_by_name_is_known_and_banned_by_its_ip() {
    let (node, peer) = (Node::start().await, Node::start().await);
    let by_name = without_id(&peer, Some(Protocol::Dns4("localhost".into())));
    let by_ip = without_id(&peer, None);
    assert_eq!(node.network.connect(by_name.clone()).await, Ok(peer.id()));
    let persistent = node.network.persistent_peers().await;
    assert_eq!((&persistent[0].address, persistent[0].is_connected), (&by_name, true));
    node.network
        .ban(Subject::Range("127.0.0.0/8".parse().unwrap()), 60, String::new())
        .await
        .unwrap();
    eventually("the peer is disconnected", async || !node.has_peer(&peer).await).await;
    assert!(node.network.unban(Subject::Range("127.0.0.0/8".parse().unwrap())).await.unwrap());
    eventually("the peer is connected again", async || node.has_peer(&peer).await).await;
    let directory = node.stop().await;
    let saved = std::fs::read_to_string(directory.path().join("peers.json")).unwrap();
    let socket = by_ip.to_string().replace("/ip4/", "").replace("/tcp/", ":");
    assert!(saved.contains(&socket) && saved.contains(&by_name.to_string()), "{saved}");
}

#[tokio::test(flavor = "multi_thread")]
async fn added_peer_survives_a_restart_until_it_is_removed() {
    let peer = Node::start().await;
    let node = Node::start().await;
    node.connect(&peer).await.unwrap();
    let directory = node.stop().await;
    let node = Node::start_in(directory, Settings::default()).await.unwrap();
    eventually("the peer is connected again", async || node.has_peer(&peer).await).await;
    let persistent = node.network.persistent_peers().await;
    assert!(persistent[0].is_added && persistent[0].id == Some(peer.id()), "{persistent:?}");
    assert!(node.network.remove_persistent_peer(peer.address()).await.unwrap());
    assert!(!node.network.remove_persistent_peer(peer.address()).await.unwrap());
    assert_eq!(node.network.persistent_peers().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn persistent_peer_that_is_not_connected_is_listed_with_the_reason() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nowhere: Multiaddr = format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap();
    let unknown: Multiaddr = "/dns4/nosuch.invalid/tcp/1".parse().unwrap();
    let peers = vec![nowhere.clone(), unknown.clone()];
    let node = Node::start_with(Settings { peers, ..Settings::default() }).await;
    eventually("both problems", async || {
        let persistent = node.network.persistent_peers().await;
        persistent.iter().all(|peer| peer.problem.is_some())
    })
    .await;
    let persistent = node.network.persistent_peers().await;
    assert_eq!((&persistent[0].address, &persistent[1].address), (&nowhere, &unknown));
    assert!(persistent.iter().all(|peer| !peer.is_connected && !peer.is_added), "{persistent:?}");
    let refused = persistent[0].problem.as_deref().unwrap();
    assert!(refused.contains("refused"), "{refused}");
}
