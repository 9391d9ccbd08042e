//! The hello: who calls says first who it is, and both sides again whenever that changes.

use super::peer::GossipLiveness;
use super::requests::Asked;
use super::{Driver, clock_skew};
use crate::engine::{Input, Misbehavior, Now};
use crate::message::{Request, Status};
use crate::net::transport::HANDSHAKE;
use crate::peers::Greeting;
use libp2p::PeerId;
use std::time::Duration;

/// The status is told again at least this often,
const REPEAT: Duration = Duration::from_secs(30);
/// and a new tip at most this often.
const AT_MOST: Duration = Duration::from_secs(5);
/// So many new tips in a row that nobody announced: then announcements do not get through.
const SILENT_TIPS: u32 = 3;

impl Driver {
    /// What this node says of itself.
    pub(super) fn status(&self) -> Status {
        let clock = u64::from(self.now().clock.get());
        Status { clock, ..*self.channels.status.borrow() }
    }

    /// Tells a peer who this node is, and asks the same.
    pub(super) fn say_hello(&mut self, peer: PeerId) {
        let status = self.status();
        self.told(peer, &status);
        self.send(peer, Request::Hello(status), Asked::Hello);
    }

    /// Takes note of what a peer now knows of this node.
    pub(super) fn told(&mut self, peer: PeerId, status: &Status) {
        let now = self.now().elapsed;
        if let Some(peer) = self.linked.get_mut(&peer) {
            peer.told = Some((status.tip, now));
        }
    }

    /// Tells everybody who does not know yet, or has not heard for long.
    pub(super) fn tell_status(&mut self) {
        let now = self.now().elapsed;
        let tip = self.channels.status.borrow_and_update().tip;
        let due = |(known, at): (chain::block::Hash, Duration)| {
            let age = now.saturating_sub(at);
            age >= REPEAT || (known != tip && age >= AT_MOST)
        };
        let greeted = self.linked.iter().filter(|(_, peer)| peer.status.is_some());
        let late: Vec<PeerId> =
            greeted.filter(|(_, peer)| peer.told.is_none_or(due)).map(|(id, _)| *id).collect();
        for peer in late {
            self.say_hello(peer);
        }
    }

    /// A peer says who it is. False if that is nobody to speak with.
    pub(super) fn hear_hello(&mut self, id: PeerId, status: Status) -> bool {
        let own = *self.channels.status.borrow();
        if status.nonce == own.nonce {
            // Another id, or there would be no connection: somebody repeats what this node says.
            self.disconnect(id, "it says that it is this node");
            return false;
        }
        if (status.genesis, status.version) != (own.genesis, own.version) {
            self.report(id, Misbehavior::WrongNetwork);
            self.disconnect(id, "another network or version");
            return false;
        }
        let now = self.now();
        let Some(peer) = self.linked.get_mut(&id) else { return false };
        peer.clock_ahead = Some(clock_skew::ahead(status.clock, now));
        match peer.status.replace(status) {
            None => self.welcome(id, status),
            Some(before) => {
                self.tell_engine(Input::PeerStatus { peer: id, status });
                self.listen_for_silence(id, before, status);
                true
            }
        }
    }

    /// The first hello.
    fn welcome(&mut self, id: PeerId, status: Status) -> bool {
        let now = self.now();
        if self.peers().greeted(id, now) == Greeting::Leave {
            if let Some(peer) = self.linked.get_mut(&id) {
                peer.status = None;
            }
            self.disconnect(id, "it is there, that is all this node wanted to know");
            return false;
        }
        let Some(peer) = self.linked.get_mut(&id) else { return false };
        let outbound = peer.is_outbound();
        peer.silence = GossipLiveness::new(now.elapsed);
        peer.next_addresses = outbound.then_some(now.elapsed);
        let (early, listens) = (std::mem::take(&mut peer.early), peer.listens.clone());
        let address = peer.links.values().next().map(|link| link.address.to_string());
        let (agent, height) = (peer.agent.clone(), status.height.get());
        self.say("connected", |more| {
            let address = address.unwrap_or_default();
            tracing::info!(peer = %id, %address, outbound, agent, height, more, "connected");
        });
        self.peers().identified(id, &listens, now);
        self.tell_engine(Input::PeerConnected { peer: id, outbound, status });
        self.tell_peer_count();
        self.call_ended_well(id);
        for request in early {
            self.serve(id, request);
        }
        true
    }

    /// Notices that a peer's chain grows and nobody announces any block of it. A frame above a limit
    /// ends the stream of announcements in one direction for ever, and neither side is told.
    fn listen_for_silence(&mut self, id: PeerId, before: Status, status: Status) {
        let now = self.now().elapsed;
        let synced = before.relay && status.relay && self.channels.status.borrow().relay;
        if before.tip == status.tip || !synced {
            return;
        }
        let last = self.announcements.last_block;
        let Some(peer) = self.linked.get_mut(&id) else { return };
        if peer.silence.hear_tip(last, now) >= SILENT_TIPS {
            self.disconnect(id, "its announcements do not arrive");
        }
    }

    /// Ends connections without a hello.
    pub(super) fn expire_greetings(&mut self, now: Now) {
        let late = |since: Duration| now.elapsed.saturating_sub(since) >= HANDSHAKE;
        let silent = self.linked.iter().filter(|(_, peer)| peer.status.is_none());
        let silent: Vec<PeerId> =
            silent.filter(|(_, peer)| late(peer.since)).map(|(id, _)| *id).collect();
        for peer in silent {
            self.disconnect(peer, "no hello");
        }
    }

    /// The request for a hello failed.
    pub(super) fn hello_failed(&mut self, id: PeerId) {
        if self.linked.get(&id).is_some_and(|peer| peer.status.is_none()) {
            self.disconnect(id, "no hello");
        }
    }

    /// Asks a peer for other nodes: one that this node called at once, and again later when few are
    /// known.
    pub(super) fn ask_addresses(&mut self, id: PeerId, now: Now) {
        const AGAIN: Duration = Duration::from_secs(600);
        let Some(peer) = self.linked.get_mut(&id) else { return };
        if peer.status.is_none() || peer.next_addresses.is_none_or(|due| due > now.elapsed) {
            return;
        }
        peer.next_addresses = Some(now.elapsed.saturating_add(AGAIN));
        if self.peers().wants_addresses() {
            let max = u8::try_from(crate::message::MAX_ADDRESSES).unwrap_or(u8::MAX);
            self.send(id, Request::Addresses { max }, Asked::Addresses);
        }
    }
}
