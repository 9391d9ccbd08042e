//! SHA-256 of one message, word by word: constants, round and schedule.
//! Source: FIPS 180-4, 4.1.2, 4.2.2, 5.3.3 and 6.2.

/// The state before any input.
pub(super) const INITIAL: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// The constants of the 64 rounds.
#[rustfmt::skip]
pub(super) const K: [u32; 64] = [
    0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5, 0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
    0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3, 0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174,
    0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc, 0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
    0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7, 0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967,
    0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13, 0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
    0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3, 0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070,
    0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5, 0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
    0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208, 0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2,
];

/// The word that begins the padding: the bit after the message.
pub(super) const PADDING: u32 = 0x8000_0000;
/// The length of a block header in bits.
pub(super) const HEADER_BITS: u32 = 640;
/// The length of a digest in bits.
pub(super) const DIGEST_BITS: u32 = 256;

/// Computes a round. `word` is the word of the schedule plus the constant of the round.
#[inline(always)]
pub(super) const fn round([a, b, c, d, e, f, g, h]: [u32; 8], word: u32) -> [u32; 8] {
    let sum_e = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
    let choice = g ^ (e & (f ^ g));
    let first = h.wrapping_add(word).wrapping_add(choice).wrapping_add(sum_e);
    let sum_a = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
    let majority = b ^ ((a ^ b) & (b ^ c));
    [first.wrapping_add(sum_a).wrapping_add(majority), a, b, c, d.wrapping_add(first), e, f, g]
}

/// The function σ₀, of the word 15 places before a word of the schedule.
#[inline(always)]
pub(super) const fn small0(word: u32) -> u32 {
    word.rotate_right(7) ^ word.rotate_right(18) ^ (word >> 3)
}

/// The function σ₁, of the word 2 places before a word of the schedule.
#[inline(always)]
pub(super) const fn small1(word: u32) -> u32 {
    word.rotate_right(17) ^ word.rotate_right(19) ^ (word >> 10)
}

/// Computes word `t` of the next sixteen of the schedule. `w` holds the sixteen words before it,
/// each at its index modulo 16.
#[inline(always)]
pub(super) fn scheduled(w: &[u32; 16], t: usize) -> u32 {
    let (w15, w7, w2) = (w[(t + 1) % 16], w[(t + 9) % 16], w[(t + 14) % 16]);
    w[t % 16].wrapping_add(small0(w15)).wrapping_add(w7).wrapping_add(small1(w2))
}
