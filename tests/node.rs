//! `chain node` from start to stop, as whoever runs it meets it.

use crate::harness::{Node, chain, run};
use std::net::TcpListener;

#[test]
fn a_node_starts_answers_and_stops_when_told() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let node = Node::start(&data, &[]);
    assert_eq!(node.get("/livez").status, 200);
    let problem = node.get("/v1/nothing");
    assert_eq!(problem.status, 404);
    assert_eq!(problem.header("content-type"), Some("application/problem+json"));
    assert_eq!(problem.json()["code"], "not-found");
    assert!(node.log().contains("node started"), "{}", node.log());
    assert!(node.stop().success());
    assert!(!data.join("node.json").exists(), "a node that stopped is not to be found");
}

#[test]
fn commands_find_the_node_by_its_url_and_by_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let node = Node::start(&data, &[]);
    let unknown = "00".repeat(32);
    for place in [["--node", &node.url()], ["--data", data.to_str().unwrap()]] {
        let (code, _, stderr) = run(&[&["tx", "show", &unknown][..], &place].concat());
        assert_eq!(code, Some(1));
        assert!(stderr.ends_with(" (not-found)\n"), "{stderr}");
    }
    node.stop();
    let (_, _, stderr) = run(&["status", "--data", data.to_str().unwrap()]);
    assert!(stderr.contains("no node runs on"), "{stderr}");
}

// R13
#[test]
fn a_node_answers_to_its_names_alone() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(&folder.path().join("data"), &["--api-host", "node.example.org"]);
    for (host, status) in
        [("Host: localhost", 200), ("Host: NODE.example.org.:80", 200), ("Host: evil.example", 403)]
    {
        assert_eq!(node.ask("GET", "/livez", &[host], b"").status, status, "{host}");
    }
}

#[test]
fn a_node_that_was_killed_starts_again() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    Node::start(&data, &[]).kill();
    assert!(data.join("node.json").exists(), "what a killed node leaves");
    let node = Node::start(&data, &[]);
    let token = std::fs::read_to_string(data.join("api-token")).unwrap();
    assert_eq!(token.trim().len(), 64);
    assert!(node.stop().success());
}

#[test]
fn a_second_node_on_the_same_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let node = Node::start(&data, &[]);
    let data = data.to_str().unwrap();
    let (code, _, stderr) =
        run(&["node", "--network", "dev", "--data", data, "--api", "127.0.0.1:0"]);
    assert_eq!(code, Some(1), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert_eq!(node.get("/livez").status, 200, "the first goes on");
}

#[test]
fn a_taken_port_is_one_line_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data = folder.path().join("data");
    let data = data.to_str().unwrap();
    let (code, _, stderr) = run(&["node", "--network", "dev", "--data", data, "--api", &address]);
    assert_eq!(code, Some(1));
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.contains(&address) && stderr.contains("--api"), "{stderr}");
}

#[test]
fn settings_come_from_flags_then_environment_then_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("node.toml");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    // Which of the three addresses is used shows in the complaint that it is taken.
    let complaint = |file_says: &str, environment: Option<&str>, flag: Option<&str>| {
        std::fs::write(&file, format!("network = \"dev\"\ndata = \"d\"\napi = \"{file_says}\"\n"))
            .unwrap();
        let mut command = chain(&["node", "--config"]);
        command.arg(&file).args(flag.map(|flag| format!("--api={flag}")));
        command.envs(environment.map(|value| ("CHAIN_API", value)));
        String::from_utf8(command.output().unwrap().stderr).unwrap()
    };
    // 192.0.2.0/24 is for documentation: no machine has such an address.
    let nowhere = "192.0.2.1:1";
    assert!(complaint(&address, None, None).contains(&address));
    assert!(complaint(nowhere, Some(&address), None).contains(&address));
    assert!(complaint(nowhere, Some(nowhere), Some(&address)).contains(&address));
    assert!(complaint(&address, Some(nowhere), None).contains(nowhere));
}
