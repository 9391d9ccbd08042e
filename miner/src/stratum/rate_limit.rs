//! How fast a miner may talk. One that is faster is read later, not refused: nothing that it found
//! is lost, and nobody else waits for it.

use std::time::{Duration, Instant};

/// Lines that may come in one go.
const BURST: f64 = 200.0;
/// Lines a second after that. A share every ten seconds is what is asked for; a network whose
/// blocks take no work makes every share a block.
const RATE: f64 = 100.0;

/// Lines that a connection may still send at once, and since when.
#[derive(Debug)]
pub(super) struct RateLimiter {
    left: f64,
    at: Instant,
}

impl RateLimiter {
    pub(super) fn new(now: Instant) -> RateLimiter {
        RateLimiter { left: BURST, at: now }
    }

    /// One more line came.
    pub(super) fn line(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.at);
        self.left = (self.left + since.as_secs_f64() * RATE).min(BURST) - 1.0;
        self.at = self.at.max(now);
    }

    /// How long after the last line the next may be read.
    pub(super) fn wait(&self) -> Duration {
        Duration::from_secs_f64((-self.left).max(0.0) / RATE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Q01, Q06
    #[test]
    fn a_flood_is_slowed_to_the_rate_and_a_pause_restores_the_burst() {
        let begun = Instant::now();
        let (mut pace, mut now) = (RateLimiter::new(begun), begun);
        for _ in 0..1_200 {
            pace.line(now);
            now += pace.wait();
        }
        let took = now.duration_since(begun).as_secs_f64();
        assert!((took - 10.0).abs() < 0.1, "{took}");
        now += Duration::from_secs(60);
        for _ in 0..200 {
            pace.line(now);
            assert_eq!(pace.wait(), Duration::ZERO);
        }
        pace.line(now);
        assert!(pace.wait() > Duration::ZERO);
    }
}
