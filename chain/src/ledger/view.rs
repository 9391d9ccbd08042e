//! The chain as readers see it: one tip, for as long as the view is held.

use super::overlay::Rows;
use super::writer::{read_block, read_undo};
use super::{Shared, State};
use crate::accounts::{Account, AccountView, Undo};
use crate::address::Address;
use crate::amount::Amount;
use crate::block::{self, Block, Header, Height};
use crate::block_index::{BlockNode, NodeId, Status};
use crate::ledger::schema::{ENTRIES_PER_PAGE, TxLocation};
use crate::mempool::Mempool;
use crate::params::Params;
use crate::rules::Rule;
use crate::rules::header::Parent;
use crate::store::StoreError;
use crate::store::blocks::LogReader;
use crate::tx::Id;
use std::sync::RwLockReadGuard;

/// Bytes of a header in the log.
const HEADER_BYTES: u32 = 80;
/// Bytes of a header and the count of transactions behind it.
pub(super) const HEAD_BYTES: u32 = 84;

/// A view of one tip. The writer waits while it is held.
pub struct View<'a> {
    params: &'a Params,
    state: RwLockReadGuard<'a, State>,
}

/// The end of a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainTip {
    /// Its last block.
    pub hash: block::Hash,
    /// The height of that.
    pub height: Height,
    /// Blocks that are not in the best chain.
    pub branch_length: u32,
    /// What is known of it.
    pub status: ChainTipStatus,
}

/// What is known of a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainTipStatus {
    /// The best chain.
    Active,
    /// As good, but with no more work.
    ValidFork,
    /// Its operator does not want this node to follow it.
    Invalidated,
    /// It breaks a rule.
    Invalid {
        /// The rule's code.
        rule: Rule,
    },
}

impl<'a> View<'a> {
    pub(super) fn new(shared: &'a Shared) -> View<'a> {
        View { params: &shared.params, state: shared.read() }
    }

    fn rows(&self) -> Rows<'_> {
        Rows::new(None, &self.state.cached, &self.state.index)
    }

    /// The network's parameters.
    pub fn params(&self) -> &'a Params {
        self.params
    }

    /// The best block.
    pub fn tip(&self) -> &BlockNode {
        self.state.tree.node(self.state.tip())
    }

    /// Blocks of all branches, genesis included.
    pub fn block_count(&self) -> usize {
        self.state.visible
    }

    /// A block of this view by its number.
    pub fn node(&self, number: NodeId) -> &BlockNode {
        self.state.tree.node(number)
    }

    /// The block at a height of the best chain.
    pub fn at_height(&self, height: Height) -> Option<&BlockNode> {
        let number = self.state.best.get(height.get() as usize)?;
        Some(self.node(*number))
    }

    /// The block of a hash, on whatever branch.
    pub fn find(&self, hash: &block::Hash) -> Option<&BlockNode> {
        let number = self.state.tree.find(hash)?;
        ((number.get() as usize) < self.state.visible).then(|| self.node(number))
    }

    /// Whether a block is in the best chain.
    pub fn is_in_best_chain(&self, node: &BlockNode) -> bool {
        self.at_height(node.height).is_some_and(|best| best.hash == node.hash)
    }

    /// Blocks from one of the best chain up to the tip, itself included; 0 for any other.
    pub fn confirmations(&self, node: &BlockNode) -> u32 {
        let deep = self.tip().height.get().saturating_sub(node.height.get());
        if self.is_in_best_chain(node) { deep.saturating_add(1) } else { 0 }
    }

    /// The ends of all branches: the best chain first, then the highest.
    pub fn chain_tips(&self) -> Vec<ChainTip> {
        let State { tree, tips, aside, .. } = &*self.state;
        let best = self.state.tip();
        let side = tips.iter().filter(|number| **number != best).map(|number| {
            let BlockNode { hash, height, .. } = *tree.node(*number);
            let status = match tree.invalid_ancestor(*number) {
                Some((_, rule)) => ChainTipStatus::Invalid { rule },
                None if aside.contains(*number) => ChainTipStatus::Invalidated,
                None => ChainTipStatus::ValidFork,
            };
            ChainTip { hash, height, branch_length: self.length(*number), status }
        });
        let visible = |number: NodeId| (number.get() as usize) < self.state.visible;
        let refused = tree.invalid_blocks().filter(|(_, refused)| visible(refused.parent));
        let refused = refused.map(|(hash, refused)| ChainTip {
            hash,
            height: tree.node(refused.parent).height.next().unwrap_or_default(),
            branch_length: self.length(refused.parent).saturating_add(1),
            status: ChainTipStatus::Invalid { rule: refused.rule },
        });
        let mut chain_tips: Vec<ChainTip> = side.chain(refused).collect();
        chain_tips.sort_by_key(|branch| (std::cmp::Reverse(branch.height), branch.hash));
        let BlockNode { hash, height, .. } = *self.tip();
        chain_tips
            .insert(0, ChainTip { hash, height, branch_length: 0, status: ChainTipStatus::Active });
        chain_tips
    }

    /// Blocks of a branch that are not in the best chain.
    fn length(&self, end: NodeId) -> u32 {
        let (mut at, mut length) = (end, 0_u32);
        while !self.state.is_best(at) {
            at = self.state.tree.node(at).parent;
            length = length.saturating_add(1);
        }
        length
    }

    /// A whole block.
    pub fn block(&self, node: &BlockNode) -> Result<Block, StoreError> {
        read_block(&self.state.log, node)
    }

    /// A whole block as encoded.
    pub fn raw_block(&self, node: &BlockNode) -> Result<Vec<u8>, StoreError> {
        raw_block(&self.state.log, node)
    }

    /// A header and the number of transactions, read without those.
    pub fn header_and_count(&self, node: &BlockNode) -> Result<(Header, u32), StoreError> {
        head_of(node, &self.state.log.read_prefix(node.location, HEAD_BYTES)?)
    }

    /// A header, read without its body.
    pub fn header(&self, node: &BlockNode) -> Result<Header, StoreError> {
        header_of(node, &self.state.log.read_prefix(node.location, HEADER_BYTES)?)
    }

    /// What the accounts that a block of the best chain changed were before it.
    pub(super) fn undo(&self, node: &BlockNode) -> Result<Undo, StoreError> {
        read_undo(&self.state.log, node)
    }

    /// How many transactions of the best chain name an address.
    pub fn transaction_count(&self, address: &Address) -> Result<u32, StoreError> {
        Ok(self.rows().account_row(address)?.entries)
    }

    /// Entries of an address's history below an index (oldest is 0), newest first, at most `limit`,
    /// each with its index.
    pub fn history(
        &self,
        address: &Address,
        below: u32,
        limit: usize,
    ) -> Result<Vec<(u32, TxLocation)>, StoreError> {
        let rows = self.rows();
        let below = below.min(rows.account_row(address)?.entries);
        let mut found = Vec::new();
        let mut page: Option<(u32, Vec<u8>)> = None;
        for at in (0..below).rev().take(limit) {
            let number = at / ENTRIES_PER_PAGE;
            let bytes = match &page {
                Some((loaded, bytes)) if *loaded == number => bytes,
                _ => &page.insert((number, rows.page(address, number)?)).1,
            };
            let entry = TxLocation::of_page(bytes, at % ENTRIES_PER_PAGE);
            found.push((
                at,
                entry.ok_or_else(|| StoreError::BadRow {
                    key: crate::ledger::schema::page_key(address, number),
                })?,
            ));
        }
        Ok(found)
    }

    /// Rewards of an address that cannot be spent yet.
    pub fn immature_balance(&self, address: &Address) -> Amount {
        let maturity = self.params.spec().maturity as usize;
        let recent = self.state.best.iter().skip(1).rev().take(maturity);
        recent
            .map(|number| self.node(*number))
            .filter(|node| node.miner == *address)
            .try_fold(Amount::ZERO, |sum, node| sum.checked_add(node.reward))
            .expect("`Params::new` checked the sum of all issuance")
    }

    /// Where a transaction stands in the best chain.
    pub fn transaction(&self, id: &Id) -> Result<Option<(Block, TxLocation)>, StoreError> {
        for entry in self.rows().entries(id)? {
            let Some(node) = self.at_height(entry.height) else { continue };
            let block = self.block(node)?;
            let found = block.transactions.get(entry.position as usize);
            if found.is_some_and(|transaction| transaction.id() == *id) {
                return Ok(Some((block, entry)));
            }
        }
        Ok(None)
    }

    /// Transfers that wait for a block.
    pub fn mempool(&self) -> &Mempool {
        &self.state.mempool
    }

    /// Whether a block is known to be valid with all its ancestors.
    pub fn is_valid(&self, node: &BlockNode) -> bool {
        node.undo().is_some()
    }

    /// Whether a block, or an ancestor, is known to break a rule.
    pub fn is_invalid(&self, node: &BlockNode) -> bool {
        matches!(node.status, Status::Invalid { .. })
    }

    /// Whether a block was refused for ever without being kept.
    pub fn is_known_invalid(&self, hash: &block::Hash) -> bool {
        self.state.tree.invalid_block(hash).is_some()
    }

    /// What the rules need to know of a block to judge its child.
    pub fn as_parent(&self, node: &BlockNode) -> Parent {
        let grandparent = (node.height > Height::GENESIS).then(|| self.node(node.parent).time);
        Parent { bits: node.bits, time: node.time, grandparent_time: grandparent }
    }
}

/// A block as it is in the log.
pub(super) fn raw_block(log: &LogReader, node: &BlockNode) -> Result<Vec<u8>, StoreError> {
    let bytes = log.read(node.location)?.1;
    let header = bytes.get(..Header::BYTES).unwrap_or_default();
    header_of(node, header).map(|_| bytes)
}

/// The header that a block's first bytes must be, and its number of transactions.
pub(super) fn head_of(node: &BlockNode, bytes: &[u8]) -> Result<(Header, u32), StoreError> {
    let (header, count) = bytes.split_at_checked(Header::BYTES).unwrap_or((bytes, &[]));
    let header = header_of(node, header)?;
    let count = count.try_into().map_err(|_| StoreError::BadRecord { location: node.location })?;
    Ok((header, u32::from_le_bytes(count)))
}

/// The header that these bytes must be.
pub(super) fn header_of(node: &BlockNode, bytes: &[u8]) -> Result<Header, StoreError> {
    let header = Header::decode(bytes).ok().filter(|header| header.hash() == node.hash);
    header.ok_or(StoreError::BadRecord { location: node.location })
}

impl AccountView for View<'_> {
    type Error = StoreError;

    fn account(&self, address: &Address) -> Result<Account, StoreError> {
        self.rows().account(address)
    }
}
