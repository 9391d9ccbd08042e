//! The command line: exit codes, errors of one line, closed pipes; and commands against a mock node.

use crate::harness::{chain, run};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpListener;
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
