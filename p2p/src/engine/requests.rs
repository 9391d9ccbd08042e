//! The requests of a machine that are in flight.

use libp2p::PeerId;
use std::collections::BTreeMap;
use std::time::Duration;

/// The time after its timeout at which a request without a response is given up.
const GRACE: Duration = Duration::from_secs(10);

/// A request without a response so far.
#[derive(Debug)]
pub(crate) struct InFlightRequest<T> {
    pub(crate) peer: PeerId,
    pub(crate) sent_at: Duration,
    pub(crate) content: T,
}

/// The requests in flight by number.
#[derive(Debug)]
pub(crate) struct Requests<T> {
    in_flight: BTreeMap<u64, InFlightRequest<T>>,
    next: u64,
}

impl<T> Requests<T> {
    pub(crate) fn new() -> Requests<T> {
        Requests { in_flight: BTreeMap::new(), next: 0 }
    }

    /// Adds a request and returns its number.
    pub(crate) fn insert(&mut self, peer: PeerId, sent_at: Duration, content: T) -> u64 {
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        self.in_flight.insert(number, InFlightRequest { peer, sent_at, content });
        number
    }

    pub(crate) fn get(&self, number: u64) -> Option<&InFlightRequest<T>> {
        self.in_flight.get(&number)
    }

    /// The requests in flight with their numbers, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &InFlightRequest<T>)> {
        self.in_flight.iter().map(|(number, request)| (*number, request))
    }

    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut InFlightRequest<T>> {
        self.in_flight.get_mut(&number)
    }

    /// Removes a request that has ended. `None` if the number is not in flight.
    pub(crate) fn remove(&mut self, number: u64) -> Option<InFlightRequest<T>> {
        self.in_flight.remove(&number)
    }

    /// Removes and returns the requests to a peer.
    pub(crate) fn remove_peer(
        &mut self,
        peer: &PeerId,
    ) -> impl Iterator<Item = (u64, InFlightRequest<T>)> {
        self.in_flight.extract_if(.., |_, request| request.peer == *peer)
    }

    /// The requests whose timeout is long over. Every request ends by itself; this covers the case
    /// that one does not.
    pub(crate) fn overdue(&self, timeout: Duration, now: Duration) -> Vec<u64> {
        let limit = timeout.saturating_add(GRACE);
        let is_overdue = |sent_at: Duration| now.saturating_sub(sent_at) >= limit;
        let overdue = self.in_flight.iter().filter(|(_, request)| is_overdue(request.sent_at));
        overdue.map(|(number, _)| *number).collect()
    }
}
