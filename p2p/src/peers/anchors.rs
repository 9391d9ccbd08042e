//! Anchors: the peers that were connected longest before the node stopped, which the next run dials
//! first. They prevent an attacker from isolating a node by making it restart.

use super::dial::{Dial, Purpose};
use super::netgroup;
use super::slots::Slots;
use super::store::Anchor;
use libp2p::PeerId;
use std::net::SocketAddr;
use std::time::Duration;

/// The maximum number of anchors that are saved for the next run.
const MAX_ANCHORS: usize = 2;

#[derive(Debug, Default)]
pub(super) struct Anchors {
    /// The anchors to save.
    saved: Vec<Anchor>,
    /// The anchors of the previous run, until they are dialed.
    pub(super) to_dial: Vec<Anchor>,
}

impl Anchors {
    /// The anchors that a previous run saved.
    pub(super) fn restored(mut saved: Vec<Anchor>) -> Anchors {
        saved.truncate(MAX_ANCHORS);
        Anchors { to_dial: saved.clone(), saved }
    }

    /// Chooses the outbound peers that are connected longest. Previous anchors remain while there
    /// are too few.
    pub(super) fn choose(&mut self, slots: &Slots) -> &[Anchor] {
        let is_eligible =
            |purpose| matches!(purpose, Some(Purpose::Anchor | Purpose::Outbound | Purpose::Boot));
        let mut connected: Vec<(Duration, SocketAddr, PeerId)> = slots
            .iter()
            .filter(|(_, one)| one.has_handshake && is_eligible(one.purpose))
            .filter_map(|(_, one)| Some((one.since, one.socket()?, one.peer)))
            .collect();
        connected.sort();
        let previous = std::mem::take(&mut self.saved);
        let connected = connected.into_iter().map(|(_, address, peer)| Anchor { address, peer });
        for anchor in connected.chain(previous) {
            let is_new = self.saved.iter().all(|other| other.peer != anchor.peer);
            if is_new && self.saved.len() < MAX_ANCHORS {
                self.saved.push(anchor);
            }
        }
        &self.saved
    }

    /// The dials of the previous run's anchors, once.
    pub(super) fn dials(&mut self) -> impl Iterator<Item = (SocketAddr, Dial)> {
        std::mem::take(&mut self.to_dial).into_iter().map(|Anchor { address: socket, peer }| {
            let address = netgroup::address(socket);
            (socket, Dial { peer: Some(peer), address, purpose: Purpose::Anchor })
        })
    }

    /// Drops the anchors to save that a predicate rejects.
    pub(super) fn retain(&mut self, mut is_retained: impl FnMut(SocketAddr, PeerId) -> bool) {
        self.saved.retain(|anchor| is_retained(anchor.address, anchor.peer));
    }
}
