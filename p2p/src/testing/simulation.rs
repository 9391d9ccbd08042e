//! Whole networks of engines in one thread: virtual time, one queue of events, one seed. The same
//! seed gives the same run, so a failure can be looked at as often as it takes.

mod link;
mod node;
mod world;

mod faults;
mod wire;

mod scenarios;
mod seeds;
