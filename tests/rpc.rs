//! Mining over JSON-RPC: block templates, their solutions and errors, as Bitcoin's miners use them.

use crate::harness::{Node, Response, eventually};
use crate::stratum::miner::{meets, sha256d};
use crate::test_chain::{dev_key, pay, test_address, text};
use serde_json::{Value, json};
use tempfile::TempDir;

fn start(flags: &[&str]) -> (TempDir, Node) {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(&folder.path().join("data"), flags);
    (folder, node)
}

/// The header of HTTP basic authentication for a user.
fn basic_auth(user: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let text = format!("{user}:x");
    let groups = text.as_bytes().chunks(3).map(|group| {
        let bytes: Vec<u8> = group.iter().copied().chain([0, 0]).take(3).collect();
        let bits = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]);
        let digit = |index: u32| char::from(DIGITS[(bits >> (18 - 6 * index)) as usize & 63]);
        (0..4)
            .map(|index| if index as usize <= group.len() { digit(index) } else { '=' })
            .collect::<String>()
    });
    format!("Authorization: Basic {}", groups.collect::<String>())
}

fn call(node: &Node, user: &str, method: &str, params: &Value) -> Response {
    let body = json!({ "method": method, "params": params, "id": 0 }).to_string();
    let header = basic_auth(user);
    node.request("POST", "/", &["Content-Type: application/json", &header], body.as_bytes())
}

#[track_caller]
fn result(response: &Response) -> Value {
    let response = response.json();
    assert_eq!((&response["error"], &response["id"]), (&Value::Null, &json!(0)), "{response}");
    response["result"].clone()
}

/// Requests a template as pooler's cpuminer does.
fn get_template(node: &Node, user: &str, longpoll: Option<&Value>) -> Value {
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

/// Assembles the header of a template from its transactions and searches its nonce.
fn solve(template: &Value) -> Vec<u8> {
    let mut level = vec![sha256d(&bytes(&template["coinbasetxn"]["data"]))];
    for transaction in template["transactions"].as_array().unwrap() {
        let id = sha256d(&bytes(&transaction["data"]));
        let displayed: Vec<u8> = id.iter().rev().copied().collect();
        assert_eq!(bytes(&transaction["txid"]), displayed);
        level.push(id);
    }
    while level.len() > 1 {
        let pair = |pair: &[[u8; 32]]| sha256d(&[pair[0], *pair.last().unwrap()].concat());
        level = level.chunks(2).map(pair).collect();
    }
    let previous: Vec<u8> = bytes(&template["previousblockhash"]).into_iter().rev().collect();
    let bits: Vec<u8> = bytes(&template["bits"]).into_iter().rev().collect();
    let [version, time] =
        ["version", "curtime"].map(|field| number(&template[field]).to_le_bytes());
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

fn submit_transfer(node: &Node, nonce: u64) {
    let body = hex::encode(pay(&dev_key(0), nonce, test_address(3), 5).encode());
    let response =
        node.request("POST", "/v1/transactions", &["Content-Type: text/plain"], body.as_bytes());
    assert_eq!(response.status, 201);
}

#[test]
fn template_time_follows_the_shifted_clock() {
    let (_folder, node) = start(&[]);
    let shifted = node.send("POST", "/v1/dev/time", &json!({ "offset_seconds": 86_400 })).json();
    let user = text(test_address(1));
    let template = get_template(&node, &user, None);
    let [shifted, current, latest] =
        [&shifted["time"], &template["curtime"], &template["maxtime"]].map(number);
    assert!(shifted <= current && current < latest, "{shifted} {current} {latest}");
    let block = format!(
        "{}01{}",
        hex::encode(solve(&template)),
        template["coinbasetxn"]["data"].as_str().unwrap()
    );
    let params = json!([block, { "workid": template["workid"] }]);
    assert_eq!(result(&call(&node, &user, "submitblock", &params)), Value::Null);
    assert_eq!(node.get("/v1/blocks/tip").json()["time"], current);
}

#[test]
fn template_is_solved_and_submitted_as_pooler_cpuminer_does() {
    let (_folder, node) = start(&[]);
    let user = text(test_address(1));
    (0..3).for_each(|nonce| submit_transfer(&node, nonce));
    let template = get_template(&node, &user, None);
    assert_eq!(
        (&template["mutable"], &template["rules"]),
        (&json!(["submit/coinbase"]), &json!([]))
    );
    assert_eq!((&template["height"], &template["coinbasetxn"]["fee"]), (&json!(1), &json!(-3_000)));
    assert!(bytes(&template["coinbasetxn"]["data"]).len() >= 60);
    assert_eq!(template["transactions"].as_array().unwrap().len(), 3);
    // The header, the number of transactions, and the coinbase only.
    let header = solve(&template);
    let coinbase = template["coinbasetxn"]["data"].as_str().unwrap();
    let block = format!("{}04{coinbase}", hex::encode(&header));
    let submission = json!([block, { "workid": template["workid"] }]);
    assert_eq!(result(&call(&node, &user, "submitblock", &submission)), Value::Null);
    let tip = node.get("/v1/blocks/tip").json();
    assert_eq!((&tip["hash"], &tip["miner"]), (&json!(hash(&header)), &json!(user)));
    assert_eq!((&tip["transaction_count"], &tip["fees"]), (&json!(4), &json!(3_000)));
    assert_eq!(result(&call(&node, &user, "submitblock", &submission)), "duplicate");

    // A worker name after the address, all transactions, and no `workid`.
    submit_transfer(&node, 3);
    let template = get_template(&node, &format!("{user}.rig"), None);
    let header = solve(&template);
    let transfer = template["transactions"][0]["data"].as_str().unwrap();
    let coinbase = template["coinbasetxn"]["data"].as_str().unwrap();
    let block = format!("{}02{coinbase}{transfer}", hex::encode(&header));
    assert_eq!(result(&call(&node, &user, "submitblock", &json!([block]))), Value::Null);
    assert_eq!(node.tip().height, 2);
}

#[test]
fn long_poll_waits_until_the_tip_changes() {
    let (_folder, node) = start(&[]);
    let user = text(test_address(1));
    let (first, other) = (get_template(&node, &user, None), get_template(&node, &user, None));
    assert_ne!(first["coinbasetxn"], other["coinbasetxn"], "two miners have the same search space");
    let polled = std::thread::scope(|scope| {
        let polled = scope.spawn(|| get_template(&node, &user, Some(&first["longpollid"])));
        // A transfer does not end the long poll.
        submit_transfer(&node, 0);
        node.generate(1, &text(test_address(2))).unwrap();
        polled.join().unwrap()
    });
    assert_eq!(polled["height"], 2);
    let late = get_template(&node, &user, Some(&first["longpollid"]));
    assert_eq!(late["height"], 2, "the long poll id is outdated, so the response is immediate");
    // G02: a block for the previous tip.
    let coinbase = first["coinbasetxn"]["data"].as_str().unwrap();
    let header = solve(&first);
    let block = format!("{}01{coinbase}", hex::encode(&header));
    let submission = json!([block, { "workid": first["workid"] }]);
    assert_eq!(result(&call(&node, &user, "submitblock", &submission)), "inconclusive");
    let side = node.get(&format!("/v1/blocks/{}", hash(&header))).json();
    assert_eq!(side["in_best_chain"], false);
}

#[test]
fn errors_have_the_codes_of_the_protocol() {
    let (_folder, node) = start(&["--stratum", "127.0.0.1:0"]);
    let user = text(test_address(1));
    let template = get_template(&node, &user, None);
    let mut header = solve(&template);
    let coinbase = template["coinbasetxn"]["data"].as_str().unwrap();
    let work = json!({ "workid": template["workid"] });
    let submit =
        |block: String, work: &Value| call(&node, &user, "submitblock", &json!([block, work]));
    let error_code = |response: &Response| response.json()["error"]["code"].as_i64();
    for malformed in [
        "xy".to_owned(),
        "00".repeat(80),
        hex::encode(&header),
        format!("{}01{}", hex::encode(&header), &coinbase[2..]),
        format!("{}01{coinbase}{}", hex::encode(&header), "00".repeat(500)),
    ] {
        assert_eq!(error_code(&submit(malformed, &work)), Some(-22));
    }
    assert_eq!(error_code(&call(&node, &user, "submitblock", &json!([]))), Some(-22));
    let block = |header: &[u8]| format!("{}01{coinbase}", hex::encode(header));
    // A header and a coinbase of no template.
    let unknown = json!({ "workid": "0-0" });
    let mut foreign = header.clone();
    foreign[36] ^= 1;
    assert_eq!(result(&submit(block(&foreign), &unknown)), "stale-work");
    // A coinbase that pays more than the reward.
    let mut excessive = hex::decode(coinbase).unwrap();
    let reward = excessive.len() - 4 - 32 - 15 - 20 - 3 - 8;
    excessive[reward] += 1;
    let mut other = template.clone();
    other["coinbasetxn"]["data"] = json!(hex::encode(&excessive));
    let solved = solve(&other);
    let block_of = format!("{}01{}", hex::encode(&solved), hex::encode(&excessive));
    assert_eq!(result(&submit(block_of, &work)), "wrong-reward");
    let target: [u8; 32] = bytes(&template["target"]).try_into().unwrap();
    while meets(&sha256d(&header), &target) {
        header[76] = header[76].wrapping_add(1);
    }
    assert_eq!(result(&submit(block(&header), &work)), "high-hash");

    let post = |body: &str| node.request("POST", "/", &[], body.as_bytes());
    assert_eq!(error_code(&post("{")), Some(-32_700));
    assert_eq!(error_code(&post("[]")), Some(-32_600));
    assert_eq!(error_code(&post("{\"method\":\"getwork\"}")), Some(-32_601));
    let mode = json!([{ "mode": "other" }]);
    assert_eq!(error_code(&call(&node, &user, "getblocktemplate", &mode)), Some(-8));
    for user in ["", "invalid"] {
        let response = call(&node, user, "getblocktemplate", &json!([]));
        assert_eq!(response.status, 401);
        assert!(response.header("www-authenticate").unwrap().starts_with("Basic"));
    }
    assert_eq!(node.request("DELETE", "/", &[], b"").status, 405);
    let too_long = "x".repeat(4_300_000);
    assert_eq!(node.request("POST", "/", &[], too_long.as_bytes()).status, 413);

    // The status for miners, with the URL of the Stratum server.
    let info = call(&node, &user, "getmininginfo", &json!([]));
    let stratum = node.node_file()["stratum"].clone();
    assert_eq!(info.header("x-stratum"), stratum.as_str());
    let status = result(&info);
    assert_eq!((&status["blocks"], &status["chain"]), (&json!(0), &json!("dev")));
    assert!(status["difficulty"].is_f64() && status["networkhashps"].is_f64());
}

#[test]
fn stop_ends_the_process_like_a_signal() {
    let (_folder, mut node) = start(&[]);
    let token = format!("Authorization: Bearer {}", node.token());
    let call = json!({ "jsonrpc": "2.0", "method": "stop", "id": 1 }).to_string();
    let response = node.request("POST", "/", &[&token], call.as_bytes());
    assert_eq!(response.json()["result"], "chain stopping");
    assert!(eventually("the end of the node", || node.ended()).success());
    assert!(node.log().contains("node stopped"));
}
