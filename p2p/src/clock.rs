//! What time it is, for machines that are told.

use crate::engine::Now;
use chain::block::Timestamp;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Tells the time since it was made, and that of the wall.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    started: Instant,
}

impl Clock {
    pub(crate) fn start() -> Clock {
        Clock { started: Instant::now() }
    }

    /// The time; 2106 and later is the last second there is.
    pub(crate) fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Now {
            elapsed: self.started.elapsed(),
            clock: Timestamp::new(u32::try_from(unix).unwrap_or(u32::MAX)),
        }
    }
}
