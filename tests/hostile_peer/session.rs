//! A connection with a node, after the handshake.

use crate::peer_client::encoding::{Hash, Header, Reader, Status, U256, header_hash, list, work};
use crate::peer_client::swarm::{Behaviour, BehaviourEvent, Exchange};
use crate::{Attacker, Network};
use futures_util::StreamExt;
use libp2p::request_response::{Event, Message};
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, PeerId, Swarm};
use std::time::{SystemTime, UNIX_EPOCH};

pub struct Session {
    pub swarm: Swarm<Behaviour>,
    pub node: PeerId,
}

/// A number that differs at each call and in each process.
pub fn random() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(0)
}

/// The status of a node at genesis.
pub fn genesis_status(network: &Network) -> Status {
    Status {
        min_version: 1,
        max_version: 1,
        features: 2,
        genesis: network.genesis,
        tip: network.genesis,
        height: 0,
        chain_work: work(network.bits),
        relay: true,
        clock: SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs(),
        nonce: random(),
    }
}

pub fn number(value: u64) -> U256 {
    let mut number = [0; 32];
    number[..8].copy_from_slice(&value.to_le_bytes());
    number
}

impl Session {
    /// Dials a node; `None` if it does not accept the connection.
    pub async fn dial(attacker: &Attacker, target: &Multiaddr) -> Option<Session> {
        let mut swarm = attacker.swarm();
        swarm.dial(target.clone()).ok()?;
        loop {
            match swarm.select_next_some().await {
                SwarmEvent::ConnectionEstablished { peer_id: node, .. } => {
                    return Some(Session { swarm, node });
                }
                SwarmEvent::OutgoingConnectionError { .. } => return None,
                _ => {}
            }
        }
    }

    /// Dials a node and completes the application handshake.
    pub async fn connect(attacker: &Attacker, target: &Multiaddr) -> Option<Session> {
        let mut session = Session::dial(attacker, target).await?;
        let hello = genesis_status(&attacker.network).encode();
        session.request(|behaviour| &mut behaviour.hello, hello).await?;
        Some(session)
    }

    /// Sends a request, and returns a successful reply; `None` if there is none.
    pub async fn request(
        &mut self,
        exchange: impl FnOnce(&mut Behaviour) -> &mut Exchange,
        request: Vec<u8>,
    ) -> Option<Vec<u8>> {
        exchange(self.swarm.behaviour_mut()).send_request(&self.node, request);
        loop {
            let event = match self.swarm.select_next_some().await {
                SwarmEvent::ConnectionClosed { .. } => return None,
                SwarmEvent::Behaviour(
                    BehaviourEvent::Hello(event)
                    | BehaviourEvent::Headers(event)
                    | BehaviourEvent::Blocks(event),
                ) => event,
                _ => continue,
            };
            match event {
                Event::Message { message: Message::Response { response, .. }, .. } => {
                    let (code, body) = response.split_first()?;
                    return (*code == 0).then(|| body.to_vec());
                }
                Event::OutboundFailure { .. } => return None,
                _ => {}
            }
        }
    }

    /// The hashes of the last 64 blocks of the node's chain, newest first.
    pub async fn last_blocks(&mut self, genesis: Hash) -> Option<Vec<Hash>> {
        let mut locator = vec![genesis];
        loop {
            let mut request = list(&locator);
            request.extend([0; 32]);
            request.extend(2_000_u16.to_le_bytes());
            let reply = self.request(|behaviour| &mut behaviour.headers, request).await?;
            let headers: Vec<Header> = Reader(&reply).list(80, Reader::array)?;
            let hashes: Vec<Hash> = headers.iter().map(header_hash).collect();
            if hashes.len() < 2_000 {
                return Some(hashes.into_iter().rev().take(64).collect());
            }
            locator = vec![*hashes.last()?];
        }
    }
}
