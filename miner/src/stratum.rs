//! The Stratum v1 server protocol, through which mining machines receive jobs and submit shares, as
//! a state machine: lines and times in, actions out. Works on headers, targets and the two parts of
//! a coinbase; sockets, clocks, addresses and blocks are the caller's.
//!
//! A share is a nonce whose hash meets a target easier than the block's, which proves that a miner
//! works. No claim of a miner is trusted: every share is hashed again here.
//!
//! Source: the mining protocol as published by slush's pool; BIP 310 (`mining.configure`), BIP 320
//! (version bits); and the behaviour of deployed miners, see `session`.
//!
//! # Example
//!
//! A server creates a [`Session`] per connection and passes it the [`BlockTemplate`] to mine and
//! the lines received. Here the target is so easy that the first share is a block:
//!
//! ```
//! use chain::merkle::Branch;
//! use chain::{Params, Target, Timestamp};
//! use miner::stratum::{
//!     Action, BlockTemplate, CoinbaseParts, CoinbaseSource, Now, Session, SessionConfig,
//!     ShareOutcome,
//! };
//! use std::sync::Arc;
//! use std::time::Instant;
//!
//! struct Source;
//!
//! impl CoinbaseSource for Source {
//!     type PayoutAddress = String;
//!
//!     fn coinbase(&self, payout_address: &String) -> CoinbaseParts {
//!         CoinbaseParts { prefix: b"reward ".to_vec(), suffix: payout_address.clone().into() }
//!     }
//! }
//!
//! let parse_address = |text: &str| (text == "alice").then(|| text.to_owned());
//! let config = Arc::new(SessionConfig::new(parse_address, 60));
//! let genesis = Params::dev().genesis().header;
//! let branch = Branch { siblings: Vec::new(), position: 0 };
//! let template = BlockTemplate::new(1, genesis, branch, Target::MAX, genesis.time, Source);
//!
//! let now = Now { instant: Instant::now(), time: genesis.time };
//! let mut session = Session::new(config, now);
//! session.set_template(Arc::new(template), now);
//! session.handle_line(br#"{"id":1,"method":"mining.subscribe","params":[]}"#, now);
//! session.handle_line(br#"{"id":2,"method":"mining.authorize","params":["alice.rig","x"]}"#, now);
//!
//! // User name, job, second half of the extra nonce, time and nonce.
//! let time = format!("{:08x}", genesis.time.get());
//! let submit = format!(
//!     r#"{{"id":3,"method":"mining.submit","params":["alice.rig","100","00000000","{time}","00000007"]}}"#
//! );
//! let actions = session.handle_line(submit.as_bytes(), now);
//! let [Action::SubmitBlock(block), Action::RecordShare(worker, outcome), Action::Send(response)] =
//!     &actions[..]
//! else {
//!     panic!("the share is a block");
//! };
//! assert_eq!(block.header.nonce, 7);
//! assert_eq!((worker.payout_address.as_str(), worker.name.as_str()), ("alice", "rig"));
//! assert!(matches!(outcome, ShareOutcome::Block(_)));
//! assert_eq!(response, r#"{"error":null,"id":3,"result":true}"#);
//! ```

pub mod difficulty;
mod extra_nonce;
mod jobs;
mod message;
mod rate_limit;
mod session;
mod share;
mod template;
mod vardiff;
mod worker;

pub use difficulty::Difficulty;
pub use message::MAX_LINE_BYTES;
pub use session::{AUTHORIZATION_TIMEOUT, Action, Now, Session, SessionConfig};
pub use share::{AcceptedShare, ShareOutcome, SolvedBlock};
pub use template::{BlockTemplate, CoinbaseParts, CoinbaseSource};
pub use worker::Worker;

#[cfg(test)]
mod tests;
