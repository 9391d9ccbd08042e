//! A simulated node: engine, chain, and what gossip remembers for it.

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

/// What the wall clock shows when a simulation begins.
const BEGIN: u32 = 1_800_000_000;

/// An announcement as it travels, with what tells its bytes from others.
#[derive(Clone)]
pub(super) struct Message {
    pub(super) key: u64,
    pub(super) bytes: usize,
    pub(super) announcement: Announcement,
}

/// An announcement that waits for a validation result.
pub(super) struct Waiting {
    pub(super) message: Message,
    pub(super) from: usize,
    pub(super) since: Duration,
}

/// How a node behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Character {
    Honest,
    /// Never sends a body, or a transaction of one.
    Withholding,
}

/// A node.
pub(super) struct Node {
    pub(super) id: PeerId,
    pub(super) engine: Engine,
    pub(super) chain: MockChain,
    pub(super) character: Character,
    pub(super) is_up: bool,
    /// Counts up with every restart; what was under way for an earlier one is lost.
    pub(super) run: u32,
    pub(super) started: Duration,
    /// Messages that gossip does not deliver again.
    pub(super) seen: BTreeSet<u64>,
    pub(super) waiting: BTreeMap<AnnouncementId, Waiting>,
    pub(super) announced: u64,
    /// Whether others are to hear of a new tip, and when they last heard of this node.
    pub(super) has_news: bool,
    pub(super) told_at: Duration,
    /// When the chain's writer has done all it was given.
    pub(super) busy_until: Duration,
}

impl Node {
    pub(super) fn new(number: usize, seed: u64, chain: MockChain) -> Node {
        Node {
            id: peer(number),
            engine: Engine::new(seed),
            chain,
            character: Character::Honest,
            is_up: true,
            run: 0,
            started: Duration::ZERO,
            seen: BTreeSet::new(),
            waiting: BTreeMap::new(),
            announced: 0,
            has_news: false,
            told_at: Duration::ZERO,
            busy_until: Duration::ZERO,
        }
    }

    /// Stops the node; its chain and mempool stay.
    pub(super) fn stop(&mut self) {
        self.is_up = false;
        self.run += 1;
        self.seen.clear();
        self.waiting.clear();
    }

    /// Starts it again, with an engine that knows nothing.
    pub(super) fn start(&mut self, now: Duration, seed: u64) {
        self.is_up = true;
        self.engine = Engine::new(seed);
        (self.started, self.busy_until, self.told_at) = (now, now, now);
    }

    pub(super) fn now(&self, now: Duration) -> Now {
        Now { elapsed: now.saturating_sub(self.started), clock: clock(now) }
    }

    /// What it says of itself: a node that withholds its blocks says that it has many more.
    pub(super) fn status(&self, now: Duration) -> Status {
        let mut status = self.engine.status(self.now(now), &self.chain);
        if self.character == Character::Withholding {
            status.tip = block::Hash::from_bytes([0xee; 32]);
            status.height = Height::new(status.height.get() + 1_000);
            status.chain_work = Work::from_le_bytes([0x11; 32]);
        }
        status
    }

    /// What the writer does with a block; whether the tip is another one, and which transfers that
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

    /// What the mempool does with a transfer.
    pub(super) fn take(&mut self, transfer: &Arc<Transfer>) -> TransferValidation {
        if self.chain.is_confirmed(&transfer.id()) {
            return TransferValidation::Refused;
        }
        self.chain.pool.take(transfer)
    }
}

/// The id of a node of this number.
pub(super) fn peer(number: usize) -> PeerId {
    let bytes = u32::try_from(number).unwrap().to_be_bytes();
    PeerId::from_multihash(Multihash::wrap(0, &bytes).unwrap()).unwrap()
}

/// Whose id that is.
pub(super) fn number(peer: &PeerId) -> usize {
    let multihash: &Multihash<64> = peer.as_ref();
    let bytes: [u8; 4] = multihash.digest().try_into().unwrap();
    usize::try_from(u32::from_be_bytes(bytes)).unwrap()
}

/// The wall clock of all nodes.
pub(super) fn clock(now: Duration) -> Timestamp {
    Timestamp::new(BEGIN + u32::try_from(now.as_secs()).unwrap())
}
