//! One nonce at a time with the SHA-256 of the `sha2` crate, which uses the CPU's SHA-256
//! instructions if there are any: the fastest safe code then, and slower than `scalar` elsewhere.

use super::sha256::{DIGEST_BITS, HEADER_BITS, PADDING};
use crate::work::PreparedHeader;
use chain::hash::Midstate;
use std::ops::RangeInclusive;

pub(super) fn is_available() -> bool {
    true
}

pub(super) fn scan(
    header: &PreparedHeader,
    nonces: RangeInclusive<u32>,
    candidates: &mut Vec<u32>,
) {
    // The second block of a header: 12 bytes, the nonce, and the padding of an 80-byte message.
    let mut block = [0; 64];
    for (bytes, word) in block.chunks_exact_mut(4).zip(header.tail()) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    block[16..20].copy_from_slice(&PADDING.to_be_bytes());
    block[60..].copy_from_slice(&HEADER_BITS.to_be_bytes());
    // The digest of the first hash, and the padding of a 32-byte message.
    let mut digest = [0; 64];
    digest[32..36].copy_from_slice(&PADDING.to_be_bytes());
    digest[60..].copy_from_slice(&DIGEST_BITS.to_be_bytes());

    for nonce in nonces {
        block[12..16].copy_from_slice(&nonce.to_le_bytes());
        let first = header.midstate().compress(&block).words();
        for (bytes, word) in digest.chunks_exact_mut(4).zip(first) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        let [.., last] = Midstate::INITIAL.compress(&digest).words();
        if last.swap_bytes() <= header.limit() {
            candidates.push(nonce);
        }
    }
}
