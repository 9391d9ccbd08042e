//! What counts: cheap to change from any thread, and read now and then. Relaxed atomics: a reader
//! may see one of two changes before the other, but nothing twice.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn increment(&self) {
        self.add(1);
    }

    /// So many more.
    pub fn add(&self, count: usize) {
        self.0.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// How many there were.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How many there are.
#[derive(Debug, Default)]
pub struct Gauge(AtomicUsize);

impl Gauge {
    /// One more, until what this returns is dropped.
    pub fn enter(self: &Arc<Gauge>) -> InProgress {
        self.0.fetch_add(1, Ordering::Relaxed);
        InProgress(Arc::clone(self))
    }

    /// How many there are.
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// One of those that a gauge counts.
#[derive(Debug)]
pub struct InProgress(Arc<Gauge>);

impl Drop for InProgress {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts by a reason. Reasons are constants of the program, so there are only so many.
#[derive(Debug, Default)]
pub struct CounterVec(Mutex<BTreeMap<&'static str, u64>>);

impl CounterVec {
    /// One more.
    pub fn count(&self, reason: &'static str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(reason).or_default() += 1;
    }

    /// Every reason there was, and how often.
    pub fn get(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// How many values fall where, and their sum.
#[derive(Debug)]
pub struct Histogram {
    /// The upper ends of all buckets but the last, which has none, in units.
    ends: &'static [u64],
    /// Units in one of what is shown.
    scale: f64,
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// Units in a second.
const NANOSECONDS: f64 = 1e9;

/// Microseconds as a histogram of times takes them.
pub const fn nanoseconds<const COUNT: usize>(microseconds: [u64; COUNT]) -> [u64; COUNT] {
    let (mut ends, mut at) = (microseconds, 0);
    while at < COUNT {
        ends[at] *= 1_000;
        at += 1;
    }
    ends
}

impl Histogram {
    /// Of numbers, by upper ends.
    pub fn of_numbers(ends: &'static [u64]) -> Histogram {
        Histogram::new(ends, 1.0)
    }

    /// Of times, shown in seconds, by upper ends in nanoseconds.
    pub fn of_times(ends: &'static [u64]) -> Histogram {
        Histogram::new(ends, NANOSECONDS)
    }

    fn new(ends: &'static [u64], scale: f64) -> Histogram {
        debug_assert!(ends.is_sorted_by(|one, next| one < next), "each end is above the last");
        let counts = (0..=ends.len()).map(|_| AtomicU64::default()).collect();
        Histogram { ends, scale, counts, sum: AtomicU64::default() }
    }

    /// Counts a number.
    pub fn count(&self, value: usize) {
        self.observe(value as u64);
    }

    /// Counts a time.
    pub fn time(&self, time: Duration) {
        self.observe(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    fn observe(&self, value: u64) {
        let bucket = self.ends.partition_point(|end| *end < value);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// What it holds at this moment.
    pub fn get(&self) -> Buckets {
        let (mut count, mut buckets) = (0, Vec::with_capacity(self.ends.len()));
        for (end, bucket) in self.ends.iter().zip(&self.counts) {
            count += bucket.load(Ordering::Relaxed);
            buckets.push((*end as f64 / self.scale, count));
        }
        count += self.counts[self.ends.len()].load(Ordering::Relaxed);
        Buckets { buckets, count, sum: self.sum.load(Ordering::Relaxed) as f64 / self.scale }
    }
}

/// What a histogram holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Buckets {
    /// Upper ends, each with the number of values up to it.
    pub buckets: Vec<(f64, u64)>,
    /// Of all values.
    pub count: u64,
    /// Of all values.
    pub sum: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_counts_up_to_its_bucket_and_in_all_above() {
        let depths = Histogram::of_numbers(&[1, 3, 10]);
        for depth in [1, 2, 3, 3, 11, 0] {
            depths.count(depth);
        }
        let Buckets { buckets, count, sum } = depths.get();
        assert_eq!(buckets, [(1.0, 2), (3.0, 5), (10.0, 5)]);
        assert_eq!((count, sum), (6, 20.0));
    }

    #[test]
    fn times_are_shown_in_seconds() {
        const ENDS: &[u64] = &nanoseconds([50, 2_500, 1_000_000]);
        let times = Histogram::of_times(ENDS);
        for time in [Duration::from_micros(50), Duration::from_millis(1_500), Duration::MAX] {
            times.time(time);
        }
        let Buckets { buckets, count, .. } = times.get();
        assert_eq!(buckets, [(0.000_05, 1), (0.0025, 1), (1.0, 1)]);
        assert_eq!(count, 3);
    }

    #[test]
    fn a_gauge_counts_who_is_there_and_a_tally_each_reason() {
        let gauge = Arc::<Gauge>::default();
        let (one, two) = (gauge.enter(), gauge.enter());
        drop(one);
        assert_eq!(gauge.get(), 1);
        drop(two);
        assert_eq!(gauge.get(), 0);
        let tally = CounterVec::default();
        ["b", "a", "b"].into_iter().for_each(|reason| tally.count(reason));
        assert_eq!(tally.get(), BTreeMap::from([("a", 1), ("b", 2)]));
    }
}
