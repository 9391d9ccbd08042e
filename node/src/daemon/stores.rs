//! What a node reads from its data directory when it starts.

use crate::api::routes::dev;
use crate::auth::Token;
use crate::clock::{Clock, ClockSetting};
use crate::config::{self, Config};
use crate::events::{self, Events};
use crate::jobs;
use crate::seed::{NODE_KEY, Seed};
use anyhow::{Context, Result};
use chain::ledger::{self, Interrupt, OpenError, OpenProgress, Reader};
use chain::{Address, mempool};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Everything that is read from the data directory.
pub(super) struct Stores {
    pub(super) ledger: ledger::Writer,
    pub(super) reader: Reader,
    pub(super) rest: OtherStores,
}

/// What is read from the data directory once the ledger is open.
pub(super) struct OtherStores {
    pub(super) token: Token,
    pub(super) clock: Clock,
    pub(super) jobs: jobs::Loaded,
    pub(super) event_thread: events::Thread,
    pub(super) events: Events,
}

impl Stores {
    /// Opens the stores, and publishes the progress; `None` if `stop` completes first, which sets
    /// `interrupt`. When that is set later, it ends long work of the ledger.
    pub(super) async fn open(
        config: &Config,
        threads: NonZeroUsize,
        progress: watch::Sender<Option<OpenProgress>>,
        interrupt: &Arc<AtomicBool>,
        stop: &mut (impl Future<Output = ()> + Unpin),
    ) -> Result<Option<Stores>> {
        let data = config.data.clone();
        let params = config.params.clone();
        let background_miner = config.miner.filter(|_| config.mine);
        let seed = config.seed.filter(|_| !config::network::is_data(&data));
        let is_interrupted = {
            let interrupt = Arc::clone(interrupt);
            move || interrupt.load(Ordering::Relaxed)
        };
        let options = ledger::Options {
            interrupt: Interrupt::when(is_interrupted),
            cache_bytes: config.cache_bytes,
            threads: threads.get(),
            accept_loss: config.accept_loss,
            ..ledger::Options::default()
        };
        let open = move || -> Result<Option<Stores>> {
            let mut log = OpenProgressLogger::default();
            let mut report = |new: OpenProgress| {
                log.log(&new);
                progress.send_replace(Some(new));
            };
            let opened = ledger::open(&data, params, &options, &mut report);
            let (mut ledger, reader) = match opened {
                Err(OpenError::Interrupted) => return Ok(None),
                opened => opened?,
            };
            match OtherStores::open(&data, &mut ledger, &reader, threads, background_miner, seed) {
                Ok(rest) => Ok(Some(Stores { ledger, reader, rest })),
                Err(error) => {
                    ledger.close()?;
                    Err(error)
                }
            }
        };
        let mut opening = tokio::task::spawn_blocking(open);
        tokio::select! {
            stores = &mut opening => stores?,
            () = &mut *stop => {
                interrupt.store(true, Ordering::Relaxed);
                if let Some(stores) = opening.await?? {
                    stores.close().await?;
                }
                Ok(None)
            }
        }
    }

    pub(super) async fn close(self) -> Result<()> {
        let Stores { ledger, rest, .. } = self;
        rest.event_thread.stop().await?;
        Ok(ledger.close()?)
    }
}

impl OtherStores {
    /// Opens the stores; those of a new data directory derive from a seed, if there is one.
    fn open(
        data: &Path,
        ledger: &mut ledger::Writer,
        reader: &Reader,
        threads: NonZeroUsize,
        background_miner: Option<Address>,
        seed: Option<Seed>,
    ) -> Result<OtherStores> {
        config::network::keep_in_data(data, reader.params())?;
        let token = Token::open_or_create(data)?;
        let clock = match dev::is_available(reader.params()) {
            true => Clock::open(data)?,
            false => Clock::default(),
        };
        if let Some(seed) = seed {
            p2p::create_key(data, seed.bytes(NODE_KEY))?;
            clock.set(ClockSetting::Frozen(reader.params().genesis().header.time))?;
        }
        match clock.setting() {
            ClockSetting::Offset(0) => {}
            ClockSetting::Offset(seconds) => tracing::warn!(
                seconds,
                "the clock for validation and mining has an offset, set before this start: POST \
                 /v1/dev/time changes it"
            ),
            ClockSetting::Frozen(time) => tracing::warn!(
                %time,
                "the clock for validation and mining is frozen since before this start: POST \
                 /v1/dev/time changes it"
            ),
        }
        // Before peers can change the chain: recovered blocks are counted from it as it was.
        let jobs =
            jobs::Loaded::open(data, reader, threads, background_miner).context("mining jobs")?;
        let mempool::Restored { count, dropped } = ledger.take_restored_mempool();
        if count > 0 || !dropped.is_empty() {
            tracing::info!(transfers = count, dropped = dropped.len(), "mempool restored");
        }
        let (event_thread, events) =
            events::Thread::start(data, reader.clone(), dropped).context("events")?;
        Ok(OtherStores { token, clock, jobs, event_thread, events })
    }
}

/// Logs the progress of opening the ledger, at most once a second.
#[derive(Default)]
struct OpenProgressLogger {
    last: Option<Instant>,
}

impl OpenProgressLogger {
    fn log(&mut self, progress: &OpenProgress) {
        if let OpenProgress::Replaying { done, total } = progress {
            let due = self.last.is_none_or(|last| last.elapsed() >= Duration::from_secs(1));
            if !due && done != total {
                return;
            }
            self.last = Some(Instant::now());
            tracing::info!("{progress}");
        } else {
            tracing::warn!("{progress}");
        }
    }
}
