//! The consensus rules and the ledger of a proof-of-work blockchain.
//!
//! The crate is synchronous and deterministic: it has no network, no clock and no global state.
//! The time and the parameters of the network are arguments.
//!
//! # Modules
//!
//! From bytes to the ledger:
//!
//! - **Bytes**: [`amount`] (base units), [`codec`] (canonical decoding), [`hash`] (SHA-256d),
//!   [`pow`] (compact bits, targets and work), [`address`] (bech32m), [`merkle`] (roots and
//!   branches) and [`signature`] (Ed25519).
//! - **Data**: [`accounts`] (balances, nonces and the commitment to them), [`header`], [`tx`]
//!   (transfers and the coinbase), [`block`], and [`params`] (the parameters of a network and its
//!   genesis block).
//! - **Consensus**: [`difficulty`] (the target of the next block) and [`rules`] (every rule, its
//!   code and its check).
//! - **Ledger**: [`store`] (the block log and the index on disk), [`block_index`] (the tree of all
//!   known blocks), [`header_tree`] (headers without blocks), [`mempool`] (transfers that wait for a
//!   block), [`template`] (blocks for miners) and [`ledger`] (the writer that accepts blocks, and its
//!   readers).
//! - **Tests**: the feature `testing` adds a module that mines valid blocks in memory.
//!
//! # Example
//!
//! A transfer is signed for one network, sent as bytes, and validated by its recipient. The
//! [`ledger`] has an example that mines a block.
//!
//! ```
//! use chain::signature::SecretKey;
//! use chain::tx::{Memo, Payment};
//! use chain::{Amount, Params, Transfer, rules};
//!
//! let params = Params::dev();
//! let key = SecretKey::from_seed([7; 32]);
//! let recipient = SecretKey::from_seed([8; 32]).public_key().address();
//! let amount = Amount::from_coins("1.5")?.units();
//! let payment = Payment { nonce: 0, recipient, amount, fee: 1_000, memo: Memo::default() };
//! let bytes = Transfer::sign(payment, &key, params.genesis_hash()).encode();
//!
//! let transfer = Transfer::decode(&bytes)?;
//! let checked = rules::tx::check(transfer, params.genesis_hash())?;
//! assert_eq!(checked.details().sender, key.public_key().address());
//! assert_eq!(checked.details().cost.to_string(), "1.50001");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

// A module uses only those above it in this list.
mod fifo_map;
pub mod amount;
pub mod codec;
pub mod hash;
pub mod pow;
pub mod address;
pub mod merkle;
pub mod accounts;
pub mod header;
pub mod signature;
pub mod tx;
pub mod block;
pub mod params;
pub mod store;
pub mod difficulty;
pub mod rules;
pub mod block_index;
pub mod header_tree;
pub mod mempool;
pub mod template;
pub mod ledger;
#[cfg(feature = "testing")]
pub mod testing;

pub use accounts::Account;
pub use address::Address;
pub use amount::Amount;
pub use block::{Block, Header, Height, Timestamp};
pub use codec::DecodeError;
pub use params::Params;
pub use pow::{Bits, Target, Work};
pub use tx::{Coinbase, Transaction, Transfer};
