//! Clients that request blocks and read no reply: what the node has sent stays in its buffers.

use crate::Network;
use crate::peer_client::encoding::{Hash, Header, Reader, header_hash, list};
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
    network: &Network,
    target: Multiaddr,
    clients: usize,
    duration: Duration,
) -> Value {
    let until = Instant::now() + duration;
    let mut all = JoinSet::new();
    for _ in 0..clients {
        all.spawn(client(network.clone(), target.clone(), until));
    }
    let rounds: Vec<u64> = all.join_all().await;
    json!({ "clients": clients, "requests": rounds.iter().sum::<u64>() })
}

/// Connects again and again, and returns the number of requests sent.
async fn client(network: Network, target: Multiaddr, until: Instant) -> u64 {
    let mut requests = 0;
    while Instant::now() < until {
        let Some(mut session) = Session::connect(&network, &target).await else {
            tokio::time::sleep(Duration::from_millis(500)).await;
            continue;
        };
        let Some(hashes) = last_blocks(&network, &mut session).await else { continue };
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

/// The hashes of the last blocks of the node's chain.
async fn last_blocks(network: &Network, session: &mut Session) -> Option<Vec<Hash>> {
    let mut locator = vec![network.genesis];
    loop {
        let mut request = list(&locator);
        request.extend([0; 32]);
        request.extend(2_000_u16.to_le_bytes());
        let reply = session.request(|behaviour| &mut behaviour.headers, request).await?;
        let headers: Vec<Header> = Reader(&reply).list(80, Reader::array)?;
        let hashes: Vec<Hash> = headers.iter().map(header_hash).collect();
        if hashes.len() < 2_000 {
            let last = hashes.len().saturating_sub(64);
            return Some(hashes[last..].to_vec());
        }
        locator = vec![*hashes.last()?];
    }
}
