//! Decisions about peers: the address book, dials, connection slots, misbehavior scores, bans and
//! rate limits.
//!
//! `Peers` only decides; the owner of the network passes events and the time. Everything has a
//! limit, because strangers provide the data.

mod address_book;
mod address_exchange;
mod anchors;
mod bans;
mod configured;
mod dial;
mod dial_schedule;
mod netgroup;
mod peer_text;
mod policy;
mod rate_limit;
mod scores;
mod slots;
mod store;

pub use address_book::{MAX_NEW, MAX_PER_GROUP, MAX_PER_SOURCE, MAX_TRIED};
pub use address_exchange::Source;
pub use bans::{Ban, MAX_BAN_UNTIL, MAX_BANS, Subject};
pub use configured::PersistentPeer;
pub use dial::{Dial, DialFailure, Purpose};
pub use dial_schedule::INCOMPATIBLE_REST;
pub use policy::Policy;
pub use rate_limit::{AddressGroup, Allowance};
pub use scores::{
    BAN_SCORE, BEST_SCORE, COOL_DOWN, DISCONNECT_SCORE, HALF_LIFE, IP_BAN, PEER_BAN, Penalty,
    WORST_SCORE,
};
pub use slots::{Activity, Connected, Denied, Direction, HandshakeOutcome};
pub use store::Snapshot;

use crate::engine::{Misbehavior, Now};
use crate::message::{MAX_ADDRESSES, NodeAddresses, Request};
use crate::wire::Topic;
use address_book::{AddressBook, Confidence, Entry, SourceKey};
use anchors::Anchors;
use bans::Bans;
use dial_schedule::{DialContext, DialSchedule};
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rate_limit::{GroupLimits, RateLimits};
use scores::Scores;
use slots::{MAX_PER_PEER, PeerState, Slots};
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The interval at which expired state is dropped.
const PRUNE_INTERVAL: Duration = Duration::from_secs(10);

/// All peers, connected or known, and the decisions about them.
#[derive(Debug)]
pub struct Peers {
    local: PeerId,
    policy: Policy,
    path: PathBuf,
    rng: StdRng,
    book: AddressBook,
    anchors: Anchors,
    bans: Bans,
    scores: Scores,
    slots: Slots,
    rates: RateLimits,
    dials: DialSchedule,
    next_prune: Duration,
}

impl Peers {
    /// Reads what a previous run saved in the data directory. An unreadable file is renamed with a
    /// warning, since a node can discover others again.
    pub fn open(data: &Path, local: PeerId, policy: Policy, now: Now, seed: u64) -> Peers {
        let path = data.join(store::NAME);
        let saved = store::load(&path);
        let mut book = AddressBook::new(&policy);
        for (socket, entry) in saved.addresses {
            if book.is_usable(socket) && entry.peer != Some(local) {
                book.restore(socket, entry);
            }
        }
        let mut bans = Bans::default();
        saved.bans.into_iter().for_each(|ban| bans.add(ban));
        bans.prune(now);
        let mut dials = DialSchedule::new(now);
        for address in &saved.persistent {
            dials.add_persistent(address, true);
        }
        Peers {
            local,
            policy,
            path,
            rng: StdRng::seed_from_u64(seed),
            book,
            anchors: Anchors::restored(saved.anchors),
            bans,
            scores: Scores::default(),
            slots: Slots::default(),
            rates: RateLimits::default(),
            dials,
            next_prune: Duration::ZERO,
        }
    }

    /// Returns the state to save. At the end, it must be called before connections are closed,
    /// since the peers connected longest become anchors.
    pub fn snapshot(&mut self, now: Now) -> Snapshot {
        let addresses = self.book.iter().map(|(socket, entry)| (socket, entry.clone())).collect();
        let anchors = self.anchors.choose(&self.slots).to_vec();
        let (bans, persistent) = (self.bans.list(now), self.dials.added());
        Snapshot::new(&self.path, addresses, anchors, bans, persistent)
    }

    /// Saves the state. Blocks on the disk.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&mut self, now: Now) -> io::Result<()> {
        self.snapshot(now).write()
    }

    /// Adds an address of this node, which is neither dialed nor gossiped.
    pub fn add_own_address(&mut self, address: &Multiaddr) {
        if let Some(socket) = netgroup::socket(address) {
            self.book.add_own(socket);
        }
    }

    /// Adds a peer of the configuration, to which the node remains connected.
    pub fn add_persistent_peer(&mut self, address: &Multiaddr) {
        self.dials.add_persistent(address, false);
    }

    /// Adds a peer to which the node remains connected, also after a restart. Returns whether it is
    /// new.
    pub fn save_persistent_peer(&mut self, address: &Multiaddr) -> bool {
        self.dials.add_persistent(address, true)
    }

    /// Returns the persistent peers with the states of their connections.
    pub fn persistent_peers(&self, now: Now) -> Vec<PersistentPeer> {
        self.dials.persistent(&self.slots, now)
    }

    /// Records why a persistent peer is not connected. Returns whether the cause is a new one of a
    /// persistent peer, which should be logged.
    pub fn dial_problem(&mut self, address: &Multiaddr, cause: &str) -> bool {
        self.dials.set_problem(address, cause)
    }

    /// Records the socket at which a configured name was dialed.
    pub fn name_resolved(&mut self, address: &Multiaddr, socket: SocketAddr) {
        self.dials.set_resolved(address, socket);
    }

    /// Adds an address that is dialed while few peers are connected.
    pub fn add_boot_node(&mut self, address: &Multiaddr) {
        self.dials.add_boot_node(address);
    }

    /// A user disconnects a peer: it is no longer persistent, and denied for `COOL_DOWN`. The
    /// caller closes its connections. Returns false if it was not persistent.
    pub fn remove_persistent_peer(&mut self, peer: PeerId, now: Now) -> bool {
        self.scores.cool_down(peer, now);
        self.dials.remove_persistent(&peer)
    }

    /// Removes the persistent peer at an address, and returns its id, if that is known, whose
    /// connections the caller closes; `None` if there is no such peer.
    pub fn remove_persistent_address(&mut self, address: &Multiaddr) -> Option<Option<PeerId>> {
        self.dials.remove_persistent_at(address)
    }

    /// Admits an inbound connection before its encryption handshake. Every id must be passed to
    /// `connection_established` or `connection_closed` later. Returns the remote addresses of
    /// admitted connections that must be closed before their handshake is finished.
    ///
    /// # Errors
    /// The reason for which the connection must be closed.
    pub fn admit(
        &mut self,
        connection: ConnectionId,
        from: &Multiaddr,
        now: Now,
    ) -> Result<Vec<Multiaddr>, Denied> {
        if netgroup::ip(from).is_some_and(|ip| self.bans.is_banned(Subject::Ip(ip), now)) {
            return Err(Denied::Banned);
        }
        let protected = self.protected_peers();
        self.slots.admit(connection, from, &self.policy, &protected, now)
    }

    /// The peers that are never evicted, and for which others are.
    fn protected_peers(&self) -> BTreeSet<PeerId> {
        let mut peers = self.dials.persistent_peers();
        peers.extend(self.slots.trusted_peers(&self.policy));
        peers
    }

    /// Accepts a connection after its encryption handshake. `address` is the peer's, for an
    /// outbound connection the one dialed. An inbound connection that was not admitted is admitted
    /// now.
    ///
    /// # Errors
    /// The reason for which the connection must be closed. It must not be passed to
    /// `connection_closed`.
    pub fn connection_established(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        direction: Direction,
        now: Now,
    ) -> Result<Connected, Denied> {
        let result = self.accept(connection, peer, address, direction, now);
        if let Err(denied) = result {
            self.slots.close(connection);
            if direction == Direction::Outbound {
                let failure = match denied {
                    Denied::SelfConnection => DialFailure::SelfConnection,
                    _ => DialFailure::Unreachable,
                };
                self.dial_failed(address, failure, now);
            }
        }
        result
    }

    fn accept(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        direction: Direction,
        now: Now,
    ) -> Result<Connected, Denied> {
        let is_outbound = direction == Direction::Outbound;
        let purpose = is_outbound.then(|| self.dials.purpose(address));
        let is_persistent = purpose == Some(Purpose::Persistent);
        let resolved = self.dials.socket(address).filter(|_| is_outbound);
        let ip = netgroup::ip(address).or_else(|| Some(resolved?.ip()));
        self.check(&peer, ip, is_persistent || self.dials.is_persistent(&peer), now)?;
        if !is_outbound {
            if !self.slots.is_pending(connection) {
                let protected = self.protected_peers();
                self.slots.check(ip, &self.policy, &protected, now)?;
            } else if let Some(ip) = ip.filter(|ip| self.policy.limits(*ip)) {
                // Others of its IP or netgroup may have been faster.
                self.slots.check_counts(ip, &self.policy)?;
            }
        }
        self.slots.open(connection, peer, (address, resolved), purpose, now);
        let mut protected = self.protected_peers();
        if is_persistent {
            protected.insert(peer);
        }
        let evict = self.slots.evict(&peer, &self.policy, &protected, &mut self.rng)?;
        if is_outbound {
            self.dials.connected(address, peer);
            if self.slots.has_handshake(&peer) {
                self.record_connected(resolved, peer, now);
            }
        }
        Ok(Connected { purpose, evict })
    }

    fn check(
        &self,
        peer: &PeerId,
        ip: Option<IpAddr>,
        is_persistent: bool,
        now: Now,
    ) -> Result<(), Denied> {
        if *peer == self.local {
            Err(Denied::SelfConnection)
        } else if !self.policy.is_allowed(peer) {
            Err(Denied::NotAllowed)
        } else if self.is_banned(*peer, now)
            || ip.is_some_and(|ip| self.bans.is_banned(Subject::Ip(ip), now))
        {
            Err(Denied::Banned)
        } else if self.scores.is_cooling_down(peer, now) && !is_persistent {
            Err(Denied::CoolingDown)
        } else if self.slots.of(peer).count() >= MAX_PER_PEER {
            Err(Denied::Duplicate)
        } else {
            Ok(())
        }
    }

    fn record_connected(&mut self, socket: Option<SocketAddr>, peer: PeerId, now: Now) {
        if let Some(socket) = socket {
            self.book.connected(socket, peer, now.unix());
        }
    }

    /// A connection is closed, or its encryption handshake has failed.
    pub fn connection_closed(&mut self, connection: ConnectionId, now: Now) {
        let Some(closed) = self.slots.close(connection) else { return };
        if !closed.is_inbound() {
            self.dials.connection_closed(&closed, now);
            self.book.connection_closed(&closed, now);
        }
        if !self.slots.is_connected(&closed.peer) {
            self.scores.peer_disconnected(&closed.peer, now);
        }
    }

    /// A peer of this network has completed the handshake.
    pub fn handshake_completed(&mut self, peer: PeerId, now: Now) -> HandshakeOutcome {
        self.slots.handshake_completed(&peer);
        let outbound: Vec<_> = self
            .slots
            .of(&peer)
            .filter(|(_, one)| !one.is_inbound())
            .map(|(id, one)| (id, one.address.clone(), one.socket(), one.purpose))
            .collect();
        let mut outcome = HandshakeOutcome::Stay;
        for (id, address, socket, purpose) in outbound {
            self.record_connected(socket, peer, now);
            self.dials.handshake_completed(&address);
            if purpose == Some(Purpose::Feeler) {
                if self.slots.outbound() < self.policy.max_outbound {
                    self.slots.set_purpose(id, Purpose::Outbound);
                } else if self.slots.of(&peer).count() == 1 {
                    outcome = HandshakeOutcome::Disconnect;
                }
            }
        }
        outcome
    }

    /// Returns the connections to close because there is a better one with the same peer. To be
    /// called at every tick. Both sides reach the same decision.
    pub fn redundant_connections(&self, now: Now) -> Vec<ConnectionId> {
        self.slots.redundant(&self.local, now)
    }

    /// Returns the addresses to dial now. To be called at every tick. Each must be passed to
    /// `connection_established` or `dial_failed` later.
    pub fn next_dials(&mut self, now: Now) -> Vec<Dial> {
        if now.elapsed >= self.next_prune {
            self.next_prune = now.elapsed.saturating_add(PRUNE_INTERVAL);
            self.slots.prune(now);
            self.rates.prune(now);
            self.scores.prune(now);
            self.bans.prune(now);
        }
        let Peers { local, policy, book, slots, bans, scores, .. } = self;
        let cx = DialContext { local: *local, policy, book, slots, bans, scores, now };
        self.dials.next_dials(&cx, &mut self.anchors, &mut self.rng)
    }

    /// A dial has failed. Only the first report of a dial counts.
    pub fn dial_failed(&mut self, address: &Multiaddr, failure: DialFailure, now: Now) {
        let address = netgroup::without_peer(address);
        if self.dials.failed(&address, failure, now)
            && let Some(socket) = netgroup::socket(&address)
        {
            self.book.dial_failed(socket, failure, now);
        }
    }

    /// The version or the features of a peer are incompatible with this node's. The addresses at
    /// which it was dialed are not dialed for `INCOMPATIBLE_REST`.
    pub fn incompatible(&mut self, peer: PeerId, now: Now) {
        let dialed = self.slots.of(&peer).filter(|(_, one)| !one.is_inbound());
        for (_, connection) in dialed {
            self.dials.rest(&connection.address, INCOMPATIBLE_REST, now);
            if let Some(socket) = connection.socket() {
                self.book.rest(socket, INCOMPATIBLE_REST, now);
            }
        }
    }

    /// Adds gossiped or discovered addresses, as far as the source can know them: neither this
    /// node's nor unroutable ones, and local ones only from the local network.
    pub fn add_addresses(&mut self, source: Source, nodes: &[NodeAddresses], now: Now) {
        let Some((key, min)) = address_exchange::authority(source, &self.slots) else { return };
        for node in nodes.iter().take(MAX_ADDRESSES) {
            if node.peer == self.local || self.is_banned(node.peer, now) {
                continue;
            }
            for socket in address_exchange::gossiped_sockets(node, min, now) {
                if self.book.is_usable(socket)
                    && self.allow_address(source, now)
                    && !self.bans.is_banned(Subject::Ip(socket.ip()), now)
                {
                    let confidence = Confidence::Gossiped;
                    let entry = Entry::new(Some(node.peer), confidence, key, now.unix());
                    self.book.advertise(socket, entry);
                }
            }
        }
    }

    /// Whether a peer is exempt from limits.
    fn is_trusted(&self, peer: &PeerId) -> bool {
        !self.policy.trusted.is_empty()
            && self
                .slots
                .of(peer)
                .any(|(_, one)| one.ip().is_some_and(|ip| self.policy.is_trusted(ip)))
    }

    fn allow_address(&mut self, source: Source, now: Now) -> bool {
        match source {
            Source::Peer(peer) => {
                self.limits(&peer, now).is_some_and(|limits| limits.allow_address(now))
            }
            Source::Mdns | Source::User => true,
        }
    }

    /// Adds the addresses at which a connected peer listens.
    pub fn add_listen_addresses(&mut self, peer: PeerId, listen: &[Multiaddr], now: Now) {
        for socket in address_exchange::listen_sockets(&peer, listen, &self.slots) {
            if self.book.is_usable(socket) {
                let (confidence, source) = (Confidence::SelfAdvertised, SourceKey::SelfAdvertised);
                let entry = Entry::new(Some(peer), confidence, source, now.unix());
                self.book.advertise(socket, entry);
            }
        }
    }

    /// Returns a random sample of verified addresses to gossip to a peer.
    pub fn sample_addresses(&mut self, to: &PeerId, max: usize, now: Now) -> Vec<NodeAddresses> {
        address_exchange::sample(&self.book, &self.slots, (to, max), &mut self.rng, now)
    }

    /// Returns whether to request addresses from peers.
    pub fn wants_addresses(&self) -> bool {
        self.policy.discover && self.address_count() < address_exchange::ENOUGH_ADDRESSES
    }

    /// Returns the number of addresses in the address book.
    pub fn address_count(&self) -> usize {
        self.book.iter().count()
    }

    /// Counts a peer's request and returns whether to serve it.
    pub fn allow_request(&mut self, peer: &PeerId, request: &Request, now: Now) -> Allowance {
        if self.is_trusted(peer) {
            return Allowance::Allow;
        }
        let Some(state) = self.slots.peer(peer) else { return Allowance::Reject };
        if !state.limits.tolerates_request(request, now) {
            return Allowance::Abuse;
        }
        let is_allowed =
            self.limits(peer, now).is_some_and(|limits| limits.allow_request(request, now));
        if is_allowed { Allowance::Allow } else { Allowance::Reject }
    }

    /// Returns the owner of a connected peer's shares of limited resources.
    pub fn address_group(&self, peer: &PeerId) -> AddressGroup {
        AddressGroup::new(peer, self.ip(peer), &self.policy)
    }

    /// Returns whether a connected peer has a loopback or private address.
    pub fn is_local(&self, peer: &PeerId) -> bool {
        self.ip(peer).is_some_and(netgroup::is_local)
    }

    fn ip(&self, peer: &PeerId) -> Option<IpAddr> {
        self.slots.of(peer).find_map(|(_, connection)| connection.ip())
    }

    /// The rate limits of a connected peer.
    fn limits(&mut self, peer: &PeerId, now: Now) -> Option<&mut GroupLimits> {
        if !self.slots.is_connected(peer) {
            return None;
        }
        let group = self.address_group(peer);
        Some(self.rates.of(group, &self.policy, now))
    }

    /// Counts a peer's announcement and returns whether to decode it.
    pub fn allow_announcement(&mut self, peer: &PeerId, topic: Topic, now: Now) -> bool {
        self.is_trusted(peer)
            || self.limits(peer, now).is_some_and(|limits| limits.allow_announcement(topic, now))
    }

    /// Records bytes of headers and blocks served to a peer.
    pub fn record_served_bytes(&mut self, peer: &PeerId, bytes: usize, now: Now) {
        if let Some(limits) = self.limits(peer, now) {
            limits.record_served_bytes(bytes, now);
        }
    }

    /// Records the round-trip time of a ping.
    pub fn record_ping(&mut self, peer: &PeerId, round_trip: Duration) {
        self.record(peer, |peer| {
            peer.min_ping = Some(peer.min_ping.map_or(round_trip, |min| min.min(round_trip)));
        });
    }

    /// Records that a peer was the first to announce a block.
    pub fn record_block(&mut self, peer: &PeerId, now: Now) {
        self.record(peer, |peer| peer.last_block = Some(now.elapsed));
    }

    /// Records that a peer was the first to announce a transfer.
    pub fn record_transfer(&mut self, peer: &PeerId, now: Now) {
        self.record(peer, |peer| peer.last_transfer = Some(now.elapsed));
    }

    /// Returns the purpose of the connection with a peer, and its last useful announcements.
    pub fn activity(&self, peer: &PeerId, now: Now) -> Activity {
        self.slots.activity(peer, now)
    }

    fn record(&mut self, peer: &PeerId, record: impl FnOnce(&mut PeerState)) {
        if let Some(peer) = self.slots.peer(peer) {
            record(peer);
        }
    }

    /// Adds the points for a peer's behavior to its score and returns the penalty. A persistent
    /// peer is disconnected but not banned.
    pub fn report(&mut self, peer: PeerId, misbehavior: Misbehavior, now: Now) -> Option<Penalty> {
        let score = self.scores.record(peer, misbehavior, now);
        if misbehavior.points() > 0.0 || score > DISCONNECT_SCORE {
            return None;
        }
        if self.dials.is_persistent(&peer) {
            self.dials.postpone(&peer, now);
            Some(Penalty::Disconnect)
        } else if score <= BAN_SCORE {
            self.ban_for(peer, misbehavior, now);
            Some(Penalty::Ban)
        } else {
            self.scores.cool_down(peer, now);
            Some(Penalty::Disconnect)
        }
    }

    /// Bans a peer and its public IPs, except for anchors and configured addresses.
    fn ban_for(&mut self, peer: PeerId, misbehavior: Misbehavior, now: Now) {
        let reason = misbehavior.description().to_owned();
        let ips: Vec<IpAddr> = self
            .slots
            .of(&peer)
            .filter(|(_, one)| one.purpose != Some(Purpose::Anchor))
            .filter_map(|(_, one)| one.ip())
            .filter(|ip| self.policy.limits(*ip) && !self.dials.has_ip(*ip))
            .collect();
        self.ban(Subject::Peer(peer), PEER_BAN, reason.clone(), now);
        for ip in ips {
            self.ban(Subject::Ip(ip), IP_BAN, reason.clone(), now);
        }
    }

    /// Returns the misbehavior score of a peer: −100 to 20.
    pub fn score(&self, peer: &PeerId, now: Now) -> f64 {
        self.scores.of(peer, now)
    }

    /// Bans a peer or an IP for a number of seconds, persistent peers and local addresses included.
    /// Returns the connected peers concerned, which the caller disconnects.
    pub fn ban(&mut self, subject: Subject, seconds: u64, reason: String, now: Now) -> Vec<PeerId> {
        let until = now.unix().saturating_add(seconds);
        self.bans.prune(now);
        self.bans.add(Ban { subject, until, reason });
        self.anchors.retain(|socket, peer| !subject.covers(Some(peer), Some(socket.ip())));
        self.book.retain(|socket, entry| !subject.covers(entry.expected_peer(), Some(socket.ip())));
        let connections = self.slots.iter().map(|(_, one)| one);
        let banned = connections.filter(|one| subject.covers(Some(one.peer), one.ip()));
        let banned: BTreeSet<PeerId> = banned.map(|one| one.peer).collect();
        banned.into_iter().collect()
    }

    /// Removes a ban, and the score of a peer. Returns false if there was no ban.
    pub fn unban(&mut self, subject: Subject) -> bool {
        if let Subject::Peer(peer) = subject {
            self.scores.remove(&peer);
        }
        self.bans.remove(subject)
    }

    /// Returns the bans in force.
    pub fn bans(&self, now: Now) -> Vec<Ban> {
        self.bans.list(now)
    }

    /// Returns whether a peer is banned.
    pub fn is_banned(&self, peer: PeerId, now: Now) -> bool {
        self.bans.is_banned(Subject::Peer(peer), now)
    }
}

#[cfg(test)]
mod tests;
