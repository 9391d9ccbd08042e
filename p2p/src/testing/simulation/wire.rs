//! The transmission of messages over links.

use super::link::Link;
use super::node::{Character, Message, Waiting, number};
use super::world::{Event, World};
use crate::engine::{AnnouncementId, Failure, Input, MessageAcceptance, RequestId};
use crate::message::{Announcement, Request, Response};
use crate::serve;
use crate::wire::{encode_announcement, encode_response};
use libp2p::PeerId;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// The delay until a broken link is dialed again.
const REDIAL_DELAY: Duration = Duration::from_secs(1);
/// The delay until a peer is dialed again after a node has disconnected it.
const REDIAL_DELAY_AFTER_DISCONNECT: Duration = Duration::from_secs(10);
/// How long gossip remembers an announcement that is not validated.
const GOSSIP_MEMORY: Duration = Duration::from_secs(14);
/// The least and the greatest time between two statuses of a node.
const MIN_STATUS_INTERVAL: Duration = Duration::from_secs(5);
const STATUS_INTERVAL: Duration = Duration::from_secs(30);

impl World {
    /// Makes a node dial another one, now and whenever the connection breaks.
    pub(super) fn link(&mut self, dialer: usize, dialed: usize) {
        let is_there = |link: &Link| link.joins(dialer) && link.joins(dialed);
        if dialer == dialed || self.links.iter().any(is_there) {
            return;
        }
        let asked = BTreeMap::new();
        let (is_up, is_dial_scheduled, epoch) = (false, false, 0);
        self.links.push(Link { dialer, dialed, is_up, is_dial_scheduled, epoch, asked });
        let link = self.links.len() - 1;
        let after = self.latency();
        self.dial_after(link, after);
    }

    /// Links every node with every other one.
    pub(super) fn link_all(&mut self) {
        for node in 1..self.nodes.len() {
            for other in 0..node {
                self.link(node, other);
            }
        }
    }

    /// Links every node with the next one.
    pub(super) fn link_in_a_line(&mut self) {
        for node in 1..self.nodes.len() {
            self.link(node, node - 1);
        }
    }

    /// Links the nodes at random so that each can reach every other one.
    pub(super) fn link_at_random(&mut self) {
        for node in 1..self.nodes.len() {
            let other = self.pick(node);
            self.link(node, other);
        }
        for _ in 0..self.nodes.len() {
            let (one, other) = (self.pick(self.nodes.len()), self.pick(self.nodes.len()));
            self.link(one, other);
        }
    }

    fn dial_after(&mut self, at: usize, after: Duration) {
        let link = &mut self.links[at];
        if !std::mem::replace(&mut link.is_dial_scheduled, true) {
            let dialer = link.dialer;
            self.schedule(dialer, after, Event::Dial(at));
        }
    }

    pub(super) fn dial(&mut self, at: usize) {
        self.links[at].is_dial_scheduled = false;
        let Link { dialer, dialed, is_up, .. } = self.links[at];
        if is_up {
            return;
        }
        let is_divided = self.divide.is_some_and(|first| (dialer < first) != (dialed < first));
        if is_divided || !self.nodes[dialer].is_up || !self.nodes[dialed].is_up {
            return self.dial_after(at, REDIAL_DELAY);
        }
        self.links[at].is_up = true;
        self.links[at].epoch += 1;
        for (node, other) in [(dialer, dialed), (dialed, dialer)] {
            let status = self.nodes[other].status(self.now);
            let (peer, outbound) = (self.nodes[other].id, node == dialer);
            self.input(node, Input::PeerConnected { peer, outbound, status });
        }
    }

    /// Separates the nodes below a number from the others.
    pub(super) fn divide_at(&mut self, first: usize) {
        self.divide = Some(first);
        self.drop_links(|link| (link.dialer < first) != (link.dialed < first));
    }

    /// Breaks connections, which are dialed again.
    pub(super) fn drop_links(&mut self, is_meant: impl Fn(&Link) -> bool) {
        for at in 0..self.links.len() {
            if is_meant(&self.links[at]) {
                self.drop_link(at, REDIAL_DELAY);
            }
        }
    }

    fn drop_link(&mut self, at: usize, again: Duration) {
        let Link { dialer, dialed, is_up, .. } = self.links[at];
        if is_up {
            self.links[at].is_up = false;
            for (node, other) in [(dialer, dialed), (dialed, dialer)] {
                let peer = self.nodes[other].id;
                self.input(node, Input::PeerDisconnected { peer });
            }
        }
        self.dial_after(at, again);
    }

    /// Breaks all connections of a node, which has another id from now on.
    pub(super) fn change_id(&mut self, node: usize) {
        self.drop_links(|link| link.joins(node));
        self.nodes[node].change_id();
    }

    pub(super) fn disconnect(&mut self, node: usize, peer: &PeerId) {
        if let Some((at, _)) = self.link_to(node, peer) {
            self.drop_link(at, REDIAL_DELAY_AFTER_DISCONNECT);
        }
    }

    /// The peer at the other end, if the connection is still the same.
    pub(super) fn other_end(&self, node: usize, (at, epoch): (usize, u32)) -> Option<PeerId> {
        let link = &self.links[at];
        let is_it = link.is_up && link.epoch == epoch;
        is_it.then(|| self.nodes[link.other(node)].id)
    }

    fn link_to(&self, node: usize, peer: &PeerId) -> Option<(usize, u32)> {
        let other = number(peer);
        let is_it = |link: &&(usize, &Link)| link.1.joins(node) && link.1.joins(other);
        let (at, link) = self.links.iter().enumerate().find(|link| is_it(&link))?;
        link.is_up.then_some((at, link.epoch))
    }

    /// The connections of a node: link, epoch and the other node.
    fn links_of(&self, node: usize) -> Vec<(usize, u32, usize)> {
        let links = self.links.iter().enumerate();
        let up = links.filter(|(_, link)| link.is_up && link.joins(node));
        up.map(|(at, link)| (at, link.epoch, link.other(node))).collect()
    }

    /// Sends a request, unless it is lost.
    pub(super) fn ask(&mut self, node: usize, (request, peer): (RequestId, PeerId), what: Request) {
        let Some((link, epoch)) = self.link_to(node, &peer) else {
            let result = Err(Failure::Disconnected);
            let response = Event::Response { link: None, request, result };
            return self.schedule(node, Duration::from_millis(1), response);
        };
        self.count(link, node, &what);
        let at = self.now;
        if self.is_lost() {
            return self.time_out(node, (link, epoch), (request, at), &what);
        }
        let after = self.latency();
        self.schedule(node, after, Event::Request { link, epoch, request, at, what });
    }

    fn time_out(
        &mut self,
        node: usize,
        link: (usize, u32),
        (request, at): (RequestId, Duration),
        what: &Request,
    ) {
        let after = at + what.protocol().limits().timeout - self.now;
        let result = Err(Failure::Timeout);
        self.schedule(node, after, Event::Response { link: Some(link), request, result });
    }

    /// Serves a request.
    pub(super) fn answer(
        &mut self,
        node: usize,
        link: (usize, u32),
        (request, at): (RequestId, Duration),
        what: &Request,
    ) {
        let Some(peer) = self.other_end(node, link) else {
            let result = Err(Failure::Disconnected);
            return self.input(node, Input::Response { id: request, result });
        };
        let other = number(&peer);
        let character = self.nodes[other].character;
        let is_body = matches!(what, Request::Blocks { .. } | Request::BlockTransactions { .. });
        let withholds = character != Character::Honest && is_body;
        let mut response = serve::answer(&self.nodes[other].chain, what);
        if character == Character::Evasive && matches!(what, Request::Headers { .. }) {
            // Another claim arrives between the request and its reply, which has no headers.
            self.nodes[other].claims += 1;
            let (link, epoch) = link;
            let status = self.nodes[other].status(self.now);
            self.schedule(node, Duration::ZERO, Event::Status { link, epoch, status });
            response = Response::Headers(Vec::new());
        }
        if is_body {
            self.block_bytes += encode_response(&response).len();
        }
        let result = Ok(response);
        let evasion = if character == Character::Evasive { self.pick(2_500) } else { 0 };
        let after = self.latency() + Duration::from_millis(u64::try_from(evasion).unwrap());
        if withholds || self.now + after - at > what.protocol().limits().timeout {
            return self.time_out(node, link, (request, at), what);
        }
        self.schedule(node, after, Event::Response { link: Some(link), request, result });
    }

    /// Asserts that a node stays below twice the rate limit, beyond which it would be reported.
    fn count(&mut self, at: usize, node: usize, what: &Request) {
        let limits = what.protocol().limits();
        self.kinds.insert(limits.name);
        let asked = self.links[at].asked.entry((node, limits.name)).or_default();
        asked.push_back(self.now);
        while asked.front().is_some_and(|when| *when + limits.per < self.now) {
            asked.pop_front();
        }
        let sum = asked.len();
        let most = usize::try_from(2 * limits.requests).unwrap();
        assert!(sum <= most, "node {node} asked {} {sum} times", limits.name);
    }

    /// Sends a node's status to its peers when it has changed, and from time to time.
    pub(super) fn send_status(&mut self, node: usize) {
        let one = &mut self.nodes[node];
        let since = self.now.saturating_sub(one.status_sent_at);
        if since < STATUS_INTERVAL && !(one.has_new_status && since >= MIN_STATUS_INTERVAL) {
            return;
        }
        (one.has_new_status, one.status_sent_at) = (false, self.now);
        let status = one.status(self.now);
        for (link, epoch, other) in self.links_of(node) {
            if !self.is_lost() {
                let after = self.latency();
                self.schedule(other, after, Event::Status { link, epoch, status });
            }
        }
    }

    /// Publishes an announcement to the peers of a node.
    pub(super) fn publish(&mut self, node: usize, announcement: Announcement) {
        let (mut hasher, bytes) = (DefaultHasher::new(), encode_announcement(&announcement));
        bytes.hash(&mut hasher);
        let message = Message { key: hasher.finish(), bytes: bytes.len(), announcement };
        if self.nodes[node].seen.insert(message.key) {
            self.spread(node, None, &message);
        }
    }

    fn spread(&mut self, node: usize, except: Option<usize>, message: &Message) {
        for (link, epoch, other) in self.links_of(node) {
            if Some(other) == except {
                continue;
            }
            let copies =
                if self.is_gossip_lost() { 0 } else { 1 + usize::from(self.is_repeated()) };
            for _ in 0..copies {
                if !matches!(message.announcement, Announcement::Transfer { .. }) {
                    self.block_bytes += message.bytes;
                }
                let (after, message) = (self.latency(), message.clone());
                self.schedule(other, after, Event::Gossip { link, epoch, message });
            }
        }
    }

    pub(super) fn receive_gossip(&mut self, node: usize, link: (usize, u32), message: Message) {
        let Some(peer) = self.other_end(node, link) else { return };
        // Gossip sometimes forgets a message that it has seen.
        let is_new = self.nodes[node].seen.insert(message.key);
        if !is_new && !self.is_repeated() {
            return;
        }
        let one = &mut self.nodes[node];
        one.announced += 1;
        let (id, announcement) = (AnnouncementId(one.announced), message.announcement.clone());
        let waiting = Waiting { message, from: number(&peer), since: self.now };
        one.waiting.insert(id, waiting);
        if matches!(announcement, Announcement::CompactBlock(_)) {
            self.kinds.insert("compact block");
        }
        self.input(node, Input::Announcement { peer, id, announcement });
    }

    pub(super) fn nothing_waits_too_long(&self, node: usize) {
        let mut waiting = self.nodes[node].waiting.values();
        assert!(
            waiting.all(|one| self.now - one.since <= GOSSIP_MEMORY),
            "an announcement is never validated"
        );
    }

    /// Processes a validation result. Asserts that there is one for every announcement, in time.
    pub(super) fn report_validation(
        &mut self,
        node: usize,
        id: AnnouncementId,
        acceptance: MessageAcceptance,
    ) {
        let waiting = self.nodes[node].waiting.remove(&id);
        let waiting = waiting.expect("an announcement is validated once");
        assert!(self.now - waiting.since <= GOSSIP_MEMORY, "validated too late");
        self.note(node, (id.0, acceptance == MessageAcceptance::Accept));
        if acceptance == MessageAcceptance::Accept {
            self.spread(node, Some(waiting.from), &waiting.message);
        }
    }
}
