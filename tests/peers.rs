//! Nodes of one network as processes of their own: they meet, agree, and come back.

use crate::harness::{Node, Response, eventually, run, verified};
use crate::test_chain::{FUNDED_SEEDS, key, pay, test_address, text};
use chain::Transfer;
use serde_json::{Value, json};
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Data folders for a test.
fn places<const COUNT: usize>() -> (TempDir, [PathBuf; COUNT]) {
    let folder = tempfile::tempdir().unwrap();
    let places = std::array::from_fn(|number| folder.path().join(format!("data{number}")));
    (folder, places)
}

/// A node that is told where another one is.
fn joined(data: &Path, other: &Node) -> Node {
    Node::start(data, &["--peer", &other.multiaddr()])
}

fn peers(node: &Node) -> Vec<Value> {
    node.get("/v1/peers").json()["items"].as_array().unwrap().clone()
}

/// Waits until a node has so many peers.
pub fn awaits_peers(node: &Node, count: usize) -> Vec<Value> {
    eventually("peers", || Some(peers(node)).filter(|peers| peers.len() == count))
}

/// Waits until all have one tip.
pub fn agree(nodes: &[&Node]) {
    eventually("one tip", || {
        let tips: Vec<_> = nodes.iter().map(|node| node.tip()).collect();
        tips.windows(2).all(|pair| pair[0] == pair[1]).then_some(())
    });
}

fn generate(node: &Node, blocks: u32) {
    node.generate(blocks, &text(test_address(1))).unwrap();
}

fn send(node: &Node, transfer: &Transfer) -> Value {
    let body = hex::encode(transfer.encode());
    let answer =
        node.request("POST", "/v1/transactions", &["Content-Type: text/plain"], body.as_bytes());
    assert_eq!(answer.status, 201, "{answer:?}");
    Value::from(transfer.id().to_string())
}

fn waiting(node: &Node) -> Vec<Value> {
    let page = node.get("/v1/mempool/transactions?limit=100").json();
    page["items"].as_array().unwrap().iter().map(|item| item["id"].clone()).collect()
}

/// Has a node connect with another.
pub fn connect(node: &Node, other: &Node) -> Response {
    node.send("POST", "/v1/peers", &json!({ "address": other.multiaddr() }))
}

/// A network file: like `dev` but for its name, with these boot nodes.
fn network(folder: &Path, name: &str, boot_nodes: &[String]) -> String {
    let path = folder.join(format!("{name}.toml"));
    let boot_nodes = json!(boot_nodes);
    let file = format!(
        "name = \"{name}\"\nhrp = \"dch\"\nspacing_seconds = 1\nhalf_life_seconds = 60\n\
         fixed_difficulty = true\nlimit_bits = \"207fffff\"\ngenesis_bits = \"207fffff\"\n\
         genesis_time = 1767225600\ninitial_subsidy = 5000000000\nhalving_interval = 210000\n\
         maturity = 1\nmax_future_seconds = 7200\nmax_block_bytes = 2000000\n\
         message = \"{name}\"\nboot_nodes = {boot_nodes}\n"
    );
    fs::write(&path, file).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_block_of_one_node_is_on_the_other() {
    let (_folder, [a, b, c]) = places();
    let a = Node::start(&a, &[]);
    generate(&a, 20);
    let b = joined(&b, &a);
    agree(&[&a, &b]);
    // Each way, and through the one in the middle.
    let c = joined(&c, &b);
    for from in [&a, &b, &c, &a] {
        generate(from, 1);
        agree(&[&a, &b, &c]);
    }
    assert_eq!(c.tip().height, 24);
}

#[test]
fn a_transfer_sent_to_one_node_waits_on_the_other_until_its_block() {
    let (_folder, [a, b]) = places();
    let a = Node::start(&a, &[]);
    let b = joined(&b, &a);
    awaits_peers(&a, 1);
    let rich = FUNDED_SEEDS.map(key);
    for (from, to, transfer) in [
        (&a, &b, pay(&rich[0], 0, test_address(2), 1_000)),
        (&b, &a, pay(&rich[1], 0, test_address(2), 2_000)),
    ] {
        let id = send(from, &transfer);
        eventually("the transfer", || waiting(to).contains(&id).then_some(()));
    }
    generate(&b, 1);
    agree(&[&a, &b]);
    assert!(waiting(&a).is_empty() && waiting(&b).is_empty());
    let paid = a.get(&format!("/v1/accounts/{}", text(test_address(2)))).json();
    assert_eq!(paid["balance"], 3_000);
}

#[test]
fn what_waited_before_they_met_is_exchanged() {
    let (_folder, [a, b]) = places();
    let a = Node::start(&a, &[]);
    let transfer = pay(&key(FUNDED_SEEDS[0]), 0, test_address(2), 1_000);
    let id = send(&a, &transfer);
    let b = joined(&b, &a);
    eventually("the transfer", || waiting(&b).contains(&id).then_some(()));
}

#[test]
fn peers_tell_who_they_are_and_how_they_do() {
    let (_folder, [a, b]) = places();
    let b_data = b.to_str().unwrap().to_owned();
    let a = Node::start(&a, &[]);
    generate(&a, 3);
    let b = joined(&b, &a);
    agree(&[&a, &b]);
    let tip = a.tip();
    let measured = |peer: &Value| {
        let is_known = peer["latency_ms"].as_f64().is_some() && peer["height"] == 3;
        is_known.then(|| peer.clone())
    };
    for (node, other, direction) in [(&a, &b, "inbound"), (&b, &a, "outbound")] {
        let peer = eventually("the peer's height and latency", || measured(peers(node).first()?));
        assert_eq!(peer["id"], other.node_file()["node_id"]);
        assert_eq!((&peer["direction"], &peer["tip"]), (&json!(direction), &json!(tip.hash)));
        assert_eq!(peer["agent"], concat!("chain/", env!("CARGO_PKG_VERSION")));
        assert!(peer["address"].as_str().unwrap().starts_with("/ip4/127.0.0.1/tcp/"), "{peer}");
        assert!(peer["latency_ms"].as_f64().unwrap() < 60_000.0);
        assert!(peer["bytes_sent"].as_u64().unwrap() > 0, "{peer}");
        assert!(peer["bytes_received"].as_u64().unwrap() > 0, "{peer}");
        assert!((-1.0..=20.0).contains(&peer["score"].as_f64().unwrap()), "{peer}");
        assert!(peer["connected_seconds"].as_u64().unwrap() < 600);
        let chain = node.get("/v1/chain").json();
        assert_eq!(chain["peers"], 1);
        eventually("sync", || {
            let chain = node.get("/v1/chain").json();
            let sync = json!({"state": "synced", "best_header_height": 3, "progress": 1.0});
            (chain["sync"] == sync && node.get("/readyz").status == 200).then_some(())
        });
    }

    let id = a.node_file()["node_id"].as_str().unwrap().to_owned();
    let (code, table, stderr) = run(&["peers", "--data", &b_data]);
    assert_eq!(code, Some(0), "{stderr}");
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 2, "{table}");
    assert!(lines[0].starts_with("id ") && lines[1].starts_with(&id[id.len() - 8..]), "{table}");
    assert!(lines[1].contains("outbound") && lines[1].contains("chain/"), "{table}");
    let (_, data, _) = run(&["peers", "--json", "--data", &b_data]);
    let data: Value = serde_json::from_str(&data).unwrap();
    assert_eq!(data["items"][0]["id"], json!(id));
    let (_, status, _) = run(&["status", "--data", &b_data]);
    assert!(
        status.lines().any(|line| line.starts_with("peers") && line.ends_with(" 1")),
        "{status}"
    );
}

#[test]
fn peers_are_added_and_removed_while_the_node_runs() {
    let (_folder, [a, b]) = places();
    let b_data = b.to_str().unwrap().to_owned();
    let (a, b) = (Node::start(&a, &[]), Node::start(&b, &[]));
    generate(&a, 2);
    let id = a.node_file()["node_id"].as_str().unwrap().to_owned();
    let (code, stdout, stderr) = run(&["peers", "add", &a.multiaddr(), "--data", &b_data]);
    assert_eq!((code, stdout), (Some(0), format!("connected to {id}\n")), "{stderr}");
    agree(&[&a, &b]);
    let short = &id[id.len() - 8..];
    let (code, stdout, stderr) = run(&["peers", "remove", short, "--data", &b_data]);
    assert_eq!((code, stdout), (Some(0), format!("disconnected from {id}\n")), "{stderr}");
    awaits_peers(&a, 0);
    awaits_peers(&b, 0);
    let (code, _, stderr) = run(&["peers", "remove", short, "--data", &b_data]);
    assert_eq!((code, stderr.lines().count()), (Some(1), 1), "{stderr}");
    let (code, _, stderr) = run(&["peers", "add", "127.0.0.1:8401", "--data", &b_data]);
    assert_eq!((code, stderr.lines().count()), (Some(1), 1), "{stderr}");
    assert!(stderr.contains("/ip4/192.0.2.7/tcp/8401"), "{stderr}");
    // Somebody else's token does not do, and none is given away to a node at another place.
    let (code, _, stderr) = run(&["peers", "add", &a.multiaddr(), "--node", &b.url()]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("--data") || stderr.contains("home"), "{stderr}");
}

#[test]
fn a_node_that_comes_back_finds_its_peers_and_what_it_missed() {
    let (_folder, [a_data, b_data]) = places();
    let a = Node::start(&a_data, &[]);
    let b = joined(&b_data, &a);
    generate(&a, 5);
    agree(&[&a, &b]);
    let peer = a.multiaddr();
    b.kill();
    generate(&a, 5);
    let b = Node::start(&b_data, &["--peer", &peer]);
    agree(&[&a, &b]);
    assert_eq!(b.tip().height, 10);
    // The other one, at the address it had: who was told to stay connected calls again.
    let listen = peer.split("/p2p/").next().unwrap().to_owned();
    assert!(a.stop().success());
    awaits_peers(&b, 0);
    generate(&b, 2);
    let a = Node::start(&a_data, &["--listen", &listen]);
    agree(&[&a, &b]);
    assert_eq!(a.tip().height, 12);
}

#[test]
fn who_is_banned_stays_out_until_the_ban_is_lifted() {
    let (_folder, [a, b_data]) = places();
    let a = Node::start(&a, &[]);
    let b = joined(&b_data, &a);
    let peer = awaits_peers(&b, 1)[0]["id"].as_str().unwrap().to_owned();
    let data = b_data.to_str().unwrap();
    let flags = ["--seconds", "600", "--reason", "a\u{1b}[2Jb", "--data", data];
    let (code, stdout, stderr) = run(&[&["peers", "ban", &peer][..], &flags].concat());
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.starts_with(&format!("banned {peer} for ")), "{stdout}");
    awaits_peers(&b, 0);
    awaits_peers(&a, 0);
    let refused = connect(&b, &a);
    assert_eq!((refused.status, &refused.json()["code"]), (409, &json!("banned")));

    // Also after a restart.
    assert!(b.stop().success());
    let b = joined(&b_data, &a);
    let bans = b.get("/v1/bans").json();
    assert_eq!(bans["items"][0]["id"], json!(peer), "{bans}");
    let (_, stdout, _) = run(&["peers", "bans", "--data", data]);
    // R22
    assert!(stdout.contains(&peer) && stdout.contains("a\\u{1b}[2Jb"), "{stdout}");
    assert!(peers(&b).is_empty());

    let (code, _, stderr) = run(&["peers", "unban", &peer, "--data", data]);
    assert_eq!(code, Some(0), "{stderr}");
    let answer = connect(&b, &a);
    assert_eq!(answer.status, 201, "{answer:?}");
    awaits_peers(&a, 1);
}

// N24
#[test]
fn nodes_of_different_networks_never_connect() {
    let (folder, [a, b]) = places();
    let other = network(folder.path(), "other", &[]);
    let a = Node::start(&a, &[]);
    generate(&a, 3);
    let b = Node::start(&b, &["--network", &other, "--peer", &a.multiaddr()]);
    let answer = connect(&b, &a);
    assert_ne!(answer.status, 201, "{answer:?}");
    let answer = connect(&a, &b);
    assert_ne!(answer.status, 201, "{answer:?}");
    assert_eq!((peers(&a), peers(&b)), (vec![], vec![]));
    assert_eq!(b.tip().height, 0);
}

#[test]
fn a_sync_that_was_interrupted_goes_on() {
    let (_folder, [a, b_data]) = places();
    let a = Node::start(&a, &[]);
    generate(&a, 4_000);
    let mut kept = 0;
    for part in [500, 1_500, 2_500] {
        let b = joined(&b_data, &a);
        assert!(b.tip().height >= kept, "blocks were lost");
        kept = eventually("a part", || Some(b.tip().height).filter(|height| *height >= part));
        b.kill();
    }
    generate(&a, 2_000);
    let b = joined(&b_data, &a);
    assert!(b.tip().height >= kept, "blocks were lost");
    // R25
    let sync = eventually("a node that is not ready", || {
        let ready = b.get("/readyz").status == 200;
        (!ready).then(|| b.get("/v1/chain").json()["sync"].clone())
    });
    assert!(sync["progress"].as_f64().unwrap() <= 1.0, "{sync}");
    agree(&[&a, &b]);
    eventually("a node that is ready", || (b.get("/readyz").status == 200).then_some(()));
    let tip = b.tip();
    assert!(b.stop().success());
    assert_eq!(verified(&b_data), tip);
}

#[test]
fn a_heavier_chain_wins_when_two_meet() {
    let (_folder, [a, b]) = places();
    let (a, b) = (Node::start(&a, &[]), Node::start(&b, &[]));
    let transfer = pay(&key(FUNDED_SEEDS[0]), 0, test_address(2), 1_000);
    let id = send(&a, &transfer);
    generate(&a, 30);
    generate(&b, 31);
    let heavier = b.tip();
    let answer = connect(&a, &b);
    assert_eq!(answer.status, 201, "{answer:?}");
    agree(&[&a, &b]);
    assert_eq!(a.tip(), heavier);
    // What the lighter branch had confirmed waits again, on both.
    for node in [&a, &b] {
        eventually("the transfer", || waiting(node).contains(&id).then_some(()));
    }
}

// N33
#[test]
fn two_halves_that_were_apart_heal_and_lose_no_transfer() {
    let (_folder, [a, b, c, d]) = places();
    let (a, c) = (Node::start(&a, &[]), Node::start(&c, &[]));
    let (b, d) = (joined(&b, &a), joined(&d, &c));
    let mut sent = Vec::new();
    for (half, blocks, from) in [([&a, &b], 200_u32, 0), ([&c, &d], 201, 1)] {
        for nonce in 0..10_u32 {
            let transfer = pay(&key(FUNDED_SEEDS[from]), nonce.into(), test_address(2), 1_000);
            sent.push(send(half[0], &transfer));
            // The last ones are not mined yet when the halves meet.
            if nonce < 9 {
                generate(half[0], blocks / 9 + u32::from(nonce < blocks % 9));
            }
        }
        agree(&half);
        assert_eq!(u64::from(blocks), half[1].tip().height);
    }
    let heavier = d.tip();
    let begun = Instant::now();
    assert_eq!(connect(&b, &c).status, 201);
    agree(&[&a, &b, &c, &d]);
    let took = begun.elapsed();
    assert_eq!(a.tip(), heavier);
    assert!(took < Duration::from_secs(10), "{took:?}");
    // Of the lighter half all ten wait again, of the heavier one the last.
    for node in [&a, &b, &c, &d] {
        eventually("all transfers", || (waiting(node).len() == 11).then_some(()));
    }
    generate(&c, 1);
    agree(&[&a, &b, &c, &d]);
    for id in &sent {
        let transfer = b.get(&format!("/v1/transactions/{}", id.as_str().unwrap())).json();
        assert_eq!(transfer["status"], "confirmed", "{transfer}");
    }
}

#[test]
fn a_port_that_is_taken_is_told_or_replaced() {
    let (_folder, [data, other]) = places();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("/ip4/127.0.0.1/tcp/{}", taken.local_addr().unwrap().port());
    let line = Node::start_failing(&data, &["--listen", &listen]);
    assert!(line.contains(&listen) && line.contains("--listen"), "{line}");
    // Nodes take the same port no more than others do.
    let a = Node::start(&data, &[]);
    let listen = a.multiaddr().split("/p2p/").next().unwrap().to_owned();
    let line = Node::start_failing(&other, &["--listen", &listen]);
    assert!(line.contains(&listen), "{line}");
    for bad in ["127.0.0.1:8401", "/ip4/127.0.0.1", "/ip4/127.0.0.1/udp/1/quic-v1"] {
        let line = Node::start_failing(&other, &["--listen", bad]);
        assert!(line.contains(bad) && line.contains("/ip4/0.0.0.0/tcp/8401"), "{line}");
        let line = Node::start_failing(&other, &["--peer", bad]);
        assert!(line.contains(bad), "{line}");
    }
    let alone = Node::start(&other, &["--max-peers", "0"]);
    assert_eq!(alone.node_file()["peers"], json!([]));
}

// G10
#[test]
fn mining_waits_for_a_peer_where_there_are_boot_nodes() {
    let (folder, [a, b]) = places();
    // Nobody is there.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let network = network(folder.path(), "far", &[format!("/ip4/127.0.0.1/tcp/{port}")]);
    let miner = text(test_address(1));
    let a = Node::start(&a, &["--network", &network, "--mine", "--miner", &miner]);
    eventually("the reason", || {
        a.log().contains("mining waits: the node has no peers yet").then_some(())
    });
    let ready = a.get("/readyz");
    assert_eq!((ready.status, &ready.json()["code"]), (503, &json!("not-ready")));
    assert_eq!(a.get(&format!("/v1/mining/template?miner={miner}")).status, 503);
    assert_eq!(a.tip().height, 0);
    let b = Node::start(&b, &["--network", &network, "--peer", &a.multiaddr()]);
    eventually("a block", || (b.tip().height > 0).then_some(()));
    assert_eq!(a.log().matches("mining waits").count(), 1, "{}", a.log());
}

#[test]
fn a_miner_with_a_node_of_its_own_joins_before_it_mines() {
    let (_folder, [a, b]) = places();
    let a = Node::start(&a, &[]);
    generate(&a, 300);
    let miner = text(test_address(2));
    let own = ["--network", "dev", "--api", "127.0.0.1:0", "--data", b.to_str().unwrap()];
    let goal = ["mine", "--miner", &miner, "--blocks", "3", "--peer", &a.multiaddr()];
    let (code, stdout, stderr) = run(&[&goal[..], &own].concat());
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("other nodes connect with --peer /ip4/127.0.0.1/tcp/"), "{stderr}");
    let last = stdout.lines().last().unwrap();
    eventually("the last block", || (a.tip().hash == last).then_some(()));
    assert_eq!(a.tip().height, 303);
}

#[test]
fn three_nodes_in_a_line_agree_within_a_second() {
    let (_folder, [a, b, c]) = places();
    let a = Node::start(&a, &[]);
    let b = joined(&b, &a);
    let c = joined(&c, &b);
    awaits_peers(&b, 2);
    generate(&a, 1);
    agree(&[&a, &b, &c]);
    let mut took: Vec<Duration> = (0..9)
        .map(|_| {
            generate(&a, 1);
            let begun = Instant::now();
            agree(&[&a, &b, &c]);
            begun.elapsed()
        })
        .collect();
    took.sort();
    assert!(took[4] < Duration::from_secs(1), "{took:?}");
}
