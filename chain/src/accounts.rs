//! Accounts, views of them with changes on top, and the 32-byte commitment to all of them.
//! Amounts in base units; an address with neither balance nor nonce is absent.
//! Does not know blocks: what a block does to accounts is the business of `rules::body`.
//! Source of the commitment: Lewi et al., "Securing Update Propagation with Homomorphic Hashing"
//! (LtHash16).

#![deny(clippy::arithmetic_side_effects)]

use crate::address::Address;
use crate::amount::Amount;
use crate::codec::{DecodeError, Decoder};
use crate::hash::sha256;
use std::collections::{BTreeMap, HashMap};

/// What an address owns, and how many transfers it has sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// What it may spend.
    pub balance: Amount,
    /// The nonce its next transfer must have.
    pub nonce: u64,
}

impl Account {
    /// Bytes of an encoded account.
    pub const BYTES: usize = 16;

    /// Whether the address counts as absent.
    pub fn is_absent(&self) -> bool {
        *self == Account::default()
    }

    /// Balance ‖ nonce.
    pub fn encode(&self) -> [u8; Account::BYTES] {
        let mut bytes = [0; Account::BYTES];
        bytes[..8].copy_from_slice(&self.balance.units().to_le_bytes());
        bytes[8..].copy_from_slice(&self.nonce.to_le_bytes());
        bytes
    }

    /// Reads the next account; `None` for a balance above `Amount::MAX`.
    pub(crate) fn read(input: &mut Decoder) -> Result<Option<Account>, DecodeError> {
        let (balance, nonce) = (input.u64()?, input.u64()?);
        Ok(Amount::new(balance).map(|balance| Account { balance, nonce }))
    }
}

/// Anything that knows every account at one block.
pub trait AccountView {
    /// Why an account may be unreadable.
    type Error;

    /// The account of an address; the default one if it is absent.
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

/// A view with changes on top: blocks are tried on it and nothing is written.
pub struct Overlay<V> {
    view: V,
    changed: BTreeMap<Address, Account>,
    /// What the accounts were before the block that is being applied.
    before: BTreeMap<Address, Account>,
}

impl<V: AccountView> Overlay<V> {
    /// No changes yet.
    pub fn new(view: V) -> Overlay<V> {
        Overlay { view, changed: BTreeMap::new(), before: BTreeMap::new() }
    }

    /// Goes on from changes made earlier on the same view.
    pub fn with_changes(view: V, changed: BTreeMap<Address, Account>) -> Overlay<V> {
        Overlay { view, changed, before: BTreeMap::new() }
    }

    /// Sets an account, remembering what it was when the block began.
    pub fn set(&mut self, address: Address, account: Account) -> Result<(), V::Error> {
        if !self.before.contains_key(&address) {
            let now = self.account(&address)?;
            self.before.insert(address, now);
        }
        self.changed.insert(address, account);
        Ok(())
    }

    /// The accounts that changed since the last call, as they were and as they are: the end of a
    /// block.
    pub fn end_block(&mut self) -> Vec<AccountChange> {
        let before = std::mem::take(&mut self.before);
        before
            .into_iter()
            .map(|(address, before)| AccountChange {
                address,
                before,
                after: self.changed.get(&address).copied().unwrap_or(before),
            })
            .filter(|change| change.before != change.after)
            .collect()
    }

    /// All changes on top of the view.
    pub fn into_changes(self) -> BTreeMap<Address, Account> {
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

/// What one block did to one account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountChange {
    /// Whose.
    pub address: Address,
    /// Before the block.
    pub before: Account,
    /// After it.
    pub after: Account,
}

/// What the accounts a block changed were before it: enough to take the block back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Undo(Vec<(Address, Account)>);

impl Undo {
    /// Takes back these changes.
    pub fn of(changes: &[AccountChange]) -> Undo {
        Undo(changes.iter().map(|change| (change.address, change.before)).collect())
    }

    /// The accounts as they were.
    pub fn accounts(&self) -> &[(Address, Account)] {
        &self.0
    }

    /// u32 count ‖ address ‖ account …
    pub fn encode(&self) -> Vec<u8> {
        let count = u32::try_from(self.0.len()).expect("a block changes fewer accounts than u32");
        let mut bytes = count.to_le_bytes().to_vec();
        for (address, account) in &self.0 {
            bytes.extend_from_slice(address.as_bytes());
            bytes.extend_from_slice(&account.encode());
        }
        bytes
    }

    /// Reads exactly one; `None` if an account is impossible.
    pub fn decode(bytes: &[u8]) -> Result<Option<Undo>, DecodeError> {
        let mut input = Decoder::new(bytes);
        let count = input.count(20_usize.saturating_add(Account::BYTES))?;
        let mut accounts = Vec::with_capacity(count);
        for _ in 0..count {
            let address = Address::from_bytes(input.array()?);
            let Some(account) = Account::read(&mut input)? else { return Ok(None) };
            accounts.push((address, account));
        }
        input.finish()?;
        Ok(Some(Undo(accounts)))
    }
}

/// Lanes of the commitment.
const LANES: usize = 1_024;
/// Domain of an account's expansion into lanes.
const ACCOUNT_DOMAIN: &[u8] = b"chain/account/1";
/// Changes from which spreading them over threads is worth starting those.
const CHANGES_PER_THREAD: usize = 128;

/// LtHash16 over all present accounts: independent of their order, updated in constant time.
#[derive(Clone, PartialEq, Eq)]
pub struct LtHash(Box<[u16; LANES]>);

impl LtHash {
    /// Bytes of the lanes.
    pub const BYTES: usize = 2_048;

    /// To no accounts.
    pub fn empty() -> LtHash {
        LtHash(Box::new([0; LANES]))
    }

    /// Adds an account; an absent one changes nothing.
    pub fn add(&mut self, address: &Address, account: &Account) {
        self.combine(address, account, u16::wrapping_add);
    }

    /// Removes an account that was added.
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

    /// Replaces accounts by what they became, over `threads` threads.
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

    /// The lanes, little-endian.
    pub fn encode(&self) -> Vec<u8> {
        self.0.iter().flat_map(|lane| lane.to_le_bytes()).collect()
    }

    /// From the lanes; `None` unless they are 2,048 bytes.
    pub fn decode(bytes: &[u8]) -> Option<LtHash> {
        let (pairs, rest) = bytes.as_chunks::<2>();
        let lanes: Vec<u16> = pairs.iter().map(|pair| u16::from_le_bytes(*pair)).collect();
        let lanes: Box<[u16; LANES]> = lanes.into_boxed_slice().try_into().ok()?;
        rest.is_empty().then_some(LtHash(lanes))
    }

    /// The 32 bytes a coinbase carries: SHA-256 of the lanes.
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
    fn the_empty_commitment_is_the_hash_of_zero_lanes() {
        assert_eq!(LtHash::empty().digest(), sha256(&[0; 2_048]));
    }

    #[test]
    fn an_account_is_expanded_as_published() {
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
    fn an_absent_account_leaves_no_trace_and_an_emptied_one_does() {
        let mut commitment = LtHash::empty();
        commitment.add(&address(1), &account(0, 0));
        assert_eq!(commitment, LtHash::empty());
        commitment.add(&address(1), &account(0, 1));
        assert_ne!(commitment, LtHash::empty());
    }

    #[test]
    fn threads_make_no_difference() {
        let changes: Vec<AccountChange> = (0..1_000)
            .map(|n| AccountChange {
                address: address(n),
                before: account(n, n),
                after: account(n + 1, n),
            })
            .collect();
        let mut alone = LtHash::empty();
        for change in &changes {
            alone.add(&change.address, &change.before);
        }
        let mut many = alone.clone();
        alone.apply(&changes, 1);
        many.apply(&changes, 3);
        assert_eq!(alone, many);
    }

    proptest! {
        // C44: the order in which accounts are met never shows.
        #[test]
        fn order_does_not_matter_and_removal_is_exact(
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
        fn undo_survives_the_round_trip(accounts in prop::collection::vec((any::<u64>(), 0..1_000_u64, any::<u64>()), 0..20)) {
            let undo = Undo(accounts.iter().map(|(n, balance, nonce)| (address(*n), account(*balance, *nonce))).collect());
            prop_assert_eq!(Undo::decode(&undo.encode()), Ok(Some(undo)));
        }
    }

    #[test]
    fn an_overlay_remembers_what_a_block_changed() {
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
