//! The peer-to-peer configuration of a node. Addresses are multiaddrs, of TCP only.

use super::multiaddr::{address, boot_nodes};
use super::settings::Settings;
use anyhow::{Context, Result, bail};
use chain::Params;
use p2p::Multiaddr;
use p2p::multiaddr::Protocol;
use std::net::Ipv4Addr;

/// Default number of peers: 96 inbound and 16 outbound.
const DEFAULT_MAX_PEERS: u32 = 112;
/// Each peer costs some 100 kB and an open file, of which a process usually has 1,024.
const MAX_PEERS_RANGE: std::ops::RangeInclusive<u32> = 0..=1_000;
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
    /// Whether to discover nodes besides `peers`.
    pub discover: bool,
    /// Whether to discover nodes on the local network, and be discovered.
    pub mdns: bool,
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
        Ok(Peering {
            listen: match &settings.listen {
                None => Listen::Default(default_listen(is_public, spec.ports.peers)),
                Some(texts) => listen(texts)?,
            },
            peers: peers.collect::<Result<_>>()?,
            boot_nodes: boot_nodes(&spec.boot_nodes)?,
            max_peers: usize::try_from(max_peers)?,
            discover,
            mdns: settings.mdns.unwrap_or(is_public && discover),
        })
    }
}

fn default_listen(is_public: bool, port: u16) -> Multiaddr {
    let ip = if is_public { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST };
    Multiaddr::from(ip).with(Protocol::Tcp(port))
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
    fn max_peers_is_limited() {
        let with = |max| Settings { max_peers: Some(max), ..Settings::default() };
        assert_eq!(peering(&with(0), &Params::dev()).max_peers, 0);
        assert!(
            error(Peering::new(&with(1_001), &Params::dev()))
                .contains("max_peers must be 0 to 1000")
        );
    }
}
