//! Whom to call next. Peers to keep first, then the anchors, then one at a time out of the book.

use super::address_book::{self, Table, Trust};
use super::netgroup::{self, NetGroup};
use super::slots::Connection;
use super::{PRUNE_EVERY, Peers, unix};
use crate::engine::Now;
use libp2p::{Multiaddr, PeerId};
use rand::RngExt;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Time between two calls, but for peers to keep and anchors.
const BETWEEN: Duration = Duration::from_millis(100);
/// Most calls at a time.
const MAX_PENDING: usize = 16;
/// After this a call will not be answered any more.
const PENDING: Duration = Duration::from_secs(60);
/// Time between two calls that only ask whether a node is there.
const FEELER_EVERY: Duration = Duration::from_secs(120);
/// With fewer peers than this, boot nodes are called.
const ENOUGH: usize = 4;
/// How long the book is tried alone before boot nodes are called.
const BOOT_AFTER: Duration = Duration::from_secs(10);
/// Most calls to one IP in a minute: nobody can turn nodes against it by telling of it.
const MAX_PER_IP: usize = 3;
/// What `MAX_PER_IP` counts over.
const MINUTE: Duration = Duration::from_secs(60);
/// How long an address of another network is left alone.
const WRONG_NETWORK: Duration = Duration::from_secs(600);
/// How long an address whose connection was short is left alone.
const UNWANTED: Duration = Duration::from_secs(300);
/// The first and the longest wait for peers to keep and boot nodes.
const STEADY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Most peers to keep, and most boot nodes.
const MAX_STEADY: usize = 256;
/// How likely a call goes to a node that was met rather than to one that was heard of.
const TRIED: f64 = 2.0 / 3.0;

/// Somebody to call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dial {
    /// Who should answer; `None` for whoever does.
    pub peer: Option<PeerId>,
    /// Where, without the id.
    pub address: Multiaddr,
    /// What for.
    pub purpose: Purpose,
}

/// What a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A peer that the user wants.
    Keep,
    /// One of those that were connected longest when the node stopped.
    Anchor,
    /// Any node.
    Outbound,
    /// A node that knows others.
    Boot,
    /// To see whether a node is there.
    Feeler,
}

/// Why a call led to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialFailure {
    /// Nobody answered, or not in our language.
    Unreachable,
    /// It is a node of another network.
    WrongNetwork,
    /// Another node answered.
    WrongPeer(PeerId),
    /// This node answered.
    Ourselves,
    /// It was not made.
    NotMade,
}

/// An address that the user gave.
#[derive(Clone, Debug)]
struct PersistentPeer {
    address: Multiaddr,
    peer: Option<PeerId>,
    given: Option<PeerId>,
    failures: u32,
    next: Duration,
}

impl PersistentPeer {
    fn fail(&mut self, now: Now) {
        let wait = backoff(STEADY.0, STEADY.1, self.failures);
        self.failures = self.failures.saturating_add(1);
        self.next = now.elapsed.saturating_add(wait);
    }
}

/// Twice as long after each failure, up to the longest.
fn backoff(first: Duration, longest: Duration, failures: u32) -> Duration {
    2_u32
        .checked_pow(failures)
        .and_then(|factor| first.checked_mul(factor))
        .map_or(longest, |wait| wait.min(longest))
}

/// Calls that were made and addresses that the user gave.
#[derive(Debug)]
pub(super) struct Dials {
    kept: Vec<PersistentPeer>,
    boots: Vec<PersistentPeer>,
    /// Still to be called.
    pub(super) anchors: Vec<(SocketAddr, PeerId)>,
    pending: BTreeMap<Multiaddr, (Purpose, Duration)>,
    recent: VecDeque<(Duration, IpAddr)>,
    started: Duration,
    next: Duration,
    next_feeler: Duration,
}

impl Dials {
    pub(super) fn new(now: Now) -> Dials {
        Dials {
            kept: Vec::new(),
            boots: Vec::new(),
            anchors: Vec::new(),
            pending: BTreeMap::new(),
            recent: VecDeque::new(),
            started: now.elapsed,
            next: Duration::ZERO,
            next_feeler: now.elapsed.saturating_add(FEELER_EVERY),
        }
    }

    /// What a call to an address is for, also one that somebody else has made.
    pub(super) fn purpose(&self, address: &Multiaddr) -> Purpose {
        let address = netgroup::without_peer(address);
        if self.kept.iter().any(|one| one.address == address) {
            Purpose::Keep
        } else {
            self.pending.get(&address).map_or(Purpose::Outbound, |(purpose, _)| *purpose)
        }
    }

    /// The peers to keep, as far as their ids are known.
    pub(super) fn kept_peers(&self) -> BTreeSet<PeerId> {
        self.kept.iter().filter_map(|one| one.peer).collect()
    }

    pub(super) fn is_kept(&self, peer: &PeerId) -> bool {
        self.kept.iter().any(|one| one.peer == Some(*peer))
    }

    /// Whether the user gave an address of an IP.
    pub(super) fn names(&self, ip: IpAddr) -> bool {
        let mut all = self.kept.iter().chain(&self.boots);
        all.any(|one| netgroup::ip(&one.address) == Some(ip.to_canonical()))
    }

    /// Somebody answered.
    pub(super) fn reached(&mut self, address: &Multiaddr, peer: PeerId) {
        let address = netgroup::without_peer(address);
        self.pending.remove(&address);
        for one in self.steady(&address) {
            one.peer = Some(peer);
        }
    }

    /// The connection to an address is gone. One that was short counts as a failure: over there
    /// this node may not be wanted.
    pub(super) fn lost(&mut self, gone: &Connection, now: Now) {
        let was_good = gone.greeted && !gone.was_short(now);
        for one in self.steady(&gone.address) {
            let earliest = one.next;
            if was_good {
                one.failures = 0;
            }
            one.fail(now);
            one.next = one.next.max(earliest);
        }
    }

    /// A peer to keep was disconnected for its score.
    pub(super) fn postpone(&mut self, peer: &PeerId, now: Now) {
        for one in self.kept.iter_mut().filter(|one| one.peer == Some(*peer)) {
            one.next = now.elapsed.saturating_add(STEADY.1);
        }
    }

    /// A peer is no longer to be kept.
    pub(super) fn unkeep(&mut self, peer: &PeerId) {
        self.kept.retain(|one| one.peer != Some(*peer));
    }

    fn steady(&mut self, address: &Multiaddr) -> impl Iterator<Item = &mut PersistentPeer> {
        let all = self.kept.iter_mut().chain(&mut self.boots);
        all.filter(move |one| one.address == *address)
    }

    fn pending_outbound(&self) -> usize {
        self.pending.values().filter(|(purpose, _)| *purpose != Purpose::Feeler).count()
    }

    /// The last call to an IP was none.
    fn uncount(&mut self, ip: IpAddr) {
        let host = netgroup::host(ip);
        if let Some(last) = self.recent.iter().rposition(|(_, other)| *other == host) {
            self.recent.remove(last);
        }
    }

    /// Calls under way, and calls of the last minute.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> [usize; 2] {
        [self.pending.len(), self.recent.len()]
    }

    fn prune(&mut self, now: Now) {
        let age = |since| now.elapsed.saturating_sub(since);
        self.pending.retain(|_, (_, since)| age(*since) < PENDING);
        while self.recent.front().is_some_and(|(since, _)| age(*since) >= MINUTE) {
            self.recent.pop_front();
        }
    }
}

fn add(list: &mut Vec<PersistentPeer>, address: &Multiaddr) {
    let given = netgroup::peer(address);
    let address = netgroup::without_peer(address);
    let known = list.iter().any(|one| one.address == address);
    if !known && list.len() < MAX_STEADY {
        let next = Duration::ZERO;
        list.push(PersistentPeer { address, peer: given, given, failures: 0, next });
    }
}

/// What must not be called now.
struct Busy {
    sockets: BTreeSet<SocketAddr>,
    peers: BTreeSet<PeerId>,
    groups: BTreeMap<NetGroup, usize>,
    calls: BTreeMap<IpAddr, usize>,
}

impl Peers {
    /// Stays connected with whoever is at an address.
    pub fn keep(&mut self, address: &Multiaddr) {
        add(&mut self.dials.kept, address);
    }

    /// An address to call when few others are known.
    pub fn boot(&mut self, address: &Multiaddr) {
        add(&mut self.dials.boots, address);
    }

    /// Whom to call now; to be asked at every tick. Each has to come back in `connected`,
    /// `dial_failed` or both. Several only for peers to keep and anchors.
    pub fn next_dials(&mut self, now: Now) -> Vec<Dial> {
        self.prune(now);
        let mut dials = self.kept_to_call(now);
        dials.iter().for_each(|dial| self.begin(dial, now));
        if !self.policy.discover {
            return dials;
        }
        let anchors = self.anchors_to_call();
        anchors.iter().for_each(|dial| self.begin(dial, now));
        dials.extend(anchors);
        if now.elapsed >= self.dials.next
            && self.dials.pending.len() < MAX_PENDING
            && let Some(dial) = self.one_to_call(now)
        {
            self.begin(&dial, now);
            dials.push(dial);
        }
        dials
    }

    fn begin(&mut self, dial: &Dial, now: Now) {
        self.dials.pending.insert(dial.address.clone(), (dial.purpose, now.elapsed));
        self.dials.next = now.elapsed.saturating_add(BETWEEN);
        if let Some(ip) = netgroup::ip(&dial.address) {
            self.dials.recent.push_back((now.elapsed, netgroup::host(ip)));
        }
    }

    fn kept_to_call(&self, now: Now) -> Vec<Dial> {
        let kept = self.dials.kept.iter();
        kept.filter(|one| self.is_due(one, now)).map(|one| call(one, Purpose::Keep)).collect()
    }

    fn is_due(&self, one: &PersistentPeer, now: Now) -> bool {
        let ip = netgroup::ip(&one.address);
        let mut calls = self.slots.iter().filter(|(_, other)| !other.is_inbound());
        one.next <= now.elapsed
            && !self.dials.pending.contains_key(&one.address)
            && !one.peer.is_some_and(|peer| self.slots.is_connected(&peer))
            && !calls.any(|(_, other)| other.address == one.address)
            && !one.peer.is_some_and(|peer| self.is_banned(peer, now))
            && !ip.is_some_and(|ip| self.is_banned_ip(ip, now))
            && !netgroup::socket(&one.address).is_some_and(|socket| self.own.contains(&socket))
    }

    fn anchors_to_call(&mut self) -> Vec<Dial> {
        let anchors = std::mem::take(&mut self.dials.anchors);
        let busy = self.busy();
        anchors
            .into_iter()
            .filter(|(socket, peer)| !busy.sockets.contains(socket) && !busy.peers.contains(peer))
            .map(|(socket, peer)| Dial {
                peer: Some(peer),
                address: netgroup::address(socket),
                purpose: Purpose::Anchor,
            })
            .collect()
    }

    fn one_to_call(&mut self, now: Now) -> Option<Dial> {
        let outbound = self.slots.outbound() + self.dials.pending_outbound();
        if self.slots.inbound() + outbound >= self.policy.max_peers {
            return self.feeler_to_call(now);
        }
        let lonely = self.slots.greeted() < ENOUGH;
        let waited = now.elapsed.saturating_sub(self.dials.started) >= BOOT_AFTER;
        if lonely
            && waited
            && let Some(dial) = self.boot_to_call(now)
        {
            return Some(dial);
        }
        if outbound < self.policy.max_outbound
            && let Some(dial) = self.outbound_to_call(now)
        {
            return Some(dial);
        }
        if lonely && let Some(dial) = self.boot_to_call(now) {
            return Some(dial);
        }
        self.feeler_to_call(now)
    }

    fn boot_to_call(&self, now: Now) -> Option<Dial> {
        let boot = self.dials.boots.iter().find(|one| self.is_due(one, now))?;
        Some(call(boot, Purpose::Boot))
    }

    fn outbound_to_call(&mut self, now: Now) -> Option<Dial> {
        let busy = self.busy();
        let free = |table: &Table| {
            table.chances(|socket, entry| {
                self.is_free(socket, entry, &busy, now)
                    && !entry.peer.is_some_and(|peer| busy.peers.contains(&peer))
                    && self.has_room(socket.ip(), &busy)
            })
        };
        let (tried, new) = (free(self.book.tried_ones()), free(self.book.new_ones()));
        let prefer_tried = self.rng.random_bool(TRIED);
        let chances =
            if new.is_empty() || (prefer_tried && !tried.is_empty()) { tried } else { new };
        let socket = address_book::choose(&chances, &mut self.rng)?;
        self.call_from_book(socket, Purpose::Outbound)
    }

    /// One that was only heard of. Not even the id counts that others say is there, since with
    /// that of a connected peer they could hide any node.
    fn feeler_to_call(&mut self, now: Now) -> Option<Dial> {
        if now.elapsed < self.dials.next_feeler || self.slots.has_feeler() {
            return None;
        }
        self.dials.next_feeler = now.elapsed.saturating_add(FEELER_EVERY);
        let busy = self.busy();
        let chances = self.book.new_ones().chances(|socket, entry| {
            let known = entry.peer.is_some_and(|peer| busy.peers.contains(&peer));
            self.is_free(socket, entry, &busy, now) && !(known && entry.trust > Trust::Hearsay)
        });
        let socket = address_book::choose(&chances, &mut self.rng)?;
        self.call_from_book(socket, Purpose::Feeler)
    }

    fn call_from_book(&self, socket: SocketAddr, purpose: Purpose) -> Option<Dial> {
        let entry = self.book.get(socket)?;
        let peer = entry.peer.filter(|_| entry.trust > Trust::Hearsay);
        Some(Dial { peer, address: netgroup::address(socket), purpose })
    }

    fn is_free(
        &self,
        socket: SocketAddr,
        entry: &address_book::Entry,
        busy: &Busy,
        now: Now,
    ) -> bool {
        let calls = busy.calls.get(&netgroup::host(socket.ip())).copied().unwrap_or(0);
        entry.next <= now.elapsed
            && !busy.sockets.contains(&socket)
            && (calls < MAX_PER_IP || !self.policy.counts(socket.ip()))
            && !self.is_banned_ip(socket.ip(), now)
            && !entry
                .peer
                .is_some_and(|peer| self.is_banned(peer, now) || self.scores.is_resting(&peer, now))
    }

    fn has_room(&self, ip: IpAddr, busy: &Busy) -> bool {
        let Some(group) = netgroup::group(ip) else { return true };
        let there = busy.groups.get(&group).copied().unwrap_or(0);
        self.policy.relaxed || there < self.policy.outbound_per_group
    }

    fn busy(&self) -> Busy {
        let mut busy = Busy {
            sockets: self.own.clone(),
            peers: BTreeSet::from([self.local]),
            groups: BTreeMap::new(),
            calls: BTreeMap::new(),
        };
        let mut outbound: Vec<&Multiaddr> = self.dials.pending.keys().collect();
        for (_, connection) in self.slots.iter() {
            busy.peers.insert(connection.peer);
            if !connection.is_inbound() {
                outbound.push(&connection.address);
            }
        }
        for address in outbound {
            busy.sockets.extend(netgroup::socket(address));
            if let Some(group) = netgroup::ip(address).and_then(netgroup::group) {
                *busy.groups.entry(group).or_default() += 1;
            }
        }
        for (_, ip) in &self.dials.recent {
            *busy.calls.entry(*ip).or_default() += 1;
        }
        busy
    }

    /// A call led to nothing. Says nothing new about one that has already come back.
    pub fn dial_failed(&mut self, address: &Multiaddr, why: DialFailure, now: Now) {
        let address = netgroup::without_peer(address);
        if self.dials.pending.remove(&address).is_none() {
            return;
        }
        self.dials.steady(&address).for_each(|one| one.fail(now));
        let Some(socket) = netgroup::socket(&address) else { return };
        let wait = match why {
            DialFailure::Ourselves => return self.own(&address),
            DialFailure::WrongNetwork => WRONG_NETWORK,
            DialFailure::Unreachable | DialFailure::WrongPeer(_) => {
                let failures = self.book.get(socket).map_or(0, |entry| entry.failures);
                backoff(self.policy.first_backoff, self.policy.longest_backoff, failures)
            }
            DialFailure::NotMade => return self.put_off(socket, now),
        };
        self.book.fail(socket, now.elapsed.saturating_add(wait), unix(now));
        if let DialFailure::WrongPeer(found) = why
            && let Some(entry) = self.book.get_mut(socket)
        {
            entry.peer = Some(found);
        }
    }

    fn put_off(&mut self, socket: SocketAddr, now: Now) {
        self.dials.uncount(socket.ip());
        if let Some(entry) = self.book.get_mut(socket) {
            entry.next = now.elapsed.saturating_add(STEADY.0);
        }
    }

    /// A connection to an address of the book is gone.
    pub(super) fn rest_address(&mut self, gone: &Connection, now: Now) {
        let Some(socket) = netgroup::socket(&gone.address) else { return };
        if !gone.greeted {
            let failures = self.book.get(socket).map_or(0, |entry| entry.failures);
            let wait = backoff(self.policy.first_backoff, self.policy.longest_backoff, failures);
            self.book.fail(socket, now.elapsed.saturating_add(wait), unix(now));
        } else if let Some(entry) = self.book.get_mut(socket) {
            entry.worked = entry.worked.max(unix(now));
            let unwanted = gone.was_short(now) && gone.purpose != Some(Purpose::Feeler);
            let wait =
                if unwanted && !self.policy.relaxed { UNWANTED } else { self.policy.first_backoff };
            entry.next = now.elapsed.saturating_add(wait);
        }
    }

    /// A node of this network is at an address.
    pub(super) fn met(&mut self, address: &Multiaddr, peer: PeerId, now: Now) {
        if let Some(socket) = netgroup::socket(address).filter(|socket| !self.own.contains(socket))
            && netgroup::reach(socket.ip()).is_some()
        {
            self.book.meet(socket, peer, unix(now));
        }
    }

    fn prune(&mut self, now: Now) {
        self.dials.prune(now);
        if now.elapsed >= self.next_prune {
            self.next_prune = now.elapsed.saturating_add(PRUNE_EVERY);
            self.slots.prune(now);
            self.scores.prune(now);
            self.bans.prune(unix(now));
        }
    }
}

fn call(one: &PersistentPeer, purpose: Purpose) -> Dial {
    Dial { peer: one.given, address: one.address.clone(), purpose }
}
