//! Sixteen nonces in the lanes of AVX-512's vectors, and two such groups at a time: the second hash
//! of one beside the first hash of another. One chain of rounds alone leaves a CPU waiting.

#![allow(unsafe_code, reason = "instructions that not every CPU has")]

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
    prepared: &PreparedHeader,
    nonces: RangeInclusive<u32>,
    candidates: &mut Vec<u32>,
) {
    assert!(is_available(), "the CPU has AVX-512");
    // SAFETY: the CPU has what the function is compiled for.
    unsafe {
        scan_groups(&Precomputed::new(prepared), prepared.limit(), Hits::new(nonces, candidates))
    }
}

/// A chain goes through the loop's end in the middle of its second hash, so that rounds with much
/// of a schedule to compute meet rounds with little.
#[target_feature(enable = "avx512f,avx512bw")]
fn scan_groups(known: &Precomputed, limit: u32, mut found: Hits<'_, 16>) {
    // A copy on this frame has it aligned, and with it what the compiler keeps there for a while.
    let known = &black_box(*known);
    let lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    let mut nonce = add(splat(found.first()), lanes);
    let mut digest = [splat(0); 8];
    let mut second = Chain::second(&SECOND, digest);
    for group in -2..found.groups() {
        // Hidden, lest the compiler move the addition of a constant to where the next round waits.
        let (known, constants) = (black_box(known), black_box(&SECOND));
        let mut first = Chain::first(known, swap_bytes(nonce));
        unroll!(30, I => {
            first.first_step::<{ I + 5 }>(known);
            second.second_step::<{ I + 32 }>(constants);
            tie(&mut first.state[4], &mut second.state[4]);
        });
        let hits = _mm512_cmple_epu32_mask(swap_bytes(second.state[4]), splat(limit));
        if hits != 0 {
            found.push(group, hits.into());
        }
        second = Chain::second(constants, digest);
        unroll!(30, I => {
            first.first_step::<{ I + 35 }>(known);
            second.second_step::<{ I + 2 }>(constants);
            tie(&mut first.state[4], &mut second.state[4]);
        });
        digest = first.digest(known);
        nonce = add(nonce, splat(16));
    }
}

/// Makes both available at the same moment. Otherwise the compiler orders one chain's
/// instructions behind the other's.
#[inline]
#[target_feature(enable = "avx512f")]
fn tie(first: &mut Vector, second: &mut Vector) {
    // SAFETY: there is no instruction.
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
    // The order between the chains matters more.
    (first, second)
}
