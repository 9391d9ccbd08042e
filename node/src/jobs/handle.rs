//! The handle by which the rest of the node makes requests of the task that owns the jobs.

use super::job::{Id, Job, Key, Order, State};
use super::machine::Refused;
use crate::mining::Progress;
use crate::writer::Stopped;
use chain::block;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use tokio::sync::{broadcast, mpsc, oneshot};

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

pub(super) enum Request {
    Create(Box<Order>, Option<Key>, oneshot::Sender<Result<Status, CreateError>>),
    Cancel(Id, oneshot::Sender<Option<Status>>),
    Look(Id, oneshot::Sender<Option<Status>>),
    List(u64, usize, oneshot::Sender<Vec<Status>>),
    Overview(oneshot::Sender<Overview>),
}

/// Asks the task that owns the jobs. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    pub(super) requests: mpsc::Sender<Request>,
    pub(super) updates: broadcast::Sender<Job>,
    pub(super) budget: NonZeroUsize,
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

impl Overview {
    pub(super) fn add(&mut self, progress: &Progress) {
        self.found = self.found.saturating_add(progress.found);
        self.hashes = self.hashes.saturating_add(progress.hashes);
        self.restarts = self.restarts.saturating_add(progress.restarts);
    }
}
