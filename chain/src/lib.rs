//! The rules and the ledger of a proof-of-work blockchain.
//!
//! No async, no network, no globals, no clock: time and the network's parameters are arguments.
//! A module uses only those above it in this list.

mod fifo_map;
pub mod codec;
pub mod hash;
pub mod amount;
pub mod pow;
pub mod address;
pub mod signature;
pub mod merkle;
pub mod header;
pub mod tx;
pub mod block;
pub mod accounts;
pub mod params;
pub mod difficulty;
pub mod rules;
pub mod store;
pub mod block_index;
pub mod mempool;
pub mod template;
pub mod ledger;

pub use accounts::Account;
pub use address::Address;
pub use amount::Amount;
pub use block::{Block, Header, Height, Timestamp};
pub use codec::DecodeError;
pub use params::Params;
pub use pow::{Bits, Target, Work};
pub use tx::{Coinbase, Transaction, Transfer};
