//! Eight nonces interleaved with the SHA extensions of x86, two groups at a time: the second hash
//! of one group and the first hash of the next. Of the extensions, only the instruction for two
//! rounds is used. Those for the schedule would stall it, so schedules are computed in vector lanes,
//! by execution units that are idle otherwise.
//!
//! The SHA instructions have no VEX encoding. After a write of a 256-bit register, CPUs of Intel
//! take some 500 cycles for each change between the encodings unless `vzeroupper` comes first. So
//! vectors and rounds alternate in blocks, vectors pass from one block to another in memory, and
//! each block of vectors ends with `vzeroupper`.

#![allow(unsafe_code, reason = "CPU-specific instructions")]

use super::avx2::{Vector, add, at_most, lane_indices, splat, swap_bytes};
use super::hits::Hits;
use super::lanes::schedule;
use super::precompute::{PartialHash, Precomputed, SECOND};
use super::sha256::{self, DIGEST_BITS, HEADER_BITS, PADDING};
use super::unroll::unroll;
use crate::work::PreparedHeader;
use std::arch::asm;
use std::arch::x86_64::*;
use std::hint::black_box;
use std::ops::RangeInclusive;

/// Computes the rounds whose sums are in `$from`, mixed with the sums of `$count` words from word
/// `$start`, which are for the next phase.
macro_rules! phase {
    ($states:ident, $sums:ident, $from:literal => $to:literal, $words:ident, $k:ident,
        $count:literal from $start:literal, $t:ident => $word:expr) => {
        unroll!(8, I => {
            if 2 * I < $count {
                let even = {
                    const $t: usize = $start + 2 * I % $count;
                    add(splat($k[$t]), $word)
                };
                let odd = {
                    const $t: usize = $start + 2 * I % $count + 1;
                    add(splat($k[$t]), $word)
                };
                $sums[$to][I] = in_pairs(even, odd);
            }
            $states.end_vectors(I / 4, &mut $words, &mut $sums);
            $states.rounds(I / 4, &$sums[$from][2 * I % 8]);
            $states.rounds(I / 4, &$sums[$from][2 * I % 8 + 1]);
            $states.end_rounds(I / 4);
        })
    };
}

/// Computes the last fourteen rounds, whose sums are in `$from`.
macro_rules! last_phase {
    ($states:ident, $from:expr) => {
        unroll!(16, I => {
            if I % 8 < 7 {
                $states.rounds(I / 8, &$from[I % 8]);
            } else {
                $states.end_rounds(I / 8);
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
            // By phase and pair of rounds.
            let mut first_sums = [[Sums([0; 8]); 8]; 4];
            let mut second_sums = first_sums;
            for group in -1..hits.groups() {
                let (precomputed, partial) = (black_box(precomputed), black_box(&SECOND));
                let (k, second_k) = (&precomputed.partial.constants, &partial.constants);

                let word = swap_bytes(nonce);
                let mut words = Schedule::first(word);
                first_sums[0][7] = in_pairs(splat(0), word);
                // Rounds 4 to 17, words 18 to 33.
                unroll!(8, I => {
                    const T: usize = 18 + 2 * I;
                    let even = add(splat(k[T]), words.first_word::<T>(precomputed));
                    let odd = add(splat(k[T + 1]), words.first_word::<{ T + 1 }>(precomputed));
                    first_sums[1][I] = in_pairs(even, odd);
                    if I % 4 == 0 {
                        first.start(I / 4, &precomputed.partial, &first_sums[0][7]);
                    }
                    first.end_vectors(I / 4, &mut words, &mut first_sums);
                    const ROUND: usize = 4 + 4 * (I % 4);
                    first.constant_rounds(I / 4, [k[ROUND], k[ROUND + 1]]);
                    if I % 4 < 3 {
                        first.constant_rounds(I / 4, [k[ROUND + 2], k[ROUND + 3]]);
                    }
                    first.end_rounds(I / 4);
                });

                let mut second_words = Schedule::second(digest);
                start_second(&mut second, &mut second_sums, &mut second_words, &digest, partial);

                // Rounds 18 to 33, words 34 to 49.
                phase!(first, first_sums, 1 => 2, words, k, 16 from 34,
                    T => words.first_word::<T>(precomputed));

                // Rounds 15 to 30, words 31 to 46.
                phase!(second, second_sums, 1 => 2, second_words, second_k, 16 from 31,
                    T => second_words.second_word::<T>());

                // Rounds 34 to 49, words 50 to 63.
                phase!(first, first_sums, 2 => 3, words, k, 14 from 50,
                    T => words.first_word::<T>(precomputed));

                // Rounds 31 to 46, words 47 to 60.
                phase!(second, second_sums, 2 => 3, second_words, second_k, 14 from 47,
                    T => second_words.second_word::<T>());

                // Rounds 50 to 63.
                last_phase!(first, first_sums[3]);
                digest = first.words(&precomputed.midstate);
                second.end_vectors(0, &mut digest, &mut second_sums);

                // Rounds 47 to 60.
                last_phase!(second, second_sums[3]);
                let [_, e, _, _] = in_lanes(black_box(second.abef));
                let mask = at_most(swap_bytes(e), limit);
                if mask != 0 {
                    hits.push(group, mask);
                }
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
            unroll!(8, I => {
                const T: usize = 15 + 2 * I;
                let mut even = splat(k[T]);
                // Word 15 is in the constant.
                if I > 0 {
                    const T: usize = if I > 0 { 15 + 2 * I } else { 16 };
                    even = add(even, words.second_word::<T>());
                }
                let odd = add(splat(k[T + 1]), words.second_word::<{ T + 1 }>());
                sums[1][I] = in_pairs(even, odd);
                if I % 4 == 0 {
                    states.start(I / 4, partial, &sums[0][7]);
                }
                states.end_vectors(I / 4, words, sums);
                match I % 4 {
                    0 | 1 => {
                        states.rounds(I / 4, &sums[0][2 * (I % 4)]);
                        states.rounds(I / 4, &sums[0][2 * (I % 4) + 1]);
                    }
                    2 => {
                        states.constant_rounds(I / 4, [k[9], k[10]]);
                        states.constant_rounds(I / 4, [k[11], k[12]]);
                    }
                    _ => states.constant_rounds(I / 4, [k[13], k[14]]),
                }
                states.end_rounds(I / 4);
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

    /// Ends a block of vectors before rounds of the first or the last four nonces. No vector is in
    /// a register afterwards: those of the arguments are read from memory again, and the compiler
    /// knows that any other would be lost.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn end_vectors<W, S>(&mut self, quad: usize, words: &mut W, sums: &mut S) {
        black_box(words);
        black_box(sums);
        let [a, b, c, d] = &mut self.abef.as_chunks_mut::<4>().0[quad];
        let [e, f, g, h] = &mut self.cdgh.as_chunks_mut::<4>().0[quad];
        // SAFETY: the instruction clears the upper halves of the registers, which are all outputs.
        unsafe {
            asm!(
                "vzeroupper",
                inout("xmm8") *a, inout("xmm9") *b, inout("xmm10") *c, inout("xmm11") *d,
                inout("xmm12") *e, inout("xmm13") *f, inout("xmm14") *g, inout("xmm15") *h,
                out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm3") _,
                out("ymm4") _, out("ymm5") _, out("ymm6") _, out("ymm7") _,
                options(nostack, preserves_flags)
            );
        }
    }

    /// Ends rounds of the first or the last four nonces: none of them is computed later, and no
    /// vector is read from memory earlier.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn end_rounds(&mut self, quad: usize) {
        let [a, b, c, d] = &mut self.abef.as_chunks_mut::<4>().0[quad];
        let [e, f, g, h] = &mut self.cdgh.as_chunks_mut::<4>().0[quad];
        // SAFETY: the assembly is empty; it reads and writes only the registers.
        unsafe {
            asm!(
                "/* {} {} {} {} {} {} {} {} */",
                inout(xmm_reg) * a,
                inout(xmm_reg) * b,
                inout(xmm_reg) * c,
                inout(xmm_reg) * d,
                inout(xmm_reg) * e,
                inout(xmm_reg) * f,
                inout(xmm_reg) * g,
                inout(xmm_reg) * h,
                options(nostack, preserves_flags)
            );
        }
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
        // In memory, so that the compiler does not keep them in vectors during the rounds.
        let States { abef, cdgh } = black_box(*self);
        let [f, e, b, a] = in_lanes(abef);
        let [h, g, d, c] = in_lanes(cdgh);
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
