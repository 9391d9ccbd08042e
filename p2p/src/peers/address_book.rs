//! Where other nodes may be: those that were met (tried) and those that were only heard of (new).
//! Nobody can fill it: there are limits for an owner's addresses and for what one source tells.

use super::netgroup::{self, NetGroup};
use libp2p::PeerId;
use rand::RngExt;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
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
/// A day, in seconds: hearsay that was not heard again is less than what is heard now.
const OLD_NEWS: u64 = 24 * 3_600;
/// How many before and after a newcomer are looked at when the table is full.
const NEIGHBOURS: usize = 16;
/// How much less likely an address is chosen for each failure since it worked.
const UNLIKELY: f64 = 0.66;

/// Who told of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Told {
    /// Somebody out there; ids cost nothing, so it is their group that counts.
    NetGroup(NetGroup),
    /// A peer of a local network.
    Peer(PeerId),
    /// The node that is there.
    Itself,
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

    /// Whether a newcomer may take its place: if it does not work, is trusted less, or is hearsay
    /// of which nothing was heard for long.
    fn gives_way(&self, newcomer: &Entry) -> bool {
        let old = self.heard.saturating_add(OLD_NEWS) < newcomer.heard;
        self.failures > 0 || self.trust < newcomer.trust || (old && self.trust == Trust::Hearsay)
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
    groups: BTreeMap<Option<NetGroup>, BTreeSet<SocketAddr>>,
    sources: BTreeMap<Told, BTreeSet<SocketAddr>>,
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
        leave(&mut self.groups, &netgroup::group(socket.ip()), socket);
        leave(&mut self.sources, &entry.told, socket);
        Some(entry)
    }

    fn put(&mut self, socket: SocketAddr, entry: Entry) {
        self.remove(socket);
        self.groups.entry(netgroup::group(socket.ip())).or_default().insert(socket);
        self.sources.entry(entry.told).or_default().insert(socket);
        self.entries.insert(socket, entry);
    }

    /// Whether there is room for an address, if need be in the place of another. None of this looks at the whole table, whatever is thrown at it.
    fn make_room(&mut self, socket: SocketAddr, entry: &Entry) -> bool {
        let source = self.sources.get(&entry.told);
        if let Some(source) = source.filter(|all| all.len() >= self.max_of_source(entry.told))
            && !self.drop_one(source.clone(), entry)
        {
            return false;
        }
        let group = netgroup::group(socket.ip());
        let around = self.groups.get(&group);
        if let Some(around) = around.filter(|all| all.len() >= self.max_of_group(group))
            && !self.drop_one(around.clone(), entry)
        {
            return false;
        }
        self.entries.len() < self.max || self.drop_one(self.neighbours(socket), entry)
    }

    /// Drops the worst of some addresses that have to give way to a newcomer; false if none has.
    fn drop_one(&mut self, some: BTreeSet<SocketAddr>, newcomer: &Entry) -> bool {
        let worst = some
            .into_iter()
            .filter_map(|socket| Some((socket, self.entries.get(&socket)?)))
            .filter(|(_, entry)| entry.gives_way(newcomer))
            .max_by_key(|(_, entry)| (entry.failures, Reverse(entry.trust), Reverse(entry.heard)))
            .map(|(socket, _)| socket);
        worst.is_some_and(|socket| self.remove(socket).is_some())
    }

    /// Addresses that come before and after one: a flood pushes out first what came with it.
    fn neighbours(&self, socket: SocketAddr) -> BTreeSet<SocketAddr> {
        let before = self.entries.range(..socket).rev().take(NEIGHBOURS);
        let after = self.entries.range(socket..).take(NEIGHBOURS);
        before.chain(after).map(|(socket, _)| *socket).collect()
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

    fn max_of_source(&self, told: Told) -> usize {
        match told {
            Told::Itself => usize::MAX,
            _ => self.max_per_source,
        }
    }

    fn max_of_group(&self, group: Option<NetGroup>) -> usize {
        match group {
            _ if self.unlimited_groups => usize::MAX,
            Some(_) => MAX_PER_GROUP,
            None => MAX_NEAR,
        }
    }
}

fn leave<K: Ord>(sets: &mut BTreeMap<K, BTreeSet<SocketAddr>>, key: &K, socket: SocketAddr) {
    if let Some(set) = sets.get_mut(key) {
        set.remove(&socket);
        if set.is_empty() {
            sets.remove(key);
        }
    }
}

/// Both tables.
#[derive(Debug)]
pub(super) struct AddressBook {
    new: Table,
    tried: Table,
}

impl AddressBook {
    /// An empty one.
    pub(super) fn new(unlimited_groups: bool) -> AddressBook {
        AddressBook {
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
        if entry.trust == Trust::Met && self.tried.make_room(socket, &entry) {
            self.tried.put(socket, entry);
        } else {
            self.add_new(socket, entry);
        }
    }

    /// An address that finds no room is heard of again some other time.
    fn add_new(&mut self, socket: SocketAddr, entry: Entry) {
        if self.new.make_room(socket, &entry) {
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
