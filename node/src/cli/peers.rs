//! `chain peers`: the peers and the bans of a node.

use super::node::block_on;
use super::output::{self, Table, bytes, duration, label, print_line, seconds_until};
use crate::api::http::page::Page;
use crate::api::routes::bans::Ban;
use crate::api::routes::peers::{Peer, PeerAdded, PersistentPeer};
use crate::client::{Client, NodeArgs, printable};
use anyhow::{Result, bail};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

/// Time for which a node may try to dial another before it responds.
const DIAL_TIMEOUT: Duration = Duration::from_secs(30);
/// Characters of an abbreviated peer id: ids differ at their end.
const SHORT_ID: usize = 8;

/// List peers, connect and disconnect them, ban and unban
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
    /// Connect to a node, and reconnect whenever the connection is lost
    Add {
        /// Address of the node, such as /ip4/192.0.2.7/tcp/8401
        #[arg(value_name = "MULTIADDR")]
        address: String,
        #[command(flatten)]
        node: NodeArgs,
    },
    /// Disconnect from a peer, and do not reconnect
    Remove {
        /// Peer id, the end of it as listed, or address of a persistent peer
        #[arg(value_name = "ID|MULTIADDR")]
        id: String,
        #[command(flatten)]
        node: NodeArgs,
    },
    /// Ban a peer, an IP address or a range
    Ban {
        /// Peer id, the end of it as listed, IP address, or range such as 192.0.2.0/24
        #[arg(value_name = "ID|IP|CIDR")]
        subject: String,
        /// Duration of the ban in seconds [default: a day]
        #[arg(long, value_name = "N")]
        seconds: Option<u64>,
        /// Reason to list
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        #[command(flatten)]
        node: NodeArgs,
    },
    /// Remove a ban
    Unban {
        /// Peer id, IP address or range
        #[arg(value_name = "ID|IP|CIDR")]
        subject: String,
        #[command(flatten)]
        node: NodeArgs,
    },
    /// List bans
    Bans {
        #[command(flatten)]
        node: NodeArgs,
    },
}

pub fn run(args: Args, json: bool) -> Result<()> {
    block_on(async {
        match args.command {
            None => list(&args.node, json).await,
            Some(Command::Add { address, node }) => add(&node, &address, json).await,
            Some(Command::Remove { id, node }) => {
                let client = node.connect_with_token(None).await?;
                if id.starts_with('/') {
                    let path = ["persistent-peers", &id];
                    client.send_once(Method::DELETE, &path, None, Duration::ZERO).await?;
                    return report(&json!({ "removed": id }), &format!("removed {id}"), json);
                }
                let id = full_id(&client, &id).await?;
                client.send_once(Method::DELETE, &["peers", &id], None, Duration::ZERO).await?;
                report(&json!({ "removed": id }), &format!("disconnected from {id}"), json)
            }
            Some(Command::Ban { subject, seconds, reason, node }) => {
                let client = node.connect_with_token(None).await?;
                let ban = match subject.parse::<p2p::Cidr>() {
                    Ok(_) => json!({ "ip": subject, "seconds": seconds, "reason": reason }),
                    Err(_) => {
                        let peer = full_id(&client, &subject).await?;
                        json!({ "peer": peer, "seconds": seconds, "reason": reason })
                    }
                };
                let response = client.create(&["bans"], &ban, Duration::ZERO).await?;
                output::print(&response, json, |ban: Ban| {
                    let left = duration(seconds_until(ban.until));
                    print_line(&format!("banned {} for {left}", ban.id))
                })
            }
            Some(Command::Unban { subject, node }) => {
                let client = node.connect_with_token(None).await?;
                client.send_once(Method::DELETE, &["bans", &subject], None, Duration::ZERO).await?;
                report(&json!({ "unbanned": subject }), &format!("unbanned {subject}"), json)
            }
            Some(Command::Bans { node }) => bans(&node, json).await,
        }
    })
}

async fn list(node: &NodeArgs, json: bool) -> Result<()> {
    let client = node.connect(None).await?;
    let response = client.get(&["peers"]).await?;
    let headings = ["id", "address", "purpose", "agent", "height", "latency", "in", "out", "score"];
    let row = |peer: Peer| {
        let latency = peer.latency_ms.map_or("-".to_owned(), |latency| format!("{latency} ms"));
        [
            short_id(&peer.id).to_owned(),
            without_id(&peer.address).to_owned(),
            label(&peer.purpose),
            peer.agent,
            peer.height.to_string(),
            latency,
            bytes(peer.bytes_received),
            bytes(peer.bytes_sent),
            peer.score.to_string(),
        ]
    };
    output::print(&response, json, |peers: Page<Peer>| {
        peers.items.into_iter().map(row).fold(Table::new(headings), Table::row).print("no peers")
    })?;
    if json {
        return Ok(());
    }
    let persistent: Page<PersistentPeer> = client.get(&["persistent-peers"]).await?.json()?;
    let missing = persistent.items.into_iter().filter(|peer| !peer.connected);
    for PersistentPeer { address, detail, .. } in missing {
        let detail = detail.unwrap_or_else(|| "being dialed".to_owned());
        print_line(&format!("not connected: {}: {}", printable(&address), printable(&detail)))?;
    }
    Ok(())
}

async fn add(node: &NodeArgs, address: &str, json: bool) -> Result<()> {
    let client = node.connect_with_token(None).await?;
    let response = client.create(&["peers"], &json!({ "address": address }), DIAL_TIMEOUT).await?;
    output::print(&response, json, |added: PeerAdded| match added.id {
        Some(id) => print_line(&format!("connected to {id}")),
        None => {
            let reason = added.detail.unwrap_or_else(|| "no response".to_owned());
            print_line(&format!("not connected yet, will retry: {reason}"))
        }
    })
}

async fn bans(node: &NodeArgs, json: bool) -> Result<()> {
    let response = node.connect(None).await?.get(&["bans"]).await?;
    output::print(&response, json, |bans: Page<Ban>| {
        let row = |ban: Ban| [ban.id, duration(seconds_until(ban.until)), ban.reason];
        let table = Table::new(["banned", "expires in", "reason"]);
        bans.items.into_iter().map(row).fold(table, Table::row).print("no bans")
    })
}

/// The id of the only peer whose id ends with a text; a complete id is returned as it is.
async fn full_id(client: &Client, text: &str) -> Result<String> {
    if text.parse::<p2p::PeerId>().is_ok() {
        return Ok(text.to_owned());
    }
    let peers: Page<Peer> = client.get(&["peers"]).await?.json()?;
    let mut ends = peers.items.iter().filter(|peer| !text.is_empty() && peer.id.ends_with(text));
    match (ends.next(), ends.next()) {
        (Some(peer), None) => Ok(peer.id.clone()),
        (Some(_), Some(_)) => bail!("several peer ids end with {text}: type more of it"),
        (None, _) => bail!("no peer id is or ends with {}: see `chain peers`", printable(text)),
    }
}

/// The last characters of an id.
fn short_id(id: &str) -> &str {
    let start = id.char_indices().rev().nth(SHORT_ID - 1).map_or(0, |(start, _)| start);
    &id[start..]
}

/// A multiaddr without its peer id, which has a column of its own.
fn without_id(address: &str) -> &str {
    address.split_once("/p2p/").map_or(address, |(host, _)| host)
}

fn report(data: &Value, text: &str, json: bool) -> Result<()> {
    Ok(if json { print_line(&data.to_string()) } else { print_line(text) }?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abbreviates_ids_and_strips_them_from_addresses() {
        assert_eq!(short_id("12D3KooWGjMGHr6D5Yw2nUYB"), "5Yw2nUYB");
        assert_eq!(short_id("abc"), "abc");
        assert_eq!(without_id("/ip4/10.0.0.1/tcp/1/p2p/12D3"), "/ip4/10.0.0.1/tcp/1");
        assert_eq!(without_id("/ip4/10.0.0.1/tcp/1"), "/ip4/10.0.0.1/tcp/1");
    }
}
