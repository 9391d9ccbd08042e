//! prototype
#![allow(unsafe_code, reason = "instructions that not every CPU has")]
#![allow(missing_docs)]

use super::known::{First, SECOND, Begun};
use super::lanes::{Found, schedule};
use super::sha256::{self, DIGEST_BITS, HEADER_BITS, PADDING};
use super::unroll::unroll;
use crate::work::Stem;
use std::arch::asm;
use std::arch::x86_64::*;
use std::hint::black_box;
use std::ops::RangeInclusive;

macro_rules! mixed { ($f:literal, $scan:ident) => {
$scan!($f);


schedule!($f);

pub(in super::super) fn scan(stem: &Stem, nonces: RangeInclusive<u32>, candidates: &mut Vec<u32>) {
    unsafe { scan_groups(&First::new(stem), stem.limit(), Found::new(nonces, candidates)) }
}

/// Slots to a pair of words.
const STEP: usize = LANES / 8;

/// Sums for pairs of rounds: [pair][slot].
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Sums([[u64; LANES]; 8]);

impl Sums {
    #[inline]
    #[target_feature(enable = $f)]
    fn put(&mut self, pair: usize, even: Vector, odd: Vector) {
        let at = self.0[pair].as_mut_ptr().cast::<Vector>();
        unsafe {
            at.write(lo32(even, odd));
            at.add(1).write(hi32(even, odd));
        }
    }
    #[inline]
    #[target_feature(enable = $f)]
    fn get(&self, pair: usize, slot: usize) -> __m128i {
        unsafe { _mm_loadl_epi64(self.0[pair].as_ptr().add(slot).cast()) }
    }
    #[inline]
    #[target_feature(enable = $f)]
    fn get_twice(&self, pair: usize, slot: usize) -> __m128i {
        unsafe { _mm_castpd_si128(_mm_loaddup_pd(self.0[pair].as_ptr().add(slot).cast())) }
    }
    #[inline(always)]
    fn hide(&mut self) {
        unsafe { asm!("/* {} */", in(reg) self, options(nostack, preserves_flags)); }
    }
}

#[inline]
#[target_feature(enable = $f)]
fn pair_of(constants: &[u32; 64], t: usize) -> __m128i {
    unsafe { _mm_loadl_epi64(constants.as_ptr().add(t).cast()) }
}

#[derive(Clone, Copy)]
struct State { abef: __m128i, cdgh: __m128i }

impl State {
    #[inline]
    #[target_feature(enable = $f)]
    fn two(&mut self, sum: __m128i) {
        let next = _mm_sha256rnds2_epu32(self.cdgh, self.abef, sum);
        self.cdgh = self.abef;
        self.abef = next;
    }
    #[inline]
    #[target_feature(enable = $f)]
    fn visit(&mut self, pairs: usize, sums: &Sums, slot: usize) {
        let mut state = *self;
        unroll!(8, P => { if P < pairs { state.two(sums.get(P, slot)); } });
        *self = state;
    }
    #[inline]
    #[target_feature(enable = $f)]
    fn begin(begun: &Begun, word: __m128i) -> State {
        let (abef, cdgh) = split(begun.state);
        State { abef: _mm_add_epi32(abef, word), cdgh }
    }
}

#[inline]
#[target_feature(enable = $f)]
fn split([a, b, c, d, e, f, g, h]: [u32; 8]) -> (__m128i, __m128i) {
    (four([f, e, b, a]), four([h, g, d, c]))
}
#[inline]
#[target_feature(enable = $f)]
fn four(words: [u32; 4]) -> __m128i {
    let [a, b, c, d] = words.map(u32::cast_signed);
    _mm_set_epi32(d, c, b, a)
}

/// 4x4 transposes in each part.
#[inline]
#[target_feature(enable = $f)]
fn rows(v: [__m128i; LANES]) -> [Vector; 4] {
    let y0 = join(std::array::from_fn(|i| v[2 * i]));
    let y1 = join(std::array::from_fn(|i| v[2 * i + 1]));
    let y2 = join(std::array::from_fn(|i| v[2 * i + LANES / 2]));
    let y3 = join(std::array::from_fn(|i| v[2 * i + 1 + LANES / 2]));
    let (t0, t1) = (lo32(y0, y1), hi32(y0, y1));
    let (t2, t3) = (lo32(y2, y3), hi32(y2, y3));
    [lo64(t0, t2), hi64(t0, t2), lo64(t1, t3), hi64(t1, t3)]
}

#[inline]
#[target_feature(enable = $f)]
fn digest(states: &[State; LANES], known: &First) -> [Vector; 8] {
    let [f, e, b, a] = rows(states.map(|s| s.abef));
    let [h, g, d, c] = rows(states.map(|s| s.cdgh));
    let m = known.midstate;
    [add(a, splat(m[0])), add(b, splat(m[1])), add(c, splat(m[2])), add(d, splat(m[3])), add(e, splat(m[4])), add(f, splat(m[5])), add(g, splat(m[6])), add(h, splat(m[7]))]
}

}; }

macro_rules! scan8 { ($f:literal) => {
#[target_feature(enable = $f)]
fn scan_groups(known: &First, limit: u32, mut found: Found<'_, {LANES as u32}>) {
    let mut nonce = add(splat(found.first()), numbers());
    let zero = State { abef: _mm_setzero_si128(), cdgh: _mm_setzero_si128() };
    let mut first = [zero; LANES];
    let mut second = [zero; LANES];
    let mut s1 = [Sums([[0; LANES]; 8]); 2];
    let mut s2 = [Sums([[0; LANES]; 8]); 2];
    let mut dig = [splat(0); 8];
    for group in -1..found.groups() {
        let (known, begun) = (black_box(known), black_box(&SECOND));
        let k = &known.begun.constants;
        let k2 = &begun.constants;
        let word = swap_bytes(nonce);
        let mut a = Schedule::first(word);
        s1[0].put(0, splat(0), word);
        let mut b = Schedule::second(dig);
        let mut e1; let mut e2;
s1[0].hide();
s2[0].put(4, splat(0), dig[0]);
s2[0].put(0, add(splat(k2[1]), dig[1]), add(splat(k2[2]), dig[2]));
s2[0].put(1, add(splat(k2[3]), dig[3]), add(splat(k2[4]), dig[4]));
s2[0].put(2, add(splat(k2[5]), dig[5]), add(splat(k2[6]), dig[6]));
s2[0].put(3, add(splat(k2[7]), dig[7]), splat(k2[8]));
s2[0].hide();
first[0] = State::begin(&known.begun, s1[0].get_twice(0, 0));first[1] = State::begin(&known.begun, s1[0].get_twice(0, 1));first[2] = State::begin(&known.begun, s1[0].get_twice(0, 2));first[3] = State::begin(&known.begun, s1[0].get_twice(0, 3));first[0].two(pair_of(k, 4));first[1].two(pair_of(k, 4));first[2].two(pair_of(k, 4));first[3].two(pair_of(k, 4));
e1 = add(splat(k[18]), a.first_word::<18>(known));
let o = add(splat(k[19]), a.first_word::<19>(known)); s1[1].put(0, e1, o);
first[0].two(pair_of(k, 6));first[1].two(pair_of(k, 6));first[2].two(pair_of(k, 6));first[3].two(pair_of(k, 6));
e1 = add(splat(k[20]), a.first_word::<20>(known));
first[0].two(pair_of(k, 8));first[1].two(pair_of(k, 8));first[2].two(pair_of(k, 8));first[3].two(pair_of(k, 8));
let o = add(splat(k[21]), a.first_word::<21>(known)); s1[1].put(1, e1, o);
first[0].two(pair_of(k, 10));first[1].two(pair_of(k, 10));first[2].two(pair_of(k, 10));first[3].two(pair_of(k, 10));
e1 = add(splat(k[22]), a.first_word::<22>(known));
first[0].two(pair_of(k, 12));first[1].two(pair_of(k, 12));first[2].two(pair_of(k, 12));first[3].two(pair_of(k, 12));
let o = add(splat(k[23]), a.first_word::<23>(known)); s1[1].put(2, e1, o);
first[0].two(pair_of(k, 14));first[1].two(pair_of(k, 14));first[2].two(pair_of(k, 14));first[3].two(pair_of(k, 14));
e1 = add(splat(k[24]), a.first_word::<24>(known));
first[0].two(pair_of(k, 16));first[1].two(pair_of(k, 16));first[2].two(pair_of(k, 16));first[3].two(pair_of(k, 16));
let o = add(splat(k[25]), a.first_word::<25>(known)); s1[1].put(3, e1, o);
first[4] = State::begin(&known.begun, s1[0].get_twice(0, 4));first[5] = State::begin(&known.begun, s1[0].get_twice(0, 5));first[6] = State::begin(&known.begun, s1[0].get_twice(0, 6));first[7] = State::begin(&known.begun, s1[0].get_twice(0, 7));first[4].two(pair_of(k, 4));first[5].two(pair_of(k, 4));first[6].two(pair_of(k, 4));first[7].two(pair_of(k, 4));
e1 = add(splat(k[26]), a.first_word::<26>(known));
let o = add(splat(k[27]), a.first_word::<27>(known)); s1[1].put(4, e1, o);
first[4].two(pair_of(k, 6));first[5].two(pair_of(k, 6));first[6].two(pair_of(k, 6));first[7].two(pair_of(k, 6));
e1 = add(splat(k[28]), a.first_word::<28>(known));
first[4].two(pair_of(k, 8));first[5].two(pair_of(k, 8));first[6].two(pair_of(k, 8));first[7].two(pair_of(k, 8));
let o = add(splat(k[29]), a.first_word::<29>(known)); s1[1].put(5, e1, o);
first[4].two(pair_of(k, 10));first[5].two(pair_of(k, 10));first[6].two(pair_of(k, 10));first[7].two(pair_of(k, 10));
e1 = add(splat(k[30]), a.first_word::<30>(known));
first[4].two(pair_of(k, 12));first[5].two(pair_of(k, 12));first[6].two(pair_of(k, 12));first[7].two(pair_of(k, 12));
let o = add(splat(k[31]), a.first_word::<31>(known)); s1[1].put(6, e1, o);
first[4].two(pair_of(k, 14));first[5].two(pair_of(k, 14));first[6].two(pair_of(k, 14));first[7].two(pair_of(k, 14));
e1 = add(splat(k[32]), a.first_word::<32>(known));
first[4].two(pair_of(k, 16));first[5].two(pair_of(k, 16));first[6].two(pair_of(k, 16));first[7].two(pair_of(k, 16));
let o = add(splat(k[33]), a.first_word::<33>(known)); s1[1].put(7, e1, o);
s1[1].hide();
second[0] = State::begin(begun, s2[0].get_twice(4, 0));second[1] = State::begin(begun, s2[0].get_twice(4, 1));second[2] = State::begin(begun, s2[0].get_twice(4, 2));second[3] = State::begin(begun, s2[0].get_twice(4, 3));second[0].two(s2[0].get(0, 0));second[1].two(s2[0].get(0, 1));second[2].two(s2[0].get(0, 2));second[3].two(s2[0].get(0, 3));
e2 = splat(k2[15]);
let o = add(splat(k2[16]), b.second_word::<16>()); s2[1].put(0, e2, o);
second[0].two(s2[0].get(1, 0));second[1].two(s2[0].get(1, 1));second[2].two(s2[0].get(1, 2));second[3].two(s2[0].get(1, 3));
e2 = add(splat(k2[17]), b.second_word::<17>());
second[0].two(s2[0].get(2, 0));second[1].two(s2[0].get(2, 1));second[2].two(s2[0].get(2, 2));second[3].two(s2[0].get(2, 3));
let o = add(splat(k2[18]), b.second_word::<18>()); s2[1].put(1, e2, o);
second[0].two(s2[0].get(3, 0));second[1].two(s2[0].get(3, 1));second[2].two(s2[0].get(3, 2));second[3].two(s2[0].get(3, 3));
e2 = add(splat(k2[19]), b.second_word::<19>());
second[0].two(pair_of(k2, 9));second[1].two(pair_of(k2, 9));second[2].two(pair_of(k2, 9));second[3].two(pair_of(k2, 9));
let o = add(splat(k2[20]), b.second_word::<20>()); s2[1].put(2, e2, o);
second[0].two(pair_of(k2, 11));second[1].two(pair_of(k2, 11));second[2].two(pair_of(k2, 11));second[3].two(pair_of(k2, 11));
e2 = add(splat(k2[21]), b.second_word::<21>());
second[0].two(pair_of(k2, 13));second[1].two(pair_of(k2, 13));second[2].two(pair_of(k2, 13));second[3].two(pair_of(k2, 13));
let o = add(splat(k2[22]), b.second_word::<22>()); s2[1].put(3, e2, o);
second[4] = State::begin(begun, s2[0].get_twice(4, 4));second[5] = State::begin(begun, s2[0].get_twice(4, 5));second[6] = State::begin(begun, s2[0].get_twice(4, 6));second[7] = State::begin(begun, s2[0].get_twice(4, 7));second[4].two(s2[0].get(0, 4));second[5].two(s2[0].get(0, 5));second[6].two(s2[0].get(0, 6));second[7].two(s2[0].get(0, 7));
e2 = add(splat(k2[23]), b.second_word::<23>());
let o = add(splat(k2[24]), b.second_word::<24>()); s2[1].put(4, e2, o);
second[4].two(s2[0].get(1, 4));second[5].two(s2[0].get(1, 5));second[6].two(s2[0].get(1, 6));second[7].two(s2[0].get(1, 7));
e2 = add(splat(k2[25]), b.second_word::<25>());
second[4].two(s2[0].get(2, 4));second[5].two(s2[0].get(2, 5));second[6].two(s2[0].get(2, 6));second[7].two(s2[0].get(2, 7));
let o = add(splat(k2[26]), b.second_word::<26>()); s2[1].put(5, e2, o);
second[4].two(s2[0].get(3, 4));second[5].two(s2[0].get(3, 5));second[6].two(s2[0].get(3, 6));second[7].two(s2[0].get(3, 7));
e2 = add(splat(k2[27]), b.second_word::<27>());
second[4].two(pair_of(k2, 9));second[5].two(pair_of(k2, 9));second[6].two(pair_of(k2, 9));second[7].two(pair_of(k2, 9));
let o = add(splat(k2[28]), b.second_word::<28>()); s2[1].put(6, e2, o);
second[4].two(pair_of(k2, 11));second[5].two(pair_of(k2, 11));second[6].two(pair_of(k2, 11));second[7].two(pair_of(k2, 11));
e2 = add(splat(k2[29]), b.second_word::<29>());
second[4].two(pair_of(k2, 13));second[5].two(pair_of(k2, 13));second[6].two(pair_of(k2, 13));second[7].two(pair_of(k2, 13));
let o = add(splat(k2[30]), b.second_word::<30>()); s2[1].put(7, e2, o);
s2[1].hide();
first[0].two(s1[1].get(0, 0));first[1].two(s1[1].get(0, 1));first[2].two(s1[1].get(0, 2));first[3].two(s1[1].get(0, 3));
e1 = add(splat(k[34]), a.first_word::<34>(known));
first[0].two(s1[1].get(1, 0));first[1].two(s1[1].get(1, 1));first[2].two(s1[1].get(1, 2));first[3].two(s1[1].get(1, 3));
let o = add(splat(k[35]), a.first_word::<35>(known)); s1[0].put(0, e1, o);
first[0].two(s1[1].get(2, 0));first[1].two(s1[1].get(2, 1));first[2].two(s1[1].get(2, 2));first[3].two(s1[1].get(2, 3));
e1 = add(splat(k[36]), a.first_word::<36>(known));
first[0].two(s1[1].get(3, 0));first[1].two(s1[1].get(3, 1));first[2].two(s1[1].get(3, 2));first[3].two(s1[1].get(3, 3));
let o = add(splat(k[37]), a.first_word::<37>(known)); s1[0].put(1, e1, o);
first[0].two(s1[1].get(4, 0));first[1].two(s1[1].get(4, 1));first[2].two(s1[1].get(4, 2));first[3].two(s1[1].get(4, 3));
e1 = add(splat(k[38]), a.first_word::<38>(known));
first[0].two(s1[1].get(5, 0));first[1].two(s1[1].get(5, 1));first[2].two(s1[1].get(5, 2));first[3].two(s1[1].get(5, 3));
let o = add(splat(k[39]), a.first_word::<39>(known)); s1[0].put(2, e1, o);
first[0].two(s1[1].get(6, 0));first[1].two(s1[1].get(6, 1));first[2].two(s1[1].get(6, 2));first[3].two(s1[1].get(6, 3));
e1 = add(splat(k[40]), a.first_word::<40>(known));
first[0].two(s1[1].get(7, 0));first[1].two(s1[1].get(7, 1));first[2].two(s1[1].get(7, 2));first[3].two(s1[1].get(7, 3));
let o = add(splat(k[41]), a.first_word::<41>(known)); s1[0].put(3, e1, o);
first[4].two(s1[1].get(0, 4));first[5].two(s1[1].get(0, 5));first[6].two(s1[1].get(0, 6));first[7].two(s1[1].get(0, 7));
e1 = add(splat(k[42]), a.first_word::<42>(known));
first[4].two(s1[1].get(1, 4));first[5].two(s1[1].get(1, 5));first[6].two(s1[1].get(1, 6));first[7].two(s1[1].get(1, 7));
let o = add(splat(k[43]), a.first_word::<43>(known)); s1[0].put(4, e1, o);
first[4].two(s1[1].get(2, 4));first[5].two(s1[1].get(2, 5));first[6].two(s1[1].get(2, 6));first[7].two(s1[1].get(2, 7));
e1 = add(splat(k[44]), a.first_word::<44>(known));
first[4].two(s1[1].get(3, 4));first[5].two(s1[1].get(3, 5));first[6].two(s1[1].get(3, 6));first[7].two(s1[1].get(3, 7));
let o = add(splat(k[45]), a.first_word::<45>(known)); s1[0].put(5, e1, o);
first[4].two(s1[1].get(4, 4));first[5].two(s1[1].get(4, 5));first[6].two(s1[1].get(4, 6));first[7].two(s1[1].get(4, 7));
e1 = add(splat(k[46]), a.first_word::<46>(known));
first[4].two(s1[1].get(5, 4));first[5].two(s1[1].get(5, 5));first[6].two(s1[1].get(5, 6));first[7].two(s1[1].get(5, 7));
let o = add(splat(k[47]), a.first_word::<47>(known)); s1[0].put(6, e1, o);
first[4].two(s1[1].get(6, 4));first[5].two(s1[1].get(6, 5));first[6].two(s1[1].get(6, 6));first[7].two(s1[1].get(6, 7));
e1 = add(splat(k[48]), a.first_word::<48>(known));
first[4].two(s1[1].get(7, 4));first[5].two(s1[1].get(7, 5));first[6].two(s1[1].get(7, 6));first[7].two(s1[1].get(7, 7));
let o = add(splat(k[49]), a.first_word::<49>(known)); s1[0].put(7, e1, o);
s1[0].hide();
second[0].two(s2[1].get(0, 0));second[1].two(s2[1].get(0, 1));second[2].two(s2[1].get(0, 2));second[3].two(s2[1].get(0, 3));
e2 = add(splat(k2[31]), b.second_word::<31>());
second[0].two(s2[1].get(1, 0));second[1].two(s2[1].get(1, 1));second[2].two(s2[1].get(1, 2));second[3].two(s2[1].get(1, 3));
let o = add(splat(k2[32]), b.second_word::<32>()); s2[0].put(0, e2, o);
second[0].two(s2[1].get(2, 0));second[1].two(s2[1].get(2, 1));second[2].two(s2[1].get(2, 2));second[3].two(s2[1].get(2, 3));
e2 = add(splat(k2[33]), b.second_word::<33>());
second[0].two(s2[1].get(3, 0));second[1].two(s2[1].get(3, 1));second[2].two(s2[1].get(3, 2));second[3].two(s2[1].get(3, 3));
let o = add(splat(k2[34]), b.second_word::<34>()); s2[0].put(1, e2, o);
second[0].two(s2[1].get(4, 0));second[1].two(s2[1].get(4, 1));second[2].two(s2[1].get(4, 2));second[3].two(s2[1].get(4, 3));
e2 = add(splat(k2[35]), b.second_word::<35>());
second[0].two(s2[1].get(5, 0));second[1].two(s2[1].get(5, 1));second[2].two(s2[1].get(5, 2));second[3].two(s2[1].get(5, 3));
let o = add(splat(k2[36]), b.second_word::<36>()); s2[0].put(2, e2, o);
second[0].two(s2[1].get(6, 0));second[1].two(s2[1].get(6, 1));second[2].two(s2[1].get(6, 2));second[3].two(s2[1].get(6, 3));
e2 = add(splat(k2[37]), b.second_word::<37>());
second[0].two(s2[1].get(7, 0));second[1].two(s2[1].get(7, 1));second[2].two(s2[1].get(7, 2));second[3].two(s2[1].get(7, 3));
let o = add(splat(k2[38]), b.second_word::<38>()); s2[0].put(3, e2, o);
second[4].two(s2[1].get(0, 4));second[5].two(s2[1].get(0, 5));second[6].two(s2[1].get(0, 6));second[7].two(s2[1].get(0, 7));
e2 = add(splat(k2[39]), b.second_word::<39>());
second[4].two(s2[1].get(1, 4));second[5].two(s2[1].get(1, 5));second[6].two(s2[1].get(1, 6));second[7].two(s2[1].get(1, 7));
let o = add(splat(k2[40]), b.second_word::<40>()); s2[0].put(4, e2, o);
second[4].two(s2[1].get(2, 4));second[5].two(s2[1].get(2, 5));second[6].two(s2[1].get(2, 6));second[7].two(s2[1].get(2, 7));
e2 = add(splat(k2[41]), b.second_word::<41>());
second[4].two(s2[1].get(3, 4));second[5].two(s2[1].get(3, 5));second[6].two(s2[1].get(3, 6));second[7].two(s2[1].get(3, 7));
let o = add(splat(k2[42]), b.second_word::<42>()); s2[0].put(5, e2, o);
second[4].two(s2[1].get(4, 4));second[5].two(s2[1].get(4, 5));second[6].two(s2[1].get(4, 6));second[7].two(s2[1].get(4, 7));
e2 = add(splat(k2[43]), b.second_word::<43>());
second[4].two(s2[1].get(5, 4));second[5].two(s2[1].get(5, 5));second[6].two(s2[1].get(5, 6));second[7].two(s2[1].get(5, 7));
let o = add(splat(k2[44]), b.second_word::<44>()); s2[0].put(6, e2, o);
second[4].two(s2[1].get(6, 4));second[5].two(s2[1].get(6, 5));second[6].two(s2[1].get(6, 6));second[7].two(s2[1].get(6, 7));
e2 = add(splat(k2[45]), b.second_word::<45>());
second[4].two(s2[1].get(7, 4));second[5].two(s2[1].get(7, 5));second[6].two(s2[1].get(7, 6));second[7].two(s2[1].get(7, 7));
let o = add(splat(k2[46]), b.second_word::<46>()); s2[0].put(7, e2, o);
s2[0].hide();
first[0].two(s1[0].get(0, 0));first[1].two(s1[0].get(0, 1));first[2].two(s1[0].get(0, 2));first[3].two(s1[0].get(0, 3));
e1 = add(splat(k[50]), a.first_word::<50>(known));
first[0].two(s1[0].get(1, 0));first[1].two(s1[0].get(1, 1));first[2].two(s1[0].get(1, 2));first[3].two(s1[0].get(1, 3));
let o = add(splat(k[51]), a.first_word::<51>(known)); s1[1].put(0, e1, o);
first[0].two(s1[0].get(2, 0));first[1].two(s1[0].get(2, 1));first[2].two(s1[0].get(2, 2));first[3].two(s1[0].get(2, 3));
e1 = add(splat(k[52]), a.first_word::<52>(known));
first[0].two(s1[0].get(3, 0));first[1].two(s1[0].get(3, 1));first[2].two(s1[0].get(3, 2));first[3].two(s1[0].get(3, 3));
let o = add(splat(k[53]), a.first_word::<53>(known)); s1[1].put(1, e1, o);
first[0].two(s1[0].get(4, 0));first[1].two(s1[0].get(4, 1));first[2].two(s1[0].get(4, 2));first[3].two(s1[0].get(4, 3));
e1 = add(splat(k[54]), a.first_word::<54>(known));
first[0].two(s1[0].get(5, 0));first[1].two(s1[0].get(5, 1));first[2].two(s1[0].get(5, 2));first[3].two(s1[0].get(5, 3));
let o = add(splat(k[55]), a.first_word::<55>(known)); s1[1].put(2, e1, o);
first[0].two(s1[0].get(6, 0));first[1].two(s1[0].get(6, 1));first[2].two(s1[0].get(6, 2));first[3].two(s1[0].get(6, 3));
e1 = add(splat(k[56]), a.first_word::<56>(known));
first[0].two(s1[0].get(7, 0));first[1].two(s1[0].get(7, 1));first[2].two(s1[0].get(7, 2));first[3].two(s1[0].get(7, 3));
first[4].two(s1[0].get(0, 4));first[5].two(s1[0].get(0, 5));first[6].two(s1[0].get(0, 6));first[7].two(s1[0].get(0, 7));
let o = add(splat(k[57]), a.first_word::<57>(known)); s1[1].put(3, e1, o);
first[4].two(s1[0].get(1, 4));first[5].two(s1[0].get(1, 5));first[6].two(s1[0].get(1, 6));first[7].two(s1[0].get(1, 7));
e1 = add(splat(k[58]), a.first_word::<58>(known));
first[4].two(s1[0].get(2, 4));first[5].two(s1[0].get(2, 5));first[6].two(s1[0].get(2, 6));first[7].two(s1[0].get(2, 7));
let o = add(splat(k[59]), a.first_word::<59>(known)); s1[1].put(4, e1, o);
first[4].two(s1[0].get(3, 4));first[5].two(s1[0].get(3, 5));first[6].two(s1[0].get(3, 6));first[7].two(s1[0].get(3, 7));
e1 = add(splat(k[60]), a.first_word::<60>(known));
first[4].two(s1[0].get(4, 4));first[5].two(s1[0].get(4, 5));first[6].two(s1[0].get(4, 6));first[7].two(s1[0].get(4, 7));
let o = add(splat(k[61]), a.first_word::<61>(known)); s1[1].put(5, e1, o);
first[4].two(s1[0].get(5, 4));first[5].two(s1[0].get(5, 5));first[6].two(s1[0].get(5, 6));first[7].two(s1[0].get(5, 7));
e1 = add(splat(k[62]), a.first_word::<62>(known));
first[4].two(s1[0].get(6, 4));first[5].two(s1[0].get(6, 5));first[6].two(s1[0].get(6, 6));first[7].two(s1[0].get(6, 7));
let o = add(splat(k[63]), a.first_word::<63>(known)); s1[1].put(6, e1, o);
first[4].two(s1[0].get(7, 4));first[5].two(s1[0].get(7, 5));first[6].two(s1[0].get(7, 6));first[7].two(s1[0].get(7, 7));
s1[1].hide();
second[0].two(s2[0].get(0, 0));second[1].two(s2[0].get(0, 1));second[2].two(s2[0].get(0, 2));second[3].two(s2[0].get(0, 3));
e2 = add(splat(k2[47]), b.second_word::<47>());
second[0].two(s2[0].get(1, 0));second[1].two(s2[0].get(1, 1));second[2].two(s2[0].get(1, 2));second[3].two(s2[0].get(1, 3));
let o = add(splat(k2[48]), b.second_word::<48>()); s2[1].put(0, e2, o);
second[0].two(s2[0].get(2, 0));second[1].two(s2[0].get(2, 1));second[2].two(s2[0].get(2, 2));second[3].two(s2[0].get(2, 3));
e2 = add(splat(k2[49]), b.second_word::<49>());
second[0].two(s2[0].get(3, 0));second[1].two(s2[0].get(3, 1));second[2].two(s2[0].get(3, 2));second[3].two(s2[0].get(3, 3));
let o = add(splat(k2[50]), b.second_word::<50>()); s2[1].put(1, e2, o);
second[0].two(s2[0].get(4, 0));second[1].two(s2[0].get(4, 1));second[2].two(s2[0].get(4, 2));second[3].two(s2[0].get(4, 3));
e2 = add(splat(k2[51]), b.second_word::<51>());
second[0].two(s2[0].get(5, 0));second[1].two(s2[0].get(5, 1));second[2].two(s2[0].get(5, 2));second[3].two(s2[0].get(5, 3));
let o = add(splat(k2[52]), b.second_word::<52>()); s2[1].put(2, e2, o);
second[0].two(s2[0].get(6, 0));second[1].two(s2[0].get(6, 1));second[2].two(s2[0].get(6, 2));second[3].two(s2[0].get(6, 3));
e2 = add(splat(k2[53]), b.second_word::<53>());
second[0].two(s2[0].get(7, 0));second[1].two(s2[0].get(7, 1));second[2].two(s2[0].get(7, 2));second[3].two(s2[0].get(7, 3));
second[4].two(s2[0].get(0, 4));second[5].two(s2[0].get(0, 5));second[6].two(s2[0].get(0, 6));second[7].two(s2[0].get(0, 7));
let o = add(splat(k2[54]), b.second_word::<54>()); s2[1].put(3, e2, o);
second[4].two(s2[0].get(1, 4));second[5].two(s2[0].get(1, 5));second[6].two(s2[0].get(1, 6));second[7].two(s2[0].get(1, 7));
e2 = add(splat(k2[55]), b.second_word::<55>());
second[4].two(s2[0].get(2, 4));second[5].two(s2[0].get(2, 5));second[6].two(s2[0].get(2, 6));second[7].two(s2[0].get(2, 7));
let o = add(splat(k2[56]), b.second_word::<56>()); s2[1].put(4, e2, o);
second[4].two(s2[0].get(3, 4));second[5].two(s2[0].get(3, 5));second[6].two(s2[0].get(3, 6));second[7].two(s2[0].get(3, 7));
e2 = add(splat(k2[57]), b.second_word::<57>());
second[4].two(s2[0].get(4, 4));second[5].two(s2[0].get(4, 5));second[6].two(s2[0].get(4, 6));second[7].two(s2[0].get(4, 7));
let o = add(splat(k2[58]), b.second_word::<58>()); s2[1].put(5, e2, o);
second[4].two(s2[0].get(5, 4));second[5].two(s2[0].get(5, 5));second[6].two(s2[0].get(5, 6));second[7].two(s2[0].get(5, 7));
e2 = add(splat(k2[59]), b.second_word::<59>());
second[4].two(s2[0].get(6, 4));second[5].two(s2[0].get(6, 5));second[6].two(s2[0].get(6, 6));second[7].two(s2[0].get(6, 7));
let o = add(splat(k2[60]), b.second_word::<60>()); s2[1].put(6, e2, o);
second[4].two(s2[0].get(7, 4));second[5].two(s2[0].get(7, 5));second[6].two(s2[0].get(7, 6));second[7].two(s2[0].get(7, 7));
s2[1].hide();
first[0].two(s1[1].get(0, 0));first[1].two(s1[1].get(0, 1));first[2].two(s1[1].get(0, 2));first[3].two(s1[1].get(0, 3));
first[0].two(s1[1].get(1, 0));first[1].two(s1[1].get(1, 1));first[2].two(s1[1].get(1, 2));first[3].two(s1[1].get(1, 3));
first[0].two(s1[1].get(2, 0));first[1].two(s1[1].get(2, 1));first[2].two(s1[1].get(2, 2));first[3].two(s1[1].get(2, 3));
first[0].two(s1[1].get(3, 0));first[1].two(s1[1].get(3, 1));first[2].two(s1[1].get(3, 2));first[3].two(s1[1].get(3, 3));
first[0].two(s1[1].get(4, 0));first[1].two(s1[1].get(4, 1));first[2].two(s1[1].get(4, 2));first[3].two(s1[1].get(4, 3));
first[0].two(s1[1].get(5, 0));first[1].two(s1[1].get(5, 1));first[2].two(s1[1].get(5, 2));first[3].two(s1[1].get(5, 3));
first[0].two(s1[1].get(6, 0));first[1].two(s1[1].get(6, 1));first[2].two(s1[1].get(6, 2));first[3].two(s1[1].get(6, 3));
first[4].two(s1[1].get(0, 4));first[5].two(s1[1].get(0, 5));first[6].two(s1[1].get(0, 6));first[7].two(s1[1].get(0, 7));
first[4].two(s1[1].get(1, 4));first[5].two(s1[1].get(1, 5));first[6].two(s1[1].get(1, 6));first[7].two(s1[1].get(1, 7));
first[4].two(s1[1].get(2, 4));first[5].two(s1[1].get(2, 5));first[6].two(s1[1].get(2, 6));first[7].two(s1[1].get(2, 7));
first[4].two(s1[1].get(3, 4));first[5].two(s1[1].get(3, 5));first[6].two(s1[1].get(3, 6));first[7].two(s1[1].get(3, 7));
first[4].two(s1[1].get(4, 4));first[5].two(s1[1].get(4, 5));first[6].two(s1[1].get(4, 6));first[7].two(s1[1].get(4, 7));
first[4].two(s1[1].get(5, 4));first[5].two(s1[1].get(5, 5));first[6].two(s1[1].get(5, 6));first[7].two(s1[1].get(5, 7));
first[4].two(s1[1].get(6, 4));first[5].two(s1[1].get(6, 5));first[6].two(s1[1].get(6, 6));first[7].two(s1[1].get(6, 7));
second[0].two(s2[1].get(0, 0));second[1].two(s2[1].get(0, 1));second[2].two(s2[1].get(0, 2));second[3].two(s2[1].get(0, 3));
second[0].two(s2[1].get(1, 0));second[1].two(s2[1].get(1, 1));second[2].two(s2[1].get(1, 2));second[3].two(s2[1].get(1, 3));
second[0].two(s2[1].get(2, 0));second[1].two(s2[1].get(2, 1));second[2].two(s2[1].get(2, 2));second[3].two(s2[1].get(2, 3));
second[0].two(s2[1].get(3, 0));second[1].two(s2[1].get(3, 1));second[2].two(s2[1].get(3, 2));second[3].two(s2[1].get(3, 3));
second[0].two(s2[1].get(4, 0));second[1].two(s2[1].get(4, 1));second[2].two(s2[1].get(4, 2));second[3].two(s2[1].get(4, 3));
second[0].two(s2[1].get(5, 0));second[1].two(s2[1].get(5, 1));second[2].two(s2[1].get(5, 2));second[3].two(s2[1].get(5, 3));
second[0].two(s2[1].get(6, 0));second[1].two(s2[1].get(6, 1));second[2].two(s2[1].get(6, 2));second[3].two(s2[1].get(6, 3));
second[4].two(s2[1].get(0, 4));second[5].two(s2[1].get(0, 5));second[6].two(s2[1].get(0, 6));second[7].two(s2[1].get(0, 7));
second[4].two(s2[1].get(1, 4));second[5].two(s2[1].get(1, 5));second[6].two(s2[1].get(1, 6));second[7].two(s2[1].get(1, 7));
second[4].two(s2[1].get(2, 4));second[5].two(s2[1].get(2, 5));second[6].two(s2[1].get(2, 6));second[7].two(s2[1].get(2, 7));
second[4].two(s2[1].get(3, 4));second[5].two(s2[1].get(3, 5));second[6].two(s2[1].get(3, 6));second[7].two(s2[1].get(3, 7));
second[4].two(s2[1].get(4, 4));second[5].two(s2[1].get(4, 5));second[6].two(s2[1].get(4, 6));second[7].two(s2[1].get(4, 7));
second[4].two(s2[1].get(5, 4));second[5].two(s2[1].get(5, 5));second[6].two(s2[1].get(5, 6));second[7].two(s2[1].get(5, 7));
second[4].two(s2[1].get(6, 4));second[5].two(s2[1].get(6, 5));second[6].two(s2[1].get(6, 6));second[7].two(s2[1].get(6, 7));
        let [_, e, _, _] = rows(second.map(|s| s.abef));
        let hits = at_most(swap_bytes(e), limit);
        if hits != 0 {
            found.push(group, hits);
        }
        dig = digest(&first, known);
        nonce = add(nonce, splat(LANES as u32));
    }
}
}; }
macro_rules! scan16 { ($f:literal) => {
#[target_feature(enable = $f)]
fn scan_groups(known: &First, limit: u32, mut found: Found<'_, {LANES as u32}>) {
    let mut nonce = add(splat(found.first()), numbers());
    let zero = State { abef: _mm_setzero_si128(), cdgh: _mm_setzero_si128() };
    let mut first = [zero; LANES];
    let mut second = [zero; LANES];
    let mut s1 = [Sums([[0; LANES]; 8]); 2];
    let mut s2 = [Sums([[0; LANES]; 8]); 2];
    let mut dig = [splat(0); 8];
    for group in -1..found.groups() {
        let (known, begun) = (black_box(known), black_box(&SECOND));
        let k = &known.begun.constants;
        let k2 = &begun.constants;
        let word = swap_bytes(nonce);
        let mut a = Schedule::first(word);
        s1[0].put(0, splat(0), word);
        let mut b = Schedule::second(dig);
        let mut e1; let mut e2;
s1[0].hide();
s2[0].put(4, splat(0), dig[0]);
s2[0].put(0, add(splat(k2[1]), dig[1]), add(splat(k2[2]), dig[2]));
s2[0].put(1, add(splat(k2[3]), dig[3]), add(splat(k2[4]), dig[4]));
s2[0].put(2, add(splat(k2[5]), dig[5]), add(splat(k2[6]), dig[6]));
s2[0].put(3, add(splat(k2[7]), dig[7]), splat(k2[8]));
s2[0].hide();
first[0] = State::begin(&known.begun, s1[0].get_twice(0, 0));first[1] = State::begin(&known.begun, s1[0].get_twice(0, 1));first[2] = State::begin(&known.begun, s1[0].get_twice(0, 2));first[3] = State::begin(&known.begun, s1[0].get_twice(0, 3));first[0].two(pair_of(k, 4));first[1].two(pair_of(k, 4));first[2].two(pair_of(k, 4));first[3].two(pair_of(k, 4));
e1 = add(splat(k[18]), a.first_word::<18>(known));
first[0].two(pair_of(k, 6));first[1].two(pair_of(k, 6));first[2].two(pair_of(k, 6));first[3].two(pair_of(k, 6));
let o = add(splat(k[19]), a.first_word::<19>(known)); s1[1].put(0, e1, o);
first[0].two(pair_of(k, 8));first[1].two(pair_of(k, 8));first[2].two(pair_of(k, 8));first[3].two(pair_of(k, 8));
first[0].two(pair_of(k, 10));first[1].two(pair_of(k, 10));first[2].two(pair_of(k, 10));first[3].two(pair_of(k, 10));
e1 = add(splat(k[20]), a.first_word::<20>(known));
first[0].two(pair_of(k, 12));first[1].two(pair_of(k, 12));first[2].two(pair_of(k, 12));first[3].two(pair_of(k, 12));
first[0].two(pair_of(k, 14));first[1].two(pair_of(k, 14));first[2].two(pair_of(k, 14));first[3].two(pair_of(k, 14));
let o = add(splat(k[21]), a.first_word::<21>(known)); s1[1].put(1, e1, o);
first[0].two(pair_of(k, 16));first[1].two(pair_of(k, 16));first[2].two(pair_of(k, 16));first[3].two(pair_of(k, 16));
first[4] = State::begin(&known.begun, s1[0].get_twice(0, 4));first[5] = State::begin(&known.begun, s1[0].get_twice(0, 5));first[6] = State::begin(&known.begun, s1[0].get_twice(0, 6));first[7] = State::begin(&known.begun, s1[0].get_twice(0, 7));first[4].two(pair_of(k, 4));first[5].two(pair_of(k, 4));first[6].two(pair_of(k, 4));first[7].two(pair_of(k, 4));
e1 = add(splat(k[22]), a.first_word::<22>(known));
first[4].two(pair_of(k, 6));first[5].two(pair_of(k, 6));first[6].two(pair_of(k, 6));first[7].two(pair_of(k, 6));
let o = add(splat(k[23]), a.first_word::<23>(known)); s1[1].put(2, e1, o);
first[4].two(pair_of(k, 8));first[5].two(pair_of(k, 8));first[6].two(pair_of(k, 8));first[7].two(pair_of(k, 8));
first[4].two(pair_of(k, 10));first[5].two(pair_of(k, 10));first[6].two(pair_of(k, 10));first[7].two(pair_of(k, 10));
e1 = add(splat(k[24]), a.first_word::<24>(known));
first[4].two(pair_of(k, 12));first[5].two(pair_of(k, 12));first[6].two(pair_of(k, 12));first[7].two(pair_of(k, 12));
first[4].two(pair_of(k, 14));first[5].two(pair_of(k, 14));first[6].two(pair_of(k, 14));first[7].two(pair_of(k, 14));
let o = add(splat(k[25]), a.first_word::<25>(known)); s1[1].put(3, e1, o);
first[4].two(pair_of(k, 16));first[5].two(pair_of(k, 16));first[6].two(pair_of(k, 16));first[7].two(pair_of(k, 16));
first[8] = State::begin(&known.begun, s1[0].get_twice(0, 8));first[9] = State::begin(&known.begun, s1[0].get_twice(0, 9));first[10] = State::begin(&known.begun, s1[0].get_twice(0, 10));first[11] = State::begin(&known.begun, s1[0].get_twice(0, 11));first[8].two(pair_of(k, 4));first[9].two(pair_of(k, 4));first[10].two(pair_of(k, 4));first[11].two(pair_of(k, 4));
e1 = add(splat(k[26]), a.first_word::<26>(known));
first[8].two(pair_of(k, 6));first[9].two(pair_of(k, 6));first[10].two(pair_of(k, 6));first[11].two(pair_of(k, 6));
let o = add(splat(k[27]), a.first_word::<27>(known)); s1[1].put(4, e1, o);
first[8].two(pair_of(k, 8));first[9].two(pair_of(k, 8));first[10].two(pair_of(k, 8));first[11].two(pair_of(k, 8));
first[8].two(pair_of(k, 10));first[9].two(pair_of(k, 10));first[10].two(pair_of(k, 10));first[11].two(pair_of(k, 10));
e1 = add(splat(k[28]), a.first_word::<28>(known));
first[8].two(pair_of(k, 12));first[9].two(pair_of(k, 12));first[10].two(pair_of(k, 12));first[11].two(pair_of(k, 12));
first[8].two(pair_of(k, 14));first[9].two(pair_of(k, 14));first[10].two(pair_of(k, 14));first[11].two(pair_of(k, 14));
let o = add(splat(k[29]), a.first_word::<29>(known)); s1[1].put(5, e1, o);
first[8].two(pair_of(k, 16));first[9].two(pair_of(k, 16));first[10].two(pair_of(k, 16));first[11].two(pair_of(k, 16));
first[12] = State::begin(&known.begun, s1[0].get_twice(0, 12));first[13] = State::begin(&known.begun, s1[0].get_twice(0, 13));first[14] = State::begin(&known.begun, s1[0].get_twice(0, 14));first[15] = State::begin(&known.begun, s1[0].get_twice(0, 15));first[12].two(pair_of(k, 4));first[13].two(pair_of(k, 4));first[14].two(pair_of(k, 4));first[15].two(pair_of(k, 4));
e1 = add(splat(k[30]), a.first_word::<30>(known));
first[12].two(pair_of(k, 6));first[13].two(pair_of(k, 6));first[14].two(pair_of(k, 6));first[15].two(pair_of(k, 6));
let o = add(splat(k[31]), a.first_word::<31>(known)); s1[1].put(6, e1, o);
first[12].two(pair_of(k, 8));first[13].two(pair_of(k, 8));first[14].two(pair_of(k, 8));first[15].two(pair_of(k, 8));
first[12].two(pair_of(k, 10));first[13].two(pair_of(k, 10));first[14].two(pair_of(k, 10));first[15].two(pair_of(k, 10));
e1 = add(splat(k[32]), a.first_word::<32>(known));
first[12].two(pair_of(k, 12));first[13].two(pair_of(k, 12));first[14].two(pair_of(k, 12));first[15].two(pair_of(k, 12));
first[12].two(pair_of(k, 14));first[13].two(pair_of(k, 14));first[14].two(pair_of(k, 14));first[15].two(pair_of(k, 14));
let o = add(splat(k[33]), a.first_word::<33>(known)); s1[1].put(7, e1, o);
first[12].two(pair_of(k, 16));first[13].two(pair_of(k, 16));first[14].two(pair_of(k, 16));first[15].two(pair_of(k, 16));
s1[1].hide();
second[0] = State::begin(begun, s2[0].get_twice(4, 0));second[1] = State::begin(begun, s2[0].get_twice(4, 1));second[2] = State::begin(begun, s2[0].get_twice(4, 2));second[3] = State::begin(begun, s2[0].get_twice(4, 3));second[0].two(s2[0].get(0, 0));second[1].two(s2[0].get(0, 1));second[2].two(s2[0].get(0, 2));second[3].two(s2[0].get(0, 3));
e2 = splat(k2[15]);
second[0].two(s2[0].get(1, 0));second[1].two(s2[0].get(1, 1));second[2].two(s2[0].get(1, 2));second[3].two(s2[0].get(1, 3));
let o = add(splat(k2[16]), b.second_word::<16>()); s2[1].put(0, e2, o);
second[0].two(s2[0].get(2, 0));second[1].two(s2[0].get(2, 1));second[2].two(s2[0].get(2, 2));second[3].two(s2[0].get(2, 3));
second[0].two(s2[0].get(3, 0));second[1].two(s2[0].get(3, 1));second[2].two(s2[0].get(3, 2));second[3].two(s2[0].get(3, 3));
e2 = add(splat(k2[17]), b.second_word::<17>());
second[0].two(pair_of(k2, 9));second[1].two(pair_of(k2, 9));second[2].two(pair_of(k2, 9));second[3].two(pair_of(k2, 9));
second[0].two(pair_of(k2, 11));second[1].two(pair_of(k2, 11));second[2].two(pair_of(k2, 11));second[3].two(pair_of(k2, 11));
let o = add(splat(k2[18]), b.second_word::<18>()); s2[1].put(1, e2, o);
second[0].two(pair_of(k2, 13));second[1].two(pair_of(k2, 13));second[2].two(pair_of(k2, 13));second[3].two(pair_of(k2, 13));
second[4] = State::begin(begun, s2[0].get_twice(4, 4));second[5] = State::begin(begun, s2[0].get_twice(4, 5));second[6] = State::begin(begun, s2[0].get_twice(4, 6));second[7] = State::begin(begun, s2[0].get_twice(4, 7));second[4].two(s2[0].get(0, 4));second[5].two(s2[0].get(0, 5));second[6].two(s2[0].get(0, 6));second[7].two(s2[0].get(0, 7));
e2 = add(splat(k2[19]), b.second_word::<19>());
second[4].two(s2[0].get(1, 4));second[5].two(s2[0].get(1, 5));second[6].two(s2[0].get(1, 6));second[7].two(s2[0].get(1, 7));
let o = add(splat(k2[20]), b.second_word::<20>()); s2[1].put(2, e2, o);
second[4].two(s2[0].get(2, 4));second[5].two(s2[0].get(2, 5));second[6].two(s2[0].get(2, 6));second[7].two(s2[0].get(2, 7));
second[4].two(s2[0].get(3, 4));second[5].two(s2[0].get(3, 5));second[6].two(s2[0].get(3, 6));second[7].two(s2[0].get(3, 7));
e2 = add(splat(k2[21]), b.second_word::<21>());
second[4].two(pair_of(k2, 9));second[5].two(pair_of(k2, 9));second[6].two(pair_of(k2, 9));second[7].two(pair_of(k2, 9));
second[4].two(pair_of(k2, 11));second[5].two(pair_of(k2, 11));second[6].two(pair_of(k2, 11));second[7].two(pair_of(k2, 11));
let o = add(splat(k2[22]), b.second_word::<22>()); s2[1].put(3, e2, o);
second[4].two(pair_of(k2, 13));second[5].two(pair_of(k2, 13));second[6].two(pair_of(k2, 13));second[7].two(pair_of(k2, 13));
second[8] = State::begin(begun, s2[0].get_twice(4, 8));second[9] = State::begin(begun, s2[0].get_twice(4, 9));second[10] = State::begin(begun, s2[0].get_twice(4, 10));second[11] = State::begin(begun, s2[0].get_twice(4, 11));second[8].two(s2[0].get(0, 8));second[9].two(s2[0].get(0, 9));second[10].two(s2[0].get(0, 10));second[11].two(s2[0].get(0, 11));
e2 = add(splat(k2[23]), b.second_word::<23>());
second[8].two(s2[0].get(1, 8));second[9].two(s2[0].get(1, 9));second[10].two(s2[0].get(1, 10));second[11].two(s2[0].get(1, 11));
let o = add(splat(k2[24]), b.second_word::<24>()); s2[1].put(4, e2, o);
second[8].two(s2[0].get(2, 8));second[9].two(s2[0].get(2, 9));second[10].two(s2[0].get(2, 10));second[11].two(s2[0].get(2, 11));
second[8].two(s2[0].get(3, 8));second[9].two(s2[0].get(3, 9));second[10].two(s2[0].get(3, 10));second[11].two(s2[0].get(3, 11));
e2 = add(splat(k2[25]), b.second_word::<25>());
second[8].two(pair_of(k2, 9));second[9].two(pair_of(k2, 9));second[10].two(pair_of(k2, 9));second[11].two(pair_of(k2, 9));
second[8].two(pair_of(k2, 11));second[9].two(pair_of(k2, 11));second[10].two(pair_of(k2, 11));second[11].two(pair_of(k2, 11));
let o = add(splat(k2[26]), b.second_word::<26>()); s2[1].put(5, e2, o);
second[8].two(pair_of(k2, 13));second[9].two(pair_of(k2, 13));second[10].two(pair_of(k2, 13));second[11].two(pair_of(k2, 13));
second[12] = State::begin(begun, s2[0].get_twice(4, 12));second[13] = State::begin(begun, s2[0].get_twice(4, 13));second[14] = State::begin(begun, s2[0].get_twice(4, 14));second[15] = State::begin(begun, s2[0].get_twice(4, 15));second[12].two(s2[0].get(0, 12));second[13].two(s2[0].get(0, 13));second[14].two(s2[0].get(0, 14));second[15].two(s2[0].get(0, 15));
e2 = add(splat(k2[27]), b.second_word::<27>());
second[12].two(s2[0].get(1, 12));second[13].two(s2[0].get(1, 13));second[14].two(s2[0].get(1, 14));second[15].two(s2[0].get(1, 15));
let o = add(splat(k2[28]), b.second_word::<28>()); s2[1].put(6, e2, o);
second[12].two(s2[0].get(2, 12));second[13].two(s2[0].get(2, 13));second[14].two(s2[0].get(2, 14));second[15].two(s2[0].get(2, 15));
second[12].two(s2[0].get(3, 12));second[13].two(s2[0].get(3, 13));second[14].two(s2[0].get(3, 14));second[15].two(s2[0].get(3, 15));
e2 = add(splat(k2[29]), b.second_word::<29>());
second[12].two(pair_of(k2, 9));second[13].two(pair_of(k2, 9));second[14].two(pair_of(k2, 9));second[15].two(pair_of(k2, 9));
second[12].two(pair_of(k2, 11));second[13].two(pair_of(k2, 11));second[14].two(pair_of(k2, 11));second[15].two(pair_of(k2, 11));
let o = add(splat(k2[30]), b.second_word::<30>()); s2[1].put(7, e2, o);
second[12].two(pair_of(k2, 13));second[13].two(pair_of(k2, 13));second[14].two(pair_of(k2, 13));second[15].two(pair_of(k2, 13));
s2[1].hide();
first[0].two(s1[1].get(0, 0));first[1].two(s1[1].get(0, 1));first[2].two(s1[1].get(0, 2));first[3].two(s1[1].get(0, 3));
e1 = add(splat(k[34]), a.first_word::<34>(known));
first[0].two(s1[1].get(1, 0));first[1].two(s1[1].get(1, 1));first[2].two(s1[1].get(1, 2));first[3].two(s1[1].get(1, 3));
first[0].two(s1[1].get(2, 0));first[1].two(s1[1].get(2, 1));first[2].two(s1[1].get(2, 2));first[3].two(s1[1].get(2, 3));
let o = add(splat(k[35]), a.first_word::<35>(known)); s1[0].put(0, e1, o);
first[0].two(s1[1].get(3, 0));first[1].two(s1[1].get(3, 1));first[2].two(s1[1].get(3, 2));first[3].two(s1[1].get(3, 3));
first[0].two(s1[1].get(4, 0));first[1].two(s1[1].get(4, 1));first[2].two(s1[1].get(4, 2));first[3].two(s1[1].get(4, 3));
e1 = add(splat(k[36]), a.first_word::<36>(known));
first[0].two(s1[1].get(5, 0));first[1].two(s1[1].get(5, 1));first[2].two(s1[1].get(5, 2));first[3].two(s1[1].get(5, 3));
first[0].two(s1[1].get(6, 0));first[1].two(s1[1].get(6, 1));first[2].two(s1[1].get(6, 2));first[3].two(s1[1].get(6, 3));
let o = add(splat(k[37]), a.first_word::<37>(known)); s1[0].put(1, e1, o);
first[0].two(s1[1].get(7, 0));first[1].two(s1[1].get(7, 1));first[2].two(s1[1].get(7, 2));first[3].two(s1[1].get(7, 3));
first[4].two(s1[1].get(0, 4));first[5].two(s1[1].get(0, 5));first[6].two(s1[1].get(0, 6));first[7].two(s1[1].get(0, 7));
e1 = add(splat(k[38]), a.first_word::<38>(known));
first[4].two(s1[1].get(1, 4));first[5].two(s1[1].get(1, 5));first[6].two(s1[1].get(1, 6));first[7].two(s1[1].get(1, 7));
first[4].two(s1[1].get(2, 4));first[5].two(s1[1].get(2, 5));first[6].two(s1[1].get(2, 6));first[7].two(s1[1].get(2, 7));
let o = add(splat(k[39]), a.first_word::<39>(known)); s1[0].put(2, e1, o);
first[4].two(s1[1].get(3, 4));first[5].two(s1[1].get(3, 5));first[6].two(s1[1].get(3, 6));first[7].two(s1[1].get(3, 7));
first[4].two(s1[1].get(4, 4));first[5].two(s1[1].get(4, 5));first[6].two(s1[1].get(4, 6));first[7].two(s1[1].get(4, 7));
e1 = add(splat(k[40]), a.first_word::<40>(known));
first[4].two(s1[1].get(5, 4));first[5].two(s1[1].get(5, 5));first[6].two(s1[1].get(5, 6));first[7].two(s1[1].get(5, 7));
first[4].two(s1[1].get(6, 4));first[5].two(s1[1].get(6, 5));first[6].two(s1[1].get(6, 6));first[7].two(s1[1].get(6, 7));
let o = add(splat(k[41]), a.first_word::<41>(known)); s1[0].put(3, e1, o);
first[4].two(s1[1].get(7, 4));first[5].two(s1[1].get(7, 5));first[6].two(s1[1].get(7, 6));first[7].two(s1[1].get(7, 7));
first[8].two(s1[1].get(0, 8));first[9].two(s1[1].get(0, 9));first[10].two(s1[1].get(0, 10));first[11].two(s1[1].get(0, 11));
e1 = add(splat(k[42]), a.first_word::<42>(known));
first[8].two(s1[1].get(1, 8));first[9].two(s1[1].get(1, 9));first[10].two(s1[1].get(1, 10));first[11].two(s1[1].get(1, 11));
first[8].two(s1[1].get(2, 8));first[9].two(s1[1].get(2, 9));first[10].two(s1[1].get(2, 10));first[11].two(s1[1].get(2, 11));
let o = add(splat(k[43]), a.first_word::<43>(known)); s1[0].put(4, e1, o);
first[8].two(s1[1].get(3, 8));first[9].two(s1[1].get(3, 9));first[10].two(s1[1].get(3, 10));first[11].two(s1[1].get(3, 11));
first[8].two(s1[1].get(4, 8));first[9].two(s1[1].get(4, 9));first[10].two(s1[1].get(4, 10));first[11].two(s1[1].get(4, 11));
e1 = add(splat(k[44]), a.first_word::<44>(known));
first[8].two(s1[1].get(5, 8));first[9].two(s1[1].get(5, 9));first[10].two(s1[1].get(5, 10));first[11].two(s1[1].get(5, 11));
first[8].two(s1[1].get(6, 8));first[9].two(s1[1].get(6, 9));first[10].two(s1[1].get(6, 10));first[11].two(s1[1].get(6, 11));
let o = add(splat(k[45]), a.first_word::<45>(known)); s1[0].put(5, e1, o);
first[8].two(s1[1].get(7, 8));first[9].two(s1[1].get(7, 9));first[10].two(s1[1].get(7, 10));first[11].two(s1[1].get(7, 11));
first[12].two(s1[1].get(0, 12));first[13].two(s1[1].get(0, 13));first[14].two(s1[1].get(0, 14));first[15].two(s1[1].get(0, 15));
e1 = add(splat(k[46]), a.first_word::<46>(known));
first[12].two(s1[1].get(1, 12));first[13].two(s1[1].get(1, 13));first[14].two(s1[1].get(1, 14));first[15].two(s1[1].get(1, 15));
first[12].two(s1[1].get(2, 12));first[13].two(s1[1].get(2, 13));first[14].two(s1[1].get(2, 14));first[15].two(s1[1].get(2, 15));
let o = add(splat(k[47]), a.first_word::<47>(known)); s1[0].put(6, e1, o);
first[12].two(s1[1].get(3, 12));first[13].two(s1[1].get(3, 13));first[14].two(s1[1].get(3, 14));first[15].two(s1[1].get(3, 15));
first[12].two(s1[1].get(4, 12));first[13].two(s1[1].get(4, 13));first[14].two(s1[1].get(4, 14));first[15].two(s1[1].get(4, 15));
e1 = add(splat(k[48]), a.first_word::<48>(known));
first[12].two(s1[1].get(5, 12));first[13].two(s1[1].get(5, 13));first[14].two(s1[1].get(5, 14));first[15].two(s1[1].get(5, 15));
first[12].two(s1[1].get(6, 12));first[13].two(s1[1].get(6, 13));first[14].two(s1[1].get(6, 14));first[15].two(s1[1].get(6, 15));
let o = add(splat(k[49]), a.first_word::<49>(known)); s1[0].put(7, e1, o);
first[12].two(s1[1].get(7, 12));first[13].two(s1[1].get(7, 13));first[14].two(s1[1].get(7, 14));first[15].two(s1[1].get(7, 15));
s1[0].hide();
second[0].two(s2[1].get(0, 0));second[1].two(s2[1].get(0, 1));second[2].two(s2[1].get(0, 2));second[3].two(s2[1].get(0, 3));
e2 = add(splat(k2[31]), b.second_word::<31>());
second[0].two(s2[1].get(1, 0));second[1].two(s2[1].get(1, 1));second[2].two(s2[1].get(1, 2));second[3].two(s2[1].get(1, 3));
second[0].two(s2[1].get(2, 0));second[1].two(s2[1].get(2, 1));second[2].two(s2[1].get(2, 2));second[3].two(s2[1].get(2, 3));
let o = add(splat(k2[32]), b.second_word::<32>()); s2[0].put(0, e2, o);
second[0].two(s2[1].get(3, 0));second[1].two(s2[1].get(3, 1));second[2].two(s2[1].get(3, 2));second[3].two(s2[1].get(3, 3));
second[0].two(s2[1].get(4, 0));second[1].two(s2[1].get(4, 1));second[2].two(s2[1].get(4, 2));second[3].two(s2[1].get(4, 3));
e2 = add(splat(k2[33]), b.second_word::<33>());
second[0].two(s2[1].get(5, 0));second[1].two(s2[1].get(5, 1));second[2].two(s2[1].get(5, 2));second[3].two(s2[1].get(5, 3));
second[0].two(s2[1].get(6, 0));second[1].two(s2[1].get(6, 1));second[2].two(s2[1].get(6, 2));second[3].two(s2[1].get(6, 3));
let o = add(splat(k2[34]), b.second_word::<34>()); s2[0].put(1, e2, o);
second[0].two(s2[1].get(7, 0));second[1].two(s2[1].get(7, 1));second[2].two(s2[1].get(7, 2));second[3].two(s2[1].get(7, 3));
second[4].two(s2[1].get(0, 4));second[5].two(s2[1].get(0, 5));second[6].two(s2[1].get(0, 6));second[7].two(s2[1].get(0, 7));
e2 = add(splat(k2[35]), b.second_word::<35>());
second[4].two(s2[1].get(1, 4));second[5].two(s2[1].get(1, 5));second[6].two(s2[1].get(1, 6));second[7].two(s2[1].get(1, 7));
second[4].two(s2[1].get(2, 4));second[5].two(s2[1].get(2, 5));second[6].two(s2[1].get(2, 6));second[7].two(s2[1].get(2, 7));
let o = add(splat(k2[36]), b.second_word::<36>()); s2[0].put(2, e2, o);
second[4].two(s2[1].get(3, 4));second[5].two(s2[1].get(3, 5));second[6].two(s2[1].get(3, 6));second[7].two(s2[1].get(3, 7));
second[4].two(s2[1].get(4, 4));second[5].two(s2[1].get(4, 5));second[6].two(s2[1].get(4, 6));second[7].two(s2[1].get(4, 7));
e2 = add(splat(k2[37]), b.second_word::<37>());
second[4].two(s2[1].get(5, 4));second[5].two(s2[1].get(5, 5));second[6].two(s2[1].get(5, 6));second[7].two(s2[1].get(5, 7));
second[4].two(s2[1].get(6, 4));second[5].two(s2[1].get(6, 5));second[6].two(s2[1].get(6, 6));second[7].two(s2[1].get(6, 7));
let o = add(splat(k2[38]), b.second_word::<38>()); s2[0].put(3, e2, o);
second[4].two(s2[1].get(7, 4));second[5].two(s2[1].get(7, 5));second[6].two(s2[1].get(7, 6));second[7].two(s2[1].get(7, 7));
second[8].two(s2[1].get(0, 8));second[9].two(s2[1].get(0, 9));second[10].two(s2[1].get(0, 10));second[11].two(s2[1].get(0, 11));
e2 = add(splat(k2[39]), b.second_word::<39>());
second[8].two(s2[1].get(1, 8));second[9].two(s2[1].get(1, 9));second[10].two(s2[1].get(1, 10));second[11].two(s2[1].get(1, 11));
second[8].two(s2[1].get(2, 8));second[9].two(s2[1].get(2, 9));second[10].two(s2[1].get(2, 10));second[11].two(s2[1].get(2, 11));
let o = add(splat(k2[40]), b.second_word::<40>()); s2[0].put(4, e2, o);
second[8].two(s2[1].get(3, 8));second[9].two(s2[1].get(3, 9));second[10].two(s2[1].get(3, 10));second[11].two(s2[1].get(3, 11));
second[8].two(s2[1].get(4, 8));second[9].two(s2[1].get(4, 9));second[10].two(s2[1].get(4, 10));second[11].two(s2[1].get(4, 11));
e2 = add(splat(k2[41]), b.second_word::<41>());
second[8].two(s2[1].get(5, 8));second[9].two(s2[1].get(5, 9));second[10].two(s2[1].get(5, 10));second[11].two(s2[1].get(5, 11));
second[8].two(s2[1].get(6, 8));second[9].two(s2[1].get(6, 9));second[10].two(s2[1].get(6, 10));second[11].two(s2[1].get(6, 11));
let o = add(splat(k2[42]), b.second_word::<42>()); s2[0].put(5, e2, o);
second[8].two(s2[1].get(7, 8));second[9].two(s2[1].get(7, 9));second[10].two(s2[1].get(7, 10));second[11].two(s2[1].get(7, 11));
second[12].two(s2[1].get(0, 12));second[13].two(s2[1].get(0, 13));second[14].two(s2[1].get(0, 14));second[15].two(s2[1].get(0, 15));
e2 = add(splat(k2[43]), b.second_word::<43>());
second[12].two(s2[1].get(1, 12));second[13].two(s2[1].get(1, 13));second[14].two(s2[1].get(1, 14));second[15].two(s2[1].get(1, 15));
second[12].two(s2[1].get(2, 12));second[13].two(s2[1].get(2, 13));second[14].two(s2[1].get(2, 14));second[15].two(s2[1].get(2, 15));
let o = add(splat(k2[44]), b.second_word::<44>()); s2[0].put(6, e2, o);
second[12].two(s2[1].get(3, 12));second[13].two(s2[1].get(3, 13));second[14].two(s2[1].get(3, 14));second[15].two(s2[1].get(3, 15));
second[12].two(s2[1].get(4, 12));second[13].two(s2[1].get(4, 13));second[14].two(s2[1].get(4, 14));second[15].two(s2[1].get(4, 15));
e2 = add(splat(k2[45]), b.second_word::<45>());
second[12].two(s2[1].get(5, 12));second[13].two(s2[1].get(5, 13));second[14].two(s2[1].get(5, 14));second[15].two(s2[1].get(5, 15));
second[12].two(s2[1].get(6, 12));second[13].two(s2[1].get(6, 13));second[14].two(s2[1].get(6, 14));second[15].two(s2[1].get(6, 15));
let o = add(splat(k2[46]), b.second_word::<46>()); s2[0].put(7, e2, o);
second[12].two(s2[1].get(7, 12));second[13].two(s2[1].get(7, 13));second[14].two(s2[1].get(7, 14));second[15].two(s2[1].get(7, 15));
s2[0].hide();
first[0].two(s1[0].get(0, 0));first[1].two(s1[0].get(0, 1));first[2].two(s1[0].get(0, 2));first[3].two(s1[0].get(0, 3));
e1 = add(splat(k[50]), a.first_word::<50>(known));
first[0].two(s1[0].get(1, 0));first[1].two(s1[0].get(1, 1));first[2].two(s1[0].get(1, 2));first[3].two(s1[0].get(1, 3));
first[0].two(s1[0].get(2, 0));first[1].two(s1[0].get(2, 1));first[2].two(s1[0].get(2, 2));first[3].two(s1[0].get(2, 3));
let o = add(splat(k[51]), a.first_word::<51>(known)); s1[1].put(0, e1, o);
first[0].two(s1[0].get(3, 0));first[1].two(s1[0].get(3, 1));first[2].two(s1[0].get(3, 2));first[3].two(s1[0].get(3, 3));
first[0].two(s1[0].get(4, 0));first[1].two(s1[0].get(4, 1));first[2].two(s1[0].get(4, 2));first[3].two(s1[0].get(4, 3));
e1 = add(splat(k[52]), a.first_word::<52>(known));
first[0].two(s1[0].get(5, 0));first[1].two(s1[0].get(5, 1));first[2].two(s1[0].get(5, 2));first[3].two(s1[0].get(5, 3));
first[0].two(s1[0].get(6, 0));first[1].two(s1[0].get(6, 1));first[2].two(s1[0].get(6, 2));first[3].two(s1[0].get(6, 3));
let o = add(splat(k[53]), a.first_word::<53>(known)); s1[1].put(1, e1, o);
first[0].two(s1[0].get(7, 0));first[1].two(s1[0].get(7, 1));first[2].two(s1[0].get(7, 2));first[3].two(s1[0].get(7, 3));
first[4].two(s1[0].get(0, 4));first[5].two(s1[0].get(0, 5));first[6].two(s1[0].get(0, 6));first[7].two(s1[0].get(0, 7));
first[4].two(s1[0].get(1, 4));first[5].two(s1[0].get(1, 5));first[6].two(s1[0].get(1, 6));first[7].two(s1[0].get(1, 7));
e1 = add(splat(k[54]), a.first_word::<54>(known));
first[4].two(s1[0].get(2, 4));first[5].two(s1[0].get(2, 5));first[6].two(s1[0].get(2, 6));first[7].two(s1[0].get(2, 7));
first[4].two(s1[0].get(3, 4));first[5].two(s1[0].get(3, 5));first[6].two(s1[0].get(3, 6));first[7].two(s1[0].get(3, 7));
let o = add(splat(k[55]), a.first_word::<55>(known)); s1[1].put(2, e1, o);
first[4].two(s1[0].get(4, 4));first[5].two(s1[0].get(4, 5));first[6].two(s1[0].get(4, 6));first[7].two(s1[0].get(4, 7));
first[4].two(s1[0].get(5, 4));first[5].two(s1[0].get(5, 5));first[6].two(s1[0].get(5, 6));first[7].two(s1[0].get(5, 7));
e1 = add(splat(k[56]), a.first_word::<56>(known));
first[4].two(s1[0].get(6, 4));first[5].two(s1[0].get(6, 5));first[6].two(s1[0].get(6, 6));first[7].two(s1[0].get(6, 7));
first[4].two(s1[0].get(7, 4));first[5].two(s1[0].get(7, 5));first[6].two(s1[0].get(7, 6));first[7].two(s1[0].get(7, 7));
first[8].two(s1[0].get(0, 8));first[9].two(s1[0].get(0, 9));first[10].two(s1[0].get(0, 10));first[11].two(s1[0].get(0, 11));
let o = add(splat(k[57]), a.first_word::<57>(known)); s1[1].put(3, e1, o);
first[8].two(s1[0].get(1, 8));first[9].two(s1[0].get(1, 9));first[10].two(s1[0].get(1, 10));first[11].two(s1[0].get(1, 11));
first[8].two(s1[0].get(2, 8));first[9].two(s1[0].get(2, 9));first[10].two(s1[0].get(2, 10));first[11].two(s1[0].get(2, 11));
e1 = add(splat(k[58]), a.first_word::<58>(known));
first[8].two(s1[0].get(3, 8));first[9].two(s1[0].get(3, 9));first[10].two(s1[0].get(3, 10));first[11].two(s1[0].get(3, 11));
first[8].two(s1[0].get(4, 8));first[9].two(s1[0].get(4, 9));first[10].two(s1[0].get(4, 10));first[11].two(s1[0].get(4, 11));
let o = add(splat(k[59]), a.first_word::<59>(known)); s1[1].put(4, e1, o);
first[8].two(s1[0].get(5, 8));first[9].two(s1[0].get(5, 9));first[10].two(s1[0].get(5, 10));first[11].two(s1[0].get(5, 11));
first[8].two(s1[0].get(6, 8));first[9].two(s1[0].get(6, 9));first[10].two(s1[0].get(6, 10));first[11].two(s1[0].get(6, 11));
e1 = add(splat(k[60]), a.first_word::<60>(known));
first[8].two(s1[0].get(7, 8));first[9].two(s1[0].get(7, 9));first[10].two(s1[0].get(7, 10));first[11].two(s1[0].get(7, 11));
first[12].two(s1[0].get(0, 12));first[13].two(s1[0].get(0, 13));first[14].two(s1[0].get(0, 14));first[15].two(s1[0].get(0, 15));
first[12].two(s1[0].get(1, 12));first[13].two(s1[0].get(1, 13));first[14].two(s1[0].get(1, 14));first[15].two(s1[0].get(1, 15));
let o = add(splat(k[61]), a.first_word::<61>(known)); s1[1].put(5, e1, o);
first[12].two(s1[0].get(2, 12));first[13].two(s1[0].get(2, 13));first[14].two(s1[0].get(2, 14));first[15].two(s1[0].get(2, 15));
first[12].two(s1[0].get(3, 12));first[13].two(s1[0].get(3, 13));first[14].two(s1[0].get(3, 14));first[15].two(s1[0].get(3, 15));
e1 = add(splat(k[62]), a.first_word::<62>(known));
first[12].two(s1[0].get(4, 12));first[13].two(s1[0].get(4, 13));first[14].two(s1[0].get(4, 14));first[15].two(s1[0].get(4, 15));
first[12].two(s1[0].get(5, 12));first[13].two(s1[0].get(5, 13));first[14].two(s1[0].get(5, 14));first[15].two(s1[0].get(5, 15));
let o = add(splat(k[63]), a.first_word::<63>(known)); s1[1].put(6, e1, o);
first[12].two(s1[0].get(6, 12));first[13].two(s1[0].get(6, 13));first[14].two(s1[0].get(6, 14));first[15].two(s1[0].get(6, 15));
first[12].two(s1[0].get(7, 12));first[13].two(s1[0].get(7, 13));first[14].two(s1[0].get(7, 14));first[15].two(s1[0].get(7, 15));
s1[1].hide();
second[0].two(s2[0].get(0, 0));second[1].two(s2[0].get(0, 1));second[2].two(s2[0].get(0, 2));second[3].two(s2[0].get(0, 3));
e2 = add(splat(k2[47]), b.second_word::<47>());
second[0].two(s2[0].get(1, 0));second[1].two(s2[0].get(1, 1));second[2].two(s2[0].get(1, 2));second[3].two(s2[0].get(1, 3));
second[0].two(s2[0].get(2, 0));second[1].two(s2[0].get(2, 1));second[2].two(s2[0].get(2, 2));second[3].two(s2[0].get(2, 3));
let o = add(splat(k2[48]), b.second_word::<48>()); s2[1].put(0, e2, o);
second[0].two(s2[0].get(3, 0));second[1].two(s2[0].get(3, 1));second[2].two(s2[0].get(3, 2));second[3].two(s2[0].get(3, 3));
second[0].two(s2[0].get(4, 0));second[1].two(s2[0].get(4, 1));second[2].two(s2[0].get(4, 2));second[3].two(s2[0].get(4, 3));
e2 = add(splat(k2[49]), b.second_word::<49>());
second[0].two(s2[0].get(5, 0));second[1].two(s2[0].get(5, 1));second[2].two(s2[0].get(5, 2));second[3].two(s2[0].get(5, 3));
second[0].two(s2[0].get(6, 0));second[1].two(s2[0].get(6, 1));second[2].two(s2[0].get(6, 2));second[3].two(s2[0].get(6, 3));
let o = add(splat(k2[50]), b.second_word::<50>()); s2[1].put(1, e2, o);
second[0].two(s2[0].get(7, 0));second[1].two(s2[0].get(7, 1));second[2].two(s2[0].get(7, 2));second[3].two(s2[0].get(7, 3));
second[4].two(s2[0].get(0, 4));second[5].two(s2[0].get(0, 5));second[6].two(s2[0].get(0, 6));second[7].two(s2[0].get(0, 7));
second[4].two(s2[0].get(1, 4));second[5].two(s2[0].get(1, 5));second[6].two(s2[0].get(1, 6));second[7].two(s2[0].get(1, 7));
e2 = add(splat(k2[51]), b.second_word::<51>());
second[4].two(s2[0].get(2, 4));second[5].two(s2[0].get(2, 5));second[6].two(s2[0].get(2, 6));second[7].two(s2[0].get(2, 7));
second[4].two(s2[0].get(3, 4));second[5].two(s2[0].get(3, 5));second[6].two(s2[0].get(3, 6));second[7].two(s2[0].get(3, 7));
let o = add(splat(k2[52]), b.second_word::<52>()); s2[1].put(2, e2, o);
second[4].two(s2[0].get(4, 4));second[5].two(s2[0].get(4, 5));second[6].two(s2[0].get(4, 6));second[7].two(s2[0].get(4, 7));
second[4].two(s2[0].get(5, 4));second[5].two(s2[0].get(5, 5));second[6].two(s2[0].get(5, 6));second[7].two(s2[0].get(5, 7));
e2 = add(splat(k2[53]), b.second_word::<53>());
second[4].two(s2[0].get(6, 4));second[5].two(s2[0].get(6, 5));second[6].two(s2[0].get(6, 6));second[7].two(s2[0].get(6, 7));
second[4].two(s2[0].get(7, 4));second[5].two(s2[0].get(7, 5));second[6].two(s2[0].get(7, 6));second[7].two(s2[0].get(7, 7));
second[8].two(s2[0].get(0, 8));second[9].two(s2[0].get(0, 9));second[10].two(s2[0].get(0, 10));second[11].two(s2[0].get(0, 11));
let o = add(splat(k2[54]), b.second_word::<54>()); s2[1].put(3, e2, o);
second[8].two(s2[0].get(1, 8));second[9].two(s2[0].get(1, 9));second[10].two(s2[0].get(1, 10));second[11].two(s2[0].get(1, 11));
second[8].two(s2[0].get(2, 8));second[9].two(s2[0].get(2, 9));second[10].two(s2[0].get(2, 10));second[11].two(s2[0].get(2, 11));
e2 = add(splat(k2[55]), b.second_word::<55>());
second[8].two(s2[0].get(3, 8));second[9].two(s2[0].get(3, 9));second[10].two(s2[0].get(3, 10));second[11].two(s2[0].get(3, 11));
second[8].two(s2[0].get(4, 8));second[9].two(s2[0].get(4, 9));second[10].two(s2[0].get(4, 10));second[11].two(s2[0].get(4, 11));
let o = add(splat(k2[56]), b.second_word::<56>()); s2[1].put(4, e2, o);
second[8].two(s2[0].get(5, 8));second[9].two(s2[0].get(5, 9));second[10].two(s2[0].get(5, 10));second[11].two(s2[0].get(5, 11));
second[8].two(s2[0].get(6, 8));second[9].two(s2[0].get(6, 9));second[10].two(s2[0].get(6, 10));second[11].two(s2[0].get(6, 11));
e2 = add(splat(k2[57]), b.second_word::<57>());
second[8].two(s2[0].get(7, 8));second[9].two(s2[0].get(7, 9));second[10].two(s2[0].get(7, 10));second[11].two(s2[0].get(7, 11));
second[12].two(s2[0].get(0, 12));second[13].two(s2[0].get(0, 13));second[14].two(s2[0].get(0, 14));second[15].two(s2[0].get(0, 15));
second[12].two(s2[0].get(1, 12));second[13].two(s2[0].get(1, 13));second[14].two(s2[0].get(1, 14));second[15].two(s2[0].get(1, 15));
let o = add(splat(k2[58]), b.second_word::<58>()); s2[1].put(5, e2, o);
second[12].two(s2[0].get(2, 12));second[13].two(s2[0].get(2, 13));second[14].two(s2[0].get(2, 14));second[15].two(s2[0].get(2, 15));
second[12].two(s2[0].get(3, 12));second[13].two(s2[0].get(3, 13));second[14].two(s2[0].get(3, 14));second[15].two(s2[0].get(3, 15));
e2 = add(splat(k2[59]), b.second_word::<59>());
second[12].two(s2[0].get(4, 12));second[13].two(s2[0].get(4, 13));second[14].two(s2[0].get(4, 14));second[15].two(s2[0].get(4, 15));
second[12].two(s2[0].get(5, 12));second[13].two(s2[0].get(5, 13));second[14].two(s2[0].get(5, 14));second[15].two(s2[0].get(5, 15));
let o = add(splat(k2[60]), b.second_word::<60>()); s2[1].put(6, e2, o);
second[12].two(s2[0].get(6, 12));second[13].two(s2[0].get(6, 13));second[14].two(s2[0].get(6, 14));second[15].two(s2[0].get(6, 15));
second[12].two(s2[0].get(7, 12));second[13].two(s2[0].get(7, 13));second[14].two(s2[0].get(7, 14));second[15].two(s2[0].get(7, 15));
s2[1].hide();
first[0].two(s1[1].get(0, 0));first[1].two(s1[1].get(0, 1));first[2].two(s1[1].get(0, 2));first[3].two(s1[1].get(0, 3));
first[0].two(s1[1].get(1, 0));first[1].two(s1[1].get(1, 1));first[2].two(s1[1].get(1, 2));first[3].two(s1[1].get(1, 3));
first[0].two(s1[1].get(2, 0));first[1].two(s1[1].get(2, 1));first[2].two(s1[1].get(2, 2));first[3].two(s1[1].get(2, 3));
first[0].two(s1[1].get(3, 0));first[1].two(s1[1].get(3, 1));first[2].two(s1[1].get(3, 2));first[3].two(s1[1].get(3, 3));
first[0].two(s1[1].get(4, 0));first[1].two(s1[1].get(4, 1));first[2].two(s1[1].get(4, 2));first[3].two(s1[1].get(4, 3));
first[0].two(s1[1].get(5, 0));first[1].two(s1[1].get(5, 1));first[2].two(s1[1].get(5, 2));first[3].two(s1[1].get(5, 3));
first[0].two(s1[1].get(6, 0));first[1].two(s1[1].get(6, 1));first[2].two(s1[1].get(6, 2));first[3].two(s1[1].get(6, 3));
first[4].two(s1[1].get(0, 4));first[5].two(s1[1].get(0, 5));first[6].two(s1[1].get(0, 6));first[7].two(s1[1].get(0, 7));
first[4].two(s1[1].get(1, 4));first[5].two(s1[1].get(1, 5));first[6].two(s1[1].get(1, 6));first[7].two(s1[1].get(1, 7));
first[4].two(s1[1].get(2, 4));first[5].two(s1[1].get(2, 5));first[6].two(s1[1].get(2, 6));first[7].two(s1[1].get(2, 7));
first[4].two(s1[1].get(3, 4));first[5].two(s1[1].get(3, 5));first[6].two(s1[1].get(3, 6));first[7].two(s1[1].get(3, 7));
first[4].two(s1[1].get(4, 4));first[5].two(s1[1].get(4, 5));first[6].two(s1[1].get(4, 6));first[7].two(s1[1].get(4, 7));
first[4].two(s1[1].get(5, 4));first[5].two(s1[1].get(5, 5));first[6].two(s1[1].get(5, 6));first[7].two(s1[1].get(5, 7));
first[4].two(s1[1].get(6, 4));first[5].two(s1[1].get(6, 5));first[6].two(s1[1].get(6, 6));first[7].two(s1[1].get(6, 7));
first[8].two(s1[1].get(0, 8));first[9].two(s1[1].get(0, 9));first[10].two(s1[1].get(0, 10));first[11].two(s1[1].get(0, 11));
first[8].two(s1[1].get(1, 8));first[9].two(s1[1].get(1, 9));first[10].two(s1[1].get(1, 10));first[11].two(s1[1].get(1, 11));
first[8].two(s1[1].get(2, 8));first[9].two(s1[1].get(2, 9));first[10].two(s1[1].get(2, 10));first[11].two(s1[1].get(2, 11));
first[8].two(s1[1].get(3, 8));first[9].two(s1[1].get(3, 9));first[10].two(s1[1].get(3, 10));first[11].two(s1[1].get(3, 11));
first[8].two(s1[1].get(4, 8));first[9].two(s1[1].get(4, 9));first[10].two(s1[1].get(4, 10));first[11].two(s1[1].get(4, 11));
first[8].two(s1[1].get(5, 8));first[9].two(s1[1].get(5, 9));first[10].two(s1[1].get(5, 10));first[11].two(s1[1].get(5, 11));
first[8].two(s1[1].get(6, 8));first[9].two(s1[1].get(6, 9));first[10].two(s1[1].get(6, 10));first[11].two(s1[1].get(6, 11));
first[12].two(s1[1].get(0, 12));first[13].two(s1[1].get(0, 13));first[14].two(s1[1].get(0, 14));first[15].two(s1[1].get(0, 15));
first[12].two(s1[1].get(1, 12));first[13].two(s1[1].get(1, 13));first[14].two(s1[1].get(1, 14));first[15].two(s1[1].get(1, 15));
first[12].two(s1[1].get(2, 12));first[13].two(s1[1].get(2, 13));first[14].two(s1[1].get(2, 14));first[15].two(s1[1].get(2, 15));
first[12].two(s1[1].get(3, 12));first[13].two(s1[1].get(3, 13));first[14].two(s1[1].get(3, 14));first[15].two(s1[1].get(3, 15));
first[12].two(s1[1].get(4, 12));first[13].two(s1[1].get(4, 13));first[14].two(s1[1].get(4, 14));first[15].two(s1[1].get(4, 15));
first[12].two(s1[1].get(5, 12));first[13].two(s1[1].get(5, 13));first[14].two(s1[1].get(5, 14));first[15].two(s1[1].get(5, 15));
first[12].two(s1[1].get(6, 12));first[13].two(s1[1].get(6, 13));first[14].two(s1[1].get(6, 14));first[15].two(s1[1].get(6, 15));
second[0].two(s2[1].get(0, 0));second[1].two(s2[1].get(0, 1));second[2].two(s2[1].get(0, 2));second[3].two(s2[1].get(0, 3));
second[0].two(s2[1].get(1, 0));second[1].two(s2[1].get(1, 1));second[2].two(s2[1].get(1, 2));second[3].two(s2[1].get(1, 3));
second[0].two(s2[1].get(2, 0));second[1].two(s2[1].get(2, 1));second[2].two(s2[1].get(2, 2));second[3].two(s2[1].get(2, 3));
second[0].two(s2[1].get(3, 0));second[1].two(s2[1].get(3, 1));second[2].two(s2[1].get(3, 2));second[3].two(s2[1].get(3, 3));
second[0].two(s2[1].get(4, 0));second[1].two(s2[1].get(4, 1));second[2].two(s2[1].get(4, 2));second[3].two(s2[1].get(4, 3));
second[0].two(s2[1].get(5, 0));second[1].two(s2[1].get(5, 1));second[2].two(s2[1].get(5, 2));second[3].two(s2[1].get(5, 3));
second[0].two(s2[1].get(6, 0));second[1].two(s2[1].get(6, 1));second[2].two(s2[1].get(6, 2));second[3].two(s2[1].get(6, 3));
second[4].two(s2[1].get(0, 4));second[5].two(s2[1].get(0, 5));second[6].two(s2[1].get(0, 6));second[7].two(s2[1].get(0, 7));
second[4].two(s2[1].get(1, 4));second[5].two(s2[1].get(1, 5));second[6].two(s2[1].get(1, 6));second[7].two(s2[1].get(1, 7));
second[4].two(s2[1].get(2, 4));second[5].two(s2[1].get(2, 5));second[6].two(s2[1].get(2, 6));second[7].two(s2[1].get(2, 7));
second[4].two(s2[1].get(3, 4));second[5].two(s2[1].get(3, 5));second[6].two(s2[1].get(3, 6));second[7].two(s2[1].get(3, 7));
second[4].two(s2[1].get(4, 4));second[5].two(s2[1].get(4, 5));second[6].two(s2[1].get(4, 6));second[7].two(s2[1].get(4, 7));
second[4].two(s2[1].get(5, 4));second[5].two(s2[1].get(5, 5));second[6].two(s2[1].get(5, 6));second[7].two(s2[1].get(5, 7));
second[4].two(s2[1].get(6, 4));second[5].two(s2[1].get(6, 5));second[6].two(s2[1].get(6, 6));second[7].two(s2[1].get(6, 7));
second[8].two(s2[1].get(0, 8));second[9].two(s2[1].get(0, 9));second[10].two(s2[1].get(0, 10));second[11].two(s2[1].get(0, 11));
second[8].two(s2[1].get(1, 8));second[9].two(s2[1].get(1, 9));second[10].two(s2[1].get(1, 10));second[11].two(s2[1].get(1, 11));
second[8].two(s2[1].get(2, 8));second[9].two(s2[1].get(2, 9));second[10].two(s2[1].get(2, 10));second[11].two(s2[1].get(2, 11));
second[8].two(s2[1].get(3, 8));second[9].two(s2[1].get(3, 9));second[10].two(s2[1].get(3, 10));second[11].two(s2[1].get(3, 11));
second[8].two(s2[1].get(4, 8));second[9].two(s2[1].get(4, 9));second[10].two(s2[1].get(4, 10));second[11].two(s2[1].get(4, 11));
second[8].two(s2[1].get(5, 8));second[9].two(s2[1].get(5, 9));second[10].two(s2[1].get(5, 10));second[11].two(s2[1].get(5, 11));
second[8].two(s2[1].get(6, 8));second[9].two(s2[1].get(6, 9));second[10].two(s2[1].get(6, 10));second[11].two(s2[1].get(6, 11));
second[12].two(s2[1].get(0, 12));second[13].two(s2[1].get(0, 13));second[14].two(s2[1].get(0, 14));second[15].two(s2[1].get(0, 15));
second[12].two(s2[1].get(1, 12));second[13].two(s2[1].get(1, 13));second[14].two(s2[1].get(1, 14));second[15].two(s2[1].get(1, 15));
second[12].two(s2[1].get(2, 12));second[13].two(s2[1].get(2, 13));second[14].two(s2[1].get(2, 14));second[15].two(s2[1].get(2, 15));
second[12].two(s2[1].get(3, 12));second[13].two(s2[1].get(3, 13));second[14].two(s2[1].get(3, 14));second[15].two(s2[1].get(3, 15));
second[12].two(s2[1].get(4, 12));second[13].two(s2[1].get(4, 13));second[14].two(s2[1].get(4, 14));second[15].two(s2[1].get(4, 15));
second[12].two(s2[1].get(5, 12));second[13].two(s2[1].get(5, 13));second[14].two(s2[1].get(5, 14));second[15].two(s2[1].get(5, 15));
second[12].two(s2[1].get(6, 12));second[13].two(s2[1].get(6, 13));second[14].two(s2[1].get(6, 14));second[15].two(s2[1].get(6, 15));
        let [_, e, _, _] = rows(second.map(|s| s.abef));
        let hits = at_most(swap_bytes(e), limit);
        if hits != 0 {
            found.push(group, hits);
        }
        dig = digest(&first, known);
        nonce = add(nonce, splat(LANES as u32));
    }
}
}; }

macro_rules! ymm { ($f:literal) => {
    type Vector = __m256i;
    const LANES: usize = 8;
    #[inline]
    #[target_feature(enable = $f)]
    fn lo32(x: Vector, y: Vector) -> Vector { _mm256_unpacklo_epi32(x, y) }
    #[inline]
    #[target_feature(enable = $f)]
    fn hi32(x: Vector, y: Vector) -> Vector { _mm256_unpackhi_epi32(x, y) }
    #[inline]
    #[target_feature(enable = $f)]
    fn lo64(x: Vector, y: Vector) -> Vector { _mm256_unpacklo_epi64(x, y) }
    #[inline]
    #[target_feature(enable = $f)]
    fn hi64(x: Vector, y: Vector) -> Vector { _mm256_unpackhi_epi64(x, y) }
    #[inline]
    #[target_feature(enable = $f)]
    fn join(v: [__m128i; 2]) -> Vector { _mm256_set_m128i(v[1], v[0]) }
    #[inline]
    #[target_feature(enable = $f)]
    fn numbers() -> Vector { _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0) }
    #[inline]
    #[target_feature(enable = $f)]
    fn at_most(last: Vector, limit: u32) -> u32 {
        let hits = _mm256_cmpeq_epi32(_mm256_min_epu32(last, splat(limit)), last);
        _mm256_movemask_ps(_mm256_castsi256_ps(hits)).cast_unsigned()
    }
}; }

pub(super) mod a2 {
    use super::*;
    use super::super::avx2::{add, splat, small0, small1, swap_bytes};
    mixed!("sha,avx2", scan8);
    ymm!("sha,avx2");
}
pub(super) mod vl {
    use super::*;
    use super::super::avx2::{add, splat, swap_bytes};
    mixed!("sha,avx512f,avx512vl,avx2", scan8);
    ymm!("sha,avx2");
    #[inline]
    #[target_feature(enable = "avx512f,avx512vl")]
    fn xor3(x: Vector, y: Vector, z: Vector) -> Vector { _mm256_ternarylogic_epi32::<0b1001_0110>(x, y, z) }
    #[inline]
    #[target_feature(enable = "avx512f,avx512vl")]
    fn small0(x: Vector) -> Vector { xor3(_mm256_ror_epi32::<7>(x), _mm256_ror_epi32::<18>(x), _mm256_srli_epi32::<3>(x)) }
    #[inline]
    #[target_feature(enable = "avx512f,avx512vl")]
    fn small1(x: Vector) -> Vector { xor3(_mm256_ror_epi32::<17>(x), _mm256_ror_epi32::<19>(x), _mm256_srli_epi32::<10>(x)) }
}
pub(super) mod z {
    use super::*;
    use super::super::avx512::{add, splat, swap_bytes, small0, small1};
    mixed!("sha,avx512f,avx512bw,avx512vl", scan16);
    type Vector = __m512i;
    const LANES: usize = 16;
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn lo32(x: Vector, y: Vector) -> Vector { _mm512_unpacklo_epi32(x, y) }
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn hi32(x: Vector, y: Vector) -> Vector { _mm512_unpackhi_epi32(x, y) }
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn lo64(x: Vector, y: Vector) -> Vector { _mm512_unpacklo_epi64(x, y) }
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn hi64(x: Vector, y: Vector) -> Vector { _mm512_unpackhi_epi64(x, y) }
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn join(v: [__m128i; 4]) -> Vector {
        let x = _mm512_castsi128_si512(v[0]);
        let x = _mm512_inserti32x4::<1>(x, v[1]);
        let x = _mm512_inserti32x4::<2>(x, v[2]);
        _mm512_inserti32x4::<3>(x, v[3])
    }
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn numbers() -> Vector { _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0) }
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn at_most(last: Vector, limit: u32) -> u32 {
        _mm512_cmple_epu32_mask(last, splat(limit)).into()
    }
}
