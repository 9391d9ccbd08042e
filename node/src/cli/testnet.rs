//! `chain testnet`: several real nodes on this machine, from one folder.

use super::node::{block_on, stop_signal};
use super::output::{Table, human_rate};
use crate::config;
use crate::testnet::manifest::MAX_NODES;
use crate::testnet::status::{self, NodeStatus, State, Status};
use crate::testnet::topology::{Number, Topology};
use crate::testnet::wait::{self, End, Starting};
use crate::testnet::{Claim, Folder, Process, Testnet, Wishes, become_node, partition, reorg};
use anyhow::{Context, Result, bail};
use clap::builder::RangedU64ValueParser;
use indicatif::{ProgressBar, ProgressStyle};
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

/// A whole testnet on this machine: real nodes, each a process of its own
///
/// The nodes go on when the terminal is closed; `down` stops them. Their chains stay in the folder
/// of the testnet, and `up` goes on with them.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder of the testnet: its network, wallet, and the nodes' data and logs
    ///
    /// Default: the folder `chain/local-testnet` in the platform's data folder.
    #[arg(long, global = true, env = "CHAIN_TESTNET_DIR", value_name = "DIR")]
    dir: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Up(Up),
    /// Show every node: whether it runs, its tip, its peers, its hash rate
    Status,
    /// Stop nodes as Ctrl-C would
    Stop(Nodes),
    /// Start nodes that do not run
    Start(Nodes),
    /// End nodes as a crash would
    Kill(Nodes),
    /// Cut nodes off from the others, until `heal`; each side goes on by itself
    Partition(Nodes),
    /// Connect all nodes again, as the topology says
    Heal,
    Reorg(Reorg),
    /// Stop all nodes; their chains stay
    Down {
        /// Remove everything too: chains, logs, network and wallet
        #[arg(long)]
        delete: bool,
    },
    /// Become a node, in the process that one of the commands above has made for it
    #[command(hide = true)]
    Launch {
        starter: u32,
        #[arg(last = true)]
        flags: Vec<OsString>,
    },
}

/// Start every node that does not run; make the testnet if there is none
///
/// A testnet that is there keeps its network, topology and miners, and gets the nodes that are
/// missing to the number asked for.
#[derive(Debug, clap::Args)]
struct Up {
    /// How many nodes [default: 3]
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=MAX_NODES as u64))]
    nodes: Option<usize>,
    /// How they are connected [default: ring]
    #[arg(long)]
    topology: Option<Topology>,
    /// How many of them mine, with one thread each [default: 1]
    #[arg(long, value_name = "K", value_parser = RangedU64ValueParser::<usize>::new().range(..=MAX_NODES as u64))]
    miners: Option<usize>,
    /// A built-in network (main, testnet, dev) or the path of a network file
    ///
    /// Default: one made for this testnet, with real proof of work as easy as this machine needs.
    #[arg(long, value_name = "NAME|FILE")]
    network: Option<String>,
    /// Seconds between blocks of the network made for this testnet [default: 2]
    #[arg(long, value_name = "SECONDS", conflicts_with = "network", value_parser = clap::value_parser!(u32).range(1..=3_600))]
    spacing: Option<u32>,
}

/// Which nodes.
#[derive(Debug, clap::Args)]
struct Nodes {
    /// Numbers such as 2, names such as node-2, or all
    #[arg(required = true, value_name = "NODE")]
    nodes: Vec<String>,
}

/// Runs the command.
pub fn run(args: Args, json: bool) -> Result<()> {
    if let Command::Launch { starter, flags } = &args.command {
        become_node(*starter, flags)?;
    }
    let folder = match args.dir {
        Some(dir) => dir,
        // Not `chain/testnet`: that is the data folder of a node of the network of that name.
        None => config::default_data("local-testnet")?,
    };
    let folder = Folder::at(std::path::absolute(folder)?);
    match args.command {
        Command::Up(up) => up.run(&folder, json),
        Command::Status => print_status(&Testnet::read(&folder)?, json),
        Command::Stop(nodes) => {
            nodes.end(&folder, |processes| block_on(wait::stop(processes, tell_end)))
        }
        Command::Kill(nodes) => {
            nodes.end(&folder, |processes| block_on(wait::kill(processes, tell_end)))
        }
        Command::Start(nodes) => nodes.start(&folder),
        Command::Partition(nodes) => nodes.cut_off(&folder),
        Command::Heal => heal(&folder),
        Command::Reorg(reorg) => reorg.run(&folder, json),
        Command::Down { delete } => down(&folder, delete),
        Command::Launch { .. } => Ok(()),
    }
}

/// Make a node leave blocks for a heavier branch
///
/// The node is cut off and mines blocks that nobody else has; once the others have mined more, all
/// are connected again.
#[derive(Debug, clap::Args)]
struct Reorg {
    /// A node that does not mine [default: the last of those]
    #[arg(value_name = "NODE")]
    node: Option<String>,
    /// How many blocks it leaves
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    depth: u32,
}

/// What only one command at a time may do.
fn claim(folder: &Folder) -> Result<Claim> {
    let path = folder.path().display();
    folder.claim(|| say(&format!("another `chain testnet` is at work in {path}: waiting for it")))
}

/// The same for a testnet that is there already; where none is, nothing is left.
fn claim_testnet(folder: &Folder) -> Result<(Claim, Testnet)> {
    Testnet::read(folder)?;
    let claim = claim(folder)?;
    // It may have become another one while this command waited.
    let testnet = Testnet::read(claim.folder())?;
    Ok((claim, testnet))
}

/// Notices for people, beside the result on standard output.
fn say(text: &str) {
    // Nobody needs to read them.
    let _ = writeln!(io::stderr(), "{text}");
}

impl Up {
    fn run(self, folder: &Folder, json: bool) -> Result<()> {
        let Up { nodes, topology, miners, network, spacing } = self;
        let claim = claim(folder)?;
        let wishes = Wishes { nodes, topology, miners, network, spacing };
        let mut testnet = Testnet::prepare(&claim, &wishes)?;
        let all: Vec<Number> = testnet.plan().numbers().collect();
        let mut awaited = testnet.found(&all)?;
        let started = testnet.start(&claim, &all)?;
        let count = all.len();
        match started.len() {
            0 => say(&format!(
                "all {count} nodes run already, in {}",
                claim.folder().path().display()
            )),
            _ => say(&format!("starting {}", names(&started))),
        }
        awaited.extend(started);
        wait(awaited)?;
        match json {
            true => print_status(&testnet, true),
            false => print_places(&testnet),
        }
    }
}

fn names(starting: &[Starting]) -> String {
    let names: Vec<String> = starting.iter().map(|node| node.number().to_string()).collect();
    names.join(", ")
}

/// Waits until nodes answer. Interrupted, it leaves them running.
fn wait(nodes: Vec<Starting>) -> Result<()> {
    let style = ProgressStyle::with_template("{spinner} {pos} of {len} nodes answer");
    let bar = ProgressBar::new(nodes.len() as u64);
    bar.set_style(style.expect("the template above is well-formed"));
    bar.enable_steady_tick(Duration::from_millis(100));
    let outcome = block_on(async {
        tokio::select! {
            outcome = wait::answering(nodes, |answer| bar.set_position(answer as u64)) => outcome,
            () = stop_signal()? => {
                bail!("interrupted; nodes that run go on: `chain testnet down` stops them")
            }
        }
    });
    bar.finish_and_clear();
    outcome
}

impl Nodes {
    fn start(&self, folder: &Folder) -> Result<()> {
        let (claim, mut testnet) = claim_testnet(folder)?;
        let selected = testnet.plan().select(&self.nodes)?;
        let started = testnet.start(&claim, &selected)?;
        for number in selected {
            if !started.iter().any(|node| node.number() == number) {
                say(&format!("{number} runs already"));
            }
        }
        let names = names(&started);
        wait(started)?;
        if !names.is_empty() {
            say(&format!("started {names}"));
        }
        Ok(())
    }

    fn end(
        &self,
        folder: &Folder,
        how: impl FnOnce(Vec<(Number, Process)>) -> Result<()>,
    ) -> Result<()> {
        let (_claim, testnet) = claim_testnet(folder)?;
        let selected = testnet.plan().select(&self.nodes)?;
        let running = testnet.processes(&selected)?;
        for number in selected {
            if !running.iter().any(|(running, _)| *running == number) {
                say(&format!("{number} does not run"));
            }
        }
        how(running)
    }

    fn cut_off(&self, folder: &Folder) -> Result<()> {
        let (_claim, testnet) = claim_testnet(folder)?;
        let side = testnet.plan().select(&self.nodes)?;
        block_on(partition::cut(&testnet, &side))?;
        let side: Vec<String> = side.iter().map(Number::to_string).collect();
        say(&format!(
            "{} cut off from the others: `chain testnet heal` connects them again",
            side.join(", ")
        ));
        Ok(())
    }
}

fn heal(folder: &Folder) -> Result<()> {
    let (_claim, testnet) = claim_testnet(folder)?;
    block_on(partition::heal(&testnet))?;
    say("all nodes are connected as the topology says");
    Ok(())
}

impl Reorg {
    fn run(&self, folder: &Folder, json: bool) -> Result<()> {
        let (_claim, testnet) = claim_testnet(folder)?;
        let plan = testnet.plan();
        let node = match &self.node {
            Some(name) => match plan.select(std::slice::from_ref(name))?[..] {
                [node] => node,
                _ => bail!("a reorganisation is made on one node: name one"),
            },
            None => {
                let idle = plan.numbers().rev().find(|node| plan.node(*node).miner.is_none());
                idle.context("every node mines: this takes one that does not")?
            }
        };
        let done = block_on(reorg::make(&testnet, node, self.depth, say))?;
        if json {
            writeln!(io::stdout(), "{}", serde_json::to_string_pretty(&done)?)?;
            return Ok(());
        }
        let (depth, height) = (done.depth, done.fork_height);
        let (old, new) = (short(&done.old_tip), short(&done.new_tip));
        writeln!(
            io::stdout(),
            "{node} left {depth} blocks after height {height}: its tip was {old}, and is {new}"
        )?;
        Ok(())
    }
}

fn down(folder: &Folder, delete: bool) -> Result<()> {
    if !folder.path().is_dir() {
        say(&format!("there is no testnet in {}", folder.path().display()));
        return Ok(());
    }
    let claim = claim(folder)?;
    // Whoever runs in the folder is stopped, whether or not the plan can be read.
    let running = claim.processes()?;
    if running.is_empty() {
        say("no node runs");
    }
    block_on(wait::stop(running, tell_end))?;
    if delete {
        claim.delete()?;
        say(&format!("removed {}", folder.path().display()));
    }
    Ok(())
}

fn tell_end(number: Number, end: End) -> Result<()> {
    say(&match end {
        End::Stopped => format!("{number} stopped"),
        End::Killed => format!("{number} killed"),
    });
    Ok(())
}

/// Where everybody is to be found.
fn print_places(testnet: &Testnet) -> Result<()> {
    let plan = testnet.plan();
    let all: Vec<Number> = plan.numbers().collect();
    let running = testnet.processes(&all)?;
    let rows = running.iter().map(|(number, process)| {
        let node = plan.node(*number);
        let miner = node.miner.clone().unwrap_or_else(|| "-".to_owned());
        [number.to_string(), process.id().to_string(), node.api_url(), node.multiaddr(), miner]
    });
    let table = Table::new(["node", "pid", "api", "peers call", "mines for"]);
    rows.fold(table, Table::row).print("no node runs")?;
    Ok(())
}

fn print_status(testnet: &Testnet, json: bool) -> Result<()> {
    let status = block_on(status::of(testnet))?;
    if json {
        writeln!(io::stdout(), "{}", serde_json::to_string_pretty(&status)?)?;
        return Ok(());
    }
    let table = Table::new(["node", "state", "pid", "height", "tip", "peers", "hash rate", "sync"]);
    status.nodes.iter().map(row).fold(table, Table::row).print("there are no nodes")?;
    writeln!(io::stdout(), "{}", summary(&status))?;
    Ok(())
}

fn row(node: &NodeStatus) -> [String; 8] {
    let none = || "-".to_owned();
    let state = match node.state {
        State::Running => "running",
        State::Silent => "silent",
        State::Stopped => "stopped",
        State::Killed => "killed",
    };
    let pid = node.pid.map_or_else(none, |pid| pid.to_string());
    let [height, tip, peers, rate, sync] = match &node.said {
        None => [none(), none(), none(), none(), none()],
        Some(said) => [
            said.height.to_string(),
            short(&said.tip),
            said.peers.to_string(),
            if node.miner.is_some() { human_rate(said.hashrate) } else { none() },
            said.sync.clone(),
        ],
    };
    [node.node.clone(), state.to_owned(), pid, height, tip, peers, rate, sync]
}

/// Enough of a hash to tell it from others: its end, for it begins with zeros.
fn short(hash: &str) -> String {
    hash.get(hash.len().saturating_sub(12)..).unwrap_or(hash).to_owned()
}

fn summary(status: &Status) -> String {
    let said = || status.nodes.iter().filter_map(|node| node.said.as_ref());
    let (answer, count) = (said().count(), status.nodes.len());
    let tips = match status.tips {
        0 => "no node answers".to_owned(),
        1 => format!("one tip, {answer} of {count} nodes agree"),
        tips => format!("{tips} tips among {answer} of {count} nodes"),
    };
    format!("{tips} · network {}, {} · {}", status.network, status.topology, status.dir.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testnet::status::Said;

    fn node(state: State, tip: Option<&str>) -> NodeStatus {
        let said = tip.map(|tip| Said {
            height: 7,
            tip: tip.to_owned(),
            peers: 2,
            hashrate: 1_500.0,
            sync: "synced".to_owned(),
        });
        NodeStatus {
            node: "node-1".to_owned(),
            state,
            pid: tip.map(|_| 42),
            api: "http://127.0.0.1:1".to_owned(),
            peer_address: "/ip4/127.0.0.1/tcp/2".to_owned(),
            miner: Some("lch1x".to_owned()),
            said,
        }
    }

    fn status(tips: usize, nodes: Vec<NodeStatus>) -> Status {
        let (network, topology) = ("local".to_owned(), Topology::Ring);
        Status { dir: "/t".into(), network, topology, tips, nodes }
    }

    #[test]
    fn a_node_is_a_row() {
        let tip = "0000000000000000000000000000000000000000000000000000abcdef012345";
        let cells = row(&node(State::Running, Some(tip)));
        let shown = ["node-1", "running", "42", "7", "abcdef012345", "2", "1.50 kH/s", "synced"];
        assert_eq!(cells, shown);
        assert_eq!(row(&node(State::Killed, None))[1..4], ["killed", "-", "-"]);
    }

    #[test]
    fn the_summary_tells_whether_nodes_agree() {
        let two = || vec![node(State::Running, Some("aa")), node(State::Running, Some("bb"))];
        assert!(summary(&status(1, two())).starts_with("one tip, 2 of 2 nodes agree"));
        assert!(summary(&status(2, two())).starts_with("2 tips among 2 of 2 nodes"));
        let none = summary(&status(0, vec![node(State::Stopped, None)]));
        assert_eq!(none, "no node answers · network local, ring · /t");
    }
}
