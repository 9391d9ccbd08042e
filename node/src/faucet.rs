//! The faucet: pays coins on request on development networks.
//!
//! They come from the last of the ten accounts that own coins in the genesis block of `dev`. Their
//! mnemonic is public, so the key protects nothing; the node handles no other key.

use crate::wallet::derivation::account_key;
use crate::wallet::{Index, Mnemonic};
use chain::accounts::AccountView;
use chain::ledger::Reader;
use chain::signature::SecretKey;
use chain::store::StoreError;
use chain::tx::{Memo, Payment};
use chain::{Address, Params, Transfer};
use std::sync::OnceLock;
use tokio::sync::{Mutex, MutexGuard};

/// The public mnemonic of the accounts.
const MNEMONIC: &str = "test test test test test test test test test test test junk";
/// The index of the account that pays.
const ACCOUNT: u32 = 9;

/// Signs payments from the faucet's account.
#[derive(Default)]
pub struct Faucet {
    lock: Mutex<()>,
    key: OnceLock<SecretKey>,
}

impl Faucet {
    /// Waits for exclusive use of the faucet: the next nonce of its account is known only once the
    /// payment before has been submitted.
    pub async fn lock(&self) -> MutexGuard<'_, ()> {
        self.lock.lock().await
    }

    /// A signed transfer with a fee that gets it into the next block; `None` if the faucet has no
    /// coins in the genesis block of this network. The first call derives the key, which takes
    /// milliseconds.
    pub fn sign_payment(
        &self,
        reader: &Reader,
        recipient: Address,
        amount: u64,
    ) -> Result<Option<Transfer>, StoreError> {
        let key = self.key.get_or_init(key);
        let (params, address) = (reader.params(), key.public_key().address());
        if !is_funded(params, &address) {
            return Ok(None);
        }
        let view = reader.view();
        let account = view.account(&address)?;
        let nonce = view.mempool().next_nonce(&address, &account);
        let rate = view.mempool().fee_rate_for(1, params.spec().max_block_bytes);
        drop(view);
        let sign = |fee| {
            let payment = Payment { nonce, recipient, amount, fee, memo: Memo::default() };
            Transfer::sign(payment, key, params.genesis_hash())
        };
        let size = u64::try_from(sign(0).size()).unwrap_or(u64::MAX);
        Ok(Some(sign(rate.saturating_mul(size))))
    }
}

fn is_funded(params: &Params, address: &Address) -> bool {
    params.spec().allocations.iter().any(|(owner, _)| owner == address)
}

fn key() -> SecretKey {
    dev_account(ACCOUNT)
}

/// The key of an account of the public mnemonic. Accounts 0 to 9 own coins in the genesis block of `dev`
/// and of the networks of local testnets.
pub fn dev_account(account: u32) -> SecretKey {
    let words = Mnemonic::parse(MNEMONIC).expect("the mnemonic is valid");
    account_key(&words, Index::new(account).expect("the index is small"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn account_is_funded_on_dev_only() {
        let address = key().public_key().address();
        assert!(is_funded(&Params::dev(), &address));
        assert!(!is_funded(&Params::testnet(), &address));
        assert!(!is_funded(&Params::main(), &address));
    }
}
