//! The address book: addresses of nodes that were connected ("tried") and of nodes that were only
//! advertised ("new"). An attacker cannot fill it, since each netgroup and each source has a
//! limited share.

use super::dial::{DialFailure, Purpose};
use super::netgroup::{self, NetGroup};
use super::peer_text;
use super::policy::{Policy, backoff};
use super::slots::Connection;
use crate::engine::Now;
use libp2p::PeerId;
use rand::RngExt;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

/// The maximum number of new addresses.
pub const MAX_NEW: usize = 4_096;
/// The maximum number of tried addresses.
pub const MAX_TRIED: usize = 1_024;
/// The maximum number of addresses of one netgroup in each table.
pub const MAX_PER_GROUP: usize = 16;
/// The maximum number of new addresses from one source.
pub const MAX_PER_SOURCE: usize = 64;
/// The maximum number of this node's own addresses.
const MAX_OWN: usize = 64;
/// The maximum number of new loopback and private addresses, of all sources together.
const MAX_LOCAL: usize = 1_024;
/// Failures after which an address that was never connected is removed.
const MAX_FAILURES_NEW: u32 = 8;
/// Failures after which an address that was not connected for `STALE` is removed.
const MAX_FAILURES_TRIED: u32 = 20;
/// A week, in seconds.
const STALE: u64 = 7 * 24 * 3_600;
/// A day, in seconds, after which a newer address may replace a gossiped one.
const OLD_GOSSIP: u64 = 24 * 3_600;
/// Neighbours in each direction considered for eviction when a table is full.
const NEIGHBOURS: usize = 16;
/// The factor by which each failure reduces the probability that an address is chosen.
const FAILURE_WEIGHT: f64 = 0.66;
/// The delay before an address of another network is dialed again.
const WRONG_NETWORK_DELAY: Duration = Duration::from_secs(600);
/// The delay before an address is dialed again whose connection was short.
const SHORT_CONNECTION_DELAY: Duration = Duration::from_secs(300);
/// The delay before a dial that was not attempted is repeated.
const NOT_ATTEMPTED_DELAY: Duration = Duration::from_secs(1);

/// The source of an address, as far as limits are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum SourceKey {
    /// A public peer. Peer ids cost nothing, so its netgroup counts.
    NetGroup(NetGroup),
    /// A peer of the local network.
    Peer(#[serde(with = "peer_text")] PeerId),
    /// The node at the address itself.
    SelfAdvertised,
    Mdns,
    User,
}

/// The confidence that a peer is at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Confidence {
    /// Another node has gossiped the address.
    Gossiped,
    /// The peer, connected from the same IP, has advertised it.
    SelfAdvertised,
    /// This node has connected to the peer at the address.
    Connected,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    /// The peer at the address, if known.
    #[serde(with = "peer_text::option")]
    pub(super) peer: Option<PeerId>,
    pub(super) confidence: Confidence,
    pub(super) source: SourceKey,
    /// Unix seconds at which the address was last advertised.
    pub(super) advertised: u64,
    /// Unix seconds at which this node was last connected to the address; 0 for never.
    pub(super) connected: u64,
    /// The number of failed dials since the address was last connected.
    pub(super) failures: u32,
    /// The earliest time of the next dial.
    #[serde(skip)]
    pub(super) next_dial: Duration,
}

impl Entry {
    /// An address that was just advertised.
    pub(super) fn new(
        peer: Option<PeerId>,
        confidence: Confidence,
        source: SourceKey,
        unix: u64,
    ) -> Entry {
        let (connected, failures, next_dial) = (0, 0, Duration::ZERO);
        Entry { peer, confidence, source, advertised: unix, connected, failures, next_dial }
    }

    /// The peer that must be at the address: a gossiped one need not.
    pub(super) fn expected_peer(&self) -> Option<PeerId> {
        self.peer.filter(|_| self.confidence > Confidence::Gossiped)
    }

    /// Whether another entry may replace this one: if it fails, is less certain, or is old gossip.
    fn yields_to(&self, other: &Entry) -> bool {
        let is_old = self.advertised.saturating_add(OLD_GOSSIP) < other.advertised;
        self.failures > 0
            || self.confidence < other.confidence
            || (is_old && self.confidence == Confidence::Gossiped)
    }

    fn is_dead(&self, unix: u64) -> bool {
        if self.connected == 0 {
            self.failures >= MAX_FAILURES_NEW
        } else {
            self.failures >= MAX_FAILURES_TRIED && unix.saturating_sub(self.connected) > STALE
        }
    }
}

/// A table of addresses with limits by netgroup and source.
#[derive(Debug)]
pub(super) struct Table {
    entries: BTreeMap<SocketAddr, Entry>,
    groups: BTreeMap<Option<NetGroup>, BTreeSet<SocketAddr>>,
    sources: BTreeMap<SourceKey, BTreeSet<SocketAddr>>,
    max: usize,
    max_per_source: usize,
    unlimited_groups: bool,
}

impl Table {
    fn new(max: usize, max_per_source: usize, unlimited_groups: bool) -> Table {
        Table {
            entries: BTreeMap::new(),
            groups: BTreeMap::new(),
            sources: BTreeMap::new(),
            max,
            max_per_source,
            unlimited_groups,
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (SocketAddr, &Entry)> {
        self.entries.iter().map(|(socket, entry)| (*socket, entry))
    }

    /// The addresses that a predicate accepts, with the weights by which they are chosen.
    pub(super) fn weights(
        &self,
        is_eligible: impl Fn(SocketAddr, &Entry) -> bool,
    ) -> Vec<(SocketAddr, f64)> {
        self.iter()
            .filter(|(socket, entry)| is_eligible(*socket, entry))
            .map(|(socket, entry)| (socket, FAILURE_WEIGHT.powf(f64::from(entry.failures.min(8)))))
            .collect()
    }

    fn remove(&mut self, socket: SocketAddr) -> Option<Entry> {
        let entry = self.entries.remove(&socket)?;
        remove_from(&mut self.groups, &netgroup::group(socket.ip()), socket);
        remove_from(&mut self.sources, &entry.source, socket);
        Some(entry)
    }

    fn put(&mut self, socket: SocketAddr, entry: Entry) {
        self.remove(socket);
        self.groups.entry(netgroup::group(socket.ip())).or_default().insert(socket);
        self.sources.entry(entry.source).or_default().insert(socket);
        self.entries.insert(socket, entry);
    }

    /// Makes room for an address, by evicting another if necessary. Returns false if there is none.
    /// Never scans the whole table, since peers can cause it to be called often.
    fn make_room(&mut self, socket: SocketAddr, entry: &Entry) -> bool {
        let source = self.sources.get(&entry.source);
        if let Some(source) = source.filter(|all| all.len() >= self.max_of_source(entry.source))
            && !self.evict(source.clone(), entry)
        {
            return false;
        }
        let group = netgroup::group(socket.ip());
        let members = self.groups.get(&group);
        if let Some(members) = members.filter(|all| all.len() >= self.max_of_group(group))
            && !self.evict(members.clone(), entry)
        {
            return false;
        }
        self.entries.len() < self.max || self.evict(self.neighbours(socket), entry)
    }

    /// Removes the worst of some addresses that yields to another. Returns false if none does.
    fn evict(&mut self, candidates: BTreeSet<SocketAddr>, other: &Entry) -> bool {
        let worst = candidates
            .into_iter()
            .filter_map(|socket| Some((socket, self.entries.get(&socket)?)))
            .filter(|(_, entry)| entry.yields_to(other))
            .max_by_key(|(_, entry)| {
                (entry.failures, Reverse(entry.confidence), Reverse(entry.advertised))
            })
            .map(|(socket, _)| socket);
        worst.is_some_and(|socket| self.remove(socket).is_some())
    }

    /// The addresses before and after one: a flood first evicts its own addresses.
    fn neighbours(&self, socket: SocketAddr) -> BTreeSet<SocketAddr> {
        let before = self.entries.range(..socket).rev().take(NEIGHBOURS);
        let after = self.entries.range(socket..).take(NEIGHBOURS);
        before.chain(after).map(|(socket, _)| *socket).collect()
    }

    fn retain(&mut self, is_retained: impl Fn(SocketAddr, &Entry) -> bool) {
        let removed: Vec<SocketAddr> = self
            .iter()
            .filter(|(socket, entry)| !is_retained(*socket, entry))
            .map(|(socket, _)| socket)
            .collect();
        for socket in removed {
            self.remove(socket);
        }
    }

    fn max_of_source(&self, source: SourceKey) -> usize {
        match source {
            SourceKey::SelfAdvertised => usize::MAX,
            _ => self.max_per_source,
        }
    }

    fn max_of_group(&self, group: Option<NetGroup>) -> usize {
        match group {
            _ if self.unlimited_groups => usize::MAX,
            Some(_) => MAX_PER_GROUP,
            None => MAX_LOCAL,
        }
    }
}

fn remove_from<K: Ord>(sets: &mut BTreeMap<K, BTreeSet<SocketAddr>>, key: &K, socket: SocketAddr) {
    if let Some(set) = sets.get_mut(key) {
        set.remove(&socket);
        if set.is_empty() {
            sets.remove(key);
        }
    }
}

#[derive(Debug)]
pub(super) struct AddressBook {
    new: Table,
    tried: Table,
    /// This node's own addresses, which are never stored.
    own: BTreeSet<SocketAddr>,
    min_backoff: Duration,
    max_backoff: Duration,
    short_connection_delay: Duration,
}

impl AddressBook {
    pub(super) fn new(policy: &Policy) -> AddressBook {
        let Policy { relaxed, min_backoff, max_backoff, .. } = *policy;
        AddressBook {
            new: Table::new(MAX_NEW, MAX_PER_SOURCE, relaxed),
            tried: Table::new(MAX_TRIED, usize::MAX, relaxed),
            own: BTreeSet::new(),
            min_backoff,
            max_backoff,
            short_connection_delay: if relaxed { min_backoff } else { SHORT_CONNECTION_DELAY },
        }
    }

    /// Adds an address of this node itself.
    pub(super) fn add_own(&mut self, socket: SocketAddr) {
        if self.own.len() < MAX_OWN {
            self.own.insert(socket);
            self.remove(socket);
        }
    }

    /// This node's own addresses.
    pub(super) fn own(&self) -> &BTreeSet<SocketAddr> {
        &self.own
    }

    /// Whether a node other than this one can be at an address.
    pub(super) fn is_usable(&self, socket: SocketAddr) -> bool {
        netgroup::reachability(socket.ip()).is_some() && !self.own.contains(&socket)
    }

    /// Adds or updates an advertised address. More certain information is retained.
    pub(super) fn advertise(&mut self, socket: SocketAddr, advertised: Entry) {
        let Some(known) = self.get_mut(socket) else { return self.add_new(socket, advertised) };
        known.advertised = advertised.advertised;
        let is_better = match advertised.confidence {
            Confidence::Gossiped => known.peer.is_none(),
            other => known.confidence <= other,
        };
        if is_better {
            known.peer = advertised.peer;
            known.confidence = advertised.confidence;
        }
    }

    /// Records that a peer of this network is at an address.
    pub(super) fn connected(&mut self, socket: SocketAddr, peer: PeerId, unix: u64) {
        if !self.is_usable(socket) {
            return;
        }
        let entry = self.new.remove(socket).or_else(|| self.tried.remove(socket));
        let source = entry.map_or(SourceKey::User, |entry| entry.source);
        let mut entry = Entry::new(Some(peer), Confidence::Connected, source, unix);
        entry.connected = unix;
        self.restore(socket, entry);
    }

    /// Adds an entry to its table if there is room.
    pub(super) fn restore(&mut self, socket: SocketAddr, entry: Entry) {
        if entry.confidence == Confidence::Connected && self.tried.make_room(socket, &entry) {
            self.tried.put(socket, entry);
        } else {
            self.add_new(socket, entry);
        }
    }

    /// Adds a new address if there is room. Otherwise it may be advertised again later.
    fn add_new(&mut self, socket: SocketAddr, entry: Entry) {
        if self.new.make_room(socket, &entry) {
            self.new.put(socket, entry);
        }
    }

    /// Records a failed dial.
    pub(super) fn dial_failed(&mut self, socket: SocketAddr, failure: DialFailure, now: Now) {
        match failure {
            DialFailure::SelfConnection => self.add_own(socket),
            DialFailure::NotAttempted => {
                if let Some(entry) = self.get_mut(socket) {
                    entry.next_dial = now.elapsed.saturating_add(NOT_ATTEMPTED_DELAY);
                }
            }
            DialFailure::WrongNetwork => self.fail(socket, WRONG_NETWORK_DELAY, now),
            DialFailure::Unreachable => self.fail(socket, self.backoff(socket), now),
            DialFailure::WrongPeer(found) => {
                self.fail(socket, self.backoff(socket), now);
                if let Some(entry) = self.get_mut(socket) {
                    entry.peer = Some(found);
                }
            }
        }
    }

    /// Records the end of an outbound connection.
    pub(super) fn connection_closed(&mut self, closed: &Connection, now: Now) {
        let Some(socket) = closed.socket() else { return };
        if !closed.has_handshake {
            return self.fail(socket, self.backoff(socket), now);
        }
        let is_unwanted = closed.was_short(now) && closed.purpose != Some(Purpose::Feeler);
        let delay = if is_unwanted { self.short_connection_delay } else { self.min_backoff };
        if let Some(entry) = self.get_mut(socket) {
            entry.connected = entry.connected.max(now.unix());
            entry.next_dial = now.elapsed.saturating_add(delay);
        }
    }

    /// Delays the next dial of an address.
    pub(super) fn rest(&mut self, socket: SocketAddr, time: Duration, now: Now) {
        if let Some(entry) = self.get_mut(socket) {
            entry.next_dial = entry.next_dial.max(now.elapsed.saturating_add(time));
        }
    }

    /// Counts a failure, delays the next dial, and removes the address if it is dead.
    fn fail(&mut self, socket: SocketAddr, delay: Duration, now: Now) {
        let Some(entry) = self.get_mut(socket) else { return };
        entry.failures = entry.failures.saturating_add(1);
        entry.next_dial = entry.next_dial.max(now.elapsed.saturating_add(delay));
        if entry.is_dead(now.unix()) {
            self.remove(socket);
        }
    }

    fn backoff(&self, socket: SocketAddr) -> Duration {
        let failures = self.get(socket).map_or(0, |entry| entry.failures);
        backoff(self.min_backoff, self.max_backoff, failures)
    }

    fn remove(&mut self, socket: SocketAddr) {
        let _ = self.new.remove(socket).or_else(|| self.tried.remove(socket));
    }

    /// Removes the addresses that a predicate rejects.
    pub(super) fn retain(&mut self, is_retained: impl Fn(SocketAddr, &Entry) -> bool) {
        self.new.retain(&is_retained);
        self.tried.retain(&is_retained);
    }

    pub(super) fn get(&self, socket: SocketAddr) -> Option<&Entry> {
        self.tried.entries.get(&socket).or_else(|| self.new.entries.get(&socket))
    }

    /// An entry whose source and table must not be changed.
    fn get_mut(&mut self, socket: SocketAddr) -> Option<&mut Entry> {
        self.tried.entries.get_mut(&socket).or_else(|| self.new.entries.get_mut(&socket))
    }

    /// The addresses that were never connected, or found no room among the tried ones.
    pub(super) fn new_addresses(&self) -> &Table {
        &self.new
    }

    pub(super) fn tried_addresses(&self) -> &Table {
        &self.tried
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (SocketAddr, &Entry)> {
        self.tried.iter().chain(self.new.iter())
    }
}

/// Chooses an address at random, by weight.
pub(super) fn choose(weights: &[(SocketAddr, f64)], rng: &mut StdRng) -> Option<SocketAddr> {
    let total: f64 = weights.iter().map(|(_, weight)| weight).sum();
    let mut left = rng.random::<f64>() * total;
    let chosen = weights.iter().find(|(_, weight)| {
        left -= weight;
        left <= 0.0
    });
    chosen.or(weights.last()).map(|(socket, _)| *socket)
}
