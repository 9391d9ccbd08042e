//! What all connections of the Stratum server share.

use super::job_template::JobTemplate;
use super::workers::Workers;
use crate::writer;
use chain::ledger::{Accepted, SubmitError};
use chain::{Address, block};
use miner::stratum::{BlockTemplate, Now, SessionConfig, SolvedBlock};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Pause before a block that did not fit on the disk is submitted again.
const RESUBMIT_PAUSE: Duration = Duration::from_secs(1);

/// The present work of all miners.
#[derive(Clone)]
pub(super) enum Work {
    /// There was no template yet.
    None,
    /// The job to mine.
    Job(Arc<BlockTemplate<JobTemplate>>),
    /// No block can be mined at present, for this reason.
    Suspended(Arc<str>),
}

/// The state that all Stratum connections share.
pub(super) struct Context {
    pub(super) writer: writer::Handle,
    pub(super) config: Arc<SessionConfig<Address>>,
    /// The present work of all miners.
    pub(super) work: watch::Receiver<Work>,
    pub(super) workers: Arc<Workers>,
    pub(super) stop: watch::Receiver<bool>,
}

impl Context {
    /// The present time for a session.
    pub(super) fn now(&self) -> Now {
        Now { instant: Instant::now(), time: self.writer.now() }
    }

    /// Submits a block and waits until it is safe on disk; false if it was rejected. While the disk
    /// is full, retries until the node stops.
    pub(super) async fn submit_block(&self, solved: &SolvedBlock<JobTemplate>) -> bool {
        let SolvedBlock { template, header, extra_nonce, worker } = solved;
        let issued = template.source().issue(worker.payout_address, *extra_nonce);
        let (hash, worker): (block::Hash, &str) = (header.hash(), &worker.name);
        let height = template.source().template.height.get();
        loop {
            let block = issued.solved(|own| *own = *header);
            match self.writer.submit_block(block).await {
                Ok(Ok(Accepted::Connected)) => {
                    tracing::info!(height, %hash, worker, "miner found a block");
                    return true;
                }
                Ok(Ok(Accepted::SideBranch)) => {
                    tracing::info!(height, %hash, worker, "miner found a block, but it is stale");
                    return true;
                }
                Ok(Ok(Accepted::AlreadyKnown)) => {
                    tracing::info!(height, %hash, worker, "miner found a block that is known");
                    return true;
                }
                Ok(Err(SubmitError::Store(error))) if !*self.stop.borrow() => {
                    tracing::error!(height, %hash, worker, "cannot store a found block: {error}");
                    tokio::time::sleep(RESUBMIT_PAUSE).await;
                }
                Ok(Err(error)) => {
                    tracing::error!(height, %hash, worker, "found block rejected: {error}");
                    return false;
                }
                Err(stopped) => {
                    tracing::error!(height, %hash, worker, "found block lost: {stopped}");
                    return false;
                }
            }
        }
    }
}
