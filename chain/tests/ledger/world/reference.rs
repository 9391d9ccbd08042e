//! What every block means, in the plainest way.

use super::Draft;
use chain::difficulty::Schedule;
use chain::tx::Id;
use chain::{Address, Amount, Bits, Block, Header, Params, Timestamp, Transaction, Work, block};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What somebody has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Purse {
    pub(crate) balance: u64,
    pub(crate) nonce: u64,
}

/// Everybody who has anything or ever sent anything.
pub(crate) type Purses = BTreeMap<Address, Purse>;

/// A block and what it means.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) block: Block,
    pub(crate) height: u32,
    /// After this block.
    pub(crate) purses: Purses,
    /// Whether all its transfers could be made.
    pub(crate) is_affordable: bool,
    /// Of the chain up to this block.
    pub(crate) work: Work,
}

/// All blocks that were ever made.
pub(crate) struct World {
    pub(crate) params: Params,
    known: HashMap<block::Hash, Known>,
    /// How many drafts there were: each gets another coinbase.
    pub(super) drafts: u64,
}

impl World {
    pub(crate) fn new(params: Params) -> World {
        let block = params.genesis().clone();
        let allocations = params.spec().allocations.iter();
        let purse = |amount: &Amount| Purse { balance: amount.units(), nonce: 0 };
        let purses = allocations.map(|(address, amount)| (*address, purse(amount))).collect();
        let work = work(block.header.bits);
        let genesis = Known { height: 0, purses, is_affordable: true, work, block };
        let known = HashMap::from([(params.genesis_hash(), genesis)]);
        World { params, known, drafts: 0 }
    }

    pub(crate) fn genesis(&self) -> block::Hash {
        self.params.genesis_hash()
    }

    pub(crate) fn known(&self, hash: block::Hash) -> &Known {
        &self.known[&hash]
    }

    pub(crate) fn block(&self, hash: block::Hash) -> &Block {
        &self.known[&hash].block
    }

    pub(crate) fn purse(&self, at: block::Hash, address: Address) -> Purse {
        self.known[&at].purses.get(&address).copied().unwrap_or_default()
    }

    /// Begins a child of a block.
    pub(crate) fn draft(&mut self, parent: block::Hash) -> Draft<'_> {
        Draft::new(self, parent)
    }

    /// Blocks without transfers, one on the other.
    pub(crate) fn grow(&mut self, parent: block::Hash, blocks: usize) -> Vec<Block> {
        let mut at = parent;
        let grow = |_| {
            let block = self.draft(at).seal();
            at = block.hash();
            block
        };
        (0..blocks).map(grow).collect()
    }

    /// From genesis to a block, both included.
    pub(crate) fn chain(&self, tip: block::Hash) -> Vec<block::Hash> {
        let mut hashes = vec![tip];
        while let Some(parent) = self.parent(hashes[hashes.len() - 1]) {
            hashes.push(parent);
        }
        hashes.reverse();
        hashes
    }

    pub(crate) fn parent(&self, hash: block::Hash) -> Option<block::Hash> {
        (hash != self.genesis()).then(|| self.block(hash).header.previous)
    }

    /// So many blocks back; `None` before genesis.
    pub(crate) fn back(&self, from: block::Hash, blocks: u32) -> Option<block::Hash> {
        (0..blocks).try_fold(from, |at, _| self.parent(at))
    }

    /// The bits a child must have.
    pub(crate) fn next_bits(&self, parent: block::Hash) -> Bits {
        let header = &self.block(parent).header;
        let grandparent = self.parent(parent).map(|hash| self.block(hash).header.time);
        Schedule::of(&self.params).next_bits((header.bits, header.time), grandparent)
    }

    /// What a block creates.
    pub(crate) fn subsidy(&self, height: u32) -> u64 {
        let spec = self.params.spec();
        let halvings = height / spec.halving_interval;
        let first = spec.initial_subsidy.units();
        if height == 0 { 0 } else { (0..halvings.min(64)).fold(first, |subsidy, _| subsidy / 2) }
    }

    /// What is matured by a child of a block: to whom, and how much.
    pub(crate) fn matured(&self, parent: block::Hash) -> Option<(Address, u64)> {
        let block = self.back(parent, self.params.spec().maturity - 1)?;
        (block != self.genesis()).then(|| self.reward(block))
    }

    /// Whom a block pays how much; one without coinbase nothing.
    pub(crate) fn reward(&self, hash: block::Hash) -> (Address, u64) {
        let coinbase = self.block(hash).coinbase();
        coinbase.map_or((Address::ZERO, 0), |coinbase| (coinbase.recipient, coinbase.reward))
    }

    /// Rewards that cannot be spent yet.
    pub(crate) fn immature(&self, tip: block::Hash, address: Address) -> u64 {
        let recent = (0..self.params.spec().maturity).map_while(|back| self.back(tip, back));
        let rewards = recent.filter(|hash| *hash != self.genesis()).map(|hash| self.reward(hash));
        rewards.filter(|(recipient, _)| *recipient == address).map(|(_, amount)| amount).sum()
    }

    /// All that exists.
    pub(crate) fn issued(&self, height: u32) -> u64 {
        let allocated = self.params.spec().allocations.iter().map(|(_, amount)| amount.units());
        allocated.sum::<u64>() + (1..=height).map(|height| self.subsidy(height)).sum::<u64>()
    }

    /// Everybody who was ever named, and somebody who never was.
    pub(crate) fn addresses(&self) -> BTreeSet<Address> {
        let owners = self.known.values().flat_map(|known| known.purses.keys().copied());
        let coinbases = self.known.values().filter_map(|known| known.block.coinbase());
        owners
            .chain(coinbases.map(|coinbase| coinbase.recipient))
            .chain([Address::from_bytes([0xee; 20])])
            .collect()
    }

    /// Every transaction that was ever in a block.
    pub(crate) fn transactions(&self) -> BTreeSet<Id> {
        self.known.values().flat_map(|known| known.block.ids()).collect()
    }

    /// Transactions of a chain that name an address: height and position, oldest first.
    pub(crate) fn history(&self, tip: block::Hash, address: Address) -> Vec<(u32, u32)> {
        let mut found = Vec::new();
        for (height, hash) in (0..).zip(self.chain(tip)).skip(1) {
            for (position, transaction) in (0..).zip(&self.block(hash).transactions) {
                let named = match transaction {
                    Transaction::Coinbase(coinbase) => coinbase.recipient == address,
                    Transaction::Transfer(transfer) => {
                        transfer.sender_address() == address || transfer.recipient == address
                    }
                };
                found.extend(named.then_some((height, position)));
            }
        }
        found
    }

    pub(super) fn record(
        &mut self,
        parent: block::Hash,
        block: Block,
        purses: Purses,
        is_affordable: bool,
    ) {
        let parent = self.known(parent);
        let (work, height) =
            (parent.work.saturating_add(work(block.header.bits)), parent.height + 1);
        let known = Known { height, purses, is_affordable, work, block };
        self.known.insert(known.block.hash(), known);
    }
}

/// Bits that are spoiled stand for no work.
fn work(bits: Bits) -> Work {
    bits.target().map_or(Work::ZERO, chain::Target::work)
}

/// What a block does: the matured reward is paid, then each transfer in its order. One that cannot
/// be is left out, and the answer is false.
pub(super) fn apply(
    purses: &mut Purses,
    matured: Option<(Address, u64)>,
    transactions: &[Transaction],
) -> bool {
    let mut is_affordable = true;
    if let Some((recipient, amount)) = matured.filter(|(_, amount)| *amount > 0) {
        purses.entry(recipient).or_default().balance += amount;
    }
    for transaction in transactions {
        let Transaction::Transfer(transfer) = transaction else { continue };
        let sender = purses.entry(transfer.sender_address()).or_default();
        let cost = transfer.amount.saturating_add(transfer.fee);
        if sender.balance < cost || sender.nonce != transfer.nonce {
            is_affordable = false;
            continue;
        }
        sender.balance -= cost;
        sender.nonce += 1;
        purses.entry(transfer.recipient).or_default().balance += transfer.amount;
    }
    purses.retain(|_, purse| *purse != Purse::default());
    is_affordable
}

/// LtHash16 as published: the sum, lane by lane, of the expansions of all accounts.
pub(super) fn commitment(purses: &Purses) -> [u8; 32] {
    let mut lanes = vec![0_u16; 1_024];
    for (address, Purse { balance, nonce }) in purses {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"chain/account/1").update(address.as_bytes());
        hasher.update(&balance.to_le_bytes()).update(&nonce.to_le_bytes());
        let mut expansion = vec![0; 2_048];
        hasher.finalize_xof().fill(&mut expansion);
        for (at, lane) in lanes.iter_mut().enumerate() {
            let term = u16::from_le_bytes([expansion[2 * at], expansion[2 * at + 1]]);
            *lane = lane.wrapping_add(term);
        }
    }
    let bytes: Vec<u8> = lanes.iter().flat_map(|lane| lane.to_le_bytes()).collect();
    chain::hash::sha256(&bytes)
}

/// Whether a header proves its work.
pub(crate) fn is_met(header: &Header) -> bool {
    header.bits.target().is_ok_and(|target| target.is_met_by(header.hash().as_bytes()))
}

/// Seconds later.
pub(crate) fn later(time: Timestamp, seconds: i64) -> Timestamp {
    let seconds = i64::from(time.get()) + seconds;
    Timestamp::new(u32::try_from(seconds).expect("a time of a test is in range"))
}
