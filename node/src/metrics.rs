//! What the node counts while it works, for whoever watches it. Most of what `/metrics` shows is
//! asked of its owner when somebody looks; here is only what nobody else keeps: counts and times of
//! what is over. Counting takes an atomic addition, and a lock where something was refused.
//!
//! Everything counts from the start of the node. Does not know what is shown, and under which
//! names: that is `api::metrics`.

pub mod exposition;
mod instrument;
pub mod process;
pub mod requests;

pub use instrument::{Counter, CounterVec, Gauge, Histogram};

use chain::ledger::{Accepted, Commit, SubmitError, TransferError};
use chain::mempool::Admission;
use requests::Requests;
use std::sync::Arc;
use std::time::Duration;

/// Upper ends of times that a block or the disk takes: 50 µs for an empty block in memory to 10 s.
const BLOCK_TIMES: &[u64] = &instrument::nanoseconds([
    50, 200, 1_000, 5_000, 20_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    10_000_000,
]);
/// Upper ends of depths of reorganisations, in blocks.
const DEPTHS: &[u64] = &[1, 2, 3, 6, 10, 20, 50, 100, 500];

/// All of it.
#[derive(Debug, Default)]
pub struct Metrics {
    /// The writer's.
    pub writer: WriterMetrics,
    /// The API's.
    pub requests: Requests,
    /// HTTP connections that are open.
    pub connections: Arc<Gauge>,
    /// Those that were closed to make room for others.
    pub connections_shed: Counter,
    /// Those that were not taken because all others were being answered.
    pub connections_refused: Counter,
}

/// What the writer counts.
#[derive(Debug)]
pub struct WriterMetrics {
    /// Blocks that entered the best chain.
    pub blocks_connected: Counter,
    /// Blocks that left it.
    pub blocks_disconnected: Counter,
    /// Blocks that were refused, by the rule's code.
    pub blocks_refused: CounterVec,
    /// Transfers that entered the best chain; those that left it and entered again count again.
    pub transfers_confirmed: Counter,
    /// Transfers that entered the pool from outside.
    pub transfers_accepted: Counter,
    /// Transfers that did not, by the code of the rule or policy.
    pub transfers_refused: CounterVec,
    /// Transfers that left the pool other than into a block, by the policy's code.
    pub transfers_dropped: CounterVec,
    /// Blocks that left the best chain at a time.
    pub reorganisation_depth: Histogram,
    /// Time to check blocks by themselves: those that come together count as one.
    pub check_time: Histogram,
    /// Time to judge a block on its parent and take it in, without the disk.
    pub connect_time: Histogram,
    /// Time to make blocks of the best chain safe on disk: those that come together count as one.
    pub commit_time: Histogram,
}

impl Default for WriterMetrics {
    fn default() -> WriterMetrics {
        WriterMetrics {
            blocks_connected: Counter::default(),
            blocks_disconnected: Counter::default(),
            blocks_refused: CounterVec::default(),
            transfers_confirmed: Counter::default(),
            transfers_accepted: Counter::default(),
            transfers_refused: CounterVec::default(),
            transfers_dropped: CounterVec::default(),
            reorganisation_depth: Histogram::of_numbers(DEPTHS),
            check_time: Histogram::of_times(BLOCK_TIMES),
            connect_time: Histogram::of_times(BLOCK_TIMES),
            commit_time: Histogram::of_times(BLOCK_TIMES),
        }
    }
}

impl WriterMetrics {
    /// A transfer was judged.
    pub fn transfer(&self, result: &Result<Admission, TransferError>) {
        match result {
            Ok(Admission::Added(_)) => self.transfers_accepted.increment(),
            Ok(Admission::AlreadyKnown) => {}
            Err(error) => {
                error.code().into_iter().for_each(|code| self.transfers_refused.count(code));
            }
        }
    }

    /// A block was judged on its parent. One that is known takes no time worth knowing.
    pub fn block(&self, result: &Result<Accepted, SubmitError>, took: Duration) {
        if !matches!(result, Ok(Accepted::AlreadyKnown)) {
            self.connect_time.time(took);
        }
        let code = result.as_ref().err().and_then(SubmitError::code);
        code.into_iter().for_each(|code| self.blocks_refused.count(code));
    }

    /// What came was made safe: not always blocks of the best chain.
    pub fn commit(&self, commit: &Commit, took: Duration) {
        if !commit.connected.is_empty() || !commit.disconnected.is_empty() {
            self.commit_time.time(took);
        }
        self.blocks_connected.add(commit.connected.len());
        self.transfers_confirmed.add(commit.confirmed);
        if !commit.disconnected.is_empty() {
            self.blocks_disconnected.add(commit.disconnected.len());
            self.reorganisation_depth.count(commit.disconnected.len());
        }
    }
}
