//! A consistent view of the chain at one tip.

use super::overlay::LayeredView;
use super::records::{read_block, read_header_and_count, read_raw_block, read_undo};
use super::schema::{self, LOCATIONS_PER_PAGE, TxLocation};
use super::state::{Shared, State};
use crate::accounts::{Account, AccountView, Undo};
use crate::address::Address;
use crate::amount::Amount;
use crate::block::{self, Block, Header, Height};
use crate::block_index::{BlockNode, NodeId};
use crate::mempool::Mempool;
use crate::params::Params;
use crate::rules::Rule;
use crate::rules::header::Parent;
use crate::store::StoreError;
use crate::tx::Id;
use std::cmp::Reverse;
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

    fn rows(&self) -> LayeredView<'_> {
        LayeredView::new(None, &self.state.unflushed, &self.state.index)
    }

    /// Returns the parameters of the network.
    pub fn params(&self) -> &'a Params {
        self.params
    }

    /// Returns the last block of the best chain.
    pub fn tip(&self) -> &BlockNode {
        self.node(self.state.tip())
    }

    /// Returns the number of blocks on all branches, including genesis.
    pub fn block_count(&self) -> usize {
        self.state.visible
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

    /// Returns the last blocks of all branches: the best chain first, then by descending height.
    pub fn chain_tips(&self) -> Vec<ChainTip> {
        let State { blocks, chain_tips, invalidated, .. } = &*self.state;
        let best = self.state.tip();
        let side = chain_tips.iter().filter(|id| **id != best).map(|id| {
            let BlockNode { hash, height, .. } = *blocks.node(*id);
            let status = match blocks.broken_rule(*id) {
                Some(rule) => ChainTipStatus::Invalid { rule },
                None if invalidated.contains(*id) => ChainTipStatus::Invalidated,
                None => ChainTipStatus::ValidFork,
            };
            ChainTip { hash, height, branch_length: self.branch_length(*id), status }
        });
        let invalid =
            blocks.invalid_blocks().filter(|(_, block)| self.state.is_visible(block.parent));
        let invalid = invalid.map(|(hash, block)| ChainTip {
            hash,
            height: blocks.node(block.parent).height.next().unwrap_or_default(),
            branch_length: self.branch_length(block.parent).saturating_add(1),
            status: ChainTipStatus::Invalid { rule: block.rule },
        });
        let mut tips: Vec<ChainTip> = side.chain(invalid).collect();
        tips.sort_by_key(|tip| (Reverse(tip.height), tip.hash));
        let BlockNode { hash, height, .. } = *self.tip();
        let status = ChainTipStatus::Active;
        tips.insert(0, ChainTip { hash, height, branch_length: 0, status });
        tips
    }

    fn branch_length(&self, tip: NodeId) -> u32 {
        let (mut id, mut length) = (tip, 0_u32);
        while !self.state.is_in_best_chain(id) {
            id = self.node(id).parent;
            length = length.saturating_add(1);
        }
        length
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

    /// Reads the undo data of a block of the best chain.
    pub(super) fn undo(&self, node: &BlockNode) -> Result<Undo, StoreError> {
        read_undo(&self.state.log, node)
    }

    /// Returns the number of transactions of the best chain that involve an address.
    pub fn transaction_count(&self, address: &Address) -> Result<u32, StoreError> {
        Ok(self.rows().account_row(address)?.transactions)
    }

    /// Returns up to `limit` transactions of an address's history with indexes below `below`, the
    /// newest first, each with its index. The oldest transaction has index 0.
    pub fn history(
        &self,
        address: &Address,
        below: u32,
        limit: usize,
    ) -> Result<Vec<(u32, TxLocation)>, StoreError> {
        let rows = self.rows();
        let below = below.min(rows.account_row(address)?.transactions);
        let mut found = Vec::new();
        let mut page: Option<(u32, Vec<u8>)> = None;
        for index in (0..below).rev().take(limit) {
            let number = index / LOCATIONS_PER_PAGE;
            let bytes = match &page {
                Some((loaded, bytes)) if *loaded == number => bytes,
                _ => &page.insert((number, rows.page(address, number)?)).1,
            };
            let location = TxLocation::read_from_page(bytes, index % LOCATIONS_PER_PAGE);
            let key = || schema::page_key(address, number);
            found.push((index, location.ok_or_else(|| StoreError::BadRow { key: key() })?));
        }
        Ok(found)
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
        for location in self.rows().locations(id)? {
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
