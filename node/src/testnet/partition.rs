//! Cutting a running testnet in two, and making it whole again. Nodes on different sides ban each
//! other, so a cut outlives their restarts; each side stays connected in itself.

use super::Testnet;
use super::topology::{Number, Topology};
use crate::auth::Token;
use crate::client::Client;
use crate::node_file::NodeFile;
use anyhow::{Context, Result, bail, ensure};
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Tells the bans of a cut from any others.
const REASON: &str = "chain testnet partition";
/// How long they would last by themselves: ten years, the most that a node takes.
const BAN_SECONDS: u64 = 315_360_000;
/// How long nodes may take to connect and to let go of each other.
const LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

/// Leaves connections within each side only. Every node must run.
pub async fn cut(testnet: &Testnet, side: &[Number]) -> Result<()> {
    let rest: Vec<Number> =
        testnet.plan().numbers().filter(|number| !side.contains(number)).collect();
    ensure!(!rest.is_empty(), "these are all nodes: name only those of one side");
    arrange(testnet, &[side.to_vec(), rest]).await
}

/// Connects all nodes as the topology says. Every node must run.
pub async fn heal(testnet: &Testnet) -> Result<()> {
    arrange(testnet, &[testnet.plan().numbers().collect()]).await
}

/// Brings about that nodes are connected within these sides, which are all nodes, and not beyond.
async fn arrange(testnet: &Testnet, sides: &[Vec<Number>]) -> Result<()> {
    let members = members(testnet)?;
    for side in sides {
        for number in side {
            let enemies = members.keys().filter(|other| !side.contains(other));
            let enemies = enemies.map(|other| members[other].id.clone()).collect();
            members[number].ban(enemies).await.with_context(|| number.to_string())?;
        }
    }
    let (topology, count) = (testnet.plan().topology, members.len());
    let links: BTreeSet<_> = sides.iter().flat_map(|side| links(topology, side, count)).collect();
    let begun = Instant::now();
    while !connect(&members, &links).await? {
        ensure!(
            begun.elapsed() < LIMIT,
            "some nodes are not connected after a minute: look at their logs"
        );
        sleep(POLL).await;
    }
    Ok(())
}

/// Asks for the connections that are missing and ends those too many: whether all is as it should be.
async fn connect(
    members: &BTreeMap<Number, Member>,
    links: &BTreeSet<(Number, Number)>,
) -> Result<bool> {
    let mut is_done = true;
    for (number, member) in members {
        let connected = member.connected().await?;
        for (other, there) in members.iter().filter(|(other, _)| *other != number) {
            let (low, high) = (number.min(other), number.max(other));
            let path = ["peers", &there.id];
            match (links.contains(&(*low, *high)), connected.contains(&there.id)) {
                // Both ask, as whoever has just been sent away is let in only by whom it is wanted.
                (true, false) => member.call(there).await?,
                // It may be gone by now.
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

/// Which nodes of a side are connected with each other: neighbours, and where those leave a gap the
/// lowest of the nodes beyond it with the lowest of all.
fn links(topology: Topology, side: &[Number], count: usize) -> BTreeSet<(Number, Number)> {
    let neighbours =
        |number: Number| topology.neighbours(number, count).filter(|other| side.contains(other));
    let mut links: BTreeSet<_> = side
        .iter()
        .flat_map(|&low| {
            neighbours(low).filter(move |high| *high > low).map(move |high| (low, high))
        })
        .collect();
    let mut left: BTreeSet<Number> = side.iter().copied().collect();
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

/// A node that runs.
struct Member {
    id: String,
    /// With its id.
    address: String,
    client: Client,
}

#[derive(Deserialize)]
struct List<T> {
    items: Vec<T>,
}

impl Member {
    /// Makes these nodes the ones that are banned for a cut.
    async fn ban(&self, enemies: BTreeSet<String>) -> Result<()> {
        #[derive(Deserialize)]
        struct Ban {
            id: String,
            reason: String,
        }
        let bans: List<Ban> = self.client.get(&["bans"]).await?.json()?;
        let bans = bans.items.into_iter().filter(|ban| ban.reason == REASON);
        let banned: BTreeSet<String> = bans.map(|ban| ban.id).collect();
        for id in banned.difference(&enemies) {
            self.client.send_once(Method::DELETE, &["bans", id], None, LIMIT).await?;
        }
        for id in enemies.difference(&banned) {
            let ban = json!({ "peer": id, "seconds": BAN_SECONDS, "reason": REASON });
            self.client.send_once(Method::POST, &["bans"], Some(&ban), LIMIT).await?;
        }
        Ok(())
    }

    /// The ids of whom it is connected with.
    async fn connected(&self) -> Result<BTreeSet<String>> {
        #[derive(Deserialize)]
        struct Peer {
            id: String,
        }
        let peers: List<Peer> = self.client.get(&["peers"]).await?.json()?;
        Ok(peers.items.into_iter().map(|peer| peer.id).collect())
    }

    async fn call(&self, other: &Member) -> Result<()> {
        let wanted = json!({ "address": other.address });
        match self.client.send_once(Method::POST, &["peers"], Some(&wanted), LIMIT).await {
            // The other one may refuse until it is asked to connect too.
            Ok(_) => Ok(()),
            Err(error) if error.is::<crate::client::ApiError>() => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// All nodes, which must run.
fn members(testnet: &Testnet) -> Result<BTreeMap<Number, Member>> {
    let all: Vec<Number> = testnet.plan().numbers().collect();
    let running: BTreeSet<Number> =
        testnet.processes(&all)?.into_iter().map(|(number, _)| number).collect();
    let stopped: Vec<String> =
        all.iter().filter(|number| !running.contains(number)).map(Number::to_string).collect();
    if !stopped.is_empty() {
        bail!(
            "{} must run for this: `chain testnet up` starts whoever does not",
            stopped.join(", ")
        );
    }
    let member = |number: Number| {
        let (folder, node) = (testnet.folder().node(number), testnet.plan().node(number));
        let whereabouts = NodeFile::read(&folder)
            .with_context(|| format!("{number} is still starting: try again"))?;
        let id = whereabouts.node_id;
        let address = format!("{}/p2p/{id}", node.multiaddr());
        let client = Client::new(&node.api_url())?.with_token(Token::of_node(&folder)?);
        Ok((number, Member { id, address, client }))
    };
    all.into_iter().map(member).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(topology: Topology, side: &[&str], count: usize) -> String {
        let side: Vec<Number> = side.iter().map(|name| Number::parse(name).unwrap()).collect();
        let links = links(topology, &side, count);
        let pairs =
            links.iter().map(|(low, high)| format!("{}-{}", low.index() + 1, high.index() + 1));
        pairs.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_side_is_connected_as_the_topology_says_and_over_its_gaps() {
        assert_eq!(shown(Topology::Ring, &["1", "2", "3", "4"], 4), "1-2 1-4 2-3 3-4");
        assert_eq!(shown(Topology::Ring, &["1", "2"], 4), "1-2");
        assert_eq!(shown(Topology::Line, &["1", "3", "5", "6"], 6), "1-3 1-5 5-6");
        assert_eq!(shown(Topology::Star, &["2", "3", "4"], 4), "2-3 2-4");
        assert_eq!(shown(Topology::Full, &["2"], 4), "");
    }
}
