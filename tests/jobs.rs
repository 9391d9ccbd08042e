//! Mining jobs over real processes: what they bring about, and that neither a kill nor a restart
//! loses one or what it found.

use crate::forge::{RICH, key, pay, test_address, text};
use crate::harness::{Node, Process, Response, chain, eventually, run, verified};
use chain::Params;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;

const PATH: &str = "/v1/mining/jobs";

fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    (folder, data)
}

fn taken(answer: &Response) -> Value {
    assert_eq!(answer.status, 202, "{answer:?}");
    let job = answer.json();
    assert_eq!(answer.header("location").unwrap(), path_of(&job));
    job
}

/// A job that pays test_address.
fn start(node: &Node, mut order: Value) -> Value {
    order["miner"] = json!(text(test_address(1)));
    taken(&node.send("POST", PATH, &order))
}

fn path_of(job: &Value) -> String {
    format!("{PATH}/{}", job["id"].as_str().unwrap())
}

fn look(node: &Node, job: &Value) -> Value {
    node.get(&path_of(job)).json()
}

/// A job at its end.
fn end_of(node: &Node, job: &Value) -> Value {
    eventually("the end of a job", || {
        let job = node.get(&format!("{}?wait=10", path_of(job))).json();
        (!job["finished_at"].is_null()).then_some(job)
    })
}

/// The hashes that a job found, each once, all in the best chain and for its miner.
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

/// Runs `chain jobs` with a node's data folder: what it prints as JSON.
fn jobs(node: &Node, arguments: &[&str]) -> Value {
    let all = [&["jobs"], arguments, &["--json", "--data", node.data().to_str().unwrap()]];
    let (code, stdout, stderr) = run(&all.concat());
    assert_eq!(code, Some(0), "{stderr}");
    serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}"))
}

#[test]
fn a_job_for_ten_blocks_ends_with_their_hashes() {
    let (_folder, data) = place();
    let node = Node::start(&data, &[]);
    // It waits a little, so that its beginning is seen.
    let job = start(&node, json!({"blocks": 10, "delay_seconds": 1}));
    assert_eq!((&job["state"], &job["progress"]["blocks_done"]), (&json!("scheduled"), &json!(0)));
    assert_eq!(job["not_before"].as_u64().unwrap(), job["created_at"].as_u64().unwrap() + 1);
    let job = end_of(&node, &job);
    assert_eq!(job["state"], "succeeded");
    assert!(job["started_at"].as_u64() >= job["not_before"].as_u64(), "{job}");
    assert_eq!((blocks(&node, &job).len(), node.tip().height), (10, 10));
}

// G06: a network where blocks take work, all threads searching.
#[test]
fn a_cancelled_job_searches_no_more() {
    let (_folder, data) = place();
    let node = Node::start(&data, &["--network", "main", "--threads", "2", "--listen", "none"]);
    let order = json!({"miner": test_address(1).encode(Params::main().hrp())});
    let job = taken(&node.send("POST", PATH, &order));
    let mining = eventually("hashes", || {
        let mining = node.get("/v1/mining").json();
        (mining["hashrate"].as_f64().unwrap() > 0.0).then_some(mining)
    });
    assert_eq!((&mining["threads"], &mining["jobs"]), (&json!(2), &json!([job["id"]])));
    assert_eq!(mining["running"], true);
    let now = look(&node, &job);
    assert_eq!(now["progress"]["expected_seconds"], Value::Null, "for ever");
    assert_eq!(node.send("DELETE", &path_of(&job), &json!({})).json()["state"], "cancelled");
    let hashes = eventually("rest", || {
        let mining = node.get("/v1/mining").json();
        (mining["threads"] == 0).then(|| mining["hashes"].clone())
    });
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(node.get("/v1/mining").json()["hashes"], hashes);
    assert_eq!(node.send("DELETE", &path_of(&job), &json!({})).status, 200);
    // Blocks that take work are expected some time, and never promised.
    let mut few = order.clone();
    few["blocks"] = json!(2);
    let job = taken(&node.send("POST", PATH, &few));
    let expected =
        eventually("an expectation", || look(&node, &job)["progress"]["expected_seconds"].as_f64());
    assert!(expected > 0.0);
}

// T01: killed as often as you like, at any moment, it finds what it was to find, no more and no less.
#[test]
fn a_job_survives_kills_and_counts_every_block_once() {
    const BLOCKS: u64 = 150;
    let (_folder, data) = place();
    let mut node = Node::start(&data, &[]);
    let order = json!({"miner": text(test_address(1)), "blocks": BLOCKS});
    let send = |node: &Node| taken(&node.send_with("POST", PATH, &["Idempotency-Key: a"], &order));
    let job = send(&node);
    for done in [3, 40, 41, 90] {
        eventually("blocks", || (node.tip().height >= done).then_some(()));
        node.kill();
        node = Node::start(&data, &[]);
        let job = look(&node, &job);
        assert!(job["progress"]["blocks_done"].as_u64().unwrap() >= done, "{job}");
        // The same key means the same job, whichever process is asked.
        assert_eq!(send(&node)["id"], job["id"]);
    }
    let job = end_of(&node, &job);
    assert_eq!(job["state"], "succeeded");
    assert_eq!(blocks(&node, &job).len() as u64, BLOCKS);
    // Nobody else mined: the chain has these blocks and no other.
    assert_eq!(node.tip().height, BLOCKS);
    node.stop();
    let tip = verified(&data);
    let node = Node::start(&data, &[]);
    assert_eq!((look(&node, &job), node.tip()), (job, tip));
    assert_eq!(node.get(PATH).json()["items"].as_array().unwrap().len(), 1);
}

#[test]
fn a_recurring_job_runs_again_and_again_until_it_is_cancelled() {
    let (_folder, data) = place();
    let node = Node::start(&data, &[]);
    let series = start(&node, json!({"blocks": 1, "every_seconds": 1}));
    assert_eq!((&series["state"], &series["every_seconds"]), (&json!("running"), &json!(1)));
    let runs = |node: &Node| {
        let listed = node.get(PATH).json()["items"].as_array().unwrap().clone();
        listed.into_iter().filter(|job| job["series"] == series["id"]).collect::<Vec<_>>()
    };
    eventually("two runs", || {
        let runs = runs(&node);
        (runs.iter().filter(|run| run["state"] == "succeeded").count() >= 2).then_some(())
    });
    // It goes on after a kill.
    node.kill();
    let node = Node::start(&data, &[]);
    let before = look(&node, &series)["runs"].as_u64().unwrap();
    eventually("another run", || {
        (look(&node, &series)["runs"].as_u64().unwrap() > before).then_some(())
    });
    node.send("DELETE", &path_of(&series), &json!({}));
    let series = look(&node, &series);
    assert_eq!(series["state"], "cancelled");
    for run in runs(&node) {
        assert!(run["state"] == "succeeded" || run["state"] == "cancelled", "{run}");
    }
    assert_eq!(blocks(&node, &series).len() as u64, node.tip().height);
}

#[test]
fn a_job_mines_until_something_is_so() {
    let (_folder, data) = place();
    let node = Node::start(&data, &[]);
    let ended = |until: Value| {
        let job = end_of(&node, &start(&node, json!({ "until": until })));
        assert_eq!((&job["state"], &job["until"]), (&json!("succeeded"), &until));
        blocks(&node, &job).len()
    };
    assert_eq!((ended(json!({"height": 5})), node.tip().height), (5, 5));
    assert_eq!(ended(json!({"height": 3})), 0, "it is so already");
    // A reward is 50 coins, and the last one is not mature yet: five can be spent, eight are wanted.
    let miner = format!("/v1/accounts/{}", text(test_address(1)));
    let balance = || node.get(&miner).json()["balance"].as_u64().unwrap();
    let wanted = balance() + 3 * 5_000_000_000;
    assert_eq!((ended(json!({"balance": wanted})), balance()), (3, wanted));
    let transfer = pay(&key(RICH[0]), 0, test_address(2), 1_000);
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
fn what_a_node_mines_all_the_time_yields_to_jobs_and_goes_on_as_the_same() {
    let (_folder, data) = place();
    let miner = text(test_address(3));
    let flags = ["--mine", "--miner", &miner, "--threads", "1"];
    let node = Node::start(&data, &flags);
    let always = node.get(PATH).json()["items"][0].clone();
    assert_eq!((&always["priority"], &always["miner"]), (&json!("lowest"), &json!(miner)));
    let job = start(&node, json!({}));
    assert_eq!(job["state"], "running");
    let yielded = look(&node, &always);
    assert_eq!((&yielded["state"], &yielded["progress"]["threads"]), (&json!("queued"), &json!(0)));
    node.kill();
    let node = Node::start(&data, &flags);
    assert_eq!(look(&node, &job)["state"], "running");
    assert_eq!(look(&node, &always)["state"], "queued");
    node.send("DELETE", &path_of(&job), &json!({}));
    assert_eq!(look(&node, &always)["state"], "running");
    node.stop();
    // Not told to mine, it does not, and says what became of it.
    let node = Node::start(&data, &[]);
    let ended = look(&node, &always);
    assert_eq!(
        (&ended["state"], &ended["error"]["code"]),
        (&json!("failed"), &json!("interrupted"))
    );
    assert_eq!(node.get("/v1/mining").json()["threads"], 0);
}

#[test]
fn jobs_are_started_shown_watched_and_cancelled_from_the_command_line() {
    let (_folder, data) = place();
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
    let place = ["--data", data.to_str().unwrap()];
    let (code, stdout, _) = run(&[&["jobs"][..], &place].concat());
    assert_eq!((code, stdout.lines().count()), (Some(0), 3), "{stdout}");
    assert!(stdout.contains("3 blocks") && stdout.contains("until height 9"), "{stdout}");
    let (code, _, stderr) = run(&[&["jobs", "watch", id][..], &place].concat());
    assert_eq!(code, Some(1));
    assert!(stderr.contains("cancelled"), "{stderr}");
    let (code, _, stderr) =
        run(&[&["jobs", "start", "--miner", &miner, "--threads", "0"][..], &place].concat());
    assert_eq!(code, Some(1));
    assert!(stderr.contains("threads must be 1 to") && stderr.lines().count() == 1, "{stderr}");
    let wrong = ["jobs", "start", "--blocks", "1", "--until-height", "2"];
    assert_eq!(run(&[&wrong[..], &place].concat()).0, Some(2));
}

// O01
#[test]
fn chain_mine_is_a_job_of_the_node_that_runs_and_ends_with_it() {
    let (folder, data) = place();
    let node = Node::start(&data, &[]);
    let mut command = chain(&["mine", "--miner", &text(test_address(1)), "--data"]);
    let mut mining = Process::start(command.arg(&data), &folder.path().join("mine"));
    let job = eventually("a job that found a block", || {
        let job = node.get(PATH).json()["items"][0].clone();
        (job["progress"]["blocks_done"].as_u64() > Some(0)).then_some(job)
    });
    assert!(mining.stderr().contains(job["id"].as_str().unwrap()), "{}", mining.stderr());
    let (status, _) = mining.terminate();
    assert_eq!(status.code(), Some(0), "{}", mining.stderr());
    assert_eq!(look(&node, &job)["state"], "cancelled");
}

// From elsewhere: another process that knows nothing of the node but its URL.
#[test]
fn chain_mine_finds_blocks_for_a_node_elsewhere() {
    let (folder, data) = place();
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

// What was begun by `chain mine` with a node of its own does not go on with the next node.
#[test]
fn mining_with_an_own_node_that_was_killed_is_not_resumed_behind_anybodys_back() {
    let (folder, data) = place();
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
