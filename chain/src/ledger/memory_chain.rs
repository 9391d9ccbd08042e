//! A chain that is replayed from the log with all accounts in memory, and without the index.

use super::error::{OpenError, VerifyError};
use super::records::{LoggedRecord, read_block_at, read_checked_block, read_undo};
use super::reorg::matured_reward;
use super::state::OperatorBlocks;
use crate::accounts::{Account, AccountChange, LtHash, Overlay, Undo};
use crate::address::Address;
use crate::amount::Amount;
use crate::block::{self, Height};
use crate::block_index::{BlockIndex, NodeFields, NodeId};
use crate::params::Params;
use crate::rules::body::{self, BlockContext, CheckedBlock, ConnectError, Reward};
use crate::rules::{RuleError, header};
use crate::store::StoreError;
use crate::store::blocks::{LogReader, RecordLocation};
use std::collections::{BTreeSet, HashMap};

/// The report of a successful verification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyReport {
    /// The height of the best block.
    pub height: Height,
    /// The hash of the best block.
    pub tip: block::Hash,
    /// The number of blocks in the log, including side branches.
    pub blocks: usize,
    /// The number of transfers in the best chain.
    pub transfers: u64,
    /// The number of accounts that are not absent.
    pub accounts: usize,
    /// The total issuance, including immature rewards.
    pub issued: Amount,
    /// The digest of all accounts, to which the best block commits.
    pub commitment: [u8; 32],
    /// The reason why the next start rebuilds the index, which was not compared then; `None` if the
    /// index matches the blocks.
    pub unused_index: Option<String>,
}

/// A chain in memory.
pub(super) struct MemoryChain<'a> {
    params: &'a Params,
    log: LogReader,
    threads: usize,
    blocks: BlockIndex,
    invalidated: OperatorBlocks,
    /// The block records after genesis.
    records: Vec<RecordLocation>,
    /// The undo records of blocks. A block with one was connected, so it must be valid.
    undos: HashMap<block::Hash, RecordLocation>,
    /// The undo data of connected blocks without a record.
    unlogged_undos: HashMap<NodeId, Undo>,
    /// The number of transfers of each block.
    transfers: Vec<usize>,
    accounts: HashMap<Address, Account>,
    accounts_hash: LtHash,
    tip: NodeId,
}

impl<'a> MemoryChain<'a> {
    /// Starts at genesis, which must be the first record.
    pub(super) fn new(
        params: &'a Params,
        log: LogReader,
        threads: usize,
        invalidated: BTreeSet<block::Hash>,
        records: Vec<LoggedRecord>,
    ) -> Result<MemoryChain<'a>, OpenError> {
        let (mut blocks, mut undos) = (Vec::new(), HashMap::new());
        for record in records {
            match record {
                LoggedRecord::Block(location) => blocks.push(location),
                LoggedRecord::Undo(hash, location) => {
                    undos.insert(hash, location);
                }
            }
        }
        let mut blocks = blocks.into_iter();
        let location = blocks.next().ok_or_else(|| StoreError::from(log.missing_file(0)))?;
        if read_block_at(&log, location)? != *params.genesis() {
            let reason = "the log does not start with this network's genesis block".into();
            return Err(OpenError::InvalidRecord { location, reason });
        }
        let undo = undos.get(&params.genesis_hash()).copied().unwrap_or(location);
        let records = blocks.collect();
        let blocks = BlockIndex::new(&params.genesis().header, location, undo);
        let allocations = params.spec().allocations.iter();
        let account = |balance| Account { balance, nonce: 0 };
        Ok(MemoryChain {
            params,
            log,
            threads,
            invalidated: OperatorBlocks::new(invalidated, &blocks),
            blocks,
            records,
            undos,
            unlogged_undos: HashMap::new(),
            transfers: vec![0],
            accounts: allocations.map(|(address, funds)| (*address, account(*funds))).collect(),
            accounts_hash: params.genesis_accounts_hash().clone(),
            tip: NodeId::GENESIS,
        })
    }

    /// Accepts all blocks of the log. Calls `progress` with the number of accepted blocks and their
    /// total number.
    pub(super) fn replay(
        &mut self,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<(), VerifyError> {
        /// The number of blocks between two calls of `progress`.
        const STEP: usize = 256;
        let records = std::mem::take(&mut self.records);
        let total = records.len();
        for (done, location) in records.into_iter().enumerate() {
            if done % STEP == 0 {
                progress(done, total);
            }
            self.accept(location)?;
        }
        progress(total, total);
        Ok(())
    }

    /// Validates a block in isolation, and connects it if that is the best chain.
    fn accept(&mut self, location: RecordLocation) -> Result<(), VerifyError> {
        let invalid = |reason: String| OpenError::InvalidRecord { location, reason };
        let broken = |error: RuleError| invalid(format!("{}: {error}", error.code()));
        let block = read_block_at(&self.log, location)?;
        let (header, hash) = (block.header, block.hash());
        if self.blocks.find(&hash).is_some() {
            return Ok(());
        }
        header::check_standalone(&header, self.params).map_err(broken)?;
        let parent = self.blocks.find(&header.previous);
        let parent = parent.ok_or_else(|| {
            invalid(format!("unknown-parent: its parent {} does not precede it", header.previous))
        })?;
        let context = self.blocks.as_parent(parent);
        header::check_contextual(&header, &context, self.params, header.time).map_err(broken)?;
        let block = body::check(block, self.params, |_| false, self.threads).map_err(broken)?;
        let coinbase = block.coinbase();
        let amount = Amount::new(coinbase.reward).unwrap_or(Amount::MAX);
        let reward = Reward { recipient: coinbase.recipient, amount };
        let id = self.blocks.insert(NodeFields::new(&header, parent, location, reward));
        self.invalidated.add_block(id, &hash, parent);
        self.transfers.push(block.transfers().len());
        let node = self.blocks.node(id);
        let is_heavier = node.chain_work > self.blocks.node(self.tip).chain_work;
        if !is_heavier || node.is_invalid() || self.invalidated.contains(id) {
            return Ok(());
        }
        if parent == self.tip {
            self.connect_or_mark(id, &block)?;
        } else {
            self.move_tip(id)?;
        }
        Ok(())
    }

    /// Moves the tip to another block. If a block on the way is invalid, it is marked, the tip does
    /// not change, and this returns false.
    pub(super) fn move_tip(&mut self, to: NodeId) -> Result<bool, VerifyError> {
        let from = self.tip;
        let path = self.blocks.path(from, to);
        for id in path.disconnect {
            self.disconnect(id)?;
        }
        for id in path.connect {
            let block = read_checked_block(&self.log, self.blocks.node(id), self.params)?;
            if !self.connect_or_mark(id, &block)? {
                self.move_tip(from)?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Connects a block to the tip. A block that was only ever stored may be invalid: then it is
    /// marked, and this returns false.
    fn connect_or_mark(&mut self, id: NodeId, block: &CheckedBlock) -> Result<bool, VerifyError> {
        let Err(error) = self.connect(id, block)? else { return Ok(true) };
        let node = self.blocks.node(id);
        if node.is_valid() || self.undos.contains_key(&node.hash) {
            return Err(VerifyError::Block { height: node.height, hash: node.hash, error });
        }
        self.blocks.set_invalid(id, error.rule());
        Ok(false)
    }

    fn connect(
        &mut self,
        id: NodeId,
        block: &CheckedBlock,
    ) -> Result<Result<(), RuleError>, VerifyError> {
        let node = *self.blocks.node(id);
        let matured = matured_reward(&self.blocks, self.params, node.parent);
        let context = BlockContext { height: node.height, matured };
        let mut overlay = Overlay::new(&self.accounts);
        let mut accounts_hash = self.accounts_hash.clone();
        let connected = body::connect(
            block,
            &context,
            self.params,
            &mut overlay,
            &mut accounts_hash,
            self.threads,
        );
        let changes = match connected {
            Ok(changes) => changes,
            Err(ConnectError::Rule(error)) => return Ok(Err(error)),
            Err(ConnectError::View(never)) => match never {},
        };
        let undo = Undo::of(&changes);
        if let Some(location) = self.undos.get(&node.hash).copied() {
            self.blocks.set_valid(id, location);
            if read_undo(&self.log, self.blocks.node(id))? != undo {
                return Err(VerifyError::Undo { height: node.height, hash: node.hash, location });
            }
        } else {
            self.blocks.set_valid(id, node.location);
            self.unlogged_undos.insert(id, undo);
        }
        self.accounts.extend(changes.iter().map(|change| (change.address, change.after)));
        self.accounts_hash = accounts_hash;
        self.tip = id;
        Ok(Ok(()))
    }

    fn disconnect(&mut self, id: NodeId) -> Result<(), StoreError> {
        let undo = match self.unlogged_undos.get(&id) {
            Some(undo) => undo.clone(),
            None => read_undo(&self.log, self.blocks.node(id))?,
        };
        let change = |(address, after): &(Address, Account)| AccountChange {
            address: *address,
            before: self.accounts.get(address).copied().unwrap_or_default(),
            after: *after,
        };
        let changes: Vec<AccountChange> = undo.accounts().iter().map(change).collect();
        self.accounts_hash.apply(&changes, self.threads);
        self.accounts.extend(undo.accounts().iter().copied());
        self.tip = self.blocks.node(id).parent;
        Ok(())
    }

    pub(super) fn find(&self, hash: &block::Hash) -> Option<NodeId> {
        self.blocks.find(hash)
    }

    /// Returns the accounts at the tip, some of which may be absent.
    pub(super) fn accounts(&self) -> &HashMap<Address, Account> {
        &self.accounts
    }

    pub(super) fn report(&self) -> VerifyReport {
        let tip = self.blocks.node(self.tip);
        let transfers = self.best_chain().map(|id| self.transfers[id.get() as usize] as u64);
        VerifyReport {
            height: tip.height,
            tip: tip.hash,
            blocks: self.blocks.len(),
            transfers: transfers.sum(),
            accounts: self.accounts.values().filter(|account| !account.is_absent()).count(),
            issued: self.params.issued(tip.height),
            commitment: self.accounts_hash.digest(),
            unused_index: None,
        }
    }

    /// Returns the blocks of the best chain after genesis, the tip first.
    fn best_chain(&self) -> impl Iterator<Item = NodeId> {
        let parent = |id: &NodeId| Some(self.blocks.node(*id).parent);
        std::iter::successors(Some(self.tip), parent).take_while(|id| *id != NodeId::GENESIS)
    }

    pub(super) fn check_supply(&self) -> Result<(), VerifyError> {
        let immature = self.best_chain().take(self.params.spec().maturity as usize);
        let immature: u64 = immature.map(|id| self.blocks.node(id).reward.units()).sum();
        let balances: u64 = self.accounts.values().map(|account| account.balance.units()).sum();
        let expected = self.params.issued(self.blocks.node(self.tip).height).units();
        let found = balances.saturating_add(immature);
        if found == expected { Ok(()) } else { Err(VerifyError::Supply { found, expected }) }
    }
}
