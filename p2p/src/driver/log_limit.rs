//! Lines in the log that strangers can cause: so many a minute for each cause, the rest is counted.

use super::Driver;
use crate::rate_limit::TokenBucket;
use std::collections::BTreeMap;
use std::time::Duration;

/// The lines of one cause: a burst of 20, then 20 a minute.
const LINES: TokenBucket = TokenBucket::new(20, Duration::from_secs(3));

/// The limit of each cause, and the lines dropped since the last one written.
#[derive(Debug, Default)]
pub(super) struct Lines {
    causes: BTreeMap<&'static str, (TokenBucket, u64)>,
}

impl Lines {
    /// Whether a line may be written now: then how many were dropped before it.
    pub(super) fn take(&mut self, cause: &'static str, now: Duration) -> Option<u64> {
        let (limit, dropped) = self.causes.entry(cause).or_insert((LINES, 0));
        if !limit.try_acquire(1, now) {
            *dropped = dropped.saturating_add(1);
            return None;
        }
        Some(std::mem::take(dropped))
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
        assert_eq!(at(102), None);
        assert_eq!(at(103), Some(981));
        assert_eq!(at(103), None);
        let written = (0..1_000).filter(|_| at(163).is_some()).count();
        assert_eq!(written, 20);
        assert_eq!(lines.take("another", Duration::from_secs(160)), Some(0));
    }
}
