//! Blocks that a node of a development network generates by itself: when a transfer arrives, or at
//! intervals. Their proof of work is real, and trivial on such a network.

use crate::clock::interval;
use crate::config::BlockGeneration;
use crate::shutdown::shutdown_requested;
use crate::writer::{Generation, Handle, Stopped};
use chain::Address;
use chain::ledger::Reader;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Pause before a transfer is tried again for which no block could be generated.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Generates blocks for an address.
#[derive(Clone)]
pub struct BlockGenerator {
    reader: Reader,
    writer: Handle,
    miner: Address,
    /// The last error, which is logged once.
    failure: Option<String>,
}

impl BlockGenerator {
    /// A generator of blocks on the tip of the writer's chain.
    pub fn new(reader: Reader, writer: Handle, miner: Address) -> BlockGenerator {
        BlockGenerator { reader, writer, miner, failure: None }
    }

    /// Starts the tasks that generate blocks until shutdown.
    pub fn spawn(
        self,
        generation: BlockGeneration,
        stopping: &watch::Receiver<bool>,
    ) -> Vec<JoinHandle<()>> {
        let mut tasks = Vec::new();
        if generation.on_transfer {
            let (generator, mut stopping) = (self.clone(), stopping.clone());
            tasks.push(tokio::spawn(async move {
                tokio::select! {
                    () = shutdown_requested(&mut stopping) => {}
                    _stopped = generator.run_on_transfers() => {}
                }
            }));
        }
        if let Some(period) = generation.interval {
            let mut stopping = stopping.clone();
            tasks.push(tokio::spawn(async move {
                tokio::select! {
                    () = shutdown_requested(&mut stopping) => {}
                    _stopped = self.run_at_intervals(period) => {}
                }
            }));
        }
        tasks
    }

    /// Generates blocks while transfers are pending.
    async fn run_on_transfers(mut self) -> Stopped {
        let mut chain = self.writer.watch_chain();
        loop {
            chain.mark_unchanged();
            let changed = match self.pending() {
                0 => chain.changed().await,
                _ => match self.generate().await {
                    Err(stopped) => return stopped,
                    Ok(true) => continue,
                    Ok(false) => {
                        tokio::time::sleep(RETRY_PAUSE).await;
                        Ok(())
                    }
                },
            };
            if changed.is_err() {
                return Stopped;
            }
        }
    }

    async fn run_at_intervals(mut self, period: Duration) -> Stopped {
        let mut ticks = interval(period);
        // The first tick is at once.
        ticks.tick().await;
        loop {
            ticks.tick().await;
            if let Err(stopped) = self.generate().await {
                return stopped;
            }
        }
    }

    /// The number of transfers that the next block can include.
    fn pending(&self) -> usize {
        let view = self.reader.view();
        view.mempool().count().saturating_sub(view.mempool().queued())
    }

    /// Generates a block and returns whether that succeeded; logs an error unless it is that of the
    /// last time.
    async fn generate(&mut self) -> Result<bool, Stopped> {
        let request = Generation::new(1, self.miner);
        let failure = self.writer.generate_blocks(request).await?.err();
        let failure = failure.map(|error| error.to_string());
        if let Some(error) = failure.as_ref().filter(|_| failure != self.failure) {
            tracing::warn!("no block can be generated: {error}");
        }
        self.failure = failure;
        Ok(self.failure.is_none())
    }
}
