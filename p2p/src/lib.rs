//! Peers: how nodes find each other, sync, relay and agree. Reads the chain, never writes it.
//!
//! Nothing is spoken yet: a node of this version is alone, and blocks and transfers reach it by its
//! REST API. What will come here is the protocol between nodes (messages with one table of limits),
//! the headers-first sync as a pure machine, relay with compact blocks, and scores and bans of
//! peers, with one task that drives the network. It will use the chain through its `Reader`, and
//! hand what it receives to the one writer: the same door as a block from the REST API.
