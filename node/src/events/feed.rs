//! Reading the log by number: first what was missed, page by page, then what comes. A reader that
//! does not come for its next page costs nothing but its place.

use super::log::{self, Index};
use super::shown::{self, Event};
use super::{Events, Payment, Topic};
use crate::writer;
use chain::Address;
use chain::address::Hrp;
use std::sync::Arc;
use tokio::sync::watch;

/// Bytes of a page's events after which it ends: what a reader that does not read holds up, a few
/// times over in buffers.
const PAGE_BYTES: usize = 8 << 10;
/// Batches that are looked through for a page, however few of their events are wanted: some
/// milliseconds, then it is the turn of other readers.
const PAGE_BATCHES: usize = 8;

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// With what comes.
    Now,
    /// After the event of this number.
    Number(u64),
}

/// Which events somebody wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// `None` for every topic.
    pub topics: Option<Vec<Topic>>,
    /// Only what names this address: transfers from and to it, its blocks, its jobs.
    pub address: Option<Address>,
}

impl Filter {
    pub(super) fn wants(&self, topic: Topic) -> bool {
        self.topics.as_ref().is_none_or(|topics| topics.contains(&topic))
    }

    pub(super) fn concerns(&self, address: &Address) -> bool {
        self.address.is_none_or(|wanted| wanted == *address)
    }

    pub(super) fn concerns_payment(&self, payment: &Payment) -> bool {
        self.address.is_none_or(|wanted| payment.names(&wanted))
    }

    /// Whether a JSON object names the address as its miner.
    pub(super) fn concerns_object(&self, data: &str, hrp: Hrp) -> bool {
        #[derive(serde::Deserialize)]
        struct Named {
            miner: Option<String>,
        }
        self.address.is_none_or(|wanted| {
            let named = serde_json::from_str::<Named>(data).ok().and_then(|named| named.miner);
            named.is_some_and(|miner| miner == wanted.encode(hrp))
        })
    }
}

/// Some events in order.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
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
                let (newest, time) = (next.saturating_sub(1), writer::now().get());
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
                    let shown = shown::show(self, (first, entry), page.next, filter, out);
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
    pub(super) fn new(events: Events, since: Since, filter: Filter) -> Feed {
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
