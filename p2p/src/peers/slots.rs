//! Connection slots: the open connections, their limits, and the eviction of a peer in favour of a
//! new one. Peer ids cost nothing, so the limits count IPs and netgroups.

use super::dial::Purpose;
use super::netgroup::{self, NetGroup};
use super::policy::Policy;
use super::rate_limit::PeerLimits;
use crate::engine::Now;
use crate::rate_limit::TokenBucket;
use crate::shares::{AddressGroup, Limits, Shares};
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};
use rand::RngExt;
use rand::rngs::StdRng;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The maximum number of connections with one peer. Simultaneous dials cause two.
pub(super) const MAX_PER_PEER: usize = 2;
/// The shares of pending inbound connections: those in the encryption handshake.
const PENDING: Limits = Limits { capacity: 64, per_host: 4, per_site: 16 };
/// The time after which a pending connection no longer counts.
const PENDING_TIMEOUT: Duration = Duration::from_secs(30);
/// A connection that lasts less counts as unwanted by the peer.
const SHORT: Duration = Duration::from_secs(60);
/// Inbound connections from one IP: a burst of 20, then one in two seconds.
const INBOUND_RATE: TokenBucket = TokenBucket::new(20, Duration::from_secs(2));
/// The maximum number of IPs with a rate limit.
const MAX_RATES: usize = 4_096;
/// Peers protected from eviction by each criterion.
const PROTECTED: usize = 4;
/// The time for which two connections with one peer remain open, until both sides know of both.
const BOTH_OPEN: Duration = Duration::from_secs(2);
/// The time that the accepting side leaves the dialer of two connections to close one.
const DIALERS_CHOICE: Duration = Duration::from_secs(10);

/// The result of accepting a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connected {
    /// The purpose of an outbound connection.
    pub purpose: Option<Purpose>,
    /// The peer that must be disconnected in its favour.
    pub evict: Option<PeerId>,
}

/// The treatment of a peer that has completed the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeOutcome {
    /// Remain connected to the peer.
    Stay,
    /// Disconnect from the peer: it was a feeler connection.
    Disconnect,
}

/// The side that initiated a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The peer initiated the connection.
    Inbound,
    /// This node initiated the connection.
    Outbound,
}

/// The reason for which a connection is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The peer or its IP is banned.
    #[error("banned")]
    Banned,
    /// The peer was disconnected recently, for its score or by the user.
    #[error("disconnected recently for misbehavior or by the user")]
    CoolingDown,
    /// The IP has reached its limit of connections.
    #[error("too many connections from this IP address")]
    PerIp,
    /// The netgroup has reached its limit of connections.
    #[error("too many connections from this netgroup")]
    PerGroup,
    /// The IP address connects too often.
    #[error("too many connection attempts from this IP address")]
    TooFast,
    /// There is neither a free slot nor a peer to evict.
    #[error("no free connection slot")]
    Full,
    /// The peer has two connections already.
    #[error("connected twice already")]
    Duplicate,
    /// The peer is this node.
    #[error("connected to itself")]
    SelfConnection,
    /// The node accepts certain peers only, and this is none of them.
    #[error("not an allowed peer")]
    NotAllowed,
}

#[derive(Clone, Debug)]
pub(super) struct Connection {
    pub(super) peer: PeerId,
    /// The remote address, without a peer id.
    pub(super) address: Multiaddr,
    /// The socket to which the name in the address was resolved.
    pub(super) resolved: Option<SocketAddr>,
    pub(super) since: Duration,
    /// The purpose of an outbound connection; `None` if it is inbound.
    pub(super) purpose: Option<Purpose>,
    pub(super) has_handshake: bool,
    is_evicted: bool,
}

impl Connection {
    pub(super) fn ip(&self) -> Option<IpAddr> {
        netgroup::ip(&self.address).or_else(|| Some(self.resolved?.ip()))
    }

    /// The remote socket.
    pub(super) fn socket(&self) -> Option<SocketAddr> {
        netgroup::socket(&self.address).or(self.resolved)
    }

    pub(super) fn is_inbound(&self) -> bool {
        self.purpose.is_none()
    }

    /// Whether the connection lasted so briefly that the peer probably did not want it.
    pub(super) fn was_short(&self, now: Now) -> bool {
        now.elapsed.saturating_sub(self.since) < SHORT
    }

    fn group(&self) -> Option<NetGroup> {
        self.ip().and_then(netgroup::group)
    }

    fn is_feeler(&self) -> bool {
        self.purpose == Some(Purpose::Feeler)
    }
}

/// The rate limits and the eviction criteria of a connected peer.
#[derive(Debug)]
pub(super) struct PeerState {
    pub(super) limits: PeerLimits,
    pub(super) min_ping: Option<Duration>,
    /// The monotonic time at which the peer was last the first to announce a block.
    pub(super) last_block: Option<Duration>,
    /// The monotonic time at which the peer was last the first to announce a transfer.
    pub(super) last_transfer: Option<Duration>,
}

/// The purpose of a connection with a peer, and what the peer was last useful for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activity {
    /// The purpose of an outbound connection; `None` if there is none.
    pub purpose: Option<Purpose>,
    /// The time since the peer was last the first to announce a block.
    pub last_block: Option<Duration>,
    /// The time since the peer was last the first to announce a transfer.
    pub last_transfer: Option<Duration>,
}

#[derive(Debug)]
pub(super) struct Slots {
    connections: BTreeMap<ConnectionId, Connection>,
    /// The pending inbound connections with their remote addresses and times.
    pending: BTreeMap<ConnectionId, (Multiaddr, Duration)>,
    /// The pending inbound connections that are not from trusted IPs.
    shares: Shares<ConnectionId>,
    peers: BTreeMap<PeerId, PeerState>,
    rates: BTreeMap<IpAddr, TokenBucket>,
}

impl Default for Slots {
    fn default() -> Slots {
        Slots {
            connections: BTreeMap::new(),
            pending: BTreeMap::new(),
            shares: Shares::new(PENDING),
            peers: BTreeMap::new(),
            rates: BTreeMap::new(),
        }
    }
}

impl Slots {
    /// Admits an inbound connection before its encryption handshake, as pending. Returns the remote
    /// addresses of pending connections that must be closed in its favour: the oldest ones of the
    /// address that has most of them.
    pub(super) fn admit(
        &mut self,
        id: ConnectionId,
        from: &Multiaddr,
        policy: &Policy,
        persistent: &BTreeSet<PeerId>,
        now: Now,
    ) -> Result<Vec<Multiaddr>, Denied> {
        let ip = netgroup::ip(from);
        self.check(ip, policy, persistent, now)?;
        let mut evicted = Vec::new();
        if let Some(ip) = ip.filter(|ip| !policy.is_trusted(*ip)) {
            // Hosts of a local network do not have one owner.
            let group = match netgroup::is_local(ip) {
                true => AddressGroup::of(ip),
                false => AddressGroup::in_netgroup(ip),
            };
            let victims = self.shares.admit(id, group, 1, now.elapsed);
            for victim in victims.map_err(|_| Denied::Full)? {
                evicted.extend(self.pending.remove(&victim).map(|(address, _)| address));
            }
            // Of a holder's connections, the oldest gives way.
            self.shares.set_idle(&id, true);
        }
        self.pending.insert(id, (from.clone(), now.elapsed));
        Ok(evicted)
    }

    /// Checks the limits of inbound connections for another one from an IP.
    pub(super) fn check(
        &mut self,
        ip: Option<IpAddr>,
        policy: &Policy,
        persistent: &BTreeSet<PeerId>,
        now: Now,
    ) -> Result<(), Denied> {
        if let Some(ip) = ip.filter(|ip| policy.limits(*ip)) {
            self.check_rate(ip, now)?;
            self.check_counts(ip, policy)?;
        }
        let is_trusted = ip.is_some_and(|ip| policy.is_trusted(ip));
        let is_full = self.inbound() >= policy.max_inbound && !is_trusted;
        if is_full && self.evictable(persistent).is_empty() { Err(Denied::Full) } else { Ok(()) }
    }

    fn check_rate(&mut self, ip: IpAddr, now: Now) -> Result<(), Denied> {
        let host = netgroup::host(ip);
        if self.rates.len() >= MAX_RATES && !self.rates.contains_key(&host) {
            // The other limits apply to an attacker with this many addresses.
            return Ok(());
        }
        let bucket = self.rates.entry(host).or_insert(INBOUND_RATE);
        if bucket.try_acquire(1, now.elapsed) { Ok(()) } else { Err(Denied::TooFast) }
    }

    /// Checks the numbers of established inbound connections. Pending ones do not count, so that
    /// silent ones do not block others of their IP or netgroup.
    pub(super) fn check_counts(&self, ip: IpAddr, policy: &Policy) -> Result<(), Denied> {
        let host = netgroup::host(ip);
        let group = netgroup::group(ip);
        let (mut from_host, mut from_group) = (0, 0);
        for other in self.inbound_ips() {
            from_host += usize::from(netgroup::host(other) == host);
            from_group += usize::from(netgroup::group(other) == group);
        }
        if from_host >= policy.max_inbound_per_ip {
            Err(Denied::PerIp)
        } else if from_group >= policy.max_inbound_per_group {
            Err(Denied::PerGroup)
        } else {
            Ok(())
        }
    }

    fn inbound_ips(&self) -> impl Iterator<Item = IpAddr> {
        let inbound = self.connections.values().filter(|one| one.is_inbound());
        inbound.filter_map(Connection::ip)
    }

    fn remove_pending(&mut self, id: ConnectionId) {
        self.pending.remove(&id);
        self.shares.release(&id);
    }

    pub(super) fn is_pending(&self, id: ConnectionId) -> bool {
        self.pending.contains_key(&id)
    }

    /// Adds a connection whose encryption handshake is complete.
    pub(super) fn open(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        (address, resolved): (&Multiaddr, Option<SocketAddr>),
        purpose: Option<Purpose>,
        now: Now,
    ) {
        self.remove_pending(id);
        let connection = Connection {
            peer,
            address: netgroup::without_peer(address),
            resolved,
            since: now.elapsed,
            purpose,
            has_handshake: self.has_handshake(&peer),
            is_evicted: false,
        };
        self.connections.insert(id, connection);
        self.peers.entry(peer).or_insert_with(|| PeerState {
            limits: PeerLimits::new(),
            min_ping: None,
            last_block: None,
            last_transfer: None,
        });
    }

    /// Removes a pending or established connection; returns it if it was established.
    pub(super) fn close(&mut self, id: ConnectionId) -> Option<Connection> {
        self.remove_pending(id);
        let connection = self.connections.remove(&id)?;
        if !self.is_connected(&connection.peer) {
            self.peers.remove(&connection.peer);
        }
        Some(connection)
    }

    /// The connections with a peer.
    pub(super) fn of<'a>(
        &'a self,
        peer: &'a PeerId,
    ) -> impl Iterator<Item = (ConnectionId, &'a Connection)> {
        self.iter().filter(move |(_, one)| one.peer == *peer)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ConnectionId, &Connection)> {
        self.connections.iter().map(|(id, one)| (*id, one))
    }

    pub(super) fn is_connected(&self, peer: &PeerId) -> bool {
        self.of(peer).next().is_some()
    }

    /// The peers that are connected from or at a trusted IP.
    pub(super) fn trusted_peers(&self, policy: &Policy) -> BTreeSet<PeerId> {
        let trusted = |one: &&Connection| one.ip().is_some_and(|ip| policy.is_trusted(ip));
        self.connections.values().filter(trusted).map(|one| one.peer).collect()
    }

    /// Whether a peer has completed the handshake.
    pub(super) fn has_handshake(&self, peer: &PeerId) -> bool {
        self.of(peer).any(|(_, one)| one.has_handshake)
    }

    /// A peer has completed the handshake.
    pub(super) fn handshake_completed(&mut self, peer: &PeerId) {
        self.connections.values_mut().filter(|one| one.peer == *peer).for_each(|one| {
            one.has_handshake = true;
        });
    }

    pub(super) fn set_purpose(&mut self, id: ConnectionId, purpose: Purpose) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.purpose = Some(purpose);
        }
    }

    /// The state of a connected peer.
    pub(super) fn peer(&mut self, peer: &PeerId) -> Option<&mut PeerState> {
        self.peers.get_mut(peer)
    }

    /// The purpose of the connection with a peer, and its last useful announcements.
    pub(super) fn activity(&self, peer: &PeerId, now: Now) -> Activity {
        let state = self.peers.get(peer);
        let age = |at: Duration| now.elapsed.saturating_sub(at);
        Activity {
            purpose: self.of(peer).find_map(|(_, one)| one.purpose),
            last_block: state.and_then(|state| state.last_block).map(age),
            last_transfer: state.and_then(|state| state.last_transfer).map(age),
        }
    }

    /// The number of inbound connections, evicted ones not counted.
    pub(super) fn inbound(&self) -> usize {
        self.connections.values().filter(|one| one.is_inbound() && !one.is_evicted).count()
    }

    /// The number of outbound connections, feelers and evicted ones not counted.
    pub(super) fn outbound(&self) -> usize {
        let counts = |one: &&Connection| !one.is_inbound() && !one.is_evicted && !one.is_feeler();
        self.connections.values().filter(counts).count()
    }

    pub(super) fn has_feeler(&self) -> bool {
        self.connections.values().any(Connection::is_feeler)
    }

    /// The number of peers that have completed the handshake.
    pub(super) fn handshakes(&self) -> usize {
        let complete = self.connections.values().filter(|one| one.has_handshake);
        complete.map(|one| one.peer).collect::<BTreeSet<_>>().len()
    }

    /// Chooses a peer to evict for a new one if there are too many connections. A persistent peer
    /// may evict any other one, the latest first.
    pub(super) fn evict(
        &mut self,
        new: &PeerId,
        policy: &Policy,
        persistent: &BTreeSet<PeerId>,
        rng: &mut StdRng,
    ) -> Result<Option<PeerId>, Denied> {
        let (inbound, outbound) = (self.inbound(), self.outbound());
        let fits = inbound <= policy.max_inbound && inbound + outbound <= policy.max_peers;
        if fits || self.of(new).count() > 1 {
            return Ok(None);
        }
        let mut candidates = self.evictable(persistent);
        candidates.retain(|peer| peer != new);
        let mut chosen = self.random_of_largest_group(&candidates, rng);
        if chosen.is_none() && persistent.contains(new) {
            chosen = self.latest(persistent);
        }
        let peer = chosen.ok_or(Denied::Full)?;
        for connection in self.connections.values_mut().filter(|one| one.peer == peer) {
            connection.is_evicted = true;
        }
        Ok(Some(peer))
    }

    /// The peer that connected last, inbound before outbound.
    fn latest(&self, persistent: &BTreeSet<PeerId>) -> Option<PeerId> {
        let others = self.connections.values().filter(|one| !persistent.contains(&one.peer));
        let candidates = others.filter(|one| !one.is_evicted && !one.is_feeler());
        candidates.max_by_key(|one| (one.is_inbound(), one.since)).map(|one| one.peer)
    }

    /// The inbound peers that are not protected: neither among those with the lowest latency, the
    /// latest blocks or the latest transfers, nor in the longer-connected half of the rest.
    fn evictable(&self, persistent: &BTreeSet<PeerId>) -> Vec<PeerId> {
        let mut candidates: Vec<(PeerId, Duration)> = self
            .connections
            .values()
            .filter(|one| one.is_inbound() && !one.is_evicted && !persistent.contains(&one.peer))
            .map(|one| (one.peer, one.since))
            .collect();
        self.protect(&mut candidates, |peer| peer.min_ping.map(Reverse));
        self.protect(&mut candidates, |peer| peer.last_block);
        self.protect(&mut candidates, |peer| peer.last_transfer);
        candidates.sort_by_key(|(_, since)| *since);
        candidates.drain(..candidates.len() / 2);
        candidates.into_iter().map(|(peer, _)| peer).collect()
    }

    /// Removes the best candidates by a criterion.
    fn protect<T: Ord>(
        &self,
        candidates: &mut Vec<(PeerId, Duration)>,
        criterion: impl Fn(&PeerState) -> Option<T>,
    ) {
        let value = |peer: &PeerId| self.peers.get(peer).and_then(&criterion);
        candidates.sort_by_cached_key(|(peer, _)| Reverse(value(peer)));
        let mut rank = 0;
        candidates.retain(|(peer, _)| {
            rank += 1;
            rank > PROTECTED || value(peer).is_none()
        });
    }

    fn random_of_largest_group(&self, candidates: &[PeerId], rng: &mut StdRng) -> Option<PeerId> {
        let mut groups: BTreeMap<Option<NetGroup>, Vec<PeerId>> = BTreeMap::new();
        for peer in candidates {
            let group = self.of(peer).next().and_then(|(_, one)| one.group());
            groups.entry(group).or_default().push(*peer);
        }
        let largest = groups.into_values().max_by_key(Vec::len)?;
        largest.get(rng.random_range(0..largest.len())).copied()
    }

    /// The connections to close because there is a better one with the same peer. Both sides reach
    /// the same decision: the connection dialed by the node with the smaller id remains; of two
    /// dialed by the same node, the dialer retains the older, and after a delay the other side the
    /// newer.
    pub(super) fn redundant(&self, local: &PeerId, now: Now) -> Vec<ConnectionId> {
        let mut by_peer: BTreeMap<PeerId, Vec<(ConnectionId, &Connection)>> = BTreeMap::new();
        for (id, connection) in self.iter() {
            by_peer.entry(connection.peer).or_default().push((id, connection));
        }
        let mut redundant = Vec::new();
        for (peer, mut all) in by_peer.into_iter().filter(|(_, all)| all.len() > 1) {
            all.sort_by_key(|(id, one)| (one.since, *id));
            let newest = all.last().map_or(Duration::ZERO, |(_, one)| one.since);
            let age = now.elapsed.saturating_sub(newest);
            let (preferred, others): (Vec<_>, Vec<_>) =
                all.into_iter().partition(|(_, one)| one.is_inbound() == (peer < *local));
            let (preferred, others) =
                if preferred.is_empty() { (others, preferred) } else { (preferred, others) };
            if age >= BOTH_OPEN {
                redundant.extend(others.iter().map(|(id, _)| *id));
            }
            let dialed = preferred.first().is_some_and(|(_, one)| !one.is_inbound());
            if dialed && age >= BOTH_OPEN {
                redundant.extend(preferred.iter().skip(1).map(|(id, _)| *id));
            } else if age >= DIALERS_CHOICE {
                redundant.extend(preferred.iter().rev().skip(1).map(|(id, _)| *id));
            }
        }
        redundant
    }

    /// Drops expired pending connections and full rate limits.
    pub(super) fn prune(&mut self, now: Now) {
        let is_expired = |since: Duration| now.elapsed.saturating_sub(since) >= PENDING_TIMEOUT;
        let expired = self.pending.extract_if(.., |_, (_, since)| is_expired(*since));
        expired.for_each(|(id, _)| self.shares.release(&id));
        self.rates.retain(|_, bucket| !bucket.is_full(now.elapsed));
    }

    /// The numbers of connections, pending connections, peers and rate limits.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> [usize; 4] {
        let Slots { connections, pending, peers, rates, .. } = self;
        [connections.len(), pending.len(), peers.len(), rates.len()]
    }
}
