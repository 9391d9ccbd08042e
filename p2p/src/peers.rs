//! Other nodes: where they are, how they behaved, who is kept out, how much each may ask, and who
//! gets one of the few connections. Decides only; the time and the addresses come from whoever owns
//! the network. Everything in here has a limit, because what fills it comes from strangers.

mod bans;
mod book;
mod dials;
mod file;
mod place;
mod rates;
mod scores;
mod slots;

pub use bans::{FOR_EVER, MAX_BANS};
pub use book::{MAX_NEW, MAX_PER_GROUP, MAX_PER_SOURCE, MAX_TRIED};
pub use dials::{Dial, DialFailure, Purpose};
pub use file::Snapshot;
pub use rates::{Allowance, Topic};
pub use scores::{BAN_SCORE, BEST_SCORE, DISCONNECT_SCORE, HALF_LIFE, REST, WORST_SCORE};

use crate::engine::{Conduct, Now};
use crate::message::{MAX_ADDRESSES, MAX_ADDRESSES_EACH, NodeAddresses, Request};
use crate::{Ban, Subject};
use bans::Bans;
use book::{Book, Entry, Told, Trust};
use dials::Dials;
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};
use place::Reach;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::{IteratorRandom, SliceRandom};
use scores::Scores;
use slots::Slots;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a peer is banned for its score, in seconds.
pub const PEER_BAN: u64 = 24 * 3_600;
/// How long its IP is banned with it, in seconds. Others may come from there too.
pub const IP_BAN: u64 = 3_600;
/// How often what is known should be saved.
pub const SAVE_EVERY: Duration = Duration::from_secs(5 * 60);

/// Most connections with one peer: two nodes may call each other at the same time.
const MAX_PER_PEER: usize = 2;
/// What was not seen for so long is not worth hearing of, in seconds.
const TOO_OLD: u64 = 30 * 24 * 3_600;
/// What was not heard of for so long is not passed on, in seconds.
const FRESH: u64 = 3 * 24 * 3_600;
/// Most addresses of this node that are remembered.
const MAX_OWN: usize = 64;
/// How often what is over is dropped.
const PRUNE_EVERY: Duration = Duration::from_secs(10);

/// How many connections, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Most connections.
    pub max_peers: usize,
    /// Most connections that this node begins, but for the peers to keep.
    pub max_outbound: usize,
    /// Most connections that others begin.
    pub max_inbound: usize,
    /// Most inbound connections from one IPv4 address or IPv6 /64.
    pub per_ip: usize,
    /// Most inbound connections from one IPv4 /16 or IPv6 /32.
    pub per_group: usize,
    /// Most outbound connections to one IPv4 /16 or IPv6 /32.
    pub outbound_per_group: usize,
    /// No limits by IP or group: for networks where blocks cost nothing anyway. The addresses of a
    /// machine or a local network are free of them everywhere.
    pub relaxed: bool,
    /// How long an address that failed once is left alone; twice as long after each more.
    pub first_backoff: Duration,
    /// The longest that an address is left alone for failing.
    pub longest_backoff: Duration,
}

impl Policy {
    /// For so many peers; `relaxed` for networks with fixed difficulty.
    pub fn new(max_peers: usize, relaxed: bool) -> Policy {
        let max_outbound = max_peers.div_ceil(2).min(10);
        let backoff = |first, longest| (Duration::from_secs(first), Duration::from_secs(longest));
        let (first_backoff, longest_backoff) =
            if relaxed { backoff(2, 60) } else { backoff(30, 3_600) };
        Policy {
            max_peers,
            max_outbound,
            max_inbound: max_peers - max_outbound,
            per_ip: 3,
            per_group: 12,
            outbound_per_group: 1,
            relaxed,
            first_backoff,
            longest_backoff,
        }
    }

    /// Whether the limits by IP hold for an IP.
    fn counts(&self, ip: IpAddr) -> bool {
        !self.relaxed && !place::is_near(ip)
    }
}

/// Who began a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The other side.
    Inbound,
    /// This node.
    Outbound,
}

/// Why a connection must not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The node or its IP is banned.
    #[error("banned")]
    Banned,
    /// The node was disconnected for its score a short time ago.
    #[error("disconnected for its conduct a short time ago")]
    Resting,
    /// Enough are connected from there.
    #[error("too many connections from this address")]
    PerIp,
    /// Enough are connected from around there.
    #[error("too many connections from this network")]
    PerGroup,
    /// It tries again and again.
    #[error("too many connections from this address in a short time")]
    TooFast,
    /// There is no place.
    #[error("too many connections")]
    Full,
    /// There are two connections with this node already.
    #[error("connected twice already")]
    Duplicate,
    /// It is this node.
    #[error("connected to itself")]
    Ourselves,
}

/// A connection that may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connected {
    /// What it is for, if this node began it.
    pub purpose: Option<Purpose>,
    /// Who has to be disconnected for it.
    pub evict: Option<PeerId>,
}

/// What to do with a peer that said hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// Stay connected.
    Stay,
    /// Disconnect: all that was wanted was to know that it is there.
    Leave,
}

/// Who told of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A connected peer.
    Peer(PeerId),
    /// The local network.
    Mdns,
    /// The user.
    User,
}

/// What a peer's conduct has earned. The peer's connections are to be closed in both cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sanction {
    /// To be disconnected.
    Disconnect,
    /// To be kept out from now on.
    Ban,
}

/// All that is known of other nodes.
#[derive(Debug)]
pub struct Peers {
    local: PeerId,
    policy: Policy,
    path: PathBuf,
    rng: StdRng,
    book: Book,
    bans: Bans,
    scores: Scores,
    slots: Slots,
    dials: Dials,
    /// To be saved, with what is connected longest.
    anchors: Vec<(SocketAddr, PeerId)>,
    own: BTreeSet<SocketAddr>,
    next_prune: Duration,
}

impl Peers {
    /// Reads what an earlier run saved in the folder. A file that cannot be read is set aside with
    /// a warning: a node can find others again.
    pub fn open(data: &Path, local: PeerId, policy: Policy, now: Now, seed: u64) -> Peers {
        let mut peers = Peers {
            local,
            book: Book::new(policy.relaxed),
            policy,
            path: data.join(file::NAME),
            rng: StdRng::seed_from_u64(seed),
            bans: Bans::default(),
            scores: Scores::default(),
            slots: Slots::default(),
            dials: Dials::new(now),
            anchors: Vec::new(),
            own: BTreeSet::new(),
            next_prune: Duration::ZERO,
        };
        if let Some(saved) = file::load(&peers.path) {
            peers.restore(saved, now);
        }
        peers
    }

    /// Saves addresses, bans and anchors, waiting for the disk.
    pub fn save(&mut self, now: Now) -> std::io::Result<()> {
        self.snapshot(now).write()
    }

    /// An address of this node, never to be called or passed on.
    pub fn own(&mut self, address: &Multiaddr) {
        if let Some(socket) = place::socket(address)
            && self.own.len() < MAX_OWN
        {
            self.own.insert(socket);
            self.book.remove(socket);
        }
    }

    // Connections.

    /// Before the handshake of an inbound connection: whether to go on with it. Every id has to
    /// come back in `connected` or `closed`.
    pub fn admit(
        &mut self,
        connection: ConnectionId,
        from: &Multiaddr,
        now: Now,
    ) -> Result<(), Denied> {
        let ip = place::ip(from);
        if ip.is_some_and(|ip| self.is_banned_ip(ip, now)) {
            return Err(Denied::Banned);
        }
        let kept = self.dials.kept_peers();
        self.slots.admit(connection, ip, &self.policy, &kept, now)
    }

    /// After the handshake: whether the connection may be. `address` is where the peer is, for an
    /// outbound connection the one that was called. One that is denied needs no `closed`.
    pub fn connected(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        direction: Direction,
        now: Now,
    ) -> Result<Connected, Denied> {
        let purpose = self.dials.purpose(address).filter(|_| direction == Direction::Outbound);
        let result = self.check(&peer, address, now).and_then(|()| {
            self.slots.open(connection, peer, address, direction, purpose, now);
            let kept = self.dials.kept_peers();
            let evict = self.slots.evict(&peer, &self.policy, &kept, &mut self.rng)?;
            Ok(Connected { purpose, evict })
        });
        match (result, direction) {
            (Ok(_), Direction::Outbound) => {
                self.dials.reached(address, peer);
                if self.slots.is_greeted(&peer) {
                    self.met(address, peer, now);
                }
            }
            (Err(denied), direction) => {
                self.slots.close(connection);
                if direction == Direction::Outbound {
                    let own = denied == Denied::Ourselves;
                    let why = if own { DialFailure::Ourselves } else { DialFailure::Unreachable };
                    self.dial_failed(address, why, now);
                }
            }
            (Ok(_), Direction::Inbound) => {}
        }
        result
    }

    fn check(&self, peer: &PeerId, address: &Multiaddr, now: Now) -> Result<(), Denied> {
        let kept = self.dials.is_kept(peer);
        if *peer == self.local {
            Err(Denied::Ourselves)
        } else if self.is_banned(*peer, now)
            || place::ip(address).is_some_and(|ip| self.is_banned_ip(ip, now))
        {
            Err(Denied::Banned)
        } else if self.scores.is_resting(peer, now) && !kept {
            Err(Denied::Resting)
        } else if self.slots.with(peer).count() >= MAX_PER_PEER {
            Err(Denied::Duplicate)
        } else {
            Ok(())
        }
    }

    /// A connection is gone, or did not get through its handshake.
    pub fn closed(&mut self, connection: ConnectionId, now: Now) {
        let Some(gone) = self.slots.close(connection) else { return };
        if gone.direction == Direction::Outbound {
            self.dials.lost(&gone.address, gone.greeted, now);
            if let Some(socket) = place::socket(&gone.address) {
                self.rest_address(socket, &gone, now);
            }
        }
        if !self.slots.is_connected(&gone.peer) {
            self.scores.prune(now);
        }
    }

    /// A peer of this network said hello.
    pub fn greeted(&mut self, peer: PeerId, now: Now) -> Greeting {
        self.slots.greet(&peer);
        let outbound: Vec<(ConnectionId, Multiaddr, Option<Purpose>)> = self
            .slots
            .with(&peer)
            .filter(|(_, one)| one.direction == Direction::Outbound)
            .map(|(id, one)| (id, one.address.clone(), one.purpose))
            .collect();
        let mut greeting = Greeting::Stay;
        for (id, address, purpose) in outbound {
            self.met(&address, peer, now);
            if purpose == Some(Purpose::Feeler) {
                if self.slots.outbound() < self.policy.max_outbound {
                    self.slots.assign(id, Purpose::Outbound);
                } else if self.slots.with(&peer).count() == 1 {
                    greeting = Greeting::Leave;
                }
            }
        }
        greeting
    }

    /// A peer says on which addresses it listens. Only the ports count: they are tried at the IP
    /// from which it came, so nobody can send others to a stranger.
    pub fn identified(&mut self, peer: PeerId, listen: &[Multiaddr], now: Now) {
        let Some((ip, told)) = self.slots.with(&peer).find_map(|(_, one)| {
            let ip = one.ip().filter(|_| one.direction == Direction::Inbound)?;
            Some((ip, told_by(peer, ip)))
        }) else {
            return;
        };
        let ports: BTreeSet<u16> =
            listen.iter().filter_map(place::socket).map(|socket| socket.port()).collect();
        for port in ports.into_iter().take(MAX_ADDRESSES_EACH) {
            let socket = SocketAddr::new(ip, port);
            if place::reach(ip).is_some() && !self.own.contains(&socket) {
                let entry = Entry::new(Some(peer), Trust::OwnWord, told, unix(now));
                self.book.hear(socket, entry);
            }
        }
    }

    /// A peer answered a ping in so long.
    pub fn note_ping(&mut self, peer: &PeerId, round_trip: Duration) {
        if let Some(standing) = self.slots.standing(peer) {
            let best = standing.ping.map_or(round_trip, |best| best.min(round_trip));
            standing.ping = Some(best);
        }
    }

    /// A peer was the first to bring a block.
    pub fn note_block(&mut self, peer: &PeerId, now: Now) {
        if let Some(standing) = self.slots.standing(peer) {
            standing.block = Some(now.elapsed);
        }
    }

    /// A peer was the first to bring a transfer.
    pub fn note_transfer(&mut self, peer: &PeerId, now: Now) {
        if let Some(standing) = self.slots.standing(peer) {
            standing.transfer = Some(now.elapsed);
        }
    }

    /// Connections to close because there is a better one with the same peer; to be asked at every
    /// tick. Both sides come to the same answer.
    pub fn surplus(&self, now: Now) -> Vec<ConnectionId> {
        self.slots.surplus(&self.local, now)
    }

    /// The user is done with a peer: it is no longer kept, and left alone for a while. Its
    /// connections are to be closed.
    pub fn dismiss(&mut self, peer: PeerId, now: Now) {
        self.dials.unkeep(&peer);
        self.scores.rest(peer, now);
    }

    // Addresses.

    /// Takes note of what somebody told, as far as it is believable: not of this node itself, not
    /// of places where no node can be, nor of local networks if it came from outside.
    pub fn heard(&mut self, from: Source, nodes: &[NodeAddresses], now: Now) {
        let Some((told, reach)) = self.judge_source(from) else { return };
        for node in nodes.iter().take(MAX_ADDRESSES) {
            let old = node.last_seen != 0 && node.last_seen.saturating_add(TOO_OLD) < unix(now);
            if old || node.peer == self.local || self.is_banned(node.peer, now) {
                continue;
            }
            let sockets = node.addresses.iter().take(MAX_ADDRESSES_EACH).filter_map(place::socket);
            for socket in sockets {
                let near_enough = place::reach(socket.ip()).is_some_and(|there| there >= reach);
                let welcome = near_enough && !self.own.contains(&socket);
                if welcome && self.may_tell(from, now) && !self.is_banned_ip(socket.ip(), now) {
                    let entry = Entry::new(Some(node.peer), Trust::Hearsay, told, unix(now));
                    self.book.hear(socket, entry);
                }
            }
        }
    }

    /// Who counts as the source, and the nearest place that it may speak of.
    fn judge_source(&self, from: Source) -> Option<(Told, Reach)> {
        match from {
            Source::Mdns => Some((Told::Mdns, Reach::Machine)),
            Source::User => Some((Told::User, Reach::Machine)),
            Source::Peer(peer) => {
                let (_, connection) = self.slots.with(&peer).next()?;
                match connection.ip() {
                    Some(ip) => Some((told_by(peer, ip), place::reach(ip).unwrap_or(Reach::World))),
                    None => Some((Told::Peer(peer), Reach::Machine)),
                }
            }
        }
    }

    fn may_tell(&mut self, from: Source, now: Now) -> bool {
        match from {
            Source::Peer(peer) => {
                self.slots.standing(&peer).is_some_and(|standing| standing.rates.address(now))
            }
            Source::Mdns | Source::User => true,
        }
    }

    /// Nodes to tell a peer of: a random choice of those that were met or that said themselves
    /// where they are; not what others say, so that lies do not spread.
    pub fn sample(&mut self, to: &PeerId, max: usize, now: Now) -> Vec<NodeAddresses> {
        let ip = self.slots.with(to).next().and_then(|(_, one)| one.ip());
        let reach = ip.map_or(Reach::Machine, |ip| place::reach(ip).unwrap_or(Reach::World));
        let mut nodes: BTreeMap<PeerId, NodeAddresses> = BTreeMap::new();
        for (socket, entry) in self.book.iter() {
            let Some(peer) = entry.peer.filter(|peer| peer != to) else { continue };
            let seen = entry.worked.max(entry.heard);
            let fresh = seen.saturating_add(FRESH) >= unix(now) && entry.failures == 0;
            let near_enough = place::reach(socket.ip()).is_some_and(|there| there >= reach);
            if entry.trust < Trust::OwnWord || !fresh || !near_enough {
                continue;
            }
            let empty = || NodeAddresses { peer, addresses: Vec::new(), last_seen: 0 };
            let node = nodes.entry(peer).or_insert_with(empty);
            if node.addresses.len() < MAX_ADDRESSES_EACH {
                node.addresses.push(place::address(socket));
                node.last_seen = node.last_seen.max(entry.worked);
            }
        }
        let mut chosen = nodes.into_values().sample(&mut self.rng, max.min(MAX_ADDRESSES));
        chosen.shuffle(&mut self.rng);
        chosen
    }

    /// How many addresses are known.
    pub fn known(&self) -> usize {
        self.book.iter().count()
    }

    // Conduct.

    /// Counts what a peer did. A peer to keep is disconnected at the most.
    pub fn report(&mut self, peer: PeerId, conduct: Conduct, now: Now) -> Option<Sanction> {
        let score = self.scores.count(peer, conduct, now);
        if conduct.points() > 0.0 || score > DISCONNECT_SCORE {
            return None;
        }
        if self.dials.is_kept(&peer) {
            self.dials.postpone(&peer, now);
            Some(Sanction::Disconnect)
        } else if score <= BAN_SCORE {
            self.ban_for(peer, conduct, now);
            Some(Sanction::Ban)
        } else {
            self.scores.rest(peer, now);
            Some(Sanction::Disconnect)
        }
    }

    fn ban_for(&mut self, peer: PeerId, conduct: Conduct, now: Now) {
        let reason = format!("{conduct:?}");
        let ips: Vec<IpAddr> = self
            .slots
            .with(&peer)
            .filter(|(_, one)| one.purpose != Some(Purpose::Anchor))
            .filter_map(|(_, one)| one.ip())
            .filter(|ip| self.policy.counts(*ip) && !self.dials.names(*ip))
            .collect();
        self.ban(Subject::Peer(peer), PEER_BAN, reason.clone(), now);
        for ip in ips {
            self.ban(Subject::Ip(ip), IP_BAN, reason.clone(), now);
        }
    }

    /// How a peer behaved: −100 to 20.
    pub fn score(&self, peer: &PeerId, now: Now) -> f64 {
        self.scores.of(peer, now)
    }

    /// Counts a request of a peer.
    pub fn allow(&mut self, peer: &PeerId, request: &Request, now: Now) -> Allowance {
        self.slots
            .standing(peer)
            .map_or(Allowance::Refuse, |standing| standing.rates.request(request, now))
    }

    /// Counts bytes of blocks that were sent to a peer in a reply.
    pub fn served(&mut self, peer: &PeerId, bytes: usize, now: Now) {
        if let Some(standing) = self.slots.standing(peer) {
            standing.rates.served(bytes, now);
        }
    }

    /// Counts an announcement of a peer; false if it is to be ignored unread.
    pub fn allow_announcement(&mut self, peer: &PeerId, topic: Topic, now: Now) -> bool {
        self.slots.standing(peer).is_some_and(|standing| standing.rates.announcement(topic, now))
    }

    // Bans.

    /// Keeps somebody out for so many seconds. Returns the connected peers that this is about.
    /// Whoever asks for this means it: it holds for kept peers and local addresses too.
    pub fn ban(&mut self, who: Subject, seconds: u64, reason: String, now: Now) -> Vec<PeerId> {
        let until = unix(now).saturating_add(seconds);
        self.bans.prune(unix(now));
        self.bans.add(Ban { subject: who, until, reason });
        self.book.retain(|socket, entry| match who {
            Subject::Peer(peer) => entry.trust < Trust::OwnWord || entry.peer != Some(peer),
            Subject::Ip(ip) => place::host(socket.ip()) != place::host(ip),
        });
        let hit: BTreeSet<PeerId> = self
            .slots
            .iter()
            .filter(|(_, one)| match who {
                Subject::Peer(peer) => one.peer == peer,
                Subject::Ip(ip) => {
                    one.ip().is_some_and(|there| place::host(there) == place::host(ip))
                }
            })
            .map(|(_, one)| one.peer)
            .collect();
        hit.into_iter().collect()
    }

    /// Lets somebody in again, and forgets what a node did; whether there was a ban.
    pub fn unban(&mut self, who: Subject) -> bool {
        if let Subject::Peer(peer) = who {
            self.scores.clear(&peer);
        }
        self.bans.remove(who)
    }

    /// The bans that hold.
    pub fn bans(&self, now: Now) -> Vec<Ban> {
        self.bans.list(unix(now))
    }

    /// Whether a node is banned.
    pub fn is_banned(&self, peer: PeerId, now: Now) -> bool {
        self.bans.has_peer(peer, unix(now))
    }

    /// Whether an IP is banned.
    pub fn is_banned_ip(&self, ip: IpAddr, now: Now) -> bool {
        self.bans.has_ip(ip, unix(now))
    }
}

/// Who counts as the source of what a peer tells.
fn told_by(peer: PeerId, ip: IpAddr) -> Told {
    place::group(ip).map_or(Told::Peer(peer), Told::Group)
}

fn unix(now: Now) -> u64 {
    u64::from(now.clock.get())
}
