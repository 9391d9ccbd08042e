// Counts are whole numbers, which a float represents exactly.
#![allow(clippy::float_cmp)]

use super::*;
use crate::metrics::exposition::TEXT;
use std::collections::{BTreeMap, BTreeSet};

/// The dashboard for Grafana.
const DASHBOARD: &str = include_str!("../../../grafana/chain.json");

/// The labels of a metric.
type Labels = BTreeMap<String, String>;

/// The page as parsed by Prometheus.
#[derive(Debug, Default)]
struct Scrape {
    /// The type of each family.
    families: BTreeMap<String, String>,
    /// The value of each name with labels.
    values: BTreeMap<(String, Labels), f64>,
}

impl Scrape {
    async fn of(world: &World) -> Scrape {
        let response = world.get("/metrics").await;
        assert_eq!(response.status, 200);
        assert_eq!(response.header(header::CONTENT_TYPE), TEXT);
        Scrape::parse(response.text())
    }

    /// Parses a page; panics on anything the format does not allow.
    fn parse(text: &str) -> Scrape {
        assert!(text.ends_with('\n'));
        let mut scrape = Scrape::default();
        let (mut helped, mut family) = (None, String::new());
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                assert!(help.len() > 4 && help.ends_with('.'), "{line}");
                helped = Some(name.to_owned());
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert_eq!(helped.take().as_deref(), Some(name), "each has a help");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                let before = scrape.families.insert(name.to_owned(), kind.to_owned());
                assert_eq!(before, None, "{name} comes once");
                name.clone_into(&mut family);
            } else {
                let (metric, value) = line.rsplit_once(' ').unwrap();
                let (name, labels) = metric.split_once('{').unwrap_or((metric, "}"));
                let suffixes = match &*scrape.families[&family] {
                    "histogram" => &["_bucket", "_sum", "_count"][..],
                    _ => &[""],
                };
                let is_of = |suffix: &&str| name == format!("{family}{suffix}");
                assert!(suffixes.iter().any(is_of), "{name} is below {family}");
                let key = (name.to_owned(), labels_of(labels));
                let value = value.parse().unwrap();
                assert_eq!(scrape.values.insert(key, value), None, "{line} comes once");
            }
        }
        scrape
    }

    #[track_caller]
    fn get(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let labels = labels.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        let key = (name.to_owned(), labels.collect());
        *self.values.get(&key).unwrap_or_else(|| panic!("{key:?} is not there"))
    }

    #[track_caller]
    fn value(&self, name: &str) -> f64 {
        self.get(name, &[])
    }

    /// Values that never decrease: counters, and those of histograms.
    fn growing(&self) -> impl Iterator<Item = (&(String, Labels), f64)> {
        self.values.iter().map(|(key, value)| (key, *value)).filter(|((name, _), _)| {
            let histogram =
                ["_bucket", "_sum", "_count"].iter().find_map(|it| name.strip_suffix(it));
            let family = histogram.filter(|it| self.families.contains_key(*it)).unwrap_or(name);
            self.families[family] != "gauge"
        })
    }
}

/// `a="1",b="2"}`
fn labels_of(text: &str) -> Labels {
    let inside = text.strip_suffix('}').unwrap();
    let pairs = inside.split_terminator("\",").map(|pair| pair.split_once("=\"").unwrap());
    let mut labels = Labels::new();
    for (name, value) in pairs {
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        let value = value.strip_suffix('"').unwrap_or(value);
        assert!(!value.contains(['\\', '"']), "no value needs to be escaped: {value}");
        assert_eq!(labels.insert(name.to_owned(), value.to_owned()), None);
    }
    labels
}

#[tokio::test]
async fn metrics_follow_prometheus_format_and_naming() {
    let world = World::new().await;
    world.generate(1, 0).await;
    world.get("/v1/chain").await;
    let scrape = Scrape::of(&world).await;
    for (name, kind) in &scrape.families {
        assert!(name.starts_with("chain_") || name.starts_with("process_"), "{name}");
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name}");
        let lawful = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
        assert!(name.bytes().all(lawful), "{name}");
    }
    for ((name, labels), count) in &scrape.values {
        let Some(family) = name.strip_suffix("_count") else { continue };
        let of_this = |other: &&(String, Labels)| {
            other.0 == format!("{family}_bucket")
                && labels.iter().all(|(name, value)| other.1.get(name) == Some(value))
        };
        let buckets = scrape.values.keys().filter(of_this);
        let end = |(_, labels): &&(String, Labels)| labels["le"].parse::<f64>().unwrap();
        let mut buckets: Vec<_> = buckets.map(|key| (end(&key), scrape.values[key])).collect();
        buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
        assert!(buckets.is_sorted_by_key(|(_, count)| *count), "{family} {labels:?}: {buckets:?}");
        assert_eq!(buckets.last(), Some(&(f64::INFINITY, *count)), "{family}");
    }
    assert!(scrape.families.len() > 50);
    assert_eq!(world.send(request("HEAD", "/metrics")).await.status, 200);
}

fn request(method: &str, path: &str) -> Request {
    let request = Request::builder().method(method).uri(path).header(header::HOST, "localhost");
    request.body(Body::empty()).unwrap()
}

#[tokio::test]
async fn counts_blocks_transfers_and_reorgs() {
    let world = World::new().await;
    let before = Scrape::of(&world).await;
    assert_eq!(before.value("chain_height"), 0.0);
    assert_eq!(before.value("chain_blocks_connected_total"), 0.0);
    let build = [("network", "dev"), ("version", env!("CARGO_PKG_VERSION"))];
    assert_eq!(before.get("chain_build_info", &build), 1.0);

    assert_eq!(world.submit(&PAY.signed()).await.status, 201);
    let ahead = Pay { nonce: 5, ..PAY };
    assert_eq!(world.submit(&ahead.signed()).await.status, 201);
    let poor = Pay { from: 30, ..PAY };
    assert_insufficient_balance(&world.submit(&poor.signed()).await);
    let pool = Scrape::of(&world).await;
    assert_eq!(pool.get("chain_mempool_transfers", &[("status", "pending")]), 1.0);
    assert_eq!(pool.get("chain_mempool_transfers", &[("status", "queued")]), 1.0);
    assert!(pool.value("chain_mempool_bytes") > 200.0);
    assert_eq!(pool.value("chain_mempool_accepted_total"), 2.0);
    let reason = [("reason", "insufficient-balance")];
    assert_eq!(pool.get("chain_mempool_refused_total", &reason), 1.0);

    let hashes = world.generate(3, 0).await;
    let full = Scrape::of(&world).await;
    assert_eq!(full.value("chain_height"), 3.0);
    assert_eq!(full.value("chain_blocks_connected_total"), 3.0);
    assert_eq!(full.value("chain_transfers_confirmed_total"), 1.0);
    assert_eq!(full.value("chain_reorganisations_total"), 0.0);
    assert_eq!(full.value("chain_block_connect_seconds_count"), 3.0);
    assert!(full.value("chain_block_commit_seconds_sum") > 0.0);
    let tip: Value = world.get("/v1/chain").await.json();
    assert_eq!(Some(full.value("chain_tip_timestamp_seconds")), tip["tip_time"].as_f64());
    assert_eq!(Some(full.value("chain_issued_base_units")), tip["issued"].as_f64());

    // Three blocks are disconnected and others connected.
    let turned = world.post_json("/v1/dev/invalidate", &json!({"hash": hashes[1]})).await;
    assert_eq!(turned.status, 200);
    world.generate(2, 1).await;
    let after = Scrape::of(&world).await;
    assert_eq!(after.value("chain_height"), 3.0);
    assert_eq!(after.value("chain_reorganisations_total"), 1.0);
    assert_eq!(after.value("chain_reorganisation_depth_blocks_sum"), 2.0);
    assert_eq!(after.get("chain_reorganisation_depth_blocks_bucket", &[("le", "1")]), 0.0);
    assert_eq!(after.get("chain_reorganisation_depth_blocks_bucket", &[("le", "2")]), 1.0);
    assert_eq!(after.value("chain_blocks_connected_total"), 5.0);
    assert_eq!(after.value("chain_blocks_disconnected_total"), 2.0);
    assert_eq!(after.value("chain_blocks"), 6.0);

    let mut bad = world.candidate().await;
    bad.header.bits = ::chain::Bits::new(0x2000_ffff);
    world.submit_block(&solve(bad)).await;
    let refused = Scrape::of(&world).await;
    let all = refused.values.iter().filter(|((name, _), _)| name == "chain_blocks_refused_total");
    assert_eq!(all.map(|(_, count)| count).sum::<f64>(), 1.0);
}

#[track_caller]
fn assert_insufficient_balance(response: &TestResponse) {
    response.problem(422, "insufficient-balance");
}

#[tokio::test]
async fn counts_responses_by_route_including_rejections() {
    let world = World::new().await;
    world.generate(2, 0).await;
    for path in ["/v1/blocks/1", "/v1/blocks/2", "/v1/blocks/9", "/v1/no/such", "/no?x=1"] {
        world.get(path).await;
    }
    let tag = world.get("/v1/chain").await.header(header::ETAG).to_owned();
    world.get_with("/v1/chain", &[("if-none-match", &tag)]).await.status.as_u16();
    let foreign = Request::get("/v1/chain").header(header::HOST, "evil.example");
    world.send(foreign.body(Body::empty()).unwrap()).await.problem(403, "forbidden-host");
    world.send(request("PUT", "/v1/chain")).await.problem(405, "method-not-allowed");
    world.get("/account/x").await;
    let scrape = Scrape::of(&world).await;
    for (method, route, status, count) in [
        ("GET", "/v1/blocks/{id}", "200", 2.0),
        ("GET", "/v1/blocks/{id}", "404", 1.0),
        ("GET", "unmatched", "404", 2.0),
        ("GET", "/v1/chain", "200", 1.0),
        ("GET", "/v1/chain", "304", 1.0),
        ("GET", "/v1/chain", "403", 1.0),
        ("other", "/v1/chain", "405", 1.0),
        ("GET", "/account/{address}", "200", 1.0),
        ("POST", "/v1/dev/generate", "200", 1.0),
    ] {
        let labels = [("method", method), ("route", route), ("status", status)];
        assert_eq!(scrape.get("chain_http_requests_total", &labels), count, "{labels:?}");
    }
    let times = "chain_http_request_duration_seconds_count";
    assert_eq!(scrape.get(times, &[("route", "/v1/chain")]), 4.0);
}

// R25
#[tokio::test]
async fn metrics_contain_no_secrets_or_identities() {
    let world = World::with(|config| config.miner = Some(address(3))).await;
    let peer = ::p2p::PeerId::random().to_string();
    world.post_json("/v1/bans", &json!({"peer": peer, "reason": "was-rude"})).await;
    world.post_json("/v1/bans", &json!({"ip": "192.0.2.77"})).await;
    let job = json!({"miner": text(address(4)), "blocks": 1});
    assert_eq!(world.post_json("/v1/mining/jobs", &job).await.status, 202);
    let tip = world.generate(1, 5).await.remove(0);
    let payment = PAY.signed();
    world.submit(&payment).await;
    world.get(&format!("/v1/accounts/{}?secret=1", text(address(6)))).await;
    world.get("/v1/hidden-path").await;
    let response = world.get("/metrics").await;
    let page = response.text();
    let data = world.folder.path().to_str().unwrap();
    let id = world.node().peers.id().to_string();
    let (payment, port) = (payment.id().to_string(), called(&world.daemon).port().to_string());
    let hrp = format!("{}1", Params::dev().hrp());
    for hidden in [
        &*world.token,
        data,
        &id,
        &peer,
        "was-rude",
        "192.0.2.77",
        "127.0.0.1",
        &format!(":{port}"),
        &tip,
        &payment,
        &hrp,
        "secret",
        "hidden",
        "localhost",
    ] {
        assert!(!page.contains(hidden), "{hidden} is shown");
    }
    let scrape = Scrape::parse(page);
    assert_eq!(scrape.value("chain_bans"), 2.0, "their number is");
    assert_eq!(scrape.families["chain_mining_jobs"], "gauge");
}

// R25: in the middle of work counters only grow, and probes respond.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_respond_under_load() {
    let world = World::new().await;
    let work = async {
        for miner in 0..8 {
            world.generate(100, miner).await;
        }
    };
    let ask = async {
        let mut last = Scrape::of(&world).await;
        loop {
            assert_eq!(world.get("/livez").await.text(), "ok\n");
            assert_eq!(world.get("/readyz").await.text(), "ready\n");
            for path in ["/v1/chain", "/v1/blocks", "/v1/nothing", "/v1/mempool"] {
                world.get(path).await;
            }
            let now = Scrape::of(&world).await;
            for (key, before) in last.growing() {
                assert!(now.values[key] >= before, "{key:?} sinks from {before}");
            }
            last = now;
        }
    };
    tokio::select! {
        () = work => {}
        () = ask => {}
    }
    let scrape = Scrape::of(&world).await;
    assert_eq!(scrape.value("chain_height"), 800.0);
    let labels = [("method", "GET"), ("route", "/livez"), ("status", "200")];
    assert!(scrape.get("chain_http_requests_total", &labels) > 0.0);
}

// R25
#[tokio::test]
async fn node_without_required_peers_is_alive_but_not_ready() {
    // A port that was free a moment ago: nothing listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let unreachable = format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap();
    let world = World::with(|config| config.peering.boot_nodes = vec![unreachable]).await;
    assert_eq!(world.get("/livez").await.text(), "ok\n");
    let problem = world.get("/readyz").await.problem(503, "not-ready");
    assert_eq!(problem["detail"], "the node has no peers yet");
    assert_eq!(Scrape::of(&world).await.value("chain_ready"), 0.0);
    let ready = Scrape::of(&World::new().await).await;
    assert_eq!(ready.value("chain_ready"), 1.0);
    assert_eq!(ready.get("chain_sync_state", &[("state", "synced")]), 1.0);
}

#[tokio::test]
async fn metrics_are_served_after_the_writer_stopped() {
    let world = World::new().await;
    world.generate(2, 0).await;
    let World { routes, daemon, folder: _folder, .. } = world;
    daemon.stop().await.unwrap();
    let scrape = Scrape::parse(ask(routes, request("GET", "/metrics")).await.text());
    assert_eq!(scrape.value("chain_blocks_connected_total"), 2.0);
    assert_eq!(scrape.value("chain_ready"), 0.0);
}

/// The expressions of all panels and variables.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match value.as_str() {
                    Some(text) if ["expr", "definition"].contains(&&**name) => {
                        found.push(text.to_owned());
                    }
                    _ => expressions(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| expressions(item, found)),
        _ => {}
    }
}

/// The metrics in an expression, each with the text before it.
fn metrics_of(expression: &str) -> Vec<(&str, &str)> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let bytes = expression.as_bytes();
    let starts = (0..bytes.len()).filter(|at| *at == 0 || !is_name(bytes[at - 1]));
    let ours = starts.filter(|at| {
        ["chain_", "process_"].iter().any(|prefix| expression[*at..].starts_with(prefix))
    });
    let names = ours.map(|at| {
        let length = bytes[at..].iter().take_while(|byte| is_name(**byte)).count();
        (&expression[at..at + length], &expression[..at])
    });
    names.collect()
}

#[tokio::test]
async fn dashboard_queries_match_served_metrics_and_their_types() {
    let world = World::new().await;
    world.generate(1, 0).await;
    let Scrape { families, .. } = Scrape::of(&world).await;
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut found = Vec::new();
    expressions(&dashboard, &mut found);
    let mut used = BTreeSet::new();
    for expression in &found {
        let metrics = metrics_of(expression);
        assert!(!metrics.is_empty(), "{expression}");
        for (name, before) in metrics {
            let is_rate = ["rate(", "increase("].iter().any(|call| before.ends_with(call));
            let suffix = ["_bucket", "_sum", "_count"].into_iter().find(|it| {
                let family = name.strip_suffix(it);
                family.is_some_and(|it| families.get(it).is_some_and(|kind| kind == "histogram"))
            });
            let Some(suffix) = suffix else {
                let kind = families.get(name);
                let kind = kind.unwrap_or_else(|| panic!("{name} is not served: {expression}"));
                assert_ne!(kind, "histogram", "{name} has no value of its own: {expression}");
                assert_eq!(is_rate, kind == "counter", "{expression}");
                used.insert(name.to_owned());
                continue;
            };
            assert!(is_rate, "{expression}");
            let is_quantile = expression.starts_with("histogram_quantile(");
            assert_eq!(suffix == "_bucket", is_quantile, "{expression}");
            assert!(!is_quantile || expression.contains("sum by (le"), "{expression}");
            used.insert(name.strip_suffix(suffix).unwrap().to_owned());
        }
    }
    let unused: Vec<_> = families.keys().filter(|name| !used.contains(*name)).collect();
    assert!(unused.len() < 8, "the dashboard shows most of it, but not {unused:?}");
}

#[test]
fn dashboard_is_portable() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    assert_eq!(dashboard["id"], Value::Null, "Grafana gives it one");
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    assert_eq!(
        (&variables[0]["type"], &variables[0]["name"]),
        (&json!("datasource"), &json!("datasource"))
    );
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        assert_eq!(panel["datasource"], json!({"type": "prometheus", "uid": "${datasource}"}));
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap();
            assert!(expression.contains("{job=\"$job\", instance=~\"$instance\""), "{expression}");
        }
    }
    // No two panels overlap.
    let places = panels.iter().map(|panel| {
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|it| panel["gridPos"][it].as_u64().unwrap());
        (x..x + w, y..y + h)
    });
    let mut occupied = BTreeSet::new();
    for (columns, rows) in places {
        assert!(columns.end <= 24);
        for cell in columns.flat_map(|column| rows.clone().map(move |row| (column, row))) {
            assert!(occupied.insert(cell), "two panels at {cell:?}");
        }
    }
}
