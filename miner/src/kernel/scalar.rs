//! One nonce at a time in plain safe code: what runs on every CPU, and what the other kernels
//! are compared with.
//! What does not depend on the nonce is done once a scan; the second hash ends as soon as its
//! last word is known.
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

/// Rounds in a row, unrolled, so that words known at compile time fold away. `$w` holds the
/// last sixteen schedule words; those above 15 replace the one sixteen earlier.
macro_rules! rounds {
    ($state:ident, $w:ident, $($given:literal)* ; $($made:literal)*) => {
        $( $state = round($state, K[$given].wrapping_add($w[$given % 16])); )*
        $(
            $w[$made % 16] = scheduled(&$w, $made);
            $state = round($state, K[$made].wrapping_add($w[$made % 16]));
        )*
    };
}

/// The first hash of a header, ready for the nonce.
struct FirstHash {
    midstate: [u32; 8],
    /// After the rounds 0 to 2, the last ones before the nonce comes in.
    state: [u32; 8],
    /// Schedule words 16, 17 and 2 to 15, but for the nonce, which is word 3.
    schedule: [u32; 16],
}

impl FirstHash {
    fn new(stem: &Stem) -> FirstHash {
        let (midstate, [w0, w1, w2]) = (stem.midstate().words(), stem.tail());
        let mut state = midstate;
        let mut schedule = [w0, w1, w2, 0, PADDING, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, HEADER_BITS];
        rounds!(state, schedule, 0 1 2;);
        schedule[0] = scheduled(&schedule, 16);
        schedule[1] = scheduled(&schedule, 17);
        FirstHash { midstate, state, schedule }
    }

    #[inline(always)]
    fn of(&self, nonce: u32) -> [u32; 8] {
        let mut state = self.state;
        let [w16, w17, w2, ..] = self.schedule;
        // The rest of the padding again, as constants.
        let nonce = nonce.swap_bytes();
        let mut w = [w16, w17, w2, nonce, PADDING, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, HEADER_BITS];
        rounds!(state, w, 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17;
            18 19 20 21 22 23 24 25 26 27 28 29 30 31);
        for from in [32, 48] {
            (state, w) = sixteen_rounds(state, w, from);
        }
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
    let mut w = [w0, w1, w2, w3, w4, w5, w6, w7, PADDING, 0, 0, 0, 0, 0, 0, DIGEST_BITS];
    rounds!(state, w, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15;
        16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31);
    (state, w) = sixteen_rounds(state, w, 32);
    rounds!(state, w, ; 48 49 50 51 52 53 54 55 56 57 58 59 60);
    // The rounds 61 to 63 would only move this word from the fifth place to the last.
    INITIAL[7].wrapping_add(state[4])
}

/// The rounds from `from` on, with constants read from memory. Where no word is known at compile
/// time a loop of these is half again as fast as all rounds unrolled, which outgrow the cache of
/// decoded instructions.
#[inline(always)]
fn sixteen_rounds(mut state: [u32; 8], mut w: [u32; 16], from: usize) -> ([u32; 8], [u32; 16]) {
    let k: &[u32; 16] = K[from..].first_chunk().expect("`from` is at most 48");
    macro_rules! rounds {
        ($($t:literal)*) => {$(
            w[$t] = scheduled(&w, $t);
            state = round(state, k[$t].wrapping_add(w[$t]));
        )*};
    }
    rounds!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
    (state, w)
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

/// Schedule word `t` from the sixteen before it.
#[inline(always)]
fn scheduled(w: &[u32; 16], t: usize) -> u32 {
    let (w15, w2) = (w[(t + 1) % 16], w[(t + 14) % 16]);
    let small0 = w15.rotate_right(7) ^ w15.rotate_right(18) ^ (w15 >> 3);
    let small1 = w2.rotate_right(17) ^ w2.rotate_right(19) ^ (w2 >> 10);
    w[t % 16].wrapping_add(small0).wrapping_add(w[(t + 9) % 16]).wrapping_add(small1)
}
