//! `chain testnet`: control of node processes, partitions, reorganisations and snapshots.

mod dashboard;
mod load;
mod nodes;
mod reorg;
mod seed;
mod snapshot;

use crate::harness::{chain, eventually, request, run};
use crate::test_chain::{test_address, text};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A testnet in a directory of its own, which is removed when dropped.
struct Testnet {
    dir: PathBuf,
    _home: tempfile::TempDir,
}

impl Testnet {
    fn new() -> Testnet {
        let home = tempfile::tempdir().unwrap();
        Testnet { dir: home.path().canonicalize().unwrap().join("t"), _home: home }
    }

    fn command<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        [&["testnet", "--dir", self.dir.to_str().unwrap()], arguments].concat()
    }

    /// Runs a command that must succeed: stdout and stderr.
    fn run(&self, arguments: &[&str]) -> (String, String) {
        let (code, stdout, stderr) = run(&self.command(arguments));
        assert_eq!(code, Some(0), "{arguments:?}: {stderr}");
        (stdout, stderr)
    }

    /// Runs a command that must fail: the last line on stderr.
    fn fails(&self, arguments: &[&str]) -> String {
        let (code, stdout, stderr) = run(&self.command(arguments));
        assert_eq!((code, &*stdout), (Some(1), ""), "{arguments:?}: {stderr}");
        stderr.lines().last().unwrap().to_owned()
    }

    /// The status, whose exit code is 1 if and only if nodes differ.
    fn status(&self) -> Status {
        let (code, stdout, stderr) = run(&self.command(&["status", "--json"]));
        let status: Value = serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{stderr}"));
        let tips = status["tips"].as_u64().unwrap();
        assert_eq!(code, Some(i32::from(tips > 1)), "{stderr}");
        Status(status)
    }

    /// Waits until a node reaches a height: its height.
    fn reaches(&self, node: usize, height: u64) -> u64 {
        eventually("a block", || self.status().height(node).filter(|reached| *reached >= height))
    }

    /// Waits until the running nodes have these numbers of peers and one tip.
    fn connected(&self, peers: &[u64]) {
        eventually(&format!("{peers:?} peers and one tip"), || {
            let status = self.status();
            let counted: Vec<u64> = status.each("peers").iter().filter_map(Value::as_u64).collect();
            (counted == peers && status.0["tips"] == 1).then_some(())
        });
    }

    /// Generates blocks on a node of a development network.
    fn generate(&self, node: usize, blocks: u32) {
        let url = self.status().node(node)["api"].as_str().unwrap().to_owned();
        let token = std::fs::read_to_string(self.dir.join(format!("node-{node}/api-token")));
        let authorization = format!("Authorization: Bearer {}", token.unwrap().trim());
        let headers = ["Content-Type: application/json", &authorization];
        let order = serde_json::json!({ "blocks": blocks, "miner": text(test_address(9)) });
        let (address, body) = (url.strip_prefix("http://").unwrap(), order.to_string());
        let response = request(address, "POST", "/v1/dev/generate", &headers, body.as_bytes());
        assert_eq!(response.unwrap().status, 200);
    }

    /// Runs `down`, and waits until no process is left.
    fn down(&self) {
        self.run(&["down"]);
        // A process whose starter was killed ends by itself.
        eventually("the end of all processes", || self.processes().is_empty().then_some(()));
    }

    /// The processes whose command lines name the directory.
    fn processes(&self) -> Vec<String> {
        processes_of(&self.dir)
    }
}

impl Drop for Testnet {
    fn drop(&mut self) {
        let _ = run(&self.command(&["down", "--delete"]));
    }
}

/// The processes whose command lines name a directory, but zombies.
pub(crate) fn processes_of(dir: &Path) -> Vec<String> {
    let all = Command::new("ps").args(["-A", "-ww", "-o", "stat=,pid=,args="]).output().unwrap();
    let all = String::from_utf8_lossy(&all.stdout).into_owned();
    let lines = all.lines().filter(|line| !line.trim_start().starts_with('Z'));
    lines.filter(|line| line.contains(dir.to_str().unwrap())).map(str::to_owned).collect()
}

struct Status(Value);

impl Status {
    fn node(&self, number: usize) -> &Value {
        &self.0["nodes"][number - 1]
    }

    fn height(&self, number: usize) -> Option<u64> {
        self.node(number)["height"].as_u64()
    }

    fn each(&self, field: &str) -> Vec<Value> {
        self.0["nodes"].as_array().unwrap().iter().map(|node| node[field].clone()).collect()
    }
}

#[test]
fn nodes_retain_their_chain_when_stopped_killed_and_started() {
    let testnet = Testnet::new();
    let options = ["--nodes", "3", "--topology", "line", "--network", "dev"];
    let (table, _) = testnet.run(&[&["up"][..], &options].concat());
    assert_eq!(table.lines().count(), 4, "{table}");
    let first = testnet.status();
    assert_eq!(first.each("state"), ["running"; 3]);
    let pid = first.node(2)["pid"].to_string();
    assert!(table.contains(&pid) && table.contains(first.node(2)["api"].as_str().unwrap()));
    // The node has a session of its own, without a terminal.
    let session = Command::new("ps").args(["-o", "sess=", "-p", &pid]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&session.stdout).trim(), pid);

    let height = testnet.reaches(1, 1);
    testnet.connected(&[1, 2, 1]);
    testnet.run(&["kill", "node-1"]);
    testnet.run(&["stop", "3"]);
    let status = testnet.status();
    assert_eq!(status.each("state"), ["killed", "running", "stopped"]);
    // The relay survives the end of nodes.
    assert_eq!(testnet.processes().len(), 2);
    assert!(testnet.run(&["stop", "1"]).1.contains("node-1 does not run"));
    testnet.run(&["start", "1"]);
    assert!(testnet.status().height(1).unwrap() >= height);

    let (_, notice) = testnet.run(&["up"]);
    assert!(notice.contains("starting node-3") && !notice.contains("node-2"), "{notice}");
    let running = testnet.status();
    assert_eq!(running.node(2)["pid"], first.node(2)["pid"]);
    assert_eq!(running.each("api"), first.each("api"));
    let (_, notice) = testnet.run(&[&["up"][..], &options].concat());
    assert!(notice.contains("all 3 nodes run already"), "{notice}");
    assert_eq!(testnet.status().each("pid"), running.each("pid"));

    testnet.run(&["up", "--nodes", "4"]);
    testnet.connected(&[1, 2, 2, 1]);
    assert!(testnet.fails(&["up", "--nodes", "3"]).contains("(nodes: 4, not 3)"));
    let height = testnet.status().height(1).unwrap();
    testnet.down();
    assert_eq!(testnet.status().each("state"), ["stopped"; 4]);
    testnet.run(&["up"]);
    assert!(testnet.status().height(1).unwrap() >= height);
    assert_eq!(testnet.status().each("api")[..3], first.each("api"));
    testnet.connected(&[1, 2, 2, 1]);

    testnet.run(&["down", "--delete"]);
    assert!(!testnet.dir.exists() && testnet.processes().is_empty());
}

// 1 ─ 2      partitioned into 1 2 and 3 4
// │   │
// 4 ─ 3
#[test]
fn partition_has_two_tips_until_healed() {
    let testnet = Testnet::new();
    testnet.run(&["up", "--nodes", "4", "--miners", "3", "--topology", "ring", "--network", "dev"]);
    testnet.connected(&[2, 2, 2, 2]);
    assert!(testnet.fails(&["partition", "all"]).contains("only those of one side"));
    assert!(testnet.fails(&["partition", "1,2", "2"]).contains("node-2 is on two sides"));
    testnet.run(&["partition", "1,2 | 3,4"]);
    let two_sides = || {
        eventually("two sides", || {
            let tips = testnet.status().each("tip");
            (tips[0] == tips[1] && tips[2] == tips[3] && tips[0] != tips[2]).then_some(())
        });
    };
    two_sides();
    assert_eq!(testnet.status().each("peers"), [1, 1, 1, 1]);

    // The partition outlives a restart.
    testnet.run(&["kill", "2"]);
    testnet.run(&["start", "2"]);
    testnet.run(&["partition", "4,3", "1,2"]);
    let height = testnet.status().height(1).unwrap().max(testnet.status().height(3).unwrap());
    testnet.reaches(1, height + 1);
    testnet.reaches(3, height + 1);
    two_sides();
    let table = run(&testnet.command(&["status"])).1;
    assert!(table.contains("partitioned"), "{table}");

    // A node that is stopped does not prevent it.
    testnet.run(&["stop", "4"]);
    testnet.run(&["heal"]);
    testnet.run(&["start", "4"]);
    testnet.connected(&[2, 2, 2, 2]);
    // A node that is paused keeps its connections.
    testnet.run(&["pause", "4"]);
    assert_eq!(testnet.status().each("state"), ["running", "running", "running", "paused"]);
    testnet.run(&["resume", "4"]);
    testnet.connected(&[2, 2, 2, 2]);
    testnet.run(&["pause", "4"]);
    // It waited until a paused node responds.
    testnet.run(&["up"]);
    assert_eq!(testnet.status().node(4)["state"], "paused");
    assert!(testnet.fails(&["reorg", "--depth", "1"]).ends_with("`chain testnet resume node-4`"));
    testnet.run(&["stop", "4"]);
    assert_eq!(testnet.status().node(4)["state"], "stopped");
}

// More handshakes than strangers may attempt in that time.
#[test]
fn links_are_cut_and_healed_twelve_times_in_a_row() {
    let testnet = Testnet::new();
    testnet.run(&["up", "--nodes", "2", "--miners", "0", "--network", "dev"]);
    testnet.connected(&[1, 1]);
    for _ in 0..12 {
        testnet.run(&["partition", "1"]);
        testnet.run(&["heal"]);
    }
    assert_eq!(testnet.status().each("peers"), [1, 1]);
}

#[test]
fn links_delay_lose_and_cut_what_nodes_send() {
    let testnet = Testnet::new();
    testnet.run(&["up", "--nodes", "3", "--miners", "1", "--topology", "line", "--network", "dev"]);
    testnet.connected(&[1, 2, 1]);
    for (arguments, reason) in [
        (&["link", "1", "3"][..], "the line has no link between 1 and 3"),
        (&["link", "1", "9"], "no node `9`"),
    ] {
        assert!(testnet.fails(arguments).contains(reason));
    }
    let (code, _, stderr) = run(&testnet.command(&["link", "1", "2", "--latency", "300"]));
    assert!(code == Some(2) && stderr.contains("such as 300ms"), "{stderr}");

    let options = ["--latency", "60ms", "--jitter", "20ms", "--loss", "5%", "--bandwidth", "8mbit"];
    testnet.run(&[&["link", "1", "2"], &options[..]].concat());
    let link = |from: u64, to: u64| {
        let links = testnet.status().0["links"].as_array().unwrap().clone();
        links.into_iter().find(|link| link["from"] == from && link["to"] == to).unwrap()
    };
    for (from, to) in [(1, 2), (2, 1)] {
        let link = link(from, to);
        let found = ["latency_ms", "jitter_ms", "loss", "bandwidth"].map(|key| link[key].clone());
        assert_eq!(serde_json::json!(found), serde_json::json!([60, 20, 0.05, 8_000_000]));
        assert_eq!((&link["connections"], &link["is_partitioned"]), (&1.into(), &false.into()));
    }
    assert!(link(2, 3)["loss"] == 0.0);
    // Segments are lost, and blocks arrive nevertheless.
    let height = testnet.status().height(2).unwrap();
    testnet.reaches(2, height + 1);
    eventually("a lost segment", || (link(1, 2)["stalls"].as_u64() > Some(0)).then_some(()));
    let table = run(&testnet.command(&["status"])).1;
    assert!(table.contains("60ms ± 20ms, 5% loss, 8mbit"), "{table}");

    // One direction is cut: no block arrives, and the connections remain.
    testnet.run(&["link", "1", "2", "--cut", "--one-way"]);
    assert_eq!((&link(1, 2)["is_cut"], &link(2, 1)["is_cut"]), (&true.into(), &false.into()));
    let before = testnet.status().height(1).unwrap();
    testnet.reaches(1, before + 2);
    assert!(testnet.status().height(2).unwrap() <= before + 1);
    testnet.run(&["heal"]);
    testnet.reaches(3, before + 2);
    testnet.run(&["link", "all", "all"]);
    testnet.connected(&[1, 2, 1]);
}

#[test]
fn clock_of_a_node_is_set_on_dev_networks() {
    let testnet = Testnet::new();
    testnet.run(&["up", "--nodes", "1", "--miners", "0", "--network", "dev"]);
    testnet.run(&["skew", "1", "-30"]);
    assert_eq!(testnet.status().node(1)["clock_offset"], -30);
    assert!(testnet.run(&["status"]).0.contains("30 s behind"));
    testnet.run(&["skew", "1", "0"]);
    assert_eq!(testnet.status().node(1)["clock_offset"], 0);
    let (code, ..) = run(&testnet.command(&["skew", "1", "soon"]));
    assert_eq!(code, Some(2));
}

#[test]
fn reorg_disconnects_blocks() {
    let testnet = Testnet::new();
    testnet.run(&["up", "--nodes", "2", "--miners", "0", "--network", "dev"]);
    testnet.connected(&[1, 1]);
    let (done, _) = testnet.run(&["reorg", "1", "--depth", "4", "--json"]);
    let done: Value = serde_json::from_str(&done).unwrap();
    assert_eq!([&done["fork_height"], &done["depth"]], [0, 4]);
    assert_eq!(testnet.status().each("tip"), [done["new_tip"].clone(), done["new_tip"].clone()]);
    assert_eq!(testnet.status().each("height"), [5, 5]);
    let second = testnet.run(&["reorg", "node-2"]).0;
    assert!(second.starts_with("node-2 disconnected 3 blocks above height 5: tip "), "{second}");
    assert!(testnet.fails(&["reorg", "all"]).contains("on one node"));
    let id = "0".repeat(64);
    let (code, _, usage) = run(&testnet.command(&["reorg", "1", "--drop", &id]));
    assert!(code == Some(2) && usage.contains("cannot be used with"), "{usage}");
}

#[test]
fn testnets_are_networks_of_their_own() {
    let (one, other) = (Testnet::new(), Testnet::new());
    one.run(&["up", "--nodes", "1", "--spacing", "1"]);
    other.run(&["up", "--nodes", "2", "--miners", "0", "--topology", "star"]);
    // Blocks need real work.
    let height = one.reaches(1, 2);
    assert_eq!(other.status().height(1), Some(0));
    let genesis = |testnet: &Testnet| std::fs::read(testnet.dir.join("node-1/genesis")).unwrap();
    assert_ne!(genesis(&one), genesis(&other));

    other.down();
    assert_eq!(one.status().each("state"), ["running"]);
    assert!(one.status().height(1).unwrap() >= height);
}

#[test]
fn node_with_a_port_in_use_gets_another() {
    let testnet = Testnet::new();
    testnet.run(&["up", "--nodes", "2", "--network", "dev"]);
    let before = testnet.status();
    testnet.run(&["stop", "1"]);
    let api = before.node(1)["api"].as_str().unwrap().strip_prefix("http://").unwrap().to_owned();
    let listen = || {
        let manifest = std::fs::read(testnet.dir.join("testnet.json")).unwrap();
        let manifest: Value = serde_json::from_slice(&manifest).unwrap();
        manifest["nodes"][0]["listen"].as_u64().unwrap()
    };
    let port = listen();
    let listeners = [api, format!("127.0.0.1:{port}")].map(|at| TcpListener::bind(at).unwrap());
    testnet.run(&["start", "1"]);
    let after = testnet.status();
    assert_eq!(after.each("state"), ["running"; 2]);
    assert_ne!(after.node(1)["api"], before.node(1)["api"]);
    assert_ne!(listen(), port);
    // That of the relay.
    assert_eq!(after.node(1)["peer_address"], before.node(1)["peer_address"]);
    assert_eq!(after.node(2), &{
        let mut same = before.node(2).clone();
        // Fields that change over time.
        for field in ["height", "tip", "peers", "sync"] {
            same[field] = after.node(2)[field].clone();
        }
        same
    });
    // The neighbour reaches the new port through the relay.
    testnet.connected(&[1, 1]);
    drop(listeners);
}

#[test]
fn reports_a_node_that_fails_to_start() {
    let testnet = Testnet::new();
    testnet.run(&["up", "--nodes", "3", "--network", "dev"]);
    testnet.run(&["stop", "2"]);
    std::fs::write(testnet.dir.join("node-2/genesis"), "gone").unwrap();
    let error = testnet.fails(&["up"]);
    assert!(error.contains("node-2 ended at its start: "), "{error}");
    assert!(error.contains("does not hold a genesis hash"), "{error}");
    assert_eq!(testnet.status().each("state"), ["running", "stopped", "running"]);
    // `down` works without a readable manifest.
    std::fs::write(testnet.dir.join("testnet.json"), "{").unwrap();
    assert!(testnet.fails(&["status"]).contains("testnet.json is not the manifest of a testnet"));
    testnet.down();
}

#[test]
fn down_stops_all_nodes_of_an_interrupted_up() {
    let testnet = Testnet::new();
    testnet.run(&["up", "--nodes", "4", "--network", "dev"]);
    testnet.down();
    for round in 0..4 {
        let mut command = chain(&testnet.command(&["up"]));
        let mut up = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut notice = String::new();
        let mut notices = BufReader::new(up.stderr.take().unwrap());
        notices.read_line(&mut notice).unwrap();
        assert!(notice.starts_with("starting node-1"), "{notice}");
        match round % 2 {
            0 => up.kill().unwrap(),
            _ => {
                let pid = up.id().to_string();
                assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
            }
        }
        up.wait().unwrap();
        testnet.down();
    }
}

#[test]
fn testnet_ends_with_the_input_of_the_command_that_guards_it() {
    let testnet = Testnet::new();
    let guard = |stdin: Stdio| {
        let mut command = chain(&testnet.command(&["down", "--delete", "--when-input-ends"]));
        command.stdin(stdin).stderr(Stdio::null()).spawn().unwrap()
    };
    let mut waiting = guard(Stdio::piped());
    testnet.run(&["up", "--nodes", "2", "--miners", "0", "--network", "dev"]);
    assert_eq!(testnet.status().each("state"), ["running"; 2]);
    assert!(waiting.try_wait().unwrap().is_none());
    drop(waiting.stdin.take());
    assert!(waiting.wait().unwrap().success());
    assert!(!testnet.dir.exists() && testnet.processes().is_empty());
    // Without a testnet it ends, too.
    assert!(guard(Stdio::null()).wait().unwrap().success());
}
