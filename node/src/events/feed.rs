//! Reading the log by number: first the events that a subscriber missed, page by page, then new ones.
//!
//! A subscriber reads at its own pace. One that does not fetch its next page costs nothing but its
//! slot, and never delays the writer.

use super::event::{self, BlockCache, Event};
use super::filter::{Filter, Since};
use super::log::{self, Index};
use super::publisher::Publisher;
use crate::clock;
use crate::logging;
use chain::ledger::Reader;
use std::sync::{Arc, RwLock};
use tokio::sync::{Semaphore, watch};

/// Most subscribers that read a page at the same moment; the others wait.
const CONCURRENT_READS: usize = 4;
/// Bytes of events after which a page ends: bounds what a subscriber that does not read holds in
/// memory, a few times over in buffers.
const PAGE_BYTES: usize = 8 << 10;
/// Most batches that are searched for a page, however few of their events match: some milliseconds,
/// after which other subscribers are served.
const PAGE_BATCHES: usize = 8;

/// Reads events and publishes them. Cheap to clone.
#[derive(Clone)]
pub struct Events(pub(super) Arc<Shared>);

pub(super) struct Shared {
    pub(super) index: Arc<RwLock<Index>>,
    /// The number of the next event.
    next: watch::Receiver<u64>,
    chain: Reader,
    blocks: BlockCache,
    publisher: Publisher,
    reads: Semaphore,
}

impl Events {
    pub(super) fn new(
        index: Arc<RwLock<Index>>,
        next: watch::Receiver<u64>,
        chain: Reader,
        publisher: Publisher,
    ) -> Events {
        Events(Arc::new(Shared {
            index,
            next,
            chain,
            blocks: BlockCache::default(),
            publisher,
            reads: Semaphore::new(CONCURRENT_READS),
        }))
    }

    pub fn publisher(&self) -> &Publisher {
        &self.0.publisher
    }

    /// The number of the last event; 0 before the first.
    pub fn last_number(&self) -> u64 {
        self.0.next.borrow().saturating_sub(1)
    }

    /// Starts reading the events that a filter selects.
    pub fn feed(&self, since: Since, filter: Filter) -> Feed {
        Feed::new(self.clone(), since, filter)
    }

    /// Reads a page of events that starts at the number `from`. Blocks for some milliseconds.
    pub(super) fn page(&self, from: u64, filter: &Filter) -> Page {
        let mut page = Page { events: Vec::new(), next: from };
        let mut bytes = 0_usize;
        for _ in 0..PAGE_BATCHES {
            let (location, oldest, next) = {
                let index = log::read(&self.0.index);
                (index.find(page.next), index.oldest(), Index::next(&index))
            };
            if page.next == next {
                break;
            }
            // Outside of the range are numbers that were pruned, or belong to a replaced log.
            let is_retained = (oldest..next).contains(&page.next);
            let batch = location.filter(|_| is_retained).and_then(|location| location.read());
            let Some(batch) = batch else {
                let (newest, time) = (next.saturating_sub(1), clock::now().get());
                page.events.push(Event::reset(newest, time, oldest, newest));
                page.next = next;
                break;
            };
            let mut first = batch.first;
            for record in &batch.records {
                let after = first.saturating_add(record.kind.event_count());
                if after > page.next {
                    let emit = |event: Event| {
                        bytes = bytes.saturating_add(event.data.len());
                        page.events.push(event);
                        bytes < PAGE_BYTES
                    };
                    let (chain, blocks) = (&self.0.chain, &self.0.blocks);
                    let next = event::emit(chain, blocks, (first, record), page.next, filter, emit);
                    page.next = next
                        .unwrap_or_else(|error| {
                            logging::limited("read the block of an event", |dropped| {
                                tracing::warn!(
                                    dropped,
                                    "cannot read the block of an event: {error}"
                                );
                            });
                            None
                        })
                        .unwrap_or_else(|| {
                            let (newest, time) = (after - 1, record.time);
                            page.events.push(Event::reset(newest, time, after, newest));
                            after
                        });
                    if bytes >= PAGE_BYTES {
                        return page;
                    }
                }
                first = after;
            }
        }
        page
    }
}

/// Consecutive events of the log.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page {
    /// The events that the filter selects.
    pub events: Vec<Event>,
    /// The number from which the next page starts.
    pub next: u64,
}

/// A subscriber's position in the log.
pub struct Feed {
    events: Events,
    filter: Arc<Filter>,
    cursor: u64,
    next: watch::Receiver<u64>,
}

impl Feed {
    fn new(events: Events, since: Since, filter: Filter) -> Feed {
        let mut next = events.0.next.clone();
        let newest = *next.borrow_and_update();
        let cursor = match since {
            Since::Now => newest,
            Since::Number(number) => number.saturating_add(1),
        };
        Feed { events, filter: Arc::new(filter), cursor, next }
    }

    /// Changes the filter, and with `since` the position: the feed continues after that number.
    pub fn resubscribe(&mut self, since: Option<u64>, filter: Filter) {
        self.filter = Arc::new(filter);
        self.cursor = since.map_or(self.cursor, |number| number.saturating_add(1));
    }

    /// The number up to which all selected events were returned.
    pub fn position(&self) -> u64 {
        self.cursor.saturating_sub(1)
    }

    /// Waits for the next selected events; `None` once there will be no more. Cancel-safe.
    pub async fn next(&mut self) -> Option<Vec<Event>> {
        loop {
            let next = *self.next.borrow_and_update();
            if self.cursor == next {
                self.next.changed().await.ok()?;
                continue;
            }
            let permit = self.events.0.reads.acquire().await.ok()?;
            let (events, from) = (self.events.clone(), self.cursor);
            let filter = Arc::clone(&self.filter);
            let page =
                tokio::task::spawn_blocking(move || events.page(from, &filter)).await.ok()?;
            drop(permit);
            self.cursor = page.next;
            if !page.events.is_empty() {
                return Some(page.events);
            }
        }
    }
}
