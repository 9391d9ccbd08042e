//! Nodes beside a client that was written from the documents alone: see `peer_client`.

use crate::harness::{Node, eventually};
use crate::peer_client::client::{Client, Progress};
use crate::peer_client::encoding::{
    Hash, Header, block_is_plausible, merkle_root, split_block, target, transaction_id,
    transfer_is_signed, work,
};
use crate::peers::{generate, pending, send, wait_for_same_tip};
use crate::test_chain::{dev_key, pay, test_address};
use serde_json::Value;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// The genesis hash and bits of `dev`, as PROTOCOL.md states them.
const GENESIS: &str = "a9c9aa0751bb33c1b5efd765c3f0ec142a1cd6191dd51cde3489d488a96e45d3";
const GENESIS_BITS: u32 = 0x207f_ffff;

fn hash(text: &str) -> Hash {
    let mut bytes: Hash = hex::decode(text).unwrap().try_into().unwrap();
    bytes.reverse();
    bytes
}

/// The value of `name = value` in PROTOCOL.md, which continues in indented lines.
fn vector(name: &str) -> String {
    let document = include_str!("../chain/PROTOCOL.md");
    let mut lines = document
        .lines()
        .skip_while(|line| line.split_once(" = ").is_none_or(|(left, _)| left.trim_end() != name));
    let first = lines.next().unwrap().split_once(" = ").unwrap().1.to_owned();
    lines.take_while(|line| line.starts_with(' ')).fold(first, |it, line| it + line.trim_start())
}

#[test]
fn encodings_of_the_client_match_the_test_vectors() {
    let block = hex::decode(vector("block")).unwrap();
    let (header, transactions) = split_block(&block).unwrap();
    assert!(block_is_plausible(&block));
    assert_eq!(hex::encode(header), vector("block.header"));
    assert_eq!(transaction_id(transactions[0]), hash(&vector("block.coinbase.id")));
    assert_eq!(transaction_id(transactions[1]), hash(&vector("transfer.id")));
    let genesis = hash(&vector("genesis.dev"));
    assert_eq!(genesis, hash(GENESIS));
    assert!(transfer_is_signed(transactions[1], &genesis));
    assert!(!transfer_is_signed(transactions[1], &hash(&vector("genesis.main"))));
    let [one, two, three] = [[1; 32], [2; 32], [3; 32]];
    assert_eq!(merkle_root(vec![one, two, three]), Some(hash(&vector("merkle.three"))));
    assert_eq!(merkle_root(vec![one, two, three, three]), None);
    let text = |number: Hash| hex::encode(number.into_iter().rev().collect::<Vec<u8>>());
    assert_eq!(text(target(0x0500_9234).unwrap()), format!("{:0>64}", "92340000"));
    assert_eq!(text(target(0x0112_0000).unwrap()), format!("{:0>64}", "12"));
    assert_eq!((target(0x0100_3456), target(0x2101_0000)), (None, None));
    // Half of all hashes meet the easiest target, and one in 2^32 that of Bitcoin's first block.
    assert_eq!(text(work(GENESIS_BITS)), format!("{:0>64}", "2"));
    assert_eq!(text(work(0x1d00_ffff)), format!("{:0>64}", "100010001"));
    let short: &Header = block.first_chunk().unwrap();
    assert!(split_block(&block[..block.len() - 1]).is_none() && split_block(short).is_none());
}

/// A client between two nodes that know only it.
struct World {
    _directory: tempfile::TempDir,
    server: Node,
    client: Arc<Mutex<Progress>>,
    served: Node,
}

impl World {
    /// The first node has 2,500 blocks, more than one reply of headers.
    fn new() -> World {
        let directory = tempfile::tempdir().unwrap();
        let data = |name: &str| -> PathBuf { directory.path().join(name) };
        let server = Node::start(&data("server"), &[]);
        generate(&server, 2_500);
        let dial = vec![server.multiaddr().parse().unwrap()];
        let (client, progress) = Client::new(hash(GENESIS), GENESIS_BITS);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(client.run(dial));
        });
        let address = eventually("the client syncs", || {
            let progress = progress.lock().unwrap();
            progress.address.clone().filter(|_| progress.height == 2_500)
        });
        assert_eq!(progress.lock().unwrap().tip, hash(&server.tip().hash));
        let served = Node::start(&data("served"), &["--peer", &address.to_string()]);
        World { _directory: directory, server, client: progress, served }
    }

    fn progress(&self) -> Progress {
        self.client.lock().unwrap().clone()
    }

    /// Asserts that both nodes know the client as a peer, and have not penalised it.
    fn check_peers(&self) {
        for node in [&self.server, &self.served] {
            let peers = node.get("/v1/peers").json();
            let peers = peers["items"].as_array().unwrap();
            assert_eq!(peers.len(), 1, "{peers:?}");
            let (agent, score): (&Value, &Value) = (&peers[0]["agent"], &peers[0]["score"]);
            assert_eq!(agent, "independent/1");
            assert!(score.as_f64().unwrap() >= 0.0, "{peers:?}");
            assert_eq!(node.get("/v1/bans").json()["items"], serde_json::json!([]));
        }
        let Progress { disconnects, failures, peers, .. } = self.progress();
        assert_eq!((disconnects, failures, peers), (0, Vec::new(), 2));
    }

    /// Mines a block on one node, and waits until the client and the other node have it.
    fn mine(&self, from: &Node) {
        generate(from, 1);
        wait_for_same_tip(&[&self.server, &self.served]);
        let tip = hash(&from.tip().hash);
        eventually("the client's tip", || (self.progress().tip == tip).then_some(()));
    }
}

#[test]
fn independent_client_syncs_serves_and_relays_without_a_penalty() {
    let world = World::new();
    wait_for_same_tip(&[&world.server, &world.served]);
    for (number, from, to) in [(0, &world.server, &world.served), (1, &world.served, &world.server)]
    {
        let before = world.progress();
        let id = send(from, &pay(&dev_key(number), 0, test_address(2), 1_000));
        eventually("the transfer", || pending(to).contains(&id).then_some(()));
        world.mine(from);
        assert!(pending(to).is_empty());
        let after = world.progress();
        assert_eq!(after.transfers_relayed, before.transfers_relayed + 1);
        assert_eq!(after.blocks_relayed, before.blocks_relayed + 1);
    }
    assert!(world.progress().requests_served > 0);
    world.check_peers();
}

#[test]
#[ignore = "takes ten minutes"]
fn independent_client_stays_connected_for_ten_minutes() {
    let world = World::new();
    let start = Instant::now();
    let mut from = [&world.server, &world.served].into_iter().cycle();
    while start.elapsed() < Duration::from_secs(600) {
        world.mine(from.next().unwrap());
        world.check_peers();
        thread::sleep(Duration::from_secs(3));
    }
}
