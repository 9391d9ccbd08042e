//! The effects of every block, computed without optimisation.

use super::BlockBuilder;
use chain::difficulty::Schedule;
use chain::tx::Id;
use chain::{Address, Amount, Bits, Block, Params, Timestamp, Transaction, Work, block};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The balance, in base units, and the nonce of an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AccountState {
    pub(crate) balance: u64,
    pub(crate) nonce: u64,
}

/// All accounts that are not absent.
pub(crate) type AccountStates = BTreeMap<Address, AccountState>;

/// A block with its effects.
#[derive(Clone, Debug)]
pub(crate) struct BlockEntry {
    pub(crate) block: Block,
    pub(crate) height: u32,
    /// The accounts after this block.
    pub(crate) accounts: AccountStates,
    /// Whether all its transfers have the next nonce and are covered by the balance.
    pub(crate) is_affordable: bool,
    /// The work of the chain up to this block.
    pub(crate) work: Work,
}

/// A tree of all blocks that were built.
pub(crate) struct Reference {
    pub(crate) params: Params,
    entries: HashMap<block::Hash, BlockEntry>,
    /// The number of builders so far, which makes every coinbase distinct.
    pub(super) builders: u64,
}

impl Reference {
    pub(crate) fn new(params: Params) -> Reference {
        let block = params.genesis().clone();
        let allocations = params.spec().allocations.iter();
        let account = |amount: &Amount| AccountState { balance: amount.units(), nonce: 0 };
        let accounts = allocations.map(|(address, amount)| (*address, account(amount))).collect();
        let work = work(block.header.bits);
        let genesis = BlockEntry { height: 0, accounts, is_affordable: true, work, block };
        let entries = HashMap::from([(params.genesis_hash(), genesis)]);
        Reference { params, entries, builders: 0 }
    }

    pub(crate) fn genesis(&self) -> block::Hash {
        self.params.genesis_hash()
    }

    pub(crate) fn entry(&self, hash: block::Hash) -> &BlockEntry {
        &self.entries[&hash]
    }

    pub(crate) fn block(&self, hash: block::Hash) -> &Block {
        &self.entries[&hash].block
    }

    pub(crate) fn account(&self, at: block::Hash, address: Address) -> AccountState {
        self.entries[&at].accounts.get(&address).copied().unwrap_or_default()
    }

    /// Returns a builder of a child of a block.
    pub(crate) fn build_on(&mut self, parent: block::Hash) -> BlockBuilder<'_> {
        BlockBuilder::new(self, parent)
    }

    /// Builds a chain of blocks without transfers.
    pub(crate) fn mine_chain(&mut self, parent: block::Hash, blocks: usize) -> Vec<Block> {
        let mut at = parent;
        let grow = |_| {
            let block = self.build_on(at).mine();
            at = block.hash();
            block
        };
        (0..blocks).map(grow).collect()
    }

    /// The hashes of the chain from genesis to a block, both included.
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

    /// The ancestor a number of blocks earlier; `None` before genesis.
    pub(crate) fn ancestor(&self, from: block::Hash, blocks: u32) -> Option<block::Hash> {
        (0..blocks).try_fold(from, |at, _| self.parent(at))
    }

    /// The bits that a child of a block must have.
    pub(crate) fn next_bits(&self, parent: block::Hash) -> Bits {
        let header = &self.block(parent).header;
        let grandparent = self.parent(parent).map(|hash| self.block(hash).header.time);
        Schedule::of(&self.params).next_bits((header.bits, header.time), grandparent)
    }

    /// The subsidy of the block at a height, in base units.
    pub(crate) fn subsidy(&self, height: u32) -> u64 {
        let spec = self.params.spec();
        let halvings = height / spec.halving_interval;
        let first = spec.initial_subsidy.units();
        if height == 0 { 0 } else { (0..halvings.min(64)).fold(first, |subsidy, _| subsidy / 2) }
    }

    /// The reward that matures in a child of a block: recipient and amount.
    pub(crate) fn matured(&self, parent: block::Hash) -> Option<(Address, u64)> {
        let block = self.ancestor(parent, self.params.spec().maturity - 1)?;
        (block != self.genesis()).then(|| self.reward(block))
    }

    /// The reward of a block: recipient and amount. It is zero without a coinbase.
    pub(crate) fn reward(&self, hash: block::Hash) -> (Address, u64) {
        let coinbase = self.block(hash).coinbase();
        coinbase.map_or((Address::ZERO, 0), |coinbase| (coinbase.recipient, coinbase.reward))
    }

    /// The sum of the rewards of an address that are not mature yet.
    pub(crate) fn immature(&self, tip: block::Hash, address: Address) -> u64 {
        let recent = (0..self.params.spec().maturity).map_while(|back| self.ancestor(tip, back));
        let rewards = recent.filter(|hash| *hash != self.genesis()).map(|hash| self.reward(hash));
        rewards.filter(|(recipient, _)| *recipient == address).map(|(_, amount)| amount).sum()
    }

    /// The sum of the allocations and of all subsidies up to a height.
    pub(crate) fn issued(&self, height: u32) -> u64 {
        let allocated = self.params.spec().allocations.iter().map(|(_, amount)| amount.units());
        allocated.sum::<u64>() + (1..=height).map(|height| self.subsidy(height)).sum::<u64>()
    }

    /// All addresses that occur in any block, and one that does not.
    pub(crate) fn addresses(&self) -> BTreeSet<Address> {
        let owners = self.entries.values().flat_map(|entry| entry.accounts.keys().copied());
        let coinbases = self.entries.values().filter_map(|entry| entry.block.coinbase());
        owners
            .chain(coinbases.map(|coinbase| coinbase.recipient))
            .chain([Address::from_bytes([0xee; 20])])
            .collect()
    }

    /// The ids of all transactions of all blocks.
    pub(crate) fn transactions(&self) -> BTreeSet<Id> {
        self.entries.values().flat_map(|entry| entry.block.ids()).collect()
    }

    /// The transactions of a chain that involve an address: height and position, oldest first.
    pub(crate) fn history(&self, tip: block::Hash, address: Address) -> Vec<(u32, u32)> {
        let mut found = Vec::new();
        for (height, hash) in (0..).zip(self.chain(tip)).skip(1) {
            for (position, transaction) in (0..).zip(&self.block(hash).transactions) {
                let is_involved = match transaction {
                    Transaction::Coinbase(coinbase) => coinbase.recipient == address,
                    Transaction::Transfer(transfer) => {
                        transfer.sender_address() == address || transfer.recipient == address
                    }
                };
                found.extend(is_involved.then_some((height, position)));
            }
        }
        found
    }

    pub(super) fn insert(
        &mut self,
        parent: block::Hash,
        block: Block,
        accounts: AccountStates,
        is_affordable: bool,
    ) {
        let parent = self.entry(parent);
        let (work, height) =
            (parent.work.saturating_add(work(block.header.bits)), parent.height + 1);
        let entry = BlockEntry { height, accounts, is_affordable, work, block };
        self.entries.insert(entry.block.hash(), entry);
    }
}

/// The work of the target that the bits encode; invalid bits have no work.
fn work(bits: Bits) -> Work {
    bits.target().map_or(Work::ZERO, chain::Target::work)
}

/// Applies a block: credits the matured reward, then applies the transfers in order. Omits
/// transfers that cannot be applied, and returns whether there were none.
pub(super) fn apply(
    accounts: &mut AccountStates,
    matured: Option<(Address, u64)>,
    transactions: &[Transaction],
) -> bool {
    let mut is_affordable = true;
    if let Some((recipient, amount)) = matured.filter(|(_, amount)| *amount > 0) {
        accounts.entry(recipient).or_default().balance += amount;
    }
    for transaction in transactions {
        let Transaction::Transfer(transfer) = transaction else { continue };
        let sender = accounts.entry(transfer.sender_address()).or_default();
        let cost = transfer.amount.saturating_add(transfer.fee);
        if sender.balance < cost || sender.nonce != transfer.nonce {
            is_affordable = false;
            continue;
        }
        sender.balance -= cost;
        sender.nonce += 1;
        accounts.entry(transfer.recipient).or_default().balance += transfer.amount;
    }
    accounts.retain(|_, account| *account != AccountState::default());
    is_affordable
}

/// The commitment to accounts by the definition of LtHash16: the lane-wise sum of their expansions.
pub(super) fn commitment(accounts: &AccountStates) -> [u8; 32] {
    let mut lanes = vec![0_u16; 1_024];
    for (address, AccountState { balance, nonce }) in accounts {
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

/// The time a number of seconds later.
pub(crate) fn add_seconds(time: Timestamp, seconds: i64) -> Timestamp {
    let seconds = i64::from(time.get()) + seconds;
    Timestamp::new(u32::try_from(seconds).expect("a time of a test is in range"))
}
