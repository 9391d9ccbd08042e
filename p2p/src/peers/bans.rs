//! Who is kept out, and until when: by node, and by address, because ids cost nothing.

use super::address_book::Trust;
use super::{Peers, netgroup, unix};
use crate::engine::Now;
use crate::{Ban, Subject};
use libp2p::PeerId;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Most bans at a time; one more pushes out the one that ends first.
pub const MAX_BANS: usize = 20_000;
/// The last second that a ban can last to, Unix seconds: the end of the year 9999.
pub const FOR_EVER: u64 = 253_402_300_799;
/// Most bytes of a reason; the rest is cut off.
const MAX_REASON: usize = 200;

/// All bans.
#[derive(Debug, Default)]
pub(super) struct Bans {
    bans: BTreeMap<Subject, Term>,
    /// The same in the order of their ends.
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
        let subject = ban.subject.whole();
        self.remove(subject);
        if self.bans.len() >= MAX_BANS
            && let Some((_, first)) = self.ends.pop_first()
        {
            self.bans.remove(&first);
        }
        let until = ban.until.min(FOR_EVER);
        let mut reason = ban.reason;
        reason.truncate(reason.floor_char_boundary(MAX_REASON));
        self.ends.insert((until, subject));
        self.bans.insert(subject, Term { until, reason });
    }

    /// Ends a ban; whether there was one.
    pub(super) fn remove(&mut self, subject: Subject) -> bool {
        let subject = subject.whole();
        let Some(term) = self.bans.remove(&subject) else { return false };
        self.ends.remove(&(term.until, subject));
        true
    }

    /// Whether a node is kept out.
    pub(super) fn has_peer(&self, peer: PeerId, unix: u64) -> bool {
        self.has(Subject::Peer(peer), unix)
    }

    /// Whether whoever comes from an IP is kept out.
    pub(super) fn has_ip(&self, ip: IpAddr, unix: u64) -> bool {
        self.has(Subject::Ip(ip).whole(), unix)
    }

    fn has(&self, subject: Subject, unix: u64) -> bool {
        self.bans.get(&subject).is_some_and(|term| unix < term.until)
    }

    /// The bans that have not ended, in the order of their subjects.
    pub(super) fn list(&self, unix: u64) -> Vec<Ban> {
        self.bans
            .iter()
            .filter(|(_, term)| unix < term.until)
            .map(|(subject, term)| Ban {
                subject: *subject,
                until: term.until,
                reason: term.reason.clone(),
            })
            .collect()
    }

    /// Drops the bans that have ended.
    pub(super) fn prune(&mut self, unix: u64) {
        while let Some(&(until, subject)) = self.ends.first()
            && until <= unix
        {
            self.ends.pop_first();
            self.bans.remove(&subject);
        }
    }
}

impl Peers {
    /// Keeps somebody out for so many seconds. Returns the connected peers that this is about.
    /// Whoever asks for this means it: it holds for kept peers and local addresses too.
    pub fn ban(&mut self, who: Subject, seconds: u64, reason: String, now: Now) -> Vec<PeerId> {
        let until = unix(now).saturating_add(seconds);
        self.bans.prune(unix(now));
        self.bans.add(Ban { subject: who, until, reason });
        let is_hit = |peer: Option<PeerId>, ip: Option<IpAddr>| match who {
            Subject::Peer(banned) => peer == Some(banned),
            Subject::Ip(banned) => ip.map(netgroup::host) == Some(netgroup::host(banned)),
        };
        self.anchors.retain(|(socket, peer)| !is_hit(Some(*peer), Some(socket.ip())));
        self.book.retain(|socket, entry| {
            let known = entry.peer.filter(|_| entry.trust > Trust::Hearsay);
            !is_hit(known, Some(socket.ip()))
        });
        let hit = self.slots.iter().filter(|(_, one)| is_hit(Some(one.peer), one.ip()));
        let hit: BTreeSet<PeerId> = hit.map(|(_, one)| one.peer).collect();
        hit.into_iter().collect()
    }

    /// Lets somebody in again, and forgets what a node did; whether there was a ban.
    pub fn unban(&mut self, who: Subject) -> bool {
        if let Subject::Peer(peer) = who {
            self.scores.clear(&peer);
        }
        self.bans.remove(who)
    }

    /// The bans that hold.
    pub fn bans(&self, now: Now) -> Vec<Ban> {
        self.bans.list(unix(now))
    }

    /// Whether a node is banned.
    pub fn is_banned(&self, peer: PeerId, now: Now) -> bool {
        self.bans.has_peer(peer, unix(now))
    }

    /// Whether an IP is banned.
    pub fn is_banned_ip(&self, ip: IpAddr, now: Now) -> bool {
        self.bans.has_ip(ip, unix(now))
    }
}

impl Subject {
    /// What a ban of it is about: the whole of what one machine has, so all of a /64 in IPv6.
    #[must_use]
    pub fn whole(self) -> Subject {
        match self {
            Subject::Ip(ip) => Subject::Ip(netgroup::host(ip)),
            Subject::Peer(_) => self,
        }
    }
}
