//! Networks by name or from a TOML file. The file mirrors `chain::params::Spec`; `Params::new`
//! validates it. Times in seconds, amounts in base units.

use super::{multiaddr, toml_file};
use anyhow::{Context, Result, anyhow};
use chain::address::{Address, Hrp};
use chain::params::{Params, Ports, Spec};
use chain::{Amount, Bits, Timestamp};
use serde::Deserialize;
use std::fs;
use std::path::Path;

/// The name of the default network.
pub const DEFAULT: &str = "testnet";
/// File of a data directory with the genesis hash of its network.
const GENESIS: &str = "genesis";

/// Loads a network: a built-in one by name, otherwise from the file at a path.
pub fn load(name_or_path: &str) -> Result<Params> {
    if let Some(params) = built_in(name_or_path) {
        return Ok(params);
    }
    let path = Path::new(name_or_path);
    let text = fs::read_to_string(path).with_context(|| {
        format!(
            "no network `{name_or_path}`: built in are {}; use the path of its file for any other",
            Params::built_in().map(|params| params.name().to_owned()).join(", ")
        )
    })?;
    parse(&text).with_context(|| format!("network file {}", path.display()))
}

/// The built-in network of a name.
pub fn built_in(name: &str) -> Option<Params> {
    Params::built_in().into_iter().find(|params| params.name() == name)
}

/// Whether a directory is the data directory of a network.
pub fn is_data(dir: &Path) -> bool {
    dir.join(GENESIS).is_file()
}

/// The built-in network of a data directory.
pub fn of_data(data: &Path) -> Result<Params> {
    let path = data.join(GENESIS);
    let genesis = fs::read_to_string(&path).with_context(|| {
        format!("{} is not a data directory: it has no file `genesis`", data.display())
    })?;
    let belongs = |params: &Params| params.genesis_hash().to_string() == genesis.trim();
    Params::built_in().into_iter().find(belongs).ok_or_else(|| {
        anyhow!("{} belongs to no built-in network: use --network FILE", data.display())
    })
}

/// The built-in network of an address.
pub fn of_address(text: &str) -> Result<Params> {
    let (hrp, _) = Address::decode(text).with_context(|| format!("address `{text}`"))?;
    Params::built_in().into_iter().find(|params| params.hrp() == hrp).ok_or_else(|| {
        anyhow!("no built-in network has addresses that start with {hrp}1: use --network FILE")
    })
}

fn parse(text: &str) -> Result<Params> {
    let file: NetworkFile = toml_file::parse(text)?;
    multiaddr::boot_nodes(&file.boot_nodes)?;
    Ok(Params::new(file.spec()?)?)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NetworkFile {
    name: String,
    hrp: String,
    spacing_seconds: u32,
    half_life_seconds: u32,
    #[serde(default)]
    fixed_difficulty: bool,
    limit_bits: String,
    genesis_bits: String,
    genesis_time: u32,
    initial_subsidy: u64,
    halving_interval: u32,
    maturity: u32,
    max_future_seconds: u32,
    max_block_bytes: u32,
    #[serde(default)]
    allocations: Vec<Allocation>,
    message: String,
    #[serde(default)]
    boot_nodes: Vec<String>,
    #[serde(default)]
    ports: FilePorts,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Allocation {
    address: String,
    amount: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FilePorts {
    api: Option<u16>,
    peers: Option<u16>,
    stratum: Option<u16>,
}

impl NetworkFile {
    fn spec(self) -> Result<Spec> {
        let hrp = Hrp::new(&self.hrp);
        let allocations = self.allocations.iter().map(|allocation| {
            let context = || format!("allocations: {}", allocation.address);
            // An invalid `hrp` is reported by `Params::new`, which validates it before allocations.
            let address = hrp.map_or(Ok(Address::ZERO), |hrp| {
                Address::decode_for(&allocation.address, hrp).with_context(context)
            })?;
            Ok((address, amount("allocations", allocation.amount)?))
        });
        let ports = Ports::default();
        Ok(Spec {
            allocations: allocations.collect::<Result<_>>()?,
            limit_bits: bits("limit_bits", &self.limit_bits)?,
            genesis_bits: bits("genesis_bits", &self.genesis_bits)?,
            genesis_time: Timestamp::new(self.genesis_time),
            initial_subsidy: amount("initial_subsidy", self.initial_subsidy)?,
            ports: Ports {
                api: self.ports.api.unwrap_or(ports.api),
                peers: self.ports.peers.unwrap_or(ports.peers),
                stratum: self.ports.stratum.unwrap_or(ports.stratum),
            },
            name: self.name,
            hrp: self.hrp,
            spacing_seconds: self.spacing_seconds,
            half_life_seconds: self.half_life_seconds,
            fixed_difficulty: self.fixed_difficulty,
            halving_interval: self.halving_interval,
            maturity: self.maturity,
            max_future_seconds: self.max_future_seconds,
            max_block_bytes: self.max_block_bytes,
            message: self.message,
            boot_nodes: self.boot_nodes,
        })
    }
}

fn bits(key: &str, text: &str) -> Result<Bits> {
    text.parse().with_context(|| format!("{key} = \"{text}\""))
}

fn amount(key: &str, units: u64) -> Result<Amount> {
    Amount::new(units)
        .with_context(|| format!("{key}: {units} is above {} base units", Amount::MAX.units()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEV: &str = r#"
        name = "dev"
        hrp = "dch"
        spacing_seconds = 1
        half_life_seconds = 60
        fixed_difficulty = true
        limit_bits = "207fffff"
        genesis_bits = "207fffff"
        genesis_time = 1767225600
        initial_subsidy = 5_000_000_000
        halving_interval = 210_000
        maturity = 1
        max_future_seconds = 7_200
        max_block_bytes = 2_000_000
        message = "chain dev"
        boot_nodes = ["/ip4/127.0.0.1/tcp/1"]
        ports = { api = 9000 }
    "#;

    fn dev_with_allocations() -> String {
        let params = Params::dev();
        let mut text = DEV.to_owned();
        for (address, amount) in &params.spec().allocations {
            let address = address.encode(params.hrp());
            text +=
                &format!("[[allocations]]\naddress = \"{address}\"\namount = {}\n", amount.units());
        }
        text
    }

    fn error(text: &str) -> String {
        format!("{:#}", parse(text).unwrap_err())
    }

    #[test]
    fn file_with_the_parameters_of_a_network_is_that_network() {
        let params = parse(&dev_with_allocations()).unwrap();
        assert_eq!(params.genesis_hash(), Params::dev().genesis_hash());
        assert_eq!(params.spec().ports, Ports { api: 9000, ..Ports::default() });
        assert_eq!(params.spec().boot_nodes, ["/ip4/127.0.0.1/tcp/1"]);
    }

    #[test]
    fn errors_name_the_key_at_fault() {
        let with = |from: &str, to: &str| {
            let changed = DEV.replace(from, to);
            assert_ne!(changed, DEV, "{from}");
            error(&changed)
        };
        assert!(with("maturity = 1", "maturityy = 1").contains("line 12: unknown key `maturityy`"));
        assert!(with("maturity = 1", "").contains("missing key `maturity`"));
        assert!(with("maturity = 1", "maturity = 0").contains("maturity must be at least 1"));
        assert!(with("maturity = 1", "maturity = -1").contains("line 12"));
        assert!(with("genesis_bits = \"207f", "genesis_bits = \"7f").contains("genesis_bits"));
        assert!(with("5_000_000_000", "9_007_199_254_740_992").contains("initial_subsidy"));
        assert!(with("api = 9000", "api = 90000").contains("line 17"));
        assert!(with("api = 9000", "http = 9000").contains("unknown key `http`"));
        assert!(with("\"dch\"", "\"DCH\"").contains("hrp must be"));
        let message = with("/ip4/127.0.0.1/tcp/1", "127.0.0.1:1");
        assert!(message.contains("boot_nodes: `127.0.0.1:1` is not a multiaddr"), "{message}");
    }

    // W09
    #[test]
    fn rejects_allocation_to_address_of_another_network() {
        let foreign = dev_with_allocations().replace("hrp = \"dch\"", "hrp = \"xch\"");
        assert!(error(&foreign).contains("an address of another network"), "{}", error(&foreign));
    }

    #[test]
    fn finds_networks_by_name_and_address() {
        assert_eq!(load("main").unwrap().name(), "main");
        let message = format!("{:#}", load("mian").unwrap_err());
        assert!(
            message.contains("no network `mian`: built in are main, testnet, dev"),
            "{message}"
        );
        let address = Address::ZERO.encode(Params::dev().hrp());
        assert_eq!(of_address(&address).unwrap().name(), "dev");
        let elsewhere = Address::ZERO.encode(Hrp::new("xch").unwrap());
        assert!(of_address(&elsewhere).unwrap_err().to_string().contains("--network FILE"));
    }
}
