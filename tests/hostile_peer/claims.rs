//! Peers whose claims of work are not met: a liar without headers, and one with headers but no blocks. And
//! a peer that claims nothing, but names others.

use crate::peer_client::encoding::{Hash, Header, Reader, Status, has_work, header_hash, list};
use crate::peer_client::swarm::{Behaviour, BehaviourEvent};
use crate::session::{genesis_status, number, random};
use crate::{Attacker, Network, sum};
use futures_util::StreamExt;
use libp2p::multiaddr::Protocol;
use libp2p::request_response::{Event, Message, ResponseChannel};
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, PeerId, Swarm};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::Write;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::{Instant, sleep_until};

/// The connections of peers: they listen, dial, or both.
#[derive(Clone, Debug, clap::Args)]
pub struct Ends {
    /// Node to dial
    #[arg(long)]
    target: Option<Multiaddr>,
    /// Address to accept connections on; a peer for each
    #[arg(long, value_delimiter = ',')]
    listen: Vec<Multiaddr>,
    /// Peers that dial only
    #[arg(long, default_value_t = 1)]
    count: usize,
}

impl Ends {
    /// The number of peers.
    pub fn peers(&self) -> usize {
        if self.listen.is_empty() { self.count } else { self.listen.len() }
    }
}

/// A peer with a false claim.
pub trait Claimant {
    /// Changes the status at genesis to the claim.
    fn claim(&self, status: &mut Status);
    /// The headers in reply to a locator.
    fn headers(&self, locator: &[Hash]) -> Vec<Header>;
    /// The time before a reply of headers, and whether another claim is sent in the meantime.
    fn delay(&self) -> (Duration, bool);
    /// The encoded nodes in reply to a request for addresses.
    fn nodes(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }
}

impl<C: Claimant> Claimant for Rc<C> {
    fn claim(&self, status: &mut Status) {
        (**self).claim(status);
    }

    fn headers(&self, locator: &[Hash]) -> Vec<Header> {
        (**self).headers(locator)
    }

    fn delay(&self) -> (Duration, bool) {
        (**self).delay()
    }
}

pub struct Liar {
    delay: Duration,
}

impl Liar {
    pub fn new(delay: Duration) -> Liar {
        Liar { delay }
    }
}

impl Claimant for Liar {
    fn claim(&self, status: &mut Status) {
        status.tip = number(random());
        status.height = 5_000_000;
        status.chain_work = number(u64::MAX >> 1);
    }

    fn headers(&self, _: &[Hash]) -> Vec<Header> {
        Vec::new()
    }

    fn delay(&self) -> (Duration, bool) {
        (self.delay, true)
    }
}

pub struct Withholder {
    headers: Vec<Header>,
    positions: HashMap<Hash, usize>,
    work_each: u64,
}

impl Withholder {
    /// Mines headers with the bits of genesis.
    pub fn new(network: &Network, count: u32) -> Withholder {
        let (mut headers, mut positions) = (Vec::new(), HashMap::new());
        let (mut parent, salt) = (network.genesis, random());
        for height in 0..count {
            let mut header: Header = [0; 80];
            header[..4].copy_from_slice(&0x2000_0000_u32.to_le_bytes());
            header[4..36].copy_from_slice(&parent);
            header[36..68].copy_from_slice(&number(salt ^ u64::from(height)));
            header[68..72].copy_from_slice(&(network.genesis_time + 1).to_le_bytes());
            header[72..76].copy_from_slice(&network.bits.to_le_bytes());
            let nonce = (0_u32..).find(|nonce| {
                header[76..].copy_from_slice(&nonce.to_le_bytes());
                has_work(&header)
            });
            assert!(nonce.is_some(), "the bits are too hard");
            parent = header_hash(&header);
            headers.push(header);
            positions.insert(parent, headers.len());
        }
        let work = crate::peer_client::encoding::work(network.bits);
        let work_each = u64::from_le_bytes(work[..8].try_into().unwrap());
        Withholder { headers, positions, work_each }
    }
}

impl Claimant for Withholder {
    fn claim(&self, status: &mut Status) {
        status.tip = self.headers.last().map_or(status.genesis, header_hash);
        status.height = u32::try_from(self.headers.len()).unwrap();
        status.chain_work = number(self.work_each * (u64::from(status.height) + 1));
    }

    fn headers(&self, locator: &[Hash]) -> Vec<Header> {
        let start = locator.iter().find_map(|hash| self.positions.get(hash)).copied().unwrap_or(0);
        self.headers[start..].iter().take(2_000).copied().collect()
    }

    fn delay(&self) -> (Duration, bool) {
        (Duration::ZERO, false)
    }
}

/// A peer that claims to be at genesis, and replies with the addresses of certain nodes.
pub struct Introducer {
    nodes: Vec<Vec<u8>>,
}

impl Introducer {
    pub fn new(nodes: &[Multiaddr]) -> Introducer {
        Introducer { nodes: nodes.iter().map(encode_node).collect() }
    }
}

/// The encoding of a node that was connected just now.
fn encode_node(address: &Multiaddr) -> Vec<u8> {
    let mut address = address.clone();
    let Some(Protocol::P2p(id)) = address.pop() else { panic!("{address} has no id") };
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap().to_le_bytes();
    let (id, address) = (id.to_bytes(), address.to_vec());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let parts = [&length(&id)[..], &id, &1_u32.to_le_bytes(), &length(&address), &address];
    [&parts.concat()[..], &now.to_le_bytes()].concat()
}

impl Claimant for Introducer {
    fn claim(&self, _: &mut Status) {}

    fn headers(&self, _: &[Hash]) -> Vec<Header> {
        Vec::new()
    }

    fn delay(&self) -> (Duration, bool) {
        (Duration::ZERO, false)
    }

    fn nodes(&self) -> Vec<Vec<u8>> {
        self.nodes.clone()
    }
}

/// Runs peers that listen, dial, or both, and dial again when they are disconnected.
pub async fn run(
    attacker: &Attacker,
    ends: &Ends,
    claimants: impl Iterator<Item = impl Claimant>,
    duration: Duration,
) -> Value {
    let run = |(number, claimant)| {
        let listen = ends.listen.get(number).cloned();
        run_one(attacker, claimant, (ends.target.clone(), listen), duration)
    };
    sum(claimants.enumerate().map(run)).await
}

async fn run_one(
    attacker: &Attacker,
    claimant: impl Claimant,
    (target, listen): (Option<Multiaddr>, Option<Multiaddr>),
    duration: Duration,
) -> Value {
    let mut peer = Peer {
        swarm: attacker.swarm(),
        network: &attacker.network,
        claimant,
        target,
        nonce: random(),
        replies: Vec::new(),
        counts: Counts::default(),
    };
    if let Some(address) = listen {
        peer.swarm.listen_on(address).expect("the address can be listened on");
    }
    peer.dial();
    let _ = tokio::time::timeout(duration, peer.run()).await;
    let Counts { connections, disconnects, claims, requests } = peer.counts;
    json!({
        "connections": connections, "disconnects": disconnects, "claims": claims,
        "requests_for_headers": requests
    })
}

#[derive(Default)]
struct Counts {
    connections: u64,
    disconnects: u64,
    claims: u64,
    requests: u64,
}

struct Peer<'a, C> {
    swarm: Swarm<Behaviour>,
    network: &'a Network,
    claimant: C,
    target: Option<Multiaddr>,
    nonce: u64,
    /// Replies to send, in the order of their times.
    replies: Vec<(Instant, ResponseChannel<Vec<u8>>, Vec<u8>)>,
    counts: Counts,
}

impl<C: Claimant> Peer<'_, C> {
    async fn run(&mut self) {
        let mut redial = tokio::time::interval(Duration::from_secs(2));
        loop {
            let next = self.replies.first().map(|(at, ..)| *at);
            tokio::select! {
                event = self.swarm.select_next_some() => self.handle(event),
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                    let (_, channel, response) = self.replies.remove(0);
                    let _ = self.swarm.behaviour_mut().headers.send_response(channel, response);
                }
                _ = redial.tick() => self.dial(),
            }
        }
    }

    fn dial(&mut self) {
        if let Some(target) =
            self.target.clone().filter(|_| self.swarm.connected_peers().next().is_none())
        {
            let _ = self.swarm.dial(target);
        }
    }

    fn status(&mut self) -> Vec<u8> {
        let mut status = Status { nonce: self.nonce, ..genesis_status(self.network) };
        self.claimant.claim(&mut status);
        self.counts.claims += 1;
        status.encode()
    }

    fn send_hello(&mut self, to: PeerId) {
        let status = self.status();
        self.swarm.behaviour_mut().hello.send_request(&to, status);
    }

    fn handle(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::NewListenAddr { address, .. } => {
                let id = self.swarm.local_peer_id();
                let _ = writeln!(std::io::stderr(), "listening on {address}/p2p/{id}");
            }
            SwarmEvent::ConnectionEstablished { peer_id, endpoint, .. } => {
                self.counts.connections += 1;
                if endpoint.is_dialer() {
                    self.send_hello(peer_id);
                }
            }
            SwarmEvent::ConnectionClosed { .. } => self.counts.disconnects += 1,
            SwarmEvent::Behaviour(BehaviourEvent::Hello(Event::Message {
                message: Message::Request { channel, .. },
                ..
            })) => {
                let response = [&[0][..], &self.status()].concat();
                let _ = self.swarm.behaviour_mut().hello.send_response(channel, response);
            }
            SwarmEvent::Behaviour(BehaviourEvent::Headers(Event::Message {
                peer,
                message: Message::Request { request, channel, .. },
                ..
            })) => {
                self.counts.requests += 1;
                let (delay, changes) = self.claimant.delay();
                if changes {
                    self.send_hello(peer);
                }
                let locator = Reader(&request).list(32, Reader::array).unwrap_or_default();
                let response = [&[0][..], &list(&self.claimant.headers(&locator))].concat();
                self.replies.push((Instant::now() + delay, channel, response));
            }
            SwarmEvent::Behaviour(BehaviourEvent::Addr(Event::Message {
                message: Message::Request { channel, .. },
                ..
            })) => {
                let response = [&[0][..], &list(&self.claimant.nodes())].concat();
                let _ = self.swarm.behaviour_mut().addr.send_response(channel, response);
            }
            SwarmEvent::Behaviour(BehaviourEvent::Blocks(Event::Message {
                message: Message::Request { channel, .. },
                ..
            })) => {
                // Not found.
                let _ = self.swarm.behaviour_mut().blocks.send_response(channel, vec![2]);
            }
            _ => {}
        }
    }
}
