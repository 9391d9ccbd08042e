//! A simulated node: engine, chain, and the state of gossip.

use crate::engine::{AnnouncementId, BlockValidation, Engine, Now, TransferValidation};
use crate::message::{Announcement, Status};
use crate::testing::mock_chain::MockChain;
use crate::view::ChainView;
use chain::block::{self, Block, Height, Timestamp};
use chain::pow::Work;
use chain::tx::{Id, Transfer};
use libp2p::PeerId;
use libp2p::multihash::Multihash;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// The wall-clock time at the start of a simulation.
const BEGIN: u32 = 1_800_000_000;

/// An announcement with a hash of its encoding.
#[derive(Clone)]
pub(super) struct Message {
    pub(super) key: u64,
    pub(super) bytes: usize,
    pub(super) announcement: Announcement,
}

/// An announcement that awaits its validation result.
pub(super) struct Waiting {
    pub(super) message: Message,
    pub(super) from: usize,
    pub(super) since: Duration,
}

/// The behavior of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Character {
    Honest,
    /// Claims many more blocks, and never serves bodies or their transactions.
    Withholding,
    /// Serves headers but never bodies or their transactions, and changes its id now and then.
    Bodiless,
    /// Claims much work, serves neither headers nor bodies, claims another tip with every reply, and
    /// changes its id now and then.
    Evasive,
}

/// A simulated node.
pub(super) struct Node {
    pub(super) id: PeerId,
    /// The number of ids that the node has had before.
    ids: u32,
    pub(super) engine: Engine,
    pub(super) chain: MockChain,
    pub(super) character: Character,
    /// The number of false claims so far.
    pub(super) claims: u8,
    pub(super) is_up: bool,
    /// The number of restarts. Events of an earlier run are lost.
    pub(super) run: u32,
    pub(super) started: Duration,
    /// Messages that gossip does not deliver again.
    pub(super) seen: BTreeSet<u64>,
    pub(super) waiting: BTreeMap<AnnouncementId, Waiting>,
    pub(super) announced: u64,
    /// Whether the status has changed since it was last sent.
    pub(super) has_new_status: bool,
    pub(super) status_sent_at: Duration,
    /// When the writer's queue is empty.
    pub(super) busy_until: Duration,
}

impl Node {
    pub(super) fn new(number: usize, seed: u64, chain: MockChain) -> Node {
        Node {
            id: peer(number),
            ids: 0,
            engine: Engine::new(seed),
            chain,
            character: Character::Honest,
            claims: 0,
            is_up: true,
            run: 0,
            started: Duration::ZERO,
            seen: BTreeSet::new(),
            waiting: BTreeMap::new(),
            announced: 0,
            has_new_status: false,
            status_sent_at: Duration::ZERO,
            busy_until: Duration::ZERO,
        }
    }

    /// Stops the node; its chain and mempool persist.
    pub(super) fn stop(&mut self) {
        self.is_up = false;
        self.run += 1;
        self.seen.clear();
        self.waiting.clear();
    }

    /// Starts the node with a new engine.
    pub(super) fn start(&mut self, now: Duration, seed: u64) {
        self.is_up = true;
        self.engine = Engine::new(seed);
        (self.started, self.busy_until, self.status_sent_at) = (now, now, now);
    }

    pub(super) fn now(&self, now: Duration) -> Now {
        Now { elapsed: now.saturating_sub(self.started), clock: clock(now) }
    }

    /// Gives the node another id.
    pub(super) fn change_id(&mut self) {
        self.ids += 1;
        self.id = id(number(&self.id), self.ids);
    }

    /// The node's status. Some characters claim many more blocks.
    pub(super) fn status(&self, now: Duration) -> Status {
        let mut status = self.engine.status(self.now(now), &self.chain);
        if matches!(self.character, Character::Withholding | Character::Evasive) {
            status.tip = block::Hash::from_bytes([0xee ^ self.claims; 32]);
            status.height = Height::new(status.height.get() + 1_000);
            status.chain_work = Work::from_le_bytes([0x11; 32]);
        }
        status
    }

    /// Validates a block. Returns the result, whether the tip has changed, and the transfers that
    /// returned to the mempool.
    pub(super) fn insert(
        &mut self,
        block: &Arc<Block>,
        now: Duration,
    ) -> (BlockValidation, bool, Vec<Id>) {
        let (tip, pool): (block::Hash, BTreeSet<Id>) =
            (self.chain.tip().hash, self.chain.pool.ids().copied().collect());
        let validation = self.chain.insert(block, clock(now));
        let returned = self.chain.pool.ids().filter(|id| !pool.contains(id)).copied();
        (validation, self.chain.tip().hash != tip, returned.collect())
    }

    /// Validates a transfer.
    pub(super) fn submit(&mut self, transfer: &Arc<Transfer>) -> TransferValidation {
        if self.chain.is_confirmed(&transfer.id()) {
            return TransferValidation::Rejected;
        }
        self.chain.pool.submit(transfer)
    }
}

/// The first id of the node with a number.
pub(super) fn peer(number: usize) -> PeerId {
    id(number, 0)
}

/// An id of the node with a number.
fn id(number: usize, version: u32) -> PeerId {
    let number = u32::try_from(number).unwrap();
    let bytes = [number.to_be_bytes(), version.to_be_bytes()].concat();
    PeerId::from_multihash(Multihash::wrap(0, &bytes).unwrap()).unwrap()
}

/// The number of the node with an id.
pub(super) fn number(peer: &PeerId) -> usize {
    let multihash: &Multihash<64> = peer.as_ref();
    let bytes: [u8; 4] = multihash.digest()[..4].try_into().unwrap();
    usize::try_from(u32::from_be_bytes(bytes)).unwrap()
}

/// The wall-clock time of all nodes.
pub(super) fn clock(now: Duration) -> Timestamp {
    Timestamp::new(BEGIN + u32::try_from(now.as_secs()).unwrap())
}
