//! Support for tests: keys with funds on `dev`, the search for nonces at easy targets, and chains of
//! valid blocks that are mined in memory, without a ledger.
//!
//! This module exists only with the feature `testing`.
//!
//! ```
//! use chain::testing::{TestChain, dev_key};
//! use chain::{Address, Params};
//!
//! let mut chain = TestChain::new(Params::dev(), Address::ZERO);
//! let blocks = chain.mine(2);
//! assert_eq!(blocks[1].header.previous, blocks[0].hash());
//! assert_eq!(chain.balance(&dev_key(0).public_key().address()).to_string(), "10000");
//! ```

use crate::accounts::{Account, LtHash, Overlay};
use crate::address::Address;
use crate::amount::Amount;
use crate::block::{Block, Header, Height};
use crate::ledger::Writer;
use crate::merkle;
use crate::params::Params;
use crate::rules::body::{self, BlockContext, Reward};
use crate::rules::header::Parent;
use crate::rules::tx;
use crate::signature::SecretKey;
use crate::template::TemplateRequest;
use crate::tx::{Coinbase, Tag, Transaction, Transfer};
use std::collections::HashMap;

/// The seeds, in hexadecimal, of the keys of accounts 0' and 1', which genesis of `dev` funds.
const DEV_SEEDS: [&str; 2] = [
    "99a953439861639f9519f43b1697063bc40900eb5b307cd6d1168a6cd2d97ce7",
    "1b3abe0e9fe50d4f66db5ffb71d0852cdff76705e27e3fd36d1e0e49ab1202af",
];

/// Returns the key of account 0' or 1' of `dev`.
///
/// # Panics
/// Panics if the account is not 0 or 1.
pub fn dev_key(account: usize) -> SecretKey {
    let mut seed = [0; 32];
    hex::decode_to_slice(DEV_SEEDS[account], &mut seed).expect("the seeds are hexadecimal");
    SecretKey::from_seed(seed)
}

/// Whether the hash of a header meets the target of its bits. Invalid bits are never met.
pub fn meets_target(header: &Header) -> bool {
    header.bits.target().is_ok_and(|target| target.is_met_by(header.hash().as_bytes()))
}

/// Increments the nonce of a header until the hash meets the target. A header with invalid bits is
/// left unchanged.
pub fn solve_header(header: &mut Header) {
    while header.bits.target().is_ok() && !meets_target(header) {
        header.nonce = header.nonce.checked_add(1).expect("the target is easy");
    }
}

/// Increments the nonce of a header until the hash does not meet the target.
pub fn unsolve_header(header: &mut Header) {
    while meets_target(header) {
        header.nonce = header.nonce.checked_add(1).expect("some nonce does not meet the target");
    }
}

/// Sets the Merkle root of a block, and searches a nonce.
pub fn solve(mut block: Block) -> Block {
    block.header.merkle_root = merkle::root(&block.ids());
    solve_header(&mut block.header);
    block
}

/// Mines a block on the tip of a ledger, one second later and with transfers of the mempool.
///
/// # Panics
/// Panics if the ledger cannot build a template.
pub fn mine_on_tip(writer: &Writer, miner: Address) -> Block {
    let now = writer.reader().view().tip().time.saturating_add(1);
    let request = TemplateRequest { miner, now, extra_nonce: [0; 8], tag: Tag::default() };
    let mut block = writer.template(request).expect("there is a template").block;
    solve_header(&mut block.header);
    block
}

/// Returns a copy of a branch with a changed coinbase in the block at an index. The headers from
/// this block on are linked and solved again, so that the branch has no other fault.
///
/// # Panics
/// Panics if there is no block with a coinbase at the index.
pub fn with_changed_coinbase(
    branch: &[Block],
    index: usize,
    change: impl FnOnce(&mut Coinbase),
) -> Vec<Block> {
    let mut branch = branch.to_vec();
    let Transaction::Coinbase(coinbase) = &mut branch[index].transactions[0] else {
        panic!("the first transaction is a coinbase")
    };
    change(coinbase);
    let mut previous = branch[index].header.previous;
    for block in &mut branch[index..] {
        block.header.previous = previous;
        *block = solve(block.clone());
        previous = block.hash();
    }
    branch
}

/// A chain of valid blocks in memory, whose network must have an easy target.
#[derive(Clone, Debug)]
pub struct TestChain {
    params: Params,
    miner: Address,
    /// The blocks in order, without genesis.
    blocks: Vec<Block>,
    parent: Parent,
    accounts: HashMap<Address, Account>,
    accounts_hash: LtHash,
}

impl TestChain {
    /// Creates a chain of genesis only. The blocks that it mines pay a miner.
    pub fn new(params: Params, miner: Address) -> TestChain {
        let spec = params.spec();
        let parent =
            Parent { bits: spec.genesis_bits, time: spec.genesis_time, grandparent_time: None };
        let accounts = spec.allocations.iter();
        let accounts =
            accounts.map(|(address, balance)| (*address, Account { balance: *balance, nonce: 0 }));
        let (accounts, accounts_hash) =
            (accounts.collect(), params.genesis_accounts_hash().clone());
        TestChain { params, miner, blocks: Vec::new(), parent, accounts, accounts_hash }
    }

    /// The blocks of the chain in order, without genesis.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// The spendable balance of an address.
    pub fn balance(&self, address: &Address) -> Amount {
        self.accounts.get(address).map_or(Amount::ZERO, |account| account.balance)
    }

    /// Mines the next block, which contains the transfers in their order.
    ///
    /// # Panics
    /// Panics if a transfer is invalid.
    pub fn mine_block(&mut self, transfers: impl IntoIterator<Item = Transfer>) -> Block {
        let context = self.context();
        let mut overlay = Overlay::new(&self.accounts);
        body::mature(&mut overlay, &context).expect("a matured reward breaks no rule");
        let (mut reward, mut body) = (self.params.subsidy(context.height).units(), Vec::new());
        for transfer in transfers {
            let checked = tx::check(transfer, self.params.genesis_hash()).expect("it is valid");
            body::apply(&mut overlay, checked.details()).expect("the sender can pay it");
            reward = reward.saturating_add(checked.details().fee.units());
            body.push(Transaction::Transfer(checked.transfer().clone()));
        }
        let mut accounts_hash = self.accounts_hash.clone();
        accounts_hash.apply(&overlay.end_block(), 1);
        let coinbase = Coinbase {
            height: context.height,
            extra_nonce: [0; 8],
            tag: Tag::new(b"test tag".to_vec()).expect("the tag is short"),
            reward,
            recipient: self.miner,
            commitment: accounts_hash.digest(),
        };
        body.insert(0, Transaction::Coinbase(coinbase));
        let tip = self.blocks.last().unwrap_or(self.params.genesis());
        let header = Header {
            version: Header::VERSION,
            previous: tip.hash(),
            merkle_root: merkle::Root::ZERO,
            time: self.parent.time.saturating_add(self.params.spec().spacing_seconds),
            bits: self.parent.next_bits(&self.params),
            nonce: 0,
        };
        let block = solve(Block { header, transactions: body });
        self.connect(std::slice::from_ref(&block));
        block
    }

    /// Mines a number of blocks without transfers.
    pub fn mine(&mut self, count: usize) -> Vec<Block> {
        (0..count).map(|_| self.mine_block([])).collect()
    }

    /// Connects blocks that were mined elsewhere.
    ///
    /// # Panics
    /// Panics if the body of a block is invalid.
    pub fn connect(&mut self, blocks: &[Block]) {
        for block in blocks {
            let (context, params) = (self.context(), &self.params);
            let checked = body::check(block.clone(), params, |_| false, 1).expect("it is valid");
            let mut overlay = Overlay::new(&self.accounts);
            let accounts_hash = &mut self.accounts_hash;
            body::connect(&checked, &context, params, &mut overlay, accounts_hash, 1)
                .expect("the block is valid on its parent");
            let changes = overlay.into_changes();
            self.accounts.extend(changes);
            self.parent = self.parent.advance(&block.header);
            self.blocks.push(block.clone());
        }
    }

    /// The context of the next block.
    fn context(&self) -> BlockContext {
        let height = self.blocks.len().saturating_add(1);
        let height = Height::new(u32::try_from(height).expect("chains of tests are short"));
        let matured = height.checked_sub(self.params.spec().maturity);
        let matured = matured.and_then(|height| height.get().checked_sub(1)).map(|index| {
            let coinbase = self.blocks[index as usize].coinbase().expect("the block is valid");
            let amount = Amount::new(coinbase.reward).expect("the block is valid");
            Reward { recipient: coinbase.recipient, amount }
        });
        BlockContext { height, matured }
    }
}
