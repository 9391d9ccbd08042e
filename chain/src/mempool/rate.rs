//! Fee rates, which are compared exactly as fractions.

use std::cmp::Ordering;

/// A fee rate: a fee in base units per encoded bytes, as a fraction.
#[derive(Clone, Copy, Debug)]
pub struct FeeRate {
    fee: u64,
    bytes: u64,
}

impl FeeRate {
    /// Creates the rate of a fee in base units for a number of bytes; 0 bytes count as 1.
    pub fn new(fee: u64, bytes: u64) -> FeeRate {
        FeeRate { fee, bytes: bytes.max(1) }
    }

    /// Returns the rate of both fees for both numbers of bytes together.
    pub fn combine(self, other: FeeRate) -> FeeRate {
        FeeRate {
            fee: self.fee.saturating_add(other.fee),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }

    /// Returns the whole base units per byte, rounded down.
    pub fn floor(self) -> u64 {
        self.fee / self.bytes
    }

    /// Returns the lowest whole rate above this one.
    pub fn next_above(self) -> u64 {
        self.floor().saturating_add(1)
    }
}

impl Ord for FeeRate {
    fn cmp(&self, other: &FeeRate) -> Ordering {
        let product = |fee: u64, bytes: u64| u128::from(fee) * u128::from(bytes);
        product(self.fee, other.bytes).cmp(&product(other.fee, self.bytes))
    }
}

impl PartialOrd for FeeRate {
    fn partial_cmp(&self, other: &FeeRate) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for FeeRate {
    fn eq(&self, other: &FeeRate) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for FeeRate {}

/// The transfers of the mempool with similar fee rates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeeBucket {
    /// The lowest fee rate of the bucket: 0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32 …
    pub rate: u64,
    /// The number of transfers.
    pub count: usize,
    /// The size of the transfers, in bytes.
    pub bytes: u64,
}

/// Returns the lowest rate of the bucket of a rate, which has its two leading binary digits.
pub(super) fn bucket_of(rate: u64) -> u64 {
    let shift = rate.checked_ilog2().unwrap_or(0).saturating_sub(1);
    rate >> shift << shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fee_rates_compare_exactly() {
        assert_eq!(FeeRate::new(1, 2), FeeRate::new(2, 4));
        assert!(FeeRate::new(146, 145) > FeeRate::new(1, 1));
        let large = (1 << 53) - 1;
        assert!(FeeRate::new(large, 145) > FeeRate::new(large - 1, 145));
        assert!(FeeRate::new(u64::MAX, 401) < FeeRate::new(u64::MAX, 400));
        assert_eq!(FeeRate::new(435, 145).next_above(), 4);
        assert_eq!(FeeRate::new(436, 145).next_above(), 4);
        assert_eq!(FeeRate::new(1, 1).combine(FeeRate::new(3, 1)), FeeRate::new(2, 1));
    }

    #[test]
    fn buckets_have_two_per_power_of_two() {
        let starts: Vec<u64> = (0..=17).map(bucket_of).collect();
        assert_eq!(starts, [0, 1, 2, 3, 4, 4, 6, 6, 8, 8, 8, 8, 12, 12, 12, 12, 16, 16]);
        assert_eq!(bucket_of(u64::MAX), 3 << 62);
    }
}
