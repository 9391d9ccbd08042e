//! `chain network`: create and explain network files.

use super::output::{Rows, coins, duration, human_rate, print_line};
use crate::config::network::{self, render};
use crate::difficulty;
use anyhow::{Context, Result};
use chain::address::Address;
use chain::params::{Params, Ports, Spec};
use chain::{Amount, Bits, Height, Timestamp};
use serde::Serialize;
use std::fs::OpenOptions;
use std::io::Write;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The easiest target of networks whose blocks take more work: 65,536 hashes, so that blocks cost
/// something even after most miners have left.
const LIMIT: Bits = Bits::new(0x1f00_ffff);
/// The easiest target that the encoding permits: two hashes.
const EASIEST: Bits = Bits::new(0x207f_ffff);
/// Half-life in spacings: a tenfold change of the hash rate is followed within some 200 blocks.
const HALF_LIFE_SPACINGS: u32 = 25;

/// Create or explain a network
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    New(Box<New>),
    /// Explain a network: rules, difficulty, issuance, ports
    Show {
        /// Name of a built-in network, path of a network file, or data directory
        #[arg(value_name = "NAME|FILE|DIR")]
        network: String,
    },
}

/// Create a network file
///
/// Every node of the network needs the same file. Its genesis block commits to all parameters but boot
/// nodes and ports.
#[derive(Debug, clap::Args)]
struct New {
    /// File to create
    file: PathBuf,
    /// Name of the network: lower-case letters, digits and hyphens [default: that of the file]
    #[arg(long)]
    name: Option<String>,
    /// Lower-case letters with which addresses begin [default: the first letters of the name]
    #[arg(long, value_name = "LETTERS")]
    hrp: Option<String>,
    /// Seconds between two blocks
    #[arg(long, value_name = "SECONDS", default_value_t = NonZeroU32::new(60).expect("it is not zero"))]
    spacing: NonZeroU32,
    /// Hash rate of all miners together in hashes per second, such as 250k, 12M or 3.5G
    ///
    /// The first blocks take this rate the spacing on average; later ones follow the actual rate.
    /// `chain bench hash` measures that of this machine.
    #[arg(long, value_name = "RATE", value_parser = parse_rate, default_value = "1M")]
    hash_rate: u64,
    /// Generate blocks on demand, as on `dev`: every block takes two hashes
    #[arg(long, conflicts_with = "hash_rate")]
    development: bool,
    /// Subsidy of a block before the first halving, in coins
    #[arg(long, value_name = "COINS", value_parser = Amount::from_coins, default_value = "50")]
    subsidy: Amount,
    /// Blocks between two halvings of the subsidy
    #[arg(long, value_name = "BLOCKS", default_value_t = 210_000)]
    halving_interval: u32,
    /// Blocks after which a reward can be spent
    #[arg(long, value_name = "BLOCKS", default_value_t = 100)]
    maturity: u32,
    /// Coins that an address has from the first block on (repeatable)
    ///
    /// The address may be that of the same key on another network.
    #[arg(long, value_name = "ADDRESS=COINS")]
    allocate: Vec<String>,
    /// Address of a node that others dial first (repeatable)
    #[arg(long, value_name = "MULTIADDR")]
    boot_node: Vec<String>,
    /// Port of the REST API; those of peers and Stratum are the next two
    #[arg(long, value_name = "PORT", default_value_t = 8500, value_parser = clap::value_parser!(u16).range(1..=65_533))]
    port: u16,
}

/// Parses a hash rate with an optional unit, in hashes per second.
fn parse_rate(text: &str) -> Result<u64, String> {
    let units = [('k', 3), ('M', 6), ('G', 9), ('T', 12)];
    let unit = units.into_iter().find(|(unit, _)| text.ends_with(*unit));
    let (digits, zeros) = match unit {
        Some((unit, zeros)) => (text.strip_suffix(unit).unwrap_or(text), zeros),
        None => (text, 0),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let number = format!("{whole}{fraction:0<zeros$}");
    let is_rate = fraction.len() <= zeros && number.bytes().all(|byte| byte.is_ascii_digit());
    let rate = number.parse().ok().filter(|rate| is_rate && *rate > 0);
    rate.ok_or_else(|| "expected a rate such as 800, 250k, 12M or 3.5G".to_owned())
}

pub fn run(args: Args, json: bool) -> Result<()> {
    match args.command {
        Command::New(new) => {
            let params = new.params()?;
            write_new(&new.file, &render(&params))?;
            print(&params, json)
        }
        Command::Show { network } => {
            let path = Path::new(&network);
            let params = match network::is_data(path) {
                true => network::of_data(path)?,
                false => network::load(&network)?,
            };
            print(&params, json)
        }
    }
}

impl New {
    fn params(&self) -> Result<Params> {
        let stem = self.file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let name = self.name.clone().unwrap_or_else(|| stem.to_lowercase());
        let letters = name.chars().filter(char::is_ascii_lowercase).take(4);
        let hrp = self.hrp.clone().unwrap_or_else(|| letters.collect());
        let spacing_seconds = self.spacing.get();
        let hashes = u128::from(self.hash_rate).saturating_mul(spacing_seconds.into());
        let genesis_bits =
            if self.development { EASIEST } else { difficulty::target_of(hashes).bits() };
        let is_easy = genesis_bits.target()? > LIMIT.target()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut allocations = Vec::new();
        for text in &self.allocate {
            allocations.push(allocation(text)?);
        }
        let Ports { api, peers, stratum } =
            Ports { api: self.port, peers: self.port + 1, stratum: self.port + 2 };
        Ok(Params::new(Spec {
            message: format!("chain {name}").chars().take(40).collect(),
            name,
            hrp,
            spacing_seconds,
            half_life_seconds: spacing_seconds.saturating_mul(HALF_LIFE_SPACINGS),
            fixed_difficulty: self.development,
            limit_bits: if is_easy { EASIEST } else { LIMIT },
            genesis_bits,
            genesis_time: Timestamp::new(u32::try_from(now)?),
            initial_subsidy: self.subsidy,
            halving_interval: self.halving_interval,
            maturity: self.maturity,
            max_future_seconds: spacing_seconds.clamp(60, 7_200),
            max_block_bytes: 2_000_000,
            allocations,
            boot_nodes: self.boot_node.clone(),
            ports: Ports { api, peers, stratum },
        })?)
    }
}

/// An allocation. The address may be that of the same key on another network.
fn allocation(text: &str) -> Result<(Address, Amount)> {
    let context = || format!("--allocate `{text}`");
    let parts = text.split_once('=').context("expected ADDRESS=COINS");
    let (address, amount) = parts.with_context(context)?;
    let (_, address) = Address::decode(address).with_context(context)?;
    Ok((address, Amount::from_coins(amount).with_context(context)?))
}

/// Writes a file that does not exist yet.
fn write_new(path: &Path, text: &str) -> Result<()> {
    let context = || format!("cannot create {}", path.display());
    let file = OpenOptions::new().write(true).create_new(true).open(path);
    let mut file = file.with_context(context)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).with_context(context)
}

/// A network as it is printed.
#[derive(Debug, Serialize)]
struct Explained {
    name: String,
    genesis: String,
    hrp: String,
    spacing_seconds: u32,
    half_life_seconds: u32,
    fixed_difficulty: bool,
    /// The expected number of hashes of the first block.
    first_hashes: f64,
    /// The hash rate at which the first blocks have the spacing.
    first_hash_rate: f64,
    /// The least number of hashes that a block can ever take.
    least_hashes: f64,
    initial_subsidy: u64,
    halving_interval: u32,
    max_issuance: u64,
    allocated: u64,
    allocations: usize,
    maturity: u32,
    max_future_seconds: u32,
    max_block_bytes: u32,
    boot_nodes: Vec<String>,
    api_port: u16,
    peers_port: u16,
    stratum_port: u16,
}

impl Explained {
    fn of(params: &Params) -> Explained {
        let spec = params.spec();
        let hashes = |bits: Bits| bits.target().map_or(0.0, difficulty::expected_hashes);
        let allocated = spec.allocations.iter().map(|(_, amount)| amount.units());
        Explained {
            name: spec.name.clone(),
            genesis: params.genesis_hash().to_string(),
            hrp: spec.hrp.clone(),
            spacing_seconds: spec.spacing_seconds,
            half_life_seconds: spec.half_life_seconds,
            fixed_difficulty: spec.fixed_difficulty,
            first_hashes: hashes(spec.genesis_bits),
            first_hash_rate: hashes(spec.genesis_bits) / f64::from(spec.spacing_seconds),
            least_hashes: hashes(spec.limit_bits),
            initial_subsidy: params.subsidy(Height::new(1)).units(),
            halving_interval: spec.halving_interval,
            max_issuance: params.max_issuance().units(),
            allocated: allocated.sum(),
            allocations: spec.allocations.len(),
            maturity: spec.maturity,
            max_future_seconds: spec.max_future_seconds,
            max_block_bytes: spec.max_block_bytes,
            boot_nodes: spec.boot_nodes.clone(),
            api_port: spec.ports.api,
            peers_port: spec.ports.peers,
            stratum_port: spec.ports.stratum,
        }
    }
}

fn print(params: &Params, json: bool) -> Result<()> {
    let network = Explained::of(params);
    if json {
        return Ok(print_line(&serde_json::to_string(&network)?)?);
    }
    let difficulty = match network.fixed_difficulty {
        true => format!("fixed, {:.0} hashes for each block", network.first_hashes),
        false => format!(
            "{:.0} hashes for the first block, that is {}; it adjusts with a half-life of {}",
            network.first_hashes,
            human_rate(network.first_hash_rate),
            duration(network.half_life_seconds.into())
        ),
    };
    let halving = u64::from(network.halving_interval) * u64::from(network.spacing_seconds);
    Rows::new()
        .row("name", &network.name)
        .row("genesis", &network.genesis)
        .row("addresses", format!("begin with {}1", network.hrp))
        .row("spacing", format!("a block about every {}", duration(network.spacing_seconds.into())))
        .row("difficulty", difficulty)
        .row("easiest", format!("{:.0} hashes", network.least_hashes))
        .row(
            "subsidy",
            format!(
                "{} a block, half of it after every {} blocks ({})",
                coins(network.initial_subsidy),
                network.halving_interval,
                duration(halving)
            ),
        )
        .row("allocations", format!("{} to {} addresses", coins(network.allocated), network.allocations))
        .row("issuance", format!("at most {}", coins(network.max_issuance)))
        .row("maturity", format!("rewards are spendable after {} blocks", network.maturity))
        .row("clocks", format!("blocks may be {} ahead", duration(network.max_future_seconds.into())))
        .row("block size", format!("at most {} bytes", network.max_block_bytes))
        .row(
            "ports",
            format!(
                "API {}, peers {}, Stratum {}",
                network.api_port, network.peers_port, network.stratum_port
            ),
        )
        .row_if("boot nodes", Some(network.boot_nodes.join(" ")).filter(|nodes| !nodes.is_empty()))
        .row(
            "access",
            "open: all who have the file can join and mine; `chain node --network-key FILE` closes it",
        )
        .print()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_units() {
        for (text, rate) in
            [("7", 7), ("250k", 250_000), ("12M", 12_000_000), ("3.5G", 3_500_000_000)]
        {
            assert_eq!(parse_rate(text), Ok(rate));
        }
        for text in ["", "M", "0", "-1", "1P", "0.5", "1.2345k", "1kk", "99999999T"] {
            assert!(parse_rate(text).is_err(), "{text}");
        }
    }
}
