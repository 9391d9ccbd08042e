//! `Peers` with simulated time and connections.

mod addresses;
mod dials;
mod misbehavior;
mod connections;
mod network;
mod random;
mod saved;

use super::*;
use crate::engine::Misbehavior;
use chain::block::Timestamp;
use tempfile::TempDir;

/// One node, its clock and its directory.
struct World {
    peers: Peers,
    now: Now,
    connections: usize,
    directory: TempDir,
}

/// The start time, Unix seconds.
const START: u32 = 1_800_000_000;

fn now_at(elapsed: Duration) -> Now {
    let seconds = u32::try_from(elapsed.as_secs()).unwrap();
    Now { elapsed, clock: Timestamp::new(START).saturating_add(seconds) }
}

fn node(number: u64) -> PeerId {
    let mut bytes = vec![0, 8];
    bytes.extend(number.to_be_bytes());
    PeerId::from_bytes(&bytes).unwrap()
}

/// The id of the node under test.
fn this_node() -> PeerId {
    node(1 << 40)
}

/// An address as `1.2.3.4:5` or `[::1]:5`.
fn at(socket: &str) -> Multiaddr {
    netgroup::address(socket.parse().unwrap())
}

fn node_at(number: u64, addresses: &[&str]) -> NodeAddresses {
    let addresses = addresses.iter().map(|socket| at(socket)).collect();
    NodeAddresses { peer: node(number), addresses, last_seen: 0 }
}

impl World {
    fn new(max_peers: usize) -> World {
        World::with(Policy::new(max_peers, false))
    }

    fn relaxed() -> World {
        World::with(Policy::new(112, true))
    }

    fn with(policy: Policy) -> World {
        let directory = tempfile::tempdir().unwrap();
        let now = now_at(Duration::ZERO);
        let peers = Peers::open(directory.path(), this_node(), policy, now, 7);
        World { peers, now, connections: 0, directory }
    }

    fn advance(&mut self, seconds: f64) {
        self.now = now_at(self.now.elapsed + Duration::from_secs_f64(seconds));
    }

    /// Saves, and restarts an hour later.
    fn restart(&mut self) {
        self.peers.save(self.now).unwrap();
        let unix = self.now.clock.saturating_add(3_600);
        self.now = Now { elapsed: Duration::ZERO, clock: unix };
        let policy = self.peers.policy.clone();
        self.peers = Peers::open(self.directory.path(), this_node(), policy, self.now, 8);
    }

    fn connection(&mut self) -> ConnectionId {
        self.connections += 1;
        ConnectionId::new_unchecked(self.connections)
    }

    fn accept(&mut self, number: u64, from: &str) -> Result<ConnectionId, Denied> {
        let id = self.connection();
        self.peers.admit(id, &at(from), self.now)?;
        self.establish(id, node(number), &at(from), Direction::Inbound)?;
        Ok(id)
    }

    fn establish(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        direction: Direction,
    ) -> Result<Connected, Denied> {
        self.peers.connection_established(id, peer, address, direction, self.now)
    }

    /// A dial succeeds, and the handshake.
    fn connect_to(&mut self, number: u64, address: &Multiaddr) -> ConnectionId {
        let id = self.connection();
        self.establish(id, node(number), address, Direction::Outbound).unwrap();
        self.peers.handshake_completed(node(number), self.now);
        id
    }

    /// A connected peer gossips addresses.
    fn gossip(&mut self, from: u64, nodes: &[NodeAddresses]) {
        for some in nodes.chunks(MAX_ADDRESSES) {
            self.peers.add_addresses(Source::Peer(node(from)), some, self.now);
        }
    }

    fn dials(&mut self) -> Vec<Dial> {
        self.peers.next_dials(self.now)
    }

    /// The dials within a number of seconds, all of which fail.
    fn failing_dials(&mut self, seconds: u32) -> Vec<Dial> {
        let mut all = Vec::new();
        for _ in 0..seconds * 4 {
            for dial in self.dials() {
                self.peers.dial_failed(&dial.address, DialFailure::Unreachable, self.now);
                all.push(dial);
            }
            self.advance(0.25);
        }
        all
    }

    fn report(&mut self, number: u64, misbehavior: Misbehavior) -> Option<Penalty> {
        self.peers.report(node(number), misbehavior, self.now)
    }
}
