//! Responses being sent. Bounds the memory that peers can occupy by requesting much and reading
//! nothing: each address group has a share, and who reads nothing is disconnected.

use crate::peers::AddressGroup;
use libp2p::PeerId;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::time::Duration;

/// The bytes of a response that is always sent: it costs no more than the request.
const SMALL: usize = 16 << 10;
/// The bytes in flight to one address group at which its further requests are rejected: a few
/// responses of blocks, as many as an honest peer requests concurrently.
const MAX_BYTES_PER_GROUP: usize = 8 << 20;
/// The bytes in flight to all peers beyond which each group has only its equal share.
const MAX_BYTES: usize = 64 << 20;
/// The bytes in flight to all peers beyond which a request needs the room of another peer.
const HARD_MAX_BYTES: usize = 96 << 20;
/// The age of a response at which its reader may have to give way to another one.
const MIN_AGE: Duration = Duration::from_secs(2);
/// The time in which a reader of responses has to read `MIN_READ` bytes: 16 KiB a second.
const READ_PERIOD: Duration = Duration::from_secs(10);
const MIN_READ: u64 = 160 << 10;

/// Whether another response may be sent to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// There is room.
    Free,
    /// There is room if this peer, which occupies the most, is disconnected.
    After(PeerId),
    /// There is no room.
    Full,
}

#[derive(Debug)]
struct InFlight {
    peer: PeerId,
    bytes: usize,
    since: Duration,
}

/// The progress of a peer that reads responses.
#[derive(Debug)]
struct Reader {
    group: AddressGroup,
    /// Bytes in flight to the peer.
    bytes: usize,
    /// The beginning of the current `READ_PERIOD`, and the bytes sent to the peer by then.
    since: Duration,
    sent: u64,
}

/// The sizes of the responses in flight, by request id. Small ones are not counted.
#[derive(Debug)]
pub(super) struct InFlightResponses<K> {
    responses: HashMap<K, InFlight>,
    readers: BTreeMap<PeerId, Reader>,
}

impl<K> Default for InFlightResponses<K> {
    fn default() -> InFlightResponses<K> {
        InFlightResponses { responses: HashMap::new(), readers: BTreeMap::new() }
    }
}

impl<K: Eq + Hash> InFlightResponses<K> {
    /// Whether another response may be sent to a peer of an address group.
    pub(super) fn room(&self, group: AddressGroup, now: Duration) -> Room {
        let mut groups: BTreeMap<AddressGroup, usize> = BTreeMap::from([(group, 0)]);
        for reader in self.readers.values() {
            *groups.entry(reader.group).or_default() += reader.bytes;
        }
        let total: usize = groups.values().sum();
        let (held, share) = (groups[&group], MAX_BYTES / groups.len());
        if held >= MAX_BYTES_PER_GROUP || (total >= MAX_BYTES && held >= share) {
            return Room::Full;
        }
        if total < MAX_BYTES {
            return Room::Free;
        }
        let is_old = |peer: &PeerId| {
            self.responses
                .values()
                .any(|one| one.peer == *peer && now.saturating_sub(one.since) >= MIN_AGE)
        };
        let others = self.readers.iter().filter(|(_, reader)| groups[&reader.group] > share);
        let largest = others
            .filter(|(peer, _)| is_old(peer))
            .max_by_key(|(_, reader)| (groups[&reader.group], reader.bytes));
        match largest {
            Some((peer, _)) => Room::After(*peer),
            None if total < HARD_MAX_BYTES => Room::Free,
            None => Room::Full,
        }
    }

    /// The bytes in flight to an address group.
    pub(super) fn bytes_of(&self, group: AddressGroup) -> usize {
        let readers = self.readers.values().filter(|reader| reader.group == group);
        readers.map(|reader| reader.bytes).sum()
    }

    /// Records a response to a peer, to which `sent` bytes were sent before.
    pub(super) fn insert(
        &mut self,
        id: K,
        (peer, group): (PeerId, AddressGroup),
        bytes: usize,
        (sent, now): (u64, Duration),
    ) {
        if bytes <= SMALL {
            return;
        }
        let reader =
            self.readers.entry(peer).or_insert(Reader { group, bytes: 0, since: now, sent });
        reader.bytes = reader.bytes.saturating_add(bytes);
        self.responses.insert(id, InFlight { peer, bytes, since: now });
    }

    /// Removes a response that was sent or has failed. Returns whether it was recorded.
    pub(super) fn remove(&mut self, id: &K) -> bool {
        let Some(InFlight { peer, bytes, .. }) = self.responses.remove(id) else { return false };
        if let Some(reader) = self.readers.get_mut(&peer) {
            reader.bytes = reader.bytes.saturating_sub(bytes);
            if reader.bytes == 0 {
                self.readers.remove(&peer);
            }
        }
        true
    }

    /// The peers with responses in flight that read less than 16 KiB a second over ten seconds.
    /// `sent` is the number of bytes sent to a peer so far.
    pub(super) fn slow_readers(
        &mut self,
        sent: impl Fn(&PeerId) -> u64,
        now: Duration,
    ) -> Vec<PeerId> {
        let mut slow = Vec::new();
        for (peer, reader) in &mut self.readers {
            if now.saturating_sub(reader.since) < READ_PERIOD {
                continue;
            }
            let total = sent(peer);
            if total.saturating_sub(reader.sent) < MIN_READ {
                slow.push(*peer);
            }
            (reader.since, reader.sent) = (now, total);
        }
        slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// A peer without a public address, and its group.
    fn peer() -> (PeerId, AddressGroup) {
        let peer = PeerId::random();
        (peer, AddressGroup::Peer(peer))
    }

    /// Sends responses of 1 MiB until there is no room, and returns their number.
    fn fill(
        in_flight: &mut InFlightResponses<u64>,
        to: (PeerId, AddressGroup),
        now: Duration,
    ) -> u64 {
        let first = in_flight.responses.len() as u64;
        let mut sent = first;
        while in_flight.room(to.1, now) == Room::Free {
            in_flight.insert(sent, to, MIB, (0, now));
            sent += 1;
        }
        sent - first
    }

    // N05
    #[test]
    fn peer_that_reads_nothing_exhausts_only_its_own_share() {
        let mut in_flight = InFlightResponses::default();
        let (slow, other) = (peer(), peer());
        assert_eq!(fill(&mut in_flight, slow, seconds(0)), 8);
        assert_eq!(in_flight.room(other.1, seconds(0)), Room::Free);
        assert!(in_flight.remove(&3) && !in_flight.remove(&3));
        assert_eq!(in_flight.room(slow.1, seconds(0)), Room::Free);
        (0..8).for_each(|id| assert_eq!(in_flight.remove(&id), id != 3));
        let InFlightResponses { responses, readers } = in_flight;
        assert_eq!((readers.len(), responses.len()), (0, 0));
    }

    // N05
    #[test]
    fn peers_of_one_address_have_one_share() {
        let mut in_flight = InFlightResponses::default();
        let host = AddressGroup::Host([5, 6, 7, 8].into());
        assert_eq!(fill(&mut in_flight, (PeerId::random(), host), seconds(0)), 8);
        assert_eq!(in_flight.room(host, seconds(0)), Room::Full);
    }

    // N05
    #[test]
    fn peers_that_read_nothing_do_not_take_the_room_of_others() {
        let mut in_flight = InFlightResponses::default();
        let mut silent = BTreeMap::new();
        for _ in 0..40 {
            let one = peer();
            silent.insert(one.0, fill(&mut in_flight, one, seconds(0)));
        }
        let total = in_flight.readers.values().map(|reader| reader.bytes).sum::<usize>();
        assert!(total <= HARD_MAX_BYTES, "{total}");
        let honest = peer();
        for id in 1_000..1_012 {
            // The largest gives way, so there is room at any time.
            match in_flight.room(honest.1, seconds(3)) {
                Room::After(victim) => {
                    assert!(silent.remove(&victim).is_some_and(|sent| sent > 1));
                    let ids = in_flight.responses.iter().filter(|(_, one)| one.peer == victim);
                    let ids: Vec<u64> = ids.map(|(id, _)| *id).collect();
                    ids.iter().for_each(|id| assert!(in_flight.remove(id)));
                }
                room => assert_eq!(room, Room::Free),
            }
            in_flight.insert(id, honest, MIB, (0, seconds(3)));
            in_flight.remove(&id);
        }
    }

    #[test]
    fn small_responses_need_no_room() {
        let mut in_flight = InFlightResponses::default();
        in_flight.insert(1, peer(), SMALL, (0, seconds(0)));
        assert!(!in_flight.remove(&1));
    }

    // N05
    #[test]
    fn reader_of_less_than_16_kib_a_second_is_slow() {
        let mut in_flight = InFlightResponses::default();
        let (stuck, slow, fast) = (peer(), peer(), peer());
        for (id, one) in [stuck, slow, fast].into_iter().enumerate() {
            in_flight.insert(id, one, MIB, (0, seconds(0)));
        }
        let sent = |now: u64| {
            move |one: &PeerId| match one {
                one if *one == fast.0 => 20_000 * now,
                one if *one == slow.0 => 15_000 * now,
                _ => 0,
            }
        };
        assert_eq!(in_flight.slow_readers(sent(9), seconds(9)), []);
        let mut found = in_flight.slow_readers(sent(10), seconds(10));
        let mut expected = [stuck.0, slow.0];
        found.sort();
        expected.sort();
        assert_eq!(found, expected);
        in_flight.remove(&0);
        assert_eq!(in_flight.slow_readers(sent(20), seconds(20)), [slow.0]);
    }
}
