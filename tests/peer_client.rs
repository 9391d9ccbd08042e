//! A node of the peer-to-peer network that shares no code with this project: written from PROTOCOL.md and
//! p2p/PROTOCOL.md, on libp2p. It shows that the documents are enough for another implementation, and is the
//! base of hostile peers. Its chain is in memory, and it does not apply transfers to accounts.

#![allow(dead_code, reason = "each program that includes this module uses a part of it")]

pub mod chain;
pub mod client;
pub mod encoding;
pub mod swarm;
pub mod tcp;
