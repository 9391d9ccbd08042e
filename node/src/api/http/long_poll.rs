//! Answers that are held until something happens: a change of tip or pool, the end of the client's
//! patience, or the end of the node.

use crate::api::http::problem::{Kind, Problem};
use crate::api::openapi::schema::Digits;
use crate::shutdown::shutdown_requested;
use crate::state::NodeState;
use crate::writer::ChainVersion;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Seconds an answer is held unless the client says otherwise.
const DEFAULT_SECONDS: u64 = 30;
/// Most seconds: proxies give up after some minutes.
const MAX_SECONDS: u64 = 120;

/// How long an answer may be held, as a client says in a query.
pub fn patience(seconds: Option<Digits>, name: &str) -> Result<Duration, Problem> {
    let seconds = seconds.map_or(DEFAULT_SECONDS, |seconds| seconds.0);
    if seconds > MAX_SECONDS {
        let detail = format!("{name} must be at most {MAX_SECONDS} seconds, not {seconds}");
        return Err(Problem::new(Kind::BAD_REQUEST, detail));
    }
    Ok(Duration::from_secs(seconds))
}

/// An answer that is held.
pub struct Hold {
    chain: watch::Receiver<ChainVersion>,
    stopping: watch::Receiver<bool>,
    until: Instant,
    /// What was new when whoever holds the answer last looked.
    seen: ChainVersion,
}

impl Hold {
    /// From now on no change is missed.
    pub fn new(node: &NodeState, seconds: Option<Digits>) -> Result<Hold, Problem> {
        let patience = patience(seconds, "timeout")?;
        let mut chain = node.writer.watch_chain();
        let seen = *chain.borrow_and_update();
        let until = Instant::now() + patience;
        Ok(Hold { chain, stopping: node.stopping.clone(), until, seen })
    }

    /// Grows with every change.
    pub fn state(&self) -> u64 {
        self.seen.sequence
    }

    /// The best block.
    pub fn tip(&self) -> chain::block::Hash {
        self.seen.tip
    }

    /// Waits for the next change; false once there is nothing more to wait for.
    pub async fn changed(&mut self) -> bool {
        let changed = tokio::select! {
            changed = self.chain.changed() => changed.is_ok(),
            () = shutdown_requested(&mut self.stopping) => false,
            () = tokio::time::sleep_until(self.until) => false,
        };
        self.seen = *self.chain.borrow_and_update();
        changed
    }

    /// Waits for another tip; false once there is nothing more to wait for.
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
