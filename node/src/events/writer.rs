//! The event-log writer thread: computes the path from the last logged tip to the new one, and
//! appends its blocks and all other events received meanwhile with one disk sync.
//!
//! The path is computed from the chain rather than received, so that after a crash or a full disk it
//! starts where the log ends, and each block is logged exactly once.

use super::feed::Events;
use super::log::{LIMITS, Limits, Log};
use super::path::find_path;
use super::publisher::{Message, Publisher};
use super::record::{EventKind, Record};
use super::recovery::OpenTransfers;
use crate::clock;
use crate::thread::OwnedThread;
use anyhow::Result;
use chain::block;
use chain::ledger::Reader;
use chain::mempool::Dropped;
use chain::store::{LogError, StoreError};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Capacity of the queue of messages to the writer thread.
const QUEUE: usize = 1_024;
/// Most messages that share a disk sync.
const GROUP: usize = 512;
/// Records of a batch: reading one event reads its whole batch, some 12 kB.
const BATCH: usize = 256;
/// A disk sync is followed by a pause of this many times its duration, so that the event log uses
/// at most a fifth of the disk's time from the chain.
const PAUSE_FACTOR: u32 = 4;
/// The longest pause after a disk sync.
const MAX_PAUSE: Duration = Duration::from_millis(250);

/// The writer thread of the event log. Without `stop` it ends only when the disk fails.
pub struct Thread {
    queue: SyncSender<Message>,
    thread: OwnedThread,
}

impl Thread {
    /// Opens the log in a data folder, logs what happened to the chain since the log ended, and
    /// starts the thread. `dropped` are the transfers that did not come back with the mempool.
    pub fn start(data: &Path, chain: Reader, dropped: Vec<Dropped>) -> Result<(Thread, Events)> {
        Thread::start_with(data, chain, dropped, LIMITS)
    }

    pub(super) fn start_with(
        data: &Path,
        chain: Reader,
        dropped: Vec<Dropped>,
        limits: Limits,
    ) -> Result<(Thread, Events)> {
        let tip = chain.view().tip().hash;
        let mut transfers = OpenTransfers::new(chain.clone(), dropped);
        let log = Log::open(&data.join("events"), limits, tip, &mut transfers)?;
        let missing = transfers.missing_events(log.tip())?;
        let (queue, messages) = sync_channel(QUEUE);
        let has_gap = Arc::new(AtomicBool::new(false));
        let (publish_next, next) = watch::channel(log.next());
        let publisher = Publisher { queue: queue.clone(), has_gap: Arc::clone(&has_gap) };
        let events = Events::new(log.index(), next, chain.clone(), publisher);
        let mut task =
            EventWriter { log, chain, messages, has_gap, next: publish_next, is_disk_full: false };
        task.write(vec![Message::Tip(tip), missing])?;
        let thread = OwnedThread::spawn("events", move || task.run())?;
        Ok((Thread { queue, thread }, events))
    }

    /// Returns once the thread has failed.
    pub async fn watch(&mut self) {
        self.thread.ended().await;
    }

    /// Writes all queued messages and ends the thread.
    pub async fn stop(self) -> Result<()> {
        let Thread { queue, thread } = self;
        // Blocks while the queue is full; fails once the thread has ended.
        tokio::task::spawn_blocking(move || drop(queue.send(Message::Stop))).await?;
        thread.join().await
    }
}

/// The state of the writer thread.
struct EventWriter {
    log: Log,
    chain: Reader,
    messages: Receiver<Message>,
    /// Whether events were lost because the queue or the disk was full.
    has_gap: Arc<AtomicBool>,
    next: watch::Sender<u64>,
    is_disk_full: bool,
}

impl EventWriter {
    fn run(mut self) -> Result<()> {
        while let Ok(first) = self.messages.recv() {
            let group: Vec<Message> =
                std::iter::once(first).chain(self.messages.try_iter().take(GROUP - 1)).collect();
            let is_last = group.iter().any(|message| matches!(message, Message::Stop));
            let started = Instant::now();
            self.write(group)?;
            if is_last {
                break;
            }
            std::thread::sleep(started.elapsed().saturating_mul(PAUSE_FACTOR).min(MAX_PAUSE));
        }
        Ok(())
    }

    fn write(&mut self, group: Vec<Message>) -> Result<()> {
        let mut batches = BatchBuilder::new(self.log.tip());
        if self.has_gap.swap(false, Ordering::Relaxed) {
            batches.push(EventKind::Gap);
        }
        for message in group {
            match message {
                Message::Tip(tip) => self.log_path(tip, &mut batches)?,
                Message::Mempool { accepted, dropped } => {
                    accepted.into_iter().map(EventKind::Accepted).for_each(|it| batches.push(it));
                    for (payment, reason) in dropped {
                        batches.push(EventKind::Dropped { payment, reason: reason.to_owned() });
                    }
                }
                Message::Other(topic, data) => batches.push(EventKind::Other { topic, data }),
                Message::Stop => {}
            }
        }
        let batches = batches.finish();
        if batches.is_empty() {
            return Ok(());
        }
        match self.log.append(batches) {
            Ok(()) if self.is_disk_full => {
                tracing::info!("events are logged again");
                self.is_disk_full = false;
            }
            Ok(()) => {}
            Err(LogError::Full { path }) => {
                // Blocks are logged later, from the last logged tip on; other events are lost.
                self.has_gap.store(true, Ordering::Relaxed);
                if !self.is_disk_full {
                    let disk = path.display();
                    tracing::warn!("no space left on the disk of {disk}: events are lost");
                    self.is_disk_full = true;
                }
            }
            Err(error) => return Err(error.into()),
        }
        self.next.send_replace(self.log.next());
        Ok(())
    }

    /// Adds the blocks on the path from the last logged tip to another one.
    fn log_path(&self, tip: block::Hash, batches: &mut BatchBuilder) -> Result<(), StoreError> {
        let Some(path) = find_path(&self.chain, batches.tip, tip) else {
            batches.push(EventKind::Gap);
            batches.tip = tip;
            return Ok(());
        };
        let heads = self.chain.headers_and_counts(&path.connect)?;
        let connected = path.connect.iter().zip(heads).map(|(node, (_, transactions))| {
            let transfers = transactions.saturating_sub(1);
            (node.hash, EventKind::Connected { hash: node.hash, height: node.height, transfers })
        });
        if path.disconnect.is_empty() {
            for (hash, event) in connected {
                batches.tip = hash;
                batches.push(event);
            }
            return Ok(());
        }
        // A reorganisation is one batch, so that a crash loses all of it or nothing.
        let depth = u32::try_from(path.disconnect.len()).unwrap_or(u32::MAX);
        let count = u32::try_from(path.connect.len()).unwrap_or(u32::MAX);
        let (old, new) = (batches.tip, tip);
        let disconnected = path.disconnect.into_iter();
        let disconnected = disconnected
            .map(|node| EventKind::Disconnected { hash: node.hash, height: node.height });
        let connected = connected.map(|(_, event)| event);
        let fork = path.fork.height;
        let reorg = EventKind::Reorg { fork, depth, connected: count, old, new };
        batches.push_batch(tip, disconnected.chain(connected).chain([reorg]));
        Ok(())
    }
}

/// Collects records into batches.
struct BatchBuilder {
    batches: Vec<(block::Hash, Vec<Record>)>,
    open: Vec<Record>,
    /// The tip after the last record.
    tip: block::Hash,
    time: u32,
}

impl BatchBuilder {
    fn new(tip: block::Hash) -> BatchBuilder {
        BatchBuilder { batches: Vec::new(), open: Vec::new(), tip, time: clock::now().get() }
    }

    fn push(&mut self, kind: EventKind) {
        self.open.push(Record { time: self.time, kind });
        if self.open.len() >= BATCH {
            self.close();
        }
    }

    fn push_batch(&mut self, tip: block::Hash, kinds: impl Iterator<Item = EventKind>) {
        self.close();
        self.tip = tip;
        self.open.extend(kinds.map(|kind| Record { time: self.time, kind }));
        self.close();
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            self.batches.push((self.tip, std::mem::take(&mut self.open)));
        }
    }

    fn finish(mut self) -> Vec<(block::Hash, Vec<Record>)> {
        self.close();
        self.batches
    }
}
