//! Whole nodes over real sockets on loopback.

mod connections;
mod life;
mod spreading;
mod world;
