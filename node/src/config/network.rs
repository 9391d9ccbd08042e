//! Networks by name or from a TOML file. The file mirrors `chain::params::Spec`; `Params::new`
//! validates it. Times in seconds, amounts in base units.

pub use super::data::is_data;

use super::data::{GENESIS, data_directories};
use super::{multiaddr, toml_file};
use anyhow::{Context, Result, bail, ensure};
use chain::address::{Address, Hrp};
use chain::params::{Params, Ports, Spec};
use chain::{Amount, Bits, Timestamp};
use serde::Deserialize;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

/// The name of the default network.
pub const DEFAULT: &str = "testnet";
/// File of a data directory with the parameters of a network that is not built in.
const FILE: &str = "network.toml";

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

/// The network of a data directory: a built-in one, or that of the network file in the directory.
pub fn of_data(data: &Path) -> Result<Params> {
    let path = data.join(GENESIS);
    let genesis = fs::read_to_string(&path).with_context(|| {
        format!("{} is not a data directory: it has no file `genesis`", data.display())
    })?;
    let belongs = |params: &Params| params.genesis_hash().to_string() == genesis.trim();
    if let Some(params) = Params::built_in().into_iter().find(belongs) {
        return Ok(params);
    }
    let path = data.join(FILE);
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let data = data.display();
            bail!("{data} belongs to no built-in network, and has no `{FILE}`: use --network FILE")
        }
        text => text.with_context(|| format!("cannot read {}", path.display()))?,
    };
    let params = parse(&text).with_context(|| format!("network file {}", path.display()))?;
    ensure!(
        belongs(&params),
        "{} is not the network file of this directory, whose genesis is {}: use --network FILE",
        path.display(),
        genesis.trim()
    );
    Ok(params)
}

/// Keeps the network file in a data directory, for later commands without `--network`. That of a
/// built-in network is not needed.
pub fn keep_in_data(data: &Path, params: &Params) -> Result<()> {
    if built_in(params.name()).is_some_and(|it| it.genesis_hash() == params.genesis_hash()) {
        return Ok(());
    }
    let (path, text) = (data.join(FILE), render(params));
    if fs::read_to_string(&path).is_ok_and(|kept| kept == text) {
        return Ok(());
    }
    let write = || {
        let mut file = tempfile::NamedTempFile::new_in(data)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(&path)?;
        Ok::<_, anyhow::Error>(())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// The network of an address: a built-in one, otherwise the only one of a default data directory.
pub fn of_address(text: &str) -> Result<Params> {
    let (hrp, _) = Address::decode(text).with_context(|| format!("address `{text}`"))?;
    if let Some(params) = Params::built_in().into_iter().find(|params| params.hrp() == hrp) {
        return Ok(params);
    }
    let installed = data_directories();
    let installed = installed.iter().filter_map(|data| of_data(data).ok());
    let mut found: Vec<Params> = installed.filter(|params| params.hrp() == hrp).collect();
    match (found.pop(), found.len()) {
        (Some(params), 0) => Ok(params),
        (Some(_), _) => {
            bail!("several networks have addresses that start with {hrp}1: use --network FILE")
        }
        (None, _) => {
            bail!("no known network has addresses that start with {hrp}1: use --network FILE")
        }
    }
}

fn parse(text: &str) -> Result<Params> {
    let file: NetworkFile = toml_file::parse(text)?;
    multiaddr::boot_nodes(&file.boot_nodes)?;
    Ok(Params::new(file.spec()?)?)
}

/// The text of the file of a network.
pub fn render(params: &Params) -> String {
    let spec = params.spec();
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let boot_nodes: Vec<String> = spec.boot_nodes.iter().map(|node| quoted(node)).collect();
    let mut text = format!(
        "# A network of `chain`. All nodes need the same file: only `boot_nodes` and `ports` may differ.\n\
         name = {}\nhrp = {}\nspacing_seconds = {}\nhalf_life_seconds = {}\n\
         fixed_difficulty = {}\nlimit_bits = \"{}\"\ngenesis_bits = \"{}\"\ngenesis_time = {}\n\
         initial_subsidy = {}\nhalving_interval = {}\nmaturity = {}\nmax_future_seconds = {}\n\
         max_block_bytes = {}\nmessage = {}\nboot_nodes = [{}]\n\
         ports = {{ api = {}, peers = {}, stratum = {} }}\n",
        quoted(&spec.name),
        quoted(&spec.hrp),
        spec.spacing_seconds,
        spec.half_life_seconds,
        spec.fixed_difficulty,
        spec.limit_bits,
        spec.genesis_bits,
        spec.genesis_time,
        spec.initial_subsidy.units(),
        spec.halving_interval,
        spec.maturity,
        spec.max_future_seconds,
        spec.max_block_bytes,
        quoted(&spec.message),
        boot_nodes.join(", "),
        spec.ports.api,
        spec.ports.peers,
        spec.ports.stratum,
    );
    for (address, amount) in &spec.allocations {
        let (address, units) = (address.encode(params.hrp()), amount.units());
        let entry = format!("\n[[allocations]]\naddress = \"{address}\"\namount = {units}\n");
        text.push_str(&entry);
    }
    text
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

    #[test]
    fn rendered_file_is_the_same_network() {
        let odd = Spec {
            message: "\"quoted\" \\ back\nslash".to_owned(),
            boot_nodes: vec!["/ip4/127.0.0.1/tcp/1".to_owned(), "/dns/a.example/tcp/2".to_owned()],
            ports: Ports { api: 1, peers: 2, stratum: 3 },
            ..Params::dev().spec().clone()
        };
        for params in Params::built_in().into_iter().chain([Params::new(odd).unwrap()]) {
            let again = parse(&render(&params)).unwrap();
            assert_eq!(again.spec(), params.spec());
            assert_eq!(again.genesis_hash(), params.genesis_hash());
        }
    }

    #[test]
    fn data_directory_keeps_the_network_file() {
        let data = tempfile::tempdir().unwrap();
        let genesis = |params: &Params| {
            fs::write(data.path().join(GENESIS), params.genesis_hash().to_string()).unwrap();
        };
        keep_in_data(data.path(), &Params::main()).unwrap();
        assert!(!data.path().join(FILE).exists(), "a built-in network needs none");
        let custom = parse(&DEV.replace("\"dev\"", "\"custom\"")).unwrap();
        genesis(&custom);
        let message = of_data(data.path()).unwrap_err().to_string();
        assert!(message.contains("has no `network.toml`: use --network FILE"), "{message}");
        keep_in_data(data.path(), &custom).unwrap();
        assert_eq!(of_data(data.path()).unwrap().spec(), custom.spec());
        // Ports may change, the chain may not.
        let moved = parse(&DEV.replace("\"dev\"", "\"custom\"").replace("9000", "9001")).unwrap();
        keep_in_data(data.path(), &moved).unwrap();
        assert_eq!(of_data(data.path()).unwrap().spec().ports.api, 9001);
        let other = parse(&DEV.replace("\"dev\"", "\"other\"")).unwrap();
        keep_in_data(data.path(), &other).unwrap();
        let message = of_data(data.path()).unwrap_err().to_string();
        assert!(message.contains("is not the network file of this directory"), "{message}");
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
