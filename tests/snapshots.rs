//! Snapshots of a node of a development network, and blocks that derive from a seed.

use crate::harness::{Node, eventually};
use crate::test_chain::{dev_key, pay, test_address, text};
use serde_json::{Value, json};
use std::fs;

fn miner() -> String {
    text(test_address(9))
}

/// What a snapshot must preserve, from the API.
fn state(node: &Node) -> Value {
    let get = |path: &str| node.get(path).json();
    let chain = get("/v1/chain");
    json!({
        "tip": [chain["height"], chain["tip"]],
        "miner": get(&format!("/v1/accounts/{}", miner())),
        "pool": get("/v1/mempool/transactions")["items"],
        "jobs": get("/v1/mining/jobs")["items"],
    })
}

#[test]
fn node_returns_to_its_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(&folder.path().join("data"), &["--listen", "none"]);
    node.generate(3, &miner()).unwrap();
    let transfer = hex::encode(pay(&dev_key(0), 0, test_address(1), 700).encode());
    let post = |path: &str, body: &Value| node.send("POST", path, body);
    let headers = ["Content-Type: text/plain"];
    let submitted = node.request("POST", "/v1/transactions", &headers, transfer.as_bytes());
    assert_eq!(submitted.status, 201);
    let frozen = json!({ "time": 1_900_000_000, "frozen": true, "next_block_time": 1_900_000_007 });
    assert_eq!(post("/v1/dev/time", &frozen).status, 200);
    let job = json!({ "miner": miner(), "blocks": 1, "threads": 1, "delay_seconds": 86_400 });
    assert_eq!(post("/v1/mining/jobs", &job).status, 202);
    let before = state(&node);
    let named = json!({ "name": "a" });
    let taken = post("/v1/dev/snapshot", &named);
    assert_eq!((taken.status, &taken.json()["height"]), (201, &json!(3)));
    assert_eq!(post("/v1/dev/snapshot", &named).json()["code"], "snapshot-exists");
    assert_eq!(post("/v1/dev/revert", &json!({ "name": "b" })).status, 404);
    for bad in ["", "../data", "a/b", ".x"] {
        assert_eq!(post("/v1/dev/snapshot", &json!({ "name": bad })).status, 400, "{bad}");
    }
    for round in 0..3 {
        assert_eq!(post("/v1/dev/time", &json!({ "time": 1_900_001_000 })).status, 200);
        node.generate(20 + round, &miner()).unwrap();
        // The response is that of the node before, and the next one that of the node after.
        assert_eq!(post("/v1/dev/revert", &named).status, 200);
        assert_eq!(state(&node), before, "round {round}");
    }
    let generated = node.generate(1, &miner()).unwrap();
    let block = node.get(&format!("/v1/blocks/{}", generated[0])).json();
    assert_eq!([&block["height"], &block["time"]], [&json!(4), &json!(1_900_000_007)]);
    assert_eq!(block["transactions"].as_array().unwrap().len(), 2, "{block}");
    let listed = node.send("GET", "/v1/dev/snapshots", &Value::Null).json();
    assert_eq!(
        [&listed["items"][0]["name"], &listed["items"][0]["height"]],
        [&json!("a"), &json!(3)]
    );
    assert_eq!(node.send("DELETE", "/v1/dev/snapshots/a", &Value::Null).status, 204);
    assert_eq!(post("/v1/dev/revert", &named).status, 404);
    assert!(node.stop().success());
}

#[test]
fn killed_node_completes_its_return_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let node = Node::start(&data, &["--listen", "none"]);
    node.generate(1, &miner()).unwrap();
    assert_eq!(node.send("POST", "/v1/dev/snapshot", &json!({ "name": "a" })).status, 201);
    node.generate(1, &miner()).unwrap();
    node.kill();
    fs::write(data.join("returning-to"), "a").unwrap();
    fs::remove_dir_all(data.join("blocks")).unwrap();
    let node = Node::start(&data, &["--listen", "none"]);
    assert_eq!(node.get("/v1/chain").json()["height"], 1);
    assert!(!data.join("returning-to").exists());
    node.kill();
    fs::write(data.join("returning-to"), "b").unwrap();
    let error = Node::start_failing(&data, &["--listen", "none"]);
    assert!(
        error.contains("cannot return to snapshot `b`") && error.contains("there are a"),
        "{error}"
    );
}

#[test]
fn node_with_peers_does_not_return_to_a_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let one = Node::start(&folder.path().join("1"), &[]);
    let other = Node::start(&folder.path().join("2"), &["--peer", &one.multiaddr()]);
    let named = json!({ "name": "a" });
    assert_eq!(one.send("POST", "/v1/dev/snapshot", &named).status, 201);
    eventually("a peer", || {
        let peers = one.get("/v1/peers").json();
        (peers["items"].as_array().unwrap().len() == 1).then_some(())
    });
    let refused = one.send("POST", "/v1/dev/revert", &named);
    assert_eq!((refused.status, &refused.json()["code"]), (409, &json!("has-peers")));
    drop(other);
}

#[test]
fn same_seed_gives_the_same_blocks_and_key() {
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str, seed: &str| {
        let flags = ["--listen", "none", "--seed", seed];
        let mut node = Node::start(&folder.path().join(name), &flags);
        node.generate(2, &miner()).unwrap();
        let stale = node.generate(1, &miner()).unwrap();
        node.send("POST", "/v1/dev/invalidate", &json!({ "hash": stale[0] }));
        let other = node.generate(1, &miner()).unwrap();
        assert_ne!(stale, other, "the block that was invalidated is not generated again");
        node.terminate();
        drop(node);
        let node = Node::start(&folder.path().join(name), &flags);
        node.generate(2, &miner()).unwrap();
        (node.tip(), node.node_file()["node_id"].clone())
    };
    let first = run("a", "7");
    assert_eq!(run("b", "7"), first);
    let third = run("c", "8");
    assert!(third.0 != first.0 && third.1 != first.1);
}

#[test]
fn seed_needs_a_development_network_without_mining_threads() {
    let folder = tempfile::tempdir().unwrap();
    let error = |flags: &[&str]| Node::start_failing(&folder.path().join("data"), flags);
    assert!(
        error(&["--network", "testnet", "--seed", "7"])
            .contains("--seed needs a development network")
    );
    let miner = miner();
    let error = error(&["--seed", "7", "--mine", "--miner", &miner]);
    assert!(error.contains("threads, which find them at random times"), "{error}");
}
