//! Bans of peers and of IP addresses, since new peer ids cost nothing.

use super::{netgroup, peer_text};
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
}

impl Subject {
    /// Returns the subject that a ban covers: of an IPv6 address the whole /64, which one host
    /// controls.
    #[must_use]
    pub fn normalized(self) -> Subject {
        match self {
            Subject::Ip(ip) => Subject::Ip(netgroup::host(ip)),
            Subject::Peer(_) => self,
        }
    }

    /// Whether a ban of this subject applies to a peer or an IP.
    pub(super) fn covers(self, peer: Option<PeerId>, ip: Option<IpAddr>) -> bool {
        match self {
            Subject::Peer(banned) => peer == Some(banned),
            Subject::Ip(banned) => ip.map(netgroup::host) == Some(netgroup::host(banned)),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Bans {
    bans: BTreeMap<Subject, Term>,
    /// The ends of the bans in Unix seconds with their subjects, earliest first.
    ends: BTreeSet<(u64, Subject)>,
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
            && let Some((_, first)) = self.ends.pop_first()
        {
            self.bans.remove(&first);
        }
        let until = ban.until.min(MAX_BAN_UNTIL);
        let mut reason = ban.reason;
        reason.truncate(reason.floor_char_boundary(MAX_REASON));
        self.ends.insert((until, subject));
        self.bans.insert(subject, Term { until, reason });
    }

    /// Removes a ban. Returns false if there was none.
    pub(super) fn remove(&mut self, subject: Subject) -> bool {
        let subject = subject.normalized();
        let Some(term) = self.bans.remove(&subject) else { return false };
        self.ends.remove(&(term.until, subject));
        true
    }

    pub(super) fn is_banned(&self, subject: Subject, now: Now) -> bool {
        self.bans.get(&subject.normalized()).is_some_and(|term| now.unix() < term.until)
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

    /// Drops the bans that have ended.
    pub(super) fn prune(&mut self, now: Now) {
        while let Some(&(until, subject)) = self.ends.first()
            && until <= now.unix()
        {
            self.ends.pop_first();
            self.bans.remove(&subject);
        }
    }
}
