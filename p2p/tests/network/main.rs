//! Whole nodes over real sockets on loopback.

mod connections;
mod hostile;
mod life;
mod spreading;
mod stranger;
mod world;
