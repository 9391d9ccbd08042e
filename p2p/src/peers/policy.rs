//! The limits on connections and addresses.

use super::netgroup;
use crate::cidr::Cidr;
use libp2p::PeerId;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

/// The limits on connections, by number and origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The maximum number of peers.
    pub max_peers: usize,
    /// The maximum number of outbound connections, persistent peers not counted.
    pub max_outbound: usize,
    /// The maximum number of inbound connections.
    pub max_inbound: usize,
    /// The maximum number of inbound connections from one IPv4 address or IPv6 /64.
    pub max_inbound_per_ip: usize,
    /// The maximum number of inbound connections from one netgroup: an IPv4 /16 or IPv6 /32.
    pub max_inbound_per_group: usize,
    /// The maximum number of outbound connections to one netgroup.
    pub max_outbound_per_group: usize,
    /// Whether to dial other addresses than those of persistent peers.
    pub discover: bool,
    /// The time between two blocks, with which the limit of block announcements scales.
    pub spacing: Duration,
    /// Lifts the limits by IP and netgroup and raises the one on announced blocks, for networks
    /// whose blocks cost no work. Loopback and private addresses are exempt from the former
    /// everywhere.
    pub relaxed: bool,
    /// The only peers that may connect, in both directions; `None` for all.
    pub allowed: Option<BTreeSet<PeerId>>,
    /// IP addresses that are exempt from the limits on connections and requests, but not from the
    /// rules of the protocol.
    pub trusted: Vec<Cidr>,
    /// The delay before an address is dialed again after its first failure. Each further failure
    /// doubles it.
    pub min_backoff: Duration,
    /// The maximum delay before an address is dialed again after failures.
    pub max_backoff: Duration,
}

impl Policy {
    /// Returns the policy for a maximum number of peers; `relaxed` for networks of fixed
    /// difficulty.
    pub fn new(max_peers: usize, relaxed: bool) -> Policy {
        let max_outbound = max_peers.div_ceil(2).min(10);
        let (min_backoff, max_backoff) = if relaxed { (2, 60) } else { (30, 3_600) };
        Policy {
            max_peers,
            max_outbound,
            max_inbound: max_peers - max_outbound,
            max_inbound_per_ip: 3,
            max_inbound_per_group: 12,
            max_outbound_per_group: 1,
            discover: true,
            spacing: Duration::from_secs(60),
            relaxed,
            allowed: None,
            trusted: Vec::new(),
            min_backoff: Duration::from_secs(min_backoff),
            max_backoff: Duration::from_secs(max_backoff),
        }
    }

    /// Whether the limits by IP apply to an IP.
    pub(super) fn limits(&self, ip: IpAddr) -> bool {
        !self.relaxed && !netgroup::is_local(ip) && !self.is_trusted(ip)
    }

    /// Whether an IP is exempt from limits.
    pub(super) fn is_trusted(&self, ip: IpAddr) -> bool {
        self.trusted.iter().any(|range| range.contains(ip))
    }

    /// Whether a peer may connect.
    pub(super) fn is_allowed(&self, peer: &PeerId) -> bool {
        self.allowed.as_ref().is_none_or(|allowed| allowed.contains(peer))
    }

    /// Whether the peer at an address, if known, may connect. One that is not known may not.
    pub(super) fn may_be_allowed(&self, peer: Option<PeerId>) -> bool {
        self.allowed.is_none() || peer.is_some_and(|peer| self.is_allowed(&peer))
    }
}

/// The delay after a number of earlier failures: doubled after each, up to a maximum.
pub(super) fn backoff(min: Duration, max: Duration, failures: u32) -> Duration {
    2_u32
        .checked_pow(failures)
        .and_then(|factor| min.checked_mul(factor))
        .map_or(max, |delay| delay.min(max))
}
