use super::*;
use crate::events;
use chain::Params;
use chain::ledger::{self, Options};
use chain::mempool::Limits;
use tempfile::TempDir;
use tokio::sync::broadcast::error::TryRecvError;

/// A writer's thread on `dev` with a data folder of its own.
struct World {
    thread: Thread,
    reader: Reader,
    folder: TempDir,
}

fn open(folder: &TempDir) -> (Writer, Reader) {
    let options = Options { cache_bytes: 1 << 20, threads: 1, mempool: Limits::default() };
    ledger::open(folder.path(), Params::dev(), options, &mut |_| {}).unwrap()
}

impl World {
    fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        let (writer, reader) = open(&folder);
        let (_, events) = events::Thread::start(folder.path(), reader.clone()).unwrap();
        let metrics = Arc::default();
        let thread = Thread::spawn(writer, events.publisher().clone(), metrics).unwrap();
        World { thread, reader, folder }
    }

    fn handle(&self) -> Handle {
        self.thread.handle()
    }

    /// Makes blocks that pay an address: oldest first.
    async fn make(&self, count: u32, miner: u8) -> Vec<Block> {
        let miner = Address::from_bytes([miner; 20]);
        let hashes = self.handle().generate(count, miner).await.unwrap().unwrap();
        let view = self.reader.view();
        hashes.iter().map(|hash| view.block(view.find(hash).unwrap()).unwrap()).collect()
    }

    /// Hands blocks in while the writer cannot go on, so that they all wait together.
    async fn hand_in_together(&self, blocks: &[Block]) -> Vec<Result<Accepted, SubmitError>> {
        let handle = self.handle();
        let mut answers = Vec::new();
        // Nothing can be flushed while somebody looks, and so nothing be taken from the queue.
        let (held, release) = std::sync::mpsc::channel::<()>();
        let (looking, looks) = oneshot::channel();
        let reader = self.reader.clone();
        let looker = std::thread::spawn(move || {
            let view = reader.view();
            looking.send(()).unwrap();
            let _ = release.recv();
            drop(view);
        });
        looks.await.unwrap();
        handle.queue(Request::Flush).await.unwrap();
        for block in blocks {
            let (verdict, answer) = oneshot::channel();
            handle.queue_block(Arc::new(block.clone()), verdict).await.unwrap();
            answers.push(answer);
        }
        drop(held);
        looker.join().unwrap();
        let mut results = Vec::new();
        for answer in answers {
            results.push(answer.await.unwrap());
        }
        results
    }
}

fn told(results: &[Result<Accepted, SubmitError>]) -> Vec<String> {
    let tell = |result: &Result<Accepted, SubmitError>| match result {
        Ok(accepted) => format!("{accepted:?}"),
        Err(error) => error.code().unwrap_or("none").to_owned(),
    };
    results.iter().map(tell).collect()
}

#[tokio::test]
async fn blocks_that_wait_together_become_one_change() {
    let (source, world) = (World::new(), World::new());
    let blocks = source.make(60, 1).await;
    let mut peer_news = world.handle().peer_news();
    let results = world.hand_in_together(&blocks).await;
    assert!(results.iter().all(|result| matches!(result, Ok(Accepted::Connected))));
    let news = *world.handle().news().borrow();
    assert_eq!(news, News { tip: blocks[59].hash(), number: 1 });
    assert!(matches!(peer_news.try_recv(), Ok(p2p::ChainUpdate::TipChanged)));
    assert!(matches!(peer_news.try_recv(), Err(TryRecvError::Empty)));
    let more = source.make(200, 1).await;
    let results = world.hand_in_together(&more).await;
    assert!(results.iter().all(|result| matches!(result, Ok(Accepted::Connected))));
    assert_eq!(world.handle().news().borrow().number, 1 + 4, "no more than 64 at a time");
}

#[tokio::test]
async fn a_bad_block_among_others_is_refused_alone() {
    let (source, world) = (World::new(), World::new());
    let blocks = source.make(4, 1).await;
    let mut wrong = blocks[1].clone();
    wrong.transactions.push(wrong.transactions[0].clone());
    let orphan = blocks[3].clone();
    let (first, second) = (blocks[0].clone(), blocks[1].clone());
    let given = [first.clone(), wrong, orphan, second, first, blocks[2].clone()];
    let results = world.hand_in_together(&given).await;
    let expected =
        ["Connected", "mutated-body", "unknown-parent", "Connected", "AlreadyKnown", "Connected"];
    assert_eq!(told(&results), expected);
    assert_eq!(world.reader.view().tip().hash, blocks[2].hash());
    // What was acknowledged is there for the next start.
    let World { thread, folder, .. } = world;
    thread.stop().await.unwrap();
    let (_writer, reader) = open(&folder);
    assert_eq!(reader.view().tip().hash, blocks[2].hash());
}

#[tokio::test]
async fn known_blocks_alone_change_nothing() {
    let (source, world) = (World::new(), World::new());
    let blocks = source.make(3, 1).await;
    world.hand_in_together(&blocks).await;
    let before = *world.handle().news().borrow();
    assert_eq!(told(&world.hand_in_together(&blocks).await), ["AlreadyKnown"; 3]);
    assert_eq!(*world.handle().news().borrow(), before);
}

// While the first 64 are taken in, the next are checked alone.
#[tokio::test]
async fn more_blocks_than_share_a_sync_are_judged_in_their_order() {
    let (source, world) = (World::new(), World::new());
    let blocks = source.make(200, 1).await;
    assert_eq!(told(&world.hand_in_together(&blocks).await), ["Connected"; 200]);
    assert_eq!(world.reader.view().tip().hash, blocks[199].hash());
}

#[tokio::test]
async fn a_bad_block_among_those_checked_ahead_spoils_those_after_it_and_no_other() {
    let (source, world) = (World::new(), World::new());
    let mut blocks = source.make(150, 1).await;
    // On a chain of its own: the height that the coinbase names is another one's.
    let mut previous = blocks[99].hash();
    for block in &mut blocks[100..] {
        let chain::Transaction::Coinbase(coinbase) = &mut block.transactions[0] else { panic!() };
        if previous == block.header.previous {
            coinbase.height = chain::Height::new(7);
        }
        block.header.merkle_root = chain::merkle::root(&block.ids());
        block.header.previous = previous;
        let target = block.header.bits.target().unwrap();
        seal(&mut block.header, target);
        previous = block.hash();
    }
    let results = told(&world.hand_in_together(&blocks).await);
    assert_eq!(results[..100], ["Connected"; 100]);
    assert_eq!(results[100], "wrong-coinbase-height");
    assert_eq!(results[101], "invalid-ancestor");
    assert_eq!(results[102..], ["unknown-parent"; 48]);
    assert_eq!(world.reader.view().tip().hash, blocks[99].hash());
}

#[tokio::test]
async fn two_nodes_that_mine_for_one_address_search_different_blocks() {
    let worlds = [World::new(), World::new()];
    let miner = Address::from_bytes([1; 20]);
    let mut nonces = std::collections::HashSet::new();
    for world in &worlds {
        for _ in 0..2 {
            let template = world.handle().template(miner).await.unwrap().unwrap();
            nonces.insert(template.block.coinbase().unwrap().extra_nonce);
        }
    }
    assert_eq!(nonces.len(), 4);
}
