//! The clock by which the node judges and mines: this machine's, shifted on demand.

use chain::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// So many seconds ahead of this machine's clock. Clones are one clock.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    ahead: Arc<AtomicI64>,
}

impl Clock {
    /// Sets it ahead, or behind with a negative number.
    pub fn shift(&self, seconds: i64) {
        self.ahead.store(seconds, Ordering::Relaxed);
    }

    /// What it says: never before 1970, and the last second there is from 2106 on.
    pub fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        let seconds = seconds.saturating_add(self.ahead.load(Ordering::Relaxed)).max(0);
        Timestamp::new(u32::try_from(seconds).unwrap_or(u32::MAX))
    }
}

/// This machine's clock; 2106 and later is the last second there is.
pub fn now() -> Timestamp {
    Clock::default().now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_ahead_or_behind_and_never_beyond_what_a_header_can_say() {
        let shifted = |seconds| {
            let clock = Clock::default();
            clock.clone().shift(seconds);
            clock.now().get()
        };
        let now = now().get();
        let ahead = shifted(1_000);
        assert!((now + 1_000..now + 1_060).contains(&ahead), "{now} {ahead}");
        assert!(shifted(-1_000) < now);
        assert_eq!((shifted(i64::MIN), shifted(i64::MAX)), (0, u32::MAX));
    }
}
