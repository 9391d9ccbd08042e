//! Difficulty and work as floating-point numbers, for display only: consensus rules must not use them.

pub use miner::stratum::difficulty::of;

use chain::Work;

/// The expected number of hashes between two amounts of accumulated chain work.
pub fn hashes(from: Work, to: Work) -> f64 {
    f64::from(to.value().saturating_sub(from.value()))
}
