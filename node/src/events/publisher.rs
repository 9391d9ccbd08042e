//! Publishing of events: the sending end of the queue to the log's writer thread.

use super::record::Payment;
use super::topic::Topic;
use chain::block;
use chain::mempool::Dropped;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;

/// Most bytes of an event that is published through [`Publisher::publish`].
pub(super) const MAX_EVENT_BYTES: usize = 1 << 20;

/// Most payments of a message, so that a full queue of messages needs some 10 MB.
const MAX_PAYMENTS: usize = 64;

/// A message to the log's writer thread.
pub(super) enum Message {
    /// The best block changed to this one.
    Tip(block::Hash),
    /// Transfers became pending in the mempool, or left it unconfirmed.
    Mempool { accepted: Vec<Payment>, dropped: Vec<(Payment, &'static str)> },
    /// An event of any other topic, whose data is a JSON object.
    Other(Topic, String),
    /// Write everything received so far and end.
    Stop,
}

/// Publishes events. Cheap to clone.
#[derive(Clone)]
pub struct Publisher {
    pub(super) queue: SyncSender<Message>,
    /// Whether events were lost because the queue was full.
    pub(super) has_gap: Arc<AtomicBool>,
}

impl Publisher {
    /// Publishes an event whose `data` is a JSON object without `number` and `time`, which the log
    /// adds. Never blocks: if the queue is full, the event is lost and a gap recorded.
    pub fn publish(&self, topic: Topic, data: &Value) {
        debug_assert!(data.is_object(), "the data of an event is an object");
        let text = data.to_string();
        let fits = text.len() <= MAX_EVENT_BYTES;
        if !fits || self.queue.try_send(Message::Other(topic, text)).is_err() {
            self.mark_gap();
        }
    }

    /// Records a gap: some events were lost.
    pub fn mark_gap(&self) {
        self.has_gap.store(true, Ordering::Relaxed);
    }

    /// Publishes a new best block that is safe on disk. For the writer thread only: blocks while the
    /// queue is full, which only the disk can delay.
    pub fn publish_tip(&self, tip: block::Hash) {
        self.send(Message::Tip(tip));
    }

    /// Publishes what became pending in the mempool and what left it unconfirmed. For the writer
    /// thread only, as [`publish_tip`](Self::publish_tip).
    pub fn publish_mempool(&self, accepted: &[Payment], dropped: &[Dropped]) {
        for accepted in accepted.chunks(MAX_PAYMENTS) {
            self.send(Message::Mempool { accepted: accepted.to_vec(), dropped: Vec::new() });
        }
        let describe = |dropped: &Dropped| {
            (Payment::of_details(dropped.transfer.details()), dropped.reason.code())
        };
        for dropped in dropped.chunks(MAX_PAYMENTS) {
            let dropped = dropped.iter().map(describe).collect();
            self.send(Message::Mempool { accepted: Vec::new(), dropped });
        }
    }

    fn send(&self, message: Message) {
        // Without a receiver the node is shutting down.
        let _ = self.queue.send(message);
    }
}
