//! Requests: more than a node serves, and malformed ones.

use crate::peer_client::encoding::{Hash, list};
use crate::peer_client::swarm::{Behaviour, BehaviourEvent, Exchange};
use crate::session::{Session, genesis_status};
use crate::{Attacker, sum};
use futures_util::StreamExt;
use libp2p::Multiaddr;
use libp2p::request_response::{Event, Message};
use libp2p::swarm::SwarmEvent;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// Concurrent requests of one client: as many as the protocol permits.
const REQUESTS: usize = 16;

#[derive(Default)]
struct Counts {
    connections: u64,
    requests: u64,
    refused: u64,
    bytes: u64,
}

pub async fn flood(
    attacker: &Attacker,
    target: &Multiaddr,
    clients: usize,
    duration: Duration,
) -> Value {
    let until = Instant::now() + duration;
    sum((0..clients).map(|_| client(attacker, target, until))).await
}

async fn client(attacker: &Attacker, target: &Multiaddr, until: Instant) -> Value {
    let mut counts = Counts::default();
    let flooding = async {
        loop {
            if let Some(mut session) = Session::connect(attacker, target).await {
                counts.connections += 1;
                let hashes = session.last_blocks(attacker.network.genesis).await;
                request_all(&mut session, &hashes.unwrap_or_default(), &mut counts).await;
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    let _ = timeout_at(until, flooding).await;
    let Counts { connections, requests, refused, bytes } = counts;
    json!({ "connections": connections, "requests": requests, "refused": refused, "bytes": bytes })
}

/// Requests blocks until the node closes the connection.
async fn request_all(session: &mut Session, hashes: &[Hash], counts: &mut Counts) {
    let node = session.node;
    for _ in 0..REQUESTS {
        session.swarm.behaviour_mut().blocks.send_request(&node, list(hashes));
    }
    loop {
        match session.swarm.select_next_some().await {
            SwarmEvent::ConnectionClosed { .. } => return,
            SwarmEvent::Behaviour(BehaviourEvent::Blocks(event)) => match event {
                Event::Message { message: Message::Response { response, .. }, .. } => {
                    counts.bytes += response.len() as u64;
                    counts.refused += u64::from(response.first() != Some(&0));
                }
                Event::OutboundFailure { .. } => counts.refused += 1,
                _ => continue,
            },
            _ => continue,
        }
        counts.requests += 1;
        session.swarm.behaviour_mut().blocks.send_request(&node, list(hashes));
    }
}

type Protocol = fn(&mut Behaviour) -> &mut Exchange;

/// Sends one malformed request over each connection.
pub async fn malformed(attacker: &Attacker, target: &Multiaddr, duration: Duration) -> Value {
    let protocols: [Protocol; 6] = [
        |it| &mut it.hello,
        |it| &mut it.headers,
        |it| &mut it.blocks,
        |it| &mut it.blocktxn,
        |it| &mut it.mempool,
        |it| &mut it.addr,
    ];
    let status = genesis_status(&attacker.network).encode();
    let too_many = list(&vec![[0_u8; 32]; 100]);
    let bodies = [
        Vec::new(),
        vec![0xff; 4],
        vec![0xff; 300],
        [&status[..], &[0]].concat(),
        [&[7, 0, 9, 0][..], &status[4..]].concat(),
        [&too_many[..], &[0; 34]].concat(),
        vec![0; 300_000],
    ];
    let (mut sent, mut refused) = (0_u64, 0_u64);
    let sending = async {
        for protocol in protocols.into_iter().cycle() {
            for body in &bodies {
                let Some(mut session) = Session::connect(attacker, target).await else {
                    sleep(Duration::from_millis(100)).await;
                    continue;
                };
                sent += 1;
                refused += u64::from(session.request(protocol, body.clone()).await.is_none());
            }
        }
    };
    let _ = timeout_at(Instant::now() + duration, sending).await;
    json!({ "sent": sent, "refused": refused })
}
