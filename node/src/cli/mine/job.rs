//! Mining as a job of a node that runs: asks for it, shows how it goes, cancels it.

use super::args::Args;
use super::balance::{Holdings, Status};
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

/// Mines by a job of this node, which is cancelled when it is time to stop.
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
    let order = json!({ "miner": miner, "blocks": args.blocks, "threads": args.threads });
    let path = ["mining", "jobs"];
    let taken = client.order(Method::POST, &path, Some(&order), Duration::ZERO).await?;
    let job: Job = taken.context("the node did not say what it did")?.read()?;
    let (network, base) = (params.name(), client.base());
    line.say(&format!("mining for {miner} on {network}, by job {} of {base}", job.id));
    let job = match follow(client, &job.id, &line, stop).await? {
        Some(job) => job,
        None => {
            let path = ["mining", "jobs", &job.id];
            let ended = client.order(Method::DELETE, &path, None, Duration::ZERO).await?;
            ended.context("the node did not say what it did")?.read()?
        }
    };
    line.show_last(&status(client, &job).await?);
    if let Some(error) = job.error {
        bail!("the job failed: {}", printable(error["detail"].as_str().unwrap_or_default()));
    }
    Ok(print_lines(&job.result.map(|result| result.blocks).unwrap_or_default())?)
}

/// Shows how a job goes until it is at its end; `None` if it is time to stop before.
pub async fn follow(
    client: &Client,
    id: &str,
    line: &ProgressLine,
    stop: &mut (impl Future<Output = ()> + Unpin),
) -> Result<Option<Job>> {
    let mut look = refresh_interval();
    loop {
        let job = async {
            look.tick().await;
            client.get(&["mining", "jobs", id]).await?.read::<Job>()
        };
        let job = tokio::select! {
            job = job => job?,
            () = &mut *stop => return Ok(None),
        };
        if job.state.is_terminal() {
            return Ok(Some(job));
        }
        match &job.waiting {
            Some(why) => line.show(&format!("waiting: {}", printable(why))),
            None => line.show(&status(client, &job).await?),
        }
    }
}

async fn status(client: &Client, job: &Job) -> Result<Status> {
    let holdings = Holdings::ask(client, &job.miner).await?;
    Ok(holdings.with(job.progress.hashrate, job.progress.blocks_done))
}
