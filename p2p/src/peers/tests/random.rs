//! Whatever happens in whatever order, the limits hold.

use super::*;
use crate::Subject;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Step {
    Come { peer: u64, group: u8, ip: u8 },
    Close { which: usize },
    Greet { peer: u64 },
    Identify { peer: u64, port: u16 },
    Hear { peer: u64, group: u8, count: u8 },
    Call { answer: u8 },
    Report { peer: u64, what: u8 },
    Ban { peer: u64, seconds: u64 },
    Merit { peer: u64 },
    Keep { group: u8 },
    Wait { seconds: u16 },
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let peer = 0_u64..40;
    prop_oneof![
        8 => (peer.clone(), 0_u8..5, 0_u8..4).prop_map(|(peer, group, ip)| Step::Come { peer, group, ip }),
        3 => (0_usize..50).prop_map(|which| Step::Close { which }),
        4 => peer.clone().prop_map(|peer| Step::Greet { peer }),
        2 => (peer.clone(), 1_u16..9).prop_map(|(peer, port)| Step::Identify { peer, port }),
        4 => (peer.clone(), 0_u8..30, 1_u8..64)
            .prop_map(|(peer, group, count)| Step::Hear { peer, group, count }),
        8 => (0_u8..5).prop_map(|answer| Step::Call { answer }),
        2 => (peer.clone(), 0_u8..4).prop_map(|(peer, what)| Step::Report { peer, what }),
        1 => (peer.clone(), 0_u64..u64::MAX).prop_map(|(peer, seconds)| Step::Ban { peer, seconds }),
        2 => peer.prop_map(|peer| Step::Merit { peer }),
        1 => (0_u8..30).prop_map(|group| Step::Keep { group }),
        4 => (0_u16..400).prop_map(|seconds| Step::Wait { seconds }),
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
            let gone: Vec<_> = self.world.peers.slots.with(&evicted).map(|(id, _)| id).collect();
            for id in gone {
                self.close(id);
            }
        }
    }

    fn close(&mut self, id: ConnectionId) {
        self.open.retain(|other| *other != id);
        self.world.peers.closed(id, self.world.now);
    }

    fn close_all_of(&mut self, peer: PeerId) {
        let gone: Vec<_> = self.world.peers.slots.with(&peer).map(|(id, _)| id).collect();
        gone.into_iter().for_each(|id| self.close(id));
    }

    fn step(&mut self, step: &Step) {
        let now = self.world.now;
        match *step {
            Step::Come { peer, group, ip } => {
                let id = self.world.connection();
                let from = at(&format!("{}.1.0.{ip}:5", 20 + group));
                let result = self.world.connects(id, node(peer), &from, Direction::Inbound);
                if let Ok(connected) = result {
                    self.opened(id, connected);
                }
            }
            Step::Close { which } => {
                if let Some(id) = self.open.get(which).copied() {
                    self.close(id);
                }
            }
            Step::Greet { peer } => {
                if self.world.peers.greeted(node(peer), now) == Greeting::Leave {
                    self.close_all_of(node(peer));
                }
            }
            Step::Identify { peer, port } => {
                let listen = at(&format!("1.1.1.1:{port}"));
                self.world.peers.identified(node(peer), &[listen], now);
            }
            Step::Hear { peer, group, count } => {
                let nodes: Vec<_> = (0..u64::from(count))
                    .map(|one| told(one, &[&format!("{}.2.{one}.1:1", 20 + group)]))
                    .collect();
                self.world.hears(peer, &nodes);
            }
            Step::Call { answer } => self.call(answer),
            Step::Report { peer, what } => {
                let misbehavior = [
                    Misbehavior::Delivered,
                    Misbehavior::Timeout,
                    Misbehavior::BadRequest,
                    Misbehavior::BadHeader,
                ][usize::from(what)];
                if self.world.reports(peer, misbehavior).is_some() {
                    self.close_all_of(node(peer));
                }
            }
            Step::Ban { peer, seconds } => {
                let subject = Subject::Peer(node(peer));
                for hit in self.world.peers.ban(subject, seconds, "random".into(), now) {
                    self.close_all_of(hit);
                }
            }
            Step::Merit { peer } => {
                self.world.peers.note_ping(&node(peer), Duration::from_millis(peer));
                self.world.peers.note_block(&node(peer), now);
            }
            Step::Keep { group } => self.world.peers.keep(&at(&format!("{}.3.0.1:1", 20 + group))),
            Step::Wait { seconds } => self.world.wait(f64::from(seconds)),
            Step::Restart => {
                self.world.restart();
                self.open.clear();
            }
        }
    }

    fn call(&mut self, answer: u8) {
        let now = self.world.now;
        for (number, dial) in (100..).zip(self.world.calls()) {
            let peer = dial.peer.unwrap_or(node(number + u64::from(answer)));
            let why = match answer {
                0 => DialFailure::Unreachable,
                1 => DialFailure::WrongNetwork,
                2 => DialFailure::WrongPeer(node(number)),
                _ => {
                    let id = self.world.connection();
                    let direction = Direction::Outbound;
                    if let Ok(connected) = self.world.connects(id, peer, &dial.address, direction) {
                        self.opened(id, connected);
                    }
                    continue;
                }
            };
            self.world.peers.dial_failed(&dial.address, why, now);
        }
        for id in self.world.peers.surplus(now) {
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
        prop_assert!(hosts.values().all(|count| *count <= policy.per_ip));
        prop_assert!(groups.values().all(|count| *count <= policy.per_group));
        let [connections, pending, standings, _] = peers.slots.sizes();
        prop_assert_eq!(connections, self.open.len());
        prop_assert_eq!((pending, standings), (0, each.len()));
        // One more for a call that only asks who is there, and those that are connected twice.
        prop_assert!(each.len() <= policy.max_peers + 1, "{} peers", each.len());
        prop_assert!(peers.dials.sizes()[0] <= 16 + 30);

        for (table, max) in [(peers.book.new_ones(), MAX_NEW), (peers.book.tried_ones(), MAX_TRIED)]
        {
            let mut groups = BTreeMap::new();
            let mut sources = BTreeMap::new();
            for (socket, entry) in table.iter() {
                *groups.entry(netgroup::group(socket.ip())).or_insert(0) += 1;
                *sources.entry(entry.told).or_insert(0) += 1;
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
    fn the_limits_hold_whatever_happens(steps in prop::collection::vec(step(), 1..300)) {
        let mut run = Run { world: World::new(12), open: Vec::new() };
        for step in &steps {
            run.step(step);
            run.check()?;
        }
    }
}
