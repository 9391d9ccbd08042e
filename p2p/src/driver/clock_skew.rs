//! Compares the system clock with the clocks of peers, only to warn and to show. Peers never influence
//! the time by which blocks are validated.

use super::connections::Connections;
use crate::engine::Now;
use std::time::Duration;
use tokio::sync::watch;

/// The minimum number of outbound peers of which the median counts. Fewer must all disagree with the
/// system clock.
const MIN_PEERS: usize = 3;
/// The median difference that causes a warning, in seconds: far more than the latency of a status
/// message.
const MAX_SKEW: u64 = 60;
/// The minimum time between two warnings.
const WARNING_INTERVAL: Duration = Duration::from_secs(3_600);

#[derive(Debug)]
pub(super) struct ClockSkew {
    next_warning: Duration,
    skew: watch::Sender<Option<i64>>,
}

impl ClockSkew {
    pub(super) fn new(skew: watch::Sender<Option<i64>>) -> ClockSkew {
        ClockSkew { next_warning: Duration::ZERO, skew }
    }

    /// Publishes whether the clocks of most outbound peers differ from the system clock, and warns.
    pub(super) fn check(&mut self, connections: &Connections, now: Now) {
        let outbound = connections.iter().filter(|(_, peer)| peer.is_outbound());
        let skews: Vec<i64> = outbound.filter_map(|(_, peer)| peer.clock_skew).collect();
        let peers = skews.len();
        let skew = disagreement(skews);
        self.skew.send_if_modified(|known| std::mem::replace(known, skew) != skew);
        if let Some(skew) = skew.filter(|_| now.elapsed >= self.next_warning) {
            self.next_warning = now.elapsed.saturating_add(WARNING_INTERVAL);
            let direction = if skew > 0 { "behind" } else { "ahead" };
            let seconds = skew.unsigned_abs();
            tracing::warn!(
                peers,
                "the system clock seems to be {seconds} s {direction}: set it, or peers may reject \
                 blocks mined here"
            );
        }
    }
}

/// The seconds by which the clocks of peers are ahead of the system clock: their median, or the least
/// of fewer than `MIN_PEERS`; `None` if that is not much, or few peers do not agree.
fn disagreement(mut skews: Vec<i64>) -> Option<i64> {
    skews.sort_unstable();
    let (first, last) = (*skews.first()?, *skews.last()?);
    let skew = match skews.len() {
        MIN_PEERS.. => *skews.get(skews.len() / 2)?,
        _ if first > 0 => first,
        _ if last < 0 => last,
        _ => return None,
    };
    Some(skew).filter(|skew| skew.unsigned_abs() > MAX_SKEW)
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
    fn minority_of_wrong_clocks_does_not_count() {
        assert_eq!(disagreement(vec![]), None);
        assert_eq!(disagreement(vec![i64::MAX, 0, -1]), None);
        assert_eq!(disagreement(vec![i64::MIN, 1, i64::MIN, 0, 2]), None);
        assert_eq!(disagreement(vec![3_600, 3_601, 0, 3_599]), Some(3_600));
        assert_eq!(disagreement(vec![60, 60, 61]), None);
    }

    #[test]
    fn clocks_of_one_or_two_peers_count_if_all_disagree() {
        assert_eq!(disagreement(vec![7_200]), Some(7_200));
        assert_eq!(disagreement(vec![-7_200, -7_100]), Some(-7_100));
        assert_eq!(disagreement(vec![9_000, 30]), None);
        assert_eq!(disagreement(vec![9_000, -9_000]), None);
        assert_eq!(disagreement(vec![-60]), None);
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
