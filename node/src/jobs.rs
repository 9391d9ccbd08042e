//! Mining jobs: what this node's threads do, for whom, how long, and what came of it. One task owns
//! all jobs; everybody else asks it through a `Handle`. What becomes of a job is decided by a pure
//! `machine`; the `desk` does what that says: it starts and ends mining, and writes down in
//! `DATA/journal/jobs` what a restart must not forget.
//!
//! A job is acknowledged once it is safe on disk. The blocks that it finds need no such care, since
//! they carry its mark: those that a crash kept out of the journal are counted from the chain.

mod handle;
mod job;
mod machine;
mod recovery;
mod task;

pub use handle::{CreateError, Handle, Overview, Status};
pub use job::{Failure, FailureKind, Goal, Id, Job, Key, Order, Priority, Start, State, Until};
pub use machine::{MAX_BLOCKS, Refused};

use crate::mining::Outlook;
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
use task::{Clock, Desk, encoded};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinHandle;

/// Requests that may wait; beyond that whoever asks waits too.
const REQUESTS: usize = 64;
/// What threads report and nobody has looked at yet; beyond that they wait.
const REPORTS: usize = 64;
/// Changes that may wait for a slow reader, who is told that it missed some.
const UPDATES: usize = 1_024;

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
        let height = recovery::uncounted(&mut machine, reader, clock.now())?;
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
