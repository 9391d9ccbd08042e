//! Whole nodes over real sockets on loopback.

#![allow(clippy::unwrap_used)] // clippy sees a test in what is marked `#[test]` only

mod connections;
mod floods;
mod hostile;
mod life;
mod spreading;
mod stranger;
mod world;
