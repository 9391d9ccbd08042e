//! Where a node listens for others and whom it calls. Addresses are multiaddrs, of TCP only.

use anyhow::{Context, Result, bail, ensure};
use chain::Params;
use p2p::Multiaddr;
use p2p::multiaddr::Protocol;
use std::net::{IpAddr, Ipv4Addr};

/// Most peers unless told otherwise: 96 that call and some that are called.
const DEFAULT_MAX: u32 = 112;
/// Each peer costs some 100 kB and an open file, of which a process usually has 1,024.
const MAX_RANGE: std::ops::RangeInclusive<u32> = 0..=1_000;
/// What `--listen` says instead of an address.
const NOWHERE: &str = "none";

/// How a node takes part, as settings say it.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// Multiaddrs to listen on, or `none`.
    pub listen: Option<Vec<String>>,
    /// Multiaddrs to call.
    pub peer: Option<Vec<String>>,
    /// Most peers.
    pub max_peers: Option<u32>,
    /// Whether to look for nodes besides those named.
    pub discover: Option<bool>,
    /// Whether to find nodes on the local network, and be found.
    pub mdns: Option<bool>,
}

/// How a node takes part, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peering {
    /// Where others can call this node.
    pub listen: Listen,
    /// Nodes to stay connected with.
    pub peers: Vec<Multiaddr>,
    /// Nodes to ask for others.
    pub boot_nodes: Vec<Multiaddr>,
    /// Most peers; with 0 the node is alone.
    pub max_peers: usize,
    /// Whether to look for nodes besides those named.
    pub discover: bool,
    /// Whether to find nodes on the local network, and be found.
    pub mdns: bool,
}

/// Where others can call a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// Nowhere.
    Nowhere,
    /// At the network's port, or at any free one if that is taken.
    Default(Multiaddr),
    /// There and nowhere else.
    At(Vec<Multiaddr>),
}

impl Wishes {
    /// Fills in what suits the network, and checks everything.
    pub fn check(self, params: &Params) -> Result<Peering> {
        let spec = params.spec();
        let max_peers = self.max_peers.unwrap_or(DEFAULT_MAX);
        if !MAX_RANGE.contains(&max_peers) {
            bail!(
                "max_peers must be {} to {}, not {max_peers}",
                MAX_RANGE.start(),
                MAX_RANGE.end()
            );
        }
        // Where blocks take no work, whoever can call the node can rewrite its chain.
        let everywhere = !spec.fixed_difficulty;
        let peers = self.peer.unwrap_or_default();
        let peers = peers.iter().map(|text| address(text).context("peer"));
        Ok(Peering {
            listen: match self.listen {
                None => Listen::Default(default_listen(everywhere, spec.ports.peers)),
                Some(texts) => listen(&texts)?,
            },
            peers: peers.collect::<Result<_>>()?,
            boot_nodes: boot_nodes(&spec.boot_nodes)?,
            max_peers: usize::try_from(max_peers)?,
            discover: self.discover.unwrap_or(true),
            mdns: self.mdns.unwrap_or(everywhere && self.discover.unwrap_or(true)),
        })
    }
}

fn default_listen(everywhere: bool, port: u16) -> Multiaddr {
    let ip = if everywhere { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST };
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
            "listen: `{text}` is no address to listen on: one looks like /ip4/0.0.0.0/tcp/8401, \
             and `{NOWHERE}` alone means nowhere"
        )
    })
}

/// The boot nodes of a network.
pub fn boot_nodes(texts: &[String]) -> Result<Vec<Multiaddr>> {
    texts.iter().map(|text| address(text).context("boot_nodes")).collect()
}

/// Where a node can be called: an IP address or a name, a TCP port, perhaps the node's id.
pub fn address(text: &str) -> Result<Multiaddr> {
    let address: Option<Multiaddr> = text.parse().ok();
    let address = address.with_context(|| {
        format!("`{text}` is no multiaddr: one looks like /ip4/192.0.2.7/tcp/8401")
    })?;
    let mut parts = address.iter();
    let host_is_good = match parts.next() {
        Some(Protocol::Ip4(ip)) => can_be_called(ip.into()),
        Some(Protocol::Ip6(ip)) => can_be_called(ip.to_canonical()),
        Some(Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_)) => true,
        _ => false,
    };
    ensure!(host_is_good, "`{text}` does not begin with a node's IP address or name");
    let port_is_good = matches!(parts.next(), Some(Protocol::Tcp(port)) if port != 0);
    ensure!(port_is_good, "`{text}` has no TCP port after its host: one looks like /tcp/8401");
    let end_is_good = matches!((parts.next(), parts.next()), (None | Some(Protocol::P2p(_)), None));
    ensure!(end_is_good, "`{text}` has more after its port than a node's id, /p2p/12D3Koo…");
    Ok(address)
}

/// Addresses that are no single machine, or hand out a machine's secrets, are never called.
fn can_be_called(ip: IpAddr) -> bool {
    let is_link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !(is_link_local || ip.is_unspecified() || ip.is_multicast())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(wishes: Wishes, params: &Params) -> Peering {
        wishes.check(params).unwrap()
    }

    fn error(result: Result<impl std::fmt::Debug>) -> String {
        format!("{:#}", result.unwrap_err())
    }

    #[test]
    fn where_blocks_take_no_work_a_node_keeps_to_its_machine() {
        let dev = checked(Wishes::default(), &Params::dev());
        let local = "/ip4/127.0.0.1/tcp/8401".parse().unwrap();
        assert_eq!((dev.listen, dev.mdns), (Listen::Default(local), false));
        let testnet = checked(Wishes::default(), &Params::testnet());
        let everywhere = "/ip4/0.0.0.0/tcp/8401".parse().unwrap();
        assert_eq!((testnet.listen, testnet.mdns), (Listen::Default(everywhere), true));
        assert_eq!((testnet.max_peers, testnet.peers.len()), (112, 0));
        let mdns = Wishes { mdns: Some(true), ..Wishes::default() };
        assert!(checked(mdns, &Params::dev()).mdns);
    }

    #[test]
    fn places_to_listen_are_addresses_of_this_machine_or_none() {
        let listen = |texts: &[&str]| {
            let texts = texts.iter().map(|text| (*text).to_owned()).collect();
            let wishes = Wishes { listen: Some(texts), ..Wishes::default() };
            wishes.check(&Params::dev()).map(|peering| peering.listen)
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

    // R16
    #[test]
    fn only_single_nodes_are_called_and_only_by_tcp() {
        let id = "12D3KooWGjMGHr6D5Yw2nUYB4pVZ5cmGwDXyMrqxqHrqhXKYVQdz";
        for good in [
            "/ip4/127.0.0.1/tcp/8401",
            "/ip6/::1/tcp/65535",
            "/dns/node.example.org/tcp/1",
            "/dns4/localhost/tcp/8401",
            &format!("/ip4/10.0.0.1/tcp/8401/p2p/{id}"),
        ] {
            assert_eq!(address(good).unwrap().to_string(), good);
        }
        for bad in [
            "",
            "127.0.0.1:8401",
            "http://127.0.0.1:8401",
            "file:///etc/passwd",
            "/ip4/127.0.0.1",
            "/ip4/127.0.0.1/tcp/0",
            "/ip4/127.0.0.1/tcp/65536",
            "/ip4/127.0.0.1/udp/8401",
            "/ip4/127.0.0.1/udp/8401/quic-v1",
            "/ip4/127.0.0.1/tcp/80/http",
            "/unix/tmp",
            "/memory/7",
            "/ip4/0.0.0.0/tcp/8401",
            "/ip4/169.254.169.254/tcp/80",
            "/ip6/::ffff:169.254.169.254/tcp/80",
            "/ip6/fe80::1/tcp/8401",
            "/ip4/224.0.0.1/tcp/8401",
            "/ip4/255.255.255.255/tcp/8401",
            &format!("/p2p/{id}"),
            &format!("/ip4/10.0.0.1/tcp/8401/p2p/{id}/p2p-circuit"),
        ] {
            assert!(address(bad).is_err(), "{bad}");
        }
        assert!(error(address("10.0.0.1:8401")).contains("looks like /ip4/192.0.2.7/tcp/8401"));
    }

    #[test]
    fn numbers_of_peers_have_limits() {
        let with = |max| Wishes { max_peers: Some(max), ..Wishes::default() };
        assert_eq!(checked(with(0), &Params::dev()).max_peers, 0);
        assert!(error(with(1_001).check(&Params::dev())).contains("max_peers must be 0 to 1000"));
    }
}
