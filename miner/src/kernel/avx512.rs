//! Sixteen nonces in the lanes of AVX-512's vectors, with two groups interleaved: the second hash
//! of one group and the first hash of the next. A single chain of rounds is bound by its latency.

#![allow(unsafe_code, reason = "CPU-specific instructions")]

use super::hits::Hits;
use super::lanes::{rounds, schedule};
use super::precompute::{LAST_ROUND, PartialHash, Precomputed, SECOND};
use super::sha256::{self, DIGEST_BITS, HEADER_BITS, PADDING};
use super::unroll::unroll;
use crate::work::PreparedHeader;
use std::arch::asm;
use std::arch::x86_64::*;
use std::hint::black_box;
use std::ops::RangeInclusive;

type Vector = __m512i;

schedule!("avx512f,avx512bw");
rounds!("avx512f,avx512bw");

pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw")
}

pub(super) fn scan(
    header: &PreparedHeader,
    nonces: RangeInclusive<u32>,
    candidates: &mut Vec<u32>,
) {
    assert!(is_available(), "the CPU has AVX-512");
    // SAFETY: the CPU has the features that the function requires, by the assertion above.
    unsafe { scan_groups(&Precomputed::new(header), header.limit(), Hits::new(nonces, candidates)) }
}

/// A group passes the end of the loop in the middle of its second hash, so that rounds with costly
/// schedule words run beside rounds with cheap ones.
#[target_feature(enable = "avx512f,avx512bw")]
fn scan_groups(precomputed: &Precomputed, limit: u32, mut hits: Hits<'_, 16>) {
    // A copy on this stack frame aligns it, and the vectors that the compiler spills next to it.
    let precomputed = &black_box(*precomputed);
    let lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    let mut nonce = add(splat(hits.first()), lanes);
    let mut digest = [splat(0); 8];
    let mut second = HashState::second(&SECOND, digest);
    for group in -2..hits.groups() {
        // Hidden from the compiler, which would move additions of constants to the critical path.
        let (precomputed, constants) = (black_box(precomputed), black_box(&SECOND));
        let mut first = HashState::first(precomputed, swap_bytes(nonce));
        unroll!(30, I => {
            first.first_step::<{ I + 5 }>(precomputed);
            second.second_step::<{ I + 32 }>(constants);
            tie(&mut first.state[4], &mut second.state[4]);
        });
        let mask = _mm512_cmple_epu32_mask(swap_bytes(second.state[4]), splat(limit));
        if mask != 0 {
            hits.push(group, mask.into());
        }
        second = HashState::second(constants, digest);
        unroll!(30, I => {
            first.first_step::<{ I + 35 }>(precomputed);
            second.second_step::<{ I + 2 }>(constants);
            tie(&mut first.state[4], &mut second.state[4]);
        });
        digest = first.digest(precomputed);
        nonce = add(nonce, splat(16));
    }
}

/// Makes both values available at the same point. Otherwise the compiler schedules the instructions
/// of one hash after those of the other.
#[inline]
#[target_feature(enable = "avx512f")]
fn tie(first: &mut Vector, second: &mut Vector) {
    // SAFETY: the assembly is empty; it reads and writes only the two registers.
    unsafe {
        asm!(
            "/* {} {} */",
            inout(zmm_reg) * first,
            inout(zmm_reg) * second,
            options(nomem, nostack, preserves_flags)
        );
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn splat(word: u32) -> Vector {
    _mm512_set1_epi32(word.cast_signed())
}

#[inline]
#[target_feature(enable = "avx512f")]
fn add(x: Vector, y: Vector) -> Vector {
    _mm512_add_epi32(x, y)
}

#[inline]
#[target_feature(enable = "avx512bw")]
fn swap_bytes(x: Vector) -> Vector {
    let order = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
    _mm512_shuffle_epi8(x, _mm512_broadcast_i32x4(order))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn choose(e: Vector, f: Vector, g: Vector) -> Vector {
    _mm512_ternarylogic_epi32::<0b1100_1010>(e, f, g)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn majority(a: Vector, b: Vector, c: Vector) -> Vector {
    _mm512_ternarylogic_epi32::<0b1110_1000>(a, b, c)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn xor(x: Vector, y: Vector, z: Vector) -> Vector {
    _mm512_ternarylogic_epi32::<0b1001_0110>(x, y, z)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn big0(x: Vector) -> Vector {
    xor(_mm512_ror_epi32::<2>(x), _mm512_ror_epi32::<13>(x), _mm512_ror_epi32::<22>(x))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn big1(x: Vector) -> Vector {
    xor(_mm512_ror_epi32::<6>(x), _mm512_ror_epi32::<11>(x), _mm512_ror_epi32::<25>(x))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn small0(x: Vector) -> Vector {
    xor(_mm512_ror_epi32::<7>(x), _mm512_ror_epi32::<18>(x), _mm512_srli_epi32::<3>(x))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn small1(x: Vector) -> Vector {
    xor(_mm512_ror_epi32::<17>(x), _mm512_ror_epi32::<19>(x), _mm512_srli_epi32::<10>(x))
}

#[inline]
fn before(first: Vector, second: Vector) -> (Vector, Vector) {
    // The order between the two hashes matters more; see `tie`.
    (first, second)
}
