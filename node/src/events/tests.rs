use super::log::{LIMITS, Limits};
use super::publisher::MAX_EVENT_BYTES;
use super::*;
use chain::ledger::{self, Accepted, Options, Writer};
use chain::mempool::{Admission, Replacement, Source};
use chain::testing::{dev_key, mine_on_tip};
use chain::tx::{Memo, Payment as SignedPayment};
use chain::{Address, Block, Params, Transfer, block};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::atomic::Ordering;
use tempfile::TempDir;

mod recovery;

fn address(number: u8) -> Address {
    Address::from_bytes([number; 20])
}

/// A ledger of the `dev` network whose blocks pay one miner.
struct Chain {
    writer: Writer,
    miner: Address,
    folder: TempDir,
}

impl Chain {
    fn new(miner: u8) -> Chain {
        let folder = tempfile::tempdir().unwrap();
        let writer = Chain::open(folder.path());
        Chain { writer, miner: address(miner), folder }
    }

    fn open(folder: &Path) -> Writer {
        let options = Options { cache_bytes: 1 << 20, threads: 1, ..Options::default() };
        ledger::open(folder, Params::dev(), &options, &mut |_| {}).unwrap().0
    }

    fn tip(&self) -> block::Hash {
        self.writer.reader().view().tip().hash
    }

    fn pay(&mut self, nonce: u64, to: u8) -> Vec<Payment> {
        self.pay_with_fee(nonce, to, 1_000)
    }

    fn pay_with_fee(&mut self, nonce: u64, to: u8, fee: u64) -> Vec<Payment> {
        let memo = Memo::new(Vec::new()).unwrap();
        let payment = SignedPayment { nonce, recipient: address(to), amount: 5, fee, memo };
        let transfer = Transfer::sign(payment, &dev_key(0), Params::dev().genesis_hash());
        match self
            .writer
            .submit_transfer(transfer.clone(), Replacement::Allowed, Source::Local)
            .unwrap()
        {
            Admission::Added(changes) => assert_eq!(changes.pending, [transfer.id()]),
            Admission::AlreadyKnown => panic!("already known"),
        }
        vec![Payment::of(&transfer)]
    }

    /// Mines a block and commits it.
    fn mine(&mut self) -> Block {
        let block = mine_on_tip(&self.writer, self.miner);
        assert!(self.submit(&block));
        block
    }

    /// Submits a block and commits; returns whether it became the tip.
    fn submit(&mut self, block: &Block) -> bool {
        let accepted = self.writer.submit_block(block.clone(), block.header.time).unwrap();
        self.writer.commit().unwrap();
        while self.writer.next_mempool_changes().unwrap().is_some() {}
        accepted == Accepted::Connected
    }
}

/// A chain, its event log, and a subscriber that remembers the last event it received.
struct World {
    chain: Chain,
    log: Option<(Thread, Events)>,
    limits: Limits,
    /// The number of the last event that was read.
    seen: u64,
}

impl World {
    async fn new() -> World {
        World::with(LIMITS).await
    }

    async fn with(limits: Limits) -> World {
        let mut world = World { chain: Chain::new(1), log: None, limits, seen: 0 };
        world.start();
        world
    }

    fn start(&mut self) {
        let reader = self.chain.writer.reader();
        let dropped = self.chain.writer.take_restored_mempool().dropped;
        let folder = self.chain.folder.path();
        self.log = Some(Thread::start_with(folder, reader, dropped, self.limits).unwrap());
    }

    async fn stop(&mut self) {
        let (thread, events) = self.log.take().unwrap();
        drop(events);
        thread.stop().await.unwrap();
    }

    fn events(&self) -> &Events {
        &self.log.as_ref().unwrap().1
    }

    /// Mines a block and publishes it.
    fn mine(&mut self) -> Block {
        let block = self.chain.mine();
        self.events().publisher().publish_tip(block.hash());
        block
    }

    /// Reads the next `count` events.
    async fn read(&mut self, count: usize) -> Vec<Event> {
        let mut feed = self.events().feed(Since::Number(self.seen), Filter::default());
        let mut events = Vec::new();
        while events.len() < count {
            events.extend(feed.next().await.unwrap());
        }
        events.truncate(count);
        self.seen = events.last().map_or(self.seen, |event| event.number);
        events
    }

    /// All events published so far that a filter selects.
    async fn published(&self, since: u64, filter: Filter) -> Vec<Event> {
        // Once this event is in the log, all earlier ones are.
        let mut feed = self.events().feed(Since::Now, Filter::default());
        let mark = json!({ "mark": feed.position() });
        self.events().publisher().publish(Topic::JobUpdated, &mark);
        let is_mark = |event: &Event| data(event)["mark"] == mark["mark"];
        while !feed.next().await.unwrap().iter().any(is_mark) {}
        let mut events = self.logged(since, &filter);
        events.retain(|event| data(event)["mark"].is_null());
        events
    }

    /// All events in the log that a filter selects.
    fn logged(&self, since: u64, filter: &Filter) -> Vec<Event> {
        let (mut next, mut events) = (since + 1, Vec::new());
        while next != log::read(&self.events().0.index).next() {
            let page = self.events().page(next, filter);
            events.extend(page.events);
            next = page.next;
        }
        events
    }
}

fn names(events: &[Event]) -> Vec<&'static str> {
    events.iter().map(Event::name).collect()
}

fn data(event: &Event) -> Value {
    let data: Value = serde_json::from_str(&event.data).unwrap();
    assert_eq!(data["number"], event.number);
    assert!(data["time"].as_u64().unwrap() > 1_700_000_000);
    data
}

#[tokio::test]
async fn numbers_block_before_its_transfers() {
    let mut world = World::new().await;
    let accepted = world.chain.pay(0, 7);
    world.events().publisher().publish_mempool(&accepted, &[]);
    let block = world.mine();
    let empty = world.mine();
    let events = world.read(4).await;
    let expected =
        ["transaction.accepted", "block.connected", "transaction.confirmed", "block.connected"];
    assert_eq!(names(&events), expected);
    assert!(events.iter().map(|event| event.number).eq(1..=4));
    let hrp = Params::dev().hrp();
    let confirmed = data(&events[2]);
    assert_eq!(confirmed["id"], accepted[0].id.to_string());
    assert_eq!(confirmed["block"], block.hash().to_string());
    assert_eq!((&confirmed["height"], &confirmed["position"]), (&json!(1), &json!(1)));
    assert_eq!(confirmed["sender"], dev_key(0).public_key().address().encode(hrp));
    assert_eq!(confirmed["recipient"], address(7).encode(hrp));
    assert_eq!((&confirmed["amount"], &confirmed["fee"]), (&json!(5), &json!(1_000)));
    let connected = data(&events[1]);
    assert_eq!(connected["miner"], address(1).encode(hrp));
    assert_eq!((&connected["transaction_count"], &connected["fees"]), (&json!(2), &json!(1_000)));
    assert_eq!(connected["size"], block.encode().len());
    let last = data(&events[3]);
    assert_eq!((&last["hash"], &last["height"]), (&json!(empty.hash().to_string()), &json!(2)));
    assert_eq!((&last["previous"], &last["fees"]), (&json!(block.hash().to_string()), &json!(0)));
    world.stop().await;
}

#[tokio::test]
async fn encodes_events_for_sse_and_websocket() {
    let mut world = World::new().await;
    world.events().publisher().publish(Topic::JobUpdated, &json!({"state": "a\nb"}));
    world.events().publisher().publish(Topic::SyncProgress, &json!({}));
    let events = world.read(2).await;
    let time = data(&events[0])["time"].clone();
    let (first, second) = (
        format!("{{\"number\":1,\"time\":{time},\"state\":\"a\\nb\"}}"),
        format!("{{\"number\":2,\"time\":{}}}", data(&events[1])["time"]),
    );
    let sse = format!("id: 1\nevent: job.updated\ndata: {first}\n\n")
        + &format!("id: 2\nevent: sync.progress\ndata: {second}\n\n");
    assert_eq!(Event::encode_sse(&events), sse);
    let message: Value = serde_json::from_str(&events[0].to_message()).unwrap();
    assert_eq!(message, json!({"event": "job.updated", "id": 1, "data": data(&events[0])}));
    world.stop().await;
}

// genesis ─ a1 ─ a2
//        └─ b1 ─ b2 ─ b3      heavier, connected while the log is closed
#[tokio::test]
async fn start_logs_reorg_that_happened_while_log_was_closed() {
    let mut world = World::new().await;
    let a: Vec<Block> = (0..2).map(|_| world.mine()).collect();
    world.read(2).await;
    world.stop().await;
    let mut rival = Chain::new(2);
    let b: Vec<Block> = (0..3).map(|_| rival.mine()).collect();
    let connected: Vec<bool> = b.iter().map(|block| world.chain.submit(block)).collect();
    assert_eq!(connected, [false, false, true]);
    world.start();
    let events = world.read(6).await;
    let expected: Vec<(u64, &str, String)> = [
        ("block.disconnected", &a[1]),
        ("block.disconnected", &a[0]),
        ("block.connected", &b[0]),
        ("block.connected", &b[1]),
        ("block.connected", &b[2]),
    ]
    .into_iter()
    .zip(3..)
    .map(|((name, block), number)| (number, name, block.hash().to_string()))
    .collect();
    let actual: Vec<(u64, &str, String)> = events[..5]
        .iter()
        .map(|event| (event.number, event.name(), data(event)["hash"].as_str().unwrap().to_owned()))
        .collect();
    assert_eq!(actual, expected);
    let summary = data(&events[5]);
    let expected = json!({
        "number": 8, "time": summary["time"], "fork_height": 0, "depth": 2, "connected": 3,
        "old_tip": a[1].hash().to_string(), "new_tip": b[2].hash().to_string(),
    });
    assert_eq!((events[5].name(), summary), ("reorg", expected));
    // A restart logs nothing again.
    world.stop().await;
    world.start();
    let block = world.mine();
    let next = world.read(1).await;
    assert_eq!((next[0].number, &data(&next[0])["hash"]), (9, &json!(block.hash().to_string())));
    world.stop().await;
}

#[tokio::test]
async fn filters_by_topic_and_address() {
    let mut world = World::new().await;
    for (nonce, to) in [(0, 7), (1, 8), (2, 7)] {
        let accepted = world.chain.pay(nonce, to);
        world.events().publisher().publish_mempool(&accepted, &[]);
    }
    world.mine();
    world.mine();
    let hrp = Params::dev().hrp();
    let job = |miner: u8| json!({ "miner": address(miner).encode(hrp) });
    world.events().publisher().publish(Topic::JobUpdated, &job(7));
    world.events().publisher().publish(Topic::JobUpdated, &job(8));
    let numbers = |events: Vec<Event>| events.iter().map(|event| event.number).collect::<Vec<_>>();
    let by = |topics: &[Topic], address: Option<u8>| Filter {
        topics: Some(topics.to_vec()).filter(|topics| !topics.is_empty()),
        address: address.map(self::address),
    };
    // 1 to 3: accepted; 4: block; 5 to 7: confirmed; 8: block; 9 and 10: jobs.
    let (connected, confirmed) = (Topic::BlockConnected, Topic::TransactionConfirmed);
    assert_eq!(numbers(world.published(0, by(&[connected], None)).await), [4, 8]);
    assert_eq!(numbers(world.published(0, by(&[confirmed], None)).await), [5, 6, 7]);
    assert_eq!(numbers(world.published(5, by(&[confirmed, connected], None)).await), [6, 7, 8]);
    assert_eq!(numbers(world.published(0, by(&[], Some(7))).await), [1, 3, 5, 7, 9]);
    assert_eq!(numbers(world.published(0, by(&[confirmed], Some(8))).await), [6]);
    assert_eq!(numbers(world.published(0, by(&[], Some(1))).await), [4, 8]);
    assert_eq!(numbers(world.published(0, by(&[Topic::Reorg], None)).await), Vec::<u64>::new());
    world.stop().await;
}

#[tokio::test]
async fn reading_pruned_events_yields_reset() {
    let limits = Limits { segment_bytes: 600, segments: 3 };
    let mut world = World::with(limits).await;
    for _ in 0..40 {
        world.mine();
        // One at a time, so that each block is a batch.
        world.read(1).await;
    }
    let folders = || std::fs::read_dir(world.chain.folder.path().join("events")).unwrap().count();
    assert_eq!(folders(), 3);
    let first = world.logged(0, &Filter::default());
    assert_eq!((first[0].name(), first.len()), ("reset", 1), "only new events follow");
    let reset = data(&first[0]);
    let (oldest, newest) = (reset["oldest"].as_u64().unwrap(), reset["newest"].as_u64().unwrap());
    assert!(oldest > 20 && newest == 40, "{reset}");
    let retained = world.logged(oldest - 1, &Filter::default());
    assert!(retained.iter().map(|event| event.number).eq(oldest..=newest));
    // A number beyond the end, as from a replaced log.
    let mut feed = world.events().feed(Since::Number(1_000), Filter::default());
    let reset = feed.next().await.unwrap();
    assert_eq!(names(&reset), ["reset"]);
    let block = world.mine();
    let live = feed.next().await.unwrap();
    assert_eq!(live[0].number, reset[0].number + 1);
    assert_eq!(data(&live[0])["hash"], block.hash().to_string());
    world.stop().await;
}

#[tokio::test]
async fn oversized_event_becomes_a_gap() {
    let mut world = World::new().await;
    let long = "x".repeat(MAX_EVENT_BYTES);
    world.events().publisher().publish(Topic::JobUpdated, &json!({ "long": long }));
    world.mine();
    let events = world.read(2).await;
    assert_eq!(names(&events), ["reset", "block.connected"]);
    let reset = json!({
        "number": 1, "time": data(&events[0])["time"], "oldest": 2, "newest": 1,
    });
    assert_eq!(data(&events[0]), reset);
    // A gap is delivered to every subscriber, whatever its filter.
    let filter = Filter { topics: Some(vec![Topic::Reorg]), address: None };
    assert_eq!(names(&world.published(0, filter).await), ["reset"]);
    world.stop().await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn full_disk_delays_blocks_and_records_gap() {
    let mut world = World::with(Limits { segment_bytes: 1, segments: 100 }).await;
    let folder = world.chain.folder.path().join("events");
    let next = folder.join(format!("{:05}", std::fs::read_dir(&folder).unwrap().count()));
    std::fs::create_dir(&next).unwrap();
    std::os::unix::fs::symlink("/dev/full", next.join("00000.log")).unwrap();
    let first = world.mine();
    while !world.events().publisher().has_gap.load(Ordering::Relaxed) {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    assert_eq!(world.logged(0, &Filter::default()), []);
    std::fs::remove_dir_all(&next).unwrap();
    let second = world.mine();
    let events = world.read(3).await;
    assert_eq!(names(&events), ["reset", "block.connected", "block.connected"]);
    for (event, block) in events[1..].iter().zip([first, second]) {
        assert_eq!(data(event)["hash"], block.hash().to_string());
    }
    world.stop().await;
}

#[tokio::test]
async fn damaged_log_is_replaced_by_one_with_higher_numbers() {
    let mut world = World::new().await;
    for _ in 0..3 {
        world.mine();
    }
    world.read(3).await;
    world.stop().await;
    let folder = world.chain.folder.path().join("events");
    let path = folder.join("00000").join("00000.log");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let missed = world.chain.mine();
    world.start();
    assert!(folder.with_extension("damaged").join("00000").exists());
    let mut events = world.read(1).await;
    let block = world.mine();
    events.extend(world.read(1).await);
    assert_eq!(names(&events), ["reset", "block.connected"]);
    assert!(events[0].number > 1_700_000_000 && events[1].number > events[0].number);
    assert_eq!(data(&events[1])["hash"], block.hash().to_string());
    assert_ne!(block.hash(), missed.hash(), "the new log starts after the blocks before it");
    world.stop().await;
}

/// Random blocks, branches, restarts and commits that a crash hid from the log: a subscriber that
/// remembers its position reads every number once, in order, and block events lead from tip to tip.
#[tokio::test]
async fn resuming_subscriber_reads_each_event_once() {
    for seed in 0..4_u64 {
        let mut random = seed;
        let mut below = |bound: u64| {
            // Knuth's 64-bit linear congruential generator; the upper bits are random enough.
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(seed + 1);
            (random >> 33) % bound
        };
        let mut world = World::with(Limits { segment_bytes: 2_000, segments: 1_000 }).await;
        let mut rival = Chain::new(2);
        let mut common = 0;
        let mut mined: Vec<Block> = Vec::new();
        let mut tips = vec![world.chain.tip()];
        let mut read = Vec::new();
        let mut nonce = 0;
        for _ in 0..60 {
            // So that the next read always has an event to wait for.
            world.events().publisher().publish(Topic::JobUpdated, &json!({}));
            match below(8) {
                0..3 => {
                    if below(2) == 0 {
                        // Not published: the mempool is lost at a restart anyway.
                        world.chain.pay(nonce, 7);
                        nonce += 1;
                    }
                    mined.push(world.mine());
                }
                3 => {
                    for block in mined.drain(..) {
                        rival.submit(&block);
                    }
                    common = 0;
                    assert_eq!(rival.tip(), world.chain.tip());
                }
                4 if mined.iter().all(|block| block.transactions.len() == 1) => {
                    // The rival lacks the blocks that were mined since the last common tip.
                    for _ in 0..=mined.len() {
                        let block = rival.mine();
                        if world.chain.submit(&block) {
                            world.events().publisher().publish_tip(block.hash());
                        }
                    }
                    mined.clear();
                    assert_eq!(rival.tip(), world.chain.tip());
                    common += 1;
                }
                5 => {
                    // As after a crash: the block is in the ledger but not in the log.
                    mined.push(world.chain.mine());
                    world.stop().await;
                    world.start();
                }
                6 => {
                    world.stop().await;
                    world.start();
                }
                _ => read.extend(world.read(usize::try_from(below(3)).unwrap().min(1)).await),
            }
            tips.push(world.chain.tip());
        }
        read.extend(world.published(world.seen, Filter::default()).await);
        // The mark at the end has the next number.
        assert!(read.iter().map(|event| event.number).eq(1..=read.len() as u64), "seed {seed}");
        let chain = followed(tips[0].to_string(), &read);
        assert_eq!(*chain.last().unwrap(), world.chain.tip().to_string(), "seed {seed}");
        assert!(common > 0 || names(&read).contains(&"reorg") || seed > 0);
        world.stop().await;
    }
}

/// Follows the events from genesis, and returns the hashes of the best chain.
fn followed(genesis: String, read: &[Event]) -> Vec<String> {
    let mut chain = vec![genesis];
    for event in read {
        let data = data(event);
        let hash = data["hash"].as_str().map(ToOwned::to_owned);
        match event.name() {
            "block.connected" => {
                assert_eq!(data["previous"], *chain.last().unwrap());
                chain.push(hash.unwrap());
                assert_eq!(data["height"], chain.len() - 1);
            }
            "block.disconnected" => assert_eq!(chain.pop(), hash),
            "transaction.confirmed" => assert_eq!(data["block"], *chain.last().unwrap()),
            "reorg" => assert_eq!(data["new_tip"], *chain.last().unwrap()),
            _ => assert_eq!(event.name(), "job.updated"),
        }
    }
    chain
}
