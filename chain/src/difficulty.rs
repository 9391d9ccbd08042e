//! The target a block owes: ASERT, an exponential in the seconds that blocks came too early or too
//! late, applied from each block to the next. Used on the parent alone it has no debt to its
//! schedule: a chain that stood still for a week does not wake to a storm of easy blocks.
//! Pure functions of targets and times; whether a header keeps to them is the business of `rules`.
//! Seconds and whole blocks; smaller target = harder.
//! Source: Bitcoin Cash specification 2020-11-15, "ASERT Difficulty Adjustment Algorithm (aserti3-2d)".

#![deny(clippy::arithmetic_side_effects)]

use crate::block::Timestamp;
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
