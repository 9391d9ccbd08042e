//! The dial schedule: persistent peers first, then anchors, then one address of the address book at
//! a time.

use super::address_book::{self, AddressBook, Confidence, Entry, Table};
use super::anchors::Anchors;
use super::bans::{Bans, Subject};
use super::configured::{self, ConfiguredPeer, PersistentPeer};
use super::dial::{Dial, DialFailure, Purpose};
use super::netgroup::{self, NetGroup};
use super::policy::Policy;
use super::scores::Scores;
use super::slots::{Connection, Slots};
use crate::engine::Now;
use libp2p::{Multiaddr, PeerId};
use rand::RngExt;
use rand::rngs::StdRng;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The time for which the address of a node with an incompatible version is not dialed.
pub const INCOMPATIBLE_REST: Duration = Duration::from_secs(3_600);

/// The minimum time between two dials, except for persistent peers and anchors.
const DIAL_INTERVAL: Duration = Duration::from_millis(100);
/// The maximum number of concurrent dials.
const MAX_PENDING: usize = 16;
/// The time after which a pending dial no longer counts.
const PENDING_TIMEOUT: Duration = Duration::from_secs(60);
/// The interval of feeler connections.
const FEELER_INTERVAL: Duration = Duration::from_secs(120);
/// The number of peers below which boot nodes are dialed.
const MIN_PEERS: usize = 4;
/// The time for which the address book alone is tried before boot nodes are dialed.
const BOOT_DELAY: Duration = Duration::from_secs(10);
/// The maximum number of dials to one IP in a minute, so that no one can direct nodes against it by
/// advertising it.
const MAX_PER_IP: usize = 3;
/// The period of `MAX_PER_IP`.
const MINUTE: Duration = Duration::from_secs(60);
/// The probability that a tried address is dialed rather than a new one.
const TRIED_PROBABILITY: f64 = 2.0 / 3.0;

/// The state that the choice of addresses to dial depends on.
pub(super) struct DialContext<'a> {
    pub(super) local: PeerId,
    pub(super) policy: &'a Policy,
    pub(super) book: &'a AddressBook,
    pub(super) slots: &'a Slots,
    pub(super) bans: &'a Bans,
    pub(super) scores: &'a Scores,
    pub(super) now: Now,
}

impl DialContext<'_> {
    fn is_banned_ip(&self, ip: IpAddr) -> bool {
        self.bans.is_banned(Subject::Ip(ip), self.now)
    }

    fn is_banned_peer(&self, peer: PeerId) -> bool {
        self.bans.is_banned(Subject::Peer(peer), self.now)
    }

    /// Whether an address of the address book may be dialed now.
    fn is_eligible(&self, busy: &Busy, socket: SocketAddr, entry: &Entry) -> bool {
        let ip = socket.ip();
        let dials = busy.dials.get(&netgroup::host(ip)).copied().unwrap_or(0);
        let is_denied = |peer: PeerId| {
            self.is_banned_peer(peer) || self.scores.is_cooling_down(&peer, self.now)
        };
        entry.next_dial <= self.now.elapsed
            && !busy.sockets.contains(&socket)
            && (dials < MAX_PER_IP || !self.policy.limits(ip))
            && !self.is_banned_ip(ip)
            && !entry.peer.is_some_and(is_denied)
            && self.policy.may_be_allowed(entry.peer)
    }

    /// Whether the limit of outbound connections to an IP's netgroup allows another one.
    fn has_room(&self, busy: &Busy, ip: IpAddr) -> bool {
        let Some(group) = netgroup::group(ip) else { return true };
        let outbound = busy.groups.get(&group).copied().unwrap_or(0);
        self.policy.relaxed || outbound < self.policy.max_outbound_per_group
    }

    fn dial(&self, socket: SocketAddr, purpose: Purpose) -> Option<Dial> {
        let peer = self.book.get(socket)?.expected_peer();
        Some(Dial { peer, address: netgroup::address(socket), purpose })
    }
}

/// The addresses, peers and netgroups that are connected or being dialed.
struct Busy {
    sockets: BTreeSet<SocketAddr>,
    peers: BTreeSet<PeerId>,
    groups: BTreeMap<NetGroup, usize>,
    /// Dials of the last minute by host.
    dials: BTreeMap<IpAddr, usize>,
}

#[derive(Debug)]
pub(super) struct DialSchedule {
    persistent: Vec<ConfiguredPeer>,
    boot_nodes: Vec<ConfiguredPeer>,
    pending: BTreeMap<Multiaddr, (Purpose, Duration)>,
    /// The hosts dialed in the last minute, oldest first.
    recent: VecDeque<(Duration, IpAddr)>,
    started: Duration,
    next: Duration,
    next_feeler: Duration,
}

impl DialSchedule {
    pub(super) fn new(now: Now) -> DialSchedule {
        DialSchedule {
            persistent: Vec::new(),
            boot_nodes: Vec::new(),
            pending: BTreeMap::new(),
            recent: VecDeque::new(),
            started: now.elapsed,
            next: Duration::ZERO,
            next_feeler: now.elapsed.saturating_add(FEELER_INTERVAL),
        }
    }

    /// Adds a persistent peer, which was configured or added at run time. Returns whether it is new.
    pub(super) fn add_persistent(&mut self, address: &Multiaddr, is_added: bool) -> bool {
        configured::add(&mut self.persistent, address, is_added)
    }

    pub(super) fn add_boot_node(&mut self, address: &Multiaddr) {
        configured::add(&mut self.boot_nodes, address, false);
    }

    /// Removes the persistent peers with an id. Returns false if there are none.
    pub(super) fn remove_persistent(&mut self, peer: &PeerId) -> bool {
        let before = self.persistent.len();
        self.persistent.retain(|one| one.peer != Some(*peer));
        self.persistent.len() < before
    }

    /// Removes the persistent peer at an address, and returns its id, if that is known; `None` if
    /// there is none.
    pub(super) fn remove_persistent_at(&mut self, address: &Multiaddr) -> Option<Option<PeerId>> {
        let address = netgroup::without_peer(address);
        let index = self.persistent.iter().position(|one| one.address == address)?;
        Some(self.persistent.remove(index).peer)
    }

    /// The persistent peers with the states of their connections.
    pub(super) fn persistent(&self, slots: &Slots, now: Now) -> Vec<PersistentPeer> {
        let all = self.persistent.iter().map(|one| {
            let is_connected = one.peer.is_some_and(|peer| slots.has_handshake(&peer));
            let is_idle = !is_connected && !self.pending.contains_key(&one.address);
            let wait = one.next_dial.saturating_sub(now.elapsed);
            PersistentPeer {
                address: one.configured_address(),
                id: one.peer,
                is_added: one.is_added,
                is_connected,
                problem: one.problem.clone().filter(|_| !is_connected),
                next_dial: if is_idle { wait } else { Duration::ZERO },
            }
        });
        all.collect()
    }

    /// The addresses of persistent peers that were added at run time.
    pub(super) fn added(&self) -> Vec<Multiaddr> {
        let added = self.persistent.iter().filter(|one| one.is_added);
        added.map(ConfiguredPeer::configured_address).collect()
    }

    /// Records why a persistent peer is not connected. Returns whether the cause is new.
    pub(super) fn set_problem(&mut self, address: &Multiaddr, cause: &str) -> bool {
        let address = netgroup::without_peer(address);
        let mut found = self.persistent.iter_mut().filter(|one| one.address == address);
        found.next().is_some_and(|one| one.set_problem(cause))
    }

    /// A peer at a configured address has completed the handshake.
    pub(super) fn handshake_completed(&mut self, address: &Multiaddr) {
        self.configured(address).for_each(ConfiguredPeer::handshake_completed);
    }

    /// Records the socket to which the name in a configured address was resolved.
    pub(super) fn set_resolved(&mut self, address: &Multiaddr, socket: SocketAddr) {
        self.configured(address).for_each(|one| one.resolved = Some(socket));
    }

    /// The socket of an address, or that to which its name was resolved last.
    pub(super) fn socket(&self, address: &Multiaddr) -> Option<SocketAddr> {
        let address = netgroup::without_peer(address);
        let mut all = self.persistent.iter().chain(&self.boot_nodes);
        let configured = all.find(|one| one.address == address);
        netgroup::socket(&address).or_else(|| configured?.resolved)
    }

    /// The persistent peers whose ids are known.
    pub(super) fn persistent_peers(&self) -> BTreeSet<PeerId> {
        self.persistent.iter().filter_map(|one| one.peer).collect()
    }

    pub(super) fn is_persistent(&self, peer: &PeerId) -> bool {
        self.persistent.iter().any(|one| one.peer == Some(*peer))
    }

    /// Whether a persistent peer or boot node is configured at an IP.
    pub(super) fn has_ip(&self, ip: IpAddr) -> bool {
        let mut all = self.persistent.iter().chain(&self.boot_nodes);
        all.any(|one| one.ip() == Some(ip.to_canonical()))
    }

    /// The purpose of an outbound connection to an address.
    pub(super) fn purpose(&self, address: &Multiaddr) -> Purpose {
        let address = netgroup::without_peer(address);
        if self.persistent.iter().any(|one| one.address == address) {
            Purpose::Persistent
        } else {
            self.pending.get(&address).map_or(Purpose::Outbound, |(purpose, _)| *purpose)
        }
    }

    /// A dial has established a connection.
    pub(super) fn connected(&mut self, address: &Multiaddr, peer: PeerId) {
        let address = netgroup::without_peer(address);
        self.pending.remove(&address);
        for one in self.configured(&address) {
            one.peer = Some(peer);
        }
    }

    /// An outbound connection is closed. A short one counts as a failure: the peer may not want it.
    pub(super) fn connection_closed(&mut self, closed: &Connection, now: Now) {
        let was_useful = closed.has_handshake && !closed.was_short(now);
        for one in self.configured(&closed.address) {
            let earliest = one.next_dial;
            if was_useful {
                one.failures = 0;
            }
            one.fail(now);
            one.next_dial = one.next_dial.max(earliest);
        }
    }

    /// A dial has failed. Returns false if it was not pending, so that it is counted only once.
    pub(super) fn failed(&mut self, address: &Multiaddr, failure: DialFailure, now: Now) -> bool {
        if self.pending.remove(address).is_none() {
            return false;
        }
        self.configured(address).for_each(|one| one.fail(now));
        if failure == DialFailure::NotAttempted
            && let Some(host) = netgroup::socket(address).map(|socket| netgroup::host(socket.ip()))
            && let Some(last) = self.recent.iter().rposition(|(_, other)| *other == host)
        {
            self.recent.remove(last);
        }
        true
    }

    /// Delays the next dial of a persistent peer or boot node.
    pub(super) fn rest(&mut self, address: &Multiaddr, time: Duration, now: Now) {
        for one in self.configured(address) {
            one.next_dial = one.next_dial.max(now.elapsed.saturating_add(time));
        }
    }

    /// Delays the next dial of a persistent peer that was disconnected for its score.
    pub(super) fn postpone(&mut self, peer: &PeerId, now: Now) {
        for one in self.persistent.iter_mut().filter(|one| one.peer == Some(*peer)) {
            one.next_dial = now.elapsed.saturating_add(configured::BACKOFF.1);
        }
    }

    fn configured(&mut self, address: &Multiaddr) -> impl Iterator<Item = &mut ConfiguredPeer> {
        let all = self.persistent.iter_mut().chain(&mut self.boot_nodes);
        all.filter(move |one| one.address == *address)
    }

    /// The addresses to dial now: of persistent peers and anchors all that are due, of others one.
    pub(super) fn next_dials(
        &mut self,
        cx: &DialContext,
        anchors: &mut Anchors,
        rng: &mut StdRng,
    ) -> Vec<Dial> {
        self.prune(cx.now);
        let due = self.persistent.iter().filter(|one| self.is_due(cx, one));
        let mut dials: Vec<Dial> = due.map(|one| one.dial(Purpose::Persistent)).collect();
        dials.iter().for_each(|dial| self.begin(dial, cx.now));
        if !cx.policy.discover {
            return dials;
        }
        let busy = self.busy(cx);
        let is_free = |(socket, dial): &(SocketAddr, Dial)| {
            !busy.sockets.contains(socket) && !dial.peer.is_some_and(|id| busy.peers.contains(&id))
        };
        for (_, dial) in anchors.dials().filter(is_free) {
            self.begin(&dial, cx.now);
            dials.push(dial);
        }
        if cx.now.elapsed >= self.next
            && self.pending.len() < MAX_PENDING
            && let Some(dial) = self.next_discovered(cx, rng)
        {
            self.begin(&dial, cx.now);
            dials.push(dial);
        }
        dials
    }

    fn begin(&mut self, dial: &Dial, now: Now) {
        self.pending.insert(dial.address.clone(), (dial.purpose, now.elapsed));
        self.next = now.elapsed.saturating_add(DIAL_INTERVAL);
        if let Some(ip) = netgroup::ip(&dial.address) {
            self.recent.push_back((now.elapsed, netgroup::host(ip)));
        }
    }

    /// Whether a persistent peer or boot node is to be dialed now.
    fn is_due(&self, cx: &DialContext, one: &ConfiguredPeer) -> bool {
        let mut outbound = cx.slots.iter().filter(|(_, other)| !other.is_inbound());
        one.next_dial <= cx.now.elapsed
            && !self.pending.contains_key(&one.address)
            && !one.peer.is_some_and(|peer| cx.slots.is_connected(&peer) || cx.is_banned_peer(peer))
            && !outbound.any(|(_, other)| other.address == one.address)
            && !one.ip().is_some_and(|ip| cx.is_banned_ip(ip))
            && !one.socket().is_some_and(|socket| cx.book.own().contains(&socket))
    }

    /// The next dial that is neither of a persistent peer nor of an anchor.
    fn next_discovered(&mut self, cx: &DialContext, rng: &mut StdRng) -> Option<Dial> {
        let is_feeler = |purpose| purpose == Purpose::Feeler;
        let pending = self.pending.values().filter(|(purpose, _)| !is_feeler(*purpose)).count();
        let outbound = cx.slots.outbound() + pending;
        let has_slot = cx.slots.inbound() + outbound < cx.policy.max_peers;
        let needs_boot = has_slot && cx.slots.handshakes() < MIN_PEERS;
        let book_failed = cx.now.elapsed.saturating_sub(self.started) >= BOOT_DELAY;
        let mut dial = None;
        if needs_boot && book_failed {
            dial = self.next_boot(cx);
        }
        if dial.is_none() && has_slot && outbound < cx.policy.max_outbound {
            dial = self.next_outbound(cx, rng);
        }
        if dial.is_none() && needs_boot {
            dial = self.next_boot(cx);
        }
        dial.or_else(|| self.next_feeler(cx, rng))
    }

    fn next_boot(&self, cx: &DialContext) -> Option<Dial> {
        let boot_node = self.boot_nodes.iter().find(|one| self.is_due(cx, one))?;
        Some(boot_node.dial(Purpose::Boot))
    }

    fn next_outbound(&self, cx: &DialContext, rng: &mut StdRng) -> Option<Dial> {
        let busy = self.busy(cx);
        let eligible = |table: &Table| {
            table.weights(|socket, entry| {
                cx.is_eligible(&busy, socket, entry)
                    && !entry.peer.is_some_and(|peer| busy.peers.contains(&peer))
                    && cx.has_room(&busy, socket.ip())
            })
        };
        let tried = eligible(cx.book.tried_addresses());
        let new = eligible(cx.book.new_addresses());
        let prefer_tried = rng.random_bool(TRIED_PROBABILITY);
        let weights =
            if new.is_empty() || (prefer_tried && !tried.is_empty()) { tried } else { new };
        cx.dial(address_book::choose(&weights, rng)?, Purpose::Outbound)
    }

    /// A new address to test. Gossiped peer ids are not trusted: with the id of a connected peer,
    /// an attacker could hide any address.
    fn next_feeler(&mut self, cx: &DialContext, rng: &mut StdRng) -> Option<Dial> {
        if cx.now.elapsed < self.next_feeler || cx.slots.has_feeler() {
            return None;
        }
        self.next_feeler = cx.now.elapsed.saturating_add(FEELER_INTERVAL);
        let busy = self.busy(cx);
        let weights = cx.book.new_addresses().weights(|socket, entry| {
            let is_connected = entry.peer.is_some_and(|peer| busy.peers.contains(&peer));
            cx.is_eligible(&busy, socket, entry)
                && !(is_connected && entry.confidence > Confidence::Gossiped)
        });
        cx.dial(address_book::choose(&weights, rng)?, Purpose::Feeler)
    }

    fn busy(&self, cx: &DialContext) -> Busy {
        let mut busy = Busy {
            sockets: cx.book.own().clone(),
            peers: BTreeSet::from([cx.local]),
            groups: BTreeMap::new(),
            dials: BTreeMap::new(),
        };
        let mut outbound: Vec<SocketAddr> =
            self.pending.keys().filter_map(|address| self.socket(address)).collect();
        for (_, connection) in cx.slots.iter() {
            busy.peers.insert(connection.peer);
            if !connection.is_inbound() {
                outbound.extend(connection.socket());
            }
        }
        for socket in outbound {
            busy.sockets.insert(socket);
            if let Some(group) = netgroup::group(socket.ip()) {
                *busy.groups.entry(group).or_default() += 1;
            }
        }
        for (_, host) in &self.recent {
            *busy.dials.entry(*host).or_default() += 1;
        }
        busy
    }

    fn prune(&mut self, now: Now) {
        let age = |since| now.elapsed.saturating_sub(since);
        self.pending.retain(|_, (_, since)| age(*since) < PENDING_TIMEOUT);
        while self.recent.front().is_some_and(|(since, _)| age(*since) >= MINUTE) {
            self.recent.pop_front();
        }
    }

    /// The numbers of pending dials and of dials in the last minute.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> [usize; 2] {
        [self.pending.len(), self.recent.len()]
    }
}
