use super::*;
use crate::jobs::job::FailureKind;
use crate::jobs::record::Record;
use chain::Address;
use proptest::prelude::*;
use std::num::{NonZeroU32, NonZeroU64};

const MAX_THREADS: usize = 4;
/// The wall-clock time at the start: a day in 2023.
const START: u64 = 1_700_000_000;

fn machine() -> Machine {
    Machine::new(NonZeroUsize::new(MAX_THREADS).unwrap(), [7; 32])
}

fn at(seconds: u64) -> Now {
    Now { unix: START + seconds, elapsed: Duration::from_secs(1_000 + seconds) }
}

fn spec(goal: Goal, threads: usize) -> JobSpec {
    JobSpec {
        miner: Address::ZERO,
        goal,
        threads: NonZeroUsize::new(threads).unwrap(),
        start: Start::Now,
        every_seconds: None,
        priority: Priority::Normal,
        ends_with_process: false,
    }
}

fn blocks(count: u32, threads: usize) -> JobSpec {
    spec(Goal::Blocks(NonZeroU32::new(count).unwrap()), threads)
}

fn background() -> JobSpec {
    JobSpec::background(Address::ZERO, NonZeroUsize::new(MAX_THREADS).unwrap())
}

fn block(number: u64) -> block::Hash {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    block::Hash::from_bytes(bytes)
}

impl Machine {
    fn add_job(&mut self, spec: JobSpec, now: Now) -> Id {
        self.create(spec, None, Height::GENESIS, now).unwrap()
    }

    #[track_caller]
    fn expect(&self, id: Id, state: State, threads: usize) {
        let (job, _, has) = self.job(id).unwrap();
        assert_eq!((job.state, has), (state, threads));
    }

    fn find_block(&mut self, id: Id, number: u64, now: Now) {
        let height = Height::new(u32::try_from(number).unwrap());
        self.step(Input::BlockFound { id, block: block(number), height }, now);
    }

    /// A machine restored from these records.
    fn replayed(records: &[Record]) -> Machine {
        let mut machine = machine();
        for record in records {
            let text = serde_json::to_vec(record).unwrap();
            machine.replay(serde_json::from_slice(&text).unwrap());
        }
        machine
    }
}

#[test]
fn job_starts_at_once_and_succeeds_with_its_last_block() {
    let mut machine = machine();
    let id = machine.add_job(blocks(2, 3), at(0));
    machine.expect(id, State::Running, 3);
    assert_eq!(machine.actions(), [Action::SetThreads(id, 3), Action::Publish(id)]);
    machine.find_block(id, 1, at(1));
    machine.find_block(id, 1, at(1));
    machine.expect(id, State::Running, 3);
    machine.find_block(id, 2, at(5));
    machine.expect(id, State::Succeeded, 0);
    assert_eq!(machine.actions(), [Action::StopMining(id), Action::Publish(id)]);
    let (job, found, _) = machine.job(id).unwrap();
    assert_eq!((job.blocks, found), (2, [block(1), block(2)].as_slice()));
    assert_eq!((job.started_at, job.finished_at), (Some(START), Some(START + 5)));
    // A job that has ended ignores later inputs.
    machine.step(Input::Cancel(id), at(6));
    machine.step(Input::GoalReached(id), at(6));
    machine.expect(id, State::Succeeded, 0);
    assert_eq!(machine.actions(), []);
}

// G05: earlier jobs get threads first and never lose them to later ones.
#[test]
fn later_jobs_wait_for_threads_and_get_more_when_others_end() {
    let mut machine = machine();
    let first = machine.add_job(blocks(1, 3), at(0));
    let second = machine.add_job(blocks(1, 3), at(0));
    let third = machine.add_job(blocks(1, 4), at(0));
    machine.expect(first, State::Running, 3);
    machine.expect(second, State::Running, 1);
    machine.expect(third, State::Queued, 0);
    machine.actions();
    machine.step(Input::Cancel(first), at(1));
    machine.expect(second, State::Running, 3);
    machine.expect(third, State::Running, 1);
    let increases = [Action::SetThreads(second, 3), Action::SetThreads(third, 1)];
    assert_eq!(machine.actions()[..3], [&[Action::StopMining(first)], &increases[..]].concat());
    machine.find_block(second, 1, at(2));
    machine.expect(third, State::Running, 4);
}

#[test]
fn background_job_yields_threads_and_gets_them_back() {
    let mut machine = machine();
    let background_job = machine.add_job(background(), at(0));
    machine.expect(background_job, State::Running, 4);
    let small = machine.add_job(blocks(1, 1), at(0));
    machine.expect(background_job, State::Running, 3);
    machine.actions();
    let large = machine.add_job(spec(Goal::Forever, 4), at(0));
    machine.expect(background_job, State::Queued, 0);
    machine.expect(large, State::Running, 3);
    // Reductions come first, so that the limit holds at all times.
    let actions = machine.actions();
    assert_eq!(actions[..2], [Action::SetThreads(background_job, 0), Action::SetThreads(large, 3)]);
    machine.step(Input::Cancel(small), at(1));
    machine.expect(background_job, State::Queued, 0);
    machine.step(Input::Cancel(large), at(1));
    machine.expect(background_job, State::Running, 4);
}

// G03: delays follow the monotonic clock, start times the wall clock.
#[test]
fn wall_clock_jump_does_not_change_delays() {
    let mut machine = machine();
    let delayed = JobSpec { start: Start::In(60), ..blocks(1, 1) };
    let delayed = machine.add_job(delayed, at(0));
    let timed = JobSpec { start: Start::At(START + 60), ..blocks(1, 1) };
    let timed = machine.add_job(timed, at(0));
    let jumped = |seconds: u64, hours: i64| {
        let now = at(seconds);
        Now { unix: now.unix.checked_add_signed(hours * 3_600).unwrap(), ..now }
    };
    machine.step(Input::Tick, jumped(10, -2));
    machine.expect(timed, State::Scheduled, 0);
    machine.step(Input::Tick, jumped(59, -2));
    machine.expect(delayed, State::Scheduled, 0);
    machine.step(Input::Tick, jumped(60, -2));
    machine.expect(delayed, State::Running, 1);
    machine.expect(timed, State::Scheduled, 0);
    machine.step(Input::Tick, jumped(61, 2));
    machine.expect(timed, State::Running, 1);
}

#[test]
fn job_until_a_time_ends_running_or_waiting() {
    let mut machine = machine();
    let until = spec(Goal::Until(Until::Time(START + 10)), 4);
    let (running, waiting) = (machine.add_job(until, at(0)), machine.add_job(until, at(0)));
    machine.step(Input::Tick, at(9));
    machine.expect(running, State::Running, 4);
    machine.expect(waiting, State::Queued, 0);
    machine.step(Input::Tick, at(10));
    machine.expect(running, State::Succeeded, 0);
    machine.expect(waiting, State::Succeeded, 0);
    let late = machine.create(until, None, Height::GENESIS, at(10));
    assert_eq!(late, Err(JobRejected::Past));
}

#[test]
fn runs_of_recurring_job_do_not_drift_or_overlap() {
    let mut machine = machine();
    let every = NonZeroU64::new(10);
    let start = Start::In(5);
    let series = JobSpec { start, every_seconds: every, ..blocks(1, 2) };
    let series = machine.add_job(series, at(0));
    machine.expect(series, State::Scheduled, 0);
    let runs = |machine: &Machine| {
        let runs = machine.newest().filter(|(job, _)| job.series == Some(series));
        runs.map(|(job, _)| job.id).collect::<Vec<_>>()
    };
    machine.step(Input::Tick, at(7));
    machine.expect(series, State::Running, 0);
    let first = runs(&machine)[0];
    machine.expect(first, State::Running, 2);
    assert_eq!(machine.job(series).unwrap().0.due_at, START + 15, "counted from the due time");
    // The run takes longer than two intervals, which are skipped.
    machine.step(Input::Tick, at(16));
    machine.step(Input::Tick, at(27));
    assert_eq!(runs(&machine), [first]);
    machine.find_block(first, 1, at(28));
    machine.expect(first, State::Succeeded, 0);
    machine.step(Input::Tick, at(34));
    assert_eq!(runs(&machine).len(), 1);
    machine.step(Input::Tick, at(35));
    let second = runs(&machine)[0];
    machine.expect(second, State::Running, 2);
    machine.find_block(second, 2, at(36));
    let (job, found, _) = machine.job(series).unwrap();
    assert_eq!((job.state, job.runs, job.blocks), (State::Running, 2, 2));
    assert_eq!(found, [block(1), block(2)]);
    // Cancelling the series cancels its run.
    machine.step(Input::Tick, at(45));
    let third = runs(&machine)[0];
    machine.step(Input::Cancel(series), at(46));
    machine.expect(series, State::Cancelled, 0);
    machine.expect(third, State::Cancelled, 0);
    machine.step(Input::Tick, at(1_000));
    assert_eq!(runs(&machine).len(), 3);
    // Intervals missed during a long sleep are skipped too.
    let series = JobSpec { every_seconds: every, ..blocks(1, 2) };
    let series = machine.add_job(series, at(2_000));
    machine.step(Input::Tick, at(9_999));
    let (job, ..) = machine.job(series).unwrap();
    assert_eq!((job.runs, job.due_at), (1, START + 10_000));
}

#[test]
fn five_hundred_runs_are_one_item_of_the_list_before_other_jobs() {
    let mut machine = machine();
    let every = NonZeroU64::new(60);
    let series = machine.add_job(JobSpec { every_seconds: every, ..blocks(1, 2) }, at(0));
    for run in 0..500 {
        let now = at(60 * run);
        machine.step(Input::Tick, now);
        let id = machine.recent_runs(series).next().unwrap().id;
        machine
            .step(Input::Hashed(id, Hashing { hashes: 7, expected_nanoblocks: 500_000_000 }), now);
        match run % 100 {
            0 => machine.step(Input::Cancel(id), now),
            _ => machine.find_block(id, run + 1, now),
        }
    }
    let now = at(60 * 499 + 1);
    let scheduled = machine.add_job(JobSpec { start: Start::In(9_000), ..blocks(1, 1) }, now);
    let ended = machine.add_job(blocks(1, 1), now);
    machine.step(Input::Cancel(ended), now);
    let running = machine.add_job(blocks(1, 4), now);
    let queued = machine.add_job(blocks(1, 1), now);
    let listed = |machine: &Machine, filter, after, limit| -> Vec<Id> {
        machine.list(filter, after, limit).iter().map(|(job, _)| job.id).collect()
    };
    let all = [series, running, queued, scheduled, ended];
    assert_eq!(listed(&machine, Filter::default(), None, 100), all);
    // Pages are continued behind the last job.
    for (at, id) in all.iter().enumerate() {
        let position = machine.job(*id).unwrap().0.list_position();
        assert_eq!(listed(&machine, Filter::default(), Some(position), 100), all[at + 1..]);
    }
    assert_eq!(listed(&machine, Filter::default(), None, 2), all[..2]);
    let of_state = |state| Filter { state: Some(state), series: None };
    assert_eq!(listed(&machine, of_state(State::Running), None, 100), [series, running]);
    assert_eq!(listed(&machine, of_state(State::Cancelled), None, 100), [ended]);

    let (job, ..) = machine.job(series).unwrap();
    assert_eq!((job.runs, job.next_run()), (500, Some(START + 60 * 500)));
    assert_eq!(job.ended_runs, EndedRuns { succeeded: 495, failed: 0, cancelled: 5 });
    assert_eq!((job.hashes, job.expected_blocks(), job.luck()), (3_500, Some(250.0), Some(1.98)));
    // The newest runs are remembered.
    let runs = Filter { state: None, series: Some(series) };
    let runs = listed(&machine, runs, None, MAX_OPEN);
    assert_eq!(runs.len(), MAX_FINISHED_RUNS);
    let recent: Vec<Id> = machine.recent_runs(series).map(|run| run.id).collect();
    assert_eq!(recent, runs[..5]);
    assert!(listed(&machine, Filter { state: None, series: Some(running) }, None, 9).is_empty());

    // The run that is due ends with the series, which stays before its runs in memory.
    machine.step(Input::Tick, at(60 * 500));
    machine.step(Input::Cancel(series), at(60 * 500));
    let (job, ..) = machine.job(series).unwrap();
    assert_eq!((job.state, job.next_run()), (State::Cancelled, None));
    assert_eq!(job.ended_runs, EndedRuns { succeeded: 495, failed: 0, cancelled: 6 });
    assert_eq!(listed(&machine, Filter::default(), None, 1), [running]);
    // Where the series is forgotten first, its runs are listed.
    let number = job.number;
    machine.jobs.remove(&number);
    machine.numbers.remove(&series);
    assert_eq!(listed(&machine, Filter::default(), None, MAX_OPEN).len(), 4 + MAX_FINISHED_RUNS);
}

#[test]
fn journal_of_earlier_version_restores_jobs_without_luck() {
    let mut machine = machine();
    let id = machine.add_job(blocks(9, 1), at(0));
    machine.find_block(id, 1, at(1));
    let mut record = serde_json::to_value(&machine.all_records()[0]).unwrap();
    let job = record["job"].as_object_mut().unwrap();
    assert!(job.remove("expected_nanoblocks").is_some() && job.remove("ended_runs").is_some());
    let mut machine = Machine::replayed(&[serde_json::from_value(record).unwrap()]);
    machine.step(Input::Hashed(id, Hashing { hashes: 7, expected_nanoblocks: 5 }), at(2));
    let (job, ..) = machine.job(id).unwrap();
    assert_eq!((job.hashes, job.expected_nanoblocks, job.luck()), (7, None, None));
}

#[test]
fn rejects_invalid_specs() {
    let mut machine = machine();
    let mut rejection = |spec| machine.create(spec, None, Height::GENESIS, at(0)).unwrap_err();
    assert_eq!(rejection(blocks(1, 5)), JobRejected::Threads { requested: 5, limit: 4 });
    assert_eq!(rejection(blocks(MAX_BLOCKS + 1, 1)), JobRejected::Blocks(MAX_BLOCKS + 1));
    let endless = JobSpec { every_seconds: NonZeroU64::new(1), ..spec(Goal::Forever, 1) };
    assert_eq!(rejection(endless), JobRejected::EndlessRuns);
    assert_eq!(machine.newest().count(), 0);
}

#[test]
fn repeated_key_returns_the_earlier_job() {
    let mut machine = machine();
    let key = |request| Some(IdempotencyKey { text: "a".to_owned(), request: [request; 32] });
    let mut create = |key, now| machine.create(blocks(1, 1), key, Height::GENESIS, now);
    let id = create(key(1), at(0)).unwrap();
    assert_eq!(create(key(1), at(1)), Ok(id));
    assert_eq!(create(key(2), at(1)), Err(JobRejected::KeyReused));
    assert_ne!(create(None, at(1)), Ok(id));
    // The key survives a restart.
    let mut machine = Machine::replayed(&machine.all_records());
    assert_eq!(machine.create(blocks(1, 1), key(1), Height::GENESIS, at(2)), Ok(id));
    machine.release_key(id);
    assert_ne!(machine.create(blocks(1, 1), key(2), Height::GENESIS, at(2)), Ok(id));
}

#[test]
fn limits_open_and_remembered_jobs() {
    let mut machine = machine();
    let ids: Vec<Id> = (0..MAX_OPEN).map(|_| machine.add_job(blocks(1, 1), at(0))).collect();
    let one_more = machine.create(blocks(1, 1), None, Height::GENESIS, at(0));
    assert_eq!(one_more, Err(JobRejected::TooMany));
    // Jobs end in reverse order, so the last one is the first to be removed.
    for id in ids.iter().rev() {
        machine.step(Input::Cancel(*id), at(1));
        machine.step(Input::Tick, at(2));
    }
    let after = machine.add_job(blocks(1, 1), at(3));
    machine.step(Input::Cancel(after), at(4));
    assert!(machine.job(ids[MAX_OPEN - 1]).is_some() != machine.job(ids[0]).is_some());
    assert!(machine.job(after).is_some());
    assert_eq!(machine.newest().count(), MAX_FINISHED);
}

#[test]
fn restart_resumes_jobs() {
    let mut before = machine();
    let background_job = before.add_job(background(), at(0));
    let running = before.add_job(blocks(3, 2), at(0));
    let delayed = before.add_job(JobSpec { start: Start::In(60), ..blocks(1, 1) }, at(0));
    let own = JobSpec { ends_with_process: true, ..blocks(5, 1) };
    let own = before.add_job(own, at(0));
    before.find_block(running, 1, at(5));
    let all = before.all_records();

    // Meanwhile the wall clock went back an hour, and this is another process.
    let now = Now { unix: START - 3_600, elapsed: Duration::ZERO };
    let mut after = Machine::replayed(&all);
    // One block is in the chain but not in the journal.
    let recoverable: Vec<Id> = after.recoverable().iter().map(|job| job.id).collect();
    assert_eq!(recoverable, [background_job, running, own]);
    after.record_block(running, block(1), Height::new(1), now);
    after.record_block(running, block(2), Height::new(2), now);
    after.resume(Some(background()), Height::new(2), now);
    after.expect(running, State::Running, 2);
    after.expect(background_job, State::Running, 2);
    assert_eq!(after.job(running).unwrap().0.blocks, 2);
    let (job, ..) = after.job(own).unwrap();
    let kind = job.failure.as_ref().map(|failure| failure.kind);
    assert_eq!((job.state, kind), (State::Failed, Some(FailureKind::Interrupted)));
    // The delay does not become longer.
    after.step(Input::Tick, Now { elapsed: Duration::from_secs(59), ..now });
    after.expect(delayed, State::Scheduled, 0);
    after.step(Input::Tick, Now { elapsed: Duration::from_secs(60), ..now });
    after.expect(delayed, State::Running, 1);

    // A process without a background job does not resume the earlier one.
    let mut after = Machine::replayed(&all);
    after.resume(None, Height::new(2), at(9));
    after.expect(background_job, State::Failed, 0);
    // With fewer threads, running jobs stay in that state but some wait.
    let mut fewer = Machine::new(NonZeroUsize::MIN, [8; 32]);
    let other = before.add_job(blocks(1, 2), at(6));
    before.all_records().into_iter().for_each(|record| fewer.replay(record));
    fewer.resume(None, Height::new(2), at(9));
    fewer.expect(running, State::Running, 1);
    fewer.expect(other, State::Running, 0);
}

#[test]
fn recovered_last_block_completes_job_at_restart() {
    let mut before = machine();
    let id = before.add_job(blocks(1, 1), at(0));
    let mut after = Machine::replayed(&before.all_records());
    after.record_block(id, block(1), Height::new(1), at(1));
    after.resume(None, Height::new(1), at(1));
    after.expect(id, State::Succeeded, 0);
}

/// A random step.
#[derive(Clone, Debug)]
enum Event {
    Create { goal: Goal, threads: usize, delay: u64, every: Option<u64>, lowest: bool },
    Cancel(usize),
    GoalReached(usize),
    Found(usize, u64),
    Hashed(usize, u64),
    Pass { seconds: u64, jump: i64 },
}

fn event() -> impl Strategy<Value = Event> {
    let count = (1_u32..4).prop_map(|count| Goal::Blocks(NonZeroU32::new(count).unwrap()));
    let goal = prop_oneof![
        count,
        (0_u64..100).prop_map(|more| Goal::Until(Until::Time(START + more))),
        Just(Goal::Until(Until::Height(7))),
        Just(Goal::Forever),
    ];
    let every = proptest::option::weighted(0.2, 1_u64..20);
    prop_oneof![
        (goal, 1_usize..6, 0_u64..10, every, proptest::bool::weighted(0.2)).prop_map(
            |(goal, threads, delay, every, lowest)| Event::Create {
                goal,
                threads,
                delay,
                every,
                lowest
            }
        ),
        (0_usize..20).prop_map(Event::Cancel),
        (0_usize..20).prop_map(Event::GoalReached),
        (0_usize..20, 1_u64..50).prop_map(|(job, block)| Event::Found(job, block)),
        (0_usize..20, 1_u64..50).prop_map(|(job, hashes)| Event::Hashed(job, hashes)),
        (0_u64..15, -200_i64..200).prop_map(|(seconds, jump)| Event::Pass { seconds, jump }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    // G03, G05
    #[test]
    fn states_move_forward_within_thread_limit_and_journal_restores_jobs(
        events in proptest::collection::vec(event(), 1..80)
    ) {
        let mut machine = machine();
        let (mut now, mut ids) = (at(0), Vec::<Id>::new());
        let mut states = HashMap::<Id, State>::new();
        let mut threads = HashMap::<Id, usize>::new();
        let mut written = Vec::new();
        for event in events {
            let id = |at: usize| ids.get(at % ids.len().max(1)).copied();
            let input = match event {
                Event::Create { goal, threads, delay, every, lowest } => {
                    let spec = JobSpec {
                        start: if delay == 0 { Start::Now } else { Start::In(delay) },
                        every_seconds: every.and_then(NonZeroU64::new),
                        priority: if lowest { Priority::Lowest } else { Priority::Normal },
                        ..spec(goal, threads)
                    };
                    let _ = machine.create(spec, None, Height::GENESIS, now);
                    None
                }
                Event::Cancel(at) => id(at).map(Input::Cancel),
                Event::GoalReached(at) => id(at).map(Input::GoalReached),
                Event::Found(at, number) => id(at).map(|id| {
                    Input::BlockFound { id, block: block(number), height: Height::new(3) }
                }),
                Event::Hashed(at, hashes) => id(at).map(|id| Input::Hashed(id, Hashing { hashes, expected_nanoblocks: 3 * hashes })),
                Event::Pass { seconds, jump } => {
                    now.elapsed += Duration::from_secs(seconds);
                    now.unix = now.unix.saturating_add(seconds).saturating_add_signed(jump);
                    Some(Input::Tick)
                }
            };
            // Only jobs that mine find blocks; a series does not mine.
            let is_mined = |id: &Id| {
                machine.job(*id).is_some_and(|(job, ..)| {
                    !job.is_series() && job.started_at.is_some()
                })
            };
            match input {
                Some(Input::BlockFound { id, .. } | Input::Hashed(id, _)) if !is_mined(&id) => {}
                Some(input) => machine.step(input, now),
                None => {}
            }
            for action in machine.actions() {
                match action {
                    Action::SetThreads(id, count) => drop(threads.insert(id, count)),
                    Action::StopMining(id) => drop(threads.remove(&id)),
                    Action::Publish(_) => {}
                }
                // The limit holds after every action, not only after all of them.
                prop_assert!(threads.values().sum::<usize>() <= MAX_THREADS);
            }
            for (job, count) in machine.newest() {
                prop_assert_eq!(threads.get(&job.id).copied().unwrap_or(0), count);
                let before = states.insert(job.id, job.state).unwrap_or(State::Scheduled);
                let yields = job.spec.priority == Priority::Lowest
                    && (before, job.state) == (State::Running, State::Queued);
                let is_forward = if before.is_terminal() {
                    job.state == before
                } else {
                    job.state >= before || yields
                };
                prop_assert!(is_forward, "{:?} to {:?}", before, job.state);
                let has_all = job.state != State::Running || job.is_series() || count > 0;
                prop_assert!(has_all, "running without threads");
            }
            ids = machine.newest().map(|(job, _)| job.id).collect();
            written.extend(if ids.len() % 7 == 6 { machine.all_records() } else { machine.changed_records() });
        }
        let replayed = Machine::replayed(&written);
        let all = |machine: &Machine| -> Vec<(Job, Vec<block::Hash>)> {
            let ids = machine.newest().map(|(job, _)| job.id);
            ids.map(|id| machine.job(id).unwrap()).map(|(job, found, _)| (job.clone(), found.to_vec())).collect()
        };
        prop_assert_eq!(all(&replayed), all(&machine));
    }
}
