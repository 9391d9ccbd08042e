//! Hashes a second from a running total, over the last seconds. Time is an argument.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What the rate is an average over, once hashing has gone on for so long.
const WINDOW: Duration = Duration::from_secs(5);

/// Totals at some instants of the window, oldest first; none while nothing is hashed.
#[derive(Debug, Default)]
pub(crate) struct HashRate {
    samples: VecDeque<(Instant, u64)>,
}

impl HashRate {
    /// Time between two samples: the window moves in steps of a twentieth.
    pub(crate) const SPACING: Duration = Duration::from_millis(250);

    /// Hashing begins, or goes on.
    pub(crate) fn start(&mut self, now: Instant, total: u64) {
        if self.samples.is_empty() {
            self.samples.push_back((now, total));
        }
    }

    /// Hashing ends: the rate is 0 until the next start.
    pub(crate) fn stop(&mut self) {
        self.samples.clear();
    }

    /// Moves the window. Samples closer than `SPACING` are left out.
    pub(crate) fn sample(&mut self, now: Instant, total: u64) {
        match self.samples.back() {
            Some((last, _)) if now.duration_since(*last) >= HashRate::SPACING => {}
            _ => return,
        }
        self.samples.push_back((now, total));
        // The first sample is the youngest of those that are at least a window old.
        while self.samples.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= WINDOW) {
            self.samples.pop_front();
        }
    }

    /// Hashes a second.
    pub(crate) fn per_second(&self, now: Instant, total: u64) -> f64 {
        let Some((start, before)) = self.samples.front() else { return 0.0 };
        let seconds = now.duration_since(*start).as_secs_f64();
        if seconds > 0.0 { total.saturating_sub(*before) as f64 / seconds } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_rate(rate: &HashRate, now: Instant, total: u64, expected: f64) {
        let found = rate.per_second(now, total);
        assert!((found - expected).abs() < 1e-6, "{found} instead of {expected}");
    }

    #[test]
    fn the_rate_is_of_the_window_and_forgets_what_was_before() {
        let start = Instant::now();
        let at = |tenths: u32| start + Duration::from_millis(100) * tenths;
        let mut rate = HashRate::default();
        assert_rate(&rate, at(0), 0, 0.0);
        rate.start(at(0), 7_000);
        assert_rate(&rate, at(0), 7_000, 0.0);
        assert_rate(&rate, at(10), 8_000, 1_000.0);
        // 1,000 a second for ten seconds, then 3,000.
        for tenth in 1..=100 {
            rate.sample(at(tenth), 7_000 + 100 * u64::from(tenth));
        }
        assert_rate(&rate, at(100), 17_000, 1_000.0);
        assert!(rate.samples.len() <= 22);
        for tenth in 101..=200 {
            rate.sample(at(tenth), 17_000 + 300 * u64::from(tenth - 100));
        }
        assert_rate(&rate, at(200), 47_000, 3_000.0);
    }

    #[test]
    fn the_rate_is_0_after_a_stop_and_begins_afresh_after_a_start() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut rate = HashRate::default();
        rate.start(at(0), 0);
        rate.sample(at(1), 1_000);
        rate.stop();
        // A thread that finishes late does not start it again.
        rate.sample(at(2), 1_100);
        assert_rate(&rate, at(3), 1_100, 0.0);
        rate.start(at(60), 1_100);
        assert_rate(&rate, at(62), 2_100, 500.0);
    }
}
