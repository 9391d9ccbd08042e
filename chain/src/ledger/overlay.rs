//! Layers of rows: staged rows, over rows that wait for the next commit, over rows that wait for
//! the next flush, over the index. A branch is connected on staged rows; dropping them undoes
//! everything.

use super::rows::Rows;
use super::schema::{self, AccountRow, LOCATIONS_PER_PAGE, TxLocation};
use crate::accounts::{Account, AccountChange, AccountView, Undo};
use crate::address::Address;
use crate::block::{Block, Height};
use crate::store::StoreError;
use crate::store::index::IndexReader;
use crate::store::sorted_run::RunFolder;
use crate::tx::{Id, Transaction};

/// A read-only view of up to two layers of rows over the index.
#[derive(Clone, Copy)]
pub(super) struct LayeredView<'a> {
    /// The layers, the upper one first.
    layers: [Option<&'a Rows>; 2],
    index: &'a IndexReader,
}

impl<'a> LayeredView<'a> {
    pub(super) fn new(upper: Option<&'a Rows>, lower: &'a Rows, index: &'a IndexReader) -> Self {
        LayeredView { layers: [upper, Some(lower)], index }
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        for layer in self.layers.iter().flatten() {
            if let Some(value) = layer.get(key)? {
                return Ok(value);
            }
        }
        Ok(self.index.get(key)?)
    }

    pub(super) fn account_row(&self, address: &Address) -> Result<AccountRow, StoreError> {
        let key = schema::account_key(address);
        let Some(value) = self.get(&key)? else { return Ok(AccountRow::default()) };
        AccountRow::decode(&value).ok_or(StoreError::BadRow { key })
    }

    /// Returns a page of an address's history; empty if there is none.
    pub(super) fn page(&self, address: &Address, page: u32) -> Result<Vec<u8>, StoreError> {
        Ok(self.get(&schema::page_key(address, page))?.unwrap_or_default())
    }

    /// Returns the locations of all transactions whose ids start with the same bytes as `id`.
    pub(super) fn locations(&self, id: &Id) -> Result<Vec<TxLocation>, StoreError> {
        let key = schema::transaction_key(id);
        let Some(value) = self.get(&key)? else { return Ok(Vec::new()) };
        schema::decode_locations(&value).ok_or(StoreError::BadRow { key })
    }
}

impl AccountView for LayeredView<'_> {
    type Error = StoreError;

    fn account(&self, address: &Address) -> Result<Account, StoreError> {
        Ok(self.account_row(address)?.account)
    }
}

/// Staged changes of rows over a view. Those beyond a limit of the memory are in runs.
pub(super) struct StagedRows<'a> {
    base: LayeredView<'a>,
    changes: Rows,
    /// The memory that staged rows may need, in bytes.
    limit_bytes: usize,
    runs: &'a RunFolder,
}

impl<'a> StagedRows<'a> {
    pub(super) fn new(
        base: LayeredView<'a>,
        limit_bytes: usize,
        runs: &'a RunFolder,
    ) -> StagedRows<'a> {
        StagedRows { base, changes: Rows::default(), limit_bytes, runs }
    }

    pub(super) fn into_changes(self) -> Rows {
        self.changes
    }

    /// Reads a row from the staged changes, or else from the base view.
    fn read<T: Default>(
        &self,
        key: &[u8],
        decode: impl Fn(&[u8]) -> Option<T>,
        read_base: impl Fn(&LayeredView) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match self.changes.get(key)? {
            Some(None) => Ok(T::default()),
            Some(Some(value)) => {
                decode(&value).ok_or_else(|| StoreError::BadRow { key: key.to_vec() })
            }
            None => read_base(&self.base),
        }
    }

    fn put(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) -> Result<(), StoreError> {
        self.changes.insert(key, value);
        if self.changes.memory_bytes() > self.limit_bytes {
            self.changes.spill(self.runs)?;
        }
        Ok(())
    }

    fn account_row(&self, address: &Address) -> Result<AccountRow, StoreError> {
        let key = schema::account_key(address);
        self.read(&key, AccountRow::decode, |base| base.account_row(address))
    }

    fn locations(&self, id: &Id) -> Result<Vec<TxLocation>, StoreError> {
        let key = schema::transaction_key(id);
        self.read(&key, schema::decode_locations, |base| base.locations(id))
    }

    fn put_account_row(&mut self, address: &Address, row: &AccountRow) -> Result<(), StoreError> {
        self.put(schema::account_key(address), row.encode())
    }

    fn put_locations(&mut self, id: &Id, locations: &[TxLocation]) -> Result<(), StoreError> {
        self.put(schema::transaction_key(id), schema::encode_locations(locations))
    }

    fn set_accounts(
        &mut self,
        accounts: impl Iterator<Item = (Address, Account)>,
    ) -> Result<(), StoreError> {
        for (address, account) in accounts {
            let row = AccountRow { account, ..self.account_row(&address)? };
            self.put_account_row(&address, &row)?;
        }
        Ok(())
    }

    /// Stages the rows of a block that becomes the tip.
    pub(super) fn connect(
        &mut self,
        height: Height,
        block: &Block,
        ids: &[Id],
        changes: &[AccountChange],
    ) -> Result<(), StoreError> {
        self.set_accounts(changes.iter().map(|change| (change.address, change.after)))?;
        for (address, position) in participants(block) {
            self.append_to_history(&address, TxLocation { height, position })?;
        }
        for (position, id) in (0..).zip(ids) {
            let mut locations = self.locations(id)?;
            locations.push(TxLocation { height, position });
            self.put_locations(id, &locations)?;
        }
        Ok(())
    }

    /// Stages the rows after the tip is disconnected.
    pub(super) fn disconnect(
        &mut self,
        height: Height,
        block: &Block,
        undo: &Undo,
    ) -> Result<(), StoreError> {
        for (address, _) in participants(block) {
            let mut row = self.account_row(&address)?;
            row.transactions = row
                .transactions
                .checked_sub(1)
                .ok_or_else(|| StoreError::BadRow { key: schema::account_key(&address) })?;
            self.put_account_row(&address, &row)?;
        }
        self.set_accounts(undo.accounts().iter().copied())?;
        for id in block.ids() {
            let mut locations = self.locations(&id)?;
            locations.retain(|location| location.height != height);
            self.put_locations(&id, &locations)?;
        }
        Ok(())
    }

    fn append_to_history(
        &mut self,
        address: &Address,
        location: TxLocation,
    ) -> Result<(), StoreError> {
        let mut row = self.account_row(address)?;
        let page = row.transactions / LOCATIONS_PER_PAGE;
        let length = (row.transactions % LOCATIONS_PER_PAGE) as usize * TxLocation::BYTES;
        let key = schema::page_key(address, page);
        let mut value = match self.changes.get(&key)? {
            Some(value) => value.unwrap_or_default(),
            None => self.base.page(address, page)?,
        };
        value.truncate(length);
        value.extend_from_slice(&location.encode());
        self.put(key, Some(value))?;
        row.transactions = row.transactions.saturating_add(1);
        self.put_account_row(address, &row)
    }
}

impl AccountView for StagedRows<'_> {
    type Error = StoreError;

    fn account(&self, address: &Address) -> Result<Account, StoreError> {
        Ok(self.account_row(address)?.account)
    }
}

/// Returns the miner, the senders and the recipients of a block, each with the position of its
/// transaction and once per transaction.
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
