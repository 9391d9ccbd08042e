//! Long polling: a response that waits for a new tip, a change of the mempool, a timeout or the
//! shutdown of the node.

use crate::api::http::problem::{Kind, Problem};
use crate::api::openapi::schema::Digits;
use crate::shutdown::shutdown_requested;
use crate::state::NodeState;
use crate::writer::ChainVersion;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Default timeout in seconds.
const DEFAULT_SECONDS: u64 = 30;
/// Largest timeout in seconds: proxies drop connections after some minutes.
const MAX_SECONDS: u64 = 120;

/// The timeout of a long poll from the query parameter `name`.
pub fn timeout(seconds: Option<Digits>, name: &str) -> Result<Duration, Problem> {
    let seconds = seconds.map_or(DEFAULT_SECONDS, |seconds| seconds.0);
    if seconds > MAX_SECONDS {
        let detail = format!("{name} must be at most {MAX_SECONDS} seconds, not {seconds}");
        return Err(Problem::new(Kind::BAD_REQUEST, detail));
    }
    Ok(Duration::from_secs(seconds))
}

/// A pending long poll.
pub struct LongPoll {
    chain: watch::Receiver<ChainVersion>,
    stopping: watch::Receiver<bool>,
    until: Instant,
    /// The chain state last returned to the caller.
    seen: ChainVersion,
}

impl LongPoll {
    /// Starts waiting; no later change is missed.
    pub fn new(node: &NodeState, seconds: Option<Digits>) -> Result<LongPoll, Problem> {
        let timeout = timeout(seconds, "timeout")?;
        let mut chain = node.writer.watch_chain();
        let seen = *chain.borrow_and_update();
        let until = Instant::now() + timeout;
        Ok(LongPoll { chain, stopping: node.stopping.clone(), until, seen })
    }

    /// The number of the chain state, which grows with every change.
    pub fn state(&self) -> u64 {
        self.seen.sequence
    }

    /// The hash of the tip.
    pub fn tip(&self) -> chain::block::Hash {
        self.seen.tip
    }

    /// Waits for the next change; returns false on timeout and on shutdown.
    pub async fn changed(&mut self) -> bool {
        let changed = tokio::select! {
            changed = self.chain.changed() => changed.is_ok(),
            () = shutdown_requested(&mut self.stopping) => false,
            () = tokio::time::sleep_until(self.until) => false,
        };
        self.seen = *self.chain.borrow_and_update();
        changed
    }

    /// Waits for another tip; returns false on timeout and on shutdown.
    pub async fn tip_changed(&mut self) -> bool {
        let tip = self.seen.tip;
        while self.changed().await {
            if self.seen.tip != tip {
                return true;
            }
        }
        false
    }
}
