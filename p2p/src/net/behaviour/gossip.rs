//! How announcements spread: gossipsub, its limits, and what it thinks of peers.
//!
//! Three of its defaults would silently end a link for good, because a frame above a limit closes the
//! stream that carries it: the limits on frames and control messages are therefore far above what
//! this node sends itself.

use crate::message::{MAX_BLOCK_ANNOUNCEMENT, MAX_TRANSFER_ANNOUNCEMENT};
use crate::wire::Topic;
use chain::block;
use libp2p::gossipsub::{
    self, Config, ConfigBuilder, IdentTopic, IdentityTransform, MaxCountSubscriptionFilter,
    Message, MessageAuthenticity, MessageId, PeerScoreParams, PeerScoreThresholds, TopicHash,
    TopicScoreParams, ValidationMode, WhitelistSubscriptionFilter, score_parameter_decay,
};
use std::time::Duration;

/// Announcements between nodes.
pub(crate) type Gossip = gossipsub::Behaviour<
    IdentityTransform,
    MaxCountSubscriptionFilter<WhitelistSubscriptionFilter>,
>;

/// Between two looks at the mesh.
const HEARTBEAT: Duration = Duration::from_millis(700);
/// Heartbeats for which a message may still be judged: 14 s.
const HISTORY: usize = 20;
/// How long a message that came is known; a repeated one is dropped.
const REMEMBERED: Duration = Duration::from_secs(600);
/// Most bytes of a frame, and of what was read ahead of it.
const MAX_FRAME: usize = 1 << 20;
/// Most bytes of control messages in a frame. Names of 2,000 messages take 50 kB.
const MAX_CONTROL: usize = 256 << 10;
/// What a frame adds to an announcement, generously.
const FRAMING: usize = 32 << 10;
/// Below this score nothing is read from a peer.
pub(crate) const GRAYLIST: f64 = -100.0;

/// Who gossips about a network's two topics, already subscribed to both.
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

/// The same bytes in the same topic are the same message, whoever sends them.
fn id_of(message: &Message) -> MessageId {
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
        .message_id_fn(id_of)
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
        .duplicate_cache_time(REMEMBERED)
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
    let topics = [(Topic::Blocks, blocks()), (Topic::Transfers, transfers())];
    PeerScoreParams {
        topics: topics
            .map(|(topic, scores)| (TopicHash::from_raw(topic.name(genesis)), scores))
            .into(),
        topic_score_cap: 50.0,
        app_specific_weight: 1.0,
        // The gate counts by address, and knows that a local network shares few.
        ip_colocation_factor_weight: 0.0,
        // That this node sends more than a peer reads at once is no fault of the peer.
        slow_peer_weight: 0.0,
        behaviour_penalty_weight: -10.0,
        behaviour_penalty_threshold: 6.0,
        behaviour_penalty_decay: minutes(10),
        decay_interval: Duration::from_secs(1),
        retain_score: Duration::from_secs(3_600),
        ..PeerScoreParams::default()
    }
}

/// Nothing is counted against a peer for messages it did not bring: blocks are rare.
fn rare() -> TopicScoreParams {
    TopicScoreParams {
        time_in_mesh_quantum: Duration::from_secs(10),
        time_in_mesh_cap: 300.0,
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        ..TopicScoreParams::default()
    }
}

fn blocks() -> TopicScoreParams {
    TopicScoreParams {
        topic_weight: 1.0,
        time_in_mesh_weight: 0.02,
        first_message_deliveries_weight: 1.0,
        first_message_deliveries_decay: score_parameter_decay(Duration::from_secs(1_200)),
        first_message_deliveries_cap: 20.0,
        invalid_message_deliveries_weight: -20.0,
        invalid_message_deliveries_decay: score_parameter_decay(Duration::from_secs(3_600)),
        ..rare()
    }
}

fn transfers() -> TopicScoreParams {
    TopicScoreParams {
        topic_weight: 0.5,
        time_in_mesh_weight: 0.01,
        first_message_deliveries_weight: 0.1,
        first_message_deliveries_decay: score_parameter_decay(Duration::from_secs(300)),
        first_message_deliveries_cap: 100.0,
        invalid_message_deliveries_weight: -2.0,
        invalid_message_deliveries_decay: score_parameter_decay(Duration::from_secs(600)),
        ..rare()
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
    fn knows_both_topics_and_no_other() {
        let mut gossip = build(GENESIS);
        assert_eq!(gossip.topics().count(), 2);
        assert!(gossip.subscribe(&IdentTopic::new("/pow/else/blocks/1")).is_err());
        assert!(Topic::ALL.iter().all(|topic| {
            let topic = IdentTopic::new(topic.name(GENESIS));
            gossip.get_topic_params(&topic).is_some()
        }));
    }

    /// A node that only gossips, and takes everything.
    async fn gossiper() -> Swarm<Gossip> {
        let key = Keypair::generate_ed25519();
        let transport = transport::build(&key, GENESIS, BandwidthMeter::default()).unwrap();
        let config = swarm::Config::with_tokio_executor()
            .with_idle_connection_timeout(Duration::from_secs(60));
        let id = key.public().to_peer_id();
        let mut swarm = Swarm::new(transport, build(GENESIS), id, config);
        swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
        while !matches!(swarm.select_next_some().await, SwarmEvent::NewListenAddr { .. }) {}
        swarm
    }

    /// Runs both until the second knows that the first is subscribed to both topics.
    async fn meet(one: &mut Swarm<Gossip>, two: &mut Swarm<Gossip>) {
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

    /// How many of so many messages published by the second arrive at the first.
    async fn arrive(
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
        let mut arrived = 0;
        let all = async {
            while arrived < count {
                tokio::select! {
                    _ = two.select_next_some() => {}
                    event = one.select_next_some() => {
                        let is_message =
                            matches!(event, SwarmEvent::Behaviour(Event::Message { .. }));
                        arrived += u32::from(is_message);
                    }
                }
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(10), all).await;
        arrived
    }

    // N10: with the library's limit the stream ends at the fourth, and nothing arrives any more.
    #[tokio::test]
    async fn a_burst_of_large_announcements_does_not_end_the_stream() {
        let (mut one, mut two) = (gossiper().await, gossiper().await);
        meet(&mut one, &mut two).await;
        assert_eq!(arrive(&mut one, &mut two, 30, 64_000).await, 30);
        assert_eq!(arrive(&mut one, &mut two, 40, 300).await, 40);
        assert_eq!(arrive(&mut one, &mut two, 4, MAX_BLOCK_ANNOUNCEMENT).await, 4);
        assert_eq!(arrive(&mut one, &mut two, 40, 301).await, 40);
    }
}
