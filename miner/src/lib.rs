//! Finds nonces: threads that hash headers until one meets its target.
//!
//! Knows headers and targets only; what is mined, and what becomes of it, is the caller's
//! business. `search` shares the space of some `work` among threads, which hash with a `kernel`;
//! `benchmark` tells how fast each kernel is. `stratum` judges the nonces that other machines find.

mod hashrate;
pub mod kernel;
pub mod benchmark;
mod search;
pub mod stratum;
pub mod work;

pub use kernel::Kernel;
pub use search::Event;
pub use work::Work;

use search::WorkerPool;
use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// Why a miner did not start.
#[derive(Debug, thiserror::Error)]
#[error("cannot start mining thread {number}: {source}")]
pub struct StartError {
    number: usize,
    source: io::Error,
}

/// Mining threads. They end when this is dropped.
pub struct Miner {
    pool: Arc<WorkerPool>,
    threads: Vec<JoinHandle<()>>,
}

impl Miner {
    /// Starts threads that wait for work, with the kernel that a trial of some milliseconds finds
    /// the fastest. `events` runs on them: while it does, its thread does not mine. It may give
    /// new work. A panic of it costs what else its batch of nonces would have found.
    pub fn start(
        threads: NonZeroUsize,
        events: impl Fn(Event) + Send + Sync + 'static,
    ) -> Result<Miner, StartError> {
        Miner::start_with_kernel(Kernel::fastest(), threads, events)
    }

    /// The same with a kernel of the caller's choice, which the CPU must have the instructions for.
    /// One that does not find what it should gives way to the fastest that does.
    pub fn start_with_kernel(
        kernel: Kernel,
        threads: NonZeroUsize,
        events: impl Fn(Event) + Send + Sync + 'static,
    ) -> Result<Miner, StartError> {
        let kernel = if kernel.passes_self_test() { kernel } else { Kernel::fastest() };
        let pool = WorkerPool::new(kernel, threads.get(), Box::new(events));
        let mut miner = Miner { pool: Arc::new(pool), threads: Vec::new() };
        for number in 1..=threads.get() {
            let pool = Arc::clone(&miner.pool);
            let thread = thread::Builder::new()
                .name(format!("miner-{number}"))
                .spawn(move || {
                    be_nice();
                    pool.run();
                })
                .map_err(|source| StartError { number, source })?;
            miner.threads.push(thread);
        }
        Ok(miner)
    }

    /// Replaces the work, if any: each thread begins with the new after at most a batch of nonces,
    /// a millisecond or less. Nothing more of the old is reported, but for what is being reported
    /// at this moment.
    pub fn set_work(&self, work: Work) {
        self.pool.set_work(work);
    }

    /// Drops the work, if any, as `set_work` does. The threads wait.
    pub fn pause(&self) {
        self.pool.pause();
    }

    /// Ends the threads and waits for them. The same as dropping the miner.
    pub fn stop(self) {}

    /// Hashes a second, an average over the last five; 0 when paused or out of work.
    pub fn hash_rate(&self) -> f64 {
        self.pool.hash_rate()
    }

    /// Hashes since the start.
    pub fn hashes(&self) -> u64 {
        self.pool.hashes()
    }

    /// How often a thread was restarted because it panicked.
    pub fn restarts(&self) -> u64 {
        self.pool.restarts()
    }

    /// The number of threads.
    pub fn threads(&self) -> usize {
        self.threads.len()
    }

    /// The number of threads that are not waiting for work.
    pub fn busy_threads(&self) -> usize {
        self.pool.busy_threads()
    }

    /// What the threads hash with.
    pub fn kernel(&self) -> Kernel {
        self.pool.kernel()
    }
}

/// How much nicer than others a mining thread is. Whoever gives work, and the rest of the machine,
/// get a CPU at once; with nobody else there, mining is as fast as ever.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 5;

/// Lowers the priority of this thread, as Linux counts it by thread.
#[cfg(target_os = "linux")]
fn be_nice() {
    // One that may not is as it was.
    let _ = rustix::process::nice(NICENESS);
}

/// Elsewhere all threads of a process have one priority, or none can be told.
#[cfg(not(target_os = "linux"))]
fn be_nice() {}

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
        self.pool.leave();
        for thread in self.threads.drain(..) {
            // A miner dropped by its own `events` cannot wait for the thread it is on.
            if thread.thread().id() != thread::current().id() {
                // `run` catches what panics in it, so there is no panic to hand on.
                let _ = thread.join();
            }
        }
    }
}
