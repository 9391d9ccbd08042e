//! Compares the system clock with the clocks of peers, only to warn. Peers never influence the time
//! by which blocks are validated.

use super::connections::Connections;
use crate::engine::Now;
use std::time::Duration;

/// The minimum number of outbound peers whose clocks are compared.
const MIN_PEERS: usize = 3;
/// The median difference that causes a warning, in seconds: far more than the latency of a status
/// message.
const MAX_SKEW: u64 = 60;
/// The minimum time between two warnings.
const WARNING_INTERVAL: Duration = Duration::from_secs(3_600);

#[derive(Debug, Default)]
pub(super) struct ClockSkew {
    next_warning: Duration,
}

impl ClockSkew {
    /// Warns if the clocks of most outbound peers differ from the system clock.
    pub(super) fn check(&mut self, connections: &Connections, now: Now) {
        if now.elapsed < self.next_warning {
            return;
        }
        let outbound = connections.iter().filter(|(_, peer)| peer.is_outbound());
        let skews = outbound.filter_map(|(_, peer)| peer.clock_skew).collect();
        if let Some(skew) = median(skews).filter(|skew| skew.unsigned_abs() > MAX_SKEW) {
            self.next_warning = now.elapsed.saturating_add(WARNING_INTERVAL);
            let direction = if skew > 0 { "behind" } else { "ahead" };
            let seconds = skew.unsigned_abs();
            tracing::warn!(
                "the system clock seems to be {seconds} s {direction}: set it, or peers may reject \
                 blocks mined here"
            );
        }
    }
}

/// The median of the skews, in seconds; `None` if they are fewer than `MIN_PEERS`.
fn median(mut skews: Vec<i64>) -> Option<i64> {
    skews.sort_unstable();
    skews.get(skews.len() / 2).copied().filter(|_| skews.len() >= MIN_PEERS)
}

/// The seconds by which a peer's clock is ahead of the system clock.
pub(super) fn skew(peer_clock: u64, now: Now) -> i64 {
    let difference = i128::from(peer_clock) - i128::from(now.clock.get());
    i64::try_from(difference).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chain::Timestamp;

    // N32
    #[test]
    fn minority_of_wrong_clocks_does_not_move_the_median() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![9_000, 9_000]), None);
        assert_eq!(median(vec![i64::MAX, 0, -1]), Some(0));
        assert_eq!(median(vec![i64::MIN, 1, i64::MIN, 0, 2]), Some(0));
        assert_eq!(median(vec![3_600, 3_601, 0, 3_599]), Some(3_600));
    }

    // N32
    #[test]
    fn extreme_clocks_do_not_overflow() {
        let now = Now { elapsed: Duration::ZERO, clock: Timestamp::new(1_000) };
        assert_eq!(skew(1_060, now), 60);
        assert_eq!(skew(0, now), -1_000);
        assert_eq!(skew(u64::MAX, now), i64::MAX);
    }
}
