//! `chain testnet up --seed`: the same commands give the same blocks.

use super::Testnet;
use super::nodes::Nodes;
use crate::test_chain::{dev_key, pay, test_address};
use serde_json::{Value, json};

/// Runs a script on a testnet: the tips after it, and the blocks of the events of a node.
fn script(testnet: &Testnet, seed: &str) -> (Value, Vec<(String, Value)>) {
    let flags = ["--nodes", "3", "--automine", "--network", "dev", "--seed", seed];
    testnet.run(&[&["up"][..], &flags].concat());
    testnet.connected(&[2, 2, 2]);
    let nodes = Nodes::of(testnet);
    for nonce in 0..2 {
        let id = nodes.submit_confirmed(&pay(&dev_key(0), nonce, test_address(1), 700 + nonce));
        testnet.run(&["wait", "--tx", &id]);
    }
    testnet.run(&["wait", "--agree"]);
    testnet.run(&["reorg", "--depth", "2"]);
    testnet.run(&["skew", "1", "30"]);
    nodes.generate(1);
    // On the same block as before, with other blocks.
    testnet.run(&["reorg", "--depth", "2"]);
    testnet.run(&["wait", "--agree"]);
    let tip = nodes.get(2, "/v1/chain");
    let accounts = [0, 1].map(|number| {
        let address = crate::test_chain::text(test_address(number));
        nodes.get(2, &format!("/v1/accounts/{address}"))
    });
    let events = nodes.events(2, "block.connected", "hash", &tip["tip"]).into_iter();
    let events = events.filter(|(name, _)| name.starts_with("block.") || name == "reorg");
    let without_arrival = |(name, mut data): (String, Value)| {
        let object = data.as_object_mut().unwrap();
        object.retain(|field, _| !["time", "number"].contains(&field.as_str()));
        (name, data)
    };
    let events = events.map(without_arrival).collect();
    (json!([tip["tip"], tip["height"], accounts]), events)
}

#[test]
fn same_seed_and_commands_give_the_same_blocks_balances_and_events() {
    let [one, other] = [Testnet::new(), Testnet::new()];
    let (tip, events) = script(&one, "7");
    assert!(events.len() > 10, "{events:?}");
    assert!(events.iter().all(|(name, data)| name == "reorg" || data["hash"].is_string()));
    one.run(&["down"]);
    assert_eq!(script(&other, "7"), (tip, events));
    // Ports and keys are the same, too.
    let identity = |testnet: &Testnet| {
        let manifest = std::fs::read_to_string(testnet.dir.join("testnet.json")).unwrap();
        let keys = [1, 2, 3]
            .map(|node| std::fs::read(testnet.dir.join(format!("node-{node}/node.key"))).unwrap());
        (serde_json::from_str::<Value>(&manifest).unwrap()["nodes"][0]["miner"].clone(), keys)
    };
    assert_eq!(identity(&one), identity(&other));
    let error = other.fails(&["up", "--seed", "8"]);
    assert!(error.contains("(seed: 7, not 8)"), "{error}");
}

#[test]
fn seed_does_not_determine_blocks_that_threads_find() {
    let testnet = Testnet::new();
    let (_, notice) = testnet.run(&["up", "--nodes", "1", "--miners", "1", "--seed", "7"]);
    assert!(notice.contains("threads, which find them at random times"), "{notice}");
    testnet.run(&["wait", "--height", "1"]);
    testnet.run(&["down", "--delete"]);
    let (_, notice) = testnet.run(&["up", "--nodes", "2", "--seed", "7"]);
    assert!(!notice.contains("threads"), "{notice}");
    let generated = Nodes::of(&testnet).post(1, "/v1/dev/generate", &json!({ "blocks": 1 }));
    assert_eq!(generated.status, 200);
}
