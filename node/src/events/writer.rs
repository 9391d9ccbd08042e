//! The thread that writes the log: takes what is told, finds the way from the tip that was told
//! last to the new one, and appends all that came meanwhile with one sync.
//!
//! The way is found by looking at the chain, not taken from whoever tells: after a crash, or a
//! full disk, it begins where the log ends, so that each block is told once.

use super::feed::Events;
use super::log::{LIMITS, Limits, Log};
use super::publisher::{News, Publisher};
use super::record::{Entry, What};
use crate::clock;
use anyhow::{Context, Result};
use chain::block;
use chain::block_index::BlockNode;
use chain::ledger::Reader;
use chain::store::{LogError, StoreError};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};

/// News that may wait for the teller.
const QUEUE: usize = 1_024;
/// News that share a sync.
const GROUP: usize = 512;
/// Entries of a batch: reading one event reads the whole batch, some 12 kB.
const BATCH: usize = 256;
/// The longest way between two tips that is told block by block.
const LONGEST_WAY: usize = 50_000;
/// A sync is followed by a pause of so many times its length, that the log takes at most a fifth
/// of the disk's time from the chain.
const PAUSE_FACTOR: u32 = 4;
/// The longest pause.
const MAX_PAUSE: Duration = Duration::from_millis(250);

/// The teller's thread. It ends by itself only when the disk fails.
pub struct Thread {
    queue: SyncSender<News>,
    thread: JoinHandle<Result<()>>,
    ended: oneshot::Receiver<()>,
}

impl Thread {
    /// Opens the log in a data folder and tells what happened to the chain since it ended. From
    /// then on it is told everything else.
    pub fn start(data: &Path, chain: Reader) -> Result<(Thread, Events)> {
        Thread::start_with(data, chain, LIMITS)
    }

    pub(super) fn start_with(
        data: &Path,
        chain: Reader,
        limits: Limits,
    ) -> Result<(Thread, Events)> {
        let tip = chain.view().tip().hash;
        let log = Log::open(&data.join("events"), limits, tip)?;
        let (queue, news) = sync_channel(QUEUE);
        let missed = Arc::new(AtomicBool::new(false));
        let (next, watched) = watch::channel(log.next());
        let publisher = Publisher { queue: queue.clone(), missed: Arc::clone(&missed) };
        let events = Events::new(log.index(), watched, chain.clone(), publisher);
        let mut teller = Teller { log, chain, news, missed, next, is_full: false };
        teller.tell(vec![News::Tip(tip)])?;
        let (end, ended) = oneshot::channel();
        let run = move || {
            let result = teller.run();
            let _ = end.send(());
            result
        };
        let thread = std::thread::Builder::new().name("events".into()).spawn(run);
        let thread = thread.context("cannot start the events' thread")?;
        Ok((Thread { queue, thread, ended }, events))
    }

    /// Returns when the thread has ended by itself.
    pub async fn watch(&mut self) {
        let _ = (&mut self.ended).await;
    }

    /// Writes what was told so far and ends.
    pub async fn stop(self) -> Result<()> {
        let Thread { queue, thread, .. } = self;
        let ending = move || {
            let _ = queue.send(News::Stop);
            thread.join()
        };
        match tokio::task::spawn_blocking(ending).await? {
            Ok(ended) => ended,
            Err(_panic) => anyhow::bail!("the events' thread panicked; the next start repairs"),
        }
    }
}

struct Teller {
    log: Log,
    chain: Reader,
    news: Receiver<News>,
    /// Whether something found no room in the queue.
    missed: Arc<AtomicBool>,
    next: watch::Sender<u64>,
    /// Whether the disk is, so that events are lost.
    is_full: bool,
}

impl Teller {
    fn run(mut self) -> Result<()> {
        while let Ok(first) = self.news.recv() {
            let group: Vec<News> =
                std::iter::once(first).chain(self.news.try_iter().take(GROUP - 1)).collect();
            let is_last = group.iter().any(|news| matches!(news, News::Stop));
            let begun = Instant::now();
            self.tell(group)?;
            if is_last {
                break;
            }
            std::thread::sleep(begun.elapsed().saturating_mul(PAUSE_FACTOR).min(MAX_PAUSE));
        }
        Ok(())
    }

    fn tell(&mut self, group: Vec<News>) -> Result<()> {
        let mut draft = Draft::new(self.log.tip());
        if self.missed.swap(false, Ordering::Relaxed) {
            draft.push(What::Gap);
        }
        for news in group {
            match news {
                News::Tip(tip) => self.follow(tip, &mut draft)?,
                News::Pool { accepted, dropped } => {
                    accepted.into_iter().for_each(|payment| draft.push(What::Accepted(payment)));
                    for (payment, reason) in dropped {
                        draft.push(What::Dropped { payment, reason: reason.to_owned() });
                    }
                }
                News::Other(topic, data) => draft.push(What::Other { topic, data }),
                News::Stop => {}
            }
        }
        let batches = draft.finish();
        if batches.is_empty() {
            return Ok(());
        }
        match self.log.append(batches) {
            Ok(()) if self.is_full => {
                tracing::info!("events are kept again");
                self.is_full = false;
            }
            Ok(()) => {}
            Err(LogError::Full { path }) => {
                // Blocks are told later, from the tip that was told last; the rest is lost.
                self.missed.store(true, Ordering::Relaxed);
                if !self.is_full {
                    let disk = path.display();
                    tracing::warn!("the disk of {disk} is full: events are lost until it is not");
                    self.is_full = true;
                }
            }
            Err(error) => return Err(error.into()),
        }
        self.next.send_replace(self.log.next());
        Ok(())
    }

    /// Tells of the way from the tip that was told last to another one.
    fn follow(&self, tip: block::Hash, draft: &mut Draft) -> Result<(), StoreError> {
        let Some(way) = way(&self.chain, draft.tip, tip) else {
            draft.push(What::Gap);
            draft.tip = tip;
            return Ok(());
        };
        let heads = self.chain.headers_and_counts(&way.connect)?;
        let connected = way.connect.iter().zip(heads).map(|(node, (_, transactions))| {
            let transfers = transactions.saturating_sub(1);
            (node.hash, What::Connected { hash: node.hash, height: node.height, transfers })
        });
        if way.disconnect.is_empty() {
            for (hash, what) in connected {
                draft.tip = hash;
                draft.push(what);
            }
            return Ok(());
        }
        // In one batch: after a crash all of it is there or nothing.
        let depth = u32::try_from(way.disconnect.len()).unwrap_or(u32::MAX);
        let count = u32::try_from(way.connect.len()).unwrap_or(u32::MAX);
        let (old, new) = (draft.tip, tip);
        let left = way.disconnect.into_iter();
        let left = left.map(|node| What::Disconnected { hash: node.hash, height: node.height });
        let entered = connected.map(|(_, what)| what);
        let summary = What::Reorg { fork: way.fork.height, depth, connected: count, old, new };
        draft.push_together(tip, left.chain(entered).chain([summary]));
        Ok(())
    }
}

/// From one tip to another.
struct Way {
    fork: BlockNode,
    /// The old tip first.
    disconnect: Vec<BlockNode>,
    /// The new tip last.
    connect: Vec<BlockNode>,
}

/// `None` if the chain does not know one of them, or it is too far.
fn way(chain: &Reader, from: block::Hash, to: block::Hash) -> Option<Way> {
    let view = chain.view();
    let (mut left, mut right) = (*view.find(&from)?, *view.find(&to)?);
    let (mut disconnect, mut connect) = (Vec::new(), Vec::new());
    while left.hash != right.hash {
        if disconnect.len() + connect.len() >= LONGEST_WAY {
            return None;
        }
        if left.height >= right.height {
            disconnect.push(left);
            left = *view.node(left.parent);
        } else {
            connect.push(right);
            right = *view.node(right.parent);
        }
    }
    connect.reverse();
    Some(Way { fork: left, disconnect, connect })
}

/// Batches being filled.
struct Draft {
    batches: Vec<(block::Hash, Vec<Entry>)>,
    open: Vec<Entry>,
    /// The tip after the last entry.
    tip: block::Hash,
    time: u32,
}

impl Draft {
    fn new(tip: block::Hash) -> Draft {
        Draft { batches: Vec::new(), open: Vec::new(), tip, time: clock::now().get() }
    }

    fn push(&mut self, what: What) {
        self.open.push(Entry { time: self.time, what });
        if self.open.len() >= BATCH {
            self.close();
        }
    }

    fn push_together(&mut self, tip: block::Hash, whats: impl Iterator<Item = What>) {
        self.close();
        self.tip = tip;
        self.open.extend(whats.map(|what| Entry { time: self.time, what }));
        self.close();
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            self.batches.push((self.tip, std::mem::take(&mut self.open)));
        }
    }

    fn finish(mut self) -> Vec<(block::Hash, Vec<Entry>)> {
        self.close();
        self.batches
    }
}
