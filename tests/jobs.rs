//! Mining jobs over real processes: their results, and that neither a kill nor a restart loses a job
//! or its blocks.

use crate::harness::{Node, Process, Response, chain, eventually, run, verified};
use crate::test_chain::{dev_key, pay, test_address, text};
use chain::Params;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;

const PATH: &str = "/v1/mining/jobs";

fn test_folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    (folder, data)
}

fn created(answer: &Response) -> Value {
    assert_eq!(answer.status, 202, "{answer:?}");
    let job = answer.json();
    assert_eq!(answer.header("location").unwrap(), path_of(&job));
    job
}

/// Creates a job whose blocks pay the first test address.
fn start(node: &Node, mut spec: Value) -> Value {
    spec["miner"] = json!(text(test_address(1)));
    created(&node.send("POST", PATH, &spec))
}

fn path_of(job: &Value) -> String {
    format!("{PATH}/{}", job["id"].as_str().unwrap())
}

fn status(node: &Node, job: &Value) -> Value {
    node.get(&path_of(job)).json()
}

/// Waits for the end of a job.
fn end_of(node: &Node, job: &Value) -> Value {
    eventually("the end of a job", || {
        let job = node.get(&format!("{}?wait=10", path_of(job))).json();
        (!job["finished_at"].is_null()).then_some(job)
    })
}

/// The hashes of a job's blocks, after checking that they are distinct, in the best chain and pay its
/// miner.
fn blocks(node: &Node, job: &Value) -> Vec<String> {
    let hashes: Vec<String> = serde_json::from_value(job["result"]["blocks"].clone()).unwrap();
    assert_eq!(hashes.iter().collect::<HashSet<_>>().len(), hashes.len());
    assert_eq!(job["progress"]["blocks_done"], hashes.len());
    for hash in &hashes {
        let block = node.get(&format!("/v1/blocks/{hash}")).json();
        assert_eq!((&block["in_best_chain"], &block["miner"]), (&json!(true), &job["miner"]));
    }
    hashes
}

/// Runs `chain jobs` with a node's data folder; returns the JSON that it prints.
fn jobs(node: &Node, arguments: &[&str]) -> Value {
    let all = [&["jobs"], arguments, &["--json", "--data", node.data().to_str().unwrap()]];
    let (code, stdout, stderr) = run(&all.concat());
    assert_eq!(code, Some(0), "{stderr}");
    serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}"))
}

#[test]
fn job_for_ten_blocks_returns_their_hashes() {
    let (_folder, data) = test_folder();
    let node = Node::start(&data, &[]);
    // The delay makes the scheduled state observable.
    let job = start(&node, json!({"blocks": 10, "delay_seconds": 1}));
    assert_eq!((&job["state"], &job["progress"]["blocks_done"]), (&json!("scheduled"), &json!(0)));
    assert_eq!(job["not_before"].as_u64().unwrap(), job["created_at"].as_u64().unwrap() + 1);
    let job = end_of(&node, &job);
    assert_eq!(job["state"], "succeeded");
    assert!(job["started_at"].as_u64() >= job["not_before"].as_u64(), "{job}");
    assert_eq!((blocks(&node, &job).len(), node.tip().height), (10, 10));
}

// G06: on a network with real proof of work, while all threads search.
#[test]
fn cancelling_a_job_stops_its_threads() {
    let (_folder, data) = test_folder();
    let node = Node::start(&data, &["--network", "main", "--threads", "2", "--listen", "none"]);
    let order = json!({"miner": test_address(1).encode(Params::main().hrp())});
    let job = created(&node.send("POST", PATH, &order));
    let mining = eventually("hashes", || {
        let mining = node.get("/v1/mining").json();
        (mining["hashrate"].as_f64().unwrap() > 0.0).then_some(mining)
    });
    assert_eq!((&mining["threads"], &mining["jobs"]), (&json!(2), &json!([job["id"]])));
    assert_eq!(mining["running"], true);
    let now = status(&node, &job);
    assert_eq!(now["progress"]["expected_seconds"], Value::Null, "no end");
    assert_eq!(node.send("DELETE", &path_of(&job), &json!({})).json()["state"], "cancelled");
    let hashes = eventually("idle threads", || {
        let mining = node.get("/v1/mining").json();
        (mining["threads"] == 0).then(|| mining["hashes"].clone())
    });
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(node.get("/v1/mining").json()["hashes"], hashes);
    assert_eq!(node.send("DELETE", &path_of(&job), &json!({})).status, 200);
    // With real proof of work there is an estimate of the remaining time.
    let mut few = order.clone();
    few["blocks"] = json!(2);
    let job = created(&node.send("POST", PATH, &few));
    let expected =
        eventually("an estimate", || status(&node, &job)["progress"]["expected_seconds"].as_f64());
    assert!(expected > 0.0);
}

// T01: however often the node is killed, the job finds exactly its number of blocks.
#[test]
fn job_survives_kills_and_counts_each_block_once() {
    const BLOCKS: u64 = 150;
    let (_folder, data) = test_folder();
    let mut node = Node::start(&data, &[]);
    let order = json!({"miner": text(test_address(1)), "blocks": BLOCKS});
    let send =
        |node: &Node| created(&node.send_with("POST", PATH, &["Idempotency-Key: a"], &order));
    let job = send(&node);
    for done in [3, 40, 41, 90] {
        eventually("blocks", || (node.tip().height >= done).then_some(()));
        node.kill();
        node = Node::start(&data, &[]);
        let job = status(&node, &job);
        assert!(job["progress"]["blocks_done"].as_u64().unwrap() >= done, "{job}");
        // The key returns the same job from the new process.
        assert_eq!(send(&node)["id"], job["id"]);
    }
    let job = end_of(&node, &job);
    assert_eq!(job["state"], "succeeded");
    assert_eq!(blocks(&node, &job).len() as u64, BLOCKS);
    // The chain has the blocks of the job and no others.
    assert_eq!(node.tip().height, BLOCKS);
    node.stop();
    let tip = verified(&data);
    let node = Node::start(&data, &[]);
    assert_eq!((status(&node, &job), node.tip()), (job, tip));
    assert_eq!(node.get(PATH).json()["items"].as_array().unwrap().len(), 1);
}

#[test]
fn recurring_job_runs_until_it_is_cancelled() {
    let (_folder, data) = test_folder();
    let node = Node::start(&data, &[]);
    let series = start(&node, json!({"blocks": 1, "every_seconds": 1}));
    assert_eq!((&series["state"], &series["every_seconds"]), (&json!("running"), &json!(1)));
    let runs = |node: &Node| {
        let path = format!("{PATH}?series={}", series["id"].as_str().unwrap());
        node.get(&path).json()["items"].as_array().unwrap().clone()
    };
    eventually("two runs", || {
        let runs = runs(&node);
        (runs.iter().filter(|run| run["state"] == "succeeded").count() >= 2).then_some(())
    });
    // It continues after a kill.
    node.kill();
    let node = Node::start(&data, &[]);
    let before = status(&node, &series)["runs"].as_u64().unwrap();
    eventually("another run", || {
        (status(&node, &series)["runs"].as_u64().unwrap() > before).then_some(())
    });
    // The command shows it before jobs that were created later, with its next run, and cancels it.
    let ended = end_of(&node, &start(&node, json!({"until": {"height": 1}})));
    let id = series["id"].as_str().unwrap();
    let (code, stdout, stderr) = run(&["jobs", "--data", data.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{stderr}");
    let rows: Vec<&str> = stdout.lines().skip(1).collect();
    assert_eq!(rows.len(), 2, "{stdout}");
    assert!(rows[0].starts_with(id) && rows[1].starts_with(ended["id"].as_str().unwrap()));
    assert!(stdout.contains("next run") && rows[0].contains("1 block every 1 s"), "{stdout}");
    let listed = jobs(&node, &["list", "--series", id, "--state", "succeeded", "--limit", "1"]);
    assert_eq!(listed["items"][0]["series"], series["id"]);
    assert_eq!(jobs(&node, &["cancel", id])["state"], "cancelled");
    let series = status(&node, &series);
    assert_eq!(series["state"], "cancelled");
    for run in runs(&node) {
        assert!(run["state"] == "succeeded" || run["state"] == "cancelled", "{run}");
    }
    assert_eq!(blocks(&node, &series).len() as u64, node.tip().height);
}

#[test]
fn job_mines_until_a_condition_is_reached() {
    let (_folder, data) = test_folder();
    let node = Node::start(&data, &[]);
    let ended = |until: Value| {
        let job = end_of(&node, &start(&node, json!({ "until": until })));
        assert_eq!((&job["state"], &job["until"]), (&json!("succeeded"), &until));
        blocks(&node, &job).len()
    };
    assert_eq!((ended(json!({"height": 5})), node.tip().height), (5, 5));
    assert_eq!(ended(json!({"height": 3})), 0, "the condition was reached before");
    // Each further block makes one more reward of 50 coins mature.
    let miner = format!("/v1/accounts/{}", text(test_address(1)));
    let balance = || node.get(&miner).json()["balance"].as_u64().unwrap();
    let wanted = balance() + 3 * 5_000_000_000;
    assert_eq!((ended(json!({"balance": wanted})), balance()), (3, wanted));
    let transfer = pay(&dev_key(0), 0, test_address(2), 1_000);
    let id = transfer.id().to_string();
    let body = hex::encode(transfer.encode());
    let sent =
        node.request("POST", "/v1/transactions", &["Content-Type: text/plain"], body.as_bytes());
    assert_eq!(sent.status, 201, "{sent:?}");
    assert_eq!(ended(json!({"transaction": id, "confirmations": 2})), 2);
    let confirmed = node.get(&format!("/v1/transactions/{id}")).json();
    assert_eq!(confirmed["confirmations"], 2);
    let now = node.get("/v1/blocks/tip").json()["time"].as_u64().unwrap();
    ended(json!({"time": now + 2}));
}

#[test]
fn background_job_yields_to_others_and_survives_restarts() {
    let (_folder, data) = test_folder();
    let miner = text(test_address(3));
    let flags = ["--mine", "--miner", &miner, "--threads", "1"];
    let node = Node::start(&data, &flags);
    let background = node.get(PATH).json()["items"][0].clone();
    assert_eq!((&background["priority"], &background["miner"]), (&json!("lowest"), &json!(miner)));
    let job = start(&node, json!({}));
    assert_eq!(job["state"], "running");
    let yielded = status(&node, &background);
    assert_eq!((&yielded["state"], &yielded["progress"]["threads"]), (&json!("queued"), &json!(0)));
    node.kill();
    let node = Node::start(&data, &flags);
    assert_eq!(status(&node, &job)["state"], "running");
    assert_eq!(status(&node, &background)["state"], "queued");
    node.send("DELETE", &path_of(&job), &json!({}));
    assert_eq!(status(&node, &background)["state"], "running");
    node.stop();
    // A node without --mine does not resume it and reports why.
    let node = Node::start(&data, &[]);
    let ended = status(&node, &background);
    assert_eq!(
        (&ended["state"], &ended["error"]["code"]),
        (&json!("failed"), &json!("interrupted"))
    );
    assert_eq!(node.get("/v1/mining").json()["threads"], 0);
}

#[test]
fn command_line_starts_shows_watches_and_cancels_jobs() {
    let (_folder, data) = test_folder();
    let node = Node::start(&data, &[]);
    let miner = text(test_address(1));
    let job = jobs(&node, &["start", "--miner", &miner, "--blocks", "3"]);
    let id = job["id"].as_str().unwrap();
    let ended = jobs(&node, &["watch", id]);
    assert_eq!(
        (&ended["state"], &ended["progress"]["blocks_done"]),
        (&json!("succeeded"), &json!(3))
    );
    let later = ["start", "--miner", &miner, "--until-height", "9", "--delay", "1000"];
    let later = jobs(&node, &later);
    let id = later["id"].as_str().unwrap();
    assert_eq!((&later["state"], &later["until"]), (&json!("scheduled"), &json!({"height": 9})));
    assert_eq!(jobs(&node, &["show", id])["id"], later["id"]);
    assert_eq!(jobs(&node, &["list"])["items"][0]["id"], later["id"]);
    assert_eq!(jobs(&node, &["cancel", id])["state"], "cancelled");
    let data_flag = ["--data", data.to_str().unwrap()];
    let (code, stdout, _) = run(&[&["jobs"][..], &data_flag].concat());
    assert_eq!((code, stdout.lines().count()), (Some(0), 3), "{stdout}");
    assert!(stdout.contains("3 blocks") && stdout.contains("until height 9"), "{stdout}");
    let (code, _, stderr) = run(&[&["jobs", "watch", id][..], &data_flag].concat());
    assert_eq!(code, Some(1));
    assert!(stderr.contains("cancelled"), "{stderr}");
    let (code, _, stderr) =
        run(&[&["jobs", "start", "--miner", &miner, "--threads", "0"][..], &data_flag].concat());
    assert_eq!(code, Some(1));
    assert!(stderr.contains("threads must be 1 to") && stderr.lines().count() == 1, "{stderr}");
    let wrong = ["jobs", "start", "--blocks", "1", "--until-height", "2"];
    assert_eq!(run(&[&wrong[..], &data_flag].concat()).0, Some(2));
}

// O01
#[test]
fn chain_mine_is_a_job_of_the_running_node_and_cancels_it_at_exit() {
    let (folder, data) = test_folder();
    let node = Node::start(&data, &[]);
    let mut command = chain(&["mine", "--miner", &text(test_address(1)), "--data"]);
    let mut mining = Process::start(command.arg(&data), &folder.path().join("mine"));
    let job = eventually("a job that found a block", || {
        let job = node.get(PATH).json()["items"][0].clone();
        (job["progress"]["blocks_done"].as_u64() > Some(0)).then_some(job)
    });
    assert!(mining.stderr().contains(job["id"].as_str().unwrap()), "{}", mining.stderr());
    let (exit, _) = mining.terminate();
    assert_eq!(exit.code(), Some(0), "{}", mining.stderr());
    assert_eq!(status(&node, &job)["state"], "cancelled");
}

// The process knows only the URL of the node.
#[test]
fn chain_mine_finds_blocks_for_a_remote_node() {
    let (folder, data) = test_folder();
    let node = Node::start(&data, &[]);
    let other = folder.path().join("other");
    let miner = text(test_address(1));
    let flags = ["--node", &node.url(), "--data", other.to_str().unwrap(), "--blocks", "3"];
    let (code, stdout, stderr) = run(&[&["mine", "--miner", &miner][..], &flags].concat());
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!((stdout.lines().count(), node.tip().height), (3, 3));
    assert_eq!(node.get(PATH).json()["items"], json!([]), "no job of the node");
    assert!(!other.exists());
}

// A job of a node that `chain mine` started is not resumed by the next node.
#[test]
fn job_of_killed_embedded_node_is_not_resumed() {
    let (folder, data) = test_folder();
    let flags = ["--network", "dev", "--api", "127.0.0.1:0"];
    let mut command = chain(&["mine", "--miner", &text(test_address(1)), "--data"]);
    let mut mining = Process::start(command.arg(&data).args(flags), &folder.path().join("mine"));
    let height = || {
        let (_, status, _) = run(&["status", "--json", "--data", data.to_str().unwrap()]);
        serde_json::from_str::<Value>(&status).ok()?["height"].as_u64()
    };
    eventually("a block", || height().filter(|height| *height > 0));
    mining.kill();
    let node = Node::start(&data, &[]);
    let job = node.get(PATH).json()["items"][0].clone();
    assert_eq!((&job["state"], &job["error"]["code"]), (&json!("failed"), &json!("interrupted")));
    assert_eq!(job["progress"]["blocks_done"], node.tip().height);
}
