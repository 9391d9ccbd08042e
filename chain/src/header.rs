//! Block headers: the 80 bytes of Bitcoin that miners hash, and the height, time and hash of a block.
//! Encoding and hashing only; `rules::header` validates headers.

use crate::codec::{DecodeError, Decoder};
use crate::hash::{digest, sha256d};
use crate::merkle;
use crate::pow::Bits;
use std::fmt;

digest! {
    /// The SHA-256d of a block header, which identifies the block.
    Hash
}

/// Position in a chain; genesis is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Height(u32);

impl Height {
    /// The first block's.
    pub const GENESIS: Height = Height(0);

    /// From a number.
    pub const fn new(height: u32) -> Height {
        Height(height)
    }

    /// As a number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The child's height; `None` at the end of all heights.
    pub fn next(self) -> Option<Height> {
        self.0.checked_add(1).map(Height)
    }

    /// So many blocks earlier; `None` before genesis.
    pub fn checked_sub(self, blocks: u32) -> Option<Height> {
        self.0.checked_sub(blocks).map(Height)
    }
}

impl fmt::Display for Height {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Seconds since the Unix epoch, UTC; good until 2106.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u32);

impl Timestamp {
    /// From seconds.
    pub const fn new(seconds: u32) -> Timestamp {
        Timestamp(seconds)
    }

    /// As seconds.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// So many seconds later, at most the last second there is.
    pub fn saturating_add(self, seconds: u32) -> Timestamp {
        Timestamp(self.0.saturating_add(seconds))
    }

    /// Seconds from an earlier time to this one; negative if it is in fact later.
    pub fn since(self, earlier: Timestamp) -> i64 {
        i64::from(self.0).saturating_sub(i64::from(earlier.0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What miners hash: 80 bytes, all of Bitcoin's fields in Bitcoin's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// `Header::VERSION`, but for the bits that miners may roll.
    pub version: i32,
    /// The parent's hash.
    pub previous: Hash,
    /// Commits to the transactions.
    pub merkle_root: merkle::Root,
    /// When mining began, by the miner's clock.
    pub time: Timestamp,
    /// The target this block met.
    pub bits: Bits,
    /// What mining searches.
    pub nonce: u32,
}

impl Header {
    /// Bytes of an encoded header.
    pub const BYTES: usize = 80;
    /// The version of every block, but for `ROLLING_BITS`.
    pub const VERSION: i32 = 0x2000_0000;
    /// The version bits that miners may set as they like (BIP 320: bits 13 to 28).
    pub const ROLLING_BITS: i32 = 0x1fff_e000;

    /// The 80 bytes.
    pub fn encode(&self) -> [u8; Header::BYTES] {
        let mut bytes = [0; Header::BYTES];
        bytes[0..4].copy_from_slice(&self.version.to_le_bytes());
        bytes[4..36].copy_from_slice(self.previous.as_bytes());
        bytes[36..68].copy_from_slice(self.merkle_root.as_bytes());
        bytes[68..72].copy_from_slice(&self.time.get().to_le_bytes());
        bytes[72..76].copy_from_slice(&self.bits.raw().to_le_bytes());
        bytes[76..80].copy_from_slice(&self.nonce.to_le_bytes());
        bytes
    }

    /// Reads exactly 80 bytes.
    pub fn decode(bytes: &[u8]) -> Result<Header, DecodeError> {
        let mut input = Decoder::new(bytes);
        let header = Header::read(&mut input)?;
        input.finish()?;
        Ok(header)
    }

    /// Reads the next 80 bytes.
    pub fn read(input: &mut Decoder) -> Result<Header, DecodeError> {
        Ok(Header {
            version: input.i32()?,
            previous: Hash::from_bytes(input.array()?),
            merkle_root: merkle::Root::from_bytes(input.array()?),
            time: Timestamp::new(input.u32()?),
            bits: Bits::new(input.u32()?),
            nonce: input.u32()?,
        })
    }

    /// The block's hash.
    pub fn hash(&self) -> Hash {
        Hash::from_bytes(sha256d(&self.encode()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bitcoin's first block header.
    const BITCOIN_GENESIS: &str = "0100000000000000000000000000000000000000000000000000000000000000\
                                   000000003ba3edfd7a7b12b27ac72c3e67768f617fc81bc3888a51323a9fb8aa\
                                   4b1e5e4a29ab5f49ffff001d1dac2b7c";

    #[test]
    fn hashes_bitcoins_first_header_to_its_known_hash() {
        let bytes = hex::decode(BITCOIN_GENESIS).unwrap();
        let header = Header::decode(&bytes).unwrap();
        assert_eq!(
            header.hash().to_string(),
            "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f"
        );
        assert_eq!(header.time, Timestamp::new(1_231_006_505));
        assert_eq!(header.encode().as_slice(), bytes);
    }

    #[test]
    fn a_header_is_exactly_80_bytes() {
        let bytes = hex::decode(BITCOIN_GENESIS).unwrap();
        assert_eq!(
            Header::decode(&bytes[..79]),
            Err(DecodeError::Truncated { needed: 4, left: 3 })
        );
        let longer = [bytes.as_slice(), &[0]].concat();
        assert_eq!(Header::decode(&longer), Err(DecodeError::TrailingBytes { count: 1 }));
    }
}
