//! Starts that fail, starts that take long, and stops at any moment.

use crate::harness::{
    Node, Process, Response, chain, eventually, program, request, signal, verified,
    without_terminal,
};
use crate::test_chain::{test_address, text};
use serde_json::Value;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// A node is to end this soon after a signal.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// The arguments of a node on `dev`.
fn node_flags(data: &Path, api: &str) -> Vec<String> {
    let data = data.to_str().unwrap();
    ["node", "--network", "dev", "--data", data, "--api", api].map(ToOwned::to_owned).to_vec()
}

/// A port that was free a moment ago, for a node whose address must be known before it has started.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The way in which the last run ended, in words.
fn last_run(data: &Path) -> String {
    fs::read_to_string(data.join("last-run")).unwrap()
}

// A start that is refused used to panic every seventh time, because it left what ran behind.
#[test]
fn refused_start_reports_one_error_before_anything_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let (api, listen) = (format!("127.0.0.1:{port}"), format!("/ip4/127.0.0.1/tcp/{port}"));
    let cases: [(&[&str], &str); 6] = [
        (&["--api-host", "*"], "api_host `*` is not a host name"),
        (&["--mine"], "--mine needs an address"),
        (&["--api", &api], "--api"),
        (&["--stratum", &api], "--stratum"),
        (&["--listen", &listen], "is in use"),
        (&["--tls-cert", "/nowhere.pem", "--tls-key", "/nowhere.pem"], "tls_cert: cannot read"),
    ];
    for (number, (flags, expected)) in cases.into_iter().enumerate() {
        let data = folder.path().join(number.to_string());
        let line = Node::start_failing(&data, flags);
        assert!(line.contains(expected) && !line.contains("panicked"), "{line}");
        assert!(!data.exists(), "{flags:?}: the data directory was opened");
    }
}

#[test]
fn unusable_files_in_the_data_directory_are_found_before_it_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    Node::start(&data, &[]).stop();
    fs::remove_dir_all(data.join("index")).unwrap();
    let refused = |expected: &str| {
        let line = Node::start_failing(&data, &[]);
        assert!(line.contains(expected), "{line}");
        assert!(!data.join("index").exists(), "the ledger was opened");
    };
    fs::create_dir(data.join("node.json")).unwrap();
    refused("node.json: it is a directory");
    fs::remove_dir(data.join("node.json")).unwrap();
    let token = data.join("api-token");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).unwrap();
    refused("mode 644");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    let key = fs::read(data.join("node.key")).unwrap();
    fs::write(data.join("node.key"), "key").unwrap();
    refused("node.key is damaged");
    fs::write(data.join("node.key"), key).unwrap();
    assert!(Node::start(&data, &[]).stop().success());
}

// An error after the ledger is open must close it, or the next start has to check all accounts.
#[test]
fn late_error_stops_what_runs_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    Node::start(&data, &[]).stop();
    for _ in 0..5 {
        fs::write(data.join("clock-offset"), "tomorrow").unwrap();
        let line = Node::start_failing(&data, &[]);
        assert!(line.contains("clock-offset does not hold a number"), "{line}");
        assert_eq!(last_run(&data), "stopped\n");
        fs::remove_file(data.join("clock-offset")).unwrap();
    }
    assert!(Node::start(&data, &[]).stop().success());
}

fn get(address: &str, path: &str) -> Option<Response> {
    request(address, "GET", path, &[], b"").ok()
}

// A supervisor that asks for liveness used to kill the node in the middle of the repair.
#[test]
fn liveness_and_progress_are_served_while_the_index_is_rebuilt() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let node = Node::start(&data, &[]);
    node.generate(1_500, &text(test_address(1))).unwrap();
    assert!(node.stop().success());
    fs::remove_dir_all(data.join("index")).unwrap();
    // Reading it takes until it is written, after the ledger is open.
    let offset = data.join("clock-offset");
    assert!(Command::new("mkfifo").arg(&offset).status().unwrap().success());
    let address = format!("127.0.0.1:{}", free_port());
    let name = folder.path().join("node");
    let mut node = Process::start(&mut chain(&words(&node_flags(&data, &address))), &name);
    let running = |node: &mut Process| assert!(node.ended().is_none(), "{}", node.stderr());
    eventually("liveness", || {
        running(&mut node);
        (get(&address, "/livez")?.status == 200).then_some(())
    });
    let problem = eventually("the progress", || {
        running(&mut node);
        let problem = get(&address, "/readyz")?;
        assert_eq!(problem.status, 503);
        let problem = problem.json();
        assert_eq!(problem["code"], "starting");
        (problem["actual"] == 1_501).then_some(problem)
    });
    assert_eq!(problem["expected"], 1_501);
    assert!(problem["detail"].as_str().unwrap().contains("replaying blocks"), "{problem}");
    let chain = get(&address, "/v1/chain").unwrap();
    assert_eq!((chain.status, chain.json()["code"].as_str()), (503, Some("starting")));
    assert!(chain.header("retry-after").is_some());
    assert!(!data.join("node.json").exists(), "commands would use the node too early");
    fs::write(&offset, "0\n").unwrap();
    eventually("readiness", || (get(&address, "/readyz")?.status == 200).then_some(()));
    let height = get(&address, "/v1/chain").unwrap().json()["height"].clone();
    assert_eq!(height, 1_500);
    assert!(node.terminate().0.success());
}

fn words(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

// O03
#[test]
fn hangup_without_a_terminal_reopens_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let (data, log) = (folder.path().join("data"), folder.path().join("node.log"));
    let moved = folder.path().join("node.log.1");
    let flags = ["--log-file", log.to_str().unwrap()];
    let name = folder.path().join("stderr");
    let arguments = node_flags(&data, "127.0.0.1:0");
    let mut command = chain(&words(&arguments));
    let mut node = Process::start(&mut without_terminal(command.args(flags)), &name);
    let text = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    eventually("the start", || text(&log).contains("node started").then_some(()));
    fs::rename(&log, &moved).unwrap();
    signal(node.id(), "HUP");
    eventually("the new log", || text(&log).contains("SIGHUP").then_some(()));
    assert!(node.terminate().0.success());
    assert!(text(&log).contains("node stopped") && !text(&moved).contains("node stopped"));
    assert_eq!(node.stderr(), "");
}

/// The id of the process that a `script` has started on its terminal.
fn child_of(pid: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

/// Starts a node on a terminal of its own; `script` ends with its exit code.
fn on_terminal(data: &Path, name: &Path) -> (Process, u32) {
    let node = chain(&[]);
    let arguments = node_flags(data, "127.0.0.1:0").join(" ");
    let line = format!("exec {} {arguments}", node.get_program().to_str().unwrap());
    let mut command = program(&node, "script");
    command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    let process = Process::start(&mut command, name);
    let pid = eventually("the node on the terminal", || child_of(process.id()));
    (process, pid)
}

// O03
#[test]
fn hangup_of_the_terminal_stops_the_node() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let (mut script, pid) = on_terminal(&data, &folder.path().join("script"));
    eventually("the node file", || {
        assert!(script.ended().is_none());
        data.join("node.json").exists().then_some(())
    });
    let sent = Instant::now();
    signal(pid, "HUP");
    assert_eq!(script.wait().code(), Some(0));
    assert!(sent.elapsed() < STOP_LIMIT, "{:?}", sent.elapsed());
    assert_eq!(last_run(&data), "stopped\n");
    assert!(!data.join("node.json").exists());
}

/// O01: starts a node and stops it with a signal after a while, some of which end in the middle of
/// the start. `CHAIN_CYCLES` sets the number; `.ci/full` runs 200.
#[test]
fn stops_at_any_moment_with_exit_code_0_and_starts_again() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let node = Node::start(&data, &[]);
    node.generate(3_000, &text(test_address(1))).unwrap();
    assert!(node.stop().success());
    let cycles = std::env::var("CHAIN_CYCLES").map_or(15, |text| text.parse().unwrap());
    // Moments up to some time after the start, spread by a fixed sequence.
    let mut random = 7_u64;
    for cycle in 0..cycles {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let wait = Duration::from_millis((random >> 33) % 400);
        if cycle % 4 == 3 {
            let _ = fs::remove_dir_all(data.join("index"));
        }
        let name = folder.path().join(format!("cycle-{cycle}"));
        let (mut process, pid) = if cycle % 3 == 2 {
            on_terminal(&data, &name)
        } else {
            let flags = node_flags(&data, "127.0.0.1:0");
            let process = Process::start(&mut chain(&words(&flags)), &name);
            let pid = process.id();
            (process, pid)
        };
        // Before that the program has not taken over the signals from the system yet.
        eventually("the handlers of signals", || {
            assert!(process.ended().is_none(), "{}", process.stderr());
            handles_signals(pid).then_some(())
        });
        thread::sleep(wait);
        let sent = Instant::now();
        signal(pid, ["TERM", "INT", "HUP"][cycle % 3]);
        let status = process.wait();
        let (stopped, log) = (sent.elapsed(), process.stderr());
        assert_eq!(status.code(), Some(0), "cycle {cycle} after {wait:?}: {log}");
        assert!(stopped < STOP_LIMIT, "cycle {cycle} after {wait:?}: {stopped:?}");
        assert!(!log.contains("ERROR") && !log.contains("panicked"), "cycle {cycle}: {log}");
        assert_eq!(last_run(&data), "stopped\n", "cycle {cycle} after {wait:?}: {log}");
    }
    assert_eq!(verified(&data).height, 3_000);
    let node = Node::start(&data, &[]);
    assert_eq!(node.tip().height, 3_000);
    assert!(node.stop().success());
}

/// Whether a process has a handler for SIGTERM, as Linux reports it.
fn handles_signals(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << 14) != 0)
}

// Files of containers and services name variables without values.
// A stop waited until the writer had finished what it had begun, such as a reorganisation of 100 full blocks.
#[test]
fn stop_interrupts_long_work_of_the_writer() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::start(folder.path(), &[]);
    // Most of a minute of work.
    let (requests, blocks) = (20, 10_000);
    thread::scope(|scope| {
        let generate = || scope.spawn(|| node.generate_unless_stopped(blocks));
        let requests: Vec<_> = (0..requests).map(|_| generate()).collect();
        eventually("the first generated blocks", || {
            let metrics = node.get("/metrics");
            let count = metrics.text().lines().find_map(|line| {
                line.strip_prefix("chain_block_connect_seconds_count ")?.parse::<u64>().ok()
            });
            count.filter(|count| *count > 0)
        });
        signal(node.id(), "TERM");
        let statuses: Vec<_> = requests.into_iter().map(|it| it.join().unwrap()).collect();
        // Without the interruption all connections are closed before there is a response.
        assert!(statuses.contains(&Some(503)), "{statuses:?}");
    });
    let status = eventually("the end of the node", || node.ended());
    assert_eq!(status.code(), Some(0));
    verified(folder.path());
}

#[test]
fn empty_variables_count_as_not_set_and_booleans_have_several_forms() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let names = [
        "API_HOST",
        "CA",
        "CACHE_MB",
        "CONFIG",
        "DISCOVER",
        "KERNEL",
        "LISTEN",
        "LOG",
        "LOG_FILE",
        "LOG_FORMAT",
        "MAX_PEERS",
        "MDNS",
        "MINE",
        "MINER",
        "NODE",
        "PEER",
        "PUBLISH",
        "STRATUM",
        "THREADS",
        "TLS_CERT",
        "TLS_KEY",
    ];
    let with_variables = |mut command: Command| {
        command.envs(names.map(|name| (format!("CHAIN_{name}"), "")));
        command.env("CHAIN_NETWORK", "dev").env("CHAIN_API", "127.0.0.1:0");
        command
    };
    let mut command = with_variables(chain(&["node", "--listen", "none", "--data"]));
    let mut node = Process::start(command.arg(&data), &data);
    eventually("the start", || {
        assert!(node.ended().is_none(), "{}", node.stderr());
        data.join("node.json").exists().then_some(())
    });
    for (name, arguments) in [("NODE", "status"), ("NETWORK", "status"), ("DATA", "wallet")] {
        let mut command = with_variables(chain(&[]));
        command.env("CHAIN_DATA", &data).env(format!("CHAIN_{name}"), "");
        match arguments {
            "status" => command.arg("status"),
            _ => {
                command.args(["wallet", "list", "--wallet-dir"]).arg(folder.path().join("wallets"))
            }
        };
        let output = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!stderr.contains("a value is required") && !stderr.contains("invalid"), "{stderr}");
        assert!(arguments != "status" || output.status.success(), "{name}: {stderr}");
    }
    node.terminate();
    for value in ["1", "yes", "TRUE", "on", "0", "No", "false", "OFF"] {
        let mut command = with_variables(chain(&["node", "--data"]));
        command.arg(&data).env("CHAIN_MDNS", value).env("CHAIN_MINE", value);
        let output = command.env("CHAIN_THREADS", "none").output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains("--threads"), "only this value is invalid: {stderr}");
    }
}

#[test]
fn clock_offset_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let node = Node::start(&data, &[]);
    let shift = serde_json::json!({ "offset_seconds": 864_000 });
    node.send("POST", "/v1/dev/time", &shift);
    node.generate(1, &text(test_address(1))).unwrap();
    assert!(node.stop().success());
    let node = Node::start(&data, &[]);
    assert!(node.log().contains("the clock for validation and mining has an offset"));
    assert!(node.log().contains("864000"), "{}", node.log());
    node.generate(1, &text(test_address(1))).unwrap();
    assert_eq!(node.get("/readyz").status, 200);
    let waiting = node.get("/v1/chain").json()["waiting"].clone();
    assert_eq!(waiting, Value::Null);
    assert!(node.stop().success());
}
