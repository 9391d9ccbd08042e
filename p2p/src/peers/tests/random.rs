//! Random sequences of events never exceed the limits.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Step {
    Accept { peer: u64, group: u8, ip: u8 },
    Close { which: usize },
    Handshake { peer: u64 },
    Identify { peer: u64, port: u16 },
    Gossip { peer: u64, group: u8, count: u8 },
    Dial { response: u8 },
    Report { peer: u64, what: u8 },
    Ban { peer: u64, seconds: u64 },
    Record { peer: u64 },
    Persist { group: u8 },
    Advance { seconds: u16 },
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let peer = 0_u64..40;
    prop_oneof![
        8 => (peer.clone(), 0_u8..5, 0_u8..4).prop_map(|(peer, group, ip)| Step::Accept { peer, group, ip }),
        3 => (0_usize..50).prop_map(|which| Step::Close { which }),
        4 => peer.clone().prop_map(|peer| Step::Handshake { peer }),
        2 => (peer.clone(), 1_u16..9).prop_map(|(peer, port)| Step::Identify { peer, port }),
        4 => (peer.clone(), 0_u8..30, 1_u8..64)
            .prop_map(|(peer, group, count)| Step::Gossip { peer, group, count }),
        8 => (0_u8..5).prop_map(|response| Step::Dial { response }),
        2 => (peer.clone(), 0_u8..4).prop_map(|(peer, what)| Step::Report { peer, what }),
        1 => (peer.clone(), 0_u64..u64::MAX).prop_map(|(peer, seconds)| Step::Ban { peer, seconds }),
        2 => peer.prop_map(|peer| Step::Record { peer }),
        1 => (0_u8..30).prop_map(|group| Step::Persist { group }),
        4 => (0_u16..400).prop_map(|seconds| Step::Advance { seconds }),
        1 => Just(Step::Restart),
    ]
}

struct Run {
    world: World,
    open: Vec<ConnectionId>,
}

impl Run {
    fn opened(&mut self, id: ConnectionId, connected: Connected) {
        self.open.push(id);
        if let Some(evicted) = connected.evict {
            let closed: Vec<_> = self.world.peers.slots.of(&evicted).map(|(id, _)| id).collect();
            for id in closed {
                self.close(id);
            }
        }
    }

    fn close(&mut self, id: ConnectionId) {
        self.open.retain(|other| *other != id);
        self.world.peers.connection_closed(id, self.world.now);
    }

    fn close_all_of(&mut self, peer: PeerId) {
        let closed: Vec<_> = self.world.peers.slots.of(&peer).map(|(id, _)| id).collect();
        closed.into_iter().for_each(|id| self.close(id));
    }

    fn step(&mut self, step: &Step) {
        let now = self.world.now;
        match *step {
            Step::Accept { peer, group, ip } => {
                let id = self.world.connection();
                let from = at(&format!("{}.1.0.{ip}:5", 20 + group));
                let result = self.world.establish(id, node(peer), &from, Direction::Inbound);
                if let Ok(connected) = result {
                    self.opened(id, connected);
                }
            }
            Step::Close { which } => {
                if let Some(id) = self.open.get(which).copied() {
                    self.close(id);
                }
            }
            Step::Handshake { peer } => {
                if self.world.peers.handshake_completed(node(peer), now)
                    == HandshakeOutcome::Disconnect
                {
                    self.close_all_of(node(peer));
                }
            }
            Step::Identify { peer, port } => {
                let listen = at(&format!("1.1.1.1:{port}"));
                self.world.peers.add_listen_addresses(node(peer), &[listen], now);
            }
            Step::Gossip { peer, group, count } => {
                let nodes: Vec<_> = (0..u64::from(count))
                    .map(|one| node_at(one, &[&format!("{}.2.{one}.1:1", 20 + group)]))
                    .collect();
                self.world.gossip(peer, &nodes);
            }
            Step::Dial { response } => self.dial(response),
            Step::Report { peer, what } => {
                let misbehavior = [
                    Misbehavior::Delivered,
                    Misbehavior::Timeout,
                    Misbehavior::BadRequest,
                    Misbehavior::BadHeader,
                ][usize::from(what)];
                if self.world.report(peer, misbehavior).is_some() {
                    self.close_all_of(node(peer));
                }
            }
            Step::Ban { peer, seconds } => {
                let subject = Subject::Peer(node(peer));
                for banned in self.world.peers.ban(subject, seconds, "random".into(), now) {
                    self.close_all_of(banned);
                }
            }
            Step::Record { peer } => {
                self.world.peers.record_ping(&node(peer), Duration::from_millis(peer));
                self.world.peers.record_block(&node(peer), now);
            }
            Step::Persist { group } => {
                self.world.peers.add_persistent_peer(&at(&format!("{}.3.0.1:1", 20 + group)));
            }
            Step::Advance { seconds } => self.world.advance(f64::from(seconds)),
            Step::Restart => {
                self.world.restart();
                self.open.clear();
            }
        }
    }

    fn dial(&mut self, response: u8) {
        let now = self.world.now;
        for (number, dial) in (100..).zip(self.world.dials()) {
            let peer = dial.peer.unwrap_or(node(number + u64::from(response)));
            let why = match response {
                0 => DialFailure::Unreachable,
                1 => DialFailure::WrongNetwork,
                2 => DialFailure::WrongPeer(node(number)),
                _ => {
                    let id = self.world.connection();
                    let direction = Direction::Outbound;
                    if let Ok(connected) = self.world.establish(id, peer, &dial.address, direction)
                    {
                        self.opened(id, connected);
                    }
                    continue;
                }
            };
            self.world.peers.dial_failed(&dial.address, why, now);
        }
        for id in self.world.peers.redundant_connections(now) {
            self.close(id);
        }
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let peers = &self.world.peers;
        let policy = &peers.policy;
        let mut hosts = BTreeMap::new();
        let mut groups = BTreeMap::new();
        let mut each = BTreeMap::new();
        for (_, one) in peers.slots.iter() {
            prop_assert!(!peers.is_banned(one.peer, self.world.now));
            *each.entry(one.peer).or_insert(0) += 1;
            if let Some(ip) = one.ip().filter(|_| one.is_inbound()) {
                *hosts.entry(netgroup::host(ip)).or_insert(0) += 1;
                *groups.entry(netgroup::group(ip)).or_insert(0) += 1;
            }
        }
        prop_assert!(each.values().all(|count| *count <= MAX_PER_PEER));
        prop_assert!(hosts.values().all(|count| *count <= policy.max_inbound_per_ip));
        prop_assert!(groups.values().all(|count| *count <= policy.max_inbound_per_group));
        let [connections, pending, standings, _] = peers.slots.sizes();
        prop_assert_eq!(connections, self.open.len());
        prop_assert_eq!((pending, standings), (0, each.len()));
        // One more for a feeler connection.
        prop_assert!(each.len() <= policy.max_peers + 1, "{} peers", each.len());
        prop_assert!(peers.dials.sizes()[0] <= 16 + 30);

        for (table, max) in
            [(peers.book.new_addresses(), MAX_NEW), (peers.book.tried_addresses(), MAX_TRIED)]
        {
            let mut groups = BTreeMap::new();
            let mut sources = BTreeMap::new();
            for (socket, entry) in table.iter() {
                *groups.entry(netgroup::group(socket.ip())).or_insert(0) += 1;
                *sources.entry(entry.source).or_insert(0) += 1;
            }
            prop_assert!(groups.values().sum::<usize>() <= max);
            prop_assert!(groups.values().all(|count| *count <= MAX_PER_GROUP));
            let is_new = max == MAX_NEW;
            prop_assert!(!is_new || sources.values().all(|count| *count <= MAX_PER_SOURCE));
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn limits_hold_for_random_events(steps in prop::collection::vec(step(), 1..300)) {
        let mut run = Run { world: World::new(12), open: Vec::new() };
        for step in &steps {
            run.step(step);
            run.check()?;
        }
    }
}
