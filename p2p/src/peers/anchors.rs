//! Anchors: the peers that were connected longest before the node stopped, which the next run dials
//! first. They prevent an attacker from isolating a node by making it restart.

use super::dial::{Dial, Purpose};
use super::netgroup;
use super::slots::Slots;
use libp2p::PeerId;
use std::net::SocketAddr;
use std::time::Duration;

/// The number of anchors.
const MAX_ANCHORS: usize = 2;

#[derive(Debug, Default)]
pub(super) struct Anchors {
    /// The anchors to save.
    saved: Vec<(SocketAddr, PeerId)>,
    /// The anchors of the previous run, until they are dialed.
    pub(super) to_dial: Vec<(SocketAddr, PeerId)>,
}

impl Anchors {
    /// The anchors that a previous run saved.
    pub(super) fn restored(anchors: impl IntoIterator<Item = (SocketAddr, PeerId)>) -> Anchors {
        let saved: Vec<_> = anchors.into_iter().take(MAX_ANCHORS).collect();
        Anchors { to_dial: saved.clone(), saved }
    }

    /// Chooses the outbound peers that are connected longest. Previous anchors remain while there
    /// are too few.
    pub(super) fn choose(&mut self, slots: &Slots) -> &[(SocketAddr, PeerId)] {
        let is_eligible =
            |purpose| matches!(purpose, Some(Purpose::Anchor | Purpose::Outbound | Purpose::Boot));
        let mut connected: Vec<(Duration, SocketAddr, PeerId)> = slots
            .iter()
            .filter(|(_, one)| one.has_handshake && is_eligible(one.purpose))
            .filter_map(|(_, one)| Some((one.since, netgroup::socket(&one.address)?, one.peer)))
            .collect();
        connected.sort();
        let previous = std::mem::take(&mut self.saved);
        let connected = connected.into_iter().map(|(_, socket, peer)| (socket, peer));
        for (socket, peer) in connected.chain(previous) {
            let is_new = self.saved.iter().all(|(_, other)| *other != peer);
            if is_new && self.saved.len() < MAX_ANCHORS {
                self.saved.push((socket, peer));
            }
        }
        &self.saved
    }

    /// The dials of the previous run's anchors, once.
    pub(super) fn dials(&mut self) -> impl Iterator<Item = (SocketAddr, Dial)> {
        std::mem::take(&mut self.to_dial).into_iter().map(|(socket, peer)| {
            let address = netgroup::address(socket);
            (socket, Dial { peer: Some(peer), address, purpose: Purpose::Anchor })
        })
    }

    /// Drops the anchors to save that a predicate rejects.
    pub(super) fn retain(&mut self, mut is_retained: impl FnMut(SocketAddr, PeerId) -> bool) {
        self.saved.retain(|(socket, peer)| is_retained(*socket, *peer));
    }
}
