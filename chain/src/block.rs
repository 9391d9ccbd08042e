//! Blocks: a header and the transactions it commits to.
//! This module encodes and decodes them; [`rules`](crate::rules) validates them.
//! Source: PROTOCOL.md, "Block".

use crate::codec::{DecodeError, Decoder};
use crate::tx::{self, Transaction};

pub use crate::header::{Hash, Header, Height, Timestamp};

/// The minimum size of an encoded transaction, in bytes: a transfer without a memo, or the shortest
/// coinbase with its kind and its length.
const MIN_TRANSACTION_BYTES: usize = tx::MIN_TRANSFER_BYTES;

/// A header with transactions, which need not be those that the header commits to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The header, whose hash identifies the block.
    pub header: Header,
    /// The transactions in the order in which they apply; in a valid block the coinbase is first.
    pub transactions: Vec<Transaction>,
}

impl Block {
    /// The hash of the block, which is that of its header.
    pub fn hash(&self) -> Hash {
        self.header.hash()
    }

    /// The ids of all transactions, in order.
    pub fn ids(&self) -> Vec<tx::Id> {
        self.transactions.iter().map(Transaction::id).collect()
    }

    /// The transfers in order, each with its position in the block.
    pub fn transfers(&self) -> impl DoubleEndedIterator<Item = (usize, &tx::Transfer)> {
        let numbered = self.transactions.iter().enumerate();
        numbered.filter_map(|(position, transaction)| match transaction {
            Transaction::Transfer(transfer) => Some((position, transfer)),
            Transaction::Coinbase(_) => None,
        })
    }

    /// The coinbase; `None` unless it is the first transaction.
    pub fn coinbase(&self) -> Option<&tx::Coinbase> {
        match self.transactions.first() {
            Some(Transaction::Coinbase(coinbase)) => Some(coinbase),
            _ => None,
        }
    }

    /// Encodes the block as header ‖ u32 count ‖ transactions.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.encode_header_and_count();
        for transaction in &self.transactions {
            transaction.write(&mut bytes);
        }
        bytes
    }

    /// Encodes the block, and returns the ids of all transactions with it, in order.
    pub fn encode_with_ids(&self) -> (Vec<u8>, Vec<tx::Id>) {
        let mut bytes = self.encode_header_and_count();
        let mut ids = Vec::with_capacity(self.transactions.len());
        for transaction in &self.transactions {
            let start = bytes.len();
            transaction.write(&mut bytes);
            ids.push(match transaction {
                Transaction::Transfer(_) => tx::Transfer::id_of_encoded(&bytes[start..]),
                Transaction::Coinbase(coinbase) => coinbase.id(),
            });
        }
        (bytes, ids)
    }

    fn encode_header_and_count(&self) -> Vec<u8> {
        let size = self.transactions.len().saturating_mul(MIN_TRANSACTION_BYTES);
        let mut bytes = Vec::with_capacity(size.saturating_add(Header::BYTES));
        bytes.extend_from_slice(&self.header.encode());
        let count =
            u32::try_from(self.transactions.len()).expect("a block in memory counts in u32");
        bytes.extend_from_slice(&count.to_le_bytes());
        bytes
    }

    /// Decodes a block, which must use all bytes. The caller limits the length of the input.
    pub fn decode(bytes: &[u8]) -> Result<Block, DecodeError> {
        let mut input = Decoder::new(bytes);
        let header = Header::read(&mut input)?;
        let count = input.count(MIN_TRANSACTION_BYTES)?;
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

    /// The header of Bitcoin's genesis block.
    const BITCOIN_GENESIS: &str = "0100000000000000000000000000000000000000000000000000000000000000\
                                   000000003ba3edfd7a7b12b27ac72c3e67768f617fc81bc3888a51323a9fb8aa\
                                   4b1e5e4a29ab5f49ffff001d1dac2b7c";

    // N03, C37: rejected before anything is allocated.
    #[test]
    fn rejects_count_above_remaining_input() {
        let mut bytes = hex::decode(BITCOIN_GENESIS).unwrap();
        bytes.extend_from_slice(&u32::MAX.to_le_bytes());
        bytes.extend_from_slice(&[0; 200]);
        assert_eq!(
            Block::decode(&bytes),
            Err(DecodeError::ImpossibleLength { length: u32::MAX, left: 200 })
        );
    }
}
