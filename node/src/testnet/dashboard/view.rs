//! What the dashboard shows: the state of all nodes and links, arrivals of blocks, branches and
//! reorganisations.

use super::arrivals::{Arrivals, BlockArrivals, NodeReorg};
use super::tree::{Blocks, Branch, Tip};
use crate::client::Client;
use crate::relay::control::Control;
use crate::testnet::Testnet;
use crate::testnet::directory::Directory;
use crate::testnet::links::Links;
use crate::testnet::status::{self, State, Status};
use crate::testnet::topology::NodeNumber;
use anyhow::Result;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use tokio::time::timeout;

/// Time for which a state is current: however many pages are open, nodes are queried once in it.
const CURRENT: Duration = Duration::from_millis(400);
/// Time limit of a request to a node.
const LIMIT: Duration = Duration::from_secs(5);
/// Blocks whose arrivals are shown.
const BLOCKS: usize = 30;
/// Reorganisations shown.
const REORGS: usize = 100;
/// Branches of a node that are read, the highest ones, and those that are shown.
const BRANCHES: usize = 100;

/// The view of a testnet.
pub struct View {
    directory: Directory,
    arrivals: Arrivals,
    latest: Mutex<Option<Latest>>,
    blocks: Mutex<Blocks>,
}

/// A state that was queried.
struct Latest {
    at: Instant,
    text: String,
    clients: BTreeMap<NodeNumber, Client>,
    tips: Vec<Tip>,
    branches: Vec<Branch>,
}

/// The state as the page receives it.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    status: &'a Status,
    /// The sides of a partition; none without one.
    sides: &'a [BTreeSet<NodeNumber>],
    /// The newest blocks first.
    blocks: Vec<BlockArrivals>,
    /// Side branches, the highest first.
    branches: &'a [Branch],
    /// The newest reorganisations first.
    reorgs: Vec<NodeReorg>,
}

/// A branch as a node reports it.
#[derive(Deserialize)]
struct NodeBranch {
    hash: String,
    height: u32,
    branch_length: u32,
    status: String,
}

#[derive(Deserialize)]
struct NodeBranches {
    items: Vec<NodeBranch>,
}

impl View {
    pub fn new(directory: Directory) -> View {
        let (latest, blocks) = (Mutex::default(), Mutex::default());
        View { directory, arrivals: Arrivals::default(), latest, blocks }
    }

    /// The state as JSON.
    pub async fn state(&self) -> Result<String> {
        let mut latest = self.latest.lock().await;
        if let Some(latest) = latest.as_ref().filter(|latest| latest.at.elapsed() < CURRENT) {
            return Ok(latest.text.clone());
        }
        let found = self.query().await?;
        Ok(latest.insert(found).text.clone())
    }

    /// The tree of blocks around a height, or of the newest ones, as JSON.
    pub async fn tree(&self, around: Option<u32>) -> Result<String> {
        self.state().await?;
        let (clients, tips, branches) = match self.latest.lock().await.as_ref() {
            Some(it) => (it.clients.clone(), it.tips.clone(), it.branches.clone()),
            None => return Ok("{}".to_owned()),
        };
        let mut blocks = self.blocks.lock().await;
        let tree = timeout(LIMIT * 2, blocks.tree(around, &clients, &tips, &branches)).await??;
        Ok(serde_json::to_string(&tree)?)
    }

    async fn query(&self) -> Result<Latest> {
        let testnet = Testnet::read(&self.directory)?;
        self.arrivals.follow(&self.directory, testnet.manifest().numbers());
        // Not through the lock of the relay's process, which is this one: closing its file would
        // release the lock.
        let relay = Control::open(&self.directory.relay(), std::process::id())?;
        let status = status::query_with(&testnet, relay.as_ref()).await?;
        let (mut clients, mut tips) = (BTreeMap::new(), Vec::new());
        for (node, found) in testnet.manifest().numbers().zip(&status.nodes) {
            if let (State::Running, Some(api)) = (found.state, &found.api_status) {
                clients.insert(node, Client::new(&found.api)?);
                tips.push(Tip { node, hash: api.tip.clone(), height: api.height });
            }
        }
        let branches = branches(&clients).await;
        let shown = Shown {
            status: &status,
            sides: &Links::read(&self.directory)?.sides,
            blocks: self.arrivals.blocks(BLOCKS),
            branches: &branches,
            reorgs: self.arrivals.reorgs(REORGS),
        };
        let text = serde_json::to_string(&shown)?;
        Ok(Latest { at: Instant::now(), text, clients, tips, branches })
    }
}

/// The side branches of all nodes, the highest first.
async fn branches(clients: &BTreeMap<NodeNumber, Client>) -> Vec<Branch> {
    let read = clients.iter().map(|(node, client)| async move {
        let limit = BRANCHES.to_string();
        let path = ["chain", "tips"];
        let query = [("limit", limit.as_str())];
        let response = client.get_with(&path, &query, LIMIT).await.ok()?;
        Some((*node, response.json::<NodeBranches>().ok()?.items))
    });
    let mut found: BTreeMap<String, Branch> = BTreeMap::new();
    for (node, items) in join_all(read).await.into_iter().flatten() {
        for item in items.into_iter().filter(|item| item.status != "active") {
            let NodeBranch { hash, height, branch_length: length, status } = item;
            let new = Branch { hash: hash.clone(), height, length, status, nodes: BTreeSet::new() };
            found.entry(hash).or_insert(new).nodes.insert(node);
        }
    }
    let mut found: Vec<Branch> = found.into_values().collect();
    found.sort_by_key(|branch| std::cmp::Reverse(branch.height));
    found.truncate(BRANCHES);
    found
}
