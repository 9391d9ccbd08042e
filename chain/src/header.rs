//! Block headers: the 80 bytes that miners hash, as in Bitcoin, and the height, time and hash of a
//! block. [`rules::header`](crate::rules::header) validates headers.
//! Source: PROTOCOL.md, "Header".

use crate::codec::{DecodeError, Decoder};
use crate::hash::{digest, sha256d};
use crate::merkle;
use crate::pow::Bits;
use std::fmt;

digest! {
    /// The SHA-256d of a block header, which identifies the block.
    Hash
}

/// The height of a block: the number of its ancestors. Genesis has height 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Height(u32);

impl Height {
    /// The height of the genesis block, 0.
    pub const GENESIS: Height = Height(0);

    /// Returns the height with the given number.
    pub const fn new(height: u32) -> Height {
        Height(height)
    }

    /// The height as a number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The height of a child; `None` above `u32::MAX`.
    pub fn next(self) -> Option<Height> {
        self.0.checked_add(1).map(Height)
    }

    /// The height a number of blocks earlier; `None` before genesis.
    pub fn checked_sub(self, blocks: u32) -> Option<Height> {
        self.0.checked_sub(blocks).map(Height)
    }
}

impl fmt::Display for Height {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A time in whole seconds since 1970-01-01 00:00 UTC. The last one is in 2106.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u32);

impl Timestamp {
    /// Returns the time a number of seconds after 1970-01-01 00:00 UTC.
    pub const fn new(seconds: u32) -> Timestamp {
        Timestamp(seconds)
    }

    /// The number of seconds since 1970-01-01 00:00 UTC.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The time a number of seconds later, or the last one if that is beyond the range.
    pub fn saturating_add(self, seconds: u32) -> Timestamp {
        Timestamp(self.0.saturating_add(seconds))
    }

    /// The number of seconds since another time; negative if that is later.
    pub fn since(self, earlier: Timestamp) -> i64 {
        i64::from(self.0).saturating_sub(i64::from(earlier.0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The header of a block, with the fields of a Bitcoin header.
///
/// ```
/// use chain::{Header, Params};
///
/// let header = Params::main().genesis().header;
/// assert_eq!(header.hash(), Params::main().genesis_hash());
/// assert_eq!(Header::decode(&header.encode()), Ok(header));
///
/// let next = Header { nonce: header.nonce + 1, ..header };
/// assert_ne!(next.hash(), header.hash());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The version: [`Header::VERSION`] except for [`Header::ROLLING_BITS`].
    pub version: i32,
    /// The hash of the parent.
    pub previous: Hash,
    /// The Merkle root of the transaction ids.
    pub merkle_root: merkle::Root,
    /// The time when mining began, by the miner's clock.
    pub time: Timestamp,
    /// The target that the hash must meet, as compact bits.
    pub bits: Bits,
    /// The number that miners change until the hash meets the target.
    pub nonce: u32,
}

impl Header {
    /// The size of an encoded header, in bytes.
    pub const BYTES: usize = 80;
    /// The version of every block, except for [`Header::ROLLING_BITS`].
    pub const VERSION: i32 = 0x2000_0000;
    /// The version bits that miners may set freely: bits 13 to 28, as in BIP 320.
    pub const ROLLING_BITS: i32 = 0x1fff_e000;

    /// Encodes the header into the 80 bytes that are hashed for the proof of work.
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

    /// Decodes a header, which must use all bytes.
    pub fn decode(bytes: &[u8]) -> Result<Header, DecodeError> {
        let mut input = Decoder::new(bytes);
        let header = Header::read(&mut input)?;
        input.finish()?;
        Ok(header)
    }

    /// Decodes the next header of an input.
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

    /// The hash of the block: the SHA-256d of the encoded header.
    pub fn hash(&self) -> Hash {
        Hash::from_bytes(sha256d(&self.encode()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The header of Bitcoin's genesis block.
    const BITCOIN_GENESIS: &str = "0100000000000000000000000000000000000000000000000000000000000000\
                                   000000003ba3edfd7a7b12b27ac72c3e67768f617fc81bc3888a51323a9fb8aa\
                                   4b1e5e4a29ab5f49ffff001d1dac2b7c";

    #[test]
    fn hashes_bitcoin_genesis_header() {
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
    fn rejects_header_of_other_length() {
        let bytes = hex::decode(BITCOIN_GENESIS).unwrap();
        assert_eq!(
            Header::decode(&bytes[..79]),
            Err(DecodeError::Truncated { needed: 4, left: 3 })
        );
        let longer = [bytes.as_slice(), &[0]].concat();
        assert_eq!(Header::decode(&longer), Err(DecodeError::TrailingBytes { count: 1 }));
    }
}
