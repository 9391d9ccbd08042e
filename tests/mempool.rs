//! Pending transfers over restarts: those that were acknowledged are pending again, and a replay of all
//! events agrees with the mempool.

use crate::events::Subscriber;
use crate::harness::{Node, Response};
use crate::test_chain::{dev_key, pay, test_address, text};
use chain::tx::{Memo, Payment};
use chain::{Params, Transfer};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Transfers of a request.
const BATCH: usize = 100;

fn submit(node: &Node, transfers: &[Transfer]) -> Response {
    let items: Vec<Value> =
        transfers.iter().map(|transfer| json!({ "hex": hex::encode(transfer.encode()) })).collect();
    node.send("POST", "/v1/transactions/batch", &json!(items))
}

fn submit_all(node: &Node, transfers: &[Transfer]) {
    for batch in transfers.chunks(BATCH) {
        let results = submit(node, batch).json();
        for result in results.as_array().unwrap() {
            assert!(result["problem"].is_null(), "{result}");
        }
    }
}

/// The transactions of the mempool with their statuses, the oldest first.
pub fn waiting(node: &Node) -> Vec<(String, String)> {
    let mut path = "/v1/mempool/transactions?limit=100".to_owned();
    let mut all = Vec::new();
    loop {
        let page = node.get(&path).json();
        for item in page["items"].as_array().unwrap() {
            let text = |field: &str| item[field].as_str().unwrap().to_owned();
            all.push((text("id"), text("status")));
        }
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/v1/mempool/transactions?limit=100&cursor={next}");
    }
    all.reverse();
    all
}

fn status(node: &Node, transfer: &Transfer) -> (Value, Value) {
    let response = node.get(&format!("/v1/transactions/{}", transfer.id())).json();
    (response["status"].clone(), response["reason"].clone())
}

/// Checks that all events before the next block yield the pending transfers, and that the block
/// confirms them.
fn assert_events_agree(node: &Node) {
    let pending: BTreeSet<String> = waiting(node)
        .into_iter()
        .filter_map(|(id, status)| (status == "pending").then_some(id))
        .collect();
    let block = node.generate(1, &text(test_address(9))).unwrap().remove(0);
    let mut subscriber = Subscriber::new(node, "?since=0", None);
    let events = subscriber.until(|event| event.data["hash"] == *block);
    let mut replayed = BTreeSet::new();
    for event in events {
        let id = event.data["id"].as_str().unwrap_or_default().to_owned();
        match event.name.as_str() {
            "transaction.accepted" => assert!(replayed.insert(id), "accepted twice"),
            "transaction.dropped" | "transaction.confirmed" => drop(replayed.remove(&id)),
            _ => {}
        }
    }
    assert_eq!(replayed, pending);
}

/// Two senders' transfers in turn, with one each that waits for a missing nonce.
fn transfers() -> Vec<Transfer> {
    let of = |sender, nonce| pay(&dev_key(sender), nonce, test_address(7), 1);
    let in_turn = (0..150).flat_map(|nonce| [of(0, nonce), of(1, nonce)]);
    in_turn.chain([of(0, 160), of(1, 151)]).collect()
}

fn replacement(nonce: u64) -> Transfer {
    let memo = Memo::new(b"instead".to_vec()).unwrap();
    let payment = Payment { nonce, recipient: test_address(8), amount: 1, fee: 5_000, memo };
    Transfer::sign(payment, &dev_key(0), Params::dev().genesis_hash())
}

// M14
#[test]
fn acknowledged_transfers_are_pending_again_after_stop_and_kill() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut node = Node::start(&data, &[]);
    let transfers = transfers();
    submit_all(&node, &transfers);
    let replaced = &transfers[20];
    submit_all(&node, &[replacement(10)]);
    let expected = waiting(&node);
    assert_eq!(expected.len(), transfers.len());
    assert_eq!(expected.iter().filter(|(_, status)| status == "queued").count(), 2);
    for is_killed in [true, false, true] {
        if is_killed {
            node.kill();
        } else {
            assert!(node.stop().success());
        }
        node = Node::start(&data, &[]);
        assert_eq!(waiting(&node), expected);
        assert_eq!(status(&node, replaced), (json!("dropped"), json!("replaced")));
    }
    assert_events_agree(&node);
    // What the block has confirmed stays away.
    node.kill();
    let node = Node::start(&data, &[]);
    assert_eq!(waiting(&node).len(), 2);
    assert_eq!(status(&node, &transfers[0]).0, json!("confirmed"));
}

#[test]
fn lost_mempool_journal_is_reported_by_events() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let node = Node::start(&data, &[]);
    let transfers = transfers();
    submit_all(&node, &transfers[..10]);
    // An event that was not written yet would be lost as well.
    Subscriber::new(&node, "?since=0", None).until(|event| event.number == 10);
    node.kill();
    fs::remove_dir_all(data.join("journal/mempool")).unwrap();
    let node = Node::start(&data, &[]);
    assert_eq!(waiting(&node), []);
    submit_all(&node, &transfers[..1]);
    let mut subscriber = Subscriber::new(&node, "?since=0", None);
    let block = node.generate(1, &text(test_address(9))).unwrap().remove(0);
    let events = subscriber.until(|event| event.data["hash"] == *block);
    let reasons = |name: &str| -> Vec<Value> {
        let events = events.iter().filter(|event| event.name == name);
        events.map(|event| event.data["reason"].clone()).collect()
    };
    assert_eq!(reasons("transaction.dropped"), vec![json!("lost"); 10]);
    assert_eq!(reasons("transaction.accepted").len(), 11);
}

/// Flips a byte in the middle of a file.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

// T22
#[test]
fn damaged_mempool_journal_is_warned_of_and_does_not_refuse_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    for is_killed in [false, true] {
        let node = Node::start(&data, &[]);
        submit_all(&node, &transfers());
        let before = waiting(&node);
        if is_killed {
            node.kill();
        } else {
            assert!(node.stop().success());
        }
        damage(&data.join("journal/mempool/00000.log"));
        let node = Node::start(&data, &[]);
        let log = node.log();
        let is_warning = |line: &&str| line.contains("WARN") && line.contains("journal/mempool");
        assert_eq!(log.lines().filter(is_warning).count(), 1, "{log}");
        let after = waiting(&node);
        assert!(after.len() > 50 && after.len() < before.len(), "{}", after.len());
        assert_eq!(after, before[..after.len()]);
        assert_events_agree(&node);
        drop(node);
        fs::remove_dir_all(&data).unwrap();
    }
}
