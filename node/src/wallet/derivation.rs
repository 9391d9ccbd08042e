//! Derivation of account keys from a mnemonic: `m/44'/1'/account'`.
//! Hardened derivation only: Ed25519 has no other, and a key reveals nothing about its siblings.
//! Source: SLIP-0010 (Ed25519); BIP 44 (purpose 44'); SLIP-0044 (coin type 1', any test network).

use super::mnemonic::Mnemonic;
use chain::signature::SecretKey;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha512;
use std::fmt;
use std::str::FromStr;
use zeroize::Zeroizing;

/// The bit of an index that marks hardened derivation.
const HARDENED: u32 = 1 << 31;

/// An account number: 0 to 2^31 − 1.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "u32", into = "u32")]
pub struct Index(u32);

impl Index {
    /// The account of a number; `None` from 2^31 on.
    pub const fn new(number: u32) -> Option<Index> {
        if number < HARDENED { Some(Index(number)) } else { None }
    }
}

/// The number or text is not an account number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an account number is a whole number from 0 to 2147483647")]
pub struct IndexError;

impl TryFrom<u32> for Index {
    type Error = IndexError;

    fn try_from(number: u32) -> Result<Index, IndexError> {
        Index::new(number).ok_or(IndexError)
    }
}

impl From<Index> for u32 {
    fn from(index: Index) -> u32 {
        index.0
    }
}

impl FromStr for Index {
    type Err = IndexError;

    fn from_str(text: &str) -> Result<Index, IndexError> {
        text.parse::<u32>().ok().and_then(Index::new).ok_or(IndexError)
    }
}

impl fmt::Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Derives the secret key of an account.
///
/// ```
/// use node::wallet::{Index, Mnemonic, derivation::account_key};
///
/// let words = "test test test test test test test test test test test junk";
/// let mnemonic = Mnemonic::parse(words).unwrap();
/// let address = account_key(&mnemonic, Index::default()).public_key().address();
/// let text = address.encode(chain::Params::dev().hrp());
/// assert_eq!(text, "dch1qm3qtyy6z0gzcaekzhjyhhh2gq5mak060jua960");
/// ```
pub fn account_key(mnemonic: &Mnemonic, account: Index) -> SecretKey {
    let path = [Index(44), Index(1), account];
    let master = ExtendedKey::master(mnemonic.seed().as_slice());
    let node = path.into_iter().fold(master, |parent, index| parent.child(index));
    SecretKey::from_seed(*node.key)
}

/// Derives the key that signs the public part of a wallet file, and identifies the wallet. It is the key
/// of no account.
pub fn identity_key(mnemonic: &Mnemonic) -> SecretKey {
    let node = ExtendedKey::from_mac(b"chain/wallet identity", &[mnemonic.seed().as_slice()]);
    SecretKey::from_seed(*node.key)
}

/// An extended key, from which child keys are derived.
struct ExtendedKey {
    key: Zeroizing<[u8; 32]>,
    chain_code: Zeroizing<[u8; 32]>,
}

impl ExtendedKey {
    fn master(seed: &[u8]) -> ExtendedKey {
        ExtendedKey::from_mac(b"ed25519 seed", &[seed])
    }

    fn child(&self, index: Index) -> ExtendedKey {
        let number = (index.0 | HARDENED).to_be_bytes();
        ExtendedKey::from_mac(self.chain_code.as_slice(), &[&[0], self.key.as_slice(), &number])
    }

    fn from_mac(mac_key: &[u8], data: &[&[u8]]) -> ExtendedKey {
        let mut mac = Hmac::<Sha512>::new_from_slice(mac_key).expect("any length is a key");
        data.iter().for_each(|part| mac.update(part));
        let output = Zeroizing::new(<[u8; 64]>::from(mac.finalize().into_bytes()));
        let mut node =
            ExtendedKey { key: Zeroizing::new([0; 32]), chain_code: Zeroizing::new([0; 32]) };
        let (key, chain_code) = output.split_at(32);
        node.key.copy_from_slice(key);
        node.chain_code.copy_from_slice(chain_code);
        node
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // W12
    #[test]
    fn derives_the_keys_of_the_public_vectors() {
        let mut node = None;
        let mut nodes = 0;
        let mut seed = Vec::new();
        for line in include_str!("vectors/slip-0010.txt").lines() {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [index, chain_code, private, public] = fields[..] else {
                if fields[0] == "seed" {
                    seed = hex::decode(fields[1]).unwrap();
                }
                continue;
            };
            let derived = match node {
                Some(parent) if index != "m" => ExtendedKey::child(&parent, index.parse().unwrap()),
                _ => ExtendedKey::master(&seed),
            };
            assert_eq!(hex::encode(derived.chain_code.as_slice()), chain_code, "{line}");
            assert_eq!(hex::encode(derived.key.as_slice()), private, "{line}");
            let key = SecretKey::from_seed(*derived.key).public_key();
            assert_eq!(hex::encode(key.as_bytes()), public, "{line}");
            node = Some(derived);
            nodes += 1;
        }
        assert_eq!(nodes, 12);
    }

    // Addresses computed independently: Python's hashlib and the formulas of RFC 8032.
    #[test]
    fn dev_network_funds_the_accounts_of_its_mnemonic() {
        let words = format!("{}junk", "test ".repeat(11));
        let mnemonic = Mnemonic::parse(&words).unwrap();
        let address = |number| account_key(&mnemonic, Index(number)).public_key().address();
        let dev = chain::params::Params::dev();
        let expected = [
            (0, "dch1qm3qtyy6z0gzcaekzhjyhhh2gq5mak060jua960"),
            (1, "dch1qt4mq8569lyl8x0sxahatd6cj2mne3k6hhrleaa"),
            (9, "dch1qn6a4zn0khd78lazyrhpel4esz92h9qpqva9f2j"),
        ];
        for (number, text) in expected {
            assert_eq!(address(number).encode(dev.hrp()), text);
        }
        let mut accounts: Vec<_> = (0..10).map(address).collect();
        accounts.sort();
        let funded: Vec<_> = dev.spec().allocations.iter().map(|(address, _)| *address).collect();
        assert_eq!(accounts, funded);
    }

    #[test]
    fn account_numbers_are_below_the_hardened_bit() {
        assert_eq!("2147483647".parse(), Ok(Index(2_147_483_647)));
        for bad in ["2147483648", "4294967296", "-1", "", "1.5", "0x1"] {
            assert_eq!(bad.parse::<Index>(), Err(IndexError), "{bad}");
        }
    }
}
