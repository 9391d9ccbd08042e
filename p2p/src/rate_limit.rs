//! A token bucket whose time is an argument, for machines that run in virtual time.
//!
//! The `governor` crate implements the same algorithm (GCRA), but reads a clock of its own, cannot
//! record a cost that is known only afterwards, and does not report the tokens left.

use std::time::Duration;

/// A bucket that starts full, regains one token per interval and permits bursts of its capacity.
///
/// ```
/// # use p2p::rate_limit::TokenBucket;
/// # use std::time::Duration;
/// let mut bucket = TokenBucket::new(2, Duration::from_secs(10));
/// let now = Duration::from_secs(5);
/// assert!(bucket.try_acquire(2, now) && !bucket.try_acquire(1, now));
/// assert!(bucket.try_acquire(1, now + Duration::from_secs(10)));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    capacity: u32,
    interval: Duration,
    /// The time at which the bucket is full again if nothing more is spent.
    full_at: Duration,
}

impl TokenBucket {
    /// Returns a full bucket that regains one token per interval, which must not be zero.
    pub const fn new(capacity: u32, interval: Duration) -> TokenBucket {
        TokenBucket { capacity, interval, full_at: Duration::ZERO }
    }

    /// Returns a full bucket that regains its whole capacity in a period.
    pub fn per_period(capacity: u32, period: Duration) -> TokenBucket {
        TokenBucket::new(capacity, period / capacity.max(1))
    }

    /// The tokens left, rounded down.
    pub fn available(&self, now: Duration) -> u32 {
        let missing = self.full_at.saturating_sub(now).as_nanos();
        let spent = missing.div_ceil(self.interval.as_nanos().max(1));
        self.capacity.saturating_sub(u32::try_from(spent).unwrap_or(u32::MAX))
    }

    /// Spends tokens if that many are left, and returns whether they were.
    pub fn try_acquire(&mut self, tokens: u32, now: Duration) -> bool {
        let is_enough = self.available(now) >= tokens;
        if is_enough {
            self.spend(tokens, now);
        }
        is_enough
    }

    /// Spends tokens whether or not they are left. A debt delays later ones.
    pub fn spend(&mut self, tokens: u32, now: Duration) {
        let cost = self.interval.saturating_mul(tokens);
        self.full_at = self.full_at.max(now).saturating_add(cost);
    }

    /// Returns the time until the bucket is full if nothing more is spent.
    pub fn full_in(&self, now: Duration) -> Duration {
        self.full_at.saturating_sub(now)
    }

    /// Returns whether the bucket is full, thus equal to a new one.
    pub fn is_full(&self, now: Duration) -> bool {
        self.full_at <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn permits_a_burst_and_then_one_token_per_interval() {
        let mut bucket = TokenBucket::new(10, seconds(2));
        let acquired = (0..100).filter(|_| bucket.try_acquire(1, seconds(50))).count();
        assert_eq!(acquired, 10);
        let acquired = (50..150).filter(|second| bucket.try_acquire(1, seconds(*second))).count();
        assert_eq!(acquired, 49);
    }

    #[test]
    fn regains_no_more_than_its_capacity() {
        let mut bucket = TokenBucket::per_period(4, seconds(8));
        assert!(bucket.try_acquire(4, seconds(1)));
        assert!(!bucket.is_full(seconds(8)));
        assert_eq!(bucket.available(seconds(8)), 3);
        assert!(bucket.is_full(seconds(9)));
        assert_eq!(bucket.available(seconds(1_000)), 4);
        assert!(!bucket.try_acquire(5, seconds(1_000)), "more than the capacity is never left");
    }

    #[test]
    fn a_debt_delays_later_tokens() {
        let mut bucket = TokenBucket::new(3, seconds(1));
        bucket.spend(13, seconds(0));
        assert_eq!(bucket.available(seconds(10)), 0);
        assert_eq!(bucket.available(seconds(11)), 1);
    }

    #[test]
    fn time_that_stands_still_or_runs_back_yields_no_tokens() {
        let mut bucket = TokenBucket::new(1, seconds(1));
        assert!(bucket.try_acquire(1, seconds(5)));
        assert!(!bucket.try_acquire(1, seconds(5)) && !bucket.try_acquire(1, seconds(0)));
    }
}
