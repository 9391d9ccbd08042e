//! `chain jobs`: what a node mines, and what it is to mine.

use super::mine::follow;
use super::node::{block_on, stop_signal};
use super::output::{self, Rows, Table, coins, duration, human_rate};
use super::progress::ProgressLine;
use crate::api::routes::jobs::{Job, Until};
use crate::client::{Client, NodeArgs, Response, printable};
use crate::jobs::State;
use crate::logging;
use anyhow::{Context, Result, bail};
use chain::Amount;
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;
use std::io::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Jobs that a list shows.
const SHOWN: &str = "50";

/// Show, start, cancel and watch a node's mining jobs
///
/// A job mines with threads of the node, in the background, and goes on after a restart.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    node: NodeArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show the newest jobs
    List {
        #[command(flatten)]
        node: NodeArgs,
    },
    /// Start a job: so many blocks, until something is so, or for ever
    Start(Box<Start>),
    /// Show a job
    Show {
        /// Its id
        id: String,
        #[command(flatten)]
        node: NodeArgs,
    },
    /// Cancel a job; a recurring one with its present run
    Cancel {
        /// Its id
        id: String,
        #[command(flatten)]
        node: NodeArgs,
    },
    /// Show how a job goes until it is at its end; exit code 0 if it reached its goal
    Watch {
        /// Its id
        id: String,
        #[command(flatten)]
        node: NodeArgs,
    },
}

#[derive(Debug, clap::Args)]
struct Start {
    /// The address that its blocks pay [default: that of the node]
    #[arg(long, value_name = "ADDRESS")]
    miner: Option<String>,
    /// Find so many blocks
    #[arg(long, value_name = "N", group = "goal")]
    blocks: Option<u64>,
    /// Mine until the chain is so high
    #[arg(long, value_name = "HEIGHT", group = "goal")]
    until_height: Option<u32>,
    /// Mine until this time, Unix seconds
    #[arg(long, value_name = "TIME", group = "goal")]
    until_time: Option<u64>,
    /// Mine until this transaction is confirmed
    #[arg(long, value_name = "ID", group = "goal")]
    until_transaction: Option<String>,
    /// How many times it is to be confirmed [default: 1]
    #[arg(long, value_name = "N", requires = "until_transaction")]
    confirmations: Option<u32>,
    /// Mine until the miner can spend so many coins
    #[arg(long, value_name = "COINS", group = "goal", value_parser = Amount::from_coins)]
    until_balance: Option<Amount>,
    /// Most threads it uses [default: as many as the node may use]
    #[arg(long, value_name = "N")]
    threads: Option<u64>,
    /// Begin after so many seconds
    #[arg(long, value_name = "SECONDS", group = "start")]
    delay: Option<u64>,
    /// Begin at this time, Unix seconds
    #[arg(long, value_name = "TIME", group = "start")]
    not_before: Option<u64>,
    /// Begin anew after so many seconds, again and again
    #[arg(long, value_name = "SECONDS", requires = "blocks")]
    every: Option<u64>,
    #[command(flatten)]
    node: NodeArgs,
}

impl Start {
    fn order(&self) -> serde_json::Value {
        let until = Until {
            height: self.until_height,
            time: self.until_time,
            transaction: self.until_transaction.clone(),
            confirmations: self.confirmations,
            balance: self.until_balance.map(Amount::units),
        };
        let until = Some(until).filter(|until| *until != Until::default());
        json!({
            "miner": self.miner,
            "blocks": self.blocks,
            "until": until,
            "threads": self.threads,
            "delay_seconds": self.delay,
            "not_before": self.not_before,
            "every_seconds": self.every,
        })
    }
}

#[derive(Deserialize)]
struct List {
    items: Vec<Job>,
}

/// Runs the command.
pub fn run(args: Args, json: bool) -> Result<()> {
    block_on(async {
        match args.command {
            None => list(&args.node, json).await,
            Some(Command::List { node }) => list(&node, json).await,
            Some(Command::Start(start)) => {
                let client = start.node.connect_with_token().await?;
                let order = start.order();
                let path = ["mining", "jobs"];
                let taken = client.order(Method::POST, &path, Some(&order), Duration::ZERO).await?;
                show(&taken.context("the node did not say what it did")?, json)
            }
            Some(Command::Show { id, node }) => {
                let client = node.connect().await?;
                show(&client.get(&["mining", "jobs", &id]).await?, json)
            }
            Some(Command::Cancel { id, node }) => {
                let client = node.connect_with_token().await?;
                let path = ["mining", "jobs", &id];
                let ended = client.order(Method::DELETE, &path, None, Duration::ZERO).await?;
                show(&ended.context("the node did not say what it did")?, json)
            }
            Some(Command::Watch { id, node }) => watch(&node.connect().await?, &id, json).await,
        }
    })
}

async fn list(node: &NodeArgs, json: bool) -> Result<()> {
    let client = node.connect().await?;
    let query = [("limit", SHOWN)];
    let answer = client.get_within(&["mining", "jobs"], &query, Duration::ZERO).await?;
    if json {
        return Ok(output::json(&answer)?);
    }
    let jobs: List = answer.read()?;
    let mut table = Table::new(["id", "state", "goal", "found", "hash rate", "expected", "miner"]);
    for job in jobs.items {
        let expected = expected(&job).unwrap_or_else(|| "-".to_owned());
        table = table.row([
            job.id.clone(),
            name(job.state).to_owned(),
            goal(&job),
            job.progress.blocks_done.to_string(),
            human_rate(job.progress.hashrate),
            expected,
            job.miner,
        ]);
    }
    Ok(table.print("no mining jobs")?)
}

fn show(answer: &Response, json: bool) -> Result<()> {
    if json {
        return Ok(output::json(answer)?);
    }
    let job: Job = answer.read()?;
    let progress = &job.progress;
    let error = job.error.as_ref().and_then(|error| error["detail"].as_str());
    Rows::new()
        .row("job", &job.id)
        .row("state", name(job.state))
        .row_if("waiting for", job.waiting.as_ref())
        .row("goal", goal(&job))
        .row("miner", &job.miner)
        .row_if("run of", job.series.as_ref())
        .row_if("runs", job.runs)
        .row_if("begins", begins(&job))
        .row("found", progress.blocks_done)
        .row("threads", format!("{} of {}", progress.threads, job.threads))
        .row("hashes", progress.hashes)
        .row("hash rate", human_rate(progress.hashrate))
        .row_if("expected", expected(&job))
        .row_if("error", error)
        .print()?;
    for block in job.result.into_iter().flat_map(|result| result.blocks) {
        writeln!(io::stdout(), "{}", printable(&block))?;
    }
    Ok(())
}

async fn watch(client: &Client, id: &str, json: bool) -> Result<()> {
    logging::start(logging::Format::Text, logging::filter("warn")?);
    let mut stop = std::pin::pin!(stop_signal()?);
    let line = ProgressLine::new();
    // The node that knows it: others have other jobs.
    client.get(&["mining", "jobs", id]).await?;
    let client = &client.alone();
    let ended = follow(client, id, &line, &mut stop).await?;
    line.clear();
    show(&client.get(&["mining", "jobs", id]).await?, json)?;
    match ended.map(|job| job.state) {
        Some(State::Failed) => bail!("the job failed"),
        Some(State::Cancelled) => bail!("the job was cancelled"),
        _ => Ok(()),
    }
}

fn name(state: State) -> &'static str {
    match state {
        State::Scheduled => "scheduled",
        State::Queued => "queued",
        State::Running => "running",
        State::Succeeded => "succeeded",
        State::Failed => "failed",
        State::Cancelled => "cancelled",
    }
}

fn goal(job: &Job) -> String {
    let until = job.until.clone().unwrap_or_default();
    let goal = match (job.blocks, until) {
        (Some(1), _) => "1 block".to_owned(),
        (Some(blocks), _) => format!("{blocks} blocks"),
        (_, Until { height: Some(height), .. }) => format!("until height {height}"),
        (_, Until { time: Some(time), .. }) => format!("until {}", from_now(time)),
        (_, Until { transaction: Some(id), confirmations, .. }) => {
            let short = id.get(..8).unwrap_or(&id);
            format!("until {short}… has {} confirmations", confirmations.unwrap_or(1))
        }
        (_, Until { balance: Some(units), .. }) => format!("until {} can be spent", coins(units)),
        _ => "for ever".to_owned(),
    };
    match job.every_seconds {
        Some(seconds) => format!("{goal} every {}", duration(seconds)),
        None => goal,
    }
}

fn begins(job: &Job) -> Option<String> {
    let is_to_come =
        job.state == State::Scheduled || (job.every_seconds.is_some() && !job.state.is_terminal());
    is_to_come.then(|| from_now(job.not_before))
}

/// Seconds as people read them.
fn expected(job: &Job) -> Option<String> {
    let seconds = Duration::try_from_secs_f64(job.progress.expected_seconds?).ok()?;
    Some(format!("in {}", duration(seconds.as_secs())))
}

fn from_now(time: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    match time.checked_sub(now) {
        Some(seconds) => format!("in {}", duration(seconds)),
        None => format!("{} ago", duration(now.saturating_sub(time))),
    }
}
