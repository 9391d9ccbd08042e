//! Announcements that are invalid, as fast as the node takes them.

use crate::peer_client::encoding::{Hash, Header, has_work, list};
use crate::peer_client::swarm::{BehaviourEvent, blocks_topic, transfers_topic};
use crate::session::{Session, random};
use crate::{Attacker, sum};
use futures_util::StreamExt;
use libp2p::Multiaddr;
use libp2p::gossipsub::{self, IdentTopic};
use libp2p::identity::ed25519::Keypair;
use libp2p::request_response::{Event, Message};
use libp2p::swarm::SwarmEvent;
use serde_json::{Value, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::{Instant, interval, sleep, timeout_at};

/// The pause between bursts of a client, and the announcements of a burst.
const PAUSE: Duration = Duration::from_millis(5);
const BURST: usize = 50;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum What {
    /// Transfers whose signature is of another message
    Signatures,
    /// One compact block that cannot be completed, with other bytes each time
    Blocks,
    /// Bytes that cannot be decoded
    Garbage,
}

pub async fn run(
    attacker: &Attacker,
    target: &Multiaddr,
    clients: usize,
    what: What,
    duration: Duration,
) -> Value {
    let until = Instant::now() + duration;
    sum((0..clients).map(|_| client(attacker, target, what, until))).await
}

async fn client(attacker: &Attacker, target: &Multiaddr, what: What, until: Instant) -> Value {
    let (mut connections, mut announced) = (0_u64, 0_u64);
    let announcing = async {
        loop {
            if let Some(mut session) = Session::connect(attacker, target).await {
                connections += 1;
                announce(attacker, &mut session, what, &mut announced).await;
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    let _ = timeout_at(until, announcing).await;
    json!({ "connections": connections, "announced": announced })
}

/// Announces until the node closes the connection.
async fn announce(attacker: &Attacker, session: &mut Session, what: What, announced: &mut u64) {
    let genesis = attacker.network.genesis;
    let Some(hashes) = session.last_blocks(genesis).await else { return };
    let tip = hashes.first().copied().unwrap_or(genesis);
    let forgery = Forgery::new(attacker, tip);
    let mut pace = interval(PAUSE);
    loop {
        tokio::select! {
            event = session.swarm.select_next_some() => match event {
                SwarmEvent::ConnectionClosed { .. } => return,
                SwarmEvent::Behaviour(BehaviourEvent::Blocktxn(Event::Message {
                    message: Message::Request { channel, .. },
                    ..
                })) => {
                    // Not found.
                    let _ = session.swarm.behaviour_mut().blocktxn.send_response(channel, vec![2]);
                }
                _ => {}
            },
            _ = pace.tick() => {
                for _ in 0..BURST {
                    let (topic, data) = forgery.announcement(what, genesis);
                    match session.swarm.behaviour_mut().gossip.publish(topic, data) {
                        Ok(_) => *announced += 1,
                        // The node has not subscribed yet, or does not read so fast.
                        Err(gossipsub::PublishError::NoPeersSubscribedToTopic)
                        | Err(gossipsub::PublishError::AllQueuesFull(_)) => break,
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        }
    }
}

/// What the announcements of a connection have in common.
struct Forgery {
    header: Header,
    key: Hash,
    signature: Vec<u8>,
}

impl Forgery {
    /// A header with proof of work after the tip, and a signature of nothing.
    fn new(attacker: &Attacker, tip: Hash) -> Forgery {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let mut header: Header = [0; 80];
        header[..4].copy_from_slice(&0x2000_0000_u32.to_le_bytes());
        header[4..36].copy_from_slice(&tip);
        header[36..44].copy_from_slice(&random().to_le_bytes());
        header[68..72].copy_from_slice(&u32::try_from(now).unwrap().to_le_bytes());
        header[72..76].copy_from_slice(&attacker.network.bits.to_le_bytes());
        let nonce = (0_u32..).find(|nonce| {
            header[76..].copy_from_slice(&nonce.to_le_bytes());
            has_work(&header)
        });
        assert!(nonce.is_some(), "the bits are too hard");
        let key = Keypair::generate();
        Forgery { header, key: key.public().to_bytes(), signature: key.sign(b"another message") }
    }

    fn announcement(&self, what: What, genesis: Hash) -> (IdentTopic, Vec<u8>) {
        let number = random().to_le_bytes();
        match what {
            What::Signatures => {
                let mut transfer = [&[0; 4][..], &[2], &self.key, &[0; 8], &[7; 20]].concat();
                transfer.extend(1_u64.to_le_bytes());
                transfer.extend(100_000_u64.to_le_bytes());
                transfer.extend(8_u32.to_le_bytes());
                transfer.extend(number);
                transfer.extend(&self.signature);
                (transfers_topic(&genesis), transfer)
            }
            What::Blocks => {
                let coinbase = [&[0][..], &140_u32.to_le_bytes(), &[0; 140]].concat();
                let prefilled = [&0_u32.to_le_bytes()[..], &coinbase].concat();
                let parts = [&[1][..], &self.header, &number, &list(&[[9_u8; 6]])];
                (blocks_topic(&genesis), [&parts.concat()[..], &list(&[prefilled])].concat())
            }
            What::Garbage => (transfers_topic(&genesis), number.to_vec()),
        }
    }
}
