//! One nonce at a time in plain safe code: what runs on every CPU, and what the other kernels
//! are compared with.
//! The rounds before the nonce are done once a scan. The last rounds are not cut short: code for
//! them alone would cost more than it saves.
//! Source: FIPS 180-4, 6.2.

use super::{INITIAL, K};
use crate::work::Stem;
use std::ops::RangeInclusive;

pub(super) fn scan(stem: &Stem, nonces: RangeInclusive<u32>, candidates: &mut Vec<u32>) {
    let first = FirstHash::new(stem);
    for nonce in nonces {
        if last_word_of_second(first.of(nonce)).swap_bytes() <= stem.limit() {
            candidates.push(nonce);
        }
    }
}

/// Rounds with the words of the block itself, unrolled, so that known words fold away.
macro_rules! rounds {
    ($state:ident, $w:ident, $($t:literal)*) => {
        $( $state = round($state, K[$t].wrapping_add($w[$t])); )*
    };
}

/// The first hash of a header, ready for the nonce.
struct FirstHash {
    midstate: [u32; 8],
    /// After the rounds 0 to 2, the last ones before the nonce comes in.
    state: [u32; 8],
    tail: [u32; 3],
}

impl FirstHash {
    fn new(stem: &Stem) -> FirstHash {
        let (midstate, tail) = (stem.midstate().words(), stem.tail());
        let mut state = midstate;
        rounds!(state, tail, 0 1 2);
        FirstHash { midstate, state, tail }
    }

    #[inline(always)]
    fn of(&self, nonce: u32) -> [u32; 8] {
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

/// The last of the eight words of the hash of a hash.
#[inline(always)]
fn last_word_of_second([w0, w1, w2, w3, w4, w5, w6, w7]: [u32; 8]) -> u32 {
    let mut state = INITIAL;
    let w = [w0, w1, w2, w3, w4, w5, w6, w7, PADDING, 0, 0, 0, 0, 0, 0, DIGEST_BITS];
    rounds!(state, w, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
    let [.., last] = rounds_from_16(state, w);
    INITIAL[7].wrapping_add(last)
}

/// The rounds 16 to 63. A loop of sixteen is faster than all of them unrolled, which outgrow a
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

/// The bit after the message.
const PADDING: u32 = 0x8000_0000;
/// Length of a header.
const HEADER_BITS: u32 = 640;
/// Length of a hash.
const DIGEST_BITS: u32 = 256;

#[inline(always)]
fn round([a, b, c, d, e, f, g, h]: [u32; 8], word: u32) -> [u32; 8] {
    let sum_e = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
    let choice = g ^ (e & (f ^ g));
    let first = h.wrapping_add(word).wrapping_add(choice).wrapping_add(sum_e);
    let sum_a = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
    let majority = b ^ ((a ^ b) & (b ^ c));
    [first.wrapping_add(sum_a).wrapping_add(majority), a, b, c, d.wrapping_add(first), e, f, g]
}

/// Word `t` of the next sixteen of the schedule. `w` holds the sixteen before it, each in the place
/// that the word sixteen later takes.
#[inline(always)]
fn scheduled(w: &[u32; 16], t: usize) -> u32 {
    let (w15, w2) = (w[(t + 1) % 16], w[(t + 14) % 16]);
    let small0 = w15.rotate_right(7) ^ w15.rotate_right(18) ^ (w15 >> 3);
    let small1 = w2.rotate_right(17) ^ w2.rotate_right(19) ^ (w2 >> 10);
    w[t % 16].wrapping_add(small0).wrapping_add(w[(t + 9) % 16]).wrapping_add(small1)
}
