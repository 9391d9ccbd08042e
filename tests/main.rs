//! End-to-end tests over real processes of the binary `chain`.

#![allow(clippy::unwrap_used)] // clippy sees a test in what is marked `#[test]` only

mod util;
mod wallet;
