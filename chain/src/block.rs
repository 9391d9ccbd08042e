//! Blocks: a header, and the transactions it commits to.
//! Encoding only; `rules` validates blocks.

use crate::codec::{DecodeError, Decoder};
use crate::tx::{self, Transaction};

pub use crate::header::{Hash, Header, Height, Timestamp};

/// The least bytes a transaction of a block takes: an encoded transfer without memo, or a
/// coinbase with the shortest script, its kind and its length.
const LEAST_TRANSACTION: usize = tx::MIN_TRANSFER_BYTES;

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
