//! The numbered log of events: what happened to the chain, the pool, peers, jobs and mining, in
//! order, for readers that come back and ask what they missed. Numbers only grow and survive
//! restarts; an event is shown to readers once it is safe on disk.
//!
//! A thread of its own ([`teller`]) takes news from a bounded queue and appends them to [`log`], a
//! few records at a time, with a sync of its own. Blocks are told from the tip that was told last,
//! so that none is missing or told twice whatever happened in between. [`feed`] reads by number,
//! at the pace of its reader, and nobody waits for it.
//!
//! Does not know HTTP: that is `api::events` and `api::ws`.

mod entry;
mod feed;
mod log;
pub mod publish;
mod shown;
pub mod sources;
mod teller;

pub use entry::Payment;
pub use feed::{Feed, Filter, Since};
pub use shown::Event;
pub use teller::Thread;

use chain::block;
use chain::ledger::Reader;
use chain::mempool::Dropped;
use log::Index;
use serde_json::Value;
use shown::Blocks;
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, RwLock};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Readers at a time: fewer than half of the connections that the API serves, so that there is
/// always room for requests.
pub const MAX_READERS: usize = 200;
/// Readers that look something up at the same moment; the others wait for their turn.
const LOOKING: usize = 4;
/// Most bytes of what is told through [`Publisher::tell`].
const MAX_TOLD_BYTES: usize = 1 << 20;

/// Declares the topics, and the list of them all.
macro_rules! topics {
    ($($name:ident = $code:literal $text:literal $doc:literal;)*) => {
        /// What an event is about.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Topic {
            $(#[doc = $doc] $name = $code,)*
        }

        impl Topic {
            /// Every topic.
            pub const ALL: &[Topic] = &[$(Topic::$name),*];

            /// Its name to readers.
            pub const fn name(self) -> &'static str {
                match self { $(Topic::$name => $text,)* }
            }
        }
    };
}

topics! {
    BlockConnected = 0 "block.connected" "A block entered the best chain.";
    BlockDisconnected = 1 "block.disconnected" "A block left it.";
    Reorg = 2 "reorg" "Blocks left and others entered; told after all of them.";
    TransactionAccepted = 3 "transaction.accepted" "A transfer waits for the next block.";
    TransactionDropped = 4 "transaction.dropped" "A transfer left the pool other than into a block.";
    TransactionConfirmed = 5 "transaction.confirmed" "A transfer is in the best chain.";
    JobUpdated = 6 "job.updated" "A mining job changed.";
    PeerConnected = 7 "peer.connected" "Another node is connected.";
    PeerDisconnected = 8 "peer.disconnected" "It is not any more.";
    SyncProgress = 9 "sync.progress" "How far this node is behind others.";
    MiningHashrate = 10 "mining.hashrate" "How fast this node mines.";
}

impl Topic {
    fn from_code(code: u8) -> Option<Topic> {
        Topic::ALL.get(usize::from(code)).copied()
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No topic has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no topic `{0}`: the topics are {all}", all = names())]
pub struct UnknownTopic(String);

fn names() -> String {
    Topic::ALL.iter().map(|topic| topic.name()).collect::<Vec<_>>().join(", ")
}

impl FromStr for Topic {
    type Err = UnknownTopic;

    fn from_str(text: &str) -> Result<Topic, UnknownTopic> {
        let found = Topic::ALL.iter().find(|topic| topic.name() == text);
        found.copied().ok_or_else(|| UnknownTopic(text.to_owned()))
    }
}

/// What the teller is told.
enum News {
    /// This is the best block now.
    Tip(block::Hash),
    /// What that, or a transfer, did to the pool.
    Pool { accepted: Vec<Payment>, dropped: Vec<(Payment, &'static str)> },
    /// Anything else: a JSON object.
    Other(Topic, String),
    /// Write what there is and end.
    Stop,
}

/// Tells the log. Cheap to clone.
#[derive(Clone)]
pub struct Publisher {
    queue: SyncSender<News>,
    /// Whether something found no room in the queue.
    missed: Arc<AtomicBool>,
}

impl Publisher {
    /// Tells anything: `data` is an object without `number` and `time`, which the log adds. Never
    /// waits; where there is no room, readers are told that something is missing.
    pub fn tell(&self, topic: Topic, data: &Value) {
        debug_assert!(data.is_object(), "an event is an object");
        let text = data.to_string();
        let fits = text.len() <= MAX_TOLD_BYTES;
        if !fits || self.queue.try_send(News::Other(topic, text)).is_err() {
            self.miss();
        }
    }

    /// Tells that something is missing that nobody can tell any more.
    pub fn miss(&self) {
        self.missed.store(true, Ordering::Relaxed);
    }

    /// Tells that there is another best block, after the disk has it. For the writer alone: waits
    /// while the queue is full, as the teller waits for nobody but the disk.
    pub fn tip(&self, tip: block::Hash) {
        self.send(News::Tip(tip));
    }

    /// Tells what became pending in the pool, and what left it other than into a block. For the
    /// writer alone, like [`tip`](Self::tip).
    pub fn pool(&self, accepted: Vec<Payment>, dropped: &[Dropped]) {
        if accepted.is_empty() && dropped.is_empty() {
            return;
        }
        let gone = |dropped: &Dropped| {
            (Payment::of_terms(dropped.transfer.details()), dropped.reason.code())
        };
        self.send(News::Pool { accepted, dropped: dropped.iter().map(gone).collect() });
    }

    fn send(&self, news: News) {
        // Without a teller the node is going down.
        let _ = self.queue.send(news);
    }
}

/// Reads the log, and tells it. Cheap to clone.
#[derive(Clone)]
pub struct Events(Arc<Parts>);

struct Parts {
    index: Arc<RwLock<Index>>,
    /// The number of the next event.
    next: watch::Receiver<u64>,
    chain: Reader,
    blocks: Blocks,
    publisher: Publisher,
    slots: Arc<Semaphore>,
    looking: Semaphore,
}

impl Events {
    fn new(
        index: Arc<RwLock<Index>>,
        next: watch::Receiver<u64>,
        chain: Reader,
        publisher: Publisher,
    ) -> Events {
        Events(Arc::new(Parts {
            index,
            next,
            chain,
            blocks: Blocks::default(),
            publisher,
            slots: Arc::new(Semaphore::new(MAX_READERS)),
            looking: Semaphore::new(LOOKING),
        }))
    }

    /// Tells the log.
    pub fn publisher(&self) -> &Publisher {
        &self.0.publisher
    }

    /// The place of one more reader, unless there are too many. It is free again once dropped.
    pub fn seat(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0.slots).try_acquire_owned().ok()
    }

    /// The number of the last event; 0 before the first.
    pub fn newest(&self) -> u64 {
        self.0.next.borrow().saturating_sub(1)
    }

    /// How many read at this moment.
    pub fn readers(&self) -> usize {
        MAX_READERS.saturating_sub(self.0.slots.available_permits())
    }

    /// Reads from a number on.
    pub fn feed(&self, since: Since, filter: Filter) -> Feed {
        Feed::new(self.clone(), since, filter)
    }
}

#[cfg(test)]
mod tests;
