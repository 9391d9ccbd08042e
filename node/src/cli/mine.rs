//! `chain mine`: mines for an address, with a node in this process when none is running.

use super::catching_up::CatchingUp;
use super::line::Line;
use super::node::{block_on, stop_signal};
use super::password::PasswordSource;
use super::wallet::Chosen;
use crate::client::{Client, Place};
use crate::config::peers::Wishes;
use crate::config::{Settings, network};
use crate::daemon::{Daemon, Node, processors};
use crate::logging;
use crate::mining::{self, Goal, Progress};
use crate::wallet::mnemonic::Length;
use crate::wallet::{Index, Mnemonic, Wallet};
use anyhow::{Context, Result};
use chain::accounts::AccountView;
use chain::{Address, Amount, Params, block};
use miner::Kernel;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use zeroize::Zeroizing;

/// Mine: blocks for an address, with this machine's processors
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The address that mined blocks pay
    ///
    /// Default: that of the wallet, which is made if there is none.
    #[arg(long, value_name = "ADDRESS")]
    miner: Option<String>,
    /// Stop after so many blocks
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    blocks: Option<u32>,
    /// Mining threads
    ///
    /// Default: one for each processor.
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// What the mining threads hash with, by the names that `chain bench hash` shows
    ///
    /// Default: what a trial finds the fastest on this processor.
    #[arg(long, env = "CHAIN_KERNEL", value_name = "NAME")]
    kernel: Option<Kernel>,
    /// Where the REST API listens when a node is started
    ///
    /// Default: 127.0.0.1 and the network's port.
    #[arg(long, env = "CHAIN_API", value_name = "ADDRESS:PORT")]
    api: Option<SocketAddr>,
    /// Where other nodes can call the node that is started (repeatable); `none` for nowhere
    #[arg(long, env = "CHAIN_LISTEN", value_name = "MULTIADDR", value_delimiter = ',')]
    listen: Option<Vec<String>>,
    /// A node that the one that is started stays connected with (repeatable)
    #[arg(long, env = "CHAIN_PEER", value_name = "MULTIADDR", value_delimiter = ',')]
    peer: Option<Vec<String>>,
    /// Whether the node that is started finds others on the local network, and is found
    #[arg(long, env = "CHAIN_MDNS", value_name = "BOOL")]
    mdns: Option<bool>,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    wallet: Chosen,
    #[command(flatten)]
    password: PasswordSource,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let params = match (args.place.network(), &args.miner) {
        (Some(network), _) => network::load(network)?,
        (None, Some(miner)) => network::of_address(miner)?,
        (None, None) => network::load(network::DEFAULT)?,
    };
    let miner = match &args.miner {
        Some(text) => {
            Address::decode_for(text, params.hrp()).with_context(|| format!("--miner {text}"))?
        }
        None => wallet_address(args, &params)?,
    };
    block_on(async {
        let mut stop = std::pin::pin!(stop_signal()?);
        let goal = Goal {
            miner,
            blocks: args.blocks,
            threads: args.threads.unwrap_or_else(processors),
            kernel: args.kernel,
            pause: Goal::pause(&params, args.blocks),
        };
        match args.place.find(&params).await? {
            Some(client) => for_node(client, &params, goal, &mut stop).await,
            None => with_own_node(args, &params, goal, &mut stop).await,
        }
    })
}

/// The first account of the wallet; a wallet is made if there is none.
fn wallet_address(args: &Args, params: &Params) -> Result<Address> {
    let path = args.wallet.path()?;
    if path.exists() {
        return args.wallet.address(Index::default(), &args.password);
    }
    let mnemonic = Mnemonic::generate(Length::Twelve, getrandom::fill)?;
    let phrase = Zeroizing::new(mnemonic.phrase().to_string());
    let password = args.password.new_one_or_none()?;
    let wallet = match &password {
        Some(password) => Wallet::create(&path, mnemonic, password)?,
        None => Wallet::create_unprotected(&path, mnemonic)?,
    };
    let address = wallet.address(Index::default());
    let mut out = io::stderr().lock();
    writeln!(out, "made a wallet: {}", path.display())?;
    writeln!(out, "its words, the only other copy of its keys: {}", *phrase)?;
    if password.is_none() {
        writeln!(out, "it has no password: whoever can read the file can spend what it holds")?;
    }
    writeln!(out, "its address: {}", address.encode(params.hrp()))?;
    Ok(address)
}

/// Mines for a node that is running.
async fn for_node(
    client: Client,
    params: &Params,
    goal: Goal,
    stop: &mut (impl Future<Output = ()> + Unpin),
) -> Result<()> {
    logging::start(logging::Format::Text, logging::filter("warn")?);
    let line = Line::new();
    let miner = goal.miner.encode(params.hrp());
    line.say(&format!("mining for {miner} on {}, for {}", params.name(), client.base()));
    let (progress, watched) = watch::channel(None);
    let (_stop, stopping) = watch::channel(false);
    let source = mining::Remote::new(client.clone(), params.hrp());
    let mut mined = std::pin::pin!(mining::mine(source, goal, progress, stopping));
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut holdings = Holdings::default();
    let found = loop {
        tokio::select! {
            found = &mut mined => break Some(found?),
            () = &mut *stop => break None,
            _ = look.tick() => {
                // A node that does not answer right now keeps the last numbers on the line.
                holdings = Holdings::ask(&client, &miner).await.unwrap_or(holdings);
                line.show(&holdings.with(watched.borrow().as_ref()));
            }
        }
    };
    let holdings = Holdings::ask(&client, &miner).await.unwrap_or(holdings);
    line.show_last(&holdings.with(watched.borrow().as_ref()));
    print_hashes(&found.unwrap_or_default())
}

/// Mines with a node in this process.
async fn with_own_node(
    args: &Args,
    params: &Params,
    goal: Goal,
    stop: &mut (impl Future<Output = ()> + Unpin),
) -> Result<()> {
    let network = args.place.network().unwrap_or(params.name());
    let wishes = Wishes {
        listen: args.listen.clone(),
        peer: args.peer.clone(),
        mdns: args.mdns,
        max_peers: None,
        discover: None,
    };
    let data = args.place.data().cloned();
    let config = Settings::embedded(network, data, args.api, wishes).check()?;
    logging::start(config.log_format, config.log.clone());
    let line = Line::new();
    line.say(&format!("mining for {} on {}", goal.miner.encode(params.hrp()), params.name()));
    let mut daemon = tokio::select! {
        daemon = Daemon::start(config) => daemon?,
        () = &mut *stop => return Ok(()),
    };
    let address = daemon.address();
    line.say(&format!(
        "started a node: REST API at http://{address}/v1/chain, explorer at http://{address}/"
    ));
    if let Some(address) = daemon.to_join() {
        line.say(&format!("others join with --peer {address}"));
    }
    daemon.mine(goal);
    let node = daemon.node().clone();
    let mut catching_up = CatchingUp::new(node.clone());
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let found = loop {
        tokio::select! {
            found = daemon.finished() => break found.transpose()?,
            () = &mut *stop => break None,
            _ = look.tick() => {
                if let Some(stage) = catching_up.look().await {
                    line.show(&stage);
                    continue;
                }
                let status = Holdings::read(&node, goal.miner)?;
                line.show(&status.with(node.mining.borrow().as_ref()));
            }
        }
    };
    let status = Holdings::read(&node, goal.miner)?;
    line.show_last(&status.with(node.mining.borrow().as_ref()));
    if found.is_some() {
        tokio::select! {
            () = daemon.hand_on() => {}
            () = &mut *stop => {}
        }
    }
    daemon.stop().await?;
    print_hashes(&found.unwrap_or_default())
}

fn print_hashes(hashes: &[block::Hash]) -> Result<()> {
    let mut out = io::stdout().lock();
    for hash in hashes {
        writeln!(out, "{hash}")?;
    }
    Ok(())
}

/// How often the line is made anew.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What the chain says of a miner.
#[derive(Clone, Copy, Default)]
struct Holdings {
    height: u32,
    balance: Amount,
    immature: Amount,
}

impl Holdings {
    fn read(node: &Node, miner: Address) -> Result<Holdings> {
        let view = node.reader.view();
        let balance = view.account(&miner)?.balance;
        let (height, immature) = (view.tip().height.get(), view.immature(&miner));
        Ok(Holdings { height, balance, immature })
    }

    async fn ask(client: &Client, miner: &str) -> Result<Holdings> {
        #[derive(serde::Deserialize)]
        struct Chain {
            height: u32,
        }
        #[derive(serde::Deserialize)]
        struct Account {
            balance: u64,
            immature: u64,
        }
        let Chain { height } = client.get(&["chain"]).await?.read()?;
        let account: Account = client.get(&["accounts", miner]).await?.read()?;
        let [balance, immature] = [account.balance, account.immature].map(Amount::new);
        let balance = balance.context("a balance that cannot be")?;
        Ok(Holdings { height, balance, immature: immature.context("an amount that cannot be")? })
    }

    fn with(self, progress: Option<&Progress>) -> Status {
        let hash_rate = progress.map_or(0.0, |progress| progress.hash_rate);
        Status { holdings: self, hash_rate, found: progress.map_or(0, |it| it.found.len()) }
    }
}

struct Status {
    holdings: Holdings,
    hash_rate: f64,
    found: usize,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Holdings { height, balance, immature } = self.holdings;
        let (rate, found) = (human_rate(self.hash_rate), self.found);
        write!(f, "height {height} · {rate} · {found} found · balance {balance} coins")?;
        write!(f, ", {immature} more immature")
    }
}

/// Hashes a second with the prefix that keeps the number short.
pub fn human_rate(rate: f64) -> String {
    let scaled = [(1e12, "TH/s"), (1e9, "GH/s"), (1e6, "MH/s"), (1e3, "kH/s")];
    match scaled.into_iter().find(|(unit, _)| rate >= *unit) {
        Some((unit, name)) => format!("{:.2} {name}", rate / unit),
        None => format!("{rate:.0} H/s"),
    }
}
