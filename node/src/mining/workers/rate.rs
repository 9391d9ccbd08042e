//! Hash rates, estimated from shares.

use serde::{Deserialize, Serialize};

/// The time constants of the averages: a minute, ten minutes, an hour and a day, in seconds.
const PERIODS: [f64; 4] = [60.0, 600.0, 3_600.0, 86_400.0];
/// Least time over which a hash rate is estimated, in seconds.
const MIN_SECONDS: f64 = 10.0;

/// Exponential averages of hashes over time. Times are Unix seconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct HashRates {
    /// The start of the measurement.
    since: u32,
    /// The time of the sums.
    at: u32,
    /// For each period, the hashes so far, of which earlier ones count less.
    sums: [f64; PERIODS.len()],
}

/// The hash rate over several periods, in hashes per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rates {
    pub minute: f64,
    pub ten_minutes: f64,
    pub hour: f64,
    pub day: f64,
}

impl HashRates {
    pub(super) fn new(now: u32) -> HashRates {
        HashRates { since: now, at: now, sums: [0.0; PERIODS.len()] }
    }

    /// The sums at a later time; at an earlier one, if the clock was set back, those of the last time.
    fn decayed(&self, now: u32) -> [f64; PERIODS.len()] {
        let age = f64::from(now.saturating_sub(self.at));
        std::array::from_fn(|index| self.sums[index] * (-age / PERIODS[index]).exp())
    }

    /// Adds the hashes that a share stands for.
    pub(super) fn add(&mut self, hashes: f64, now: u32) {
        self.sums = self.decayed(now).map(|sum| sum + hashes);
        self.at = self.at.max(now);
    }

    /// The rates at a time.
    pub(super) fn rates(&self, now: u32) -> Rates {
        let age = f64::from(now.saturating_sub(self.since)).max(MIN_SECONDS);
        let sums = self.decayed(now);
        let [minute, ten_minutes, hour, day] = std::array::from_fn(|index| {
            let period: f64 = PERIODS[index];
            sums[index] / (period * (1.0 - (-age / period).exp()))
        });
        Rates { minute, ten_minutes, hour, day }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_rate_converges_for_steady_miner() {
        let mut now = 1_000_000;
        let mut rates = HashRates::new(now);
        for share in 1..500 {
            now += 10;
            rates.add(5e9, now);
            let rate = rates.rates(now).ten_minutes / 5e8;
            assert!(share < 10 || (0.9..1.2).contains(&rate), "{share}: {rate}");
        }
        now += 3_600;
        assert!(rates.rates(now).ten_minutes < 1.3e6);
    }

    #[test]
    fn each_period_follows_a_change_at_its_own_pace() {
        let mut now = 1_000_000;
        let mut rates = HashRates::new(now);
        // An hour at full rate, then five minutes of silence.
        for _ in 0..360 {
            now += 10;
            rates.add(1e10, now);
        }
        let Rates { minute, hour, day, .. } = rates.rates(now + 300);
        assert!(minute < 1e7, "{minute}");
        assert!((8e8..1e9).contains(&hour), "{hour}");
        assert!((9e8..1e9).contains(&day), "{day}");
        // A clock that is set back neither divides by zero nor counts twice.
        let day_sum = rates.decayed(0)[3];
        assert!((rates.rates(0).day * MIN_SECONDS / day_sum - 1.0).abs() < 1e-3);
        rates.add(0.0, 0);
        assert!((rates.rates(now + 300).hour / hour - 1.0).abs() < 1e-9);
    }
}
