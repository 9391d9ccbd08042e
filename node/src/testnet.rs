//! A testnet on this machine: nodes, each a process of its own that outlives the terminal. All files of
//! a testnet are in one directory; `cli::testnet` prints.
//!
//! | file | content |
//! |---|---|
//! | `testnet.json` | the nodes and their connections: `manifest` |
//! | `links.json` | the conditions of links that are not perfect: `links` |
//! | `network.toml` | the network, unless it is a built-in one: `network` |
//! | `wallets/miners.json` | the keys of the mining addresses, without a password |
//! | `node-1`, `node-2`, … | each node's data directory, with its log and the lock of its `process` |
//! | `snapshots` | copies of all of this by name, without logs: `snapshot` |
//! | `relay` | the log, routes and lock of the relay, which all connections between nodes pass, and the port of the `dashboard` |
//! | `lock` | locked while a command changes the testnet: `directory` |

pub mod archive;
mod branch;
pub mod dashboard;
mod directory;
pub mod disk;
pub mod links;
pub mod load;
pub mod manifest;
mod network;
pub mod partition;
mod ports;
pub mod process;
pub mod reorg;
pub mod replace;
pub mod snapshot;
pub mod status;
pub mod topology;
pub mod wait;

pub use directory::{Directory, DirectoryLock};
pub use process::{Process, exec};

use crate::api::routes::dev;
use crate::config;
use crate::seed::{NODE_KEY, Seed};
use crate::wallet::mnemonic::Length;
use crate::wallet::{Index, Mnemonic, Password, Wallet};
use anyhow::{Context, Result, bail, ensure};
use chain::Params;
use directory::NETWORK_FILE;
use links::Links;
use manifest::{Generation, Manifest};
use p2p::PeerId;
use std::ffi::OsString;
use std::fmt::Display;
use std::fs;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::Child;
use topology::{NodeNumber, Topology};
use wait::StartingNode;

/// Default number of nodes.
const NODES: usize = 3;
/// Default number of mining nodes.
const MINERS: usize = 1;

/// The requested properties of a testnet; `None` for the present ones, or the defaults of a new one.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Number of nodes of the testnet.
    pub nodes: Option<usize>,
    /// The topology of connections.
    pub topology: Option<Topology>,
    /// Number of mining nodes.
    pub miners: Option<usize>,
    /// Name of a built-in network, or path of a network file.
    pub network: Option<String>,
    /// Seconds between blocks of a network generated for this testnet.
    pub spacing: Option<u32>,
    /// The blocks that the first node generates, instead of mining nodes.
    pub generation: Option<Generation>,
    /// What keys, ports, blocks and the relay derive from.
    pub seed: Option<Seed>,
}

/// A testnet: its manifest and network.
#[derive(Debug)]
pub struct Testnet {
    directory: Directory,
    manifest: Manifest,
    params: Params,
}

impl Testnet {
    /// Reads the testnet of a directory.
    pub fn read(directory: &Directory) -> Result<Testnet> {
        match Manifest::read(directory)? {
            Some((manifest, params)) => {
                Ok(Testnet { directory: directory.clone(), manifest, params })
            }
            None => bail!(
                "no testnet in {}: create one with `chain testnet up`",
                directory.path().display()
            ),
        }
    }

    /// Opens the testnet of a directory; creates it or adds nodes as requested.
    pub fn open_or_create(lock: &DirectoryLock, options: &Options) -> Result<Testnet> {
        let directory = lock.directory();
        match Manifest::read(directory)? {
            Some((manifest, params)) => {
                let mut testnet = Testnet { directory: directory.clone(), manifest, params };
                testnet.extend(options)?;
                Ok(testnet)
            }
            None => Testnet::create(directory, options),
        }
    }

    /// Creates a testnet. The manifest is written last, so that an interrupted attempt leaves none.
    fn create(directory: &Directory, options: &Options) -> Result<Testnet> {
        let generation = options.generation.unwrap_or_default();
        // Threads find blocks at random times.
        let default_miners =
            if options.seed.is_some() && !generation.is_enabled() { 0 } else { MINERS };
        let (nodes, miners) =
            (options.nodes.unwrap_or(NODES), options.miners.unwrap_or(default_miners));
        ensure!(
            miners == 1 || !generation.is_enabled(),
            "node-1 generates the blocks: leave --miners out"
        );
        ensure!(miners <= nodes, "{miners} of {nodes} nodes cannot mine: increase --nodes");
        let built_in = options.network.as_deref().and_then(config::network::built_in);
        let network = match &built_in {
            Some(params) => params.name().to_owned(),
            None => NETWORK_FILE.to_owned(),
        };
        let params = match built_in {
            Some(params) => params,
            None => write_network(directory, options, miners)?,
        };
        ensure!(
            dev::is_available(&params) || !generation.is_enabled(),
            "blocks of `{}` take work: leave out --network, or --automine and --block-time",
            params.name()
        );
        let topology = options.topology.unwrap_or(Topology::Ring);
        let mut manifest = Manifest::new(network, topology);
        (manifest.generation, manifest.seed) = (generation, options.seed);
        manifest.add_nodes(nodes)?;
        if let Some(seed) = options.seed {
            Links { seed: seed.get(), ..Links::default() }.write(directory)?;
            create_wallet(directory, |entropy| {
                entropy.copy_from_slice(&seed.bytes("wallet")[..entropy.len()]);
                Ok(())
            })?;
        }
        for (node, address) in
            manifest.nodes.iter_mut().zip(miner_addresses(directory, miners, &params)?)
        {
            node.miner = Some(address);
        }
        manifest.write(directory)?;
        Ok(Testnet { directory: directory.clone(), manifest, params })
    }

    /// Adds nodes up to the requested number; all other properties must be as requested.
    fn extend(&mut self, options: &Options) -> Result<()> {
        self.ensure_same("topology", options.topology, &self.manifest.topology)?;
        self.ensure_same("miners", options.miners, &self.manifest.miners())?;
        let spacing = self.params.spec().spacing_seconds;
        self.ensure_same("spacing", options.spacing, &spacing)?;
        self.ensure_same("generated blocks", options.generation, &self.manifest.generation)?;
        let seed = |seed: Option<Seed>| seed.map_or_else(|| "none".to_owned(), |it| it.to_string());
        let requested = options.seed.map(|requested| seed(Some(requested)));
        self.ensure_same("seed", requested, &seed(self.manifest.seed))?;
        if let Some(name) = &options.network {
            let genesis = config::network::load(name)?.genesis_hash();
            self.ensure_same("genesis", Some(genesis), &self.params.genesis_hash())?;
        }
        let count = self.manifest.nodes.len();
        match options.nodes {
            Some(nodes) if nodes > count => {
                self.manifest.add_nodes(nodes)?;
                self.manifest.write(&self.directory)
            }
            unchanged_or_fewer => self.ensure_same("nodes", unchanged_or_fewer, &count),
        }
    }

    fn ensure_same<T: PartialEq + Display>(
        &self,
        property: &str,
        requested: Option<T>,
        current: &T,
    ) -> Result<()> {
        match requested.filter(|requested| requested != current) {
            Some(requested) => bail!(
                "the testnet in {} differs ({property}: {current}, not {requested}): remove it with \
                 `chain testnet down --delete`, or use another --dir",
                self.directory.path().display()
            ),
            None => Ok(()),
        }
    }

    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Whether all blocks derive from the seed: no node searches them with threads.
    pub fn is_deterministic(&self) -> bool {
        let has_threads = self.manifest.miners() > 0 && !self.manifest.generation.is_enabled();
        self.manifest.seed.is_some() && dev::is_available(&self.params) && !has_threads
    }

    /// The processes of the given nodes that run.
    pub fn processes(&self, numbers: &[NodeNumber]) -> Result<Vec<(NodeNumber, Process)>> {
        directory::processes(&self.directory, numbers.iter().copied())
    }

    /// Starts those of the given nodes that do not run. The lock is held meanwhile.
    pub fn start(
        &mut self,
        _lock: &DirectoryLock,
        numbers: &[NodeNumber],
    ) -> Result<Vec<StartingNode>> {
        self.directory.check_complete()?;
        let all: Vec<NodeNumber> = self.manifest.numbers().collect();
        let running = self.processes(&all)?;
        let running: Vec<NodeNumber> = running.into_iter().map(|(number, _)| number).collect();
        let missing = numbers.iter().copied().filter(|number| !running.contains(number));
        let missing: Vec<NodeNumber> = missing.collect();
        let mut is_changed = !self.manifest.reassign_used_ports(&missing)?.is_empty();
        // Running nodes dial the ports of the relay that they know.
        if running.is_empty() && !links::is_running(&self.directory)? {
            is_changed |= self.manifest.reassign_used_relay_ports()?;
        }
        if is_changed {
            self.manifest.write(&self.directory)?;
        }
        links::apply(&self.directory, &self.manifest, &Links::read(&self.directory)?)?;
        let mut started = Vec::new();
        for number in missing {
            let directory = self.directory.node(number);
            let program = self.program(number)?;
            let child = process::start(&directory, process::LOG, &program);
            let child = child.with_context(|| number.to_string())?;
            started.push(self.starting(number, Some(child)));
        }
        // Whatever ends nodes recognises them by their locks.
        wait::until_locked(&mut started)?;
        Ok(started)
    }

    fn seed_of(&self, number: NodeNumber) -> Option<Seed> {
        self.manifest.seed.map(|seed| seed.part(&number.to_string()))
    }

    /// The peer id of a node, which need not have been started yet.
    fn peer_id(&self, number: NodeNumber) -> Result<PeerId> {
        let directory = self.directory.node(number);
        directory::create_private(&directory)?;
        if let Some(seed) = self.seed_of(number) {
            p2p::create_key(&directory, seed.bytes(NODE_KEY))
                .with_context(|| number.to_string())?;
        }
        p2p::peer_id(&directory).with_context(|| number.to_string())
    }

    /// Those of the given nodes that run and are not paused, to wait for as for starting ones.
    pub fn running(&self, numbers: &[NodeNumber]) -> Result<Vec<StartingNode>> {
        let processes = self.processes(numbers)?.into_iter();
        let running = processes.filter(|(_, process)| !process.is_paused());
        Ok(running.map(|(number, _)| self.starting(number, None)).collect())
    }

    /// The command line of a node.
    fn program(&self, number: NodeNumber) -> Result<Vec<OsString>> {
        let node = self.manifest.node(number);
        let binary = node.binary.clone().map_or_else(process::this_program, Ok)?;
        let mut program = vec![binary.into_os_string(), "node".into()];
        // Node keys are generated before a node runs, which would generate its own at the same time.
        let peer_id = |number| self.peer_id(number);
        peer_id(number)?;
        program.extend(self.manifest.flags(&self.directory, number, peer_id)?);
        if let Some(seed) = self.seed_of(number).filter(|_| self.is_deterministic()) {
            program.extend(["--seed".into(), seed.to_string().into()]);
        }
        let Some(size) = node.disk_mb else { return Ok(program) };
        let data = self.directory.node(number);
        directory::create_private(&disk::block_log(&data))?;
        Ok(disk::with_disk(&data, size, program))
    }

    /// Sets the program with which a node is started from now on; `None` for the one that starts it.
    pub fn set_binary(&mut self, number: NodeNumber, binary: Option<PathBuf>) -> Result<()> {
        let absolute = |path: PathBuf| {
            fs::canonicalize(&path).with_context(|| format!("program {}", path.display()))
        };
        self.manifest.nodes[number.index()].binary = binary.map(absolute).transpose()?;
        self.manifest.write(&self.directory)
    }

    /// Gives a node that has not started yet a disk for its block log, of a size in MiB.
    pub fn set_disk(&mut self, number: NodeNumber, size: u32) -> Result<()> {
        disk::check()?;
        self.manifest.nodes[number.index()].disk_mb = Some(size);
        self.manifest.write(&self.directory)
    }

    fn starting(&self, number: NodeNumber, child: Option<Child>) -> StartingNode {
        let api = self.manifest.node(number).api_url();
        StartingNode::new(number, self.directory.node(number), api, child)
    }
}

/// Writes the network file of a new testnet: a copy of the requested one, whose original may change,
/// or one generated for this machine.
fn write_network(directory: &Directory, options: &Options, miners: usize) -> Result<Params> {
    let text = match &options.network {
        Some(path) => {
            config::network::load(path)?;
            fs::read_to_string(path).with_context(|| format!("network file {path}"))?
        }
        None => {
            let generation = options.generation.unwrap_or_default();
            let block_time = generation.block_time.map_or(network::SPACING, NonZeroU32::get);
            let spacing = options.spacing.unwrap_or(block_time);
            match generation.is_enabled() || (options.seed.is_some() && miners == 0) {
                true => network::for_generated_blocks(spacing, options.seed)?,
                false => network::for_this_machine(spacing, miners)?,
            }
        }
    };
    let path = directory.path().join(NETWORK_FILE);
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    config::network::load(&path.to_string_lossy())
}

/// Creates the testnet's wallet.
fn create_wallet(
    directory: &Directory,
    random: impl FnOnce(&mut [u8]) -> Result<(), getrandom::Error>,
) -> Result<Wallet> {
    let mnemonic = Mnemonic::generate(Length::Twelve, random)?;
    Ok(Wallet::create_unprotected(&directory.wallet(), mnemonic)?)
}

/// The first addresses of the testnet's wallet, which is created if there is none.
pub fn miner_addresses(
    directory: &Directory,
    count: usize,
    params: &Params,
) -> Result<Vec<String>> {
    let path = directory.wallet();
    let mut wallet = match path.exists() {
        true => Wallet::open(&path, &Password::none())?,
        false => create_wallet(directory, getrandom::fill)?,
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

    fn options(nodes: usize, miners: usize) -> Options {
        Options {
            nodes: Some(nodes),
            miners: Some(miners),
            network: Some("dev".to_owned()),
            ..Options::default()
        }
    }

    fn directory() -> (tempfile::TempDir, DirectoryLock) {
        let dir = tempfile::tempdir().unwrap();
        let lock = Directory::at(dir.path().join("t")).lock(|| ()).unwrap();
        (dir, lock)
    }

    #[test]
    fn reopens_and_extends_a_testnet() {
        let (_dir, lock) = directory();
        let created = Testnet::open_or_create(&lock, &options(3, 2)).unwrap();
        assert_eq!((created.manifest().nodes.len(), created.manifest().miners()), (3, 2));
        let [first, second] =
            [0, 1].map(|index| created.manifest().nodes[index].miner.clone().unwrap());
        assert!(first != second && first.starts_with("dch1"));

        let again = Testnet::open_or_create(&lock, &Options::default()).unwrap();
        assert_eq!(again.manifest(), created.manifest());
        let grown = Testnet::open_or_create(&lock, &options(5, 2)).unwrap();
        assert_eq!(grown.manifest().nodes[..3], created.manifest().nodes);
        assert_eq!(Testnet::read(lock.directory()).unwrap().manifest(), grown.manifest());
    }

    #[test]
    fn rejects_changes_of_a_testnet() {
        let (_dir, lock) = directory();
        let error =
            |options: Options| Testnet::open_or_create(&lock, &options).unwrap_err().to_string();
        let message = error(options(2, 3));
        assert_eq!(message, "3 of 2 nodes cannot mine: increase --nodes");
        let created = Testnet::open_or_create(&lock, &options(3, 1)).unwrap();
        for (options, reason) in [
            (options(2, 1), "(nodes: 3, not 2)"),
            (options(4, 2), "(miners: 1, not 2)"),
            (
                Options { topology: Some(Topology::Star), ..options(3, 1) },
                "(topology: ring, not star)",
            ),
            (Options { spacing: Some(7), ..Options::default() }, "(spacing: 1, not 7)"),
            (Options { network: Some("main".to_owned()), ..Options::default() }, "(genesis: "),
        ] {
            let message = error(options);
            assert!(message.contains(reason) && message.contains("down --delete"), "{message}");
        }
        assert_eq!(Testnet::read(lock.directory()).unwrap().manifest(), created.manifest());
    }

    #[test]
    fn copies_the_network_file() {
        let (dir, lock) = directory();
        let file = dir.path().join("mine.toml");
        fs::write(&file, network::for_this_machine(3, 1).unwrap()).unwrap();
        let network = Some(file.to_string_lossy().into_owned());
        let options = Options { network, ..Options::default() };
        let created = Testnet::open_or_create(&lock, &options).unwrap();
        fs::remove_file(&file).unwrap();
        let read = Testnet::read(lock.directory()).unwrap();
        assert_eq!(read.params().genesis_hash(), created.params().genesis_hash());
        assert_eq!(read.params().spec().spacing_seconds, 3);
    }

    #[test]
    fn error_without_a_testnet_suggests_to_create_one() {
        let message = Testnet::read(&Directory::at("/nonexistent".into())).unwrap_err().to_string();
        assert!(message.contains("no testnet in /nonexistent: create one with"), "{message}");
    }
}
