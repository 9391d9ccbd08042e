//! Replies on their way out. Whoever asks for much and reads none of it must not fill the memory.

use crate::message::Response;
use chain::block::Header;
use libp2p::PeerId;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// Bytes on their way to one peer from which on it has to wait: some replies full of blocks, as many
/// as an honest peer has open at a time.
const ENOUGH_EACH: usize = 8 << 20;
/// The same for all together.
const ENOUGH: usize = 64 << 20;

/// What is on its way, by whatever names a reply.
#[derive(Debug)]
pub(super) struct Outgoing<K> {
    replies: HashMap<K, (PeerId, usize)>,
    by_peer: BTreeMap<PeerId, usize>,
    total: usize,
}

impl<K> Default for Outgoing<K> {
    fn default() -> Outgoing<K> {
        Outgoing { replies: HashMap::new(), by_peer: BTreeMap::new(), total: 0 }
    }
}

impl<K: Eq + Hash> Outgoing<K> {
    /// Whether another reply may go to a peer.
    pub(super) fn has_room(&self, peer: &PeerId) -> bool {
        let to_peer = self.by_peer.get(peer).copied().unwrap_or(0);
        self.total < ENOUGH && to_peer < ENOUGH_EACH
    }

    /// A reply goes out.
    pub(super) fn begin(&mut self, key: K, peer: PeerId, bytes: usize) {
        self.end(&key);
        self.total = self.total.saturating_add(bytes);
        let to_peer = self.by_peer.entry(peer).or_default();
        *to_peer = to_peer.saturating_add(bytes);
        self.replies.insert(key, (peer, bytes));
    }

    /// It was sent, or never will be.
    pub(super) fn end(&mut self, key: &K) {
        let Some((peer, bytes)) = self.replies.remove(key) else { return };
        self.total = self.total.saturating_sub(bytes);
        if let Some(to_peer) = self.by_peer.get_mut(&peer) {
            *to_peer = to_peer.saturating_sub(bytes);
            if *to_peer == 0 {
                self.by_peer.remove(&peer);
            }
        }
    }
}

/// Bytes of a reply, roughly, but never far too few.
pub(super) fn weight(reply: &Response) -> usize {
    /// A transaction with a memo.
    const TRANSACTION: usize = 256;
    let many = |count: usize, each: usize| count.saturating_mul(each);
    match reply {
        Response::Hello(_) | Response::Error(_) => TRANSACTION,
        Response::Headers(headers) => many(headers.len(), Header::BYTES),
        Response::Blocks(blocks) => blocks.iter().flatten().map(|block| block.len()).sum(),
        Response::BlockTransactions(transactions) => many(transactions.len(), TRANSACTION),
        Response::MempoolIds { ids, .. } => many(ids.len(), 32),
        Response::MempoolTransfers(transfers) => many(transfers.len(), TRANSACTION),
        Response::Addresses(nodes) => many(nodes.len(), 512),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // N05
    #[test]
    fn who_reads_nothing_is_sent_no_more_and_others_are() {
        let mut outgoing = Outgoing::default();
        let (greedy, other) = (PeerId::random(), PeerId::random());
        let mut sent = 0;
        while outgoing.has_room(&greedy) {
            outgoing.begin(sent, greedy, 1 << 20);
            sent += 1;
        }
        assert_eq!(sent, 8);
        assert!(outgoing.has_room(&other));
        outgoing.end(&3);
        outgoing.end(&3);
        assert!(outgoing.has_room(&greedy));
        (0..8).for_each(|key| outgoing.end(&key));
        assert_eq!((outgoing.total, outgoing.by_peer.len(), outgoing.replies.len()), (0, 0, 0));
    }

    // N05
    #[test]
    fn many_who_read_nothing_are_sent_no_more_than_the_memory_is_for() {
        let mut outgoing = Outgoing::default();
        for key in 0..64 {
            let peer = PeerId::random();
            assert!(outgoing.has_room(&peer));
            outgoing.begin(key, peer, 1 << 20);
        }
        assert!(!outgoing.has_room(&PeerId::random()));
    }
}
