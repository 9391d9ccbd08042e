//! Eight nonces interleaved with the SHA extensions of x86, two groups at a time: the second hash
//! of one group and the first hash of the next. Of the extensions, only the instruction for two
//! rounds is used. Those for the schedule would stall it, so schedules are computed in vector lanes,
//! by execution units that are idle otherwise.

#![allow(unsafe_code, reason = "CPU-specific instructions")]

use super::avx2::{Vector, add, at_most, lane_indices, splat, swap_bytes};
use super::hits::Hits;
use super::lanes::schedule;
use super::precompute::{PartialHash, Precomputed, SECOND};
use super::sha256::{self, DIGEST_BITS, HEADER_BITS, PADDING};
use super::unroll::unroll;
use crate::work::PreparedHeader;
use std::arch::x86_64::*;
use std::hint::black_box;
use std::ops::RangeInclusive;

/// Computes the rounds whose sums are in `$from`, mixed with the sums of `$count` words from word
/// `$start`, which are for the next phase.
macro_rules! phase {
    ($states:ident, $from:expr => $to:expr, $even:ident, $k:ident, $count:literal from $start:literal,
        $t:ident => $word:expr) => {
        unroll!(16, I => {
            $states.rounds(I / 8, &$from[I % 8]);
            if I < $count {
                const $t: usize = $start + I % $count;
                store(&mut $to, I, &mut $even, add(splat($k[$t]), $word));
            }
        })
    };
}

/// Computes the last fourteen rounds, whose sums are in `$from`.
macro_rules! last_phase {
    ($states:ident, $from:expr) => {
        unroll!(16, I => {
            if I % 8 < 7 {
                $states.rounds(I / 8, &$from[I % 8]);
            }
        })
    };
}

/// Defines `scan` for the given CPU features. The module that invokes it defines `small0` and
/// `small1` with them.
///
/// Both hashes have four phases, in alternation. A phase is fourteen or sixteen rounds, two at a
/// time and with four nonces interleaved, mixed with the words for the rounds of the next phase.
macro_rules! scan {
    ($features:literal) => {
        schedule!($features);

        pub(in super::super) fn scan(
            header: &PreparedHeader,
            nonces: RangeInclusive<u32>,
            candidates: &mut Vec<u32>,
        ) {
            assert!(is_available(), concat!("the CPU has ", $features));
            // SAFETY: the CPU has the features that the function requires, by the assertion above.
            unsafe {
                let hits = Hits::new(nonces, candidates);
                scan_groups(&Precomputed::new(header), header.limit(), hits);
            }
        }

        #[target_feature(enable = $features)]
        fn scan_groups(precomputed: &Precomputed, limit: u32, mut hits: Hits<'_, 8>) {
            let mut nonce = add(splat(hits.first()), lane_indices());
            let mut digest = [splat(0); 8];
            let (mut first, mut second) = (States::zero(), States::zero());
            // By phase and pair of rounds. Hidden from the compiler after each write, so that it
            // loads them from memory instead of extracting them from vectors.
            let mut first_sums = [[Sums([0; 8]); 8]; 4];
            let mut second_sums = first_sums;
            for group in -1..hits.groups() {
                let (precomputed, partial) = (black_box(precomputed), black_box(&SECOND));
                let (k, second_k) = (&precomputed.partial.constants, &partial.constants);

                let word = swap_bytes(nonce);
                let mut words = Schedule::first(word);
                first_sums[0][7] = in_pairs(splat(0), word);
                black_box(&mut first_sums);
                // Rounds 4 to 17, words 18 to 33.
                let mut even = splat(0);
                unroll!(16, I => {
                    const PAIR: usize = I % 8;
                    if PAIR == 0 {
                        first.start(I / 8, &precomputed.partial, &first_sums[0][7]);
                    }
                    if PAIR < 7 {
                        const T: usize = 4 + 2 * PAIR;
                        first.constant_rounds(I / 8, [k[T], k[T + 1]]);
                    }
                    let sum = add(splat(k[18 + I]), words.first_word::<{ 18 + I }>(precomputed));
                    store(&mut first_sums[1], I, &mut even, sum);
                });
                black_box(&mut first_sums);

                let mut second_words = Schedule::second(digest);
                let mut second_even = splat(0);
                start_second(&mut second, &mut second_sums, &mut second_words, &digest, partial);
                black_box(&mut second_sums);

                // Rounds 18 to 33, words 34 to 49.
                phase!(first, first_sums[1] => first_sums[2], even, k, 16 from 34,
                    T => words.first_word::<T>(precomputed));
                black_box(&mut first_sums);

                // Rounds 15 to 30, words 31 to 46.
                phase!(second, second_sums[1] => second_sums[2], second_even, second_k, 16 from 31,
                    T => second_words.second_word::<T>());
                black_box(&mut second_sums);

                // Rounds 34 to 49, words 50 to 63.
                phase!(first, first_sums[2] => first_sums[3], even, k, 14 from 50,
                    T => words.first_word::<T>(precomputed));
                black_box(&mut first_sums);

                // Rounds 31 to 46, words 47 to 60.
                phase!(second, second_sums[2] => second_sums[3], second_even, second_k, 14 from 47,
                    T => second_words.second_word::<T>());
                black_box(&mut second_sums);

                // Rounds 50 to 63 and 47 to 60.
                last_phase!(first, first_sums[3]);
                last_phase!(second, second_sums[3]);
                let [_, e, _, _] = in_lanes(second.abef);
                let mask = at_most(swap_bytes(e), limit);
                if mask != 0 {
                    hits.push(group, mask);
                }
                digest = first.words(&precomputed.midstate);
                nonce = add(nonce, splat(8));
            }
        }

        /// Computes rounds 1 to 14 of the second hash of `digest`, and the sums of words 15 to 30.
        #[inline]
        #[target_feature(enable = $features)]
        fn start_second(
            states: &mut States,
            sums: &mut [[Sums; 8]; 4],
            words: &mut Schedule,
            digest: &[Vector; 8],
            partial: &PartialHash,
        ) {
            let k = &partial.constants;
            let sum = |t| add(splat(k[t]), digest[t]);
            sums[0][7] = in_pairs(splat(0), digest[0]);
            sums[0][0] = in_pairs(sum(1), sum(2));
            sums[0][1] = in_pairs(sum(3), sum(4));
            sums[0][2] = in_pairs(sum(5), sum(6));
            sums[0][3] = in_pairs(sum(7), splat(k[8]));
            black_box(&mut *sums);
            let mut even = splat(0);
            unroll!(16, I => {
                const PAIR: usize = I % 8;
                if PAIR == 0 {
                    states.start(I / 8, partial, &sums[0][7]);
                }
                if PAIR < 4 {
                    states.rounds(I / 8, &sums[0][PAIR]);
                } else if PAIR < 7 {
                    const T: usize = 1 + 2 * PAIR;
                    states.constant_rounds(I / 8, [k[T], k[T + 1]]);
                }
                let mut sum = splat(k[15 + I]);
                // Word 15 is in the constant.
                if I > 0 {
                    const T: usize = if I > 0 { 15 + I } else { 16 };
                    sum = add(sum, words.second_word::<T>());
                }
                store(&mut sums[1], I, &mut even, sum);
            });
        }
    };
}

/// The schedules with AVX2.
pub(super) mod with_avx2 {
    use super::super::avx2::{small0, small1};
    use super::*;

    pub(in super::super) fn is_available() -> bool {
        is_x86_feature_detected!("sha") && is_x86_feature_detected!("avx2")
    }

    scan!("sha,avx2");
}

/// The schedules in 256-bit vectors with the instructions of AVX-512VL.
pub(super) mod with_avx512 {
    use super::*;

    pub(in super::super) fn is_available() -> bool {
        with_avx2::is_available() && is_x86_feature_detected!("avx512vl")
    }

    scan!("sha,avx2,avx512vl");

    #[inline]
    #[target_feature(enable = "avx512vl")]
    fn xor(x: Vector, y: Vector, z: Vector) -> Vector {
        _mm256_ternarylogic_epi32::<0b1001_0110>(x, y, z)
    }

    #[inline]
    #[target_feature(enable = "avx512vl")]
    fn small0(x: Vector) -> Vector {
        xor(_mm256_ror_epi32::<7>(x), _mm256_ror_epi32::<18>(x), _mm256_srli_epi32::<3>(x))
    }

    #[inline]
    #[target_feature(enable = "avx512vl")]
    fn small1(x: Vector) -> Vector {
        xor(_mm256_ror_epi32::<17>(x), _mm256_ror_epi32::<19>(x), _mm256_srli_epi32::<10>(x))
    }
}

/// For each of eight nonces, the sums of constant and word for two rounds, in the order of
/// `in_pairs`.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Sums([u64; 8]);

/// The states of eight nonces in the order of `Sums`. The instruction for two rounds has a, b, e
/// and f in one operand and c, d, g and h in another.
#[derive(Clone, Copy)]
struct States {
    abef: [__m128i; 8],
    cdgh: [__m128i; 8],
}

impl States {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn zero() -> States {
        States { abef: [_mm_setzero_si128(); 8], cdgh: [_mm_setzero_si128(); 8] }
    }

    /// Starts the hashes of the first or the last four nonces. The lower half of each of `words` is
    /// zero, the upper half the word.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn start(&mut self, quad: usize, partial: &PartialHash, words: &Sums) {
        let (abef, cdgh) = to_operands(partial.state);
        unroll!(4, I => {
            let i = 4 * quad + I;
            // Adds the word to e and to a.
            self.abef[i] = _mm_add_epi32(abef, _mm_set1_epi64x(words.0[i].cast_signed()));
            self.cdgh[i] = cdgh;
        });
    }

    /// Computes two rounds of the first or the last four nonces.
    #[inline]
    #[target_feature(enable = "sha,avx2")]
    fn rounds(&mut self, quad: usize, sums: &Sums) {
        unroll!(4, I => { self.two_rounds(4 * quad + I, sums.0[4 * quad + I]) });
    }

    /// Computes two rounds whose words are the same for all nonces.
    #[inline]
    #[target_feature(enable = "sha,avx2")]
    fn constant_rounds(&mut self, quad: usize, sums: [u32; 2]) {
        let sum = u64::from(sums[0]) | u64::from(sums[1]) << 32;
        unroll!(4, I => { self.two_rounds(4 * quad + I, sum) });
    }

    #[inline]
    #[target_feature(enable = "sha,avx2")]
    fn two_rounds(&mut self, i: usize, sum: u64) {
        let sum = _mm_cvtsi64_si128(sum.cast_signed());
        let abef = _mm_sha256rnds2_epu32(self.cdgh[i], self.abef[i], sum);
        // c, d, g and h are a, b, e and f of two rounds earlier.
        self.cdgh[i] = self.abef[i];
        self.abef[i] = abef;
    }

    /// The words of the digests, each in a vector of all nonces.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn words(&self, midstate: &[u32; 8]) -> [Vector; 8] {
        let [f, e, b, a] = in_lanes(self.abef);
        let [h, g, d, c] = in_lanes(self.cdgh);
        let mut words = [a, b, c, d, e, f, g, h];
        for (word, start) in words.iter_mut().zip(midstate) {
            *word = add(*word, splat(*start));
        }
        words
    }
}

/// A state in the layout of the instructions: (a, b, e, f) and (c, d, g, h).
#[inline]
#[target_feature(enable = "avx2")]
fn to_operands([a, b, c, d, e, f, g, h]: [u32; 8]) -> (__m128i, __m128i) {
    let [a, b, c, d, e, f, g, h] = [a, b, c, d, e, f, g, h].map(u32::cast_signed);
    (_mm_set_epi32(a, b, e, f), _mm_set_epi32(c, d, g, h))
}

/// Stores the sum of an even round in `even`, and with that of an odd round writes the pair.
#[inline]
#[target_feature(enable = "avx2")]
fn store(sums: &mut [Sums; 8], i: usize, even: &mut Vector, sum: Vector) {
    if i.is_multiple_of(2) {
        *even = sum;
    } else {
        sums[i / 2] = in_pairs(*even, sum);
    }
}

/// Pairs the lanes 0, 1, 4 and 5 of both vectors, then the lanes 2, 3, 6 and 7.
#[inline]
#[target_feature(enable = "avx2")]
fn in_pairs(even: Vector, odd: Vector) -> Sums {
    let pairs = [_mm256_unpacklo_epi32(even, odd), _mm256_unpackhi_epi32(even, odd)];
    // SAFETY: both types are 64 bytes of plain integers, for which any bits are valid.
    unsafe { std::mem::transmute::<[Vector; 2], Sums>(pairs) }
}

/// Transposes: vector `n` of the result has word `n` of each nonce in the lane of that nonce.
#[inline]
#[target_feature(enable = "avx2")]
fn in_lanes([n0, n1, n4, n5, n2, n3, n6, n7]: [__m128i; 8]) -> [Vector; 4] {
    let [n0, n1, n2, n3] =
        [(n0, n4), (n1, n5), (n2, n6), (n3, n7)].map(|(low, high)| _mm256_set_m128i(high, low));
    let (low0, high0) = (_mm256_unpacklo_epi32(n0, n1), _mm256_unpackhi_epi32(n0, n1));
    let (low2, high2) = (_mm256_unpacklo_epi32(n2, n3), _mm256_unpackhi_epi32(n2, n3));
    [
        _mm256_unpacklo_epi64(low0, low2),
        _mm256_unpackhi_epi64(low0, low2),
        _mm256_unpacklo_epi64(high0, high2),
        _mm256_unpackhi_epi64(high0, high2),
    ]
}
