//! Commands with several nodes: failover when the node in use stops.

use crate::harness::{Node, Process, chain, eventually, run};
use crate::test_chain::{dev_key, pay, test_address, text};
use crate::wallet::User;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

/// Deadline of waits, generous for a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// Two connected nodes.
fn pair(folder: &TempDir) -> (Node, Node) {
    let a = Node::start(&folder.path().join("a"), &[]);
    let b = Node::start(&folder.path().join("b"), &["--peer", &a.multiaddr()]);
    eventually("a connection", || (b.get("/v1/chain").json()["peers"] == 1).then_some(()));
    (a, b)
}

/// The URL of a proxy of a node, and a channel that reports requests that contain a pattern.
fn relay(node: &Node, pattern: &'static str) -> (String, Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let target = node.url().replace("http://", "");
    let (sender, seen) = sync_channel(1);
    thread::spawn(move || {
        for client in listener.incoming() {
            let client = client.unwrap();
            // If the node has stopped, the client loses its connection.
            if let Ok(server) = TcpStream::connect(&target) {
                let reverse = (server.try_clone().unwrap(), client.try_clone().unwrap());
                let observer = (pattern, sender.clone());
                thread::spawn(move || forward(client, server, Some(&observer)));
                thread::spawn(move || forward(reverse.0, reverse.1, None));
            }
        }
    });
    (url, seen)
}

fn forward(mut from: TcpStream, mut to: TcpStream, observer: Option<&(&str, SyncSender<()>)>) {
    let mut bytes = [0; 4_096];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
        let text = String::from_utf8_lossy(&bytes[..count]);
        if let Some((_, sender)) = observer.filter(|(pattern, _)| text.contains(pattern)) {
            let _ = sender.try_send(());
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

/// The lines of a file.
fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn wait_fails_over_to_the_next_node() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = pair(&folder);
    let transfer = pay(&dev_key(0), 0, test_address(1), 5);
    let (id, body) = (transfer.id().to_string(), hex::encode(transfer.encode()));
    let media_type = ["Content-Type: text/plain"];
    assert_eq!(a.request("POST", "/v1/transactions", &media_type, body.as_bytes()).status, 201);
    let path = format!("/v1/transactions/{id}");
    eventually("the transfer at both", || (b.get(&path).status == 200).then_some(()));
    let (url, requested) = relay(&a, "wait=confirmed");
    let output = folder.path().join("output");
    let mut command = chain(&["tx", "wait", &id, "--json", "--node", &url, "--node", &b.url()]);
    let mut waiting = Process::start_into(&mut command, &output, File::create(&output).unwrap());
    requested.recv_timeout(DEADLINE).unwrap();
    a.kill();
    b.generate(1, &text(test_address(2))).unwrap();
    assert!(waiting.wait().success(), "{}", waiting.stderr());
    let output: Value = serde_json::from_str(&fs::read_to_string(&output).unwrap()).unwrap();
    assert_eq!((&output["id"], &output["status"]), (&json!(id), &json!("confirmed")));
}

/// The node accepts a transfer and stops before it announces it.
#[test]
fn resubmits_a_transfer_that_its_node_lost() {
    let folder = tempfile::tempdir().unwrap();
    let a = Node::start(&folder.path().join("a"), &["--max-peers", "0"]);
    let b = Node::start(&folder.path().join("b"), &["--max-peers", "0"]);
    let (url, requested) = relay(&a, "wait=confirmed");
    let (user, recipient) = (User::with_dev_wallet(), text(test_address(1)));
    let nodes = format!("{url},{}", b.url());
    let send = ["send", "--to", &recipient, "--amount", "2", "--wait", "--node", &nodes];
    let address = a.url();
    let (confirmed, c) = thread::scope(|scope| {
        let sending = scope.spawn(|| user.json(&send));
        requested.recv_timeout(DEADLINE).unwrap();
        a.kill();
        eventually("the transfer at the other node", || {
            (b.get("/v1/mempool").json()["count"] == 1).then_some(())
        });
        // Back to the address of the first node, now a new one.
        let flags = ["--max-peers", "0", "--api", address.strip_prefix("http://").unwrap()];
        let c = Node::start(&folder.path().join("c"), &flags);
        b.kill();
        eventually("the transfer at the first address again", || {
            (c.get("/v1/mempool").json()["count"] == 1).then_some(())
        });
        c.generate(1, &text(test_address(2))).unwrap();
        (sending.join().unwrap(), c)
    });
    assert_eq!(confirmed["status"], "confirmed");
    let account = c.get(&format!("/v1/accounts/{recipient}")).json();
    assert_eq!(account["balance"], 200_000_000, "paid once");
}

#[test]
fn events_are_complete_and_ordered_across_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let (data, output) = (folder.path().join("data"), folder.path().join("events"));
    let node = Node::start(&data, &[]);
    let mut command = chain(&["events", "--json", "--since", "0", "--topics", "block.connected"]);
    let mut follower = Process::start_into(
        command.arg("--data").arg(&data),
        &output,
        File::create(&output).unwrap(),
    );
    let miner = text(test_address(1));
    node.generate(5, &miner).unwrap();
    eventually("the first event", || lines(&output).first().cloned());
    node.generate(5, &miner).unwrap();
    node.kill();
    let node = Node::start(&data, &[]);
    node.generate(5, &miner).unwrap();
    assert!(node.stop().success());
    let node = Node::start(&data, &[]);
    node.generate(5, &miner).unwrap();
    let printed = eventually("all events", || {
        let printed = lines(&output);
        (printed.len() >= 20).then_some(printed)
    });
    let events = printed.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let (numbers, heights): (Vec<_>, Vec<_>) = events
        .map(|event| (event["id"].as_u64().unwrap(), event["data"]["height"].as_u64().unwrap()))
        .unzip();
    assert!(heights.iter().copied().eq(1..=20), "{heights:?}");
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    assert!(follower.terminate().0.success());
}

#[test]
fn switch_to_the_next_node_starts_with_a_reset_event() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = pair(&folder);
    let output = folder.path().join("events");
    let mut command = chain(&["events", "--json", "--topics", "block.connected", "--since", "0"]);
    let mut follower = Process::start_into(
        command.args(["--node", &a.url(), "--node", &b.url()]),
        &output,
        File::create(&output).unwrap(),
    );
    let miner = text(test_address(1));
    a.generate(2, &miner).unwrap();
    let read = |count: usize| {
        let printed = eventually("events", || {
            let printed = lines(&output);
            (printed.len() >= count).then_some(printed)
        });
        let event = |line: &String| serde_json::from_str::<Value>(line).unwrap();
        printed.iter().map(event).collect::<Vec<_>>()
    };
    assert!(read(2).iter().all(|event| event["event"] == "block.connected"));
    eventually("the blocks at both", || (b.tip().height == 2).then_some(()));
    a.kill();
    let reset = read(3).remove(2);
    assert_eq!((&reset["event"], &reset["data"]["number"]), (&json!("reset"), &reset["id"]));
    assert_eq!(reset["data"]["node"], format!("{}/", b.url()));
    let hash = b.generate(1, &miner).unwrap().remove(0);
    let event = read(4).remove(3);
    assert_eq!(
        (&event["event"], &event["data"]["hash"]),
        (&json!("block.connected"), &json!(hash))
    );
    assert!(event["id"].as_u64() > reset["id"].as_u64());
    assert!(follower.terminate().0.success());
}

#[test]
fn mining_fails_over_to_the_next_node() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = pair(&folder);
    let miner = text(test_address(1));
    let mut command = chain(&["mine", "--network", "dev", "--miner", &miner, "--threads", "1"]);
    command.args(["--node", &a.url(), "--node", &b.url(), "--blocks", "1000000"]);
    let mut mining = Process::start(&mut command, &folder.path().join("mining"));
    let higher =
        |than: u64| eventually("higher blocks", || (b.tip().height > than).then(|| b.tip().height));
    let height = higher(3);
    a.kill();
    higher(higher(height) + 3);
    let switched = format!("switched to the node at {}/", b.url());
    eventually("the other node on the line", || mining.stderr().contains(&switched).then_some(()));
    assert!(mining.terminate().0.success());
}

#[test]
fn mining_stops_while_its_node_does_not_respond() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(&folder.path().join("node"), &[]);
    let (url, requested) = relay(&node, "GET /v1/chain ");
    let miner = text(test_address(1));
    let mut command = chain(&["mine", "--network", "dev", "--miner", &miner, "--threads", "1"]);
    let mut mining = Process::start(command.args(["--node", &url]), &folder.path().join("mining"));
    eventually("the line", || mining.stderr().contains("mining for").then_some(()));
    let stopped = Command::new("kill").args(["-STOP", &node.id().to_string()]).status();
    assert!(stopped.unwrap().success());
    while requested.try_recv().is_ok() {}
    // This request remains without a response.
    requested.recv_timeout(DEADLINE).unwrap();
    let (status, duration) = mining.terminate();
    assert!(status.success(), "{}", mining.stderr());
    assert!(
        duration < Duration::from_secs(20),
        "less than the time limit of a response: {duration:?}"
    );
}

#[test]
fn rejects_nodes_of_different_networks() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(&folder.path().join("dev"), &[]);
    let flags = ["--network", "testnet", "--listen", "none", "--discover", "false"];
    let other = Node::start(&folder.path().join("testnet"), &flags);
    let nodes = format!("{},{}", node.url(), other.url());
    assert_eq!(run(&["status", "--node", &nodes]).0, Some(0));
    // No program listens at port 1.
    let nodes = format!("http://127.0.0.1:1,{},{}", other.url(), node.url());
    let (code, _, line) = run(&["status", "--network", "dev", "--node", &nodes]);
    assert_eq!((code, line.lines().count()), (Some(1), 1), "{line}");
    assert!(line.contains("is on network testnet") && line.contains("not dev"), "{line}");
    // Nor does it receive a request that changes it, even with its token.
    let (nodes, data) = (format!("{},{}", node.url(), other.url()), other.data().to_str().unwrap());
    let flags = ["--network", "dev", "--node", &nodes, "--data", data];
    let (code, _, line) = run(&[&["jobs", "start", "--blocks", "1"], &flags[..]].concat());
    assert_eq!((code, line.lines().count()), (Some(1), 1), "{line}");
    assert!(line.contains("is on network testnet") && line.contains("not dev"), "{line}");
    assert_eq!(other.get("/v1/mining/jobs").json()["items"], json!([]));
    // A request with a token goes to the node of the token.
    let nodes = format!("{},{}", other.url(), node.url());
    let data = node.data().to_str().unwrap();
    let miner = text(test_address(1));
    let start = ["jobs", "start", "--miner", &miner, "--blocks", "1", "--node", &nodes];
    let (code, _, line) = run(&[&start[..], &["--data", data]].concat());
    assert_eq!(code, Some(0), "{line}");
    eventually("the block", || (node.tip().height == 1).then_some(()));
    let (code, _, line) = run(&[&start[..], &["--data", folder.path().to_str().unwrap()]].concat());
    assert_eq!(code, Some(1));
    assert!(line.contains("for one node"), "{line}");
}
