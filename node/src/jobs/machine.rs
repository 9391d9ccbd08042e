//! What becomes of jobs: a pure machine, told what happens and what time it is. It says who gets
//! threads, what is to be written down and what to be told; it has no clock, disk or tasks.
//!
//! Threads are a budget that jobs share. Each takes as many as it wants of what those before it
//! have left: first the normal ones, in the order in which they came to wait, then the one of
//! lowest priority. So a normal job that has threads never loses them to another, and gets more
//! when others end; one of lowest priority has what nobody else wants, at times nothing.
//!
//! A recurring job is a series: it takes no threads itself but gives rise to a run whenever it is
//! time, a job of its own that names it. One run at a time: what falls into the time of another is
//! left out. The series counts what its runs find, and ends when it is cancelled, its run with it.

mod entry;
mod restore;

pub use entry::Record;

use super::job::{Failure, FailureKind, Goal, Id, Job, Key, Order, Priority, Start, State, Until};
use chain::{Height, block};
use entry::{Change, Entry};
use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::time::Duration;

/// Jobs that are not at their end. Each has a task, a few kilobytes, once it has threads.
pub const MAX_OPEN: usize = 1_000;
/// Jobs at their end that are remembered, and of those the runs of one series.
pub const MAX_FINISHED: usize = 1_000;
const MAX_FINISHED_RUNS: usize = 100;
/// Hashes of blocks that finished jobs are remembered with, 32 bytes each, in all.
const MAX_FINISHED_HASHES: usize = 100_000;
/// Most blocks of a job, and most hashes that a job without such a goal remembers, the newest.
pub const MAX_BLOCKS: u32 = 10_000;

/// What time it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// By the machine's clock, which may jump: Unix seconds.
    pub unix: u64,
    /// Since some fixed moment; never goes back.
    pub elapsed: Duration,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Some time has passed.
    Time,
    /// Somebody wants no more of a job.
    Cancel(Id),
    /// What a job is to bring about is so.
    Met(Id),
    /// A job has found a block, and it is in the best chain.
    Found {
        /// The job.
        id: Id,
        /// The block.
        block: block::Hash,
        /// Its height.
        height: Height,
    },
    /// A job has done so many more hashes.
    Hashed(Id, u64),
    /// A job cannot go on.
    Broken(Id, Failure),
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A job has so many threads from now on; 0: it has to wait for some.
    Threads(Id, usize),
    /// A job that had threads is at its end: it needs nothing more.
    End(Id),
    /// A job has changed, and everybody may know. The last thing of a step.
    Tell(Id),
}

/// Why a job is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// More threads than there will ever be.
    #[error(
        "this node mines with at most {limit} threads, not {asked}: ask for fewer, or start it \
         with --threads {asked}"
    )]
    Threads {
        /// What was wanted.
        asked: usize,
        /// What there is.
        limit: usize,
    },
    /// More blocks than are remembered.
    #[error("blocks must be 1 to {MAX_BLOCKS}, not {0}")]
    Blocks(u32),
    /// It would be over before it began.
    #[error("`until` names a time that has passed")]
    Past,
    /// A recurring job without an end to each run.
    #[error("`every_seconds` needs `blocks`: how many each run is to find")]
    EndlessRuns,
    /// Too many jobs.
    #[error("there are {MAX_OPEN} jobs that wait or run: cancel some first")]
    Full,
    /// The key stands for something else.
    #[error("this Idempotency-Key was used for another request: use a new one")]
    OtherRequest,
}

/// All jobs.
#[derive(Debug)]
pub struct Machine {
    /// By number.
    jobs: BTreeMap<u64, Entry>,
    numbers: HashMap<Id, u64>,
    keys: HashMap<String, u64>,
    budget: NonZeroUsize,
    /// Ids are drawn from this.
    seed: [u8; 32],
    lots: u64,
    next_number: u64,
    next_place: u64,
    actions: Vec<Action>,
}

impl Machine {
    /// No jobs, and so many threads for all of them. Ids are drawn from a seed, another each time.
    pub fn new(budget: NonZeroUsize, seed: [u8; 32]) -> Machine {
        Machine {
            jobs: BTreeMap::new(),
            numbers: HashMap::new(),
            keys: HashMap::new(),
            budget,
            seed,
            lots: 0,
            next_number: 1,
            next_place: 1,
            actions: Vec::new(),
        }
    }

    /// Takes a job, on a chain of this height. The same key with the same request gives the job
    /// that it gave before.
    pub fn create(
        &mut self,
        order: Order,
        key: Option<Key>,
        height: Height,
        now: Now,
    ) -> Result<Id, Refused> {
        let known = key.as_ref().and_then(|key| self.jobs.get(self.keys.get(&key.text)?));
        if let Some(known) = known {
            let is_same = known.job.key == key;
            return if is_same { Ok(known.job.id) } else { Err(Refused::OtherRequest) };
        }
        self.check(&order, now)?;
        let id = self.insert(order, None, key, height.get(), now);
        self.advance(now);
        Ok(id)
    }

    fn check(&self, order: &Order, now: Now) -> Result<(), Refused> {
        let (asked, limit) = (order.threads.get(), self.budget.get());
        match order.goal {
            _ if asked > limit => Err(Refused::Threads { asked, limit }),
            Goal::Blocks(blocks) if blocks.get() > MAX_BLOCKS => Err(Refused::Blocks(blocks.get())),
            Goal::Until(Until::Time(time)) if time <= now.unix => Err(Refused::Past),
            Goal::Until(_) | Goal::Forever if order.every_seconds.is_some() => {
                Err(Refused::EndlessRuns)
            }
            _ if self.open().count() >= MAX_OPEN => Err(Refused::Full),
            _ => Ok(()),
        }
    }

    /// Takes note of something.
    pub fn step(&mut self, input: Input, now: Now) {
        match input {
            Input::Time => {}
            Input::Cancel(id) => self.finish(id, State::Cancelled, None, now),
            Input::Met(id) => self.finish(id, State::Succeeded, None, now),
            Input::Broken(id, failure) => self.finish(id, State::Failed, Some(failure), now),
            Input::Found { id, block, height } => self.count(id, block, height, now),
            Input::Hashed(id, hashes) => {
                self.both(id, |entry| entry.job.hashes = entry.job.hashes.saturating_add(hashes));
            }
        }
        self.advance(now);
    }

    /// What there is to do since the last call, in this order.
    pub fn actions(&mut self) -> Vec<Action> {
        let (told, mut actions): (Vec<_>, Vec<_>) =
            self.actions.drain(..).partition(|action| matches!(action, Action::Tell(_)));
        for action in told {
            if !actions.contains(&action) {
                actions.push(action);
            }
        }
        actions
    }

    /// Threads for all jobs.
    pub fn budget(&self) -> NonZeroUsize {
        self.budget
    }

    /// A job, the newest hashes of its blocks, and how many threads it has.
    pub fn job(&self, id: Id) -> Option<(&Job, &[block::Hash], usize)> {
        let entry = self.jobs.get(self.numbers.get(&id)?)?;
        Some((&entry.job, &entry.found, entry.threads))
    }

    /// Jobs with numbers below one, the newest first.
    pub fn newest(&self, below: u64) -> impl Iterator<Item = (&Job, usize)> {
        self.jobs.range(..below).rev().map(|(_, entry)| (&entry.job, entry.threads))
    }

    /// Jobs that are not at their end.
    pub fn open(&self) -> impl Iterator<Item = &Job> {
        self.jobs.values().map(|entry| &entry.job).filter(|job| !job.state.is_terminal())
    }

    /// How many jobs are in each state.
    pub fn states(&self) -> BTreeMap<State, usize> {
        let mut states = BTreeMap::from(State::ALL.map(|state| (state, 0)));
        for entry in self.jobs.values() {
            *states.entry(entry.job.state).or_default() += 1;
        }
        states
    }

    /// Lets go of the key of a job: it may be used again.
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
        order: Order,
        series: Option<Id>,
        key: Option<Key>,
        height: u32,
        now: Now,
    ) -> Id {
        let id = self.draw();
        let number = self.next_number;
        let (due_at, due) = match order.start {
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
            order,
            series,
            state: State::Scheduled,
            place: None,
            created_at: now.unix,
            due_at,
            started_at: None,
            finished_at: None,
            blocks: 0,
            hashes: 0,
            runs: 0,
            failure: None,
            counted_to: height,
            key,
        };
        self.add(Entry { due, change: Change::Now, ..Entry::new(job) });
        self.actions.push(Action::Tell(id));
        id
    }

    fn add(&mut self, entry: Entry) {
        let Job { id, number, place, .. } = entry.job;
        self.next_number = self.next_number.max(number.saturating_add(1));
        self.next_place = self.next_place.max(place.map_or(0, |place| place.saturating_add(1)));
        self.numbers.insert(id, number);
        self.keys.extend(entry.job.key.as_ref().map(|key| (key.text.clone(), number)));
        self.jobs.insert(number, entry);
    }

    /// An id that no job has.
    fn draw(&mut self) -> Id {
        loop {
            self.lots = self.lots.wrapping_add(1);
            match Id::by_lot(self.seed, self.lots) {
                Some(id) if !self.numbers.contains_key(&id) => return id,
                _ => {}
            }
        }
    }

    /// What follows from the time, and who gets threads.
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
            self.begin(id, now);
        }
        let is_over = |job: &&Job| match job.order.goal {
            Goal::Until(Until::Time(time)) => now.unix >= time && job.place.is_some(),
            _ => false,
        };
        let over: Vec<Id> = self.open().filter(is_over).map(|job| job.id).collect();
        for id in over {
            self.finish(id, State::Succeeded, None, now);
        }
        self.allot(now);
        self.forget();
    }

    /// It is time for a job, or for the next run of a series.
    fn begin(&mut self, id: Id, now: Now) {
        let place = self.next_place;
        let Some(entry) = self.entry(id) else { return };
        let Some(every) = entry.job.order.every_seconds else {
            entry.job.state = State::Queued;
            entry.job.place = Some(place);
            entry.change = Change::Now;
            self.next_place = place.saturating_add(1);
            self.actions.push(Action::Tell(id));
            return;
        };
        // From the time it was due, so that runs do not drift; what was missed is left out.
        let (every, first) = (Duration::from_secs(every.get()), entry.due.unwrap_or(now.elapsed));
        let missed = now.elapsed.saturating_sub(first).as_secs() / every.as_secs();
        let missed = u32::try_from(missed).unwrap_or(u32::MAX);
        let next = first.saturating_add(every.saturating_mul(missed.saturating_add(1)));
        entry.due = Some(next);
        let left = next.saturating_sub(now.elapsed);
        let left = left.as_secs().saturating_add(u64::from(left.subsec_nanos() > 0));
        entry.job.due_at = now.unix.saturating_add(left);
        entry.change = Change::Now;
        self.actions.push(Action::Tell(id));
        if self.open().any(|job| job.series == Some(id)) {
            return;
        }
        let Some(entry) = self.entry(id) else { return };
        entry.job.state = State::Running;
        entry.job.started_at.get_or_insert(now.unix);
        entry.job.runs = entry.job.runs.saturating_add(1);
        let (order, height) = (entry.job.order, entry.job.counted_to);
        let order = Order { start: Start::Now, every_seconds: None, ..order };
        let run = self.insert(order, Some(id), None, height, now);
        self.begin(run, now);
    }

    /// Shares the threads. First what is taken, then what is given: never more than there are.
    fn allot(&mut self, now: Now) {
        let waiting = self.jobs.values().filter(|entry| entry.job.place.is_some());
        let mut queue: Vec<(Priority, Option<u64>, u64)> = waiting
            .map(|entry| (entry.job.order.priority, entry.job.place, entry.job.number))
            .collect();
        queue.sort_unstable();
        let mut left = self.budget.get();
        let mut given = Vec::new();
        for (.., number) in queue {
            let Some(entry) = self.jobs.get_mut(&number) else { continue };
            let threads = entry.job.order.threads.get().min(left);
            left = left.saturating_sub(threads);
            let before = std::mem::replace(&mut entry.threads, threads);
            let action = Action::Threads(entry.job.id, threads);
            match threads.cmp(&before) {
                std::cmp::Ordering::Less => self.actions.push(action),
                std::cmp::Ordering::Equal => continue,
                std::cmp::Ordering::Greater => given.push(action),
            }
            let yields = entry.job.order.priority == Priority::Lowest && threads == 0;
            let state = if yields { State::Queued } else { State::Running };
            if std::mem::replace(&mut entry.job.state, state) != state {
                entry.job.started_at.get_or_insert(now.unix);
                entry.change = Change::Now;
            }
            self.actions.push(Action::Tell(entry.job.id));
        }
        self.actions.extend(given);
    }

    /// A job has found a block. It counts once, also when the job has just been brought to its
    /// end: it was found before.
    pub fn count(&mut self, id: Id, block: block::Hash, height: Height, now: Now) {
        let Some(entry) = self.entry(id).filter(|entry| !entry.found.contains(&block)) else {
            return;
        };
        entry.unwritten.push(block);
        self.both(id, |entry| {
            entry.found(block);
            entry.job.counted_to = entry.job.counted_to.max(height.get());
        });
        let Some(entry) = self.entry(id) else { return };
        let is_done = entry.job.target().is_some_and(|it| entry.job.blocks >= it.get().into());
        if is_done {
            self.finish(id, State::Succeeded, None, now);
        }
        self.actions.push(Action::Tell(id));
    }

    /// Changes a job, and the series that it is a run of.
    fn both(&mut self, id: Id, change: impl Fn(&mut Entry)) {
        let series = self.entry(id).and_then(|entry| entry.job.series);
        for id in [Some(id), series].into_iter().flatten() {
            let Some(entry) = self.entry(id) else { continue };
            change(entry);
            entry.change = entry.change.max(Change::Later);
        }
    }

    /// The end of a job, unless it is at its end already.
    fn finish(&mut self, id: Id, state: State, failure: Option<Failure>, now: Now) {
        let Some(entry) = self.entry(id) else { return };
        if entry.job.state.is_terminal() {
            return;
        }
        entry.job.state = state;
        entry.job.finished_at = Some(now.unix);
        entry.job.failure = failure;
        entry.job.place = None;
        entry.change = Change::Now;
        entry.threads = 0;
        let has_begun = entry.job.started_at.is_some() && !entry.job.is_series();
        self.actions.extend(has_begun.then_some(Action::End(id)));
        self.actions.push(Action::Tell(id));
        let runs: Vec<Id> =
            self.open().filter(|job| job.series == Some(id)).map(|job| job.id).collect();
        for run in runs {
            self.finish(run, State::Cancelled, None, now);
        }
    }

    /// Forgets finished jobs of which there are too many, those first that ended first.
    fn forget(&mut self) {
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
        let mut ends: Vec<_> =
            finished.map(|entry| (entry.job.finished_at, entry.job.number)).collect();
        ends.sort_unstable();
        for (_, number) in ends {
            let Some(entry) = self.jobs.get(&number) else { continue };
            let siblings = entry.job.series.and_then(|series| runs.get_mut(&series));
            let too_many = count > MAX_FINISHED || hashes > MAX_FINISHED_HASHES;
            let (id, of_entry) = (entry.job.id, entry.found.len());
            match siblings {
                Some(siblings) if too_many || *siblings > MAX_FINISHED_RUNS => *siblings -= 1,
                _ if too_many => {}
                _ => continue,
            }
            count -= 1;
            hashes -= of_entry;
            self.release_key(id);
            self.numbers.remove(&id);
            self.jobs.remove(&number);
        }
    }
}

#[cfg(test)]
mod tests;
