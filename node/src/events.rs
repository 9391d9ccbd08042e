//! The numbered log of events: what happened to the chain, the pool, peers, jobs and mining, in
//! order, for readers that come back and ask what they missed. Numbers only grow and survive
//! restarts; an event is shown to readers once it is safe on disk.
//!
//! A thread of its own ([`teller`]) takes news from a bounded queue and appends them to [`log`], a
//! few records at a time, with a sync of its own. Blocks are told from the tip that was told last,
//! so that none is missing or told twice whatever happened in between. [`feed`] reads by number,
//! at the pace of its reader, and nobody waits for it.
//!
//! Does not know HTTP: that is `api::events` and `api::ws`.

mod event;
mod feed;
mod filter;
mod log;
pub mod publish;
mod publisher;
mod record;
mod topic;
mod writer;

pub use event::Event;
pub use feed::{Events, Feed, MAX_READERS};
pub use filter::{Filter, Since};
pub use publisher::Publisher;
pub use record::Payment;
pub use topic::Topic;
pub use writer::Thread;

#[cfg(test)]
mod tests;
