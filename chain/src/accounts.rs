//! Accounts, views of accounts with staged changes, and the 32-byte commitment to all accounts.
//! Amounts are in base units. An address with neither balance nor nonce is absent.
//! `rules::body` applies blocks to accounts.
//! Source of the commitment: Lewi et al., "Securing Update Propagation with Homomorphic Hashing"
//! (LtHash16).

#![deny(clippy::arithmetic_side_effects)]

use crate::address::Address;
use crate::amount::Amount;
use crate::codec::{DecodeError, Decoder};
use crate::hash::sha256;
use std::collections::HashMap;

/// The balance and the nonce of an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// The spendable balance, in base units.
    pub balance: Amount,
    /// The nonce that the next transfer of this account must have, which is the number of its
    /// transfers in the chain.
    pub nonce: u64,
}

impl Account {
    /// The length of an encoded account, in bytes.
    pub const BYTES: usize = 16;

    /// Whether the account is absent: it has neither balance nor nonce.
    pub fn is_absent(&self) -> bool {
        *self == Account::default()
    }

    /// Encodes the account as balance ‖ nonce.
    pub fn encode(&self) -> [u8; Account::BYTES] {
        let mut bytes = [0; Account::BYTES];
        bytes[..8].copy_from_slice(&self.balance.units().to_le_bytes());
        bytes[8..].copy_from_slice(&self.nonce.to_le_bytes());
        bytes
    }

    /// Decodes the next account of the input; `None` for a balance above `Amount::MAX`.
    pub(crate) fn read(input: &mut Decoder) -> Result<Option<Account>, DecodeError> {
        let (balance, nonce) = (input.u64()?, input.u64()?);
        Ok(Amount::new(balance).map(|balance| Account { balance, nonce }))
    }
}

/// A view of all accounts as of one block.
pub trait AccountView {
    /// The error of reading an account.
    type Error;

    /// Returns the account of an address, or the default account if it is absent.
    fn account(&self, address: &Address) -> Result<Account, Self::Error>;
}

impl AccountView for HashMap<Address, Account> {
    type Error = std::convert::Infallible;

    fn account(&self, address: &Address) -> Result<Account, Self::Error> {
        Ok(self.get(address).copied().unwrap_or_default())
    }
}

impl<V: AccountView> AccountView for &V {
    type Error = V::Error;

    fn account(&self, address: &Address) -> Result<Account, Self::Error> {
        (**self).account(address)
    }
}

/// Staged changes on top of a view, to validate a block without writing anything.
///
/// ```
/// use chain::accounts::{Account, AccountView, Overlay};
/// use chain::{Address, Amount};
/// use std::collections::HashMap;
///
/// let view: HashMap<Address, Account> = HashMap::new();
/// let mut overlay = Overlay::new(&view);
/// let account = Account { balance: Amount::MAX, nonce: 0 };
/// overlay.set(Address::ZERO, account)?;
/// assert_eq!(overlay.account(&Address::ZERO)?, account);
/// assert!(view.account(&Address::ZERO)?.is_absent());
/// assert_eq!(overlay.end_block().len(), 1);
/// # Ok::<(), std::convert::Infallible>(())
/// ```
pub struct Overlay<V> {
    view: V,
    changed: HashMap<Address, Account>,
    /// The changed accounts as they were before the current block.
    before: HashMap<Address, Account>,
}

impl<V: AccountView> Overlay<V> {
    /// Creates an overlay without changes.
    pub fn new(view: V) -> Overlay<V> {
        Overlay { view, changed: HashMap::new(), before: HashMap::new() }
    }

    /// Sets an account, and records its state before the current block.
    pub fn set(&mut self, address: Address, account: Account) -> Result<(), V::Error> {
        let before = self.account(&address)?;
        self.replace(address, before, account);
        Ok(())
    }

    /// Sets an account, which [`account`](AccountView::account) has just returned as `current`.
    pub fn replace(&mut self, address: Address, current: Account, account: Account) {
        self.before.entry(address).or_insert(current);
        self.changed.insert(address, account);
    }

    /// Ends the current block and returns the accounts that it changed, in the order of their
    /// addresses.
    pub fn end_block(&mut self) -> Vec<AccountChange> {
        let before = std::mem::take(&mut self.before);
        let change = |(address, before)| {
            let after = self.changed.get(&address).copied().unwrap_or(before);
            AccountChange { address, before, after }
        };
        let changes = before.into_iter().map(change);
        let mut changes: Vec<_> = changes.filter(|change| change.before != change.after).collect();
        changes.sort_unstable_by_key(|change| change.address);
        changes
    }

    /// Returns the final state of all changed accounts.
    pub fn into_changes(self) -> HashMap<Address, Account> {
        self.changed
    }
}

impl<V: AccountView> AccountView for Overlay<V> {
    type Error = V::Error;

    fn account(&self, address: &Address) -> Result<Account, V::Error> {
        match self.changed.get(address) {
            Some(account) => Ok(*account),
            None => self.view.account(address),
        }
    }
}

/// A change of one account by one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountChange {
    /// The address of the account.
    pub address: Address,
    /// The account before the block.
    pub before: Account,
    /// The account after the block.
    pub after: Account,
}

/// The undo data of a block: the accounts that it changed, as they were before, in the order of their
/// addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Undo(Vec<(Address, Account)>);

impl Undo {
    /// Creates the undo data for the changes of a block, which are in the order of their addresses.
    pub fn of(changes: &[AccountChange]) -> Undo {
        Undo(changes.iter().map(|change| (change.address, change.before)).collect())
    }

    /// Returns the changed accounts as they were before the block.
    pub fn accounts(&self) -> &[(Address, Account)] {
        &self.0
    }

    /// Encodes the undo data as u32 count ‖ address ‖ account ‖ …, followed by the addresses of the
    /// accounts that were absent.
    pub fn encode(&self) -> Vec<u8> {
        let is_present = |(_, account): &&(Address, Account)| !account.is_absent();
        let count = self.0.iter().filter(is_present).count();
        let count = u32::try_from(count).expect("a block changes fewer accounts than u32");
        let mut bytes = count.to_le_bytes().to_vec();
        for (address, account) in self.0.iter().filter(is_present) {
            bytes.extend_from_slice(address.as_bytes());
            bytes.extend_from_slice(&account.encode());
        }
        for (address, _) in self.0.iter().filter(|account| !is_present(account)) {
            bytes.extend_from_slice(address.as_bytes());
        }
        bytes
    }

    /// Decodes undo data; `None` if the balance of an account is above `Amount::MAX`.
    pub fn decode(bytes: &[u8]) -> Result<Option<Undo>, DecodeError> {
        let mut input = Decoder::new(bytes);
        let count = input.count(20_usize.saturating_add(Account::BYTES))?;
        let mut accounts = Vec::with_capacity(count);
        for _ in 0..count {
            let address = Address::from_bytes(input.array()?);
            let Some(account) = Account::read(&mut input)? else { return Ok(None) };
            accounts.push((address, account));
        }
        while input.remaining() > 0 {
            accounts.push((Address::from_bytes(input.array()?), Account::default()));
        }
        accounts.sort_unstable_by_key(|(address, _)| *address);
        Ok(Some(Undo(accounts)))
    }
}

/// The number of 16-bit lanes of the hash.
const LANES: usize = 1_024;
/// The domain separator of the expansion of an account into lanes.
const ACCOUNT_DOMAIN: &[u8] = b"chain/account/1";
/// The minimum number of changes per thread that outweighs starting the thread.
const CHANGES_PER_THREAD: usize = 128;

/// The LtHash16 of all present accounts. It does not depend on their order, and changing an account
/// updates it in constant time.
#[derive(Clone, PartialEq, Eq)]
pub struct LtHash(Box<[u16; LANES]>);

impl LtHash {
    /// The length of the encoded lanes, in bytes.
    pub const BYTES: usize = 2_048;

    /// Returns the hash of no accounts.
    pub fn empty() -> LtHash {
        LtHash(Box::new([0; LANES]))
    }

    /// Adds an account. Adding an absent account has no effect.
    pub fn add(&mut self, address: &Address, account: &Account) {
        self.combine(address, account, u16::wrapping_add);
    }

    /// Removes an account that was added before.
    pub fn remove(&mut self, address: &Address, account: &Account) {
        self.combine(address, account, u16::wrapping_sub);
    }

    fn combine(&mut self, address: &Address, account: &Account, with: impl Fn(u16, u16) -> u16) {
        if account.is_absent() {
            return;
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(ACCOUNT_DOMAIN).update(address.as_bytes()).update(&account.encode());
        let mut expanded = [0; LtHash::BYTES];
        hasher.finalize_xof().fill(&mut expanded);
        let (pairs, _) = expanded.as_chunks::<2>();
        for (lane, pair) in self.0.iter_mut().zip(pairs) {
            *lane = with(*lane, u16::from_le_bytes(*pair));
        }
    }

    /// Applies changes of accounts, using up to `threads` threads.
    pub fn apply(&mut self, changes: &[AccountChange], threads: usize) {
        let share = changes.len().div_ceil(threads.max(1)).max(CHANGES_PER_THREAD);
        if changes.len() <= share {
            for change in changes {
                self.remove(&change.address, &change.before);
                self.add(&change.address, &change.after);
            }
            return;
        }
        let parts: Vec<LtHash> = std::thread::scope(|scope| {
            let expand = |part| {
                scope.spawn(move || {
                    let mut difference = LtHash::empty();
                    difference.apply(part, 1);
                    difference
                })
            };
            let parts: Vec<_> = changes.chunks(share).map(expand).collect();
            parts.into_iter().map(|part| part.join().expect("hashing does not panic")).collect()
        });
        for part in parts {
            for (lane, difference) in self.0.iter_mut().zip(part.0.iter()) {
                *lane = lane.wrapping_add(*difference);
            }
        }
    }

    /// Encodes the lanes in little-endian order.
    pub fn encode(&self) -> Vec<u8> {
        self.0.iter().flat_map(|lane| lane.to_le_bytes()).collect()
    }

    /// Decodes the lanes; `None` unless they have [`BYTES`](Self::BYTES) bytes.
    pub fn decode(bytes: &[u8]) -> Option<LtHash> {
        let (pairs, rest) = bytes.as_chunks::<2>();
        let lanes: Vec<u16> = pairs.iter().map(|pair| u16::from_le_bytes(*pair)).collect();
        let lanes: Box<[u16; LANES]> = lanes.into_boxed_slice().try_into().ok()?;
        rest.is_empty().then_some(LtHash(lanes))
    }

    /// Returns the SHA-256 of the lanes, which a coinbase commits to.
    pub fn digest(&self) -> [u8; 32] {
        sha256(&self.encode())
    }
}

impl std::fmt::Debug for LtHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LtHash({})", hex::encode(self.digest()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn account(balance: u64, nonce: u64) -> Account {
        Account { balance: Amount::new(balance).unwrap(), nonce }
    }

    fn address(number: u64) -> Address {
        let mut bytes = [0; 20];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        Address::from_bytes(bytes)
    }

    #[test]
    fn digest_of_no_accounts_is_sha256_of_zero_lanes() {
        assert_eq!(LtHash::empty().digest(), sha256(&[0; 2_048]));
    }

    #[test]
    fn account_is_expanded_as_documented() {
        let mut one = LtHash::empty();
        one.add(&address(1), &account(5, 6));
        let input = [
            b"chain/account/1".as_slice(),
            address(1).as_bytes(),
            &[5, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0],
        ]
        .concat();
        let mut lanes = vec![0; 2_048];
        blake3::Hasher::new().update(&input).finalize_xof().fill(&mut lanes);
        assert_eq!(one.encode(), lanes);
        assert_eq!(LtHash::decode(&lanes), Some(one));
        assert_eq!(LtHash::decode(&lanes[1..]), None);
    }

    #[test]
    fn absent_account_does_not_count_but_emptied_account_does() {
        let mut commitment = LtHash::empty();
        commitment.add(&address(1), &account(0, 0));
        assert_eq!(commitment, LtHash::empty());
        commitment.add(&address(1), &account(0, 1));
        assert_ne!(commitment, LtHash::empty());
    }

    #[test]
    fn hash_does_not_depend_on_number_of_threads() {
        let changes: Vec<AccountChange> = (0..1_000)
            .map(|n| AccountChange {
                address: address(n),
                before: account(n, n),
                after: account(n + 1, n),
            })
            .collect();
        let mut sequential = LtHash::empty();
        for change in &changes {
            sequential.add(&change.address, &change.before);
        }
        let mut parallel = sequential.clone();
        sequential.apply(&changes, 1);
        parallel.apply(&changes, 3);
        assert_eq!(sequential, parallel);
    }

    proptest! {
        // C44: the hash does not depend on the order of insertion.
        #[test]
        fn order_does_not_matter_and_removal_reverts_addition(
            accounts in prop::collection::btree_map(0_u64..50, (0_u64..1_000, 0_u64..5), 1..20),
            at: prop::sample::Index,
        ) {
            let accounts: Vec<_> = accounts.into_iter().collect();
            let mut forwards = LtHash::empty();
            let mut backwards = LtHash::empty();
            for (number, (balance, nonce)) in &accounts {
                forwards.add(&address(*number), &account(*balance, *nonce));
            }
            for (number, (balance, nonce)) in accounts.iter().rev() {
                backwards.add(&address(*number), &account(*balance, *nonce));
            }
            prop_assert_eq!(&forwards, &backwards);

            let (number, (balance, nonce)) = accounts[at.index(accounts.len())];
            let mut without = forwards.clone();
            without.remove(&address(number), &account(balance, nonce));
            without.add(&address(number), &account(balance, nonce));
            prop_assert_eq!(forwards, without);
        }

        #[test]
        fn undo_data_round_trips(
            accounts in prop::collection::btree_map(any::<u64>(), (0..3_u64, 0..2_u64), 0..20),
        ) {
            let account = |(n, (balance, nonce)): (&u64, &(u64, u64))| {
                (address(*n), account(*balance, *nonce))
            };
            let mut accounts: Vec<_> = accounts.iter().map(account).collect();
            accounts.sort_by_key(|(address, _)| *address);
            let undo = Undo(accounts);
            prop_assert_eq!(Undo::decode(&undo.encode()), Ok(Some(undo)));
        }
    }

    #[test]
    fn overlay_returns_changes_of_each_block() {
        let view = HashMap::from([(address(1), account(10, 0))]);
        let mut overlay = Overlay::new(&view);
        overlay.set(address(1), account(4, 1)).unwrap();
        overlay.set(address(1), account(3, 2)).unwrap();
        overlay.set(address(2), account(0, 0)).unwrap();
        let changes = overlay.end_block();
        assert_eq!(
            changes,
            [AccountChange { address: address(1), before: account(10, 0), after: account(3, 2) }]
        );
        overlay.set(address(1), account(2, 3)).unwrap();
        assert_eq!(Undo::of(&overlay.end_block()).accounts(), [(address(1), account(3, 2))]);
        assert_eq!(view.account(&address(1)), Ok(account(10, 0)));
    }
}
