//! Tests of the rules and the ledger as a node uses them: blocks are submitted to the writer, and
//! the views of readers are compared with a reference implementation on plain maps.

#![allow(clippy::unwrap_used)] // clippy exempts only functions marked `#[test]`

mod harness;
mod damage;
mod disk_full;
mod flush;
mod interrupt;
mod invalidate;
mod loss;
mod mempool;
mod model;
mod precheck;
mod proposal;
mod readers;
mod recovery;
mod reorg;
mod reorg_memory;
mod rules;
mod side_branches;
mod supply;
mod test_chain;
