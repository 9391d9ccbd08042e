//! Adjustable clock for validation and mining, which is this machine's with an offset, and intervals.

use chain::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::{Interval, MissedTickBehavior};

/// A clock with an offset in seconds from this machine's. Clones share the offset.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    offset: Arc<AtomicI64>,
}

impl Clock {
    /// Sets the clock ahead of this machine's, or behind it with a negative number.
    pub fn set_offset(&self, seconds: i64) {
        self.offset.store(seconds, Ordering::Relaxed);
    }

    /// The present time, limited to the range of [`Timestamp`]: 1970 to 2106.
    pub fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        let seconds = seconds.saturating_add(self.offset.load(Ordering::Relaxed)).max(0);
        Timestamp::new(u32::try_from(seconds).unwrap_or(u32::MAX))
    }
}

/// The present time of this machine, limited to the range of [`Timestamp`].
pub fn now() -> Timestamp {
    Clock::default().now()
}

/// Ticks at once and then periodically; delayed ticks do not accumulate.
pub fn interval(period: Duration) -> Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offset_shifts_time_within_the_range_of_timestamps() {
        let with_offset = |seconds| {
            let clock = Clock::default();
            clock.clone().set_offset(seconds);
            clock.now().get()
        };
        let now = now().get();
        let ahead = with_offset(1_000);
        assert!((now + 1_000..now + 1_060).contains(&ahead), "{now} {ahead}");
        assert!(with_offset(-1_000) < now);
        assert_eq!((with_offset(i64::MIN), with_offset(i64::MAX)), (0, u32::MAX));
    }
}
