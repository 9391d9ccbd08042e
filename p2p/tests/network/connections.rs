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
