//! A whole testnet on this machine: real nodes, each a process of its own that outlives the terminal.
//! Everything about one is in one folder; what it says to people is the business of `cli::testnet`.
//!
//! | in the folder | what |
//! |---|---|
//! | `testnet.json` | who there is: `plan` |
//! | `network.toml` | the network, unless it is a built-in one: `network` |
//! | `wallets/miners.json` | the keys of the addresses that are mined for, without a password |
//! | `node-1`, `node-2`, … | each node's data folder, with its log and the lock of its `process` |
//! | `lock` | locked while a command changes something: `folder` |

mod directory;
pub mod manifest;
mod network;
pub mod partition;
mod ports;
mod process;
pub mod reorg;
pub mod status;
pub mod topology;
pub mod wait;

pub use directory::{Claim, Folder};
pub use process::{Process, become_node};

use crate::config;
use crate::wallet::mnemonic::Length;
use crate::wallet::{Index, Mnemonic, Password, Wallet};
use anyhow::{Context, Result, bail, ensure};
use chain::Params;
use directory::NETWORK_FILE;
use manifest::Plan;
use std::fmt::Display;
use std::fs;
use std::process::Child;
use topology::{Number, Topology};
use wait::Starting;

/// Nodes of a testnet unless told otherwise.
const NODES: usize = 3;
/// Those of them that mine unless told otherwise.
const MINERS: usize = 1;

/// What a testnet should be. What is not said is as it is already, or for a new one the default.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// How many nodes.
    pub nodes: Option<usize>,
    /// How they are connected.
    pub topology: Option<Topology>,
    /// How many of them mine.
    pub miners: Option<usize>,
    /// Which network: a built-in one, or the path of a file.
    pub network: Option<String>,
    /// Seconds between blocks of a network made for this testnet.
    pub spacing: Option<u32>,
}

/// A testnet.
#[derive(Debug)]
pub struct Testnet {
    folder: Folder,
    plan: Plan,
    params: Params,
}

impl Testnet {
    /// The testnet in a folder.
    pub fn read(folder: &Folder) -> Result<Testnet> {
        match Plan::read(folder)? {
            Some((plan, params)) => Ok(Testnet { folder: folder.clone(), plan, params }),
            None => bail!(
                "there is no testnet in {}: make one with `chain testnet up`",
                folder.path().display()
            ),
        }
    }

    /// The testnet in a folder, made or enlarged as is wished.
    pub fn prepare(claim: &Claim, wishes: &Wishes) -> Result<Testnet> {
        let folder = claim.folder();
        match Plan::read(folder)? {
            Some((plan, params)) => {
                let mut testnet = Testnet { folder: folder.clone(), plan, params };
                testnet.fulfil(wishes)?;
                Ok(testnet)
            }
            None => Testnet::make(folder, wishes),
        }
    }

    /// The plan is written last: whatever interrupts this, the next try begins anew.
    fn make(folder: &Folder, wishes: &Wishes) -> Result<Testnet> {
        let (nodes, miners) = (wishes.nodes.unwrap_or(NODES), wishes.miners.unwrap_or(MINERS));
        ensure!(miners <= nodes, "of {nodes} nodes {miners} cannot mine: give more --nodes");
        let built_in = wishes.network.as_deref().and_then(config::network::built_in);
        let network = match &built_in {
            Some(params) => params.name().to_owned(),
            None => NETWORK_FILE.to_owned(),
        };
        let params = match built_in {
            Some(params) => params,
            None => write_network(folder, wishes, miners)?,
        };
        let topology = wishes.topology.unwrap_or(Topology::Ring);
        let mut plan = Plan { network, topology, nodes: Vec::new() };
        plan.grow(nodes)?;
        for (node, address) in plan.nodes.iter_mut().zip(addresses(folder, miners, &params)?) {
            node.miner = Some(address);
        }
        plan.write(folder)?;
        Ok(Testnet { folder: folder.clone(), plan, params })
    }

    /// Adds the nodes that are missing; anything else is what it is.
    fn fulfil(&mut self, wishes: &Wishes) -> Result<()> {
        self.must_be("topology", wishes.topology, &self.plan.topology)?;
        self.must_be("miners", wishes.miners, &self.plan.miners())?;
        let spacing = self.params.spec().spacing_seconds;
        self.must_be("spacing", wishes.spacing, &spacing)?;
        if let Some(name) = &wishes.network {
            let genesis = config::network::load(name)?.genesis_hash();
            self.must_be("genesis", Some(genesis), &self.params.genesis_hash())?;
        }
        let there = self.plan.nodes.len();
        match wishes.nodes {
            Some(nodes) if nodes > there => {
                self.plan.grow(nodes)?;
                self.plan.write(&self.folder)
            }
            fewer_or_as_many => self.must_be("nodes", fewer_or_as_many, &there),
        }
    }

    fn must_be<T: PartialEq + Display>(&self, what: &str, wished: Option<T>, is: &T) -> Result<()> {
        match wished.filter(|wished| wished != is) {
            Some(wished) => bail!(
                "the testnet in {} is another one ({what}: {is}, not {wished}): remove it with \
                 `chain testnet down --delete`, or give another --dir",
                self.folder.path().display()
            ),
            None => Ok(()),
        }
    }

    /// Where it is kept.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Who there is.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Its network.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Those of these nodes that run.
    pub fn processes(&self, numbers: &[Number]) -> Result<Vec<(Number, Process)>> {
        directory::processes(&self.folder, numbers.iter().copied())
    }

    /// Starts those of these nodes that do not run. Whoever claims the folder may do so.
    pub fn start(&mut self, _claim: &Claim, numbers: &[Number]) -> Result<Vec<Starting>> {
        let all: Vec<Number> = self.plan.numbers().collect();
        let running = self.processes(&all)?;
        let mut running: Vec<Number> = running.into_iter().map(|(number, _)| number).collect();
        let missing = numbers.iter().copied().filter(|number| !running.contains(number));
        let missing: Vec<Number> = missing.collect();
        if !self.plan.leave_taken_ports(&missing)?.is_empty() {
            self.plan.write(&self.folder)?;
        }
        let mut started = Vec::new();
        for number in missing {
            let folder = self.folder.node(number);
            directory::make_private(&folder)?;
            let flags = self.plan.flags(&self.folder, number, &running);
            let child = process::start(&folder, &flags).with_context(|| number.to_string())?;
            running.push(number);
            started.push(self.starting(number, Some(child)));
        }
        Ok(started)
    }

    /// Those of these nodes that run, to be waited for like others that start.
    pub fn found(&self, numbers: &[Number]) -> Result<Vec<Starting>> {
        let found = self.processes(numbers)?.into_iter();
        Ok(found.map(|(number, _)| self.starting(number, None)).collect())
    }

    fn starting(&self, number: Number, child: Option<Child>) -> Starting {
        let api = self.plan.node(number).api_url();
        Starting::new(number, self.folder.node(number), api, child)
    }
}

/// Writes the network file of a new testnet: a copy of the one that is named, which may change or
/// go, or else one made for this machine.
fn write_network(folder: &Folder, wishes: &Wishes, miners: usize) -> Result<Params> {
    let text = match &wishes.network {
        Some(path) => {
            config::network::load(path)?;
            fs::read_to_string(path).with_context(|| format!("network file {path}"))?
        }
        None => network::for_this_machine(wishes.spacing.unwrap_or(network::SPACING), miners)?,
    };
    let path = folder.path().join(NETWORK_FILE);
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    config::network::load(&path.to_string_lossy())
}

/// The first addresses of the testnet's own wallet, which is made if there is none.
fn addresses(folder: &Folder, count: usize, params: &Params) -> Result<Vec<String>> {
    let path = folder.wallet();
    let mut wallet = match path.exists() {
        true => Wallet::open(&path, &Password::none())?,
        false => {
            let mnemonic = Mnemonic::generate(Length::Twelve, getrandom::fill)?;
            Wallet::create_unprotected(&path, mnemonic)?
        }
    };
    let address = |account: usize| {
        let index = Index::new(u32::try_from(account)?).context("too many miners")?;
        Ok(wallet.add_account(index)?.encode(params.hrp()))
    };
    (0..count).map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wishes(nodes: usize, miners: usize) -> Wishes {
        Wishes {
            nodes: Some(nodes),
            miners: Some(miners),
            network: Some("dev".to_owned()),
            ..Wishes::default()
        }
    }

    fn folder() -> (tempfile::TempDir, Claim) {
        let dir = tempfile::tempdir().unwrap();
        let claim = Folder::at(dir.path().join("t")).claim(|| ()).unwrap();
        (dir, claim)
    }

    #[test]
    fn a_testnet_is_what_it_was_made_and_grows() {
        let (_dir, claim) = folder();
        let made = Testnet::prepare(&claim, &wishes(3, 2)).unwrap();
        assert_eq!((made.plan().nodes.len(), made.plan().miners()), (3, 2));
        let [first, second] = [0, 1].map(|index| made.plan().nodes[index].miner.clone().unwrap());
        assert!(first != second && first.starts_with("dch1"));

        let again = Testnet::prepare(&claim, &Wishes::default()).unwrap();
        assert_eq!(again.plan(), made.plan());
        let grown = Testnet::prepare(&claim, &wishes(5, 2)).unwrap();
        assert_eq!(grown.plan().nodes[..3], made.plan().nodes);
        assert_eq!(Testnet::read(claim.folder()).unwrap().plan(), grown.plan());
    }

    #[test]
    fn a_testnet_that_is_there_does_not_become_another() {
        let (_dir, claim) = folder();
        let error = |wishes: Wishes| Testnet::prepare(&claim, &wishes).unwrap_err().to_string();
        let message = error(wishes(2, 3));
        assert_eq!(message, "of 2 nodes 3 cannot mine: give more --nodes");
        let made = Testnet::prepare(&claim, &wishes(3, 1)).unwrap();
        for (wishes, reason) in [
            (wishes(2, 1), "(nodes: 3, not 2)"),
            (wishes(4, 2), "(miners: 1, not 2)"),
            (
                Wishes { topology: Some(Topology::Star), ..wishes(3, 1) },
                "(topology: ring, not star)",
            ),
            (Wishes { spacing: Some(7), ..Wishes::default() }, "(spacing: 1, not 7)"),
            (Wishes { network: Some("main".to_owned()), ..Wishes::default() }, "(genesis: "),
        ] {
            let message = error(wishes);
            assert!(message.contains(reason) && message.contains("down --delete"), "{message}");
        }
        assert_eq!(Testnet::read(claim.folder()).unwrap().plan(), made.plan());
    }

    #[test]
    fn a_network_file_is_kept_with_the_testnet() {
        let (dir, claim) = folder();
        let file = dir.path().join("mine.toml");
        fs::write(&file, network::for_this_machine(3, 1).unwrap()).unwrap();
        let network = Some(file.to_string_lossy().into_owned());
        let wishes = Wishes { network, ..Wishes::default() };
        let made = Testnet::prepare(&claim, &wishes).unwrap();
        fs::remove_file(&file).unwrap();
        let read = Testnet::read(claim.folder()).unwrap();
        assert_eq!(read.params().genesis_hash(), made.params().genesis_hash());
        assert_eq!(read.params().spec().spacing_seconds, 3);
    }

    #[test]
    fn where_nothing_is_the_way_to_a_testnet_is_told() {
        let message = Testnet::read(&Folder::at("/nonexistent".into())).unwrap_err().to_string();
        assert!(message.contains("no testnet in /nonexistent: make one with"), "{message}");
    }
}
