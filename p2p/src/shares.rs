//! Shares of a scarce resource by address, so that no client or peer can use all of it.
//!
//! A resource, such as connections or bytes in flight, has a capacity. While there is room, anyone
//! may hold any amount of it. While it is full the shares bind: a newcomer within its share evicts
//! entries of the largest holder, and one above its share is refused, unless it holds idle entries,
//! which its new one replaces. Holders whose work was useful within [`USEFUL_FOR`] are evicted
//! last, and only while they hold more than their share.
//!
//! [`Shares`] is the pure policy, whose time is an argument; [`Pool`] shares it between tasks and
//! releases entries by guards.

mod pool;

pub use pool::{Lease, Pool};

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// The time for which an accepted share or a useful block protects its sender's entry.
pub const USEFUL_FOR: Duration = Duration::from_secs(600);

/// The addresses whose amounts count together. An IPv4-mapped IPv6 address counts as IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AddressGroup {
    /// What one host controls: an IPv4 address or an IPv6 /64.
    host: IpAddr,
    /// What one owner controls: the wider range that contains the host.
    site: IpAddr,
}

impl AddressGroup {
    /// Returns the group of a client: an IPv4 address, or an IPv6 /64 within its /48.
    pub fn of(ip: IpAddr) -> AddressGroup {
        AddressGroup { host: prefix(ip, 32, 64), site: prefix(ip, 32, 48) }
    }

    /// Returns the group of a peer: an IPv4 address within its /16, or an IPv6 /64 within its /32.
    pub fn in_netgroup(ip: IpAddr) -> AddressGroup {
        AddressGroup { host: prefix(ip, 32, 64), site: prefix(ip, 16, 32) }
    }

    /// The first address of the range that the host controls.
    pub fn host(&self) -> IpAddr {
        self.host
    }

    /// The first address of the wider range, which is that of the host for a client with IPv4.
    pub fn site(&self) -> IpAddr {
        self.site
    }
}

/// The first address of the range of `v4_bits` or `v6_bits` bits, both at least 1, that has `ip`.
fn prefix(ip: IpAddr, v4_bits: u32, v6_bits: u32) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() & (u32::MAX << (32 - v4_bits))).into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << (128 - v6_bits))).into(),
    }
}

/// The limits of a resource, in its unit, such as connections or bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most that all hold together.
    pub capacity: u64,
    /// The share of a host.
    pub per_host: u64,
    /// The share of a site, such as an IPv6 /48: at least that of a host.
    pub per_site: u64,
}

impl Limits {
    /// Returns limits with a share of four hosts for each site.
    pub const fn new(capacity: u64, per_host: u64) -> Limits {
        Limits { capacity, per_host, per_site: per_host.saturating_mul(4) }
    }

    /// The load of a holder that holds exactly its share.
    const fn share(&self) -> u64 {
        self.per_host.saturating_mul(self.per_site)
    }

    /// The load up to which holders count as equally small: an eighth of the share. Otherwise a client
    /// with two connections would give way to each of a thousand attackers with one.
    const fn small(&self) -> u64 {
        self.share() / 8
    }
}

/// The resource is full, and no other holder gives way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("all is in use, and this address has its share")]
pub struct Full;

/// The holders of a resource. `K` identifies an entry, such as a connection.
#[derive(Debug)]
pub struct Shares<K> {
    limits: Limits,
    entries: BTreeMap<K, Entry>,
    total: u64,
    hosts: HashMap<IpAddr, u64>,
    sites: HashMap<IpAddr, u64>,
    /// The number of changes so far, by which entries are ordered in time.
    changes: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    group: AddressGroup,
    amount: u64,
    is_idle: bool,
    /// The number of the change that created the entry or set `is_idle`.
    since: u64,
    useful_until: Duration,
}

impl<K: Copy + Ord> Shares<K> {
    /// Returns an unused resource.
    pub fn new(limits: Limits) -> Shares<K> {
        Shares {
            limits,
            entries: BTreeMap::new(),
            total: 0,
            hosts: HashMap::new(),
            sites: HashMap::new(),
            changes: 0,
        }
    }

    /// The amount in use.
    pub fn in_use(&self) -> u64 {
        self.total
    }

    /// The amount in use by a host.
    pub fn in_use_by(&self, group: AddressGroup) -> u64 {
        self.hosts.get(&group.host).copied().unwrap_or(0)
    }

    /// Adds an active entry, and returns the entries evicted for it, which the caller must close.
    /// `key` must be new.
    ///
    /// # Errors
    /// Returns [`Full`] without a change if there is no room and too little gives way.
    pub fn admit(
        &mut self,
        key: K,
        group: AddressGroup,
        amount: u64,
        now: Duration,
    ) -> Result<Vec<K>, Full> {
        let room = self.limits.capacity.saturating_sub(self.total);
        let evicted = self.victims(group, amount, amount.saturating_sub(room), now)?;
        for key in &evicted {
            self.release(key);
        }
        self.changes += 1;
        let useful_until = Duration::ZERO;
        let entry = Entry { group, amount, is_idle: false, since: self.changes, useful_until };
        self.count(group, amount);
        self.entries.insert(key, entry);
        Ok(evicted)
    }

    /// Removes an entry. One that was evicted or released before changes nothing.
    pub fn release(&mut self, key: &K) {
        if let Some(entry) = self.entries.remove(key) {
            self.discount(entry.group, entry.amount);
        }
    }

    /// Marks an entry as idle, which the next newcomer may evict, or as active.
    pub fn set_idle(&mut self, key: &K, is_idle: bool) {
        if let Some(entry) = self.entries.get_mut(key) {
            self.changes += 1;
            (entry.is_idle, entry.since) = (is_idle, self.changes);
        }
    }

    /// Protects an entry for [`USEFUL_FOR`]: its share or block was accepted.
    pub fn mark_useful(&mut self, key: &K, now: Duration) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.useful_until = now.saturating_add(USEFUL_FOR);
        }
    }

    /// Moves an entry to another group, such as that of the client behind a proxy.
    pub fn move_to(&mut self, key: &K, group: AddressGroup) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let (from, amount) = (std::mem::replace(&mut entry.group, group), entry.amount);
        if from != group {
            self.discount(from, amount);
            self.count(group, amount);
        }
    }

    fn count(&mut self, group: AddressGroup, amount: u64) {
        self.total += amount;
        *self.hosts.entry(group.host).or_default() += amount;
        *self.sites.entry(group.site).or_default() += amount;
    }

    fn discount(&mut self, group: AddressGroup, amount: u64) {
        self.total -= amount;
        for (held, range) in [(&mut self.hosts, group.host), (&mut self.sites, group.site)] {
            let left = held.get(&range).map_or(0, |held| held.saturating_sub(amount));
            if left > 0 {
                held.insert(range, left);
            } else {
                held.remove(&range);
            }
        }
    }

    /// What a group would hold with `more`, relative to its shares, of which the fuller counts.
    fn load(&self, group: AddressGroup, more: u64) -> u64 {
        let site = self.sites.get(&group.site).map_or(more, |held| held + more);
        self.host_load(group, more).max(site.saturating_mul(self.limits.per_host))
    }

    /// What a host would hold with `more`, relative to its share.
    fn host_load(&self, group: AddressGroup, more: u64) -> u64 {
        let host = self.hosts.get(&group.host).map_or(more, |held| held + more);
        host.saturating_mul(self.limits.per_site)
    }

    /// Selects entries of at least `missing` in all that give way to `amount` of a newcomer: those of
    /// the largest holder first, and of these the one idle the longest, or else the newest. Where
    /// only the site of the newcomer is above its share, the hosts of this site are compared.
    fn victims(
        &self,
        newcomer: AddressGroup,
        amount: u64,
        missing: u64,
        now: Duration,
    ) -> Result<Vec<K>, Full> {
        if missing == 0 {
            return Ok(Vec::new());
        }
        let within_site = self.load(newcomer, amount) > self.limits.share();
        let load = |group, more| match within_site {
            true => self.host_load(group, more),
            false => self.load(group, more),
        };
        let load_after = load(newcomer, amount);
        let (is_above_share, small) = (load_after > self.limits.share(), self.limits.small());
        let gives_way = |entry: &Entry, load: u64| {
            let is_protected = entry.useful_until > now && load <= self.limits.share();
            let is_larger = load > load_after || (entry.is_idle && load.max(small) >= load_after);
            let is_own_idle = entry.is_idle && entry.group.host == newcomer.host;
            !is_protected && (is_own_idle || (!is_above_share && is_larger))
        };
        let mut candidates: Vec<_> = (self.entries.iter())
            .filter(|(_, entry)| !is_above_share || entry.group.host == newcomer.host)
            .filter(|(_, entry)| !within_site || entry.group.site == newcomer.site)
            .map(|(key, entry)| (key, entry, load(entry.group, 0)))
            .filter(|(_, entry, load)| gives_way(entry, *load))
            .map(|(key, entry, load)| {
                let age = if entry.is_idle { entry.since } else { u64::MAX - entry.since };
                let size = Reverse(load.max(small));
                ((entry.useful_until > now, size, !entry.is_idle, age), key, entry.amount)
            })
            .collect();
        let (mut victims, mut freed) = (Vec::new(), 0_u64);
        while freed < missing {
            let ranked = candidates.iter().enumerate();
            let (at, _) = ranked.min_by_key(|(_, (rank, ..))| *rank).ok_or(Full)?;
            let (_, key, amount) = candidates.swap_remove(at);
            freed = freed.saturating_add(amount);
            victims.push(*key);
        }
        Ok(victims)
    }
}

#[cfg(test)]
mod tests;
