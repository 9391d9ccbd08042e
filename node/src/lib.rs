//! The node, mining daemon, wallet and tools of `chain`, as a library behind the binary of that name.
//!
//! The binary calls [`cli::main`]; a program that embeds a node starts a [`daemon::Daemon`].

#![allow(missing_docs)] // names that speak for themselves stay without a comment here
#![allow(unreachable_pub)] // `pub` marks what a module offers to its neighbours

pub mod api;
pub mod auth;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod difficulty;
pub mod escape;
pub mod event_sources;
pub mod events;
pub mod explorer;
pub mod faucet;
pub mod jobs;
pub mod json_file;
pub mod listener;
pub mod logging;
pub mod metrics;
pub mod mining;
pub mod network;
pub mod node_file;
pub mod random;
pub mod relay;
pub mod seed;
pub mod shutdown;
pub mod snapshot;
pub mod state;
#[cfg(unix)]
pub mod testnet;
pub mod thread;
pub mod tls;
pub mod wallet;
pub mod writer;
