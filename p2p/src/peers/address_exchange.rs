//! Telling each other where nodes are. What is heard is believed only as far as the teller could
//! know it, and only what this node saw itself is passed on, so that lies do not spread.

use super::address_book::{Entry, Told, Trust};
use super::netgroup::{self, Reachability};
use super::{Peers, unix};
use crate::engine::Now;
use crate::message::{MAX_ADDRESSES, MAX_ADDRESSES_EACH, NodeAddresses};
use libp2p::{Multiaddr, PeerId};
use rand::seq::{IteratorRandom, SliceRandom};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// What was not seen for so long is not worth hearing of, in seconds.
const TOO_OLD: u64 = 30 * 24 * 3_600;
/// What was not heard of for so long is not passed on, in seconds.
const FRESH: u64 = 3 * 24 * 3_600;

/// Who told of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A connected peer.
    Peer(PeerId),
    /// The local network.
    Mdns,
    /// The user.
    User,
}

impl Peers {
    /// Takes note of what somebody told, as far as it is believable: not of this node itself, not
    /// of places where no node can be, nor of local networks if it came from outside.
    pub fn heard(&mut self, from: Source, nodes: &[NodeAddresses], now: Now) {
        let Some((told, reach)) = self.judge_source(from) else { return };
        for node in nodes.iter().take(MAX_ADDRESSES) {
            let old = node.last_seen != 0 && node.last_seen.saturating_add(TOO_OLD) < unix(now);
            if old || node.peer == self.local || self.is_banned(node.peer, now) {
                continue;
            }
            let sockets =
                node.addresses.iter().take(MAX_ADDRESSES_EACH).filter_map(netgroup::socket);
            for socket in sockets {
                let near_enough = netgroup::reach(socket.ip()).is_some_and(|there| there >= reach);
                let welcome = near_enough && !self.own.contains(&socket);
                if welcome && self.may_tell(from, now) && !self.is_banned_ip(socket.ip(), now) {
                    let entry = Entry::new(Some(node.peer), Trust::Hearsay, told, unix(now));
                    self.book.hear(socket, entry);
                }
            }
        }
    }

    /// Who counts as the source, and the nearest place that it may speak of.
    fn judge_source(&self, from: Source) -> Option<(Told, Reachability)> {
        match from {
            Source::Mdns => Some((Told::Mdns, Reachability::Machine)),
            Source::User => Some((Told::User, Reachability::Machine)),
            Source::Peer(peer) => {
                let (_, connection) = self.slots.with(&peer).next()?;
                match connection.ip() {
                    Some(ip) => Some((
                        told_by(peer, ip),
                        netgroup::reach(ip).unwrap_or(Reachability::World),
                    )),
                    None => Some((Told::Peer(peer), Reachability::Machine)),
                }
            }
        }
    }

    fn may_tell(&mut self, from: Source, now: Now) -> bool {
        match from {
            Source::Peer(peer) => {
                self.slots.standing(&peer).is_some_and(|standing| standing.rates.address(now))
            }
            Source::Mdns | Source::User => true,
        }
    }

    /// Nodes to tell a peer of: a random choice of those that were met or that said themselves
    /// where they are; not what others say, so that lies do not spread.
    pub fn sample(&mut self, to: &PeerId, max: usize, now: Now) -> Vec<NodeAddresses> {
        let ip = self.slots.with(to).next().and_then(|(_, one)| one.ip());
        let reach = ip
            .map_or(Reachability::Machine, |ip| netgroup::reach(ip).unwrap_or(Reachability::World));
        let mut nodes: BTreeMap<PeerId, NodeAddresses> = BTreeMap::new();
        for (socket, entry) in self.book.iter() {
            let Some(peer) = entry.peer.filter(|peer| peer != to) else { continue };
            let seen = entry.worked.max(entry.heard);
            let fresh = seen.saturating_add(FRESH) >= unix(now) && entry.failures == 0;
            let near_enough = netgroup::reach(socket.ip()).is_some_and(|there| there >= reach);
            if entry.trust < Trust::OwnWord || !fresh || !near_enough {
                continue;
            }
            let empty = || NodeAddresses { peer, addresses: Vec::new(), last_seen: 0 };
            let node = nodes.entry(peer).or_insert_with(empty);
            if node.addresses.len() < MAX_ADDRESSES_EACH {
                node.addresses.push(netgroup::address(socket));
                node.last_seen = node.last_seen.max(entry.worked);
            }
        }
        let mut chosen = nodes.into_values().sample(&mut self.rng, max.min(MAX_ADDRESSES));
        chosen.shuffle(&mut self.rng);
        chosen
    }

    /// Whether to ask others for addresses.
    pub fn wants_addresses(&self) -> bool {
        const ENOUGH: usize = 1_000;
        self.policy.discover && self.known() < ENOUGH
    }

    /// How many addresses are known.
    pub fn known(&self) -> usize {
        self.book.iter().count()
    }

    /// A peer says on which addresses it listens. Only the ports count: they are tried at the IP
    /// from which it came, so nobody can send others to a stranger.
    pub fn identified(&mut self, peer: PeerId, listen: &[Multiaddr], now: Now) {
        let ports: BTreeSet<u16> =
            listen.iter().filter_map(netgroup::socket).map(|socket| socket.port()).collect();
        let mut sockets = Vec::new();
        for (_, connection) in self.slots.with(&peer) {
            if !connection.is_inbound() {
                sockets.extend(netgroup::socket(&connection.address));
            } else if let Some(ip) = connection.ip() {
                let ports = ports.iter().take(MAX_ADDRESSES_EACH);
                sockets.extend(ports.map(|port| SocketAddr::new(ip, *port)));
            }
        }
        for socket in sockets {
            if netgroup::reach(socket.ip()).is_some() && !self.own.contains(&socket) {
                let entry = Entry::new(Some(peer), Trust::OwnWord, Told::Itself, unix(now));
                self.book.hear(socket, entry);
            }
        }
    }
}

/// Who counts as the source of what a peer tells.
fn told_by(peer: PeerId, ip: IpAddr) -> Told {
    netgroup::group(ip).map_or(Told::Peer(peer), Told::NetGroup)
}
