//! Changed rows in memory, which a flush writes to a sorted run. Accounts are found by their
//! address, also while rows are collected; transactions only after the rows were sorted.

use super::schema::{self, AccountRow, IdPrefix, TxLocation};
use crate::address::Address;
use crate::store::LogError;
use crate::store::sorted_run::{AppendRow, Run, RunFolder};
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// The memory that a row of each kind needs in bytes, with the spare room of its collection.
const ACCOUNT_BYTES: usize = 96;
const HISTORY_BYTES: usize = 48;
const TRANSACTION_BYTES: usize = 32;

/// A transaction of an address.
#[derive(Clone, Copy, Debug)]
struct HistoryRow {
    address: Address,
    index: u32,
    location: TxLocation,
}

/// A transaction that joined the best chain, or left it.
#[derive(Clone, Copy, Debug)]
struct TransactionRow {
    prefix: IdPrefix,
    location: TxLocation,
    is_removed: bool,
}

/// Changed rows of accounts and transactions.
#[derive(Clone, Debug, Default)]
pub(super) struct MemoryRows {
    /// A default row stands for a removed one.
    accounts: HashMap<Address, AccountRow>,
    history: Vec<HistoryRow>,
    transactions: Vec<TransactionRow>,
}

impl MemoryRows {
    /// Returns rows of accounts.
    pub(super) fn of_accounts(accounts: impl Iterator<Item = (Address, AccountRow)>) -> MemoryRows {
        MemoryRows { accounts: accounts.collect(), ..MemoryRows::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of rows.
    pub(super) fn len(&self) -> usize {
        self.accounts.len() + self.history.len() + self.transactions.len()
    }

    /// Returns the memory that the rows need, in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.accounts.len() * ACCOUNT_BYTES
            + self.history.len() * HISTORY_BYTES
            + self.transactions.len() * TRANSACTION_BYTES
    }

    pub(super) fn account(&self, address: &Address) -> Option<AccountRow> {
        self.accounts.get(address).copied()
    }

    pub(super) fn into_accounts(self) -> HashMap<Address, AccountRow> {
        self.accounts
    }

    /// Returns the row of an account to change it, which `read` provides if it did not change yet.
    pub(super) fn account_mut<E>(
        &mut self,
        address: Address,
        read: impl FnOnce() -> Result<AccountRow, E>,
    ) -> Result<&mut AccountRow, E> {
        match self.accounts.entry(address) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => Ok(entry.insert(read()?)),
        }
    }

    pub(super) fn put_history(&mut self, address: Address, index: u32, location: TxLocation) {
        self.history.push(HistoryRow { address, index, location });
    }

    pub(super) fn put_transaction(&mut self, prefix: IdPrefix, location: TxLocation) {
        self.transactions.push(TransactionRow { prefix, location, is_removed: false });
    }

    pub(super) fn remove_transaction(&mut self, prefix: IdPrefix, location: TxLocation) {
        self.transactions.push(TransactionRow { prefix, location, is_removed: true });
    }

    /// Adds newer rows. The result is not sorted.
    pub(super) fn append(&mut self, newer: MemoryRows) {
        if self.is_empty() {
            *self = newer;
            return;
        }
        let MemoryRows { mut accounts, history, transactions } = newer;
        if accounts.len() > self.accounts.len() {
            std::mem::swap(&mut self.accounts, &mut accounts);
            for (address, row) in accounts {
                self.accounts.entry(address).or_insert(row);
            }
        } else {
            self.accounts.extend(accounts);
        }
        self.history.extend(history);
        self.transactions.extend(transactions);
    }

    /// Sorts the rows, of which those added later replace earlier ones. Rows must be sorted before
    /// transactions are looked up, or written.
    pub(super) fn sort(&mut self) {
        let key = |row: &HistoryRow| (row.address, row.index);
        self.history.sort_by_key(key);
        retain_last(&mut self.history, |a, b| key(a) == key(b));
        let key = |row: &TransactionRow| (row.prefix, row.location);
        self.transactions.sort_by_key(key);
        retain_last(&mut self.transactions, |a, b| key(a) == key(b));
    }

    /// Returns the transactions of an address with indexes of a range, which are sorted.
    pub(super) fn history(
        &self,
        address: &Address,
        indexes: std::ops::Range<u32>,
    ) -> impl Iterator<Item = (u32, TxLocation)> {
        let at = |index: u32| {
            self.history.partition_point(|row| (row.address, row.index) < (*address, index))
        };
        let rows = &self.history[at(indexes.start)..at(indexes.end)];
        rows.iter().map(|row| (row.index, row.location))
    }

    /// Returns the locations that joined and left the best chain, of transactions whose ids start
    /// with these bytes.
    pub(super) fn locations(&self, prefix: &IdPrefix) -> impl Iterator<Item = (TxLocation, bool)> {
        let start = self.transactions.partition_point(|row| row.prefix < *prefix);
        let rows = self.transactions[start..].iter();
        let prefix = *prefix;
        rows.take_while(move |row| row.prefix == prefix).map(|row| (row.location, !row.is_removed))
    }

    /// Writes the rows, which are sorted, to a new run.
    ///
    /// # Errors
    /// Returns a disk error.
    pub(super) fn write(&self, folder: &RunFolder) -> Result<Run, LogError> {
        let mut accounts: Vec<(&Address, &AccountRow)> = self.accounts.iter().collect();
        accounts.sort_unstable_by_key(|(address, _)| **address);
        // Each transaction of an address changes its account.
        let keys = self.accounts.len() + self.transactions.len();
        folder.write(keys, |append| {
            let mut history = self.history.iter().peekable();
            let mut value = Vec::new();
            let mut append_history = |append: &mut AppendRow, until: Option<&Address>| {
                while let Some(row) =
                    history.next_if(|row| until.is_none_or(|until| row.address < *until))
                {
                    value.clear();
                    row.location.write(&mut value);
                    append(&schema::history_key(&row.address, row.index), Some(&value))?;
                }
                Ok::<_, LogError>(())
            };
            for (address, row) in accounts {
                append_history(append, Some(address))?;
                append(&schema::account_key(address), row.encode().as_deref())?;
            }
            append_history(append, None)?;
            for row in &self.transactions {
                let key = schema::transaction_key(&row.prefix, row.location);
                append(&key, (!row.is_removed).then_some(&[]))?;
            }
            Ok(())
        })
    }
}

/// Removes all but the last of consecutive elements that are the same.
fn retain_last<T: Copy>(rows: &mut Vec<T>, is_same: impl Fn(&T, &T) -> bool) {
    let mut kept = 0_usize;
    for at in 0..rows.len() {
        if kept > 0 && is_same(&rows[kept - 1], &rows[at]) {
            rows[kept - 1] = rows[at];
        } else {
            rows[kept] = rows[at];
            kept += 1;
        }
    }
    rows.truncate(kept);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::Account;
    use crate::amount::Amount;
    use crate::block::Height;

    fn address(number: u8) -> Address {
        Address::from_bytes([number; 20])
    }

    fn at(height: u32, position: u32) -> TxLocation {
        TxLocation { height: Height::new(height), position }
    }

    #[test]
    fn later_row_replaces_earlier_row_of_the_same_key() {
        let mut rows = MemoryRows::default();
        rows.put_transaction([1; 8], at(1, 0));
        rows.put_transaction([1; 8], at(2, 0));
        rows.put_history(address(1), 0, at(1, 0));
        let mut newer = MemoryRows::default();
        newer.remove_transaction([1; 8], at(1, 0));
        newer.put_history(address(1), 0, at(3, 1));
        newer.put_history(address(2), 0, at(3, 1));
        rows.append(newer);
        rows.sort();
        let locations: Vec<_> = rows.locations(&[1; 8]).collect();
        assert_eq!(locations, [(at(1, 0), false), (at(2, 0), true)]);
        assert_eq!(rows.history(&address(1), 0..9).collect::<Vec<_>>(), [(0, at(3, 1))]);
        assert_eq!(rows.locations(&[2; 8]).count(), 0);
    }

    #[test]
    fn run_has_the_rows_in_the_order_of_their_keys() {
        let directory = tempfile::tempdir().unwrap();
        let account = |balance| Account { balance: Amount::new(balance).unwrap(), nonce: 300 };
        let row = |balance| AccountRow { account: account(balance), transactions: 70_000 };
        // A changed account without a transaction, and a removed one.
        let accounts = [(address(2), row(1 << 52)), (address(3), AccountRow::default())];
        let mut rows = MemoryRows::of_accounts(accounts.into_iter());
        for index in [0, 1, 255, 256, 65_535, 65_536, 1 << 24, u32::MAX] {
            rows.put_history(address(2), index, at(index, 9));
            rows.put_history(address(1), index, at(index, 9));
        }
        rows.put_transaction([9; 8], at(1 << 31, 130));
        rows.sort();
        let folder = RunFolder::new(directory.path(), schema::filter_key);
        let run = rows.write(&folder).unwrap();
        let (mut cursor, mut keys) = (run.rows_in_order(), Vec::new());
        while cursor.advance().unwrap() {
            keys.push(cursor.key().to_vec());
        }
        assert!(keys.is_sorted_by(|a, b| a < b));
        assert_eq!(keys.len(), rows.len());
        let history = keys.iter().filter_map(|key| schema::history_index(key, &address(1)));
        assert_eq!(history.count(), 8);
        let value = run.get(&schema::account_key(&address(2))).unwrap().unwrap();
        assert_eq!(value.as_deref().and_then(AccountRow::decode), Some(row(1 << 52)));
        assert_eq!(run.get(&schema::account_key(&address(3))).unwrap(), Some(None));
    }
}
