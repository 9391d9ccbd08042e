//! `chain network`, and data directories that keep the file of their network.

use crate::harness::{Node, run};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Runs a command that must succeed: its JSON.
fn json(arguments: &[&str]) -> Value {
    let (code, stdout, stderr) = run(&[arguments, &["--json"]].concat());
    assert_eq!(code, Some(0), "{arguments:?}: {stderr}");
    serde_json::from_str(&stdout).unwrap()
}

/// Runs a command that must fail: its line on stderr.
fn fails(arguments: &[&str]) -> String {
    let (code, stdout, stderr) = run(arguments);
    assert_eq!((code, &*stdout), (Some(1), ""), "{arguments:?}: {stderr}");
    stderr
}

/// Starts a node whose network is that of its data directory.
fn start_without_network(data: &Path) -> Node {
    let mut command = Node::command(data, &[]);
    Node::try_start(command.env_remove("CHAIN_NETWORK"), data).unwrap()
}

#[test]
fn data_directory_keeps_its_network_file() {
    let folder = tempfile::tempdir().unwrap();
    let (file, data) = (folder.path().join("lesson.toml"), folder.path().join("data"));
    let (file, path) = (file.to_str().unwrap(), data.to_str().unwrap());
    let funded = "dch1qt4mq8569lyl8x0sxahatd6cj2mne3k6hhrleaa=1000.5";
    let made = json(&["network", "new", file, "--development", "--allocate", funded]);
    assert_eq!((&made["name"], &made["hrp"]), (&"lesson".into(), &"less".into()));
    assert_eq!(made["allocated"], 100_050_000_000_u64);
    assert_eq!(json(&["network", "show", file]), made);

    let node = Node::start(&data, &["--network", file]);
    let (address, _) = funded.split_once('=').unwrap();
    let address = chain::Address::decode(address).unwrap().1;
    let address = address.encode(chain::address::Hrp::new("less").unwrap());
    assert_eq!(node.generate(3, &address).unwrap().len(), 3);
    let account = node.get(&format!("/v1/accounts/{address}")).json();
    assert!(account["balance"].as_u64().unwrap() >= 100_050_000_000);
    assert!(node.stop().success());
    fs::remove_file(file).unwrap();

    assert_eq!(json(&["network", "show", path]), made);
    assert_eq!(json(&["verify", "--data", path])["height"], 3);
    let node = start_without_network(&data);
    assert_eq!(node.get("/v1/chain").json()["network"], "lesson");
    assert_eq!(json(&["status", "--data", path])["height"], 3);
    assert!(node.stop().success());

    // A changed file is no other network.
    let kept = data.join("network.toml");
    let text = fs::read_to_string(&kept).unwrap();
    fs::write(&kept, text.replace("maturity = 100", "maturity = 99")).unwrap();
    let error = fails(&["verify", "--data", path]);
    assert!(error.contains("is not the network file of this directory"), "{error}");
}

#[test]
fn first_difficulty_suits_the_hash_rate() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for (name, rate, expected) in
        [("a.toml", "1M", 1e7), ("b.toml", "2.5G", 2.5e10), ("c.toml", "100", 1_000.0)]
    {
        let flags = ["network", "new", &path(name), "--hash-rate", rate, "--spacing", "10"];
        let made = json(&[&flags[..], &["--hrp", "tst"]].concat());
        let hashes = made["first_hashes"].as_f64().unwrap();
        assert!((0.99..1.01).contains(&(hashes / expected)), "{made}");
        assert!(made["least_hashes"].as_f64().unwrap() <= hashes, "{made}");
        assert_eq!(made["half_life_seconds"], 250);
    }
    let error = fails(&["network", "new", &path("a.toml")]);
    assert!(error.contains("cannot create"), "{error}");
    let error = fails(&["network", "new", &path("upper.toml"), "--hrp", "ABC"]);
    assert!(error.contains("hrp must be"), "{error}");
    let error = fails(&["network", "new", &path("d.toml"), "--allocate", "nothing"]);
    assert!(error.contains("--allocate `nothing`: expected ADDRESS=COINS"), "{error}");
    let explained = run(&["network", "show", "main"]).1;
    assert!(explained.contains("at most 20999949.9769 coins"), "{explained}");
}
