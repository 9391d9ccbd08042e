//! The task that owns the jobs: acts on the decisions of the machine, and reports to it what happens.

use super::handle::{CreateError, JobsSummary, Request, Status};
use super::job::{Failure, FailureKind, Goal, Hashing, Id, Job, Until};
use super::machine::{Action, Input, Machine, Now};
use super::record::Record;
use crate::clock::interval;
use crate::mining::readiness::Readiness;
use crate::mining::source::local::LocalSource;
use crate::mining::{self, EndReason, FoundBlock, MiningConfig, Progress};
use crate::shutdown::shutdown_requested;
use crate::writer::{self, ChainVersion};
use chain::accounts::AccountView;
use chain::ledger::{Reader, View};
use chain::store::{Journal, JournalError, StoreError};
use chain::{Address, Height, block};
use miner::Kernel;
use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{broadcast, mpsc, watch};

/// Interval at which the machine learns the time.
const TICK: Duration = Duration::from_millis(200);
/// Interval of records of hashes and other changes that need not be in the journal at once.
const JOURNAL_INTERVAL: Duration = Duration::from_secs(10);
/// The maximum time for which the end of a job waits for a block that its threads have just found.
const END_TIMEOUT: Duration = Duration::from_secs(1);
/// Capacity of the queue of blocks found by one mining loop.
const FOUND: usize = 4;

/// Monotonic time since start, plus wall-clock time.
pub(super) struct Clock {
    started: Instant,
}

impl Clock {
    pub(super) fn start() -> Clock {
        Clock { started: Instant::now() }
    }

    pub(super) fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Now { unix, elapsed: self.started.elapsed() }
    }
}

/// The mining loop of a job.
pub(super) struct Running {
    /// Sets the number of threads; the loop ends once this is dropped.
    threads: Option<watch::Sender<usize>>,
    progress: watch::Receiver<Option<Progress>>,
    /// The hashes that the machine has counted.
    counted: Hashing,
}

impl Running {
    fn progress(&self) -> Option<Progress> {
        self.progress.borrow().clone()
    }

    fn uncounted(&self) -> Hashing {
        let progress = self.progress.borrow();
        let Some(Progress { hashes, expected_blocks, .. }) = &*progress else {
            return Hashing::default();
        };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // not negative
        let nanoblocks = (expected_blocks * 1e9) as u64;
        Hashing {
            hashes: hashes.saturating_sub(self.counted.hashes),
            expected_nanoblocks: nanoblocks.saturating_sub(self.counted.expected_nanoblocks),
        }
    }
}

/// A report from the mining loop of a job.
pub(super) enum Report {
    Found(FoundBlock),
    Ended(anyhow::Result<EndReason>),
}

/// The state of the task.
pub(super) struct JobsTask {
    pub(super) machine: Machine,
    /// `None` while another thread writes it.
    pub(super) journal: Option<Journal>,
    /// Whether records are missing because the disk was full.
    pub(super) is_journal_behind: bool,
    pub(super) clock: Clock,
    pub(super) reader: Reader,
    pub(super) writer: writer::Handle,
    pub(super) readiness: Readiness,
    pub(super) kernel: Option<Kernel>,
    pub(super) running: HashMap<Id, Running>,
    /// Totals of the mining loops that have ended.
    pub(super) finished: JobsSummary,
    pub(super) report_sender: mpsc::Sender<(Id, Report)>,
    pub(super) reports: mpsc::Receiver<(Id, Report)>,
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) updates: broadcast::Sender<Job>,
}

impl JobsTask {
    /// The time by the node's adjustable clock.
    fn now(&self) -> Now {
        Now { unix: self.writer.now().get().into(), ..self.clock.now() }
    }

    /// Runs until shutdown is requested or the disk fails.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<(), JournalError> {
        let mut chain = self.writer.watch_chain();
        let mut tip = block::Hash::ZERO;
        let mut tick = interval(TICK);
        let mut recorded = Instant::now();
        self.act().await?;
        loop {
            tokio::select! {
                biased;
                () = shutdown_requested(&mut stop) => break,
                Some(request) = self.requests.recv() => self.handle_request(request).await?,
                Some((id, report)) = self.reports.recv() => self.handle_report(id, report),
                new_tip = tip_change(&mut chain, tip) => match new_tip {
                    Some(new_tip) => {
                        tip = new_tip;
                        self.check_goals();
                    }
                    None => break,
                },
                _ = tick.tick() => {
                    self.step(Input::Tick);
                    if recorded.elapsed() >= JOURNAL_INTERVAL {
                        self.count_hashes();
                        self.write_journal().await?;
                        recorded = Instant::now();
                    }
                }
            }
            self.act().await?;
        }
        self.finish().await
    }

    /// Stops all mining and records its last reports.
    async fn finish(mut self) -> Result<(), JournalError> {
        self.count_hashes();
        self.running.values_mut().for_each(|running| running.threads = None);
        while !self.running.is_empty() {
            let Some((id, report)) = self.reports.recv().await else { break };
            self.handle_report(id, report);
        }
        self.write_journal().await?;
        Ok(())
    }

    fn step(&mut self, input: Input) {
        self.machine.step(input, self.now());
    }

    async fn handle_request(&mut self, request: Request) -> Result<(), JournalError> {
        match request {
            Request::Create(spec, key, reply) => {
                let height = self.reader.view().tip().height;
                let created = self.machine.create(*spec, key, height, self.now());
                let response = match created {
                    Err(rejected) => Err(CreateError::Rejected(rejected)),
                    Ok(id) if self.machine.is_urgent() && !self.write_journal().await? => {
                        let detail = "no space left on the disk to record the job".to_owned();
                        let failure = Failure { kind: FailureKind::Internal, detail };
                        self.step(Input::Failed(id, failure));
                        self.machine.release_key(id);
                        Err(CreateError::DiskFull)
                    }
                    Ok(id) => {
                        self.act().await?;
                        Ok(self.status(id).expect("a job that was just created exists"))
                    }
                };
                let _ = reply.send(response);
            }
            Request::Cancel(id, reply) => {
                self.step(Input::Cancel(id));
                self.act().await?;
                let _ = reply.send(self.status(id));
            }
            Request::Status(id, reply) => drop(reply.send(self.status(id))),
            Request::List(filter, after, limit, reply) => {
                let listed = self.machine.list(filter, after, limit).into_iter();
                let status = |(job, threads)| self.with_progress(job, threads);
                let _ = reply.send(listed.map(status).collect());
            }
            Request::Summary(reply) => drop(reply.send(self.summary())),
        }
        Ok(())
    }

    fn status(&self, id: Id) -> Option<Status> {
        let (job, found, threads) = self.machine.job(id)?;
        Some(Status { found: found.to_vec(), ..self.with_progress(job, threads) })
    }

    fn with_progress(&self, job: &Job, threads: usize) -> Status {
        let runs: Vec<Job> = match job.is_series() {
            true => self.machine.recent_runs(job.id).cloned().collect(),
            false => Vec::new(),
        };
        // A recurring job mines through its run, which is the newest one.
        let run = runs.first().filter(|run| !run.state.is_terminal()).map(|run| run.id);
        let threads = run.and_then(|run| self.machine.job(run)).map_or(threads, |(.., it)| it);
        let running = self.running.get(&run.unwrap_or(job.id));
        let mut job = job.clone();
        job.add_hashing(running.map(Running::uncounted).unwrap_or_default());
        let progress = running.filter(|_| !job.state.is_terminal()).and_then(Running::progress);
        Status { job, found: Vec::new(), runs, threads, progress }
    }

    fn summary(&self) -> JobsSummary {
        let mut summary = self.finished.clone();
        summary.states = self.machine.states();
        summary.max_threads = self.machine.max_threads().get();
        let mut running: Vec<_> = self.running.iter().collect();
        running.sort_by_key(|(id, _)| self.machine.job(**id).map(|(job, ..)| job.queue_position));
        for (id, progress) in running.iter().filter_map(|(id, it)| Some((**id, it.progress()?))) {
            summary.add(&progress);
            if progress.threads > 0 {
                summary.running.push((id, progress));
            } else {
                summary.last = Some(progress);
            }
        }
        summary
    }

    fn handle_report(&mut self, id: Id, report: Report) {
        match report {
            Report::Found(FoundBlock { block, height }) => {
                self.step(Input::BlockFound { id, block, height });
            }
            Report::Ended(reason) => {
                if let Some(running) = self.running.remove(&id) {
                    self.machine.step(Input::Hashed(id, running.uncounted()), self.now());
                    if let Some(progress) = running.progress() {
                        self.finished.add(&progress);
                        self.finished.last = Some(progress);
                    }
                }
                match reason {
                    Ok(EndReason::GoalReached) => self.step(Input::GoalReached(id)),
                    Ok(EndReason::Cancelled | EndReason::SourceClosed) => {}
                    Err(error) => {
                        let failure =
                            Failure { kind: FailureKind::Internal, detail: format!("{error:#}") };
                        self.step(Input::Failed(id, failure));
                    }
                }
            }
        }
    }

    /// Checks the goals of jobs that wait for threads. Running jobs check theirs before each
    /// candidate.
    fn check_goals(&mut self) {
        let view = self.reader.view();
        let is_reached = |job: &&Job| match job.spec.goal {
            Goal::Until(until)
                if job.queue_position.is_some() && !self.running.contains_key(&job.id) =>
            {
                is_reached(&view, until, job.spec.miner).unwrap_or(false)
            }
            _ => false,
        };
        let reached: Vec<Id> = self.machine.open().filter(is_reached).map(|job| job.id).collect();
        drop(view);
        for id in reached {
            self.step(Input::GoalReached(id));
        }
    }

    fn count_hashes(&mut self) {
        let now = self.now();
        for (id, running) in &mut self.running {
            let more = running.uncounted();
            let Hashing { hashes, expected_nanoblocks } = &mut running.counted;
            *hashes = hashes.saturating_add(more.hashes);
            *expected_nanoblocks = expected_nanoblocks.saturating_add(more.expected_nanoblocks);
            if more != Hashing::default() {
                self.machine.step(Input::Hashed(*id, more), now);
            }
        }
    }

    /// Performs the machine's actions: first stops mining, then writes the journal, then starts
    /// mining and publishes updates.
    async fn act(&mut self) -> Result<(), JournalError> {
        loop {
            let actions = self.machine.actions();
            if actions.is_empty() {
                return Ok(());
            }
            let mut to_start = Vec::new();
            for action in &actions {
                match *action {
                    Action::StopMining(id) => self.stop_mining(id).await,
                    Action::SetThreads(id, count) => match self.running.get(&id) {
                        Some(Running { threads: Some(threads), .. }) => {
                            threads.send_replace(count);
                        }
                        Some(_) => {}
                        None => to_start.push((id, count)),
                    },
                    Action::Publish(_) => {}
                }
            }
            if self.machine.is_urgent() {
                self.write_journal().await?;
            }
            for (id, threads) in to_start {
                self.start_mining(id, threads);
            }
            for action in actions {
                if let Action::Publish(id) = action
                    && let Some((job, ..)) = self.machine.job(id)
                {
                    // There may be no receiver.
                    let _ = self.updates.send(job.clone());
                }
            }
        }
    }

    /// Stops a job's mining. A block that its threads have just found is counted before the end of
    /// the job is published.
    async fn stop_mining(&mut self, id: Id) {
        let Some(running) = self.running.get_mut(&id) else { return };
        running.threads = None;
        let deadline = tokio::time::Instant::now() + END_TIMEOUT;
        while self.running.contains_key(&id) {
            match tokio::time::timeout_at(deadline, self.reports.recv()).await {
                Ok(Some((id, report))) => self.handle_report(id, report),
                // A later report is counted when it arrives.
                Ok(None) | Err(_) => return,
            }
        }
    }

    /// Appends all changes to the journal; false if the disk is full.
    async fn write_journal(&mut self) -> Result<bool, JournalError> {
        let Some(mut journal) = self.journal.take() else {
            unreachable!("the journal is written by one call at a time")
        };
        let (is_complete, records) = match self.is_journal_behind || journal.needs_compaction() {
            true => (true, self.machine.all_records()),
            false => (false, self.machine.changed_records()),
        };
        let write = move || {
            let records = encode(&records);
            let written = match is_complete {
                true => journal.compact(&records),
                false if records.is_empty() => Ok(()),
                false => journal.append(&records),
            };
            (journal, written)
        };
        let (journal, written) = match tokio::task::spawn_blocking(write).await {
            Ok(done) => done,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime ends, and drops this task too.
                Err(_cancelled) => std::future::pending().await,
            },
        };
        self.journal = Some(journal);
        match written {
            Ok(()) => {
                self.is_journal_behind = false;
                Ok(true)
            }
            Err(error) if error.is_disk_full() => {
                if !self.is_journal_behind {
                    tracing::error!("cannot record mining jobs: {error}");
                }
                self.is_journal_behind = true;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Starts the mining loop of a job.
    fn start_mining(&mut self, id: Id, threads: usize) {
        let Some((job, ..)) = self.machine.job(id).filter(|(job, ..)| !job.state.is_terminal())
        else {
            return;
        };
        let (spec, found) = (job.spec, job.blocks);
        let params = self.reader.params();
        let (blocks, is_bounded) = match spec.goal {
            Goal::Blocks(blocks) => {
                let left = u64::from(blocks.get()).saturating_sub(found);
                (u32::try_from(left).ok(), true)
            }
            Goal::Until(Until::Height(_) | Until::Balance(_)) => (None, true),
            Goal::Until(_) | Goal::Forever => (None, false),
        };
        let config = MiningConfig {
            miner: spec.miner,
            blocks,
            kernel: self.kernel,
            pause: MiningConfig::pause(params, is_bounded),
        };
        let reader = self.reader.clone();
        let is_wanted = move || match spec.goal {
            Goal::Until(until) => Ok(!is_reached(&reader.view(), until, spec.miner)?),
            Goal::Blocks(_) | Goal::Forever => Ok(true),
        };
        let (writer, readiness) = (self.writer.clone(), self.readiness.clone());
        let source = LocalSource::new(writer, readiness, id.mark(), Box::new(is_wanted));
        let (threads, thread_count) = watch::channel(threads);
        let (progress_sender, progress) = watch::channel(None);
        let (found_sender, mut found) = mpsc::channel(FOUND);
        let reports = self.report_sender.clone();
        tokio::spawn(async move {
            let mine = mining::mine(source, config, thread_count, found_sender, progress_sender);
            let mining = tokio::spawn(mine);
            while let Some(block) = found.recv().await {
                let _ = reports.send((id, Report::Found(block))).await;
            }
            let reason = mining.await.map_err(anyhow::Error::from).flatten();
            let _ = reports.send((id, Report::Ended(reason))).await;
        });
        self.running
            .insert(id, Running { threads: Some(threads), progress, counted: Hashing::default() });
    }
}

/// Waits for a tip other than `tip`; `None` once the writer has stopped.
async fn tip_change(
    chain: &mut watch::Receiver<ChainVersion>,
    tip: block::Hash,
) -> Option<block::Hash> {
    chain.wait_for(|version| version.tip != tip).await.ok().map(|version| version.tip)
}

/// Encodes records for the journal.
pub(super) fn encode(records: &[Record]) -> Vec<Vec<u8>> {
    let encode = |record| serde_json::to_vec(record).expect("the keys of records are strings");
    records.iter().map(encode).collect()
}

/// Whether the chain has reached a condition. The machine checks conditions on time.
fn is_reached(view: &View, until: Until, miner: Address) -> Result<bool, StoreError> {
    Ok(match until {
        Until::Height(height) => view.tip().height >= Height::new(height),
        Until::Time(_) => false,
        Until::Transaction { id, confirmations } => match view.transaction(&id)? {
            Some((_, location)) => {
                let depth = view.tip().height.get().saturating_sub(location.height.get());
                depth.saturating_add(1) >= confirmations.get()
            }
            None => false,
        },
        Until::Balance(units) => view.account(&miner)?.balance.units() >= units,
    })
}
