//! Reorganisations to heavier branches, submitted block by block over REST.

use crate::harness::{Node, Response, eventually, verified};
use crate::test_chain::{dev_chain, dev_key, pay, test_address, text};
use chain::testing::{unsolve_header, with_changed_coinbase};
use chain::{Address, Block};
use serde_json::{Value, json};

fn submit(node: &Node, block: &Block) -> Response {
    let body = hex::encode(block.encode());
    node.request("POST", "/v1/blocks", &["Content-Type: text/plain"], body.as_bytes())
}

/// Submits blocks, which must be accepted with this status.
pub fn submit_all(node: &Node, blocks: &[Block], status: &str) {
    for block in blocks {
        let answer = submit(node, block);
        assert_eq!((answer.status, &answer.json()["status"]), (201, &json!(status)), "{answer:?}");
    }
}

/// Submits a block that must be rejected; returns the code of the rule.
fn rejection(node: &Node, block: &Block) -> String {
    let answer = submit(node, block);
    assert_eq!(answer.status, 422, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    answer.json()["code"].as_str().unwrap().to_owned()
}

/// The ids of all transactions in the mempool, sorted.
fn mempool(node: &Node) -> Vec<String> {
    let page = node.get("/v1/mempool/transactions?limit=100").json();
    assert_eq!(page["next"], Value::Null);
    let items = page["items"].as_array().unwrap();
    let mut ids: Vec<_> =
        items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

/// The state of accounts by the best chain.
fn accounts(node: &Node, addresses: &[Address]) -> Vec<Value> {
    let fields = ["address", "balance", "immature", "nonce", "transaction_count"];
    let account = |address: &Address| {
        let all = node.get(&format!("/v1/accounts/{}", text(*address))).json();
        Value::from_iter(fields.map(|field| (field, all[field].clone())))
    };
    addresses.iter().map(account).collect()
}

/// The raw blocks of the best chain, the accounts with their transactions, and the mempool.
fn snapshot(node: &Node, addresses: &[Address]) -> Vec<Vec<u8>> {
    let heights = 0..=node.tip().height;
    let blocks = heights.map(|height| format!("/v1/blocks/{height}/raw"));
    let accounts = addresses.iter().flat_map(|address| {
        let account = format!("/v1/accounts/{}", text(*address));
        [format!("{account}/transactions?limit=100"), account]
    });
    let pool = ["/v1/mempool", "/v1/mempool/transactions", "/v1/headers", "/v1/fees"];
    let paths = blocks.chain(accounts).chain(pool.map(str::to_owned));
    paths.map(|path| node.get(&path).body().to_vec()).collect()
}

// genesis ─ a1 ─ … ─ a100
//        └─ b1 ─ … ─ b100 ─ b101      heavier
#[test]
fn reorg_of_a_hundred_blocks_returns_transactions_to_mempool() {
    let [alice, bob] = [0, 1].map(dev_key);
    let (miner_a, miner_b, carol, dave) =
        (test_address(1), test_address(2), test_address(3), test_address(4));
    let mut a = dev_chain(miner_a);
    let mut lost = Vec::new();
    let losing: Vec<Block> = (0..100)
        .map(|number: u64| match number {
            10..20 => {
                lost.push(pay(&alice, number - 10, carol, 1_000 + number));
                a.mine_block(lost.last().cloned())
            }
            // The other branch has a conflicting transfer with this nonce.
            50 => a.mine_block([pay(&bob, 0, carol, 5_000)]),
            _ => a.mine_block([]),
        })
        .collect();
    let mut b = dev_chain(miner_b);
    let mut winning = b.mine(40);
    winning.push(b.mine_block([pay(&bob, 0, dave, 7_000), pay(&bob, 1, dave, 8_000)]));
    winning.extend(b.mine(60));
    let folder = tempfile::tempdir().unwrap();
    let [data, fresh] = ["data", "fresh"].map(|name| folder.path().join(name));

    let node = Node::start(&data, &[]);
    submit_all(&node, &losing, "connected");
    assert!(mempool(&node).is_empty());
    let (last, before) = winning.split_last().unwrap();
    submit_all(&node, before, "side-branch");
    assert_eq!(node.tip().hash, losing[99].hash().to_string());
    submit_all(&node, std::slice::from_ref(last), "connected");
    let again = submit(&node, last);
    assert_eq!((again.status, &again.json()["status"]), (200, &json!("known")));

    let mut returned: Vec<_> = lost.iter().map(|transfer| transfer.id().to_string()).collect();
    returned.sort();
    assert_eq!(mempool(&node), returned);
    let stale = node.get(&format!("/v1/blocks/{}", losing[99].hash())).json();
    assert_eq!((&stale["in_best_chain"], &stale["confirmations"]), (&json!(false), &json!(0)));

    let straight = Node::start(&fresh, &[]);
    submit_all(&straight, &winning, "connected");
    let addresses = [alice, bob]
        .map(|key| key.public_key().address())
        .into_iter()
        .chain([miner_a, miner_b, carol, dave]);
    let addresses: Vec<Address> = addresses.collect();
    assert_eq!(accounts(&node, &addresses), accounts(&straight, &addresses));
    assert_eq!(node.tip(), straight.tip());
    for path in ["/v1/headers", "/v1/blocks/41?full=true", "/v1/blocks?limit=100"] {
        assert_eq!(node.get(path).body(), straight.get(path).body(), "{path}");
    }

    // The state survives a restart.
    node.kill();
    let node = Node::start(&data, &[]);
    assert_eq!(accounts(&node, &addresses), accounts(&straight, &addresses));
    let tip = node.tip();
    assert!(node.stop().success());
    assert_eq!(verified(&data), tip);
}

// genesis ─ a1 ─ … ─ a5
//        └─ b1 ─ b2 ─ b3 ─ … ─ b6 ─ b7      b3 breaks a rule that only connecting it detects
#[test]
fn heavier_branch_with_invalid_block_changes_nothing() {
    let alice = dev_key(0);
    let (miner_a, miner_b, carol) = (test_address(1), test_address(2), test_address(3));
    let mut a = dev_chain(miner_a);
    let mut best = vec![a.mine_block([pay(&alice, 0, carol, 1_000)])];
    best.extend(a.mine(4));
    let good = {
        let mut b = dev_chain(miner_b);
        let mut good = vec![b.mine_block([pay(&alice, 0, miner_b, 9_000)])];
        good.extend(b.mine(6));
        good
    };
    let addresses = [alice.public_key().address(), miner_a, miner_b, carol];
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let node = Node::start(&data, &[]);
    submit_all(&node, &best, "connected");
    let pending = pay(&alice, 1, carol, 2_000);
    let body = hex::encode(pending.encode());
    let headers = ["Content-Type: text/plain"];
    let answer = node.request("POST", "/v1/transactions", &headers, body.as_bytes());
    assert_eq!(answer.status, 201, "{answer:?}");
    let before = snapshot(&node, &addresses);

    let greedy = with_changed_coinbase(&good, 2, |coinbase| coinbase.reward += 1);
    let forgetful = with_changed_coinbase(&good, 2, |coinbase| coinbase.commitment[31] ^= 1);
    for (bad, code) in [(greedy, "wrong-reward"), (forgetful, "wrong-accounts")] {
        let first_new = usize::from(code == "wrong-accounts") * 2;
        submit_all(&node, &bad[first_new..5], "side-branch");
        assert_eq!(rejection(&node, &bad[5]), "invalid-ancestor");
        assert_eq!(rejection(&node, &bad[5]), "invalid-ancestor");
        assert_eq!(rejection(&node, &bad[6]), "invalid-ancestor");
        assert_eq!(rejection(&node, &bad[2]), code, "the broken rule is remembered");
        assert_eq!(snapshot(&node, &addresses), before);
    }

    // The valid blocks of the branch are not marked invalid.
    submit_all(&node, &good[2..5], "side-branch");
    submit_all(&node, &good[5..6], "connected");
    let tip = node.tip();
    assert_eq!(tip.hash, good[5].hash().to_string());
    node.kill();
    assert_eq!(verified(&data), tip);
}

#[test]
fn rejects_invalid_blocks_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(&folder.path().join("data"), &[]);
    let blocks = dev_chain(test_address(1)).mine(3);

    assert_eq!(rejection(&node, &blocks[1]), "unknown-parent");
    submit_all(&node, &blocks[..1], "connected");
    submit_all(&node, &blocks[1..2], "connected");
    let before = snapshot(&node, &[test_address(1)]);

    let greedy = with_changed_coinbase(&blocks, 2, |coinbase| coinbase.reward += 1);
    assert_eq!(rejection(&node, &greedy[2]), "wrong-reward");
    assert_eq!(rejection(&node, &greedy[2]), "wrong-reward");
    let mut other = blocks[2].clone();
    unsolve_header(&mut other.header);
    assert_eq!(rejection(&node, &other), "high-hash");
    let bytes = blocks[2].encode();
    for (body, status) in [
        (hex::encode(&bytes[1..]), 422),
        (hex::encode(&bytes[..bytes.len() - 1]), 422),
        (format!("{}00", hex::encode(&bytes)), 422),
        ("not hexadecimal".into(), 400),
    ] {
        let headers = ["Content-Type: text/plain"];
        let answer = node.request("POST", "/v1/blocks", &headers, body.as_bytes());
        assert_eq!(answer.status, status, "{answer:?}");
    }
    assert_eq!(snapshot(&node, &[test_address(1)]), before);
    submit_all(&node, &blocks[2..], "connected");
}

// genesis ─ … ─ 3 ─ 4 ─ 5 ─ … ─ 17      best chain of a; b has invalidated 4
#[test]
fn restarted_node_with_invalidated_block_becomes_ready() {
    let folder = tempfile::tempdir().unwrap();
    let (a, data) = (Node::start(&folder.path().join("a"), &[]), folder.path().join("b"));
    let to_a = ["--peer", &a.multiaddr()];
    let b = Node::start(&data, &to_a);
    let blocks = a.generate(5, &text(test_address(1))).unwrap();
    eventually("the same tip", || (b.tip() == a.tip()).then_some(()));
    let request = json!({ "hash": blocks[3] });
    assert_eq!(b.send("POST", "/v1/dev/invalidate", &request).json()["height"], 3);
    assert!(b.stop().success());
    let further = a.generate(12, &text(test_address(1))).unwrap();
    let b = Node::start(&data, &to_a);
    let last = eventually("the blocks of the other branch", || {
        let answer = b.get(&format!("/v1/blocks/{}", further[11]));
        (answer.status == 200).then(|| answer.json())
    });
    assert_eq!(last["in_best_chain"], false);
    eventually("that it is ready", || (b.get("/readyz").status == 200).then_some(()));
    let chain = b.get("/v1/chain").json();
    assert_eq!((&chain["height"], &chain["peers"]), (&json!(3), &json!(1)));
    assert_eq!(chain["sync"]["state"], "synced");
}
