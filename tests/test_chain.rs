//! Valid blocks and transfers of the network `dev`, built without a node.

use chain::signature::SecretKey;
use chain::testing::TestChain;
use chain::tx::{Memo, Payment};
use chain::{Address, Params, Transfer};

pub use chain::testing::dev_key;

/// An address without coins, different for each number.
pub fn test_address(number: u8) -> Address {
    SecretKey::from_seed([number; 32]).public_key().address()
}

/// The text of an address on `dev`.
pub fn text(address: Address) -> String {
    address.encode(Params::dev().hrp())
}

/// A signed transfer with a fee of 1,000 base units.
pub fn pay(from: &SecretKey, nonce: u64, recipient: Address, amount: u64) -> Transfer {
    let memo = Memo::new(b"for the test".to_vec()).unwrap();
    let payment = Payment { nonce, recipient, amount, fee: 1_000, memo };
    Transfer::sign(payment, from, Params::dev().genesis_hash())
}

/// Creates a chain of `dev` whose blocks pay a miner.
pub fn dev_chain(miner: Address) -> TestChain {
    TestChain::new(Params::dev(), miner)
}
