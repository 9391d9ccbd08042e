//! A chain in memory for tests: real headers with real proof of work, real Merkle roots, and no
//! accounts. Which blocks have an invalid state is the test's decision.

mod pool;

pub(crate) use pool::Pool;

use crate::engine::BlockValidation;
use crate::message::RawBlock;
use crate::view::{ChainView, Known, Tip};
use chain::block::{self, Block, Header, Height, Timestamp};
use chain::ledger::Accepted;
use chain::merkle;
use chain::pow::{Target, Work};
use chain::rules::Rule;
use chain::rules::header::{Parent, check_contextual, check_standalone};
use chain::signature::{PublicKey, Signature};
use chain::tx::{Coinbase, Id, Memo, Tag, Transaction, Transfer};
use chain::{Address, Bits, Params};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Everything a node would know, without a disk.
#[derive(Clone)]
pub(crate) struct MockChain {
    params: Arc<Params>,
    blocks: BTreeMap<block::Hash, Entry>,
    /// The best chain by height.
    best: Vec<block::Hash>,
    /// The transfers of the best chain.
    confirmed: BTreeSet<Id>,
    condemned: BTreeSet<block::Hash>,
    spoiled: BTreeSet<block::Hash>,
    /// Blocks that are not followed, with all descendants.
    aside: BTreeSet<block::Hash>,
    /// Transfers that wait for a block.
    pub(crate) pool: Pool,
}

#[derive(Clone)]
struct Entry {
    block: Arc<Block>,
    raw: RawBlock,
    tip: Tip,
    as_parent: Parent,
}

/// `dev`, or `dev` with a difficulty that moves: blocks are due every ten seconds.
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

/// Searches the nonce.
pub(crate) fn seal(header: &mut Header) {
    let target = header.bits.target().unwrap();
    while !target.is_met_by(header.hash().as_bytes()) {
        header.nonce += 1;
    }
}

/// The work of one block.
pub(crate) fn work(bits: Bits) -> Work {
    bits.target().map_or(Work::ZERO, Target::work)
}

/// What a child of this header has to satisfy.
pub(crate) fn as_parent(header: &Header, parent: Option<&Parent>) -> Parent {
    let Header { bits, time, .. } = *header;
    Parent { bits, time, grandparent_time: parent.map(|parent| parent.time) }
}

/// A chain of headers after a parent, without bodies: each so many seconds after the one before.
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
        seal(&mut header);
        (previous, parent) = (header.hash(), as_parent(&header, Some(&parent)));
        header
    })
}

/// A transfer that is well encoded and signed by nobody; other numbers, other ids.
pub(crate) fn transfer(number: u64) -> Arc<Transfer> {
    transfer_of(number, 0)
}

/// The same with a nonce, of the sender of a number.
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
    /// Only genesis.
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
            condemned: BTreeSet::new(),
            spoiled: BTreeSet::new(),
            aside: BTreeSet::new(),
            pool: Pool::default(),
        }
    }

    /// Only genesis of `dev`.
    pub(crate) fn dev() -> MockChain {
        MockChain::new(Params::dev())
    }

    /// Makes a block one that breaks a rule with its body, from now on.
    pub(crate) fn spoil(&mut self, hash: block::Hash) {
        self.spoiled.insert(hash);
    }

    /// Turns away from a block of the best chain and its descendants, as an operator may.
    pub(crate) fn set_aside(&mut self, height: Height) {
        let left = self.best.split_off(height.get() as usize);
        self.aside.extend(left);
    }

    /// The last block of the best chain, and what its child has to satisfy.
    pub(crate) fn end(&self) -> (block::Hash, Parent) {
        let tip = self.tip();
        (tip.hash, self.blocks[&tip.hash].as_parent)
    }

    /// Whether a transfer is in the best chain.
    pub(crate) fn is_confirmed(&self, id: &Id) -> bool {
        self.confirmed.contains(id)
    }

    /// What the writer would do with a block.
    pub(crate) fn insert(&mut self, block: &Arc<Block>, clock: Timestamp) -> BlockValidation {
        let hash = block.hash();
        if self.blocks.contains_key(&hash) {
            return BlockValidation::Accepted(Accepted::AlreadyKnown);
        }
        let condemned = |rule| BlockValidation::Invalid { rule, for_ever: true };
        if self.condemned.contains(&hash) {
            return condemned(Rule::WrongAccounts);
        }
        if let Err(validation) = self.check(block, clock) {
            return validation;
        }
        if self.spoiled.contains(&hash) {
            self.condemned.insert(hash);
            return condemned(Rule::WrongAccounts);
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
        let is_aside = self.aside.contains(&block.header.previous);
        if is_aside {
            self.aside.insert(hash);
        }
        if !is_heavier || is_aside {
            return BlockValidation::Accepted(Accepted::SideBranch);
        }
        self.adopt(tip);
        BlockValidation::Accepted(Accepted::Connected)
    }

    /// Everything before the state.
    fn check(&mut self, block: &Block, clock: Timestamp) -> Result<(), BlockValidation> {
        let once = |rule| BlockValidation::Invalid { rule, for_ever: false };
        let header = &block.header;
        check_standalone(header, &self.params).map_err(|error| once(error.rule()))?;
        if self.condemned.contains(&header.previous) {
            self.condemned.insert(header.hash());
            return Err(once(Rule::InvalidAncestor));
        }
        let parent = self.blocks.get(&header.previous).ok_or(BlockValidation::UnknownParent)?;
        check_contextual(header, &parent.as_parent, &self.params, clock)
            .map_err(|error| once(error.rule()))?;
        if merkle::root(&block.ids()) == header.merkle_root {
            Ok(())
        } else {
            Err(once(Rule::BadMerkleRoot))
        }
    }

    /// Makes a block the tip: transfers of the branch it replaces go back to the pool.
    fn adopt(&mut self, tip: Tip) {
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

    /// A block on the tip that is not inserted; other salts, other blocks.
    pub(crate) fn mine(
        &self,
        transfers: &[Arc<Transfer>],
        clock: Timestamp,
        salt: u64,
    ) -> Arc<Block> {
        self.mine_on(&self.tip().hash, transfers, clock, salt)
    }

    /// A block on any block that is here.
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
        seal(&mut header);
        Arc::new(Block { header, transactions })
    }

    /// Mines and inserts so many blocks without transfers, each `spacing_seconds` after its parent.
    pub(crate) fn grow(&mut self, blocks: usize, salt: u64) -> Vec<Arc<Block>> {
        self.grow_on(self.tip().hash, blocks, salt)
    }

    /// The same after any block that is here.
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
        Some(Known { tip, as_parent, is_best, is_invalid: false })
    }

    fn is_known_invalid(&self, hash: &block::Hash) -> bool {
        self.condemned.contains(hash)
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

    fn pool_page(&self, from: u64, max: usize) -> (Vec<Id>, u64) {
        let page: Vec<(u64, &Id)> = self.pool.arrived(from).take(max).collect();
        let next = page.last().map_or(from, |(at, _)| at + 1);
        (page.into_iter().map(|(_, id)| *id).collect(), next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reorganisation_returns_transfers_to_the_pool() {
        let clock = Timestamp::new(1_800_000_000);
        let mut chain = MockChain::dev();
        let genesis = chain.tip().hash;
        let (lost, kept) = (transfer(1), transfer(2));
        chain.pool.insert(&lost);
        let block = chain.mine(&[Arc::clone(&lost), Arc::clone(&kept)], clock, 1);
        assert_eq!(chain.insert(&block, clock), BlockValidation::Accepted(Accepted::Connected));
        assert_eq!(chain.pool.len(), 0);
        let rival = chain.mine_on(&genesis, &[kept], clock, 2);
        assert_eq!(chain.insert(&rival, clock), BlockValidation::Accepted(Accepted::SideBranch));
        assert_eq!(chain.tip().hash, block.hash());
        let next = chain.mine_on(&rival.hash(), &[], clock, 3);
        assert_eq!(chain.insert(&next, clock), BlockValidation::Accepted(Accepted::Connected));
        assert!(chain.pool.ids().eq([&lost.id()]));
        assert_eq!(chain.at(Height::new(1)), Some(rival.hash()));
    }

    #[test]
    fn judges_blocks_as_the_writer_does() {
        let clock = Timestamp::new(1_800_000_000);
        let mut chain = MockChain::dev();
        let block = chain.mine(&[transfer(1)], clock, 1);
        let mut mutated = Block::clone(&block);
        mutated.transactions.truncate(1);
        let once = |rule| BlockValidation::Invalid { rule, for_ever: false };
        assert_eq!(chain.insert(&Arc::new(mutated), clock), once(Rule::BadMerkleRoot));
        let early = Timestamp::new(1_700_000_000);
        assert_eq!(chain.insert(&block, early), once(Rule::TimeTooNew));
        let mut other = chain.clone();
        other.insert(&block, clock);
        let child = other.mine(&[], clock, 2);
        assert_eq!(chain.insert(&child, clock), BlockValidation::UnknownParent);
        chain.spoil(block.hash());
        let invalid = BlockValidation::Invalid { rule: Rule::WrongAccounts, for_ever: true };
        assert_eq!(chain.insert(&block, clock), invalid);
        assert_eq!(chain.insert(&child, clock), once(Rule::InvalidAncestor));
        assert!(chain.is_known_invalid(&child.hash()));
    }

    #[test]
    fn grows_chains_with_a_difficulty_that_moves() {
        let mut chain = MockChain::new(params(false));
        chain.grow(30, 1);
        let (hash, parent) = chain.end();
        let fast: Vec<_> = header_chain(&params(false), (hash, parent), 1, 1).take(30).collect();
        assert!(work(fast[29].bits) > work(parent.bits));
        let chain_bits = chain.headers(Height::GENESIS, 2)[1].bits;
        assert_eq!(chain_bits, parent.bits, "blocks on time keep the difficulty");
    }
}
