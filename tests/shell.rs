//! The command line as a shell meets it: exit codes, one line of complaint, closed pipes; and the
//! commands that ask a node, before one that gives answers made up here.

use crate::harness::{chain, run};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Stdio;
use std::thread;

#[test]
fn wrong_usage_is_2_and_failure_is_1_with_one_line() {
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
fn a_reader_who_has_seen_enough_is_no_failure() {
    let mut command = chain(&["completions", "zsh"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let status = chain(&["completions", "zsh"]).stdout(full).stderr(Stdio::null()).status();
    assert_eq!(status.unwrap().code(), Some(1));
}

/// Gives these answers, one a request, and then the paths and bodies it was asked.
fn node(answers: Vec<(u16, Value)>) -> (String, thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = thread::spawn(move || {
        let answer = |(status, body): (u16, Value)| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            // The requests of these tests are small, and end with their head or with a digit.
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
        answers.into_iter().map(answer).collect()
    });
    (url, asked)
}

fn transaction(status: &str, confirmations: i64) -> Value {
    json!({"id": "ab", "status": status, "confirmations": confirmations, "reason": "evicted"})
}

#[test]
fn waiting_ends_when_the_transaction_is_deep_enough() {
    let answers =
        [("pending", 0), ("confirmed", 1), ("confirmed", 2)].map(|(s, c)| (200, transaction(s, c)));
    let (url, asked) = node(answers.to_vec());
    let (code, stdout, stderr) =
        run(&["tx", "wait", "ab", "--confirmations", "2", "--timeout", "20", "--node", &url]);
    assert_eq!((code, &*stderr), (Some(0), ""));
    assert!(stdout.contains("confirmed, 2 blocks deep"), "{stdout}");
    let asked = asked.join().unwrap();
    assert!(
        asked[0].starts_with("GET /v1/transactions/ab?wait=confirmed&confirmations=2&timeout=")
    );
}

#[test]
fn waiting_fails_when_the_transaction_is_dropped_or_the_time_is_over() {
    let (url, _) = node(vec![(200, transaction("dropped", 0))]);
    let (code, _, stderr) = run(&["tx", "wait", "ab", "--node", &url]);
    assert_eq!(code, Some(1));
    assert_eq!(stderr, "chain: the node dropped the transaction: evicted\n");

    let (url, _) = node(vec![(200, transaction("pending", 0))]);
    let (code, _, stderr) = run(&["tx", "wait", "ab", "--timeout", "0", "--node", &url]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("not confirmed after 0 s: it is pending"), "{stderr}");
}

#[test]
fn a_transfer_is_sent_from_digits_or_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("transfer");
    std::fs::write(&file, "02ff\n").unwrap();
    for source in ["02ff", file.to_str().unwrap()] {
        let (url, asked) = node(vec![(201, transaction("pending", 0))]);
        assert_eq!(run(&["tx", "send", source, "--node", &url]).1, "ab\n");
        assert_eq!(asked.join().unwrap(), ["POST /v1/transactions 02ff"]);
    }
    std::fs::write(&file, "not a transfer").unwrap();
    let (code, _, stderr) = run(&["tx", "send", file.to_str().unwrap(), "--node", "127.0.0.1:1"]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("holds no signed transfer"), "{stderr}");
}

#[test]
fn a_problem_is_one_line_with_its_code() {
    let problem = json!({"detail": "nonce 4 comes\nnext", "code": "nonce-used"});
    let (url, _) = node(vec![(409, problem)]);
    let (code, stdout, stderr) = run(&["tx", "send", "02ff", "--node", &url, "--json"]);
    assert_eq!((code, &*stdout), (Some(1), ""));
    assert_eq!(stderr, "chain: nonce 4 comes\\nnext (nonce-used)\n");
}

// R22
#[test]
fn what_others_wrote_cannot_drive_the_terminal() {
    let mut evil = transaction("pending", 0);
    evil["memo"] = json!("\u{1b}]0;owned\u{7}\nid  zz");
    let (url, _) = node(vec![(200, evil.clone())]);
    let (_, stdout, _) = run(&["tx", "show", "ab", "--node", &url]);
    assert!(!stdout.contains(['\u{1b}', '\u{7}']) && !stdout.contains("\nid  zz"), "{stdout}");

    let (url, _) = node(vec![(200, evil.clone())]);
    let (_, stdout, _) = run(&["tx", "show", "ab", "--node", &url, "--json"]);
    assert_eq!(stdout, format!("{evil}\n"));
}
