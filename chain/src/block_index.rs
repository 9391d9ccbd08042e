//! The block index: all known blocks with their parents, chain work and validity, by hash and by
//! id. Ids count blocks in the order of arrival, so the lower of two ids arrived first. Bodies are
//! in the block log; `rules` decides validity.

use crate::address::Address;
use crate::amount::Amount;
use crate::block::{self, Header, Height, Timestamp};
use crate::fifo_map::FifoMap;
use crate::pow::{Bits, Work};
use crate::rules::Rule;
use crate::rules::body::Reward;
use crate::rules::header::Parent;
use crate::store::blocks::RecordLocation;
use hashbrown::HashTable;
use std::hash::{BuildHasher, RandomState};

/// The number of cached invalid blocks. Each occupies about 100 bytes and costs its sender a proof
/// of work.
const MAX_INVALID_BLOCKS: usize = 4_096;

/// The id of a block: its number in the order of arrival. Genesis is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u32);

impl NodeId {
    /// The id of the genesis block.
    pub const GENESIS: NodeId = NodeId(0);

    /// Creates an id from its number.
    pub const fn new(number: u32) -> NodeId {
        NodeId(number)
    }

    /// Returns the id as a number: 0 for genesis, then in the order of arrival.
    pub const fn get(self) -> u32 {
        self.0
    }

    fn from_position(position: usize) -> NodeId {
        NodeId(u32::try_from(position).expect("no disk holds 2^32 blocks"))
    }

    fn position(self) -> usize {
        self.0 as usize
    }
}

/// The known validity of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The block is valid in isolation and was never connected to its parent's accounts.
    Stored,
    /// The block and all its ancestors are valid; its undo data is in the log.
    Valid {
        /// The location of the undo data.
        undo: RecordLocation,
    },
    /// The block or one of its ancestors breaks a rule.
    Invalid {
        /// The rule that the block or its ancestor breaks.
        rule: Rule,
    },
    /// The block and all its descendants were removed from the log. It is found by its id only.
    Pruned,
}

/// A block in the index.
#[derive(Clone, Copy, Debug)]
pub struct BlockNode {
    /// The hash of the block.
    pub hash: block::Hash,
    /// The id of the parent; genesis is its own parent.
    pub parent: NodeId,
    /// An ancestor much closer to genesis, from which [`BlockIndex::ancestor_at`] continues; genesis
    /// is its own.
    pub skip: NodeId,
    /// The number of blocks from genesis to this block.
    pub height: Height,
    /// The time in the header.
    pub time: Timestamp,
    /// The bits in the header.
    pub bits: Bits,
    /// The total work of the chain that ends in this block.
    pub chain_work: Work,
    /// The location of the block in the log.
    pub location: RecordLocation,
    /// The address that the coinbase pays.
    pub miner: Address,
    /// The amount that the coinbase pays.
    pub reward: Amount,
    /// The known validity of the block.
    pub status: Status,
}

impl BlockNode {
    /// Returns the location of the undo data; `None` unless the block is known to be valid.
    pub fn undo(&self) -> Option<RecordLocation> {
        match self.status {
            Status::Valid { undo } => Some(undo),
            Status::Stored | Status::Invalid { .. } | Status::Pruned => None,
        }
    }

    /// Whether the block and all its ancestors are known to be valid.
    pub fn is_valid(&self) -> bool {
        self.undo().is_some()
    }

    /// Whether the block or one of its ancestors is known to break a rule.
    pub fn is_invalid(&self) -> bool {
        matches!(self.status, Status::Invalid { .. })
    }
}

/// The fields of a block node that do not follow from its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeFields {
    /// The hash of the block.
    pub hash: block::Hash,
    /// The id of the parent.
    pub parent: NodeId,
    /// The time in the header.
    pub time: Timestamp,
    /// The bits in the header, which encode a valid target.
    pub bits: Bits,
    /// The location of the block in the log.
    pub location: RecordLocation,
    /// The recipient and the amount of the coinbase.
    pub reward: Reward,
}

impl NodeFields {
    /// Creates the fields of a block that satisfies the header rules.
    pub fn new(
        header: &Header,
        parent: NodeId,
        location: RecordLocation,
        reward: Reward,
    ) -> NodeFields {
        let Header { time, bits, .. } = *header;
        NodeFields { hash: header.hash(), parent, time, bits, location, reward }
    }
}

/// The path from one block to another, over their last common ancestor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// The last common ancestor.
    pub fork: NodeId,
    /// The blocks to disconnect, the old tip first.
    pub disconnect: Vec<NodeId>,
    /// The blocks to connect, the new tip last.
    pub connect: Vec<NodeId>,
}

/// The index of all known blocks.
pub struct BlockIndex {
    nodes: Vec<BlockNode>,
    by_hash: HashTable<NodeId>,
    hasher: RandomState,
    invalid: FifoMap<block::Hash, InvalidBlock, MAX_INVALID_BLOCKS>,
}

impl BlockIndex {
    /// Creates an index of the genesis block.
    pub fn new(genesis: &Header, location: RecordLocation, undo: RecordLocation) -> BlockIndex {
        let mut index = BlockIndex {
            nodes: Vec::new(),
            by_hash: HashTable::new(),
            hasher: RandomState::new(),
            invalid: FifoMap::default(),
        };
        index.push(BlockNode {
            hash: genesis.hash(),
            parent: NodeId::GENESIS,
            skip: NodeId::GENESIS,
            height: Height::GENESIS,
            time: genesis.time,
            bits: genesis.bits,
            chain_work: work(genesis.bits),
            location,
            miner: Address::ZERO,
            reward: Amount::ZERO,
            status: Status::Valid { undo },
        });
        index
    }

    /// Restores an index of the genesis block with room for `blocks` blocks; `None` if the stored
    /// block is not this genesis.
    pub fn restore_genesis(
        genesis: &Header,
        (stored, status): &(NodeFields, Status),
        blocks: usize,
    ) -> Option<BlockIndex> {
        let Status::Valid { undo } = *status else { return None };
        let mut index = BlockIndex::new(genesis, stored.location, undo);
        let BlockIndex { nodes, by_hash, hasher, .. } = &mut index;
        nodes.reserve_exact(blocks);
        by_hash.reserve(blocks, |id| hasher.hash_one(nodes[id.position()].hash));
        (stored.hash == genesis.hash()).then_some(index)
    }

    /// Restores the next stored block in the order of arrival; `None` if it is malformed.
    pub fn restore(&mut self, (stored, status): (NodeFields, Status)) -> Option<()> {
        stored.bits.target().ok().filter(|_| stored.parent.position() < self.len())?;
        let id = self.insert(stored);
        self.nodes[id.position()].status = status;
        Some(())
    }

    /// Returns the fields and the status of a block, for storing it.
    pub fn stored(&self, id: NodeId) -> (NodeFields, Status) {
        let BlockNode { hash, parent, time, bits, location, status, .. } = *self.node(id);
        (NodeFields { hash, parent, time, bits, location, reward: self.reward(id) }, status)
    }

    /// Returns the recipient and the amount of the coinbase of a block.
    pub fn reward(&self, id: NodeId) -> Reward {
        let node = self.node(id);
        Reward { recipient: node.miner, amount: node.reward }
    }

    /// Returns the number of blocks, which is at least 1.
    #[allow(clippy::len_without_is_empty)] // genesis is always there
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Returns the number of pruned blocks.
    pub fn pruned_count(&self) -> usize {
        self.nodes.len().saturating_sub(self.by_hash.len())
    }

    /// Returns all ids in the order of arrival.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.len()).map(NodeId::from_position)
    }

    /// Returns the block with an id of this index.
    pub fn node(&self, id: NodeId) -> &BlockNode {
        &self.nodes[id.position()]
    }

    /// Returns the id of the block with this hash.
    pub fn find(&self, hash: &block::Hash) -> Option<NodeId> {
        let is_match = |id: &NodeId| self.node(*id).hash == *hash;
        self.by_hash.find(self.hasher.hash_one(hash), is_match).copied()
    }

    /// Adds a block whose parent is in the index. A descendant of an invalid block is invalid.
    pub fn insert(&mut self, new: NodeFields) -> NodeId {
        let parent = *self.node(new.parent);
        let status = if parent.is_invalid() {
            Status::Invalid { rule: Rule::InvalidAncestor }
        } else {
            Status::Stored
        };
        let height = parent.height.next().expect("a block above the last height is not accepted");
        let skip = Height::new(skip_height(height.get()));
        self.push(BlockNode {
            hash: new.hash,
            parent: new.parent,
            skip: self.ancestor_at(new.parent, skip).expect("it is not above the parent"),
            height,
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
        let id = NodeId::from_position(self.nodes.len());
        self.nodes.push(node);
        let BlockIndex { nodes, by_hash, hasher, .. } = self;
        by_hash.insert_unique(hasher.hash_one(node.hash), id, |id| {
            hasher.hash_one(nodes[id.position()].hash)
        });
        id
    }

    /// Returns the context in which a child of this block is validated.
    pub fn as_parent(&self, id: NodeId) -> Parent {
        let node = self.node(id);
        let grandparent_time = (id != NodeId::GENESIS).then(|| self.node(node.parent).time);
        Parent { bits: node.bits, time: node.time, grandparent_time }
    }

    /// Returns the rule that the block, or its nearest invalid ancestor, breaks.
    pub fn broken_rule(&self, id: NodeId) -> Option<Rule> {
        // The descendants of an invalid block are invalid.
        let first = self.first_on_path(id, |id| self.node(id).is_invalid())?;
        match self.node(first).status {
            Status::Invalid { rule } => Some(rule),
            Status::Stored | Status::Valid { .. } | Status::Pruned => None,
        }
    }

    /// Marks a block as valid and returns its hash.
    pub fn set_valid(&mut self, id: NodeId, undo: RecordLocation) -> block::Hash {
        let node = &mut self.nodes[id.position()];
        node.status = Status::Valid { undo };
        node.hash
    }

    /// Marks a block and its descendants as invalid, and returns the blocks whose status changed.
    pub fn set_invalid(&mut self, id: NodeId, rule: Rule) -> Vec<NodeId> {
        let mut changed = vec![id];
        self.nodes[id.position()].status = Status::Invalid { rule };
        // Descendants arrive after their ancestors, so one pass over the later blocks finds them
        // all.
        for position in id.position() + 1..self.len() {
            let node = self.nodes[position];
            let is_stored = node.status != Status::Pruned;
            if is_stored && self.node(node.parent).is_invalid() && !node.is_invalid() {
                self.nodes[position].status = Status::Invalid { rule: Rule::InvalidAncestor };
                changed.push(NodeId::from_position(position));
            }
        }
        changed
    }

    /// Forgets a block whose records were removed from the log, and whose descendants are forgotten.
    pub fn prune(&mut self, id: NodeId) {
        let BlockIndex { nodes, by_hash, hasher, .. } = self;
        let node = &mut nodes[id.position()];
        node.status = Status::Pruned;
        // The same block may have come again since.
        if let Ok(entry) = by_hash.find_entry(hasher.hash_one(node.hash), |other| *other == id) {
            entry.remove();
        }
    }

    /// Returns the path from one block to another.
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

    /// Returns the ancestor `blocks` blocks before a block; `None` before genesis.
    pub fn ancestor(&self, id: NodeId, blocks: u32) -> Option<NodeId> {
        self.ancestor_at(id, self.node(id).height.checked_sub(blocks)?)
    }

    /// Returns the ancestor of a block, or the block itself, at a height; `None` if the height is
    /// above the block. The number of steps grows with the logarithm of the distance.
    pub fn ancestor_at(&self, id: NodeId, height: Height) -> Option<NodeId> {
        let target = height.get();
        let (mut ancestor, mut at) = (id, self.node(id).height.get());
        if at < target {
            return None;
        }
        while at > target {
            let node = self.node(ancestor);
            let (skip, skip_of_parent) = (skip_height(at), skip_height(at.saturating_sub(1)));
            // The skip of the parent is better if it leads much further without passing the target.
            let is_parent_better =
                skip_of_parent < skip.saturating_sub(2) && skip_of_parent >= target;
            if skip == target || (skip > target && !is_parent_better) {
                (ancestor, at) = (node.skip, skip);
            } else {
                (ancestor, at) = (node.parent, at.saturating_sub(1));
            }
        }
        Some(ancestor)
    }

    /// Returns the first block on the path from genesis to a block that satisfies a condition. Every
    /// block of the path after one that satisfies it must satisfy it too.
    pub fn first_on_path(&self, id: NodeId, condition: impl Fn(NodeId) -> bool) -> Option<NodeId> {
        if !condition(id) {
            return None;
        }
        // The first one is above `low` and not above `first`.
        let (mut low, mut first) = (None, id);
        loop {
            let high = self.node(first).height.get();
            let next = low.map_or(0, |low: u32| low.saturating_add(1));
            if next >= high {
                return Some(first);
            }
            let middle = next.midpoint(high);
            let id = self.ancestor_at(first, Height::new(middle)).expect("it is below `first`");
            if condition(id) {
                first = id;
            } else {
                low = Some(middle);
            }
        }
    }

    /// Returns the height of the last block on the path from genesis to a block that is not off
    /// another branch. `is_off` must be false for genesis.
    pub fn fork_height(&self, id: NodeId, is_off: impl Fn(NodeId) -> bool) -> Height {
        let first = self.first_on_path(id, is_off);
        let fork = first.map_or(id, |first| self.node(first).parent);
        self.node(fork).height
    }

    /// Whether a block is `ancestor` or descends from it.
    pub fn is_descendant(&self, id: NodeId, ancestor: NodeId) -> bool {
        self.ancestor_at(id, self.node(ancestor).height) == Some(ancestor)
    }

    /// Caches the hash of an invalid block that is not stored, so that neither the block nor its
    /// children are validated again.
    pub fn cache_invalid(&mut self, hash: block::Hash, parent: NodeId, rule: Rule) {
        self.invalid.insert(hash, InvalidBlock { parent, rule });
    }

    /// Returns the cached invalid block with this hash.
    pub fn invalid_block(&self, hash: &block::Hash) -> Option<InvalidBlock> {
        self.invalid.get(hash).copied()
    }

    /// Returns all cached invalid blocks.
    pub fn invalid_blocks(&self) -> impl Iterator<Item = (block::Hash, InvalidBlock)> {
        self.invalid.iter().map(|(hash, block)| (*hash, *block))
    }
}

/// An invalid block that is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidBlock {
    /// The id of the parent, which is in the index.
    pub parent: NodeId,
    /// The rule that the block breaks.
    pub rule: Rule,
}

/// Returns the work of a block that satisfies the header rules.
fn work(bits: Bits) -> Work {
    bits.target().expect("the rules accept canonical bits only").work()
}

/// Returns the height to which the skip of a block at a height leads. The distances vary, so that
/// few steps lead to any ancestor: this is the skip list of Bitcoin Core.
const fn skip_height(height: u32) -> u32 {
    const fn clear_lowest_bit(number: u32) -> u32 {
        number & number.wrapping_sub(1)
    }
    match height {
        0 | 1 => 0,
        _ if height & 1 == 0 => clear_lowest_bit(height),
        _ => clear_lowest_bit(clear_lowest_bit(height.wrapping_sub(1))).wrapping_add(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::Params;
    use std::cell::Cell;

    /// An index with a block on each of these parents.
    fn index(parents: impl IntoIterator<Item = u32>) -> BlockIndex {
        let genesis = Params::dev().genesis().header;
        let location = RecordLocation { file: 0, offset: 0, length: 0 };
        let mut index = BlockIndex::new(&genesis, location, location);
        for (number, parent) in parents.into_iter().enumerate() {
            let mut hash = [1; 32];
            hash[..8].copy_from_slice(&(number as u64).to_le_bytes());
            let reward = Reward { recipient: Address::ZERO, amount: Amount::ZERO };
            let (time, bits) = (genesis.time, genesis.bits);
            let (hash, parent) = (block::Hash::from_bytes(hash), NodeId::new(parent));
            index.insert(NodeFields { hash, parent, time, bits, location, reward });
        }
        index
    }

    #[test]
    fn ancestors_are_those_found_by_following_parents() {
        // A branch on every hundredth block of a chain of 1,000.
        let branches = (0..1_000).step_by(100).chain(1_001..1_600);
        let index = index((0..1_000).chain(branches));
        for id in index.ids() {
            let (mut ancestor, mut height) = (id, index.node(id).height);
            assert_eq!(index.ancestor_at(id, Height::new(height.get() + 1)), None);
            while height > Height::GENESIS {
                assert_eq!(index.ancestor_at(id, height), Some(ancestor));
                ancestor = index.node(ancestor).parent;
                height = index.node(ancestor).height;
            }
            assert_eq!(ancestor, NodeId::GENESIS);
        }
    }

    // R10
    #[test]
    fn fork_of_a_long_branch_is_found_in_few_steps() {
        let (fork, length) = (700, 10_000);
        let index = index((0..=fork).chain([fork]).chain(fork + 2..fork + length));
        let tip = index.ids().last().unwrap();
        let steps = Cell::new(0);
        let is_off = |id: NodeId| {
            steps.set(steps.get() + 1);
            id.get() > fork
        };
        let first = index.first_on_path(tip, is_off).unwrap();
        assert_eq!((first.get(), index.node(tip).height.get()), (fork + 2, fork + length - 1));
        assert!(steps.get() <= 20, "{} steps", steps.get());
        assert_eq!(index.first_on_path(first, |_| false), None);
        assert_eq!(index.first_on_path(first, |_| true), Some(NodeId::GENESIS));
    }
}
