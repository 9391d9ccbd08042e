//! End-to-end tests over real processes of the binary `chain`.

#![allow(clippy::unwrap_used)] // clippy sees a test in what is marked `#[test]` only
#![allow(unreachable_pub)] // as in any binary

mod browser;
mod documentation;
mod events;
mod explorer;
mod failover;
#[cfg(target_os = "linux")]
mod faults;
#[cfg(target_os = "linux")]
mod full_disk;
mod harness;
mod independent_client;
mod jobs;
mod mempool;
mod mining;
mod module_order;
mod networks;
mod node;
mod payment;
mod peer_client;
mod peers;
mod reorganisation;
mod repair;
mod rpc;
#[cfg(unix)]
mod scenarios;
mod sending;
#[cfg(target_os = "linux")]
mod selection;
mod shell;
#[cfg(target_os = "linux")]
mod start_stop;
mod snapshots;
mod stratum;
mod test_chain;
#[cfg(unix)]
mod testnet;
mod tls;
mod util;
mod wallet;
