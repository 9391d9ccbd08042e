//! How blocks and transfers get to everybody.

use crate::world::Node;

#[tokio::test(flavor = "multi_thread")]
async fn a_mined_block_reaches_the_third_node_in_a_line() {
    let one = Node::start().await;
    let two = Node::calling(&one).await;
    let three = Node::calling(&two).await;
    two.has_peers(2).await;
    for _ in 0..5 {
        one.chain.generate(1, 1).await;
        three.follows(&one).await;
    }
    assert_eq!(three.chain.height(), 5);
    assert_eq!(three.network.peer_count(), 1);
}
