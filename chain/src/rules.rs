//! The rules, cheapest first, each with its stable code, and the one error that names them all.
//! A rule is one row of `TABLE`, one function in a submodule, one variant here, one test that
//! accepts and one that rejects. What is not in the table is not a rule.
//!
//! Does not fetch anything: parents, accounts and time are arguments.
//! Source: PROTOCOL.md, "Rules".

pub mod header;
pub mod tx;
pub mod body;

use crate::block::{self, Height, Timestamp};
use crate::codec::DecodeError;
use crate::merkle;
use crate::pow::{Bits, BitsError, Target};
use crate::tx::Id;

/// When a rule is checked, and so what breaking it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The header alone. A header that fails is not remembered.
    Header,
    /// The header after its parent. Not remembered either.
    HeaderAfterParent,
    /// Whether the body is the one the header commits to. Says nothing about the header.
    Commitment,
    /// The body alone. From here on the header and its descendants are invalid.
    Body,
    /// The body on its parent's accounts.
    BodyOnParent,
}

/// Every rule in the order of checking.
pub const TABLE: [(&str, Stage); 25] = [
    ("bad-version", Stage::Header),
    ("bad-bits", Stage::Header),
    ("high-hash", Stage::Header),
    ("unknown-parent", Stage::HeaderAfterParent),
    ("invalid-ancestor", Stage::HeaderAfterParent),
    ("wrong-bits", Stage::HeaderAfterParent),
    ("time-too-old", Stage::HeaderAfterParent),
    ("time-too-new", Stage::HeaderAfterParent),
    ("bad-encoding", Stage::Commitment),
    ("bad-coinbase-encoding", Stage::Commitment),
    ("memo-too-long", Stage::Commitment),
    ("mutated-body", Stage::Commitment),
    ("bad-merkle-root", Stage::Commitment),
    ("no-coinbase", Stage::Body),
    ("coinbase-misplaced", Stage::Body),
    ("block-too-large", Stage::Body),
    ("duplicate-transaction", Stage::Body),
    ("zero-amount", Stage::Body),
    ("amount-overflow", Stage::Body),
    ("bad-signature", Stage::Body),
    ("wrong-coinbase-height", Stage::BodyOnParent),
    ("bad-nonce", Stage::BodyOnParent),
    ("insufficient-balance", Stage::BodyOnParent),
    ("wrong-reward", Stage::BodyOnParent),
    ("wrong-accounts", Stage::BodyOnParent),
];

/// A broken rule. `unknown-parent` is nobody's fault and is not here: see `ledger::SubmitError`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// `bad-version`
    #[error("version {version:08x} is not 20000000 but for the bits that may roll")]
    BadVersion {
        /// As in the header.
        version: i32,
    },
    /// `bad-bits`: no target at all.
    #[error("bits {bits} are not a target: {reason}")]
    BadBits {
        /// As in the header.
        bits: Bits,
        /// What is wrong with them.
        reason: BitsError,
    },
    /// `bad-bits`: a target above the limit.
    #[error("bits {bits} are easier than the limit {limit}")]
    BitsAboveLimit {
        /// As in the header.
        bits: Bits,
        /// The network's.
        limit: Bits,
    },
    /// `high-hash`
    #[error("hash {hash} is above the target {target}")]
    HighHash {
        /// The header's.
        hash: block::Hash,
        /// The one its bits stand for.
        target: Target,
    },
    /// `invalid-ancestor`
    #[error("it descends from the invalid block {ancestor}")]
    InvalidAncestor {
        /// The nearest invalid block.
        ancestor: block::Hash,
    },
    /// `wrong-bits`
    #[error("bits are {actual}, its parent demands {expected}")]
    WrongBits {
        /// What the parent demands.
        expected: Bits,
        /// As in the header.
        actual: Bits,
    },
    /// `time-too-old`
    #[error("time {actual} is before the parent's {earliest}")]
    TimeTooOld {
        /// The parent's time.
        earliest: Timestamp,
        /// As in the header.
        actual: Timestamp,
    },
    /// `time-too-new`: may become valid.
    #[error("time {actual} is too far in the future: this node accepts up to {latest} now")]
    TimeTooNew {
        /// This node's clock and the network's allowance.
        latest: Timestamp,
        /// As in the header.
        actual: Timestamp,
    },
    /// `bad-encoding`, `bad-coinbase-encoding`, `memo-too-long`
    #[error(transparent)]
    Encoding(#[from] DecodeError),
    /// `mutated-body`
    #[error("the body repeats transactions in a way that keeps the Merkle root")]
    MutatedBody,
    /// `bad-merkle-root`
    #[error("the transactions have the Merkle root {actual}, the header commits to {expected}")]
    BadMerkleRoot {
        /// As in the header.
        expected: merkle::Root,
        /// The body's.
        actual: merkle::Root,
    },
    /// `no-coinbase`
    #[error("there is no coinbase")]
    NoCoinbase,
    /// `coinbase-misplaced`
    #[error("transaction {position} is a coinbase; only transaction 0 may and must be one")]
    CoinbaseMisplaced {
        /// Where it stands.
        position: usize,
    },
    /// `block-too-large`
    #[error("{size} bytes are above the limit of {limit}")]
    BlockTooLarge {
        /// Bytes of the encoded block.
        size: usize,
        /// The network's limit.
        limit: u32,
    },
    /// `duplicate-transaction`
    #[error("transaction {id} stands in the block twice")]
    DuplicateTransaction {
        /// Which.
        id: Id,
    },
    /// `zero-amount`
    #[error("transfer {id} moves nothing; the least is 1")]
    ZeroAmount {
        /// Which.
        id: Id,
    },
    /// `amount-overflow`
    #[error("transfer {id}: amount, fee or a sum of them is above 2^53 − 1")]
    AmountOverflow {
        /// Which.
        id: Id,
    },
    /// `bad-signature`
    #[error("transfer {id} is not signed by its sender for this network")]
    BadSignature {
        /// Which.
        id: Id,
    },
    /// `wrong-coinbase-height`
    #[error("the coinbase says height {actual}, the block is at {expected}")]
    WrongCoinbaseHeight {
        /// One above the parent's.
        expected: Height,
        /// As in the coinbase.
        actual: Height,
    },
    /// `bad-nonce`
    #[error("transfer {id} has nonce {actual}, its sender's next is {expected}")]
    BadNonce {
        /// Which.
        id: Id,
        /// Transfers the sender already has in the chain.
        expected: u64,
        /// As in the transfer.
        actual: u64,
    },
    /// `insufficient-balance`
    #[error("transfer {id} takes {needed} base units, its sender has {available}")]
    InsufficientBalance {
        /// Which.
        id: Id,
        /// Amount and fee, base units.
        needed: u64,
        /// The balance, base units.
        available: u64,
    },
    /// `wrong-reward`
    #[error("the coinbase takes {actual} base units, subsidy and fees are {expected}")]
    WrongReward {
        /// Subsidy and fees, base units.
        expected: u64,
        /// As in the coinbase.
        actual: u64,
    },
    /// `wrong-accounts`
    #[error(
        "the coinbase commits to the accounts {}, they are {}",
        hex::encode(actual),
        hex::encode(expected)
    )]
    WrongAccounts {
        /// The commitment to the accounts after this block.
        expected: [u8; 32],
        /// As in the coinbase.
        actual: [u8; 32],
    },
}

impl RuleError {
    /// The rule's stable code.
    pub fn code(&self) -> &'static str {
        match self {
            RuleError::BadVersion { .. } => "bad-version",
            RuleError::BadBits { .. } | RuleError::BitsAboveLimit { .. } => "bad-bits",
            RuleError::HighHash { .. } => "high-hash",
            RuleError::InvalidAncestor { .. } => "invalid-ancestor",
            RuleError::WrongBits { .. } => "wrong-bits",
            RuleError::TimeTooOld { .. } => "time-too-old",
            RuleError::TimeTooNew { .. } => "time-too-new",
            RuleError::Encoding(error) => error.code(),
            RuleError::MutatedBody => "mutated-body",
            RuleError::BadMerkleRoot { .. } => "bad-merkle-root",
            RuleError::NoCoinbase => "no-coinbase",
            RuleError::CoinbaseMisplaced { .. } => "coinbase-misplaced",
            RuleError::BlockTooLarge { .. } => "block-too-large",
            RuleError::DuplicateTransaction { .. } => "duplicate-transaction",
            RuleError::ZeroAmount { .. } => "zero-amount",
            RuleError::AmountOverflow { .. } => "amount-overflow",
            RuleError::BadSignature { .. } => "bad-signature",
            RuleError::WrongCoinbaseHeight { .. } => "wrong-coinbase-height",
            RuleError::BadNonce { .. } => "bad-nonce",
            RuleError::InsufficientBalance { .. } => "insufficient-balance",
            RuleError::WrongReward { .. } => "wrong-reward",
            RuleError::WrongAccounts { .. } => "wrong-accounts",
        }
    }

    /// When the rule is checked.
    pub fn stage(&self) -> Stage {
        let row = TABLE.iter().find(|(code, _)| *code == self.code());
        row.expect("every code is in the table").1
    }

    /// Whether the header, and so every descendant, is invalid for ever.
    pub fn invalidates_header(&self) -> bool {
        matches!(self.stage(), Stage::Body | Stage::BodyOnParent)
    }

    /// What the rule demands and what was found, where that is a comparison of two values.
    pub fn expected_and_actual(&self) -> Option<(String, String)> {
        let pair = |expected: &dyn ToString, actual: &dyn ToString| {
            Some((expected.to_string(), actual.to_string()))
        };
        match self {
            RuleError::WrongBits { expected, actual } => pair(expected, actual),
            RuleError::TimeTooOld { earliest, actual } => pair(earliest, actual),
            RuleError::TimeTooNew { latest, actual } => pair(latest, actual),
            RuleError::BadMerkleRoot { expected, actual } => pair(expected, actual),
            RuleError::BlockTooLarge { size, limit } => pair(limit, size),
            RuleError::WrongCoinbaseHeight { expected, actual } => pair(expected, actual),
            RuleError::BadNonce { expected, actual, .. } => pair(expected, actual),
            RuleError::InsufficientBalance { needed, available, .. } => pair(needed, available),
            RuleError::WrongReward { expected, actual } => pair(expected, actual),
            RuleError::WrongAccounts { expected, actual } => {
                pair(&hex::encode(expected), &hex::encode(actual))
            }
            _ => None,
        }
    }
}
