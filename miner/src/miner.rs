//! The miner: a pool of threads that search the space of one work at a time with one kernel.

use crate::hash_rate::HashRateMeter;
use crate::kernel::Kernel;
use crate::search::{Event, Search};
use crate::work::Work;
use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The pause of a thread after a panic, so that repeated panics fill neither a CPU nor a log.
const PANIC_PAUSE: Duration = Duration::from_millis(100);

/// A mining thread could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start mining thread {number}: {source}")]
pub struct StartError {
    number: usize,
    source: io::Error,
}

/// A pool of mining threads. Dropping it stops them.
pub struct Miner {
    pool: Arc<WorkerPool>,
    threads: Vec<JoinHandle<()>>,
}

impl Miner {
    /// Starts idle threads with the fastest kernel, which a trial of some milliseconds selects.
    ///
    /// `on_event` runs on the mining threads, and a thread does not mine meanwhile. It may set new
    /// work. If it panics, the remaining solutions of the current batch of nonces are lost.
    pub fn start(
        threads: NonZeroUsize,
        on_event: impl Fn(Event) + Send + Sync + 'static,
    ) -> Result<Miner, StartError> {
        Miner::start_with_kernel(Kernel::fastest(), threads, on_event)
    }

    /// Starts idle threads with the given kernel, which this CPU must support. A kernel that fails
    /// its self-test is replaced with the fastest one that passes.
    pub fn start_with_kernel(
        kernel: Kernel,
        threads: NonZeroUsize,
        on_event: impl Fn(Event) + Send + Sync + 'static,
    ) -> Result<Miner, StartError> {
        let kernel = if kernel.passes_self_test() { kernel } else { Kernel::fastest() };
        let pool = WorkerPool::new(kernel, threads.get(), Box::new(on_event));
        let mut miner = Miner { pool: Arc::new(pool), threads: Vec::new() };
        for number in 1..=threads.get() {
            let pool = Arc::clone(&miner.pool);
            let thread = thread::Builder::new()
                .name(format!("miner-{number}"))
                .spawn(move || {
                    lower_thread_priority();
                    pool.run();
                })
                .map_err(|source| StartError { number, source })?;
            miner.threads.push(thread);
        }
        Ok(miner)
    }

    /// Replaces the current work. Each thread switches after at most a batch of nonces, which is a
    /// millisecond or less. Nothing more of the old work is reported, except an event whose
    /// callback is already running.
    pub fn set_work(&self, work: Work) {
        let search = Search::new(work, self.pool.kernel.batch_size());
        self.pool.send(Command::Search(Arc::new(search)));
    }

    /// Drops the current work, as `set_work` does. The threads become idle.
    pub fn pause(&self) {
        self.pool.send(Command::Wait);
    }

    /// Stops the threads and joins them, as dropping the miner does.
    pub fn stop(self) {}

    /// Hashes per second, averaged over the last five seconds; 0 when paused or out of work.
    pub fn hash_rate(&self) -> f64 {
        self.pool.state().hash_rate.per_second(Instant::now(), self.hashes())
    }

    /// The number of hashes since the start.
    pub fn hashes(&self) -> u64 {
        self.pool.hashes()
    }

    /// The number of times a thread was restarted after a panic.
    pub fn restarts(&self) -> u64 {
        self.pool.restarts.load(Ordering::Relaxed)
    }

    /// The number of threads.
    pub fn threads(&self) -> usize {
        self.threads.len()
    }

    /// The number of threads that are not idle.
    pub fn busy_threads(&self) -> usize {
        self.pool.state().busy_threads
    }

    /// The kernel that the threads hash with.
    pub fn kernel(&self) -> Kernel {
        self.pool.kernel
    }
}

impl fmt::Debug for Miner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Miner")
            .field("kernel", &self.kernel())
            .field("threads", &self.threads())
            .finish_non_exhaustive()
    }
}

impl Drop for Miner {
    fn drop(&mut self) {
        self.pool.send(Command::Exit);
        for thread in self.threads.drain(..) {
            // A miner dropped by its own `on_event` cannot join the thread that runs it.
            if thread.thread().id() != thread::current().id() {
                // `run` catches the panics of the threads, so there is none to propagate.
                let _ = thread.join();
            }
        }
    }
}

/// The niceness of mining threads relative to the process. Everything else on the machine, also
/// the task that sets new work, gets a CPU at once; on an idle machine mining is as fast as ever.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 5;

/// Lowers the priority of the calling thread. Linux has a niceness per thread.
#[cfg(target_os = "linux")]
fn lower_thread_priority() {
    // Without permission the thread runs at its old priority.
    let _ = rustix::process::nice(NICENESS);
}

/// Does nothing: on other systems niceness is a property of the process.
#[cfg(not(target_os = "linux"))]
fn lower_thread_priority() {}

/// The current command of the pool, which every thread follows.
enum Command {
    Wait,
    Search(Arc<Search>),
    Exit,
}

struct State {
    command: Command,
    /// Threads that do not wait for another command.
    busy_threads: usize,
    hash_rate: HashRateMeter,
}

/// The state shared by all threads of a miner.
struct WorkerPool {
    kernel: Kernel,
    on_event: Box<dyn Fn(Event) + Send + Sync>,
    state: Mutex<State>,
    command_changed: Condvar,
    hashes: AtomicU64,
    restarts: AtomicU64,
}

impl WorkerPool {
    /// Creates a pool of `threads` threads, each of which has to call `run`.
    fn new(
        kernel: Kernel,
        threads: usize,
        on_event: Box<dyn Fn(Event) + Send + Sync>,
    ) -> WorkerPool {
        let (command, hash_rate) = (Command::Wait, HashRateMeter::default());
        WorkerPool {
            kernel,
            on_event,
            state: Mutex::new(State { command, busy_threads: threads, hash_rate }),
            command_changed: Condvar::new(),
            hashes: AtomicU64::new(0),
            restarts: AtomicU64::new(0),
        }
    }

    fn send(&self, command: Command) {
        let mut state = self.state();
        if let Command::Search(search) = &state.command {
            search.replace();
        }
        if !matches!(command, Command::Search(_)) {
            state.hash_rate.stop();
        }
        state.command = command;
        self.command_changed.notify_all();
    }

    fn hashes(&self) -> u64 {
        self.hashes.load(Ordering::Relaxed)
    }

    /// Runs searches on the calling thread until `Command::Exit`.
    fn run(&self) {
        let mut last = None;
        while let Some(search) = self.next_after(last.as_ref()) {
            // A panic leaves only counters behind, which are valid at any time.
            let outcome = catch_unwind(AssertUnwindSafe(|| self.search(&search)));
            last = match outcome {
                Ok(()) => Some(search),
                Err(_) => {
                    self.restarts.fetch_add(1, Ordering::Relaxed);
                    self.pause_after_panic(&search);
                    None
                }
            };
        }
    }

    /// Waits for a search other than the last one; `None` on `Command::Exit`.
    fn next_after(&self, last: Option<&Arc<Search>>) -> Option<Arc<Search>> {
        let mut state = self.state();
        state.busy_threads -= 1;
        loop {
            match &state.command {
                Command::Exit => return None,
                Command::Search(search) if last.is_none_or(|last| !Arc::ptr_eq(last, search)) => {
                    let search = Arc::clone(search);
                    state.busy_threads += 1;
                    state.hash_rate.start(Instant::now(), self.hashes());
                    return Some(search);
                }
                Command::Search(_) | Command::Wait => {}
            }
            if state.busy_threads == 0 {
                state.hash_rate.stop();
            }
            state = self.command_changed.wait(state).expect(UNPOISONED);
        }
    }

    /// Scans batches until the search space is exhausted or the search is replaced.
    fn search(&self, search: &Search) {
        let work = &search.work;
        let mut candidates = Vec::new();
        let mut sampled = Instant::now();
        while !search.is_replaced() {
            let Some(batch) = search.next_batch() else { break };
            self.kernel.scan(&work.prepare(batch.roll), batch.nonces.clone(), &mut candidates);
            self.hashes.fetch_add(batch.hashes(), Ordering::Relaxed);
            for nonce in candidates.drain(..) {
                let header = work.header(batch.roll, nonce);
                let is_solution = work.target().is_met_by(header.hash().as_bytes());
                if is_solution && !search.is_replaced() {
                    (self.on_event)(Event::Found { work: work.id(), header });
                }
            }
            let now = Instant::now();
            if now.duration_since(sampled) >= HashRateMeter::SAMPLE_INTERVAL {
                sampled = now;
                self.state().hash_rate.sample(now, self.hashes());
            }
        }
        if !search.is_replaced() && search.should_report_exhaustion() {
            (self.on_event)(Event::Exhausted { work: work.id() });
        }
    }

    /// Waits for `PANIC_PAUSE`, or until the command is no longer this search.
    fn pause_after_panic(&self, search: &Arc<Search>) {
        let is_current = |state: &mut State| match &state.command {
            Command::Search(current) => Arc::ptr_eq(current, search),
            Command::Wait | Command::Exit => false,
        };
        let waited = self
            .command_changed
            .wait_timeout_while(self.state(), PANIC_PAUSE, is_current)
            .expect(UNPOISONED);
        drop(waited);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect(UNPOISONED)
    }
}

/// Kernels and event callbacks run without the lock.
const UNPOISONED: &str = "no code panics while it holds the lock";
