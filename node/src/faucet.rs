//! Coins for whoever asks, on networks for development: they come from the last of the ten accounts
//! that own something on `dev` from the beginning. The words behind those are public, so this key
//! protects nothing; no other key ever comes near a node.

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

/// The words of everybody's accounts.
const WORDS: &str = "test test test test test test test test test test test junk";
/// The last of those that own something.
const ACCOUNT: u32 = 9;

/// Pays from that account. Whoever holds the turn knows its next nonce.
#[derive(Default)]
pub struct Faucet {
    turn: Mutex<()>,
    key: OnceLock<SecretKey>,
}

impl Faucet {
    /// Waits until nobody else pays.
    pub async fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// A transfer that pays somebody, with the fee that brings it into the next block; `None` if
    /// the account owns nothing on this network from the beginning. Derives a key, which takes
    /// milliseconds the first time.
    pub fn pay(
        &self,
        reader: &Reader,
        recipient: Address,
        amount: u64,
    ) -> Result<Option<Transfer>, StoreError> {
        let key = self.key.get_or_init(key);
        let (params, address) = (reader.params(), key.public_key().address());
        if !owns_something(params, &address) {
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

fn owns_something(params: &Params, address: &Address) -> bool {
    params.spec().allocations.iter().any(|(owner, _)| owner == address)
}

fn key() -> SecretKey {
    let words = Mnemonic::parse(WORDS).expect("the words are a mnemonic");
    account_key(&words, Index::new(ACCOUNT).expect("the number is small"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_is_one_of_dev_and_of_no_public_network() {
        let address = key().public_key().address();
        assert!(owns_something(&Params::dev(), &address));
        assert!(!owns_something(&Params::testnet(), &address));
        assert!(!owns_something(&Params::main(), &address));
    }
}
