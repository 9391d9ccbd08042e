//! Transfers and blocks without valid signatures and proof of work.

use chain::block::{self, Block, Header, Height, Timestamp};
use chain::pow::Bits;
use chain::signature::{PublicKey, Signature};
use chain::tx::{Coinbase, Memo, Tag, Transaction, Transfer};
use chain::{Address, merkle};

/// A transfer without memo that depends on a number.
pub(crate) fn transfer(number: u32) -> Transfer {
    let mut sender = [7; 32];
    sender[..4].copy_from_slice(&number.to_le_bytes());
    Transfer {
        sender: PublicKey::from_bytes(sender),
        nonce: 0,
        recipient: Address::from_bytes([9; 20]),
        amount: 1,
        fee: 145,
        memo: Memo::default(),
        signature: Signature::from_bytes([5; 64]),
    }
}

/// A coinbase of a height.
pub(crate) fn coinbase(height: u32) -> Transaction {
    Transaction::Coinbase(Coinbase {
        height: Height::new(height),
        extra_nonce: [1; 8],
        tag: Tag::default(),
        reward: 5_000_000_000,
        recipient: Address::from_bytes([8; 20]),
        commitment: [4; 32],
    })
}

/// A block of a coinbase and transfers with their Merkle root.
pub(crate) fn block(transfers: impl IntoIterator<Item = Transfer>) -> Block {
    let transfers = transfers.into_iter().map(Transaction::Transfer);
    let transactions: Vec<Transaction> = std::iter::once(coinbase(1)).chain(transfers).collect();
    let ids: Vec<_> = transactions.iter().map(Transaction::id).collect();
    Block { header: Header { merkle_root: merkle::root(&ids), ..header(1) }, transactions }
}

/// A header with a nonce.
pub(crate) fn header(nonce: u32) -> Header {
    Header {
        version: Header::VERSION,
        previous: block::Hash::from_bytes([3; 32]),
        merkle_root: merkle::Root::ZERO,
        time: Timestamp::new(1_800_000_000),
        bits: Bits::new(0x207f_ffff),
        nonce,
    }
}
