//! Responses being sent. Bounds the memory that peers can occupy by requesting much and reading
//! nothing.

use libp2p::PeerId;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// The bytes in flight to one peer at which its further requests are rejected: a few responses of
/// blocks, as many as an honest peer requests concurrently.
const MAX_BYTES_PER_PEER: usize = 8 << 20;
/// The bytes in flight to all peers at which further requests are rejected.
const MAX_BYTES: usize = 64 << 20;

/// The sizes of the responses in flight, by request id.
#[derive(Debug)]
pub(super) struct InFlightResponses<K> {
    responses: HashMap<K, (PeerId, usize)>,
    by_peer: BTreeMap<PeerId, usize>,
    total: usize,
}

impl<K> Default for InFlightResponses<K> {
    fn default() -> InFlightResponses<K> {
        InFlightResponses { responses: HashMap::new(), by_peer: BTreeMap::new(), total: 0 }
    }
}

impl<K: Eq + Hash> InFlightResponses<K> {
    /// Whether another response may be sent to a peer.
    pub(super) fn has_room(&self, peer: &PeerId) -> bool {
        let to_peer = self.by_peer.get(peer).copied().unwrap_or(0);
        self.total < MAX_BYTES && to_peer < MAX_BYTES_PER_PEER
    }

    pub(super) fn insert(&mut self, id: K, peer: PeerId, bytes: usize) {
        self.remove(&id);
        self.total = self.total.saturating_add(bytes);
        let to_peer = self.by_peer.entry(peer).or_default();
        *to_peer = to_peer.saturating_add(bytes);
        self.responses.insert(id, (peer, bytes));
    }

    /// Removes a response that was sent or has failed.
    pub(super) fn remove(&mut self, id: &K) {
        let Some((peer, bytes)) = self.responses.remove(id) else { return };
        self.total = self.total.saturating_sub(bytes);
        if let Some(to_peer) = self.by_peer.get_mut(&peer) {
            *to_peer = to_peer.saturating_sub(bytes);
            if *to_peer == 0 {
                self.by_peer.remove(&peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // N05
    #[test]
    fn peer_that_reads_nothing_exhausts_only_its_own_share() {
        let mut in_flight = InFlightResponses::default();
        let (slow, other) = (PeerId::random(), PeerId::random());
        let mut sent = 0;
        while in_flight.has_room(&slow) {
            in_flight.insert(sent, slow, 1 << 20);
            sent += 1;
        }
        assert_eq!(sent, 8);
        assert!(in_flight.has_room(&other));
        in_flight.remove(&3);
        in_flight.remove(&3);
        assert!(in_flight.has_room(&slow));
        (0..8).for_each(|id| in_flight.remove(&id));
        let InFlightResponses { responses, by_peer, total } = in_flight;
        assert_eq!((total, by_peer.len(), responses.len()), (0, 0, 0));
    }

    // N05
    #[test]
    fn peers_that_read_nothing_share_one_memory_limit() {
        let mut in_flight = InFlightResponses::default();
        for id in 0..64 {
            let peer = PeerId::random();
            assert!(in_flight.has_room(&peer));
            in_flight.insert(id, peer, 1 << 20);
        }
        assert!(!in_flight.has_room(&PeerId::random()));
    }
}
