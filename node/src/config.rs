//! Settings of a node: defaults < file < environment < flags, checked once into a `Config`.
//! One struct declares all three ways to set them, so they cannot drift apart.

mod toml_file;

pub mod network;
pub mod peers;

use crate::logging;
use crate::tls::Tls;
use anyhow::{Context, Result, bail};
use chain::address::Address;
use chain::params::Params;
use miner::Kernel;
use peers::{Peering, Wishes};
use serde::Deserialize;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// The log's filter unless told otherwise.
const DEFAULT_LOG: &str = "info";
/// Memory for the index's cache unless told otherwise, in MiB.
const DEFAULT_CACHE_MB: u32 = 256;
/// Below 16 MiB the index crawls; above 64 GiB the number is a typing mistake.
const CACHE_MB_RANGE: std::ops::RangeInclusive<u32> = 16..=65_536;

/// What may be set, and how: each is a flag, an environment variable and a key of the file.
#[derive(Clone, Debug, Default, clap::Args, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// A built-in network (main, testnet, dev) or the path of a network file
    ///
    /// Default: the network of the --miner address or of the data folder, otherwise testnet.
    #[arg(long, env = "CHAIN_NETWORK", value_name = "NAME|FILE")]
    network: Option<String>,
    /// The folder for everything that is kept
    ///
    /// Default: the folder `chain/NETWORK` in the platform's data folder.
    #[arg(long, env = "CHAIN_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where the REST API listens
    ///
    /// Default: 127.0.0.1 and the network's port. Port 0 takes any free one.
    #[arg(long, env = "CHAIN_API", value_name = "ADDRESS:PORT")]
    api: Option<SocketAddr>,
    /// A further name by which clients may call the API (repeatable)
    #[arg(long, env = "CHAIN_API_HOST", value_name = "NAME", value_delimiter = ',')]
    api_host: Option<Vec<String>>,
    /// The certificate by which the REST API speaks https, in PEM; after it those that lead to a root
    ///
    /// Default: none, it speaks http.
    #[arg(long, env = "CHAIN_TLS_CERT", value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// The key of that certificate, in PEM
    #[arg(long, env = "CHAIN_TLS_KEY", value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// Where other nodes can call this one (repeatable); `none` for nowhere
    ///
    /// Default: every address of this machine and the network's port, on `dev` 127.0.0.1 alone.
    #[arg(long, env = "CHAIN_LISTEN", value_name = "MULTIADDR", value_delimiter = ',')]
    listen: Option<Vec<String>>,
    /// A node to stay connected with, such as /ip4/192.0.2.7/tcp/8401 (repeatable)
    #[arg(long, env = "CHAIN_PEER", value_name = "MULTIADDR", value_delimiter = ',')]
    peer: Option<Vec<String>>,
    /// Most peers; 0 for a node that is alone [default: 112]
    #[arg(long, env = "CHAIN_MAX_PEERS", value_name = "N")]
    max_peers: Option<u32>,
    /// Whether to look for other nodes; `false` calls those alone that --peer names [default: true]
    #[arg(long, env = "CHAIN_DISCOVER", value_name = "BOOL")]
    discover: Option<bool>,
    /// Whether to find nodes on the local network by mDNS, and be found
    ///
    /// Default: true, on `dev` false.
    #[arg(long, env = "CHAIN_MDNS", value_name = "BOOL")]
    mdns: Option<bool>,
    /// Mine from the start
    #[arg(
        long, env = "CHAIN_MINE", value_name = "BOOL",
        num_args = 0..=1, require_equals = true, default_missing_value = "true"
    )]
    mine: Option<bool>,
    /// The address that mined blocks pay
    #[arg(long, env = "CHAIN_MINER", value_name = "ADDRESS")]
    miner: Option<String>,
    /// Mining threads
    ///
    /// Default: one for each processor.
    #[arg(long, env = "CHAIN_THREADS", value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// What the mining threads hash with, by the names that `chain bench hash` shows
    ///
    /// Default: what a trial finds the fastest on this processor.
    #[arg(long, env = "CHAIN_KERNEL", value_name = "NAME")]
    kernel: Option<String>,
    /// Where mining machines connect by Stratum v1, such as 0.0.0.0:3333; port 0 takes any free one
    ///
    /// Default: nowhere.
    #[arg(long, env = "CHAIN_STRATUM", value_name = "ADDRESS:PORT")]
    stratum: Option<SocketAddr>,
    /// A Redis server to publish events to, such as redis://127.0.0.1:6379
    #[arg(long, env = "CHAIN_PUBLISH", value_name = "URL")]
    publish: Option<String>,
    /// Memory for the cache of the index, in MiB [default: 256]
    #[arg(long, env = "CHAIN_CACHE_MB", value_name = "MIB")]
    cache_mb: Option<u32>,
    /// What is logged: a level, or levels by module such as info,p2p=debug [default: info]
    #[arg(long, env = "CHAIN_LOG", value_name = "FILTER")]
    log: Option<String>,
    /// How a line of the log looks [default: text]
    #[arg(long, env = "CHAIN_LOG_FORMAT", value_name = "FORMAT")]
    log_format: Option<logging::Format>,
    /// A TOML file with any of these settings
    #[arg(long, env = "CHAIN_CONFIG", value_name = "FILE")]
    #[serde(skip)]
    config: Option<PathBuf>,
}

/// The settings of a node, checked.
#[derive(Debug)]
pub struct Config {
    /// The network, with its ports and boot nodes.
    pub params: Params,
    /// The folder for everything that is kept; it may not exist yet.
    pub data: PathBuf,
    /// Where the REST API listens.
    pub api: SocketAddr,
    /// Names by which clients may call the API, besides those of the loopback interface.
    pub api_hosts: Vec<String>,
    /// By what it speaks https; `None` for http.
    pub tls: Option<Tls>,
    /// How to take part in the network.
    pub peering: Peering,
    /// Whether to mine from the start.
    pub mine: bool,
    /// Whom mined blocks pay, unless a job says otherwise.
    pub miner: Option<Address>,
    /// Mining threads; `None` for one each processor.
    pub threads: Option<NonZeroUsize>,
    /// What they hash with; `None` for the fastest.
    pub kernel: Option<Kernel>,
    /// Where mining machines connect; `None` for nowhere.
    pub stratum: Option<SocketAddr>,
    /// The Redis server that events are published to.
    pub publish: Option<redis::Client>,
    /// Bytes for the cache of the index.
    pub cache_bytes: u64,
}

impl Settings {
    /// Those of the node that `chain mine` starts: it speaks up only when something is wrong.
    pub fn embedded(
        network: &str,
        data: Option<PathBuf>,
        api: Option<SocketAddr>,
        wishes: Wishes,
    ) -> Settings {
        let (network, log) = (Some(network.to_owned()), Some("warn".to_owned()));
        let Wishes { listen, peer, max_peers, discover, mdns } = wishes;
        Settings {
            network,
            data,
            api,
            listen,
            peer,
            max_peers,
            discover,
            mdns,
            log,
            ..Settings::default()
        }
    }

    /// Reads the file if one is named, and starts the log: first, so that whatever is wrong with
    /// the rest is told as the log is.
    pub fn start_log(self) -> Result<Settings> {
        // The file or the filter may be what is wrong.
        logging::complain_as(self.log_format.unwrap_or_default());
        let settings = self.with_file()?;
        let format = settings.log_format.unwrap_or_default();
        logging::complain_as(format);
        let log = settings.log.as_deref().unwrap_or(DEFAULT_LOG);
        let filter = logging::filter(log);
        logging::start(format, filter.with_context(|| format!("log `{log}` is not a filter"))?);
        Ok(settings)
    }

    fn with_file(mut self) -> Result<Settings> {
        match self.config.take() {
            Some(path) => Ok(self.over(Settings::read(&path)?)),
            None => Ok(self),
        }
    }

    /// Reads the file if one is named, fills in the defaults, and checks everything but the log's.
    pub fn check(self) -> Result<Config> {
        let settings = self.with_file()?;
        let params = settings.params()?;
        let miner = settings.miner.as_deref().map(|text| {
            Address::decode_for(text, params.hrp()).with_context(|| format!("miner `{text}`"))
        });
        let miner = miner.transpose()?;
        let data = match settings.data {
            Some(data) => data,
            None => default_data(params.name())?,
        };
        let default_api = SocketAddr::from((Ipv4Addr::LOCALHOST, params.spec().ports.api));
        let cache_mb = settings.cache_mb.unwrap_or(DEFAULT_CACHE_MB);
        if !CACHE_MB_RANGE.contains(&cache_mb) {
            let (least, most) = (CACHE_MB_RANGE.start(), CACHE_MB_RANGE.end());
            bail!("cache_mb must be {least} to {most}, not {cache_mb}");
        }
        let wishes = Wishes {
            listen: settings.listen,
            peer: settings.peer,
            max_peers: settings.max_peers,
            discover: settings.discover,
            mdns: settings.mdns,
        };
        Ok(Config {
            peering: wishes.check(&params)?,
            data,
            miner,
            api: settings.api.unwrap_or(default_api),
            api_hosts: settings.api_host.unwrap_or_default(),
            tls: tls(settings.tls_cert.as_deref(), settings.tls_key.as_deref())?,
            mine: settings.mine.unwrap_or(false),
            threads: settings.threads,
            kernel: settings.kernel.map(|name| name.parse()).transpose()?,
            stratum: settings.stratum,
            publish: settings.publish.as_deref().map(redis_server).transpose()?,
            cache_bytes: u64::from(cache_mb) * 1_048_576,
            params,
        })
    }

    fn params(&self) -> Result<Params> {
        match (&self.network, &self.miner) {
            (Some(network), _) => network::load(network),
            (None, Some(miner)) => network::of_address(miner),
            (None, None) => match &self.data {
                Some(data) if network::is_data(data) => network::of_data(data),
                _ => network::load(network::DEFAULT),
            },
        }
    }

    fn read(path: &Path) -> Result<Settings> {
        let context = || format!("settings in {}", path.display());
        let text = fs::read_to_string(path).with_context(context)?;
        let mut file: Settings = toml_file::parse(&text).with_context(context)?;
        // Paths in a file are meant as seen from the file.
        let folder = path.parent().unwrap_or(Path::new(""));
        for path in [&mut file.data, &mut file.tls_cert, &mut file.tls_key].into_iter().flatten() {
            *path = folder.join(&*path);
        }
        if let Some(network) = &mut file.network
            && network::built_in(network).is_none()
        {
            *network = folder.join(&*network).to_string_lossy().into_owned();
        }
        Ok(file)
    }

    /// What is set here, otherwise what is set below.
    fn over(self, below: Settings) -> Settings {
        Settings {
            network: self.network.or(below.network),
            data: self.data.or(below.data),
            api: self.api.or(below.api),
            api_host: self.api_host.or(below.api_host),
            tls_cert: self.tls_cert.or(below.tls_cert),
            tls_key: self.tls_key.or(below.tls_key),
            listen: self.listen.or(below.listen),
            peer: self.peer.or(below.peer),
            max_peers: self.max_peers.or(below.max_peers),
            discover: self.discover.or(below.discover),
            mdns: self.mdns.or(below.mdns),
            mine: self.mine.or(below.mine),
            miner: self.miner.or(below.miner),
            threads: self.threads.or(below.threads),
            kernel: self.kernel.or(below.kernel),
            stratum: self.stratum.or(below.stratum),
            publish: self.publish.or(below.publish),
            cache_mb: self.cache_mb.or(below.cache_mb),
            log: self.log.or(below.log),
            log_format: self.log_format.or(below.log_format),
            config: self.config,
        }
    }
}

/// The data folder of a network unless told otherwise.
pub fn default_data(network: &str) -> Result<PathBuf> {
    let folders = directories::BaseDirs::new()
        .context("this user has no home folder to keep data in: give --data DIR")?;
    Ok(folders.data_dir().join("chain").join(network))
}

fn tls(certificate: Option<&Path>, key: Option<&Path>) -> Result<Option<Tls>> {
    match (certificate, key) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => Tls::open(certificate, key).map(Some),
        (Some(_), None) => bail!("tls_cert needs tls_key, the key of that certificate"),
        (None, Some(_)) => bail!("tls_key needs tls_cert, the certificate that it is of"),
    }
}

/// The server at a URL, which may hold a password: errors do not repeat it.
fn redis_server(url: &str) -> Result<redis::Client> {
    let ours = url.starts_with("redis://") || url.starts_with("redis+unix://");
    let server = redis::Client::open(url).ok().filter(|_| ours);
    server.context("publish: give the URL of a Redis server such as redis://127.0.0.1:6379")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args, FromArgMatches};

    /// As the flags of a command, environment included.
    fn flags(flags: &[&str]) -> Settings {
        let command = Settings::augment_args(clap::Command::new("node").no_binary_name(true));
        Settings::from_arg_matches(&command.get_matches_from(flags)).unwrap()
    }

    fn file(text: &str) -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.toml");
        fs::write(&path, text).unwrap();
        (folder, path.to_string_lossy().into_owned())
    }

    fn error(settings: Settings) -> String {
        format!("{:#}", settings.check().unwrap_err())
    }

    // R15
    #[test]
    fn the_api_is_for_this_machine_alone_unless_told_otherwise() {
        let config = flags(&["--data", "x"]).check().unwrap();
        assert_eq!(config.api, "127.0.0.1:8400".parse().unwrap());
        assert_eq!(config.params.name(), "testnet");
        assert!(!config.mine);
        assert_eq!(config.stratum, None);
        assert_eq!(config.cache_bytes, 256 << 20);
    }

    #[test]
    fn flags_win_over_the_file() {
        let (_folder, path) = file(
            "network = \"dev\"\ndata = \"a\"\nmine = true\nthreads = 3\nlog_format = \"json\"\n\
             api = \"127.0.0.1:1\"\napi_host = [\"a.example\", \"b.example\"]\n\
             stratum = \"127.0.0.1:3333\"\n",
        );
        let config = flags(&["--config", &path, "--threads", "2", "--api", "127.0.0.1:2"]);
        let config = config.with_file().unwrap();
        assert_eq!(config.log_format, Some(logging::Format::Json));
        let config = config.check().unwrap();
        assert_eq!(config.params.name(), "dev");
        assert_eq!(config.threads.map(NonZeroUsize::get), Some(2));
        assert_eq!(config.api.port(), 2);
        assert_eq!(config.api_hosts, ["a.example", "b.example"]);
        assert_eq!(config.stratum, Some("127.0.0.1:3333".parse().unwrap()));
        assert!(config.mine);
        let config = flags(&["--config", &path, "--mine=false"]).check().unwrap();
        assert!(!config.mine);
    }

    #[test]
    fn peers_are_set_by_flags_and_by_the_file() {
        let (_folder, path) = file(
            "network = \"dev\"\nmdns = true\nmax_peers = 3\nlisten = [\"/ip4/0.0.0.0/tcp/1\"]\n\
             peer = [\"/ip4/127.0.0.1/tcp/1\"]\n",
        );
        let peering = flags(&["--config", &path]).check().unwrap().peering;
        assert_eq!((peering.max_peers, peering.mdns, peering.peers.len()), (3, true, 1));
        assert_eq!(peering.listen, peers::Listen::At(vec!["/ip4/0.0.0.0/tcp/1".parse().unwrap()]));
        let peers = ["--peer", "/dns/a/tcp/1", "--peer", "/dns/b/tcp/2,/dns/c/tcp/3"];
        let other = ["--config", &path, "--listen", "none", "--mdns", "false"];
        let peering = flags(&[&other[..], &peers].concat()).check().unwrap().peering;
        assert_eq!((peering.max_peers, peering.mdns, peering.peers.len()), (3, false, 3));
        assert_eq!(peering.listen, peers::Listen::Nowhere);
        assert!(
            peering.discover && !flags(&["--discover", "false"]).check().unwrap().peering.discover
        );
        let message = error(flags(&["--peer", "10.0.0.1:8401"]));
        assert!(message.contains("peer: `10.0.0.1:8401` is no multiaddr"), "{message}");
    }

    #[test]
    fn paths_in_a_file_are_seen_from_the_file() {
        let (folder, path) = file("data = \"a\"\nnetwork = \"my.toml\"\n");
        assert!(error(flags(&["--config", &path])).contains("no network"));
        let config = flags(&["--config", &path, "--network", "main"]).check().unwrap();
        assert_eq!(config.data, folder.path().join("a"));
    }

    #[test]
    fn unknown_keys_and_bad_values_are_named_with_their_file() {
        let (_folder, path) = file("network = \"dev\"\nlisten_on = \"/ip4/0.0.0.0\"\n");
        let message = error(flags(&["--config", &path]));
        assert!(message.contains(&path) && message.contains("line 2: unknown key `listen_on`"));
        let (_folder, path) = file("config = \"other.toml\"\n");
        assert!(error(flags(&["--config", &path])).contains("unknown key `config`"));
        let unknown = error(flags(&["--data", "x", "--kernel", "gpu"]));
        assert!(unknown.contains("no kernel `gpu`") && unknown.contains("scalar"), "{unknown}");
        let (_folder, path) = file("threads = 0\n");
        assert!(error(flags(&["--config", &path])).contains("line 1"));
        assert!(error(flags(&["--config", "/nowhere.toml"])).contains("/nowhere.toml"));
        assert!(error(flags(&["--cache-mb", "1"])).contains("cache_mb must be 16 to 65536"));
        let message = flags(&["--log", "loud=loud"]).start_log().unwrap_err();
        assert!(message.to_string().contains("not a filter"), "{message}");
        for url in ["", "127.0.0.1:6379", "http://127.0.0.1", "redis://", "rediss://secret@x"] {
            let message = error(flags(&["--publish", url]));
            assert!(message.contains("publish: give the URL") && !message.contains("secret"));
        }
    }

    #[test]
    fn a_certificate_needs_its_key_and_a_key_its_certificate() {
        let (_folder, path) = file("tls_key = \"k.pem\"\n");
        assert!(error(flags(&["--config", &path])).contains("tls_key needs tls_cert"));
        assert!(error(flags(&["--tls-cert", "c.pem"])).contains("tls_cert needs tls_key"));
        // One of the flags, one of the file, which means its own folder.
        let message = error(flags(&["--config", &path, "--tls-cert", &path]));
        assert!(message.contains("holds no certificate"), "{message}");
    }

    #[test]
    fn a_data_folder_in_use_names_its_network() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().to_string_lossy();
        let network = || flags(&["--data", &data]).check().map(|config| config.params);
        assert_eq!(network().unwrap().name(), "testnet");
        let genesis = Params::main().genesis_hash().to_string();
        fs::write(folder.path().join("genesis"), genesis).unwrap();
        assert_eq!(network().unwrap().name(), "main");
        fs::write(folder.path().join("genesis"), "00").unwrap();
        assert!(format!("{:#}", network().unwrap_err()).contains("--network FILE"));
    }

    // W09
    #[test]
    fn the_miner_names_the_network_and_must_belong_to_it() {
        let miner = Address::ZERO.encode(Params::dev().hrp());
        let config = flags(&["--data", "x", "--miner", &miner]).check().unwrap();
        assert_eq!(config.params.name(), "dev");
        assert_eq!(config.miner, Some(Address::ZERO));
        let message = error(flags(&["--network", "main", "--miner", &miner]));
        assert!(message.contains("an address of another network"), "{message}");
    }
}
