//! A miner as its caller sees it: work goes in, events come out.

#![allow(clippy::unwrap_used, reason = "these are tests")]
#![allow(clippy::float_cmp, reason = "a rate of nothing is exactly 0")]

use chain::{Bits, Header, Target, Timestamp, block, merkle};
use miner::{Event, Kernel, Miner, Work};
use sha2::{Digest, Sha256};
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Longer than anything here takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn start(threads: usize) -> (Miner, Receiver<Event>) {
    let (sender, events) = channel();
    let report = move |event| {
        let _ = sender.send(event);
    };
    (Miner::start(NonZeroUsize::new(threads).unwrap(), report).unwrap(), events)
}

fn next(events: &Receiver<Event>) -> Event {
    events.recv_timeout(PATIENCE).expect("an event")
}

/// What is found until the work is exhausted.
fn found(events: &Receiver<Event>, id: u64) -> Vec<Header> {
    let mut headers = Vec::new();
    loop {
        match next(events) {
            Event::Found { work, header } => {
                assert_eq!(work, id);
                headers.push(header);
            }
            Event::Exhausted { work } => {
                assert_eq!(work, id);
                return headers;
            }
        }
    }
}

/// Waits for what no event tells.
fn until(condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "it never came true");
        std::thread::yield_now();
    }
}

fn header(time: u32) -> Header {
    Header {
        version: Header::VERSION,
        previous: block::Hash::from_bytes([7; 32]),
        merkle_root: merkle::Root::from_bytes([9; 32]),
        time: Timestamp::new(time),
        bits: Bits::new(0x207f_ffff),
        nonce: 0,
    }
}

/// Every header is a hit.
fn easy(id: u64) -> Work {
    Work::new(id, header(1), Target::MAX)
}

/// No header is a hit.
fn hopeless(id: u64) -> Work {
    let mut one = [0; 32];
    one[31] = 1;
    Work::new(id, header(2), Target::from_be_bytes(one).unwrap())
}

fn all_headers(
    work: &Work,
    nonces: RangeInclusive<u32>,
    rolls: RangeInclusive<u16>,
) -> Vec<Header> {
    rolls.flat_map(|roll| nonces.clone().map(move |nonce| work.header(roll, nonce))).collect()
}

fn in_order(mut headers: Vec<Header>) -> Vec<Header> {
    headers.sort_by_key(|header| (header.version, header.nonce));
    headers
}

// G04: a space of several batches a version, the last of them short.
#[test]
fn any_number_of_threads_tries_each_header_of_the_space_once() {
    for threads in 1..=4 {
        let (miner, events) = start(threads);
        let (nonces, rolls) = (5_000..=14_321, 3..=5);
        let work = easy(1).within(nonces.clone(), rolls.clone());
        miner.set_work(work.clone());
        let found = in_order(found(&events, 1));
        assert!(found == all_headers(&work, nonces, rolls), "{threads} threads");
        assert_eq!(miner.hashes(), found.len() as u64);
        assert_eq!((miner.threads(), miner.restarts()), (threads, 0));
        miner.stop();
        assert_eq!(events.iter().collect::<Vec<_>>(), [], "exhaustion is reported once");
    }
}

#[test]
fn the_space_may_end_at_the_last_nonce_of_the_last_version() {
    let (miner, events) = start(2);
    let (nonces, rolls) = (u32::MAX - 9..=u32::MAX, u16::MAX..=u16::MAX);
    let work = easy(1).within(nonces.clone(), rolls.clone());
    miner.set_work(work.clone());
    assert_eq!(in_order(found(&events, 1)), all_headers(&work, nonces, rolls));
}

#[test]
#[expect(clippy::reversed_empty_ranges, reason = "an empty space is what is tested")]
fn an_empty_space_is_exhausted_at_once() {
    let (miner, events) = start(2);
    for (id, nonces, rolls) in [(1, 1..=0, 0..=9), (2, 0..=9, 1..=0), (3, u32::MAX..=0, 5..=0)] {
        miner.set_work(easy(id).within(nonces, rolls));
        assert_eq!(found(&events, id), []);
    }
    assert_eq!(miner.hashes(), 0);
}

#[test]
fn finds_all_headers_that_meet_the_target_and_no_other() {
    let mut target = [0xff; 32];
    target[..2].copy_from_slice(&[0, 0x80]);
    let target = Target::from_be_bytes(target).unwrap();
    let (nonces, rolls) = (0..=29_999, 0..=1);
    let work = Work::new(1, header(3), target);
    let mut expected = all_headers(&work, nonces.clone(), rolls.clone());
    expected.retain(|header| {
        let mut digest: [u8; 32] = Sha256::digest(Sha256::digest(header.encode())).into();
        digest.reverse();
        digest <= target.to_be_bytes()
    });
    assert!(expected.len() > 50);
    let (miner, events) = start(2);
    miner.set_work(work.within(nonces, rolls));
    assert_eq!(in_order(found(&events, 1)), in_order(expected));
}

#[test]
fn finds_bitcoins_first_block() {
    let bits = Bits::new(0x1d00_ffff);
    let merkle_root = "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b";
    let header = Header {
        version: 1,
        previous: block::Hash::ZERO,
        merkle_root: merkle_root.parse().unwrap(),
        time: Timestamp::new(1_231_006_505),
        bits,
        nonce: 0,
    };
    let (miner, events) = start(2);
    let near = 2_083_200_000..=2_083_300_000;
    miner.set_work(Work::new(1, header, bits.target().unwrap()).within(near, 0..=0));
    assert_eq!(found(&events, 1), [Header { nonce: 2_083_236_893, ..header }]);
}

#[test]
fn every_kernel_that_is_named_is_the_one_that_mines() {
    for kernel in Kernel::available() {
        let (sender, events) = channel();
        let report = move |event| sender.send(event).unwrap();
        let miner = Miner::start_with_kernel(kernel, NonZeroUsize::MIN, report).unwrap();
        assert_eq!(miner.kernel(), kernel);
        let nonces = 70_000..=70_099;
        let work = easy(1).within(nonces.clone(), 0..=0);
        miner.set_work(work.clone());
        assert_eq!(found(&events, 1), all_headers(&work, nonces, 0..=0));
    }
}

// G01, G02
#[test]
fn new_work_replaces_the_old() {
    let threads = 2;
    let (sender, events) = channel();
    let marker = sender.clone();
    let report = move |event| {
        let _ = sender.send(Some(event));
    };
    let miner = Miner::start(NonZeroUsize::new(threads).unwrap(), report).unwrap();
    let next = || events.recv_timeout(PATIENCE).expect("an event");
    miner.set_work(easy(1));
    assert!(matches!(next(), Some(Event::Found { work: 1, .. })));
    miner.set_work(hopeless(2));
    marker.send(None).unwrap();
    miner.set_work(easy(3).within(0..=99, 0..=0));
    while next().is_some() {}
    let (mut late, mut new) = (0, 0);
    loop {
        match next().unwrap() {
            Event::Found { work: 1, .. } => late += 1,
            Event::Found { work: 3, .. } => new += 1,
            Event::Exhausted { work: 3 } => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(new, 100);
    assert!(late <= threads, "{late} hits of old work, and each thread may have had one in hand");
}

// G01: the least of some attempts, for the machine may be busy with something else.
#[test]
fn new_work_begins_within_10_ms() {
    let (miner, events) = start(2);
    let switch = |id: u64| {
        miner.set_work(hopeless(2 * id));
        until(|| miner.hash_rate() > 0.0);
        let started = Instant::now();
        miner.set_work(easy(2 * id + 1).within(0..=0, 0..=0));
        assert_eq!(found(&events, 2 * id + 1).len(), 1);
        started.elapsed()
    };
    let least = (0..10).map(switch).min().unwrap();
    assert!(least < Duration::from_millis(10), "{least:?}");
}

#[test]
fn exhausted_work_leaves_the_miner_ready_for_more() {
    let (miner, events) = start(3);
    for id in 0..200 {
        miner.set_work(easy(id).within(0..=9, 0..=0));
        assert_eq!(found(&events, id).len(), 10);
    }
    until(|| miner.busy_threads() == 0);
    assert_eq!(miner.hash_rate(), 0.0);
}

// G06
#[test]
fn a_paused_miner_hashes_nothing_until_it_has_work_again() {
    let (miner, events) = start(2);
    until(|| miner.busy_threads() == 0);
    assert_eq!((miner.hashes(), miner.hash_rate()), (0, 0.0));
    miner.set_work(hopeless(1));
    until(|| miner.busy_threads() == 2 && miner.hashes() > 0 && miner.hash_rate() > 0.0);
    miner.pause();
    assert_eq!(miner.hash_rate(), 0.0);
    until(|| miner.busy_threads() == 0);
    let hashes = miner.hashes();
    // Many batches' time.
    assert!(events.recv_timeout(Duration::from_millis(20)).is_err());
    assert_eq!(miner.hashes(), hashes);
    assert_eq!(miner.hash_rate(), 0.0);
    miner.set_work(easy(2).within(0..=4, 0..=0));
    assert_eq!(found(&events, 2).len(), 5);
}

// G06: the least of some attempts, as above.
#[test]
fn a_working_miner_stops_within_100_ms() {
    let stop = |_| {
        let (miner, events) = start(4);
        miner.set_work(hopeless(1));
        until(|| miner.hashes() > 0);
        let started = Instant::now();
        miner.stop();
        // Nobody is left who could send.
        assert_eq!(events.iter().count(), 0);
        started.elapsed()
    };
    let least = (0..5).map(stop).min().unwrap();
    assert!(least < Duration::from_millis(100), "{least:?}");
}

// G08
#[test]
fn a_thread_that_panics_is_restarted_and_counted() {
    let (sender, events) = channel();
    let report = move |event| {
        sender.send(event).unwrap();
        if matches!(event, Event::Found { work: 1, .. }) {
            // A panic without its message.
            std::panic::resume_unwind(Box::new("lost"));
        }
    };
    let miner = Miner::start(NonZeroUsize::MIN, report).unwrap();
    miner.set_work(easy(1).within(0..=0, 0..=2));
    let found_in_spite = found(&events, 1);
    assert_eq!(in_order(found_in_spite), all_headers(&easy(1), 0..=0, 0..=2));
    assert_eq!(miner.restarts(), 3);
    miner.set_work(easy(2).within(0..=9, 0..=0));
    assert_eq!(found(&events, 2).len(), 10);
    assert_eq!(miner.restarts(), 3);
}

#[test]
fn events_may_give_new_work() {
    let (sender, events) = channel();
    let (give, given) = channel::<std::sync::Weak<Miner>>();
    let given = std::sync::Mutex::new(given);
    let report = move |event| {
        if event == (Event::Exhausted { work: 1 }) {
            let miner = given.lock().unwrap().recv().unwrap();
            miner.upgrade().unwrap().set_work(easy(2).within(0..=0, 0..=0));
        }
        sender.send(event).unwrap();
    };
    let miner = std::sync::Arc::new(Miner::start(NonZeroUsize::MIN, report).unwrap());
    give.send(std::sync::Arc::downgrade(&miner)).unwrap();
    miner.set_work(hopeless(1).within(0..=9, 0..=0));
    assert_eq!(found(&events, 1), []);
    assert_eq!(found(&events, 2).len(), 1);
}
