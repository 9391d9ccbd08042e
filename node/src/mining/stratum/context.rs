//! What all connections of the Stratum server share.

use super::job_template::JobTemplate;
use crate::mining::workers::{FoundBlock, Workers};
use crate::tls::Tls;
use crate::{logging, writer};
use chain::block;
use chain::ledger::{Accepted, SubmitError};
use miner::stratum::{BlockTemplate, Now, SessionConfig, SolvedBlock};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, watch};

/// Pause before a block that did not fit on the disk is submitted again.
const RESUBMIT_PAUSE: Duration = Duration::from_secs(1);

/// The sessions that process something at the same time.
pub(super) const TURNS: usize = 4;

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
    pub(super) config: Arc<SessionConfig<JobTemplate>>,
    /// The present work of all miners.
    pub(super) work: watch::Receiver<Work>,
    pub(super) workers: Arc<Workers>,
    pub(super) stop: watch::Receiver<bool>,
    /// Permits of sessions to process something. With few of them, sessions wait for each other, and
    /// the requests of others do not wait until each of thousands of miners had its turn.
    pub(super) turns: Semaphore,
    /// The certificate for miners that connect with TLS.
    pub(super) tls: Option<Tls>,
}

impl Context {
    /// The present time for a session.
    pub(super) fn now(&self) -> Now {
        Now { instant: Instant::now(), time: self.writer.now() }
    }

    /// Submits a block and waits until it is safe on disk; `None` if it was rejected. While the disk
    /// is full, retries until the node stops.
    pub(super) async fn submit_block(
        &self,
        solved: &SolvedBlock<JobTemplate>,
    ) -> Option<FoundBlock> {
        let SolvedBlock { template, header, extra_nonce, worker } = solved;
        let issued = template.source().issue(worker.payout_address, *extra_nonce);
        let (hash, worker): (block::Hash, &str) = (header.hash(), &worker.name);
        let (height, reward) = (template.source().template.height.get(), issued.coinbase().reward);
        loop {
            let block = issued.solved(|own| *own = *header);
            match self.writer.submit_block(block).await {
                Ok(Ok(accepted)) => {
                    let found = match accepted {
                        Accepted::Connected => "miner found a block",
                        Accepted::SideBranch => "miner found a block, but it is stale",
                        Accepted::AlreadyKnown => "miner found a block that is known",
                    };
                    logging::limited("found block", |dropped| {
                        tracing::info!(height, %hash, worker, dropped, "{found}");
                    });
                    return Some(FoundBlock { hash, height, reward });
                }
                Ok(Err(SubmitError::Store(error))) if !*self.stop.borrow() => {
                    logging::limited("found block not stored", |dropped| {
                        tracing::error!(height, %hash, worker, dropped, "cannot store a found block: {error}");
                    });
                    tokio::time::sleep(RESUBMIT_PAUSE).await;
                }
                Ok(Err(error)) => {
                    logging::limited("found block rejected", |dropped| {
                        tracing::error!(height, %hash, worker, dropped, "found block rejected: {error}");
                    });
                    return None;
                }
                Err(stopped) => {
                    tracing::error!(height, %hash, worker, "found block lost: {stopped}");
                    return None;
                }
            }
        }
    }
}
