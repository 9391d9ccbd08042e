//! Relay of blocks and transfers, and synchronisation.

use crate::world::{Node, Settings, eventually, funded, pay};
use std::time::Instant;

#[tokio::test(flavor = "multi_thread")]
async fn mined_block_reaches_the_third_node_in_a_line() {
    let one = Node::start().await;
    let two = Node::connected_to(&one).await;
    two.wait_for_peers(1).await;
    let three = Node::connected_to(&two).await;
    two.wait_for_peers(2).await;
    for _ in 0..5 {
        let mined = one.chain.generate(1, 1).await;
        three.wait_for_tip_of(&one).await;
        assert_eq!([three.chain.tip()], *mined);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn new_node_syncs_two_hundred_blocks() {
    let one = Node::start().await;
    one.chain.generate(200, 1).await;
    let two = Node::connected_to(&one).await;
    two.wait_for_tip_of(&one).await;
    assert_eq!(two.chain.height(), 200);
    // A block is at least a header and a coinbase.
    let min = 200 * 160;
    eventually("bandwidth", async || {
        let (receiver, sender) = (two.network.peers().await, one.network.peers().await);
        receiver[0].bytes_received > min && sender[0].bytes_sent > min
    })
    .await;
    assert!(two.network.peers().await[0].bytes_sent < min);
    eventually("progress", async || {
        let progress = *two.network.progress().borrow();
        (progress.height.get(), progress.best_header.get()) == (200, 200)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reconnected_node_syncs_missed_blocks_and_receives_new_ones() {
    let (one, two) = (Node::start().await, Node::start().await);
    one.chain.generate(2, 1).await;
    two.connect(&one).await.unwrap();
    two.wait_for_tip_of(&one).await;
    two.network.disconnect(one.id()).await.unwrap();
    one.wait_for_peers(0).await;
    one.chain.generate(30, 1).await;
    two.connect(&one).await.unwrap();
    two.wait_for_tip_of(&one).await;
    one.chain.generate(1, 1).await;
    two.wait_for_tip_of(&one).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node_with_the_shorter_chain_reorganises() {
    let (one, two) = (Node::start().await, Node::start().await);
    one.chain.generate(20, 1).await;
    let longer = two.chain.generate(21, 2).await;
    one.connect(&two).await.unwrap();
    one.wait_for_tip_of(&two).await;
    assert_eq!(Some(&one.chain.tip()), longer.last());
}

// C20, C22: bodies of lighter branches are not stored that far below the tip.
#[tokio::test(flavor = "multi_thread")]
async fn node_reorganises_to_a_heavier_chain_that_forks_below_the_horizon() {
    let (one, two) = (Node::start().await, Node::start().await);
    let (_, longer) = tokio::join!(one.chain.generate(1_020, 1), two.chain.generate(1_022, 2));
    one.connect(&two).await.unwrap();
    one.wait_for_tip_of(&two).await;
    assert_eq!(Some(&one.chain.tip()), longer.last());
}

#[tokio::test(flavor = "multi_thread")]
async fn transfer_reaches_the_third_node_and_is_mined() {
    let one = Node::start().await;
    one.chain.generate(3, 1).await;
    let two = Node::connected_to(&one).await;
    let three = Node::connected_to(&two).await;
    three.wait_for_tip_of(&one).await;
    two.wait_for_peers(2).await;
    // Nodes accept no transfers during initial sync.
    one.chain.generate(1, 1).await;
    three.wait_for_tip_of(&one).await;
    let transfer = pay(1, 2, 0, one.chain.reader.params());
    let id = transfer.id();
    one.chain.transfer(transfer);
    let has_transfer = async |node: &Node| node.chain.reader.view().mempool().contains(&id);
    eventually("transfer in the third mempool", async || has_transfer(&three).await).await;
    three.chain.generate(1, 3).await;
    one.wait_for_tip_of(&three).await;
    eventually("transfer removed from the first mempool", async || !has_transfer(&one).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn block_reaches_a_peer_within_a_second() {
    let (one, two) = (Node::start().await, Node::start().await);
    two.connect(&one).await.unwrap();
    let mut times = Vec::new();
    for _ in 0..9 {
        let start = Instant::now();
        one.chain.generate(1, 1).await;
        two.wait_for_tip_of(&one).await;
        times.push(start.elapsed());
    }
    times.sort();
    // The median, since the machine may be busy.
    assert!(times[4].as_millis() < 1_000, "{times:?}");
}

// N33
#[tokio::test(flavor = "multi_thread")]
async fn reorganisation_returns_transfers_to_all_mempools() {
    let node = async |peers| {
        Node::start_with(Settings { params: funded(&[1, 2]), peers, ..Settings::default() }).await
    };
    let (one, three) = (node(vec![]).await, node(vec![]).await);
    let (two, four) = (node(vec![one.address()]).await, node(vec![three.address()]).await);
    two.wait_for_peers(1).await;
    four.wait_for_peers(1).await;
    for (half, blocks, from) in [([&one, &two], 20, 1), ([&three, &four], 21, 2)] {
        half[0].chain.generate(blocks, from).await;
        for nonce in 0..10 {
            half[0].chain.transfer(pay(from, 9, nonce, half[0].chain.reader.params()));
            if nonce < 9 {
                half[0].chain.generate(1, from).await;
            }
        }
        half[1].wait_for_tip_of(half[0]).await;
    }
    two.connect(&three).await.unwrap();
    for node in [&one, &two] {
        node.wait_for_tip_of(&four).await;
    }
    // All ten transfers of the lighter branch are pending again, and the last one of the heavier
    // branch.
    let pending = |node: &Node| node.chain.reader.view().mempool().count();
    for node in [&one, &two, &three, &four] {
        eventually("all transfers pending", async || pending(node) == 11).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn burst_of_transfers_reaches_a_peer_completely() {
    let params = funded(&[1, 2, 3]);
    let start = async |peers| {
        Node::start_with(Settings { params: params.clone(), peers, ..Settings::default() }).await
    };
    let one = start(vec![]).await;
    let two = start(vec![one.address()]).await;
    one.chain.generate(1, 1).await;
    two.wait_for_tip_of(&one).await;
    for account in 1..4 {
        for nonce in 0..900 {
            one.chain.transfer(pay(account, 9, nonce, &params));
        }
    }
    let count = async |node: &Node| node.chain.reader.view().mempool().count();
    eventually("all transfers accepted", async || count(&one).await == 2_700).await;
    eventually("all transfers received", async || count(&two).await == 2_700).await;
}
