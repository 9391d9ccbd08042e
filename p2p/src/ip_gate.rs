//! Who may come in by where it comes from: refuses banned addresses before any handshake, and keeps
//! one address, or one network of addresses, from taking all places. A node's id costs nothing, an
//! address does.

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm, dummy,
};
use libp2p::{Multiaddr, PeerId};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr};
use std::task::{Context, Poll};

/// Connections that one address may have open towards this node, handshakes included.
const PER_ADDRESS: u32 = 3;
/// The same for a network: an IPv4 /16 or an IPv6 /32.
const PER_NETWORK: u32 = 12;

/// The IP address that a multiaddr begins with, IPv4 in its own form.
pub(crate) fn ip_of(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next()? {
        Protocol::Ip4(ip) => Some(ip.into()),
        Protocol::Ip6(ip) => Some(IpAddr::from(ip).to_canonical()),
        _ => None,
    }
}

/// Whether an address is of this machine or of a local network, where many share few.
pub(crate) fn is_local(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => {
            ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local()
        }
    }
}

/// What is banned and counted as one address: whoever has one of an IPv6 /64 has them all.
fn whole(ip: IpAddr) -> IpAddr {
    prefix(ip, u32::BITS, 64)
}

/// The network that an address belongs to.
fn network(ip: IpAddr) -> IpAddr {
    prefix(ip, 16, 32)
}

fn prefix(ip: IpAddr, bits_v4: u32, bits_v6: u32) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(u32::BITS.saturating_sub(bits_v4)).unwrap_or(0);
            IpAddr::V4((ip.to_bits() & mask).into())
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(u128::BITS.saturating_sub(bits_v6)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & mask))
        }
    }
}

/// Why somebody may not come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denied {
    #[error("{0} is banned")]
    Banned(IpAddr),
    #[error("{0} has too many connections")]
    TooMany(IpAddr),
}

/// The gate. Part of the swarm's behaviour.
#[derive(Debug, Default)]
pub(crate) struct Behaviour {
    /// Off on networks where everybody may sit on one machine.
    limited: bool,
    banned: BTreeSet<IpAddr>,
    inbound: HashMap<ConnectionId, IpAddr>,
    by_address: BTreeMap<IpAddr, u32>,
    by_network: BTreeMap<IpAddr, u32>,
}

impl Behaviour {
    /// A gate that counts connections, or one that only knows bans.
    pub(crate) fn new(limited: bool) -> Behaviour {
        Behaviour { limited, ..Behaviour::default() }
    }

    /// Lets nobody in from there. Who is in stays in.
    pub(crate) fn ban(&mut self, ip: IpAddr) {
        self.banned.insert(whole(ip));
    }

    /// Lets them in again.
    pub(crate) fn unban(&mut self, ip: IpAddr) {
        self.banned.remove(&whole(ip));
    }

    /// Whether nobody is let in from there.
    pub(crate) fn is_banned(&self, ip: IpAddr) -> bool {
        self.banned.contains(&whole(ip))
    }

    fn check_ban(&self, address: &Multiaddr) -> Result<(), ConnectionDenied> {
        match ip_of(address).filter(|ip| self.is_banned(*ip)) {
            Some(ip) => Err(ConnectionDenied::new(Denied::Banned(ip))),
            None => Ok(()),
        }
    }

    fn enter(&mut self, id: ConnectionId, ip: IpAddr) -> Result<(), Denied> {
        if self.is_banned(ip) {
            return Err(Denied::Banned(ip));
        }
        if !self.limited || is_local(ip) {
            return Ok(());
        }
        let count = |counts: &BTreeMap<IpAddr, u32>, key| counts.get(&key).copied().unwrap_or(0);
        if count(&self.by_address, whole(ip)) >= PER_ADDRESS
            || count(&self.by_network, network(ip)) >= PER_NETWORK
        {
            return Err(Denied::TooMany(ip));
        }
        self.inbound.insert(id, ip);
        for (counts, key) in
            [(&mut self.by_address, whole(ip)), (&mut self.by_network, network(ip))]
        {
            let count = counts.entry(key).or_default();
            *count = count.saturating_add(1);
        }
        Ok(())
    }

    fn leave(&mut self, id: ConnectionId) {
        let Some(ip) = self.inbound.remove(&id) else { return };
        for (counts, key) in
            [(&mut self.by_address, whole(ip)), (&mut self.by_network, network(ip))]
        {
            if let Some(count) = counts.get_mut(&key) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    counts.remove(&key);
                }
            }
        }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        _local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        let Some(ip) = ip_of(remote) else { return Ok(()) };
        self.enter(id, ip).map_err(ConnectionDenied::new)
    }

    fn handle_established_inbound_connection(
        &mut self,
        _id: ConnectionId,
        _peer: PeerId,
        _local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        // Banned during the handshake.
        self.check_ban(remote)?;
        Ok(dummy::ConnectionHandler)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        _id: ConnectionId,
        _peer: Option<PeerId>,
        addresses: &[Multiaddr],
        _role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        addresses.iter().try_for_each(|address| self.check_ban(address))?;
        Ok(Vec::new())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _id: ConnectionId,
        _peer: PeerId,
        address: &Multiaddr,
        _role: Endpoint,
        _port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.check_ban(address)?;
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        match event {
            FromSwarm::ConnectionClosed(closed) => self.leave(closed.connection_id),
            FromSwarm::ListenFailure(failed) => self.leave(failed.connection_id),
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        _peer: PeerId,
        _id: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {}
    }

    fn poll(
        &mut self,
        _context: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn enter(gate: &mut Behaviour, id: usize, from: &str) -> Result<(), Denied> {
        gate.enter(ConnectionId::new_unchecked(id), ip(from))
    }

    // N21
    #[test]
    fn lets_three_in_from_one_address_whatever_their_ids() {
        let mut gate = Behaviour::new(true);
        for id in 0..3 {
            assert_eq!(enter(&mut gate, id, "5.6.7.8"), Ok(()));
        }
        assert_eq!(enter(&mut gate, 3, "5.6.7.8"), Err(Denied::TooMany(ip("5.6.7.8"))));
        gate.leave(ConnectionId::new_unchecked(1));
        assert_eq!(enter(&mut gate, 4, "5.6.7.8"), Ok(()));
    }

    // N21
    #[test]
    fn lets_twelve_in_from_one_network() {
        let mut gate = Behaviour::new(true);
        for id in 0..12 {
            assert_eq!(enter(&mut gate, id, &format!("5.6.0.{id}")), Ok(()));
        }
        assert!(enter(&mut gate, 12, "5.6.200.1").is_err());
        assert_eq!(enter(&mut gate, 13, "5.7.0.1"), Ok(()));
    }

    // N22
    #[test]
    fn a_ban_holds_for_the_same_address_in_another_form() {
        let mut gate = Behaviour::new(false);
        gate.ban(ip("::ffff:5.6.7.8"));
        gate.ban(ip("2001:db8:1:2::1"));
        assert!(enter(&mut gate, 0, "5.6.7.8").is_err());
        assert!(enter(&mut gate, 1, "2001:db8:1:2:ffff::9").is_err());
        assert_eq!(enter(&mut gate, 2, "2001:db8:1:3::1"), Ok(()));
        gate.unban(ip("5.6.7.8"));
        assert_eq!(enter(&mut gate, 3, "::ffff:5.6.7.8"), Ok(()));
    }

    #[test]
    fn lets_any_number_in_from_this_machine() {
        let mut gate = Behaviour::new(true);
        assert!((0..100).all(|id| enter(&mut gate, id, "127.0.0.1").is_ok()));
        assert!((0..100).all(|id| enter(&mut gate, id, "192.168.1.2").is_ok()));
    }

    #[test]
    fn forgets_everybody_who_left() {
        let mut gate = Behaviour::new(true);
        for id in 0..3 {
            enter(&mut gate, id, "5.6.7.8").unwrap();
        }
        (0..3).for_each(|id| gate.leave(ConnectionId::new_unchecked(id)));
        assert!(gate.by_address.is_empty() && gate.by_network.is_empty());
        assert!(gate.inbound.is_empty());
    }
}
