//! Rate limit of log messages that peers and clients can cause.

use crate::rate_limit::TokenBucket;
use std::collections::BTreeMap;
use std::time::Duration;

/// The rate limit for log messages of one kind: a burst of 20, then 20 a minute.
const MESSAGES: TokenBucket = TokenBucket::new(20, Duration::from_secs(3));

/// The limit of each kind of message, and the number of messages dropped since the last one.
#[derive(Debug, Default)]
pub struct LogLimiter {
    kinds: BTreeMap<&'static str, (TokenBucket, u64)>,
}

impl LogLimiter {
    /// Returns the number of messages of a kind that were dropped since the last one if one may be
    /// logged now, `now` being the time since a fixed start; `None` if it must be dropped too.
    pub fn acquire(&mut self, kind: &'static str, now: Duration) -> Option<u64> {
        let (limit, dropped) = self.kinds.entry(kind).or_insert((MESSAGES, 0));
        if !limit.try_acquire(1, now) {
            *dropped = dropped.saturating_add(1);
            return None;
        }
        Some(std::mem::take(dropped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // N25
    #[test]
    fn flood_logs_twenty_messages_a_minute_and_counts_the_dropped_ones() {
        let mut log = LogLimiter::default();
        let mut at = |second| log.acquire("flood", Duration::from_secs(second));
        let logged = (0..1_000).filter(|_| at(100).is_some()).count();
        assert_eq!(logged, 20);
        assert_eq!(at(102), None);
        assert_eq!(at(103), Some(981));
        assert_eq!(at(103), None);
        let logged = (0..1_000).filter(|_| at(163).is_some()).count();
        assert_eq!(logged, 20);
        assert_eq!(log.acquire("another", Duration::from_secs(160)), Some(0));
    }
}
