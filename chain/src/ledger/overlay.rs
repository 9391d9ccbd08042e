//! Staged rows, over rows that wait for the next commit, over the committed rows. A branch is
//! connected on staged rows; dropping them undoes everything.

use super::layers::{Layers, Rows};
use super::schema::{self, AccountRow, TxLocation};
use crate::accounts::{Account, AccountChange, AccountView, Undo};
use crate::address::Address;
use crate::block::{Block, Height};
use crate::rules::body::CheckedBlock;
use crate::store::StoreError;
use crate::store::sorted_run::RunFolder;
use crate::tx::Transaction;
use std::cell::RefCell;
use std::collections::HashMap;

/// A read-only view of the accounts of a tip.
#[derive(Clone, Copy)]
pub(super) struct AccountRows<'a> {
    uncommitted: Option<&'a Rows>,
    committed: &'a Layers,
}

impl<'a> AccountRows<'a> {
    pub(super) fn new(uncommitted: Option<&'a Rows>, committed: &'a Layers) -> AccountRows<'a> {
        AccountRows { uncommitted, committed }
    }

    pub(super) fn row(&self, address: &Address) -> Result<AccountRow, StoreError> {
        if let Some(rows) = self.uncommitted
            && let Some(row) = rows.account(address)?
        {
            return Ok(row);
        }
        Ok(self.committed.account(address)?.unwrap_or_default())
    }
}

impl AccountView for AccountRows<'_> {
    type Error = StoreError;

    fn account(&self, address: &Address) -> Result<Account, StoreError> {
        Ok(self.row(address)?.account)
    }
}

/// Staged changes of rows over a view. Those beyond a limit of the memory are in runs.
pub(super) struct StagedRows<'a> {
    base: AccountRows<'a>,
    changes: Rows,
    /// Rows of the base that were read for the block that is being connected.
    read: RefCell<HashMap<Address, AccountRow>>,
    /// The memory that staged rows may need, in bytes.
    limit_bytes: usize,
    runs: &'a RunFolder,
}

impl<'a> StagedRows<'a> {
    pub(super) fn new(
        base: AccountRows<'a>,
        limit_bytes: usize,
        runs: &'a RunFolder,
    ) -> StagedRows<'a> {
        let (changes, read) = (Rows::default(), RefCell::default());
        StagedRows { base, changes, read, limit_bytes, runs }
    }

    pub(super) fn into_changes(self) -> Rows {
        self.changes
    }

    fn account_row(&self, address: &Address) -> Result<AccountRow, StoreError> {
        if let Some(row) = self.changes.account(address)? {
            return Ok(row);
        }
        if let Some(row) = self.read.borrow().get(address) {
            return Ok(*row);
        }
        let row = self.base.row(address)?;
        self.read.borrow_mut().insert(*address, row);
        Ok(row)
    }

    /// Changes the row of an account, and returns it as it was.
    fn change(
        &mut self,
        address: Address,
        change: impl FnOnce(&mut AccountRow),
    ) -> Result<AccountRow, StoreError> {
        let StagedRows { base, changes, read, .. } = self;
        let (older, newest) = changes.parts();
        let row = newest.account_mut(address, || match older.account(&address)? {
            Some(row) => Ok(row),
            None => match read.get_mut().get(&address) {
                Some(row) => Ok(*row),
                None => base.row(&address),
            },
        })?;
        let before = *row;
        change(row);
        Ok(before)
    }

    fn set_account(&mut self, address: Address, account: Account) -> Result<(), StoreError> {
        self.change(address, |row| row.account = account).map(drop)
    }

    /// Stages the rows of a block that becomes the tip.
    pub(super) fn connect(
        &mut self,
        height: Height,
        block: &CheckedBlock,
        changes: &[AccountChange],
    ) -> Result<(), StoreError> {
        for change in changes {
            self.set_account(change.address, change.after)?;
        }
        let coinbase = (block.coinbase().recipient, 0);
        let transfers = block.transfers().iter().zip(1..).flat_map(|(details, position)| {
            let is_other = details.recipient != details.sender;
            let recipient = is_other.then_some((details.recipient, position));
            [Some((details.sender, position)), recipient].into_iter().flatten()
        });
        for (address, position) in std::iter::once(coinbase).chain(transfers) {
            let count =
                |row: &mut AccountRow| row.transactions = row.transactions.saturating_add(1);
            let index = self.change(address, count)?.transactions;
            self.changes.newest().put_history(address, index, TxLocation { height, position });
        }
        for (position, id) in (0..).zip(block.ids()) {
            let location = TxLocation { height, position };
            self.changes.newest().put_transaction(schema::id_prefix(id), location);
        }
        self.end_block()
    }

    /// Stages the rows after the tip is disconnected.
    pub(super) fn disconnect(
        &mut self,
        height: Height,
        block: &Block,
        undo: &Undo,
    ) -> Result<(), StoreError> {
        for address in participants(block) {
            let uncount = |row: &mut AccountRow| {
                row.transactions = row.transactions.saturating_sub(1);
            };
            if self.change(address, uncount)?.transactions == 0 {
                return Err(StoreError::BadRow { key: schema::account_key(&address).to_vec() });
            }
        }
        for (address, account) in undo.accounts() {
            self.set_account(*address, *account)?;
        }
        for (position, id) in (0..).zip(block.ids()) {
            let location = TxLocation { height, position };
            self.changes.newest().remove_transaction(schema::id_prefix(&id), location);
        }
        self.end_block()
    }

    fn end_block(&mut self) -> Result<(), StoreError> {
        self.read.get_mut().clear();
        if self.changes.memory_bytes() > self.limit_bytes {
            self.changes.spill(self.runs)?;
        }
        Ok(())
    }
}

impl AccountView for StagedRows<'_> {
    type Error = StoreError;

    fn account(&self, address: &Address) -> Result<Account, StoreError> {
        Ok(self.account_row(address)?.account)
    }
}

/// Returns the miner, the senders and the recipients of a block, each once per transaction.
fn participants(block: &Block) -> Vec<Address> {
    let mut found = Vec::with_capacity(block.transactions.len() * 2);
    for transaction in &block.transactions {
        match transaction {
            Transaction::Coinbase(coinbase) => found.push(coinbase.recipient),
            Transaction::Transfer(transfer) => {
                let sender = transfer.sender_address();
                found.push(sender);
                if transfer.recipient != sender {
                    found.push(transfer.recipient);
                }
            }
        }
    }
    found
}
