//! `chain testnet link`, `partition`, `heal`, `pause`, `resume` and `skew`: faults of the network between
//! nodes, and of their machines.

use super::args::{Nodes, lock_testnet, notice};
use crate::auth::Token;
use crate::cli::node::{block_on, stop_signal};
use crate::cli::output::Table;
use crate::client::Client;
use crate::logging;
use crate::relay::conditions::{parse_bandwidth, parse_delay, parse_loss};
use crate::relay::{Conditions, control};
use crate::testnet::dashboard;
use crate::testnet::links::{self, LinkStatus, Links};
use crate::testnet::manifest::Manifest;
use crate::testnet::partition;
use crate::testnet::status::Status;
use crate::testnet::topology::NodeNumber;
use crate::testnet::{Directory, Testnet};
use anyhow::{Context, Result, bail};
use serde_json::json;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

/// Time limit of a request to a node.
const LIMIT: Duration = Duration::from_secs(30);

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Link(Link),
    Partition(Partition),
    /// End the partition and all cuts, and reconnect the nodes according to the topology
    Heal,
    /// Stop the execution of nodes, as of a suspended computer; they keep their connections
    Pause(Nodes),
    /// Continue the execution of paused nodes
    Resume(Nodes),
    Skew(Skew),
}

/// Set the conditions of the links between nodes
///
/// Replaces the conditions of these links; without any option they are perfect again. Several nodes
/// are separated by commas: `link 1,2 3,4` has the links of 1 and 2 with 3 and 4; `all` is every node.
#[derive(Clone, Debug, clap::Args)]
pub struct Link {
    /// Nodes at one end, such as 1 or 1,2
    #[arg(value_name = "FROM")]
    pub from: String,
    /// Nodes at the other end
    #[arg(value_name = "TO")]
    pub to: String,
    /// Time that data is on its way in each direction, such as 300ms
    #[arg(long, value_name = "DURATION", value_parser = parse_delay)]
    latency: Option<Duration>,
    /// Largest random deviation from the latency, either way
    #[arg(long, value_name = "DURATION", value_parser = parse_delay)]
    jitter: Option<Duration>,
    /// Share of segments that are lost, such as 5%: the connection stalls, or is reset in the end
    #[arg(long, value_name = "PERCENT", value_parser = parse_loss)]
    loss: Option<f64>,
    /// Bits per second in each direction, such as 1mbit
    #[arg(long, value_name = "RATE", value_parser = parse_bandwidth)]
    bandwidth: Option<u64>,
    /// Let nothing arrive, without closing connections
    #[arg(long)]
    cut: bool,
    /// Change the direction from FROM to TO only
    #[arg(long)]
    one_way: bool,
}

/// Disconnect nodes from all others until `heal`
///
/// Each argument is a side: nodes that remain connected with each other, separated by commas. The nodes
/// of no side form one more: `partition 1,2` separates 1 and 2 from the others.
#[derive(Clone, Debug, clap::Args)]
pub struct Partition {
    /// Nodes of a side, such as 1,2; `|` separates sides, too
    #[arg(required = true, value_name = "SIDE")]
    pub sides: Vec<String>,
}

/// Set the clock of a node ahead of this machine's, or behind it
///
/// On `dev` and other networks of fixed difficulty only.
#[derive(Clone, Debug, clap::Args)]
pub struct Skew {
    /// Number of the node
    #[arg(value_name = "NODE")]
    pub node: String,
    /// Seconds by which the clock is ahead; negative if it is behind, 0 for none
    #[arg(value_name = "SECONDS", allow_negative_numbers = true)]
    pub seconds: i64,
}

impl Command {
    pub fn run(self, directory: &Directory) -> Result<()> {
        let (_lock, testnet) = lock_testnet(directory)?;
        match self {
            Command::Link(link) => {
                notice(&link.set(&testnet)?);
                Ok(())
            }
            Command::Partition(partition) => {
                let sides = block_on(partition.set(&testnet))?;
                notice(&format!("{sides}: reconnect with `chain testnet heal`"));
                Ok(())
            }
            Command::Heal => {
                block_on(partition::heal(&testnet))?;
                notice("all nodes are connected");
                Ok(())
            }
            Command::Pause(nodes) => pause(&testnet, &nodes, true),
            Command::Resume(nodes) => pause(&testnet, &nodes, false),
            Command::Skew(skew) => {
                block_on(skew.set(&testnet))?;
                notice(&format!("the clock of {} is {} s ahead", skew.node, skew.seconds));
                Ok(())
            }
        }
    }
}

/// The nodes that a list separated by commas names.
fn select(manifest: &Manifest, list: &str) -> Result<Vec<NodeNumber>> {
    let names: Vec<String> = list.split(',').map(|name| name.trim().to_owned()).collect();
    manifest.select(&names)
}

fn join(numbers: impl IntoIterator<Item = NodeNumber>) -> String {
    let names: Vec<String> = numbers.into_iter().map(|number| number.to_string()).collect();
    names.join(", ")
}

impl Link {
    fn conditions(&self) -> Conditions {
        let milliseconds = |delay: Option<Duration>| {
            u64::try_from(delay.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
        };
        Conditions {
            latency_ms: milliseconds(self.latency),
            jitter_ms: milliseconds(self.jitter),
            loss: self.loss.unwrap_or_default(),
            bandwidth: self.bandwidth,
            is_cut: self.cut,
        }
    }

    /// Sets the conditions, and returns a description of them.
    pub fn set(&self, testnet: &Testnet) -> Result<String> {
        let (manifest, directory) = (testnet.manifest(), testnet.directory());
        let (from, to) = (select(manifest, &self.from)?, select(manifest, &self.to)?);
        let is_link = |link: &crate::testnet::manifest::Link| {
            (from.contains(&link.dialer) && to.contains(&link.listener))
                || (from.contains(&link.listener) && to.contains(&link.dialer))
        };
        if !manifest.links.iter().any(is_link) {
            let (from, to, topology) = (&self.from, &self.to, manifest.topology);
            bail!("the {topology} has no link between {from} and {to}");
        }
        let mut links = Links::read(directory)?;
        let conditions = self.conditions();
        links.set(&from, &to, conditions);
        if !self.one_way {
            links.set(&to, &from, conditions);
        }
        links.write(directory)?;
        links::apply(directory, manifest, &links)?;
        let ends = if self.one_way { "to" } else { "and" };
        Ok(format!("{} {ends} {}: {conditions}", join(from), join(to)))
    }
}

impl Partition {
    /// Separates the sides, and returns a description of them.
    pub async fn set(&self, testnet: &Testnet) -> Result<String> {
        let mut sides = Vec::new();
        for argument in &self.sides {
            for side in argument.split('|').filter(|side| !side.trim().is_empty()) {
                sides.push(select(testnet.manifest(), side)?.into_iter().collect::<BTreeSet<_>>());
            }
        }
        let names: Vec<String> = sides.iter().map(|side| join(side.iter().copied())).collect();
        partition::partition(testnet, sides).await?;
        Ok(format!("{} disconnected from the others", names.join(" | ")))
    }
}

fn pause(testnet: &Testnet, nodes: &Nodes, is_pause: bool) -> Result<()> {
    let selected = testnet.manifest().select(&nodes.nodes)?;
    let running = testnet.processes(&selected)?;
    for number in selected {
        match running.iter().find(|(running, _)| *running == number) {
            None => notice(&format!("{number} does not run")),
            Some((_, process)) if is_pause => process.pause()?,
            Some((_, process)) => process.resume()?,
        }
    }
    let numbers = running.into_iter().map(|(number, _)| number);
    notice(&format!("{} {}", join(numbers), if is_pause { "paused" } else { "resumed" }));
    Ok(())
}

impl Skew {
    /// Sets the clock.
    pub async fn set(&self, testnet: &Testnet) -> Result<()> {
        let manifest = testnet.manifest();
        let [number] = manifest.select(std::slice::from_ref(&self.node))?[..] else {
            bail!("the clock of one node is set: name one");
        };
        let token = Token::read(&testnet.directory().node(number))?;
        let client = Client::new(&manifest.node(number).api_url())?.with_token(token);
        let body = match testnet.is_deterministic() {
            // The clocks of all nodes stand still at that time.
            true => {
                let genesis = testnet.params().genesis().header.time.get();
                let time = i64::from(genesis).saturating_add(self.seconds);
                json!({ "time": time, "frozen": true })
            }
            false => json!({ "offset_seconds": self.seconds }),
        };
        let set = client.create(&["dev", "time"], &body, LIMIT).await;
        set.with_context(|| format!("the clock of {number} cannot be set")).map(drop)
    }
}

/// Runs the relay of a testnet, and the dashboard, until it is stopped.
pub fn run_relay(directory: &Path) -> Result<()> {
    let level = std::env::var("CHAIN_LOG").unwrap_or_else(|_| "info".to_owned());
    let filter = logging::filter(&level).with_context(|| format!("log `{level}`"))?;
    logging::start(logging::Format::default(), filter);
    if let Err(error) = dashboard::start(directory) {
        tracing::error!("the dashboard does not start: {error:#}");
    }
    block_on(async { control::run(directory, stop_signal()?).await })
}

/// Prints the links that are not perfect, and clocks that are not right.
pub fn print(status: &Status) -> Result<()> {
    let bad = |link: &&LinkStatus| link.is_partitioned || !link.directed.conditions.is_perfect();
    let bad: Vec<&LinkStatus> = status.links.iter().filter(bad).collect();
    if !bad.is_empty() {
        let rows = bad.into_iter().map(row);
        let table = Table::new(["from", "to", "link", "segments", "stalls", "resets"]);
        rows.fold(table, Table::row).print("no links")?;
    }
    let skewed = status.nodes.iter().filter(|node| node.clock_offset != 0).map(|node| {
        let (seconds, side) = match node.clock_offset {
            offset @ 1.. => (offset, "ahead"),
            offset => (offset.saturating_neg(), "behind"),
        };
        [node.node.clone(), format!("{seconds} s {side}")]
    });
    let skewed: Vec<[String; 2]> = skewed.collect();
    if !skewed.is_empty() {
        skewed.into_iter().fold(Table::new(["node", "clock"]), Table::row).print("")?;
    }
    Ok(())
}

fn row(link: &LinkStatus) -> [String; 6] {
    let (directed, counters) = (link.directed, link.counters);
    let state = match link.is_partitioned {
        true => "partitioned".to_owned(),
        false => directed.conditions.to_string(),
    };
    let counters = [counters.segments, counters.stalls, counters.resets];
    let [segments, stalls, resets] = counters.map(|count| count.to_string());
    [directed.from.to_string(), directed.to.to_string(), state, segments, stalls, resets]
}
