//! Proof-of-work mining: CPU hashing and the Stratum v1 server protocol.
//!
//! The crate works on headers and targets. It assembles no blocks, opens no sockets and reads no
//! clock in the protocol code; the node does that.
//!
//! # Hashing a range of nonces
//!
//! A [`Work`] is a header, a target and the nonces to try. Of each header version, only the nonce
//! changes from one hash to the next, so everything before it is hashed once and stored in a
//! [`work::PreparedHeader`]. A [`Kernel`] then scans a range of nonces with the instructions of
//! one CPU family. It compares the leading 32 bits only and returns *candidates*, so the whole
//! hash is checked afterwards:
//!
//! ```
//! use chain::{Params, Target};
//! use miner::{Kernel, Work};
//!
//! // A target that one hash in 256 meets.
//! let mut target = [0xff; 32];
//! target[0] = 0;
//! let target = Target::from_be_bytes(target).expect("a target is not zero");
//! let work = Work::new(1, Params::dev().genesis().header, target);
//!
//! let mut candidates = Vec::new();
//! Kernel::fastest().scan(&work.prepare(0), 0..=9_999, &mut candidates);
//!
//! let nonce = candidates[0];
//! let header = work.header(0, nonce);
//! assert_eq!(header.nonce, nonce);
//! assert!(target.is_met_by(header.hash().as_bytes()));
//! ```
//!
//! # Mining with threads
//!
//! A [`Miner`] runs a pool of threads that share the nonces of one work and reports an [`Event`]
//! for every header found. New work replaces the old within a millisecond:
//!
//! ```
//! use chain::{Params, Target};
//! use miner::{Event, Miner, Work};
//! use std::num::NonZeroUsize;
//! use std::sync::mpsc;
//!
//! let (sender, events) = mpsc::channel();
//! let miner = Miner::start(NonZeroUsize::MIN, move |event| {
//!     let _ = sender.send(event);
//! })?;
//! // Every hash meets the largest target: two nonces, two headers.
//! let work = Work::new(7, Params::dev().genesis().header, Target::MAX);
//! miner.set_work(work.within(0..=1, 0..=0));
//!
//! assert!(matches!(events.recv()?, Event::Found { work: 7, .. }));
//! assert!(matches!(events.recv()?, Event::Found { work: 7, .. }));
//! assert_eq!(events.recv()?, Event::Exhausted { work: 7 });
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The rest
//!
//! - [`kernel`]: the kernels and how the fastest one is selected.
//! - [`benchmark`]: the hash rate of every kernel next to the `sha2` crate.
//! - [`stratum`]: the protocol through which external mining machines receive jobs and submit
//!   shares. [`stratum::Session`] is a state machine of one connection.

pub mod benchmark;
mod hash_rate;
pub mod kernel;
mod miner;
mod search;
pub mod stratum;
pub mod work;

pub use kernel::Kernel;
pub use miner::{Miner, StartError};
pub use search::Event;
pub use work::Work;
