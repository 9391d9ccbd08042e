//! Difficulty and work as people read them: real numbers, which no rule may use.

use chain::{Bits, Target, Work};

/// Bitcoin's measure of a target: how many times as hard as 1d00ffff.
pub fn of(target: Target) -> f64 {
    let easiest = Bits::new(0x1d00_ffff).target().expect("the bits of difficulty 1 are canonical");
    f64::from(easiest.value()) / f64::from(target.value())
}

/// Expected hashes from one point of a chain to a later one.
pub fn hashes(from: Work, to: Work) -> f64 {
    f64::from(to.value().saturating_sub(from.value()))
}
