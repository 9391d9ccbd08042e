//! The command line: exit codes, errors of one line, closed pipes, selection of the node; and commands
//! against a mock node.

use crate::harness::{Node, chain, run};
use crate::test_chain::{test_address, text};
use ::chain::Params;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::thread;

#[test]
fn exit_code_is_2_for_wrong_usage_and_1_for_failure() {
    for arguments in [&["bogus"][..], &["status", "--bogus"], &["tx", "wait"], &[]] {
        let (code, stdout, stderr) = run(arguments);
        assert_eq!(code, Some(2), "{arguments:?}");
        assert!(stdout.is_empty() && !stderr.is_empty());
    }
    for arguments in [
        &["status", "--node", "127.0.0.1:1"][..],
        &["status", "--node", "https://example.org"],
        &["status", "--network", "nowhere"],
        &["tx", "send", "/nonexistent"],
        &["node", "--config", "/nonexistent"],
        &["verify-proof", "/nonexistent"],
    ] {
        let (code, stdout, stderr) = run(arguments);
        assert_eq!(code, Some(1), "{arguments:?}");
        assert!(stdout.is_empty(), "{stdout}");
        assert!(stderr.starts_with("chain: ") && stderr.lines().count() == 1, "{stderr}");
    }
    assert_eq!(run(&["--version"]).0, Some(0));
    assert_eq!(run(&["help", "tx"]).0, Some(0));
}

#[test]
fn closed_stdout_is_not_a_failure() {
    let mut command = chain(&["completions", "zsh"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[cfg(target_os = "linux")]
#[test]
fn write_error_is_a_failure() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let status = chain(&["completions", "zsh"]).stdout(full).stderr(Stdio::null()).status();
    assert_eq!(status.unwrap().code(), Some(1));
}

/// A mock node with these responses, one per request; returns the requested paths and bodies.
fn mock_node(responses: Vec<(u16, Value)>) -> (String, thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let requests = thread::spawn(move || {
        let respond = |(status, body): (u16, Value)| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            // Requests of these tests end with their head or with these digits.
            while !request.ends_with(b"\r\n\r\n") && !request.ends_with(b"ff") {
                let read = stream.read(&mut buffer).unwrap();
                request.extend_from_slice(&buffer[..read]);
            }
            let media_type =
                if status < 400 { "application/json" } else { "application/problem+json" };
            let body = body.to_string();
            let length = body.len();
            write!(
                stream,
                "HTTP/1.1 {status} X\r\nContent-Type: {media_type}\r\nContent-Length: {length}\r\n\
                 Connection: close\r\n\r\n{body}"
            )
            .unwrap();
            let request = String::from_utf8(request).unwrap();
            let line = request.lines().next().unwrap().trim_end_matches(" HTTP/1.1");
            format!("{line} {}", request.lines().last().unwrap()).trim().to_owned()
        };
        responses.into_iter().map(respond).collect()
    });
    (url, requests)
}

fn transaction(status: &str, confirmations: u32) -> Value {
    json!({
        "id": "ab", "status": status, "confirmations": confirmations, "reason": "evicted",
        "block": null, "height": null, "position": null, "time": null, "size": 145,
        "type": "transfer", "sender": "00", "sender_address": "x", "nonce": 0, "recipient": "y",
        "amount": 1, "fee": 145, "memo": "", "memo_hex": "", "signature": "00",
    })
}

#[test]
fn wait_ends_at_the_number_of_confirmations() {
    let responses =
        [("pending", 0), ("confirmed", 1), ("confirmed", 2)].map(|(s, c)| (200, transaction(s, c)));
    let (url, requests) = mock_node(responses.to_vec());
    let (code, stdout, stderr) =
        run(&["tx", "wait", "ab", "--confirmations", "2", "--timeout", "20", "--node", &url]);
    assert_eq!((code, &*stderr), (Some(0), ""));
    assert!(stdout.contains("confirmed, 2 confirmations"), "{stdout}");
    let requests = requests.join().unwrap();
    assert!(
        requests[0].starts_with("GET /v1/transactions/ab?wait=confirmed&confirmations=2&timeout=")
    );
}

#[test]
fn wait_fails_if_the_transaction_is_dropped_or_on_timeout() {
    let (url, _) = mock_node(vec![(200, transaction("dropped", 0))]);
    let (code, _, stderr) = run(&["tx", "wait", "ab", "--node", &url]);
    assert_eq!(code, Some(1));
    assert_eq!(stderr, "chain: the node dropped the transaction: evicted\n");

    let (url, _) = mock_node(vec![(200, transaction("pending", 0))]);
    let (code, _, stderr) = run(&["tx", "wait", "ab", "--timeout", "0", "--node", &url]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("not confirmed after 0 s: it is pending"), "{stderr}");
}

#[test]
fn sends_a_transfer_from_digits_or_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("transfer");
    std::fs::write(&file, "02ff\n").unwrap();
    for source in ["02ff", file.to_str().unwrap()] {
        let (url, requests) = mock_node(vec![(201, transaction("pending", 0))]);
        assert_eq!(run(&["tx", "send", source, "--node", &url]).1, "ab\n");
        assert_eq!(requests.join().unwrap(), ["POST /v1/transactions 02ff"]);
    }
    std::fs::write(&file, "not a transfer").unwrap();
    let (code, _, stderr) = run(&["tx", "send", file.to_str().unwrap(), "--node", "127.0.0.1:1"]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("holds no signed transfer"), "{stderr}");
}

#[test]
fn prints_a_problem_as_one_line_with_its_code() {
    let problem = json!({"detail": "nonce 4 comes\nnext", "code": "nonce-used"});
    let (url, _) = mock_node(vec![(409, problem)]);
    let (code, stdout, stderr) = run(&["tx", "send", "02ff", "--node", &url, "--json"]);
    assert_eq!((code, &*stdout), (Some(1), ""));
    assert_eq!(stderr, "chain: nonce 4 comes\\nnext (nonce-used)\n");
}

// R22
#[test]
fn escapes_control_characters_of_responses() {
    let mut evil = transaction("pending", 0);
    evil["memo"] = json!("\u{1b}]0;owned\u{7}\nid  zz");
    let (url, _) = mock_node(vec![(200, evil.clone())]);
    let (_, stdout, _) = run(&["tx", "show", "ab", "--node", &url]);
    assert!(!stdout.contains(['\u{1b}', '\u{7}']) && !stdout.contains("\nid  zz"), "{stdout}");

    let (url, _) = mock_node(vec![(200, evil.clone())]);
    let (_, stdout, _) = run(&["tx", "show", "ab", "--node", &url, "--json"]);
    assert_eq!(stdout, format!("{evil}\n"));
}

/// A platform data directory.
#[cfg(target_os = "linux")]
fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("chain")).unwrap();
    home
}

/// Runs the program of a user whose data directory is `home`, with JSON output.
#[cfg(target_os = "linux")]
fn run_at(home: &Path, arguments: &[&str]) -> (Option<i32>, Value, String) {
    let output = chain(arguments).arg("--json").env("XDG_DATA_HOME", home).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_default(), error)
}

#[cfg(target_os = "linux")]
#[test]
fn commands_select_the_node_of_the_network_of_an_address() {
    let home = home();
    let dev = Node::start(&home.path().join("chain/dev"), &[]);
    let flags = ["--network", "testnet", "--discover", "false"];
    let testnet = Node::start(&home.path().join("chain/testnet"), &flags);
    let on_dev = text(test_address(1));
    let on_testnet = test_address(1).encode(Params::testnet().hrp());

    for address in [&on_dev, &on_testnet] {
        let (code, account, error) = run_at(home.path(), &["account", address]);
        assert_eq!((code, &account["address"]), (Some(0), &json!(address)), "{error}");
        let (code, account, error) = run_at(home.path(), &["wallet", "balance", address]);
        assert_eq!((code, &account["address"]), (Some(0), &json!(address)), "{error}");
    }
    // With the token of that node.
    let start = ["jobs", "start", "--miner", &on_dev, "--blocks", "2"];
    let (code, job, error) = run_at(home.path(), &start);
    assert_eq!((code, &job["miner"]), (Some(0), &json!(on_dev)), "{error}");
    assert_eq!(testnet.get("/v1/mining/jobs").json()["items"], json!([]));

    // An explicit network or URL is preferred to the only node that runs.
    let (_, chain, _) = run_at(home.path(), &["status", "--network", "testnet"]);
    assert_eq!(chain["network"], "testnet");
    let (_, chain, _) = run_at(home.path(), &["status", "--node", &dev.url()]);
    assert_eq!(chain["network"], "dev");
}

#[cfg(target_os = "linux")]
#[test]
fn commands_select_the_only_node_that_runs() {
    let home = home();
    let dev = Node::start(&home.path().join("chain/dev"), &[]);
    let (code, chain, error) = run_at(home.path(), &["status"]);
    assert_eq!((code, &chain["network"]), (Some(0), &json!("dev")), "{error}");
    let (code, _, error) = run_at(home.path(), &["peers", "unban", "192.0.2.7"]);
    assert!(code == Some(1) && error.contains("(not-found)"), "the token is found: {error}");

    let main =
        Node::start(&home.path().join("chain/main"), &["--network", "main", "--discover", "false"]);
    let (code, _, error) = run_at(home.path(), &["status"]);
    assert_eq!((code, error.lines().count()), (Some(1), 1), "{error}");
    assert!(error.contains("(main, dev)") && error.contains("--network"), "{error}");

    // A killed node leaves its node file.
    dev.kill();
    let (code, chain, error) = run_at(home.path(), &["status"]);
    assert_eq!((code, &chain["network"]), (Some(0), &json!("main")), "{error}");
    assert!(main.stop().success());
}

#[cfg(target_os = "linux")]
#[test]
fn commands_without_a_node_use_the_port_of_the_network() {
    let home = home();
    let on_dev = text(test_address(1));
    for (arguments, port) in [
        (&["status"][..], 18_400),
        (&["account", &on_dev], 28_400),
        (&["status", "--network", "main"], 8_400),
    ] {
        let (code, _, error) = run_at(home.path(), arguments);
        assert_eq!(code, Some(1), "{error}");
        assert!(error.contains(&format!("127.0.0.1:{port}/")), "{error}");
    }
}
