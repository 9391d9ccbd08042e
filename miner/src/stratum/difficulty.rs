//! Difficulty: how many times as hard a target is as that of bits 1d00ffff, Bitcoin's first. A real
//! number, since that is what miners are told; the target it stands for is computed exactly.

use chain::{Bits, Target};

/// The difficulty of a target.
pub fn of(target: Target) -> f64 {
    let easiest = Bits::new(0x1d00_ffff).target().expect("the bits of difficulty 1 are canonical");
    f64::from(easiest.value()) / f64::from(target.value())
}

/// Expected hashes to meet a target of difficulty 1: 2^32 · 65536 / 65535.
pub const HASHES_PER_DIFFICULTY: f64 = 4_295_032_833.0;

/// The difficulty of shares: finite, and at least `MIN`.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Difficulty(f64);

impl Difficulty {
    /// About one hash. Below it, miners that divide 2^48 − 2^32 · 65536 by a difficulty in 64 bits
    /// overflow, and then search for something else.
    pub const MIN: Difficulty = Difficulty(2.33e-10);

    /// What is too easy becomes the floor; `None` if it is no positive number.
    pub fn new(value: f64) -> Option<Difficulty> {
        (value.is_finite() && value > 0.0).then(|| Difficulty(value).max(Difficulty::MIN))
    }

    /// The hardest one that demands no more than this target does, unless even the floor does.
    pub fn from_target(target: Target) -> Difficulty {
        let mut difficulty = Difficulty(of(target));
        // Rounding may have made it a little too hard.
        while difficulty.target() < target && difficulty > Difficulty::MIN {
            difficulty = Difficulty(difficulty.0.next_down());
        }
        difficulty.max(Difficulty::MIN)
    }

    /// As a number.
    pub fn get(self) -> f64 {
        self.0
    }

    /// Expected hashes to meet it.
    pub fn expected_hashes(self) -> f64 {
        self.0 * HASHES_PER_DIFFICULTY
    }

    /// Times a factor, at least the floor.
    #[must_use]
    pub fn scaled_by(self, factor: f64) -> Difficulty {
        Difficulty::new(self.0 * factor).unwrap_or(self)
    }

    /// The easier of two.
    #[must_use]
    pub fn min(self, other: Difficulty) -> Difficulty {
        if other < self { other } else { self }
    }

    /// The harder of two.
    #[must_use]
    pub fn max(self, other: Difficulty) -> Difficulty {
        if other > self { other } else { self }
    }

    /// The largest hash that meets it: (65535 · 2^208) / difficulty, rounded down, exact in its
    /// leading 75 bits.
    pub fn target(self) -> Target {
        // The number is mantissa · 2^exponent, with 53 bits of mantissa: it is at least the floor.
        let bits = self.0.to_bits();
        let mantissa = u128::from(bits & ((1 << 52) - 1) | 1 << 52);
        let exponent = i64::try_from(bits >> 52).expect("11 bits and no sign") - 1_075;
        let quotient = (0xffff_u128 << 112) / mantissa;
        shifted(quotient, 208 - 112 - exponent)
    }
}

/// `value` · 2^`places`, as far as that is a target.
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(difficulty: f64) -> String {
        Difficulty::new(difficulty).unwrap().target().to_string()
    }

    #[test]
    fn targets_of_well_known_difficulties() {
        let zeros = "0".repeat(52);
        assert_eq!(shown(1.0), format!("00000000ffff{zeros}"));
        assert_eq!(shown(0.5), format!("00000001fffe{zeros}"));
        assert_eq!(shown(65_536.0), format!("000000000000ffff{}", "0".repeat(48)));
        assert_eq!(shown(3.0), format!("000000005555{}", "0".repeat(52)));
        // What no hash can miss, and what hardly any can meet.
        assert!(shown(1e-30).starts_with("ffcf"), "{}", shown(1e-30));
        assert_eq!(shown(f64::MAX), Target::MIN.to_string());
        for no_number in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(Difficulty::new(no_number), None);
        }
    }

    /// How pooler's cpuminer makes a target: 64 bits of it, the rest zero.
    fn of_a_miner(mut difficulty: f64) -> [u8; 32] {
        let mut place = 6;
        while place > 0 && difficulty > 1.0 {
            difficulty /= 4_294_967_296.0;
            place -= 1;
        }
        let exact = 4_294_901_760.0 / difficulty;
        assert!(exact < 18_446_744_073_709_551_616.0, "{difficulty} overflows");
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // as the miner does
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
        fn the_target_is_the_quotient_rounded_down(difficulty in difficulties()) {
            let target = Difficulty::new(difficulty).unwrap().target();
            let back = of(target);
            prop_assert!((back - difficulty).abs() <= difficulty * 1e-15, "{back} {difficulty}");
        }

        /// What such a miner takes for a share is one here, but for what its own rounding adds.
        #[test]
        fn a_miner_that_rounds_finds_shares(difficulty in difficulties()) {
            let ours = Difficulty::new(difficulty).unwrap().target();
            let theirs = Target::from_be_bytes(of_a_miner(difficulty)).unwrap();
            let excess = of(ours) / of(theirs) - 1.0;
            prop_assert!(excess.abs() < 1e-8, "{excess}");
        }

        #[test]
        fn the_share_of_a_block_is_never_harder_than_the_block(raw: [u8; 32], zeros in 0_usize..20) {
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
