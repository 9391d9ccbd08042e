//! The target a block owes: ASERT, an exponential in the seconds that blocks came too early or too
//! late, applied from each block to the next. Used on the parent alone it has no debt to its
//! schedule: a chain that stood still for a week does not wake to a storm of easy blocks.
//! Pure functions of targets and times; whether a header keeps to them is the business of `rules`.
//! Seconds and whole blocks; smaller target = harder.
//! Source: Bitcoin Cash specification 2020-11-15, "ASERT Difficulty Adjustment Algorithm (aserti3-2d)".

#![deny(clippy::arithmetic_side_effects)]

use crate::block::Timestamp;
use crate::params::Params;
use crate::pow::{Bits, Target};
use ruint::Uint;
use ruint::aliases::U256;

/// One as a fixed-point number of 16 fractional bits.
const ONE: u128 = 1 << 16;
/// 2^48 · (2^x − 1) for 0 ≤ x < 1 is nearly a cubic polynomial in x·2^16: its coefficients, highest
/// power first, and half a unit to round.
const CUBIC: [u128; 4] = [5_127, 971_821_376, 195_766_423_245_049, 1 << 47];

/// A target times 2^16 times a factor below 2, with room to see that it has grown too large.
type Wide = Uint<320, 5>;

/// The target aserti3-2d demands of the block after the one that is `height_delta` blocks above the
/// anchor and `time_delta` seconds after the anchor's parent: `anchor` · 2^(delay / half-life), from
/// 1 up to `limit`. Exact for deltas of at most 2^64, beyond that saturating. A half-life of 0
/// counts as 1.
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
    // The factor's 16 fractional bits come off together with the doublings.
    let shift = doublings.saturating_sub(16);
    let places = usize::try_from(shift.unsigned_abs()).unwrap_or(usize::MAX);
    let target =
        if shift < 0 { product.wrapping_shr(places) } else { product.saturating_shl(places) };
    // A target that has vanished is the hardest there is, 1.
    Target::new(U256::saturating_from(target)).unwrap_or(Target::MIN).min(limit)
}

/// How a network's difficulty moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Seconds from block to block, on average.
    pub spacing: u32,
    /// Seconds of delay that double the target.
    pub half_life: u32,
    /// The easiest target.
    pub limit: Target,
    /// Of genesis and of block 1.
    pub genesis_bits: Bits,
    /// Whether every block keeps the genesis bits.
    pub fixed: bool,
}

impl Schedule {
    /// A network's.
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

    /// The bits of the block after `parent`, from the parent's own and the grandparent's time;
    /// without a grandparent the parent is genesis.
    ///
    /// A block that took long counts as one half-life at most, so no single one makes the next more
    /// than 2^(1 − spacing/half-life) times as easy, nor harder by more than 2^(spacing/half-life).
    pub fn next_bits(&self, parent: (Bits, Timestamp), grandparent: Option<Timestamp>) -> Bits {
        let (bits, time) = parent;
        let Some(grandparent) = grandparent.filter(|_| !self.fixed) else {
            return self.genesis_bits;
        };
        let target = bits.target().expect("a block's bits are canonical before it is a parent");
        let taken = time.since(grandparent).min(i64::from(self.half_life));
        asert(target, taken.into(), 0, self.spacing, self.half_life, self.limit).bits()
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

    /// The specification word for word, in integers that have no end.
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

    /// Targets of every size, the largest and the smallest among them.
    fn targets() -> impl Strategy<Value = Target> {
        let any_size = (any::<[u8; 32]>(), 0_usize..256).prop_map(|(bytes, shift)| {
            Target::new(U256::from_be_bytes(bytes) >> shift).unwrap_or(Target::MIN)
        });
        prop_oneof![8 => any_size, 1 => Just(Target::MAX), 1 => Just(Target::MIN)]
    }

    /// Deltas of every size up to 2^64, of both signs.
    fn deltas() -> impl Strategy<Value = i128> {
        (-(1_i128 << 64)..=1 << 64, 0_u32..65).prop_map(|(delta, shift)| delta >> shift)
    }

    // C12, C14
    proptest! {
        #[test]
        fn agrees_with_integers_that_have_no_end(
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
        fn later_is_never_harder(
            anchor in targets(), delta in -100_000_i128..100_000, half_life in 1_u32..10_000,
        ) {
            let next = |delta| asert(anchor, delta, 0, 5, half_life, Target::MAX);
            prop_assert!(next(delta) <= next(delta + 1));
        }
    }

    // C14
    #[test]
    fn no_delta_is_too_large_or_too_small() {
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

    // With one half-life of 3 s a second is 21845.33 parts of 65536.
    #[test]
    fn the_exponent_is_truncated_toward_zero() {
        let anchor = Target::new(U256::ONE << 128).unwrap();
        let next = |delay| asert(anchor, delay, -1, 0, 3, Target::MAX);
        let exactly = |exponent| asert(anchor, exponent, -1, 0, 65_536, Target::MAX);
        assert_eq!(next(1), exactly(21_845));
        assert_eq!(next(-1), exactly(-21_845));
        assert_ne!(next(-1), exactly(-21_846));
    }

    #[test]
    fn a_limit_of_all_ones_is_reached_and_not_passed() {
        let half = Target::new(U256::ONE << 255).unwrap();
        let next = |anchor, delay| asert(anchor, delay, -1, 0, 60, Target::MAX);
        assert_eq!(next(half, 59).value().leading_zeros(), 0);
        assert_eq!(next(half, 60), Target::MAX);
        assert_eq!(next(Target::MAX, 0), Target::MAX);
        assert_eq!(next(Target::MAX, -60), Target::new(U256::MAX >> 1).unwrap());
    }

    const START: u32 = 1_767_225_600;

    /// The bits after a block of `testnet` with these bits that took so many seconds.
    fn after(bits: u32, seconds: u32) -> String {
        let (parent, grandparent) = (Timestamp::new(START + seconds), Timestamp::new(START));
        let schedule = Schedule::of(&Params::testnet());
        schedule.next_bits((Bits::new(bits), parent), Some(grandparent)).to_string()
    }

    #[test]
    fn a_block_on_time_changes_nothing() {
        for bits in [0x1d00_ffff, 0x1e00_8000, 0x1c7f_ffff, 0x1f00_ffff, 0x0101_0000] {
            assert_eq!(after(bits, 5), Bits::new(bits).to_string());
        }
    }

    // C16: a block may have its parent's time. Factors 2^(−5/125), 2^(5/125) and 2^(120/125), as
    // the cubic has them: right to 0.02 %.
    #[test]
    fn early_makes_harder_and_late_makes_easier_up_to_one_half_life() {
        assert_eq!(after(0x1c40_0000, 0), "1c3e4100");
        assert_eq!(after(0x1c40_0000, 10), "1c41cdc0");
        for late in [125, 126, 86_400 * 365] {
            assert_eq!(after(0x1c3f_0000, late), after(0x1c3f_0000, 125), "{late}");
        }
        assert_eq!(after(0x1c3f_0000, 125), "1c7a8fb9");
    }

    #[test]
    fn stays_between_the_hardest_target_and_the_limit() {
        assert_eq!(after(0x1f00_ffff, 125), "1f00ffff");
        assert_eq!(after(0x1f00_fff0, 6), "1f00ffff");
        assert_eq!(after(0x0101_0000, 0), "01010000");
    }

    #[test]
    fn block_1_and_every_block_of_fixed_difficulty_take_the_genesis_bits() {
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
    fn the_last_second_of_32_bits_is_like_any_other() {
        let schedule = Schedule::of(&Params::testnet());
        let next = |parent, grandparent| {
            let parent = (Bits::new(0x1c3f_0000), Timestamp::new(parent));
            schedule.next_bits(parent, Some(Timestamp::new(grandparent))).to_string()
        };
        assert_eq!(next(u32::MAX, u32::MAX - 5), "1c3f0000");
        assert_eq!(next(u32::MAX, u32::MAX), after(0x1c3f_0000, 0));
        assert_eq!(next(u32::MAX, 0), after(0x1c3f_0000, 125));
        // No valid block is before its parent; the arithmetic does not mind, nor does it wrap.
        assert_eq!(next(0, u32::MAX), "01010000");
    }
}
