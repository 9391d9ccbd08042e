//! The rate limit on the lines of one connection. Reading a miner that exceeds it is delayed and
//! nothing is rejected: no share is lost, and other miners are unaffected.
//!
//! A token bucket whose balance may become negative: a line is charged after it has been read, and
//! the debt is the delay until the next read. Limiters that admit or reject, such as those of the
//! `governor` crate, have no debt, and this crate does not depend on `p2p`, which has its own.

use std::time::{Duration, Instant};

/// The number of lines accepted at once.
const BURST: f64 = 200.0;
/// The sustained rate in lines per second. Miners are assigned a share every ten seconds, but on a
/// network of minimum difficulty every share is a block.
const LINES_PER_SECOND: f64 = 100.0;

/// The rate limiter of one connection.
#[derive(Debug)]
pub(super) struct RateLimiter {
    tokens: f64,
    updated: Instant,
}

impl RateLimiter {
    pub(super) fn new(now: Instant) -> RateLimiter {
        RateLimiter { tokens: BURST, updated: now }
    }

    /// Counts a received line against the rate limit.
    pub(super) fn record_line(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.updated);
        self.tokens = (self.tokens + elapsed.as_secs_f64() * LINES_PER_SECOND).min(BURST) - 1.0;
        self.updated = self.updated.max(now);
    }

    /// The time from the last line until the next one may be read.
    pub(super) fn delay(&self) -> Duration {
        Duration::from_secs_f64((-self.tokens).max(0.0) / LINES_PER_SECOND)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Q01, Q06
    #[test]
    fn delays_a_flood_to_the_rate_and_restores_the_burst_after_a_pause() {
        let start = Instant::now();
        let (mut limiter, mut now) = (RateLimiter::new(start), start);
        for _ in 0..1_200 {
            limiter.record_line(now);
            now += limiter.delay();
        }
        let seconds = now.duration_since(start).as_secs_f64();
        assert!((seconds - 10.0).abs() < 0.1, "{seconds}");
        now += Duration::from_secs(60);
        for _ in 0..200 {
            limiter.record_line(now);
            assert_eq!(limiter.delay(), Duration::ZERO);
        }
        limiter.record_line(now);
        assert!(limiter.delay() > Duration::ZERO);
    }
}
