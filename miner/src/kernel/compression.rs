//! One nonce at a time with `chain`'s own SHA-256, which uses the CPU's instructions for it where
//! there are any: the fastest safe code then, and slower than `scalar` elsewhere.

use crate::work::PreparedHeader;
use chain::hash::Midstate;
use std::ops::RangeInclusive;

pub(super) fn scan(
    prepared: &PreparedHeader,
    nonces: RangeInclusive<u32>,
    candidates: &mut Vec<u32>,
) {
    // What follows the midstate: 12 bytes, the nonce, and the padding of an 80-byte message.
    let mut header = [0; 64];
    for (bytes, word) in header.chunks_exact_mut(4).zip(prepared.tail()) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    header[16] = 0x80;
    header[62..].copy_from_slice(&640_u16.to_be_bytes());
    // A digest, and the padding of a 32-byte message.
    let mut digest = [0; 64];
    digest[32] = 0x80;
    digest[62..].copy_from_slice(&256_u16.to_be_bytes());

    for nonce in nonces {
        header[12..16].copy_from_slice(&nonce.to_le_bytes());
        let first = prepared.midstate().compress(&header).words();
        for (bytes, word) in digest.chunks_exact_mut(4).zip(first) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        let [.., last] = Midstate::INITIAL.compress(&digest).words();
        if last.swap_bytes() <= prepared.limit() {
            candidates.push(nonce);
        }
    }
}
