//! Who is connected, how many from where, and who has to go when a newcomer finds no place.
//! Ids cost nothing, so limits count IPs and their groups.

use super::netgroup::{self, NetGroup};
use super::rate_limit::Rates;
use super::{Denied, Policy, Purpose};
use crate::engine::Now;
use crate::rate_limit::TokenBucket;
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};
use rand::RngExt;
use rand::rngs::StdRng;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

/// Most connections whose handshake is not done.
const MAX_PENDING: usize = 64;
/// After this a handshake will not be done any more.
const PENDING: Duration = Duration::from_secs(30);
/// A shorter connection was not wanted by one of the two.
const SHORT: Duration = Duration::from_secs(60);
/// Connections from one IP: a burst of 20, then one in two seconds.
const ARRIVALS: TokenBucket = TokenBucket::new(20, Duration::from_secs(2));
/// Most IPs whose arrivals are counted.
const MAX_ARRIVALS: usize = 4_096;
/// How many are kept for each merit when somebody has to go.
const PROTECTED: usize = 4;
/// How long two connections with one peer are both left open: until both sides know of both.
const BOTH: Duration = Duration::from_secs(2);
/// How long it is left to the caller of two connections to choose one.
const CALLERS_CHOICE: Duration = Duration::from_secs(10);

/// A connection.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    pub(super) peer: PeerId,
    pub(super) address: Multiaddr,
    pub(super) since: Duration,
    /// What this node began it for; `None` if the other side did.
    pub(super) purpose: Option<Purpose>,
    pub(super) greeted: bool,
    leaving: bool,
}

impl Connection {
    /// The IP it comes from, or goes to.
    pub(super) fn ip(&self) -> Option<IpAddr> {
        netgroup::ip(&self.address)
    }

    /// Whether the other side began it.
    pub(super) fn is_inbound(&self) -> bool {
        self.purpose.is_none()
    }

    /// Whether it was closed so early that this node may not be wanted over there.
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

/// What a peer is good for, and what it may still ask.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) rates: Rates,
    pub(super) ping: Option<Duration>,
    pub(super) block: Option<Duration>,
    pub(super) transfer: Option<Duration>,
}

/// All connections.
#[derive(Debug, Default)]
pub(super) struct Slots {
    connections: BTreeMap<ConnectionId, Connection>,
    pending: BTreeMap<ConnectionId, (Option<IpAddr>, Duration)>,
    standings: BTreeMap<PeerId, Standing>,
    arrivals: BTreeMap<IpAddr, TokenBucket>,
}

impl Slots {
    /// Takes note of a connection whose handshake begins, or says why there must be none.
    pub(super) fn admit(
        &mut self,
        id: ConnectionId,
        ip: Option<IpAddr>,
        policy: &Policy,
        kept: &BTreeSet<PeerId>,
        now: Now,
    ) -> Result<(), Denied> {
        if self.pending.len() >= MAX_PENDING {
            return Err(Denied::Full);
        }
        if let Some(ip) = ip.filter(|ip| policy.counts(*ip)) {
            self.arrive(ip, now)?;
            self.check_places(ip, policy)?;
        }
        if self.inbound() >= policy.max_inbound && self.evictable(kept).is_empty() {
            return Err(Denied::Full);
        }
        self.pending.insert(id, (ip, now.elapsed));
        Ok(())
    }

    fn arrive(&mut self, ip: IpAddr, now: Now) -> Result<(), Denied> {
        let host = netgroup::host(ip);
        if self.arrivals.len() >= MAX_ARRIVALS && !self.arrivals.contains_key(&host) {
            // Who comes from so many places is held by the other limits.
            return Ok(());
        }
        let bucket = self.arrivals.entry(host).or_insert(ARRIVALS);
        if bucket.try_acquire(1, now.elapsed) { Ok(()) } else { Err(Denied::TooFast) }
    }

    fn check_places(&self, ip: IpAddr, policy: &Policy) -> Result<(), Denied> {
        let host = netgroup::host(ip);
        let group = netgroup::group(ip);
        let (mut from_host, mut from_group) = (0, 0);
        for other in self.inbound_ips() {
            from_host += usize::from(netgroup::host(other) == host);
            from_group += usize::from(netgroup::group(other) == group);
        }
        if from_host >= policy.per_ip {
            Err(Denied::PerIp)
        } else if from_group >= policy.per_group {
            Err(Denied::PerGroup)
        } else {
            Ok(())
        }
    }

    fn inbound_ips(&self) -> impl Iterator<Item = IpAddr> {
        let inbound = self.connections.values().filter(|one| one.is_inbound());
        let pending = self.pending.values().filter_map(|(ip, _)| *ip);
        inbound.filter_map(Connection::ip).chain(pending)
    }

    /// Whether a handshake was let in.
    pub(super) fn is_admitted(&self, id: ConnectionId) -> bool {
        self.pending.contains_key(&id)
    }

    /// Takes note of a connection whose handshake is done.
    pub(super) fn open(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        purpose: Option<Purpose>,
        policy: &Policy,
        now: Now,
    ) {
        self.pending.remove(&id);
        let greeted = self.is_greeted(&peer);
        let address = netgroup::without_peer(address);
        let since = now.elapsed;
        let leaving = false;
        let connection = Connection { peer, address, since, purpose, greeted, leaving };
        self.connections.insert(id, connection);
        self.standings.entry(peer).or_insert_with(|| Standing {
            rates: Rates::new(policy),
            ping: None,
            block: None,
            transfer: None,
        });
    }

    /// Forgets a connection.
    pub(super) fn close(&mut self, id: ConnectionId) -> Option<Connection> {
        self.pending.remove(&id);
        let connection = self.connections.remove(&id)?;
        if !self.is_connected(&connection.peer) {
            self.standings.remove(&connection.peer);
        }
        Some(connection)
    }

    /// The connections with a peer.
    pub(super) fn with<'a>(
        &'a self,
        peer: &'a PeerId,
    ) -> impl Iterator<Item = (ConnectionId, &'a Connection)> {
        self.iter().filter(move |(_, one)| one.peer == *peer)
    }

    /// All connections.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ConnectionId, &Connection)> {
        self.connections.iter().map(|(id, one)| (*id, one))
    }

    /// Whether there is a connection with a peer.
    pub(super) fn is_connected(&self, peer: &PeerId) -> bool {
        self.with(peer).next().is_some()
    }

    /// Whether a peer has said hello.
    pub(super) fn is_greeted(&self, peer: &PeerId) -> bool {
        self.with(peer).any(|(_, one)| one.greeted)
    }

    /// A peer has said hello.
    pub(super) fn greet(&mut self, peer: &PeerId) {
        self.connections.values_mut().filter(|one| one.peer == *peer).for_each(|one| {
            one.greeted = true;
        });
    }

    /// Gives a connection another purpose.
    pub(super) fn assign(&mut self, id: ConnectionId, purpose: Purpose) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.purpose = Some(purpose);
        }
    }

    /// What a connected peer is good for.
    pub(super) fn standing(&mut self, peer: &PeerId) -> Option<&mut Standing> {
        self.standings.get_mut(peer)
    }

    /// Connections that others began and that are not on their way out.
    pub(super) fn inbound(&self) -> usize {
        self.connections.values().filter(|one| one.is_inbound() && !one.leaving).count()
    }

    /// Connections that this node began, to stay.
    pub(super) fn outbound(&self) -> usize {
        let stays = |one: &&Connection| !one.is_inbound() && !one.leaving && !one.is_feeler();
        self.connections.values().filter(stays).count()
    }

    /// Connections that are to stay.
    pub(super) fn total(&self) -> usize {
        self.inbound() + self.outbound()
    }

    /// Whether there is a connection only to see who is there.
    pub(super) fn has_feeler(&self) -> bool {
        self.connections.values().any(Connection::is_feeler)
    }

    /// Peers that have said hello.
    pub(super) fn greeted(&self) -> usize {
        let greeted = self.connections.values().filter(|one| one.greeted);
        greeted.map(|one| one.peer).collect::<BTreeSet<_>>().len()
    }

    /// Picks who goes for a newcomer if there are too many. For a peer to keep anybody may have to
    /// go, those who came last first.
    pub(super) fn evict(
        &mut self,
        newcomer: &PeerId,
        policy: &Policy,
        kept: &BTreeSet<PeerId>,
        rng: &mut StdRng,
    ) -> Result<Option<PeerId>, Denied> {
        let fits = self.inbound() <= policy.max_inbound && self.total() <= policy.max_peers;
        if fits || self.with(newcomer).count() > 1 {
            return Ok(None);
        }
        let mut candidates = self.evictable(kept);
        candidates.retain(|peer| peer != newcomer);
        let mut chosen = self.out_of_largest_group(&candidates, rng);
        if chosen.is_none() && kept.contains(newcomer) {
            chosen = self.last_to_come(kept);
        }
        let peer = chosen.ok_or(Denied::Full)?;
        for connection in self.connections.values_mut().filter(|one| one.peer == peer) {
            connection.leaving = true;
        }
        Ok(Some(peer))
    }

    fn last_to_come(&self, kept: &BTreeSet<PeerId>) -> Option<PeerId> {
        let others = self.connections.values().filter(|one| !kept.contains(&one.peer));
        let stay = others.filter(|one| !one.leaving && !one.is_feeler());
        stay.max_by_key(|one| (one.is_inbound(), one.since)).map(|one| one.peer)
    }

    /// Inbound peers without merit: not among those with the shortest way, the latest news, or the
    /// older half of the rest.
    fn evictable(&self, kept: &BTreeSet<PeerId>) -> Vec<PeerId> {
        let mut candidates: Vec<(PeerId, Duration)> = self
            .connections
            .values()
            .filter(|one| one.is_inbound() && !one.leaving && !kept.contains(&one.peer))
            .map(|one| (one.peer, one.since))
            .collect();
        self.protect(&mut candidates, |standing| standing.ping.map(Reverse));
        self.protect(&mut candidates, |standing| standing.block);
        self.protect(&mut candidates, |standing| standing.transfer);
        candidates.sort_by_key(|(_, since)| *since);
        candidates.drain(..candidates.len() / 2);
        candidates.into_iter().map(|(peer, _)| peer).collect()
    }

    /// Takes those with the most of a merit out of the candidates.
    fn protect<M: Ord>(
        &self,
        candidates: &mut Vec<(PeerId, Duration)>,
        merit: impl Fn(&Standing) -> Option<M>,
    ) {
        let merit = |peer: &PeerId| self.standings.get(peer).and_then(&merit);
        candidates.sort_by_cached_key(|(peer, _)| Reverse(merit(peer)));
        let mut place = 0;
        candidates.retain(|(peer, _)| {
            place += 1;
            place > PROTECTED || merit(peer).is_none()
        });
    }

    fn out_of_largest_group(&self, candidates: &[PeerId], rng: &mut StdRng) -> Option<PeerId> {
        let mut groups: BTreeMap<Option<NetGroup>, Vec<PeerId>> = BTreeMap::new();
        for peer in candidates {
            let group = self.with(peer).next().and_then(|(_, one)| one.group());
            groups.entry(group).or_default().push(*peer);
        }
        let largest = groups.into_values().max_by_key(Vec::len)?;
        largest.get(rng.random_range(0..largest.len())).copied()
    }

    /// Connections that have to be closed because there is another one with the same peer. Both
    /// sides come to the same answer: what the node of the smaller id began stays; of two that the
    /// same node began, that node keeps the older, and the other side the newer when it waited.
    pub(super) fn surplus(&self, local: &PeerId, now: Now) -> Vec<ConnectionId> {
        let mut by_peer: BTreeMap<PeerId, Vec<(ConnectionId, &Connection)>> = BTreeMap::new();
        for (id, connection) in self.iter() {
            by_peer.entry(connection.peer).or_default().push((id, connection));
        }
        let mut surplus = Vec::new();
        for (peer, mut several) in by_peer.into_iter().filter(|(_, several)| several.len() > 1) {
            several.sort_by_key(|(id, one)| (one.since, *id));
            let newest = several.last().map_or(Duration::ZERO, |(_, one)| one.since);
            let age = now.elapsed.saturating_sub(newest);
            let (preferred, others): (Vec<_>, Vec<_>) =
                several.into_iter().partition(|(_, one)| one.is_inbound() == (peer < *local));
            let (preferred, others) =
                if preferred.is_empty() { (others, preferred) } else { (preferred, others) };
            if age >= BOTH {
                surplus.extend(others.iter().map(|(id, _)| *id));
            }
            let called = preferred.first().is_some_and(|(_, one)| !one.is_inbound());
            if called && age >= BOTH {
                surplus.extend(preferred.iter().skip(1).map(|(id, _)| *id));
            } else if age >= CALLERS_CHOICE {
                surplus.extend(preferred.iter().rev().skip(1).map(|(id, _)| *id));
            }
        }
        surplus
    }

    /// Drops what is over.
    pub(super) fn prune(&mut self, now: Now) {
        self.pending.retain(|_, (_, since)| now.elapsed.saturating_sub(*since) < PENDING);
        self.arrivals.retain(|_, bucket| !bucket.is_full(now.elapsed));
    }
    /// Connections, handshakes, standings and counted IPs.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> [usize; 4] {
        let Slots { connections, pending, standings, arrivals } = self;
        [connections.len(), pending.len(), standings.len(), arrivals.len()]
    }
}
