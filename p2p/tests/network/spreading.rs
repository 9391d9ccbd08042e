//! How blocks and transfers get to everybody.

use crate::world::{Node, Setting, eventually, pay, rich};
use std::time::Instant;

#[tokio::test(flavor = "multi_thread")]
async fn a_mined_block_reaches_the_third_node_in_a_line() {
    let one = Node::start().await;
    let two = Node::calling(&one).await;
    two.has_peers(1).await;
    let three = Node::calling(&two).await;
    two.has_peers(2).await;
    for _ in 0..5 {
        let mined = one.chain.generate(1, 1).await;
        three.follows(&one).await;
        assert_eq!([three.chain.tip()], *mined);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_node_syncs_two_hundred_blocks() {
    let one = Node::start().await;
    one.chain.generate(200, 1).await;
    let two = Node::calling(&one).await;
    two.follows(&one).await;
    assert_eq!(two.chain.height(), 200);
    // A block is at least a header and a coinbase.
    let least = 200 * 160;
    eventually("what was received is counted", async || {
        let (got, gave) = (two.network.peers().await, one.network.peers().await);
        got[0].bytes_received > least && gave[0].bytes_sent > least
    })
    .await;
    assert!(two.network.peers().await[0].bytes_sent < least);
    eventually("progress tells so", async || {
        let progress = *two.network.progress().borrow();
        (progress.height.get(), progress.best_header.get()) == (200, 200)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_away_gets_what_it_missed_and_then_the_news() {
    let (one, two) = (Node::start().await, Node::start().await);
    one.chain.generate(2, 1).await;
    two.connect(&one).await.unwrap();
    two.follows(&one).await;
    two.network.disconnect(one.id()).await;
    one.has_peers(0).await;
    one.chain.generate(30, 1).await;
    two.connect(&one).await.unwrap();
    two.follows(&one).await;
    one.chain.generate(1, 1).await;
    two.follows(&one).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_chains_become_the_longer_one() {
    let (one, two) = (Node::start().await, Node::start().await);
    one.chain.generate(20, 1).await;
    let longer = two.chain.generate(21, 2).await;
    one.connect(&two).await.unwrap();
    one.follows(&two).await;
    assert_eq!(Some(&one.chain.tip()), longer.last());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_reaches_the_third_node_and_is_mined_there() {
    let one = Node::start().await;
    one.chain.generate(3, 1).await;
    let two = Node::calling(&one).await;
    let three = Node::calling(&two).await;
    three.follows(&one).await;
    two.has_peers(2).await;
    // Who has not caught up takes no transfers.
    one.chain.generate(1, 1).await;
    three.follows(&one).await;
    let transfer = pay(1, 2, 0, one.chain.reader.params());
    let id = transfer.id();
    one.chain.transfer(transfer);
    let pooled = async |node: &Node| node.chain.reader.view().mempool().contains(&id);
    eventually("in the third mempool", async || pooled(&three).await).await;
    three.chain.generate(1, 3).await;
    one.follows(&three).await;
    eventually("gone from the first mempool", async || !pooled(&one).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_crosses_a_link_in_well_under_a_second() {
    let (one, two) = (Node::start().await, Node::start().await);
    two.connect(&one).await.unwrap();
    let mut times = Vec::new();
    for _ in 0..9 {
        let start = Instant::now();
        one.chain.generate(1, 1).await;
        two.follows(&one).await;
        times.push(start.elapsed());
    }
    times.sort();
    // The median, on a machine that has other things to do.
    assert!(times[4].as_millis() < 1_000, "{times:?}");
}

// N33
#[tokio::test(flavor = "multi_thread")]
async fn the_transfers_of_the_chain_that_lost_wait_everywhere_again() {
    let node = async |peers| {
        Node::start_with(Setting { params: rich(&[1, 2]), peers, ..Setting::default() }).await
    };
    let (one, three) = (node(vec![]).await, node(vec![]).await);
    let (two, four) = (node(vec![one.address()]).await, node(vec![three.address()]).await);
    two.has_peers(1).await;
    four.has_peers(1).await;
    for (half, blocks, from) in [([&one, &two], 20, 1), ([&three, &four], 21, 2)] {
        half[0].chain.generate(blocks, from).await;
        for nonce in 0..10 {
            half[0].chain.transfer(pay(from, 9, nonce, half[0].chain.reader.params()));
            if nonce < 9 {
                half[0].chain.generate(1, from).await;
            }
        }
        half[1].follows(half[0]).await;
    }
    two.connect(&three).await.unwrap();
    for node in [&one, &two] {
        node.follows(&four).await;
    }
    // Of the lighter half all ten wait again, of the heavier one the last.
    let waiting = |node: &Node| node.chain.reader.view().mempool().count();
    for node in [&one, &two, &three, &four] {
        eventually("all of them wait", async || waiting(node) == 11).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_transfers_reaches_a_peer_whole() {
    let params = rich(&[1, 2, 3]);
    let start = async |peers| {
        Node::start_with(Setting { params: params.clone(), peers, ..Setting::default() }).await
    };
    let one = start(vec![]).await;
    let two = start(vec![one.address()]).await;
    one.chain.generate(1, 1).await;
    two.follows(&one).await;
    for account in 1..4 {
        for nonce in 0..900 {
            one.chain.transfer(pay(account, 9, nonce, &params));
        }
    }
    let count = async |node: &Node| node.chain.reader.view().mempool().count();
    eventually("all are taken", async || count(&one).await == 2_700).await;
    eventually("all arrive", async || count(&two).await == 2_700).await;
}
