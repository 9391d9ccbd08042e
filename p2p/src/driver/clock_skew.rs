//! Compares this machine's clock with its peers': for a warning and nothing else. What peers say never
//! moves the time that blocks are judged by, so nobody can lead a node astray with it.

use super::Driver;
use crate::engine::Now;
use std::time::Duration;

/// So many peers that this node called have to be there before their clocks count.
const LEAST: usize = 3;
/// How far the clocks of most have to be off, in seconds: far more than a status takes to arrive.
const FAR: u64 = 60;
/// Between two warnings.
const AGAIN: Duration = Duration::from_secs(3_600);

impl Driver {
    /// Warns when the clocks of most peers say that this machine's is wrong.
    pub(super) fn compare_clocks(&mut self, now: Now) {
        if now.elapsed < self.next_clock_warning {
            return;
        }
        let called = self.linked.values().filter(|peer| peer.is_outbound());
        let ahead = called.filter_map(|peer| peer.clock_ahead).collect();
        if let Some(seconds) = consensus(ahead).filter(|seconds| seconds.unsigned_abs() > FAR) {
            self.next_clock_warning = now.elapsed.saturating_add(AGAIN);
            let direction = if seconds > 0 { "behind" } else { "ahead" };
            let seconds = seconds.unsigned_abs();
            tracing::warn!(
                "this machine's clock seems to be {seconds} s {direction}: set it, or blocks made \
                 here may be refused"
            );
        }
    }
}

/// How many seconds the clocks of peers are ahead: their median, if there are enough of them.
fn consensus(mut ahead: Vec<i64>) -> Option<i64> {
    ahead.sort_unstable();
    ahead.get(ahead.len() / 2).copied().filter(|_| ahead.len() >= LEAST)
}

/// Seconds that a peer's clock is ahead of this machine's.
pub(super) fn ahead(theirs: u64, now: Now) -> i64 {
    let difference = i128::from(theirs) - i128::from(now.clock.get());
    i64::try_from(difference).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chain::Timestamp;

    // N32
    #[test]
    fn a_few_liars_do_not_make_a_clock_look_wrong_and_most_peers_do() {
        assert_eq!(consensus(vec![]), None);
        assert_eq!(consensus(vec![9_000, 9_000]), None);
        assert_eq!(consensus(vec![i64::MAX, 0, -1]), Some(0));
        assert_eq!(consensus(vec![i64::MIN, 1, i64::MIN, 0, 2]), Some(0));
        assert_eq!(consensus(vec![3_600, 3_601, 0, 3_599]), Some(3_600));
    }

    // N32
    #[test]
    fn whatever_clock_a_peer_claims_is_compared_without_overflow() {
        let now = Now { elapsed: Duration::ZERO, clock: Timestamp::new(1_000) };
        assert_eq!(ahead(1_060, now), 60);
        assert_eq!(ahead(0, now), -1_000);
        assert_eq!(ahead(u64::MAX, now), i64::MAX);
    }
}
