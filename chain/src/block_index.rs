//! All blocks this node has, by hash: their parents, work and status, and which of them is best.
//! A block's number is its place in the order of arrival, so the lower of two numbers came first.
//! Does not hold bodies or accounts; does not decide what is valid.

use crate::address::Address;
use crate::amount::Amount;
use crate::block::{self, Header, Height, Timestamp};
use crate::pow::{Bits, Work};
use crate::rules::Rule;
use crate::rules::body::Reward;
use crate::rules::header::Parent;
use crate::store::blocks::RecordLocation;
use hashbrown::HashTable;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};

/// A block's number in the order of arrival; genesis is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u32);

impl NodeId {
    /// Genesis came first.
    pub const GENESIS: NodeId = NodeId(0);

    /// From a number.
    pub const fn new(number: u32) -> NodeId {
        NodeId(number)
    }

    /// As a number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// What is known of a block's validity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Valid alone; never tried on its parent's accounts.
    Stored,
    /// Valid with all its ancestors; how to take it back is in the log.
    Valid {
        /// Where.
        undo: RecordLocation,
    },
    /// It breaks a rule, or descends from a block that does.
    Invalid {
        /// The rule that is broken.
        rule: Rule,
    },
}

/// One block.
#[derive(Clone, Copy, Debug)]
pub struct BlockNode {
    /// The block's hash.
    pub hash: block::Hash,
    /// Its parent; genesis is its own.
    pub parent: NodeId,
    /// Blocks from genesis.
    pub height: Height,
    /// The header's time.
    pub time: Timestamp,
    /// The header's bits.
    pub bits: Bits,
    /// Of the whole chain up to this block.
    pub chain_work: Work,
    /// Where the block is in the log.
    pub location: RecordLocation,
    /// Who mined it.
    pub miner: Address,
    /// What the coinbase takes.
    pub reward: Amount,
    /// What is known of its validity.
    pub status: Status,
}

impl BlockNode {
    /// Where it is recorded how to take the block back; `None` unless it is known to be valid.
    pub fn undo(&self) -> Option<RecordLocation> {
        match self.status {
            Status::Valid { undo } => Some(undo),
            Status::Stored | Status::Invalid { .. } => None,
        }
    }
}

/// What the tree is told of a new block; it finds out the rest.
#[derive(Clone, Copy, Debug)]
pub struct NewNode {
    /// The block's hash.
    pub hash: block::Hash,
    /// Its parent.
    pub parent: NodeId,
    /// The header's time.
    pub time: Timestamp,
    /// The header's bits: a target, as the rules made sure.
    pub bits: Bits,
    /// Where the block is in the log.
    pub location: RecordLocation,
    /// Who mined it, and for how much.
    pub reward: Reward,
}

impl NewNode {
    /// From a block's parts.
    pub fn new(
        header: &Header,
        parent: NodeId,
        location: RecordLocation,
        reward: Reward,
    ) -> NewNode {
        let Header { time, bits, .. } = *header;
        NewNode { hash: header.hash(), parent, time, bits, location, reward }
    }
}

/// What is kept of a node; the rest follows from its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredNode {
    /// The block's hash.
    pub hash: block::Hash,
    /// Its parent.
    pub parent: NodeId,
    /// The header's time.
    pub time: Timestamp,
    /// The header's bits.
    pub bits: Bits,
    /// Where the block is in the log.
    pub location: RecordLocation,
    /// Who mined it, and for how much.
    pub reward: Reward,
    /// What is known of its validity.
    pub status: Status,
}

/// From one tip to another: what is left and what is entered, each in the order of doing it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// The last block both have.
    pub fork: NodeId,
    /// Blocks to disconnect, the old tip first.
    pub disconnect: Vec<NodeId>,
    /// Blocks to connect, the new tip last.
    pub connect: Vec<NodeId>,
}

/// The tree of blocks.
pub struct BlockIndex {
    nodes: Vec<BlockNode>,
    by_hash: HashTable<NodeId>,
    hasher: RandomState,
    invalid: InvalidCache,
}

impl BlockIndex {
    /// Only genesis.
    pub fn new(genesis: &Header, location: RecordLocation, undo: RecordLocation) -> BlockIndex {
        let mut tree = BlockIndex {
            nodes: Vec::new(),
            by_hash: HashTable::new(),
            hasher: RandomState::new(),
            invalid: InvalidCache::default(),
        };
        tree.push(BlockNode {
            hash: genesis.hash(),
            parent: NodeId::GENESIS,
            height: Height::GENESIS,
            time: genesis.time,
            bits: genesis.bits,
            chain_work: work(genesis.bits),
            location,
            miner: Address::ZERO,
            reward: Amount::ZERO,
            status: Status::Valid { undo },
        });
        tree
    }

    /// Only genesis as it was kept, with room for so many blocks; `None` if it is another's.
    pub fn restored(genesis: &Header, kept: &StoredNode, blocks: usize) -> Option<BlockIndex> {
        let Status::Valid { undo } = kept.status else { return None };
        let mut tree = BlockIndex::new(genesis, kept.location, undo);
        let BlockIndex { nodes, by_hash, hasher, .. } = &mut tree;
        nodes.reserve_exact(blocks);
        by_hash.reserve(blocks, |number| hasher.hash_one(nodes[number.0 as usize].hash));
        (kept.hash == genesis.hash()).then_some(tree)
    }

    /// Adds the next block in the order of arrival, as it was kept; `None` if it cannot be that.
    pub fn restore(&mut self, kept: StoredNode) -> Option<()> {
        let StoredNode { hash, parent, time, bits, location, reward, status } = kept;
        bits.target().ok().filter(|_| (parent.0 as usize) < self.len())?;
        let number = self.insert(NewNode { hash, parent, time, bits, location, reward });
        self.nodes[number.0 as usize].status = status;
        Some(())
    }

    /// A node as it is kept.
    pub fn stored(&self, number: NodeId) -> StoredNode {
        let BlockNode { hash, parent, time, bits, location, status, .. } = *self.node(number);
        StoredNode { hash, parent, time, bits, location, reward: self.reward(number), status }
    }

    /// What a block pays its miner.
    pub fn reward(&self, number: NodeId) -> Reward {
        let node = self.node(number);
        Reward { recipient: node.miner, amount: node.reward }
    }

    /// How many blocks there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Never: genesis is always there.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// All numbers, in the order of arrival.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        let count = u32::try_from(self.nodes.len()).expect("numbers are u32");
        (0..count).map(NodeId)
    }

    /// The block of a number, which came from this tree.
    pub fn node(&self, number: NodeId) -> &BlockNode {
        &self.nodes[number.0 as usize]
    }

    /// The block of a hash.
    pub fn find(&self, hash: &block::Hash) -> Option<NodeId> {
        let found = self
            .by_hash
            .find(self.hasher.hash_one(hash), |number| self.node(*number).hash == *hash);
        found.copied()
    }

    /// Adds a block after a parent that is in the tree. A descendant of an invalid block is invalid.
    pub fn insert(&mut self, new: NewNode) -> NodeId {
        let parent = *self.node(new.parent);
        let status = match parent.status {
            Status::Invalid { .. } => Status::Invalid { rule: Rule::InvalidAncestor },
            Status::Stored | Status::Valid { .. } => Status::Stored,
        };
        self.push(BlockNode {
            hash: new.hash,
            parent: new.parent,
            height: parent.height.next().expect("`height_after` refused the block otherwise"),
            time: new.time,
            bits: new.bits,
            chain_work: parent.chain_work.saturating_add(work(new.bits)),
            location: new.location,
            miner: new.reward.recipient,
            reward: new.reward.amount,
            status,
        })
    }

    fn push(&mut self, node: BlockNode) -> NodeId {
        let number = u32::try_from(self.nodes.len()).expect("no disk holds 2^32 blocks");
        let number = NodeId(number);
        self.nodes.push(node);
        let BlockIndex { nodes, by_hash, hasher, .. } = self;
        by_hash.insert_unique(hasher.hash_one(node.hash), number, |number| {
            hasher.hash_one(nodes[number.0 as usize].hash)
        });
        number
    }

    /// What the rules need to know of a block to judge its child.
    pub fn as_parent(&self, number: NodeId) -> Parent {
        let node = self.node(number);
        let grandparent = (number != NodeId::GENESIS).then(|| self.node(node.parent).time);
        Parent { bits: node.bits, time: node.time, grandparent_time: grandparent }
    }

    /// The nearest block that is invalid itself, if the block or an ancestor is.
    pub fn invalid_ancestor(&self, number: NodeId) -> Option<(block::Hash, Rule)> {
        let mut at = self.node(number);
        loop {
            match at.status {
                Status::Invalid { rule: Rule::InvalidAncestor } => at = self.node(at.parent),
                Status::Invalid { rule } => return Some((at.hash, rule)),
                Status::Stored | Status::Valid { .. } => return None,
            }
        }
    }

    /// Remembers that a block is valid on its parent; its hash.
    pub fn set_valid(&mut self, number: NodeId, undo: RecordLocation) -> block::Hash {
        let node = &mut self.nodes[number.0 as usize];
        node.status = Status::Valid { undo };
        node.hash
    }

    /// Remembers that a block breaks a rule, and with it all that descends from it. The blocks whose
    /// status changed.
    pub fn set_invalid(&mut self, number: NodeId, rule: Rule) -> Vec<NodeId> {
        let mut changed = vec![number];
        self.nodes[number.0 as usize].status = Status::Invalid { rule };
        // A descendant came later than its ancestor, so one pass over what came later finds all.
        for at in number.0 as usize + 1..self.nodes.len() {
            let parent = self.nodes[at].parent;
            let parent_is_invalid = matches!(self.node(parent).status, Status::Invalid { .. });
            if parent_is_invalid && !matches!(self.nodes[at].status, Status::Invalid { .. }) {
                self.nodes[at].status = Status::Invalid { rule: Rule::InvalidAncestor };
                changed.push(NodeId(u32::try_from(at).expect("numbers are u32")));
            }
        }
        changed
    }

    /// The way from one tip to another.
    pub fn path(&self, from: NodeId, to: NodeId) -> Path {
        let (mut left, mut right) = (from, to);
        let (mut disconnect, mut connect) = (Vec::new(), Vec::new());
        while left != right {
            if self.node(left).height >= self.node(right).height {
                disconnect.push(left);
                left = self.node(left).parent;
            } else {
                connect.push(right);
                right = self.node(right).parent;
            }
        }
        connect.reverse();
        Path { fork: left, disconnect, connect }
    }

    /// The ancestor so many blocks back; `None` before genesis.
    pub fn ancestor(&self, number: NodeId, blocks: u32) -> Option<NodeId> {
        self.node(number).height.checked_sub(blocks)?;
        let mut at = number;
        for _ in 0..blocks {
            at = self.node(at).parent;
        }
        Some(at)
    }

    /// Whether a block is another one or descends from it.
    pub fn is_descendant(&self, number: NodeId, from: NodeId) -> bool {
        let blocks = self.node(number).height.get().checked_sub(self.node(from).height.get());
        blocks.and_then(|blocks| self.ancestor(number, blocks)) == Some(from)
    }

    /// Remembers a block that is invalid and so was not kept: neither it nor its children are
    /// examined again.
    pub fn mark_invalid_hash(&mut self, hash: block::Hash, parent: NodeId, rule: Rule) {
        self.invalid.insert(hash, InvalidBlock { parent, rule });
    }

    /// The block, if it was refused for ever.
    pub fn invalid_block(&self, hash: &block::Hash) -> Option<InvalidBlock> {
        self.invalid.by_hash.get(hash).copied()
    }

    /// All blocks that were refused for ever and are still remembered.
    pub fn invalid_blocks(&self) -> impl Iterator<Item = (block::Hash, InvalidBlock)> {
        self.invalid.by_hash.iter().map(|(hash, refused)| (*hash, *refused))
    }
}

/// A block that was refused for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidBlock {
    /// Its parent, which is in the tree.
    pub parent: NodeId,
    /// The rule that it breaks.
    pub rule: Rule,
}

/// Refused blocks that are remembered: some 100 bytes each. Each cost its sender a proof of work.
const MAX_INVALID_BLOCKS: usize = 4_096;

/// The last refused blocks, oldest forgotten first.
#[derive(Default)]
struct InvalidCache {
    by_hash: HashMap<block::Hash, InvalidBlock>,
    order: VecDeque<block::Hash>,
}

impl InvalidCache {
    fn insert(&mut self, hash: block::Hash, refused: InvalidBlock) {
        if self.by_hash.insert(hash, refused).is_some() {
            return;
        }
        self.order.push_back(hash);
        if self.order.len() > MAX_INVALID_BLOCKS
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_hash.remove(&oldest);
        }
    }
}

/// The work of a block whose bits the rules have checked.
fn work(bits: Bits) -> Work {
    bits.target().expect("the rules accept canonical bits only").work()
}
