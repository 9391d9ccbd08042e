//! Many nodes that find each other, each with its own view, on a network made up.

use super::*;
use crate::message::MAX_ADDRESSES;
use std::collections::BTreeMap;

/// Nodes by number, and who is connected with whom: the caller first.
struct Network {
    worlds: BTreeMap<u64, World>,
    links: BTreeMap<ConnectionId, (u64, u64)>,
    opened: usize,
}

/// One of a group of its own.
fn home(number: u64) -> Multiaddr {
    at(&format!("{}.{}.0.1:7000", 20 + number / 200, number % 200))
}

impl Network {
    /// All know one of them.
    fn new(count: u64, policy: &Policy) -> Network {
        let mut network = Network { worlds: BTreeMap::new(), links: BTreeMap::new(), opened: 0 };
        for number in 0..count {
            network.start(number, policy);
        }
        network
    }

    fn start(&mut self, number: u64, policy: &Policy) {
        let mut world = World::with(policy.clone());
        world.peers.local = node(number);
        world.peers.rng = StdRng::seed_from_u64(number);
        world.peers.own(&home(number));
        world.peers.boot(&home(0));
        world.now = self.worlds.values().next().map_or(world.now, |other| other.now);
        self.worlds.insert(number, world);
    }

    fn stop(&mut self, number: u64) {
        self.worlds.remove(&number);
        let gone: Vec<_> = self.links_of(number).map(|(id, _)| id).collect();
        gone.into_iter().for_each(|id| self.close(id));
    }

    fn links_of(&self, number: u64) -> impl Iterator<Item = (ConnectionId, u64)> {
        self.links.iter().filter_map(move |(id, (a, b))| match number {
            _ if number == *a => Some((*id, *b)),
            _ if number == *b => Some((*id, *a)),
            _ => None,
        })
    }

    fn close(&mut self, id: ConnectionId) {
        let Some((caller, called)) = self.links.remove(&id) else { return };
        for number in [caller, called] {
            if let Some(world) = self.worlds.get_mut(&number) {
                world.peers.closed(id, world.now);
            }
        }
    }

    fn close_between(&mut self, one: u64, other: PeerId) {
        let between: Vec<_> = self
            .links_of(one)
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
                let calls = world.calls();
                let surplus = world.peers.surplus(world.now);
                calls.iter().for_each(|dial| self.call(number, dial));
                surplus.into_iter().for_each(|id| self.close(id));
                if (u64::from(tick) + number).is_multiple_of(240) {
                    self.ask_around(number);
                }
            }
            self.worlds.values_mut().for_each(|world| world.wait(0.25));
        }
    }

    fn call(&mut self, caller: u64, dial: &Dial) {
        let called = self.worlds.keys().copied().find(|number| home(*number) == dial.address);
        self.opened += 1;
        let id = ConnectionId::new_unchecked(self.opened);
        let evictions = called.map(|called| (called, self.connect(caller, called, id, dial)));
        let Some((called, Ok(evictions))) = evictions else {
            let world = self.worlds.get_mut(&caller).unwrap();
            world.peers.dial_failed(&dial.address, DialFailure::Unreachable, world.now);
            return;
        };
        for (number, evicted) in evictions {
            self.close_between(number, evicted);
        }
        self.greet(caller, called);
    }

    fn connect(
        &mut self,
        caller: u64,
        called: u64,
        id: ConnectionId,
        dial: &Dial,
    ) -> Result<Vec<(u64, PeerId)>, Denied> {
        let from = netgroup::socket(&home(caller)).unwrap();
        let from = netgroup::address(SocketAddr::new(from.ip(), 50_000));
        let world = self.worlds.get_mut(&called).unwrap();
        world.peers.admit(id, &from, world.now)?;
        let there = world.connects(id, node(caller), &from, Direction::Inbound)?;
        let world = self.worlds.get_mut(&caller).unwrap();
        let here = world.connects(id, node(called), &dial.address, Direction::Outbound);
        let Ok(here) = here else {
            let world = self.worlds.get_mut(&called).unwrap();
            world.peers.closed(id, world.now);
            return Err(here.unwrap_err());
        };
        self.links.insert(id, (caller, called));
        let evicted = [(called, there.evict), (caller, here.evict)];
        Ok(evicted.into_iter().filter_map(|(at, who)| Some((at, who?))).collect())
    }

    fn greet(&mut self, caller: u64, called: u64) {
        let mut leave = false;
        for (here, there) in [(caller, called), (called, caller)] {
            let world = self.worlds.get_mut(&here).unwrap();
            leave |= world.peers.greeted(node(there), world.now) == Greeting::Leave;
            world.peers.identified(node(there), &[home(there)], world.now);
        }
        self.exchange(caller, called);
        if leave {
            self.close_between(caller, node(called));
        }
    }

    fn ask_around(&mut self, number: u64) {
        let others: Vec<u64> = self.links_of(number).map(|(_, other)| other).collect();
        others.into_iter().for_each(|other| self.exchange(number, other));
    }

    fn exchange(&mut self, here: u64, there: u64) {
        let world = self.worlds.get_mut(&there).unwrap();
        let nodes = world.peers.sample(&node(here), MAX_ADDRESSES, world.now);
        let world = self.worlds.get_mut(&here).unwrap();
        world.peers.heard(Source::Peer(node(there)), &nodes, world.now);
    }

    /// How many can be reached from the first.
    fn reachable(&self) -> usize {
        let first = *self.worlds.keys().next().unwrap();
        let mut seen = BTreeSet::from([first]);
        let mut left = vec![first];
        while let Some(number) = left.pop() {
            let others = self.links_of(number).map(|(_, other)| other);
            left.extend(others.filter(|other| seen.insert(*other)));
        }
        seen.len()
    }

    /// Of all but the first, which everybody has called already.
    fn fewest_outbound(&self) -> usize {
        self.worlds.values().skip(1).map(|world| world.peers.slots.outbound()).min().unwrap()
    }
}

#[test]
fn nodes_that_know_one_node_find_all_others_and_then_stay_together() {
    let policy = Policy::new(112, false);
    let mut network = Network::new(40, &policy);
    network.run(30);
    assert_eq!(network.reachable(), 40);
    network.run(270);
    assert!(network.fewest_outbound() >= 8, "{}", network.fewest_outbound());
    // Only feelers come and go.
    let before = network.links.clone();
    network.run(300);
    let kept = before.iter().filter(|(id, _)| network.links.contains_key(id)).count();
    assert!(kept * 100 >= before.len() * 95, "{kept} of {}", before.len());
}

#[test]
fn nodes_that_stop_are_replaced_by_others() {
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
fn small_networks_are_complete_within_seconds() {
    let mut network = Network::new(5, &Policy::new(32, true));
    network.run(10);
    for number in 0..5 {
        let others: BTreeSet<u64> = network.links_of(number).map(|(_, other)| other).collect();
        assert!(others.len() >= 3, "{number} has {others:?}");
    }
    assert_eq!(network.reachable(), 5);
}
