//! Partitioning a testnet, and healing it: the relay closes the links between the sides, and nodes
//! connect again once it opens them.

use super::Testnet;
use super::links::{self, Links};
use super::topology::NodeNumber;
use crate::api::http::page::Page;
use crate::api::routes::peers::Peer;
use crate::auth::Token;
use crate::client::{ApiError, Client};
use crate::node_file::NodeFile;
use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

/// Time limit of connecting and disconnecting.
pub const LIMIT: Duration = Duration::from_secs(60);
/// Time limit of a request to a node.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

/// Disconnects the nodes of each side from all others; those of no side form one more. Replaces an
/// earlier partition.
pub async fn partition(testnet: &Testnet, sides: Vec<BTreeSet<NodeNumber>>) -> Result<()> {
    let mut links = Links::read(testnet.directory())?;
    links.partition(sides, testnet.manifest())?;
    set(testnet, &links).await
}

/// Disconnects the nodes of a side from all others.
pub async fn cut(testnet: &Testnet, side: &[NodeNumber]) -> Result<()> {
    partition(testnet, vec![side.iter().copied().collect()]).await
}

/// Ends the partition and all cuts, and connects the nodes according to the topology.
pub async fn heal(testnet: &Testnet) -> Result<()> {
    let mut links = Links::read(testnet.directory())?;
    links.heal();
    set(testnet, &links).await
}

/// Changes the links, and waits until running nodes are connected accordingly.
async fn set(testnet: &Testnet, links: &Links) -> Result<()> {
    links.write(testnet.directory())?;
    links::apply(testnet.directory(), testnet.manifest(), links)?;
    connect(testnet, links, LIMIT).await
}

/// Waits until the running nodes are connected as far as the links connect them, and not across a
/// partition. Links with a cut are disregarded.
pub async fn connect(testnet: &Testnet, links: &Links, limit: Duration) -> Result<()> {
    let start = Instant::now();
    loop {
        // A node that is starting has no file yet, and one that is paused does not respond.
        let members = members(testnet)?;
        let Some((one, other)) = first_difference(testnet, links, &members).await? else {
            return Ok(());
        };
        let seconds = limit.as_secs();
        ensure!(
            start.elapsed() < limit,
            "{one} and {other} are not connected as they should be after {seconds} s: see their logs"
        );
        sleep(POLL).await;
    }
}

/// Two nodes that are not connected as they should be; requests a missing connection.
async fn first_difference(
    testnet: &Testnet,
    links: &Links,
    members: &BTreeMap<NodeNumber, Member>,
) -> Result<Option<(NodeNumber, NodeNumber)>> {
    let mut connected = BTreeMap::new();
    for (number, member) in members {
        let peers = member.connected().await;
        connected.insert(*number, peers.with_context(|| format!("{number} does not respond"))?);
    }
    let mut found = None;
    for link in &testnet.manifest().links {
        let (Some(dialer), Some(listener)) =
            (members.get(&link.dialer), members.get(&link.listener))
        else {
            continue;
        };
        let is_separated = links.are_separated(link.dialer, link.listener);
        if !is_separated && !links.are_connectable(link.dialer, link.listener) {
            continue;
        }
        // Whether each of the two has completed the handshake.
        let sees = [
            connected[&link.dialer].contains(&listener.id),
            connected[&link.listener].contains(&dialer.id),
        ];
        if sees.contains(&is_separated) {
            found = Some((link.dialer, link.listener));
        }
        if !is_separated && sees.contains(&false) {
            dialer.dial(&link.multiaddr(), listener).await?;
        }
    }
    Ok(found)
}

/// A running node of the testnet.
struct Member {
    id: String,
    client: Client,
}

impl Member {
    /// The peer ids of the node's peers.
    async fn connected(&self) -> Result<BTreeSet<String>> {
        let request = timeout(REQUEST_LIMIT, self.client.get(&["peers"]));
        let peers: Page<Peer> = request.await??.json()?;
        Ok(peers.items.into_iter().map(|peer| peer.id).collect())
    }

    /// Dials another node at an address, at once instead of after the delay that follows failures.
    async fn dial(&self, address: &str, other: &Member) -> Result<()> {
        let request = json!({ "address": format!("{address}/p2p/{}", other.id) });
        let path = ["peers"];
        let sent = self.client.send_once(Method::POST, &path, Some(&request), REQUEST_LIMIT);
        match timeout(REQUEST_LIMIT, sent).await {
            // The other node does not listen yet, perhaps, or the link is slow. The caller tries again.
            Ok(Err(error)) if !error.is::<ApiError>() => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

/// The nodes that run and are not paused.
fn members(testnet: &Testnet) -> Result<BTreeMap<NodeNumber, Member>> {
    let all: Vec<NodeNumber> = testnet.manifest().numbers().collect();
    let mut members = BTreeMap::new();
    for (number, process) in testnet.processes(&all)? {
        let directory = testnet.directory().node(number);
        let file = NodeFile::read(&directory).filter(|file| file.pid == process.id());
        if let Some(file) = file.filter(|_| !process.is_paused()) {
            let client = Client::new(&testnet.manifest().node(number).api_url())?;
            let client = client.with_token(Token::read(&directory)?);
            members.insert(number, Member { id: file.node_id, client });
        }
    }
    Ok(members)
}
