//! Proof of work: the compact bits of a header, the 256-bit target they encode, and the work that
//! meeting a target proves. A smaller target is harder; a hash equal to the target meets it.
//! [`difficulty`](crate::difficulty) computes the target that a block must have.
//! Source: Bitcoin developer reference, "Target nBits".

#![deny(clippy::arithmetic_side_effects)]

use ruint::aliases::U256;
use std::fmt;

/// The compact form of a target in a header: one byte of exponent, three of signed mantissa. It may
/// be any 32 bits; [`Bits::target`] validates them.
///
/// ```
/// use chain::pow::{Bits, BitsError};
///
/// let bits: Bits = "1d00ffff".parse()?;
/// let target = bits.target()?;
/// assert_eq!(target.bits(), bits);
/// assert_eq!(target.work().value().to_string(), "4295032833");
/// assert_eq!(Bits::new(0x1d80_ffff).target(), Err(BitsError::Negative));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bits(u32);

impl Bits {
    /// Returns the 32 bits of a header, unchecked.
    pub const fn new(raw: u32) -> Bits {
        Bits(raw)
    }

    /// The 32 bits as a number.
    pub const fn raw(self) -> u32 {
        self.0
    }

    /// Returns the target that these bits encode, or an error unless they are its one canonical
    /// encoding.
    pub fn target(self) -> Result<Target, BitsError> {
        let exponent = self.0 >> 24;
        let mantissa = self.0 & 0x007f_ffff;
        if mantissa != 0 && self.0 & 0x0080_0000 != 0 {
            return Err(BitsError::Negative);
        }
        // The bytes of the mantissa are at the positions exponent − 3 to exponent − 1.
        let max_exponent = match mantissa {
            0 => u32::MAX,
            0x0001_0000.. => 32,
            0x100.. => 33,
            _ => 34,
        };
        if exponent > max_exponent {
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

/// Formats the bits as 8 hexadecimal digits.
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

/// Parses 8 hexadecimal digits, with or without `0x`.
impl std::str::FromStr for Bits {
    type Err = ParseBitsError;

    fn from_str(text: &str) -> Result<Bits, ParseBitsError> {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        let mut bytes = [0; 4];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| ParseBitsError)?;
        Ok(Bits(u32::from_be_bytes(bytes)))
    }
}

/// The error of a text that is not compact bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("compact bits are 8 hexadecimal digits, such as 1d00ffff")]
pub struct ParseBitsError;

/// The reason why compact bits do not encode a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BitsError {
    /// The sign bit of a non-zero mantissa is set.
    #[error("negative")]
    Negative,
    /// The encoded target is zero, which no hash can meet.
    #[error("zero")]
    Zero,
    /// The encoded target does not fit into 256 bits.
    #[error("overflow")]
    Overflow,
    /// The canonical encoding of the same value is another one.
    #[error("not canonical")]
    NotCanonical,
}

/// The largest hash that a block may have: 1 to 2^256 − 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target(U256);

impl Target {
    /// The hardest target, 1.
    pub const MIN: Target = Target(U256::ONE);
    /// The easiest target, 2^256 − 1.
    pub const MAX: Target = Target(U256::MAX);

    /// Returns the target with a value, or `None` for zero.
    pub fn new(value: U256) -> Option<Target> {
        (!value.is_zero()).then_some(Target(value))
    }

    /// The target as a 256-bit number.
    pub fn value(self) -> U256 {
        self.0
    }

    /// Returns the target with a value of 32 big-endian bytes, or `None` for zero.
    pub fn from_be_bytes(bytes: [u8; 32]) -> Option<Target> {
        Target::new(U256::from_be_bytes(bytes))
    }

    /// The target as 32 big-endian bytes.
    pub fn to_be_bytes(self) -> [u8; 32] {
        self.0.to_be_bytes()
    }

    /// The compact form of the target. It has three significant bytes: the value is rounded down,
    /// which is harder.
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

    /// Whether a SHA-256d digest, as a 256-bit little-endian number, is at most this target.
    pub fn is_met_by(self, digest: &[u8; 32]) -> bool {
        U256::from_le_bytes(*digest) <= self.0
    }

    /// The expected number of hashes to meet this target: floor(2^256 / (target + 1)).
    pub fn work(self) -> Work {
        // 2^256 does not fit; 2^256 / (t + 1) = (2^256 − (t + 1)) / (t + 1) + 1 = !t / (t + 1) + 1.
        let Some(divisor) = self.0.checked_add(U256::ONE) else { return Work(U256::ONE) };
        let quotient = (!self.0).checked_div(divisor).unwrap_or(U256::ZERO);
        Work(quotient.saturating_add(U256::ONE))
    }
}

/// Formats the target as 64 hexadecimal digits, the most significant first.
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

/// The work of a block or of a chain: the expected number of hashes to mine it.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Work(U256);

impl Work {
    /// The work of a chain without blocks: 0.
    pub const ZERO: Work = Work(U256::ZERO);

    /// The work as a 256-bit number.
    pub fn value(self) -> U256 {
        self.0
    }

    /// Returns the work with a value of 32 little-endian bytes.
    pub fn from_le_bytes(bytes: [u8; 32]) -> Work {
        Work(U256::from_le_bytes(bytes))
    }

    /// The work as 32 little-endian bytes.
    pub fn to_le_bytes(self) -> [u8; 32] {
        self.0.to_le_bytes()
    }

    /// The difference to `other`, or zero if that is more.
    pub fn saturating_sub(self, other: Work) -> Work {
        Work(self.0.saturating_sub(other.0))
    }

    /// The sum with `other`, or 2^256 − 1 if it is more.
    pub fn saturating_add(self, other: Work) -> Work {
        Work(self.0.saturating_add(other.0))
    }
}

/// Formats the work as 64 hexadecimal digits, the most significant first.
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
    fn target_is_met_by_equal_hash_and_not_by_larger() {
        let target = Bits::new(0x1d00_ffff).target().unwrap();
        let mut digest = target.to_be_bytes();
        digest.reverse();
        assert!(target.is_met_by(&digest));
        digest[0] = 1;
        assert!(!target.is_met_by(&digest));
        // The hash of Bitcoin's genesis block meets the target in internal byte order only.
        let hash = "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f";
        hex::decode_to_slice(hash, &mut digest).unwrap();
        assert!(!target.is_met_by(&digest));
        digest.reverse();
        assert!(target.is_met_by(&digest));
    }

    #[test]
    fn work_is_expected_number_of_hashes() {
        let work = |raw| Bits::new(raw).target().unwrap().work().value().to_string();
        // Bitcoin's genesis block: 2^32 / (1 − 2^−16), rounded down.
        assert_eq!(work(0x1d00_ffff), "4295032833");
        assert_eq!(work(0x207f_ffff), "2");
        assert_eq!(Target::MAX.work().value().to_string(), "1");
        assert_eq!(Target::new(U256::ONE).unwrap().work().value(), U256::ONE << 255);
    }

    // C26
    #[test]
    fn chain_work_saturates() {
        let max = Work(U256::MAX);
        assert_eq!(max.saturating_add(Work(U256::ONE)), max);
    }

    proptest! {
        #[test]
        fn canonical_bits_round_trip(raw: u32) {
            if let Ok(target) = Bits::new(raw).target() {
                prop_assert_eq!(target.bits(), Bits::new(raw));
            }
        }

        #[test]
        fn compact_form_never_makes_target_easier(bytes: [u8; 32]) {
            if let Some(target) = Target::from_be_bytes(bytes) {
                let rounded = target.bits().target().unwrap();
                prop_assert!(rounded <= target);
            }
        }
    }
}
