//! The settings of a node. `Settings` declares each one once: as a flag, an environment variable and
//! a key of the configuration file. Flags and environment override the file.

use super::limits::LimitSetting;
use super::{network, toml_file};
use crate::logging;
use anyhow::{Context, Result};
use clap::builder::BoolishValueParser;
use clap::{ArgMatches, FromArgMatches as _};
use serde::Deserialize;
use std::fs;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};

/// Default filter of the log.
const DEFAULT_LOG: &str = "info";

/// The settings of a node before validation; `None` stands for the default.
#[derive(Clone, Debug, Default, clap::Args, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Network: main, testnet, dev or the path of a network file
    ///
    /// Default: the network of the --miner address or of the data directory, otherwise testnet.
    #[arg(long, env = "CHAIN_NETWORK", value_name = "NAME|FILE")]
    pub network: Option<String>,
    /// Data directory
    ///
    /// Default: `chain/NETWORK` in the platform's data directory.
    #[arg(long, env = "CHAIN_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Address and port of the REST API; port 0 selects any free port
    ///
    /// Default: 127.0.0.1 and the port of the network.
    #[arg(long, env = "CHAIN_API", value_name = "ADDRESS:PORT")]
    pub api: Option<SocketAddr>,
    /// Additional host name under which clients may reach the API (repeatable)
    #[arg(long, env = "CHAIN_API_HOST", value_name = "NAME", value_delimiter = ',')]
    pub api_host: Option<Vec<String>>,
    /// Reverse proxy whose X-Forwarded-For or Forwarded header names the client (repeatable)
    #[arg(long, env = "CHAIN_TRUSTED_PROXY", value_name = "CIDR", value_delimiter = ',')]
    pub trusted_proxy: Option<Vec<String>>,
    /// PEM certificate chain for HTTPS and stratum+ssl
    ///
    /// Default: none, the API uses HTTP.
    #[arg(long, env = "CHAIN_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// PEM private key of the certificate
    #[arg(long, env = "CHAIN_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Address to accept peers on (repeatable), or `none`
    ///
    /// Default: every interface and the port of the network; on `dev` 127.0.0.1 only.
    #[arg(long, env = "CHAIN_LISTEN", value_name = "MULTIADDR", value_delimiter = ',')]
    pub listen: Option<Vec<String>>,
    /// Node to stay connected to, such as /ip4/192.0.2.7/tcp/8401 (repeatable)
    #[arg(long, env = "CHAIN_PEER", value_name = "MULTIADDR", value_delimiter = ',')]
    pub peer: Option<Vec<String>>,
    /// Maximum number of peers; 0 disables networking [default: 112]
    #[arg(long, env = "CHAIN_MAX_PEERS", value_name = "N")]
    pub max_peers: Option<u32>,
    /// Peer id, or file with one on each line, of the only peers that may connect (repeatable)
    ///
    /// Default: all peers.
    #[arg(long, env = "CHAIN_ALLOW_PEER", value_name = "ID|FILE", value_delimiter = ',')]
    pub allow_peer: Option<Vec<String>>,
    /// Key file of a private network: only nodes with the same key connect
    ///
    /// `chain util network-key` makes one. Disables --mdns. Default: none.
    #[arg(long, env = "CHAIN_NETWORK_KEY", value_name = "FILE")]
    pub network_key: Option<PathBuf>,
    /// IP addresses of peers that are exempt from limits, such as 192.0.2.0/24 (repeatable)
    ///
    /// Peers at these addresses must follow the rules of the protocol nevertheless.
    #[arg(long, env = "CHAIN_TRUST", value_name = "CIDR", value_delimiter = ',')]
    pub trust: Option<Vec<String>>,
    /// Address to advertise to peers besides those of --listen, of a forwarded port (repeatable)
    #[arg(long, env = "CHAIN_EXTERNAL_ADDRESS", value_name = "MULTIADDR", value_delimiter = ',')]
    pub external_address: Option<Vec<String>>,
    /// Bytes of blocks served per second to peers outside the local network; 0 for no limit
    ///
    /// Default: 8000000. Headers, new blocks and transfers are not limited.
    #[arg(long, env = "CHAIN_MAX_UPLOAD", value_name = "BYTES")]
    pub max_upload: Option<u64>,
    /// Discover other nodes; `false` dials only those of --peer [default: true]
    #[arg(long, env = "CHAIN_DISCOVER", value_name = "BOOL", value_parser = boolean())]
    pub discover: Option<bool>,
    /// Discover nodes on the local network by mDNS, and be discovered
    ///
    /// Default: true; on `dev` and with --network-key false.
    #[arg(long, env = "CHAIN_MDNS", value_name = "BOOL", value_parser = boolean())]
    pub mdns: Option<bool>,
    /// Mine from the start
    #[arg(
        long, env = "CHAIN_MINE", value_name = "BOOL", value_parser = boolean(),
        num_args = 0..=1, require_equals = true, default_missing_value = "true"
    )]
    pub mine: Option<bool>,
    /// Address that mined blocks pay
    #[arg(long, env = "CHAIN_MINER", value_name = "ADDRESS")]
    pub miner: Option<String>,
    /// Generate a block for every transfer that arrives, on a development network
    #[arg(
        long, env = "CHAIN_AUTOMINE", value_name = "BOOL", value_parser = boolean(),
        num_args = 0..=1, require_equals = true, default_missing_value = "true"
    )]
    pub automine: Option<bool>,
    /// Generate a block every number of seconds, on a development network
    ///
    /// Default: none.
    #[arg(long, env = "CHAIN_BLOCK_TIME", value_name = "SECONDS")]
    pub block_time: Option<NonZeroU32>,
    /// Derive the node's key, extra nonces and the clock from a number, on a development network
    ///
    /// Generated blocks are the same at every run then; the clock of a new data directory stands still at
    /// the time of the genesis block. Default: random, and the clock of this machine.
    #[arg(long, env = "CHAIN_SEED", value_name = "N")]
    pub seed: Option<u64>,
    /// Number of mining threads [default: one per processor but one, at least one]
    #[arg(long, env = "CHAIN_THREADS", value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// Mining kernel; `chain bench hash` lists them
    ///
    /// Default: the fastest on this processor, by a trial.
    #[arg(long, env = "CHAIN_KERNEL", value_name = "NAME")]
    pub kernel: Option<String>,
    /// Address and port for Stratum v1 miners, such as 0.0.0.0:3333; port 0 selects any free port
    ///
    /// Default: none.
    #[arg(long, env = "CHAIN_STRATUM", value_name = "ADDRESS:PORT")]
    pub stratum: Option<SocketAddr>,
    /// URL of the Stratum server to show to miners, such as stratum+tcp://pool.example.org:3333
    ///
    /// For a server behind a router or a proxy. Default: the addresses of this machine.
    #[arg(long, env = "CHAIN_STRATUM_URL", value_name = "URL")]
    pub stratum_url: Option<String>,
    /// Maximum number of API connections, and of one address while it is reached [default: 512/64]
    #[arg(long, env = "CHAIN_API_CONNECTIONS", value_name = "TOTAL/SHARE")]
    pub api_connections: Option<LimitSetting>,
    /// Maximum number of responses that wait for a change, and of one address [default: 256/32]
    #[arg(long, env = "CHAIN_HELD_RESPONSES", value_name = "TOTAL/SHARE")]
    pub held_responses: Option<LimitSetting>,
    /// Maximum number of event subscribers, and of one address [default: 256/16]
    #[arg(long, env = "CHAIN_EVENT_READERS", value_name = "TOTAL/SHARE")]
    pub event_readers: Option<LimitSetting>,
    /// Maximum MiB of requests and of responses not yet read, and of one address [default: 64/8]
    #[arg(long, env = "CHAIN_BODY_MB", value_name = "TOTAL/SHARE")]
    pub body_mb: Option<LimitSetting>,
    /// Maximum number of Stratum connections, and of one address [default: 2048/256]
    #[arg(long, env = "CHAIN_STRATUM_CONNECTIONS", value_name = "TOTAL/SHARE")]
    pub stratum_connections: Option<LimitSetting>,
    /// Redis server to publish events to, such as redis://127.0.0.1:6379
    #[arg(long, env = "CHAIN_PUBLISH", value_name = "URL")]
    pub publish: Option<String>,
    /// Memory of the index in MiB: its caches, and changed rows [default: 256]
    #[arg(long, env = "CHAIN_CACHE_MB", value_name = "MIB")]
    pub cache_mb: Option<u32>,
    /// Continue at what is left if the end of the block log is lost
    ///
    /// Without this flag the node does not start then, and names the blocks that are missing.
    #[arg(long)]
    #[serde(skip)]
    pub accept_loss: bool,
    /// Log filter: a level, or levels by module such as info,p2p=debug [default: info]
    #[arg(long, env = "CHAIN_LOG", value_name = "FILTER")]
    pub log: Option<String>,
    /// Log format [default: text]
    #[arg(long, env = "CHAIN_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<logging::Format>,
    /// File to log to instead of stderr; reopened by SIGHUP without a terminal
    #[arg(long, env = "CHAIN_LOG_FILE", value_name = "FILE")]
    pub log_file: Option<PathBuf>,
    /// TOML file with any of these settings
    #[arg(long, env = "CHAIN_CONFIG", value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
}

/// Parses a boolean of a flag or a variable: true, yes, on, 1 and their opposites, in any case.
pub fn boolean() -> BoolishValueParser {
    BoolishValueParser::new()
}

impl Settings {
    /// The settings of the configuration file, overridden by these flags, which `matches` holds
    /// too; the flags alone if they name no file.
    pub fn with_file(self, matches: &ArgMatches) -> Result<Settings> {
        let Some(path) = &self.config else { return Ok(self) };
        // The file may be at fault, and errors are logged in the format of the flags until then.
        logging::set_fatal_format(self.log_format.unwrap_or_default());
        let mut settings = Settings::read(path)?;
        settings.update_from_arg_matches(matches)?;
        Ok(settings)
    }

    /// Starts the log, so that an error in any other setting is logged in its format.
    pub fn start_log(self) -> Result<Settings> {
        let format = self.log_format.unwrap_or_default();
        logging::set_fatal_format(format);
        let log = self.log.as_deref().unwrap_or(DEFAULT_LOG);
        let filter = logging::filter(log);
        let filter = filter.with_context(|| format!("log `{log}` is not a filter"))?;
        if let Some(path) = &self.log_file {
            let context = || format!("log_file: cannot write {}", path.display());
            logging::set_file(path).with_context(context)?;
        }
        logging::start(format, filter);
        Ok(self)
    }

    fn read(path: &Path) -> Result<Settings> {
        let context = || format!("settings in {}", path.display());
        let text = fs::read_to_string(path).with_context(context)?;
        let mut file: Settings = toml_file::parse(&text).with_context(context)?;
        // Paths in a file are relative to the file.
        let directory = path.parent().unwrap_or(Path::new(""));
        let Settings { data, tls_cert, tls_key, log_file, network_key, .. } = &mut file;
        for path in [data, tls_cert, tls_key, log_file, network_key].into_iter().flatten() {
            *path = directory.join(&*path);
        }
        let peers = file.allow_peer.iter_mut().flatten();
        let files = peers.filter(|text| text.parse::<p2p::PeerId>().is_err());
        for path in files {
            *path = directory.join(&*path).to_string_lossy().into_owned();
        }
        if let Some(network) = &mut file.network
            && network::built_in(network).is_none()
        {
            *network = directory.join(&*network).to_string_lossy().into_owned();
        }
        Ok(file)
    }
}
