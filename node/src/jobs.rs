//! Mining jobs: what this node's threads do, for whom, how long, and what came of it. One task owns
//! all jobs; everybody else asks it through a `Handle`. What becomes of a job is decided by a pure
//! `machine`; the `desk` does what that says: it starts and ends mining, and writes down in
//! `DATA/journal/jobs` what a restart must not forget.
//!
//! A job is acknowledged once it is safe on disk. The blocks that it finds need no such care, since
//! they carry its mark: those that a crash kept out of the journal are counted from the chain.

mod count;
mod desk;
mod job;
mod machine;

pub use job::{Failure, FailureKind, Goal, Id, Job, Key, Order, Priority, Start, State, Until};
pub use machine::{MAX_BLOCKS, Refused};

use crate::mining::{Outlook, Progress};
use crate::writer::{self, Stopped};
use anyhow::{Context, Result};
use chain::ledger::Reader;
use chain::store::blocks::FILE_BYTES;
use chain::store::{Journal, JournalError};
use chain::{Address, block};
use desk::{Clock, Desk};
use machine::{Machine, Record};
use miner::Kernel;
use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::path::Path;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

/// Requests that may wait; beyond that whoever asks waits too.
const REQUESTS: usize = 64;
/// What threads report and nobody has looked at yet; beyond that they wait.
const REPORTS: usize = 64;
/// Changes that may wait for a slow reader, who is told that it missed some.
const UPDATES: usize = 1_024;

/// A job as it is at this moment.
#[derive(Clone, Debug)]
pub struct Status {
    /// The job, with all its hashes.
    pub job: Job,
    /// The newest of its blocks, oldest first; empty in a list.
    pub found: Vec<block::Hash>,
    /// Threads that it was given.
    pub threads: usize,
    /// How its threads do, if it has any.
    pub progress: Option<Progress>,
}

/// What all jobs do together.
#[derive(Clone, Debug, Default)]
pub struct Overview {
    /// Those that have threads, and how these do; first who came first.
    pub running: Vec<(Id, Progress)>,
    /// How many jobs are in each state.
    pub states: BTreeMap<State, usize>,
    /// Most threads there may be.
    pub max_threads: usize,
    /// How it last went, if nothing goes on now.
    pub last: Option<Progress>,
    /// Blocks that were found since the node started.
    pub found: u64,
    /// Hashes since then.
    pub hashes: u64,
    /// How often a thread was restarted since then because it panicked.
    pub restarts: u64,
}

/// Why a job was not taken.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// It makes no sense here.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// It cannot be written down.
    #[error("there is no room on the disk to remember the job")]
    DiskFull,
    /// The node is going down.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

enum Request {
    Create(Box<Order>, Option<Key>, oneshot::Sender<Result<Status, CreateError>>),
    Cancel(Id, oneshot::Sender<Option<Status>>),
    Look(Id, oneshot::Sender<Option<Status>>),
    List(u64, usize, oneshot::Sender<Vec<Status>>),
    Overview(oneshot::Sender<Overview>),
}

/// Asks the task that owns the jobs. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    requests: mpsc::Sender<Request>,
    updates: broadcast::Sender<Job>,
    budget: NonZeroUsize,
}

impl Handle {
    /// Takes a job; answered when it is safe on disk. A key makes the same request give the same
    /// job, also after a restart.
    pub async fn create(&self, order: Order, key: Option<Key>) -> Result<Status, CreateError> {
        self.ask(|reply| Request::Create(Box::new(order), key, reply)).await?
    }

    /// Brings a job to its end, unless it is there; its threads rest some milliseconds later. `None`
    /// if there is no such job.
    pub async fn cancel(&self, id: Id) -> Result<Option<Status>, Stopped> {
        self.ask(|reply| Request::Cancel(id, reply)).await
    }

    /// A job with the blocks that it found.
    pub async fn job(&self, id: Id) -> Result<Option<Status>, Stopped> {
        self.ask(|reply| Request::Look(id, reply)).await
    }

    /// At most so many jobs with numbers below one, the newest first.
    pub async fn newest(&self, below: u64, limit: usize) -> Result<Vec<Status>, Stopped> {
        self.ask(|reply| Request::List(below, limit, reply)).await
    }

    /// What all jobs do together.
    pub async fn overview(&self) -> Result<Overview, Stopped> {
        self.ask(Request::Overview).await
    }

    /// Every change of a job from now on: of its state, and each block that it finds.
    pub fn updates(&self) -> broadcast::Receiver<Job> {
        self.updates.subscribe()
    }

    /// Threads for all jobs.
    pub fn budget(&self) -> NonZeroUsize {
        self.budget
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<T, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }
}

/// Jobs as a node left them, before anything is done about them.
pub struct Opened {
    machine: Machine,
    journal: Journal,
    clock: Clock,
}

impl Opened {
    /// Reads the journal in a data folder, and counts what it does not know of from the chain.
    /// `standing` is whom to mine for all the time, with what is left of so many threads.
    pub fn open(
        data: &Path,
        reader: &Reader,
        budget: NonZeroUsize,
        standing: Option<Address>,
    ) -> Result<Opened> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).context("the system has no randomness to give")?;
        let mut machine = Machine::new(budget, seed);
        let folder = data.join("journal").join("jobs");
        let (mut journal, cut) = Journal::open(&folder, FILE_BYTES, |record| -> Result<()> {
            machine.replay(serde_json::from_slice(record).with_context(|| {
                let folder = folder.display();
                format!("{folder} holds a job that this program does not know: use the newer one")
            })?);
            Ok(())
        })?;
        if let Some(cut) = cut {
            tracing::warn!("{cut}");
        }
        let clock = Clock::start();
        let height = count::uncounted(&mut machine, reader, clock.now())?;
        let standing = standing.map(|miner| Order::standing(miner, budget));
        machine.resume(standing, height, clock.now());
        // Compacted, and all that was just decided written down.
        journal.compact(&encoded(&machine.all()))?;
        Ok(Opened { machine, journal, clock })
    }

    /// Goes on with them.
    pub fn start(
        self,
        reader: Reader,
        writer: writer::Handle,
        outlook: Outlook,
        kernel: Option<Kernel>,
    ) -> Jobs {
        let (requests, queue) = mpsc::channel(REQUESTS);
        let (reporting, reports) = mpsc::channel(REPORTS);
        let (updates, _) = broadcast::channel(UPDATES);
        let (stop, stopped) = watch::channel(false);
        let handle = Handle { requests, updates: updates.clone(), budget: self.machine.budget() };
        let desk = Desk {
            machine: self.machine,
            journal: Some(self.journal),
            is_behind: false,
            clock: self.clock,
            reader,
            writer,
            outlook,
            kernel,
            shifts: HashMap::new(),
            past: Overview::default(),
            reporting,
            reports,
            requests: queue,
            updates,
        };
        Jobs { handle, stop, task: Some(tokio::spawn(desk.run(stopped))) }
    }
}

fn encoded(records: &[Record]) -> Vec<Vec<u8>> {
    let encode = |record| serde_json::to_vec(record).expect("the keys of records are strings");
    records.iter().map(encode).collect()
}

/// The task that owns the jobs. It ends by itself only when the disk fails.
pub struct Jobs {
    handle: Handle,
    stop: watch::Sender<bool>,
    task: Option<JoinHandle<Result<(), JournalError>>>,
}

impl Jobs {
    /// Asks it.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Returns when the task has ended by itself; `stop` tells why.
    pub async fn watch(&self) {
        self.handle.requests.closed().await;
    }

    /// Ends all mining, writes down how far it is, and ends. Jobs go on with the next start.
    pub async fn stop(mut self) -> Result<()> {
        self.stop.send_replace(true);
        match self.task.take() {
            Some(task) => Ok(task.await.context("the task of mining jobs")??),
            None => Ok(()),
        }
    }
}
