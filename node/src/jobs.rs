//! Mining jobs: what this node's threads mine, for which address, how long, and with what result.
//!
//! One task owns all jobs and serves requests from a `Handle`. The pure `machine` decides what
//! becomes of a job; the `task` acts on it: starts and stops mining, and records in the journal
//! `DATA/journal/jobs` what must survive a restart.
//!
//! A job is acknowledged once it is safe on disk. Its blocks carry its mark in their coinbase, so
//! those that a crash kept from the journal are recovered from the chain (`recovery`).

mod handle;
mod job;
mod machine;
mod record;
mod recovery;
mod task;

pub use handle::{CreateError, Handle, JobsSummary, Status};
pub use job::{
    EndedRuns, Failure, FailureKind, Goal, Id, IdempotencyKey, Job, JobSpec, ParseIdError,
    Priority, Start, State, Until,
};
pub use machine::{Filter, JobRejected};
pub use record::MAX_BLOCKS;

use crate::mining::readiness::Readiness;
use crate::random::random_bytes;
use crate::writer;
use anyhow::{Context, Result};
use chain::Address;
use chain::ledger::Reader;
use chain::store::blocks::FILE_BYTES;
use chain::store::{Journal, JournalError};
use machine::Machine;
use miner::Kernel;
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::Path;
use task::{Clock, JobsTask, encode};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinHandle;

/// Capacity of the request queue; senders wait while it is full.
const REQUESTS: usize = 64;
/// Capacity of the queue of reports from mining loops, which wait while it is full.
const REPORTS: usize = 64;
/// Updates that a slow receiver may lag behind before it misses some.
const UPDATES: usize = 1_024;

/// The jobs of a data folder, not started yet.
pub struct Loaded {
    machine: Machine,
    journal: Journal,
    /// Whether the journal lacks changes because the disk was full.
    is_journal_behind: bool,
    clock: Clock,
}

impl Loaded {
    /// Reads the journal in a data folder, and recovers from the chain the blocks that it lacks.
    ///
    /// All jobs together use at most `max_threads`. With a `background_miner` one more job mines for
    /// that address with the threads that the others leave, as long as this process runs.
    pub fn open(
        data: &Path,
        reader: &Reader,
        max_threads: NonZeroUsize,
        background_miner: Option<Address>,
    ) -> Result<Loaded> {
        let mut machine = Machine::new(max_threads, random_bytes()?);
        let folder = data.join("journal").join("jobs");
        let (mut journal, truncation) =
            Journal::open(&folder, FILE_BYTES, |record| -> Result<()> {
                machine.replay(serde_json::from_slice(record).with_context(|| {
                    let folder = folder.display();
                    format!("{folder} holds a job of an unknown format: use a newer version")
                })?);
                Ok(())
            })?;
        if let Some(truncation) = truncation {
            tracing::warn!("{truncation}");
        }
        let clock = Clock::start();
        let height = recovery::recover_blocks(&mut machine, reader, clock.now())?;
        let background = background_miner.map(|miner| JobSpec::background(miner, max_threads));
        machine.resume(background, height, clock.now());
        // Compacts the journal, and records what was recovered and resumed.
        let is_journal_behind = match journal.compact(&encode(&machine.all_records())) {
            Err(error) if error.is_disk_full() => {
                tracing::error!("cannot record mining jobs: {error}");
                true
            }
            compacted => compacted.map(|()| false)?,
        };
        Ok(Loaded { machine, journal, is_journal_behind, clock })
    }

    /// Starts the task that owns the jobs.
    pub fn start(
        self,
        reader: Reader,
        writer: writer::Handle,
        readiness: Readiness,
        kernel: Option<Kernel>,
    ) -> Jobs {
        let (requests, request_queue) = mpsc::channel(REQUESTS);
        let (report_sender, reports) = mpsc::channel(REPORTS);
        let (updates, _) = broadcast::channel(UPDATES);
        let (stop, stopping) = watch::channel(false);
        let max_threads = self.machine.max_threads();
        let handle = Handle { requests, updates: updates.clone(), max_threads };
        let task = JobsTask {
            machine: self.machine,
            journal: Some(self.journal),
            is_journal_behind: self.is_journal_behind,
            clock: self.clock,
            reader,
            writer,
            readiness,
            kernel,
            running: HashMap::new(),
            finished: JobsSummary::default(),
            report_sender,
            reports,
            requests: request_queue,
            updates,
        };
        Jobs { handle, stop, task: Some(tokio::spawn(task.run(stopping))) }
    }
}

/// The task that owns the jobs. Without `stop` it ends only when the disk fails.
pub struct Jobs {
    handle: Handle,
    stop: watch::Sender<bool>,
    task: Option<JoinHandle<Result<(), JournalError>>>,
}

impl Jobs {
    /// The handle that sends requests to the task.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Returns once the task has failed; `stop` then returns the error.
    pub async fn watch(&self) {
        self.handle.requests.closed().await;
    }

    /// Stops all mining, records its progress and ends the task. Jobs resume with the next start.
    pub async fn stop(mut self) -> Result<()> {
        self.stop.send_replace(true);
        match self.task.take() {
            Some(task) => Ok(task.await.context("the task of mining jobs")??),
            None => Ok(()),
        }
    }
}
