//! The testnet of a scenario, and what has happened on it so far.

use crate::auth::Token;
use crate::client::Client;
use crate::snapshot::{Copier, Name};
use crate::testnet::topology::NodeNumber;
use crate::testnet::wait::{self, StartingNode};
use crate::testnet::{DirectoryLock, Testnet, links, load, miner_addresses, partition, snapshot};
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// Time limit of a request of an assertion.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);
/// Time limit of the connections of nodes that were started.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// The testnet of a scenario, and what has happened so far.
pub struct World {
    pub testnet: Testnet,
    lock: DirectoryLock,
    deadline: Instant,
    transfers: BTreeMap<String, Submitted>,
    /// Loads in the background that may not have ended.
    pub loads: Vec<JoinHandle<Result<load::Report>>>,
    /// The reports of the loads that have ended.
    pub load_reports: Vec<load::Report>,
    /// Why the first load failed that did.
    load_failure: Option<String>,
}

/// A transfer that a node accepted.
#[derive(Clone, Debug)]
pub struct Submitted {
    /// The transaction id.
    pub id: String,
    /// The account that sent it, and the nonce.
    pub from: u32,
    pub nonce: u64,
}

impl World {
    /// A testnet that has to reach the end of its scenario before a deadline.
    pub fn new(testnet: Testnet, lock: DirectoryLock, deadline: Instant) -> World {
        let (transfers, loads, load_reports) = (BTreeMap::new(), Vec::new(), Vec::new());
        World { testnet, lock, deadline, transfers, loads, load_reports, load_failure: None }
    }

    pub fn testnet(&self) -> &Testnet {
        &self.testnet
    }

    /// Whether the time limit of the scenario has passed.
    pub fn is_late(&self) -> bool {
        Instant::now() >= self.deadline
    }

    pub fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// The nodes that a list separated by commas names.
    pub fn numbers(&self, list: &str) -> Result<Vec<NodeNumber>> {
        let names: Vec<String> = list.split(',').map(|name| name.trim().to_owned()).collect();
        self.testnet.manifest().select(&names)
    }

    /// The node of a name.
    pub fn number(&self, name: &str) -> Result<NodeNumber> {
        match self.numbers(name)?[..] {
            [number] => Ok(number),
            _ => bail!("`{name}` is not one node: name one"),
        }
    }

    /// Those of some nodes that run and are not paused.
    ///
    /// # Errors
    /// None does: nothing can be asserted of it.
    pub fn running(&self, list: &str) -> Result<Vec<NodeNumber>> {
        let running = self.testnet.processes(&self.numbers(list)?)?.into_iter();
        let running: Vec<NodeNumber> =
            running.filter(|(_, process)| !process.is_paused()).map(|(number, _)| number).collect();
        ensure!(!running.is_empty(), "no node of `{list}` runs");
        Ok(running)
    }

    /// A client of a node, with its token.
    pub fn client(&self, number: NodeNumber) -> Result<Client> {
        let client = Client::new(&self.testnet.manifest().node(number).api_url())?;
        Ok(client.with_token(Token::read(&self.testnet.directory().node(number))?))
    }

    /// The status code and body of a path of a node's API.
    pub async fn text(&self, number: NodeNumber, path: &str) -> Result<(u16, String)> {
        timeout(REQUEST_LIMIT, self.client(number)?.fetch(path)).await?
    }

    /// The address that a node's blocks pay.
    pub fn address(&self, number: NodeNumber) -> Result<String> {
        let count = self.testnet.manifest().nodes.len();
        let all = miner_addresses(self.testnet.directory(), count, self.testnet.params())?;
        Ok(all[number.index()].clone())
    }

    pub fn transfer(&self, name: &str) -> Result<&Submitted> {
        let known = || {
            let names: Vec<&str> = self.transfers.keys().map(String::as_str).collect();
            format!("no transfer `{name}` was paid before this step, only: {}", names.join(", "))
        };
        self.transfers.get(name).with_context(known)
    }

    pub fn add_transfer(&mut self, name: &str, transfer: Submitted) -> Result<()> {
        ensure!(!self.transfers.contains_key(name), "transfer `{name}` was paid before");
        self.transfers.insert(name.to_owned(), transfer);
        Ok(())
    }

    /// The names of the transfers that no other one conflicts with.
    pub fn effective_transfers(&self) -> Vec<String> {
        let conflicts = |one: &Submitted| {
            let same = |other: &&Submitted| (other.from, other.nonce) == (one.from, one.nonce);
            self.transfers.values().filter(same).count() > 1
        };
        let single = self.transfers.iter().filter(|(_, one)| !conflicts(one));
        single.map(|(name, _)| name.clone()).collect()
    }

    /// Whether loads in the background have not been joined, or one failed.
    pub fn has_loads(&self) -> bool {
        !self.loads.is_empty() || self.load_failure.is_some()
    }

    /// Collects the reports of loads that have ended. Returns why one failed, or how many have not
    /// ended.
    pub fn unfinished_loads(&mut self) -> Option<String> {
        let (ended, running): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.loads).into_iter().partition(JoinHandle::is_finished);
        self.loads = running;
        ended.into_iter().for_each(|load| self.join(load));
        let count = self.loads.len();
        self.load_failure.clone().or((count > 0).then(|| format!("{count} loads have not ended")))
    }

    /// Waits for the loads in the background, which end before the deadline.
    ///
    /// # Errors
    /// One failed.
    pub fn finish_loads(&mut self) -> Result<()> {
        std::mem::take(&mut self.loads).into_iter().for_each(|load| self.join(load));
        self.load_failure.take().map_or(Ok(()), |failure| bail!(failure))
    }

    fn join(&mut self, load: JoinHandle<Result<load::Report>>) {
        let failure = match load.join() {
            Ok(Ok(report)) => return self.load_reports.push(report),
            Ok(Err(error)) => format!("a load failed: {error:#}"),
            Err(_) => "a load has crashed".to_owned(),
        };
        self.load_failure.get_or_insert(failure);
    }

    /// Starts nodes, and waits until they respond and are connected.
    pub async fn start_nodes(&mut self, numbers: &[NodeNumber]) -> Result<()> {
        let started = self.testnet.start(&self.lock, numbers)?;
        self.wait_for(started).await
    }

    /// Returns the testnet to a snapshot. Transfers that were submitted later are forgotten by the nodes, but
    /// not by assertions.
    pub async fn revert(&mut self, name: &Name) -> Result<()> {
        let (testnet, started) = snapshot::revert(&self.lock, name, &Copier::default()).await?;
        self.testnet = testnet;
        self.wait_for(started).await?;
        snapshot::pause(&self.testnet, name)
    }

    async fn wait_for(&self, started: Vec<StartingNode>) -> Result<()> {
        wait::until_ready(started, |_| ()).await?;
        let links = links::Links::read(self.testnet.directory())?;
        // Bad links may be intended.
        let _ = partition::connect(&self.testnet, &links, CONNECT_LIMIT).await;
        Ok(())
    }
}
