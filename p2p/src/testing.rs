//! Test support: a chain without a disk, ready-made messages, and simulated networks.

pub(crate) mod fixtures;
pub(crate) mod mock_chain;
mod simulation;
