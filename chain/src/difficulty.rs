//! The target that a block must have: ASERT, an exponential function of the seconds by which blocks
//! are early or late, applied from each block to the next. Relative to the parent alone there is no
//! schedule to catch up with: a chain that was idle for a week resumes at its normal interval.
//! Times are in seconds, and a smaller target is harder. [`rules::header`](crate::rules::header)
//! validates the bits of headers.
//! Source: Bitcoin Cash specification 2020-11-15, "ASERT Difficulty Adjustment Algorithm
//! (aserti3-2d)".

#![deny(clippy::arithmetic_side_effects)]

use crate::block::Timestamp;
use crate::params::Params;
use crate::pow::{Bits, Target};
use ruint::Uint;
use ruint::aliases::U256;

/// The number 1 in fixed-point arithmetic with 16 fractional bits.
const ONE: u128 = 1 << 16;
/// The coefficients of a cubic polynomial in x·2^16 that approximates 2^48 · (2^x − 1) for
/// 0 ≤ x < 1, highest power first. The constant term rounds to nearest.
const CUBIC: [u128; 4] = [5_127, 971_821_376, 195_766_423_245_049, 1 << 47];

/// A target times 2^16 times a factor below 2, with spare bits so that an overflow is detected.
type Wide = Uint<320, 5>;

/// Returns the target that aserti3-2d requires of the block after the one that is `height_delta`
/// blocks above the anchor and `time_delta` seconds after the anchor's parent:
/// `anchor` · 2^(delay / half-life), at least 1 and at most `limit`. The spacing and the half-life
/// are in seconds; a half-life of 0 counts as 1. The result is exact for deltas of at most 2^64 and
/// saturates beyond.
pub fn asert(
    anchor: Target,
    time_delta: i128,
    height_delta: i128,
    spacing: u32,
    half_life: u32,
    limit: Target,
) -> Target {
    let schedule = height_delta.saturating_add(1).saturating_mul(i128::from(spacing));
    let delay = time_delta.saturating_sub(schedule);
    // Truncated toward zero, as the specification's integers divide.
    let exponent = delay.saturating_mul(1 << 16).checked_div(half_life.max(1).into());
    let exponent = exponent.expect("the divisor is at least 1");
    let (doublings, fraction) = (exponent >> 16, (exponent & 0xffff).unsigned_abs());

    let power = CUBIC
        .iter()
        .fold(0_u128, |sum, coefficient| sum.saturating_mul(fraction).saturating_add(*coefficient));
    let factor = ONE.saturating_add(power >> 48);
    let product = Wide::from(anchor.value()).saturating_mul(Wide::from(factor));
    // One shift removes the 16 fractional bits of the factor and applies the doublings.
    let shift = doublings.saturating_sub(16);
    let places = usize::try_from(shift.unsigned_abs()).unwrap_or(usize::MAX);
    let target =
        if shift < 0 { product.wrapping_shr(places) } else { product.saturating_shl(places) };
    // A target that is shifted to zero is replaced by the hardest one, 1.
    Target::new(U256::saturating_from(target)).unwrap_or(Target::MIN).min(limit)
}

/// The difficulty parameters of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The target time between two blocks, in seconds.
    pub spacing: u32,
    /// The delay that doubles the target, in seconds.
    pub half_life: u32,
    /// The easiest target that a block may have.
    pub limit: Target,
    /// The bits of genesis and of block 1.
    pub genesis_bits: Bits,
    /// Whether every block has the genesis bits.
    pub fixed: bool,
}

impl Schedule {
    /// Returns the difficulty parameters of a network.
    pub fn of(params: &Params) -> Schedule {
        let spec = params.spec();
        Schedule {
            spacing: spec.spacing_seconds,
            half_life: spec.half_life_seconds,
            limit: params.limit(),
            genesis_bits: spec.genesis_bits,
            fixed: spec.fixed_difficulty,
        }
    }

    /// Returns the bits of the child of `parent`, which has these bits and this time, given the
    /// time of the grandparent; without a grandparent the parent is genesis.
    ///
    /// The solve time of the parent counts as at most one half-life, so a block makes the next
    /// target at most 2^(1 − spacing/half-life) times as large. It makes it at most
    /// 2^(spacing/half-life) times as small.
    pub fn next_bits(&self, parent: (Bits, Timestamp), grandparent: Option<Timestamp>) -> Bits {
        let (bits, time) = parent;
        let Some(grandparent) = grandparent.filter(|_| !self.fixed) else {
            return self.genesis_bits;
        };
        let target = bits.target().expect("a block's bits are canonical before it is a parent");
        let solve_time = time.since(grandparent).min(i64::from(self.half_life));
        asert(target, solve_time.into(), 0, self.spacing, self.half_life, self.limit).bits()
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "an overflow here should panic")]
mod tests {
    use super::*;
    use num_bigint::{BigInt, Sign};
    use proptest::prelude::*;

    fn target(raw: u32) -> Target {
        Bits::new(raw).target().unwrap()
    }

    /// The formula of the specification in arbitrary-precision integers.
    fn reference(
        anchor: Target,
        (time_delta, height_delta): (i128, i128),
        (spacing, half_life): (u32, u32),
        limit: Target,
    ) -> Target {
        let big = |target: Target| BigInt::from_bytes_be(Sign::Plus, &target.to_be_bytes());
        let delay = BigInt::from(time_delta) - spacing * (BigInt::from(height_delta) + 1);
        let exponent: BigInt = delay * 65_536 / half_life;
        let shifts: BigInt = &exponent >> 16;
        let fraction = exponent - (&shifts << 16);
        let square: BigInt = &fraction * &fraction;
        let cubic = 195_766_423_245_049_u64 * &fraction
            + 971_821_376_u32 * &square
            + 5_127 * &square * &fraction
            + (1_u64 << 47);
        let factor: BigInt = (cubic >> 48) + 65_536;
        let Ok(shifts) = i32::try_from(shifts.clamp((-1_000).into(), 1_000.into())) else {
            unreachable!("it was clamped")
        };
        let next = ((big(anchor) * factor) << 1_000_u32) >> (1_016 - shifts);
        let next: BigInt = next.clamp(1.into(), big(limit));
        let (_, bytes) = next.to_bytes_be();
        let mut padded = [0; 32];
        padded[32 - bytes.len()..].copy_from_slice(&bytes);
        Target::from_be_bytes(padded).unwrap()
    }

    /// Targets of every size, including the largest and the smallest.
    fn targets() -> impl Strategy<Value = Target> {
        let any_size = (any::<[u8; 32]>(), 0_usize..256).prop_map(|(bytes, shift)| {
            Target::new(U256::from_be_bytes(bytes) >> shift).unwrap_or(Target::MIN)
        });
        prop_oneof![8 => any_size, 1 => Just(Target::MAX), 1 => Just(Target::MIN)]
    }

    /// Positive and negative deltas of every size up to 2^64.
    fn deltas() -> impl Strategy<Value = i128> {
        (-(1_i128 << 64)..=1 << 64, 0_u32..65).prop_map(|(delta, shift)| delta >> shift)
    }

    // C12, C14
    proptest! {
        #[test]
        fn agrees_with_arbitrary_precision_integers(
            anchor in targets(),
            delta in (deltas(), deltas()),
            spacing: u32,
            half_life in 1_u32..,
            limit in targets(),
        ) {
            let next = asert(anchor, delta.0, delta.1, spacing, half_life, limit);
            prop_assert_eq!(next, reference(anchor, delta, (spacing, half_life), limit));
        }

        #[test]
        fn agrees_near_the_schedule(
            anchor in targets(),
            off in -2_000_000_i128..2_000_000,
            height_delta in 0_i128..1_000_000,
            limit in targets(),
        ) {
            let delta = (height_delta * 600 + off, height_delta);
            let next = asert(anchor, delta.0, delta.1, 600, 172_800, limit);
            prop_assert_eq!(next, reference(anchor, delta, (600, 172_800), limit));
        }

        #[test]
        fn later_block_is_never_harder(
            anchor in targets(), delta in -100_000_i128..100_000, half_life in 1_u32..10_000,
        ) {
            let next = |delta| asert(anchor, delta, 0, 5, half_life, Target::MAX);
            prop_assert!(next(delta) <= next(delta + 1));
        }
    }

    // C14
    #[test]
    fn extreme_deltas_saturate() {
        let limit = target(0x1d00_ffff);
        for (time, height, expected) in [
            (i128::MAX, i128::MIN, limit),
            (i128::MAX, 0, limit),
            (0, i128::MIN, limit),
            (i128::MIN, i128::MAX, Target::MIN),
            (i128::MIN, 0, Target::MIN),
            (0, i128::MAX, Target::MIN),
        ] {
            for anchor in [Target::MIN, limit, Target::MAX] {
                assert_eq!(asert(anchor, time, height, u32::MAX, 1, limit), expected);
            }
        }
        assert_eq!(asert(limit, 1, 0, 0, 0, Target::MAX), asert(limit, 1, 0, 0, 1, Target::MAX));
    }

    // With a half-life of 3 s, one second is an exponent of 21845.33 / 65536.
    #[test]
    fn exponent_is_truncated_toward_zero() {
        let anchor = Target::new(U256::ONE << 128).unwrap();
        let next = |delay| asert(anchor, delay, -1, 0, 3, Target::MAX);
        let exactly = |exponent| asert(anchor, exponent, -1, 0, 65_536, Target::MAX);
        assert_eq!(next(1), exactly(21_845));
        assert_eq!(next(-1), exactly(-21_845));
        assert_ne!(next(-1), exactly(-21_846));
    }

    #[test]
    fn target_stops_at_limit_of_all_ones() {
        let half = Target::new(U256::ONE << 255).unwrap();
        let next = |anchor, delay| asert(anchor, delay, -1, 0, 60, Target::MAX);
        assert_eq!(next(half, 59).value().leading_zeros(), 0);
        assert_eq!(next(half, 60), Target::MAX);
        assert_eq!(next(Target::MAX, 0), Target::MAX);
        assert_eq!(next(Target::MAX, -60), Target::new(U256::MAX >> 1).unwrap());
    }

    const START: u32 = 1_767_225_600;

    /// The bits after a block of `testnet` with these bits and a solve time in seconds.
    fn after(bits: u32, seconds: u32) -> String {
        let (parent, grandparent) = (Timestamp::new(START + seconds), Timestamp::new(START));
        let schedule = Schedule::of(&Params::testnet());
        schedule.next_bits((Bits::new(bits), parent), Some(grandparent)).to_string()
    }

    #[test]
    fn block_on_time_leaves_bits_unchanged() {
        for bits in [0x1d00_ffff, 0x1e00_8000, 0x1c7f_ffff, 0x1f00_ffff, 0x0101_0000] {
            assert_eq!(after(bits, 5), Bits::new(bits).to_string());
        }
    }

    // C16: a block may have its parent's time. The factors are 2^(−5/125), 2^(5/125) and
    // 2^(120/125), which the cubic approximates within 0.02 %.
    #[test]
    fn early_block_is_harder_and_late_one_easier_up_to_one_half_life() {
        assert_eq!(after(0x1c40_0000, 0), "1c3e4100");
        assert_eq!(after(0x1c40_0000, 10), "1c41cdc0");
        for late in [125, 126, 86_400 * 365] {
            assert_eq!(after(0x1c3f_0000, late), after(0x1c3f_0000, 125), "{late}");
        }
        assert_eq!(after(0x1c3f_0000, 125), "1c7a8fb9");
    }

    #[test]
    fn stays_between_hardest_target_and_limit() {
        assert_eq!(after(0x1f00_ffff, 125), "1f00ffff");
        assert_eq!(after(0x1f00_fff0, 6), "1f00ffff");
        assert_eq!(after(0x0101_0000, 0), "01010000");
    }

    #[test]
    fn block_1_and_blocks_of_fixed_difficulty_have_genesis_bits() {
        let parent = |bits| (Bits::new(bits), Timestamp::new(START + 1_000));
        for params in Params::built_in() {
            let genesis = params.spec().genesis_bits;
            let schedule = Schedule::of(&params);
            assert_eq!(schedule.next_bits(parent(genesis.raw()), None), genesis);
        }
        let dev = Schedule::of(&Params::dev());
        let next = dev.next_bits(parent(0x207f_ffff), Some(Timestamp::new(START)));
        assert_eq!(next, Bits::new(0x207f_ffff));
    }

    // C18
    #[test]
    fn last_second_of_32_bits_does_not_wrap() {
        let schedule = Schedule::of(&Params::testnet());
        let next = |parent, grandparent| {
            let parent = (Bits::new(0x1c3f_0000), Timestamp::new(parent));
            schedule.next_bits(parent, Some(Timestamp::new(grandparent))).to_string()
        };
        assert_eq!(next(u32::MAX, u32::MAX - 5), "1c3f0000");
        assert_eq!(next(u32::MAX, u32::MAX), after(0x1c3f_0000, 0));
        assert_eq!(next(u32::MAX, 0), after(0x1c3f_0000, 125));
        // No valid block is before its parent, but the arithmetic does not wrap either.
        assert_eq!(next(0, u32::MAX), "01010000");
    }
}
