//! The public interface of `Miner`: work in, events out.

#![allow(clippy::unwrap_used, reason = "these are tests")]
#![allow(clippy::float_cmp, reason = "the rate of an idle miner is exactly 0")]

use chain::{Bits, Header, Target, Timestamp, block, merkle};
use miner::{Event, Kernel, Miner, Work};
use sha2::{Digest, Sha256};
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// A time-out sufficient for any step, even on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(30);

fn start(threads: usize) -> (Miner, Receiver<Event>) {
    let (sender, events) = channel();
    let on_event = move |event| {
        let _ = sender.send(event);
    };
    (Miner::start(NonZeroUsize::new(threads).unwrap(), on_event).unwrap(), events)
}

fn next(events: &Receiver<Event>) -> Event {
    events.recv_timeout(TIMEOUT).expect("an event")
}

/// The headers found until the work is exhausted.
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

/// Waits until a condition that has no event becomes true.
fn wait_until(condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < TIMEOUT, "the condition never became true");
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

/// Work of which every header is a solution.
fn easy(id: u64) -> Work {
    Work::new(id, header(1), Target::MAX)
}

/// Work of which no header is a solution.
fn unsolvable(id: u64) -> Work {
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

// G04: a space of several batches per version, the last of them short.
#[test]
fn threads_try_each_header_of_the_space_exactly_once() {
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
fn searches_up_to_the_last_nonce_of_the_last_version() {
    let (miner, events) = start(2);
    let (nonces, rolls) = (u32::MAX - 9..=u32::MAX, u16::MAX..=u16::MAX);
    let work = easy(1).within(nonces.clone(), rolls.clone());
    miner.set_work(work.clone());
    assert_eq!(in_order(found(&events, 1)), all_headers(&work, nonces, rolls));
}

#[test]
#[expect(clippy::reversed_empty_ranges, reason = "an empty space is what is tested")]
fn empty_space_is_exhausted_at_once() {
    let (miner, events) = start(2);
    for (id, nonces, rolls) in [(1, 1..=0, 0..=9), (2, 0..=9, 1..=0), (3, u32::MAX..=0, 5..=0)] {
        miner.set_work(easy(id).within(nonces, rolls));
        assert_eq!(found(&events, id), []);
    }
    assert_eq!(miner.hashes(), 0);
}

#[test]
fn finds_exactly_the_headers_that_meet_the_target() {
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
fn finds_bitcoin_genesis_block() {
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
fn mines_with_the_selected_kernel() {
    for kernel in Kernel::available() {
        let (sender, events) = channel();
        let on_event = move |event| sender.send(event).unwrap();
        let miner = Miner::start_with_kernel(kernel, NonZeroUsize::MIN, on_event).unwrap();
        assert_eq!(miner.kernel(), kernel);
        let nonces = 70_000..=70_099;
        let work = easy(1).within(nonces.clone(), 0..=0);
        miner.set_work(work.clone());
        assert_eq!(found(&events, 1), all_headers(&work, nonces, 0..=0));
    }
}

// G01, G02
#[test]
fn new_work_replaces_old_work() {
    let threads = 2;
    let (sender, events) = channel();
    let marker = sender.clone();
    let on_event = move |event| {
        let _ = sender.send(Some(event));
    };
    let miner = Miner::start(NonZeroUsize::new(threads).unwrap(), on_event).unwrap();
    let next = || events.recv_timeout(TIMEOUT).expect("an event");
    miner.set_work(easy(1));
    assert!(matches!(next(), Some(Event::Found { work: 1, .. })));
    miner.set_work(unsolvable(2));
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
    assert!(late <= threads, "{late} solutions of old work; each thread may report one");
}

// G01: the minimum of several attempts, since the machine may be busy.
#[test]
fn new_work_starts_within_10_ms() {
    let (miner, events) = start(2);
    let switch = |id: u64| {
        miner.set_work(unsolvable(2 * id));
        wait_until(|| miner.hash_rate() > 0.0);
        let started = Instant::now();
        miner.set_work(easy(2 * id + 1).within(0..=0, 0..=0));
        assert_eq!(found(&events, 2 * id + 1).len(), 1);
        started.elapsed()
    };
    let fastest = (0..10).map(switch).min().unwrap();
    assert!(fastest < Duration::from_millis(10), "{fastest:?}");
}

#[test]
fn accepts_new_work_after_exhaustion() {
    let (miner, events) = start(3);
    for id in 0..200 {
        miner.set_work(easy(id).within(0..=9, 0..=0));
        assert_eq!(found(&events, id).len(), 10);
    }
    wait_until(|| miner.busy_threads() == 0);
    assert_eq!(miner.hash_rate(), 0.0);
}

// G06
#[test]
fn paused_miner_is_idle_until_new_work() {
    let (miner, events) = start(2);
    wait_until(|| miner.busy_threads() == 0);
    assert_eq!((miner.hashes(), miner.hash_rate()), (0, 0.0));
    miner.set_work(unsolvable(1));
    wait_until(|| miner.busy_threads() == 2 && miner.hashes() > 0 && miner.hash_rate() > 0.0);
    miner.pause();
    assert_eq!(miner.hash_rate(), 0.0);
    wait_until(|| miner.busy_threads() == 0);
    let hashes = miner.hashes();
    // Long enough for many batches.
    assert!(events.recv_timeout(Duration::from_millis(20)).is_err());
    assert_eq!(miner.hashes(), hashes);
    assert_eq!(miner.hash_rate(), 0.0);
    miner.set_work(easy(2).within(0..=4, 0..=0));
    assert_eq!(found(&events, 2).len(), 5);
}

// G06: the minimum of several attempts, since the machine may be busy.
#[test]
fn busy_miner_stops_within_100_ms() {
    let stop = |_| {
        let (miner, events) = start(4);
        miner.set_work(unsolvable(1));
        wait_until(|| miner.hashes() > 0);
        let started = Instant::now();
        miner.stop();
        // All senders are dropped.
        assert_eq!(events.iter().count(), 0);
        started.elapsed()
    };
    let fastest = (0..5).map(stop).min().unwrap();
    assert!(fastest < Duration::from_millis(100), "{fastest:?}");
}

// G08
#[test]
fn restarts_and_counts_threads_that_panic() {
    let (sender, events) = channel();
    let on_event = move |event| {
        sender.send(event).unwrap();
        if matches!(event, Event::Found { work: 1, .. }) {
            // A panic without a message on stderr.
            std::panic::resume_unwind(Box::new("lost"));
        }
    };
    let miner = Miner::start(NonZeroUsize::MIN, on_event).unwrap();
    miner.set_work(easy(1).within(0..=0, 0..=2));
    let found_despite_panics = found(&events, 1);
    assert_eq!(in_order(found_despite_panics), all_headers(&easy(1), 0..=0, 0..=2));
    assert_eq!(miner.restarts(), 3);
    miner.set_work(easy(2).within(0..=9, 0..=0));
    assert_eq!(found(&events, 2).len(), 10);
    assert_eq!(miner.restarts(), 3);
}

#[test]
fn event_callback_may_set_new_work() {
    let (sender, events) = channel();
    let (miner_sender, miner_receiver) = channel::<std::sync::Weak<Miner>>();
    let miner_receiver = std::sync::Mutex::new(miner_receiver);
    let on_event = move |event| {
        if event == (Event::Exhausted { work: 1 }) {
            let miner = miner_receiver.lock().unwrap().recv().unwrap();
            miner.upgrade().unwrap().set_work(easy(2).within(0..=0, 0..=0));
        }
        sender.send(event).unwrap();
    };
    let miner = std::sync::Arc::new(Miner::start(NonZeroUsize::MIN, on_event).unwrap());
    miner_sender.send(std::sync::Arc::downgrade(&miner)).unwrap();
    miner.set_work(unsolvable(1).within(0..=9, 0..=0));
    assert_eq!(found(&events, 1), []);
    assert_eq!(found(&events, 2).len(), 1);
}
