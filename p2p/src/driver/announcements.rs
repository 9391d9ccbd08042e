//! Announcements in both directions: between gossip, which carries bytes, and the engine, which
//! validates them.

use super::connections::Context;
use super::network::Network;
use crate::engine::{AnnouncementId, Input, MessageAcceptance, Misbehavior, Now};
use crate::message::Announcement;
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
const MAX_QUEUED_BLOCKS: usize = 256;
/// Announced transfers that may wait for the engine.
const MAX_QUEUED_TRANSFERS: usize = 4_096;
/// The time after which gossip has dropped a message, so that its validation result has no effect.
const VALIDATION_TIMEOUT: Duration = Duration::from_secs(13);

/// The announcements that await a validation result.
pub(super) struct Announcements {
    topics: [(Topic, TopicHash); 2],
    pending: BTreeMap<AnnouncementId, Pending>,
    next: u64,
    /// Permits of the queue to the engine.
    block_permits: Arc<Semaphore>,
    transfer_permits: Arc<Semaphore>,
    /// The monotonic time at which a block was last announced by any node, this one included.
    pub(super) last_block: Duration,
}

struct Pending {
    message: MessageId,
    from: PeerId,
    topic: Topic,
    since: Duration,
}

impl Announcements {
    pub(super) fn new(genesis: block::Hash) -> Announcements {
        Announcements {
            topics: Topic::ALL.map(|topic| (topic, TopicHash::from_raw(topic.name(genesis)))),
            pending: BTreeMap::new(),
            next: 0,
            block_permits: Arc::new(Semaphore::new(MAX_QUEUED_BLOCKS)),
            transfer_permits: Arc::new(Semaphore::new(MAX_QUEUED_TRANSFERS)),
            last_block: Duration::ZERO,
        }
    }

    /// Publishes an announcement of this node.
    pub(super) fn publish(&mut self, network: &mut Network, announcement: &Announcement) {
        let topic = Topic::of(announcement);
        let bytes = wire::encode_announcement(announcement);
        let hash = self.topics.iter().find(|(known, _)| *known == topic).map(|(_, hash)| hash);
        let Some(hash) = hash.filter(|_| bytes.len() <= topic.limit()) else {
            tracing::error!(?topic, bytes = bytes.len(), "announcement exceeds the size limit");
            return;
        };
        if topic == Topic::Blocks {
            self.last_block = network.elapsed();
        }
        match network.gossip().publish(hash.clone(), bytes) {
            Ok(_) | Err(PublishError::NoPeersSubscribedToTopic | PublishError::Duplicate) => {}
            Err(error) => network.log("publish", |dropped| {
                tracing::warn!(%error, dropped, "gossip publish failed");
            }),
        }
    }

    /// Reports the validation result of a peer's announcement to gossip, which forwards accepted
    /// ones.
    pub(super) fn report_validation(
        &mut self,
        network: &mut Network,
        id: AnnouncementId,
        acceptance: MessageAcceptance,
    ) {
        let Some(Pending { message, from, topic, .. }) = self.pending.remove(&id) else { return };
        let now = network.now();
        match (acceptance, topic) {
            (MessageAcceptance::Accept, Topic::Blocks) => network.peers().record_block(&from, now),
            (MessageAcceptance::Accept, Topic::Transfers) => {
                network.peers().record_transfer(&from, now);
            }
            (MessageAcceptance::Ignore | MessageAcceptance::Reject, _) => {}
        }
        report(network, &message, &from, acceptance);
    }

    pub(super) fn handle_event(&mut self, cx: &mut Context, event: Event) {
        match event {
            Event::Message { propagation_source: from, message_id, message } => {
                if !self.receive(cx, (from, &message_id), &message) {
                    report(&mut cx.network, &message_id, &from, MessageAcceptance::Ignore);
                }
            }
            Event::GossipsubNotSupported { peer_id } => {
                cx.network.disconnect(peer_id, "gossip is not supported");
            }
            Event::SlowPeer { peer_id, .. } => {
                tracing::debug!(peer = %peer_id, "peer is too slow for announcements");
            }
            Event::Subscribed { .. } | Event::Unsubscribed { .. } => {}
        }
    }

    /// Queues an announcement for the engine. Returns false if it is to be ignored.
    fn receive(
        &mut self,
        Context { network, connections }: &mut Context,
        (from, id): (PeerId, &MessageId),
        message: &Message,
    ) -> bool {
        let now = network.now();
        let Some(&(topic, _)) = self.topics.iter().find(|(_, hash)| *hash == message.topic) else {
            return false;
        };
        if !connections.has_handshake(&from)
            || !network.peers().allow_announcement(&from, topic, now)
        {
            return false;
        }
        let Ok(announcement) = wire::decode_announcement(topic, &message.data) else {
            report(network, id, &from, MessageAcceptance::Reject);
            network.report(from, Misbehavior::Malformed);
            return true;
        };
        let permits = match topic {
            Topic::Blocks => &self.block_permits,
            Topic::Transfers => &self.transfer_permits,
        };
        let Ok(permit) = permits.clone().try_acquire_owned() else { return false };
        if topic == Topic::Blocks {
            self.last_block = now.elapsed;
        }
        let pending = Pending { message: id.clone(), from, topic, since: now.elapsed };
        let id = AnnouncementId(self.next);
        self.next = self.next.wrapping_add(1);
        self.pending.insert(id, pending);
        let input = Input::Announcement { peer: from, id, announcement };
        network.input(Queued { input, permit: Some(permit) });
        true
    }

    /// Drops the announcements that gossip has dropped. Ids ascend, so the first is the oldest.
    pub(super) fn expire(&mut self, now: Now) {
        while let Some(first) = self.pending.first_entry()
            && now.elapsed.saturating_sub(first.get().since) >= VALIDATION_TIMEOUT
        {
            first.remove();
        }
    }
}

fn report(
    network: &mut Network,
    message: &MessageId,
    from: &PeerId,
    acceptance: MessageAcceptance,
) {
    let acceptance = match acceptance {
        MessageAcceptance::Accept => gossipsub::MessageAcceptance::Accept,
        MessageAcceptance::Ignore => gossipsub::MessageAcceptance::Ignore,
        MessageAcceptance::Reject => gossipsub::MessageAcceptance::Reject,
    };
    network.gossip().report_message_validation_result(message, from, acceptance);
}
