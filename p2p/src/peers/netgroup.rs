//! Properties of IP addresses: reachability, netgroups, and conversion from and to multiaddresses.
//! An IPv4-mapped IPv6 address counts as its IPv4 address.

use crate::cidr::Cidr;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The range from which an address can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reachability {
    Loopback,
    Private,
    Public,
}

/// A network that probably has a single owner: an IPv4 /16 or an IPv6 /32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct NetGroup(pub(super) IpAddr);

/// The reachability of an IP; `None` if no node can have it.
pub(super) fn reachability(ip: IpAddr) -> Option<Reachability> {
    match ip.to_canonical() {
        IpAddr::V4(ip) => reachability_v4(ip),
        IpAddr::V6(ip) => reachability_v6(ip),
    }
}

fn reachability_v4(ip: Ipv4Addr) -> Option<Reachability> {
    let [a, b, ..] = ip.octets();
    let is_reserved = a == 0
        || a >= 224
        || ip.is_link_local()
        || ip.is_documentation()
        || (a == 198 && (b == 18 || b == 19));
    if is_reserved {
        None
    } else if ip.is_loopback() {
        Some(Reachability::Loopback)
    } else if ip.is_private() || (a == 100 && (64..128).contains(&b)) {
        Some(Reachability::Private)
    } else {
        Some(Reachability::Public)
    }
}

fn reachability_v6(ip: Ipv6Addr) -> Option<Reachability> {
    let [a, b, ..] = ip.segments();
    if ip.is_loopback() {
        Some(Reachability::Loopback)
    } else if ip.is_unique_local() {
        Some(Reachability::Private)
    } else if a & 0xe000 == 0x2000 && !(a == 0x2001 && b == 0xdb8) {
        Some(Reachability::Public)
    } else {
        None
    }
}

/// The netgroup of an IP; `None` for loopback and private addresses, which have no public owner.
pub(super) fn group(ip: IpAddr) -> Option<NetGroup> {
    let bits = if ip.to_canonical().is_ipv4() { 16 } else { 32 };
    if is_local(ip) { None } else { Some(NetGroup(Cidr::containing(ip, bits).first())) }
}

/// Whether an IP is a loopback or private address.
pub(super) fn is_local(ip: IpAddr) -> bool {
    matches!(reachability(ip), Some(Reachability::Loopback | Reachability::Private))
}

/// The smallest range that a single host controls: an IPv4 address or an IPv6 /64.
pub(super) fn host(ip: IpAddr) -> IpAddr {
    Cidr::containing(ip, host_bits(ip)).first()
}

/// The length of the prefix, in bits, of the smallest range that a single host controls.
pub(super) fn host_bits(ip: IpAddr) -> u8 {
    if ip.to_canonical().is_ipv4() { 32 } else { 64 }
}

/// The IP at the start of an address.
pub(super) fn ip(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next()? {
        Protocol::Ip4(ip) => Some(IpAddr::V4(ip)),
        Protocol::Ip6(ip) => Some(ip.to_canonical()),
        _ => None,
    }
}

/// The IP and TCP port of an address that consists of nothing else, except for a peer id.
pub(super) fn socket(address: &Multiaddr) -> Option<SocketAddr> {
    let ip = ip(address)?;
    let mut rest = address.iter().skip(1);
    let Some(Protocol::Tcp(port)) = rest.next() else { return None };
    let plain = matches!((rest.next(), rest.next()), (None | Some(Protocol::P2p(_)), None));
    (plain && port != 0).then_some(SocketAddr::new(ip, port))
}

pub(super) fn address(socket: SocketAddr) -> Multiaddr {
    Multiaddr::from(socket.ip()).with(Protocol::Tcp(socket.port()))
}

/// The peer id at the end of an address.
pub(super) fn peer(address: &Multiaddr) -> Option<PeerId> {
    match address.iter().last()? {
        Protocol::P2p(peer) => Some(peer),
        _ => None,
    }
}

/// The address without its peer id.
pub(super) fn without_peer(address: &Multiaddr) -> Multiaddr {
    address.iter().filter(|part| !matches!(part, Protocol::P2p(_))).collect()
}
