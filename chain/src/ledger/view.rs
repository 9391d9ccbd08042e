//! The chain as readers see it: one tip, for as long as the view is held.

use super::draft::Rows;
use super::writer::read_block;
use super::{Shared, State};
use crate::accounts::{Account, AccountView};
use crate::address::Address;
use crate::amount::Amount;
use crate::block::{self, Block, Header, Height};
use crate::codec::Decoder;
use crate::mempool::Mempool;
use crate::params::Params;
use crate::store::StoreError;
use crate::store::rows::{ENTRIES_PER_PAGE, Entry};
use crate::tree::{Node, Number, Status};
use crate::tx::Id;
use std::sync::RwLockReadGuard;

/// A view of one tip. The writer waits while it is held.
pub struct View<'a> {
    params: &'a Params,
    state: RwLockReadGuard<'a, State>,
}

/// The end of a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Branch {
    /// Its last block.
    pub hash: block::Hash,
    /// The height of that.
    pub height: Height,
    /// Blocks that are not in the best chain.
    pub length: u32,
    /// What is known of it.
    pub status: BranchStatus,
}

/// What is known of a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BranchStatus {
    /// The best chain.
    Active,
    /// As good, but with no more work.
    ValidFork,
    /// It breaks a rule.
    Invalid {
        /// The rule's code.
        code: &'static str,
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
    pub fn tip(&self) -> &Node {
        self.state.tree.node(self.state.tip())
    }

    /// Blocks of all branches, genesis included.
    pub fn blocks(&self) -> usize {
        self.state.visible
    }

    /// A block of this view by its number.
    pub fn node(&self, number: Number) -> &Node {
        self.state.tree.node(number)
    }

    /// The block at a height of the best chain.
    pub fn at(&self, height: Height) -> Option<&Node> {
        let number = self.state.best.get(height.get() as usize)?;
        Some(self.node(*number))
    }

    /// The block of a hash, on whatever branch.
    pub fn find(&self, hash: &block::Hash) -> Option<&Node> {
        let number = self.state.tree.find(hash)?;
        ((number.get() as usize) < self.state.visible).then(|| self.node(number))
    }

    /// Whether a block is in the best chain.
    pub fn is_best(&self, node: &Node) -> bool {
        self.at(node.height).is_some_and(|best| best.hash == node.hash)
    }

    /// Blocks from one of the best chain up to the tip, itself included; 0 for any other.
    pub fn confirmations(&self, node: &Node) -> u32 {
        let deep = self.tip().height.get().saturating_sub(node.height.get());
        if self.is_best(node) { deep.saturating_add(1) } else { 0 }
    }

    /// The ends of all branches: the best chain first, then the highest.
    pub fn branches(&self) -> Vec<Branch> {
        let tree = &self.state.tree;
        let length = |from| {
            let path = tree.path(self.state.tip(), from);
            u32::try_from(path.connect.len()).unwrap_or(u32::MAX)
        };
        let visible = |number: &Number| (number.get() as usize) < self.state.visible;
        let kept = tree.tips().filter(visible).map(|number| {
            let node = tree.node(number);
            let status = match (tree.invalid_ancestor(number), number == self.state.tip()) {
                (Some((_, code)), _) => BranchStatus::Invalid { code },
                (None, true) => BranchStatus::Active,
                (None, false) => BranchStatus::ValidFork,
            };
            Branch { hash: node.hash, height: node.height, length: length(number), status }
        });
        let refused = tree.all_condemned().filter(|(_, refused)| visible(&refused.parent));
        let refused = refused.map(|(hash, refused)| Branch {
            hash,
            height: tree.node(refused.parent).height.next().unwrap_or_default(),
            length: length(refused.parent).saturating_add(1),
            status: BranchStatus::Invalid { code: refused.code },
        });
        let mut branches: Vec<Branch> = kept.chain(refused).collect();
        // The tip of the best chain may have refused or side children only: it is always listed.
        if !branches.iter().any(|branch| branch.status == BranchStatus::Active) {
            let Node { hash, height, .. } = *self.tip();
            branches.push(Branch { hash, height, length: 0, status: BranchStatus::Active });
        }
        let inactive = |branch: &Branch| branch.status != BranchStatus::Active;
        branches.sort_by_key(|branch| {
            (inactive(branch), std::cmp::Reverse(branch.height), branch.hash)
        });
        branches
    }

    /// A whole block.
    pub fn block(&self, node: &Node) -> Result<Block, StoreError> {
        read_block(&self.state.log, node.place)
    }

    /// A whole block as encoded.
    pub fn raw_block(&self, node: &Node) -> Result<Vec<u8>, StoreError> {
        Ok(self.state.log.read(node.place)?.1)
    }

    /// A header and the number of transactions, read without those.
    pub fn head(&self, node: &Node) -> Result<(Header, u32), StoreError> {
        let bytes = self.state.log.read_prefix(node.place, 84)?;
        let mut input = Decoder::new(&bytes);
        let read = Header::read(&mut input).and_then(|header| Ok((header, input.u32()?)));
        read.map_err(|_| StoreError::BadRecord { place: node.place })
    }

    /// A header, read without its body.
    pub fn header(&self, node: &Node) -> Result<Header, StoreError> {
        Ok(self.head(node)?.0)
    }

    /// How many transactions of the best chain name an address.
    pub fn entries(&self, address: &Address) -> Result<u32, StoreError> {
        Ok(self.rows().account_row(address)?.entries)
    }

    /// Entries of an address's history below an index (oldest is 0), newest first, at most `limit`,
    /// each with its index.
    pub fn history(
        &self,
        address: &Address,
        below: u32,
        limit: usize,
    ) -> Result<Vec<(u32, Entry)>, StoreError> {
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
            let entry = Entry::of_page(bytes, at % ENTRIES_PER_PAGE);
            found.push((
                at,
                entry.ok_or_else(|| StoreError::BadRow {
                    key: crate::store::rows::page_key(address, number),
                })?,
            ));
        }
        Ok(found)
    }

    /// Rewards of an address that cannot be spent yet.
    pub fn immature(&self, address: &Address) -> Amount {
        let maturity = self.params.spec().maturity as usize;
        let recent = self.state.best.iter().skip(1).rev().take(maturity);
        recent
            .map(|number| self.node(*number))
            .filter(|node| node.miner == *address)
            .try_fold(Amount::ZERO, |sum, node| sum.checked_add(node.reward))
            .expect("`Params::new` checked the sum of all issuance")
    }

    /// Where a transaction stands in the best chain.
    pub fn transaction(&self, id: &Id) -> Result<Option<(Block, Entry)>, StoreError> {
        for height in self.rows().heights(id)? {
            let Some(node) = self.at(height) else { continue };
            let block = self.block(node)?;
            let position =
                block.transactions.iter().position(|transaction| transaction.id() == *id);
            if let Some(position) = position.and_then(|position| u32::try_from(position).ok()) {
                return Ok(Some((block, Entry { height, position })));
            }
        }
        Ok(None)
    }

    /// Transfers that wait for a block.
    pub fn mempool(&self) -> &Mempool {
        &self.state.mempool
    }

    /// Whether a block is known to be valid with all its ancestors.
    pub fn is_valid(&self, node: &Node) -> bool {
        matches!(node.status, Status::Valid { .. })
    }
}

impl AccountView for View<'_> {
    type Error = StoreError;

    fn account(&self, address: &Address) -> Result<Account, StoreError> {
        self.rows().account(address)
    }
}
