//! Persistent peers and boot nodes: nodes at addresses that the operator has configured or added.

use super::dial::{Dial, Purpose};
use super::netgroup;
use super::policy::backoff;
use crate::engine::Now;
use libp2p::{Multiaddr, PeerId};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The minimum and maximum delay before a persistent peer or boot node is dialed again.
pub(super) const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// The maximum number of persistent peers, and of boot nodes.
const MAX_CONFIGURED: usize = 256;
/// The maximum number of causes of failed dials of one peer that are logged once each.
const MAX_CAUSES: usize = 16;

/// A persistent peer and the state of its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersistentPeer {
    /// The address, with the expected peer id if there is one.
    pub address: Multiaddr,
    /// The peer last found at the address, or the expected one.
    pub id: Option<PeerId>,
    /// Whether it was added at run time, and is saved, rather than configured.
    pub is_added: bool,
    /// Whether the peer is connected and has completed the handshake.
    pub is_connected: bool,
    /// The reason for which it is not connected; `None` if it is, or was not dialed yet.
    pub problem: Option<String>,
    /// The time until the next dial; zero if the peer is connected or being dialed.
    pub next_dial: Duration,
}

/// A persistent peer or boot node.
#[derive(Clone, Debug)]
pub(super) struct ConfiguredPeer {
    /// The address, without a peer id.
    pub(super) address: Multiaddr,
    /// The peer id in the configuration.
    pub(super) expected: Option<PeerId>,
    /// The peer last found at the address.
    pub(super) peer: Option<PeerId>,
    /// The socket at which a name was dialed last.
    pub(super) resolved: Option<SocketAddr>,
    pub(super) is_added: bool,
    pub(super) failures: u32,
    pub(super) next_dial: Duration,
    pub(super) problem: Option<String>,
    /// The causes of failed dials that were logged since the last handshake.
    logged: BTreeSet<String>,
}

impl ConfiguredPeer {
    pub(super) fn fail(&mut self, now: Now) {
        let (min, max) = BACKOFF;
        let delay = backoff(min, max, self.failures);
        self.failures = self.failures.saturating_add(1);
        self.next_dial = now.elapsed.saturating_add(delay);
    }

    pub(super) fn dial(&self, purpose: Purpose) -> Dial {
        Dial { peer: self.expected, address: self.address.clone(), purpose }
    }

    /// The socket of the address, or that to which its name was resolved last.
    pub(super) fn socket(&self) -> Option<SocketAddr> {
        netgroup::socket(&self.address).or(self.resolved)
    }

    pub(super) fn ip(&self) -> Option<IpAddr> {
        netgroup::ip(&self.address).or_else(|| Some(self.resolved?.ip()))
    }

    /// The address, with the expected peer id if there is one.
    pub(super) fn configured_address(&self) -> Multiaddr {
        match self.expected {
            Some(peer) => self.address.clone().with_p2p(peer).unwrap_or_else(|address| address),
            None => self.address.clone(),
        }
    }

    /// Records why the peer is not connected. Returns whether the cause is new.
    pub(super) fn set_problem(&mut self, cause: &str) -> bool {
        self.problem = Some(cause.to_owned());
        self.logged.len() < MAX_CAUSES && self.logged.insert(cause.to_owned())
    }

    pub(super) fn handshake_completed(&mut self) {
        self.problem = None;
        self.logged.clear();
    }
}

/// Adds an address. Returns false if it is known or there are too many.
pub(super) fn add(list: &mut Vec<ConfiguredPeer>, address: &Multiaddr, is_added: bool) -> bool {
    let expected = netgroup::peer(address);
    let address = netgroup::without_peer(address);
    let is_known = list.iter().any(|one| one.address == address);
    let is_new = !is_known && list.len() < MAX_CONFIGURED;
    if is_new {
        list.push(ConfiguredPeer {
            address,
            expected,
            peer: expected,
            resolved: None,
            is_added,
            failures: 0,
            next_dial: Duration::ZERO,
            problem: None,
            logged: BTreeSet::new(),
        });
    }
    is_new
}
