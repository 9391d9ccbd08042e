//! How far sync is, for people: what is fetched, how fast, and how long it will take.

use super::output::duration;
use crate::state::NodeState;
use p2p::engine::SyncState;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Fewer blocks behind are not worth a line: following the tip looks like that.
const LEAST_BEHIND: u32 = 10;
/// The rate is that of this time.
const WINDOW: Duration = Duration::from_secs(10);
/// Steps of the bar.
const BAR: u32 = 20;

/// Watches a node catch up.
pub struct SyncProgress {
    node: Arc<NodeState>,
    what: &'static str,
    samples: VecDeque<(Instant, u32)>,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stage {
    what: &'static str,
    done: u32,
    total: u32,
    per_second: f64,
}

impl SyncProgress {
    /// Watches this node.
    pub fn new(node: Arc<NodeState>) -> SyncProgress {
        SyncProgress { node, what: "", samples: VecDeque::new() }
    }

    /// How far it is, if it is behind.
    pub async fn look(&mut self) -> Option<Stage> {
        let progress = *self.node.peers.progress().borrow();
        let best = progress.best_header.get();
        let stage = match progress.state {
            SyncState::Synced => None,
            SyncState::Blocks => Some(("blocks", progress.height.get(), best)),
            SyncState::Headers => {
                let claims =
                    self.node.peers.peers().await.into_iter().map(|peer| peer.height.get());
                Some(("headers", best, claims.max().unwrap_or(0)))
            }
        };
        let stage = stage.filter(|(_, done, total)| total.saturating_sub(*done) >= LEAST_BEHIND);
        let (what, done, total) = stage?;
        Some(Stage { what, done, total, per_second: self.rate(what, done, Instant::now()) })
    }

    fn rate(&mut self, what: &'static str, done: u32, now: Instant) -> f64 {
        if self.what != what {
            self.samples.clear();
            self.what = what;
        }
        self.samples.push_back((now, done));
        while self.samples.front().is_some_and(|(at, _)| now.duration_since(*at) > WINDOW) {
            self.samples.pop_front();
        }
        let Some((since, before)) = self.samples.front() else { return 0.0 };
        let seconds = now.duration_since(*since).as_secs_f64();
        if seconds > 0.0 { f64::from(done.saturating_sub(*before)) / seconds } else { 0.0 }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stage { what, done, total, per_second } = *self;
        let steps = |of: u64| u64::from(done).saturating_mul(of) / u64::from(total.max(1));
        let full = usize::try_from(steps(BAR.into())).unwrap_or_default().min(BAR as usize);
        let bar = format!("{}{}", "#".repeat(full), ".".repeat(BAR as usize - full));
        write!(f, "{what} [{bar}] {done} of {total} ({} %)", steps(100).min(100))?;
        if per_second >= 0.5 {
            let left = Duration::try_from_secs_f64(f64::from(total - done) / per_second);
            let left = left.unwrap_or(Duration::MAX).as_secs();
            write!(f, ", {per_second:.0}/s, {} left", duration(left))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_one_line_with_rate_and_rest() {
        let stage = Stage { what: "blocks", done: 2_500, total: 10_000, per_second: 50.0 };
        let expected = "blocks [#####...............] 2500 of 10000 (25 %), 50/s, 2 min left";
        assert_eq!(stage.to_string(), expected);
        let still = Stage { per_second: 0.0, ..stage };
        assert_eq!(still.to_string(), "blocks [#####...............] 2500 of 10000 (25 %)");
        let nothing = Stage { done: 0, total: 0, ..still };
        assert_eq!(nothing.to_string(), "blocks [....................] 0 of 0 (0 %)");
    }
}
