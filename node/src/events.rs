//! The numbered log of events of the chain, the mempool, peers, jobs and mining, for subscribers that
//! can reconnect and resume where they stopped. Numbers only grow and survive restarts; an event is
//! delivered once it is safe on disk.
//!
//! A `Publisher` sends events through a bounded queue to the `writer` thread, which appends them to
//! the `log`, many with one disk sync. Blocks are logged along the path from the last logged tip to
//! the new one, so that none is missing or duplicated. A `Feed` reads by number at its subscriber's
//! pace and delays nothing.
//!
//! Does not know HTTP: that is `api::routes::events` and `api::routes::ws`.

pub mod data;
mod event;
mod feed;
mod filter;
mod log;
mod path;
pub mod publish;
mod publisher;
mod record;
mod recovery;
mod topic;
mod writer;

pub use event::Event;
pub use feed::{Events, Feed};
pub use filter::{Filter, Since};
pub use publisher::Publisher;
pub use record::Payment;
pub use topic::Topic;
pub use writer::Thread;

#[cfg(test)]
mod tests;
