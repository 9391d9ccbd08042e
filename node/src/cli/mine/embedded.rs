//! Mining with a node in this process.

use super::args::Args;
use super::balance::Holdings;
use crate::cli::output::print_lines;
use crate::cli::progress::{ProgressLine, refresh_interval};
use crate::cli::sync_progress::SyncProgress;
use crate::config::Settings;
use crate::config::peers::Wishes;
use crate::daemon::Daemon;
use crate::jobs::{self, Order, Priority, Start};
use anyhow::{Context, Result, bail};
use chain::{Address, Params};

/// Mines with a node in this process.
pub(super) async fn mine(
    args: &Args,
    params: &Params,
    miner: Address,
    stop: &mut (impl Future<Output = ()> + Unpin),
) -> Result<()> {
    let network = args.node.network().unwrap_or(params.name());
    let wishes = Wishes {
        listen: args.listen.clone(),
        peer: args.peer.clone(),
        mdns: args.mdns,
        max_peers: None,
        discover: None,
    };
    let data = args.node.data().cloned();
    let settings = Settings::embedded(network, data, args.api, wishes).start_log()?;
    let mut config = settings.check()?;
    (config.threads, config.kernel) = (args.threads, args.kernel);
    let line = ProgressLine::new();
    line.say(&format!("mining for {} on {}", miner.encode(params.hrp()), params.name()));
    let mut daemon = tokio::select! {
        daemon = Daemon::start(config) => daemon?,
        () = &mut *stop => return Ok(()),
    };
    let url = daemon.url();
    line.say(&format!("started a node: REST API at {url}/v1/chain, explorer at {url}/"));
    if let Some(address) = daemon.to_join() {
        line.say(&format!("others join with --peer {address}"));
    }
    let node = daemon.node().clone();
    let standing = Order::standing(miner, node.jobs.budget());
    let order = match args.blocks {
        None => standing,
        Some(blocks) => {
            let (goal, start) = (jobs::Goal::Blocks(blocks), Start::Now);
            Order { goal, start, priority: Priority::Normal, ..standing }
        }
    };
    // Before there is anything to miss.
    let mut updates = node.jobs.updates();
    let id = match node.jobs.create(order, None).await {
        Ok(status) => status.job.id,
        Err(error) => {
            daemon.stop().await?;
            bail!(error);
        }
    };
    let mut sync_progress = SyncProgress::new(node.clone());
    let mut look = refresh_interval();
    let (mut is_done, mut is_stopped) = (false, false);
    while !is_done && !is_stopped {
        tokio::select! {
            () = daemon.failed() => break,
            () = &mut *stop => is_stopped = true,
            _ = updates.recv() => {
                let job = node.jobs.job(id).await?;
                is_done = job.is_none_or(|status| status.job.state.is_terminal());
            }
            _ = look.tick() => {
                if let Some(stage) = sync_progress.look().await {
                    line.show(&stage);
                    continue;
                }
                if let Some(status) = node.jobs.job(id).await? {
                    let rate = status.progress.map_or(0.0, |progress| progress.hash_rate);
                    line.show(&Holdings::read(&node, miner)?.with(rate, status.job.blocks));
                }
            }
        }
    }
    // Nobody is left who wants it: it must not go on with the next node on this data.
    let status = node.jobs.cancel(id).await.ok().flatten();
    let blocks = status.as_ref().map_or(0, |status| status.job.blocks);
    line.show_last(&Holdings::read(&node, miner)?.with(0.0, blocks));
    if is_done {
        tokio::select! {
            () = daemon.hand_on() => {}
            () = &mut *stop => {}
        }
    }
    daemon.stop().await?;
    let status = status.context("the job is forgotten")?;
    if let Some(failure) = status.job.failure {
        bail!("mining ended: {}", failure.detail);
    }
    Ok(print_lines(&status.found)?)
}
