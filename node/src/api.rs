//! The REST API: what clients see of the node, under `/v1`.

pub mod extract;
pub mod hosts;
pub mod problem;
pub mod server;
mod socket;
pub mod token;
