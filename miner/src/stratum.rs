//! Stratum v1, by which mining machines get work and hand in shares: the protocol as a machine that
//! takes lines and a time and gives actions. Knows headers, targets and the two halves of a coinbase;
//! sockets, clocks, addresses and blocks are the caller's business.
//!
//! A share is a nonce that meets a target easier than the block's, so that a miner can be seen to
//! work. Everything a miner sends is hashed anew here and believed in nothing.
//!
//! Source: the mining protocol as slush's pool published it; BIP 310 (`mining.configure`), BIP 320
//! (version bits); and what the miners in use send and expect, see `session`.

pub mod difficulty;
mod extra_nonce;
mod message;
mod rate_limit;
mod session;
mod share;
mod vardiff;
mod template;
mod worker;

pub use difficulty::Difficulty;
pub use extra_nonce::ExtraNonceAllocator;
pub use message::MAX_LINE_BYTES;
pub use session::{Action, AddressParser, Now, Session, SessionConfig};
pub use share::{ShareOutcome, SolvedBlock};
pub use template::{BlockTemplate, CoinbaseParts, CoinbaseSource};
pub use worker::Worker;

#[cfg(test)]
mod tests;
