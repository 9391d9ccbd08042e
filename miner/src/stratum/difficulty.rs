//! Difficulty: the ratio of Bitcoin's easiest target, bits 1d00ffff, to a target. A real number, as
//! the protocol requires; the target of a difficulty is computed exactly.

use super::worker::Worker;
use chain::{Bits, Target};
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// The maximum number of workers whose difficulty is remembered.
const MAX_REMEMBERED: usize = 4_096;

/// The difficulty of a target.
///
/// ```
/// let easiest = chain::Bits::new(0x1d00_ffff).target().expect("canonical bits");
/// assert_eq!(miner::stratum::difficulty::of(easiest), 1.0);
/// ```
pub fn of(target: Target) -> f64 {
    let easiest = Bits::new(0x1d00_ffff).target().expect("the bits of difficulty 1 are canonical");
    f64::from(easiest.value()) / f64::from(target.value())
}

/// The highest difficulty that a hash meets; its last byte is the most significant one.
pub fn of_hash(hash: &[u8; 32]) -> f64 {
    let mut bytes = *hash;
    bytes.reverse();
    of(Target::from_be_bytes(bytes).unwrap_or(Target::MIN))
}

/// The expected number of hashes to meet a target of difficulty 1: 2^32 · 65536 / 65535.
pub const HASHES_PER_DIFFICULTY: f64 = 4_295_032_833.0;

/// The difficulty of shares: finite, and at least `MIN`.
///
/// ```
/// use miner::stratum::Difficulty;
///
/// let difficulty = Difficulty::new(65_536.0).expect("a positive number");
/// assert!(difficulty.target().to_string().starts_with("000000000000ffff"));
/// assert_eq!(difficulty.scaled_by(0.5).get(), 32_768.0);
/// assert_eq!(Difficulty::new(-1.0), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Difficulty(f64);

impl Difficulty {
    /// The minimum: about one hash per share. Below it, miners that divide 2^48 − 2^32 · 65536 by
    /// the difficulty in 64 bits overflow and search with a wrong target.
    pub const MIN: Difficulty = Difficulty(2.33e-10);

    /// Creates a difficulty from a positive number, raised to `MIN` if it is lower. Returns `None`
    /// for any other number.
    pub fn new(value: f64) -> Option<Difficulty> {
        (value.is_finite() && value > 0.0).then(|| Difficulty(value).max(Difficulty::MIN))
    }

    /// The highest difficulty whose target is not below `target`; `MIN` if there is none.
    pub fn from_target(target: Target) -> Difficulty {
        let mut difficulty = Difficulty(of(target));
        // Rounding may have made it slightly too high.
        while difficulty.target() < target && difficulty > Difficulty::MIN {
            difficulty = Difficulty(difficulty.0.next_down());
        }
        difficulty.max(Difficulty::MIN)
    }

    /// The difficulty as a number.
    pub fn get(self) -> f64 {
        self.0
    }

    /// The expected number of hashes per share.
    pub fn expected_hashes(self) -> f64 {
        self.0 * HASHES_PER_DIFFICULTY
    }

    /// Multiplies by a factor, down to `MIN` at the lowest. Returns the difficulty unchanged if the
    /// product is not a positive number.
    #[must_use]
    pub fn scaled_by(self, factor: f64) -> Difficulty {
        Difficulty::new(self.0 * factor).unwrap_or(self)
    }

    /// The lower of two difficulties.
    #[must_use]
    pub fn min(self, other: Difficulty) -> Difficulty {
        if other < self { other } else { self }
    }

    /// The higher of two difficulties.
    #[must_use]
    pub fn max(self, other: Difficulty) -> Difficulty {
        if other > self { other } else { self }
    }

    /// The target, which is the largest hash that meets the difficulty: (65535 · 2^208) /
    /// difficulty, rounded down, exact in its leading 75 bits.
    pub fn target(self) -> Target {
        // The number is mantissa · 2^exponent with a mantissa of 53 bits; `MIN` is not subnormal.
        let bits = self.0.to_bits();
        let mantissa = u128::from(bits & ((1 << 52) - 1) | 1 << 52);
        let exponent = i64::try_from(bits >> 52).expect("11 bits and no sign") - 1_075;
        let quotient = (0xffff_u128 << 112) / mantissa;
        shifted(quotient, 208 - 112 - exponent)
    }
}

/// Returns `value` · 2^`places`, clamped to the range of targets.
fn shifted(value: u128, places: i64) -> Target {
    let Ok(up) = u32::try_from(places) else {
        let down = u32::try_from(-places).unwrap_or(u32::MAX);
        return target(0, value.checked_shr(down).unwrap_or(0));
    };
    if up > 128 + value.leading_zeros() {
        return Target::MAX;
    }
    match up {
        0 => target(0, value),
        1..128 => target(value >> (128 - up), value << up),
        _ => target(value << (up - 128), 0),
    }
}

fn target(high: u128, low: u128) -> Target {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&high.to_be_bytes());
    bytes[16..].copy_from_slice(&low.to_be_bytes());
    Target::from_be_bytes(bytes).unwrap_or(Target::MIN)
}

/// The last difficulties of workers that are not connected, with which they continue; oldest
/// first.
#[derive(Debug)]
pub(super) struct RememberedDifficulties<P>(Mutex<VecDeque<(Worker<P>, Difficulty)>>);

impl<P> Default for RememberedDifficulties<P> {
    fn default() -> RememberedDifficulties<P> {
        RememberedDifficulties(Mutex::new(VecDeque::new()))
    }
}

impl<P: Clone + PartialEq> RememberedDifficulties<P> {
    /// The last difficulty of a worker.
    pub(super) fn get(&self, worker: &Worker<P>) -> Option<Difficulty> {
        let remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_worker = remembered.iter().rev().find(|(of, _)| of == worker);
        of_worker.map(|(_, difficulty)| *difficulty)
    }

    /// Remembers the difficulty of a worker. Above the limit, forgets that of another one.
    pub(super) fn set(&self, worker: &Worker<P>, difficulty: Difficulty) {
        let mut remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.retain(|(of, _)| of != worker);
        if remembered.len() >= MAX_REMEMBERED {
            remembered.pop_front();
        }
        remembered.push_back((worker.clone(), difficulty));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn target_text(difficulty: f64) -> String {
        Difficulty::new(difficulty).unwrap().target().to_string()
    }

    #[test]
    fn targets_of_known_difficulties() {
        let zeros = "0".repeat(52);
        assert_eq!(target_text(1.0), format!("00000000ffff{zeros}"));
        assert_eq!(target_text(0.5), format!("00000001fffe{zeros}"));
        assert_eq!(target_text(65_536.0), format!("000000000000ffff{}", "0".repeat(48)));
        assert_eq!(target_text(3.0), format!("000000005555{}", "0".repeat(52)));
        // The easiest and the hardest target.
        assert!(target_text(1e-30).starts_with("ffcf"), "{}", target_text(1e-30));
        assert_eq!(target_text(f64::MAX), Target::MIN.to_string());
        for no_number in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(Difficulty::new(no_number), None);
        }
    }

    #[test]
    fn hash_meets_the_difficulty_of_its_value() {
        let is =
            |hash: &[u8; 32], difficulty: f64| (of_hash(hash) / difficulty - 1.0).abs() < 1e-12;
        let mut hash = [0; 32];
        hash[26..28].fill(0xff);
        assert!(is(&hash, 1.0), "{}", of_hash(&hash));
        hash[26..28].copy_from_slice(&[0x55, 0x55]);
        assert!(is(&hash, 3.0), "{}", of_hash(&hash));
        assert!(is(&[0; 32], of(Target::MIN)));
    }

    /// The target that pooler's cpuminer computes: 64 bits of it, the rest zero.
    fn cpuminer_target(mut difficulty: f64) -> [u8; 32] {
        let mut place = 6;
        while place > 0 && difficulty > 1.0 {
            difficulty /= 4_294_967_296.0;
            place -= 1;
        }
        let exact = 4_294_901_760.0 / difficulty;
        assert!(exact < 18_446_744_073_709_551_616.0, "{difficulty} overflows");
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // as cpuminer does
        let words = (exact as u64).to_le_bytes();
        let mut bytes = [0; 32];
        bytes[place * 4..place * 4 + 8].copy_from_slice(&words);
        bytes.reverse();
        bytes
    }

    fn difficulties() -> impl Strategy<Value = f64> {
        (-32.0..60.0_f64).prop_map(f64::exp2).prop_map(|it| it.max(Difficulty::MIN.get()))
    }

    proptest! {
        #[test]
        fn target_is_the_quotient_rounded_down(difficulty in difficulties()) {
            let target = Difficulty::new(difficulty).unwrap().target();
            let back = of(target);
            prop_assert!((back - difficulty).abs() <= difficulty * 1e-15, "{back} {difficulty}");
        }

        /// The target of cpuminer differs from ours by its rounding only.
        #[test]
        fn cpuminer_target_agrees_up_to_rounding(difficulty in difficulties()) {
            let ours = Difficulty::new(difficulty).unwrap().target();
            let theirs = Target::from_be_bytes(cpuminer_target(difficulty)).unwrap();
            let excess = of(ours) / of(theirs) - 1.0;
            prop_assert!(excess.abs() < 1e-8, "{excess}");
        }

        #[test]
        fn share_difficulty_never_exceeds_that_of_the_block(raw: [u8; 32], zeros in 0_usize..20) {
            let mut bytes = raw;
            bytes[..zeros].fill(0);
            let Some(network) = Target::from_be_bytes(bytes) else { return Ok(()) };
            let share = Difficulty::from_target(network);
            prop_assert!(share.target() >= network || share == Difficulty::MIN);
            let close = of(network).max(Difficulty::MIN.get());
            prop_assert!((share.get() - close).abs() <= close * 1e-15);
        }
    }
}
