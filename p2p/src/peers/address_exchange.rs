//! Address gossip. A node believes only what a source can know, and passes on only addresses that
//! it has verified itself, so that false addresses do not spread.

use super::address_book::{AddressBook, Confidence, SourceKey};
use super::netgroup::{self, Reachability};
use super::slots::Slots;
use crate::engine::Now;
use crate::message::{MAX_ADDRESSES, MAX_ADDRESSES_EACH, NodeAddresses};
use libp2p::{Multiaddr, PeerId};
use rand::rngs::StdRng;
use rand::seq::{IteratorRandom, SliceRandom};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// The number of addresses at which a node requests no more from peers.
pub(super) const ENOUGH_ADDRESSES: usize = 1_000;

/// The age, in seconds, at which a gossiped address is too old to be added.
const MAX_AGE: u64 = 30 * 24 * 3_600;
/// The age, in seconds, at which an address is too old to be gossiped.
const MAX_GOSSIP_AGE: u64 = 3 * 24 * 3_600;

/// A source of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A connected peer gossiped the address.
    Peer(PeerId),
    /// Discovery on the local network found the address.
    Mdns,
    /// The user configured or entered the address.
    User,
}

/// The key by which a source is limited, and the lowest reachability of addresses that it may
/// advertise. `None` for a peer that is not connected.
pub(super) fn authority(source: Source, slots: &Slots) -> Option<(SourceKey, Reachability)> {
    let peer = match source {
        Source::Mdns => return Some((SourceKey::Mdns, Reachability::Loopback)),
        Source::User => return Some((SourceKey::User, Reachability::Loopback)),
        Source::Peer(peer) => peer,
    };
    let (_, connection) = slots.of(&peer).next()?;
    let group = connection.ip().and_then(netgroup::group);
    let key = group.map_or(SourceKey::Peer(peer), SourceKey::NetGroup);
    Some((key, peer_reachability(peer, slots)))
}

/// The lowest reachability of addresses that are exchanged with a peer: private ones only within a
/// local network.
fn peer_reachability(peer: PeerId, slots: &Slots) -> Reachability {
    let ip = slots.of(&peer).next().and_then(|(_, connection)| connection.ip());
    ip.map_or(Reachability::Loopback, |ip| {
        netgroup::reachability(ip).unwrap_or(Reachability::Public)
    })
}

fn has_reachability(socket: SocketAddr, min: Reachability) -> bool {
    netgroup::reachability(socket.ip()).is_some_and(|reachability| reachability >= min)
}

/// The addresses of a gossiped node that a source with a minimum reachability may advertise.
pub(super) fn gossiped_sockets(
    node: &NodeAddresses,
    min: Reachability,
    now: Now,
) -> impl Iterator<Item = SocketAddr> {
    let is_old = node.last_seen != 0 && node.last_seen.saturating_add(MAX_AGE) < now.unix();
    let max = if is_old { 0 } else { MAX_ADDRESSES_EACH };
    let sockets = node.addresses.iter().take(max).filter_map(netgroup::socket);
    sockets.filter(move |socket| has_reachability(*socket, min))
}

/// A random sample of the nodes to gossip to a peer: those that were connected or have advertised
/// themselves.
pub(super) fn sample(
    book: &AddressBook,
    slots: &Slots,
    (to, max): (&PeerId, usize),
    rng: &mut StdRng,
    now: Now,
) -> Vec<NodeAddresses> {
    let min = peer_reachability(*to, slots);
    let mut nodes: BTreeMap<PeerId, NodeAddresses> = BTreeMap::new();
    for (socket, entry) in book.iter() {
        let Some(peer) = entry.peer.filter(|peer| peer != to) else { continue };
        let seen = entry.connected.max(entry.advertised);
        let is_fresh = seen.saturating_add(MAX_GOSSIP_AGE) >= now.unix() && entry.failures == 0;
        let is_gossiped = entry.confidence == Confidence::Gossiped;
        if is_gossiped || !is_fresh || !has_reachability(socket, min) {
            continue;
        }
        let empty = || NodeAddresses { peer, addresses: Vec::new(), last_seen: 0 };
        let node = nodes.entry(peer).or_insert_with(empty);
        if node.addresses.len() < MAX_ADDRESSES_EACH {
            node.addresses.push(netgroup::address(socket));
            node.last_seen = node.last_seen.max(entry.connected);
        }
    }
    let mut chosen = nodes.into_values().sample(rng, max.min(MAX_ADDRESSES));
    chosen.shuffle(rng);
    chosen
}

/// The addresses at which a connected peer listens. Of those that it advertises only the ports
/// count, combined with the IP that it connects from, so that it cannot direct dials at others.
pub(super) fn listen_sockets(
    peer: &PeerId,
    listen_addresses: &[Multiaddr],
    slots: &Slots,
) -> Vec<SocketAddr> {
    let ports: BTreeSet<u16> =
        listen_addresses.iter().filter_map(netgroup::socket).map(|socket| socket.port()).collect();
    let mut sockets = Vec::new();
    for (_, connection) in slots.of(peer) {
        if !connection.is_inbound() {
            sockets.extend(connection.socket());
        } else if let Some(ip) = connection.ip() {
            let ports = ports.iter().take(MAX_ADDRESSES_EACH);
            sockets.extend(ports.map(|port| SocketAddr::new(ip, *port)));
        }
    }
    sockets
}
