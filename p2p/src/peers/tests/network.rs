//! Simulated networks of many nodes, each with its own `Peers`.

use super::*;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Nodes by number, and the connections between them, dialer first.
struct Network {
    worlds: BTreeMap<u64, World>,
    connections: BTreeMap<ConnectionId, (u64, u64)>,
    opened: usize,
}

/// The address of a node, in a netgroup of its own.
fn address_of(number: u64) -> Multiaddr {
    at(&format!("{}.{}.0.1:7000", 20 + number / 200, number % 200))
}

impl Network {
    /// Nodes that have the first one as their boot node.
    fn new(count: u64, policy: &Policy) -> Network {
        let mut network =
            Network { worlds: BTreeMap::new(), connections: BTreeMap::new(), opened: 0 };
        for number in 0..count {
            network.start(number, policy);
        }
        network
    }

    fn start(&mut self, number: u64, policy: &Policy) {
        let mut world = World::with(policy.clone());
        world.peers.local = node(number);
        world.peers.rng = StdRng::seed_from_u64(number);
        world.peers.add_own_address(&address_of(number));
        world.peers.add_boot_node(&address_of(0));
        world.now = self.worlds.values().next().map_or(world.now, |other| other.now);
        self.worlds.insert(number, world);
    }

    fn stop(&mut self, number: u64) {
        self.worlds.remove(&number);
        let closed: Vec<_> = self.connections_of(number).map(|(id, _)| id).collect();
        closed.into_iter().for_each(|id| self.close(id));
    }

    fn connections_of(&self, number: u64) -> impl Iterator<Item = (ConnectionId, u64)> {
        self.connections.iter().filter_map(move |(id, (a, b))| match number {
            _ if number == *a => Some((*id, *b)),
            _ if number == *b => Some((*id, *a)),
            _ => None,
        })
    }

    fn close(&mut self, id: ConnectionId) {
        let Some((dialer, dialed)) = self.connections.remove(&id) else { return };
        for number in [dialer, dialed] {
            if let Some(world) = self.worlds.get_mut(&number) {
                world.peers.connection_closed(id, world.now);
            }
        }
    }

    fn close_between(&mut self, one: u64, other: PeerId) {
        let between: Vec<_> = self
            .connections_of(one)
            .filter(|(_, there)| node(*there) == other)
            .map(|(id, _)| id)
            .collect();
        between.into_iter().for_each(|id| self.close(id));
    }

    fn run(&mut self, seconds: u32) {
        for tick in 0..seconds * 4 {
            let numbers: Vec<u64> = self.worlds.keys().copied().collect();
            for number in numbers {
                let world = self.worlds.get_mut(&number).unwrap();
                let dials = world.dials();
                let redundant = world.peers.redundant_connections(world.now);
                dials.iter().for_each(|dial| self.dial(number, dial));
                redundant.into_iter().for_each(|id| self.close(id));
                if (u64::from(tick) + number).is_multiple_of(240) {
                    self.request_addresses(number);
                }
            }
            self.worlds.values_mut().for_each(|world| world.advance(0.25));
        }
    }

    fn dial(&mut self, dialer: u64, dial: &Dial) {
        let dialed = self.worlds.keys().copied().find(|number| address_of(*number) == dial.address);
        self.opened += 1;
        let id = ConnectionId::new_unchecked(self.opened);
        let evictions = dialed.map(|dialed| (dialed, self.connect(dialer, dialed, id, dial)));
        let Some((dialed, Ok(evictions))) = evictions else {
            let world = self.worlds.get_mut(&dialer).unwrap();
            world.peers.dial_failed(&dial.address, DialFailure::Unreachable, world.now);
            return;
        };
        for (number, evicted) in evictions {
            self.close_between(number, evicted);
        }
        self.handshake(dialer, dialed);
    }

    fn connect(
        &mut self,
        dialer: u64,
        dialed: u64,
        id: ConnectionId,
        dial: &Dial,
    ) -> Result<Vec<(u64, PeerId)>, Denied> {
        let from = netgroup::socket(&address_of(dialer)).unwrap();
        let from = netgroup::address(SocketAddr::new(from.ip(), 50_000));
        let world = self.worlds.get_mut(&dialed).unwrap();
        world.peers.admit(id, &from, world.now)?;
        let there = world.establish(id, node(dialer), &from, Direction::Inbound)?;
        let world = self.worlds.get_mut(&dialer).unwrap();
        let here = world.establish(id, node(dialed), &dial.address, Direction::Outbound);
        let Ok(here) = here else {
            let world = self.worlds.get_mut(&dialed).unwrap();
            world.peers.connection_closed(id, world.now);
            return Err(here.unwrap_err());
        };
        self.connections.insert(id, (dialer, dialed));
        let evicted = [(dialed, there.evict), (dialer, here.evict)];
        Ok(evicted.into_iter().filter_map(|(at, who)| Some((at, who?))).collect())
    }

    fn handshake(&mut self, dialer: u64, dialed: u64) {
        let mut leave = false;
        for (here, there) in [(dialer, dialed), (dialed, dialer)] {
            let world = self.worlds.get_mut(&here).unwrap();
            leave |= world.peers.handshake_completed(node(there), world.now)
                == HandshakeOutcome::Disconnect;
            world.peers.add_listen_addresses(node(there), &[address_of(there)], world.now);
        }
        self.exchange(dialer, dialed);
        if leave {
            self.close_between(dialer, node(dialed));
        }
    }

    fn request_addresses(&mut self, number: u64) {
        let others: Vec<u64> = self.connections_of(number).map(|(_, other)| other).collect();
        others.into_iter().for_each(|other| self.exchange(number, other));
    }

    fn exchange(&mut self, here: u64, there: u64) {
        let world = self.worlds.get_mut(&there).unwrap();
        let nodes = world.peers.sample_addresses(&node(here), MAX_ADDRESSES, world.now);
        let world = self.worlds.get_mut(&here).unwrap();
        world.peers.add_addresses(Source::Peer(node(there)), &nodes, world.now);
    }

    /// The number of nodes that are reachable from the first one.
    fn reachable(&self) -> usize {
        let first = *self.worlds.keys().next().unwrap();
        let mut seen = BTreeSet::from([first]);
        let mut left = vec![first];
        while let Some(number) = left.pop() {
            let others = self.connections_of(number).map(|(_, other)| other);
            left.extend(others.filter(|other| seen.insert(*other)));
        }
        seen.len()
    }

    /// The minimum number of outbound connections, the boot node not counted.
    fn fewest_outbound(&self) -> usize {
        self.worlds.values().skip(1).map(|world| world.peers.slots.outbound()).min().unwrap()
    }
}

#[test]
fn nodes_with_one_boot_node_discover_all_others_and_remain_connected() {
    let policy = Policy::new(112, false);
    let mut network = Network::new(40, &policy);
    network.run(30);
    assert_eq!(network.reachable(), 40);
    network.run(270);
    assert!(network.fewest_outbound() >= 8, "{}", network.fewest_outbound());
    // Only feelers are closed.
    let before = network.connections.clone();
    network.run(300);
    let retained = before.iter().filter(|(id, _)| network.connections.contains_key(id)).count();
    assert!(retained * 100 >= before.len() * 95, "{retained} of {}", before.len());
}

#[test]
fn stopped_nodes_are_replaced_by_others() {
    let policy = Policy::new(24, false);
    let mut network = Network::new(40, &policy);
    network.run(100);
    for number in (1..40).step_by(3) {
        network.stop(number);
    }
    network.run(100);
    assert_eq!(network.reachable(), network.worlds.len());
    network.start(100, &policy);
    network.run(10);
    assert_eq!(network.reachable(), network.worlds.len());
}

#[test]
fn small_networks_connect_fully_within_seconds() {
    let mut network = Network::new(5, &Policy::new(32, true));
    network.run(10);
    for number in 0..5 {
        let others: BTreeSet<u64> =
            network.connections_of(number).map(|(_, other)| other).collect();
        assert!(others.len() >= 3, "{number} has {others:?}");
    }
    assert_eq!(network.reachable(), 5);
}
