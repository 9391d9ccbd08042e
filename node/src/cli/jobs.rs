//! `chain jobs`: the mining jobs of a node.

use super::mine::follow;
use super::node::{block_on, stop_signal};
use super::output::{self, Rows, Table, coins, duration, from_now, human_rate, label, print_lines};
use super::progress::ProgressLine;
use crate::api::http::page::Page;
use crate::api::routes::jobs::{Job, Run, Until};
use crate::client::{Client, NodeArgs, Response};
use crate::jobs::{EndedRuns, State};
use crate::logging;
use anyhow::{Context, Result, bail};
use chain::Amount;
use reqwest::Method;
use serde_json::json;
use std::io;
use std::time::Duration;

/// Most jobs of a list.
const LIST_LIMIT: u32 = 50;

/// List, start, cancel and watch mining jobs
///
/// A job mines in the background with threads of the node, and resumes after a restart.
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
    /// List jobs, running ones first; a recurring job is one row
    List(ListArgs),
    /// Start a mining job with a block count, a stop condition, or neither
    Start(Box<Start>),
    /// Show a job
    Show {
        #[command(flatten)]
        job: JobArgs,
    },
    /// Cancel a job; of a recurring job all further runs and the current one
    Cancel {
        #[command(flatten)]
        job: JobArgs,
    },
    /// Show the progress of a job until it ends; exit with 0 if it has succeeded
    Watch {
        #[command(flatten)]
        job: JobArgs,
    },
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    /// List only jobs in this state
    #[arg(
        long, value_name = "STATE",
        value_parser = ["scheduled", "queued", "running", "succeeded", "failed", "cancelled"]
    )]
    state: Option<String>,
    /// List the runs of this recurring job
    #[arg(long, value_name = "ID")]
    series: Option<String>,
    /// Maximum number of jobs
    #[arg(
        long, value_name = "N", default_value_t = LIST_LIMIT,
        value_parser = clap::value_parser!(u32).range(1..=100)
    )]
    limit: u32,
    #[command(flatten)]
    node: NodeArgs,
}

#[derive(Debug, clap::Args)]
struct JobArgs {
    /// Job id
    id: String,
    #[command(flatten)]
    node: NodeArgs,
}

#[derive(Debug, clap::Args)]
struct Start {
    /// Address to pay [default: that of the node]
    #[arg(long, value_name = "ADDRESS")]
    miner: Option<String>,
    /// Stop after this number of blocks
    #[arg(long, value_name = "N", group = "goal")]
    blocks: Option<u64>,
    /// Stop at this height
    #[arg(long, value_name = "HEIGHT", group = "goal")]
    until_height: Option<u32>,
    /// Stop at this Unix time
    #[arg(long, value_name = "TIME", group = "goal")]
    until_time: Option<u64>,
    /// Stop when this transaction is confirmed
    #[arg(long, value_name = "ID", group = "goal")]
    until_transaction: Option<String>,
    /// Confirmations that the transaction needs [default: 1]
    #[arg(long, value_name = "N", requires = "until_transaction")]
    confirmations: Option<u32>,
    /// Stop when the miner's spendable balance reaches this amount
    #[arg(long, value_name = "COINS", group = "goal", value_parser = Amount::from_coins)]
    until_balance: Option<Amount>,
    /// Maximum number of threads [default: that of the node]
    #[arg(long, value_name = "N")]
    threads: Option<u64>,
    /// Start after this number of seconds
    #[arg(long, value_name = "SECONDS", group = "start")]
    delay: Option<u64>,
    /// Start at this Unix time
    #[arg(long, value_name = "TIME", group = "start")]
    not_before: Option<u64>,
    /// Repeat every N seconds
    #[arg(long, value_name = "N", requires = "blocks")]
    every: Option<u64>,
    #[command(flatten)]
    node: NodeArgs,
}

impl Start {
    fn request(&self) -> serde_json::Value {
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

pub fn run(args: Args, json: bool) -> Result<()> {
    block_on(async {
        match args.command {
            None => {
                list(
                    ListArgs { state: None, series: None, limit: LIST_LIMIT, node: args.node },
                    json,
                )
                .await
            }
            Some(Command::List(args)) => list(args, json).await,
            Some(Command::Start(start)) => {
                let client = start.node.connect_with_token(start.miner.as_deref()).await?;
                let path = ["mining", "jobs"];
                print(&client.create(&path, &start.request(), Duration::ZERO).await?, json)
            }
            Some(Command::Show { job: JobArgs { id, node } }) => {
                print(&node.connect(None).await?.get(&["mining", "jobs", &id]).await?, json)
            }
            Some(Command::Cancel { job: JobArgs { id, node } }) => {
                let client = node.connect_with_token(None).await?;
                let path = ["mining", "jobs", &id];
                let ended = client.send_once(Method::DELETE, &path, None, Duration::ZERO).await?;
                print(&ended.context("empty response from node")?, json)
            }
            Some(Command::Watch { job: JobArgs { id, node } }) => {
                watch(&node.connect(None).await?, &id, json).await
            }
        }
    })
}

async fn list(args: ListArgs, json: bool) -> Result<()> {
    let ListArgs { state, series, limit, node } = args;
    let client = node.connect(None).await?;
    let limit = limit.to_string();
    let filters = [("limit", Some(limit)), ("state", state), ("series", series)];
    let query: Vec<(&str, &str)> = filters
        .iter()
        .filter_map(|(name, value)| value.as_deref().map(|value| (*name, value)))
        .collect();
    let response = client.get_with(&["mining", "jobs"], &query, Duration::ZERO).await?;
    let none = || "-".to_owned();
    let row = |job: Job| {
        [
            job.id.clone(),
            label(&job.state),
            goal(&job),
            job.runs.map_or_else(none, |runs| runs.to_string()),
            start_time(&job).unwrap_or_else(none),
            job.progress.blocks_done.to_string(),
            luck(&job).unwrap_or_else(none),
            human_rate(job.progress.hashrate),
            expected(&job).unwrap_or_else(none),
            job.miner,
        ]
    };
    let headings = [
        "id",
        "state",
        "goal",
        "runs",
        "next run",
        "found",
        "luck",
        "hash rate",
        "expected",
        "miner",
    ];
    output::print(&response, json, |jobs: Page<Job>| {
        let rows = jobs.items.into_iter().map(row);
        rows.fold(Table::new(headings), Table::row).print("no mining jobs")?;
        if jobs.next.is_some() {
            eprintln!("there are more: narrow the list with --state or --series");
        }
        Ok(())
    })
}

fn print(response: &Response, json: bool) -> Result<()> {
    output::print(response, json, |job: Job| {
        let progress = &job.progress;
        let error = job.error.as_ref().and_then(|error| error["detail"].as_str());
        Rows::new()
            .row("job", &job.id)
            .row("state", label(&job.state))
            .row_if("waiting for", job.waiting.as_ref())
            .row("goal", goal(&job))
            .row("miner", &job.miner)
            .row_if("run of", job.series.as_ref())
            .row_if("runs", runs(&job))
            .row_if(if job.runs.is_some() { "next run" } else { "starts" }, start_time(&job))
            .row("found", progress.blocks_done)
            .row_if("luck", luck(&job))
            .row("threads", format!("{} of {}", progress.threads, job.threads))
            .row("hashes", progress.hashes)
            .row("hash rate", human_rate(progress.hashrate))
            .row_if("expected", expected(&job))
            .row_if("error", error)
            .print()?;
        print_runs(job.recent_runs.unwrap_or_default())?;
        let blocks = job.result.into_iter().flat_map(|result| result.blocks);
        print_lines(&blocks.collect::<Vec<_>>())
    })
}

/// Prints the latest runs of a recurring job.
fn print_runs(runs: Vec<Run>) -> io::Result<()> {
    if runs.is_empty() {
        return Ok(());
    }
    let row = |run: Run| {
        let ended = run.finished_at.map_or_else(|| "-".to_owned(), from_now);
        [run.id, label(&run.state), run.blocks_done.to_string(), ended]
    };
    let table = Table::new(["run", "state", "found", "ended"]);
    runs.into_iter().map(row).fold(table, Table::row).print("no runs")
}

async fn watch(client: &Client, id: &str, json: bool) -> Result<()> {
    logging::start(logging::Format::Text, logging::filter("warn")?);
    let mut stop = std::pin::pin!(stop_signal()?);
    let line = ProgressLine::new();
    // Finds the node that has the job: others have other jobs.
    client.get(&["mining", "jobs", id]).await?;
    let client = &client.pinned();
    let ended = follow(client, id, &line, &mut stop).await?;
    line.clear();
    print(&client.get(&["mining", "jobs", id]).await?, json)?;
    match ended.map(|job| job.state) {
        Some(State::Failed) => bail!("the job failed"),
        Some(State::Cancelled) => bail!("the job was cancelled"),
        _ => Ok(()),
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
        (_, Until { balance: Some(units), .. }) => format!("until {} are spendable", coins(units)),
        _ => "until cancelled".to_owned(),
    };
    match job.every_seconds {
        Some(seconds) => format!("{goal} every {}", duration(seconds)),
        None => goal,
    }
}

/// The start time of a job that has not started, or of the next run of a recurring one.
fn start_time(job: &Job) -> Option<String> {
    let is_due =
        job.state == State::Scheduled || (job.every_seconds.is_some() && !job.state.is_terminal());
    is_due.then(|| from_now(job.not_before))
}

/// The number of runs of a recurring job, and how many of them have ended with each result.
fn runs(job: &Job) -> Option<String> {
    let ended = job.ended_runs?;
    let EndedRuns { succeeded, failed, cancelled } = ended;
    let counts = [(succeeded, "succeeded"), (failed, "failed"), (cancelled, "cancelled")];
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let counts: Vec<String> = counts.map(|(count, name)| format!("{count} {name}")).collect();
    let runs = job.runs?;
    Some(if counts.is_empty() {
        runs.to_string()
    } else {
        format!("{runs}: {}", counts.join(", "))
    })
}

/// The blocks found in percent of those to be expected.
fn luck(job: &Job) -> Option<String> {
    job.progress.luck.map(|luck| format!("{:.0} %", luck * 100.0))
}

/// The expected time to the goal.
fn expected(job: &Job) -> Option<String> {
    let seconds = Duration::try_from_secs_f64(job.progress.expected_seconds?).ok()?;
    Some(format!("in {}", duration(seconds.as_secs())))
}
