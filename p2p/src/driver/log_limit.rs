//! Lines in the log that strangers can cause: so many a minute for each cause, the rest is counted.

use super::Driver;
use std::collections::BTreeMap;
use std::time::Duration;

/// Most lines for one cause in a minute.
const PER_MINUTE: u32 = 20;
const MINUTE: Duration = Duration::from_secs(60);

/// How many lines were written.
#[derive(Debug, Default)]
pub(super) struct Lines {
    causes: BTreeMap<&'static str, Cause>,
}

#[derive(Debug, Default)]
struct Cause {
    since: Duration,
    written: u32,
    dropped: u64,
}

impl Lines {
    /// Whether a line may be written now: then how many were dropped before it.
    pub(super) fn take(&mut self, cause: &'static str, now: Duration) -> Option<u64> {
        let cause = self.causes.entry(cause).or_default();
        if now.saturating_sub(cause.since) >= MINUTE {
            cause.since = now;
            cause.written = 0;
        }
        if cause.written >= PER_MINUTE {
            cause.dropped = cause.dropped.saturating_add(1);
            return None;
        }
        cause.written = cause.written.saturating_add(1);
        Some(std::mem::take(&mut cause.dropped))
    }
}

impl Driver {
    /// Writes a line if there were not too many of its cause; it is told how many were dropped, if any.
    pub(super) fn say(&mut self, cause: &'static str, write: impl FnOnce(Option<u64>)) {
        let now = self.now().elapsed;
        if let Some(dropped) = self.lines.take(cause, now) {
            write((dropped > 0).then_some(dropped));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // N25
    #[test]
    fn a_flood_writes_twenty_lines_a_minute_and_tells_how_many_it_dropped() {
        let mut lines = Lines::default();
        let mut at = |second| lines.take("flood", Duration::from_secs(second));
        let written = (0..1_000).filter(|_| at(100).is_some()).count();
        assert_eq!(written, 20);
        assert_eq!(at(159), None);
        assert_eq!(at(160), Some(981));
        assert_eq!(at(160), Some(0));
        assert_eq!(lines.take("another", Duration::from_secs(160)), Some(0));
    }
}
