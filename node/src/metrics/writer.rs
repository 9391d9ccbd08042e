//! Metrics of the writer: blocks, transfers and reorganisations.

use super::exposition::{Metric as _, metrics};
use super::instrument::{self, Counter, CounterVec, Histogram};
use chain::ledger::{Accepted, Commit, SubmitError, TransferError};
use chain::mempool::Admission;
use std::time::Duration;

/// Bucket bounds of times for blocks: 50 µs for an empty block in memory to 10 s.
const BLOCK_TIMES: &[u64] = &instrument::nanoseconds([
    50, 200, 1_000, 5_000, 20_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    10_000_000,
]);
/// Bucket bounds of reorganisation depths in blocks.
const DEPTHS: &[u64] = &[1, 2, 3, 6, 10, 20, 50, 100, 500];

metrics! {
    /// The metrics of the writer.
    pub struct WriterMetrics {
        blocks_connected: Counter = Counter::default(),
            "chain_blocks_connected_total", "Blocks connected to the best chain.";
        blocks_disconnected: Counter = Counter::default(),
            "chain_blocks_disconnected_total", "Blocks disconnected from the best chain.";
        blocks_rejected: CounterVec = CounterVec::default(),
            "chain_blocks_refused_total", "Blocks rejected, by the code of the rule.";
        reorganisations: Counter = Counter::default(),
            "chain_reorganisations_total", "Reorganisations of the best chain.";
        reorganisation_depth: Histogram = Histogram::of_numbers(DEPTHS),
            "chain_reorganisation_depth_blocks", "Blocks disconnected by a reorganisation.";
        transfers_confirmed: Counter = Counter::default(),
            "chain_transfers_confirmed_total", "Transfers confirmed, again after a reorganisation too.";
        transfers_accepted: Counter = Counter::default(),
            "chain_mempool_accepted_total", "Transfers accepted into the mempool.";
        transfers_rejected: CounterVec = CounterVec::default(),
            "chain_mempool_refused_total", "Transfers rejected, by the code of the rule or policy.";
        transfers_dropped: CounterVec = CounterVec::default(),
            "chain_mempool_dropped_total", "Transfers dropped from the mempool, by the code of the policy.";
        check_time: Histogram = Histogram::of_times(BLOCK_TIMES),
            "chain_block_check_seconds", "Time of context-free checks of a batch of blocks.";
        connect_time: Histogram = Histogram::of_times(BLOCK_TIMES),
            "chain_block_connect_seconds", "Time to validate and connect a block, without the disk.";
        commit_time: Histogram = Histogram::of_times(BLOCK_TIMES),
            "chain_block_commit_seconds", "Time to write a batch of blocks to disk and publish it.";
    }
}

impl WriterMetrics {
    /// Counts a submitted transfer.
    pub fn transfer(&self, result: &Result<Admission, TransferError>) {
        match result {
            Ok(Admission::Added(_)) => self.transfers_accepted.increment(),
            Ok(Admission::AlreadyKnown) => {}
            Err(error) => {
                error.code().into_iter().for_each(|code| self.transfers_rejected.count(code));
            }
        }
    }

    /// Counts a submitted block and the time to connect it; a known one takes negligible time.
    pub fn block(&self, result: &Result<Accepted, SubmitError>, time: Duration) {
        if !matches!(result, Ok(Accepted::AlreadyKnown)) {
            self.connect_time.time(time);
        }
        let code = result.as_ref().err().and_then(SubmitError::code);
        code.into_iter().for_each(|code| self.blocks_rejected.count(code));
    }

    /// Counts a commit, which may contain side branches only.
    pub fn commit(&self, commit: &Commit, time: Duration) {
        if !commit.connected.is_empty() || !commit.disconnected.is_empty() {
            self.commit_time.time(time);
        }
        self.blocks_connected.add(commit.connected.len());
        self.transfers_confirmed.add(commit.confirmed);
        if !commit.disconnected.is_empty() {
            self.blocks_disconnected.add(commit.disconnected.len());
            self.reorganisations.increment();
            self.reorganisation_depth.count(commit.disconnected.len());
        }
    }
}
