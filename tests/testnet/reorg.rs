//! `chain testnet reorg` on all nodes: double-spends and dropped payments with several confirmations.

use super::Testnet;
use super::nodes::Nodes;
use crate::harness::{chain, eventually, request, signal};
use crate::test_chain::{dev_key, pay, test_address};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::thread;

// genesis ─ 1 ─ 2 ─ 3 payment ─ 4 ─ 5 ─ 6 other payment ─ 7 ─ 8
//               └─ 3 double-spend ─ 4 ─ 5 ─ 6 other payment ─ 7 ─ 8 ─ 9
#[test]
fn payment_with_confirmations_is_double_spent_on_every_node() {
    let testnet = Testnet::new();
    testnet.run(&["up", "--nodes", "4", "--miners", "0", "--network", "dev"]);
    testnet.connected(&[2, 2, 2, 2]);
    let nodes = Nodes::of(&testnet);
    nodes.generate(2);
    let payment = nodes.submit(&pay(&dev_key(0), 0, test_address(1), 700));
    nodes.generate(3);
    let other = nodes.submit(&pay(&dev_key(1), 0, test_address(2), 50));
    nodes.generate(3);
    testnet.run(&["wait", "--agree"]);
    testnet.run(&["wait", "--tx", &payment, "--confirmations", "6"]);

    let double_spend = pay(&dev_key(0), 0, test_address(3), 700);
    let (replacement, hex) = (double_spend.id().to_string(), hex::encode(double_spend.encode()));
    let done = testnet.run(&["reorg", "--depth", "6", "--replace", &hex, "--json"]).0;
    let done: Value = serde_json::from_str(&done).unwrap();
    assert_eq!(
        [&done["fork_height"], &done["depth"], &done["connected"], &done["left_out"]],
        [&json!(2), &json!(6), &json!(7), &json!([])]
    );
    assert_eq!(done["replaced"], json!({ payment.clone(): replacement.clone() }));
    assert_eq!(testnet.status().each("tip"), vec![done["new_tip"].clone(); 4]);

    for node in 1..=4 {
        let dropped = nodes.get(node, &format!("/v1/transactions/{payment}"));
        assert_eq!([&dropped["status"], &dropped["reason"]], ["dropped", "nonce-used"]);
        let confirmed = nodes.get(node, &format!("/v1/transactions/{replacement}"));
        assert_eq!([&confirmed["height"], &confirmed["confirmations"]], [3, 7]);
        assert_eq!(nodes.get(node, &format!("/v1/transactions/{other}"))["height"], 6);

        let events = nodes.events(node, "transaction.dropped", "id", &json!(payment));
        assert_eq!(events.last().unwrap().1["reason"], "nonce-used");
        let is_block = |name: &str| name.starts_with("block.") || name == "reorg";
        let blocks: Vec<(&str, &Value)> = events
            .iter()
            .filter(|(name, _)| is_block(name))
            .map(|(name, data)| (name.as_str(), &data["height"]))
            .skip_while(|(name, _)| *name != "block.disconnected")
            .collect();
        let disconnected = (3..=8).rev().map(|height| ("block.disconnected", json!(height)));
        let connected = (3..=9).map(|height| ("block.connected", json!(height)));
        let expected: Vec<_> =
            disconnected.chain(connected).chain([("reorg", json!(null))]).collect();
        let expected: Vec<_> = expected.iter().map(|(name, height)| (*name, height)).collect();
        assert_eq!(blocks, expected, "node {node}");
        let (_, reorg) = events.iter().find(|(name, _)| name == "reorg").unwrap();
        assert_eq!([&reorg["depth"], &reorg["fork_height"]], [6, 2]);
        assert_eq!(reorg["new_tip"], done["new_tip"]);
    }

    let done = testnet.run(&["reorg", "--depth", "4", "--drop", &other]).0;
    assert!(
        done.starts_with("4 nodes reorganised, depth 4: 5 blocks above height 5, tip "),
        "{done}"
    );
    assert!(done.contains(&format!("transfer {other} was dropped")), "{done}");
    for node in 1..=4 {
        let dropped = nodes.get(node, &format!("/v1/transactions/{other}"));
        assert_eq!([&dropped["status"], &dropped["reason"]], ["dropped", "removed"]);
    }
    assert!(testnet.fails(&["reorg", "--depth", "11"]).contains("the chain has only 10 blocks"));
    let error = testnet.fails(&["reorg", "--depth", "3", "--replace", &hex]);
    assert!(error.contains("no transfer in the last 3 blocks has nonce 0 of dch1"), "{error}");
    let error = testnet.fails(&["reorg", "--depth", "3", "--drop", &payment]);
    assert!(error.contains("is not in the last 3 blocks: use a greater --depth"), "{error}");
    let poor = hex::encode(pay(&dev_key(0), 0, test_address(3), 2_000_000_000_000).encode());
    let error = testnet.fails(&["reorg", "--depth", "8", "--replace", &poor]);
    assert!(error.contains("the replacement is invalid: "), "{error}");
    assert_eq!(testnet.status().each("height"), [10, 10, 10, 10]);
}

// A network with a lottery: the miner is paused while the branch is mined.
#[test]
fn reorg_gains_on_a_node_that_mines() {
    let testnet = Testnet::new();
    testnet.run(&["up", "--nodes", "2", "--spacing", "1"]);
    testnet.run(&["wait", "--height", "3"]);
    let done = testnet.run(&["reorg", "--depth", "2", "--json"]).0;
    let done: Value = serde_json::from_str(&done).unwrap();
    assert!(done["depth"].as_u64().unwrap() >= 2, "{done}");
    let block = format!("/v1/blocks/{}", done["old_tip"].as_str().unwrap());
    let nodes = Nodes::of(&testnet);
    for node in 1..=2 {
        assert_eq!(nodes.get(node, &block)["in_best_chain"], false);
    }
    // The miner continues.
    let height = testnet.status().height(2).unwrap() + 1;
    testnet.run(&["wait", "--height", &height.to_string()]);
}

// A node that found as much work while the branch was on its way kept its chain, and the command waited.
#[test]
fn block_found_while_the_branch_arrives_does_not_stop_the_reorg() {
    let testnet = Testnet::new();
    testnet.run(&["up", "--nodes", "2", "--miners", "0", "--network", "dev"]);
    let nodes = Nodes::of(&testnet);
    nodes.generate(40);
    testnet.run(&["wait", "--agree"]);
    let done = thread::scope(|scope| {
        scope.spawn(|| {
            eventually("the first blocks of the branch", || {
                let tips = nodes.get(1, "/v1/chain/tips");
                (tips["items"].as_array().unwrap().len() > 1).then_some(())
            });
            nodes.generate(1);
        });
        testnet.run(&["reorg", "--depth", "39", "--json"]).0
    });
    let done: Value = serde_json::from_str(&done).unwrap();
    assert_eq!(done["depth"], 40, "{done}");
    assert_eq!(done["connected"], 41);
    assert_eq!(testnet.status().each("tip"), vec![done["new_tip"].clone(); 2]);
}

// The command waited for ten minutes for a tip that one node had when it was asked, though all had left it.
#[test]
fn block_found_while_tips_are_compared_does_not_stop_the_reorg() {
    let testnet = Testnet::new();
    testnet.run(&["up", "--nodes", "2", "--miners", "0", "--network", "dev"]);
    let nodes = Nodes::of(&testnet);
    nodes.generate(2);
    testnet.run(&["wait", "--agree"]);
    testnet.run(&["partition", "1", "2"]);
    testnet.generate(2, 1);
    let mut reorg = chain(&testnet.command(&["reorg", "--depth", "2", "--json"]));
    let mut reorg = reorg.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut notices = BufReader::new(reorg.stderr.take().unwrap()).lines();
    assert_eq!(notices.next().unwrap().unwrap(), "waiting until all nodes have one tip");
    let block = request(&nodes.addresses[1], "GET", "/v1/blocks/3/raw", &[], b"").unwrap();
    let (address, headers) = (&nodes.addresses[0], ["Content-Type: text/plain"]);
    let response = request(address, "POST", "/v1/blocks", &headers, block.body()).unwrap();
    assert_eq!(response.status, 201, "{}", response.text());
    let done = reorg.wait_with_output().unwrap();
    assert!(done.status.success(), "{:?}", notices.last());
    let done: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!([&done["fork_height"], &done["depth"]], [1, 2]);
    assert_eq!(testnet.status().each("tip"), vec![done["new_tip"].clone(); 2]);
}

// The command did not end when the node was killed that it waited for a block of.
#[test]
fn node_that_is_killed_in_a_reorg_ends_it() {
    let testnet = Testnet::new();
    testnet.run(&["up", "--nodes", "2", "--spacing", "60"]);
    let mut reorg = chain(&testnet.command(&["reorg", "node-2", "--depth", "100"]));
    let mut reorg = reorg.stderr(Stdio::piped()).spawn().unwrap();
    let mut notices = BufReader::new(reorg.stderr.take().unwrap()).lines();
    let is_mining = |line: &str| line.starts_with("mining 100 blocks on node-2");
    assert!(notices.by_ref().any(|line| is_mining(&line.unwrap())));
    let pid = testnet.status().node(2)["pid"].as_u64().unwrap();
    signal(u32::try_from(pid).unwrap(), "KILL");
    let last = notices.last().unwrap().unwrap();
    assert!(last.contains("node-2 does not run any more"), "{last}");
    assert_eq!(reorg.wait().unwrap().code(), Some(1));
}

#[test]
fn first_node_generates_the_blocks_of_a_testnet() {
    let testnet = Testnet::new();
    testnet.run(&["up", "--nodes", "2", "--automine", "--network", "dev"]);
    testnet.connected(&[1, 1]);
    let nodes = Nodes::of(&testnet);
    let transfer = pay(&dev_key(0), 0, test_address(1), 700);
    let (body, headers) = (hex::encode(transfer.encode()), ["Content-Type: text/plain"]);
    let address = &nodes.addresses[1];
    request(address, "POST", "/v1/transactions", &headers, body.as_bytes()).unwrap();
    testnet.run(&["wait", "--tx", &transfer.id().to_string()]);
    let (tip, _) = testnet.run(&["wait", "--agree"]);
    assert!(tip.starts_with("1 "), "{tip}");
    let error = testnet.fails(&["up", "--block-time", "1"]);
    assert!(error.contains("(generated blocks: automine, not every 1 s)"), "{error}");
    testnet.run(&["down", "--delete"]);

    assert!(testnet.fails(&["up", "--automine", "--miners", "2"]).contains("leave --miners out"));
    let error = testnet.fails(&["up", "--automine", "--network", "testnet"]);
    assert!(error.contains("blocks of `testnet` take work"), "{error}");
    testnet.run(&["up", "--nodes", "2", "--block-time", "1"]);
    testnet.run(&["wait", "--height", "2"]);
    let error = testnet.fails(&["wait", "--height", "1000", "--timeout", "0"]);
    assert!(error.contains("is at height ") && error.contains(" after 0 s"), "{error}");
}
