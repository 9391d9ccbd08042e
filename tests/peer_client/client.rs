//! The client: syncs with its peers, serves them, and relays what they announce.

use super::chain::Chain;
use super::encoding::{
    Hash, Header, Reader, Status, block_is_plausible, compare, has_work, header_hash, list,
    previous, split_block, split_transaction, transaction_id, transfer_is_signed,
};
use super::swarm::{self, Behaviour, BehaviourEvent, blocks_topic};
use futures_util::StreamExt;
use libp2p::gossipsub::{self, MessageAcceptance};
use libp2p::request_response::{Event, Message, OutboundRequestId, ResponseChannel};
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, PeerId, Swarm};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const OK: u8 = 0;
const NOT_FOUND: u8 = 2;
const BAD_REQUEST: u8 = 3;
const INCOMPATIBLE_VERSION: u8 = 5;
const VERSION: u16 = 1;
/// Serves all blocks of its chain.
const FEATURES: u64 = 1 << 1;
const STATUS_INTERVAL: Duration = Duration::from_secs(30);
const MIN_STATUS_INTERVAL: Duration = Duration::from_secs(5);

/// What a client has done so far, for another thread.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    pub address: Option<Multiaddr>,
    pub tip: Hash,
    pub height: usize,
    /// Peers whose status has arrived.
    pub peers: usize,
    pub disconnects: usize,
    /// Requests that failed or were refused.
    pub failures: Vec<String>,
    pub blocks_relayed: usize,
    pub transfers_relayed: usize,
    pub requests_served: usize,
}

struct Peer {
    status: Option<Status>,
    /// The headers of the blocks still to be requested.
    missing: VecDeque<Hash>,
    is_busy: bool,
    status_sent: Instant,
    tip_sent: Hash,
}

pub struct Client {
    pub swarm: Swarm<Behaviour>,
    pub chain: Chain,
    peers: HashMap<PeerId, Peer>,
    /// Transfers in the order of their arrival.
    mempool: Vec<(Hash, Vec<u8>)>,
    nonce: u64,
    progress: Arc<Mutex<Progress>>,
}

impl Client {
    /// A client of a network. `genesis_bits` are the bits of its genesis block.
    pub fn new(genesis: Hash, genesis_bits: u32) -> (Client, Arc<Mutex<Progress>>) {
        let progress = Arc::<Mutex<Progress>>::default();
        let swarm = swarm::build(genesis, "independent/1", None);
        let nonce = u64::from_le_bytes(swarm.local_peer_id().to_bytes()[8..16].try_into().unwrap());
        let client = Client {
            swarm,
            chain: Chain::new(genesis, genesis_bits),
            peers: HashMap::new(),
            mempool: Vec::new(),
            nonce,
            progress: progress.clone(),
        };
        (client, progress)
    }

    /// Dials addresses, listens on loopback, and runs until it is dropped.
    pub async fn run(mut self, dial: Vec<Multiaddr>) {
        self.swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
        dial.into_iter().for_each(|address| self.swarm.dial(address).unwrap());
        let mut tick = tokio::time::interval(Duration::from_millis(250));
        loop {
            tokio::select! {
                event = self.swarm.select_next_some() => self.handle(event),
                _ = tick.tick() => self.send_statuses(),
            }
            let mut progress = self.progress.lock().unwrap();
            (progress.tip, progress.height) = (self.chain.tip(), self.chain.height());
            progress.peers = self.peers.values().filter(|peer| peer.status.is_some()).count();
        }
    }

    fn handle(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::NewListenAddr { address, .. } => {
                self.progress.lock().unwrap().address = Some(address);
            }
            SwarmEvent::ConnectionEstablished { peer_id, endpoint, .. } => {
                let (missing, tip_sent) = (VecDeque::new(), self.chain.tip());
                let status_sent = Instant::now();
                let new = Peer { status: None, missing, is_busy: false, status_sent, tip_sent };
                self.peers.entry(peer_id).or_insert(new);
                if endpoint.is_dialer() {
                    self.send_hello(peer_id);
                }
            }
            SwarmEvent::ConnectionClosed { peer_id, num_established: 0, .. } => {
                self.peers.remove(&peer_id);
                self.progress.lock().unwrap().disconnects += 1;
            }
            SwarmEvent::Behaviour(event) => self.handle_behaviour(event),
            _ => {}
        }
    }

    fn handle_behaviour(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Hello(event) => self.exchange("hello", event),
            BehaviourEvent::Headers(event) => self.exchange("headers", event),
            BehaviourEvent::Blocks(event) => self.exchange("blocks", event),
            BehaviourEvent::Blocktxn(event) => self.exchange("blocktxn", event),
            BehaviourEvent::Mempool(event) => self.exchange("mempool", event),
            BehaviourEvent::Addr(event) => self.exchange("addr", event),
            BehaviourEvent::Gossip(gossipsub::Event::Message {
                propagation_source: from,
                message_id,
                message,
            }) => {
                let acceptance = self.announced(from, &message);
                let gossip = &mut self.swarm.behaviour_mut().gossip;
                gossip.report_message_validation_result(&message_id, &from, acceptance);
            }
            _ => {}
        }
    }

    fn exchange(&mut self, name: &str, event: Event<Vec<u8>, Vec<u8>>) {
        match event {
            Event::Message { peer, message: Message::Request { request, channel, .. }, .. } => {
                let response = self.serve(name, peer, &request);
                self.progress.lock().unwrap().requests_served += 1;
                self.respond(name, channel, response);
            }
            Event::Message { peer, message: Message::Response { response, .. }, .. } => {
                let success = response.split_first().filter(|(code, _)| **code == OK);
                let is_expected = match (name, success) {
                    ("hello", Some((_, body))) => self.receive_status(peer, body),
                    ("headers", Some((_, body))) => self.receive_headers(peer, body),
                    ("blocks", Some((_, body))) => self.receive_blocks(peer, body),
                    _ => None,
                };
                if is_expected.is_none() {
                    self.fail(peer, format!("{name}: {:02x?}", response.get(..16)));
                }
            }
            Event::OutboundFailure { peer, error, .. } => {
                self.fail(peer, format!("{name}: {error}"));
            }
            Event::InboundFailure { .. } | Event::ResponseSent { .. } => {}
        }
    }

    fn fail(&mut self, peer: PeerId, failure: String) {
        self.progress.lock().unwrap().failures.push(failure);
        if let Some(peer) = self.peers.get_mut(&peer) {
            (peer.is_busy, peer.missing) = (false, VecDeque::new());
        }
    }

    fn respond(&mut self, name: &str, channel: ResponseChannel<Vec<u8>>, response: Vec<u8>) {
        let behaviour = self.swarm.behaviour_mut();
        let exchange = match name {
            "hello" => &mut behaviour.hello,
            "headers" => &mut behaviour.headers,
            "blocks" => &mut behaviour.blocks,
            "blocktxn" => &mut behaviour.blocktxn,
            "mempool" => &mut behaviour.mempool,
            _ => &mut behaviour.addr,
        };
        // The peer may have disconnected.
        let _ = exchange.send_response(channel, response);
    }

    pub fn status(&self) -> Status {
        Status {
            min_version: VERSION,
            max_version: VERSION,
            features: FEATURES,
            genesis: self.chain.genesis,
            tip: self.chain.tip(),
            height: u32::try_from(self.chain.height()).unwrap(),
            chain_work: self.chain.work(),
            relay: true,
            clock: SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs(),
            nonce: self.nonce,
        }
    }

    fn send_hello(&mut self, to: PeerId) -> OutboundRequestId {
        let status = self.status();
        if let Some(peer) = self.peers.get_mut(&to) {
            (peer.status_sent, peer.tip_sent) = (Instant::now(), status.tip);
        }
        self.swarm.behaviour_mut().hello.send_request(&to, status.encode())
    }

    /// Repeats the handshake every 30 seconds, and when the tip has changed.
    fn send_statuses(&mut self) {
        let tip = self.chain.tip();
        let is_due = |peer: &Peer| {
            let age = peer.status_sent.elapsed();
            age >= STATUS_INTERVAL || (peer.tip_sent != tip && age >= MIN_STATUS_INTERVAL)
        };
        let shaken = self.peers.iter().filter(|(_, peer)| peer.status.is_some() && is_due(peer));
        let due: Vec<PeerId> = shaken.map(|(id, _)| *id).collect();
        for peer in due {
            self.send_hello(peer);
        }
    }

    fn receive_status(&mut self, from: PeerId, body: &[u8]) -> Option<()> {
        let status = Status::decode(body)?;
        let is_better = compare(&status.chain_work, &self.chain.work()).is_gt();
        self.peers.get_mut(&from)?.status = Some(status);
        if is_better {
            self.request_headers(from);
        }
        Some(())
    }

    fn request_headers(&mut self, from: PeerId) {
        let Some(peer) = self.peers.get_mut(&from).filter(|peer| !peer.is_busy) else { return };
        peer.is_busy = true;
        let mut request = list(&self.chain.locator());
        request.extend([0; 32]);
        request.extend(2_000_u16.to_le_bytes());
        self.swarm.behaviour_mut().headers.send_request(&from, request);
    }

    fn receive_headers(&mut self, from: PeerId, body: &[u8]) -> Option<()> {
        let mut reader = Reader(body);
        let headers: Vec<Header> = reader.list(80, Reader::array)?;
        let headers = reader.finish(headers)?;
        let peer = self.peers.get_mut(&from)?;
        peer.is_busy = false;
        if self.chain.is_better(&headers) {
            peer.missing = headers.iter().map(header_hash).collect();
            self.request_blocks(from);
        }
        Some(())
    }

    fn request_blocks(&mut self, from: PeerId) {
        let Some(peer) = self.peers.get_mut(&from).filter(|peer| !peer.is_busy) else { return };
        let hashes: Vec<Hash> = peer.missing.iter().take(64).copied().collect();
        if hashes.is_empty() {
            // There may be more headers.
            let work = peer.status.as_ref().map(|status| status.chain_work);
            if work.is_some_and(|work| compare(&work, &self.chain.work()).is_gt()) {
                self.request_headers(from);
            }
            return;
        }
        peer.is_busy = true;
        self.swarm.behaviour_mut().blocks.send_request(&from, list(&hashes));
    }

    fn receive_blocks(&mut self, from: PeerId, body: &[u8]) -> Option<()> {
        let mut reader = Reader(body);
        let blocks = reader.list(1, |reader| match reader.u8()? {
            0 => Some(None),
            _ => {
                let length = reader.u32()? as usize;
                Some(Some(reader.bytes(length)?.to_vec()))
            }
        })?;
        let blocks = reader.finish(blocks)?;
        let peer = self.peers.get_mut(&from)?;
        peer.is_busy = false;
        for block in blocks {
            let (expected, block) = (peer.missing.pop_front()?, block?);
            let header: &Header = block.first_chunk()?;
            if header_hash(header) != expected {
                return None;
            }
            if self.chain.height_of(&expected).is_none() && !self.chain.add(block) {
                return None;
            }
        }
        self.request_blocks(from);
        Some(())
    }

    /// The response to a request, with its status byte.
    fn serve(&mut self, name: &str, from: PeerId, request: &[u8]) -> Vec<u8> {
        let response = match name {
            "hello" => return self.serve_hello(from, request),
            "headers" => self.serve_headers(request),
            "blocks" => self.serve_blocks(request),
            "blocktxn" => self.serve_transactions(request),
            "mempool" => self.serve_mempool(request),
            // This client has no addresses to pass on.
            _ => Some(vec![OK, 0, 0, 0, 0]),
        };
        response.unwrap_or_else(|| vec![BAD_REQUEST])
    }

    fn serve_hello(&mut self, from: PeerId, request: &[u8]) -> Vec<u8> {
        let own = self.status();
        let Some(status) = Status::decode(request) else { return vec![BAD_REQUEST] };
        let is_compatible = (status.min_version..=status.max_version).contains(&VERSION)
            && status.features & 0x5555_5555_5555_5555 == 0;
        if !is_compatible || status.genesis != own.genesis {
            return [&[INCOMPATIBLE_VERSION][..], &own.encode()[..12]].concat();
        }
        if self.receive_status(from, request).is_none() {
            return vec![BAD_REQUEST];
        }
        [&[OK][..], &own.encode()].concat()
    }

    fn serve_headers(&self, request: &[u8]) -> Option<Vec<u8>> {
        let mut reader = Reader(request);
        let locator: Vec<Hash> = reader.list(32, Reader::array)?;
        let (stop, max) = (reader.array()?, reader.u16()?);
        let headers = self.chain.headers_after(&reader.finish(locator)?, &stop, max.into());
        Some([&[OK][..], &list(&headers)].concat())
    }

    fn serve_blocks(&self, request: &[u8]) -> Option<Vec<u8>> {
        let mut reader = Reader(request);
        let hashes: Vec<Hash> = reader.list(32, Reader::array)?;
        let mut blocks = Vec::new();
        let mut bytes = 0;
        for hash in reader.finish(hashes)? {
            let entry = self.chain.block(&hash).map_or(vec![0], |block| {
                let length = u32::try_from(block.len()).unwrap().to_le_bytes();
                [&[1][..], &length, block].concat()
            });
            bytes += entry.len();
            blocks.push(entry);
            if bytes >= 1 << 20 {
                break;
            }
        }
        Some([&[OK][..], &list(&blocks)].concat())
    }

    fn serve_transactions(&self, request: &[u8]) -> Option<Vec<u8>> {
        let mut reader = Reader(request);
        let hash = reader.array()?;
        let positions = reader.list(4, Reader::u32)?;
        let positions = reader.finish(positions)?;
        let Some(block) = self.chain.block(&hash) else { return Some(vec![NOT_FOUND]) };
        let (_, transactions) = split_block(block)?;
        let wanted = positions.iter().map(|at| transactions.get(*at as usize).copied());
        let wanted: Vec<&[u8]> = wanted.collect::<Option<_>>()?;
        Some([&[OK][..], &list(&wanted)].concat())
    }

    fn serve_mempool(&self, request: &[u8]) -> Option<Vec<u8>> {
        let mut reader = Reader(request);
        if reader.u8()? == 0 {
            let from = usize::try_from(reader.u64()?).ok()?.min(self.mempool.len());
            let ids: Vec<Hash> = self.mempool[from..].iter().take(4_000).map(|it| it.0).collect();
            let next = u64::try_from(from + ids.len()).unwrap().to_le_bytes();
            return reader.finish([&[OK, 0][..], &next, &list(&ids)].concat());
        }
        let ids: Vec<Hash> = reader.list(32, Reader::array)?;
        let ids = reader.finish(ids)?;
        let find = |id: &Hash| self.mempool.iter().find(|(known, _)| known == id);
        let found: Vec<&[u8]> = ids.iter().filter_map(find).map(|(_, it)| &**it).collect();
        Some([&[OK, 1][..], &list(&found)].concat())
    }

    /// Whether an announcement is forwarded.
    fn announced(&mut self, from: PeerId, message: &gossipsub::Message) -> MessageAcceptance {
        let is_block = message.topic == blocks_topic(&self.chain.genesis).hash();
        let accepted = if is_block {
            self.block_announced(from, &message.data)
        } else {
            self.transfer_announced(&message.data)
        };
        let mut progress = self.progress.lock().unwrap();
        match accepted {
            Some(true) if is_block => progress.blocks_relayed += 1,
            Some(true) => progress.transfers_relayed += 1,
            Some(false) => return MessageAcceptance::Ignore,
            None => return MessageAcceptance::Reject,
        }
        MessageAcceptance::Accept
    }

    fn block_announced(&mut self, from: PeerId, data: &[u8]) -> Option<bool> {
        let (kind, data) = data.split_first()?;
        let header: &Header = data.first_chunk()?;
        if !has_work(header) {
            return None;
        }
        if previous(header) != self.chain.tip() {
            self.request_headers(from);
            return Some(false);
        }
        if *kind == 0 {
            if !block_is_plausible(data) {
                return None;
            }
            self.chain.add(data.to_vec());
            let (_, transactions) = split_block(data)?;
            let ids: Vec<Hash> = transactions.into_iter().map(transaction_id).collect();
            self.mempool.retain(|(id, _)| !ids.contains(id));
            return Some(true);
        }
        // A compact block: the whole one is requested. Only who has it may forward it.
        self.request_headers(from);
        Some(false)
    }

    fn transfer_announced(&mut self, data: &[u8]) -> Option<bool> {
        let mut reader = Reader(data);
        reader.u32()?;
        let mut transfer = Reader(reader.0);
        split_transaction(&mut transfer)?;
        let transfer = transfer.finish(reader.0)?;
        if !transfer_is_signed(transfer, &self.chain.genesis) {
            return None;
        }
        let id = transaction_id(transfer);
        if self.mempool.iter().all(|(known, _)| *known != id) {
            self.mempool.push((id, transfer.to_vec()));
        }
        Some(true)
    }
}
