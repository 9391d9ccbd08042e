//! Mining with a node in this process.

use super::args::Args;
use super::balance::MinerBalance;
use crate::cli::output::print_lines;
use crate::cli::progress::{ProgressLine, refresh_interval};
use crate::cli::sync_progress::SyncProgress;
use crate::daemon::Daemon;
use crate::jobs::{self, JobSpec, Priority, Start};
use anyhow::{Context, Result, bail};
use chain::{Address, Params};

/// Starts a node and mines by a job of it until the goal is reached or the stop signal comes.
pub(super) async fn mine(
    args: &Args,
    params: &Params,
    miner: Address,
    stop: &mut (impl Future<Output = ()> + Unpin),
) -> Result<()> {
    let line = ProgressLine::new();
    let Some(mut daemon) = start(args, params, miner, &line, stop).await? else { return Ok(()) };
    let node = daemon.node().clone();
    let standing = JobSpec::background(miner, node.jobs.max_threads());
    let order = match args.blocks {
        None => standing,
        Some(blocks) => {
            let (goal, start) = (jobs::Goal::Blocks(blocks), Start::Now);
            JobSpec { goal, start, priority: Priority::Normal, ..standing }
        }
    };
    // Subscribed before the job exists, so that no update is missed.
    let mut updates = node.jobs.updates();
    let id = match node.jobs.create(order, None).await {
        Ok(status) => status.job.id,
        Err(error) => {
            daemon.stop().await?;
            bail!(error);
        }
    };
    let mut sync = SyncProgress::new(node.clone());
    let mut refresh = refresh_interval();
    let (mut is_done, mut is_stopped) = (false, false);
    while !is_done && !is_stopped {
        tokio::select! {
            () = daemon.ended() => break,
            () = &mut *stop => is_stopped = true,
            _ = updates.recv() => {
                let job = node.jobs.job(id).await?;
                is_done = job.is_none_or(|status| status.job.state.is_terminal());
            }
            _ = refresh.tick() => {
                if let Some(stage) = sync.sample().await {
                    line.update(&stage);
                    continue;
                }
                if let Some(status) = node.jobs.job(id).await? {
                    let rate = status.progress.map_or(0.0, |progress| progress.hash_rate);
                    let balance = MinerBalance::read(&node, miner)?;
                    line.update(&balance.with_progress(rate, status.job.blocks));
                }
            }
        }
    }
    // The job must not resume with the next node on this data directory.
    let status = node.jobs.cancel(id).await.ok().flatten();
    let blocks = status.as_ref().map_or(0, |status| status.job.blocks);
    line.finish(&MinerBalance::read(&node, miner)?.with_progress(0.0, blocks));
    if is_done {
        tokio::select! {
            () = daemon.announce_tip_before_shutdown() => {}
            () = &mut *stop => {}
        }
    }
    daemon.stop().await?;
    let status = status.context("the job is gone")?;
    if let Some(failure) = status.job.failure {
        bail!("mining ended: {}", failure.detail);
    }
    Ok(print_lines(&status.found)?)
}

/// Starts the node; `None` if the stop signal comes first.
async fn start(
    args: &Args,
    params: &Params,
    miner: Address,
    line: &ProgressLine,
    stop: &mut (impl Future<Output = ()> + Unpin),
) -> Result<Option<Daemon>> {
    let mut config = args.settings(params).start_log()?.validate()?;
    (config.threads, config.kernel) = (args.threads, args.kernel);
    line.println(&format!("mining for {} on {}", miner.encode(params.hrp()), params.name()));
    let Some(daemon) = Daemon::start(config, stop).await? else { return Ok(None) };
    let url = daemon.url();
    line.println(&format!("started a node: REST API at {url}/v1/chain, explorer at {url}/"));
    if let Some(address) = daemon.join_address() {
        line.println(&format!("other nodes connect with --peer {address}"));
    }
    Ok(Some(daemon))
}
