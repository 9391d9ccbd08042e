//! `chain testnet`: processes that come and go as they are told, and chains that stay.

use crate::harness::{chain, eventually, run};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A testnet in a folder of its own. Dropped, it is taken down.
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

    /// Runs a command that must succeed: what it printed, and its notices.
    fn run(&self, arguments: &[&str]) -> (String, String) {
        let (code, stdout, stderr) = run(&self.command(arguments));
        assert_eq!(code, Some(0), "{arguments:?}: {stderr}");
        (stdout, stderr)
    }

    /// Runs one that must fail: the one line of complaint, the last it says.
    fn fails(&self, arguments: &[&str]) -> String {
        let (code, stdout, stderr) = run(&self.command(arguments));
        assert_eq!((code, &*stdout), (Some(1), ""), "{arguments:?}: {stderr}");
        stderr.lines().last().unwrap().to_owned()
    }

    fn status(&self) -> Status {
        Status(serde_json::from_str(&self.run(&["status", "--json"]).0).unwrap())
    }

    /// Waits until a node has a block of at least this height: the height.
    fn grown(&self, node: usize, height: u64) -> u64 {
        eventually("a block", || self.status().height(node).filter(|reached| *reached >= height))
    }

    /// Waits until nodes have so many peers each, those that run, and all have one tip.
    fn connected(&self, peers: &[u64]) {
        eventually(&format!("{peers:?} peers and one tip"), || {
            let status = self.status();
            let counted: Vec<u64> = status.each("peers").iter().filter_map(Value::as_u64).collect();
            (counted == peers && status.0["tips"] == 1).then_some(())
        });
    }

    /// Takes everything down, and checks that no process is left.
    fn down(&self) {
        self.run(&["down"]);
        // One whose starter was killed may be about to notice that.
        eventually("the end of all processes", || self.processes().is_empty().then_some(()));
    }

    /// The processes that have anything to do with the folder, as `ps` shows them.
    fn processes(&self) -> Vec<String> {
        processes_of(&self.dir)
    }
}

impl Drop for Testnet {
    fn drop(&mut self) {
        let _ = run(&self.command(&["down", "--delete"]));
    }
}

/// A process that has ended is gone, even if nobody has asked yet how it ended.
fn processes_of(dir: &Path) -> Vec<String> {
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
fn nodes_are_stopped_killed_and_started_and_keep_their_chain() {
    let testnet = Testnet::new();
    let options = ["--nodes", "3", "--topology", "line", "--network", "dev"];
    let (places, _) = testnet.run(&[&["up"][..], &options].concat());
    assert_eq!(places.lines().count(), 4, "{places}");
    let first = testnet.status();
    assert_eq!(first.each("state"), ["running"; 3]);
    let pid = first.node(2)["pid"].to_string();
    assert!(places.contains(&pid) && places.contains(first.node(2)["api"].as_str().unwrap()));
    // A session of its own has no terminal that could take it along.
    let session = Command::new("ps").args(["-o", "sess=", "-p", &pid]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&session.stdout).trim(), pid);

    let height = testnet.grown(1, 1);
    testnet.connected(&[1, 2, 1]);
    testnet.run(&["kill", "node-1"]);
    testnet.run(&["stop", "3"]);
    let status = testnet.status();
    assert_eq!(status.each("state"), ["killed", "running", "stopped"]);
    assert_eq!(testnet.processes().len(), 1);
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

// 1 ─ 2 ─ 3 ─ 4      cut into 1 3 and 2 4, each side connected across its gap
#[test]
fn a_partitioned_testnet_has_two_tips_until_it_is_healed() {
    let testnet = Testnet::new();
    testnet.run(&["up", "--nodes", "4", "--miners", "2", "--topology", "line", "--network", "dev"]);
    testnet.connected(&[1, 2, 2, 1]);
    assert!(testnet.fails(&["partition", "all"]).contains("only those of one side"));
    testnet.run(&["partition", "1", "3"]);
    let tips = || testnet.status().each("tip");
    let two_sides = || {
        eventually("two sides", || {
            let tips = tips();
            (tips[0] == tips[2] && tips[1] == tips[3] && tips[0] != tips[1]).then_some(())
        });
    };
    two_sides();
    assert_eq!(testnet.status().each("peers"), [1, 1, 1, 1]);

    // Whoever restarts does not forget on which side it is.
    testnet.run(&["kill", "2"]);
    assert!(testnet.fails(&["heal"]).contains("node-2 must run for this"));
    testnet.run(&["start", "2"]);
    testnet.run(&["partition", "3", "1"]);
    let height = testnet.status().height(1).unwrap().max(testnet.status().height(2).unwrap());
    testnet.grown(1, height + 1);
    testnet.grown(2, height + 1);
    two_sides();

    testnet.run(&["heal"]);
    testnet.connected(&[1, 2, 2, 1]);
}

#[test]
fn a_node_is_made_to_leave_blocks() {
    let testnet = Testnet::new();
    testnet.run(&["up", "--nodes", "2", "--miners", "0", "--network", "dev"]);
    testnet.connected(&[1, 1]);
    let (done, _) = testnet.run(&["reorg", "1", "--depth", "4", "--json"]);
    let done: Value = serde_json::from_str(&done).unwrap();
    assert_eq!([&done["fork_height"], &done["depth"]], [0, 4]);
    assert_eq!(testnet.status().each("tip"), [done["new_tip"].clone(), done["new_tip"].clone()]);
    assert_eq!(testnet.status().each("height"), [5, 5]);
    let again = testnet.run(&["reorg"]).0;
    assert!(again.starts_with("node-2 left 3 blocks after height 5: its tip was "), "{again}");
    assert!(testnet.fails(&["reorg", "all"]).contains("on one node"));
}

#[test]
fn two_testnets_side_by_side_are_two_networks() {
    let (one, other) = (Testnet::new(), Testnet::new());
    one.run(&["up", "--nodes", "1", "--spacing", "1"]);
    other.run(&["up", "--nodes", "2", "--miners", "0", "--topology", "star"]);
    // Blocks take real work, and come all the same.
    let height = one.grown(1, 2);
    assert_eq!(other.status().height(1), Some(0));
    let genesis = |testnet: &Testnet| std::fs::read(testnet.dir.join("node-1/genesis")).unwrap();
    assert_ne!(genesis(&one), genesis(&other));

    other.down();
    assert_eq!(one.status().each("state"), ["running"]);
    assert!(one.status().height(1).unwrap() >= height);
}

#[test]
fn a_node_whose_port_is_taken_moves() {
    let testnet = Testnet::new();
    testnet.run(&["up", "--nodes", "2", "--network", "dev"]);
    let before = testnet.status();
    testnet.run(&["stop", "1"]);
    let api = before.node(1)["api"].as_str().unwrap().strip_prefix("http://").unwrap().to_owned();
    let call = before.node(1)["peer_address"].as_str().unwrap().replace("/ip4/127.0.0.1/tcp/", "");
    let taken = [api, format!("127.0.0.1:{call}")].map(|at| TcpListener::bind(at).unwrap());
    testnet.run(&["start", "1"]);
    let after = testnet.status();
    assert_eq!(after.each("state"), ["running"; 2]);
    for port in ["api", "peer_address"] {
        assert_ne!(after.node(1)[port], before.node(1)[port]);
    }
    assert_eq!(after.node(2), &{
        let mut same = before.node(2).clone();
        // What changes by itself.
        for field in ["height", "tip", "peers", "sync"] {
            same[field] = after.node(2)[field].clone();
        }
        same
    });
    // The neighbour knows the old port only, so it is called.
    testnet.connected(&[1, 1]);
    drop(taken);
}

#[test]
fn a_node_that_cannot_start_says_why_and_the_others_go_on() {
    let testnet = Testnet::new();
    testnet.run(&["up", "--nodes", "3", "--network", "dev"]);
    testnet.run(&["stop", "2"]);
    std::fs::write(testnet.dir.join("node-2/genesis"), "gone").unwrap();
    let complaint = testnet.fails(&["up"]);
    assert!(complaint.contains("node-2 ended at its start: "), "{complaint}");
    assert!(complaint.contains("does not hold a genesis hash"), "{complaint}");
    assert_eq!(testnet.status().each("state"), ["running", "stopped", "running"]);
    // Nobody can be told by a plan that is lost.
    std::fs::write(testnet.dir.join("testnet.json"), "{").unwrap();
    assert!(testnet.fails(&["status"]).contains("testnet.json is no plan of a testnet"));
    testnet.down();
}

#[test]
fn an_interrupted_up_leaves_nothing_that_down_does_not_stop() {
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
