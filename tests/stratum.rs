//! The Stratum server with miners of several kinds: their requests, shares and blocks.

pub mod miner;
mod workers;

use crate::harness::{Node, Process, eventually, verified};
use crate::test_chain::{test_address, text};
use miner::{Miner, expect_accepted, expect_error, meets, submission, word};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const STRATUM: [&str; 2] = ["--stratum", "127.0.0.1:0"];

/// A folder for a test, and the path of a data folder in it that does not exist yet.
fn test_folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    (folder, data)
}

/// The file of a network with the addresses of `dev`, whose blocks take some thousand hashes each.
fn network(folder: &Path, bits: &str) -> String {
    let path = folder.join("network.toml");
    let file = format!(
        "name = \"slow\"\nhrp = \"dch\"\nspacing_seconds = 5\nhalf_life_seconds = 125\n\
         fixed_difficulty = true\nlimit_bits = \"{bits}\"\ngenesis_bits = \"{bits}\"\n\
         genesis_time = 1767225600\ninitial_subsidy = 5000000000\nhalving_interval = 210000\n\
         maturity = 10\nmax_future_seconds = 60\nmax_block_bytes = 2000000\nmessage = \"slow\"\n"
    );
    fs::write(&path, file).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A node of such a network, and the URL of its Stratum server.
fn slow_node(folder: &Path, data: &Path) -> (Node, Value) {
    let network = network(folder, "1f00ffff");
    let node = Node::start(data, &[&STRATUM[..], &["--network", &network]].concat());
    let url = node.node_file()["stratum"].clone();
    (node, url)
}

fn workers(node: &Node) -> Vec<Value> {
    node.get("/v1/mining/workers").json().as_array().unwrap().clone()
}

/// Finds a block, submits it in the format of a miner, and checks that it pays the miner.
fn mine_block(
    node: &Node,
    miner: &mut Miner,
    address: &str,
    bits: u32,
    submit: &dyn Fn(&str) -> String,
) {
    miner.wait_for_job();
    let network = miner.network_target();
    let share = miner.find(0, bits, |hash| meets(hash, &network));
    let miner::Share { job, extra_nonce_2, time, nonce, hash } = &share;
    let line = submit(&format!("\"{job}\", \"{extra_nonce_2}\", \"{time}\", \"{nonce:08x}\""));
    miner.send(&line);
    expect_accepted(&miner.reply());
    let block = node.get(&format!("/v1/blocks/{hash}")).json();
    assert_eq!((&block["miner"], &block["in_best_chain"]), (&json!(address), &json!(true)));
    assert_eq!(node.tip().hash, *hash);
    miner.next_tip();
}

#[test]
fn clock_offset_applies_to_miners() {
    let (_folder, data) = test_folder();
    let node = Node::start(&data, &STRATUM);
    let url = node.node_file()["stratum"].clone();
    let response = node.send("POST", "/v1/dev/time", &json!({ "offset_seconds": 86_400 })).json();
    let tomorrow = response["time"].as_u64().unwrap();
    // A new tip causes a new job.
    let address = text(test_address(1));
    node.generate(1, &address).unwrap();
    let mut miner = Miner::start(&url, &address, 1.0);
    while u64::from(word(&miner.job[7])) < tomorrow {
        miner.next_tip();
    }
    mine_block(&node, &mut miner, &address, 0, &|rest| {
        format!(
            "{{\"method\": \"mining.submit\", \"params\": [\"{address}\", {rest}], \"id\": 4}}\n"
        )
    });
    let time = node.get("/v1/blocks/tip").json()["time"].as_u64().unwrap();
    assert!((tomorrow..tomorrow + 3_600).contains(&time), "{time}");
}

// O07: the node would refuse the blocks of such miners, so they get the reason instead of jobs.
#[test]
fn miners_wait_while_the_tip_is_ahead_of_the_clock() {
    let (_folder, data) = test_folder();
    let node = Node::start(&data, &STRATUM);
    let url = node.node_file()["stratum"].clone();
    let shift = |seconds: i64| {
        let shifted = node.send("POST", "/v1/dev/time", &json!({ "offset_seconds": seconds }));
        assert_eq!(shifted.status, 200);
    };
    let address = text(test_address(1));
    shift(864_000);
    node.generate(1, &address).unwrap();
    let mut miner = Miner::start(&url, &address, 1e-9);
    shift(0);
    let message = |miner: &mut Miner| loop {
        let line = miner.receive().unwrap();
        if line["method"] == "client.show_message" {
            break line["params"][0].as_str().unwrap().to_owned();
        }
    };
    let expected = "ahead of this machine's clock";
    let shown = message(&mut miner);
    assert!(shown.contains(expected), "{shown}");
    // One that connects now is shown it too, and gets no job.
    let mut later = Miner::connect(&url);
    later.request("mining.subscribe", &json!(["test/1"]));
    expect_accepted(&later.request("mining.authorize", &json!([address, "x"])));
    assert_eq!(message(&mut later), shown);
    assert!(later.job.is_null());
    // Every hash is a block on `dev`, but the time of all of them is too late.
    let share = miner.find_block(0);
    expect_error(&miner.submit(&address, &share), 20);
    assert_eq!(node.tip().height, 1);
    assert!(!node.log().contains("rejected"), "{}", node.log());
    let warnings = || node.log().matches("no block can be mined").count();
    eventually("a warning", || (warnings() > 0).then_some(()));
    assert_eq!(warnings(), 1, "{}", node.log());
    shift(864_000);
    later.wait_for_job();
    assert!(!later.job.is_null());
}

/// The lines are in the format of each miner's source code.
#[test]
fn five_kinds_of_miners_find_blocks() {
    let (_folder, data) = test_folder();
    let node = Node::start(&data, &STRATUM);
    let url = &node.node_file()["stratum"];
    cpuminer(&node, Miner::connect(url), &text(test_address(1)));
    cpuminer_opt(&node, Miner::connect(url), &text(test_address(2)));
    esp_miner(&node, Miner::connect(url), &text(test_address(3)));
    nerd_miner(&node, Miner::connect(url), &text(test_address(4)));
    cgminer(&node, Miner::connect(url), &text(test_address(5)));
    assert_eq!(node.tip().height, 7);
    node.kill();
    assert_eq!(verified(&data).height, 7);
}

/// Mines as pooler's cpuminer.
fn cpuminer(node: &Node, mut miner: Miner, address: &str) {
    miner.send("{\"id\": 1, \"method\": \"mining.subscribe\", \"params\": [\"cpuminer/2.5.1\"]}\n");
    assert_eq!(miner.receive().unwrap()["id"], 1, "the next line");
    miner.send(&format!(
        "{{\"id\": 2, \"method\": \"mining.authorize\", \"params\": [\"{address}\", \"x\"]}}\n"
    ));
    expect_accepted(&miner.receive().unwrap());
    for _ in 0..3 {
        mine_block(node, &mut miner, address, 0, &|rest| {
            format!(
                "{{\"method\": \"mining.submit\", \"params\": [\"{address}\", {rest}], \"id\":4}}\n"
            )
        });
    }
}

/// Mines as cpuminer-opt.
fn cpuminer_opt(node: &Node, mut miner: Miner, address: &str) {
    miner.send(
        "{\"id\": 1, \"method\": \"mining.subscribe\", \"params\": [\"cpuminer-opt-26.1\"]}\n",
    );
    assert_eq!(miner.receive().unwrap()["id"], 1);
    miner.send(&format!(
        "{{\"id\": 2, \"method\": \"mining.authorize\", \"params\": [\"{address}.rig\", \"x\"]}}\n"
    ));
    expect_accepted(&miner.receive().unwrap());
    miner.send("{\"id\": 3, \"method\": \"mining.extranonce.subscribe\", \"params\": []}\n");
    expect_accepted(&miner.reply());
    miner.send(
        "{\"id\": 1, \"method\": \"mining.suggest_difficulty\", \"params\": [\"0.500000\"]}\n",
    );
    expect_accepted(&miner.reply());
    mine_block(node, &mut miner, address, 0, &|rest| {
        format!(
            "{{\"method\": \"mining.submit\", \"params\": [\"{address}.rig\", {rest}], \"id\":4}}\n"
        )
    });
}

/// Mines as ESP-Miner, which sends three requests at once.
fn esp_miner(node: &Node, mut miner: Miner, address: &str) {
    miner.send(&format!(
        "{{\"id\": 1, \"method\": \"mining.configure\", \"params\": [[\"version-rolling\"], \
         {{\"version-rolling.mask\": \"ffffffff\"}}]}}\n\
         {{\"id\": 2, \"method\": \"mining.subscribe\", \"params\": [\"bitaxe/BM1370/v2.9.0\"]}}\n\
         {{\"id\": 3, \"method\": \"mining.authorize\", \"params\": [\"{address}.axe\", \"x\"]}}\n"
    ));
    assert_eq!(miner.receive().unwrap()["result"]["version-rolling.mask"], "1fffe000");
    assert_eq!(miner.receive().unwrap()["id"], 2);
    expect_accepted(&miner.receive().unwrap());
    miner.send("{\"id\": 4, \"method\": \"mining.suggest_difficulty\", \"params\": [1000]}\n");
    expect_accepted(&miner.reply());
    mine_block(node, &mut miner, address, 0x0005_a000, &|rest| {
        format!(
            "{{\"id\": 5, \"method\": \"mining.submit\", \"params\": [\"{address}.axe\", {rest}, \
             \"0005a000\"]}}\n"
        )
    });
}

/// Mines as NerdMiner, which omits leading zeros of the nonce.
fn nerd_miner(node: &Node, mut miner: Miner, address: &str) {
    miner.send(
        "{\"id\": 1, \"method\": \"mining.subscribe\", \"params\": [\"NerdMinerV2/1.8.0\"]}\n",
    );
    assert_eq!(miner.receive().unwrap()["id"], 1);
    miner.send(&format!(
        "{{\"params\": [\"{address}\", \"x\"], \"id\": 2, \"method\": \"mining.authorize\"}}\n\
         {{\"id\": 3, \"method\": \"mining.suggest_difficulty\", \"params\": [0.00015]}}\n"
    ));
    expect_accepted(&miner.receive().unwrap());
    expect_accepted(&miner.reply());
    mine_block(node, &mut miner, address, 0, &|rest| {
        let (before, nonce) = rest.rsplit_once(' ').unwrap();
        let nonce = nonce.trim_matches('"').trim_start_matches('0');
        let nonce = if nonce.is_empty() { "0" } else { nonce };
        format!(
            "{{\"id\":4,\"method\":\"mining.submit\",\"params\":[\"{address}\",{before}\"{nonce}\"]}}\n"
        )
    });
}

/// Mines as cgminer.
fn cgminer(node: &Node, mut miner: Miner, address: &str) {
    miner.send(
        "{\"id\": 0, \"method\": \"mining.configure\", \"params\": [[\"version-rolling\"], \
         {\"version-rolling.mask\": \"1fffe000\", \"version-rolling.min-bit-count\": 2}]}\n",
    );
    assert_eq!(miner.receive().unwrap()["result"]["version-rolling"], true);
    miner.send("{\"id\": 1, \"method\": \"mining.subscribe\", \"params\": [\"cgminer/4.11.1\"]}\n");
    assert_eq!(miner.receive().unwrap()["id"], 1);
    miner.send(&format!(
        "{{\"id\": 2, \"method\": \"mining.authorize\", \"params\": [\"{address}.s9\", \"x\"]}}\n"
    ));
    expect_accepted(&miner.receive().unwrap());
    mine_block(node, &mut miner, address, 0x2000, &|rest| {
        format!(
            "{{\"id\": 3, \"method\": \"mining.submit\", \"params\": [\"{address}.s9\", {rest}, \
             \"00002000\"]}}\n"
        )
    });
}

// Q02, Q03, Q04, Q05, Q07, Q09
#[test]
fn validates_and_counts_every_share() {
    let (folder, data) = test_folder();
    let (node, url) = slow_node(folder.path(), &data);
    let address = text(test_address(1));
    let user = format!("{address}.<rig>");
    let mut miner = Miner::connect(&url);
    miner.request("mining.suggest_difficulty", &json!([1e-7]));
    expect_error(&miner.request("mining.submit", &json!([user, "1", "00000000", "0", "0"])), 25);
    miner.request("mining.subscribe", &json!(["test/1"]));
    expect_error(&miner.request("mining.submit", &json!([user, "1", "00000000", "0", "0"])), 24);
    expect_error(&miner.request("mining.authorize", &json!(["unknown", "x"])), 24);
    expect_accepted(&miner.request("mining.authorize", &json!([user, "x"])));
    miner.wait_for_job();

    let share = miner.find_share(0);
    expect_accepted(&miner.submit(&user, &share));
    expect_error(&miner.submit(&user, &share), 22);
    let target = miner.share_target();
    let low = miner.find(0, 0, |hash| !meets(hash, &target));
    expect_error(&miner.submit(&user, &low), 23);
    let mut malformed = submission(&user, &share);
    malformed[2] = json!("001");
    expect_error(&miner.request("mining.submit", &malformed), 20);
    let late = format!("{:08x}", word(&miner.job[7]) + 3_600);
    malformed = submission(&user, &share);
    malformed[3] = json!(late);
    expect_error(&miner.request("mining.submit", &malformed), 20);
    expect_error(&miner.submit(&text(test_address(2)), &share), 24);

    // The share is submitted again over a new connection that resumes the session.
    let (session, half) = (miner.session.clone(), miner.extra_nonce_1.clone());
    drop(miner);
    let mut miner = eventually("the end of the first connection", || {
        let mut miner = Miner::connect(&url);
        miner.request("mining.suggest_difficulty", &json!([1e-7]));
        miner.request("mining.subscribe", &json!(["test/1", session]));
        (miner.extra_nonce_1 == half).then_some(miner)
    });
    expect_accepted(&miner.request("mining.authorize", &json!([user, "x"])));
    miner.wait_for_job();
    expect_error(&miner.submit(&user, &share), 22);

    let (block, old) = (miner.find_block(0), miner.find_share(share.nonce + 1));
    expect_accepted(&miner.submit(&user, &block));
    miner.next_tip();
    expect_error(&miner.submit(&user, &old), 21);
    expect_error(&miner.submit(&user, &block), 22);

    let mining = node.get("/v1/mining").json();
    assert_eq!(mining["stratum"], url.as_str().unwrap().strip_prefix("stratum+tcp://").unwrap());
    let worker = &mining["stratum_workers"][0];
    assert_eq!((&worker["address"], &worker["name"]), (&json!(address), &json!("_rig_")));
    let counts = ["accepted", "duplicate", "low", "stale", "invalid", "blocks", "connections"];
    assert_eq!(counts.map(|name| worker[name].as_u64().unwrap()), [2, 3, 1, 1, 2, 1, 1]);
    assert!(worker["hashrate"].as_f64().unwrap() > 0.0);
    assert!(worker["difficulty"].as_f64().unwrap() > 0.0);
    assert!(worker["last_share"].as_u64().unwrap() > 1_767_225_600);

    // Q13: a crash loses at most a second of shares, and none counts twice.
    let path = data.join("workers.jsonl");
    eventually("the shares on disk", || {
        let file = fs::read_to_string(&path).ok()?;
        let last: Value = serde_json::from_str(file.lines().last()?).ok()?;
        (last["duplicate"] == 3).then_some(())
    });
    let last = miner.find_share(old.nonce + 1);
    expect_accepted(&miner.submit(&user, &last));
    node.kill();
    let (node, url) = slow_node(folder.path(), &data);
    let mut miner = Miner::start(&url, &user, 1e-7);
    for share in [&share, &last, &block] {
        let again =
            miner::Share { job: miner.job[0].as_str().unwrap().to_owned(), ..share.clone() };
        let reply = miner.submit(&user, &again);
        assert!([20, 21, 23].contains(&reply["error"][0].as_u64().unwrap()), "{reply}");
    }
    let found = workers(&node);
    assert_eq!(found.len(), 1);
    let accepted = found[0]["accepted"].as_u64().unwrap();
    assert!((2..=3).contains(&accepted) && found[0]["blocks"] == 1, "{found:?}");
}

// Q10
#[test]
fn submitted_block_survives_stop_and_crash() {
    let (folder, data) = test_folder();
    let (node, url) = slow_node(folder.path(), &data);
    let address = text(test_address(1));
    let mut miner = Miner::start(&url, &address, 1e-7);
    let block = miner.find_block(0);
    expect_accepted(&miner.submit(&address, &block));
    node.kill();
    assert_eq!(verified_of(folder.path(), &data), block.hash, "an acknowledged block is on disk");

    let (node, url) = slow_node(folder.path(), &data);
    let mut miner = Miner::start(&url, &address, 1e-7);
    let block = miner.find_block(0);
    let line =
        json!({ "id": 4, "method": "mining.submit", "params": submission(&address, &block) });
    // The node is stopped at the same moment, before it can reply.
    miner.send(&format!("{line}\n"));
    assert!(node.stop().success());
    assert_eq!(verified_of(folder.path(), &data), block.hash);
}

fn verified_of(folder: &Path, data: &Path) -> String {
    let network = network(folder, "1f00ffff");
    let (code, stdout, stderr) = crate::harness::run(&[
        "verify",
        "--json",
        "--network",
        &network,
        "--data",
        data.to_str().unwrap(),
    ]);
    assert_eq!(code, Some(0), "{stderr}");
    serde_json::from_str::<Value>(&stdout).unwrap()["tip"].as_str().unwrap().to_owned()
}

// G01, G02, Q10
#[test]
fn new_tip_reaches_all_miners_and_stale_block_is_accepted() {
    let (_folder, data) = test_folder();
    let node = Node::start(&data, &STRATUM);
    let url = node.node_file()["stratum"].clone();
    let address = text(test_address(1));
    let mut miners: Vec<Miner> =
        (0..20).map(|number| Miner::start(&url, &format!("{address}.{number}"), 1.0)).collect();
    let late = miners[0].find_block(0);
    let begun = Instant::now();
    node.generate(1, &text(test_address(2))).unwrap();
    for miner in &mut miners {
        miner.next_tip();
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    let user = format!("{address}.0");
    expect_accepted(&miners[0].submit(&user, &late));
    let side = node.get(&format!("/v1/blocks/{}", late.hash)).json();
    assert_eq!((&side["in_best_chain"], &side["height"]), (&json!(false), &json!(1)));
    assert_eq!(node.tip().height, 1);
    let half: std::collections::HashSet<_> =
        miners.iter().map(|miner| miner.extra_nonce_1.clone()).collect();
    assert_eq!(half.len(), miners.len());
}

#[test]
fn better_fees_cause_a_new_job_without_a_new_tip() {
    let (_folder, data) = test_folder();
    let node = Node::start(&data, &STRATUM);
    let url = node.node_file()["stratum"].clone();
    let mut miner = Miner::start(&url, &text(test_address(1)), 1.0);
    let first = miner.job.clone();
    let transfer = crate::test_chain::pay(&crate::test_chain::dev_key(0), 0, test_address(3), 5);
    let body = hex::encode(transfer.encode());
    let answer =
        node.request("POST", "/v1/transactions", &["Content-Type: text/plain"], body.as_bytes());
    assert_eq!(answer.status, 201);
    while miner.job[0] == first[0] {
        miner.receive().unwrap();
    }
    assert_eq!((&miner.job[1], &miner.job[8]), (&first[1], &json!(false)));
    assert_eq!(miner.job[4].as_array().unwrap().len(), 1, "the transfer is in the block");
    let block = miner.find_block(0);
    expect_accepted(&miner.submit(&text(test_address(1)), &block));
    assert_eq!(node.get(&format!("/v1/blocks/{}", block.hash)).json()["fees"], 1_000);
}

// Q06, Q08
#[test]
fn malformed_input_closes_only_its_own_connection() {
    let (_folder, data) = test_folder();
    let node = Node::start(&data, &STRATUM);
    let url = node.node_file()["stratum"].clone();
    let address = text(test_address(1));
    let mut good = Miner::start(&url, &address, 1.0);
    let garbage = "GET / HTTP/1.1\r\n".repeat(30);
    for bad in ["x".repeat(5_000), "[".repeat(1 << 20), garbage] {
        let mut miner = Miner::connect(&url);
        // The node may close the connection before everything is sent.
        let _ = std::io::Write::write_all(miner.stream(), bad.as_bytes());
        assert!(miner.receive().is_none());
    }
    let mut binary = Miner::connect(&url);
    let _ = std::io::Write::write_all(binary.stream(), b"\xff\xfe\x00\n\x80{\n");
    assert_eq!(binary.request("mining.ping", &json!([]))["result"], "pong");
    let block = good.find_block(0);
    expect_accepted(&good.submit(&address, &block));
}

#[test]
fn error_for_address_in_use_names_the_option() {
    let (folder, data) = test_folder();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let line = Node::start_failing(&data, &["--stratum", &address]);
    assert!(line.contains(&address) && line.contains("--stratum"), "{line}");
    let node = Node::start(&folder.path().join("other"), &[]);
    assert_eq!(node.node_file()["stratum"], Value::Null);
    assert_eq!(node.get("/v1/mining").json()["stratum"], Value::Null);
    assert_eq!(node.get("/v1/mining/workers").json(), json!([]));
}

/// Runs the miner of another project, which must be installed.
#[test]
#[ignore = "needs minerd (pooler's cpuminer) on the PATH"]
fn cpuminer_finds_blocks() {
    let names = ["minerd", "cpuminer"];
    let has = |name: &&&str| Command::new(name).arg("--version").output().is_ok();
    let program = names.iter().find(has).expect("minerd or cpuminer is on the PATH");
    let (folder, data) = test_folder();
    let network = network(folder.path(), "1e00ffff");
    let node = Node::start(&data, &[&STRATUM[..], &["--network", &network]].concat());
    let (stratum, address) = (node.node_file()["stratum"].clone(), text(test_address(1)));
    for (url, further) in [(stratum.as_str().unwrap(), "--quiet"), (&*node.url(), "--no-stratum")] {
        let from = node.tip().height;
        let mut command = Command::new(program);
        command.args(["-a", "sha256d", "-t", "1", "-o", url, "-u", &address, "-p", "x", further]);
        let miner = Process::start(&mut command, &folder.path().join("miner"));
        eventually("a few blocks of a real miner", || {
            (node.tip().height >= from + 3).then_some(())
        });
        drop(miner);
        assert_eq!(node.get("/v1/blocks/tip").json()["miner"], *address);
    }
}
