//! What the log says of new blocks: each at once when they come one by one, a line a second when
//! many come.

use chain::block_index::BlockNode;
use std::time::{Duration, Instant};

/// Least time between two lines about blocks.
const PAUSE: Duration = Duration::from_secs(1);
/// A pause longer than this says nothing about the rate of what came after it.
const LONGEST: Duration = Duration::from_secs(10);

/// What was told last, and what was not told yet.
#[derive(Debug, Default)]
pub struct Told {
    last: Option<Instant>,
    /// Not told yet, and when the last of them came.
    blocks: usize,
    until: Option<Instant>,
}

impl Told {
    /// Blocks left the best chain, others entered it, and this is its tip now.
    pub fn tell(&mut self, tip: &BlockNode, left: usize, entered: usize) {
        if left > 0 {
            tracing::warn!(height = tip.height.get(), tip = %tip.hash, left, entered, "reorganised");
            self.last = Some(Instant::now());
            self.blocks = 0;
            return;
        }
        self.until = Some(Instant::now());
        self.blocks = self.blocks.saturating_add(entered);
        if self.last.is_none_or(|last| last.elapsed() >= PAUSE) {
            self.tell_rest(tip);
        }
    }

    /// Tells what was not told yet.
    pub fn tell_rest(&mut self, tip: &BlockNode) {
        let (height, blocks) = (tip.height.get(), self.blocks);
        let since = self.until.zip(self.last).map(|(until, last)| until.duration_since(last));
        let since = since.filter(|since| *since <= LONGEST);
        match (blocks, since) {
            (0, _) => return,
            (1, _) => tracing::info!(height, tip = %tip.hash, "block connected"),
            (_, None) => tracing::info!(height, tip = %tip.hash, blocks, "blocks connected"),
            (_, Some(since)) => {
                let rate = (blocks as f64 / since.as_secs_f64().max(0.001)).round();
                let tip = tip.hash;
                tracing::info!(height, %tip, blocks, blocks_per_second = rate, "blocks connected");
            }
        }
        self.last = Some(Instant::now());
        self.blocks = 0;
    }
}
