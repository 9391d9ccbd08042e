//! A hash rate meter: hashes per second over a sliding window, from a running total. The time is
//! an argument.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The window that the rate is averaged over, once hashing has run that long.
const WINDOW: Duration = Duration::from_secs(5);

/// Hash totals at instants of the window, oldest first; empty while idle.
#[derive(Debug, Default)]
pub(crate) struct HashRateMeter {
    samples: VecDeque<(Instant, u64)>,
}

impl HashRateMeter {
    /// The time between two samples: the window moves in steps of a twentieth.
    pub(crate) const SAMPLE_INTERVAL: Duration = Duration::from_millis(250);

    /// Starts measuring, unless it already does.
    pub(crate) fn start(&mut self, now: Instant, total: u64) {
        if self.samples.is_empty() {
            self.samples.push_back((now, total));
        }
    }

    /// Stops measuring: the rate is 0 until the next start.
    pub(crate) fn stop(&mut self) {
        self.samples.clear();
    }

    /// Records a total and moves the window. A sample within `SAMPLE_INTERVAL` of the last one is
    /// ignored.
    pub(crate) fn sample(&mut self, now: Instant, total: u64) {
        match self.samples.back() {
            Some((last, _)) if now.duration_since(*last) >= HashRateMeter::SAMPLE_INTERVAL => {}
            _ => return,
        }
        self.samples.push_back((now, total));
        // The first sample is the latest one that is at least a window old.
        while self.samples.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= WINDOW) {
            self.samples.pop_front();
        }
    }

    /// The hash rate, in hashes per second.
    pub(crate) fn per_second(&self, now: Instant, total: u64) -> f64 {
        let Some((start, before)) = self.samples.front() else { return 0.0 };
        let seconds = now.duration_since(*start).as_secs_f64();
        if seconds > 0.0 { total.saturating_sub(*before) as f64 / seconds } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_rate(meter: &HashRateMeter, now: Instant, total: u64, expected: f64) {
        let found = meter.per_second(now, total);
        assert!((found - expected).abs() < 1e-6, "{found} instead of {expected}");
    }

    #[test]
    fn averages_over_the_window_only() {
        let start = Instant::now();
        let at = |tenths: u32| start + Duration::from_millis(100) * tenths;
        let mut meter = HashRateMeter::default();
        assert_rate(&meter, at(0), 0, 0.0);
        meter.start(at(0), 7_000);
        assert_rate(&meter, at(0), 7_000, 0.0);
        assert_rate(&meter, at(10), 8_000, 1_000.0);
        // 1,000 per second for ten seconds, then 3,000.
        for tenth in 1..=100 {
            meter.sample(at(tenth), 7_000 + 100 * u64::from(tenth));
        }
        assert_rate(&meter, at(100), 17_000, 1_000.0);
        assert!(meter.samples.len() <= 22);
        for tenth in 101..=200 {
            meter.sample(at(tenth), 17_000 + 300 * u64::from(tenth - 100));
        }
        assert_rate(&meter, at(200), 47_000, 3_000.0);
    }

    #[test]
    fn stop_resets_the_rate_to_0_until_the_next_start() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut meter = HashRateMeter::default();
        meter.start(at(0), 0);
        meter.sample(at(1), 1_000);
        meter.stop();
        // A late sample of a thread that is finishing does not restart the meter.
        meter.sample(at(2), 1_100);
        assert_rate(&meter, at(3), 1_100, 0.0);
        meter.start(at(60), 1_100);
        assert_rate(&meter, at(62), 2_100, 500.0);
    }
}
