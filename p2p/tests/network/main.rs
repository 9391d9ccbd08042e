//! Nodes that communicate over TCP on loopback.

#![allow(clippy::unwrap_used)] // clippy recognizes only functions with `#[test]` as tests

mod connections;
mod denial_of_service;
mod hostile;
mod lifecycle;
mod negotiation;
mod operators;
mod relay;
mod stranger;
mod world;
