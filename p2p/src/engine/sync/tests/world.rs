//! A sync machine with its chain and writer, and peers that respond in virtual time.

use crate::engine::context::{Context, Peers};
use crate::engine::sync::{Limits, Sync};
use crate::engine::{
    BlockValidation, Failure, Input, Misbehavior, Now, Output, Progress, RequestId,
};
use crate::message::{Capabilities, MAX_HEADERS, Request, Response, SOFT_BLOCKS_BYTES, Status};
use crate::testing::mock_chain::MockChain;
use crate::view::ChainView;
use chain::Params;
use chain::block::{self, Block, Header, Height, Timestamp};
use chain::pow::Work;
use libp2p::PeerId;
use libp2p::identity::Keypair;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The wall-clock time at the start, long after all blocks of these tests.
pub(super) const START: u32 = 1_800_000_000;
const TICK: Duration = Duration::from_millis(250);

pub(super) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(super) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The id of the peer with a number.
pub(super) fn peer(number: u8) -> PeerId {
    let mut secret = [number; 32];
    Keypair::ed25519_from_bytes(&mut secret).unwrap().public().to_peer_id()
}

/// The answer of a peer to a request.
pub(super) enum Answer {
    /// The honest response.
    Honest,
    /// A certain result.
    This(Result<Response, Failure>),
    /// No response.
    Never,
}

type Manner = Box<dyn FnMut(&Request, &MockChain) -> Answer>;

/// A simulated peer.
pub(super) struct Remote {
    pub(super) chain: MockChain,
    pub(super) latency: Duration,
    pub(super) manner: Manner,
    /// The number of blocks requested from it.
    pub(super) blocks_asked: usize,
    pub(super) headers_asked: usize,
    /// The requests for blocks in flight: their number now, and at most.
    pub(super) in_flight: (usize, usize),
}

/// An event of the machine.
pub(super) enum Event {
    Input(Input),
    HeaderAnnounced(PeerId, Header),
}

impl From<Input> for Event {
    fn from(input: Input) -> Event {
        Event::Input(input)
    }
}

/// A sync machine and its environment.
pub(super) struct World {
    pub(super) sync: Sync,
    pub(super) chain: MockChain,
    pub(super) now: Duration,
    pub(super) remotes: BTreeMap<PeerId, Remote>,
    events: BTreeMap<(Duration, u64), Event>,
    next_event: u64,
    importing: VecDeque<Arc<Block>>,
    is_importing: bool,
    /// The most blocks that were at the writer at a time.
    pub(super) most_importing: usize,
    /// The work of the branches of the imported blocks.
    pub(super) claims: Vec<Work>,
    /// The time to validate a block.
    pub(super) import_time: Duration,
    /// Results that replace the next validations.
    pub(super) validations: VecDeque<BlockValidation>,
    pub(super) reports: Vec<(PeerId, Misbehavior)>,
    pub(super) disconnected: Vec<(PeerId, &'static str)>,
    pub(super) progress: Vec<(Duration, Progress)>,
    /// All outputs of the machine as text.
    pub(super) trace: Vec<String>,
    /// The real time that the machine has used.
    pub(super) spent: Duration,
    /// The requests for blocks: time, peer and hashes.
    pub(super) asked: Vec<(Duration, PeerId, Vec<block::Hash>)>,
}

/// The status of a peer with a chain.
pub(super) fn status(chain: &MockChain) -> Status {
    let tip = chain.tip();
    Status {
        capabilities: Capabilities::LOCAL,
        genesis: chain.params().genesis_hash(),
        tip: tip.hash,
        height: tip.height,
        chain_work: tip.chain_work,
        relay: true,
        clock: START.into(),
        nonce: 0,
    }
}

/// The response of an honest peer.
pub(super) fn serve(request: &Request, chain: &MockChain) -> Response {
    match request {
        Request::Headers { locator, max, .. } => {
            let known = |hash: &block::Hash| chain.find(hash).filter(|known| known.is_best);
            let common = locator.iter().find_map(known);
            let from = common.map_or(Height::new(1), |known| known.tip.height.next().unwrap());
            Response::Headers(chain.headers(from, usize::from(*max).min(MAX_HEADERS)))
        }
        Request::Blocks { hashes } => {
            let mut bytes = 0;
            let mut blocks = Vec::new();
            for hash in hashes {
                let block = chain.block(hash);
                bytes += block.as_ref().map_or(0, |block| block.len());
                if bytes > SOFT_BLOCKS_BYTES && !blocks.is_empty() {
                    break;
                }
                blocks.push(block);
            }
            Response::Blocks(blocks)
        }
        _ => panic!("not a request of sync: {request:?}"),
    }
}

impl World {
    /// Returns an environment with the genesis block of `dev`.
    pub(super) fn new() -> World {
        World::with(MockChain::dev(), Limits::default())
    }

    pub(super) fn with(chain: MockChain, limits: Limits) -> World {
        World {
            sync: Sync::new(7, limits),
            chain,
            now: Duration::ZERO,
            remotes: BTreeMap::new(),
            events: BTreeMap::new(),
            next_event: 0,
            importing: VecDeque::new(),
            is_importing: false,
            most_importing: 0,
            claims: Vec::new(),
            import_time: Duration::from_micros(50),
            validations: VecDeque::new(),
            reports: Vec::new(),
            disconnected: Vec::new(),
            progress: Vec::new(),
            trace: Vec::new(),
            spent: Duration::ZERO,
            asked: Vec::new(),
        }
    }

    pub(super) fn clock(&self) -> Timestamp {
        Timestamp::new(START).saturating_add(u32::try_from(self.now.as_secs()).unwrap())
    }

    /// Connects an honest outbound peer.
    pub(super) fn join(&mut self, id: PeerId, chain: &MockChain) -> &mut Remote {
        self.join_in_manner(id, chain, |_, _| Answer::Honest)
    }

    /// Connects a peer with a certain behavior.
    pub(super) fn join_in_manner(
        &mut self,
        id: PeerId,
        chain: &MockChain,
        manner: impl FnMut(&Request, &MockChain) -> Answer + 'static,
    ) -> &mut Remote {
        self.join_claiming(id, chain, status(chain), manner)
    }

    /// Connects a peer with a certain behavior and status.
    pub(super) fn join_claiming(
        &mut self,
        id: PeerId,
        chain: &MockChain,
        status: Status,
        manner: impl FnMut(&Request, &MockChain) -> Answer + 'static,
    ) -> &mut Remote {
        let remote = Remote {
            chain: chain.clone(),
            latency: millis(20),
            manner: Box::new(manner),
            blocks_asked: 0,
            headers_asked: 0,
            in_flight: (0, 0),
        };
        self.remotes.insert(id, remote);
        self.at(Duration::ZERO, Input::PeerConnected { peer: id, outbound: true, status });
        self.remotes.get_mut(&id).unwrap()
    }

    pub(super) fn remote(&mut self, id: PeerId) -> &mut Remote {
        self.remotes.get_mut(&id).unwrap()
    }

    /// Disconnects a peer.
    pub(super) fn leave(&mut self, id: PeerId) {
        self.remotes.remove(&id);
        self.at(Duration::ZERO, Input::PeerDisconnected { peer: id });
    }

    /// Schedules an event.
    pub(super) fn at(&mut self, wait: Duration, event: impl Into<Event>) {
        self.next_event += 1;
        self.events.insert((self.now + wait, self.next_event), event.into());
    }

    /// Updates the chain and the status of a peer.
    pub(super) fn update(&mut self, id: PeerId, chain: &MockChain) {
        self.remote(id).chain = chain.clone();
        self.at(Duration::ZERO, Input::PeerStatus { peer: id, status: status(chain) });
    }

    pub(super) fn announce(&mut self, id: PeerId, header: Header) {
        self.at(Duration::ZERO, Event::HeaderAnnounced(id, header));
    }

    /// Processes an event and the outputs it causes.
    pub(super) fn handle(&mut self, event: impl Into<Event>) {
        let now = Now { elapsed: self.now, clock: self.clock() };
        let (peers, mut rng) = (Peers::new(), Xoshiro256PlusPlus::seed_from_u64(0));
        let shared = (&peers, &BTreeSet::new());
        let is_synced = self.sync.is_synced();
        let mut cx = Context::new(now, &self.chain, shared, is_synced, &mut rng);
        let begin = Instant::now();
        match event.into() {
            Event::Input(input) => self.sync.handle(&mut cx, input),
            Event::HeaderAnnounced(peer, header) => {
                self.sync.header_announced(&mut cx, peer, &header);
            }
        }
        self.spent += begin.elapsed();
        for output in cx.out {
            self.trace.push(format!("{:?} {}", self.now, brief(&output)));
            self.perform(output);
        }
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Request { id, peer, request } => {
                self.ask(id, peer, &request);
            }
            Output::ImportBlock(submission) => {
                self.claims.push(submission.branch_work);
                self.importing.push_back(submission.block);
                self.most_importing = self.most_importing.max(self.importing.len());
                self.begin_import();
            }
            Output::ReportPeer { peer, misbehavior } => self.reports.push((peer, misbehavior)),
            Output::Disconnect { peer, reason } => {
                self.disconnected.push((peer, reason));
                self.leave(peer);
            }
            Output::Progress(progress) => self.progress.push((self.now, progress)),
            other => panic!("not an output of sync: {other:?}"),
        }
    }

    fn ask(&mut self, request: RequestId, id: PeerId, what: &Request) {
        if let Request::Blocks { hashes } = what {
            self.asked.push((self.now, id, hashes.clone()));
        }
        let Some(remote) = self.remotes.get_mut(&id) else {
            let result = Err(Failure::Disconnected);
            return self.at(Duration::ZERO, Input::Response { id: request, result });
        };
        match what {
            Request::Blocks { hashes } => {
                remote.blocks_asked += hashes.len();
                remote.in_flight.0 += 1;
                remote.in_flight.1 = remote.in_flight.1.max(remote.in_flight.0);
            }
            _ => remote.headers_asked += 1,
        }
        let timeout = what.protocol().limits().timeout;
        let (wait, result) = match (remote.manner)(what, &remote.chain) {
            Answer::Honest => (remote.latency, Ok(serve(what, &remote.chain))),
            Answer::This(result) => (remote.latency, result),
            Answer::Never => (timeout, Err(Failure::Timeout)),
        };
        self.at(wait, Input::Response { id: request, result });
    }

    fn begin_import(&mut self) {
        if self.is_importing {
            return;
        }
        let Some(block) = self.importing.front().cloned() else { return };
        self.is_importing = true;
        let clock = self.clock();
        let tip = self.chain.tip();
        let validation =
            self.validations.pop_front().unwrap_or_else(|| self.chain.insert(&block, clock));
        let hash = block.hash();
        self.at(self.import_time, Input::BlockValidated { hash, validation });
        if self.chain.tip() != tip {
            self.at(self.import_time, Input::TipChanged);
        }
    }

    /// Advances time until a condition holds. Returns whether it does in time.
    #[must_use]
    pub(super) fn until(&mut self, long: Duration, done: impl Fn(&World) -> bool) -> bool {
        let end = self.now + long;
        let mut tick = self.now;
        while !done(self) {
            let next = self.events.first_key_value().map(|(at, _)| *at);
            if next.is_none_or(|(at, _)| at > tick) {
                if tick > end {
                    return false;
                }
                self.now = tick;
                tick += TICK;
                self.handle(Input::Tick);
                continue;
            }
            let Some(((at, _), event)) = self.events.pop_first() else { continue };
            self.now = at;
            let validated = matches!(event, Event::Input(Input::BlockValidated { .. }));
            if let Event::Input(Input::Response { id: RequestId::Blocks(request), .. }) = &event
                && let Some(peer) = self.sync.bodies.requested_peer(*request)
                && let Some(remote) = self.remotes.get_mut(&peer)
            {
                remote.in_flight.0 -= 1;
            }
            if validated {
                self.importing.pop_front();
                self.is_importing = false;
            }
            self.handle(event);
            self.begin_import();
        }
        true
    }

    /// Advances time.
    pub(super) fn pass(&mut self, long: Duration) {
        assert!(!self.until(long, |_| false));
    }

    /// Advances time until the tip is that of a chain.
    #[track_caller]
    pub(super) fn reach(&mut self, chain: &MockChain, long: Duration) {
        let goal = chain.tip().hash;
        let reached = self.until(long, |world| world.chain.tip().hash == goal);
        let height = self.chain.tip().height;
        assert!(reached, "at {height} of {}: {:?}", chain.tip().height, last(&self.trace));
    }

    /// The reports of bad behavior.
    pub(super) fn blamed(&self) -> Vec<(PeerId, Misbehavior)> {
        let bad =
            |(_, misbehavior): &&(PeerId, Misbehavior)| *misbehavior != Misbehavior::Delivered;
        self.reports.iter().filter(bad).copied().collect()
    }
}

fn last(trace: &[String]) -> &[String] {
    &trace[trace.len().saturating_sub(12)..]
}

fn brief(output: &Output) -> String {
    match output {
        Output::ImportBlock(submission) => format!("import {}", submission.block.hash()),
        Output::Request { id, peer, request: Request::Blocks { hashes } } => {
            format!("request {id:?} {peer} for {} blocks from {}", hashes.len(), hashes[0])
        }
        Output::Request { id, peer, request: Request::Headers { locator, .. } } => {
            format!("request {id:?} {peer} for headers after {}", locator[0])
        }
        other => format!("{other:?}"),
    }
}

/// A chain of `dev` with a number of blocks.
pub(super) fn chain_of(blocks: usize, salt: u64) -> MockChain {
    let mut chain = MockChain::dev();
    chain.grow(blocks, salt);
    chain
}

/// A chain of `dev` with a number of blocks in common with another one, then others.
pub(super) fn fork_of(other: &MockChain, common: usize, blocks: usize, salt: u64) -> MockChain {
    let mut chain = MockChain::new(Params::clone(other.params()));
    for height in 1..=common {
        let hash = other.at(Height::new(u32::try_from(height).unwrap())).unwrap();
        let block = Block::decode(&other.block(&hash).unwrap()).unwrap();
        chain.insert(&Arc::new(block), Timestamp::new(START));
    }
    chain.grow(blocks, salt);
    chain
}

/// More work than any chain has.
pub(super) fn much_work() -> Work {
    let mut bytes = [0; 32];
    bytes[20] = 1;
    Work::from_le_bytes(bytes)
}

/// The default limits.
pub(super) fn limits() -> Limits {
    Limits::default()
}
