//! A chain in memory for tests: real headers with real proof of work, real Merkle roots, and no
//! accounts. The test decides which blocks have an invalid state.

mod pool;

pub(crate) use pool::Pool;

use crate::engine::BlockValidation;
use crate::message::RawBlock;
use crate::view::{ChainView, Known, Tip};
use chain::block::{self, Block, Header, Height, Timestamp};
use chain::ledger::Accepted;
use chain::merkle;
use chain::pow::{Target, Work};
use chain::rules::header::{Parent, check_contextual, check_standalone};
use chain::signature::{PublicKey, Signature};
use chain::testing::solve_header;
use chain::tx::{Coinbase, Id, Memo, Tag, Transaction, Transfer};
use chain::{Address, Bits, Params};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A chain and a mempool in memory.
#[derive(Clone)]
pub(crate) struct MockChain {
    params: Arc<Params>,
    blocks: BTreeMap<block::Hash, Entry>,
    /// The hashes of the best chain by height.
    best: Vec<block::Hash>,
    /// The ids of the transfers in the best chain.
    confirmed: BTreeSet<Id>,
    invalid: BTreeSet<block::Hash>,
    spoiled: BTreeSet<block::Hash>,
    /// Blocks invalidated by an operator, with all descendants.
    invalidated: BTreeSet<block::Hash>,
    /// The mempool.
    pub(crate) pool: Pool,
}

#[derive(Clone)]
struct Entry {
    block: Arc<Block>,
    raw: RawBlock,
    tip: Tip,
    as_parent: Parent,
}

/// The parameters of `dev`, or of a `dev` with adjusting difficulty and a block every ten seconds.
pub(crate) fn params(fixed_difficulty: bool) -> Params {
    if fixed_difficulty {
        return Params::dev();
    }
    let mut spec = Params::dev().spec().clone();
    spec.name = "moving".into();
    spec.fixed_difficulty = false;
    (spec.spacing_seconds, spec.half_life_seconds) = (10, 60);
    Params::new(spec).unwrap()
}

/// The parameters of a network with boot nodes and a block every ten seconds.
pub(crate) fn public_params() -> Params {
    let mut spec = params(false).spec().clone();
    spec.boot_nodes = vec!["/ip4/127.0.0.1/tcp/1".into()];
    Params::new(spec).unwrap()
}

/// The work of one block.
pub(crate) fn work(bits: Bits) -> Work {
    bits.target().map_or(Work::ZERO, Target::work)
}

/// The properties that a child of this header is validated against.
pub(crate) fn as_parent(header: &Header, parent: Option<&Parent>) -> Parent {
    let Header { bits, time, .. } = *header;
    Parent { bits, time, grandparent_time: parent.map(|parent| parent.time) }
}

/// A chain of headers without bodies after a parent, at intervals of a number of seconds.
pub(crate) fn header_chain(
    params: &Params,
    (mut previous, mut parent): (block::Hash, Parent),
    seconds: u32,
    salt: u64,
) -> impl Iterator<Item = Header> {
    let mut root = [0; 32];
    root[..8].copy_from_slice(&salt.to_le_bytes());
    let merkle_root = merkle::Root::from_bytes(root);
    std::iter::repeat_with(move || {
        let (bits, time) = (parent.next_bits(params), parent.time.saturating_add(seconds));
        let version = Header::VERSION;
        let mut header = Header { version, previous, merkle_root, time, bits, nonce: 0 };
        solve_header(&mut header);
        (previous, parent) = (header.hash(), as_parent(&header, Some(&parent)));
        header
    })
}

/// A transfer with an invalid signature; its id depends on the number.
pub(crate) fn transfer(number: u64) -> Arc<Transfer> {
    transfer_of(number, 0)
}

/// A transfer with a nonce; its sender depends on the number.
pub(crate) fn transfer_of(number: u64, nonce: u64) -> Arc<Transfer> {
    let mut sender = [2; 32];
    sender[..8].copy_from_slice(&number.to_le_bytes());
    Arc::new(Transfer {
        sender: PublicKey::from_bytes(sender),
        nonce,
        recipient: Address::ZERO,
        amount: 1,
        fee: 1,
        memo: Memo::default(),
        signature: Signature::from_bytes([7; 64]),
    })
}

impl MockChain {
    /// Returns a chain of the genesis block.
    pub(crate) fn new(params: Params) -> MockChain {
        let block = params.genesis().clone();
        let (hash, header) = (block.hash(), block.header);
        let tip = Tip { hash, height: Height::GENESIS, chain_work: work(header.bits) };
        let (raw, as_parent) = (block.encode().into(), as_parent(&header, None));
        let entry = Entry { block: Arc::new(block), raw, tip, as_parent };
        MockChain {
            params: Arc::new(params),
            blocks: BTreeMap::from([(hash, entry)]),
            best: vec![hash],
            confirmed: BTreeSet::new(),
            invalid: BTreeSet::new(),
            spoiled: BTreeSet::new(),
            invalidated: BTreeSet::new(),
            pool: Pool::default(),
        }
    }

    /// Returns a chain of the genesis block of `dev`.
    pub(crate) fn dev() -> MockChain {
        MockChain::new(Params::dev())
    }

    /// Makes the body of a block break a rule from now on.
    pub(crate) fn spoil(&mut self, hash: block::Hash) {
        self.spoiled.insert(hash);
    }

    /// Invalidates the block of the best chain at a height and its descendants, as an operator may.
    pub(crate) fn invalidate(&mut self, height: Height) {
        let left = self.best.split_off(height.get() as usize);
        self.invalidated.extend(left);
    }

    /// The tip, and the properties that its child is validated against.
    pub(crate) fn end(&self) -> (block::Hash, Parent) {
        let tip = self.tip();
        (tip.hash, self.blocks[&tip.hash].as_parent)
    }

    /// Returns whether a transfer is in the best chain.
    pub(crate) fn is_confirmed(&self, id: &Id) -> bool {
        self.confirmed.contains(id)
    }

    /// Validates a block as the writer would, and stores it if it is valid.
    pub(crate) fn insert(&mut self, block: &Arc<Block>, clock: Timestamp) -> BlockValidation {
        let hash = block.hash();
        if self.blocks.contains_key(&hash) {
            return BlockValidation::Accepted(Accepted::AlreadyKnown);
        }
        if self.invalid.contains(&hash) {
            return BlockValidation::Invalid;
        }
        if let Err(validation) = self.check(block, clock) {
            return validation;
        }
        if self.spoiled.contains(&hash) {
            self.invalid.insert(hash);
            return BlockValidation::Invalid;
        }
        let parent = &self.blocks[&block.header.previous];
        let tip = Tip {
            hash,
            height: parent.tip.height.next().unwrap(),
            chain_work: parent.tip.chain_work.saturating_add(work(block.header.bits)),
        };
        let as_parent = as_parent(&block.header, Some(&parent.as_parent));
        let entry = Entry { block: Arc::clone(block), raw: block.encode().into(), tip, as_parent };
        let is_heavier = tip.chain_work > self.tip().chain_work;
        self.blocks.insert(hash, entry);
        let is_invalidated = self.invalidated.contains(&block.header.previous);
        if is_invalidated {
            self.invalidated.insert(hash);
        }
        if !is_heavier || is_invalidated {
            return BlockValidation::Accepted(Accepted::SideBranch);
        }
        self.set_tip(tip);
        BlockValidation::Accepted(Accepted::Connected)
    }

    /// Validates everything but the state.
    fn check(&mut self, block: &Block, clock: Timestamp) -> Result<(), BlockValidation> {
        let header = &block.header;
        let invalid = |_| BlockValidation::InvalidHeader;
        check_standalone(header, &self.params).map_err(invalid)?;
        if self.invalid.contains(&header.previous) {
            self.invalid.insert(header.hash());
            return Err(BlockValidation::InvalidAncestor);
        }
        let parent = self.blocks.get(&header.previous).ok_or(BlockValidation::UnknownParent)?;
        check_contextual(header, &parent.as_parent, &self.params, clock).map_err(invalid)?;
        if merkle::root(&block.ids()) == header.merkle_root {
            Ok(())
        } else {
            Err(BlockValidation::WrongBody)
        }
    }

    /// Makes a block the tip. Transfers of the branch it replaces return to the mempool.
    fn set_tip(&mut self, tip: Tip) {
        let mut branch = Vec::new();
        let mut at = tip;
        while self.at(at.height) != Some(at.hash) {
            branch.push(at.hash);
            at = self.blocks[&self.blocks[&at.hash].block.header.previous].tip;
        }
        for left in self.best.split_off(at.height.get() as usize + 1) {
            for (_, transfer) in self.blocks[&left].block.transfers() {
                self.confirmed.remove(&transfer.id());
                self.pool.insert(&Arc::new(transfer.clone()));
            }
        }
        for entered in branch.into_iter().rev() {
            self.best.push(entered);
            for (_, transfer) in self.blocks[&entered].block.transfers() {
                self.confirmed.insert(transfer.id());
                self.pool.confirm(transfer);
            }
        }
    }

    /// Mines a block on the tip without inserting it. The salt makes it unique.
    pub(crate) fn mine(
        &self,
        transfers: &[Arc<Transfer>],
        clock: Timestamp,
        salt: u64,
    ) -> Arc<Block> {
        self.mine_on(&self.tip().hash, transfers, clock, salt)
    }

    /// Mines a block on any stored block without inserting it.
    pub(crate) fn mine_on(
        &self,
        parent: &block::Hash,
        transfers: &[Arc<Transfer>],
        clock: Timestamp,
        salt: u64,
    ) -> Arc<Block> {
        let Entry { tip, as_parent, .. } = self.blocks[parent];
        let coinbase = Coinbase {
            height: tip.height.next().unwrap(),
            extra_nonce: salt.to_le_bytes(),
            tag: Tag::default(),
            reward: 0,
            recipient: Address::ZERO,
            commitment: [0; 32],
        };
        let mut transactions = vec![Transaction::Coinbase(coinbase)];
        transactions.extend(transfers.iter().map(|one| Transaction::Transfer((**one).clone())));
        let ids: Vec<_> = transactions.iter().map(Transaction::id).collect();
        let mut header = Header {
            version: Header::VERSION,
            previous: tip.hash,
            merkle_root: merkle::root(&ids),
            time: clock.max(as_parent.time),
            bits: as_parent.next_bits(&self.params),
            nonce: 0,
        };
        solve_header(&mut header);
        Arc::new(Block { header, transactions })
    }

    /// Mines and inserts a number of empty blocks, each `spacing_seconds` after its parent.
    pub(crate) fn grow(&mut self, blocks: usize, salt: u64) -> Vec<Arc<Block>> {
        self.grow_on(self.tip().hash, blocks, salt)
    }

    /// Mines and inserts a number of empty blocks after any stored block.
    pub(crate) fn grow_on(
        &mut self,
        mut parent: block::Hash,
        blocks: usize,
        salt: u64,
    ) -> Vec<Arc<Block>> {
        let mut grow = || {
            let time = self.blocks[&parent].as_parent.time;
            let clock = time.saturating_add(self.params.spec().spacing_seconds);
            let block = self.mine_on(&parent, &[], clock, salt);
            let validation = self.insert(&block, clock);
            assert!(matches!(validation, BlockValidation::Accepted(_)), "{validation:?}");
            parent = block.hash();
            block
        };
        (0..blocks).map(|_| grow()).collect()
    }
}

impl ChainView for MockChain {
    fn params(&self) -> &Params {
        &self.params
    }

    fn tip(&self) -> Tip {
        self.blocks[&self.best[self.best.len() - 1]].tip
    }

    fn find(&self, hash: &block::Hash) -> Option<Known> {
        let Entry { tip, as_parent, .. } = *self.blocks.get(hash)?;
        let is_best = self.at(tip.height) == Some(tip.hash);
        let bytes = self.block(hash).map_or(0, |block| block.len());
        Some(Known { tip, as_parent, bytes, is_best, is_invalid: false })
    }

    fn is_known_invalid(&self, hash: &block::Hash) -> bool {
        self.invalid.contains(hash)
    }

    fn at(&self, height: Height) -> Option<block::Hash> {
        self.best.get(height.get() as usize).copied()
    }

    fn headers(&self, from: Height, max: usize) -> Vec<Header> {
        let hashes = self.best.iter().skip(from.get() as usize).take(max);
        hashes.map(|hash| self.blocks[hash].block.header).collect()
    }

    fn block(&self, hash: &block::Hash) -> Option<RawBlock> {
        self.blocks.get(hash).map(|entry| Arc::clone(&entry.raw))
    }

    fn transfer(&self, id: &Id) -> Option<Arc<Transfer>> {
        self.pool.get(id).cloned()
    }

    fn mempool_page(&self, from: u64, max: usize) -> (Vec<Id>, u64) {
        let page: Vec<(u64, &Id)> = self.pool.accepted(from).take(max).collect();
        let next = page.last().map_or(from, |(at, _)| at + 1);
        (page.into_iter().map(|(_, id)| *id).collect(), next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reorganisation_returns_transfers_to_mempool() {
        let clock = Timestamp::new(1_800_000_000);
        let mut chain = MockChain::dev();
        let genesis = chain.tip().hash;
        let (lost, mined_again) = (transfer(1), transfer(2));
        chain.pool.insert(&lost);
        let block = chain.mine(&[Arc::clone(&lost), Arc::clone(&mined_again)], clock, 1);
        assert_eq!(chain.insert(&block, clock), BlockValidation::Accepted(Accepted::Connected));
        assert_eq!(chain.pool.len(), 0);
        let rival = chain.mine_on(&genesis, &[mined_again], clock, 2);
        assert_eq!(chain.insert(&rival, clock), BlockValidation::Accepted(Accepted::SideBranch));
        assert_eq!(chain.tip().hash, block.hash());
        let next = chain.mine_on(&rival.hash(), &[], clock, 3);
        assert_eq!(chain.insert(&next, clock), BlockValidation::Accepted(Accepted::Connected));
        assert!(chain.pool.ids().eq([&lost.id()]));
        assert_eq!(chain.at(Height::new(1)), Some(rival.hash()));
    }

    #[test]
    fn validates_blocks_as_the_writer_does() {
        let clock = Timestamp::new(1_800_000_000);
        let mut chain = MockChain::dev();
        let block = chain.mine(&[transfer(1)], clock, 1);
        let mut mutated = Block::clone(&block);
        mutated.transactions.truncate(1);
        assert_eq!(chain.insert(&Arc::new(mutated), clock), BlockValidation::WrongBody);
        let early = Timestamp::new(1_700_000_000);
        assert_eq!(chain.insert(&block, early), BlockValidation::InvalidHeader);
        let mut other = chain.clone();
        other.insert(&block, clock);
        let child = other.mine(&[], clock, 2);
        assert_eq!(chain.insert(&child, clock), BlockValidation::UnknownParent);
        chain.spoil(block.hash());
        assert_eq!(chain.insert(&block, clock), BlockValidation::Invalid);
        assert_eq!(chain.insert(&child, clock), BlockValidation::InvalidAncestor);
        assert!(chain.is_known_invalid(&child.hash()));
    }

    #[test]
    fn grows_chains_with_adjusting_difficulty() {
        let mut chain = MockChain::new(params(false));
        chain.grow(30, 1);
        let (hash, parent) = chain.end();
        let fast: Vec<_> = header_chain(&params(false), (hash, parent), 1, 1).take(30).collect();
        assert!(work(fast[29].bits) > work(parent.bits));
        let chain_bits = chain.headers(Height::GENESIS, 2)[1].bits;
        assert_eq!(chain_bits, parent.bits, "blocks on time leave the difficulty unchanged");
    }
}
