//! Bans of peers and of IP addresses, since new peer ids cost nothing.

use super::{netgroup, peer_text};
use crate::cidr::Cidr;
use crate::engine::Now;
use libp2p::PeerId;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The maximum number of bans. A further one replaces the one that ends first.
pub const MAX_BANS: usize = 20_000;
/// The maximum end of a ban, Unix seconds: the end of the year 9999.
pub const MAX_BAN_UNTIL: u64 = 253_402_300_799;
/// The maximum length of a reason, in bytes. Longer ones are truncated.
const MAX_REASON: usize = 200;

/// A ban in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ban {
    /// The banned peer or IP address.
    pub subject: Subject,
    /// The end of the ban, Unix seconds.
    pub until: u64,
    /// The reason, for display.
    pub reason: String,
}

/// The subject of a ban.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// A peer, by its id.
    Peer(#[serde(with = "peer_text")] PeerId),
    /// An IP address: all peers that connect from it.
    Ip(IpAddr),
    /// A range of IP addresses: all peers that connect from it.
    Range(#[serde(with = "range_text")] Cidr),
}

impl Subject {
    /// Returns the subject that a ban covers: of an IPv6 address the whole /64, which one host
    /// controls. A range of a single IPv4 address, or of a /64, is that address.
    #[must_use]
    pub fn normalized(self) -> Subject {
        match self {
            Subject::Ip(ip) => Subject::Ip(netgroup::host(ip)),
            Subject::Range(range) if range.prefix() >= netgroup::host_bits(range.first()) => {
                Subject::Ip(netgroup::host(range.first()))
            }
            Subject::Peer(_) | Subject::Range(_) => self,
        }
    }

    /// Whether a ban of this subject applies to a peer or an IP.
    pub(super) fn covers(self, peer: Option<PeerId>, ip: Option<IpAddr>) -> bool {
        match self {
            Subject::Peer(banned) => peer == Some(banned),
            Subject::Ip(banned) => ip.map(netgroup::host) == Some(netgroup::host(banned)),
            Subject::Range(range) => ip.is_some_and(|ip| range.contains(ip)),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Bans {
    bans: BTreeMap<Subject, Term>,
    /// The ends of the bans in Unix seconds with their subjects, earliest first.
    ends: BTreeSet<(u64, Subject)>,
    /// The lengths of the prefixes of banned ranges, of IPv4 and of IPv6, with the number of ranges.
    prefixes: BTreeMap<(bool, u8), usize>,
}

#[derive(Clone, Debug)]
struct Term {
    until: u64,
    reason: String,
}

impl Bans {
    /// Adds a ban or replaces the one of the same subject.
    pub(super) fn add(&mut self, ban: Ban) {
        let subject = ban.subject.normalized();
        self.remove(subject);
        if self.bans.len() >= MAX_BANS
            && let Some(&(_, first)) = self.ends.first()
        {
            self.remove(first);
        }
        let until = ban.until.min(MAX_BAN_UNTIL);
        let mut reason = ban.reason;
        reason.truncate(reason.floor_char_boundary(MAX_REASON));
        self.ends.insert((until, subject));
        if let Some(prefix) = prefix(subject) {
            *self.prefixes.entry(prefix).or_default() += 1;
        }
        self.bans.insert(subject, Term { until, reason });
    }

    /// Removes a ban. Returns false if there was none.
    pub(super) fn remove(&mut self, subject: Subject) -> bool {
        let subject = subject.normalized();
        let Some(term) = self.bans.remove(&subject) else { return false };
        self.ends.remove(&(term.until, subject));
        if let Some(prefix) = prefix(subject)
            && let Some(count) = self.prefixes.get_mut(&prefix)
        {
            *count -= 1;
            if *count == 0 {
                self.prefixes.remove(&prefix);
            }
        }
        true
    }

    /// Whether a peer or an IP is banned, an IP also by a range that contains it.
    pub(super) fn is_banned(&self, subject: Subject, now: Now) -> bool {
        let is_banned = |subject: Subject| {
            self.bans.get(&subject.normalized()).is_some_and(|term| now.unix() < term.until)
        };
        let in_range = |ip: IpAddr| {
            let is_v4 = ip.to_canonical().is_ipv4();
            let prefixes = self.prefixes.keys().filter(|(of_v4, _)| *of_v4 == is_v4);
            prefixes
                .map(|(_, bits)| Cidr::containing(ip, *bits))
                .any(|it| is_banned(Subject::Range(it)))
        };
        is_banned(subject) || matches!(subject, Subject::Ip(ip) if in_range(ip))
    }

    /// The bans in force, ordered by subject.
    pub(super) fn list(&self, now: Now) -> Vec<Ban> {
        self.bans
            .iter()
            .filter(|(_, term)| now.unix() < term.until)
            .map(|(subject, term)| Ban {
                subject: *subject,
                until: term.until,
                reason: term.reason.clone(),
            })
            .collect()
    }

    /// The number of different lengths of the prefixes of banned ranges.
    #[cfg(test)]
    pub(super) fn range_prefixes(&self) -> usize {
        self.prefixes.len()
    }

    /// Drops the bans that have ended.
    pub(super) fn prune(&mut self, now: Now) {
        while let Some(&(until, subject)) = self.ends.first()
            && until <= now.unix()
        {
            self.remove(subject);
        }
    }
}

/// The length of the prefix of a range, and whether it is one of IPv4; `None` for other subjects.
fn prefix(subject: Subject) -> Option<(bool, u8)> {
    match subject {
        Subject::Range(range) => Some((range.first().is_ipv4(), range.prefix())),
        Subject::Ip(_) | Subject::Peer(_) => None,
    }
}

/// Ranges as text in `peers.json`, for `#[serde(with = …)]`.
mod range_text {
    use super::Cidr;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(range: &Cidr, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(range)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Cidr, D::Error> {
        String::deserialize(input)?.parse().map_err(Error::custom)
    }
}
