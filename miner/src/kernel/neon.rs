//! Four nonces interleaved, with the SHA-256 instructions of ARMv8, each of which computes four
//! rounds, or four words of the schedule. Tested, but its speed has not been measured.

#![allow(unsafe_code, reason = "CPU-specific instructions")]

use super::hits::Hits;
use super::sha256::{DIGEST_BITS, HEADER_BITS, INITIAL, K, PADDING};
use super::unroll::unroll;
use crate::work::PreparedHeader;
use std::arch::aarch64::*;
use std::arch::is_aarch64_feature_detected;
use std::ops::RangeInclusive;

/// Four words, the first one in lane 0.
type Words = uint32x4_t;

pub(super) fn is_available() -> bool {
    is_aarch64_feature_detected!("neon") && is_aarch64_feature_detected!("sha2")
}

pub(super) fn scan(
    header: &PreparedHeader,
    nonces: RangeInclusive<u32>,
    candidates: &mut Vec<u32>,
) {
    assert!(is_available(), "the CPU has SHA-256 instructions");
    // SAFETY: the CPU has the features that the function requires, by the assertion above.
    unsafe { scan_groups(header, Hits::new(nonces, candidates)) }
}

#[target_feature(enable = "neon,sha2")]
fn scan_groups(header: &PreparedHeader, mut hits: Hits<'_, 4>) {
    let mut nonce = hits.first();
    for group in 0..hits.groups() {
        let mut hashes = [0, 1, 2, 3].map(|lane| Hash::first(header, nonce.wrapping_add(lane)));
        unroll!(16, STEP => {
            for hash in &mut hashes {
                hash.four_rounds(STEP);
            }
        });
        let mut hashes = hashes.map(|hash| hash.second(header));
        unroll!(16, STEP => {
            for hash in &mut hashes {
                hash.four_rounds(STEP);
            }
        });
        let mut mask = 0;
        for (lane, hash) in hashes.iter().enumerate() {
            let last = INITIAL[7].wrapping_add(vgetq_lane_u32::<3>(hash.efgh));
            mask |= u32::from(last.swap_bytes() <= header.limit()) << lane;
        }
        if mask != 0 {
            hits.push(group, mask);
        }
        nonce = nonce.wrapping_add(4);
    }
}

/// The state of a hash between two steps of four rounds.
#[derive(Clone, Copy)]
struct Hash {
    abcd: Words,
    efgh: Words,
    /// The last sixteen words of the schedule in groups of four, each at its index modulo 4.
    words: [Words; 4],
}

impl Hash {
    #[inline]
    #[target_feature(enable = "neon,sha2")]
    fn new([a, b, c, d, e, f, g, h]: [u32; 8], words: [Words; 4]) -> Hash {
        Hash { abcd: four([a, b, c, d]), efgh: four([e, f, g, h]), words }
    }

    /// Starts the first hash: the state before the rounds of its second block.
    #[inline]
    #[target_feature(enable = "neon,sha2")]
    fn first(header: &PreparedHeader, nonce: u32) -> Hash {
        let [w0, w1, w2] = header.tail();
        let block =
            [[w0, w1, w2, nonce.swap_bytes()], [PADDING, 0, 0, 0], [0; 4], [0, 0, 0, HEADER_BITS]];
        Hash::new(header.midstate().words(), block.map(|words| four(words)))
    }

    /// Starts the second hash from the completed first hash.
    #[inline]
    #[target_feature(enable = "neon,sha2")]
    fn second(&self, header: &PreparedHeader) -> Hash {
        let [a, b, c, d, e, f, g, h] = header.midstate().words();
        let abcd = vaddq_u32(self.abcd, four([a, b, c, d]));
        let efgh = vaddq_u32(self.efgh, four([e, f, g, h]));
        Hash::new(INITIAL, [abcd, efgh, four([PADDING, 0, 0, 0]), four([0, 0, 0, DIGEST_BITS])])
    }

    /// Computes four rounds from round `4 * step` on. After the last step, h is e after round 60.
    #[inline]
    #[target_feature(enable = "neon,sha2")]
    fn four_rounds(&mut self, step: usize) {
        let [w0, w1, w2, w3] = [0, 1, 2, 3].map(|four| self.words[(step + four) % 4]);
        let words = if step < 4 { w0 } else { vsha256su1q_u32(vsha256su0q_u32(w0, w1), w2, w3) };
        self.words[step % 4] = words;
        let constants = four([0, 1, 2, 3].map(|i| K[4 * step + i]));
        let sums = vaddq_u32(words, constants);
        let (abcd, efgh) = (self.abcd, self.efgh);
        self.abcd = vsha256hq_u32(abcd, efgh, sums);
        self.efgh = vsha256h2q_u32(efgh, abcd, sums);
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn four(words: [u32; 4]) -> Words {
    // SAFETY: the pointer is to the 16 bytes of the array, which are all that is loaded.
    unsafe { vld1q_u32(words.as_ptr()) }
}
