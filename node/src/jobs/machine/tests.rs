use super::*;
use chain::Address;
use proptest::prelude::*;
use std::num::{NonZeroU32, NonZeroU64};

const BUDGET: usize = 4;
/// Some day in 2023.
const NOON: u64 = 1_700_000_000;

fn machine() -> Machine {
    Machine::new(NonZeroUsize::new(BUDGET).unwrap(), [7; 32])
}

fn at(seconds: u64) -> Now {
    Now { unix: NOON + seconds, elapsed: Duration::from_secs(1_000 + seconds) }
}

fn order(goal: Goal, threads: usize) -> Order {
    Order {
        miner: Address::ZERO,
        goal,
        threads: NonZeroUsize::new(threads).unwrap(),
        start: Start::Now,
        every_seconds: None,
        priority: Priority::Normal,
        of_process: false,
    }
}

fn blocks(count: u32, threads: usize) -> Order {
    order(Goal::Blocks(NonZeroU32::new(count).unwrap()), threads)
}

fn standing() -> Order {
    Order::standing(Address::ZERO, NonZeroUsize::new(BUDGET).unwrap())
}

fn block(number: u64) -> block::Hash {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    block::Hash::from_bytes(bytes)
}

impl Machine {
    fn take(&mut self, order: Order, now: Now) -> Id {
        self.create(order, None, Height::GENESIS, now).unwrap()
    }

    #[track_caller]
    fn is(&self, id: Id, state: State, threads: usize) {
        let (job, _, has) = self.job(id).unwrap();
        assert_eq!((job.state, has), (state, threads));
    }

    fn finds(&mut self, id: Id, number: u64, now: Now) {
        let height = Height::new(u32::try_from(number).unwrap());
        self.step(Input::Found { id, block: block(number), height }, now);
    }

    /// As a machine that was told all of this and then ended abruptly.
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
fn a_job_runs_at_once_and_succeeds_with_its_last_block() {
    let mut machine = machine();
    let id = machine.take(blocks(2, 3), at(0));
    machine.is(id, State::Running, 3);
    assert_eq!(machine.actions(), [Action::Threads(id, 3), Action::Tell(id)]);
    machine.finds(id, 1, at(1));
    machine.finds(id, 1, at(1));
    machine.is(id, State::Running, 3);
    machine.finds(id, 2, at(5));
    machine.is(id, State::Succeeded, 0);
    assert_eq!(machine.actions(), [Action::End(id), Action::Tell(id)]);
    let (job, found, _) = machine.job(id).unwrap();
    assert_eq!((job.blocks, found), (2, [block(1), block(2)].as_slice()));
    assert_eq!((job.started_at, job.finished_at), (Some(NOON), Some(NOON + 5)));
    // Whatever comes now, that is how it ended.
    machine.step(Input::Cancel(id), at(6));
    machine.step(Input::Met(id), at(6));
    machine.is(id, State::Succeeded, 0);
    assert_eq!(machine.actions(), []);
}

// G05: jobs share the threads there are; who came first has them first, and keeps them.
#[test]
fn later_jobs_wait_for_threads_and_get_more_as_others_end() {
    let mut machine = machine();
    let first = machine.take(blocks(1, 3), at(0));
    let second = machine.take(blocks(1, 3), at(0));
    let third = machine.take(blocks(1, 4), at(0));
    machine.is(first, State::Running, 3);
    machine.is(second, State::Running, 1);
    machine.is(third, State::Queued, 0);
    machine.actions();
    machine.step(Input::Cancel(first), at(1));
    machine.is(second, State::Running, 3);
    machine.is(third, State::Running, 1);
    let given = [Action::Threads(second, 3), Action::Threads(third, 1)];
    assert_eq!(machine.actions()[..3], [&[Action::End(first)], &given[..]].concat());
    machine.finds(second, 1, at(2));
    machine.is(third, State::Running, 4);
}

#[test]
fn what_is_mined_all_the_time_yields_to_others_and_comes_back() {
    let mut machine = machine();
    let always = machine.take(standing(), at(0));
    machine.is(always, State::Running, 4);
    let small = machine.take(blocks(1, 1), at(0));
    machine.is(always, State::Running, 3);
    machine.actions();
    let large = machine.take(order(Goal::Forever, 4), at(0));
    machine.is(always, State::Queued, 0);
    machine.is(large, State::Running, 3);
    // Taken before given: at no moment are there more.
    let actions = machine.actions();
    assert_eq!(actions[..2], [Action::Threads(always, 0), Action::Threads(large, 3)]);
    machine.step(Input::Cancel(small), at(1));
    machine.is(always, State::Queued, 0);
    machine.step(Input::Cancel(large), at(1));
    machine.is(always, State::Running, 4);
}

// G03: a delay is a delay wherever the clock is set; a time is a time by the clock.
#[test]
fn a_clock_that_jumps_changes_no_delay() {
    let mut machine = machine();
    let delayed = Order { start: Start::In(60), ..blocks(1, 1) };
    let delayed = machine.take(delayed, at(0));
    let timed = Order { start: Start::At(NOON + 60), ..blocks(1, 1) };
    let timed = machine.take(timed, at(0));
    let jumped = |seconds: u64, hours: i64| {
        let now = at(seconds);
        Now { unix: now.unix.checked_add_signed(hours * 3_600).unwrap(), ..now }
    };
    machine.step(Input::Time, jumped(10, -2));
    machine.is(timed, State::Scheduled, 0);
    machine.step(Input::Time, jumped(59, -2));
    machine.is(delayed, State::Scheduled, 0);
    machine.step(Input::Time, jumped(60, -2));
    machine.is(delayed, State::Running, 1);
    machine.is(timed, State::Scheduled, 0);
    machine.step(Input::Time, jumped(61, 2));
    machine.is(timed, State::Running, 1);
}

#[test]
fn a_time_ends_a_job_that_mines_until_then_or_still_waits() {
    let mut machine = machine();
    let until = order(Goal::Until(Until::Time(NOON + 10)), 4);
    let (running, waiting) = (machine.take(until, at(0)), machine.take(until, at(0)));
    machine.step(Input::Time, at(9));
    machine.is(running, State::Running, 4);
    machine.is(waiting, State::Queued, 0);
    machine.step(Input::Time, at(10));
    machine.is(running, State::Succeeded, 0);
    machine.is(waiting, State::Succeeded, 0);
    let late = machine.create(until, None, Height::GENESIS, at(10));
    assert_eq!(late, Err(Refused::Past));
}

#[test]
fn a_recurring_job_has_runs_that_do_not_drift_or_overlap() {
    let mut machine = machine();
    let every = NonZeroU64::new(10);
    let start = Start::In(5);
    let series = Order { start, every_seconds: every, ..blocks(1, 2) };
    let series = machine.take(series, at(0));
    machine.is(series, State::Scheduled, 0);
    let runs = |machine: &Machine| {
        let runs = machine.newest(u64::MAX).filter(|(job, _)| job.series == Some(series));
        runs.map(|(job, _)| job.id).collect::<Vec<_>>()
    };
    machine.step(Input::Time, at(7));
    machine.is(series, State::Running, 0);
    let first = runs(&machine)[0];
    machine.is(first, State::Running, 2);
    assert_eq!(machine.job(series).unwrap().0.due_at, NOON + 15, "from when it was due");
    // It takes longer than to the next one, and the one after that: those are left out.
    machine.step(Input::Time, at(16));
    machine.step(Input::Time, at(27));
    assert_eq!(runs(&machine), [first]);
    machine.finds(first, 1, at(28));
    machine.is(first, State::Succeeded, 0);
    machine.step(Input::Time, at(34));
    assert_eq!(runs(&machine).len(), 1);
    machine.step(Input::Time, at(35));
    let second = runs(&machine)[0];
    machine.is(second, State::Running, 2);
    machine.finds(second, 2, at(36));
    let (job, found, _) = machine.job(series).unwrap();
    assert_eq!((job.state, job.runs, job.blocks), (State::Running, 2, 2));
    assert_eq!(found, [block(1), block(2)]);
    // Cancelled with its run.
    machine.step(Input::Time, at(45));
    let third = runs(&machine)[0];
    machine.step(Input::Cancel(series), at(46));
    machine.is(series, State::Cancelled, 0);
    machine.is(third, State::Cancelled, 0);
    machine.step(Input::Time, at(1_000));
    assert_eq!(runs(&machine).len(), 3);
    // Nor does a long sleep make up for what was missed.
    let series = Order { every_seconds: every, ..blocks(1, 2) };
    let series = machine.take(series, at(2_000));
    machine.step(Input::Time, at(9_999));
    let (job, ..) = machine.job(series).unwrap();
    assert_eq!((job.runs, job.due_at), (1, NOON + 10_000));
}

#[test]
fn orders_that_make_no_sense_are_refused() {
    let mut machine = machine();
    let mut refused = |order| machine.create(order, None, Height::GENESIS, at(0)).unwrap_err();
    assert_eq!(refused(blocks(1, 5)), Refused::Threads { asked: 5, limit: 4 });
    assert_eq!(refused(blocks(MAX_BLOCKS + 1, 1)), Refused::Blocks(MAX_BLOCKS + 1));
    let endless = Order { every_seconds: NonZeroU64::new(1), ..order(Goal::Forever, 1) };
    assert_eq!(refused(endless), Refused::EndlessRuns);
    assert_eq!(machine.newest(u64::MAX).count(), 0);
}

#[test]
fn a_key_gives_the_job_it_gave_before() {
    let mut machine = machine();
    let key = |request| Some(Key { text: "a".to_owned(), request: [request; 32] });
    let mut take = |key, now| machine.create(blocks(1, 1), key, Height::GENESIS, now);
    let id = take(key(1), at(0)).unwrap();
    assert_eq!(take(key(1), at(1)), Ok(id));
    assert_eq!(take(key(2), at(1)), Err(Refused::OtherRequest));
    assert_ne!(take(None, at(1)), Ok(id));
    // Also after a restart.
    let mut machine = Machine::replayed(&machine.all());
    assert_eq!(machine.create(blocks(1, 1), key(1), Height::GENESIS, at(2)), Ok(id));
    machine.release_key(id);
    assert_ne!(machine.create(blocks(1, 1), key(2), Height::GENESIS, at(2)), Ok(id));
}

#[test]
fn only_so_many_jobs_are_open_or_remembered() {
    let mut machine = machine();
    let ids: Vec<Id> = (0..MAX_OPEN).map(|_| machine.take(blocks(1, 1), at(0))).collect();
    let one_more = machine.create(blocks(1, 1), None, Height::GENESIS, at(0));
    assert_eq!(one_more, Err(Refused::Full));
    // The last one ends first, so it is the first to be forgotten.
    for id in ids.iter().rev() {
        machine.step(Input::Cancel(*id), at(1));
        machine.step(Input::Time, at(2));
    }
    let after = machine.take(blocks(1, 1), at(3));
    machine.step(Input::Cancel(after), at(4));
    assert!(machine.job(ids[MAX_OPEN - 1]).is_some() != machine.job(ids[0]).is_some());
    assert!(machine.job(after).is_some());
    assert_eq!(machine.newest(u64::MAX).count(), MAX_FINISHED);
}

#[test]
fn a_restart_goes_on_with_what_was_there() {
    let mut before = machine();
    let always = before.take(standing(), at(0));
    let running = before.take(blocks(3, 2), at(0));
    let delayed = before.take(Order { start: Start::In(60), ..blocks(1, 1) }, at(0));
    let own = Order { of_process: true, ..blocks(5, 1) };
    let own = before.take(own, at(0));
    before.finds(running, 1, at(5));
    let all = before.all();

    // The clock went an hour back meanwhile, and this is another process.
    let now = Now { unix: NOON - 3_600, elapsed: Duration::ZERO };
    let mut after = Machine::replayed(&all);
    // One block was found and saved, but nobody came to write it down.
    let uncounted: Vec<Id> = after.uncounted().iter().map(|job| job.id).collect();
    assert_eq!(uncounted, [always, running, own]);
    after.count(running, block(1), Height::new(1), now);
    after.count(running, block(2), Height::new(2), now);
    after.resume(Some(standing()), Height::new(2), now);
    after.is(running, State::Running, 2);
    after.is(always, State::Running, 2);
    assert_eq!(after.job(running).unwrap().0.blocks, 2);
    let (job, ..) = after.job(own).unwrap();
    let kind = job.failure.as_ref().map(|failure| failure.kind);
    assert_eq!((job.state, kind), (State::Failed, Some(FailureKind::Interrupted)));
    // Not longer than it was to be.
    after.step(Input::Time, Now { elapsed: Duration::from_secs(59), ..now });
    after.is(delayed, State::Scheduled, 0);
    after.step(Input::Time, Now { elapsed: Duration::from_secs(60), ..now });
    after.is(delayed, State::Running, 1);

    // Without being told to mine all the time, the node does not.
    let mut after = Machine::replayed(&all);
    after.resume(None, Height::new(2), at(9));
    after.is(always, State::Failed, 0);
    // With fewer threads whoever had some still runs, but has to wait.
    let mut fewer = Machine::new(NonZeroUsize::MIN, [8; 32]);
    let other = before.take(blocks(1, 2), at(6));
    before.all().into_iter().for_each(|record| fewer.replay(record));
    fewer.resume(None, Height::new(2), at(9));
    fewer.is(running, State::Running, 1);
    fewer.is(other, State::Running, 0);
}

#[test]
fn the_block_that_was_the_last_one_needed_ends_the_job_at_the_restart() {
    let mut before = machine();
    let id = before.take(blocks(1, 1), at(0));
    let mut after = Machine::replayed(&before.all());
    after.count(id, block(1), Height::new(1), at(1));
    after.resume(None, Height::new(1), at(1));
    after.is(id, State::Succeeded, 0);
}

/// What may happen.
#[derive(Clone, Debug)]
enum Event {
    Create { goal: Goal, threads: usize, delay: u64, every: Option<u64>, lowest: bool },
    Cancel(usize),
    Met(usize),
    Found(usize, u64),
    Hashed(usize, u64),
    Pass { seconds: u64, jump: i64 },
}

fn event() -> impl Strategy<Value = Event> {
    let count = (1_u32..4).prop_map(|count| Goal::Blocks(NonZeroU32::new(count).unwrap()));
    let goal = prop_oneof![
        count,
        (0_u64..100).prop_map(|more| Goal::Until(Until::Time(NOON + more))),
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
        (0_usize..20).prop_map(Event::Met),
        (0_usize..20, 1_u64..50).prop_map(|(job, block)| Event::Found(job, block)),
        (0_usize..20, 1_u64..50).prop_map(|(job, hashes)| Event::Hashed(job, hashes)),
        (0_u64..15, -200_i64..200).prop_map(|(seconds, jump)| Event::Pass { seconds, jump }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    // G03, G05
    #[test]
    fn states_only_go_forward_threads_suffice_and_the_journal_tells_all(
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
                    let order = Order {
                        start: if delay == 0 { Start::Now } else { Start::In(delay) },
                        every_seconds: every.and_then(NonZeroU64::new),
                        priority: if lowest { Priority::Lowest } else { Priority::Normal },
                        ..order(goal, threads)
                    };
                    let _ = machine.create(order, None, Height::GENESIS, now);
                    None
                }
                Event::Cancel(at) => id(at).map(Input::Cancel),
                Event::Met(at) => id(at).map(Input::Met),
                Event::Found(at, number) => id(at).map(|id| {
                    Input::Found { id, block: block(number), height: Height::new(3) }
                }),
                Event::Hashed(at, hashes) => id(at).map(|id| Input::Hashed(id, hashes)),
                Event::Pass { seconds, jump } => {
                    now.elapsed += Duration::from_secs(seconds);
                    now.unix = now.unix.saturating_add(seconds).saturating_add_signed(jump);
                    Some(Input::Time)
                }
            };
            // Only what is mined finds something, and a series is not.
            let is_mined = |id: &Id| {
                machine.job(*id).is_some_and(|(job, ..)| {
                    !job.is_series() && job.started_at.is_some()
                })
            };
            match input {
                Some(Input::Found { id, .. } | Input::Hashed(id, _)) if !is_mined(&id) => {}
                Some(input) => machine.step(input, now),
                None => {}
            }
            for action in machine.actions() {
                match action {
                    Action::Threads(id, count) => drop(threads.insert(id, count)),
                    Action::End(id) => drop(threads.remove(&id)),
                    Action::Tell(_) => {}
                }
                // At every moment, not only in the end.
                prop_assert!(threads.values().sum::<usize>() <= BUDGET);
            }
            for (job, count) in machine.newest(u64::MAX) {
                prop_assert_eq!(threads.get(&job.id).copied().unwrap_or(0), count);
                let before = states.insert(job.id, job.state).unwrap_or(State::Scheduled);
                let yields = job.order.priority == Priority::Lowest
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
            ids = machine.newest(u64::MAX).map(|(job, _)| job.id).collect();
            written.extend(if ids.len() % 7 == 6 { machine.all() } else { machine.changes() });
        }
        let replayed = Machine::replayed(&written);
        let all = |machine: &Machine| -> Vec<(Job, Vec<block::Hash>)> {
            let ids = machine.newest(u64::MAX).map(|(job, _)| job.id);
            ids.map(|id| machine.job(id).unwrap()).map(|(job, found, _)| (job.clone(), found.to_vec())).collect()
        };
        prop_assert_eq!(all(&replayed), all(&machine));
    }
}
