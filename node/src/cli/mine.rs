//! `chain mine`: mines for an address. A job of the node on this machine, if one runs and lets us;
//! for a node elsewhere with the threads of this process; otherwise with a node in this process.

mod holdings;
mod job;

use super::catching_up::CatchingUp;
use super::line::Line;
use super::node::{block_on, stop_signal};
use super::password::PasswordSource;
use super::wallet::Chosen;
use crate::client::{Client, Place};
use crate::config::peers::Wishes;
use crate::config::{Settings, network};
use crate::daemon::{Daemon, processors};
use crate::jobs::{self, Order, Priority, Start};
use crate::logging;
use crate::mining;
use crate::wallet::mnemonic::Length;
use crate::wallet::{Index, Mnemonic, Wallet};
use anyhow::{Context, Result, bail};
use chain::{Address, Params};
use holdings::Holdings;
use miner::Kernel;
use std::cell::Cell;
use std::fmt::Display;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Interval, MissedTickBehavior};
use zeroize::Zeroizing;

pub use job::follow;

/// How often the line is made anew.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long the last look may take.
const LAST_LOOK: Duration = Duration::from_secs(2);
/// Blocks found and not looked at yet.
const FOUND: usize = 16;

/// Mine: blocks for an address, with this machine's processors
///
/// Where a node runs on this machine and its token can be read, this is a mining job of that node:
/// the line shows how it goes, and Ctrl-C cancels it. With --node, or --kernel, this process mines
/// itself and hands its blocks to the node. Where no node runs, one is started in this process, and
/// ends with it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The address that mined blocks pay
    ///
    /// Default: that of the wallet, which is made if there is none.
    #[arg(long, value_name = "ADDRESS")]
    miner: Option<String>,
    /// Stop after so many blocks
    #[arg(long, value_name = "N")]
    blocks: Option<NonZeroU32>,
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
        let Some(client) = args.place.find(&params).await? else {
            return with_own_node(args, &params, miner, &mut stop).await;
        };
        let steered = match args.place.has_url() || args.kernel.is_some() {
            true => None,
            false => args.place.with_token(client.clone(), Some(&params)).ok(),
        };
        match steered {
            Some(client) => job::mine(&client, args, &params, miner, &mut stop).await,
            None => for_node(&client, args, &params, miner, &mut stop).await,
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

/// Mines with the threads of this process for a node that is running.
async fn for_node(
    client: &Client,
    args: &Args,
    params: &Params,
    miner: Address,
    stop: &mut (impl Future<Output = ()> + Unpin),
) -> Result<()> {
    logging::start(logging::Format::Text, logging::filter("warn")?);
    let line = Line::new();
    let miner_text = miner.encode(params.hrp());
    line.say(&format!("mining for {miner_text} on {}, for {}", params.name(), client.base()));
    let goal = mining::Goal {
        miner,
        blocks: args.blocks.map(NonZeroU32::get),
        kernel: args.kernel,
        pause: mining::Goal::pause(params, args.blocks.is_some()),
    };
    let (finding, mut finds) = mpsc::channel(FOUND);
    let (telling, progress) = watch::channel(None);
    let (_crew, staffed) = watch::channel(args.threads.unwrap_or_else(processors).get());
    let source = mining::Remote::new(client.clone(), params.hrp());
    let mut mined = std::pin::pin!(mining::mine(source, goal, staffed, finding, telling));
    let mut look = looks();
    let mut at = client.at();
    let (holdings, mut found) = (Cell::new(None), Vec::new());
    // Beside the rest, which does not wait for a node that does not answer; that keeps the last
    // numbers on the line.
    let mut asking = std::pin::pin!(async {
        let mut look = looks();
        loop {
            look.tick().await;
            let asked = Holdings::ask(client, &miner_text).await.ok();
            holdings.set(asked.or(holdings.get()));
        }
    });
    let status = |holdings: Holdings| {
        let progress = progress.borrow();
        let (rate, blocks) = progress.as_ref().map_or((0.0, 0), |it| (it.hash_rate, it.found));
        holdings.with(rate, blocks)
    };
    loop {
        tokio::select! {
            biased;
            Some(one) = finds.recv() => found.push(one.block),
            end = &mut mined => {
                end?;
                break;
            }
            () = &mut *stop => break,
            () = &mut asking => {}
            _ = look.tick() => {
                if client.at() != at {
                    at = client.at();
                    line.say(&format!("going on with the node at {}", client.base()));
                }
                if let Some(holdings) = holdings.get() {
                    line.show(&status(holdings));
                }
            }
        }
    }
    while let Ok(one) = finds.try_recv() {
        found.push(one.block);
    }
    let last = tokio::time::timeout(LAST_LOOK, Holdings::ask(client, &miner_text)).await;
    let last = last.ok().and_then(Result::ok);
    let holdings = last.or(holdings.get()).unwrap_or_default();
    line.show_last(&status(holdings));
    print_hashes(&found)
}

/// Mines with a node in this process.
async fn with_own_node(
    args: &Args,
    params: &Params,
    miner: Address,
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
    let settings = Settings::embedded(network, data, args.api, wishes).start_log()?;
    let mut config = settings.check()?;
    (config.threads, config.kernel) = (args.threads, args.kernel);
    let line = Line::new();
    line.say(&format!("mining for {} on {}", miner.encode(params.hrp()), params.name()));
    let mut daemon = tokio::select! {
        daemon = Daemon::start(config) => daemon?,
        () = &mut *stop => return Ok(()),
    };
    let url = daemon.url();
    line.say(&format!("started a node: REST API at {url}/v1/chain, explorer at {url}/"));
    if let Some(address) = daemon.to_join() {
        line.say(&format!("others join with --peer {address}"));
    }
    let node = daemon.node().clone();
    let standing = Order::standing(miner, node.jobs.budget());
    let order = match args.blocks {
        None => standing,
        Some(blocks) => {
            let (goal, start) = (jobs::Goal::Blocks(blocks), Start::Now);
            Order { goal, start, priority: Priority::Normal, ..standing }
        }
    };
    // Before there is anything to miss.
    let mut updates = node.jobs.updates();
    let id = match node.jobs.create(order, None).await {
        Ok(status) => status.job.id,
        Err(error) => {
            daemon.stop().await?;
            bail!(error);
        }
    };
    let mut catching_up = CatchingUp::new(node.clone());
    let mut look = looks();
    let (mut is_done, mut is_stopped) = (false, false);
    while !is_done && !is_stopped {
        tokio::select! {
            () = daemon.failed() => break,
            () = &mut *stop => is_stopped = true,
            _ = updates.recv() => {
                let job = node.jobs.job(id).await?;
                is_done = job.is_none_or(|status| status.job.state.is_terminal());
            }
            _ = look.tick() => {
                if let Some(stage) = catching_up.look().await {
                    line.show(&stage);
                    continue;
                }
                if let Some(status) = node.jobs.job(id).await? {
                    let rate = status.progress.map_or(0.0, |progress| progress.hash_rate);
                    line.show(&Holdings::read(&node, miner)?.with(rate, status.job.blocks));
                }
            }
        }
    }
    // Nobody is left who wants it: it must not go on with the next node on this data.
    let status = node.jobs.cancel(id).await.ok().flatten();
    let blocks = status.as_ref().map_or(0, |status| status.job.blocks);
    line.show_last(&Holdings::read(&node, miner)?.with(0.0, blocks));
    if is_done {
        tokio::select! {
            () = daemon.hand_on() => {}
            () = &mut *stop => {}
        }
    }
    daemon.stop().await?;
    let status = status.context("the job is forgotten")?;
    if let Some(failure) = status.job.failure {
        bail!("mining ended: {}", failure.detail);
    }
    print_hashes(&status.found)
}

/// When to look how it goes.
fn looks() -> Interval {
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    look
}

fn print_hashes(hashes: &[impl Display]) -> Result<()> {
    let mut out = io::stdout().lock();
    for hash in hashes {
        writeln!(out, "{hash}")?;
    }
    Ok(())
}
