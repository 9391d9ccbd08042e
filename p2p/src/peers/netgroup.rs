//! Where nodes are: what an address says of its IP, and how IPs are grouped for limits and bans.
//! An IPv4 address inside an IPv6 one is that IPv4 address.

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// From how far an address can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reachability {
    /// From the same machine.
    Machine,
    /// From the same local network.
    Local,
    /// From everywhere.
    World,
}

/// What one owner probably has whole: an IPv4 /16 or an IPv6 /32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NetGroup(pub(super) IpAddr);

/// From how far an IP can be reached; `None` if no node can be there.
pub(super) fn reach(ip: IpAddr) -> Option<Reachability> {
    match ip.to_canonical() {
        IpAddr::V4(ip) => reach_v4(ip),
        IpAddr::V6(ip) => reach_v6(ip),
    }
}

fn reach_v4(ip: Ipv4Addr) -> Option<Reachability> {
    let [a, b, ..] = ip.octets();
    let nowhere = a == 0
        || a >= 224
        || ip.is_link_local()
        || ip.is_documentation()
        || (a == 198 && (b == 18 || b == 19));
    if nowhere {
        None
    } else if ip.is_loopback() {
        Some(Reachability::Machine)
    } else if ip.is_private() || (a == 100 && (64..128).contains(&b)) {
        Some(Reachability::Local)
    } else {
        Some(Reachability::World)
    }
}

fn reach_v6(ip: Ipv6Addr) -> Option<Reachability> {
    let [a, b, ..] = ip.segments();
    if ip.is_loopback() {
        Some(Reachability::Machine)
    } else if ip.is_unique_local() {
        Some(Reachability::Local)
    } else if a & 0xe000 == 0x2000 && !(a == 0x2001 && b == 0xdb8) {
        Some(Reachability::World)
    } else {
        None
    }
}

/// The group of an IP; `None` for those of a local network, which have no owner.
pub(super) fn group(ip: IpAddr) -> Option<NetGroup> {
    if is_near(ip) { None } else { Some(NetGroup(prefix(ip, 16, 32))) }
}

/// Whether an IP is of this machine or a local network.
pub(super) fn is_near(ip: IpAddr) -> bool {
    matches!(reach(ip), Some(Reachability::Machine | Reachability::Local))
}

/// What one machine has, at the least: an IPv4 address or an IPv6 /64.
pub(super) fn host(ip: IpAddr) -> IpAddr {
    prefix(ip, 32, 64)
}

fn prefix(ip: IpAddr, v4_bits: u32, v6_bits: u32) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - v4_bits).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() & mask))
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - v6_bits).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & mask))
        }
    }
}

/// The IP that an address begins with.
pub(super) fn ip(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next()? {
        Protocol::Ip4(ip) => Some(IpAddr::V4(ip)),
        Protocol::Ip6(ip) => Some(ip.to_canonical()),
        _ => None,
    }
}

/// IP and TCP port of an address that says nothing else, but perhaps the node's id.
pub(super) fn socket(address: &Multiaddr) -> Option<SocketAddr> {
    let ip = ip(address)?;
    let mut rest = address.iter().skip(1);
    let Some(Protocol::Tcp(port)) = rest.next() else { return None };
    let plain = matches!((rest.next(), rest.next()), (None | Some(Protocol::P2p(_)), None));
    (plain && port != 0).then_some(SocketAddr::new(ip, port))
}

/// The address of an IP and a TCP port.
pub(super) fn address(socket: SocketAddr) -> Multiaddr {
    Multiaddr::from(socket.ip()).with(Protocol::Tcp(socket.port()))
}

/// The id at the end of an address.
pub(super) fn peer(address: &Multiaddr) -> Option<PeerId> {
    match address.iter().last()? {
        Protocol::P2p(peer) => Some(peer),
        _ => None,
    }
}

/// An address without the id at its end.
pub(super) fn without_peer(address: &Multiaddr) -> Multiaddr {
    address.iter().filter(|part| !matches!(part, Protocol::P2p(_))).collect()
}
