//! `chain testnet run`: the scenarios that the program contains, reports, and failures.

use crate::harness::{Process, chain, eventually, run, signal, skip};
use crate::testnet::processes_of;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Runs a scenario with its report in a directory: exit code, stdout, stderr.
fn run_scenario(scenario: &str, report: &Path) -> (Option<i32>, String, String) {
    run(&["testnet", "run", scenario, "--report", report.to_str().unwrap()])
}

/// The text of a scenario in the repository.
fn text_of(name: &str) -> String {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    fs::read_to_string(directory.join(name).with_extension("toml")).unwrap()
}

fn succeeds(name: &str) {
    let directory = tempfile::tempdir().unwrap();
    let report = directory.path().join("report");
    let (code, stdout, stderr) = run_scenario(name, &report);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    let json: Value =
        serde_json::from_slice(&fs::read(report.join("report.json")).unwrap()).unwrap();
    assert_eq!((&json["is_success"], &json["scenario"]), (&true.into(), &name.into()));
    let steps = json["steps"].as_array().unwrap();
    assert_eq!(stdout.lines().count(), steps.len(), "{stdout}");
    let xml = fs::read_to_string(report.join("report.xml")).unwrap();
    assert!(xml.contains(&format!("tests=\"{}\" failures=\"0\"", steps.len())), "{xml}");
    assert!(report.join("node-1.log").is_file() && report.join("relay.log").is_file());
    assert!(!report.join("testnet").exists(), "the testnet is removed");
}

macro_rules! scenarios {
    ($($test:ident: $name:literal,)*) => {
        $(#[test] fn $test() { succeeds($name); })*

        #[test]
        fn every_scenario_of_the_program_is_run() {
            let (_, list, _) = run(&["testnet", "run", "--list"]);
            let listed: Vec<&str> = list.lines().filter_map(|line| line.split(' ').next()).collect();
            let run = ["disk-full", $($name),*];
            assert!(listed.iter().all(|name| run.contains(name)), "{list}");
            assert_eq!(listed.len(), run.len());
        }
    };
}

scenarios! {
    payment_is_confirmed_everywhere: "payment",
    paid_invoice_is_reorganised_and_confirmed_again: "invoice-reorg",
    coins_are_spent_once_after_a_partition: "double-spend",
    transfers_pass_slow_links: "slow-links",
    one_honest_peer_prevents_an_eclipse: "eclipse",
    selfish_miner_does_not_stop_the_chain: "selfish-mining",
    chain_goes_on_when_hash_power_leaves: "hash-power-loss",
    killed_nodes_lose_nothing: "crash-storm",
    blocks_of_wrong_clocks_are_rejected: "clock-skew",
    nodes_are_upgraded_under_load: "rolling-upgrade",
    load_is_mined: "load",
}

#[test]
fn full_disk_stops_a_node_until_there_is_room() {
    let unshare = ["--map-root-user", "--mount", "true"];
    let probe = Command::new("unshare").args(unshare).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        return skip("small disks need `unshare --mount`");
    }
    succeeds("disk-full");
}

#[test]
fn failed_assertion_names_step_expected_and_seen() {
    let directory = tempfile::tempdir().unwrap();
    let (file, report) = (directory.path().join("wrong.toml"), directory.path().join("report"));
    let wrong = text_of("payment").replace("depth 3 within 10s", "depth 9 within 1s");
    fs::write(&file, wrong).unwrap();
    let (code, stdout, stderr) = run_scenario(file.to_str().unwrap(), &report);
    assert_eq!(code, Some(1), "{stdout}{stderr}");
    for part in [
        "step `expect confirmed coffee depth 9 within 1s`",
        "expected: transfer `coffee` has 9 confirmations on node-1",
        "seen: node-1 has it with 3 confirmations",
    ] {
        assert!(stderr.contains(part), "{stderr}");
    }
    assert!(stdout.lines().last().unwrap().contains("FAILED  expect confirmed"), "{stdout}");
    let xml = fs::read_to_string(report.join("report.xml")).unwrap();
    assert!(xml.contains("failures=\"1\"") && xml.contains("<failure message="), "{xml}");
}

#[test]
fn interrupted_or_killed_scenario_leaves_no_testnet() {
    for how in ["INT", "TERM", "KILL"] {
        let directory = tempfile::tempdir().unwrap();
        let (report, file) = (directory.path().join("report"), directory.path().join("long.toml"));
        fs::write(&file, text_of("payment").replace("mine 3 1", "wait 50s")).unwrap();
        let (file, report) = (file.to_str().unwrap(), report.to_str().unwrap());
        let mut command = chain(&["testnet", "run", file, "--report", report]);
        let mut run = Process::start(&mut command, &directory.path().join("run"));
        let url = directory.path().join("report/testnet/node-3/node.json");
        eventually("the last node", || url.exists().then_some(()));
        signal(run.id(), how);
        assert!(!run.wait().success());
        eventually("the end of all processes", || {
            processes_of(directory.path()).is_empty().then_some(())
        });
        assert!(!directory.path().join("report/testnet").exists());
    }
}

// Nodes whose processes had just been started stayed after one of them failed.
#[test]
fn failed_start_of_a_node_leaves_no_process() {
    let directory = tempfile::tempdir().unwrap();
    let (report, file) = (directory.path().join("report"), directory.path().join("start.toml"));
    let text = text_of("payment").replace("nodes = 3", "nodes = 6");
    let text = text + "\n[testnet.binaries]\n2 = \"/bin/cat\"\n";
    fs::write(&file, text).unwrap();
    for _ in 0..5 {
        let (code, _, stderr) = run_scenario(file.to_str().unwrap(), &report);
        assert_eq!(code, Some(1), "{stderr}");
        assert!(stderr.contains("node-2 ended at its start"), "{stderr}");
        let left = processes_of(directory.path());
        assert!(left.is_empty(), "{left:?}");
        fs::remove_dir_all(&report).unwrap();
    }
}

#[test]
fn programs_are_executed_with_the_addresses_of_nodes() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("exec.toml");
    let scenario = |command: &str| {
        let text = "title = \"t\"\nlimit = \"60s\"\nsteps = ['exec sh -c \"COMMAND\"']\n\
                    [testnet]\nnodes = 1\nminers = 0\nnetwork = \"dev\"\n";
        fs::write(&file, text.replace("COMMAND", command)).unwrap();
        run_scenario(file.to_str().unwrap(), &directory.path().join(command.len().to_string()))
    };
    let (code, _, stderr) = scenario("$CHAIN status --node $NODE_1 && test -d $CHAIN_TESTNET_DIR");
    assert_eq!(code, Some(0), "{stderr}");
    let (code, _, stderr) = scenario("echo broken; exit 3");
    assert_eq!(code, Some(1));
    assert!(stderr.contains("expected: sh exits with 0; seen: exit status: 3: broken"), "{stderr}");
}

#[test]
fn wrong_scenarios_are_rejected_before_anything_starts() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("wrong.toml");
    fs::write(&file, text_of("payment").replace("\"mine 3 1\"", "\"mien 3 1\"")).unwrap();
    let output = chain(&["testnet", "run", file.to_str().unwrap()])
        .current_dir(directory.path())
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.contains("line 6: ") && stderr.contains("'mine'"), "{stderr}");
    assert!(!directory.path().join("scenario-wrong").exists());
    let (code, _, stderr) = run(&["testnet", "run", "unknown-scenario"]);
    assert!(code == Some(1) && stderr.contains("--list"), "{stderr}");
}
