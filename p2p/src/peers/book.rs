//! Where other nodes may be: those that were met (tried) and those that were only heard of (new).
//! Nobody can fill it: there are limits for an owner's addresses and for what one source tells.

use super::place::{self, Group};
use libp2p::PeerId;
use rand::RngExt;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// Most addresses of nodes that were never met.
pub const MAX_NEW: usize = 4_096;
/// Most addresses of nodes that were met.
pub const MAX_TRIED: usize = 1_024;
/// Most addresses of one group in each table.
pub const MAX_PER_GROUP: usize = 16;
/// Most new addresses that one source told.
pub const MAX_PER_SOURCE: usize = 64;
/// Most new addresses of local networks, all of them together.
const MAX_NEAR: usize = 1_024;
/// Failures after which an address that never worked is dropped.
const HOPELESS: u32 = 8;
/// Failures after which an address that has not worked for `STALE` is dropped.
const DEAD: u32 = 20;
/// A week, in seconds.
const STALE: u64 = 7 * 24 * 3_600;
/// How much less likely an address is chosen for each failure since it worked.
const UNLIKELY: f64 = 0.66;

/// Who told of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Told {
    /// Somebody out there; ids cost nothing, so it is their group that counts.
    Group(Group),
    /// A peer of a local network.
    Peer(PeerId),
    /// The local network.
    Mdns,
    /// The user.
    User,
}

/// What is known of who is at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Trust {
    /// Others say so.
    Hearsay,
    /// A node, called from the same IP, says that it listens there.
    OwnWord,
    /// It was met there.
    Met,
}

/// What is known of an address.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Who is there.
    pub(super) peer: Option<PeerId>,
    /// How well that is known.
    pub(super) trust: Trust,
    /// Who told of it.
    pub(super) told: Told,
    /// When it was last heard of, Unix seconds.
    pub(super) heard: u64,
    /// When it last worked, Unix seconds; 0 for never.
    pub(super) worked: u64,
    /// How often it failed since.
    pub(super) failures: u32,
    /// Not to be called before.
    pub(super) next: Duration,
}

impl Entry {
    /// An address that was just heard of.
    pub(super) fn new(peer: Option<PeerId>, trust: Trust, told: Told, unix: u64) -> Entry {
        Entry { peer, trust, told, heard: unix, worked: 0, failures: 0, next: Duration::ZERO }
    }

    fn is_hopeless(&self, unix: u64) -> bool {
        if self.worked == 0 {
            self.failures >= HOPELESS
        } else {
            self.failures >= DEAD && unix.saturating_sub(self.worked) > STALE
        }
    }
}

/// One of the two tables.
#[derive(Debug)]
pub(super) struct Table {
    entries: BTreeMap<SocketAddr, Entry>,
    groups: BTreeMap<Option<Group>, usize>,
    sources: BTreeMap<Told, usize>,
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

    /// All entries.
    pub(super) fn iter(&self) -> impl Iterator<Item = (SocketAddr, &Entry)> {
        self.entries.iter().map(|(socket, entry)| (*socket, entry))
    }

    /// Some entries and how likely each is to be chosen: less if it fails.
    pub(super) fn chances(
        &self,
        which: impl Fn(SocketAddr, &Entry) -> bool,
    ) -> Vec<(SocketAddr, f64)> {
        self.iter()
            .filter(|(socket, entry)| which(*socket, entry))
            .map(|(socket, entry)| (socket, UNLIKELY.powf(f64::from(entry.failures.min(8)))))
            .collect()
    }

    fn remove(&mut self, socket: SocketAddr) -> Option<Entry> {
        let entry = self.entries.remove(&socket)?;
        less(&mut self.groups, &place::group(socket.ip()));
        less(&mut self.sources, &entry.told);
        Some(entry)
    }

    fn put(&mut self, socket: SocketAddr, entry: Entry) {
        self.remove(socket);
        *self.groups.entry(place::group(socket.ip())).or_default() += 1;
        *self.sources.entry(entry.told).or_default() += 1;
        self.entries.insert(socket, entry);
    }

    /// Whether the limits of its source and group let an address in, at the cost of one that does
    /// not work if need be.
    fn may_have(&mut self, socket: SocketAddr, entry: &Entry) -> bool {
        let (told, group) = (entry.told, place::group(socket.ip()));
        let told_full = count(&self.sources, &told) >= self.max_per_source;
        if told_full && !self.drop_failing(|_, other| other.told == told) {
            return false;
        }
        let group_full = count(&self.groups, &group) >= self.max_of(group);
        !group_full || self.drop_failing(|other, _| place::group(other.ip()) == group)
    }

    /// Whether there is a place, made by dropping an address that does not work if need be.
    fn has_place(&mut self) -> bool {
        self.entries.len() < self.max || self.drop_failing(|_, _| true)
    }

    /// Drops the one of some that fails most; false if none of them fails.
    fn drop_failing(&mut self, which: impl Fn(SocketAddr, &Entry) -> bool) -> bool {
        let worst = self
            .iter()
            .filter(|(socket, entry)| entry.failures > 0 && which(*socket, entry))
            .max_by_key(|(_, entry)| (entry.failures, Reverse(entry.worked)))
            .map(|(socket, _)| socket);
        worst.is_some_and(|socket| self.remove(socket).is_some())
    }

    fn drop_oldest(&mut self) {
        let oldest = self.iter().min_by_key(|(_, entry)| entry.heard).map(|(socket, _)| socket);
        if let Some(socket) = oldest {
            self.remove(socket);
        }
    }

    fn retain(&mut self, keep: impl Fn(SocketAddr, &Entry) -> bool) {
        let gone: Vec<SocketAddr> = self
            .iter()
            .filter(|(socket, entry)| !keep(*socket, entry))
            .map(|(socket, _)| socket)
            .collect();
        for socket in gone {
            self.remove(socket);
        }
    }

    fn max_of(&self, group: Option<Group>) -> usize {
        match group {
            _ if self.unlimited_groups => usize::MAX,
            Some(_) => MAX_PER_GROUP,
            None => MAX_NEAR,
        }
    }
}

fn count<K: Ord>(counts: &BTreeMap<K, usize>, key: &K) -> usize {
    counts.get(key).copied().unwrap_or(0)
}

fn less<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// Both tables.
#[derive(Debug)]
pub(super) struct Book {
    new: Table,
    tried: Table,
}

impl Book {
    /// An empty one.
    pub(super) fn new(unlimited_groups: bool) -> Book {
        Book {
            new: Table::new(MAX_NEW, MAX_PER_SOURCE, unlimited_groups),
            tried: Table::new(MAX_TRIED, usize::MAX, unlimited_groups),
        }
    }

    /// Writes down what was heard. What is known better stays.
    pub(super) fn hear(&mut self, socket: SocketAddr, heard: Entry) {
        let Some(known) = self.get_mut(socket) else { return self.add_new(socket, heard) };
        known.heard = heard.heard;
        let better = match heard.trust {
            Trust::Hearsay => known.peer.is_none(),
            other => known.trust <= other,
        };
        if better {
            known.peer = heard.peer;
            known.trust = heard.trust;
        }
    }

    /// A node was met at an address.
    pub(super) fn meet(&mut self, socket: SocketAddr, peer: PeerId, unix: u64) {
        let entry = self.new.remove(socket).or_else(|| self.tried.remove(socket));
        let told = entry.map_or(Told::User, |entry| entry.told);
        let mut entry = Entry::new(Some(peer), Trust::Met, told, unix);
        entry.worked = unix;
        self.restore(socket, entry);
    }

    /// Puts an entry into the table where it belongs, if there is room.
    pub(super) fn restore(&mut self, socket: SocketAddr, entry: Entry) {
        let met = entry.trust == Trust::Met;
        if met && self.tried.may_have(socket, &entry) && self.tried.has_place() {
            self.tried.put(socket, entry);
        } else {
            self.add_new(socket, entry);
        }
    }

    /// An address that finds no room is heard of again some other time.
    fn add_new(&mut self, socket: SocketAddr, entry: Entry) {
        if self.new.may_have(socket, &entry) {
            if !self.new.has_place() {
                self.new.drop_oldest();
            }
            self.new.put(socket, entry);
        }
    }

    /// An address did not work, and is left alone for a while. Returns false if it was dropped.
    pub(super) fn fail(&mut self, socket: SocketAddr, next: Duration, unix: u64) -> bool {
        let Some(entry) = self.get_mut(socket) else { return false };
        entry.failures = entry.failures.saturating_add(1);
        entry.next = entry.next.max(next);
        if entry.is_hopeless(unix) {
            self.remove(socket);
            return false;
        }
        true
    }

    /// Drops an address.
    pub(super) fn remove(&mut self, socket: SocketAddr) {
        let _ = self.new.remove(socket).or_else(|| self.tried.remove(socket));
    }

    /// Drops all that does not fit.
    pub(super) fn retain(&mut self, keep: impl Fn(SocketAddr, &Entry) -> bool) {
        self.new.retain(&keep);
        self.tried.retain(&keep);
    }

    /// What is known of an address.
    pub(super) fn get(&self, socket: SocketAddr) -> Option<&Entry> {
        self.tried.entries.get(&socket).or_else(|| self.new.entries.get(&socket))
    }

    /// What is known of an address. Who told of it and where it stands are not to be changed.
    pub(super) fn get_mut(&mut self, socket: SocketAddr) -> Option<&mut Entry> {
        self.tried.entries.get_mut(&socket).or_else(|| self.new.entries.get_mut(&socket))
    }

    /// Addresses of nodes that were never met, and of those that found no room among the tried.
    pub(super) fn new_ones(&self) -> &Table {
        &self.new
    }

    /// Addresses of nodes that were met.
    pub(super) fn tried_ones(&self) -> &Table {
        &self.tried
    }

    /// Everything.
    pub(super) fn iter(&self) -> impl Iterator<Item = (SocketAddr, &Entry)> {
        self.tried.iter().chain(self.new.iter())
    }
}

/// One of some addresses by chance.
pub(super) fn choose(chances: &[(SocketAddr, f64)], rng: &mut StdRng) -> Option<SocketAddr> {
    let total: f64 = chances.iter().map(|(_, chance)| chance).sum();
    let mut left = rng.random::<f64>() * total;
    let chosen = chances.iter().find(|(_, chance)| {
        left -= chance;
        left <= 0.0
    });
    chosen.or(chances.last()).map(|(socket, _)| *socket)
}
