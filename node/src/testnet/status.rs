//! The status of a testnet, from the processes, directories and APIs of its nodes.

use super::Testnet;
use super::links::{self, LinkStatus, Links};
use super::process::Process;
use super::topology::{NodeNumber, Topology};
use crate::api::routes::chain::{Chain, SyncState};
use crate::api::routes::mining::Mining;
use crate::client::Client;
use crate::clock;
use crate::node_file::NodeFile;
use crate::relay::control::Control;
use anyhow::Result;
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

/// Time limit of a node's response to a status request.
const RESPONSE_LIMIT: Duration = Duration::from_secs(5);
/// Time for which nodes may differ while a block is on its way.
const AGREEMENT_LIMIT: Duration = Duration::from_secs(1);
const AGREEMENT_POLL: Duration = Duration::from_millis(100);

/// The status of a testnet.
#[derive(Debug, Serialize)]
pub struct Status {
    /// The directory of the testnet.
    pub dir: PathBuf,
    /// The name of the network.
    pub network: String,
    /// The topology of connections.
    pub topology: Topology,
    /// Number of different tips of the nodes that respond.
    pub tips: usize,
    /// The nodes by number.
    pub nodes: Vec<NodeStatus>,
    /// Both directions of the links between nodes.
    pub links: Vec<LinkStatus>,
    /// The link to the dashboard, with its token; `None` where the status is for others than the owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dashboard: Option<String>,
}

/// The status of a node.
#[derive(Debug, Serialize)]
pub struct NodeStatus {
    /// The name of the node.
    pub node: String,
    /// Whether the node runs.
    pub state: State,
    /// Process id, if it runs.
    pub pid: Option<u32>,
    /// URL of the API.
    pub api: String,
    /// Multiaddr at which other nodes dial the node.
    pub peer_address: String,
    /// Address that the node's blocks pay, if it mines.
    pub miner: Option<String>,
    /// Seconds by which the node's clock for validation and mining is ahead of this machine's.
    pub clock_offset: i64,
    /// Status from the node's API, if it responds.
    #[serde(flatten)]
    pub api_status: Option<ApiStatus>,
}

/// The state of a node's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The node runs and responds.
    Running,
    /// The node runs but does not respond: it is starting, or overloaded.
    Silent,
    /// The node is paused.
    Paused,
    /// The node does not run.
    Stopped,
    /// The node does not run, and was not stopped cleanly.
    Killed,
}

/// The status of a node from its API.
#[derive(Debug, Serialize)]
pub struct ApiStatus {
    /// Height of the tip.
    pub height: u32,
    /// Hash of the tip.
    pub tip: String,
    /// Number of peers of the node.
    pub peers: usize,
    /// Hash rate of the node's mining threads, in hashes per second.
    pub hashrate: f64,
    /// State of the node's sync.
    pub sync: SyncState,
}

/// Queries every node, and again for a moment while they differ: a block may be on its way.
pub async fn query(testnet: &Testnet) -> Result<Status> {
    let start = Instant::now();
    loop {
        let status = query_once(testnet).await?;
        if status.tips <= 1 || start.elapsed() > AGREEMENT_LIMIT {
            return Ok(status);
        }
        sleep(AGREEMENT_POLL).await;
    }
}

/// Queries every node, all at once.
pub async fn query_once(testnet: &Testnet) -> Result<Status> {
    query_with(testnet, links::running(testnet.directory())?.as_ref()).await
}

/// Queries every node, all at once, and a relay if it runs.
pub async fn query_with(testnet: &Testnet, relay: Option<&Control>) -> Result<Status> {
    let (manifest, directory) = (testnet.manifest(), testnet.directory());
    let mut queries = Vec::new();
    for number in manifest.numbers() {
        // A paused node accepts connections, but does not respond.
        let process = Process::find(&directory.node(number))?;
        let query = process.filter(|process| !process.is_paused());
        let query = query.map(|_| tokio::spawn(query_api(manifest.node(number).api_url())));
        queries.push((number, query));
    }
    let mut nodes = Vec::new();
    for (number, query) in queries {
        let api_status = match query {
            Some(query) => query.await?.ok(),
            None => None,
        };
        nodes.push(node(testnet, number, api_status)?);
    }
    let tips: BTreeSet<&str> =
        nodes.iter().filter_map(|node| Some(node.api_status.as_ref()?.tip.as_str())).collect();
    Ok(Status {
        dir: directory.path().to_owned(),
        network: testnet.params().name().to_owned(),
        topology: manifest.topology,
        tips: tips.len(),
        nodes,
        links: Links::read(directory)?.status(relay, manifest)?,
        dashboard: None,
    })
}

fn node(
    testnet: &Testnet,
    number: NodeNumber,
    api_status: Option<ApiStatus>,
) -> Result<NodeStatus> {
    let directory = testnet.directory().node(number);
    let process = Process::find(&directory)?;
    // Another program may listen at the port of a node that does not run.
    let api_status = api_status.filter(|_| process.is_some());
    let state = match (&process, &api_status) {
        (Some(process), _) if process.is_paused() => State::Paused,
        (Some(_), Some(_)) => State::Running,
        (Some(_), None) => State::Silent,
        // A node that stops cleanly removes this file.
        (None, _) if NodeFile::read(&directory).is_some() => State::Killed,
        (None, _) => State::Stopped,
    };
    let manifest = testnet.manifest().node(number);
    Ok(NodeStatus {
        node: number.to_string(),
        state,
        pid: process.map(|process| process.id()),
        api: manifest.api_url(),
        peer_address: manifest.multiaddr(),
        miner: manifest.miner.clone(),
        clock_offset: clock::Clock::open(&directory)?.setting().offset(),
        api_status,
    })
}

async fn query_api(url: String) -> Result<ApiStatus> {
    timeout(RESPONSE_LIMIT, async {
        let client = Client::new(&url)?;
        let Mining { hashrate, .. } = client.get(&["mining"]).await?.json()?;
        let Chain { height, tip, peers, sync, .. } = client.get(&["chain"]).await?.json()?;
        Ok(ApiStatus { height, tip, peers, hashrate, sync: sync.state })
    })
    .await?
}
