//! `chain mine` with an embedded node and for a running one, and durability of acknowledged blocks.

use crate::harness::{Node, Process, chain, eventually, run, verified};
use crate::test_chain::{test_address, text};
use chain::Params;
use serde_json::Value;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;
use tempfile::TempDir;

/// A folder for a test, and the path of a data folder in it that does not exist yet.
fn test_folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    (folder, data)
}

/// Mines with an embedded node on `dev`; returns the printed hashes and stderr.
fn mine(data: &Path, flags: &[&str]) -> (Vec<String>, String) {
    let own_node = ["--network", "dev", "--api", "127.0.0.1:0", "--data", data.to_str().unwrap()];
    mine_with(&[&own_node, flags].concat())
}

fn mine_with(flags: &[&str]) -> (Vec<String>, String) {
    let (code, stdout, stderr) = run(&[&["mine"], flags].concat());
    assert_eq!(code, Some(0), "{stderr}");
    (stdout.lines().map(str::to_owned).collect(), stderr)
}

/// Runs mining that fails with an exit code; returns its error.
fn error_of(flags: &[&str], expected: i32) -> String {
    let (code, stdout, stderr) = run(&[&["mine"], flags].concat());
    assert_eq!((code, &*stdout), (Some(expected), ""), "{stderr}");
    stderr
}

fn miner_of(node: &Node, block: &str) -> Value {
    node.get(&format!("/v1/blocks/{block}")).json()["miner"].clone()
}

#[test]
fn mined_blocks_are_in_the_data_folder_and_survive_a_crash() {
    let (_folder, data) = test_folder();
    let miner = text(test_address(1));
    let (hashes, stderr) = mine(&data, &["--miner", &miner, "--blocks", "5"]);
    assert_eq!(hashes.len(), 5, "{hashes:?}");
    assert!(stderr.contains("started a node: REST API at http://127.0.0.1:"), "{stderr}");
    assert!(stderr.lines().last().unwrap().contains("5 found"), "{stderr}");

    let node = Node::start(&data, &[]);
    for (height, hash) in (1..).zip(&hashes) {
        let block = node.get(&format!("/v1/blocks/{height}")).json();
        assert_eq!((&block["hash"], &block["miner"]), (&hash.as_str().into(), &(*miner).into()));
    }
    let tip = node.tip();
    assert_eq!((tip.height, &tip.hash), (5, &hashes[4]));
    node.kill();
    let node = Node::start(&data, &[]);
    assert_eq!(node.tip(), tip);
    node.kill();
    assert_eq!(verified(&data), tip);
}

#[test]
fn mines_through_a_running_node() {
    let (_folder, data) = test_folder();
    let node = Node::start(&data, &[]);
    let targets = [["--node", &node.url()], ["--data", data.to_str().unwrap()]];
    for (number, target) in (1_u8..).zip(targets) {
        let miner = text(test_address(number));
        // The network follows from the address.
        let flags = [&["--miner", &miner, "--blocks", "3"][..], &target].concat();
        let (hashes, stderr) = mine_with(&flags);
        assert_eq!(hashes.len(), 3, "{hashes:?}");
        assert!(stderr.contains(&node.url()) && !stderr.contains("started a node"), "{stderr}");
        for hash in &hashes {
            let block = node.get(&format!("/v1/blocks/{hash}")).json();
            assert_eq!(
                (&block["in_best_chain"], &block["miner"]),
                (&true.into(), &(*miner).into())
            );
        }
        assert_eq!(node.tip().height, u64::from(number) * 3);
    }
}

#[test]
fn without_an_address_a_wallet_is_created_and_reused() {
    let (folder, data) = test_folder();
    let wallets = folder.path().join("wallets");
    let flags = ["--wallet-dir", wallets.to_str().unwrap(), "--blocks", "1"];
    let (_, stderr) = mine(&data, &flags);
    let line = |start: &str| stderr.lines().find_map(|line| line.strip_prefix(start)).unwrap();
    assert!(line("created wallet: ").starts_with(wallets.to_str().unwrap()), "{stderr}");
    assert!(stderr.contains("no password"), "{stderr}");
    let words = "mnemonic, the only backup of its keys: ";
    assert_eq!(line(words).split(' ').count(), 12, "{stderr}");
    let address = line("address: ").to_owned();

    let (_, again) = mine(&data, &flags);
    assert!(!again.contains("created wallet") && again.contains(&address), "{again}");
    let node = Node::start(&data, &[]);
    assert_eq!([miner_of(&node, "1"), miner_of(&node, "2")], [&*address, &*address]);
}

// O01
#[test]
fn mining_stops_at_once_on_a_signal() {
    let (folder, data) = test_folder();
    let flags = ["--network", "testnet", "--api", "127.0.0.1:0", "--threads", "1"];
    let miner = test_address(1).encode(Params::testnet().hrp());
    // At the first output, at the start of the node, and while mining.
    for (number, sign) in ["mining for", "started a node", "H/s"].into_iter().enumerate() {
        let mut command = chain(&["mine", "--miner", &miner, "--data"]);
        let name = folder.path().join(number.to_string());
        let mut mining = Process::start(command.arg(&data).args(flags), &name);
        eventually(sign, || mining.stderr().contains(sign).then_some(()));
        let (status, took) = mining.terminate();
        assert_eq!(status.code(), Some(0), "{sign}: {}", mining.stderr());
        assert!(took < Duration::from_secs(5), "{sign}: {took:?}");
    }
    verified(&data);

    let (_other, data) = test_folder();
    let node = Node::start(&data, &[]);
    let mut command = chain(&["mine", "--miner", &text(test_address(1)), "--node", &node.url()]);
    let mut mining = Process::start(&mut command, &folder.path().join("remote"));
    eventually("a block", || (node.tip().height > 0).then_some(()));
    let (status, took) = mining.terminate();
    assert_eq!(status.code(), Some(0), "{}", mining.stderr());
    assert!(took < Duration::from_secs(5), "{took:?}");
}

// O08
#[test]
fn start_errors_are_one_line() {
    let (folder, data) = test_folder();
    let data = data.to_str().unwrap();
    let miner = text(test_address(1));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let line = error_of(&["--miner", &miner, "--data", data, "--api", &address], 1);
    let line = line.lines().last().unwrap();
    assert!(line.starts_with("chain: ") && line.contains(&address), "{line}");

    let testnet = test_address(1).encode(Params::testnet().hrp());
    let line = error_of(&["--miner", &testnet, "--network", "dev", "--data", data], 1);
    assert!(line.lines().count() == 1 && line.contains(&testnet), "{line}");
    let line = error_of(&["--miner", &miner[..20], "--network", "dev", "--data", data], 1);
    assert_eq!(line.lines().count(), 1, "{line}");

    let node = Node::start(&folder.path().join("other"), &[]);
    let line = error_of(&["--miner", &testnet, "--node", &node.url()], 1);
    assert!(line.lines().count() == 1 && line.contains("dev"), "{line}");
    assert_eq!(node.tip().height, 0);
    // The named node does not respond: no node is started instead.
    let line = error_of(&["--miner", &miner, "--node", "http://127.0.0.1:1"], 1);
    assert!(line.lines().count() == 1 && line.contains("127.0.0.1:1"), "{line}");

    let usages = [["--threads", "0"], ["--blocks", "0"], ["--blocks", "many"], ["--kernel", "gpu"]];
    for usage in usages {
        let line = error_of(&[&["--miner", &miner, "--data", data][..], &usage].concat(), 2);
        assert!(line.contains(usage[0]), "{line}");
    }
}

// G05: more threads than processors, and a kernel that every processor supports.
#[test]
fn mines_with_the_requested_threads_and_kernel() {
    let (_folder, data) = test_folder();
    let many = ["--threads", "9", "--kernel", "scalar", "--blocks", "3"];
    let (hashes, _) = mine(&data, &[&["--miner", &text(test_address(1))], &many[..]].concat());
    assert_eq!(hashes.len(), 3);
}

#[test]
fn bench_reports_every_kernel_relative_to_sha2() {
    let (code, stdout, stderr) =
        run(&["bench", "hash", "--threads", "2", "--rounds", "1", "--json"]);
    assert_eq!(code, Some(0), "{stderr}");
    let report: Value = serde_json::from_str(&stdout).unwrap();
    let rates = report["rates"].as_array().unwrap();
    let of = |kernel: &str| rates.iter().filter(move |rate| rate["kernel"] == kernel).count();
    for kernel in ["digest-twice", "scalar", "compression", report["fastest"].as_str().unwrap()] {
        assert_eq!(of(kernel), 2, "{kernel} with one thread and with two");
    }
    assert!(rates.iter().all(|rate| rate["of_digest_twice"].as_f64().unwrap() > 0.0));
}

// T14
#[test]
fn error_for_data_folder_in_use_names_the_process() {
    let (_folder, data) = test_folder();
    let node = Node::start(&data, &[]);
    node.generate(2, &text(test_address(1))).unwrap();
    let owner = format!("process {}", node.id());
    let data = data.to_str().unwrap();
    for command in [&["node", "--network", "dev", "--api", "127.0.0.1:0"][..], &["verify"]] {
        let (code, stdout, stderr) = run(&[command, &["--data", data]].concat());
        assert_eq!((code, &*stdout), (Some(1), ""), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.contains(&owner) && stderr.contains(data), "{stderr}");
    }
    assert_eq!(node.tip().height, 2, "the first node still runs");
    assert_eq!(node.generate(1, &text(test_address(1))).unwrap().len(), 1);
}

// T01
#[test]
fn kills_lose_no_acknowledged_block() {
    let (_folder, data) = test_folder();
    let miner = text(test_address(1));
    let acknowledged = Mutex::new(Vec::<String>::new());
    let known = || acknowledged.lock().unwrap().len();
    for (round, more) in [1, 40, 3, 17, 6, 29].into_iter().enumerate() {
        let node = Node::start(&data, &[]);
        let tip = node.tip();
        for (height, hash) in (1_u64..).zip(&*acknowledged.lock().unwrap()) {
            let block = node.get(&format!("/v1/blocks/{hash}")).json();
            assert_eq!(block["in_best_chain"], true, "lost: {height} of {tip:?}");
        }
        let kill_at = known() + more;
        // One or a few blocks a request, until the node does not respond.
        let blocks = u32::try_from(round % 3 + 1).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while let Some(hashes) = node.generate(blocks, &miner) {
                    acknowledged.lock().unwrap().extend(hashes);
                }
            });
            eventually("blocks", || (known() >= kill_at).then_some(()));
            let pid = node.id().to_string();
            assert!(Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
        });
    }
    let tip = verified(&data);
    let node = Node::start(&data, &[]);
    assert_eq!(node.tip(), tip);
    assert!(tip.height >= known() as u64);
    let last = acknowledged.lock().unwrap().last().unwrap().clone();
    assert_eq!(node.get(&format!("/v1/blocks/{last}")).json()["in_best_chain"], true);
}
