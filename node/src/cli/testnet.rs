//! `chain testnet`: several nodes on this machine, with their files in one directory.

mod args;
mod links;
mod load;
mod reorg;
mod scenario;
mod snapshot;

use self::args::{Nodes, lock, lock_testnet, notice, notice_threads};
use super::node::{block_on, stop_signal};
use super::output::{Table, human_rate, label, short};
use super::wait::Condition;
use crate::client::Client;
use crate::config;
use crate::seed::Seed;
use crate::snapshot::{Copier, Name};
use crate::testnet::dashboard;
use crate::testnet::links::Links;
use crate::testnet::manifest::{Generation, MAX_NODES};
use crate::testnet::status::{self, NodeStatus, State, Status};
use crate::testnet::topology::{NodeNumber, Topology};
use crate::testnet::wait::{self, Exit, StartingNode};
use crate::testnet::{self, Directory, Options, Process, Testnet, exec, partition};
use anyhow::{Context, Result, bail, ensure};
use clap::builder::RangedU64ValueParser;
use indicatif::{ProgressBar, ProgressStyle};
use reorg::Reorg;
use snapshot::Revert;
use std::ffi::OsString;
use std::io::{self, Write};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;
use tokio::sync::oneshot;

/// Time limit of the connections of nodes that were started.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Run a testnet on this machine, each node a process of its own
///
/// The nodes run until `down` stops them, even when the terminal is closed. Their chains stay in the
/// directory of the testnet, and `up` resumes them.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Directory of the testnet: its network, wallet, and the data and logs of its nodes
    ///
    /// Default: `chain/local-testnet` in the platform's data directory.
    #[arg(long, global = true, env = "CHAIN_TESTNET_DIR", value_name = "DIR")]
    dir: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Up(Up),
    /// Show the state, tip, peers and hash rate of every node, bad links, and the link to the dashboard
    ///
    /// Exits with 1 if nodes that run have different tips.
    Status,
    /// Stop nodes
    Stop(Nodes),
    /// Start stopped nodes
    Start(Nodes),
    /// Kill nodes, as a crash would
    Kill(Nodes),
    #[command(flatten)]
    Links(links::Command),
    Load(load::LoadArgs),
    Run(scenario::Run),
    Reorg(Reorg),
    #[command(flatten)]
    Snapshots(snapshot::Command),
    Revert(Revert),
    /// Wait for a state of all running nodes
    Wait {
        #[command(flatten)]
        condition: Condition,
    },
    /// Stop all nodes
    Down {
        /// Delete chains, logs, network, wallet and snapshots, too
        #[arg(long)]
        delete: bool,
        /// Wait until standard input ends, or for a signal
        ///
        /// For tests, which hold the other end of a pipe: it is closed however they end.
        #[arg(long)]
        when_input_ends: bool,
    },
    /// Execute a program in the process that another command has started for it
    #[command(hide = true)]
    Launch {
        starter: u32,
        #[arg(last = true)]
        program: Vec<OsString>,
    },
    /// Run the relay that all connections between nodes pass
    #[command(hide = true)]
    Relay {
        directory: PathBuf,
    },
}

/// Start all nodes; create the testnet if there is none
///
/// An existing testnet retains its network, topology and miners; nodes are added up to --nodes. Prints
/// the link to the dashboard, a page that shows and controls all nodes.
#[derive(Debug, clap::Args)]
struct Up {
    /// Number of nodes [default: 3]
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=MAX_NODES as u64))]
    nodes: Option<usize>,
    /// Topology of connections [default: ring]
    #[arg(long)]
    topology: Option<Topology>,
    /// Number of nodes that mine, with one thread each [default: 1]
    #[arg(long, value_name = "K", value_parser = RangedU64ValueParser::<usize>::new().range(..=MAX_NODES as u64))]
    miners: Option<usize>,
    /// Network: main, testnet, dev or the path of a network file
    ///
    /// Default: one generated for this testnet, with a difficulty for this machine.
    #[arg(long, value_name = "NAME|FILE")]
    network: Option<String>,
    /// Seconds between blocks of the generated network [default: 2]
    #[arg(long, value_name = "SECONDS", conflicts_with = "network", value_parser = clap::value_parser!(u32).range(1..=3_600))]
    spacing: Option<u32>,
    /// Have node-1 generate a block for every transfer that arrives; no node mines
    #[arg(long)]
    automine: bool,
    /// Have node-1 generate a block every number of seconds; no node mines
    #[arg(long, value_name = "SECONDS")]
    block_time: Option<NonZeroU32>,
    /// Derive keys, ports, blocks and the clock from a number: the same commands give the same blocks
    ///
    /// No node mines, unless --miners adds some. Clocks stand still at the time of the genesis block.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

pub fn run(args: Args, json: bool) -> Result<()> {
    match &args.command {
        Command::Launch { starter, program } => drop(exec(*starter, program)?),
        Command::Relay { directory } => return links::run_relay(directory),
        _ => {}
    }
    let directory = match args.dir {
        Some(dir) => dir,
        // Not `chain/testnet`: that is the data directory of a node of the network of that name.
        None => config::default_data("local-testnet")?,
    };
    let directory = Directory::at(std::path::absolute(directory)?);
    match args.command {
        Command::Up(up) => up.run(&directory, json),
        Command::Status => print_status(&Testnet::read(&directory)?, json),
        Command::Stop(nodes) => {
            nodes.end(&directory, |processes| block_on(wait::stop(processes, report_exit)))
        }
        Command::Kill(nodes) => {
            nodes.end(&directory, |processes| block_on(wait::kill(processes, report_exit)))
        }
        Command::Start(nodes) => nodes.start(&directory),
        Command::Links(command) => command.run(&directory),
        Command::Load(load) => load.run(&directory, json),
        Command::Run(run) => run.run(json),
        Command::Reorg(reorg) => reorg.run(&directory, json),
        Command::Snapshots(command) => command.run(&directory, json),
        Command::Revert(Revert { name }) => revert(&directory, &name, json),
        Command::Wait { condition } => wait_for(&condition, &directory, json),
        Command::Down { delete, when_input_ends } => {
            if when_input_ends {
                block_on(end_of_input())?;
            }
            down(&directory, delete)
        }
        Command::Launch { .. } | Command::Relay { .. } => Ok(()),
    }
}

impl Up {
    fn run(self, directory: &Directory, json: bool) -> Result<()> {
        let Up { nodes, topology, miners, network, spacing, automine, block_time, seed } = self;
        let lock = lock(directory)?;
        let generation = Generation { automine, block_time };
        let generation = Some(generation).filter(|requested| requested.is_enabled());
        let seed = seed.map(Seed::new);
        let options = Options { nodes, topology, miners, network, spacing, generation, seed };
        let mut testnet = Testnet::open_or_create(&lock, &options)?;
        notice_threads(&testnet);
        let all: Vec<NodeNumber> = testnet.manifest().numbers().collect();
        let mut starting = testnet.running(&all)?;
        let started = testnet.start(&lock, &all)?;
        let count = all.len();
        match started.len() {
            0 => notice(&format!(
                "all {count} nodes run already, in {}",
                lock.directory().path().display()
            )),
            _ => notice(&format!("starting {}", names(&started))),
        }
        starting.extend(started);
        wait(&testnet, starting)?;
        if json {
            return print_status(&testnet, true);
        }
        if let Some(link) = dashboard::link(testnet.directory())? {
            notice(&format!("dashboard: {link}"));
        }
        print_nodes(&testnet)
    }
}

fn names(starting: &[StartingNode]) -> String {
    let names: Vec<String> = starting.iter().map(|node| node.number().to_string()).collect();
    names.join(", ")
}

/// Waits until nodes respond and are connected. Leaves them running when interrupted.
fn wait(testnet: &Testnet, nodes: Vec<StartingNode>) -> Result<()> {
    let style = ProgressStyle::with_template("{spinner} {pos} of {len} nodes respond");
    let bar = ProgressBar::new(nodes.len() as u64);
    bar.set_style(style.expect("the template is well-formed"));
    bar.enable_steady_tick(Duration::from_millis(100));
    let connected = async {
        wait::until_ready(nodes, |ready| bar.set_position(ready as u64)).await?;
        let links = Links::read(testnet.directory())?;
        if let Err(error) = partition::connect(testnet, &links, CONNECT_LIMIT).await {
            // They connect by themselves; links that lose everything may be intended.
            bar.suspend(|| notice(&format!("{error:#}")));
        }
        Ok(())
    };
    let outcome = block_on(async {
        tokio::select! {
            outcome = connected => outcome,
            () = stop_signal()? => {
                bail!("interrupted: running nodes were left running, stop them with `chain testnet down`")
            }
        }
    });
    bar.finish_and_clear();
    outcome
}

impl Nodes {
    fn start(&self, directory: &Directory) -> Result<()> {
        let (lock, mut testnet) = lock_testnet(directory)?;
        let selected = testnet.manifest().select(&self.nodes)?;
        let started = testnet.start(&lock, &selected)?;
        for number in selected {
            if !started.iter().any(|node| node.number() == number) {
                notice(&format!("{number} runs already"));
            }
        }
        let names = names(&started);
        wait(&testnet, started)?;
        if !names.is_empty() {
            notice(&format!("started {names}"));
        }
        Ok(())
    }

    fn end(
        &self,
        directory: &Directory,
        how: impl FnOnce(Vec<(NodeNumber, Process)>) -> Result<()>,
    ) -> Result<()> {
        let (_claim, testnet) = lock_testnet(directory)?;
        let selected = testnet.manifest().select(&self.nodes)?;
        let running = testnet.processes(&selected)?;
        for number in selected {
            if !running.iter().any(|(running, _)| *running == number) {
                notice(&format!("{number} does not run"));
            }
        }
        how(running)
    }
}

/// Returns the testnet to a snapshot.
fn revert(directory: &Directory, name: &Name, json: bool) -> Result<()> {
    // The directory need not have a testnet: an imported snapshot creates it.
    ensure!(directory.path().is_dir(), "no testnet in {}", directory.path().display());
    let lock = lock(directory)?;
    let copier = Copier::default();
    let (testnet, started) = block_on(testnet::snapshot::revert(&lock, name, &copier))?;
    notice(&format!("returned to snapshot `{name}`, starting {}", names(&started)));
    wait(&testnet, started)?;
    testnet::snapshot::pause(&testnet, name)?;
    if json { print_status(&testnet, true) } else { print_nodes(&testnet) }
}

/// Waits for a state of all running nodes.
fn wait_for(condition: &Condition, directory: &Directory, json: bool) -> Result<()> {
    let testnet = Testnet::read(directory)?;
    let all: Vec<NodeNumber> = testnet.manifest().numbers().collect();
    let running = testnet.processes(&all)?.into_iter();
    let clients: Result<Vec<Client>> = running
        .map(|(number, _)| Client::new(&testnet.manifest().node(number).api_url()))
        .collect();
    let clients = clients?;
    ensure!(!clients.is_empty(), "no node runs: start them with `chain testnet up`");
    block_on(condition.wait(&clients, json))
}

/// Waits until standard input ends, or for a signal to stop.
async fn end_of_input() -> Result<()> {
    let (sender, ended) = oneshot::channel();
    // Not a task of the runtime, which would wait for it after a signal.
    thread::spawn(move || sender.send(io::copy(&mut io::stdin(), &mut io::sink())));
    tokio::select! {
        read = ended => drop(read?.context("cannot read standard input")?),
        () = stop_signal()? => {}
    }
    Ok(())
}

fn down(directory: &Directory, delete: bool) -> Result<()> {
    if !directory.path().is_dir() {
        notice(&format!("no testnet in {}", directory.path().display()));
        return Ok(());
    }
    let lock = lock(directory)?;
    // Stops all nodes of the directory, even if the manifest is unreadable.
    let running = lock.processes()?;
    if running.is_empty() {
        notice("no node runs");
    }
    block_on(wait::stop(running, report_exit))?;
    if let Some(relay) = Process::find(&lock.directory().relay())? {
        block_on(wait::stop(vec![("relay", relay)], |_, _| Ok(())))?;
    }
    if delete {
        let path = directory.path().display();
        notice(&match lock.delete()? {
            true => format!("removed the testnet in {path}, which has other files"),
            false => format!("removed {path}"),
        });
    }
    Ok(())
}

fn report_exit(number: NodeNumber, exit: Exit) -> Result<()> {
    notice(&match exit {
        Exit::Stopped => format!("{number} stopped"),
        Exit::Killed => format!("{number} killed"),
    });
    Ok(())
}

/// Prints the processes, addresses and miners of the running nodes.
fn print_nodes(testnet: &Testnet) -> Result<()> {
    let manifest = testnet.manifest();
    let all: Vec<NodeNumber> = manifest.numbers().collect();
    let running = testnet.processes(&all)?;
    let rows = running.iter().map(|(number, process)| {
        let node = manifest.node(*number);
        let miner = node.miner.clone().unwrap_or_else(|| "-".to_owned());
        [number.to_string(), process.id().to_string(), node.api_url(), node.multiaddr(), miner]
    });
    let table = Table::new(["node", "pid", "api", "p2p", "mines for"]);
    rows.fold(table, Table::row).print("no node runs")?;
    Ok(())
}

fn print_status(testnet: &Testnet, json: bool) -> Result<()> {
    let mut status = block_on(status::query(testnet))?;
    status.dashboard = dashboard::link(testnet.directory())?;
    if json {
        writeln!(io::stdout(), "{}", serde_json::to_string_pretty(&status)?)?;
    } else {
        let table =
            Table::new(["node", "state", "pid", "height", "tip", "peers", "hash rate", "sync"]);
        status.nodes.iter().map(row).fold(table, Table::row).print("no nodes")?;
        links::print(&status)?;
        writeln!(io::stdout(), "{}", summary(&status))?;
        if let Some(link) = &status.dashboard {
            writeln!(io::stdout(), "dashboard: {link}")?;
        }
    }
    ensure!(status.tips <= 1, "the nodes that run have {} tips", status.tips);
    Ok(())
}

fn row(node: &NodeStatus) -> [String; 8] {
    let none = || "-".to_owned();
    let state = match node.state {
        State::Running => "running",
        State::Silent => "silent",
        State::Paused => "paused",
        State::Stopped => "stopped",
        State::Killed => "killed",
    };
    let pid = node.pid.map_or_else(none, |pid| pid.to_string());
    let [height, tip, peers, rate, sync] = match &node.api_status {
        None => [none(), none(), none(), none(), none()],
        Some(api) => [
            api.height.to_string(),
            short(&api.tip),
            api.peers.to_string(),
            if node.miner.is_some() { human_rate(api.hashrate) } else { none() },
            label(&api.sync),
        ],
    };
    [node.node.clone(), state.to_owned(), pid, height, tip, peers, rate, sync]
}

fn summary(status: &Status) -> String {
    let responding = || status.nodes.iter().filter_map(|node| node.api_status.as_ref());
    let (responding, count) = (responding().count(), status.nodes.len());
    let tips = match status.tips {
        0 => "no node responds".to_owned(),
        1 => format!("one tip, {responding} of {count} nodes agree"),
        tips => format!("{tips} tips among {responding} of {count} nodes"),
    };
    format!("{tips} · network {}, {} · {}", status.network, status.topology, status.dir.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::routes::chain::SyncState;
    use crate::testnet::status::ApiStatus;

    fn node(state: State, tip: Option<&str>) -> NodeStatus {
        let api_status = tip.map(|tip| ApiStatus {
            height: 7,
            tip: tip.to_owned(),
            peers: 2,
            hashrate: 1_500.0,
            sync: SyncState::Synced,
        });
        NodeStatus {
            node: "node-1".to_owned(),
            state,
            pid: tip.map(|_| 42),
            api: "http://127.0.0.1:1".to_owned(),
            peer_address: "/ip4/127.0.0.1/tcp/2".to_owned(),
            miner: Some("lch1x".to_owned()),
            clock_offset: 0,
            api_status,
        }
    }

    fn status(tips: usize, nodes: Vec<NodeStatus>) -> Status {
        let (network, topology) = ("local".to_owned(), Topology::Ring);
        Status {
            dir: "/t".into(),
            network,
            topology,
            tips,
            nodes,
            links: Vec::new(),
            dashboard: None,
        }
    }

    #[test]
    fn formats_a_node_as_a_row() {
        let tip = "0000000000000000000000000000000000000000000000000000abcdef012345";
        let cells = row(&node(State::Running, Some(tip)));
        let expected = ["node-1", "running", "42", "7", "abcdef012345", "2", "1.50 kH/s", "synced"];
        assert_eq!(cells, expected);
        assert_eq!(row(&node(State::Killed, None))[1..4], ["killed", "-", "-"]);
    }

    #[test]
    fn summary_reports_whether_nodes_agree() {
        let two = || vec![node(State::Running, Some("aa")), node(State::Running, Some("bb"))];
        assert!(summary(&status(1, two())).starts_with("one tip, 2 of 2 nodes agree"));
        assert!(summary(&status(2, two())).starts_with("2 tips among 2 of 2 nodes"));
        let none = summary(&status(0, vec![node(State::Stopped, None)]));
        assert_eq!(none, "no node responds · network local, ring · /t");
    }
}
