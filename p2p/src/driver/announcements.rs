//! Announcements, both ways: between gossip, which spreads bytes, and the engine, which judges.

use super::Driver;
use crate::engine::{AnnouncementId, Input, MessageAcceptance, Misbehavior, Now};
use crate::message::Announcement;
use crate::peers;
use crate::runner::Queued;
use crate::wire::{self, Topic};
use chain::block;
use libp2p::PeerId;
use libp2p::gossipsub::{self, Event, Message, MessageId, PublishError, TopicHash};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Announced blocks that may wait for the engine.
const WAITING_BLOCKS: usize = 256;
/// The same for transfers.
const WAITING_TRANSFERS: usize = 4_096;
/// After so long gossip has forgotten a message, and no acceptance reaches it.
const JUDGED_WITHIN: Duration = Duration::from_secs(13);

/// Announcements that wait for a validation result.
pub(super) struct Announcements {
    topics: [(Topic, TopicHash); 2],
    waiting: BTreeMap<AnnouncementId, Waiting>,
    next: u64,
    /// Room in the queue to the engine.
    blocks: Arc<Semaphore>,
    transfers: Arc<Semaphore>,
    /// When a block was last announced, by anybody, this node included.
    pub(super) last_block: Duration,
}

struct Waiting {
    message: MessageId,
    from: PeerId,
    topic: Topic,
    since: Duration,
}

impl Announcements {
    pub(super) fn new(genesis: block::Hash) -> Announcements {
        Announcements {
            topics: Topic::ALL.map(|topic| (topic, TopicHash::from_raw(topic.name(genesis)))),
            waiting: BTreeMap::new(),
            next: 0,
            blocks: Arc::new(Semaphore::new(WAITING_BLOCKS)),
            transfers: Arc::new(Semaphore::new(WAITING_TRANSFERS)),
            last_block: Duration::ZERO,
        }
    }

    fn topic(&self, hash: &TopicHash) -> Option<Topic> {
        self.topics.iter().find(|(_, known)| known == hash).map(|(topic, _)| *topic)
    }

    fn hash(&self, topic: Topic) -> Option<TopicHash> {
        self.topics.iter().find(|(known, _)| *known == topic).map(|(_, hash)| hash.clone())
    }

    /// Forgets what gossip has forgotten. Ids only grow, so the first is the oldest.
    pub(super) fn expire(&mut self, now: Now) {
        while let Some(first) = self.waiting.first_entry()
            && now.elapsed.saturating_sub(first.get().since) >= JUDGED_WITHIN
        {
            first.remove();
        }
    }
}

impl Driver {
    /// Tells everybody.
    pub(super) fn announce(&mut self, announcement: &Announcement) {
        let topic = Topic::of(announcement);
        let bytes = wire::encode_announcement(announcement);
        let Some(hash) = self.announcements.hash(topic).filter(|_| bytes.len() <= topic.limit())
        else {
            tracing::error!(?topic, bytes = bytes.len(), "an announcement is too long");
            return;
        };
        if topic == Topic::Blocks {
            self.announcements.last_block = self.now().elapsed;
        }
        match self.swarm.behaviour_mut().gossip.publish(hash, bytes) {
            Ok(_) | Err(PublishError::NoPeersSubscribedToTopic | PublishError::Duplicate) => {}
            Err(error) => {
                self.say("publish", |more| tracing::warn!(%error, more, "nobody is told"));
            }
        }
    }

    /// Passes on what the engine thinks of an announcement.
    pub(super) fn judge(&mut self, id: AnnouncementId, acceptance: MessageAcceptance) {
        let Some(Waiting { message, from, topic, .. }) = self.announcements.waiting.remove(&id)
        else {
            return;
        };
        let now = self.now();
        match (acceptance, topic) {
            (MessageAcceptance::Accept, Topic::Blocks) => self.peers().note_block(&from, now),
            (MessageAcceptance::Accept, Topic::Transfers) => self.peers().note_transfer(&from, now),
            (MessageAcceptance::Ignore | MessageAcceptance::Reject, _) => {}
        }
        self.settle(&message, &from, acceptance);
    }

    fn settle(&mut self, message: &MessageId, from: &PeerId, acceptance: MessageAcceptance) {
        let acceptance = match acceptance {
            MessageAcceptance::Accept => gossipsub::MessageAcceptance::Accept,
            MessageAcceptance::Ignore => gossipsub::MessageAcceptance::Ignore,
            MessageAcceptance::Reject => gossipsub::MessageAcceptance::Reject,
        };
        let gossip = &mut self.swarm.behaviour_mut().gossip;
        gossip.report_message_validation_result(message, from, acceptance);
    }

    pub(super) fn handle_gossip(&mut self, event: Event) {
        match event {
            Event::Message { propagation_source, message_id, message } => {
                if !self.announced(propagation_source, &message_id, &message) {
                    self.settle(&message_id, &propagation_source, MessageAcceptance::Ignore);
                }
            }
            Event::GossipsubNotSupported { peer_id } => {
                self.disconnect(peer_id, "it does not gossip");
            }
            Event::SlowPeer { peer_id, .. } => {
                tracing::debug!(peer = %peer_id, "does not keep up with announcements");
            }
            Event::Subscribed { .. } | Event::Unsubscribed { .. } => {}
        }
    }

    /// Hands an announcement to the engine. False if it is to be ignored.
    fn announced(&mut self, from: PeerId, id: &MessageId, message: &Message) -> bool {
        let now = self.now();
        let Some(topic) = self.announcements.topic(&message.topic) else { return false };
        let greeted = self.linked.get(&from).is_some_and(|peer| peer.status.is_some());
        if !greeted || !self.may_announce(from, topic) {
            return false;
        }
        let Ok(announcement) = wire::decode_announcement(topic, &message.data) else {
            self.settle(id, &from, MessageAcceptance::Reject);
            self.report(from, Misbehavior::Malformed);
            return true;
        };
        let announcements = &mut self.announcements;
        let room = match topic {
            Topic::Blocks => announcements.blocks.clone(),
            Topic::Transfers => announcements.transfers.clone(),
        };
        let Ok(place) = room.try_acquire_owned() else { return false };
        if topic == Topic::Blocks {
            announcements.last_block = now.elapsed;
        }
        let waiting = Waiting { message: id.clone(), from, topic, since: now.elapsed };
        let id = AnnouncementId(announcements.next);
        announcements.next = announcements.next.wrapping_add(1);
        announcements.waiting.insert(id, waiting);
        let input = Input::Announcement { peer: from, id, announcement };
        let _ = self.channels.inputs.send(Queued { input, place: Some(place) });
        true
    }

    fn may_announce(&mut self, from: PeerId, topic: Topic) -> bool {
        let now = self.now();
        match topic {
            Topic::Blocks => self.peers().allow_announcement(&from, peers::Topic::Block, now),
            Topic::Transfers => self.peers().allow_announcement(&from, peers::Topic::Transfer, now),
        }
    }
}
