//! `chain node`: the daemon in the foreground, until a signal stops it.

use super::progress::{ProgressLine, refresh_interval};
use super::sync_progress::SyncProgress;
use crate::config::Settings;
use crate::daemon::Daemon;
use anyhow::{Context, Result};
use clap::ArgMatches;
use std::future::Future;

/// Run a node: store and validate the chain, serve the REST API, mine on request
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    settings: Settings,
}

pub fn run(args: Args, flags: &ArgMatches) -> Result<()> {
    let config = args.settings.with_file(flags)?.start_log()?.validate()?;
    block_on(async {
        // Registered first, so that a signal during start is not lost.
        let mut stop = std::pin::pin!(stop_signal()?);
        let mut daemon = tokio::select! {
            daemon = Daemon::start(config) => daemon?,
            () = &mut stop => return Ok(()),
        };
        let mut refresh = refresh_interval();
        let (mut sync, line) = (SyncProgress::new(daemon.node().clone()), ProgressLine::new());
        loop {
            tokio::select! {
                _ = refresh.tick() => match sync.sample().await {
                    Some(stage) if line.is_on_terminal() => line.update(&stage),
                    Some(stage) if line.is_due() => tracing::info!("sync: {stage}"),
                    Some(_) => {}
                    None => line.clear(),
                },
                () = daemon.failed() => break,
                () = &mut stop => break,
            }
        }
        daemon.stop().await
    })
}

/// Runs a future on a new runtime.
pub fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(future)
}

/// Completes when the user or the system stops the process: Ctrl-C or SIGTERM.
pub fn stop_signal() -> Result<impl Future<Output = ()>> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for signals")?;
        let mut terminate = signal(SignalKind::terminate()).context("cannot wait for signals")?;
        Ok(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        })
    }
    #[cfg(not(unix))]
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
    })
}
