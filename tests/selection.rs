//! The node that a command selects without `--node` and `--data`: by the network of an address, the only
//! one that runs, otherwise by the port of the network. Linux only: a test sets the platform's data
//! directory by `XDG_DATA_HOME`.

use crate::harness::{Node, chain};
use crate::test_chain::{test_address, text};
use ::chain::Params;
use serde_json::{Value, json};
use std::path::Path;

/// A platform data directory.
fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("chain")).unwrap();
    home
}

/// Runs the program of a user whose data directory is `home`, with JSON output.
fn run_at(home: &Path, arguments: &[&str]) -> (Option<i32>, Value, String) {
    let output = chain(arguments).arg("--json").env("XDG_DATA_HOME", home).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_default(), error)
}

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
    assert!(error.contains("(dev, main)") && error.contains("--network"), "{error}");

    // A killed node leaves its node file.
    dev.kill();
    let (code, chain, error) = run_at(home.path(), &["status"]);
    assert_eq!((code, &chain["network"]), (Some(0), &json!("main")), "{error}");
    assert!(main.stop().success());
}

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
