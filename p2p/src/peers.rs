//! Other nodes: where they are, how they behaved, who is kept out, how much each may ask, and who
//! gets one of the few connections. Decides only; the time and the addresses come from whoever owns
//! the network. Everything in here has a limit, because what fills it comes from strangers.

mod bans;
mod address_book;
mod dials;
mod address_exchange;
mod store;
mod netgroup;
mod rate_limit;
mod scores;
mod slots;

pub use address_book::{MAX_NEW, MAX_PER_GROUP, MAX_PER_SOURCE, MAX_TRIED};
pub use address_exchange::Source;
pub use bans::{FOR_EVER, MAX_BANS};
pub use dials::{Dial, DialFailure, Purpose};
pub use rate_limit::{Allowance, Topic};
pub use scores::{
    BAN_SCORE, BEST_SCORE, DISCONNECT_SCORE, HALF_LIFE, IP_BAN, PEER_BAN, Penalty, REST,
    WORST_SCORE,
};
pub use store::Snapshot;

use crate::engine::Now;
use address_book::AddressBook;
use bans::Bans;
use dials::Dials;
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};
use rand::SeedableRng;
use rand::rngs::StdRng;
use scores::Scores;
use slots::Slots;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often what is known should be saved.
pub const SAVE_EVERY: Duration = Duration::from_secs(5 * 60);

/// Most connections with one peer: two nodes may call each other at the same time.
const MAX_PER_PEER: usize = 2;
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
    /// Whether to call anybody but the peers to keep.
    pub discover: bool,
    /// No limits by IP or group, and a higher one for announced blocks: for networks where blocks cost
    /// nothing anyway. The addresses of a machine or a local network are free of the former everywhere.
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
            discover: true,
            relaxed,
            first_backoff,
            longest_backoff,
        }
    }

    /// Whether the limits by IP hold for an IP.
    fn counts(&self, ip: IpAddr) -> bool {
        !self.relaxed && !netgroup::is_near(ip)
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
    /// The node was disconnected for its score, or by the user, a short time ago.
    #[error("disconnected on purpose a short time ago")]
    CoolingDown,
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

/// All that is known of other nodes.
#[derive(Debug)]
pub struct Peers {
    local: PeerId,
    policy: Policy,
    path: PathBuf,
    rng: StdRng,
    book: AddressBook,
    bans: Bans,
    scores: Scores,
    slots: Slots,
    dials: Dials,
    /// To be saved, with what is connected longest.
    anchors: Vec<(SocketAddr, PeerId)>,
    own: BTreeSet<SocketAddr>,
    next_prune: Duration,
}

#[cfg(test)]
mod tests;

impl Peers {
    /// Reads what an earlier run saved in the folder. A file that cannot be read is set aside with
    /// a warning: a node can find others again.
    pub fn open(data: &Path, local: PeerId, policy: Policy, now: Now, seed: u64) -> Peers {
        let mut peers = Peers {
            local,
            book: AddressBook::new(policy.relaxed),
            policy,
            path: data.join(store::NAME),
            rng: StdRng::seed_from_u64(seed),
            bans: Bans::default(),
            scores: Scores::default(),
            slots: Slots::default(),
            dials: Dials::new(now),
            anchors: Vec::new(),
            own: BTreeSet::new(),
            next_prune: Duration::ZERO,
        };
        if let Some(saved) = store::load(&peers.path) {
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
        if let Some(socket) = netgroup::socket(address)
            && self.own.len() < MAX_OWN
        {
            self.own.insert(socket);
            self.book.remove(socket);
        }
    }

    /// Before the handshake of an inbound connection: whether to go on with it. Every id has to
    /// come back in `connected` or `closed`. Who does not ask gets the same answer in `connected`,
    /// after more work.
    pub fn admit(
        &mut self,
        connection: ConnectionId,
        from: &Multiaddr,
        now: Now,
    ) -> Result<(), Denied> {
        let ip = netgroup::ip(from);
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
        let wanted = self.dials.is_kept(&peer)
            || (direction == Direction::Outbound && self.dials.purpose(address) == Purpose::Keep);
        let result = self.check(&peer, address, wanted, now).and_then(|()| match direction {
            Direction::Inbound => self.connect_in(connection, peer, address, now),
            Direction::Outbound => self.connect_out(connection, peer, address, now),
        });
        if let Err(denied) = result {
            self.slots.close(connection);
            if direction == Direction::Outbound {
                let own = denied == Denied::Ourselves;
                let why = if own { DialFailure::Ourselves } else { DialFailure::Unreachable };
                self.dial_failed(address, why, now);
            }
        }
        result
    }

    fn connect_in(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        now: Now,
    ) -> Result<Connected, Denied> {
        if !self.slots.is_admitted(connection) {
            self.admit(connection, address, now)?;
        }
        self.slots.open(connection, peer, address, None, &self.policy, now);
        let kept = self.dials.kept_peers();
        let evict = self.slots.evict(&peer, &self.policy, &kept, &mut self.rng)?;
        Ok(Connected { purpose: None, evict })
    }

    fn connect_out(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        now: Now,
    ) -> Result<Connected, Denied> {
        let purpose = self.dials.purpose(address);
        self.slots.open(connection, peer, address, Some(purpose), &self.policy, now);
        let mut kept = self.dials.kept_peers();
        if purpose == Purpose::Keep {
            kept.insert(peer);
        }
        let evict = self.slots.evict(&peer, &self.policy, &kept, &mut self.rng)?;
        self.dials.reached(address, peer);
        if self.slots.is_greeted(&peer) {
            self.met(address, peer, now);
        }
        Ok(Connected { purpose: Some(purpose), evict })
    }

    fn check(
        &self,
        peer: &PeerId,
        address: &Multiaddr,
        wanted: bool,
        now: Now,
    ) -> Result<(), Denied> {
        if *peer == self.local {
            Err(Denied::Ourselves)
        } else if self.is_banned(*peer, now)
            || netgroup::ip(address).is_some_and(|ip| self.is_banned_ip(ip, now))
        {
            Err(Denied::Banned)
        } else if self.scores.is_resting(peer, now) && !wanted {
            Err(Denied::CoolingDown)
        } else if self.slots.with(peer).count() >= MAX_PER_PEER {
            Err(Denied::Duplicate)
        } else {
            Ok(())
        }
    }

    /// A connection is gone, or did not get through its handshake.
    pub fn closed(&mut self, connection: ConnectionId, now: Now) {
        let Some(gone) = self.slots.close(connection) else { return };
        if !gone.is_inbound() {
            self.dials.lost(&gone, now);
            self.rest_address(&gone, now);
        }
        if !self.slots.is_connected(&gone.peer) {
            self.scores.settle(&gone.peer, now);
        }
    }

    /// A peer of this network said hello.
    pub fn greeted(&mut self, peer: PeerId, now: Now) -> Greeting {
        self.slots.greet(&peer);
        let outbound: Vec<(ConnectionId, Multiaddr, Option<Purpose>)> = self
            .slots
            .with(&peer)
            .filter(|(_, one)| !one.is_inbound())
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
}

fn unix(now: Now) -> u64 {
    u64::from(now.clock.get())
}
