//! Long polling: a response that waits for a new tip, a change of the mempool, a timeout or the
//! shutdown of the node. One that has to give way to others ends as by a timeout.

use crate::api::http::problem::{Kind, Problem};
use crate::api::http::resources::{Client, Held};
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
    held: Held,
    /// The chain state last returned to the caller.
    seen: ChainVersion,
}

impl LongPoll {
    /// Starts waiting; no later change is missed.
    ///
    /// # Errors
    /// Returns the problem to respond with if too many responses are held, of this client too.
    pub fn new(node: &NodeState, client: &Client, timeout: Duration) -> Result<LongPoll, Problem> {
        let held = client.hold()?;
        let mut chain = node.writer.watch_chain();
        let seen = *chain.borrow_and_update();
        let until = Instant::now() + timeout;
        Ok(LongPoll { chain, stopping: node.stopping.clone(), until, held, seen })
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
            () = self.held.ended() => false,
        };
        self.seen = *self.chain.borrow_and_update();
        changed
    }

    /// Waits for the timeout, the shutdown, or the moment at which it has to give way to another.
    pub async fn ended(&mut self) {
        tokio::select! {
            () = shutdown_requested(&mut self.stopping) => {}
            () = tokio::time::sleep_until(self.until) => {}
            () = self.held.ended() => {}
        }
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
