//! `chain mine`: mines for an address, with a node in this process when none is running.

use super::node::{block_on, stop_signal};
use super::password::PasswordSource;
use super::wallet::Chosen;
use crate::config::{Settings, network};
use crate::daemon::{Daemon, Node};
use crate::logging;
use crate::wallet::mnemonic::Length;
use crate::wallet::{Index, Mnemonic, Wallet};
use anyhow::{Context, Result};
use chain::accounts::AccountView;
use chain::{Address, Amount, Params};
use indicatif::{ProgressBar, ProgressStyle};
use std::cell::Cell;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::{Duration, Instant};
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
    /// A built-in network (main, testnet, dev) or the path of a network file
    ///
    /// Default: the network of the --miner address, otherwise testnet.
    #[arg(long, env = "CHAIN_NETWORK", value_name = "NAME|FILE")]
    network: Option<String>,
    /// The data folder of the node that is started when none is running
    ///
    /// Default: the folder `chain/NETWORK` in the platform's data folder.
    #[arg(long, env = "CHAIN_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where the REST API of that node listens
    #[arg(long, env = "CHAIN_API", value_name = "ADDRESS:PORT")]
    api: Option<SocketAddr>,
    #[command(flatten)]
    wallet: Chosen,
    #[command(flatten)]
    password: PasswordSource,
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let params = match (&args.network, &args.miner) {
        (Some(network), _) => network::load(network)?,
        (None, Some(miner)) => network::of_address(miner)?,
        (None, None) => network::load(network::DEFAULT)?,
    };
    let named = args.network.clone().unwrap_or_else(|| params.name().to_owned());
    let miner = match &args.miner {
        Some(text) => {
            Address::decode_for(text, params.hrp()).with_context(|| format!("--miner {text}"))?
        }
        None => wallet_address(&args, &params)?,
    };
    block_on(async {
        let mut stop = std::pin::pin!(stop_signal()?);
        embedded(&args, &named, miner, &mut stop).await
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
    let asks = args.password.is_given() || io::stdin().is_terminal();
    let wallet = if asks {
        Wallet::create(&path, mnemonic, &args.password.new_one()?)?
    } else {
        Wallet::create_unprotected(&path, mnemonic)?
    };
    let address = wallet.address(Index::default());
    let mut out = io::stderr().lock();
    writeln!(out, "made a wallet: {}", path.display())?;
    writeln!(out, "its words, the only other copy of its keys: {}", *phrase)?;
    if !asks {
        writeln!(out, "it has no password: whoever can read the file can spend what it holds")?;
    }
    writeln!(out, "its address: {}", address.encode(params.hrp()))?;
    Ok(address)
}

/// Mines with a node in this process.
async fn embedded(
    args: &Args,
    network: &str,
    miner: Address,
    stop: &mut (impl Future<Output = ()> + Unpin),
) -> Result<()> {
    let config = Settings::embedded(network, args.data.clone(), args.api).check()?;
    logging::start(config.log_format, config.log.clone());
    let hrp = config.params.hrp();
    let line = Line::new();
    line.say(&format!("mining for {} on {}", miner.encode(hrp), config.params.name()));
    let mut daemon = tokio::select! {
        daemon = Daemon::start(config) => daemon?,
        () = &mut *stop => return Ok(()),
    };
    line.say(&format!("started a node: REST API at http://{}/v1/chain", daemon.address()));
    daemon.mine(miner, args.blocks, args.threads);
    let node = daemon.node().clone();
    let mut tick = tokio::time::interval(Duration::from_millis(250));
    let done = loop {
        tokio::select! {
            found = daemon.finished() => break found.transpose()?,
            () = &mut *stop => break None,
            _ = tick.tick() => line.show(&status(&node, miner)?),
        }
    };
    line.show_last(&status(&node, miner)?);
    let hashes = done.unwrap_or_default();
    daemon.stop().await?;
    let mut out = io::stdout().lock();
    for hash in hashes {
        writeln!(out, "{hash}")?;
    }
    Ok(())
}

/// How the mining goes, in a line.
fn status(node: &Node, miner: Address) -> Result<Status> {
    let progress = node.mining.borrow().clone();
    let view = node.reader.view();
    Ok(Status {
        height: view.tip().height.get(),
        hash_rate: progress.as_ref().map_or(0.0, |progress| progress.hash_rate),
        found: progress.map_or(0, |progress| progress.found.len()),
        balance: view.account(&miner)?.balance,
        immature: view.immature(&miner),
    })
}

struct Status {
    height: u32,
    hash_rate: f64,
    found: usize,
    balance: Amount,
    immature: Amount,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Status { height, found, balance, immature, .. } = self;
        let rate = human_rate(self.hash_rate);
        write!(f, "height {height} · {rate} · {found} found · balance {balance}")?;
        write!(f, " · immature {immature} coins")
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

/// One line that is rewritten on a terminal; elsewhere a new line now and then.
struct Line {
    bar: ProgressBar,
    terminal: bool,
    last: Cell<Option<Instant>>,
}

/// How often a line is printed where it cannot be rewritten.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

impl Line {
    fn new() -> Line {
        let style = ProgressStyle::with_template("{spinner} {msg}").expect("well-formed");
        let bar = ProgressBar::new_spinner().with_style(style);
        Line { bar, terminal: io::stderr().is_terminal(), last: Cell::new(None) }
    }

    fn say(&self, text: &str) {
        self.bar.suspend(|| drop(writeln!(io::stderr(), "{text}")));
    }

    fn show(&self, status: &Status) {
        if self.terminal {
            self.bar.set_message(status.to_string());
            self.bar.tick();
        } else if self.last.get().is_none_or(|last| last.elapsed() >= PLAIN_EVERY) {
            self.last.set(Some(Instant::now()));
            self.say(&status.to_string());
        }
    }

    fn show_last(&self, status: &Status) {
        self.bar.finish_and_clear();
        self.say(&status.to_string());
    }
}
