//! A consistent view of the chain at one tip.

use super::overlay::AccountRows;
use super::records::{read_block, read_header_and_count, read_raw_block};
use super::schema::{self, TxLocation};
use super::state::{Shared, State, TipKey};
use crate::accounts::{Account, AccountView};
use crate::address::Address;
use crate::amount::Amount;
use crate::block::{self, Block, Header, Height};
use crate::block_index::{BlockNode, InvalidBlock, NodeId};
use crate::mempool::Mempool;
use crate::params::Params;
use crate::pow::{Target, Work};
use crate::rules::Rule;
use crate::rules::header::Parent;
use crate::store::StoreError;
use crate::tx::Id;
use std::cmp::Reverse;
use std::ops::{Bound, RangeBounds};
use std::sync::RwLockReadGuard;

/// A view of the chain at one tip. The writer waits while it exists.
pub struct View<'a> {
    params: &'a Params,
    state: RwLockReadGuard<'a, State>,
}

/// The last block of a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainTip {
    /// The hash of the block.
    pub hash: block::Hash,
    /// The height of the block.
    pub height: Height,
    /// The number of blocks of the branch that are not in the best chain.
    pub branch_length: u32,
    /// The status of the branch.
    pub status: ChainTipStatus,
}

/// The position of a branch in the list of all branches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TipPosition {
    /// The best chain, which is the first.
    Active,
    /// A side branch, by the height and the hash of its last block.
    Side(Height, block::Hash),
}

impl ChainTip {
    /// Returns the position of the branch in the list of all branches.
    pub fn position(&self) -> TipPosition {
        match self.status {
            ChainTipStatus::Active => TipPosition::Active,
            _ => TipPosition::Side(self.height, self.hash),
        }
    }
}

/// The status of a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainTipStatus {
    /// The branch is the best chain.
    Active,
    /// The branch has no more work than the best chain, and none of its blocks is known to be
    /// invalid.
    ValidFork,
    /// The operator invalidated a block of the branch.
    Invalidated,
    /// A block of the branch breaks a rule.
    Invalid {
        /// The rule that a block of the branch breaks.
        rule: Rule,
    },
}

impl<'a> View<'a> {
    pub(super) fn new(shared: &'a Shared) -> View<'a> {
        View { params: &shared.params, state: shared.read() }
    }

    fn rows(&self) -> AccountRows<'_> {
        AccountRows::new(None, &self.state.rows)
    }

    /// Returns the parameters of the network.
    pub fn params(&self) -> &'a Params {
        self.params
    }

    /// Returns the last block of the best chain.
    pub fn tip(&self) -> &BlockNode {
        self.node(self.state.tip())
    }

    /// Returns the number of stored blocks on all branches, including genesis.
    pub fn block_count(&self) -> usize {
        self.state.visible.saturating_sub(self.state.blocks.pruned_count())
    }

    /// Returns the block with an id of this ledger.
    pub fn node(&self, id: NodeId) -> &BlockNode {
        self.state.blocks.node(id)
    }

    /// Returns the block at a height of the best chain.
    pub fn at_height(&self, height: Height) -> Option<&BlockNode> {
        let id = self.state.best_chain.get(height.get() as usize)?;
        Some(self.node(*id))
    }

    /// Returns the block with this hash, on any branch.
    pub fn find(&self, hash: &block::Hash) -> Option<&BlockNode> {
        let id = self.state.blocks.find(hash)?;
        self.state.is_visible(id).then(|| self.node(id))
    }

    /// Whether a block is in the best chain.
    pub fn is_in_best_chain(&self, node: &BlockNode) -> bool {
        self.at_height(node.height).is_some_and(|best| best.hash == node.hash)
    }

    /// Returns the number of blocks from this one to the tip, both included; 0 for a block that is
    /// not in the best chain.
    pub fn confirmations(&self, node: &BlockNode) -> u32 {
        let depth = self.tip().height.get().saturating_sub(node.height.get());
        if self.is_in_best_chain(node) { depth.saturating_add(1) } else { 0 }
    }

    /// Returns the last blocks of at most `limit` branches after a position in the list of all
    /// branches, which starts with the best chain and continues by descending height. The cost
    /// depends on the limit, not on the number or the lengths of the branches.
    pub fn chain_tips(&self, after: Option<TipPosition>, limit: usize) -> Vec<ChainTip> {
        let side = match after {
            None => {
                let side = self.side_tips(None, limit.saturating_sub(1));
                return [self.active_tip()].into_iter().chain(side).take(limit).collect();
            }
            Some(TipPosition::Active) => None,
            Some(TipPosition::Side(height, hash)) => Some((Reverse(height), hash)),
        };
        self.side_tips(side, limit)
    }

    fn active_tip(&self) -> ChainTip {
        let BlockNode { hash, height, .. } = *self.tip();
        ChainTip { hash, height, branch_length: 0, status: ChainTipStatus::Active }
    }

    fn side_tips(&self, after: Option<TipKey>, limit: usize) -> Vec<ChainTip> {
        let State { blocks, chain_tips, .. } = &*self.state;
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let best = self.state.tip();
        let stored = chain_tips.range((after, Bound::Unbounded)).filter(|(_, id)| **id != best);
        let stored = stored.take(limit).map(|(key, id)| (*key, self.stored_tip(*id)));
        // These are few, whatever the number of branches.
        let cached = blocks.invalid_blocks().filter_map(|(hash, block)| {
            let height = blocks.node(block.parent).height.next().unwrap_or_default();
            let key = (Reverse(height), hash);
            let is_listed = (after, Bound::Unbounded).contains(&key);
            (is_listed && self.state.is_visible(block.parent)).then_some((key, block))
        });
        let mut cached: Vec<_> = cached.collect();
        cached.sort_unstable_by_key(|(key, _)| *key);
        let cached = cached.into_iter().take(limit).map(|(key, InvalidBlock { parent, rule })| {
            let (Reverse(height), hash) = key;
            let branch_length = self.branch_length(parent, height);
            let status = ChainTipStatus::Invalid { rule };
            (key, ChainTip { hash, height, branch_length, status })
        });
        let mut tips: Vec<_> = stored.chain(cached).collect();
        tips.sort_unstable_by_key(|(key, _)| *key);
        tips.into_iter().map(|(_, tip)| tip).take(limit).collect()
    }

    fn stored_tip(&self, id: NodeId) -> ChainTip {
        let State { blocks, invalidated, .. } = &*self.state;
        let BlockNode { hash, height, .. } = *blocks.node(id);
        let status = match blocks.broken_rule(id) {
            Some(rule) => ChainTipStatus::Invalid { rule },
            None if invalidated.contains(id) => ChainTipStatus::Invalidated,
            None => ChainTipStatus::ValidFork,
        };
        ChainTip { hash, height, branch_length: self.branch_length(id, height), status }
    }

    /// Returns the number of blocks up to a height on the branch of a block that are not in the best
    /// chain.
    fn branch_length(&self, branch: NodeId, height: Height) -> u32 {
        height.get().saturating_sub(self.state.fork_height(branch).get())
    }

    /// Reads a block from the block log and decodes it.
    pub fn block(&self, node: &BlockNode) -> Result<Block, StoreError> {
        read_block(&self.state.log, node)
    }

    /// Reads an encoded block.
    pub fn raw_block(&self, node: &BlockNode) -> Result<Vec<u8>, StoreError> {
        read_raw_block(&self.state.log, node)
    }

    /// Reads the header of a block and the number of its transactions, without the transactions.
    pub fn header_and_count(&self, node: &BlockNode) -> Result<(Header, u32), StoreError> {
        read_header_and_count(&self.state.log, node)
    }

    /// Reads the header of a block, without the transactions.
    pub fn header(&self, node: &BlockNode) -> Result<Header, StoreError> {
        Ok(self.header_and_count(node)?.0)
    }

    /// Returns the number of transactions of the best chain that involve an address.
    pub fn transaction_count(&self, address: &Address) -> Result<u32, StoreError> {
        Ok(self.rows().row(address)?.transactions)
    }

    /// Returns up to `limit` transactions of an address's history with indexes below `below`, the
    /// newest first, each with its index. The oldest transaction has index 0.
    pub fn history(
        &self,
        address: &Address,
        below: u32,
        limit: usize,
    ) -> Result<Vec<(u32, TxLocation)>, StoreError> {
        let below = below.min(self.rows().row(address)?.transactions);
        let count = u32::try_from(limit).unwrap_or(u32::MAX).min(below);
        let indexes = below - count..below;
        let locations = self.state.rows.history(address, indexes.clone())?;
        Ok(indexes.zip(locations).rev().collect())
    }

    /// Returns the sum of an address's rewards that cannot be spent yet.
    pub fn immature_balance(&self, address: &Address) -> Amount {
        let maturity = self.params.spec().maturity as usize;
        let recent = self.state.best_chain.iter().skip(1).rev().take(maturity);
        recent
            .map(|id| self.node(*id))
            .filter(|node| node.miner == *address)
            .try_fold(Amount::ZERO, |sum, node| sum.checked_add(node.reward))
            .expect("`Params::new` checked the sum of all issuance")
    }

    /// Returns the location of a transaction in the best chain, with its block.
    pub fn transaction(&self, id: &Id) -> Result<Option<(Block, TxLocation)>, StoreError> {
        for location in self.state.rows.locations(&schema::id_prefix(id))? {
            let Some(node) = self.at_height(location.height) else { continue };
            let block = self.block(node)?;
            let found = block.transactions.get(location.position as usize);
            if found.is_some_and(|transaction| transaction.id() == *id) {
                return Ok(Some((block, location)));
            }
        }
        Ok(None)
    }

    /// Returns the mempool as of the view.
    pub fn mempool(&self) -> &Mempool {
        &self.state.mempool
    }

    /// Whether this is the hash of an invalid block that was not stored.
    pub fn is_known_invalid(&self, hash: &block::Hash) -> bool {
        self.state.blocks.invalid_block(hash).is_some()
    }

    /// Whether a child of a known block is worth storing, given the most work of a chain of valid
    /// headers through it that its sender knows.
    pub(super) fn is_worth_storing(&self, header: &Header, branch_work: Work) -> bool {
        let State { blocks, side_branches, .. } = &*self.state;
        let (hash, own) = (header.hash(), header.bits.target().map_or(Work::ZERO, Target::work));
        let Some(parent) = blocks.find(&header.previous) else { return false };
        let work = blocks.node(parent).chain_work.saturating_add(own);
        let branch_work = branch_work.max(work).max(side_branches.headers.most_work(&hash));
        let tip = self.state.tip();
        self.state.check_depth(self.params, tip, (&hash, parent), branch_work).is_ok()
    }

    /// Returns the context in which a child of this block is validated.
    pub fn as_parent(&self, node: &BlockNode) -> Parent {
        let grandparent_time = (node.height > Height::GENESIS).then(|| self.node(node.parent).time);
        Parent { bits: node.bits, time: node.time, grandparent_time }
    }
}

impl AccountView for View<'_> {
    type Error = StoreError;

    fn account(&self, address: &Address) -> Result<Account, StoreError> {
        self.rows().account(address)
    }
}
