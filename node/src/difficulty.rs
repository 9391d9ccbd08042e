//! Difficulty and work as floating-point numbers, for display only: consensus rules must not use them.

pub use miner::stratum::difficulty::{HASHES_PER_DIFFICULTY, of, of_hash};

use chain::{Target, Work};

/// The expected number of hashes between two amounts of accumulated chain work.
pub fn hashes(from: Work, to: Work) -> f64 {
    f64::from(to.value().saturating_sub(from.value()))
}

/// The expected number of hashes of a block with a target.
pub fn expected_hashes(target: Target) -> f64 {
    f64::from(target.work().value())
}

/// The target that takes a number of hashes on average, from 2 to 2^127.
pub fn target_of(hashes: u128) -> Target {
    // The formula that derives the work from a target, 2^256 / (target + 1), is nearly its own inverse.
    let work = hashes.clamp(2, 1 << 127) - 1;
    let mut bytes = [0; 32];
    bytes[16..].copy_from_slice(&work.to_be_bytes());
    let inverse = Target::from_be_bytes(bytes).expect("the work is not zero").work();
    let mut bytes = inverse.to_le_bytes();
    // Subtracts one.
    for byte in &mut bytes {
        let (less, has_borrowed) = byte.overflowing_sub(1);
        *byte = less;
        if !has_borrowed {
            break;
        }
    }
    bytes.reverse();
    Target::from_be_bytes(bytes).expect("the inverse of at most 2^127 is large")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_takes_the_number_of_hashes() {
        for hashes in [2, 3, 1_000, 65_536, 1_000_000, 6_500_000_000, 10_u128.pow(30)] {
            let target = target_of(hashes);
            // Compact bits have 15 significant bits at least.
            for target in [target, target.bits().target().unwrap()] {
                let found = expected_hashes(target) / hashes as f64;
                assert!((0.99..1.01).contains(&found), "{hashes} {found}");
            }
        }
        assert_eq!(target_of(0).value(), target_of(2).value());
        assert_eq!(target_of(u128::MAX).value(), target_of(1 << 127).value());
    }
}
