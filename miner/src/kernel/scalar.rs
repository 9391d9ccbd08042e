//! One nonce at a time in portable safe code: runs on every CPU and is the reference for the speed
//! of the other kernels.
//! The rounds before the nonce are computed once per scan. The last rounds are not cut short: code
//! for them alone would cost more than it saves.

use super::sha256::{DIGEST_BITS, HEADER_BITS, INITIAL, K, PADDING, round, scheduled};
use crate::work::PreparedHeader;
use std::ops::RangeInclusive;

pub(super) fn is_available() -> bool {
    true
}

pub(super) fn scan(
    header: &PreparedHeader,
    nonces: RangeInclusive<u32>,
    candidates: &mut Vec<u32>,
) {
    let first = FirstHash::new(header);
    for nonce in nonces {
        if last_word_of_second(first.digest(nonce)).swap_bytes() <= header.limit() {
            candidates.push(nonce);
        }
    }
}

/// Rounds with the words of the block itself, unrolled, so that constant words fold away.
macro_rules! rounds {
    ($state:ident, $w:ident, $($t:literal)*) => {
        $( $state = round($state, K[$t].wrapping_add($w[$t])); )*
    };
}

/// The first hash of a header, before the nonce.
struct FirstHash {
    midstate: [u32; 8],
    /// The state after the rounds 0 to 2, the last ones before the nonce enters.
    state: [u32; 8],
    tail: [u32; 3],
}

impl FirstHash {
    fn new(header: &PreparedHeader) -> FirstHash {
        let (midstate, tail) = (header.midstate().words(), header.tail());
        let mut state = midstate;
        rounds!(state, tail, 0 1 2);
        FirstHash { midstate, state, tail }
    }

    #[inline(always)]
    fn digest(&self, nonce: u32) -> [u32; 8] {
        let mut state = self.state;
        let [w0, w1, w2] = self.tail;
        let nonce = nonce.swap_bytes();
        let w = [w0, w1, w2, nonce, PADDING, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, HEADER_BITS];
        rounds!(state, w, 3 4 5 6 7 8 9 10 11 12 13 14 15);
        state = rounds_from_16(state, w);
        for (word, start) in state.iter_mut().zip(self.midstate) {
            *word = word.wrapping_add(start);
        }
        state
    }
}

/// The last of the eight words of the second hash.
#[inline(always)]
fn last_word_of_second([w0, w1, w2, w3, w4, w5, w6, w7]: [u32; 8]) -> u32 {
    let mut state = INITIAL;
    let w = [w0, w1, w2, w3, w4, w5, w6, w7, PADDING, 0, 0, 0, 0, 0, 0, DIGEST_BITS];
    rounds!(state, w, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
    let [.., last] = rounds_from_16(state, w);
    INITIAL[7].wrapping_add(last)
}

/// The rounds 16 to 63. A loop of sixteen is faster than all of them unrolled, which exceed the
/// CPU's cache of decoded instructions.
#[inline(always)]
fn rounds_from_16(mut state: [u32; 8], mut w: [u32; 16]) -> [u32; 8] {
    let (constants, _) = K[16..].as_chunks::<16>();
    for k in constants {
        macro_rules! scheduled_rounds {
            ($($t:literal)*) => {$(
                w[$t] = scheduled(&w, $t);
                state = round(state, k[$t].wrapping_add(w[$t]));
            )*};
        }
        scheduled_rounds!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
    }
    state
}
