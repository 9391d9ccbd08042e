//! The parts of a header's two hashes that do not depend on the nonce, computed once per scan: the
//! rounds before the nonce, words of the schedule or terms of them, and the sums of round constants
//! and constant words.

use super::sha256::{DIGEST_BITS, HEADER_BITS, INITIAL, K, PADDING, round, small0, small1};
use crate::work::PreparedHeader;

/// A hash up to and including its first round that depends on the nonce, which is linear in the
/// word of that round.
#[derive(Clone, Copy)]
pub(super) struct PartialHash {
    /// The state after that round without the word, which is to be added to a and e.
    pub(super) state: [u32; 8],
    /// The constants of the rounds plus the constant terms of their words.
    pub(super) constants: [u32; 64],
    /// The constants of the three rounds after the first plus their h, which is constant too.
    pub(super) with_h: [u32; 3],
}

impl PartialHash {
    /// Computes round `first` from the state before it. `words` are those of the block, 0 for
    /// those that are not constant.
    const fn new(before: [u32; 8], first: usize, words: [u32; 16]) -> PartialHash {
        let mut constants = K;
        let mut t = 0;
        while t < 16 {
            constants[t] = constants[t].wrapping_add(words[t]);
            t += 1;
        }
        let state = round(before, constants[first]);
        let mut with_h = [0; 3];
        let mut i = 0;
        while i < 3 {
            with_h[i] = constants[first + 1 + i].wrapping_add(state[7 - i]);
            i += 1;
        }
        PartialHash { state, constants, with_h }
    }
}

/// The second hash, whose start is the same for all headers. The last word of its digest is e after
/// round 60 plus the last word of the initial state, which is included in the constant of that
/// round.
pub(super) const SECOND: PartialHash = {
    let words = [0, 0, 0, 0, 0, 0, 0, 0, PADDING, 0, 0, 0, 0, 0, 0, DIGEST_BITS];
    let mut second = PartialHash::new(INITIAL, 0, words);
    second.constants[60] = second.constants[60].wrapping_add(INITIAL[7]);
    second
};

/// The last round of the second hash on which the last word of its digest depends.
pub(super) const LAST_ROUND: usize = 60;

/// The first hash of a header with any nonce. Its first round that depends on the nonce is round 3.
/// Aligned for the vectors stored next to it.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(super) struct Precomputed {
    /// The state before the first round, which is added to that after the last.
    pub(super) midstate: [u32; 8],
    /// Word 16 of the schedule.
    pub(super) w16: u32,
    /// Word 17 of the schedule.
    pub(super) w17: u32,
    /// Word 18 of the schedule without `small0` of the nonce's word.
    pub(super) w18: u32,
    /// Word 19 of the schedule without the nonce's word.
    pub(super) w19: u32,
    /// The terms of word 31 that come from the words 15 and 16.
    pub(super) w31: u32,
    /// The terms of word 32 that come from the words 16 and 17.
    pub(super) w32: u32,
    /// The rounds from round 3 on.
    pub(super) partial: PartialHash,
}

impl Precomputed {
    pub(super) fn new(header: &PreparedHeader) -> Precomputed {
        let midstate = header.midstate().words();
        let [w0, w1, w2] = header.tail();
        let after_two = [w0, w1]
            .iter()
            .zip(K)
            .fold(midstate, |state, (word, constant)| round(state, constant.wrapping_add(*word)));
        let after_three = round(after_two, K[2].wrapping_add(w2));
        let words = [w0, w1, w2, 0, PADDING, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, HEADER_BITS];
        let w16 = small0(w1).wrapping_add(w0);
        let w17 = small1(HEADER_BITS).wrapping_add(small0(w2)).wrapping_add(w1);
        let mut partial = PartialHash::new(after_three, 3, words);
        partial.constants[16] = partial.constants[16].wrapping_add(w16);
        partial.constants[17] = partial.constants[17].wrapping_add(w17);
        Precomputed {
            midstate,
            w16,
            w17,
            w18: small1(w16).wrapping_add(w2),
            w19: small1(w17).wrapping_add(small0(PADDING)),
            w31: small0(w16).wrapping_add(HEADER_BITS),
            w32: small0(w17).wrapping_add(w16),
            partial,
        }
    }
}
