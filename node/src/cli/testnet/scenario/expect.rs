//! The assertions of a scenario.

use super::world::World;
use crate::api::routes::blocks::Summary;
use crate::api::routes::chain::Chain;
use crate::api::routes::transactions::{Status, Transaction};
use crate::client::ApiError;
use crate::testnet::status;
use crate::testnet::topology::NodeNumber;
use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};
use std::str::FromStr;

/// What must hold.
#[derive(Clone, Debug, clap::Subcommand)]
#[command(rename_all = "snake_case")]
pub enum Assertion {
    /// All running nodes, or those that are named, have one tip
    OneTip {
        on: Option<On>,
        #[arg(default_value = "all")]
        nodes: String,
    },
    /// The height of a node compares with a number
    Height { node: String, comparison: Comparison, height: f64 },
    /// A transfer has a number of confirmations on all running nodes, or those that are named
    Confirmed {
        name: String,
        word: Depth,
        depth: u32,
        on: Option<On>,
        #[arg(default_value = "all")]
        nodes: String,
    },
    /// A transfer is not in the best chain of any running node, or of those that are named
    Unconfirmed {
        name: String,
        on: Option<On>,
        #[arg(default_value = "all")]
        nodes: String,
    },
    /// All loads have ended, and all accepted transfers that no other one replaces are confirmed
    NoTransferLost,
    /// The depth of the deepest reorganisation of all nodes since they started
    Reorg { word: Depth, comparison: Comparison, depth: f64 },
    /// The state of a node: running, silent, paused, stopped or killed
    State { node: String, state: String },
    /// The share of a node's blocks in the best chain in percent
    Share { node: String, comparison: Comparison, percent: f64 },
    /// A metric of a node, with its labels if it has some
    Metric { node: String, name: String, comparison: Comparison, value: f64 },
    /// The status code of a path of a node's API, and a text that the response contains
    Http { node: String, path: String, status: u16, text: Option<String> },
}

/// The word `depth`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Depth {
    Depth,
}

/// The word `on`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum On {
    On,
}

/// A comparison of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Less,
    AtMost,
    Equal,
    AtLeast,
    Greater,
}

const COMPARISONS: [(&str, Comparison); 5] = [
    ("<", Comparison::Less),
    ("<=", Comparison::AtMost),
    ("==", Comparison::Equal),
    (">=", Comparison::AtLeast),
    (">", Comparison::Greater),
];

impl FromStr for Comparison {
    type Err = String;

    fn from_str(text: &str) -> Result<Comparison, String> {
        let found = COMPARISONS.iter().find(|(symbol, _)| *symbol == text);
        found.map(|(_, found)| *found).ok_or_else(|| "it is none of < <= == >= >".to_owned())
    }
}

impl Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = COMPARISONS.iter().find(|(_, found)| found == self);
        f.write_str(found.map_or("", |(symbol, _)| symbol))
    }
}

impl Comparison {
    fn holds(self, found: f64, limit: f64) -> bool {
        match self {
            Comparison::Less => found < limit,
            Comparison::AtMost => found <= limit,
            Comparison::Equal => (found - limit).abs() < f64::EPSILON,
            Comparison::AtLeast => found >= limit,
            Comparison::Greater => found > limit,
        }
    }
}

/// An assertion that does not hold: what was expected, and what was seen.
#[derive(Clone, Debug)]
pub struct Difference {
    pub expected: String,
    pub seen: String,
}

impl Difference {
    fn unless(holds: bool, expected: impl Display, seen: impl Display) -> Option<Difference> {
        (!holds).then(|| Difference { expected: expected.to_string(), seen: seen.to_string() })
    }
}

/// Checks an assertion: the difference if it does not hold.
pub async fn check(world: &mut World, assertion: &Assertion) -> Result<Option<Difference>> {
    match assertion {
        Assertion::OneTip { nodes, .. } => one_tip(world, nodes).await,
        Assertion::Height { node, comparison, height } => {
            let chain: Chain = world.client(world.number(node)?)?.get(&["chain"]).await?.json()?;
            let seen = f64::from(chain.height);
            Ok(compare(&format!("height of node-{node}"), *comparison, *height, seen))
        }
        Assertion::Confirmed { name, depth, nodes, .. } => {
            confirmed(world, name, *depth, nodes).await
        }
        Assertion::Unconfirmed { name, nodes, .. } => unconfirmed(world, name, nodes).await,
        Assertion::NoTransferLost => no_transfer_lost(world).await,
        Assertion::Reorg { comparison, depth, .. } => {
            let deepest = deepest_reorg(world).await?;
            Ok(compare("deepest reorganisation", *comparison, *depth, deepest))
        }
        Assertion::State { node, state } => {
            let number = world.number(node)?;
            let status = status::query_once(world.testnet()).await?;
            let seen = &status.nodes[number.index()].state;
            let seen = serde_json::to_value(seen)?.as_str().unwrap_or_default().to_owned();
            let expected = format!("{number} is {state}");
            Ok(Difference::unless(seen == *state, expected, format!("it is {seen}")))
        }
        Assertion::Share { node, comparison, percent } => {
            let (own, all) = blocks_of(world, world.number(node)?).await?;
            let seen = f64::from(own) * 100.0 / f64::from(all.max(1));
            let what = format!("percentage of the {all} blocks that node-{node} has mined");
            Ok(compare(&what, *comparison, *percent, seen.round()))
        }
        Assertion::Metric { node, name, comparison, value } => {
            let text = world.text(world.number(node)?, "/metrics").await?.1;
            match metric(&text, name) {
                Some(seen) => {
                    Ok(compare(&format!("{name} of node-{node}"), *comparison, *value, seen))
                }
                None => bail!("node-{node} has no metric {name}"),
            }
        }
        Assertion::Http { node, path, status, text } => {
            let (code, body) = world.text(world.number(node)?, path).await?;
            let contains = text.as_ref().is_none_or(|text| body.contains(text.as_str()));
            let with = text.as_ref().map(|text| format!(" with `{text}`")).unwrap_or_default();
            let body: String = body.chars().take(200).collect();
            let expected = format!("GET {path} is {status}{with}");
            Ok(Difference::unless(code == *status && contains, expected, format!("{code}: {body}")))
        }
    }
}

fn compare(what: &str, comparison: Comparison, limit: f64, seen: f64) -> Option<Difference> {
    let expected = format!("{what} {comparison} {limit}");
    Difference::unless(comparison.holds(seen, limit), expected, seen)
}

async fn one_tip(world: &World, nodes: &str) -> Result<Option<Difference>> {
    let named = world.numbers(nodes)?;
    let status = status::query_once(world.testnet()).await?;
    let mut tips: BTreeMap<(u32, String), Vec<String>> = BTreeMap::new();
    for number in named {
        let node = &status.nodes[number.index()];
        if let Some(api) = &node.api_status {
            tips.entry((api.height, api.tip.clone())).or_default().push(node.node.clone());
        } else if node.state == status::State::Silent {
            let seen = format!("{number} does not respond");
            return Ok(Difference::unless(false, format!("one tip of {nodes}"), seen));
        }
    }
    let seen: Vec<String> = tips
        .iter()
        .map(|((height, tip), nodes)| {
            let end = tip.get(tip.len().saturating_sub(8)..).unwrap_or(tip);
            format!("{} at height {height} …{end}", nodes.join(", "))
        })
        .collect();
    let seen = if seen.is_empty() { "no node responds".to_owned() } else { seen.join("; ") };
    Ok(Difference::unless(tips.len() == 1, format!("one tip of {nodes}"), seen))
}

/// The transfer as each of the running nodes among some has it.
async fn lookup(
    world: &World,
    name: &str,
    nodes: &str,
) -> Result<Vec<(NodeNumber, Option<Transaction>)>> {
    let id = world.transfer(name)?.id.clone();
    let mut found = Vec::new();
    for number in world.running(nodes)? {
        let response = world.client(number)?.get(&["transactions", &id]).await;
        let transaction = match response {
            Ok(response) => Some(response.json()?),
            Err(error) if error.downcast_ref::<ApiError>().is_some_and(ApiError::is_not_found) => {
                None
            }
            Err(error) => return Err(error),
        };
        found.push((number, transaction));
    }
    Ok(found)
}

fn describe(number: NodeNumber, transaction: Option<&Transaction>) -> String {
    match transaction {
        None => format!("{number} does not know it"),
        Some(Transaction { status: Status::Confirmed, confirmations, .. }) => {
            format!("{number} has it with {confirmations} confirmations")
        }
        Some(other) => {
            let status = serde_json::to_value(other.status).unwrap_or_default();
            format!("{number} has it as {}", status.as_str().unwrap_or_default())
        }
    }
}

async fn confirmed(
    world: &World,
    name: &str,
    depth: u32,
    nodes: &str,
) -> Result<Option<Difference>> {
    for (number, transaction) in lookup(world, name, nodes).await? {
        let confirmations = transaction.as_ref().map_or(0, |it| it.confirmations);
        if confirmations < depth {
            let expected = format!("transfer `{name}` has {depth} confirmations on {number}");
            let seen = describe(number, transaction.as_ref());
            return Ok(Some(Difference { expected, seen }));
        }
    }
    Ok(None)
}

async fn unconfirmed(world: &World, name: &str, nodes: &str) -> Result<Option<Difference>> {
    for (number, transaction) in lookup(world, name, nodes).await? {
        if transaction.as_ref().is_some_and(|it| it.status == Status::Confirmed) {
            let expected = format!("transfer `{name}` is not in the best chain of {number}");
            let seen = describe(number, transaction.as_ref());
            return Ok(Some(Difference { expected, seen }));
        }
    }
    Ok(None)
}

async fn no_transfer_lost(world: &mut World) -> Result<Option<Difference>> {
    let expected = "all accepted transfers are confirmed";
    if let Some(seen) = world.unfinished_loads() {
        return Ok(Some(Difference { expected: expected.to_owned(), seen }));
    }
    for report in &world.load_reports {
        let unconfirmed = report.lost + report.pending + report.unknown;
        if unconfirmed > 0 || report.accepted == 0 {
            let seen = format!(
                "of {} accepted transfers of a load {} are confirmed, {} wait, {} are lost, and of {} \
                 no node said anything",
                report.accepted, report.mined, report.pending, report.lost, report.unknown
            );
            return Ok(Some(Difference { expected: expected.to_owned(), seen }));
        }
    }
    for name in world.effective_transfers() {
        if let Some(difference) = confirmed(world, &name, 1, "all").await? {
            return Ok(Some(difference));
        }
    }
    Ok(None)
}

/// The upper bound of the histogram's bucket with the deepest reorganisation of all running nodes.
async fn deepest_reorg(world: &World) -> Result<f64> {
    let mut deepest = 0.0_f64;
    for number in world.running("all")? {
        let text = world.text(number, "/metrics").await?.1;
        deepest = deepest.max(deepest_bucket(&text, "chain_reorganisation_depth_blocks"));
    }
    Ok(deepest)
}

/// The upper bound of the highest bucket of a histogram that is not empty; 0 if all are.
fn deepest_bucket(text: &str, name: &str) -> f64 {
    let prefix = format!("{name}_bucket{{le=\"");
    let mut highest = 0.0;
    let mut below = 0.0;
    for line in text.lines() {
        let Some((bound, count)) =
            line.strip_prefix(&prefix).and_then(|rest| rest.split_once("\"} "))
        else {
            continue;
        };
        let count: f64 = count.trim().parse().unwrap_or(0.0);
        if count > below {
            highest = bound.parse().unwrap_or(f64::INFINITY);
            below = count;
        }
    }
    highest
}

/// The number of blocks that a node has mined, and of all, after genesis.
async fn blocks_of(world: &World, number: NodeNumber) -> Result<(u32, u32)> {
    let address = world.address(number)?;
    let running: BTreeSet<NodeNumber> = world.running("all")?.into_iter().collect();
    let first = *running.first().context("no node runs")?;
    let client = world.client(first)?;
    let chain: Chain = client.get(&["chain"]).await?.json()?;
    let mut own = 0;
    for height in 1..=chain.height {
        let block: Summary = client.get(&["blocks", &height.to_string()]).await?.json()?;
        own += u32::from(block.miner == address);
    }
    Ok((own, chain.height))
}

/// The value of a sample in the text format of Prometheus.
fn metric(text: &str, name: &str) -> Option<f64> {
    let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok();
    text.lines().find_map(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons_hold_for_their_symbols() {
        for (symbol, comparison) in COMPARISONS {
            assert_eq!(symbol.parse::<Comparison>().unwrap(), comparison);
            assert_eq!(comparison.to_string(), symbol);
            let holds = [1.0, 2.0, 3.0].map(|found| comparison.holds(found, 2.0));
            let expected = match symbol {
                "<" => [true, false, false],
                "<=" => [true, true, false],
                "==" => [false, true, false],
                ">=" => [false, true, true],
                _ => [false, false, true],
            };
            assert_eq!(holds, expected, "{symbol}");
        }
        assert!("=>".parse::<Comparison>().unwrap_err().contains(">="));
    }

    #[test]
    fn metrics_are_read_with_their_labels() {
        let text = "# HELP a b\na 1\nab 2\nc{d=\"e\"} 3.5\n";
        assert_eq!(metric(text, "a"), Some(1.0));
        assert_eq!(metric(text, "c{d=\"e\"}"), Some(3.5));
        assert_eq!(metric(text, "c"), None);
        let histogram = "h_bucket{le=\"1\"} 2\nh_bucket{le=\"2\"} 2\nh_bucket{le=\"5\"} 3\n\
                         h_bucket{le=\"+Inf\"} 3\nh_sum 7\nh_count 3\n";
        assert!((deepest_bucket(histogram, "h") - 5.0).abs() < f64::EPSILON);
        assert!(deepest_bucket("", "h") < f64::EPSILON);
    }
}
