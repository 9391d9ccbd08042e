//! The peer-to-peer configuration of a node. Addresses are multiaddrs, of TCP only.

use super::multiaddr::{address, boot_nodes};
use super::settings::Settings;
use anyhow::{Context, Result, bail, ensure};
use chain::Params;
use p2p::multiaddr::Protocol;
use p2p::{Cidr, Multiaddr, NetworkKey, PeerId};
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

/// Default number of peers: 96 inbound and 16 outbound.
const DEFAULT_MAX_PEERS: u32 = 112;
/// Each peer costs some 100 kB and an open file, of which a process usually has 1,024.
const MAX_PEERS_RANGE: std::ops::RangeInclusive<u32> = 0..=1_000;
/// Default upload limit in bytes per second.
const DEFAULT_MAX_UPLOAD: u64 = 8_000_000;
/// The value of `--listen` that disables listening.
const NOWHERE: &str = "none";

/// The peer-to-peer configuration of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peering {
    /// Addresses to accept peers on.
    pub listen: Listen,
    /// Nodes to stay connected to.
    pub peers: Vec<Multiaddr>,
    /// Nodes to request further addresses from.
    pub boot_nodes: Vec<Multiaddr>,
    /// Maximum number of peers; 0 disables networking.
    pub max_peers: usize,
    /// Bytes of blocks served per second to peers outside the local network; 0 for no limit.
    pub max_upload: u64,
    /// Whether to discover nodes besides `peers`.
    pub discover: bool,
    /// Whether to discover nodes on the local network, and be discovered.
    pub mdns: bool,
    /// The only peers that may connect; all, if there are none.
    pub allowed_peers: Vec<PeerId>,
    /// The key of a private network.
    pub network_key: Option<NetworkKey>,
    /// IP addresses that are exempt from limits.
    pub trusted: Vec<Cidr>,
    /// Addresses to advertise besides those of `listen`.
    pub external_addresses: Vec<Multiaddr>,
}

/// Addresses to accept peers on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// Listen on no address: accept no peers.
    Nowhere,
    /// The port of the network, or any free one if that is in use.
    Default(Multiaddr),
    /// Listen on exactly these addresses.
    At(Vec<Multiaddr>),
}

impl Peering {
    /// Adds the defaults of the network to the settings and validates them.
    pub fn new(settings: &Settings, params: &Params) -> Result<Peering> {
        let spec = params.spec();
        let max_peers = settings.max_peers.unwrap_or(DEFAULT_MAX_PEERS);
        if !MAX_PEERS_RANGE.contains(&max_peers) {
            let (min, max) = (MAX_PEERS_RANGE.start(), MAX_PEERS_RANGE.end());
            bail!("max_peers must be {min} to {max}, not {max_peers}");
        }
        // Where blocks need no work, anyone who can connect could rewrite the chain.
        let is_public = !spec.fixed_difficulty;
        let peers = settings.peer.iter().flatten().map(|text| address(text).context("peer"));
        let discover = settings.discover.unwrap_or(true);
        let network_key = settings.network_key.as_deref().map(network_key).transpose()?;
        if network_key.is_some() && settings.mdns == Some(true) {
            bail!("mdns cannot be used with network_key: it would advertise the private network");
        }
        let trusted = settings.trust.iter().flatten();
        let trusted = trusted.map(|text| text.parse::<Cidr>().context("trust"));
        let external = settings.external_address.iter().flatten();
        let external = external.map(|text| address(text).context("external_address"));
        Ok(Peering {
            listen: match &settings.listen {
                None => Listen::Default(default_listen(is_public, spec.ports.peers)),
                Some(texts) => listen(texts)?,
            },
            peers: peers.collect::<Result<_>>()?,
            boot_nodes: boot_nodes(&spec.boot_nodes)?,
            max_peers: usize::try_from(max_peers)?,
            max_upload: settings.max_upload.unwrap_or(DEFAULT_MAX_UPLOAD),
            discover,
            mdns: settings.mdns.unwrap_or(is_public && discover && network_key.is_none()),
            allowed_peers: allowed_peers(settings.allow_peer.as_deref().unwrap_or_default())?,
            network_key,
            trusted: trusted.collect::<Result<_>>()?,
            external_addresses: external.collect::<Result<_>>()?,
        })
    }
}

fn default_listen(is_public: bool, port: u16) -> Multiaddr {
    let ip = if is_public { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST };
    Multiaddr::from(ip).with(Protocol::Tcp(port))
}

/// The peers of ids, and of files with an id on each line; `#` starts a comment.
fn allowed_peers(texts: &[String]) -> Result<Vec<PeerId>> {
    let mut peers = Vec::new();
    for text in texts {
        if let Ok(peer) = text.parse() {
            peers.push(peer);
            continue;
        }
        let context = || format!("allow_peer: `{text}` is neither a peer id nor a readable file");
        let lines = fs::read_to_string(text).with_context(context)?;
        let lines = lines.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
        let before = peers.len();
        for line in lines.filter(|line| !line.is_empty()) {
            let context = || format!("allow_peer: `{line}` in {text} is not a peer id");
            peers.push(line.parse().with_context(context)?);
        }
        // An empty file would open the node to all.
        ensure!(peers.len() > before, "allow_peer: {text} contains no peer id");
    }
    Ok(peers)
}

fn network_key(path: &Path) -> Result<NetworkKey> {
    let context = || format!("network_key: cannot read {}", path.display());
    let key = NetworkKey::read(path).with_context(context)?;
    if is_world_readable(path) {
        tracing::warn!("network key file is world-readable: chmod o-r {}", path.display());
    }
    Ok(key)
}

#[cfg(unix)]
fn is_world_readable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
}

#[cfg(not(unix))]
fn is_world_readable(_path: &Path) -> bool {
    false
}

fn listen(texts: &[String]) -> Result<Listen> {
    match texts {
        [only] if only == NOWHERE => Ok(Listen::Nowhere),
        _ => texts.iter().map(|text| listen_address(text)).collect::<Result<_>>().map(Listen::At),
    }
}

fn listen_address(text: &str) -> Result<Multiaddr> {
    let address: Option<Multiaddr> = text.parse().ok();
    let address = address.filter(|address| {
        let parts: Vec<_> = address.iter().collect();
        matches!(parts[..], [Protocol::Ip4(_) | Protocol::Ip6(_), Protocol::Tcp(_)])
    });
    address.with_context(|| {
        format!(
            "listen: `{text}` is not an address to listen on, such as /ip4/0.0.0.0/tcp/8401, nor \
             `{NOWHERE}`"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peering(settings: &Settings, params: &Params) -> Peering {
        Peering::new(settings, params).unwrap()
    }

    fn error(result: Result<impl std::fmt::Debug>) -> String {
        format!("{:#}", result.unwrap_err())
    }

    #[test]
    fn networks_without_work_listen_on_loopback() {
        let dev = peering(&Settings::default(), &Params::dev());
        let local = "/ip4/127.0.0.1/tcp/28401".parse().unwrap();
        assert_eq!((dev.listen, dev.mdns), (Listen::Default(local), false));
        let testnet = peering(&Settings::default(), &Params::testnet());
        let everywhere = "/ip4/0.0.0.0/tcp/18401".parse().unwrap();
        assert_eq!((testnet.listen, testnet.mdns), (Listen::Default(everywhere), true));
        assert_eq!((testnet.max_peers, testnet.peers.len()), (112, 0));
        let mdns = Settings { mdns: Some(true), ..Settings::default() };
        assert!(peering(&mdns, &Params::dev()).mdns);
    }

    #[test]
    fn listen_accepts_local_addresses_or_none() {
        let listen = |texts: &[&str]| {
            let texts = texts.iter().map(|text| (*text).to_owned()).collect();
            let settings = Settings { listen: Some(texts), ..Settings::default() };
            Peering::new(&settings, &Params::dev()).map(|peering| peering.listen)
        };
        assert_eq!(listen(&["none"]).unwrap(), Listen::Nowhere);
        let both = ["/ip4/0.0.0.0/tcp/0", "/ip6/::/tcp/1"];
        let expected = both.iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(listen(&both).unwrap(), Listen::At(expected));
        for bad in ["127.0.0.1:8401", "/ip4/0.0.0.0", "/dns/a/tcp/1", "/ip4/0.0.0.0/udp/1", ""] {
            let message = error(listen(&[bad]));
            assert!(message.contains("/ip4/0.0.0.0/tcp/8401"), "{message}");
        }
        assert!(listen(&["none", both[0]]).is_err());
    }

    #[test]
    fn allowed_peers_are_ids_or_files_of_ids() {
        let [one, two] = [(); 2].map(|()| PeerId::random());
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("peers");
        let allow = |content: &str| {
            fs::write(&path, content).unwrap();
            let texts = vec![one.to_string(), path.to_string_lossy().into_owned()];
            let settings = Settings { allow_peer: Some(texts), ..Settings::default() };
            Peering::new(&settings, &Params::dev()).map(|peering| peering.allowed_peers)
        };
        assert_eq!(allow(&format!("# ours\n{two} # at home\n\n")).unwrap(), [one, two]);
        assert!(error(allow("12D3\n")).contains("`12D3` in"));
        assert!(error(allow("# none\n")).contains("contains no peer id"));
        let settings = Settings { allow_peer: Some(vec!["12D3".into()]), ..Settings::default() };
        let message = error(Peering::new(&settings, &Params::dev()));
        assert!(message.contains("`12D3` is neither a peer id nor a readable file"), "{message}");
        assert_eq!(peering(&Settings::default(), &Params::dev()).allowed_peers, []);
    }

    #[test]
    fn network_key_disables_mdns_and_is_never_shown() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("network.key");
        let content = NetworkKey::generate().unwrap().to_file_content();
        fs::write(&path, &content).unwrap();
        let with_key = Settings { network_key: Some(path.clone()), ..Settings::default() };
        let private = peering(&with_key, &Params::testnet());
        assert!(private.network_key.is_some() && !private.mdns);
        let secret = content.lines().last().unwrap();
        assert!(!format!("{private:?}").contains(&secret[..8]));
        let both = Settings { mdns: Some(true), ..with_key.clone() };
        assert!(error(Peering::new(&both, &Params::testnet())).contains("mdns"));
        fs::write(&path, secret).unwrap();
        let message = error(Peering::new(&with_key, &Params::testnet()));
        assert!(message.contains("network-key") && !message.contains(&secret[..8]), "{message}");
    }

    #[test]
    fn trusted_ranges_and_external_addresses_are_validated() {
        let settings = |trust: &str, external: &str| Settings {
            trust: Some(vec![trust.to_owned()]),
            external_address: Some(vec![external.to_owned()]),
            ..Settings::default()
        };
        let valid = peering(&settings("10.0.0.0/8", "/ip4/192.0.2.7/tcp/9"), &Params::dev());
        assert_eq!(valid.trusted, ["10.0.0.0/8".parse().unwrap()]);
        assert_eq!(valid.external_addresses, ["/ip4/192.0.2.7/tcp/9".parse().unwrap()]);
        let bad = settings("10.0.0.0/40", "/ip4/192.0.2.7/tcp/9");
        assert!(error(Peering::new(&bad, &Params::dev())).contains("trust: `10.0.0.0/40`"));
        let bad = settings("10.0.0.0/8", "192.0.2.7:9");
        assert!(error(Peering::new(&bad, &Params::dev())).starts_with("external_address: "));
    }

    #[test]
    fn max_peers_is_limited() {
        let with = |max| Settings { max_peers: Some(max), ..Settings::default() };
        assert_eq!(peering(&with(0), &Params::dev()).max_peers, 0);
        assert!(
            error(Peering::new(&with(1_001), &Params::dev()))
                .contains("max_peers must be 0 to 1000")
        );
    }
}
