//! `chain node` from start to stop, as its operator uses it.

use crate::harness::{Node, chain, eventually, request, run};
use crate::test_chain::{test_address, text};
use serde_json::{Value, json};
use std::net::TcpListener;

#[test]
fn node_starts_serves_and_stops_on_a_signal() {
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
    assert!(!data.join("node.json").exists(), "the node file of a stopped node is removed");
}

#[test]
fn commands_find_a_node_by_url_and_data_folder() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let node = Node::start(&data, &[]);
    let unknown = "00".repeat(32);
    for target in [["--node", &node.url()], ["--data", data.to_str().unwrap()]] {
        let (code, _, stderr) = run(&[&["tx", "show", &unknown][..], &target].concat());
        assert_eq!(code, Some(1));
        assert!(stderr.ends_with(" (not-found)\n"), "{stderr}");
    }
    node.stop();
    let (_, _, stderr) = run(&["status", "--data", data.to_str().unwrap()]);
    assert!(stderr.contains("no node runs on"), "{stderr}");
}

// R13
#[test]
fn rejects_requests_for_other_host_names() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(&folder.path().join("data"), &["--api-host", "node.example.org"]);
    for (host, status) in
        [("Host: localhost", 200), ("Host: NODE.example.org.:80", 200), ("Host: evil.example", 403)]
    {
        assert_eq!(node.request("GET", "/livez", &[host], b"").status, status, "{host}");
    }
}

#[test]
fn killed_node_starts_again() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    Node::start(&data, &[]).kill();
    assert!(data.join("node.json").exists(), "a killed node leaves its node file");
    let node = Node::start(&data, &[]);
    let token = std::fs::read_to_string(data.join("api-token")).unwrap();
    assert_eq!(token.trim().len(), 64);
    assert!(node.stop().success());
}

#[test]
fn rejects_second_node_on_one_data_folder() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let node = Node::start(&data, &[]);
    let data = data.to_str().unwrap();
    let (code, _, stderr) =
        run(&["node", "--network", "dev", "--data", data, "--api", "127.0.0.1:0"]);
    assert_eq!(code, Some(1), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert_eq!(node.get("/livez").status, 200, "the first node still runs");
}

#[test]
fn error_for_port_in_use_is_one_line_with_the_option() {
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
fn flags_override_environment_overrides_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("node.toml");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    // The error for the address in use shows which of the three addresses is effective.
    let start_error = |in_file: &str, environment: Option<&str>, flag: Option<&str>| {
        std::fs::write(&file, format!("network = \"dev\"\ndata = \"d\"\napi = \"{in_file}\"\n"))
            .unwrap();
        let mut command = chain(&["node", "--config"]);
        command.arg(&file).args(flag.map(|flag| format!("--api={flag}")));
        command.envs(environment.map(|value| ("CHAIN_API", value)));
        String::from_utf8(command.output().unwrap().stderr).unwrap()
    };
    // 192.0.2.0/24 is for documentation: no machine has such an address.
    let nowhere = "192.0.2.1:1";
    assert!(start_error(&address, None, None).contains(&address));
    assert!(start_error(nowhere, Some(&address), None).contains(&address));
    assert!(start_error(nowhere, Some(nowhere), Some(&address)).contains(&address));
    assert!(start_error(&address, Some(nowhere), None).contains(nowhere));
}

// R25
#[test]
fn json_log_is_json_from_first_to_last_line() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let node = Node::start(&data, &["--log-format", "json", "--log", "debug"]);
    let hashes = node.generate(3, &text(test_address(1))).unwrap();
    let invalidated = node.send("POST", "/v1/dev/invalidate", &json!({"hash": hashes[1]}));
    assert_eq!(invalidated.status, 200);
    let peer = folder.path().join("peer");
    let peer = Node::start(&peer, &["--log-format", "json", "--peer", &node.multiaddr()]);
    eventually("the other node's tip", || (peer.tip() == node.tip()).then_some(()));
    // Errors of starting are JSON too, whatever the log filter hides.
    let taken = node.url().replace("http://", "");
    for (flags, expected) in [
        (&["--api", &taken][..], "--api"),
        (&["--api", &taken, "--log", "off"], "--api"),
        (&["--tls-cert", "missing", "--tls-key", "missing"], "cannot read"),
        (&["--tls-key", "missing", "--log", "chain=off"], "tls_key needs tls_cert"),
        (&["--log", "loud=loud"], "is not a filter"),
        (&["--config", "/missing"], "/missing"),
    ] {
        let flags = [&["--log-format", "json"], flags].concat();
        let error = Node::start_failing(&folder.path().join("other"), &flags);
        let event: Value = serde_json::from_str(&error).unwrap();
        assert_eq!(event["level"], "ERROR");
        assert!(event["timestamp"].is_string() && event["target"].is_string(), "{event}");
        assert!(event["message"].as_str().unwrap().contains(expected), "{event}");
    }

    assert!(node.stop().success());
    let log = std::fs::read_to_string(data.with_added_extension("log")).unwrap();
    let messages: Vec<String> = log
        .lines()
        .map(|line| {
            let event: Value =
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            let is_complete =
                ["timestamp", "level", "target"].iter().all(|key| event[key].is_string());
            assert!(is_complete, "{line}");
            event["message"].as_str().unwrap_or_default().to_owned()
        })
        .collect();
    let started = messages.iter().position(|it| it.starts_with("node started")).unwrap();
    assert!(messages[started..].iter().any(|it| it == "reorganised"), "{log}");
    assert_eq!(messages.last().unwrap(), "node stopped");
}

#[test]
fn metrics_count_connections_and_blocks() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(&folder.path().join("data"), &[]);
    let peer = Node::start(&folder.path().join("peer"), &["--peer", &node.multiaddr()]);
    node.generate(2, &text(test_address(1))).unwrap();
    eventually("the other node's tip", || (peer.tip() == node.tip()).then_some(()));
    let scrape = |node: &Node| node.get("/metrics").text().to_owned();
    let page = eventually("a peer in the metrics", || {
        let page = scrape(&node);
        page.contains("\nchain_peers{direction=\"inbound\"} 1\n").then_some(page)
    });
    let value = |page: &str, name: &str| -> f64 {
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} is not in {page}")).parse().unwrap()
    };
    for name in ["chain_peer_received_bytes_total", "chain_peer_sent_bytes_total"] {
        assert!(value(&page, name) > 0.0, "{page}");
    }
    // The connection of this request is open.
    assert!(value(&page, "chain_http_connections") >= 1.0);
    assert!(scrape(&peer).contains("\nchain_peers{direction=\"outbound\"} 1\n"));
    // The tip becomes visible before its block is counted.
    eventually("both blocks in the metrics", || {
        scrape(&peer).contains("\nchain_blocks_connected_total 2\n").then_some(())
    });
    // Bytes of a disconnected peer remain counted.
    let before = value(&scrape(&node), "chain_peer_received_bytes_total");
    peer.stop();
    let after = eventually("the peer's disconnect", || {
        let page = scrape(&node);
        page.contains("\nchain_peers{direction=\"inbound\"} 0\n").then_some(page)
    });
    assert!(value(&after, "chain_peer_received_bytes_total") >= before);
}

#[test]
fn api_on_all_addresses_logs_its_urls_and_the_names_that_it_responds_to() {
    let folder = tempfile::tempdir().unwrap();
    let flags = ["--api", "0.0.0.0:0", "--api-host", "node.example.org"];
    let node = Node::start(&folder.path().join("data"), &flags);
    let log = node.log();
    let names = "the API responds to IP addresses and to localhost, node.example.org: for other host \
                 names add --api-host ";
    assert!(log.contains(names), "{log}");
    let port = node.url().rsplit(':').next().unwrap().to_owned();
    // A machine without a network has no address to name.
    for line in log.lines().filter(|line| line.contains("other machines reach the API at ")) {
        let urls = line.split_whitespace().filter_map(|word| word.strip_prefix("http://"));
        let hosts: Vec<&str> = urls.collect();
        assert!(!hosts.is_empty(), "{line}");
        for host in hosts {
            assert!(host.ends_with(&format!(":{port}")) && !host.starts_with("0.0.0.0"), "{line}");
            assert_eq!(request(host, "GET", "/livez", &[], b"").unwrap().status, 200, "{line}");
        }
    }
    let host = format!("127.0.0.1:{port}");
    for (name, status) in [("node.example.org", 200), ("other.example.org", 403)] {
        let header = format!("Host: {name}");
        let response = request(&host, "GET", "/v1/chain", &[&header], b"").unwrap();
        assert_eq!(response.status, status, "{name}");
    }
}
