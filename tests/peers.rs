//! Node processes that form a network: connections, synchronisation, relay and bans.

use crate::harness::{Node, Response, eventually, run, skip, verified};
use crate::test_chain::{dev_key, pay, test_address, text};
use chain::Transfer;
use serde_json::{Value, json};
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Data directories for a test.
fn data_dirs<const COUNT: usize>() -> (TempDir, [PathBuf; COUNT]) {
    let directory = tempfile::tempdir().unwrap();
    let data_dirs = std::array::from_fn(|number| directory.path().join(format!("data{number}")));
    (directory, data_dirs)
}

/// Starts a node with another one as its persistent peer.
fn start_with_peer(data: &Path, other: &Node) -> Node {
    Node::start(data, &["--peer", &other.multiaddr()])
}

fn peers(node: &Node) -> Vec<Value> {
    node.get("/v1/peers").json()["items"].as_array().unwrap().clone()
}

/// Waits until a node has a number of peers.
pub fn wait_for_peers(node: &Node, count: usize) -> Vec<Value> {
    eventually("peers", || Some(peers(node)).filter(|peers| peers.len() == count))
}

/// Waits until all nodes have the same tip.
pub fn wait_for_same_tip(nodes: &[&Node]) {
    eventually("the same tip", || {
        let tips: Vec<_> = nodes.iter().map(|node| node.tip()).collect();
        tips.windows(2).all(|pair| pair[0] == pair[1]).then_some(())
    });
}

/// Mines blocks on a node.
pub fn generate(node: &Node, blocks: u32) {
    node.generate(blocks, &text(test_address(1))).unwrap();
}

/// Submits a transfer to a node, and returns its id.
pub fn send(node: &Node, transfer: &Transfer) -> Value {
    let body = hex::encode(transfer.encode());
    let response =
        node.request("POST", "/v1/transactions", &["Content-Type: text/plain"], body.as_bytes());
    assert_eq!(response.status, 201, "{response:?}");
    Value::from(transfer.id().to_string())
}

/// The ids of the transfers in the mempool of a node.
pub fn pending(node: &Node) -> Vec<Value> {
    let page = node.get("/v1/mempool/transactions?limit=100").json();
    page["items"].as_array().unwrap().iter().map(|item| item["id"].clone()).collect()
}

/// Connects a node to another one through the API.
pub fn connect(node: &Node, other: &Node) -> Response {
    node.send("POST", "/v1/peers", &json!({ "address": other.multiaddr() }))
}

/// Writes the file of a network that equals `dev` except for its name and boot nodes.
fn network(directory: &Path, name: &str, boot_nodes: &[String]) -> String {
    let path = directory.join(format!("{name}.toml"));
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
fn blocks_reach_every_node() {
    let (_directory, [a, b, c]) = data_dirs();
    let a = Node::start(&a, &[]);
    generate(&a, 20);
    let b = start_with_peer(&b, &a);
    wait_for_same_tip(&[&a, &b]);
    // In both directions, also through the middle one.
    let c = start_with_peer(&c, &b);
    for from in [&a, &b, &c, &a] {
        generate(from, 1);
        wait_for_same_tip(&[&a, &b, &c]);
    }
    assert_eq!(c.tip().height, 24);
}

#[test]
fn transfers_reach_the_mempool_of_a_peer_and_leave_it_with_their_block() {
    let (_directory, [a, b]) = data_dirs();
    let a = Node::start(&a, &[]);
    let b = start_with_peer(&b, &a);
    wait_for_peers(&a, 1);
    let funded = [0, 1].map(dev_key);
    for (from, to, transfer) in [
        (&a, &b, pay(&funded[0], 0, test_address(2), 1_000)),
        (&b, &a, pay(&funded[1], 0, test_address(2), 2_000)),
    ] {
        let id = send(from, &transfer);
        eventually("the transfer", || pending(to).contains(&id).then_some(()));
    }
    generate(&b, 1);
    wait_for_same_tip(&[&a, &b]);
    assert!(pending(&a).is_empty() && pending(&b).is_empty());
    let paid = a.get(&format!("/v1/accounts/{}", text(test_address(2)))).json();
    assert_eq!(paid["balance"], 3_000);
}

#[test]
fn new_peer_receives_pending_transfers() {
    let (_directory, [a, b]) = data_dirs();
    let a = Node::start(&a, &[]);
    let transfer = pay(&dev_key(0), 0, test_address(2), 1_000);
    let id = send(&a, &transfer);
    let b = start_with_peer(&b, &a);
    eventually("the transfer", || pending(&b).contains(&id).then_some(()));
}

#[test]
fn lists_peers_with_agent_height_latency_and_traffic() {
    let (_directory, [a, b]) = data_dirs();
    let b_data = b.to_str().unwrap().to_owned();
    let a = Node::start(&a, &[]);
    generate(&a, 3);
    let b = start_with_peer(&b, &a);
    wait_for_same_tip(&[&a, &b]);
    let tip = a.tip();
    let complete = |peer: &Value| {
        let is_complete = peer["latency_ms"].as_f64().is_some() && peer["height"] == 3;
        is_complete.then(|| peer.clone())
    };
    for (node, other, direction) in [(&a, &b, "inbound"), (&b, &a, "outbound")] {
        let peer = eventually("the peer's height and latency", || complete(peers(node).first()?));
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
    assert!(lines[1].contains("persistent") && lines[1].contains("chain/"), "{table}");
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
fn adds_and_removes_peers_at_run_time() {
    let (_directory, [a, b]) = data_dirs();
    let b_data = b.to_str().unwrap().to_owned();
    let (a, b) = (Node::start(&a, &[]), Node::start(&b, &[]));
    generate(&a, 2);
    let id = a.node_file()["node_id"].as_str().unwrap().to_owned();
    let (code, stdout, stderr) = run(&["peers", "add", &a.multiaddr(), "--data", &b_data]);
    assert_eq!((code, stdout), (Some(0), format!("connected to {id}\n")), "{stderr}");
    wait_for_same_tip(&[&a, &b]);
    let short = &id[id.len() - 8..];
    let (code, stdout, stderr) = run(&["peers", "remove", short, "--data", &b_data]);
    assert_eq!((code, stdout), (Some(0), format!("disconnected from {id}\n")), "{stderr}");
    wait_for_peers(&a, 0);
    wait_for_peers(&b, 0);
    let (code, _, stderr) = run(&["peers", "remove", short, "--data", &b_data]);
    assert_eq!((code, stderr.lines().count()), (Some(1), 1), "{stderr}");
    let (code, _, stderr) = run(&["peers", "add", "127.0.0.1:8401", "--data", &b_data]);
    assert_eq!((code, stderr.lines().count()), (Some(1), 1), "{stderr}");
    assert!(stderr.contains("/ip4/192.0.2.7/tcp/8401"), "{stderr}");
    // Without the data directory there is no token for the node, and no other token is sent to it.
    let (code, _, stderr) = run(&["peers", "add", &a.multiaddr(), "--node", &b.url()]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("--data") || stderr.contains("home"), "{stderr}");
}

#[test]
fn restarted_node_reconnects_and_syncs_missed_blocks() {
    let (_directory, [a_data, b_data]) = data_dirs();
    let a = Node::start(&a_data, &[]);
    let b = start_with_peer(&b_data, &a);
    generate(&a, 5);
    wait_for_same_tip(&[&a, &b]);
    let peer = a.multiaddr();
    b.kill();
    generate(&a, 5);
    let b = Node::start(&b_data, &["--peer", &peer]);
    wait_for_same_tip(&[&a, &b]);
    assert_eq!(b.tip().height, 10);
    // The other node restarts at the same address, and its persistent peer reconnects.
    let listen = peer.split("/p2p/").next().unwrap().to_owned();
    assert!(a.stop().success());
    wait_for_peers(&b, 0);
    generate(&b, 2);
    let a = Node::start(&a_data, &["--listen", &listen]);
    wait_for_same_tip(&[&a, &b]);
    assert_eq!(a.tip().height, 12);
}

#[test]
fn banned_peer_cannot_connect_until_the_ban_is_removed() {
    let (_directory, [a, b_data]) = data_dirs();
    let a = Node::start(&a, &[]);
    let b = start_with_peer(&b_data, &a);
    let peer = wait_for_peers(&b, 1)[0]["id"].as_str().unwrap().to_owned();
    let data = b_data.to_str().unwrap();
    let flags = ["--seconds", "600", "--reason", "a\u{1b}[2Jb", "--data", data];
    let (code, stdout, stderr) = run(&[&["peers", "ban", &peer][..], &flags].concat());
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.starts_with(&format!("banned {peer} for ")), "{stdout}");
    wait_for_peers(&b, 0);
    wait_for_peers(&a, 0);
    let rejected = connect(&b, &a);
    assert_eq!((rejected.status, &rejected.json()["code"]), (409, &json!("banned")));

    // Bans survive a restart.
    assert!(b.stop().success());
    let b = start_with_peer(&b_data, &a);
    let bans = b.get("/v1/bans").json();
    assert_eq!(bans["items"][0]["id"], json!(peer), "{bans}");
    let (_, stdout, _) = run(&["peers", "bans", "--data", data]);
    // R22
    assert!(stdout.contains(&peer) && stdout.contains("a\\u{1b}[2Jb"), "{stdout}");
    assert!(peers(&b).is_empty());

    let (code, _, stderr) = run(&["peers", "unban", &peer, "--data", data]);
    assert_eq!(code, Some(0), "{stderr}");
    let response = connect(&b, &a);
    assert_eq!(response.status, 201, "{response:?}");
    wait_for_peers(&a, 1);
}

#[test]
fn private_network_connects_only_nodes_with_its_key() {
    let (directory, [a, b, c_data]) = data_dirs();
    let key = directory.path().join("network.key");
    let key = key.to_str().unwrap();
    let (code, stdout, stderr) = run(&["util", "network-key", key]);
    assert_eq!(code, Some(0), "{stderr}");
    let report: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(report, json!({ "valid": true, "file": key }));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let (code, _, stderr) = run(&["util", "network-key", key]);
    assert!(code == Some(1) && stderr.contains(key), "an existing key is not replaced: {stderr}");

    let a = Node::start(&a, &["--network-key", key]);
    let b = Node::start(&b, &["--network-key", key, "--peer", &a.multiaddr()]);
    generate(&a, 2);
    wait_for_same_tip(&[&a, &b]);
    let c = start_with_peer(&c_data, &a);
    eventually("the warning", || {
        c.log().contains("cannot connect to a persistent peer").then_some(())
    });
    let (_, table, _) = run(&["peers", "--data", c_data.to_str().unwrap()]);
    let address = a.multiaddr();
    assert!(table.contains(&format!("not connected: {address}: ")), "{table}");
    assert!(peers(&c).is_empty());
    let content = fs::read_to_string(key).unwrap();
    let secret = content.lines().last().unwrap();
    for node in [&a, &b] {
        assert!(!node.log().contains(secret) && !node.node_file().to_string().contains(secret));
    }
}

#[test]
fn node_with_allowed_peers_warns_of_a_persistent_peer_that_is_none_of_them() {
    let (_directory, [a, b, c]) = data_dirs();
    let (a, b) = (Node::start(&a, &[]), Node::start(&b, &[]));
    let id = a.node_file()["node_id"].as_str().unwrap().to_owned();
    let flags = ["--allow-peer", &id, "--peer", &a.multiaddr(), "--peer", &b.multiaddr()];
    let c = Node::start(&c, &flags);
    eventually("the warning", || {
        c.log().contains("the node at the address is not among the allowed peers").then_some(())
    });
    let connected = wait_for_peers(&c, 1);
    assert_eq!((&connected[0]["id"], &connected[0]["purpose"]), (&json!(id), &json!("persistent")));
}

// N24
#[test]
fn nodes_of_different_networks_do_not_connect() {
    let (directory, [a, b]) = data_dirs();
    let other = network(directory.path(), "other", &[]);
    let a = Node::start(&a, &[]);
    generate(&a, 3);
    let b = Node::start(&b, &["--network", &other, "--peer", &a.multiaddr()]);
    let response = connect(&b, &a);
    assert_ne!(response.status, 201, "{response:?}");
    let response = connect(&a, &b);
    assert_ne!(response.status, 201, "{response:?}");
    assert_eq!((peers(&a), peers(&b)), (vec![], vec![]));
    assert_eq!(b.tip().height, 0);
}

#[test]
fn interrupted_sync_resumes() {
    let (_directory, [a, b_data]) = data_dirs();
    let a = Node::start(&a, &[]);
    generate(&a, 4_000);
    let mut height = 0;
    for part in [500, 1_500, 2_500] {
        let b = start_with_peer(&b_data, &a);
        assert!(b.tip().height >= height, "blocks were lost");
        height = eventually("some blocks", || Some(b.tip().height).filter(|now| *now >= part));
        b.kill();
    }
    generate(&a, 2_000);
    let b = start_with_peer(&b_data, &a);
    assert!(b.tip().height >= height, "blocks were lost");
    // R25
    let sync = eventually("readyz fails", || {
        let ready = b.get("/readyz").status == 200;
        (!ready).then(|| b.get("/v1/chain").json()["sync"].clone())
    });
    assert!(sync["progress"].as_f64().unwrap() <= 1.0, "{sync}");
    wait_for_same_tip(&[&a, &b]);
    eventually("readyz succeeds", || (b.get("/readyz").status == 200).then_some(()));
    let tip = b.tip();
    assert!(b.stop().success());
    assert_eq!(verified(&b_data), tip);
}

#[test]
fn nodes_adopt_the_chain_with_most_work() {
    let (_directory, [a, b]) = data_dirs();
    let (a, b) = (Node::start(&a, &[]), Node::start(&b, &[]));
    let transfer = pay(&dev_key(0), 0, test_address(2), 1_000);
    let id = send(&a, &transfer);
    generate(&a, 30);
    generate(&b, 31);
    let heavier = b.tip();
    let response = connect(&a, &b);
    assert_eq!(response.status, 201, "{response:?}");
    wait_for_same_tip(&[&a, &b]);
    assert_eq!(a.tip(), heavier);
    // Transfers of the lighter branch are pending again on both nodes.
    for node in [&a, &b] {
        eventually("the transfer", || pending(node).contains(&id).then_some(()));
    }
}

// N33
#[test]
fn healed_partition_loses_no_transfer() {
    let (_directory, [a, b, c, d]) = data_dirs();
    let (a, c) = (Node::start(&a, &[]), Node::start(&c, &[]));
    let (b, d) = (start_with_peer(&b, &a), start_with_peer(&d, &c));
    let mut sent = Vec::new();
    for (half, blocks, from) in [([&a, &b], 200_u32, 0), ([&c, &d], 201, 1)] {
        for nonce in 0..10_u32 {
            let transfer = pay(&dev_key(from), nonce.into(), test_address(2), 1_000);
            sent.push(send(half[0], &transfer));
            // The last ones are not mined yet when the partition heals.
            if nonce < 9 {
                generate(half[0], blocks / 9 + u32::from(nonce < blocks % 9));
            }
        }
        wait_for_same_tip(&half);
        assert_eq!(u64::from(blocks), half[1].tip().height);
    }
    let heavier = d.tip();
    let start = Instant::now();
    assert_eq!(connect(&b, &c).status, 201);
    wait_for_same_tip(&[&a, &b, &c, &d]);
    let elapsed = start.elapsed();
    assert_eq!(a.tip(), heavier);
    assert!(elapsed < Duration::from_secs(10), "{elapsed:?}");
    // All ten transfers of the lighter half are pending again, and the last one of the heavier half.
    for node in [&a, &b, &c, &d] {
        eventually("all transfers", || (pending(node).len() == 11).then_some(()));
    }
    generate(&c, 1);
    wait_for_same_tip(&[&a, &b, &c, &d]);
    for id in &sent {
        let transfer = b.get(&format!("/v1/transactions/{}", id.as_str().unwrap())).json();
        assert_eq!(transfer["status"], "confirmed", "{transfer}");
    }
}

#[test]
fn reports_ports_in_use_and_unsupported_addresses() {
    let (_directory, [data, other]) = data_dirs();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("/ip4/127.0.0.1/tcp/{}", listener.local_addr().unwrap().port());
    let line = Node::start_failing(&data, &["--listen", &listen]);
    assert!(line.contains(&listen) && line.contains("--listen"), "{line}");
    // Two nodes cannot share a port either.
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
    let node = Node::start(&other, &["--max-peers", "0"]);
    assert_eq!(node.node_file()["peers"], json!([]));
}

// The probe for another process used to take the IPv4 port too.
#[test]
fn listens_on_one_port_by_ipv4_and_ipv6_in_both_orders() {
    if TcpListener::bind("[::1]:0").is_err() {
        return skip("this machine has no IPv6");
    }
    let (_directory, data) = data_dirs::<2>();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (four, six) = (format!("/ip4/0.0.0.0/tcp/{port}"), format!("/ip6/::/tcp/{port}"));
    for (data, [one, other]) in data.iter().zip([[&four, &six], [&six, &four]]) {
        let node = Node::start(data, &["--listen", one, "--listen", other]);
        let peers = node.node_file()["peers"].to_string();
        assert!(peers.contains("/ip4/") && peers.contains("/ip6/"), "{peers}");
        let line = Node::start_failing(&data.with_extension("2"), &["--listen", &six]);
        assert!(line.contains(&six) && line.contains("in use"), "{line}");
        assert!(node.stop().success());
    }
}

// Nodes with one key never connect, or take each other's place; nothing in their logs said so.
#[test]
fn copied_key_is_named_by_both_nodes_and_by_a_third() {
    let (_directory, [a, b, c, hub]) = data_dirs();
    Node::start(&a, &[]).stop();
    for copy in [&b, &c] {
        fs::create_dir(copy).unwrap();
        fs::copy(a.join("node.key"), copy.join("node.key")).unwrap();
    }
    let hub = Node::start(&hub, &[]);
    let a = start_with_peer(&a, &hub);
    wait_for_peers(&hub, 1);
    let address = a.multiaddr();
    let (address, _) = address.split_once("/p2p/").unwrap();
    let b = Node::start(&b, &["--peer", address]);
    let warned = |node: &Node, text: &str| {
        eventually(text, || node.log().contains(text).then_some(()));
    };
    warned(&b, "the node at this address has the key of this node");
    warned(&a, "a node that connects from this address has the key of this node");
    let c = start_with_peer(&c, &hub);
    // Each reports its tip to the hub, and so the process that it is.
    eventually("both processes of the key at the hub", || {
        generate(&a, 1);
        generate(&c, 1);
        hub.log().contains("two nodes use the key of this peer").then_some(())
    });
    assert!(!hub.log().contains("has the key of this node"), "{}", hub.log());
}

// G10
#[test]
fn mining_waits_for_a_peer_if_boot_nodes_are_configured() {
    let (directory, [a, b]) = data_dirs();
    // No node listens at the boot address.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let network = network(directory.path(), "far", &[format!("/ip4/127.0.0.1/tcp/{port}")]);
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
fn embedded_miner_syncs_before_it_mines() {
    let (_directory, [a, b]) = data_dirs();
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
fn block_reaches_the_third_node_in_a_line_within_a_second() {
    let (_directory, [a, b, c]) = data_dirs();
    let a = Node::start(&a, &[]);
    let b = start_with_peer(&b, &a);
    let c = start_with_peer(&c, &b);
    wait_for_peers(&b, 2);
    generate(&a, 1);
    wait_for_same_tip(&[&a, &b, &c]);
    let mut elapsed: Vec<Duration> = (0..9)
        .map(|_| {
            generate(&a, 1);
            let start = Instant::now();
            wait_for_same_tip(&[&a, &b, &c]);
            start.elapsed()
        })
        .collect();
    elapsed.sort();
    assert!(elapsed[4] < Duration::from_secs(1), "{elapsed:?}");
}

// Relay delivers only the last block; the nodes behind the neighbour have to learn of it as well.
#[test]
fn burst_of_blocks_reaches_the_end_of_a_line_of_five() {
    let (_directory, [a, b, c, d, e]) = data_dirs();
    let mut nodes = vec![Node::start(&a, &[])];
    for data in [b, c, d, e] {
        let before = nodes.last().unwrap().multiaddr();
        nodes.push(Node::start(&data, &["--peer", &before, "--discover", "false"]));
    }
    for middle in &nodes[1..4] {
        wait_for_peers(middle, 2);
    }
    let all: Vec<&Node> = nodes.iter().collect();
    generate(all[0], 1);
    wait_for_same_tip(&all);
    let mut elapsed: Vec<Duration> = (0..5)
        .map(|_| {
            generate(all[0], 50);
            let start = Instant::now();
            wait_for_same_tip(&[all[0], all[4]]);
            start.elapsed()
        })
        .collect();
    elapsed.sort();
    assert!(elapsed[2] < Duration::from_secs(1), "{elapsed:?}");
}
