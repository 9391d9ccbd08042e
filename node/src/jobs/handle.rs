//! The handle by which the rest of the node sends requests to the task that owns the jobs.

use super::job::{Id, IdempotencyKey, Job, JobSpec, State};
use super::machine::{Filter, JobRejected};
use crate::mining::Progress;
use crate::writer::Stopped;
use chain::block;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use tokio::sync::{broadcast, mpsc, oneshot};

/// The present state of a job.
#[derive(Clone, Debug)]
pub struct Status {
    /// The job, including hashes that are not in the journal yet.
    pub job: Job,
    /// The hashes of the job's newest blocks, oldest first; empty in a list.
    pub found: Vec<block::Hash>,
    /// The newest runs of a recurring job, the newest first.
    pub runs: Vec<Job>,
    /// The number of threads that the job has; of a recurring job those of its run.
    pub threads: usize,
    /// The progress of these threads, if there are any.
    pub progress: Option<Progress>,
}

/// Totals of all jobs.
#[derive(Clone, Debug, Default)]
pub struct JobsSummary {
    /// The jobs that have threads, in the order of the queue.
    pub running: Vec<(Id, Progress)>,
    /// The number of jobs in each state.
    pub states: BTreeMap<State, usize>,
    /// Most threads of all jobs together.
    pub max_threads: usize,
    /// The last progress of a job that has no threads any more.
    pub last: Option<Progress>,
    /// Blocks found since the node started.
    pub found: u64,
    /// Hashes since the node started.
    pub hashes: u64,
    /// The number of times a thread was restarted after a panic since the node started.
    pub restarts: u64,
}

impl JobsSummary {
    pub(super) fn add(&mut self, progress: &Progress) {
        self.found = self.found.saturating_add(progress.found);
        self.hashes = self.hashes.saturating_add(progress.hashes);
        self.restarts = self.restarts.saturating_add(progress.restarts);
    }
}

/// An error of creating a job.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The job is not valid here.
    #[error(transparent)]
    Rejected(#[from] JobRejected),
    /// The journal cannot be written.
    #[error("no space left on the disk to record the job")]
    DiskFull,
    /// The node is shutting down.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

pub(super) enum Request {
    Create(Box<JobSpec>, Option<IdempotencyKey>, oneshot::Sender<Result<Status, CreateError>>),
    Cancel(Id, oneshot::Sender<Option<Status>>),
    Status(Id, oneshot::Sender<Option<Status>>),
    List(Filter, Option<u64>, usize, oneshot::Sender<Vec<Status>>),
    Summary(oneshot::Sender<JobsSummary>),
}

/// Sends requests to the task that owns the jobs. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    pub(super) requests: mpsc::Sender<Request>,
    pub(super) updates: broadcast::Sender<Job>,
    pub(super) max_threads: NonZeroUsize,
}

impl Handle {
    /// Creates a job; returns once it is safe on disk. A request with the key of an earlier one
    /// returns the earlier job, also after a restart.
    pub async fn create(
        &self,
        spec: JobSpec,
        key: Option<IdempotencyKey>,
    ) -> Result<Status, CreateError> {
        self.request(|reply| Request::Create(Box::new(spec), key, reply)).await?
    }

    /// Cancels a job unless it has ended; its threads stop within milliseconds. `None` if there is no
    /// such job.
    pub async fn cancel(&self, id: Id) -> Result<Option<Status>, Stopped> {
        self.request(|reply| Request::Cancel(id, reply)).await
    }

    /// The status of a job with its blocks.
    pub async fn job(&self, id: Id) -> Result<Option<Status>, Stopped> {
        self.request(|reply| Request::Status(id, reply)).await
    }

    /// At most `limit` jobs behind a position, in the order of `Job::list_position`.
    pub async fn list(
        &self,
        filter: Filter,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Status>, Stopped> {
        self.request(|reply| Request::List(filter, after, limit, reply)).await
    }

    /// The totals of all jobs.
    pub async fn summary(&self) -> Result<JobsSummary, Stopped> {
        self.request(Request::Summary).await
    }

    /// A receiver of every later change of a job: of its state, and each block that it finds.
    pub fn updates(&self) -> broadcast::Receiver<Job> {
        self.updates.subscribe()
    }

    /// Most threads of all jobs together.
    pub fn max_threads(&self) -> NonZeroUsize {
        self.max_threads
    }

    async fn request<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<T, Stopped> {
        let (reply, response) = oneshot::channel();
        self.requests.send(request(reply)).await.map_err(|_| Stopped)?;
        response.await.map_err(|_| Stopped)
    }
}
