//! `chain peers`: whom a node is connected with, and whom it keeps out.

use super::node::block_on;
use super::output::{self, Table, bytes, duration};
use crate::client::{Client, NodeArgs, printable};
use anyhow::{Result, bail};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::{self, Write};
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long the node may try to reach another one before it answers.
const CONNECTING: Duration = Duration::from_secs(30);
/// Characters of an id that are shown: ids differ at their end.
const SHORT: usize = 8;

/// Show whom a node is connected with, connect, disconnect, keep out
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
    /// Connect with a node, and stay connected
    Add {
        /// Where it is, such as /ip4/192.0.2.7/tcp/8401
        #[arg(value_name = "MULTIADDR")]
        address: String,
        #[command(flatten)]
        node: NodeArgs,
    },
    /// Disconnect from a node
    Remove {
        /// Its id, or the end of it that the list shows
        id: String,
        #[command(flatten)]
        node: NodeArgs,
    },
    /// Keep a node or an address out
    Ban {
        /// The id of a node, or the end of it that the list shows, or an IP address
        #[arg(value_name = "ID|IP")]
        who: String,
        /// For how long [default: a day]
        #[arg(long, value_name = "N")]
        seconds: Option<u64>,
        /// Why, for the list of bans
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        #[command(flatten)]
        node: NodeArgs,
    },
    /// Let somebody in again
    Unban {
        /// The id of a node, or an IP address
        #[arg(value_name = "ID|IP")]
        who: String,
        #[command(flatten)]
        node: NodeArgs,
    },
    /// Show who is kept out
    Bans {
        #[command(flatten)]
        node: NodeArgs,
    },
}

#[derive(Deserialize)]
struct List<T> {
    items: Vec<T>,
}

#[derive(Deserialize)]
struct Peer {
    id: String,
    address: String,
    direction: String,
    agent: String,
    height: u32,
    latency_ms: Option<f64>,
    bytes_sent: u64,
    bytes_received: u64,
    score: f64,
}

#[derive(Deserialize)]
struct Ban {
    id: String,
    until: u64,
    reason: String,
}

#[derive(Deserialize)]
struct Added {
    id: Option<String>,
    detail: Option<String>,
}

/// Runs the command.
pub fn run(args: Args, json: bool) -> Result<()> {
    block_on(async {
        match args.command {
            None => list(&args.node, json).await,
            Some(Command::Add { address, node }) => add(&node, &address, json).await,
            Some(Command::Remove { id, node }) => {
                let client = node.connect_with_token().await?;
                let id = whole_id(&client, &id).await?;
                client.order(Method::DELETE, &["peers", &id], None, Duration::ZERO).await?;
                done(&json!({ "removed": id }), &format!("disconnected from {id}"), json)
            }
            Some(Command::Ban { who, seconds, reason, node }) => {
                let client = node.connect_with_token().await?;
                let order = match who.parse::<IpAddr>() {
                    Ok(ip) => json!({ "ip": ip, "seconds": seconds, "reason": reason }),
                    Err(_) => {
                        let peer = whole_id(&client, &who).await?;
                        json!({ "peer": peer, "seconds": seconds, "reason": reason })
                    }
                };
                let made = client.order(Method::POST, &["bans"], Some(&order), Duration::ZERO);
                let Some(answer) = made.await? else { bail!("the node did not say what it did") };
                if json {
                    return Ok(output::json(&answer)?);
                }
                let ban: Ban = answer.read()?;
                say(&format!("{} is kept out for {}", ban.id, until(ban.until)))
            }
            Some(Command::Unban { who, node }) => {
                let client = node.connect_with_token().await?;
                client.order(Method::DELETE, &["bans", &who], None, Duration::ZERO).await?;
                done(&json!({ "unbanned": who }), &format!("{who} may come back"), json)
            }
            Some(Command::Bans { node }) => bans(&node, json).await,
        }
    })
}

async fn list(node: &NodeArgs, json: bool) -> Result<()> {
    let answer = node.connect().await?.get(&["peers"]).await?;
    if json {
        return Ok(output::json(&answer)?);
    }
    let peers: List<Peer> = answer.read()?;
    let mut table = Table::new([
        "id",
        "address",
        "direction",
        "agent",
        "height",
        "latency",
        "in",
        "out",
        "score",
    ]);
    for peer in peers.items {
        let latency = peer.latency_ms.map_or("-".to_owned(), |latency| format!("{latency} ms"));
        table = table.row([
            short(&peer.id).to_owned(),
            without_id(&peer.address).to_owned(),
            peer.direction,
            peer.agent,
            peer.height.to_string(),
            latency,
            bytes(peer.bytes_received),
            bytes(peer.bytes_sent),
            peer.score.to_string(),
        ]);
    }
    Ok(table.print("no peers")?)
}

async fn add(node: &NodeArgs, address: &str, json: bool) -> Result<()> {
    let client = node.connect_with_token().await?;
    let order = json!({ "address": address });
    let Some(answer) = client.order(Method::POST, &["peers"], Some(&order), CONNECTING).await?
    else {
        bail!("the node did not say what it did")
    };
    if json {
        return Ok(output::json(&answer)?);
    }
    match answer.read()? {
        Added { id: Some(id), .. } => say(&format!("connected with {id}")),
        Added { detail, .. } => {
            let why = detail.unwrap_or_else(|| "it does not answer".to_owned());
            say(&format!("not connected yet, but kept in mind: {why}"))
        }
    }
}

async fn bans(node: &NodeArgs, json: bool) -> Result<()> {
    let answer = node.connect().await?.get(&["bans"]).await?;
    if json {
        return Ok(output::json(&answer)?);
    }
    let bans: List<Ban> = answer.read()?;
    let rows = bans.items.into_iter().map(|ban| [ban.id, until(ban.until), ban.reason]);
    let table = rows.fold(Table::new(["who", "still", "why"]), Table::row);
    Ok(table.print("nobody is kept out")?)
}

/// The id of a peer from the end of it, as the list shows it; whatever is no such end is an id
/// for the node to judge.
async fn whole_id(client: &Client, text: &str) -> Result<String> {
    if text.parse::<p2p::PeerId>().is_ok() {
        return Ok(text.to_owned());
    }
    let peers: List<Peer> = client.get(&["peers"]).await?.read()?;
    let mut ends = peers.items.iter().filter(|peer| !text.is_empty() && peer.id.ends_with(text));
    match (ends.next(), ends.next()) {
        (Some(peer), None) => Ok(peer.id.clone()),
        (Some(_), Some(_)) => bail!("several peers' ids end with {text}: give more of it"),
        (None, _) => bail!("no peer's id is or ends with {}: see `chain peers`", printable(text)),
    }
}

/// The end of an id.
fn short(id: &str) -> &str {
    let start = id.char_indices().rev().nth(SHORT - 1).map_or(0, |(at, _)| at);
    &id[start..]
}

/// An address without the id, which has a column of its own.
fn without_id(address: &str) -> &str {
    address.split_once("/p2p/").map_or(address, |(host, _)| host)
}

/// How long until a time in Unix seconds.
fn until(time: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    duration(time.saturating_sub(now))
}

fn done(data: &Value, text: &str, json: bool) -> Result<()> {
    if json { say(&data.to_string()) } else { say(text) }
}

fn say(text: &str) -> Result<()> {
    Ok(writeln!(io::stdout(), "{}", printable(text))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_shown_by_their_end_and_addresses_without_them() {
        assert_eq!(short("12D3KooWGjMGHr6D5Yw2nUYB"), "5Yw2nUYB");
        assert_eq!(short("abc"), "abc");
        assert_eq!(without_id("/ip4/10.0.0.1/tcp/1/p2p/12D3"), "/ip4/10.0.0.1/tcp/1");
        assert_eq!(without_id("/ip4/10.0.0.1/tcp/1"), "/ip4/10.0.0.1/tcp/1");
    }
}
