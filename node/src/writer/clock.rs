//! The clock by which the node judges and mines: this machine's, shifted on demand.

use chain::Timestamp;
use std::time::{SystemTime, UNIX_EPOCH};

/// So many seconds ahead of this machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Clock {
    ahead: i64,
}

impl Clock {
    /// Ahead, or behind with a negative number.
    pub(super) fn shifted(seconds: i64) -> Clock {
        Clock { ahead: seconds }
    }

    /// What it says: never before 1970, and the last second there is from 2106 on.
    pub(super) fn now(self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        let seconds = seconds.saturating_add(self.ahead).max(0);
        Timestamp::new(u32::try_from(seconds).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_ahead_or_behind_and_never_beyond_what_a_header_can_say() {
        let now = Clock::default().now().get();
        let ahead = Clock::shifted(1_000).now().get();
        assert!((now + 1_000..now + 1_060).contains(&ahead), "{now} {ahead}");
        assert!(Clock::shifted(-1_000).now().get() < now);
        assert_eq!(Clock::shifted(i64::MIN).now().get(), 0);
        assert_eq!(Clock::shifted(i64::MAX).now().get(), u32::MAX);
    }
}
