use super::*;
use crate::api::routes::chain::{SyncEvent, SyncProgress, SyncState};
use crate::api::routes::mining::HashrateEvent;
use crate::api::routes::peers::{Direction, PeerEvent};
use crate::config::limits::ResourceLimits;
use crate::events::Topic;
use crate::mining::workers::WorkerEvent;
use axum::body::BodyDataStream;
use futures_util::StreamExt;
use std::collections::BTreeSet;
use std::time::Duration;

/// What a reader gets.
struct Reader {
    body: BodyDataStream,
    text: String,
}

impl World {
    async fn follow(&self, path: &str, headers: &[(&str, &str)]) -> Reader {
        let mut request = Request::get(path).header(header::HOST, "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).unwrap();
        let (head, body) = self.routes.respond(request).await.into_parts();
        assert_eq!(head.status, 200);
        assert_eq!(head.headers[header::CONTENT_TYPE], "text/event-stream");
        assert_eq!(head.headers[header::CACHE_CONTROL], "no-store");
        assert_eq!(head.headers["x-accel-buffering"], "no");
        assert!(!head.headers.contains_key(header::ETAG));
        Reader { body: body.into_data_stream(), text: String::new() }
    }
}

impl Reader {
    /// The next message: its fields.
    async fn next(&mut self) -> Vec<(String, String)> {
        loop {
            if let Some((message, rest)) = self.text.split_once("\n\n") {
                let fields = message.lines().map(|line| line.split_once(": ").unwrap());
                let fields =
                    fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
                self.text = rest.to_owned();
                return fields;
            }
            let bytes = self.body.next().await.unwrap().unwrap();
            self.text.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    }

    /// The next event: its name and its data.
    async fn event(&mut self) -> (String, Value) {
        loop {
            let fields = self.next().await;
            let field = |wanted: &str| {
                let field = fields.iter().find(|(name, _)| name == wanted);
                field.map(|(_, value)| value.clone())
            };
            if let Some(data) = field("data") {
                let data: Value = serde_json::from_str(&data).unwrap();
                assert_eq!(field("id"), Some(data["number"].to_string()));
                let name = field("event").unwrap();
                let event = json!({"event": name, "id": data["number"], "data": data});
                contract::check_message("Event", &event);
                return (name, data);
            }
        }
    }
}

#[tokio::test]
async fn events_follow_a_transfer_from_acceptance_to_confirmation() {
    let world = World::new().await;
    let mut reader = world.follow("/v1/events", &[]).await;
    // At once, so that a client can resume even if it disconnects before the first event.
    let hello = [("", "alive"), ("id", "0")].map(|(name, value)| (name.into(), value.into()));
    assert_eq!(reader.next().await, hello);
    let transfer = PAY.signed();
    world.submit(&transfer).await;
    let (name, accepted) = reader.event().await;
    assert_eq!(
        (name.as_str(), &accepted["id"]),
        ("transaction.accepted", &json!(transfer.id().to_string()))
    );
    let hash = world.generate(1, 5).await.remove(0);
    let (name, connected) = reader.event().await;
    assert_eq!((name.as_str(), &connected["hash"]), ("block.connected", &json!(hash)));
    let block = world.get(&format!("/v1/blocks/{hash}")).await.json();
    for field in ["height", "previous", "miner", "transaction_count", "size", "reward", "fees"] {
        assert_eq!(connected[field], block[field], "{field}");
    }
    assert_eq!(connected["block_time"], block["time"]);
    let (name, confirmed) = reader.event().await;
    assert_eq!(name, "transaction.confirmed");
    let shown = world.get(&format!("/v1/transactions/{}", transfer.id())).await.json();
    for field in ["id", "block", "height", "position", "recipient", "amount", "fee", "nonce"] {
        assert_eq!(confirmed[field], shown[field], "{field}");
    }
    assert_eq!(confirmed["sender"], shown["sender_address"]);
}

#[tokio::test]
async fn events_of_every_topic_conform_to_the_document() {
    let world = World::new().await;
    let mut reader = world.follow("/v1/events?since=0", &[]).await;
    world.submit(&PAY.signed()).await;
    world.submit(&Pay { fee: 2_000, ..PAY }.signed()).await;
    let blocks = world.generate(2, 5).await;
    world.post_json("/v1/dev/invalidate", &json!({"hash": blocks[1]})).await.json();
    let job = json!({"blocks": 1, "miner": text(address(5))});
    assert_eq!(world.post_json("/v1/mining/jobs", &job).await.status, 202);
    // Those that need peers or take seconds.
    let publisher = world.node().events.publisher();
    let peer = PeerEvent {
        id: ::p2p::PeerId::random().to_string(),
        address: "/ip4/192.0.2.7/tcp/8401".to_owned(),
        direction: Direction::Inbound,
        agent: "chain/0.1.0".to_owned(),
    };
    publisher.publish(Topic::PeerConnected, &json!(peer));
    publisher.publish(Topic::PeerDisconnected, &json!(peer));
    let state = SyncState::Headers;
    let sync = SyncProgress { state, best_header_height: 9, progress: 0.5 };
    publisher.publish(Topic::SyncProgress, &json!(SyncEvent { height: 4, sync }));
    let hashrate = HashrateEvent { hashrate: 1e6, threads: 2, hashes: 1 << 40 };
    publisher.publish(Topic::MiningHashrate, &json!(hashrate));
    let worker = WorkerEvent {
        worker: format!("{}.rig", text(address(5))),
        address: text(address(5)),
        name: "rig".to_owned(),
        last_seen: 1,
        interval_seconds: Some(2.5),
        connections: 1,
    };
    publisher.publish(Topic::WorkerSilent, &json!(worker));
    publisher.publish(Topic::WorkerActive, &json!(worker));
    let mut missing: BTreeSet<&str> = Topic::ALL.iter().map(|topic| topic.name()).collect();
    while !missing.is_empty() {
        let next = tokio::time::timeout(Duration::from_secs(60), reader.event()).await;
        let (name, _) = next.unwrap_or_else(|_| panic!("no event of {missing:?}"));
        missing.remove(name.as_str());
    }
}

#[test]
fn events_of_another_shape_do_not_conform_to_the_document() {
    let data = json!({
        "number": 7, "time": 1, "fork_height": 1, "depth": 1, "connected": 0,
        "old_tip": "0".repeat(64), "new_tip": "0".repeat(64),
    });
    let event = json!({"event": "reorg", "id": 7, "data": data});
    contract::check_message("Event", &event);
    for (pointer, value) in [
        ("/event", json!("block.connected")),
        ("/event", json!("unknown")),
        ("/data/old_tip", json!("0")),
        ("/data/depth", Value::Null),
        ("/data/number", json!("7")),
    ] {
        let mut other = event.clone();
        *other.pointer_mut(pointer).unwrap() = value;
        let checked = std::panic::catch_unwind(|| contract::check_message("Event", &other));
        assert!(checked.is_err(), "{other}");
    }
}

#[tokio::test]
async fn replaced_transfer_emits_dropped_event() {
    let world = World::new().await;
    let mut reader = world.follow("/v1/events?topics=transaction.dropped", &[]).await;
    world.submit(&PAY.signed()).await;
    let better = Pay { fee: 2_000, ..PAY }.signed();
    assert_eq!(world.submit(&better).await.status, 201);
    let (name, dropped) = reader.event().await;
    assert_eq!((name.as_str(), &dropped["reason"]), ("transaction.dropped", &json!("replaced")));
    assert_eq!(dropped["id"], PAY.signed().id().to_string());
}

#[tokio::test]
async fn missed_events_are_replayed_by_query_or_header() {
    let world = World::new().await;
    world.generate(4, 5).await;
    let heights = async |path: &str, headers: &[(&str, &str)], count: usize| {
        let mut reader = world.follow(path, headers).await;
        let mut heights = Vec::new();
        for _ in 0..count {
            heights.push(reader.event().await.1["height"].as_u64().unwrap());
        }
        heights
    };
    assert_eq!(heights("/v1/events?since=0", &[], 4).await, [1, 2, 3, 4]);
    assert_eq!(heights("/v1/events?since=2", &[], 2).await, [3, 4]);
    // The header is newer than the query.
    assert_eq!(heights("/v1/events?since=0", &[("last-event-id", "3")], 1).await, [4]);
    let miner = text(address(5));
    let filter = format!("/v1/events?since=1&topics=reorg,block.connected&address={miner}");
    assert_eq!(heights(&filter, &[], 3).await, [2, 3, 4]);
    let mut future = world.follow("/v1/events?since=99", &[]).await;
    let (name, reset) = future.event().await;
    assert_eq!(
        (name.as_str(), &reset["oldest"], &reset["newest"]),
        ("reset", &json!(1), &json!(4))
    );
    world.generate(1, 5).await;
    assert_eq!(future.event().await.1["height"], 5);
}

// A client that counts the rewards of an address is notified of those that are gone.
#[tokio::test]
async fn reader_of_an_address_is_notified_of_its_disconnected_blocks_and_reorganisations() {
    let (world, other) = (World::new().await, World::new().await);
    world.generate(1, 5).await;
    world.generate(1, 6).await;
    let miner = text(address(5));
    let mut reader = world.follow(&format!("/v1/events?since=0&address={miner}"), &[]).await;
    let (name, connected) = reader.event().await;
    assert_eq!((name.as_str(), &connected["miner"]), ("block.connected", &json!(miner)));
    other.generate(3, 7).await;
    other.send_blocks(1, &world).await;
    let (name, disconnected) = reader.event().await;
    assert_eq!((name.as_str(), &disconnected["miner"]), ("block.disconnected", &json!(miner)));
    assert_eq!(
        (&disconnected["hash"], &disconnected["reward"]),
        (&connected["hash"], &connected["reward"])
    );
    let (name, reorg) = reader.event().await;
    assert_eq!((name.as_str(), &reorg["depth"]), ("reorg", &json!(2)));
}

// R07
#[tokio::test]
async fn rejects_invalid_event_filters() {
    let world = World::new().await;
    for query in [
        "topics=",
        "topics=block",
        "topics=block.connected,",
        "topics=reset",
        "address=x",
        "address=ch1qqqqqqqq",
        "since=-1",
        "since=1.0",
        "since=",
        "since=18446744073709551616",
        "topic=reorg",
    ] {
        world.get(&format!("/v1/events?{query}")).await.problem(400, "bad-request");
        world.get(&format!("/v1/ws?{query}")).await.problem(400, "bad-request");
    }
    for last in ["", "x", "-1", "1.5", "99999999999999999999999"] {
        let response = world.get_with("/v1/events", &[("last-event-id", last)]).await;
        response.problem(400, "bad-request");
    }
}

// R04
#[tokio::test]
async fn event_subscribers_are_limited_until_one_disconnects() {
    let world = World::new().await;
    let mut readers = Vec::new();
    for _ in 0..ResourceLimits::default().event_readers.capacity {
        readers.push(world.follow("/v1/events", &[]).await);
    }
    for _ in 0..3 {
        world.get("/v1/events").await.problem(503, "too-many-readers");
    }
    world.get("/v1/chain").await.json();
    drop(readers.pop());
    world.follow("/v1/events", &[]).await;
}

#[tokio::test]
async fn event_streams_end_at_shutdown() {
    let world = World::new().await;
    let mut reader = world.follow("/v1/events", &[]).await;
    reader.next().await;
    let World { daemon, .. } = world;
    daemon.stop().await.unwrap();
    assert!(reader.body.next().await.is_none());
}

#[tokio::test]
async fn job_events_are_emitted_until_the_job_ends() {
    let world = World::new().await;
    let mut reader = world.follow("/v1/events?topics=job.updated", &[]).await;
    let miner = text(address(5));
    let order = json!({ "miner": miner, "blocks": 2, "threads": 1 });
    let job = world.post_json("/v1/mining/jobs", &order).await.json();
    let mut states = Vec::new();
    let last = loop {
        let (name, update) = reader.event().await;
        assert_eq!((name.as_str(), &update["id"]), ("job.updated", &job["id"]));
        states.push(update["state"].as_str().unwrap().to_owned());
        if states.last().unwrap() == "succeeded" {
            break update;
        }
    };
    assert!(states.contains(&"running".to_owned()), "{states:?}");
    let path = format!("/v1/mining/jobs/{}", job["id"].as_str().unwrap());
    let shown = world.get(&path).await.json();
    for field in ["miner", "result", "finished_at", "blocks"] {
        assert_eq!(last[field], shown[field], "{field}");
    }
}
