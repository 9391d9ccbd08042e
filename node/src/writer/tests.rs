use super::*;
use crate::events;
use chain::ledger::{self, Options};
use chain::{Block, Params};
use p2p::Submit;
use tempfile::TempDir;
use tokio::sync::broadcast::error::TryRecvError;
use tokio::sync::oneshot;

/// A writer's thread on `dev` with its own data folder.
struct World {
    thread: Thread,
    reader: Reader,
    folder: TempDir,
}

fn open(folder: &TempDir) -> (Writer, Reader) {
    let options = Options { cache_bytes: 1 << 20, threads: 1, ..Options::default() };
    ledger::open(folder.path(), Params::dev(), &options, &mut |_| {}).unwrap()
}

impl World {
    fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        let (writer, reader) = open(&folder);
        let (_, events) = events::Thread::start(folder.path(), reader.clone(), Vec::new()).unwrap();
        let metrics = Arc::default();
        let thread =
            Thread::spawn(writer, Clock::default(), None, events.publisher().clone(), metrics);
        let thread = thread.unwrap();
        World { thread, reader, folder }
    }

    fn handle(&self) -> Handle {
        self.thread.handle()
    }

    /// Generates blocks that pay an address; returns them oldest first.
    async fn generate(&self, count: u32, miner: u8) -> Vec<Block> {
        let miner = Address::from_bytes([miner; 20]);
        let hashes =
            self.handle().generate_blocks(Generation::new(count, miner)).await.unwrap().unwrap();
        let view = self.reader.view();
        hashes.iter().map(|hash| view.block(view.find(hash).unwrap()).unwrap()).collect()
    }

    /// Submits blocks while the writer is blocked, so that all are queued together.
    async fn submit_together(&self, blocks: &[Block]) -> Vec<Result<Accepted, SubmitError>> {
        let handle = self.handle();
        let mut responses = Vec::new();
        // A view blocks the flush, and so the writer's queue.
        let (hold, release) = std::sync::mpsc::channel::<()>();
        let (viewing, is_viewing) = oneshot::channel();
        let reader = self.reader.clone();
        let view_holder = std::thread::spawn(move || {
            let view = reader.view();
            viewing.send(()).unwrap();
            let _ = release.recv();
            drop(view);
        });
        is_viewing.await.unwrap();
        handle.enqueue(Request::Flush).await.unwrap();
        for block in blocks {
            let (reply, response) = oneshot::channel();
            Submit::submit_block(&handle, block.clone().into(), reply).await;
            responses.push(response);
        }
        drop(hold);
        view_holder.join().unwrap();
        let mut results = Vec::new();
        for response in responses {
            results.push(response.await.unwrap());
        }
        results
    }
}

fn codes(results: &[Result<Accepted, SubmitError>]) -> Vec<String> {
    let code = |result: &Result<Accepted, SubmitError>| match result {
        Ok(accepted) => format!("{accepted:?}"),
        Err(error) => error.code().unwrap_or("none").to_owned(),
    };
    results.iter().map(code).collect()
}

#[tokio::test]
async fn batch_of_blocks_publishes_one_change() {
    let (source, world) = (World::new(), World::new());
    let blocks = source.generate(60, 1).await;
    let mut peer_updates = world.handle().subscribe_peer_updates();
    let results = world.submit_together(&blocks).await;
    assert!(results.iter().all(|result| matches!(result, Ok(Accepted::Connected))));
    let version = *world.handle().watch_chain().borrow();
    assert_eq!(version, ChainVersion { tip: blocks[59].hash(), sequence: 1 });
    assert!(matches!(peer_updates.try_recv(), Ok(p2p::ChainUpdate::TipChanged)));
    assert!(matches!(peer_updates.try_recv(), Err(TryRecvError::Empty)));
    let more = source.generate(400, 1).await;
    let results = world.submit_together(&more).await;
    assert!(results.iter().all(|result| matches!(result, Ok(Accepted::Connected))));
    assert_eq!(world.handle().watch_chain().borrow().sequence, 1 + 2, "256 blocks to a batch");
}

#[tokio::test]
async fn rejects_only_the_invalid_blocks_of_a_batch() {
    let (source, world) = (World::new(), World::new());
    let blocks = source.generate(4, 1).await;
    let mut wrong = blocks[1].clone();
    wrong.transactions.push(wrong.transactions[0].clone());
    let orphan = blocks[3].clone();
    let (first, second) = (blocks[0].clone(), blocks[1].clone());
    let submitted = [first.clone(), wrong, orphan, second, first, blocks[2].clone()];
    let results = world.submit_together(&submitted).await;
    let expected =
        ["Connected", "mutated-body", "unknown-parent", "Connected", "AlreadyKnown", "Connected"];
    assert_eq!(codes(&results), expected);
    assert_eq!(world.reader.view().tip().hash, blocks[2].hash());
    // Acknowledged blocks survive a restart.
    let World { thread, folder, .. } = world;
    thread.stop().await.unwrap();
    let (_writer, reader) = open(&folder);
    assert_eq!(reader.view().tip().hash, blocks[2].hash());
}

#[tokio::test]
async fn resubmitting_known_blocks_publishes_no_change() {
    let (source, world) = (World::new(), World::new());
    let blocks = source.generate(3, 1).await;
    world.submit_together(&blocks).await;
    let before = *world.handle().watch_chain().borrow();
    assert_eq!(codes(&world.submit_together(&blocks).await), ["AlreadyKnown"; 3]);
    assert_eq!(*world.handle().watch_chain().borrow(), before);
}

// The second batch is prechecked while the first is connected.
#[tokio::test]
async fn connects_several_batches_in_order() {
    let (source, world) = (World::new(), World::new());
    let blocks = source.generate(500, 1).await;
    assert_eq!(codes(&world.submit_together(&blocks).await), ["Connected"; 500]);
    assert_eq!(world.reader.view().tip().hash, blocks[499].hash());
}

#[tokio::test]
async fn invalid_block_in_prechecked_batch_rejects_only_its_descendants() {
    let (source, world) = (World::new(), World::new());
    let mut blocks = source.generate(350, 1).await;
    // A branch whose first block commits to a wrong height in its coinbase.
    let mut previous = blocks[299].hash();
    for block in &mut blocks[300..] {
        let chain::Transaction::Coinbase(coinbase) = &mut block.transactions[0] else { panic!() };
        if previous == block.header.previous {
            coinbase.height = chain::Height::new(7);
        }
        block.header.merkle_root = chain::merkle::root(&block.ids());
        block.header.previous = previous;
        let target = block.header.bits.target().unwrap();
        solve(&mut block.header, target);
        previous = block.hash();
    }
    let results = codes(&world.submit_together(&blocks).await);
    assert_eq!(results[..300], ["Connected"; 300]);
    assert_eq!(results[300], "wrong-coinbase-height");
    assert_eq!(results[301], "invalid-ancestor");
    assert_eq!(results[302..], ["unknown-parent"; 48]);
    assert_eq!(world.reader.view().tip().hash, blocks[299].hash());
}

#[tokio::test]
async fn templates_of_two_nodes_for_one_address_differ() {
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
