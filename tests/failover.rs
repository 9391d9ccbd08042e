//! Commands that are given several nodes: what becomes of them when the one that they ask goes away.

use crate::forge::{RICH, key, pay, somebody, text};
use crate::harness::{Node, Process, chain, eventually, run};
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

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Two nodes that are connected.
fn pair(folder: &TempDir) -> (Node, Node) {
    let a = Node::start(&folder.path().join("a"), &[]);
    let b = Node::start(&folder.path().join("b"), &["--peer", &a.multiaddr()]);
    eventually("a connection", || (b.get("/v1/chain").json()["peers"] == 1).then_some(()));
    (a, b)
}

/// The URL of something that passes on what clients and a node say, and hears when a client's
/// request has these words in it.
fn relay(node: &Node, words: &'static str) -> (String, Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let target = node.url().replace("http://", "");
    let (told, heard) = sync_channel(1);
    thread::spawn(move || {
        for client in listener.incoming() {
            let client = client.unwrap();
            // A node that is gone leaves the client with a connection that breaks off.
            if let Ok(server) = TcpStream::connect(&target) {
                let back = (server.try_clone().unwrap(), client.try_clone().unwrap());
                let listener = (words, told.clone());
                thread::spawn(move || pass(client, server, Some(&listener)));
                thread::spawn(move || pass(back.0, back.1, None));
            }
        }
    });
    (url, heard)
}

fn pass(mut from: TcpStream, mut to: TcpStream, listener: Option<&(&str, SyncSender<()>)>) {
    let mut bytes = [0; 4_096];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
        let said = String::from_utf8_lossy(&bytes[..count]);
        if let Some((_, told)) = listener.filter(|(words, _)| said.contains(words)) {
            let _ = told.try_send(());
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

/// Lines that a process has printed into a file.
fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn a_command_that_waits_goes_on_with_the_next_node() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = pair(&folder);
    let transfer = pay(&key(RICH[0]), 0, somebody(1), 5);
    let (id, body) = (transfer.id().to_string(), hex::encode(transfer.encode()));
    let media_type = ["Content-Type: text/plain"];
    assert_eq!(a.ask("POST", "/v1/transactions", &media_type, body.as_bytes()).status, 201);
    let path = format!("/v1/transactions/{id}");
    eventually("the transfer at both", || (b.get(&path).status == 200).then_some(()));
    let (url, asked) = relay(&a, "wait=confirmed");
    let said = folder.path().join("said");
    let mut command = chain(&["tx", "wait", &id, "--json", "--node", &url, "--node", &b.url()]);
    let mut waiting = Process::start_into(&mut command, &said, File::create(&said).unwrap());
    asked.recv_timeout(PATIENCE).unwrap();
    a.kill();
    b.generate(1, &text(somebody(2))).unwrap();
    assert!(waiting.wait().success(), "{}", waiting.stderr());
    let said: Value = serde_json::from_str(&fs::read_to_string(&said).unwrap()).unwrap();
    assert_eq!((&said["id"], &said["status"]), (&json!(id), &json!("confirmed")));
}

/// A node that takes a payment and is gone before it has told anybody.
#[test]
fn a_payment_that_its_node_took_to_the_grave_is_sent_again() {
    let folder = tempfile::tempdir().unwrap();
    let a = Node::start(&folder.path().join("a"), &["--max-peers", "0"]);
    let b = Node::start(&folder.path().join("b"), &["--max-peers", "0"]);
    let (url, asked) = relay(&a, "wait=confirmed");
    let (user, recipient) = (User::with_dev_wallet(), text(somebody(1)));
    let nodes = format!("{url},{}", b.url());
    let send = ["send", "--to", &recipient, "--amount", "2", "--wait", "--node", &nodes];
    let address = a.url();
    let (confirmed, c) = thread::scope(|scope| {
        let sending = scope.spawn(|| user.json(&send));
        asked.recv_timeout(PATIENCE).unwrap();
        a.kill();
        eventually("the payment at the other node", || {
            (b.get("/v1/mempool").json()["count"] == 1).then_some(())
        });
        // And back to where the first was, which knows nothing any more.
        let flags = ["--max-peers", "0", "--api", address.strip_prefix("http://").unwrap()];
        let c = Node::start(&folder.path().join("c"), &flags);
        b.kill();
        eventually("the payment at the first node again", || {
            (c.get("/v1/mempool").json()["count"] == 1).then_some(())
        });
        c.generate(1, &text(somebody(2))).unwrap();
        (sending.join().unwrap(), c)
    });
    assert_eq!(confirmed["status"], "confirmed");
    let account = c.get(&format!("/v1/accounts/{recipient}")).json();
    assert_eq!(account["balance"], 200_000_000, "paid once");
}

#[test]
fn a_follower_hears_every_event_once_in_order_whatever_happens_to_its_node() {
    let folder = tempfile::tempdir().unwrap();
    let (data, told) = (folder.path().join("data"), folder.path().join("told"));
    let node = Node::start(&data, &[]);
    let mut command = chain(&["events", "--json", "--since", "0", "--topics", "block.connected"]);
    let mut following =
        Process::start_into(command.arg("--data").arg(&data), &told, File::create(&told).unwrap());
    let miner = text(somebody(1));
    node.generate(5, &miner).unwrap();
    eventually("the first event", || lines(&told).first().cloned());
    node.generate(5, &miner).unwrap();
    node.kill();
    let node = Node::start(&data, &[]);
    node.generate(5, &miner).unwrap();
    assert!(node.stop().success());
    let node = Node::start(&data, &[]);
    node.generate(5, &miner).unwrap();
    let told = eventually("all events", || {
        let told = lines(&told);
        (told.len() >= 20).then_some(told)
    });
    let events = told.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let (numbers, heights): (Vec<_>, Vec<_>) = events
        .map(|event| (event["id"].as_u64().unwrap(), event["data"]["height"].as_u64().unwrap()))
        .unzip();
    assert!(heights.iter().copied().eq(1..=20), "{heights:?}");
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    assert!(following.terminate().0.success());
}

#[test]
fn events_of_the_next_node_begin_with_a_reset_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = pair(&folder);
    let told = folder.path().join("told");
    let mut command = chain(&["events", "--json", "--topics", "block.connected", "--since", "0"]);
    let mut following = Process::start_into(
        command.args(["--node", &a.url(), "--node", &b.url()]),
        &told,
        File::create(&told).unwrap(),
    );
    let miner = text(somebody(1));
    a.generate(2, &miner).unwrap();
    let read = |count: usize| {
        let told = eventually("events", || {
            let told = lines(&told);
            (told.len() >= count).then_some(told)
        });
        let event = |line: &String| serde_json::from_str::<Value>(line).unwrap();
        told.iter().map(event).collect::<Vec<_>>()
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
    assert!(following.terminate().0.success());
}

#[test]
fn mining_goes_on_for_the_next_node() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = pair(&folder);
    let miner = text(somebody(1));
    let mut command = chain(&["mine", "--network", "dev", "--miner", &miner, "--threads", "1"]);
    command.args(["--node", &a.url(), "--node", &b.url(), "--blocks", "1000000"]);
    let mut mining = Process::start(&mut command, &folder.path().join("mining"));
    let higher =
        |than: u64| eventually("higher blocks", || (b.tip().height > than).then(|| b.tip().height));
    let height = higher(3);
    a.kill();
    higher(higher(height) + 3);
    let moved = format!("going on with the node at {}/", b.url());
    eventually("the other node on the line", || mining.stderr().contains(&moved).then_some(()));
    assert!(mining.terminate().0.success());
}

#[test]
fn mining_can_be_stopped_while_its_node_says_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(&folder.path().join("node"), &[]);
    let (url, asked) = relay(&node, "GET /v1/chain ");
    let miner = text(somebody(1));
    let mut command = chain(&["mine", "--network", "dev", "--miner", &miner, "--threads", "1"]);
    let mut mining = Process::start(command.args(["--node", &url]), &folder.path().join("mining"));
    eventually("the line", || mining.stderr().contains("mining for").then_some(()));
    let stopped = Command::new("kill").args(["-STOP", &node.id().to_string()]).status();
    assert!(stopped.unwrap().success());
    while asked.try_recv().is_ok() {}
    // No answer will come to this one.
    asked.recv_timeout(PATIENCE).unwrap();
    let (status, took) = mining.terminate();
    assert!(status.success(), "{}", mining.stderr());
    assert!(took < Duration::from_secs(20), "less than a client waits for an answer: {took:?}");
}

#[test]
fn a_node_of_another_network_is_no_stand_in() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(&folder.path().join("dev"), &[]);
    let flags = ["--network", "testnet", "--listen", "none", "--discover", "false"];
    let other = Node::start(&folder.path().join("testnet"), &flags);
    let nodes = format!("{},{}", node.url(), other.url());
    assert_eq!(run(&["status", "--node", &nodes]).0, Some(0));
    // Nobody listens at port 1.
    let nodes = format!("http://127.0.0.1:1,{},{}", other.url(), node.url());
    let (code, _, line) = run(&["status", "--network", "dev", "--node", &nodes]);
    assert_eq!((code, line.lines().count()), (Some(1), 1), "{line}");
    assert!(line.contains("is of network testnet") && line.contains("not dev"), "{line}");
    // Nor may it be steered, however good the token.
    let (nodes, data) = (format!("{},{}", node.url(), other.url()), other.data().to_str().unwrap());
    let place = ["--network", "dev", "--node", &nodes, "--data", data];
    let (code, _, line) = run(&[&["jobs", "start", "--blocks", "1"], &place[..]].concat());
    assert_eq!((code, line.lines().count()), (Some(1), 1), "{line}");
    assert!(line.contains("is of network testnet") && line.contains("not dev"), "{line}");
    assert_eq!(other.get("/v1/mining/jobs").json()["items"], json!([]));
    // What steers a node is for the one whose token it is.
    let nodes = format!("{},{}", other.url(), node.url());
    let data = node.data().to_str().unwrap();
    let miner = text(somebody(1));
    let order = ["jobs", "start", "--miner", &miner, "--blocks", "1", "--node", &nodes];
    let (code, _, line) = run(&[&order[..], &["--data", data]].concat());
    assert_eq!(code, Some(0), "{line}");
    eventually("the block", || (node.tip().height == 1).then_some(()));
    let (code, _, line) = run(&[&order[..], &["--data", folder.path().to_str().unwrap()]].concat());
    assert_eq!(code, Some(1));
    assert!(line.contains("for one node alone"), "{line}");
}
