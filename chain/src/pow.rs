//! Proof of work: compact bits as headers carry them, the 256-bit target they stand for, and the
//! work a target proves. Smaller target = harder; a hash equal to its target passes.
//! Does not know which target a block owes: that is `difficulty`.
//! Source: Bitcoin developer reference, "Target nBits".

#![deny(clippy::arithmetic_side_effects)]

use ruint::aliases::U256;
use std::fmt;

/// The compact target as it stands in a header: one byte of exponent, three of signed mantissa.
/// Any 32 bits; `target` tells whether they mean anything.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bits(u32);

impl Bits {
    /// From the 32 bits of a header.
    pub const fn new(raw: u32) -> Bits {
        Bits(raw)
    }

    /// The 32 bits.
    pub const fn raw(self) -> u32 {
        self.0
    }

    /// The target these bits stand for, if they are the one canonical way to write it.
    pub fn target(self) -> Result<Target, BitsError> {
        let exponent = self.0 >> 24;
        let mantissa = self.0 & 0x007f_ffff;
        if mantissa != 0 && self.0 & 0x0080_0000 != 0 {
            return Err(BitsError::Negative);
        }
        // The mantissa's bytes stand at the positions exponent − 3 to exponent − 1.
        let most_exponent = match mantissa {
            0 => u32::MAX,
            0x0001_0000.. => 32,
            0x100.. => 33,
            _ => 34,
        };
        if exponent > most_exponent {
            return Err(BitsError::Overflow);
        }
        let value = if mantissa == 0 {
            U256::ZERO
        } else if let Some(dropped) = 3_u32.checked_sub(exponent) {
            U256::from(mantissa >> dropped.saturating_mul(8))
        } else {
            let bytes = exponent.saturating_sub(3) as usize;
            U256::from(mantissa).wrapping_shl(bytes.saturating_mul(8))
        };
        let target = Target::new(value).ok_or(BitsError::Zero)?;
        if target.bits() == self { Ok(target) } else { Err(BitsError::NotCanonical) }
    }
}

/// Eight hexadecimal digits.
impl fmt::Display for Bits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl fmt::Debug for Bits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bits({self})")
    }
}

/// Eight hexadecimal digits, with or without `0x`.
impl std::str::FromStr for Bits {
    type Err = ParseBitsError;

    fn from_str(text: &str) -> Result<Bits, ParseBitsError> {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        let mut bytes = [0; 4];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| ParseBitsError)?;
        Ok(Bits(u32::from_be_bytes(bytes)))
    }
}

/// Why a text is not compact bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("compact bits are 8 hexadecimal digits, such as 1d00ffff")]
pub struct ParseBitsError;

/// Why compact bits are not a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BitsError {
    /// The sign bit of a non-zero mantissa is set.
    #[error("negative")]
    Negative,
    /// The value is zero, which no hash can meet.
    #[error("zero")]
    Zero,
    /// The value does not fit into 256 bits.
    #[error("overflow")]
    Overflow,
    /// Another encoding stands for the same value.
    #[error("not canonical")]
    NotCanonical,
}

/// The largest hash that passes; 1 to 2^256 − 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target(U256);

impl Target {
    /// The hardest target that exists.
    pub const MIN: Target = Target(U256::ONE);
    /// The easiest target that exists.
    pub const MAX: Target = Target(U256::MAX);

    /// `None` for zero.
    pub fn new(value: U256) -> Option<Target> {
        (!value.is_zero()).then_some(Target(value))
    }

    /// The 256-bit value.
    pub fn value(self) -> U256 {
        self.0
    }

    /// From 32 bytes, big-endian; `None` for zero.
    pub fn from_be_bytes(bytes: [u8; 32]) -> Option<Target> {
        Target::new(U256::from_be_bytes(bytes))
    }

    /// 32 bytes, big-endian.
    pub fn to_be_bytes(self) -> [u8; 32] {
        self.0.to_be_bytes()
    }

    /// The compact form, which keeps the three leading bytes: rounds towards harder.
    pub fn bits(self) -> Bits {
        let mut size = self.0.byte_len();
        let shift = size.saturating_sub(3).saturating_mul(8);
        let leading = self.0.wrapping_shr(shift).as_limbs()[0];
        let mut mantissa = u32::try_from(leading).expect("three bytes of a shifted value fit u32");
        if size < 3 {
            mantissa <<= 8_usize.saturating_mul(3_usize.saturating_sub(size));
        }
        if mantissa & 0x0080_0000 != 0 {
            mantissa >>= 8;
            size = size.saturating_add(1);
        }
        let exponent = u32::try_from(size).expect("a 256-bit value has at most 33 bytes");
        Bits(exponent << 24 | mantissa)
    }

    /// Whether a SHA-256d digest (internal order: little-endian) is at most this target.
    pub fn is_met_by(self, digest: &[u8; 32]) -> bool {
        U256::from_le_bytes(*digest) <= self.0
    }

    /// Expected number of hashes to meet this target: floor(2^256 / (target + 1)).
    pub fn work(self) -> Work {
        // 2^256 does not fit; 2^256 / (t + 1) = (2^256 − (t + 1)) / (t + 1) + 1 = !t / (t + 1) + 1.
        let Some(divisor) = self.0.checked_add(U256::ONE) else { return Work(U256::ONE) };
        let quotient = (!self.0).checked_div(divisor).unwrap_or(U256::ZERO);
        Work(quotient.saturating_add(U256::ONE))
    }
}

/// 64 hexadecimal digits, big-endian.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.to_be_bytes()))
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

/// Expected hashes, of one block or of a chain.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Work(U256);

impl Work {
    /// None done.
    pub const ZERO: Work = Work(U256::ZERO);

    /// The 256-bit value.
    pub fn value(self) -> U256 {
        self.0
    }

    /// From 32 bytes, least significant first: how peers tell it.
    pub fn from_le_bytes(bytes: [u8; 32]) -> Work {
        Work(U256::from_le_bytes(bytes))
    }

    /// As 32 bytes, least significant first.
    pub fn to_le_bytes(self) -> [u8; 32] {
        self.0.to_le_bytes()
    }

    /// The difference; zero if `other` is more.
    pub fn saturating_sub(self, other: Work) -> Work {
        Work(self.0.saturating_sub(other.0))
    }

    /// The sum; 2^256 hashes are out of reach, so it stops there instead of wrapping (C26).
    pub fn saturating_add(self, other: Work) -> Work {
        Work(self.0.saturating_add(other.0))
    }
}

/// 64 hexadecimal digits, big-endian.
impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0.to_be_bytes::<32>()))
    }
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Work({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(raw: u32) -> Result<String, BitsError> {
        Bits::new(raw).target().map(|target| target.value().to_string())
    }

    // C12. Cases of Bitcoin Core's src/test/arith_uint256_tests.cpp, "bignum_SetCompact".
    #[test]
    fn compact_bits_edge_cases() {
        use BitsError::*;
        for zero in
            [0, 0x0012_3456, 0x0100_3456, 0x0200_0056, 0x0300_0000, 0x0400_0000, 0x0092_3456]
        {
            let expected = if zero == 0x0092_3456 { Negative } else { Zero };
            assert_eq!(check(zero), Err(expected), "{zero:08x}");
        }
        for zero in [0x0080_0000, 0x0180_0000, 0xff00_0000, 0xff80_0000] {
            assert_eq!(check(zero), Err(Zero), "{zero:08x}");
        }
        for negative in [0x01fe_dcba, 0x0492_3456, 0x0180_3456, 0x0280_0056] {
            assert_eq!(check(negative), Err(Negative), "{negative:08x}");
        }
        for overflow in [0xff12_3456, 0x2101_0000, 0x2200_0100, 0x2300_0001] {
            assert_eq!(check(overflow), Err(Overflow), "{overflow:08x}");
        }
        for twice in [0x0112_3456, 0x0500_1234, 0x2200_00ff, 0x0212_3456] {
            assert_eq!(check(twice), Err(NotCanonical), "{twice:08x}");
        }
        for (raw, value) in [
            (0x0112_0000, "18"),
            (0x0212_3400, "4660"),
            (0x0312_3456, "1193046"),
            (0x0412_3456, "305419776"),
            (0x0200_8000, "128"),
            (0x0500_9234, "2452881408"),
        ] {
            assert_eq!(check(raw).as_deref(), Ok(value), "{raw:08x}");
        }
        assert_eq!(
            Bits::new(0x2012_3456).target().map(|target| target.to_string()).as_deref(),
            Ok("1234560000000000000000000000000000000000000000000000000000000000")
        );
    }

    // C13
    #[test]
    fn a_hash_equal_to_the_target_passes_and_one_above_does_not() {
        let target = Bits::new(0x1d00_ffff).target().unwrap();
        let mut digest = target.to_be_bytes();
        digest.reverse();
        assert!(target.is_met_by(&digest));
        digest[0] = 1;
        assert!(!target.is_met_by(&digest));
        // Bitcoin's first block: its hash passes in internal order, and only in that.
        let hash = "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f";
        hex::decode_to_slice(hash, &mut digest).unwrap();
        assert!(!target.is_met_by(&digest));
        digest.reverse();
        assert!(target.is_met_by(&digest));
    }

    #[test]
    fn work_is_the_expected_number_of_hashes() {
        let work = |raw| Bits::new(raw).target().unwrap().work().value().to_string();
        // Bitcoin's first block: 2^32 / (1 − 2^−16), rounded down.
        assert_eq!(work(0x1d00_ffff), "4295032833");
        assert_eq!(work(0x207f_ffff), "2");
        assert_eq!(Target::MAX.work().value().to_string(), "1");
        assert_eq!(Target::new(U256::ONE).unwrap().work().value(), U256::ONE << 255);
    }

    // C26
    #[test]
    fn chain_work_stops_at_its_limit_instead_of_wrapping() {
        let most = Work(U256::MAX);
        assert_eq!(most.saturating_add(Work(U256::ONE)), most);
    }

    proptest! {
        #[test]
        fn canonical_bits_survive_the_round_trip(raw: u32) {
            if let Ok(target) = Bits::new(raw).target() {
                prop_assert_eq!(target.bits(), Bits::new(raw));
            }
        }

        #[test]
        fn compact_form_never_makes_a_target_easier(bytes: [u8; 32]) {
            if let Some(target) = Target::from_be_bytes(bytes) {
                let rounded = target.bits().target().unwrap();
                prop_assert!(rounded <= target);
            }
        }
    }
}
