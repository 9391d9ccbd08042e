//! Mining as a job of a running node: starts it, shows its progress, cancels it.

use super::args::Args;
use super::balance::{MinerBalance, MiningStatus};
use crate::api::routes::jobs::Job;
use crate::cli::output::print_lines;
use crate::cli::progress::{ProgressLine, refresh_interval};
use crate::client::{Client, printable};
use crate::logging;
use anyhow::{Context, Result, bail};
use chain::{Address, Params};
use reqwest::Method;
use serde_json::json;
use std::time::Duration;

/// Mines by a job of the node, which is cancelled on the stop signal.
pub(super) async fn mine(
    client: &Client,
    args: &Args,
    params: &Params,
    miner: Address,
    stop: &mut (impl Future<Output = ()> + Unpin),
) -> Result<()> {
    logging::start(logging::Format::Text, logging::filter("warn")?);
    let line = ProgressLine::new();
    let miner = miner.encode(params.hrp());
    let request = json!({ "miner": miner, "blocks": args.blocks, "threads": args.threads });
    let path = ["mining", "jobs"];
    let job: Job = client.create(&path, &request, Duration::ZERO).await?.json()?;
    let (network, base) = (params.name(), client.base());
    line.println(&format!("mining for {miner} on {network}, by job {} of {base}", job.id));
    let job = match follow(client, &job.id, &line, stop).await? {
        Some(job) => job,
        None => {
            let path = ["mining", "jobs", &job.id];
            let ended = client.send_once(Method::DELETE, &path, None, Duration::ZERO).await?;
            ended.context("empty response from node")?.json()?
        }
    };
    line.finish(&status(client, &job).await?);
    if let Some(error) = job.error {
        bail!("the job failed: {}", printable(error["detail"].as_str().unwrap_or_default()));
    }
    Ok(print_lines(&job.result.map(|result| result.blocks).unwrap_or_default())?)
}

/// Shows the progress of a job until it ends; `None` if the stop signal comes first.
pub async fn follow(
    client: &Client,
    id: &str,
    line: &ProgressLine,
    stop: &mut (impl Future<Output = ()> + Unpin),
) -> Result<Option<Job>> {
    let mut refresh = refresh_interval();
    loop {
        let job = async {
            refresh.tick().await;
            client.get(&["mining", "jobs", id]).await?.json::<Job>()
        };
        let job = tokio::select! {
            job = job => job?,
            () = &mut *stop => return Ok(None),
        };
        if job.state.is_terminal() {
            return Ok(Some(job));
        }
        match &job.waiting {
            Some(reason) => line.update(&format!("waiting: {}", printable(reason))),
            None => line.update(&status(client, &job).await?),
        }
    }
}

async fn status(client: &Client, job: &Job) -> Result<MiningStatus> {
    let balance = MinerBalance::request(client, &job.miner).await?;
    Ok(balance.with_progress(job.progress.hashrate, job.progress.blocks_done))
}
