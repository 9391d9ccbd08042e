//! Reading the log by number: first what was missed, page by page, then what comes. A reader that
//! does not come for its next page costs nothing but its place.

use super::event::{self, Blocks, Event};
use super::filter::{Filter, Since};
use super::log::{self, Index};
use super::publisher::Publisher;
use crate::clock;
use chain::ledger::Reader;
use std::sync::{Arc, RwLock};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Readers at a time: fewer than half of the connections that the API serves, so that there is
/// always room for requests.
pub const MAX_READERS: usize = 200;
/// Readers that look something up at the same moment; the others wait for their turn.
const LOOKING: usize = 4;
/// Bytes of a page's events after which it ends: what a reader that does not read holds up, a few
/// times over in buffers.
const PAGE_BYTES: usize = 8 << 10;
/// Batches that are looked through for a page, however few of their events are wanted: some
/// milliseconds, then it is the turn of other readers.
const PAGE_BATCHES: usize = 8;

/// Reads the log, and tells it. Cheap to clone.
#[derive(Clone)]
pub struct Events(pub(super) Arc<Parts>);

pub(super) struct Parts {
    pub(super) index: Arc<RwLock<Index>>,
    /// The number of the next event.
    next: watch::Receiver<u64>,
    chain: Reader,
    blocks: Blocks,
    publisher: Publisher,
    slots: Arc<Semaphore>,
    looking: Semaphore,
}

impl Events {
    pub(super) fn new(
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

/// Some events in order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page {
    /// Those that the filter lets through.
    pub events: Vec<Event>,
    /// The number to go on with.
    pub next: u64,
}

impl Events {
    /// Events from a number on. May take milliseconds.
    pub(super) fn page(&self, from: u64, filter: &Filter) -> Page {
        let mut page = Page { events: Vec::new(), next: from };
        let mut bytes = 0_usize;
        for _ in 0..PAGE_BATCHES {
            let (spot, oldest, next) = {
                let index = log::read(&self.0.index);
                (index.find(page.next), index.oldest(), Index::next(&index))
            };
            if page.next == next {
                break;
            }
            // Older than what is kept, or from a log that is not there any more.
            let is_kept = (oldest..next).contains(&page.next);
            let batch = spot.filter(|_| is_kept).and_then(|spot| spot.read());
            let Some(batch) = batch else {
                let (newest, time) = (next.saturating_sub(1), clock::now().get());
                page.events.push(Event::reset(newest, time, oldest, newest));
                page.next = next;
                break;
            };
            let mut first = batch.first;
            for entry in &batch.entries {
                let after = first.saturating_add(entry.what.count());
                if after > page.next {
                    let out = |event: Event| {
                        bytes = bytes.saturating_add(event.data.len());
                        page.events.push(event);
                        bytes < PAGE_BYTES
                    };
                    let shown = event::show(
                        &self.0.chain,
                        &self.0.blocks,
                        (first, entry),
                        page.next,
                        filter,
                        out,
                    );
                    page.next = shown
                        .unwrap_or_else(|error| {
                            tracing::warn!("a block of an event cannot be read: {error}");
                            None
                        })
                        .unwrap_or_else(|| {
                            let (newest, time) = (after - 1, entry.time);
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

/// Reads the log at the pace of whoever asks for more.
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

    /// Reads otherwise from now on.
    pub fn turn(&mut self, since: Option<u64>, filter: Filter) {
        self.filter = Arc::new(filter);
        self.cursor = since.map_or(self.cursor, |number| number.saturating_add(1));
    }

    /// The number up to which everything wanted was given out.
    pub fn position(&self) -> u64 {
        self.cursor.saturating_sub(1)
    }

    /// The next events, once there are some that are wanted; `None` when there will be no more.
    /// Giving up and asking again loses nothing.
    pub async fn next(&mut self) -> Option<Vec<Event>> {
        loop {
            let next = *self.next.borrow_and_update();
            if self.cursor == next {
                self.next.changed().await.ok()?;
                continue;
            }
            let permit = self.events.0.looking.acquire().await.ok()?;
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
