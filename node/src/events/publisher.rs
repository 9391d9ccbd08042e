//! The sending end of the event log: a bounded queue to the writer's thread.

use super::record::Payment;
use super::topic::Topic;
use chain::block;
use chain::mempool::Dropped;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;

/// Most bytes of what is told through [`Publisher::tell`].
pub(super) const MAX_TOLD_BYTES: usize = 1 << 20;

/// What the teller is told.
pub(super) enum News {
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
    pub(super) queue: SyncSender<News>,
    /// Whether something found no room in the queue.
    pub(super) missed: Arc<AtomicBool>,
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
