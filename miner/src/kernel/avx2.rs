//! Eight nonces in the lanes of AVX2's vectors.

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

pub(super) type Vector = __m256i;

schedule!("avx2");
rounds!("avx2");

pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("avx2")
}

pub(super) fn scan(
    header: &PreparedHeader,
    nonces: RangeInclusive<u32>,
    candidates: &mut Vec<u32>,
) {
    assert!(is_available(), "the CPU has AVX2");
    // SAFETY: the CPU has the features that the function requires, by the assertion above.
    unsafe { scan_groups(&Precomputed::new(header), header.limit(), Hits::new(nonces, candidates)) }
}

#[target_feature(enable = "avx2")]
fn scan_groups(precomputed: &Precomputed, limit: u32, mut hits: Hits<'_, 8>) {
    let mut nonce = add(splat(hits.first()), lane_indices());
    for group in 0..hits.groups() {
        // Hidden from the compiler, which would move additions of constants to the critical path.
        let (precomputed, constants) = (black_box(precomputed), black_box(&SECOND));
        let mut first = HashState::first(precomputed, swap_bytes(nonce));
        unroll!(30, I => { first.first_step::<{ I + 5 }>(precomputed); });
        unroll!(30, I => { first.first_step::<{ I + 35 }>(precomputed); });
        let mut second = HashState::second(constants, first.digest(precomputed));
        unroll!(30, I => { second.second_step::<{ I + 2 }>(constants); });
        unroll!(30, I => { second.second_step::<{ I + 32 }>(constants); });
        let mask = at_most(swap_bytes(second.state[4]), limit);
        if mask != 0 {
            hits.push(group, mask);
        }
        nonce = add(nonce, splat(8));
    }
}

/// The indices of the lanes.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn lane_indices() -> Vector {
    _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0)
}

/// A bit mask of the lanes that are at most the limit.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn at_most(x: Vector, limit: u32) -> u32 {
    let at_most = _mm256_cmpeq_epi32(_mm256_min_epu32(x, splat(limit)), x);
    _mm256_movemask_ps(_mm256_castsi256_ps(at_most)).cast_unsigned()
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn splat(word: u32) -> Vector {
    _mm256_set1_epi32(word.cast_signed())
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn add(x: Vector, y: Vector) -> Vector {
    _mm256_add_epi32(x, y)
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn swap_bytes(x: Vector) -> Vector {
    let order = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
    _mm256_shuffle_epi8(x, _mm256_broadcastsi128_si256(order))
}

#[inline]
#[target_feature(enable = "avx2")]
fn choose(e: Vector, f: Vector, g: Vector) -> Vector {
    xor(g, _mm256_and_si256(e, xor(f, g)))
}

#[inline]
#[target_feature(enable = "avx2")]
fn majority(a: Vector, b: Vector, c: Vector) -> Vector {
    // The next round reuses `xor(a, b)` as the xor of its b and c.
    xor(b, _mm256_and_si256(xor(a, b), xor(b, c)))
}

#[inline]
#[target_feature(enable = "avx2")]
fn xor(x: Vector, y: Vector) -> Vector {
    _mm256_xor_si256(x, y)
}

/// Rotates each lane to the right.
#[inline]
#[target_feature(enable = "avx2")]
fn rotate<const RIGHT: i32, const LEFT: i32>(x: Vector) -> Vector {
    xor(_mm256_srli_epi32::<RIGHT>(x), _mm256_slli_epi32::<LEFT>(x))
}

#[inline]
#[target_feature(enable = "avx2")]
fn big0(x: Vector) -> Vector {
    xor(xor(rotate::<2, 30>(x), rotate::<13, 19>(x)), rotate::<22, 10>(x))
}

#[inline]
#[target_feature(enable = "avx2")]
fn big1(x: Vector) -> Vector {
    xor(xor(rotate::<6, 26>(x), rotate::<11, 21>(x)), rotate::<25, 7>(x))
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn small0(x: Vector) -> Vector {
    xor(xor(rotate::<7, 25>(x), rotate::<18, 14>(x)), _mm256_srli_epi32::<3>(x))
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn small1(x: Vector) -> Vector {
    xor(xor(rotate::<17, 15>(x), rotate::<19, 13>(x)), _mm256_srli_epi32::<10>(x))
}

/// Forces the compiler to compute `first` before `second`. The next round depends on the state's e,
/// which is computed from `first`; the reverse order costs several percent.
#[inline]
#[target_feature(enable = "avx2")]
fn before(mut first: Vector, mut second: Vector) -> (Vector, Vector) {
    // SAFETY: the assembly is empty; it reads and writes only the two registers.
    unsafe {
        asm!(
            "/* {} {} */", inout(ymm_reg) first, inout(ymm_reg) second,
            options(nomem, nostack, preserves_flags)
        );
    }
    (first, second)
}
