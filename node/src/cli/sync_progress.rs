//! Sync progress as text: what is downloaded, how fast, and the time left.

use super::output::duration;
use crate::state::NodeState;
use p2p::engine::SyncState;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Fewest blocks behind to report: a node that follows the tip is fewer behind.
const MIN_BEHIND: u32 = 10;
/// Time over which the rate is averaged.
const RATE_WINDOW: Duration = Duration::from_secs(10);
/// Width of the progress bar.
const BAR_WIDTH: u32 = 20;

/// Samples the sync progress of a node.
pub struct SyncProgress {
    node: Arc<NodeState>,
    /// The stage of the samples.
    stage: &'static str,
    /// Height by time, within the rate window.
    samples: VecDeque<(Instant, u32)>,
}

/// The progress of a stage of sync.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stage {
    name: &'static str,
    done: u32,
    total: u32,
    per_second: f64,
}

impl SyncProgress {
    pub fn new(node: Arc<NodeState>) -> SyncProgress {
        SyncProgress { node, stage: "", samples: VecDeque::new() }
    }

    /// The progress; `None` if the node is not behind.
    pub async fn sample(&mut self) -> Option<Stage> {
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
        let stage = stage.filter(|(_, done, total)| total.saturating_sub(*done) >= MIN_BEHIND);
        let (name, done, total) = stage?;
        Some(Stage { name, done, total, per_second: self.rate(name, done, Instant::now()) })
    }

    fn rate(&mut self, stage: &'static str, done: u32, now: Instant) -> f64 {
        if self.stage != stage {
            self.samples.clear();
            self.stage = stage;
        }
        self.samples.push_back((now, done));
        while self.samples.front().is_some_and(|(at, _)| now.duration_since(*at) > RATE_WINDOW) {
            self.samples.pop_front();
        }
        let Some((since, before)) = self.samples.front() else { return 0.0 };
        let seconds = now.duration_since(*since).as_secs_f64();
        if seconds > 0.0 { f64::from(done.saturating_sub(*before)) / seconds } else { 0.0 }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stage { name, done, total, per_second } = *self;
        let steps = |of: u64| u64::from(done).saturating_mul(of) / u64::from(total.max(1));
        let full =
            usize::try_from(steps(BAR_WIDTH.into())).unwrap_or_default().min(BAR_WIDTH as usize);
        let bar = format!("{}{}", "#".repeat(full), ".".repeat(BAR_WIDTH as usize - full));
        write!(f, "{name} [{bar}] {done} of {total} ({} %)", steps(100).min(100))?;
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
    fn formats_a_stage_with_rate_and_time_left() {
        let stage = Stage { name: "blocks", done: 2_500, total: 10_000, per_second: 50.0 };
        let expected = "blocks [#####...............] 2500 of 10000 (25 %), 50/s, 2 min left";
        assert_eq!(stage.to_string(), expected);
        let stalled = Stage { per_second: 0.0, ..stage };
        assert_eq!(stalled.to_string(), "blocks [#####...............] 2500 of 10000 (25 %)");
        let empty = Stage { done: 0, total: 0, ..stalled };
        assert_eq!(empty.to_string(), "blocks [....................] 0 of 0 (0 %)");
    }
}
