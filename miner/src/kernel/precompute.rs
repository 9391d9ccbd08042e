//! What of a header's two hashes is the same for every nonce, done once a scan: the rounds before
//! the nonce comes in, words of the schedule or parts of them, and what adds to the rounds'
//! constants.

use super::sha256::{DIGEST_BITS, HEADER_BITS, INITIAL, K, PADDING, round, small0, small1};
use crate::work::PreparedHeader;

/// One hash, begun: its first round that depends on the nonce is linear in its word.
#[derive(Clone, Copy)]
pub(super) struct PartialHash {
    /// The state after that round, but for the word, which adds to a and e.
    pub(super) state: [u32; 8],
    /// The constants of the rounds, with what is known of the words added.
    pub(super) constants: [u32; 64],
    /// The same of the three rounds after the first, with their h added, which is known too.
    pub(super) with_h: [u32; 3],
}

impl PartialHash {
    /// From the state before round `first`; `words` are those of the block, 0 for what is not
    /// known.
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

/// The second hash, which begins alike for all headers. The last word of the hash is that of the
/// state before all rounds, added in round 60, and e after it.
pub(super) const SECOND: PartialHash = {
    let words = [0, 0, 0, 0, 0, 0, 0, 0, PADDING, 0, 0, 0, 0, 0, 0, DIGEST_BITS];
    let mut second = PartialHash::new(INITIAL, 0, words);
    second.constants[60] = second.constants[60].wrapping_add(INITIAL[7]);
    second
};

/// The last round of the second hash on which its last word depends.
pub(super) const LAST_ROUND: usize = 60;

/// The first hash of a prepared's headers. Its first round that depends on the nonce is round 3.
/// Aligned for the vectors that are kept beside it.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(super) struct Precomputed {
    /// What the rounds add to.
    pub(super) midstate: [u32; 8],
    /// Word 16 of the schedule.
    pub(super) w16: u32,
    /// Word 17.
    pub(super) w17: u32,
    /// Word 18 but for `small0` of the nonce's word.
    pub(super) w18: u32,
    /// Word 19 but for the nonce's word.
    pub(super) w19: u32,
    /// What words 16 and 15 add to word 31.
    pub(super) w31: u32,
    /// What words 17 and 16 add to word 32.
    pub(super) w32: u32,
    /// The rounds from round 3.
    pub(super) begun: PartialHash,
}

impl Precomputed {
    pub(super) fn new(prepared: &PreparedHeader) -> Precomputed {
        let midstate = prepared.midstate().words();
        let [w0, w1, w2] = prepared.tail();
        let after_two = [w0, w1]
            .iter()
            .zip(K)
            .fold(midstate, |state, (word, constant)| round(state, constant.wrapping_add(*word)));
        let after_three = round(after_two, K[2].wrapping_add(w2));
        let words = [w0, w1, w2, 0, PADDING, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, HEADER_BITS];
        let w16 = small0(w1).wrapping_add(w0);
        let w17 = small1(HEADER_BITS).wrapping_add(small0(w2)).wrapping_add(w1);
        let mut begun = PartialHash::new(after_three, 3, words);
        begun.constants[16] = begun.constants[16].wrapping_add(w16);
        begun.constants[17] = begun.constants[17].wrapping_add(w17);
        Precomputed {
            midstate,
            w16,
            w17,
            w18: small1(w16).wrapping_add(w2),
            w19: small1(w17).wrapping_add(small0(PADDING)),
            w31: small0(w16).wrapping_add(HEADER_BITS),
            w32: small0(w17).wrapping_add(w16),
            begun,
        }
    }
}
