//! Difficulty and work as people read them: real numbers, which no rule may use.

pub use miner::stratum::difficulty::of;

use chain::Work;

/// Expected hashes from one point of a chain to a later one.
pub fn hashes(from: Work, to: Work) -> f64 {
    f64::from(to.value().saturating_sub(from.value()))
}
