//! Miners that speak JSON-RPC: a template, its solution, and what Bitcoin's tools ask besides.

use crate::forge::{RICH, key, pay, test_address, text};
use crate::harness::{Node, Response};
use crate::stratum::miner::{meets, sha256d};
use serde_json::{Value, json};
use tempfile::TempDir;

fn node(flags: &[&str]) -> (TempDir, Node) {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(&folder.path().join("data"), flags);
    (folder, node)
}

/// The header that names a user.
fn basic(user: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let text = format!("{user}:x");
    let groups = text.as_bytes().chunks(3).map(|group| {
        let bytes: Vec<u8> = group.iter().copied().chain([0, 0]).take(3).collect();
        let bits = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]);
        let digit = |at: u32| char::from(DIGITS[(bits >> (18 - 6 * at)) as usize & 63]);
        (0..4)
            .map(|at| if at as usize <= group.len() { digit(at) } else { '=' })
            .collect::<String>()
    });
    format!("Authorization: Basic {}", groups.collect::<String>())
}

fn call(node: &Node, user: &str, method: &str, params: &Value) -> Response {
    let body = json!({ "method": method, "params": params, "id": 0 }).to_string();
    let header = basic(user);
    node.request("POST", "/", &["Content-Type: application/json", &header], body.as_bytes())
}

#[track_caller]
fn result(answer: &Response) -> Value {
    let answer = answer.json();
    assert_eq!((&answer["error"], &answer["id"]), (&Value::Null, &json!(0)), "{answer}");
    answer["result"].clone()
}

/// As pooler's cpuminer asks.
fn template(node: &Node, user: &str, longpoll: Option<&Value>) -> Value {
    let mut request = json!({
        "capabilities": ["coinbasetxn", "coinbasevalue", "longpoll", "workid"],
        "rules": ["segwit"],
    });
    if let Some(id) = longpoll {
        request["longpollid"] = id.clone();
    }
    result(&call(node, user, "getblocktemplate", &json!([request])))
}

fn bytes(text: &Value) -> Vec<u8> {
    hex::decode(text.as_str().unwrap()).unwrap()
}

fn number(value: &Value) -> u32 {
    u32::try_from(value.as_u64().unwrap()).unwrap()
}

/// The header that such a miner puts together, from the transactions as they are, solved.
fn solve(template: &Value) -> Vec<u8> {
    let mut level = vec![sha256d(&bytes(&template["coinbasetxn"]["data"]))];
    for transaction in template["transactions"].as_array().unwrap() {
        let id = sha256d(&bytes(&transaction["data"]));
        let shown: Vec<u8> = id.iter().rev().copied().collect();
        assert_eq!(bytes(&transaction["txid"]), shown);
        level.push(id);
    }
    while level.len() > 1 {
        let pair = |pair: &[[u8; 32]]| sha256d(&[pair[0], *pair.last().unwrap()].concat());
        level = level.chunks(2).map(pair).collect();
    }
    let previous: Vec<u8> = bytes(&template["previousblockhash"]).into_iter().rev().collect();
    let bits: Vec<u8> = bytes(&template["bits"]).into_iter().rev().collect();
    let [version, time] = ["version", "curtime"].map(|it| number(&template[it]).to_le_bytes());
    let mut header = [&version[..], &previous, &level[0], &time, &bits, &[0; 4]].concat();
    let target: [u8; 32] = bytes(&template["target"]).try_into().unwrap();
    let mut nonce = 0_u32;
    while !meets(&sha256d(&header), &target) {
        nonce += 1;
        header[76..].copy_from_slice(&nonce.to_le_bytes());
    }
    header
}

fn hash(header: &[u8]) -> String {
    let mut hash = sha256d(header);
    hash.reverse();
    hex::encode(hash)
}

fn send(node: &Node, nonce: u64) {
    let body = hex::encode(pay(&key(RICH[0]), nonce, test_address(3), 5).encode());
    let answer =
        node.request("POST", "/v1/transactions", &["Content-Type: text/plain"], body.as_bytes());
    assert_eq!(answer.status, 201);
}

#[test]
fn a_template_is_of_the_clock_that_was_shifted() {
    let (_folder, node) = node(&[]);
    let shifted = node.send("POST", "/v1/dev/time", &json!({ "offset_seconds": 86_400 })).json();
    let user = text(test_address(1));
    let given = template(&node, &user, None);
    let [tomorrow, now, most] =
        [&shifted["time"], &given["curtime"], &given["maxtime"]].map(number);
    assert!(tomorrow <= now && now < most, "{tomorrow} {now} {most}");
    let block = format!(
        "{}01{}",
        hex::encode(solve(&given)),
        given["coinbasetxn"]["data"].as_str().unwrap()
    );
    let params = json!([block, { "workid": given["workid"] }]);
    assert_eq!(result(&call(&node, &user, "submitblock", &params)), Value::Null);
    assert_eq!(node.get("/v1/blocks/tip").json()["time"], now);
}

#[test]
fn a_template_is_solved_and_handed_in_as_pooler_cpuminer_does() {
    let (_folder, node) = node(&[]);
    let user = text(test_address(1));
    (0..3).for_each(|nonce| send(&node, nonce));
    let given = template(&node, &user, None);
    assert_eq!((&given["mutable"], &given["rules"]), (&json!(["submit/coinbase"]), &json!([])));
    assert_eq!((&given["height"], &given["coinbasetxn"]["fee"]), (&json!(1), &json!(-3_000)));
    assert!(bytes(&given["coinbasetxn"]["data"]).len() >= 60);
    assert_eq!(given["transactions"].as_array().unwrap().len(), 3);
    // The header, the number of all transactions, and only the first of them.
    let header = solve(&given);
    let coinbase = given["coinbasetxn"]["data"].as_str().unwrap();
    let block = format!("{}04{coinbase}", hex::encode(&header));
    let handed_in = json!([block, { "workid": given["workid"] }]);
    assert_eq!(result(&call(&node, &user, "submitblock", &handed_in)), Value::Null);
    let tip = node.get("/v1/blocks/tip").json();
    assert_eq!((&tip["hash"], &tip["miner"]), (&json!(hash(&header)), &json!(user)));
    assert_eq!((&tip["transaction_count"], &tip["fees"]), (&json!(4), &json!(3_000)));
    assert_eq!(result(&call(&node, &user, "submitblock", &handed_in)), "duplicate");

    // A worker's name behind the address; all transactions, and no `workid`.
    send(&node, 3);
    let given = template(&node, &format!("{user}.rig"), None);
    let header = solve(&given);
    let transfer = given["transactions"][0]["data"].as_str().unwrap();
    let coinbase = given["coinbasetxn"]["data"].as_str().unwrap();
    let block = format!("{}02{coinbase}{transfer}", hex::encode(&header));
    assert_eq!(result(&call(&node, &user, "submitblock", &json!([block]))), Value::Null);
    assert_eq!(node.tip().height, 2);
}

#[test]
fn a_template_is_held_until_the_tip_changes() {
    let (_folder, node) = node(&[]);
    let user = text(test_address(1));
    let (first, other) = (template(&node, &user, None), template(&node, &user, None));
    assert_ne!(first["coinbasetxn"], other["coinbasetxn"], "no two miners search the same");
    let held = std::thread::scope(|scope| {
        let held = scope.spawn(|| template(&node, &user, Some(&first["longpollid"])));
        // A transfer is no reason.
        send(&node, 0);
        node.generate(1, &text(test_address(2))).unwrap();
        held.join().unwrap()
    });
    assert_eq!(held["height"], 2);
    let late = template(&node, &user, Some(&first["longpollid"]));
    assert_eq!(late["height"], 2, "at once, as the tip is another already");
    // G02: solved when another block was first.
    let coinbase = first["coinbasetxn"]["data"].as_str().unwrap();
    let header = solve(&first);
    let block = format!("{}01{coinbase}", hex::encode(&header));
    let handed_in = json!([block, { "workid": first["workid"] }]);
    assert_eq!(result(&call(&node, &user, "submitblock", &handed_in)), "inconclusive");
    let side = node.get(&format!("/v1/blocks/{}", hash(&header))).json();
    assert_eq!(side["in_best_chain"], false);
}

#[test]
fn what_is_wrong_is_told_in_the_words_of_the_protocol() {
    let (_folder, node) = node(&["--stratum", "127.0.0.1:0"]);
    let user = text(test_address(1));
    let given = template(&node, &user, None);
    let mut header = solve(&given);
    let coinbase = given["coinbasetxn"]["data"].as_str().unwrap();
    let work = json!({ "workid": given["workid"] });
    let submit =
        |block: String, work: &Value| call(&node, &user, "submitblock", &json!([block, work]));
    let refusal = |answer: &Response| answer.json()["error"]["code"].as_i64();
    for unreadable in [
        "xy".to_owned(),
        "00".repeat(80),
        hex::encode(&header),
        format!("{}01{}", hex::encode(&header), &coinbase[2..]),
        format!("{}01{coinbase}{}", hex::encode(&header), "00".repeat(500)),
    ] {
        assert_eq!(refusal(&submit(unreadable, &work)), Some(-22));
    }
    assert_eq!(refusal(&call(&node, &user, "submitblock", &json!([]))), Some(-22));
    let block = |header: &[u8]| format!("{}01{coinbase}", hex::encode(header));
    let unknown = json!({ "workid": "0-0" });
    assert_eq!(result(&submit(block(&header), &unknown)), "stale-work");
    // A coinbase that pays more than it may.
    let mut greedy = hex::decode(coinbase).unwrap();
    let reward = greedy.len() - 4 - 32 - 15 - 20 - 3 - 8;
    greedy[reward] += 1;
    let mut other = given.clone();
    other["coinbasetxn"]["data"] = json!(hex::encode(&greedy));
    let solved = solve(&other);
    let block_of = format!("{}01{}", hex::encode(&solved), hex::encode(&greedy));
    assert_eq!(result(&submit(block_of, &work)), "wrong-reward");
    let target: [u8; 32] = bytes(&given["target"]).try_into().unwrap();
    while meets(&sha256d(&header), &target) {
        header[76] = header[76].wrapping_add(1);
    }
    assert_eq!(result(&submit(block(&header), &work)), "high-hash");

    let ask = |body: &str| node.request("POST", "/", &[], body.as_bytes());
    assert_eq!(refusal(&ask("{")), Some(-32_700));
    assert_eq!(refusal(&ask("[]")), Some(-32_600));
    assert_eq!(refusal(&ask("{\"method\":\"getwork\"}")), Some(-32_601));
    let proposal = json!([{ "mode": "proposal" }]);
    assert_eq!(refusal(&call(&node, &user, "getblocktemplate", &proposal)), Some(-8));
    for nobody in ["", "nobody"] {
        let answer = call(&node, nobody, "getblocktemplate", &json!([]));
        assert_eq!(answer.status, 401);
        assert!(answer.header("www-authenticate").unwrap().starts_with("Basic"));
    }
    assert_eq!(node.request("DELETE", "/", &[], b"").status, 405);
    let too_long = "x".repeat(4_300_000);
    assert_eq!(node.request("POST", "/", &[], too_long.as_bytes()).status, 413);

    // What miners show, and where Stratum is spoken.
    let info = call(&node, &user, "getmininginfo", &json!([]));
    let stratum = node.node_file()["stratum"].clone();
    assert_eq!(info.header("x-stratum"), stratum.as_str());
    let shown = result(&info);
    assert_eq!((&shown["blocks"], &shown["chain"]), (&json!(0), &json!("dev")));
    assert!(shown["difficulty"].is_f64() && shown["networkhashps"].is_f64());
}
