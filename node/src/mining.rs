//! From a tip to a sealed block: fetch a candidate, let the miner search it, hand the hit in.
//! The same loop mines for the node in this process and for one at the other end of the network;
//! a `Source` tells them apart. The writer judges our blocks like any other's.

pub mod outlook;
mod remote;
pub mod stratum;
pub mod templates;

pub use outlook::{Need, Outlook};
pub use remote::Remote;

use anyhow::Result;
use chain::{Address, Block, Height, Params, Target, block};
use miner::{Event, Kernel, Miner, Work};
use std::num::NonZeroUsize;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// A candidate is made anew after this long, so that its time is near the clock's.
const REFRESH: Duration = Duration::from_secs(10);
/// Better fees replace a candidate at most this often.
const POOL_PAUSE: Duration = Duration::from_secs(1);
/// How long to wait when there is no candidate to be had.
const RETRY: Duration = Duration::from_secs(1);
/// How often the progress is told.
const TICK: Duration = Duration::from_millis(200);
/// Hits that may wait while one is handed in; on `dev` nearly every hash is one.
const HITS: usize = 64;

/// A block that lacks its nonce.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// With nonce 0.
    pub block: Block,
    /// Where it would stand.
    pub height: Height,
    /// What its hash must meet.
    pub target: Target,
}

/// Why a candidate is not the best one any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// There is a new tip: work on the old one is lost.
    Tip,
    /// Transfers came: there may be more fees.
    Pool,
}

/// What became of a sealed block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handed {
    /// It is in the best chain.
    Best,
    /// Another one was first: it is a side branch.
    TooLate,
}

/// Where candidates come from and blocks go to.
pub trait Source {
    /// A candidate that pays an address. Errors are told and tried again.
    fn candidate(&mut self, miner: Address) -> impl Future<Output = Result<Candidate>> + Send;
    /// Waits for a change since the last candidate. Cancelling loses nothing.
    fn changed(&mut self) -> impl Future<Output = Change> + Send;
    /// Hands a sealed block in.
    fn hand_in(&mut self, block: Block) -> impl Future<Output = Result<Handed>> + Send;
    /// Whether there will never be another candidate.
    fn is_gone(&self) -> bool;
}

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Goal {
    /// Whom the blocks pay.
    pub miner: Address,
    /// How many; `None` for ever.
    pub blocks: Option<u32>,
    /// Threads that search.
    pub threads: NonZeroUsize,
    /// What they hash with; `None` for the fastest.
    pub kernel: Option<Kernel>,
    /// Least time from one found block to the next search. A network without difficulty would
    /// otherwise fill the disk.
    pub pause: Duration,
}

impl Goal {
    /// The pause that suits a network: its spacing where blocks take no work and nobody says how
    /// many there should be, otherwise none.
    pub fn pause(params: &Params, blocks: Option<u32>) -> Duration {
        match (params.spec().fixed_difficulty, blocks) {
            (true, None) => Duration::from_secs(params.spec().spacing_seconds.into()),
            _ => Duration::ZERO,
        }
    }
}

/// How it goes.
#[derive(Clone, Debug)]
pub struct Progress {
    /// Whom the blocks pay.
    pub miner: Address,
    /// Blocks found that are in the best chain, or were when they were handed in.
    pub found: Vec<block::Hash>,
    /// Hashes a second.
    pub hash_rate: f64,
    /// Hashes since the start.
    pub hashes: u64,
    /// Threads that search.
    pub threads: usize,
    /// What they hash with.
    pub kernel: Kernel,
    /// The candidate's height, target and the time it was made, if there is one.
    pub candidate: Option<(Height, Target, Instant)>,
}

/// Mines until the goal is reached, `stop` becomes true, or the source is gone. The blocks found.
pub async fn mine<S: Source>(
    source: S,
    goal: Goal,
    progress: watch::Sender<Option<Progress>>,
    stop: watch::Receiver<bool>,
) -> Result<Vec<block::Hash>> {
    let (events, hits) = mpsc::channel(HITS);
    // A full queue holds hits of the same work: dropping one costs nothing but its second copy.
    let kernel = goal.kernel.unwrap_or_else(Kernel::fastest);
    let miner = Miner::start_with(kernel, goal.threads, move |event| {
        let _ = events.try_send(event);
    })?;
    if miner.kernel() != kernel {
        tracing::warn!("the kernel {kernel} is wrong on this CPU: mining with {}", miner.kernel());
    }
    let state = Search {
        source,
        goal,
        miner,
        progress,
        found: Vec::new(),
        work: 0,
        candidate: None,
        told: None,
    };
    state.run(hits, stop).await
}

/// Ends when it is time to stop, or nobody is left to say so.
async fn told_to_stop(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

struct Search<S> {
    source: S,
    goal: Goal,
    miner: Miner,
    progress: watch::Sender<Option<Progress>>,
    found: Vec<block::Hash>,
    /// Number of the present work.
    work: u64,
    candidate: Option<(Candidate, Instant)>,
    /// Why there is none, as it was last told.
    told: Option<String>,
}

impl<S: Source> Search<S> {
    async fn run(
        mut self,
        mut hits: mpsc::Receiver<Event>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<Vec<block::Hash>> {
        let mut renew_at = Instant::now();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !self.is_done() && !self.source.is_gone() {
            tokio::select! {
                biased;
                () = told_to_stop(&mut stop) => break,
                Some(event) = hits.recv() => {
                    if let Some(next) = self.hit(event).await {
                        renew_at = next;
                    }
                }
                () = tokio::time::sleep_until(renew_at) => renew_at = self.renew().await,
                change = self.source.changed(), if self.candidate.is_some() => {
                    renew_at = match change {
                        Change::Tip => Instant::now(),
                        Change::Pool => renew_at.min(Instant::now() + POOL_PAUSE),
                    };
                }
                _ = tick.tick() => self.tell(),
            }
        }
        self.miner.pause();
        self.tell();
        Ok(self.found)
    }

    fn is_done(&self) -> bool {
        self.goal.blocks.is_some_and(|blocks| self.found.len() >= blocks as usize)
    }

    /// Takes a new candidate; when to take the next.
    async fn renew(&mut self) -> Instant {
        match self.source.candidate(self.goal.miner).await {
            Ok(candidate) => {
                self.work += 1;
                self.miner.work_on(Work::new(self.work, candidate.block.header, candidate.target));
                self.candidate = Some((candidate, Instant::now()));
                if self.told.take().is_some() {
                    tracing::info!("mining goes on");
                }
                Instant::now() + REFRESH
            }
            Err(error) => {
                self.rest();
                self.tell_why(format!("{error:#}"));
                Instant::now() + RETRY
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
        self.miner.pause();
        self.candidate = None;
    }

    /// Hands in what was found; when to take a new candidate, if now.
    async fn hit(&mut self, event: Event) -> Option<Instant> {
        let (work, header) = match event {
            Event::Found { work, header } => (work, Some(header)),
            Event::Exhausted { work } => (work, None),
        };
        let (candidate, _) = self.candidate.as_ref().filter(|_| work == self.work)?;
        let Some(header) = header else { return Some(Instant::now()) };
        let block = Block { header, ..candidate.block.clone() };
        let (hash, height) = (block.hash(), candidate.height);
        self.rest();
        match self.source.hand_in(block).await {
            Ok(Handed::Best) => {
                tracing::info!(height = height.get(), %hash, "found a block");
                self.found.push(hash);
                self.tell();
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
        let candidate = self.candidate.as_ref();
        self.progress.send_replace(Some(Progress {
            miner: self.goal.miner,
            found: self.found.clone(),
            hash_rate: self.miner.hash_rate(),
            hashes: self.miner.hashes(),
            threads: self.miner.threads(),
            kernel: self.miner.kernel(),
            candidate: candidate
                .map(|(candidate, since)| (candidate.height, candidate.target, *since)),
        }));
    }
}

/// The node in this process.
pub struct Local {
    writer: crate::writer::Handle,
    outlook: Outlook,
    news: watch::Receiver<crate::writer::News>,
    tip: Option<block::Hash>,
    gone: bool,
}

impl Local {
    /// Asks this writer, while the outlook is good.
    pub fn new(writer: crate::writer::Handle, outlook: Outlook) -> Local {
        let news = writer.news();
        Local { writer, outlook, news, tip: None, gone: false }
    }
}

impl Source for Local {
    async fn candidate(&mut self, miner: Address) -> Result<Candidate> {
        // Whatever changes from here on is a change since this candidate.
        self.news.mark_unchanged();
        if let Some(wait) = self.outlook.wait().await {
            return Err(wait.into());
        }
        let answer = self.writer.template(miner).await.inspect_err(|_| self.gone = true)?;
        let template = answer?;
        self.tip = Some(template.block.header.previous);
        Ok(Candidate { block: template.block, height: template.height, target: template.target })
    }

    async fn changed(&mut self) -> Change {
        let news = tokio::select! {
            news = self.news.changed() => news,
            () = self.outlook.changed() => return Change::Tip,
        };
        if news.is_err() {
            self.gone = true;
            return Change::Tip;
        }
        if Some(self.news.borrow_and_update().tip) == self.tip { Change::Pool } else { Change::Tip }
    }

    async fn hand_in(&mut self, block: Block) -> Result<Handed> {
        use chain::ledger::Accepted;
        let answer = self.writer.block(block).await.inspect_err(|_| self.gone = true)?;
        match answer? {
            Accepted::Connected => Ok(Handed::Best),
            Accepted::SideBranch | Accepted::Known => Ok(Handed::TooLate),
        }
    }

    fn is_gone(&self) -> bool {
        self.gone
    }
}
