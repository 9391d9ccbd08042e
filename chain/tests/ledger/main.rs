//! The rules and the ledger as a node uses them: blocks go in through `Writer::block`, what comes out
//! is compared with a reference ledger of plain maps.

#![allow(clippy::unwrap_used)] // clippy sees a test in what is marked `#[test]` only

mod ahead;
mod invalidate;
mod damage;
mod disk_full;
mod model;
mod readers;
mod recovery;
mod reorganisation;
mod rules;
mod supply;
mod world;
