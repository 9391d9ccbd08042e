//! The task that owns the jobs: does what the machine says, and tells it what happens.

use super::handle::{CreateError, Overview, Request, Status};
use super::job::{Failure, FailureKind, Goal, Id, Job, Until};
use super::machine::{Action, Input, Machine, Now, Record};
use crate::mining::source::local::Local;
use crate::mining::{self, End, Found, Outlook, Progress};
use crate::shutdown::shutdown_requested;
use crate::writer::{self, News};
use chain::accounts::AccountView;
use chain::ledger::{Reader, View};
use chain::store::{Journal, JournalError, StoreError};
use chain::{Address, Height, block};
use miner::Kernel;
use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::MissedTickBehavior;

/// How often it is looked whether it is time for something.
const TICK: Duration = Duration::from_millis(200);
/// How often hashes, and blocks that the chain would tell of as well, are written down.
const WRITE_EVERY: Duration = Duration::from_secs(10);
/// How long the end of a job may wait for the last block that its threads have just found.
const RETIRING: Duration = Duration::from_secs(1);
/// Blocks that a job has found and nobody has looked at yet.
const FOUND: usize = 4;

/// Tells the time since it was made, and that of the wall.
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

/// A job's mining.
pub(super) struct Shift {
    /// Says how many threads there are; dropped, it is over.
    crew: Option<watch::Sender<usize>>,
    progress: watch::Receiver<Option<Progress>>,
    /// Of its hashes those that the machine knows of.
    counted: u64,
}

impl Shift {
    fn progress(&self) -> Option<Progress> {
        self.progress.borrow().clone()
    }

    fn uncounted(&self) -> u64 {
        let hashes = self.progress.borrow().as_ref().map_or(0, |progress| progress.hashes);
        hashes.saturating_sub(self.counted)
    }
}

/// What comes of a job's mining.
pub(super) enum Report {
    /// A block.
    Found(Found),
    /// The end of it.
    Ended(anyhow::Result<End>),
}

/// What the task works with.
pub(super) struct Desk {
    pub(super) machine: Machine,
    /// Away while it is written.
    pub(super) journal: Option<Journal>,
    /// Whether it lacks something because the disk was full.
    pub(super) is_behind: bool,
    pub(super) clock: Clock,
    pub(super) reader: Reader,
    pub(super) writer: writer::Handle,
    pub(super) outlook: Outlook,
    pub(super) kernel: Option<Kernel>,
    pub(super) shifts: HashMap<Id, Shift>,
    /// What shifts that are over did.
    pub(super) past: Overview,
    pub(super) reporting: mpsc::Sender<(Id, Report)>,
    pub(super) reports: mpsc::Receiver<(Id, Report)>,
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) updates: broadcast::Sender<Job>,
}

impl Desk {
    /// By the clock that blocks are judged by.
    fn now(&self) -> Now {
        Now { unix: self.writer.now().get().into(), ..self.clock.now() }
    }

    /// Until it is to stop, or the disk fails.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<(), JournalError> {
        let mut news = self.writer.news();
        let mut tip = block::Hash::ZERO;
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut written = Instant::now();
        self.settle().await?;
        loop {
            tokio::select! {
                biased;
                () = shutdown_requested(&mut stop) => break,
                Some(request) = self.requests.recv() => self.answer(request).await?,
                Some((id, report)) = self.reports.recv() => self.hear(id, report),
                other = other_tip(&mut news, tip) => match other {
                    Some(other) => {
                        tip = other;
                        self.look_at_chain();
                    }
                    None => break,
                },
                _ = tick.tick() => {
                    self.step(Input::Time);
                    if written.elapsed() >= WRITE_EVERY {
                        self.count_hashes();
                        self.write().await?;
                        written = Instant::now();
                    }
                }
            }
            self.settle().await?;
        }
        self.wind_up().await
    }

    /// Ends all mining, and takes note of what comes of it yet.
    async fn wind_up(mut self) -> Result<(), JournalError> {
        self.count_hashes();
        self.shifts.values_mut().for_each(|shift| shift.crew = None);
        while !self.shifts.is_empty() {
            let Some((id, report)) = self.reports.recv().await else { break };
            self.hear(id, report);
        }
        self.write().await?;
        Ok(())
    }

    fn step(&mut self, input: Input) {
        self.machine.step(input, self.now());
    }

    async fn answer(&mut self, request: Request) -> Result<(), JournalError> {
        match request {
            Request::Create(order, key, reply) => {
                let height = self.reader.view().tip().height;
                let created = self.machine.create(*order, key, height, self.now());
                let answer = match created {
                    Err(refused) => Err(CreateError::Refused(refused)),
                    Ok(id) if self.machine.is_urgent() && !self.write().await? => {
                        let detail = "there was no room on the disk to remember it".to_owned();
                        let failure = Failure { kind: FailureKind::Internal, detail };
                        self.step(Input::Broken(id, failure));
                        self.machine.release_key(id);
                        Err(CreateError::DiskFull)
                    }
                    Ok(id) => {
                        self.settle().await?;
                        Ok(self.status(id).expect("a job that was just taken is there"))
                    }
                };
                let _ = reply.send(answer);
            }
            Request::Cancel(id, reply) => {
                self.step(Input::Cancel(id));
                self.settle().await?;
                let _ = reply.send(self.status(id));
            }
            Request::Look(id, reply) => drop(reply.send(self.status(id))),
            Request::List(below, limit, reply) => {
                let listed = self.machine.newest(below).take(limit);
                let status = |(job, threads)| self.with_progress(job, threads);
                let _ = reply.send(listed.map(status).collect());
            }
            Request::Overview(reply) => drop(reply.send(self.overview())),
        }
        Ok(())
    }

    fn status(&self, id: Id) -> Option<Status> {
        let (job, found, threads) = self.machine.job(id)?;
        Some(Status { found: found.to_vec(), ..self.with_progress(job, threads) })
    }

    fn with_progress(&self, job: &Job, threads: usize) -> Status {
        let shift = self.shifts.get(&job.id);
        let uncounted = shift.map_or(0, Shift::uncounted);
        let job = Job { hashes: job.hashes.saturating_add(uncounted), ..job.clone() };
        let progress = shift.filter(|_| !job.state.is_terminal()).and_then(Shift::progress);
        Status { job, found: Vec::new(), threads, progress }
    }

    fn overview(&self) -> Overview {
        let mut overview = self.past.clone();
        overview.states = self.machine.states();
        overview.max_threads = self.machine.budget().get();
        let mut running: Vec<_> = self.shifts.iter().collect();
        running.sort_by_key(|(id, _)| self.machine.job(**id).map(|(job, ..)| job.place));
        for (id, progress) in running.iter().filter_map(|(id, it)| Some((**id, it.progress()?))) {
            overview.add(&progress);
            if progress.threads > 0 {
                overview.running.push((id, progress));
            } else {
                overview.last = Some(progress);
            }
        }
        overview
    }

    /// Takes note of what comes of a job's mining.
    fn hear(&mut self, id: Id, report: Report) {
        match report {
            Report::Found(Found { block, height }) => {
                self.step(Input::Found { id, block, height });
            }
            Report::Ended(end) => {
                if let Some(shift) = self.shifts.remove(&id) {
                    self.machine.step(Input::Hashed(id, shift.uncounted()), self.now());
                    if let Some(progress) = shift.progress() {
                        self.past.add(&progress);
                        self.past.last = Some(progress);
                    }
                }
                match end {
                    Ok(End::Reached) => self.step(Input::Met(id)),
                    Ok(End::Dismissed | End::Gone) => {}
                    Err(error) => {
                        let failure =
                            Failure { kind: FailureKind::Internal, detail: format!("{error:#}") };
                        self.step(Input::Broken(id, failure));
                    }
                }
            }
        }
    }

    /// Jobs that wait for threads may have nothing to wait for any more. Those that have some look
    /// themselves, before each candidate.
    fn look_at_chain(&mut self) {
        let view = self.reader.view();
        let is_met = |job: &&Job| match job.order.goal {
            Goal::Until(until) if job.place.is_some() && !self.shifts.contains_key(&job.id) => {
                is_met(&view, until, job.order.miner).unwrap_or(false)
            }
            _ => false,
        };
        let met: Vec<Id> = self.machine.open().filter(is_met).map(|job| job.id).collect();
        drop(view);
        for id in met {
            self.step(Input::Met(id));
        }
    }

    fn count_hashes(&mut self) {
        let now = self.now();
        for (id, shift) in &mut self.shifts {
            let hashes = shift.uncounted();
            shift.counted = shift.counted.saturating_add(hashes);
            if hashes > 0 {
                self.machine.step(Input::Hashed(*id, hashes), now);
            }
        }
    }

    /// Does what the machine says: ends what is to end, writes down, then begins and tells.
    async fn settle(&mut self) -> Result<(), JournalError> {
        loop {
            let actions = self.machine.actions();
            if actions.is_empty() {
                return Ok(());
            }
            let mut begun = Vec::new();
            for action in &actions {
                match *action {
                    Action::End(id) => self.retire(id).await,
                    Action::Threads(id, threads) => match self.shifts.get(&id) {
                        Some(Shift { crew: Some(crew), .. }) => drop(crew.send_replace(threads)),
                        Some(_) => {}
                        None => begun.push((id, threads)),
                    },
                    Action::Tell(_) => {}
                }
            }
            if self.machine.is_urgent() {
                self.write().await?;
            }
            for (id, threads) in begun {
                self.begin(id, threads);
            }
            for action in actions {
                if let Action::Tell(id) = action
                    && let Some((job, ..)) = self.machine.job(id)
                {
                    // Perhaps nobody listens.
                    let _ = self.updates.send(job.clone());
                }
            }
        }
    }

    /// Ends a job's mining. Its threads rest at once; a block that they have just found is counted
    /// before anybody sees the job at its end.
    async fn retire(&mut self, id: Id) {
        let Some(shift) = self.shifts.get_mut(&id) else { return };
        shift.crew = None;
        let deadline = tokio::time::Instant::now() + RETIRING;
        while self.shifts.contains_key(&id) {
            match tokio::time::timeout_at(deadline, self.reports.recv()).await {
                Ok(Some((id, report))) => self.hear(id, report),
                // It counts when it comes.
                Ok(None) | Err(_) => return,
            }
        }
    }

    /// Writes down what has changed; false if there is no room for it.
    async fn write(&mut self) -> Result<bool, JournalError> {
        let Some(mut journal) = self.journal.take() else {
            unreachable!("nobody else writes while this waits")
        };
        let (is_whole, records) = match self.is_behind || journal.needs_compaction() {
            true => (true, self.machine.all()),
            false => (false, self.machine.changes()),
        };
        let writing = move || {
            let records = encoded(&records);
            let written = match is_whole {
                true => journal.compact(&records),
                false if records.is_empty() => Ok(()),
                false => journal.append(&records),
            };
            (journal, written)
        };
        let (journal, written) = match tokio::task::spawn_blocking(writing).await {
            Ok(done) => done,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        self.journal = Some(journal);
        match written {
            Ok(()) => {
                self.is_behind = false;
                Ok(true)
            }
            Err(error) if error.is_disk_full() => {
                if !self.is_behind {
                    tracing::error!("mining jobs are not written down: {error}");
                }
                self.is_behind = true;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Begins to mine for a job.
    fn begin(&mut self, id: Id, threads: usize) {
        let Some((job, ..)) = self.machine.job(id).filter(|(job, ..)| !job.state.is_terminal())
        else {
            return;
        };
        let (order, found) = (job.order, job.blocks);
        let params = self.reader.params();
        let (blocks, is_bounded) = match order.goal {
            Goal::Blocks(blocks) => {
                let left = u64::from(blocks.get()).saturating_sub(found);
                (u32::try_from(left).ok(), true)
            }
            Goal::Until(Until::Height(_) | Until::Balance(_)) => (None, true),
            Goal::Until(_) | Goal::Forever => (None, false),
        };
        let goal = mining::Goal {
            miner: order.miner,
            blocks,
            kernel: self.kernel,
            pause: mining::Goal::pause(params, is_bounded),
        };
        let reader = self.reader.clone();
        let is_wanted = move || match order.goal {
            Goal::Until(until) => Ok(!is_met(&reader.view(), until, order.miner)?),
            Goal::Blocks(_) | Goal::Forever => Ok(true),
        };
        let (writer, outlook) = (self.writer.clone(), self.outlook.clone());
        let source = Local::new(writer, outlook, id.mark(), Box::new(is_wanted));
        let (crew, staffed) = watch::channel(threads);
        let (telling, progress) = watch::channel(None);
        let (finding, mut finds) = mpsc::channel(FOUND);
        let reporting = self.reporting.clone();
        tokio::spawn(async move {
            let mining = tokio::spawn(mining::mine(source, goal, staffed, finding, telling));
            while let Some(found) = finds.recv().await {
                let _ = reporting.send((id, Report::Found(found))).await;
            }
            let end = mining.await.map_err(anyhow::Error::from).flatten();
            let _ = reporting.send((id, Report::Ended(end))).await;
        });
        self.shifts.insert(id, Shift { crew: Some(crew), progress, counted: 0 });
    }
}

/// Waits for a tip other than this; `None` if there will be none.
async fn other_tip(news: &mut watch::Receiver<News>, tip: block::Hash) -> Option<block::Hash> {
    news.wait_for(|news| news.tip != tip).await.ok().map(|news| news.tip)
}

pub(super) fn encoded(records: &[Record]) -> Vec<Vec<u8>> {
    let encode = |record| serde_json::to_vec(record).expect("the keys of records are strings");
    records.iter().map(encode).collect()
}

/// Whether something is so on the chain. What the clock says is the machine's business.
fn is_met(view: &View, until: Until, miner: Address) -> Result<bool, StoreError> {
    Ok(match until {
        Until::Height(height) => view.tip().height >= Height::new(height),
        Until::Time(_) => false,
        Until::Transaction { id, confirmations } => match view.transaction(&id)? {
            Some((_, entry)) => {
                let deep = view.tip().height.get().saturating_sub(entry.height.get());
                deep.saturating_add(1) >= confirmations.get()
            }
            None => false,
        },
        Until::Balance(units) => view.account(&miner)?.balance.units() >= units,
    })
}
