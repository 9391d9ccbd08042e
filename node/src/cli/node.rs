//! `chain node`: the daemon in the foreground, until it is told to stop.

use super::progress::{ProgressLine, refresh_interval};
use super::sync_progress::SyncProgress;
use crate::config::Settings;
use crate::daemon::Daemon;
use anyhow::{Context, Result};
use std::future::Future;

/// Run a node: keeps the chain, serves the REST API, mines if told to
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    settings: Settings,
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let config = args.settings.start_log()?.check()?;
    block_on(async {
        // Listened for from the start, so that a signal while opening is not lost.
        let mut stop = std::pin::pin!(stop_signal()?);
        let mut daemon = tokio::select! {
            daemon = Daemon::start(config) => daemon?,
            () = &mut stop => return Ok(()),
        };
        let mut look = refresh_interval();
        let (mut sync_progress, line) =
            (SyncProgress::new(daemon.node().clone()), ProgressLine::new());
        loop {
            tokio::select! {
                _ = look.tick() => match sync_progress.look().await {
                    Some(stage) if line.is_on_terminal() => line.show(&stage),
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

/// Runs a future on a runtime of its own.
pub fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(future)
}

/// Ends when the user or the system asks the process to stop: Ctrl-C or SIGTERM.
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
