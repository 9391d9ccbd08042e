//! Events over REST: a subscriber that resumes after the last number it received misses no event and
//! receives none twice, whatever happens to the node or the connection.

use crate::harness::{Node, Process, chain, eventually, skip, verified};
use crate::test_chain::{dev_chain, dev_key, pay, test_address, text};
use boon::{Compiler, Draft, Schemas};
use chain::Block;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

/// Timeout of reads, generous for a busy machine.
const TIMEOUT: Duration = Duration::from_secs(60);

/// An event as it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub number: u64,
    pub name: String,
    pub data: Value,
}

/// A connection that receives events.
pub struct Subscriber(BufReader<TcpStream>);

/// Subscribes to events without reading any.
fn subscribe(node: &Node, query: &str, last: Option<u64>) -> TcpStream {
    let address = node.url().replace("http://", "");
    let mut stream = TcpStream::connect(&address).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    let last = last.map(|number| format!("Last-Event-ID: {number}\r\n")).unwrap_or_default();
    // Responses of HTTP/1.0 are not chunked.
    let request = format!("GET /v1/events{query} HTTP/1.0\r\nHost: {address}\r\n{last}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

impl Subscriber {
    pub fn new(node: &Node, query: &str, last: Option<u64>) -> Subscriber {
        let mut subscriber = Subscriber(BufReader::new(subscribe(node, query, last)));
        assert!(subscriber.line().unwrap().contains(" 200 "));
        while !subscriber.line().unwrap().is_empty() {}
        subscriber
    }

    /// The next line; `None` once the connection has ended.
    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => line.strip_suffix('\n').map(|line| line.trim_end_matches('\r').to_owned()),
            // A node that was killed leaves the connection reset.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// Waits for the next event.
    fn next(&mut self) -> Option<Event> {
        let mut fields = [const { String::new() }; 3];
        loop {
            let line = self.line()?;
            if line.is_empty() {
                let [id, name, data] = std::mem::take(&mut fields);
                if !data.is_empty() {
                    let data: Value = serde_json::from_str(&data).unwrap();
                    let number = id.parse().unwrap();
                    assert_eq!(data["number"], number);
                    return Some(Event { number, name, data });
                }
                continue;
            }
            let (field, value) = line.split_once(": ").unwrap();
            if let Some(at) = ["id", "event", "data"].iter().position(|name| *name == field) {
                value.clone_into(&mut fields[at]);
            }
        }
    }

    fn read(&mut self, count: usize) -> Vec<Event> {
        (0..count).map(|_| self.next().unwrap()).collect()
    }

    pub fn until(&mut self, is_last: impl Fn(&Event) -> bool) -> Vec<Event> {
        let mut events = Vec::new();
        while !events.last().is_some_and(&is_last) {
            events.push(self.next().unwrap());
        }
        events
    }
}

fn last(events: &[Event]) -> Option<u64> {
    events.last().map(|event| event.number)
}

fn submit(node: &Node, blocks: &[Block]) {
    for block in blocks {
        let body = hex::encode(block.encode());
        let response =
            node.request("POST", "/v1/blocks", &["Content-Type: text/plain"], body.as_bytes());
        assert_eq!(response.status, 201, "{response:?}");
    }
}

/// Checks that the numbers are consecutive and that block events lead from tip to tip. Returns the
/// resulting best chain without the genesis block.
fn replayed(events: &[Event]) -> Vec<String> {
    assert!(events.iter().map(|event| event.number).eq(1..=events.len() as u64));
    let mut chain: Vec<String> = Vec::new();
    for Event { name, data, .. } in events {
        let hash = data["hash"].as_str().map(str::to_owned);
        match name.as_str() {
            "block.connected" => {
                if let Some(tip) = chain.last() {
                    assert_eq!(data["previous"], *tip);
                }
                chain.push(hash.unwrap());
                assert_eq!(data["height"], chain.len());
            }
            "block.disconnected" => {
                assert_eq!(data["height"], chain.len());
                assert_eq!(chain.pop(), hash);
            }
            "transaction.confirmed" => assert_eq!(data["block"], *chain.last().unwrap()),
            "reorg" => {
                assert_eq!(data["new_tip"], *chain.last().unwrap());
                let fork = usize::try_from(data["fork_height"].as_u64().unwrap()).unwrap();
                let connected = usize::try_from(data["connected"].as_u64().unwrap()).unwrap();
                assert_eq!(fork + connected, chain.len());
            }
            "transaction.accepted" | "transaction.dropped" => {}
            other => panic!("{other}"),
        }
    }
    chain
}

// genesis ─ 1 ─ … ─ 5 ─ a6 ─ … ─ a15
//                    └─ b6 ─ … ─ b16      heavier
//
// R18: each event describes one block, whatever the tip is when it is sent.
#[test]
fn resuming_subscriber_receives_each_event_once_in_order() {
    let alice = dev_key(0);
    let mut a = dev_chain(test_address(1));
    let common = a.mine(5);
    let mut b = dev_chain(test_address(2));
    b.connect(&common);
    let losing: Vec<Block> =
        (0..10).map(|nonce| a.mine_block([pay(&alice, nonce, test_address(3), 5)])).collect();
    let winning: Vec<Block> =
        (0..11).map(|nonce| b.mine_block([pay(&alice, nonce, test_address(4), 7)])).collect();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let node = Node::start(&data, &[]);
    submit(&node, &common);
    let mut events = Subscriber::new(&node, "?since=0", None).read(3);
    submit(&node, &losing);
    // Disconnects and resumes in the middle of a block's events.
    events.extend(Subscriber::new(&node, "?since=0", last(&events)).read(3));
    assert_eq!(events[5].name, "block.connected");
    node.kill();
    let node = Node::start(&data, &[]);
    let mut subscriber = Subscriber::new(&node, "?since=0", last(&events));
    events.extend(subscriber.read(10));
    submit(&node, &winning);
    // Disconnects in the middle of the reorganisation.
    events.extend(subscriber.until(|event| event.name == "block.disconnected"));
    drop(subscriber);
    assert!(node.stop().success());
    let node = Node::start(&data, &[]);
    let mut subscriber = Subscriber::new(&node, "", last(&events));
    events.extend(subscriber.until(|event| event.name == "reorg"));
    let chain = replayed(&events);
    let expected = common.iter().chain(&winning).map(|block| block.hash().to_string());
    assert!(chain.into_iter().eq(expected));
    let reorg = &events.last().unwrap().data;
    let count = |name: &str| events.iter().filter(|event| event.name == name).count();
    assert_eq!((&reorg["depth"], &reorg["fork_height"]), (&json!(10), &json!(5)));
    assert_eq!(reorg["old_tip"], losing[9].hash().to_string());
    assert_eq!((count("block.disconnected"), count("reorg")), (10, 1));
    assert_eq!(count("transaction.confirmed"), 10 + 11);
    // All blocks are disconnected, then all connected, then the summary follows.
    let tail: Vec<&str> = events.iter().rev().map(|event| event.name.as_str()).collect();
    assert_eq!(tail[0], "reorg");
    assert!(
        tail[1..=22].iter().all(|name| ["block.connected", "transaction.confirmed"].contains(name))
    );
    assert!(tail[23..33].iter().all(|name| *name == "block.disconnected"));
}

/// A node that is killed repeatedly while it generates blocks.
#[test]
fn kills_lose_and_repeat_no_block_event() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let miner = text(test_address(1));
    let mut events = Vec::new();
    for round in 0..5 {
        let node = Node::start(&data, &[]);
        let mut subscriber = Subscriber::new(&node, "?since=0", last(&events));
        let generator = {
            let (address, data) = (node.url(), data.clone());
            let miner = miner.clone();
            thread::spawn(move || generate_until_killed(&address, &data, &miner))
        };
        // Reads a part of the events; the rest is in flight when the node is killed.
        events.extend(subscriber.read(20 + round));
        node.kill();
        generator.join().unwrap();
        events.extend(std::iter::from_fn(|| subscriber.next()));
    }
    let node = Node::start(&data, &[]);
    let tip = node.tip();
    let mut subscriber = Subscriber::new(&node, "?since=0", last(&events));
    if events.last().unwrap().data["hash"] != tip.hash {
        events.extend(subscriber.until(|event| event.data["hash"] == tip.hash));
    }
    let chain = replayed(&events);
    assert_eq!((chain.len() as u64, chain.last()), (tip.height, Some(&tip.hash)));
    node.kill();
    assert_eq!(verified(&data), tip);
}

/// Generates blocks until the node does not respond any more.
fn generate_until_killed(url: &str, data: &std::path::Path, miner: &str) {
    let address = url.replace("http://", "");
    let token = fs::read_to_string(data.join("api-token")).unwrap();
    let body = json!({ "blocks": 1, "miner": miner }).to_string();
    let request = format!(
        "POST /v1/dev/generate HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Authorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        token.trim(),
        body.len()
    );
    loop {
        let Ok(mut stream) = TcpStream::connect(&address) else { return };
        let mut response = Vec::new();
        let sent = stream.write_all(request.as_bytes());
        if sent.and_then(|()| stream.read_to_end(&mut response)).is_err() || response.is_empty() {
            return;
        }
    }
}

// R03
#[test]
fn hundred_stalled_subscribers_neither_delay_others_nor_exhaust_memory() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(&folder.path().join("data"), &[]);
    let miner = text(test_address(1));
    node.generate(300, &miner).unwrap();
    let before = resident_bytes(&node);
    let stalled: Vec<TcpStream> = (0..100).map(|_| subscribe(&node, "?since=0", None)).collect();
    let mut honest = Subscriber::new(&node, "?since=0", None);
    honest.read(300);
    for _ in 0..100 {
        let hash = node.generate(1, &miner).unwrap().remove(0);
        assert_eq!(honest.next().unwrap().data["hash"], hash);
    }
    assert_eq!(node.get("/livez").status, 200);
    if let (Some(before), Some(after)) = (before, resident_bytes(&node)) {
        assert!(after < before + (64 << 20), "{before} bytes before, {after} after");
    }
    drop(stalled);
}

/// The resident memory of a node, where the system reports it.
fn resident_bytes(node: &Node) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", node.id())).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib << 10)
}

#[test]
fn publishes_events_of_connecting_and_disconnecting_peers() {
    let folder = tempfile::tempdir().unwrap();
    let [a, b] = ["a", "b"].map(|name| folder.path().join(name));
    let a = Node::start(&a, &[]);
    let mut subscriber = Subscriber::new(&a, "?topics=peer.connected,peer.disconnected", None);
    let b = Node::start(&b, &["--peer", &a.multiaddr()]);
    let connected = subscriber.next().unwrap();
    assert_eq!(
        (connected.name.as_str(), &connected.data["direction"]),
        ("peer.connected", &json!("inbound"))
    );
    assert_eq!(connected.data["id"], b.node_file()["node_id"]);
    assert!(b.stop().success());
    let disconnected = subscriber.next().unwrap();
    let document = a.get("/openapi.json").json();
    let schema = json!({
        "components": document["components"], "$ref": "#/components/schemas/Event",
    });
    let (mut compiler, mut schemas) = (Compiler::new(), Schemas::new());
    compiler.set_default_draft(Draft::V2020_12);
    compiler.add_resource("https://node.invalid/event", schema).unwrap();
    let schema = compiler.compile("https://node.invalid/event", &mut schemas).unwrap();
    for Event { number, name, data } in [&connected, &disconnected] {
        let event = json!({ "event": name, "id": number, "data": data });
        assert!(schemas.validate(&event, schema).is_ok(), "{event}");
    }
    assert_eq!(
        (disconnected.name.as_str(), &disconnected.data["id"]),
        ("peer.disconnected", &connected.data["id"])
    );
}

#[test]
fn events_command_resumes_after_restart_of_node() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("data"), folder.path().join("out"));
    let miner = text(test_address(1));
    let node = Node::start(&data, &[]);
    node.generate(2, &miner).unwrap();
    let mut command = chain(&["events", "--json", "--topics", "block.connected", "--since", "0"]);
    command.arg("--data").arg(&data);
    let mut command = Process::start_into(&mut command, &out, File::create(&out).unwrap());
    let lines = || -> Vec<Value> {
        let text = fs::read_to_string(&out).unwrap();
        let complete = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        complete.map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    eventually("two lines", || (lines().len() == 2).then_some(()));
    assert!(node.stop().success());
    let node = Node::start(&data, &[]);
    node.generate(3, &miner).unwrap();
    let lines = eventually("five lines", || Some(lines()).filter(|lines| lines.len() >= 5));
    let heights: Vec<&Value> = lines.iter().map(|line| &line["data"]["height"]).collect();
    assert_eq!(heights, [1, 2, 3, 4, 5]);
    assert_eq!((&lines[4]["event"], &lines[4]["id"]), (&json!("block.connected"), &json!(5)));
    assert!(command.terminate().0.success());
    // A usage error is reported and not retried.
    let mut wrong = chain(&["events", "--topics", "block", "--node", &node.url()]);
    let output = wrong.stdin(Stdio::null()).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), stderr.lines().count()), (Some(1), 1), "{stderr}");
    assert!(stderr.contains("unknown topic `block`"), "{stderr}");
}

/// A Redis server with its socket and data in a folder; `None` where it is not installed.
#[cfg(unix)]
fn redis(folder: &std::path::Path) -> Option<Process> {
    let mut command = std::process::Command::new("redis-server");
    let arguments = ["--port", "0", "--appendonly", "yes", "--appendfsync", "always", "--save", ""];
    command.args(arguments).arg("--unixsocket").arg(folder.join("socket")).arg("--dir").arg(folder);
    let installed = std::process::Command::new("redis-server").arg("--version").output();
    installed.is_ok_and(|output| output.status.success()).then(|| {
        let _ = fs::remove_file(folder.join("socket"));
        Process::start(&mut command, &folder.join("redis"))
    })
}

#[cfg(unix)]
#[test]
fn redis_receives_each_event_once_despite_outages() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("redis+unix://{}", folder.path().join("socket").display());
    let data = folder.path().join("data");
    let miner = text(test_address(1));
    let node = Node::start(&data, &["--publish", &url]);
    node.generate(2, &miner).unwrap();
    let Some(mut server) = redis(folder.path()) else {
        return skip("events are published to Redis only where redis-server is installed");
    };
    let client = redis::Client::open(url.as_str()).unwrap();
    let connect = || eventually("Redis", || client.get_connection().ok());
    // Waits for this number of stream entries; returns their ids and heights.
    let entries = |count: usize| {
        let mut connection = connect();
        let found = eventually("entries", || {
            let query = redis::cmd("XRANGE").arg("chain:dev:events").arg("-").arg("+").to_owned();
            // The server rejects commands while it loads its data.
            let found: Vec<(String, Vec<String>)> = query.query(&mut connection).ok()?;
            (found.len() >= count).then_some(found)
        });
        let read = |(id, fields): (String, Vec<String>)| {
            let event: Value = serde_json::from_str(&fields[1]).unwrap();
            (id, event["data"]["height"].as_u64().unwrap())
        };
        found.into_iter().map(read).collect::<Vec<_>>()
    };
    let expected = |count: u64| (1..=count).map(|at| (format!("{at}-0"), at)).collect::<Vec<_>>();
    assert_eq!(entries(2), expected(2));
    // An outage of the server, then of the node.
    server.kill();
    node.generate(2, &miner).unwrap();
    let mut server = redis(folder.path()).unwrap();
    assert_eq!(entries(4), expected(4));
    node.kill();
    let node = Node::start(&data, &[]);
    node.generate(1, &miner).unwrap();
    assert!(node.stop().success());
    let node = Node::start(&data, &["--publish", &url]);
    assert_eq!(entries(5), expected(5));
    let mut connection = connect();
    let mut channel = connection.as_pubsub();
    channel.subscribe("chain:dev:block.connected").unwrap();
    let hash = node.generate(1, &miner).unwrap().remove(0);
    let message: String = channel.get_message().unwrap().get_payload().unwrap();
    let event: Value = serde_json::from_str(&message).unwrap();
    assert_eq!((&event["id"], &event["data"]["hash"]), (&json!(6), &json!(hash)));
    assert_eq!(entries(6), expected(6));
    server.kill();
}
