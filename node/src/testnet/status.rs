//! How the nodes of a testnet are: what their processes, their folders and their APIs say.

use super::Testnet;
use super::process::Process;
use super::topology::{Number, Topology};
use crate::client::Client;
use crate::node_file::NodeFile;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::timeout;

/// How long a node may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// How a testnet is.
#[derive(Debug, Serialize)]
pub struct Status {
    /// Its folder.
    pub dir: PathBuf,
    /// Its network's name.
    pub network: String,
    /// How its nodes are connected.
    pub topology: Topology,
    /// Different tips among the nodes that answer.
    pub tips: usize,
    /// Its nodes.
    pub nodes: Vec<NodeStatus>,
}

/// How a node is.
#[derive(Debug, Serialize)]
pub struct NodeStatus {
    /// Its name.
    pub node: String,
    /// Whether it runs.
    pub state: State,
    /// Its process, if it runs.
    pub pid: Option<u32>,
    /// The URL of its API.
    pub api: String,
    /// Where other nodes call it.
    pub peer_address: String,
    /// The address its blocks pay, if it mines.
    pub miner: Option<String>,
    /// What it says, if it answers.
    #[serde(flatten)]
    pub said: Option<Said>,
}

/// Whether a node runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It runs and answers.
    Running,
    /// It runs, but does not answer: it is starting, or something keeps it.
    Silent,
    /// It does not run.
    Stopped,
    /// It does not run, and has not been stopped properly.
    Killed,
}

/// What a node says of itself.
#[derive(Debug, Serialize)]
pub struct Said {
    /// The height of its tip.
    pub height: u32,
    /// The hash of its tip.
    pub tip: String,
    /// Nodes it is connected with.
    pub peers: u32,
    /// Hashes a second.
    pub hashrate: f64,
    /// What it does about being up to date.
    pub sync: String,
}

/// Asks every node, all at once.
pub async fn of(testnet: &Testnet) -> Result<Status> {
    let (plan, folder) = (testnet.plan(), testnet.folder());
    let asked: Vec<_> = plan
        .numbers()
        .map(|number| (number, tokio::spawn(ask(plan.node(number).api_url()))))
        .collect();
    let mut nodes = Vec::new();
    for (number, answer) in asked {
        let said = answer.await?.ok();
        nodes.push(node(testnet, number, said)?);
    }
    let tips: BTreeSet<&str> =
        nodes.iter().filter_map(|node| Some(node.said.as_ref()?.tip.as_str())).collect();
    Ok(Status {
        dir: folder.path().to_owned(),
        network: testnet.params().name().to_owned(),
        topology: plan.topology,
        tips: tips.len(),
        nodes,
    })
}

fn node(testnet: &Testnet, number: Number, said: Option<Said>) -> Result<NodeStatus> {
    let folder = testnet.folder().node(number);
    let process = Process::find(&folder)?;
    // Somebody else may answer at the port of a node that does not run.
    let said = said.filter(|_| process.is_some());
    let state = match (&process, &said) {
        (Some(_), Some(_)) => State::Running,
        (Some(_), None) => State::Silent,
        // A node that stops takes this file away.
        (None, _) if NodeFile::read(&folder).is_some() => State::Killed,
        (None, _) => State::Stopped,
    };
    let plan = testnet.plan().node(number);
    Ok(NodeStatus {
        node: number.to_string(),
        state,
        pid: process.map(|process| process.id()),
        api: plan.api_url(),
        peer_address: plan.multiaddr(),
        miner: plan.miner.clone(),
        said,
    })
}

async fn ask(url: String) -> Result<Said> {
    #[derive(Deserialize)]
    struct Chain {
        height: u32,
        tip: String,
        peers: u32,
        sync: Sync,
    }
    #[derive(Deserialize)]
    struct Sync {
        state: String,
    }
    #[derive(Deserialize)]
    struct Mining {
        hashrate: f64,
    }
    timeout(ANSWER_LIMIT, async {
        let client = Client::new(&url)?;
        let Mining { hashrate } = client.get(&["mining"]).await?.json()?;
        let Chain { height, tip, peers, sync } = client.get(&["chain"]).await?.json()?;
        Ok(Said { height, tip, peers, hashrate, sync: sync.state })
    })
    .await?
}
