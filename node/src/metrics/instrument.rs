//! Instruments: cheap to update from any thread. Their atomics are relaxed: a reader may see two updates
//! in another order, but none twice.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A number that only increases.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one to the counter.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds a number to the counter.
    pub fn add(&self, count: usize) {
        self.0.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// The current value of the counter.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number of things present.
#[derive(Debug, Default)]
pub struct Gauge(AtomicUsize);

impl Gauge {
    /// Adds one to the gauge until the returned guard is dropped.
    pub fn enter(self: &Arc<Gauge>) -> InProgress {
        self.0.fetch_add(1, Ordering::Relaxed);
        InProgress(Arc::clone(self))
    }

    /// The current value of the gauge.
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts as one in a gauge until dropped.
#[derive(Debug)]
pub struct InProgress(Arc<Gauge>);

impl Drop for InProgress {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counters by label values, which must be bounded: constants of the program by default.
#[derive(Debug, Default)]
pub struct CounterVec<L = &'static str>(Mutex<BTreeMap<L, u64>>);

impl<L: Ord + Clone> CounterVec<L> {
    /// Adds one to the counter of these label values.
    pub fn count(&self, labels: L) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(labels).or_default() += 1;
    }

    /// The current value of each counter, by label values.
    pub fn get(&self) -> BTreeMap<L, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A histogram of values, and their sum.
#[derive(Debug)]
pub struct Histogram {
    /// The upper bounds of all buckets but the last, which has none, in units.
    bounds: &'static [u64],
    /// Units per exposed unit.
    scale: f64,
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// Units of time histograms per second.
const NANOSECONDS: f64 = 1e9;

/// Converts bounds in microseconds for [`Histogram::of_times`].
pub const fn nanoseconds<const COUNT: usize>(microseconds: [u64; COUNT]) -> [u64; COUNT] {
    let (mut bounds, mut at) = (microseconds, 0);
    while at < COUNT {
        bounds[at] *= 1_000;
        at += 1;
    }
    bounds
}

impl Histogram {
    /// A histogram of numbers with these upper bounds.
    pub fn of_numbers(bounds: &'static [u64]) -> Histogram {
        Histogram::new(bounds, 1.0)
    }

    /// A histogram of times with these upper bounds in nanoseconds, exposed in seconds.
    pub fn of_times(bounds: &'static [u64]) -> Histogram {
        Histogram::new(bounds, NANOSECONDS)
    }

    fn new(bounds: &'static [u64], scale: f64) -> Histogram {
        debug_assert!(bounds.is_sorted_by(|one, next| one < next), "bounds increase");
        let counts = (0..=bounds.len()).map(|_| AtomicU64::default()).collect();
        Histogram { bounds, scale, counts, sum: AtomicU64::default() }
    }

    /// Adds a number to the histogram.
    pub fn count(&self, value: usize) {
        self.observe(value as u64);
    }

    /// Adds a duration to the histogram.
    pub fn time(&self, time: Duration) {
        self.observe(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    fn observe(&self, value: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// The current buckets of the histogram, with its count and sum.
    pub fn get(&self) -> Buckets {
        let (mut count, mut buckets) = (0, Vec::with_capacity(self.bounds.len()));
        for (bound, bucket) in self.bounds.iter().zip(&self.counts) {
            count += bucket.load(Ordering::Relaxed);
            buckets.push((*bound as f64 / self.scale, count));
        }
        count += self.counts[self.bounds.len()].load(Ordering::Relaxed);
        Buckets { buckets, count, sum: self.sum.load(Ordering::Relaxed) as f64 / self.scale }
    }
}

/// The values of a histogram.
#[derive(Clone, Debug, PartialEq)]
pub struct Buckets {
    /// The upper bounds, each with the number of values up to it.
    pub buckets: Vec<(f64, u64)>,
    /// The number of values.
    pub count: u64,
    /// The sum of all values.
    pub sum: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_counts_in_its_bucket_and_all_above() {
        let depths = Histogram::of_numbers(&[1, 3, 10]);
        for depth in [1, 2, 3, 3, 11, 0] {
            depths.count(depth);
        }
        let Buckets { buckets, count, sum } = depths.get();
        assert_eq!(buckets, [(1.0, 2), (3.0, 5), (10.0, 5)]);
        assert_eq!((count, sum), (6, 20.0));
    }

    #[test]
    fn times_are_exposed_in_seconds() {
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
    fn gauge_counts_guards_and_counter_vec_counts_labels() {
        let gauge = Arc::<Gauge>::default();
        let (one, two) = (gauge.enter(), gauge.enter());
        drop(one);
        assert_eq!(gauge.get(), 1);
        drop(two);
        assert_eq!(gauge.get(), 0);
        let counters = CounterVec::default();
        ["b", "a", "b"].into_iter().for_each(|reason| counters.count(reason));
        assert_eq!(counters.get(), BTreeMap::from([("a", 1), ("b", 2)]));
    }
}
