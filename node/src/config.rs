//! The configuration of a node: settings with their defaults, validated.

mod data;
mod settings;
mod stratum_url;
pub mod toml_file;

pub mod limits;
pub mod multiaddr;
pub mod network;
pub mod peers;
pub mod trusted_proxies;

pub use data::{data_directories, default_data};
pub use settings::{Settings, boolean};

use crate::seed::Seed;
use crate::tls::Tls;
use anyhow::{Context, Result, bail};
use chain::address::Address;
use chain::params::Params;
use limits::ResourceLimits;
use miner::Kernel;
use peers::Peering;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;
use trusted_proxies::TrustedProxies;

/// Default cache size of the index in MiB.
const DEFAULT_CACHE_MB: u32 = 256;
/// Less makes the index slow; more is probably a typing mistake.
const CACHE_MB_RANGE: std::ops::RangeInclusive<u32> = 16..=65_536;

/// The configuration of a node.
#[derive(Debug)]
pub struct Config {
    /// The network, with its ports and boot nodes.
    pub params: Params,
    /// The data directory, which may not exist yet.
    pub data: PathBuf,
    /// Address of the REST API.
    pub api: SocketAddr,
    /// Host names under which clients may reach the API, besides those of the loopback interface.
    pub api_hosts: Vec<String>,
    /// Reverse proxies whose statements about their clients are believed.
    pub trusted_proxies: TrustedProxies,
    /// The limits of the resources that clients share.
    pub limits: ResourceLimits,
    /// Certificate for HTTPS; `None` for HTTP.
    pub tls: Option<Tls>,
    /// The configuration of peer-to-peer connections.
    pub peering: Peering,
    /// Whether to mine from the start.
    pub mine: bool,
    /// When the node generates blocks by itself.
    pub generation: BlockGeneration,
    /// What the key, extra nonces and the clock derive from; `None` for random ones.
    pub seed: Option<Seed>,
    /// Default address that mined blocks pay.
    pub miner: Option<Address>,
    /// Number of mining threads; `None` for one per processor but one.
    pub threads: Option<NonZeroUsize>,
    /// Mining kernel; `None` for the fastest.
    pub kernel: Option<Kernel>,
    /// Address for Stratum miners; `None` disables Stratum.
    pub stratum: Option<SocketAddr>,
    /// The URL of the Stratum server that miners are shown; `None` for those of its addresses.
    pub stratum_url: Option<String>,
    /// Redis server that events are published to.
    pub publish: Option<redis::Client>,
    /// Cache size of the index in bytes.
    pub cache_bytes: u64,
    /// Whether to continue at what is left if the end of the block log is lost.
    pub accept_loss: bool,
}

/// When a node of a development network generates blocks by itself, without mining threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockGeneration {
    /// Whether a transfer that arrives is confirmed at once.
    pub on_transfer: bool,
    /// The time from one block to the next, with or without transfers.
    pub interval: Option<Duration>,
}

impl BlockGeneration {
    /// Whether the node generates any block by itself.
    pub fn is_enabled(&self) -> bool {
        self.on_transfer || self.interval.is_some()
    }
}

impl Settings {
    /// Adds the defaults and validates all settings but those of the log.
    pub fn validate(self) -> Result<Config> {
        let params = self.params()?;
        let miner = self.miner.as_deref().map(|text| {
            Address::decode_for(text, params.hrp()).with_context(|| format!("miner `{text}`"))
        });
        let default_api = SocketAddr::from((Ipv4Addr::LOCALHOST, params.spec().ports.api));
        let cache_mb = self.cache_mb.unwrap_or(DEFAULT_CACHE_MB);
        if !CACHE_MB_RANGE.contains(&cache_mb) {
            let (min, max) = (CACHE_MB_RANGE.start(), CACHE_MB_RANGE.end());
            bail!("cache_mb must be {min} to {max}, not {cache_mb}");
        }
        self.stratum_url.as_deref().map(stratum_url::check).transpose()?;
        Ok(Config {
            miner: miner.transpose()?,
            peering: Peering::new(&self, &params)?,
            data: self.data.map_or_else(|| default_data(params.name()), Ok)?,
            api: self.api.unwrap_or(default_api),
            api_hosts: self.api_host.unwrap_or_default(),
            trusted_proxies: TrustedProxies::parse(&self.trusted_proxy.unwrap_or_default())?,
            limits: ResourceLimits::new([
                self.api_connections,
                self.held_responses,
                self.event_readers,
                self.body_mb,
                self.stratum_connections,
            ])?,
            tls: tls(self.tls_cert.as_deref(), self.tls_key.as_deref())?,
            mine: self.mine.unwrap_or(false),
            generation: BlockGeneration {
                on_transfer: self.automine.unwrap_or(false),
                interval: self.block_time.map(|seconds| Duration::from_secs(seconds.get().into())),
            },
            seed: self.seed.map(Seed::new),
            threads: self.threads,
            kernel: self.kernel.map(|name| name.parse()).transpose()?,
            stratum: self.stratum,
            stratum_url: self.stratum_url,
            publish: self.publish.as_deref().map(redis_server).transpose()?,
            cache_bytes: u64::from(cache_mb) * 1_048_576,
            accept_loss: self.accept_loss,
            params,
        })
    }

    fn params(&self) -> Result<Params> {
        match (&self.network, &self.data, &self.miner) {
            (Some(network), ..) => network::load(network),
            (None, Some(data), _) if network::is_data(data) => network::of_data(data),
            (None, _, Some(miner)) => network::of_address(miner),
            (None, _, None) => network::load(network::DEFAULT),
        }
    }
}

fn tls(certificate: Option<&Path>, key: Option<&Path>) -> Result<Option<Tls>> {
    match (certificate, key) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => Tls::open(certificate, key).map(Some),
        (Some(_), None) => bail!("tls_cert needs tls_key, the private key of the certificate"),
        (None, Some(_)) => bail!("tls_key needs tls_cert, the certificate of the key"),
    }
}

/// The server at a URL. Errors do not repeat the URL, which may hold a password.
fn redis_server(url: &str) -> Result<redis::Client> {
    let is_plain = url.starts_with("redis://") || url.starts_with("redis+unix://");
    let server = redis::Client::open(url).ok().filter(|_| is_plain);
    server.context("publish: expected the URL of a Redis server such as redis://127.0.0.1:6379")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logging;
    use clap::{Args, FromArgMatches};
    use std::fs;

    /// The settings of flags, of the environment and of the file that they name.
    fn read(flags: &[&str]) -> Result<Settings> {
        let command = Settings::augment_args(clap::Command::new("node").no_binary_name(true));
        let matches = command.get_matches_from(flags);
        Settings::from_arg_matches(&matches)?.with_file(&matches)
    }

    fn validate(flags: &[&str]) -> Result<Config> {
        read(flags)?.validate()
    }

    fn file(text: &str) -> (tempfile::TempDir, String) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.toml");
        fs::write(&path, text).unwrap();
        (directory, path.to_string_lossy().into_owned())
    }

    fn error(flags: &[&str]) -> String {
        format!("{:#}", validate(flags).unwrap_err())
    }

    // R15
    #[test]
    fn api_listens_on_loopback_by_default() {
        let config = validate(&["--data", "x"]).unwrap();
        assert_eq!(config.api, "127.0.0.1:18400".parse().unwrap());
        assert_eq!(config.params.name(), "testnet");
        assert!(!config.mine);
        assert_eq!(config.stratum, None);
        assert_eq!(config.cache_bytes, 256 << 20);
    }

    #[test]
    fn flags_override_the_file() {
        let (_directory, path) = file(
            "network = \"dev\"\ndata = \"a\"\nmine = true\nthreads = 3\nlog_format = \"json\"\n\
             api = \"127.0.0.1:1\"\napi_host = [\"a.example\", \"b.example\"]\n\
             stratum = \"127.0.0.1:3333\"\n",
        );
        let flags = ["--config", &path, "--threads", "2", "--api", "127.0.0.1:2"];
        let settings = read(&flags).unwrap();
        assert_eq!(settings.log_format, Some(logging::Format::Json));
        let config = settings.validate().unwrap();
        assert_eq!(config.params.name(), "dev");
        assert_eq!(config.threads.map(NonZeroUsize::get), Some(2));
        assert_eq!(config.api.port(), 2);
        assert_eq!(config.api_hosts, ["a.example", "b.example"]);
        assert_eq!(config.stratum, Some("127.0.0.1:3333".parse().unwrap()));
        assert!(config.mine);
        let config = validate(&["--config", &path, "--mine=false"]).unwrap();
        assert!(!config.mine);
    }

    #[test]
    fn flags_and_file_configure_peers() {
        let (_directory, path) = file(
            "network = \"dev\"\nmdns = true\nmax_peers = 3\nlisten = [\"/ip4/0.0.0.0/tcp/1\"]\n\
             peer = [\"/ip4/127.0.0.1/tcp/1\"]\n",
        );
        let peering = validate(&["--config", &path]).unwrap().peering;
        assert_eq!((peering.max_peers, peering.mdns, peering.peers.len()), (3, true, 1));
        assert_eq!(peering.listen, peers::Listen::At(vec!["/ip4/0.0.0.0/tcp/1".parse().unwrap()]));
        let peers = ["--peer", "/dns/a/tcp/1", "--peer", "/dns/b/tcp/2,/dns/c/tcp/3"];
        let other = ["--config", &path, "--listen", "none", "--mdns", "false"];
        let peering = validate(&[&other[..], &peers].concat()).unwrap().peering;
        assert_eq!((peering.max_peers, peering.mdns, peering.peers.len()), (3, false, 3));
        assert_eq!(peering.listen, peers::Listen::Nowhere);
        assert!(peering.discover && !validate(&["--discover", "false"]).unwrap().peering.discover);
        let message = error(&["--peer", "10.0.0.1:8401"]);
        assert!(message.contains("peer: `10.0.0.1:8401` is not a multiaddr"), "{message}");
    }

    #[test]
    fn paths_in_a_file_are_relative_to_it() {
        let (directory, path) = file("data = \"a\"\nnetwork = \"my.toml\"\n");
        assert!(error(&["--config", &path]).contains("no network"));
        let config = validate(&["--config", &path, "--network", "main"]).unwrap();
        assert_eq!(config.data, directory.path().join("a"));
    }

    #[test]
    fn errors_name_the_file_and_the_key() {
        let (_directory, path) = file("network = \"dev\"\nlisten_on = \"/ip4/0.0.0.0\"\n");
        let message = error(&["--config", &path]);
        assert!(message.contains(&path) && message.contains("line 2: unknown key `listen_on`"));
        let (_directory, path) = file("config = \"other.toml\"\n");
        assert!(error(&["--config", &path]).contains("unknown key `config`"));
        let unknown = error(&["--data", "x", "--kernel", "gpu"]);
        assert!(unknown.contains("no kernel `gpu`") && unknown.contains("scalar"), "{unknown}");
        let (_directory, path) = file("threads = 0\n");
        assert!(error(&["--config", &path]).contains("line 1"));
        assert!(error(&["--config", "/nowhere.toml"]).contains("/nowhere.toml"));
        assert!(error(&["--cache-mb", "1"]).contains("cache_mb must be 16 to 65536"));
        let message = read(&["--log", "loud=loud"]).unwrap().start_log().unwrap_err();
        assert!(message.to_string().contains("not a filter"), "{message}");
        for url in ["", "127.0.0.1:6379", "http://127.0.0.1", "redis://", "rediss://secret@x"] {
            let message = error(&["--publish", url]);
            assert!(message.contains("publish: expected the URL") && !message.contains("secret"));
        }
    }

    #[test]
    fn certificate_and_key_need_each_other() {
        let (_directory, path) = file("tls_key = \"k.pem\"\n");
        assert!(error(&["--config", &path]).contains("tls_key needs tls_cert"));
        assert!(error(&["--tls-cert", "c.pem"]).contains("tls_cert needs tls_key"));
        // The certificate is a flag, the key of the file, relative to it.
        let message = error(&["--config", &path, "--tls-cert", &path]);
        assert!(message.contains("holds no certificate"), "{message}");
    }

    #[test]
    fn network_is_that_of_the_data_directory() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().to_string_lossy();
        let network = || validate(&["--data", &data]).map(|config| config.params);
        assert_eq!(network().unwrap().name(), "testnet");
        let genesis = Params::main().genesis_hash().to_string();
        fs::write(directory.path().join("genesis"), genesis).unwrap();
        assert_eq!(network().unwrap().name(), "main");
        fs::write(directory.path().join("genesis"), "00").unwrap();
        assert!(format!("{:#}", network().unwrap_err()).contains("--network FILE"));
    }

    // W09
    #[test]
    fn network_is_that_of_the_miner() {
        let miner = Address::ZERO.encode(Params::dev().hrp());
        let config = validate(&["--data", "x", "--miner", &miner]).unwrap();
        assert_eq!(config.params.name(), "dev");
        assert_eq!(config.miner, Some(Address::ZERO));
        let message = error(&["--network", "main", "--miner", &miner]);
        assert!(message.contains("an address of another network"), "{message}");
    }
}
