//! Threads that share the space of one work in batches, each batch taken by one of them. New
//! work is a new `Search`; between two batches every thread looks whether its own is replaced.

use crate::hashrate::HashRate;
use crate::kernel::Kernel;
use crate::work::Work;
use chain::Header;
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// What a miner reports, on the thread that it happened on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A header that meets its target. The search goes on behind it; no header comes twice.
    Found {
        /// The work's id. Other than the current one's if the work was replaced just now.
        work: u64,
        /// With its nonce, and perhaps a rolled version.
        header: Header,
    },
    /// All of the work's space is searched, and all that was found is reported. The threads wait.
    Exhausted {
        /// The work's id.
        work: u64,
    },
}

/// How long a thread rests after a panic, so that one that panics always fills neither a CPU nor
/// a log.
const REST: Duration = Duration::from_millis(100);

/// How far the search through one work has come.
struct Search {
    work: Work,
    /// Nonces of a batch; the last of a version may have fewer.
    batch: u32,
    batches_of_a_version: u64,
    batches: u64,
    taken: AtomicU64,
    finished: AtomicU64,
    replaced: AtomicBool,
    exhaustion_reported: AtomicBool,
}

impl Search {
    fn new(work: Work, batch: u32) -> Search {
        let (nonces, rolls) = (work.nonces(), work.rolls());
        let nonces = (u64::from(*nonces.end()) + 1).saturating_sub(u64::from(*nonces.start()));
        let rolls = (u64::from(*rolls.end()) + 1).saturating_sub(u64::from(*rolls.start()));
        let batches_of_a_version = nonces.div_ceil(u64::from(batch));
        Search {
            work,
            batch,
            batches_of_a_version,
            batches: batches_of_a_version * rolls,
            taken: AtomicU64::new(0),
            finished: AtomicU64::new(0),
            replaced: AtomicBool::new(false),
            exhaustion_reported: AtomicBool::new(false),
        }
    }

    /// The next batch that nobody has; `None` when the space runs out.
    fn take(&self) -> Option<Batch<'_>> {
        let index = self.taken.fetch_add(1, Ordering::Relaxed);
        if index >= self.batches {
            return None;
        }
        let (nonces, rolls) = (self.work.nonces(), self.work.rolls());
        let roll = u64::from(*rolls.start()) + index / self.batches_of_a_version;
        let skipped = index % self.batches_of_a_version * u64::from(self.batch);
        let first = u64::from(*nonces.start()) + skipped;
        let last = (first + u64::from(self.batch) - 1).min(u64::from(*nonces.end()));
        let nonce = |number| u32::try_from(number).expect("at most the last nonce of the work");
        Some(Batch {
            finished: &self.finished,
            roll: u16::try_from(roll).expect("at most the last roll of the work"),
            nonces: nonce(first)..=nonce(last),
        })
    }

    fn is_replaced(&self) -> bool {
        self.replaced.load(Ordering::Acquire)
    }

    /// Whether all of the space is searched, told once.
    fn has_just_run_out(&self) -> bool {
        self.finished.load(Ordering::Acquire) == self.batches
            && !self.exhaustion_reported.swap(true, Ordering::Relaxed)
    }
}

/// Part of a search, held by one thread. Finished when dropped, also by a panic: what panicked
/// once would again, and what was found before must not be found twice.
struct Batch<'a> {
    finished: &'a AtomicU64,
    roll: u16,
    nonces: RangeInclusive<u32>,
}

impl Batch<'_> {
    fn hashes(&self) -> u64 {
        u64::from(self.nonces.end() - self.nonces.start()) + 1
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.finished.fetch_add(1, Ordering::AcqRel);
    }
}

/// What the threads are to do.
enum Order {
    Rest,
    Search(Arc<Search>),
    Leave,
}

impl Order {
    fn is(&self, search: &Arc<Search>) -> bool {
        matches!(self, Order::Search(ordered) if Arc::ptr_eq(ordered, search))
    }
}

struct State {
    order: Order,
    /// Threads that do not wait for another order.
    busy: usize,
    rate: HashRate,
}

/// What all threads of a miner share.
pub(crate) struct WorkerPool {
    kernel: Kernel,
    events: Box<dyn Fn(Event) + Send + Sync>,
    state: Mutex<State>,
    ordered: Condvar,
    hashes: AtomicU64,
    restarts: AtomicU64,
}

impl WorkerPool {
    /// For so many threads, each of which has to `run`.
    pub(crate) fn new(
        kernel: Kernel,
        threads: usize,
        events: Box<dyn Fn(Event) + Send + Sync>,
    ) -> WorkerPool {
        let state = State { order: Order::Rest, busy: threads, rate: HashRate::default() };
        WorkerPool {
            kernel,
            events,
            state: Mutex::new(state),
            ordered: Condvar::new(),
            hashes: AtomicU64::new(0),
            restarts: AtomicU64::new(0),
        }
    }

    pub(crate) fn set_work(&self, work: Work) {
        self.order(Order::Search(Arc::new(Search::new(work, self.kernel.batch_size()))));
    }

    pub(crate) fn pause(&self) {
        self.order(Order::Rest);
    }

    /// Ends every `run`.
    pub(crate) fn leave(&self) {
        self.order(Order::Leave);
    }

    fn order(&self, order: Order) {
        let mut state = self.state();
        if let Order::Search(search) = &state.order {
            search.replaced.store(true, Ordering::Release);
        }
        if !matches!(order, Order::Search(_)) {
            state.rate.stop();
        }
        state.order = order;
        self.ordered.notify_all();
    }

    pub(crate) fn kernel(&self) -> Kernel {
        self.kernel
    }

    pub(crate) fn busy_threads(&self) -> usize {
        self.state().busy
    }

    pub(crate) fn hashes(&self) -> u64 {
        self.hashes.load(Ordering::Relaxed)
    }

    pub(crate) fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }

    pub(crate) fn hash_rate(&self) -> f64 {
        self.state().rate.per_second(Instant::now(), self.hashes())
    }

    /// What a thread does until it is to leave.
    pub(crate) fn run(&self) {
        let mut last = None;
        while let Some(search) = self.next_after(last.as_ref()) {
            // Counters are all that a panic leaves behind, and they are right at any time.
            let outcome = catch_unwind(AssertUnwindSafe(|| self.search(&search)));
            last = match outcome {
                Ok(()) => Some(search),
                Err(_) => {
                    self.restarts.fetch_add(1, Ordering::Relaxed);
                    self.rest(&search);
                    None
                }
            };
        }
    }

    /// Waits for a search other than the last one; `None` to leave.
    fn next_after(&self, last: Option<&Arc<Search>>) -> Option<Arc<Search>> {
        let mut state = self.state();
        state.busy -= 1;
        loop {
            match &state.order {
                Order::Leave => return None,
                Order::Search(search) if last.is_none_or(|last| !Arc::ptr_eq(last, search)) => {
                    let search = Arc::clone(search);
                    state.busy += 1;
                    state.rate.start(Instant::now(), self.hashes());
                    return Some(search);
                }
                Order::Search(_) | Order::Rest => {}
            }
            if state.busy == 0 {
                state.rate.stop();
            }
            state = self.ordered.wait(state).expect(UNPOISONED);
        }
    }

    /// Searches until the space runs out or there is another order.
    fn search(&self, search: &Search) {
        let work = &search.work;
        let mut candidates = Vec::new();
        let mut sampled = Instant::now();
        while !search.is_replaced() {
            let Some(batch) = search.take() else { break };
            self.kernel.scan(&work.prepare(batch.roll), batch.nonces.clone(), &mut candidates);
            self.hashes.fetch_add(batch.hashes(), Ordering::Relaxed);
            for nonce in candidates.drain(..) {
                let header = work.header(batch.roll, nonce);
                let is_hit = work.target().is_met_by(header.hash().as_bytes());
                if is_hit && !search.is_replaced() {
                    (self.events)(Event::Found { work: work.id(), header });
                }
            }
            let now = Instant::now();
            if now.duration_since(sampled) >= HashRate::SPACING {
                sampled = now;
                self.state().rate.sample(now, self.hashes());
            }
        }
        if !search.is_replaced() && search.has_just_run_out() {
            (self.events)(Event::Exhausted { work: work.id() });
        }
    }

    /// Waits a little, or until there is another order than this search.
    fn rest(&self, search: &Arc<Search>) {
        let rested = self
            .ordered
            .wait_timeout_while(self.state(), REST, |state| state.order.is(search))
            .expect(UNPOISONED);
        drop(rested);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect(UNPOISONED)
    }
}

/// Kernels and the caller's code run without the lock.
const UNPOISONED: &str = "nothing panics while it holds the lock";
