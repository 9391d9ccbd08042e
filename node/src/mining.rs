//! From a tip to a sealed block: fetch a candidate, let the miner search it, hand the hit in.
//! The same loop mines for the node in this process and for one at the other end of the network;
//! a `Source` tells them apart. The writer judges our blocks like any other's.

pub mod readiness;
pub mod source;
pub mod stratum;
pub mod templates;

pub use readiness::{Need, Outlook};

use anyhow::Result;
use chain::{Address, Block, Height, Params, Target, block};
use miner::{Event, Kernel, Miner, Work};
use source::{Candidate, Change, Handed, Source};
use std::num::NonZeroUsize;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// A candidate is made anew after this long, so that its time is near the clock's.
const REFRESH: Duration = Duration::from_secs(10);
/// Better fees replace a candidate at most this often.
const POOL_PAUSE: Duration = Duration::from_secs(1);
/// What was found for a candidate older than this is not handed in: the machine stood still
/// meanwhile, and what it knows of the chain is as old.
const OLD: Duration = Duration::from_secs(30);
/// How long to wait when there is no candidate to be had.
const RETRY: Duration = Duration::from_secs(1);
/// How often the progress is told.
const TICK: Duration = Duration::from_millis(200);
/// Hits that may wait while one is handed in; on `dev` nearly every hash is one.
const HITS: usize = 64;

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Goal {
    /// Whom the blocks pay.
    pub miner: Address,
    /// How many; `None` for as many as are wanted.
    pub blocks: Option<u32>,
    /// What to hash with; `None` for the fastest.
    pub kernel: Option<Kernel>,
    /// Least time from one found block to the next search. A network without difficulty would
    /// otherwise fill the disk.
    pub pause: Duration,
}

impl Goal {
    /// The pause that suits a network: its spacing where blocks take no work and nobody says how
    /// many there should be, otherwise none.
    pub fn pause(params: &Params, is_bounded: bool) -> Duration {
        match params.spec().fixed_difficulty && !is_bounded {
            true => Duration::from_secs(params.spec().spacing_seconds.into()),
            false => Duration::ZERO,
        }
    }
}

/// A block that was found, and is in the best chain or was when it was handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The block.
    pub block: block::Hash,
    /// Its height.
    pub height: Height,
}

/// Why mining ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// There are as many blocks as were wanted.
    Reached,
    /// Whoever said how many threads there are does so no more.
    Dismissed,
    /// There will be no candidates any more.
    Gone,
}

/// How it goes.
#[derive(Clone, Debug)]
pub struct Progress {
    /// Whom the blocks pay.
    pub miner: Address,
    /// Blocks found.
    pub found: u64,
    /// Hashes a second.
    pub hash_rate: f64,
    /// Hashes since the start.
    pub hashes: u64,
    /// Threads that search.
    pub threads: usize,
    /// How often one of them was restarted because it panicked.
    pub restarts: u64,
    /// What they hash with.
    pub kernel: Kernel,
    /// The candidate's height, target and the time it was made, if there is one.
    pub candidate: Option<(Height, Target, Instant)>,
    /// Why there is none, if it is not for a moment only.
    pub waits: Option<String>,
}

/// The number of threads that this machine runs at a time.
pub fn available_threads() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// Mines with as many threads as `crew` says, which may change at any time, until the goal is
/// reached, the sender of `crew` is gone, or the source is. What it finds goes to `found`.
pub async fn mine<S: Source>(
    source: S,
    goal: Goal,
    crew: watch::Receiver<usize>,
    found: mpsc::Sender<Found>,
    progress: watch::Sender<Option<Progress>>,
) -> Result<End> {
    let (events, hits) = mpsc::channel(HITS);
    let kernel = goal.kernel.unwrap_or_else(Kernel::fastest);
    let state = Search {
        source,
        goal,
        crew,
        found,
        progress,
        kernel,
        events,
        miner: None,
        dismissed: Counts::default(),
        blocks: 0,
        work: 0,
        candidate: None,
        told: None,
    };
    state.run(hits).await
}

/// What miners that are gone have counted.
#[derive(Clone, Copy, Default)]
struct Counts {
    hashes: u64,
    restarts: u64,
}

struct Search<S> {
    source: S,
    goal: Goal,
    crew: watch::Receiver<usize>,
    found: mpsc::Sender<Found>,
    progress: watch::Sender<Option<Progress>>,
    kernel: Kernel,
    events: mpsc::Sender<Event>,
    miner: Option<Miner>,
    dismissed: Counts,
    blocks: u64,
    /// Number of the present work.
    work: u64,
    candidate: Option<(Candidate, Instant)>,
    /// Why there is none, as it was last told.
    told: Option<String>,
}

impl<S: Source> Search<S> {
    async fn run(mut self, mut hits: mpsc::Receiver<Event>) -> Result<End> {
        let mut renew_at = Instant::now();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.crew.mark_changed();
        let end = loop {
            if self.is_done() {
                break End::Reached;
            } else if self.source.is_gone() {
                break End::Gone;
            }
            tokio::select! {
                biased;
                // At most one of them is of this work: what comes next is never kept waiting.
                Some(event) = hits.recv() => {
                    if let Some(next) = self.hit(event).await {
                        renew_at = next;
                    }
                }
                changed = self.crew.changed() => match changed {
                    Ok(()) => {
                        self.staff()?;
                        renew_at = renew_at.min(Instant::now());
                    }
                    Err(_) => break End::Dismissed,
                },
                () = tokio::time::sleep_until(renew_at), if self.miner.is_some() => {
                    match self.renew().await {
                        Some(next) => renew_at = next,
                        None => break End::Reached,
                    }
                }
                change = self.source.changed(), if self.candidate.is_some() => {
                    renew_at = match change {
                        Change::Tip => Instant::now(),
                        Change::Pool => renew_at.min(Instant::now() + POOL_PAUSE),
                    };
                }
                _ = tick.tick() => self.tell(),
            }
        };
        self.dismiss();
        self.tell();
        Ok(end)
    }

    fn is_done(&self) -> bool {
        self.goal.blocks.is_some_and(|blocks| self.blocks >= blocks.into())
    }

    /// Has as many threads as there are now. Others begin with work of their own: what the ones
    /// before have searched is not searched again.
    fn staff(&mut self) -> Result<()> {
        let threads = NonZeroUsize::new(*self.crew.borrow_and_update());
        if self.miner.as_ref().map(Miner::threads) == threads.map(NonZeroUsize::get) {
            return Ok(());
        }
        self.dismiss();
        let Some(threads) = threads else {
            self.tell();
            return Ok(());
        };
        let events = self.events.clone();
        // A full queue holds hits of the same work: dropping one costs nothing but its second copy.
        let miner = Miner::start_with_kernel(self.kernel, threads, move |event| {
            let _ = events.try_send(event);
        })?;
        if miner.kernel() != self.kernel {
            let instead = miner.kernel();
            tracing::warn!(
                "the kernel {} is wrong on this CPU: mining with {instead}",
                self.kernel
            );
            self.kernel = instead;
        }
        self.miner = Some(miner);
        Ok(())
    }

    /// Ends the threads, and waits for them.
    fn dismiss(&mut self) {
        self.candidate = None;
        if let Some(miner) = self.miner.take() {
            miner.pause();
            self.dismissed.hashes = self.dismissed.hashes.saturating_add(miner.hashes());
            self.dismissed.restarts = self.dismissed.restarts.saturating_add(miner.restarts());
        }
    }

    /// Takes a new candidate; when to take the next. `None` if no more are wanted.
    async fn renew(&mut self) -> Option<Instant> {
        let candidate = tokio::select! {
            biased;
            // Threads do not go on with an old candidate while a new one takes its time.
            _ = self.crew.changed() => {
                self.rest();
                self.crew.mark_changed();
                return Some(Instant::now());
            }
            candidate = self.source.candidate(self.goal.miner) => candidate,
        };
        match candidate {
            Ok(Some(candidate)) => {
                self.work += 1;
                let work = Work::new(self.work, candidate.block.header, candidate.target);
                if let Some(miner) = &self.miner {
                    miner.set_work(work);
                }
                self.candidate = Some((candidate, Instant::now()));
                if self.told.take().is_some() {
                    tracing::info!("mining goes on");
                }
                Some(Instant::now() + REFRESH)
            }
            Ok(None) => None,
            Err(error) => {
                self.rest();
                self.tell_why(format!("{error:#}"));
                Some(Instant::now() + RETRY)
            }
        }
    }

    /// Says once why mining waits; again only when the words, numbers aside, are others.
    fn tell_why(&mut self, why: String) {
        let words = |text: &str| text.replace(|letter: char| letter.is_ascii_digit(), "");
        if self.told.as_deref().map(words) != Some(words(&why)) {
            tracing::warn!("mining waits: {why}");
        }
        self.told = Some(why);
    }

    fn rest(&mut self) {
        if let Some(miner) = &self.miner {
            miner.pause();
        }
        self.candidate = None;
    }

    /// Hands in what was found; when to take a new candidate, if now.
    async fn hit(&mut self, event: Event) -> Option<Instant> {
        let (work, header) = match event {
            Event::Found { work, header } => (work, Some(header)),
            Event::Exhausted { work } => (work, None),
        };
        let (candidate, since) = self.candidate.as_ref().filter(|_| work == self.work)?;
        let Some(header) = header else { return Some(Instant::now()) };
        if since.elapsed() > OLD {
            self.rest();
            return Some(Instant::now());
        }
        let block = Block { header, ..candidate.block.clone() };
        let (hash, height) = (block.hash(), candidate.height);
        self.rest();
        match self.source.hand_in(block).await {
            Ok(Handed::Best) => {
                tracing::info!(height = height.get(), %hash, "found a block");
                self.blocks = self.blocks.saturating_add(1);
                self.tell();
                // Whoever does not want to know has dismissed us.
                let _ = self.found.send(Found { block: hash, height }).await;
                Some(Instant::now() + self.goal.pause)
            }
            Ok(Handed::TooLate) => {
                tracing::info!(height = height.get(), %hash, "found a block, but another was first");
                Some(Instant::now())
            }
            Err(error) => {
                tracing::error!(height = height.get(), %hash, "a found block was refused: {error:#}");
                Some(Instant::now() + RETRY)
            }
        }
    }

    fn tell(&self) {
        let (candidate, miner) = (self.candidate.as_ref(), self.miner.as_ref());
        let Counts { hashes, restarts } = self.dismissed;
        self.progress.send_replace(Some(Progress {
            miner: self.goal.miner,
            found: self.blocks,
            hash_rate: miner.map_or(0.0, Miner::hash_rate),
            hashes: hashes.saturating_add(miner.map_or(0, Miner::hashes)),
            threads: miner.map_or(0, Miner::threads),
            restarts: restarts.saturating_add(miner.map_or(0, Miner::restarts)),
            kernel: self.kernel,
            candidate: candidate
                .map(|(candidate, since)| (candidate.height, candidate.target, *since)),
            waits: self.told.clone(),
        }));
    }
}

#[cfg(test)]
mod tests;
