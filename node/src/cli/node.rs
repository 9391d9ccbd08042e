//! `chain node`: the daemon in the foreground, until a signal stops it.

use super::progress::{ProgressLine, refresh_interval};
use super::sync_progress::SyncProgress;
use crate::config::Settings;
use crate::daemon::Daemon;
use crate::logging;
use anyhow::{Context, Result};
use clap::ArgMatches;
use std::future::Future;
use std::pin::Pin;

/// Run a node: store and validate the chain, serve the REST API, mine on request
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    settings: Settings,
}

pub fn run(args: Args, flags: &ArgMatches) -> Result<()> {
    block_on(async {
        // Registered first, so that no signal ends the process in the middle of its start.
        let hangup = Hangup::of_process();
        let mut stop = std::pin::pin!(stop_on(hangup == Hangup::Stop)?);
        let mut reload = Reload::on(hangup == Hangup::Reload)?;
        let settings = args.settings.with_file(flags)?.start_log()?;
        let mut kept = None;
        loop {
            let config = settings.clone().validate()?;
            let started = Daemon::start_restartable(config, kept.take(), &mut stop).await?;
            let Some(mut daemon) = started else { return Ok(()) };
            run_until_end(&mut daemon, &mut reload, &mut stop).await;
            kept = daemon.restart();
            daemon.stop().await?;
            if kept.is_none() {
                return Ok(());
            }
        }
    })
}

/// Shows progress and reloads files until the node ends or is stopped.
async fn run_until_end(
    daemon: &mut Daemon,
    reload: &mut Reload,
    stop: &mut (impl Future<Output = ()> + Unpin),
) {
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
            () = reload.requested() => reload_files(daemon),
            () = daemon.ended() => return,
            () = &mut *stop => return,
        }
    }
}

/// Opens the file of the log again, and reads the TLS certificate again.
fn reload_files(daemon: &Daemon) {
    if let Err(error) = logging::reopen() {
        tracing::error!("the file of the log cannot be opened again: {error}");
    }
    tracing::info!("SIGHUP: the log was opened again");
    if let Err(error) = daemon.reload_certificate() {
        tracing::error!("the TLS certificate in use is kept: {error:#}");
    }
}

/// The reaction to SIGHUP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hangup {
    /// The parent has disabled the signal, as `nohup` does.
    Ignore,
    /// The terminal was closed: the process ends as by SIGTERM.
    Stop,
    /// A process without a terminal is a service, which is asked to reload its files.
    Reload,
}

impl Hangup {
    #[cfg(unix)]
    fn of_process() -> Hangup {
        if is_hangup_ignored() {
            Hangup::Ignore
        // The controlling terminal, whatever the standard streams are.
        } else if std::fs::File::open("/dev/tty").is_ok() {
            Hangup::Stop
        } else {
            Hangup::Reload
        }
    }

    #[cfg(not(unix))]
    fn of_process() -> Hangup {
        Hangup::Ignore
    }
}

/// Whether SIGHUP is ignored; false where the system does not say.
#[cfg(unix)]
fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // Signal 1 is the lowest bit.
    mask.is_some_and(|mask| mask & 1 != 0)
}

/// Requests to reload files.
struct Reload {
    #[cfg(unix)]
    hangups: Option<tokio::signal::unix::Signal>,
}

impl Reload {
    #[cfg(unix)]
    fn on(is_enabled: bool) -> Result<Reload> {
        use tokio::signal::unix::{SignalKind, signal};
        let hangups = is_enabled.then(|| signal(SignalKind::hangup())).transpose();
        Ok(Reload { hangups: hangups.context("cannot wait for signals")? })
    }

    #[cfg(not(unix))]
    fn on(_: bool) -> Result<Reload> {
        Ok(Reload {})
    }

    /// Waits for the next request. Cancel-safe.
    async fn requested(&mut self) {
        #[cfg(unix)]
        if let Some(hangups) = &mut self.hangups
            && hangups.recv().await.is_some()
        {
            return;
        }
        std::future::pending::<()>().await;
    }
}

/// Runs a future on a new runtime.
pub fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    // One type of future, so that the scheduler is compiled once.
    let mut result = None;
    let run: Pin<Box<dyn Future<Output = ()> + '_>> =
        Box::pin(async { result = Some(future.await) });
    runtime.block_on(run);
    result.context("the future has not completed")?
}

/// Completes when the user or the system stops the process: Ctrl-C, SIGTERM, or SIGHUP unless that is
/// ignored.
pub fn stop_signal() -> Result<impl Future<Output = ()>> {
    stop_on(Hangup::of_process() != Hangup::Ignore)
}

/// Completes on Ctrl-C and SIGTERM, and on SIGHUP if `hangup`.
fn stop_on(hangup: bool) -> Result<impl Future<Output = ()>> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| signal(kind).context("cannot wait for signals");
        let mut interrupt = listen(SignalKind::interrupt())?;
        let mut terminate = listen(SignalKind::terminate())?;
        let mut hangup = hangup.then(|| listen(SignalKind::hangup())).transpose()?;
        Ok(async move {
            let hung_up = async {
                match &mut hangup {
                    Some(hangup) => {
                        hangup.recv().await;
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                () = hung_up => {}
            }
        })
    }
    #[cfg(not(unix))]
    {
        let _ = hangup;
        Ok(async {
            let _ = tokio::signal::ctrl_c().await;
        })
    }
}
