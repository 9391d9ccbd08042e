//! Log lines about connected blocks: one for each block while they come one by one, one a second
//! while many come.

use crate::logging;
use chain::block_index::BlockNode;
use std::time::{Duration, Instant};

/// Least time between two lines about blocks.
const INTERVAL: Duration = Duration::from_secs(1);
/// A longer gap than this means that no rate is logged: it would include idle time.
const MAX_RATE_GAP: Duration = Duration::from_secs(10);

/// The blocks that were connected since the last line.
#[derive(Debug, Default)]
pub struct BlockLog {
    last_logged: Option<Instant>,
    pending: usize,
    last_connected: Option<Instant>,
}

impl BlockLog {
    /// Records that the best chain changed, and logs it unless a line was written a moment ago.
    pub fn log_blocks(&mut self, tip: &BlockNode, disconnected: usize, connected: usize) {
        if disconnected > 0 {
            let height = tip.height.get();
            logging::limited("reorganised", |dropped| {
                let tip = tip.hash;
                tracing::warn!(height, %tip, disconnected, connected, dropped, "reorganised");
            });
            self.last_logged = Some(Instant::now());
            self.pending = 0;
            return;
        }
        self.last_connected = Some(Instant::now());
        self.pending = self.pending.saturating_add(connected);
        if self.last_logged.is_none_or(|last| last.elapsed() >= INTERVAL) {
            self.log_pending(tip);
        }
    }

    /// Logs the blocks that were recorded but not logged yet.
    pub fn log_pending(&mut self, tip: &BlockNode) {
        let (height, blocks) = (tip.height.get(), self.pending);
        let elapsed = self.last_connected.zip(self.last_logged);
        let elapsed = elapsed.map(|(until, since)| until.duration_since(since));
        match (blocks, elapsed.filter(|elapsed| *elapsed <= MAX_RATE_GAP)) {
            (0, _) => return,
            (1, _) => tracing::info!(height, tip = %tip.hash, "block connected"),
            (_, None) => tracing::info!(height, tip = %tip.hash, blocks, "blocks connected"),
            (_, Some(elapsed)) => {
                let rate = (blocks as f64 / elapsed.as_secs_f64().max(0.001)).round();
                let tip = tip.hash;
                tracing::info!(height, %tip, blocks, blocks_per_second = rate, "blocks connected");
            }
        }
        self.last_logged = Some(Instant::now());
        self.pending = 0;
    }
}
