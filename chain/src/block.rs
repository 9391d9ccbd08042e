//! Blocks: the 80-byte header of Bitcoin, and the transactions it commits to.
//! Whether a block is valid is the business of `rules`.

use crate::codec::{DecodeError, Decoder};
use crate::hash::{digest, sha256d};
use crate::merkle;
use crate::pow::Bits;
use crate::tx::{self, Transaction};
use std::fmt;

digest! {
    /// SHA-256d of a header.
    Hash
}

/// The least bytes a transaction of a block takes: an encoded transfer without memo, or a
/// coinbase with the shortest script, its kind and its length.
const LEAST_TRANSACTION: usize = tx::MIN_TRANSFER_BYTES;

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
    pub fn back(self, blocks: u32) -> Option<Height> {
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

/// A header and transactions that may or may not belong to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// What its hash is of.
    pub header: Header,
    /// In the order they apply; the coinbase comes first.
    pub transactions: Vec<Transaction>,
}

impl Block {
    /// The header's hash.
    pub fn hash(&self) -> Hash {
        self.header.hash()
    }

    /// The ids of the transactions, in order.
    pub fn ids(&self) -> Vec<tx::Id> {
        self.transactions.iter().map(Transaction::id).collect()
    }

    /// The transfers, in order, with their positions in the block.
    pub fn transfers(&self) -> impl DoubleEndedIterator<Item = (usize, &tx::Transfer)> {
        let numbered = self.transactions.iter().enumerate();
        numbered.filter_map(|(position, transaction)| match transaction {
            Transaction::Transfer(transfer) => Some((position, transfer)),
            Transaction::Coinbase(_) => None,
        })
    }

    /// The first transaction, if it is a coinbase.
    pub fn coinbase(&self) -> Option<&tx::Coinbase> {
        match self.transactions.first() {
            Some(Transaction::Coinbase(coinbase)) => Some(coinbase),
            _ => None,
        }
    }

    /// Header ‖ u32 count ‖ transactions.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.header.encode().to_vec();
        let count =
            u32::try_from(self.transactions.len()).expect("a block in memory counts in u32");
        bytes.extend_from_slice(&count.to_le_bytes());
        for transaction in &self.transactions {
            transaction.write(&mut bytes);
        }
        bytes
    }

    /// Reads exactly one block. The caller bounds the length of the input.
    pub fn decode(bytes: &[u8]) -> Result<Block, DecodeError> {
        let mut input = Decoder::new(bytes);
        let header = Header::read(&mut input)?;
        let count = input.count(LEAST_TRANSACTION)?;
        let mut transactions = Vec::with_capacity(count);
        for _ in 0..count {
            transactions.push(Transaction::read(&mut input)?);
        }
        input.finish()?;
        Ok(Block { header, transactions })
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

    // N03, C37: refused before anything is allocated.
    #[test]
    fn a_count_that_cannot_follow_is_refused() {
        let mut bytes = hex::decode(BITCOIN_GENESIS).unwrap();
        bytes.extend_from_slice(&u32::MAX.to_le_bytes());
        bytes.extend_from_slice(&[0; 200]);
        assert_eq!(
            Block::decode(&bytes),
            Err(DecodeError::ImpossibleLength { length: u32::MAX, left: 200 })
        );
    }
}
