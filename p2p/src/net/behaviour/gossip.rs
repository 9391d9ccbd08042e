//! Gossip of announcements: gossipsub, its limits and its peer scores.
//!
//! A frame above a limit closes the stream that carries it, permanently and without an event. The
//! limits on frames and control messages are therefore far above what this node sends, unlike three
//! of gossipsub's defaults.

use crate::message::{MAX_BLOCK_ANNOUNCEMENT, MAX_TRANSFER_ANNOUNCEMENT};
use crate::wire::Topic;
use chain::block;
use libp2p::gossipsub::{
    self, Config, ConfigBuilder, IdentTopic, IdentityTransform, MaxCountSubscriptionFilter,
    Message, MessageAuthenticity, MessageId, PeerScoreParams, PeerScoreThresholds, TopicHash,
    TopicScoreParams, ValidationMode, WhitelistSubscriptionFilter, score_parameter_decay,
};
use std::time::Duration;

/// Gossipsub, restricted to the topics of one network.
pub(crate) type Gossip = gossipsub::Behaviour<
    IdentityTransform,
    MaxCountSubscriptionFilter<WhitelistSubscriptionFilter>,
>;

/// The interval of mesh maintenance.
const HEARTBEAT: Duration = Duration::from_millis(700);
/// Heartbeats for which a message awaits its validation result: 14 s.
const HISTORY: usize = 20;
/// The time for which duplicates of a received message are dropped.
const DUPLICATE_CACHE: Duration = Duration::from_secs(600);
/// Maximum size of a frame, and of the bytes read ahead of it.
const MAX_FRAME: usize = 1 << 20;
/// Maximum bytes of control messages in a frame. The ids of 2,000 messages occupy 50 kB.
const MAX_CONTROL: usize = 256 << 10;
/// An upper bound on the bytes that a frame adds to an announcement.
const FRAMING: usize = 32 << 10;
/// Below this gossip score all messages of a peer are ignored.
pub(crate) const GRAYLIST: f64 = -100.0;

/// Builds the behaviour for a network, subscribed to both of its topics.
pub(super) fn build(genesis: block::Hash) -> Gossip {
    let topics = Topic::ALL.map(|topic| IdentTopic::new(topic.name(genesis)));
    let filter = MaxCountSubscriptionFilter {
        filter: WhitelistSubscriptionFilter(topics.iter().map(IdentTopic::hash).collect()),
        max_subscribed_topics: topics.len(),
        max_subscriptions_per_request: 8,
    };
    let mut gossip = Gossip::new_with_subscription_filter(
        MessageAuthenticity::Anonymous,
        config(genesis),
        filter,
    )
    .expect("anonymous messages go with anonymous validation");
    gossip.with_peer_score(scores(genesis), thresholds()).expect("constants");
    for topic in &topics {
        gossip.subscribe(topic).expect("the filter allows both");
    }
    gossip
}

/// Derives a message's id from its topic and bytes alone, so that copies from different peers have
/// one id.
fn message_id(message: &Message) -> MessageId {
    let mut hasher = blake3::Hasher::new();
    hasher.update(message.topic.as_str().as_bytes());
    hasher.update(&message.data);
    MessageId::new(&hasher.finalize().as_bytes()[..20])
}

fn config(genesis: block::Hash) -> Config {
    let hash = |topic: Topic| TopicHash::from_raw(topic.name(genesis));
    ConfigBuilder::default()
        .validation_mode(ValidationMode::Anonymous)
        .validate_messages()
        .message_id_fn(message_id)
        .max_transmit_size(MAX_FRAME)
        .max_transmit_size_for_topic(MAX_BLOCK_ANNOUNCEMENT + FRAMING, hash(Topic::Blocks))
        .max_transmit_size_for_topic(MAX_TRANSFER_ANNOUNCEMENT + FRAMING, hash(Topic::Transfers))
        .max_control_message_size(MAX_CONTROL)
        .max_control_messages_sent(2_000)
        .max_publish_messages(500)
        .max_ihave_messages_heartbeat(10)
        .mesh_n(8)
        .mesh_n_low(6)
        .mesh_n_high(12)
        .mesh_outbound_min(3)
        .gossip_lazy(6)
        .gossip_factor(0.25)
        .heartbeat_interval(HEARTBEAT)
        .heartbeat_initial_delay(Duration::from_secs(1))
        .history_length(HISTORY)
        .history_gossip(5)
        .duplicate_cache_time(DUPLICATE_CACHE)
        .flood_publish(false)
        .prune_backoff(Duration::from_secs(60))
        .unsubscribe_backoff(Duration::from_secs(10))
        .idontwant_message_size_threshold(1_000)
        .idontwant_on_publish(false)
        .connection_handler_queue_len(5_000)
        .publish_queue_duration(Duration::from_secs(5))
        .forward_queue_duration(Duration::from_secs(2))
        .build()
        .expect("constants")
}

fn scores(genesis: block::Hash) -> PeerScoreParams {
    let minutes = |minutes: u64| score_parameter_decay(Duration::from_secs(60 * minutes));
    let topics = [(Topic::Blocks, block_scores()), (Topic::Transfers, transfer_scores())];
    PeerScoreParams {
        topics: topics
            .map(|(topic, scores)| (TopicHash::from_raw(topic.name(genesis)), scores))
            .into(),
        topic_score_cap: 50.0,
        app_specific_weight: 1.0,
        // The connection gater limits connections by IP, and exempts local networks.
        ip_colocation_factor_weight: 0.0,
        // A peer is not at fault if this node sends more than it reads at once.
        slow_peer_weight: 0.0,
        behaviour_penalty_weight: -10.0,
        behaviour_penalty_threshold: 6.0,
        behaviour_penalty_decay: minutes(10),
        decay_interval: Duration::from_secs(1),
        retain_score: Duration::from_secs(3_600),
        ..PeerScoreParams::default()
    }
}

/// Parameters without a penalty for undelivered messages, since blocks are rare.
fn without_delivery_penalty() -> TopicScoreParams {
    TopicScoreParams {
        time_in_mesh_quantum: Duration::from_secs(10),
        time_in_mesh_cap: 300.0,
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        ..TopicScoreParams::default()
    }
}

fn block_scores() -> TopicScoreParams {
    TopicScoreParams {
        topic_weight: 1.0,
        time_in_mesh_weight: 0.02,
        first_message_deliveries_weight: 1.0,
        first_message_deliveries_decay: score_parameter_decay(Duration::from_secs(1_200)),
        first_message_deliveries_cap: 20.0,
        invalid_message_deliveries_weight: -20.0,
        invalid_message_deliveries_decay: score_parameter_decay(Duration::from_secs(3_600)),
        ..without_delivery_penalty()
    }
}

fn transfer_scores() -> TopicScoreParams {
    TopicScoreParams {
        topic_weight: 0.5,
        time_in_mesh_weight: 0.01,
        first_message_deliveries_weight: 0.1,
        first_message_deliveries_decay: score_parameter_decay(Duration::from_secs(300)),
        first_message_deliveries_cap: 100.0,
        invalid_message_deliveries_weight: -2.0,
        invalid_message_deliveries_decay: score_parameter_decay(Duration::from_secs(600)),
        ..without_delivery_penalty()
    }
}

fn thresholds() -> PeerScoreThresholds {
    PeerScoreThresholds {
        gossip_threshold: -40.0,
        publish_threshold: -60.0,
        graylist_threshold: GRAYLIST,
        accept_px_threshold: 10.0,
        opportunistic_graft_threshold: 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::bandwidth::BandwidthMeter;
    use crate::net::transport;
    use futures::StreamExt;
    use libp2p::gossipsub::Event;
    use libp2p::identity::Keypair;
    use libp2p::swarm::{self, Swarm, SwarmEvent};

    const GENESIS: block::Hash = block::Hash::from_bytes([7; 32]);

    #[test]
    fn subscribes_to_both_topics_and_to_no_other() {
        let mut gossip = build(GENESIS);
        assert_eq!(gossip.topics().count(), 2);
        assert!(gossip.subscribe(&IdentTopic::new("/pow/else/blocks/1")).is_err());
        assert!(Topic::ALL.iter().all(|topic| {
            let topic = IdentTopic::new(topic.name(GENESIS));
            gossip.get_topic_params(&topic).is_some()
        }));
    }

    /// A node that only gossips, without validation.
    async fn gossiper() -> Swarm<Gossip> {
        let key = Keypair::generate_ed25519();
        let (own_key, _) = tokio::sync::mpsc::channel(1);
        let meter = BandwidthMeter::default();
        let config =
            transport::Config { key: &key, genesis: GENESIS, network_key: None, meter, own_key };
        let transport = transport::build(config).unwrap().transport;
        let config = swarm::Config::with_tokio_executor()
            .with_idle_connection_timeout(Duration::from_secs(60));
        let id = key.public().to_peer_id();
        let mut swarm = Swarm::new(transport, build(GENESIS), id, config);
        swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
        while !matches!(swarm.select_next_some().await, SwarmEvent::NewListenAddr { .. }) {}
        swarm
    }

    /// Connects two nodes and waits until the second has received both subscriptions of the first.
    async fn connect(one: &mut Swarm<Gossip>, two: &mut Swarm<Gossip>) {
        let address = one.listeners().next().unwrap().clone();
        two.dial(address).unwrap();
        let mut subscribed = 0;
        while subscribed < 2 {
            tokio::select! {
                _ = one.select_next_some() => {}
                event = two.select_next_some() => {
                    let is_one = matches!(event, SwarmEvent::Behaviour(Event::Subscribed { .. }));
                    subscribed += u32::from(is_one);
                }
            }
        }
    }

    /// Publishes messages at the second node and counts those that the first receives.
    async fn count_received(
        one: &mut Swarm<Gossip>,
        two: &mut Swarm<Gossip>,
        count: u32,
        bytes: usize,
    ) -> u32 {
        for number in 0..count {
            let mut data = vec![0; bytes];
            data[..4].copy_from_slice(&number.to_le_bytes());
            let topic = IdentTopic::new(Topic::Blocks.name(GENESIS));
            two.behaviour_mut().publish(topic, data).unwrap();
        }
        let mut received = 0;
        let all = async {
            while received < count {
                tokio::select! {
                    _ = two.select_next_some() => {}
                    event = one.select_next_some() => {
                        let is_message =
                            matches!(event, SwarmEvent::Behaviour(Event::Message { .. }));
                        received += u32::from(is_message);
                    }
                }
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(10), all).await;
        received
    }

    // N10: with gossipsub's default limit the stream closes at the fourth message and nothing
    // arrives afterwards.
    #[tokio::test]
    async fn burst_of_large_announcements_does_not_close_the_stream() {
        let (mut one, mut two) = (gossiper().await, gossiper().await);
        connect(&mut one, &mut two).await;
        assert_eq!(count_received(&mut one, &mut two, 30, 64_000).await, 30);
        assert_eq!(count_received(&mut one, &mut two, 40, 300).await, 40);
        assert_eq!(count_received(&mut one, &mut two, 4, MAX_BLOCK_ANNOUNCEMENT).await, 4);
        assert_eq!(count_received(&mut one, &mut two, 40, 301).await, 40);
    }
}
