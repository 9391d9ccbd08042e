//! Mining: the loop that fetches a candidate, has the miner's threads search it, and submits the
//! solved block. It mines for the node in this process or a remote one, depending on its `Source`.
//! Its blocks are validated like those of any other miner.

pub mod generator;
pub mod readiness;
pub mod source;
pub mod stratum;
pub mod templates;
pub mod workers;

use crate::clock::interval;
use anyhow::Result;
use chain::{Address, Block, Height, Params, Target, block};
use miner::{Event, Kernel, Miner, Work};
use readiness::NotReady;
use source::{Candidate, Change, Source, SubmitOutcome};
use std::num::NonZeroUsize;
use std::sync::Once;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// Age at which a candidate is replaced, so that its time stays near the clock's.
const REFRESH_INTERVAL: Duration = Duration::from_secs(10);
/// Least time between replacements of a candidate for better fees.
const FEE_REFRESH_PAUSE: Duration = Duration::from_secs(1);
/// Age above which a solved candidate is discarded: the machine was suspended meanwhile, and its
/// view of the chain is as old.
const MAX_CANDIDATE_AGE: Duration = Duration::from_secs(30);
/// Pause before a failed request for a candidate is retried.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Interval at which the progress is published.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);
/// Capacity of the queue of hits; on `dev` nearly every hash is one.
const HITS: usize = 64;

/// The configuration of a mining loop.
#[derive(Clone, Copy, Debug)]
pub struct MiningConfig {
    /// The address that the blocks pay.
    pub miner: Address,
    /// The number of blocks after which the goal is reached; `None` for no limit.
    pub blocks: Option<u32>,
    /// The kernel to hash with; `None` for the fastest.
    pub kernel: Option<Kernel>,
    /// Least time from a found block to the next search. Without it, a network with trivial proof of
    /// work would fill the disk.
    pub pause: Duration,
}

impl MiningConfig {
    /// The pause that suits a network: its block spacing where proof of work is trivial and the
    /// number of blocks has no bound, otherwise zero.
    pub fn pause(params: &Params, is_bounded: bool) -> Duration {
        match params.spec().fixed_difficulty && !is_bounded {
            true => Duration::from_secs(params.spec().spacing_seconds.into()),
            false => Duration::ZERO,
        }
    }
}

/// A block that was found and joined the best chain when it was submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundBlock {
    /// The hash of the block.
    pub block: block::Hash,
    /// The height of the block.
    pub height: Height,
}

/// Why a mining loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The configured number of blocks was found, or no more are wanted.
    GoalReached,
    /// The sender of the thread count is gone.
    Cancelled,
    /// The source has no more candidates.
    SourceClosed,
}

/// The progress of a mining loop.
#[derive(Clone, Debug)]
pub struct Progress {
    /// The address that the blocks pay.
    pub miner: Address,
    /// The number of blocks found.
    pub found: u64,
    /// The present hash rate, in hashes a second.
    pub hash_rate: f64,
    /// The number of hashes that the mining loop has computed since it started.
    pub hashes: u64,
    /// The number of blocks to be expected from these hashes at the difficulty of their candidates.
    pub expected_blocks: f64,
    /// The number of threads that search.
    pub threads: usize,
    /// The number of times a thread of the mining loop was restarted after a panic.
    pub restarts: u64,
    /// The kernel that the threads hash with.
    pub kernel: Kernel,
    /// The height and target of the candidate, and the time when it was fetched.
    pub candidate: Option<(Height, Target, Instant)>,
    /// Why there is no candidate, unless that is momentary.
    pub waiting_reason: Option<String>,
}

/// The number of threads that this machine runs at a time.
pub fn available_threads() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// The default number of mining threads: all that this machine runs at a time but one, which is left
/// to everything else, and at least one.
pub fn default_threads() -> NonZeroUsize {
    all_but_one(available_threads())
}

fn all_but_one(threads: NonZeroUsize) -> NonZeroUsize {
    NonZeroUsize::new(threads.get().saturating_sub(1)).unwrap_or(NonZeroUsize::MIN)
}

/// The fastest kernel on this CPU. Warns once of kernels that are far slower than they should be.
fn default_kernel() -> Kernel {
    static WARNING: Once = Once::new();
    WARNING.call_once(|| {
        for slow in Kernel::unexpectedly_slow() {
            tracing::warn!(
                "mining kernel {slow} is unexpectedly slow on this CPU, so it is not used"
            );
        }
    });
    Kernel::fastest()
}

/// Mines with a number of threads that may change at any time, until the goal is reached, the sender
/// of `threads` is dropped, or the source is closed. Sends the blocks that it finds to `found`.
pub async fn mine<S: Source>(
    source: S,
    config: MiningConfig,
    threads: watch::Receiver<usize>,
    found: mpsc::Sender<FoundBlock>,
    progress: watch::Sender<Option<Progress>>,
) -> Result<EndReason> {
    let (events, hits) = mpsc::channel(HITS);
    let kernel = config.kernel.unwrap_or_else(default_kernel);
    let mining = MiningLoop {
        source,
        config,
        threads,
        found,
        progress,
        kernel,
        events,
        miner: None,
        stopped: Counts::default(),
        blocks: 0,
        work: 0,
        expectation: Expectation::default(),
        candidate: None,
        waiting_reason: None,
    };
    mining.run(hits).await
}

/// The counts of miners that were stopped.
#[derive(Clone, Copy, Default)]
struct Counts {
    hashes: u64,
    restarts: u64,
}

/// The number of blocks to be expected from the hashes so far.
#[derive(Clone, Copy, Default)]
struct Expectation {
    blocks: f64,
    /// The hashes that are counted in `blocks`.
    hashes: u64,
    /// The target of the hashes from then on.
    target: Option<Target>,
}

impl Expectation {
    /// Counts the hashes up to a total of `hashes` at the present target.
    fn count(&mut self, hashes: u64) {
        let more = hashes.saturating_sub(self.hashes);
        self.hashes = self.hashes.max(hashes);
        if let Some(target) = self.target {
            self.blocks += more as f64 / f64::from(target.work().value());
        }
    }
}

struct MiningLoop<S> {
    source: S,
    config: MiningConfig,
    threads: watch::Receiver<usize>,
    found: mpsc::Sender<FoundBlock>,
    progress: watch::Sender<Option<Progress>>,
    kernel: Kernel,
    events: mpsc::Sender<Event>,
    miner: Option<Miner>,
    stopped: Counts,
    blocks: u64,
    /// The number of the present work.
    work: u64,
    expectation: Expectation,
    candidate: Option<(Candidate, Instant)>,
    /// Why there is no candidate, as last logged.
    waiting_reason: Option<String>,
}

impl<S: Source> MiningLoop<S> {
    async fn run(mut self, mut hits: mpsc::Receiver<Event>) -> Result<EndReason> {
        let mut refresh_at = Instant::now();
        let mut tick = interval(PROGRESS_INTERVAL);
        self.threads.mark_changed();
        let reason = loop {
            if self.is_goal_reached() {
                break EndReason::GoalReached;
            } else if self.source.is_closed() {
                break EndReason::SourceClosed;
            }
            tokio::select! {
                biased;
                // At most one hit belongs to the present work, so the branches below never starve.
                Some(event) = hits.recv() => {
                    if let Some(next) = self.handle_event(event).await {
                        refresh_at = next;
                    }
                }
                changed = self.threads.changed() => match changed {
                    Ok(()) => {
                        self.set_threads()?;
                        refresh_at = refresh_at.min(Instant::now());
                    }
                    Err(_) => break EndReason::Cancelled,
                },
                () = tokio::time::sleep_until(refresh_at), if self.miner.is_some() => {
                    match self.refresh().await {
                        Some(next) => refresh_at = next,
                        None => break EndReason::GoalReached,
                    }
                }
                change = self.source.changed(), if self.candidate.is_some() => {
                    refresh_at = match change {
                        Change::Tip => Instant::now(),
                        Change::Mempool => refresh_at.min(Instant::now() + FEE_REFRESH_PAUSE),
                    };
                }
                _ = tick.tick() => self.publish_progress(),
            }
        };
        self.stop_threads();
        self.publish_progress();
        Ok(reason)
    }

    fn is_goal_reached(&self) -> bool {
        self.config.blocks.is_some_and(|blocks| self.blocks >= blocks.into())
    }

    /// Starts the present number of threads. They need new work, because the previous threads have
    /// searched a part of the old one.
    fn set_threads(&mut self) -> Result<()> {
        let threads = NonZeroUsize::new(*self.threads.borrow_and_update());
        if self.miner.as_ref().map(Miner::threads) == threads.map(NonZeroUsize::get) {
            return Ok(());
        }
        self.stop_threads();
        let Some(threads) = threads else {
            self.publish_progress();
            return Ok(());
        };
        let events = self.events.clone();
        // A full queue holds hits of the same work, of which only the first one counts.
        let miner = Miner::start_with_kernel(self.kernel, threads, move |event| {
            let _ = events.try_send(event);
        })?;
        if miner.kernel() != self.kernel {
            let (kernel, fallback) = (self.kernel, miner.kernel());
            tracing::warn!("kernel {kernel} computes wrong hashes on this CPU: using {fallback}");
            self.kernel = fallback;
        }
        self.miner = Some(miner);
        Ok(())
    }

    /// Stops the threads and waits for their end.
    fn stop_threads(&mut self) {
        self.candidate = None;
        if let Some(miner) = self.miner.take() {
            miner.pause();
            self.stopped.hashes = self.stopped.hashes.saturating_add(miner.hashes());
            self.stopped.restarts = self.stopped.restarts.saturating_add(miner.restarts());
        }
    }

    /// Fetches a new candidate. Returns when to fetch the next one; `None` if no more are wanted.
    async fn refresh(&mut self) -> Option<Instant> {
        let candidate = tokio::select! {
            biased;
            // While a request takes long, the threads must not continue with the old candidate.
            _ = self.threads.changed() => {
                self.pause();
                self.threads.mark_changed();
                return Some(Instant::now());
            }
            candidate = self.source.candidate(self.config.miner) => candidate,
        };
        match candidate {
            Ok(Some(candidate)) => {
                self.work += 1;
                self.expectation.count(self.hashes());
                self.expectation.target = Some(candidate.target);
                let work = Work::new(self.work, candidate.block.header, candidate.target);
                if let Some(miner) = &self.miner {
                    miner.set_work(work);
                }
                self.candidate = Some((candidate, Instant::now()));
                if self.waiting_reason.take().is_some() {
                    tracing::info!("mining continues");
                }
                Some(Instant::now() + REFRESH_INTERVAL)
            }
            Ok(None) => None,
            Err(error) => {
                self.pause();
                self.log_waiting(&error);
                Some(Instant::now() + RETRY_PAUSE)
            }
        }
    }

    /// Logs why mining waits, unless the reason differs from the last one in its numbers only, or
    /// the node logs it.
    fn log_waiting(&mut self, error: &anyhow::Error) {
        let words = |text: &str| text.replace(|letter: char| letter.is_ascii_digit(), "");
        let reason = format!("{error:#}");
        let is_logged = error.downcast_ref::<NotReady>().is_some_and(NotReady::needs_operator);
        if !is_logged && self.waiting_reason.as_deref().map(words) != Some(words(&reason)) {
            tracing::warn!("mining waits: {reason}");
        }
        self.waiting_reason = Some(reason);
    }

    fn pause(&mut self) {
        if let Some(miner) = &self.miner {
            miner.pause();
        }
        self.candidate = None;
    }

    /// Submits a solved candidate. Returns when to fetch the next one, if that changes.
    async fn handle_event(&mut self, event: Event) -> Option<Instant> {
        let (work, header) = match event {
            Event::Found { work, header } => (work, Some(header)),
            Event::Exhausted { work } => (work, None),
        };
        let (candidate, since) = self.candidate.as_ref().filter(|_| work == self.work)?;
        let Some(header) = header else { return Some(Instant::now()) };
        if since.elapsed() > MAX_CANDIDATE_AGE || !self.source.accepts(&header) {
            self.pause();
            return Some(Instant::now());
        }
        let block = Block { header, ..candidate.block.clone() };
        let (hash, height) = (block.hash(), candidate.height);
        self.pause();
        match self.source.submit(block).await {
            Ok(SubmitOutcome::Connected) => {
                tracing::info!(height = height.get(), %hash, "found a block");
                self.blocks = self.blocks.saturating_add(1);
                self.publish_progress();
                // The receiver is gone once mining is cancelled.
                let _ = self.found.send(FoundBlock { block: hash, height }).await;
                Some(Instant::now() + self.config.pause)
            }
            Ok(SubmitOutcome::Stale) => {
                tracing::info!(height = height.get(), %hash, "found a block, but it is stale");
                Some(Instant::now())
            }
            Err(error) => {
                tracing::error!(height = height.get(), %hash, "found block rejected: {error:#}");
                Some(Instant::now() + RETRY_PAUSE)
            }
        }
    }

    /// The number of hashes of all threads since the start.
    fn hashes(&self) -> u64 {
        self.stopped.hashes.saturating_add(self.miner.as_ref().map_or(0, Miner::hashes))
    }

    fn publish_progress(&mut self) {
        let hashes = self.hashes();
        self.expectation.count(hashes);
        let (candidate, miner) = (self.candidate.as_ref(), self.miner.as_ref());
        let restarts = self.stopped.restarts;
        self.progress.send_replace(Some(Progress {
            miner: self.config.miner,
            found: self.blocks,
            hash_rate: miner.map_or(0.0, Miner::hash_rate),
            hashes,
            expected_blocks: self.expectation.blocks,
            threads: miner.map_or(0, Miner::threads),
            restarts: restarts.saturating_add(miner.map_or(0, Miner::restarts)),
            kernel: self.kernel,
            candidate: candidate
                .map(|(candidate, since)| (candidate.height, candidate.target, *since)),
            waiting_reason: self.waiting_reason.clone(),
        }));
    }
}

#[cfg(test)]
mod tests;
