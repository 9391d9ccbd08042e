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
mod pace;
mod session;
mod share;
mod vardiff;
mod work;
mod worker;

pub use difficulty::Difficulty;
pub use extra_nonce::ExtraNonces;
pub use message::MAX_LINE;
pub use session::{Action, Now, Payees, Session, Terms};
pub use share::{Outcome, Solved};
pub use work::{Candidate, Coinbase, Work};
pub use worker::Worker;

#[cfg(test)]
mod tests;
