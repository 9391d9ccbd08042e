//! `chain wait` and `chain testnet wait`: wait for a state of one node or several.

use super::node::block_on;
use super::output::print_line;
use super::tx;
use crate::api::routes::blocks::BlockResponse;
use crate::client::{Client, NodeArgs};
use anyhow::{Context, Result, bail, ensure};
use futures_util::future::{select_all, try_join_all};
use std::time::{Duration, Instant};

/// Time for which a node may delay a response; a longer wait needs several requests.
const LONG_POLL: Duration = Duration::from_secs(30);

/// Wait for a height, for a transaction, or until several nodes have one tip
///
/// With several --node the condition must hold on each of them. Prints the tip, or the transaction.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    condition: Condition,
    #[command(flatten)]
    node: NodeArgs,
}

/// What to wait for.
#[derive(Clone, Debug, clap::Args)]
pub struct Condition {
    #[command(flatten)]
    state: State,
    /// Number of confirmations of the transaction; 1 is a transaction in the tip
    #[arg(long, value_name = "N", default_value_t = 1, requires = "tx")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    confirmations: u32,
    /// Timeout in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u32,
}

#[derive(Clone, Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct State {
    /// Wait until the best chain has at least this height
    #[arg(long, value_name = "N")]
    height: Option<u32>,
    /// Wait until all nodes have the same tip
    #[arg(long)]
    agree: bool,
    /// Wait until a transaction is confirmed; fails if it is dropped
    #[arg(long, value_name = "ID")]
    tx: Option<String>,
}

pub fn run(args: &Args, json: bool) -> Result<()> {
    block_on(async {
        let clients = args.node.connect(None).await?.each();
        args.condition.wait(&clients, json).await
    })
}

impl Condition {
    /// Waits until the condition holds on all nodes, and prints the result of the first one.
    pub async fn wait(&self, clients: &[Client], json: bool) -> Result<()> {
        let limit = Limit::new(Duration::from_secs(self.timeout.into()));
        let tip = match &self.state {
            State { tx: Some(id), .. } => {
                return self.wait_for_transaction(id, clients, json).await;
            }
            State { height: Some(height), .. } => {
                let tips = clients.iter().map(|client| reach(client, *height, limit));
                try_join_all(tips).await?.into_iter().next().context("there is a node")?
            }
            State { .. } => agree(clients, limit).await?,
        };
        match json {
            true => print_line(&serde_json::to_string(&tip.summary)?)?,
            false => print_line(&format!("{} {}", tip.summary.height, tip.summary.hash))?,
        }
        Ok(())
    }

    async fn wait_for_transaction(&self, id: &str, clients: &[Client], json: bool) -> Result<()> {
        let timeout = Duration::from_secs(self.timeout.into());
        let wait = |client| tx::wait(client, id, self.confirmations, timeout, None);
        let responses = try_join_all(clients.iter().map(wait)).await?;
        tx::print(responses.first().context("there is a node")?, json)
    }
}

/// The end of a wait.
#[derive(Clone, Copy)]
struct Limit {
    timeout: Duration,
    started: Instant,
}

impl Limit {
    fn new(timeout: Duration) -> Limit {
        Limit { timeout, started: Instant::now() }
    }

    fn left(self) -> Duration {
        self.timeout.saturating_sub(self.started.elapsed())
    }
}

/// The tip of a node; `after` delays the response until it is another block, or until the limit.
async fn tip(client: &Client, after: Option<&str>, limit: Limit) -> Result<BlockResponse> {
    let wait = limit.left().min(LONG_POLL);
    // A wait of less than a second is one of a second, or a request would follow the other.
    let seconds = wait.as_secs().max(1).to_string();
    let query = after.map(|after| [("after", after), ("wait", seconds.as_str())]);
    let query: &[(&str, &str)] = query.as_ref().map_or(&[], |query| query);
    client.get_with(&["blocks", "tip"], query, wait).await?.json()
}

/// Waits until the best chain of a node has a height, and returns its tip.
async fn reach(client: &Client, height: u32, limit: Limit) -> Result<BlockResponse> {
    let mut found = tip(client, None, limit).await?;
    while found.summary.height < height {
        ensure!(
            !limit.left().is_zero(),
            "{} is at height {} after {} s",
            client.base(),
            found.summary.height,
            limit.timeout.as_secs()
        );
        found = tip(client, Some(&found.summary.hash), limit).await?;
    }
    Ok(found)
}

/// Waits until all nodes have one tip, and returns it.
async fn agree(clients: &[Client], limit: Limit) -> Result<BlockResponse> {
    loop {
        let mut tips = try_join_all(clients.iter().map(|client| tip(client, None, limit))).await?;
        let is_common = tips.windows(2).all(|two| two[0].summary.hash == two[1].summary.hash);
        if is_common {
            return tips.pop().context("there is a node");
        }
        if limit.left().is_zero() {
            let count = clients.len();
            bail!("the {count} nodes have several tips after {} s", limit.timeout.as_secs());
        }
        let changes = clients
            .iter()
            .zip(&tips)
            .map(|(client, known)| Box::pin(tip(client, Some(known.summary.hash.as_str()), limit)));
        select_all(changes).await.0?;
    }
}
