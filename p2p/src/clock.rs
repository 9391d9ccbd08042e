//! The wall-clock and monotonic time that is passed to the state machines.

use crate::engine::Now;
use chain::block::Timestamp;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A source of monotonic time since its start and of wall-clock time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    started: Instant,
}

impl Clock {
    pub(crate) fn start() -> Clock {
        Clock { started: Instant::now() }
    }

    /// Returns the time. The wall clock stops at the last second that a timestamp can represent, in
    /// 2106.
    pub(crate) fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Now {
            elapsed: self.started.elapsed(),
            clock: Timestamp::new(u32::try_from(unix).unwrap_or(u32::MAX)),
        }
    }
}
