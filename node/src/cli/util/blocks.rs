//! Blocks, transactions and Merkle roots.

use super::headers::HeaderInfo;
use super::input::{bytes, lines};
use super::report::{InputError, Report, ReportResult};
use chain::params::{BLOCK_BYTES_RANGE, Spec};
use chain::rules::{self, RuleError};
use chain::{Bits, Block, Coinbase, Height, Params, Transaction, Transfer, merkle, tx};
use serde::Serialize;
use std::io::BufRead;

#[derive(Debug, Serialize)]
pub(super) struct RootInfo {
    count: usize,
    root: String,
    /// Whether a shorter list has the same root, so that the list is invalid in a block.
    mutated: bool,
}

pub(super) fn merkle(input: impl BufRead) -> ReportResult<RootInfo> {
    let mut ids: Vec<tx::Id> = Vec::new();
    for line in lines(input) {
        let (number, text) = line?;
        let id =
            text.parse().map_err(|error| InputError::encoding(format!("{error}")).at(number))?;
        ids.push(id);
    }
    if ids.is_empty() {
        return Err(InputError::new("bad-request", "there are no transaction ids").into());
    }
    let (root, mutated) = (merkle::root(&ids).to_string(), merkle::is_mutated(&ids));
    Ok(Report::valid(RootInfo { count: ids.len(), root, mutated }))
}

#[derive(Debug, Serialize)]
pub(super) struct BlockInfo {
    #[serde(flatten)]
    header: HeaderInfo,
    size: usize,
    /// Whether the Merkle root of the transactions is that of the header.
    merkle_root_matches: bool,
    mutated: bool,
    transaction_count: usize,
    transactions: Vec<TransactionInfo>,
}

pub(super) fn block(source: &str, stdin: impl BufRead) -> ReportResult<BlockInfo> {
    let bytes = bytes(source, stdin)?;
    let block = Block::decode(&bytes)?;
    let ids = block.ids();
    let info = BlockInfo {
        header: HeaderInfo::of(&block.header),
        size: bytes.len(),
        merkle_root_matches: merkle::root(&ids) == block.header.merkle_root,
        mutated: merkle::is_mutated(&ids),
        transaction_count: ids.len(),
        transactions: block.transactions.iter().map(TransactionInfo::of).collect(),
    };
    Ok(Report::checked(info, check(block)))
}

/// Validates the rules that need neither the chain nor the network of a block.
fn check(block: Block) -> Result<(), RuleError> {
    let lenient = Params::new(Spec {
        limit_bits: EASIEST,
        max_block_bytes: *BLOCK_BYTES_RANGE.end(),
        ..Params::dev().spec().clone()
    })
    .expect("`dev` is well-formed with any limit and any size in range");
    let is_genesis = block.coinbase().is_some_and(|coinbase| coinbase.height == Height::GENESIS);
    match rules::header::check_standalone(&block.header, &lenient) {
        // Genesis blocks need no proof of work.
        Err(RuleError::HighHash { .. }) if is_genesis => {}
        result => result?,
    }
    // Signatures depend on the network: all count as valid.
    rules::body::check(block, &lenient, |_| true, 1).map(|_| ())
}

/// The bits of the easiest target that bits can express.
const EASIEST: Bits = Bits::new(0x2100_ffff);

/// The fields of a transaction by their names in the protocol; bytes in hexadecimal.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum TransactionInfo {
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

impl TransactionInfo {
    fn of(transaction: &Transaction) -> TransactionInfo {
        let (id, size) = (transaction.id().to_string(), transaction.encode().len());
        match transaction {
            Transaction::Coinbase(Coinbase {
                height,
                extra_nonce,
                tag,
                reward,
                recipient,
                commitment,
            }) => TransactionInfo::Coinbase {
                id,
                size,
                height: height.get(),
                extra_nonce: hex::encode(extra_nonce),
                tag: hex::encode(tag.as_bytes()),
                reward: *reward,
                recipient: hex::encode(recipient.as_bytes()),
                commitment: hex::encode(commitment),
            },
            Transaction::Transfer(transfer) => TransactionInfo::Transfer {
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

/// A transaction outside a block.
#[derive(Debug, Serialize)]
pub(super) struct SignedInfo {
    #[serde(flatten)]
    transaction: TransactionInfo,
    /// The built-in network that a transfer is signed for; empty for another network or an invalid
    /// signature.
    #[serde(skip_serializing_if = "Option::is_none")]
    signed_for: Option<Vec<String>>,
}

pub(super) fn transaction(source: &str, stdin: impl BufRead) -> ReportResult<SignedInfo> {
    let transaction = Transaction::decode(&bytes(source, stdin)?)?;
    let (signed_for, result) = match &transaction {
        Transaction::Coinbase(_) => (None, Ok(())),
        Transaction::Transfer(transfer) => match signed_for(transfer) {
            Ok(networks) => (Some(networks), Ok(())),
            Err(error) => (None, Err(error)),
        },
    };
    let transaction = TransactionInfo::of(&transaction);
    Ok(Report::checked(SignedInfo { transaction, signed_for }, result))
}

/// The built-in networks that a transfer is signed for; an error if it breaks a rule of all networks.
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
