//! Blocks, transactions and Merkle roots.

use super::headers::HeaderFacts;
use super::input::{bytes, lines};
use super::report::{Fault, Finding, Outcome};
use chain::params::{BLOCK_BYTES_RANGE, Spec};
use chain::rules::{self, RuleError};
use chain::{Bits, Block, Coinbase, Height, Params, Transaction, Transfer, merkle, tx};
use serde::Serialize;
use std::io::BufRead;

#[derive(Debug, Serialize)]
pub(super) struct RootFacts {
    count: usize,
    root: String,
    /// Whether a shorter list has the same root, so that no block may have this one.
    mutated: bool,
}

pub(super) fn merkle(input: impl BufRead) -> Outcome<RootFacts> {
    let mut ids: Vec<tx::Id> = Vec::new();
    for line in lines(input) {
        let (number, text) = line?;
        let id = text.parse().map_err(|error| Fault::encoding(format!("{error}")).at(number))?;
        ids.push(id);
    }
    if ids.is_empty() {
        return Err(Fault::new("bad-request", "there are no transaction ids").into());
    }
    let (root, mutated) = (merkle::root(&ids).to_string(), merkle::is_mutated(&ids));
    Ok(Finding::valid(RootFacts { count: ids.len(), root, mutated }))
}

#[derive(Debug, Serialize)]
pub(super) struct BlockFacts {
    #[serde(flatten)]
    header: HeaderFacts,
    size: usize,
    /// Whether the transactions have the root the header commits to.
    merkle_root_matches: bool,
    mutated: bool,
    transaction_count: usize,
    transactions: Vec<TransactionFacts>,
}

pub(super) fn block(source: &str, stdin: impl BufRead) -> Outcome<BlockFacts> {
    let bytes = bytes(source, stdin)?;
    let block = Block::decode(&bytes)?;
    let ids = block.ids();
    let facts = BlockFacts {
        header: HeaderFacts::of(&block.header),
        size: bytes.len(),
        merkle_root_matches: merkle::root(&ids) == block.header.merkle_root,
        mutated: merkle::is_mutated(&ids),
        transaction_count: ids.len(),
        transactions: block.transactions.iter().map(TransactionFacts::of).collect(),
    };
    Ok(Finding::judged(facts, check(block)))
}

/// All that can be said of a block without its chain and its network: what fails here fails on
/// every network.
fn check(block: Block) -> Result<(), RuleError> {
    let lenient = Params::new(Spec {
        limit_bits: EASIEST,
        max_block_bytes: *BLOCK_BYTES_RANGE.end(),
        ..Params::dev().spec().clone()
    })
    .expect("`dev` is well-formed with any limit and any size in range");
    let is_genesis = block.coinbase().is_some_and(|coinbase| coinbase.height == Height::GENESIS);
    match rules::header::check_standalone(&block.header, &lenient) {
        // Nobody mines genesis.
        Err(RuleError::HighHash { .. }) if is_genesis => {}
        verdict => verdict?,
    }
    // Which genesis hash a signature must bind to is a matter of the network: take them as good.
    rules::body::check(block, &lenient, |_| true, 1).map(|_| ())
}

/// The bits of the easiest target that bits can express.
const EASIEST: Bits = Bits::new(0x2100_ffff);

/// A transaction's fields under the names of the protocol; bytes in hexadecimal.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum TransactionFacts {
    Coinbase {
        id: String,
        size: usize,
        height: u32,
        extra_nonce: String,
        tag: String,
        reward: u64,
        recipient: String,
        commitment: String,
    },
    Transfer {
        id: String,
        size: usize,
        sender: String,
        sender_address: String,
        nonce: u64,
        recipient: String,
        amount: u64,
        fee: u64,
        memo: String,
        signature: String,
    },
}

impl TransactionFacts {
    fn of(transaction: &Transaction) -> TransactionFacts {
        let (id, size) = (transaction.id().to_string(), transaction.encode().len());
        match transaction {
            Transaction::Coinbase(Coinbase {
                height,
                extra_nonce,
                tag,
                reward,
                recipient,
                commitment,
            }) => TransactionFacts::Coinbase {
                id,
                size,
                height: height.get(),
                extra_nonce: hex::encode(extra_nonce),
                tag: hex::encode(tag.as_bytes()),
                reward: *reward,
                recipient: hex::encode(recipient.as_bytes()),
                commitment: hex::encode(commitment),
            },
            Transaction::Transfer(transfer) => TransactionFacts::Transfer {
                id,
                size,
                sender: hex::encode(transfer.sender.as_bytes()),
                sender_address: hex::encode(transfer.sender_address().as_bytes()),
                nonce: transfer.nonce,
                recipient: hex::encode(transfer.recipient.as_bytes()),
                amount: transfer.amount,
                fee: transfer.fee,
                memo: hex::encode(transfer.memo.as_bytes()),
                signature: hex::encode(transfer.signature.as_bytes()),
            },
        }
    }
}

/// A transaction alone.
#[derive(Debug, Serialize)]
pub(super) struct SignedFacts {
    #[serde(flatten)]
    transaction: TransactionFacts,
    /// The built-in networks that a transfer is signed for: no more than one, and none for a
    /// transfer of another network or one that somebody changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    signed_for: Option<Vec<String>>,
}

pub(super) fn transaction(source: &str, stdin: impl BufRead) -> Outcome<SignedFacts> {
    let transaction = Transaction::decode(&bytes(source, stdin)?)?;
    let (signed_for, verdict) = match &transaction {
        Transaction::Coinbase(_) => (None, Ok(())),
        Transaction::Transfer(transfer) => match signed_for(transfer) {
            Ok(networks) => (Some(networks), Ok(())),
            Err(error) => (None, Err(error)),
        },
    };
    let transaction = TransactionFacts::of(&transaction);
    Ok(Finding::judged(SignedFacts { transaction, signed_for }, verdict))
}

/// The built-in networks a transfer is signed for, unless it breaks a rule that all networks have.
fn signed_for(transfer: &Transfer) -> Result<Vec<String>, RuleError> {
    let mut networks = Vec::new();
    for params in Params::built_in() {
        match rules::tx::check(transfer.clone(), params.genesis_hash()) {
            Ok(_) => networks.push(params.name().to_owned()),
            Err(RuleError::BadSignature { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(networks)
}
