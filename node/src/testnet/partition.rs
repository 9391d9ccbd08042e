//! Partitioning a running testnet, and healing it. Nodes on different sides ban each other, so that a
//! partition outlives restarts; each side stays connected.

use super::Testnet;
use super::topology::{NodeNumber, Topology};
use crate::api::http::page::Page;
use crate::api::routes::bans::Ban;
use crate::api::routes::peers::Peer;
use crate::auth::Token;
use crate::client::Client;
use crate::node_file::NodeFile;
use anyhow::{Context, Result, bail, ensure};
use reqwest::Method;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Marks the bans of a partition.
const REASON: &str = "chain testnet partition";
/// Duration of the bans: ten years, the longest that a node accepts.
const BAN_SECONDS: u64 = 315_360_000;
/// Time limit of connecting and disconnecting.
const LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

/// Disconnects the nodes of a side from all others. Every node must run.
pub async fn cut(testnet: &Testnet, side: &[NodeNumber]) -> Result<()> {
    let rest: Vec<NodeNumber> =
        testnet.manifest().numbers().filter(|number| !side.contains(number)).collect();
    ensure!(!rest.is_empty(), "these are all nodes: name only those of one side");
    apply(testnet, &[side.to_vec(), rest]).await
}

/// Connects all nodes according to the topology. Every node must run.
pub async fn heal(testnet: &Testnet) -> Result<()> {
    apply(testnet, &[testnet.manifest().numbers().collect()]).await
}

/// Connects nodes within each side, and disconnects the sides, which are all nodes.
async fn apply(testnet: &Testnet, sides: &[Vec<NodeNumber>]) -> Result<()> {
    let members = members(testnet)?;
    for side in sides {
        for number in side {
            let others = members.keys().filter(|other| !side.contains(other));
            let others = others.map(|other| members[other].id.clone()).collect();
            members[number].ban(others).await.with_context(|| number.to_string())?;
        }
    }
    let (topology, count) = (testnet.manifest().topology, members.len());
    let links: BTreeSet<_> = sides.iter().flat_map(|side| links(topology, side, count)).collect();
    let start = Instant::now();
    while !connect(&members, &links).await? {
        ensure!(
            start.elapsed() < LIMIT,
            "some nodes are not connected after a minute: see their logs"
        );
        sleep(POLL).await;
    }
    Ok(())
}

/// Requests missing connections and removes superfluous ones; returns whether there were none.
async fn connect(
    members: &BTreeMap<NodeNumber, Member>,
    links: &BTreeSet<(NodeNumber, NodeNumber)>,
) -> Result<bool> {
    let mut is_done = true;
    for (number, member) in members {
        let connected = member.connected().await?;
        for (other, peer) in members.iter().filter(|(other, _)| *other != number) {
            let (low, high) = (number.min(other), number.max(other));
            let path = ["peers", &peer.id];
            match (links.contains(&(*low, *high)), connected.contains(&peer.id)) {
                // Both sides dial: a peer just removed is accepted again only by a node that dials it.
                (true, false) => member.dial(peer).await?,
                // It may have disconnected by now.
                (false, true) => {
                    let _ = member.client.send_once(Method::DELETE, &path, None, LIMIT).await;
                }
                _ => continue,
            }
            is_done = false;
        }
    }
    Ok(is_done)
}

/// The pairs of nodes of a side to connect: neighbours, and across a gap the lowest node of each part
/// with the lowest of the side.
fn links(
    topology: Topology,
    side: &[NodeNumber],
    count: usize,
) -> BTreeSet<(NodeNumber, NodeNumber)> {
    let neighbours = |number: NodeNumber| {
        topology.neighbours(number, count).filter(|other| side.contains(other))
    };
    let mut links: BTreeSet<_> = side
        .iter()
        .flat_map(|&low| {
            neighbours(low).filter(move |high| *high > low).map(move |high| (low, high))
        })
        .collect();
    let mut left: BTreeSet<NodeNumber> = side.iter().copied().collect();
    let Some(&first) = left.first() else { return links };
    while let Some(start) = left.pop_first() {
        if start != first {
            links.insert((first, start));
        }
        let mut reached = vec![start];
        while let Some(next) = reached.pop() {
            reached.extend(neighbours(next).filter(|other| left.remove(other)));
        }
    }
    links
}

/// A running node of the testnet.
struct Member {
    id: String,
    /// Multiaddr of the node, with the peer id.
    address: String,
    client: Client,
}

impl Member {
    /// Replaces the bans of the partition.
    async fn ban(&self, others: BTreeSet<String>) -> Result<()> {
        let bans: Page<Ban> = self.client.get(&["bans"]).await?.json()?;
        let bans = bans.items.into_iter().filter(|ban| ban.reason == REASON);
        let banned: BTreeSet<String> = bans.map(|ban| ban.id).collect();
        for id in banned.difference(&others) {
            self.client.send_once(Method::DELETE, &["bans", id], None, LIMIT).await?;
        }
        for id in others.difference(&banned) {
            let ban = json!({ "peer": id, "seconds": BAN_SECONDS, "reason": REASON });
            self.client.send_once(Method::POST, &["bans"], Some(&ban), LIMIT).await?;
        }
        Ok(())
    }

    /// Queries the peer ids of the node's connected peers.
    async fn connected(&self) -> Result<BTreeSet<String>> {
        let peers: Page<Peer> = self.client.get(&["peers"]).await?.json()?;
        Ok(peers.items.into_iter().map(|peer| peer.id).collect())
    }

    async fn dial(&self, other: &Member) -> Result<()> {
        let request = json!({ "address": other.address });
        match self.client.send_once(Method::POST, &["peers"], Some(&request), LIMIT).await {
            // The other node may reject it until it dials, too.
            Ok(_) => Ok(()),
            Err(error) if error.is::<crate::client::ApiError>() => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// All nodes, which must run.
fn members(testnet: &Testnet) -> Result<BTreeMap<NodeNumber, Member>> {
    let all: Vec<NodeNumber> = testnet.manifest().numbers().collect();
    let running: BTreeSet<NodeNumber> =
        testnet.processes(&all)?.into_iter().map(|(number, _)| number).collect();
    let stopped: Vec<String> =
        all.iter().filter(|number| !running.contains(number)).map(NodeNumber::to_string).collect();
    if !stopped.is_empty() {
        bail!("{} must run for this: start all nodes with `chain testnet up`", stopped.join(", "));
    }
    let member = |number: NodeNumber| {
        let (directory, node) = (testnet.directory().node(number), testnet.manifest().node(number));
        let file = NodeFile::read(&directory)
            .with_context(|| format!("{number} is still starting: try again"))?;
        let id = file.node_id;
        let address = format!("{}/p2p/{id}", node.multiaddr());
        let client = Client::new(&node.api_url())?.with_token(Token::read(&directory)?);
        Ok((number, Member { id, address, client }))
    };
    all.into_iter().map(member).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links_of(topology: Topology, side: &[&str], count: usize) -> String {
        let side: Vec<NodeNumber> =
            side.iter().map(|name| NodeNumber::parse(name).unwrap()).collect();
        let links = links(topology, &side, count);
        let pairs =
            links.iter().map(|(low, high)| format!("{}-{}", low.index() + 1, high.index() + 1));
        pairs.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn links_connect_a_side_across_gaps() {
        assert_eq!(links_of(Topology::Ring, &["1", "2", "3", "4"], 4), "1-2 1-4 2-3 3-4");
        assert_eq!(links_of(Topology::Ring, &["1", "2"], 4), "1-2");
        assert_eq!(links_of(Topology::Line, &["1", "3", "5", "6"], 6), "1-3 1-5 5-6");
        assert_eq!(links_of(Topology::Star, &["2", "3", "4"], 4), "2-3 2-4");
        assert_eq!(links_of(Topology::Full, &["2"], 4), "");
    }
}
