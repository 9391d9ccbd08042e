//! Four nonces side by side with the SHA extensions of x86: the instruction for two rounds takes
//! half the time that the next rounds of the same hash wait for it.

#![allow(unsafe_code, reason = "instructions that not every CPU has")]

use super::known::First;
use super::lanes::Found;
use super::sha256::{DIGEST_BITS, HEADER_BITS, INITIAL, K, PADDING, small0};
use super::unroll::unroll;
use crate::work::Stem;
#[allow(clippy::wildcard_imports, reason = "intrinsics have names that nothing else has")]
use std::arch::x86_64::*;
use std::hint::black_box;
use std::ops::RangeInclusive;

/// Four words, the first one lowest.
type Words = __m128i;

pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("sha") && is_x86_feature_detected!("avx")
}

pub(super) fn scan(stem: &Stem, nonces: RangeInclusive<u32>, candidates: &mut Vec<u32>) {
    assert!(is_available(), "the CPU has the SHA extensions");
    // SAFETY: the CPU has what the function is compiled for.
    unsafe { scan_groups(&First::new(stem), stem.limit(), Found::new(nonces, candidates)) }
}

/// The constants of the rounds, with the words of the message added that are always the same.
const fn constants(padding: usize, bits: u32) -> [u32; 64] {
    let mut constants = K;
    constants[padding] = constants[padding].wrapping_add(PADDING);
    constants[15] = constants[15].wrapping_add(bits);
    constants
}

static FIRST: [u32; 64] = constants(4, HEADER_BITS);
static SECOND: [u32; 64] = constants(8, DIGEST_BITS);

#[target_feature(enable = "sha,avx")]
fn scan_groups(known: &First, limit: u32, mut found: Found<'_, 4>) {
    let mut nonce = found.first();
    for group in 0..found.groups() {
        let known = black_box(known);
        let mut hashes =
            [0, 1, 2, 3].map(|side| Hash::first(known, nonce.wrapping_add(side).swap_bytes()));
        unroll!(16, T => {
            if T > 0 {
                for hash in &mut hashes { hash.first_step::<T>(known); }
            }
        });
        for hash in &mut hashes {
            *hash = hash.second(known);
        }
        unroll!(16, T => {
            for hash in &mut hashes { hash.second_step::<T>(); }
        });
        let mut hits = 0;
        for (side, hash) in hashes.iter().enumerate() {
            let last = _mm_cvtsi128_si32(hash.abef).cast_unsigned().wrapping_add(INITIAL[7]);
            hits |= u32::from(last.swap_bytes() <= limit) << side;
        }
        if hits != 0 {
            found.push(group, hits);
        }
        nonce = nonce.wrapping_add(4);
    }
}

/// A hash between two steps of four rounds. The state is as the instructions want it.
#[derive(Clone, Copy)]
struct Hash {
    abef: Words,
    cdgh: Words,
    /// The last sixteen words of the schedule, four by four, each four in their place modulo 4.
    words: [Words; 4],
}

impl Hash {
    /// The first hash after round 3.
    #[inline]
    #[target_feature(enable = "sha,avx")]
    fn first(known: &First, nonce: u32) -> Hash {
        let (abef, cdgh) = split(known.after_two);
        let words = four([known.w2, nonce, 0, 0]);
        let constants = four([K[2], K[3], 0, 0]);
        let next = _mm_sha256rnds2_epu32(cdgh, abef, _mm_add_epi32(words, constants));
        let late = [
            known.w16,
            known.w17,
            known.w18.wrapping_add(small0(nonce)),
            known.w19.wrapping_add(nonce),
        ];
        let zero = _mm_setzero_si128();
        Hash { abef: next, cdgh: abef, words: [four(late), zero, zero, zero] }
    }

    /// The second hash, of a first hash after all its rounds.
    #[inline]
    #[target_feature(enable = "sha,avx")]
    fn second(&self, known: &First) -> Hash {
        let (abef, cdgh) = split(known.midstate);
        let abef = _mm_shuffle_epi32::<0b00_01_10_11>(_mm_add_epi32(self.abef, abef));
        let cdgh = _mm_shuffle_epi32::<0b00_01_10_11>(_mm_add_epi32(self.cdgh, cdgh));
        let abcd = _mm_unpacklo_epi64(abef, cdgh);
        let efgh = _mm_unpackhi_epi64(abef, cdgh);
        let (abef, cdgh) = split(INITIAL);
        let padding = four([PADDING, 0, 0, 0]);
        let bits = four([0, 0, 0, DIGEST_BITS]);
        Hash { abef, cdgh, words: [abcd, efgh, padding, bits] }
    }

    /// The rounds from `4 * T` of the first hash and the words they need.
    #[inline]
    #[target_feature(enable = "sha,avx")]
    fn first_step<const T: usize>(&mut self, known: &First) {
        let constants = load::<T>(&FIRST);
        let sum = match T {
            ..4 => return self.rounds(constants),
            4 => return self.rounds(_mm_add_epi32(constants, self.words[0])),
            5 => four([PADDING, 0, HEADER_BITS, known.w16]),
            6 => self.late::<T>(),
            7 => {
                let early = four([0, 0, small0(HEADER_BITS), known.w31]);
                _mm_add_epi32(early, self.late::<T>())
            }
            _ => _mm_add_epi32(self.early::<T>(), self.late::<T>()),
        };
        let words = _mm_sha256msg2_epu32(sum, self.words[(T + 3) % 4]);
        self.words[T % 4] = words;
        self.rounds(_mm_add_epi32(constants, words));
    }

    /// The rounds from `4 * T` of the second hash and the words they need. After the last step
    /// f is e after round 60.
    #[inline]
    #[target_feature(enable = "sha,avx")]
    fn second_step<const T: usize>(&mut self) {
        let constants = load::<T>(&SECOND);
        let sum = match T {
            0 | 1 => return self.rounds(_mm_add_epi32(constants, self.words[T])),
            2 | 3 => return self.rounds(constants),
            4 => self.early::<T>(),
            6 => _mm_add_epi32(four([PADDING, 0, 0, 0]), self.late::<T>()),
            _ => _mm_add_epi32(self.early::<T>(), self.late::<T>()),
        };
        let words = _mm_sha256msg2_epu32(sum, self.words[(T + 3) % 4]);
        self.words[T % 4] = words;
        let sum = _mm_add_epi32(constants, words);
        if T == 15 {
            self.abef = _mm_sha256rnds2_epu32(self.cdgh, self.abef, sum);
        } else {
            self.rounds(sum);
        }
    }

    /// What the words 16 and 15 places earlier add to the words `4 * T` to `4 * T + 3`.
    #[inline]
    #[target_feature(enable = "sha,avx")]
    fn early<const T: usize>(&self) -> Words {
        _mm_sha256msg1_epu32(self.words[T % 4], self.words[(T + 1) % 4])
    }

    /// The words 7 places earlier.
    #[inline]
    #[target_feature(enable = "sha,avx")]
    fn late<const T: usize>(&self) -> Words {
        _mm_alignr_epi8::<4>(self.words[(T + 3) % 4], self.words[(T + 2) % 4])
    }

    /// Four rounds.
    #[inline]
    #[target_feature(enable = "sha,avx")]
    fn rounds(&mut self, sum: Words) {
        self.cdgh = _mm_sha256rnds2_epu32(self.cdgh, self.abef, sum);
        let sum = _mm_shuffle_epi32::<0b00_00_11_10>(sum);
        self.abef = _mm_sha256rnds2_epu32(self.abef, self.cdgh, sum);
    }
}

/// A state as the instructions want it.
#[inline]
#[target_feature(enable = "sha,avx")]
fn split([a, b, c, d, e, f, g, h]: [u32; 8]) -> (Words, Words) {
    (four([f, e, b, a]), four([h, g, d, c]))
}

#[inline]
#[target_feature(enable = "sha,avx")]
fn load<const T: usize>(constants: &[u32; 64]) -> Words {
    four([0, 1, 2, 3].map(|i| constants[4 * T + i]))
}

#[inline]
#[target_feature(enable = "sha,avx")]
fn four(words: [u32; 4]) -> Words {
    let [a, b, c, d] = words.map(u32::cast_signed);
    _mm_set_epi32(d, c, b, a)
}
