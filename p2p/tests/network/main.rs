//! Whole nodes over real sockets on loopback.

mod connections;
mod spreading;
mod world;
