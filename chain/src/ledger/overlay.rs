//! Rows in layers: a draft over what waits for the next commit, over what waits for the next
//! flush, over the index. A branch is tried on a draft; dropping it undoes everything.

use crate::accounts::{Account, AccountChange, AccountView, Undo};
use crate::address::Address;
use crate::block::{Block, Height};
use crate::ledger::schema::{self, AccountRow, ENTRIES_PER_PAGE, TxLocation};
use crate::store::StoreError;
use crate::store::index::{Changes, IndexReader};
use crate::tx::{Id, Transaction};

/// Rows as they are in some layers over the index.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    /// Upper first.
    layers: [Option<&'a Changes>; 2],
    index: &'a IndexReader,
}

impl<'a> Rows<'a> {
    pub(super) fn new(
        upper: Option<&'a Changes>,
        lower: &'a Changes,
        index: &'a IndexReader,
    ) -> Self {
        Rows { layers: [upper, Some(lower)], index }
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        for layer in self.layers.iter().flatten() {
            if let Some(value) = layer.get(key) {
                return Ok(value.clone());
            }
        }
        Ok(self.index.get(key)?)
    }

    pub(super) fn account_row(&self, address: &Address) -> Result<AccountRow, StoreError> {
        let key = schema::account_key(address);
        let Some(value) = self.get(&key)? else { return Ok(AccountRow::default()) };
        AccountRow::decode(&value).ok_or(StoreError::BadRow { key })
    }

    pub(super) fn page(&self, address: &Address, page: u32) -> Result<Vec<u8>, StoreError> {
        Ok(self.get(&schema::page_key(address, page))?.unwrap_or_default())
    }

    /// Where transactions stand that have this id, or one that begins like it.
    pub(super) fn entries(&self, id: &Id) -> Result<Vec<TxLocation>, StoreError> {
        let key = schema::transaction_key(id);
        let Some(value) = self.get(&key)? else { return Ok(Vec::new()) };
        schema::decode_entries(&value).ok_or(StoreError::BadRow { key })
    }
}

impl AccountView for Rows<'_> {
    type Error = StoreError;

    fn account(&self, address: &Address) -> Result<Account, StoreError> {
        Ok(self.account_row(address)?.account)
    }
}

/// Changes that may be dropped.
pub(super) struct Draft<'a> {
    below: Rows<'a>,
    changes: Changes,
}

impl<'a> Draft<'a> {
    pub(super) fn new(below: Rows<'a>) -> Draft<'a> {
        Draft { below, changes: Changes::new() }
    }

    pub(super) fn into_changes(self) -> Changes {
        self.changes
    }

    fn read<T>(
        &self,
        key: &[u8],
        decode: impl Fn(&[u8]) -> Option<T>,
        below: impl Fn(&Rows) -> Result<T, StoreError>,
    ) -> Result<T, StoreError>
    where
        T: Default,
    {
        match self.changes.get(key) {
            Some(None) => Ok(T::default()),
            Some(Some(value)) => {
                decode(value).ok_or_else(|| StoreError::BadRow { key: key.to_vec() })
            }
            None => below(&self.below),
        }
    }

    fn account_row(&self, address: &Address) -> Result<AccountRow, StoreError> {
        let key = schema::account_key(address);
        self.read(&key, AccountRow::decode, |rows| rows.account_row(address))
    }

    fn entries(&self, id: &Id) -> Result<Vec<TxLocation>, StoreError> {
        let key = schema::transaction_key(id);
        self.read(&key, schema::decode_entries, |rows| rows.entries(id))
    }

    fn put_account_row(&mut self, address: &Address, row: &AccountRow) {
        self.changes.insert(schema::account_key(address), row.encode());
    }

    /// Writes what a block did to accounts.
    pub(super) fn set_accounts(
        &mut self,
        accounts: impl Iterator<Item = (Address, Account)>,
    ) -> Result<(), StoreError> {
        for (address, account) in accounts {
            let row = AccountRow { account, ..self.account_row(&address)? };
            self.put_account_row(&address, &row);
        }
        Ok(())
    }

    /// Writes the rows of a block that becomes the tip.
    pub(super) fn connect(
        &mut self,
        height: Height,
        block: &Block,
        ids: &[Id],
        changes: &[AccountChange],
    ) -> Result<(), StoreError> {
        self.set_accounts(changes.iter().map(|change| (change.address, change.after)))?;
        for (address, position) in participants(block) {
            self.append_entry(&address, TxLocation { height, position })?;
        }
        for (position, id) in (0..).zip(ids) {
            let mut entries = self.entries(id)?;
            entries.push(TxLocation { height, position });
            self.changes.insert(schema::transaction_key(id), schema::encode_entries(&entries));
        }
        Ok(())
    }

    /// Writes the rows of a tip that is taken back.
    pub(super) fn disconnect(
        &mut self,
        height: Height,
        block: &Block,
        undo: &Undo,
    ) -> Result<(), StoreError> {
        for (address, _) in participants(block) {
            let mut row = self.account_row(&address)?;
            row.entries = row
                .entries
                .checked_sub(1)
                .ok_or_else(|| StoreError::BadRow { key: schema::account_key(&address) })?;
            self.put_account_row(&address, &row);
        }
        self.set_accounts(undo.accounts().iter().copied())?;
        for id in block.ids() {
            let mut entries = self.entries(&id)?;
            entries.retain(|entry| entry.height != height);
            self.changes.insert(schema::transaction_key(&id), schema::encode_entries(&entries));
        }
        Ok(())
    }

    fn append_entry(&mut self, address: &Address, entry: TxLocation) -> Result<(), StoreError> {
        let mut row = self.account_row(address)?;
        let (page, at) = (row.entries / ENTRIES_PER_PAGE, row.entries % ENTRIES_PER_PAGE);
        let key = schema::page_key(address, page);
        let mut value = match self.changes.remove(&key) {
            Some(value) => value.unwrap_or_default(),
            None => self.below.page(address, page)?,
        };
        value.truncate(at as usize * TxLocation::BYTES);
        value.extend_from_slice(&entry.encode());
        self.changes.insert(key, Some(value));
        row.entries = row.entries.saturating_add(1);
        self.put_account_row(address, &row);
        Ok(())
    }
}

impl AccountView for Draft<'_> {
    type Error = StoreError;

    fn account(&self, address: &Address) -> Result<Account, StoreError> {
        Ok(self.account_row(address)?.account)
    }
}

/// Whom each transaction of a block names, each once: the miner, senders and recipients.
fn participants(block: &Block) -> Vec<(Address, u32)> {
    let mut found = Vec::with_capacity(block.transactions.len() * 2);
    for (position, transaction) in (0..).zip(&block.transactions) {
        match transaction {
            Transaction::Coinbase(coinbase) => found.push((coinbase.recipient, position)),
            Transaction::Transfer(transfer) => {
                let sender = transfer.sender_address();
                found.push((sender, position));
                if transfer.recipient != sender {
                    found.push((transfer.recipient, position));
                }
            }
        }
    }
    found
}
