//! Detects copied keys: a node whose data directory was copied has the key of another one. Two such
//! nodes never connect, and take each other's place at third nodes, without any other sign.

use crate::engine::Now;
use libp2p::core::ConnectedPoint;
use libp2p::{Multiaddr, PeerId};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::mpsc;

/// The maximum time between the reports of the two ends of a connection of this node with itself,
/// which are received with the interval of sweeps.
const MATCH_WINDOW: Duration = Duration::from_secs(3);
/// The minimum time between two warnings of the same kind, and about the same peer.
const WARNING_INTERVAL: Duration = Duration::from_secs(600);
/// The maximum number of connections with this node's own key that are remembered.
const MAX_OWN: usize = 16;
/// The maximum number of peers whose processes are remembered.
const MAX_PEERS: usize = 1_024;

#[derive(Debug)]
pub(super) struct KeyCopies {
    own_key: mpsc::Receiver<ConnectedPoint>,
    dialed: Connections,
    accepted: Connections,
    peers: BTreeMap<PeerId, Processes>,
}

/// Connections, of one direction, with a node that has this node's key.
#[derive(Debug, Default)]
struct Connections {
    /// The remote addresses, with the times at which they were reported.
    open: Vec<(Multiaddr, Duration)>,
    next_warning: Duration,
}

/// The processes that have used a peer's key, by the nonce of their hello messages.
#[derive(Debug)]
struct Processes {
    last: u64,
    before: Option<u64>,
    next_warning: Duration,
}

/// What a connection with this node's own key turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum OwnKey {
    /// This node has dialed itself at an address.
    Itself(Multiaddr),
    /// Another node, which was dialed at an address, has the key.
    Dialed(Multiaddr),
    /// Another node, which connects from an address, has the key.
    Accepted(Multiaddr),
}

impl OwnKey {
    /// Logs the connection. `dropped` is the number of messages dropped before.
    pub(super) fn log(self, dropped: Option<u64>) {
        match self {
            OwnKey::Itself(address) => {
                tracing::info!(%address, dropped, "dialed this node itself");
            }
            OwnKey::Dialed(address) => tracing::warn!(
                %address, dropped,
                "the node at this address has the key of this node, so they cannot connect: the \
                 data directory of one is a copy; stop one, and remove node.key from its directory"
            ),
            OwnKey::Accepted(address) => tracing::warn!(
                %address, dropped,
                "a node that connects from this address has the key of this node, so they cannot \
                 connect: the data directory of one is a copy; stop one, and remove node.key from \
                 its directory"
            ),
        }
    }
}

impl KeyCopies {
    /// Receives the ends of connections with a node that has this node's key.
    pub(super) fn new(own_key: mpsc::Receiver<ConnectedPoint>) -> KeyCopies {
        let (dialed, accepted) = (Connections::default(), Connections::default());
        KeyCopies { own_key, dialed, accepted, peers: BTreeMap::new() }
    }

    /// Returns what the connections turned out to be whose other end is not to be expected any
    /// more: both ends of a connection of this node with itself are seen at almost the same time.
    pub(super) fn identify(&mut self, now: Now) -> Vec<OwnKey> {
        while let Ok(end) = self.own_key.try_recv() {
            match end {
                ConnectedPoint::Dialer { address, .. } => self.dialed.push(address, now),
                ConnectedPoint::Listener { send_back_addr, .. } => {
                    self.accepted.push(send_back_addr, now);
                }
            }
        }
        let mut found = Vec::new();
        while let Some((address, at)) = self.dialed.take_due(now) {
            if self.accepted.take_near(at) {
                found.push(OwnKey::Itself(address));
            } else if self.dialed.may_warn(now) {
                found.push(OwnKey::Dialed(address));
            }
        }
        while let Some((address, at)) = self.accepted.take_due(now) {
            // A dial that is not due yet may be the other end.
            if !self.dialed.take_near(at) && self.accepted.may_warn(now) {
                found.push(OwnKey::Accepted(address));
            }
        }
        found
    }

    /// Records a hello message of a peer. Returns true if two processes turn out to use its key at
    /// the same time: one that was replaced by another one is back. Once per interval and peer.
    pub(super) fn hello(&mut self, peer: PeerId, nonce: u64, now: Now) -> bool {
        let Some(processes) = self.peers.get_mut(&peer) else {
            if self.peers.len() >= MAX_PEERS {
                self.peers.pop_first();
            }
            let first = Processes { last: nonce, before: None, next_warning: Duration::ZERO };
            self.peers.insert(peer, first);
            return false;
        };
        if processes.last == nonce {
            return false;
        }
        let before = processes.before.replace(processes.last);
        processes.last = nonce;
        before == Some(nonce) && is_due(&mut processes.next_warning, now)
    }
}

impl Connections {
    fn push(&mut self, address: Multiaddr, now: Now) {
        if self.open.len() < MAX_OWN {
            self.open.push((address, now.elapsed));
        }
    }

    fn take_due(&mut self, now: Now) -> Option<(Multiaddr, Duration)> {
        let is_due = |at: Duration| now.elapsed.saturating_sub(at) >= MATCH_WINDOW;
        let index = self.open.iter().position(|(_, at)| is_due(*at))?;
        Some(self.open.remove(index))
    }

    /// Removes a connection that was made within the window of a time. Returns false if there is
    /// none.
    fn take_near(&mut self, at: Duration) -> bool {
        let index = self.open.iter().position(|(_, other)| other.abs_diff(at) <= MATCH_WINDOW);
        index.map(|index| self.open.remove(index)).is_some()
    }

    fn may_warn(&mut self, now: Now) -> bool {
        is_due(&mut self.next_warning, now)
    }
}

fn is_due(next_warning: &mut Duration, now: Now) -> bool {
    let is_due = now.elapsed >= *next_warning;
    if is_due {
        *next_warning = now.elapsed.saturating_add(WARNING_INTERVAL);
    }
    is_due
}

#[cfg(test)]
mod tests {
    use super::*;
    use chain::Timestamp;
    use libp2p::core::Endpoint;
    use libp2p::core::transport::PortUse;

    fn at(milliseconds: u64) -> Now {
        Now { elapsed: Duration::from_millis(milliseconds), clock: Timestamp::new(0) }
    }

    fn address(port: u16) -> Multiaddr {
        format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap()
    }

    /// The detector, and a function that reports the end of a connection that dials or accepts.
    fn copies() -> (KeyCopies, impl Fn(bool, u16)) {
        let (sender, receiver) = mpsc::channel(100);
        let report = move |dialed: bool, port: u16| {
            let address = address(port);
            let (role_override, port_use) = (Endpoint::Dialer, PortUse::New);
            let end = match dialed {
                true => ConnectedPoint::Dialer { address, role_override, port_use },
                false => ConnectedPoint::Listener {
                    local_addr: address.clone(),
                    send_back_addr: address,
                },
            };
            sender.try_send(end).unwrap();
        };
        (KeyCopies::new(receiver), report)
    }

    #[test]
    fn node_that_dials_itself_is_distinguished_from_a_copy_of_its_key() {
        let (mut copies, report) = copies();
        report(true, 1);
        assert_eq!(copies.identify(at(10_000)), []);
        report(false, 50_001);
        assert_eq!(copies.identify(at(11_000)), []);
        assert_eq!(copies.identify(at(13_000)), [OwnKey::Itself(address(1))]);
        // The accepting end first.
        report(false, 50_001);
        assert_eq!(copies.identify(at(20_000)), []);
        report(true, 1);
        assert_eq!(copies.identify(at(21_000)), []);
        assert_eq!(copies.identify(at(23_000)), []);
        assert_eq!(copies.identify(at(30_000)), []);

        report(true, 2);
        assert_eq!(copies.identify(at(40_000)), []);
        assert_eq!(copies.identify(at(43_000)), [OwnKey::Dialed(address(2))]);
        report(false, 50_003);
        assert_eq!(copies.identify(at(50_000)), []);
        assert_eq!(copies.identify(at(53_000)), [OwnKey::Accepted(address(50_003))]);
        // Not again within ten minutes.
        report(true, 2);
        assert_eq!(copies.identify(at(60_000)), []);
        assert_eq!(copies.identify(at(63_000)), []);
        report(true, 2);
        assert_eq!(copies.identify(at(700_000)), []);
        assert_eq!(copies.identify(at(703_000)), [OwnKey::Dialed(address(2))]);
    }

    #[test]
    fn connections_with_the_own_key_are_limited() {
        let (mut copies, report) = copies();
        (0..100).for_each(|port| report(false, port));
        assert_eq!(copies.identify(at(0)), []);
        assert_eq!(copies.accepted.open.len(), MAX_OWN);
        for _ in 0..2_000 {
            copies.hello(PeerId::random(), 1, at(0));
        }
        assert_eq!(copies.peers.len(), MAX_PEERS);
    }

    #[test]
    fn peer_that_restarts_is_distinguished_from_two_nodes_with_one_key() {
        let ((mut copies, _), peer, other) = (copies(), PeerId::random(), PeerId::random());
        for (peer, nonce, is_warned) in [
            (peer, 1, false),
            (peer, 1, false),
            (other, 2, false),
            // Two restarts.
            (peer, 2, false),
            (peer, 3, false),
            (peer, 3, false),
            (peer, 2, true),
            // Not again within ten minutes.
            (peer, 3, false),
            (other, 2, false),
        ] {
            assert_eq!(copies.hello(peer, nonce, at(5_000)), is_warned);
        }
        assert!(copies.hello(peer, 2, at(606_000)));
    }
}
