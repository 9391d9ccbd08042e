//! `chain testnet snapshot`, `revert`, `export` and `import`.

use super::Testnet;
use super::nodes::Nodes;
use crate::harness::eventually;
use crate::test_chain::{dev_key, pay, test_address, text};
use serde_json::{Value, json};
use std::fs;

/// What a snapshot must preserve of each node, from its API.
fn state(testnet: &Testnet) -> Vec<Value> {
    let nodes = Nodes::of(testnet);
    let each = (1..=nodes.addresses.len()).map(|node| {
        let get = |path: &str| nodes.get(node, path);
        let chain = get("/v1/chain");
        let accounts = (0..4).map(|number| text(test_address(number)));
        let accounts: Vec<Value> =
            accounts.map(|address| get(&format!("/v1/accounts/{address}"))).collect();
        json!({
            "tip": [chain["height"], chain["tip"], chain["chain_work"]],
            "accounts": accounts,
            "pool": get("/v1/mempool/transactions")["items"],
            "jobs": get("/v1/mining/jobs")["items"],
            "forks": get("/v1/chain/tips"),
        })
    });
    each.collect()
}

/// Generates a block on the first node, and waits until all nodes have it.
fn generate(testnet: &Testnet, nodes: &Nodes) {
    nodes.generate(1);
    testnet.run(&["wait", "--agree"]);
}

#[test]
fn testnet_returns_to_its_snapshot() {
    let testnet = Testnet::new();
    let three = ["--nodes", "3", "--miners", "0", "--network", "dev", "--topology", "full"];
    testnet.run(&[&["up"][..], &three].concat());
    testnet.connected(&[2, 2, 2]);
    let nodes = Nodes::of(&testnet);
    generate(&testnet, &nodes);
    let pending = nodes.submit(&pay(&dev_key(0), 0, test_address(1), 700));
    eventually("the transfer on node 3", || {
        let pool = nodes.get(3, "/v1/mempool/transactions");
        (pool["items"].as_array()?.len() == 1).then_some(())
    });
    let frozen = json!({ "time": 1_900_000_000, "frozen": true });
    assert_eq!(nodes.post(2, "/v1/dev/time", &frozen).status, 200);
    let job = json!({
        "blocks": 1, "threads": 1, "delay_seconds": 86_400, "miner": text(test_address(3))
    });
    assert_eq!(nodes.post(3, "/v1/mining/jobs", &job).status, 202);
    testnet.run(&["link", "1", "2", "--latency", "20ms"]);
    let (before, status) = (state(&testnet), testnet.status());

    let (list, notice) = testnet.run(&["snapshot", "funded"]);
    assert!(list.is_empty() && notice.contains("chain testnet revert funded"), "{notice}");
    assert_eq!(testnet.status().each("pid"), status.each("pid"), "nodes keep running");
    let error = testnet.fails(&["snapshot", "funded"]);
    assert!(error.contains("there is a snapshot `funded` already"), "{error}");

    generate(&testnet, &nodes);
    testnet.run(&["wait", "--tx", &pending]);
    nodes.submit(&pay(&dev_key(1), 0, test_address(2), 5));
    assert_eq!(nodes.post(2, "/v1/dev/time", &json!({ "offset_seconds": 0 })).status, 200);
    testnet.run(&["link", "all", "all", "--cut"]);
    testnet.run(&["kill", "1"]);
    testnet.run(&["up", "--nodes", "4"]);
    let links = fs::read_to_string(testnet.dir.join("links.json")).unwrap();
    assert!(links.contains("true"), "{links}");

    let (table, notice) = testnet.run(&["revert", "funded"]);
    assert!(notice.contains("returned to snapshot `funded`"), "{notice}");
    assert_eq!(table.lines().count(), 4, "{table}");
    let after = testnet.status();
    assert_eq!(after.each("state"), ["running"; 3]);
    assert_eq!(after.each("api"), status.each("api"), "the same ports");
    assert_eq!(state(&testnet), before);
    let offset = after.node(2)["clock_offset"].as_i64().unwrap();
    assert!(offset != 0 && after.node(1)["clock_offset"] == 0, "{offset}");
    let slow = after.0["links"].as_array().unwrap().iter();
    assert_eq!(slow.filter(|link| link["latency_ms"] == 20).count(), 2);
    testnet.connected(&[2, 2, 2]);
    // The chain goes on from there.
    generate(&testnet, &nodes);
    assert_eq!(testnet.status().each("height"), [2, 2, 2]);
}

#[test]
fn only_nodes_that_ran_start_again() {
    let testnet = Testnet::new();
    testnet.run(&["up", "--nodes", "3", "--miners", "0", "--network", "dev"]);
    testnet.run(&["stop", "1"]);
    testnet.run(&["pause", "2"]);
    testnet.run(&["snapshot", "a"]);
    assert_eq!(testnet.status().each("state"), ["stopped", "paused", "running"]);
    testnet.run(&["resume", "2"]);
    testnet.run(&["start", "1"]);
    testnet.run(&["revert", "a"]);
    assert_eq!(testnet.status().each("state"), ["stopped", "paused", "running"]);
    testnet.run(&["down"]);
    testnet.run(&["revert", "a"]);
    assert_eq!(testnet.status().each("state"), ["stopped", "paused", "running"]);
}

#[test]
fn interrupted_revert_is_refused_until_it_is_repeated() {
    let testnet = Testnet::new();
    testnet.run(&["up", "--nodes", "2", "--miners", "0", "--network", "dev"]);
    let nodes = Nodes::of(&testnet);
    generate(&testnet, &nodes);
    testnet.run(&["snapshot", "a"]);
    testnet.run(&["down"]);
    // As if the machine had stopped in the middle.
    fs::write(testnet.dir.join("returning-to"), "a").unwrap();
    fs::remove_dir_all(testnet.dir.join("node-2/blocks")).unwrap();
    fs::remove_file(testnet.dir.join("testnet.json")).unwrap();
    testnet.run(&["revert", "a"]);
    assert_eq!(testnet.status().each("height"), [1, 1]);
    fs::write(testnet.dir.join("returning-to"), "a").unwrap();
    testnet.run(&["stop", "2"]);
    for command in [["start", "2"], ["snapshot", "b"]] {
        let error = testnet.fails(&command);
        assert!(
            error.contains("interrupted: complete it with `chain testnet revert a`"),
            "{error}"
        );
    }
    let (listed, _) = testnet.run(&["snapshot", "--list", "--json"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["name"]), (1, &json!("a")));
    fs::remove_file(testnet.dir.join("snapshots/a/node-1/genesis")).unwrap();
    let error = testnet.fails(&["revert", "a"]);
    assert!(error.contains("are missing: remove it"), "{error}");
    testnet.run(&["snapshot", "--remove", "a"]);
    assert!(testnet.fails(&["revert", "a"]).contains("no snapshot `a`: there is none"));
}

/// Generates a block of a network that is not `dev`.
fn generate_local(testnet: &Testnet) {
    let generated = Nodes::of(testnet).post(1, "/v1/dev/generate", &json!({ "blocks": 1 }));
    assert_eq!(generated.status, 200);
    testnet.run(&["wait", "--agree"]);
}

#[test]
fn exported_testnet_runs_in_another_directory() {
    let testnet = Testnet::new();
    testnet.run(&["up", "--nodes", "2", "--automine"]);
    testnet.connected(&[1, 1]);
    generate_local(&testnet);
    let before = state(&testnet);
    testnet.run(&["snapshot", "a"]);
    let archive = testnet.dir.with_file_name("whole.tar");
    let archive = archive.to_str().unwrap();
    testnet.run(&["export", "a", "--output", archive]);
    assert!(testnet.fails(&["export", "a", "--output", archive]).contains("exists"));

    let other = Testnet::new();
    assert!(other.fails(&["import", "/nonexistent.tar"]).contains("cannot import"));
    other.run(&["import", archive.strip_suffix(".tar").unwrap()]);
    // Beside the first, whose ports are in use.
    other.run(&["revert", "whole"]);
    other.connected(&[1, 1]);
    assert_eq!(state(&other), before);
    generate_local(&other);
    assert_eq!(other.status().each("height"), [2, 2]);
    assert_eq!(testnet.status().each("height"), [1, 1]);
}
