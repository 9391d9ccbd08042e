//! Networks of engines in one thread: virtual time, one queue of events, one seed. The same seed
//! yields the same run, so a failure can be reproduced.

mod link;
mod node;
mod world;

mod faults;
mod wire;

mod liars;
mod scenarios;
mod seeds;
