//! The simulated network: the queue of events, and how each is processed.

use super::link::{Faults, Link};
use super::node::{self, Character, Message, Node};
use crate::engine::{
    AnnouncementId, BlockValidation, Failure, Input, Misbehavior, Output, RequestId,
    TransferValidation,
};
use crate::message::{Announcement, Request, Response, Status};
use crate::testing::mock_chain::{MockChain, transfer, transfer_of};
use crate::view::ChainView;
use chain::Params;
use chain::block::{self, Block};
use chain::tx::{Id, Memo, Transfer};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// The time between two ticks of a node.
const TICK: Duration = Duration::from_millis(250);
/// The mean number of ticks after which a node that changes its id does so: ten seconds.
const TICKS_PER_ID: usize = 40;
/// Most transfers in a mined block.
const MAX_MINED: usize = 400;

/// A scheduled event.
pub(super) enum Event {
    Tick,
    /// The dialing node of a link connects again.
    Dial(usize),
    Status {
        link: usize,
        epoch: u32,
        status: Status,
    },
    Gossip {
        link: usize,
        epoch: u32,
        message: Message,
    },
    Request {
        link: usize,
        epoch: u32,
        request: RequestId,
        at: Duration,
        what: Request,
    },
    Response {
        link: Option<(usize, u32)>,
        request: RequestId,
        result: Result<Response, Failure>,
    },
    Block(Arc<Block>),
    Transfer(Arc<Transfer>),
    BlockValidated(block::Hash, BlockValidation),
    TransferValidated(Id, TransferValidation),
    TipChanged,
    TransfersAccepted(Vec<Id>),
    Start,
}

/// An event of a node. Events of an earlier run of the node are lost.
struct Scheduled {
    node: usize,
    run: u32,
    event: Event,
}

/// A simulated network.
pub(super) struct World {
    pub(super) now: Duration,
    pub(super) rng: Xoshiro256PlusPlus,
    pub(super) nodes: Vec<Node>,
    pub(super) links: Vec<Link>,
    pub(super) faults: Faults,
    /// Nodes with lower numbers cannot reach the others.
    pub(super) divide: Option<usize>,
    /// The time to validate a block in milliseconds.
    pub(super) import_time: Range<u64>,
    /// The reports: reporting node, reported node, misbehavior.
    pub(super) reports: Vec<(usize, usize, Misbehavior)>,
    /// Bytes sent for announced blocks, bodies and transactions of blocks.
    pub(super) block_bytes: usize,
    /// The kinds of messages sent.
    pub(super) kinds: BTreeSet<&'static str>,
    queue: BTreeMap<(Duration, u64), Box<Scheduled>>,
    scheduled: u64,
    /// A hash of all events, to compare two runs.
    trace: DefaultHasher,
    /// All transfers ever submitted.
    transfers: BTreeSet<Id>,
    salt: u64,
}

impl World {
    pub(super) fn new(seed: u64, nodes: usize, params: &Params) -> World {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let chain = MockChain::new(params.clone());
        let nodes = (0..nodes).map(|number| Node::new(number, rng.random(), chain.clone()));
        let mut world = World {
            now: Duration::ZERO,
            nodes: nodes.collect(),
            rng,
            links: Vec::new(),
            faults: Faults::NONE,
            divide: None,
            import_time: 5..30,
            reports: Vec::new(),
            block_bytes: 0,
            kinds: BTreeSet::new(),
            queue: BTreeMap::new(),
            scheduled: 0,
            trace: DefaultHasher::new(),
            transfers: BTreeSet::new(),
            salt: 0,
        };
        for node in 0..world.nodes.len() {
            let first = world.rng.random_range(Duration::ZERO..TICK);
            world.schedule(node, first, Event::Tick);
        }
        world
    }

    /// Schedules an event of a node.
    pub(super) fn schedule(&mut self, node: usize, after: Duration, event: Event) {
        let run = self.nodes[node].run;
        self.scheduled += 1;
        let key = (self.now + after, self.scheduled);
        self.queue.insert(key, Box::new(Scheduled { node, run, event }));
    }

    /// Processes the events of a period.
    pub(super) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(next) = self.queue.first_entry().filter(|next| next.key().0 <= end) {
            self.now = next.key().0;
            let Scheduled { node, run, event } = *next.remove();
            if self.nodes[node].run == run || matches!(event, Event::Dial(_)) {
                self.process(node, event);
            }
        }
        self.now = end;
    }

    fn process(&mut self, node: usize, event: Event) {
        match event {
            Event::Tick => {
                self.schedule(node, TICK, Event::Tick);
                self.nothing_waits_too_long(node);
                let changes_id =
                    matches!(self.nodes[node].character, Character::Bodiless | Character::Evasive);
                if changes_id && self.pick(TICKS_PER_ID) == 0 {
                    self.change_id(node);
                }
                self.send_status(node);
                self.input(node, Input::Tick);
            }
            Event::Dial(link) => self.dial(link),
            Event::Status { link, epoch, status } => {
                if let Some(peer) = self.other_end(node, (link, epoch)) {
                    self.input(node, Input::PeerStatus { peer, status });
                }
            }
            Event::Gossip { link, epoch, message } => {
                self.receive_gossip(node, (link, epoch), message);
            }
            Event::Request { link, epoch, request, at, what } => {
                self.answer(node, (link, epoch), (request, at), &what);
            }
            Event::Response { link, request, result } => {
                let is_there = link.is_none_or(|link| self.other_end(node, link).is_some());
                let result = if is_there { result } else { Err(Failure::Disconnected) };
                self.input(node, Input::Response { id: request, result });
            }
            Event::Block(block) => self.write_block(node, &block),
            Event::Transfer(transfer) => self.write_transfer(node, &transfer),
            Event::BlockValidated(hash, validation) => {
                self.input(node, Input::BlockValidated { hash, validation });
            }
            Event::TransferValidated(id, validation) => {
                self.input(node, Input::TransferValidated { id, validation });
            }
            Event::TipChanged => self.input(node, Input::TipChanged),
            Event::TransfersAccepted(ids) => self.input(node, Input::TransfersAccepted(ids)),
            Event::Start => self.start(node),
        }
    }

    /// Validates a block. The result and the change of the tip may arrive in either order.
    fn write_block(&mut self, node: usize, block: &Arc<Block>) {
        let (validation, is_new_tip, returned) = self.nodes[node].insert(block, self.now);
        let validated = Event::BlockValidated(block.hash(), validation);
        let mut follow = vec![validated];
        if is_new_tip {
            follow.push(Event::TipChanged);
        }
        if !returned.is_empty() {
            follow.push(Event::TransfersAccepted(returned));
        }
        for event in follow {
            let after = self.rng.random_range(0..3);
            self.schedule(node, Duration::from_millis(after), event);
        }
    }

    fn write_transfer(&mut self, node: usize, transfer: &Arc<Transfer>) {
        let validation = self.nodes[node].submit(transfer);
        let mut follow = vec![Event::TransferValidated(transfer.id(), validation)];
        if validation == TransferValidation::Added {
            follow.push(Event::TransfersAccepted(vec![transfer.id()]));
        }
        for event in follow {
            let after = self.rng.random_range(0..3);
            self.schedule(node, Duration::from_millis(after), event);
        }
    }

    /// Passes an input to an engine and processes its outputs.
    pub(super) fn input(&mut self, node: usize, input: Input) {
        self.note(node, kind(&input));
        let now = self.nodes[node].now(self.now);
        let Node { engine, chain, is_up, .. } = &mut self.nodes[node];
        if *is_up {
            for output in engine.handle(now, input, chain) {
                self.output(node, output);
            }
        }
    }

    fn output(&mut self, node: usize, output: Output) {
        match output {
            Output::Request { id, peer, request } => self.ask(node, (id, peer), request),
            Output::ImportBlock(submission) => {
                let duration = self.rng.random_range(self.import_time.clone());
                self.write(node, Duration::from_millis(duration), Event::Block(submission.block));
            }
            Output::ImportTransfer(transfer) => {
                self.write(node, Duration::from_micros(100), Event::Transfer(transfer));
            }
            Output::Announce(announcement) => self.publish(node, announcement),
            Output::ReportValidation { id, acceptance } => {
                self.report_validation(node, id, acceptance);
            }
            Output::ReportPeer { peer, misbehavior } => {
                self.reports.push((node, node::number(&peer), misbehavior));
            }
            Output::Disconnect { peer, .. } => self.disconnect(node, &peer),
            Output::Progress(_) => self.nodes[node].has_new_status = true,
        }
    }

    /// Queues a task of the writer, which processes one after the other.
    fn write(&mut self, node: usize, duration: Duration, event: Event) {
        let begin = self.nodes[node].busy_until.max(self.now);
        self.nodes[node].busy_until = begin + duration;
        self.schedule(node, begin + duration - self.now, event);
    }

    /// Mines a block from a node's mempool.
    pub(super) fn mine(&mut self, node: usize) -> block::Hash {
        self.mine_up_to(node, MAX_MINED)
    }

    /// Mines a block with at most a number of transfers.
    pub(super) fn mine_up_to(&mut self, node: usize, transfers: usize) -> block::Hash {
        let block = self.candidate(node, transfers);
        let (validation, is_new_tip, _) = self.nodes[node].insert(&block, self.now);
        assert!(matches!(validation, BlockValidation::Accepted(_)) && is_new_tip, "{validation:?}");
        self.input(node, Input::TipChanged);
        block.hash()
    }

    /// Mines a number of blocks at once: the node learns of the last one only.
    pub(super) fn mine_burst(&mut self, node: usize, blocks: usize) {
        for _ in 0..blocks {
            let block = self.candidate(node, MAX_MINED);
            self.nodes[node].insert(&block, self.now);
        }
        self.input(node, Input::TipChanged);
    }

    /// Mines a block that is invalid for all other nodes.
    pub(super) fn mine_invalid(&mut self, node: usize) -> block::Hash {
        let block = self.candidate(node, MAX_MINED);
        for other in &mut self.nodes {
            if other.id != node::peer(node) {
                other.chain.spoil(block.hash());
            }
        }
        self.nodes[node].insert(&block, self.now);
        self.input(node, Input::TipChanged);
        block.hash()
    }

    fn candidate(&mut self, node: usize, transfers: usize) -> Arc<Block> {
        self.salt += 1;
        let chain = &self.nodes[node].chain;
        let transfers: Vec<_> = chain.pool.transfers().take(transfers).cloned().collect();
        chain.mine(&transfers, node::clock(self.now), self.salt)
    }

    /// Returns whether all transfers are in the chains of all honest nodes.
    pub(super) fn all_mined(&self) -> bool {
        let mined = |node: &Node| self.transfers.iter().all(|id| node.chain.is_confirmed(id));
        self.honest().all(mined)
    }

    /// Submits a number of transfers with long memos to a node.
    pub(super) fn pay(&mut self, node: usize, count: usize) {
        let mut ids = Vec::new();
        for _ in 0..count {
            let mut one = Transfer::clone(&transfer(self.transfers.len() as u64));
            one.memo = Memo::new(vec![b'm'; 256]).unwrap();
            let id = one.id();
            assert!(self.transfers.insert(id));
            self.nodes[node].chain.pool.insert(&Arc::new(one));
            ids.push(id);
        }
        self.input(node, Input::TransfersAccepted(ids));
    }

    /// Submits a number of consecutive transfers of one sender to a node.
    pub(super) fn pay_in_a_row(&mut self, node: usize, count: u64) {
        /// Greater than the number of any sender of `pay`.
        const SENDERS: u64 = 1 << 32;
        let sender = SENDERS + self.transfers.len() as u64;
        let row: Vec<_> = (0..count).map(|nonce| transfer_of(sender, nonce)).collect();
        for transfer in &row {
            self.transfers.insert(transfer.id());
            self.nodes[node].chain.pool.insert(transfer);
        }
        self.input(
            node,
            Input::TransfersAccepted(row.iter().map(|transfer| transfer.id()).collect()),
        );
    }

    /// Stops a node and starts it again later.
    pub(super) fn restart(&mut self, node: usize, down: Duration) {
        if self.nodes[node].is_up {
            self.nodes[node].stop();
            self.drop_links(|link| link.joins(node));
            self.schedule(node, down, Event::Start);
        }
    }

    fn start(&mut self, node: usize) {
        let seed = self.rng.random();
        self.nodes[node].start(self.now, seed);
        self.schedule(node, TICK, Event::Tick);
    }

    /// Mines a block every ten seconds until all honest nodes agree.
    pub(super) fn run_until_agreed(&mut self, within: Duration) {
        let end = self.now + within;
        while !self.agrees() {
            assert!(self.now < end, "no agreement: {}", self.summary());
            let node = self.pick(self.nodes.len());
            self.mine(node);
            self.run_for(Duration::from_secs(10));
        }
        assert_eq!(self.lost(), 0, "transfers are lost: {}", self.summary());
    }

    /// Returns whether all honest nodes have the same tip.
    pub(super) fn agrees(&self) -> bool {
        let mut tips = self.honest().map(|node| node.chain.tip());
        let first = tips.next();
        tips.all(|tip| Some(tip) == first)
    }

    fn honest(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.character == Character::Honest)
    }

    /// Returns whether every honest node has every transfer, in its chain or in its mempool.
    pub(super) fn all_spread(&self) -> bool {
        self.transfers.iter().all(|id| self.honest().all(|node| has(node, id)))
    }

    /// The number of transfers that no honest node has.
    pub(super) fn lost(&self) -> usize {
        self.transfers.iter().filter(|id| !self.honest().any(|node| has(node, id))).count()
    }

    /// Ends all faults.
    pub(super) fn end_faults(&mut self) {
        (self.faults, self.divide) = (Faults::NONE, None);
    }

    /// Asserts that honest peers were reported only for failures of links.
    pub(super) fn assert_no_reports(&self) {
        let harmless = |misbehavior| {
            matches!(
                misbehavior,
                Misbehavior::Delivered | Misbehavior::Timeout | Misbehavior::BrokenStream
            )
        };
        let is_honest = |node: usize| self.nodes[node].character == Character::Honest;
        let is_wrong = |(_, of, misbehavior): &&(usize, usize, Misbehavior)| {
            is_honest(*of) && !harmless(*misbehavior)
        };
        assert_eq!(self.reports.iter().find(is_wrong), None, "an honest peer was reported");
    }

    /// The state of all nodes, for failure messages.
    pub(super) fn summary(&self) -> String {
        let line = |node: &Node| {
            let tip = node.chain.tip();
            let progress = node.engine.progress(&node.chain);
            let hash = &tip.hash.to_string()[56..];
            format!("{} {hash} pool {} {progress:?}", tip.height, node.chain.pool.len())
        };
        let lines: Vec<String> = self.nodes.iter().map(line).collect();
        format!("at {:?}, {} lost\n{}", self.now, self.lost(), lines.join("\n"))
    }

    /// The hash of the run.
    pub(super) fn trace(&self) -> u64 {
        self.trace.finish()
    }

    pub(super) fn note(&mut self, node: usize, what: impl Hash) {
        (self.now, node, what).hash(&mut self.trace);
    }
}

fn has(node: &Node, id: &Id) -> bool {
    node.chain.pool.contains(id) || node.chain.is_confirmed(id)
}

/// What distinguishes inputs in the trace.
fn kind(input: &Input) -> (u8, u64) {
    let short = |bytes: &[u8; 32]| u64::from_le_bytes(bytes[..8].try_into().unwrap());
    match input {
        Input::PeerConnected { status, .. } => (0, u64::from(status.height.get())),
        Input::PeerStatus { status, .. } => (1, u64::from(status.height.get())),
        Input::PeerDisconnected { .. } => (2, 0),
        Input::Response { result, .. } => (3, u64::from(result.is_ok())),
        Input::Announcement { id: AnnouncementId(id), announcement, .. } => match announcement {
            Announcement::Block(block) => (4, short(block.hash().as_bytes())),
            Announcement::CompactBlock(block) => (5, short(block.hash().as_bytes())),
            Announcement::Transfer { .. } => (6, *id),
        },
        Input::BlockValidated { hash, .. } => (7, short(hash.as_bytes())),
        Input::TransferValidated { id, .. } => (8, short(id.as_bytes())),
        Input::TipChanged => (9, 0),
        Input::TransfersAccepted(ids) => (10, ids.len() as u64),
        Input::Tick => (11, 0),
        Input::TransfersDue(ids) => (12, ids.len() as u64),
    }
}
