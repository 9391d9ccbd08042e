//! The pure state machine of mining jobs: from inputs and the time it decides which job gets threads,
//! what the journal must record and what is published. It has no clock, disk or tasks.
//!
//! Jobs share a limited number of threads. Each gets as many as it wants of those that the jobs
//! before it leave: first normal jobs in the order in which they were queued, then those of lowest
//! priority. So a normal job never loses threads to another and gets more when others end; a job of
//! lowest priority has the remaining threads, at times none.
//!
//! A recurring job is a series: it gets no threads itself but starts a run, a separate job, at each
//! interval. There is one run at a time; intervals that end during a run are skipped. The series
//! counts the blocks and hashes of its runs. Cancelling it cancels its run.

mod list;
mod restore;

pub use list::Filter;

use super::job::{
    EndedRuns, Failure, Goal, Hashing, Id, IdempotencyKey, Job, JobSpec, Priority, Start, State,
    Until,
};
use super::record::{Change, Entry, MAX_BLOCKS};
use chain::{Height, block};
use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::time::Duration;

/// Most jobs that have not ended. Each has a task of a few kilobytes once it has threads.
pub const MAX_OPEN: usize = 1_000;
/// Most ended jobs that are remembered.
pub const MAX_FINISHED: usize = 1_000;
/// Most ended runs of one series that are remembered.
const MAX_FINISHED_RUNS: usize = 100;
/// Most block hashes of all remembered ended jobs together, 32 bytes each.
const MAX_FINISHED_HASHES: usize = 100_000;

/// The present time of both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Wall-clock time in Unix seconds, which may jump.
    pub unix: u64,
    /// Monotonic time since some fixed moment.
    pub elapsed: Duration,
}

/// An input of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Time has passed, so jobs may be due to start.
    Tick,
    /// A client cancels a job.
    Cancel(Id),
    /// A job has reached its goal.
    GoalReached(Id),
    /// A job has found a block, which joined the best chain.
    BlockFound { id: Id, block: block::Hash, height: Height },
    /// A job has computed more hashes.
    Hashed(Id, Hashing),
    /// A job cannot continue.
    Failed(Id, Failure),
}

/// An action that the machine requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Sets the number of a job's threads; 0 while it waits.
    SetThreads(Id, usize),
    /// Stops the mining of a job that has ended.
    StopMining(Id),
    /// Publishes a change of a job. Comes after all other actions of a step.
    Publish(Id),
}

/// Why a job was not created.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JobRejected {
    /// The job wants more threads than the node has.
    #[error(
        "this node mines with at most {limit} threads, not {requested}: request fewer, or start \
         it with --threads {requested}"
    )]
    Threads { requested: usize, limit: usize },
    /// The job wants more blocks than a job can remember.
    #[error("blocks must be 1 to {MAX_BLOCKS}, not {0}")]
    Blocks(u32),
    /// The end time of the job has passed.
    #[error("`until` names a time that has passed")]
    Past,
    /// The job is recurring, but its runs would not end.
    #[error("`every_seconds` needs `blocks`, the number of blocks of each run")]
    EndlessRuns,
    /// There are already `MAX_OPEN` jobs that have not ended.
    #[error("{MAX_OPEN} jobs are waiting or running: cancel some first")]
    TooMany,
    /// The key belongs to another request.
    #[error("this Idempotency-Key was used for another request: use a new one")]
    KeyReused,
}

/// The state of all jobs.
#[derive(Debug)]
pub struct Machine {
    /// The jobs by creation number.
    jobs: BTreeMap<u64, Entry>,
    numbers: HashMap<Id, u64>,
    keys: HashMap<String, u64>,
    max_threads: NonZeroUsize,
    /// The seed of ids.
    seed: [u8; 32],
    ids_derived: u64,
    next_number: u64,
    next_position: u64,
    actions: Vec<Action>,
}

impl Machine {
    /// Creates a machine without jobs, which use at most `max_threads` together. The seed of ids must
    /// differ at every start.
    pub fn new(max_threads: NonZeroUsize, seed: [u8; 32]) -> Machine {
        Machine {
            jobs: BTreeMap::new(),
            numbers: HashMap::new(),
            keys: HashMap::new(),
            max_threads,
            seed,
            ids_derived: 0,
            next_number: 1,
            next_position: 1,
            actions: Vec::new(),
        }
    }

    /// Creates a job on a chain of this height. A request with the key of an earlier identical one
    /// returns the earlier job.
    pub fn create(
        &mut self,
        spec: JobSpec,
        key: Option<IdempotencyKey>,
        height: Height,
        now: Now,
    ) -> Result<Id, JobRejected> {
        let known = key.as_ref().and_then(|key| self.jobs.get(self.keys.get(&key.text)?));
        if let Some(known) = known {
            let is_same = known.job.key == key;
            return if is_same { Ok(known.job.id) } else { Err(JobRejected::KeyReused) };
        }
        self.check(&spec, now)?;
        let id = self.insert(spec, None, key, height.get(), now);
        self.advance(now);
        Ok(id)
    }

    fn check(&self, spec: &JobSpec, now: Now) -> Result<(), JobRejected> {
        let (requested, limit) = (spec.threads.get(), self.max_threads.get());
        match spec.goal {
            _ if requested > limit => Err(JobRejected::Threads { requested, limit }),
            Goal::Blocks(blocks) if blocks.get() > MAX_BLOCKS => {
                Err(JobRejected::Blocks(blocks.get()))
            }
            Goal::Until(Until::Time(time)) if time <= now.unix => Err(JobRejected::Past),
            Goal::Until(_) | Goal::Forever if spec.every_seconds.is_some() => {
                Err(JobRejected::EndlessRuns)
            }
            _ if self.open().count() >= MAX_OPEN => Err(JobRejected::TooMany),
            _ => Ok(()),
        }
    }

    /// Processes an input: updates the jobs and queues the actions that follow.
    pub fn step(&mut self, input: Input, now: Now) {
        match input {
            Input::Tick => {}
            Input::Cancel(id) => self.finish(id, State::Cancelled, None, now),
            Input::GoalReached(id) => self.finish(id, State::Succeeded, None, now),
            Input::Failed(id, failure) => self.finish(id, State::Failed, Some(failure), now),
            Input::BlockFound { id, block, height } => self.record_block(id, block, height, now),
            Input::Hashed(id, more) => {
                self.update_with_series(id, |entry| entry.job.add_hashing(more));
            }
        }
        self.advance(now);
    }

    /// Returns the actions since the last call, in the order in which they are to be performed.
    pub fn actions(&mut self) -> Vec<Action> {
        let (published, mut actions): (Vec<_>, Vec<_>) =
            self.actions.drain(..).partition(|action| matches!(action, Action::Publish(_)));
        for action in published {
            if !actions.contains(&action) {
                actions.push(action);
            }
        }
        actions
    }

    /// Most threads of all jobs together.
    pub fn max_threads(&self) -> NonZeroUsize {
        self.max_threads
    }

    /// A job, the hashes of its newest blocks, and the number of its threads.
    pub fn job(&self, id: Id) -> Option<(&Job, &[block::Hash], usize)> {
        let entry = self.jobs.get(self.numbers.get(&id)?)?;
        Some((&entry.job, &entry.found, entry.threads))
    }

    /// All jobs and their threads, the newest first.
    pub fn newest(&self) -> impl Iterator<Item = (&Job, usize)> {
        self.jobs.values().rev().map(|entry| (&entry.job, entry.threads))
    }

    /// The jobs that have not ended.
    pub fn open(&self) -> impl Iterator<Item = &Job> {
        self.jobs.values().map(|entry| &entry.job).filter(|job| !job.state.is_terminal())
    }

    /// The number of jobs in each state.
    pub fn states(&self) -> BTreeMap<State, usize> {
        let mut states = BTreeMap::from(State::ALL.map(|state| (state, 0)));
        for entry in self.jobs.values() {
            *states.entry(entry.job.state).or_default() += 1;
        }
        states
    }

    /// Releases the key of a job for another request.
    pub fn release_key(&mut self, id: Id) {
        if let Some(key) = self.entry(id).and_then(|entry| entry.job.key.take()) {
            self.keys.remove(&key.text);
        }
    }

    fn entry(&mut self, id: Id) -> Option<&mut Entry> {
        self.jobs.get_mut(self.numbers.get(&id)?)
    }

    fn insert(
        &mut self,
        spec: JobSpec,
        series: Option<Id>,
        key: Option<IdempotencyKey>,
        height: u32,
        now: Now,
    ) -> Id {
        let id = self.new_id();
        let number = self.next_number;
        let (due_at, due) = match spec.start {
            Start::Now => (now.unix, Some(now.elapsed)),
            Start::At(time) => (time, None),
            Start::In(seconds) => {
                let due = now.elapsed.saturating_add(Duration::from_secs(seconds));
                (now.unix.saturating_add(seconds), Some(due))
            }
        };
        let job = Job {
            id,
            number,
            spec,
            series,
            state: State::Scheduled,
            queue_position: None,
            created_at: now.unix,
            due_at,
            started_at: None,
            finished_at: None,
            blocks: 0,
            hashes: 0,
            expected_nanoblocks: Some(0),
            runs: 0,
            ended_runs: EndedRuns::default(),
            failure: None,
            counted_to: height,
            key,
        };
        self.add(Entry { due, change: Change::Now, ..Entry::new(job) });
        self.actions.push(Action::Publish(id));
        id
    }

    fn add(&mut self, entry: Entry) {
        let Job { id, number, queue_position, .. } = entry.job;
        self.next_number = self.next_number.max(number.saturating_add(1));
        let next_position = queue_position.map_or(0, |position| position.saturating_add(1));
        self.next_position = self.next_position.max(next_position);
        self.numbers.insert(id, number);
        self.keys.extend(entry.job.key.as_ref().map(|key| (key.text.clone(), number)));
        self.jobs.insert(number, entry);
    }

    /// An id that no job has yet.
    fn new_id(&mut self) -> Id {
        loop {
            self.ids_derived = self.ids_derived.wrapping_add(1);
            match Id::derive(self.seed, self.ids_derived) {
                Some(id) if !self.numbers.contains_key(&id) => return id,
                _ => {}
            }
        }
    }

    /// Starts and ends the jobs that are due, and allocates the threads.
    fn advance(&mut self, now: Now) {
        let is_due = |entry: &&Entry| match entry.due {
            Some(due) => now.elapsed >= due,
            None => now.unix >= entry.job.due_at,
        };
        let due = |entry: &Entry| {
            (entry.job.state == State::Scheduled || entry.is_open_series()).then_some(entry.job.id)
        };
        let due: Vec<Id> = self.jobs.values().filter(is_due).filter_map(due).collect();
        for id in due {
            self.activate(id, now);
        }
        let is_past = |job: &&Job| match job.spec.goal {
            Goal::Until(Until::Time(time)) => now.unix >= time && job.queue_position.is_some(),
            _ => false,
        };
        let past: Vec<Id> = self.open().filter(is_past).map(|job| job.id).collect();
        for id in past {
            self.finish(id, State::Succeeded, None, now);
        }
        self.allocate_threads(now);
        self.prune_finished();
    }

    /// Queues a job that is due, or starts the next run of a series.
    fn activate(&mut self, id: Id, now: Now) {
        let position = self.next_position;
        let Some(entry) = self.entry(id) else { return };
        let Some(every) = entry.job.spec.every_seconds else {
            entry.job.state = State::Queued;
            entry.job.queue_position = Some(position);
            entry.change = Change::Now;
            self.next_position = position.saturating_add(1);
            self.actions.push(Action::Publish(id));
            return;
        };
        // Counted from the due time, so that runs do not drift; missed intervals are skipped.
        let (every, first) = (Duration::from_secs(every.get()), entry.due.unwrap_or(now.elapsed));
        let missed = now.elapsed.saturating_sub(first).as_secs() / every.as_secs();
        let missed = u32::try_from(missed).unwrap_or(u32::MAX);
        let next = first.saturating_add(every.saturating_mul(missed.saturating_add(1)));
        entry.due = Some(next);
        let left = next.saturating_sub(now.elapsed);
        let left = left.as_secs().saturating_add(u64::from(left.subsec_nanos() > 0));
        entry.job.due_at = now.unix.saturating_add(left);
        entry.change = Change::Now;
        self.actions.push(Action::Publish(id));
        if self.open().any(|job| job.series == Some(id)) {
            return;
        }
        let Some(entry) = self.entry(id) else { return };
        entry.job.state = State::Running;
        entry.job.started_at.get_or_insert(now.unix);
        entry.job.runs = entry.job.runs.saturating_add(1);
        let (spec, height) = (entry.job.spec, entry.job.counted_to);
        let spec = JobSpec { start: Start::Now, every_seconds: None, ..spec };
        let run = self.insert(spec, Some(id), None, height, now);
        self.activate(run, now);
    }

    /// Allocates the threads. Reductions come before increases, so that the limit holds at all times.
    fn allocate_threads(&mut self, now: Now) {
        let waiting = self.jobs.values().filter(|entry| entry.job.queue_position.is_some());
        let mut queue: Vec<(Priority, Option<u64>, u64)> = waiting
            .map(|entry| (entry.job.spec.priority, entry.job.queue_position, entry.job.number))
            .collect();
        queue.sort_unstable();
        let mut left = self.max_threads.get();
        let mut increases = Vec::new();
        for (.., number) in queue {
            let Some(entry) = self.jobs.get_mut(&number) else { continue };
            let threads = entry.job.spec.threads.get().min(left);
            left = left.saturating_sub(threads);
            let before = std::mem::replace(&mut entry.threads, threads);
            let action = Action::SetThreads(entry.job.id, threads);
            match threads.cmp(&before) {
                std::cmp::Ordering::Less => self.actions.push(action),
                std::cmp::Ordering::Equal => continue,
                std::cmp::Ordering::Greater => increases.push(action),
            }
            let yields = entry.job.spec.priority == Priority::Lowest && threads == 0;
            let state = if yields { State::Queued } else { State::Running };
            if std::mem::replace(&mut entry.job.state, state) != state {
                entry.job.started_at.get_or_insert(now.unix);
                entry.change = Change::Now;
            }
            self.actions.push(Action::Publish(entry.job.id));
        }
        self.actions.extend(increases);
    }

    /// Counts a block of a job, once. Also after the end of the job: the block was found before.
    pub fn record_block(&mut self, id: Id, block: block::Hash, height: Height, now: Now) {
        let Some(entry) = self.entry(id).filter(|entry| !entry.found.contains(&block)) else {
            return;
        };
        entry.unrecorded.push(block);
        self.update_with_series(id, |entry| {
            entry.add_block(block);
            entry.job.counted_to = entry.job.counted_to.max(height.get());
        });
        let Some(entry) = self.entry(id) else { return };
        let is_done = entry.job.target().is_some_and(|it| entry.job.blocks >= it.get().into());
        if is_done {
            self.finish(id, State::Succeeded, None, now);
        }
        self.publish_with_series(id);
    }

    /// Publishes a job, and its series if it is a run.
    fn publish_with_series(&mut self, id: Id) {
        let series = self.entry(id).and_then(|entry| entry.job.series);
        self.actions.extend([Some(id), series].into_iter().flatten().map(Action::Publish));
    }

    /// Changes a job, and its series if it is a run.
    fn update_with_series(&mut self, id: Id, change: impl Fn(&mut Entry)) {
        let series = self.entry(id).and_then(|entry| entry.job.series);
        for id in [Some(id), series].into_iter().flatten() {
            let Some(entry) = self.entry(id) else { continue };
            change(entry);
            entry.change = entry.change.max(Change::Later);
        }
    }

    /// Ends a job that has not ended yet.
    fn finish(&mut self, id: Id, state: State, failure: Option<Failure>, now: Now) {
        let Some(entry) = self.entry(id) else { return };
        if entry.job.state.is_terminal() {
            return;
        }
        entry.job.state = state;
        entry.job.finished_at = Some(now.unix);
        entry.job.failure = failure;
        entry.job.queue_position = None;
        entry.change = Change::Now;
        entry.threads = 0;
        let has_started = entry.job.started_at.is_some() && !entry.job.is_series();
        let series = entry.job.series;
        self.actions.extend(has_started.then_some(Action::StopMining(id)));
        if let Some(series) = series.and_then(|series| self.entry(series)) {
            series.job.ended_runs.count(state);
            series.change = series.change.max(Change::Later);
        }
        self.publish_with_series(id);
        let runs: Vec<Id> =
            self.open().filter(|job| job.series == Some(id)).map(|job| job.id).collect();
        for run in runs {
            self.finish(run, State::Cancelled, None, now);
        }
    }

    /// Removes ended jobs above the limits, in the order in which they ended.
    fn prune_finished(&mut self) {
        let finished = self.jobs.values().filter(|entry| entry.job.state.is_terminal());
        let mut count = finished.clone().count();
        let mut hashes: usize = finished.clone().map(|entry| entry.found.len()).sum();
        let mut runs: HashMap<Id, usize> = HashMap::new();
        for series in finished.clone().filter_map(|entry| entry.job.series) {
            *runs.entry(series).or_default() += 1;
        }
        let many_runs = |runs: &HashMap<Id, usize>| runs.values().any(|it| *it > MAX_FINISHED_RUNS);
        if count <= MAX_FINISHED && hashes <= MAX_FINISHED_HASHES && !many_runs(&runs) {
            return;
        }
        let mut ends: Vec<_> = finished
            .map(|Entry { job, .. }| (job.finished_at, job.is_series(), job.number))
            .collect();
        // A series that ends together with its run stays longer than it.
        ends.sort_unstable();
        for (.., number) in ends {
            let Some(entry) = self.jobs.get(&number) else { continue };
            let siblings = entry.job.series.and_then(|series| runs.get_mut(&series));
            let too_many = count > MAX_FINISHED || hashes > MAX_FINISHED_HASHES;
            let (id, entry_hashes) = (entry.job.id, entry.found.len());
            match siblings {
                Some(siblings) if too_many || *siblings > MAX_FINISHED_RUNS => *siblings -= 1,
                _ if too_many => {}
                _ => continue,
            }
            count -= 1;
            hashes -= entry_hashes;
            self.release_key(id);
            self.numbers.remove(&id);
            self.jobs.remove(&number);
        }
    }
}

#[cfg(test)]
mod tests;
