//! The consensus rules, cheapest first. Each rule is a row of the table in this file (code, stage,
//! description and errors), a function in a submodule, a test that accepts and a test that rejects.
//!
//! The rules perform no I/O: parents, accounts and time are arguments.
//! Source: PROTOCOL.md, "Rules".

pub mod header;
pub mod tx;
pub mod body;

use crate::block::{self, Height, Timestamp};
use crate::codec::DecodeError;
use crate::merkle;
use crate::pow::{Bits, BitsError, Target};
use crate::tx::Id;

/// The stage of validation in which a rule is checked. It decides what breaking the rule means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Rules of the header alone. A header that breaks one is not recorded as invalid.
    Header,
    /// Rules of the header after its parent. A header that breaks one is not recorded as invalid.
    HeaderAfterParent,
    /// Whether the header commits to the body. A mismatch does not invalidate the header.
    Commitment,
    /// Rules of the body alone. From this stage on, a broken rule invalidates the header and its
    /// descendants.
    Body,
    /// Rules of the body after its parent, on the accounts of the parent.
    BodyOnParent,
}

/// Declares the rules in the order in which they are checked: name, stable code, stage, one
/// sentence that states what the rule requires, and the errors that report it broken.
macro_rules! rules {
    ($(
        $rule:ident $code:literal $stage:ident $description:literal => {
            $($(#[$attribute:meta])* $error:ident $({
                $($(#[$doc:meta])* $field:ident: $type:ty,)*
            })?),* $(,)?
        }
    )*) => {
        /// A consensus rule of blocks and transactions.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Rule {
            $(#[doc = concat!("`", $code, "`: ", $description)] $rule,)*
        }

        impl Rule {
            /// All consensus rules, in the order in which they are checked.
            pub const ALL: &[Rule] = &[$(Rule::$rule),*];

            /// The stable code of the rule in the API, in logs and in PROTOCOL.md.
            pub const fn code(self) -> &'static str {
                match self { $(Rule::$rule => $code,)* }
            }

            /// The stage in which the rule is checked.
            pub const fn stage(self) -> Stage {
                match self { $(Rule::$rule => Stage::$stage,)* }
            }

            /// One sentence that states what the rule requires.
            pub const fn description(self) -> &'static str {
                match self { $(Rule::$rule => $description,)* }
            }
        }

        /// A broken rule, with the values that broke it.
        ///
        /// An unknown parent is not an error of the block: see
        /// [`SubmitError`](crate::ledger::SubmitError).
        #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
        pub enum RuleError {
            /// The bytes are not the canonical encoding of a block or a transaction.
            #[error(transparent)]
            Encoding(#[from] DecodeError),
            $($(
                #[doc = concat!("Breaks `", $code, "`.")]
                $(#[$attribute])* $error $({ $($(#[$doc])* $field: $type,)* })?,
            )*)*
        }

        impl RuleError {
            /// The rule that is broken.
            pub fn rule(&self) -> Rule {
                match self {
                    RuleError::Encoding(error) => error.into(),
                    $($(RuleError::$error { .. } => Rule::$rule,)*)*
                }
            }
        }
    };
}

rules! {
    BadVersion "bad-version" Header
        "A header's version is 20000000, apart from the bits that miners may roll." => {
            #[error("version {version:08x} is not 20000000 but for the bits that may roll")]
            BadVersion {
                /// The version in the header.
                version: i32,
            },
        }
    BadBits "bad-bits" Header
        "A header's bits encode a target, and none above the network's limit." => {
            #[error("bits {bits} do not encode a target: {reason}")]
            BadBits {
                /// The bits in the header.
                bits: Bits,
                /// The reason why they encode no target.
                reason: BitsError,
            },
            #[error("bits {bits} are easier than the limit {limit}")]
            BitsAboveLimit {
                /// The bits in the header.
                bits: Bits,
                /// The network's easiest target, as bits.
                limit: Bits,
            },
        }
    HighHash "high-hash" Header
        "A header's hash is at most the target that its bits encode: the proof of work." => {
            #[error("hash {hash} is above the target {target}")]
            HighHash {
                /// The hash of the header.
                hash: block::Hash,
                /// The target that the bits of the header encode.
                target: Target,
            },
        }
    UnknownParent "unknown-parent" HeaderAfterParent
        "The block's parent is known to this node: submit the parent first." => {}
    InvalidAncestor "invalid-ancestor" HeaderAfterParent
        "A block that descends from an invalid one is invalid." => {
            #[error("descends from the invalid block {ancestor}")]
            InvalidAncestor {
                /// The nearest invalid ancestor.
                ancestor: block::Hash,
            },
        }
    WrongBits "wrong-bits" HeaderAfterParent
        "A header's bits are those that the difficulty algorithm requires after its parent." => {
            #[error("bits are {actual}, the parent requires {expected}")]
            WrongBits {
                /// The bits that the difficulty algorithm requires.
                expected: Bits,
                /// The bits in the header.
                actual: Bits,
            },
        }
    TimeTooOld "time-too-old" HeaderAfterParent
        "A block's time is not before its parent's." => {
            #[error("time {actual} is before the parent's {earliest}")]
            TimeTooOld {
                /// The time of the parent, which is the earliest permitted.
                earliest: Timestamp,
                /// The time in the header.
                actual: Timestamp,
            },
        }
    TimeTooNew "time-too-new" HeaderAfterParent
        "A block's time is not far ahead of the node's clock. The block may become valid later." => {
            #[error("time {actual} is too far in the future: this node accepts up to {latest} now")]
            TimeTooNew {
                /// The latest time that this node accepts: its clock plus the network's allowance.
                latest: Timestamp,
                /// The time in the header.
                actual: Timestamp,
            },
        }
    BadEncoding "bad-encoding" Commitment
        "A block or a transaction uses its one canonical encoding." => {}
    BadCoinbaseEncoding "bad-coinbase-encoding" Commitment
        "A coinbase uses its one canonical encoding." => {}
    MemoTooLong "memo-too-long" Commitment
        "A transfer's memo has at most 256 bytes." => {}
    MutatedBody "mutated-body" Commitment
        "A body does not repeat transactions in a way that leaves the Merkle root unchanged." => {
            #[error("the body repeats transactions in a way that leaves the Merkle root unchanged")]
            MutatedBody,
        }
    BadMerkleRoot "bad-merkle-root" Commitment
        "The Merkle root of a body's transactions is the one in the header." => {
            #[error("the transactions have the Merkle root {actual}, the header commits to {expected}")]
            BadMerkleRoot {
                /// The Merkle root in the header.
                expected: merkle::Root,
                /// The root of the body's transactions.
                actual: merkle::Root,
            },
        }
    NoCoinbase "no-coinbase" Body
        "A block's first transaction is a coinbase." => {
            #[error("the block has no coinbase")]
            NoCoinbase,
        }
    CoinbaseMisplaced "coinbase-misplaced" Body
        "A block has no coinbase but its first transaction." => {
            #[error("transaction {position} is a coinbase; only transaction 0 may and must be one")]
            CoinbaseMisplaced {
                /// The position of the misplaced transaction in the block, from 0.
                position: usize,
            },
        }
    BlockTooLarge "block-too-large" Body
        "A block's size is at most the network's limit." => {
            #[error("{size} bytes are above the limit of {limit}")]
            BlockTooLarge {
                /// The size of the encoded block, in bytes.
                size: usize,
                /// The network's limit, in bytes.
                limit: u32,
            },
        }
    DuplicateTransaction "duplicate-transaction" Body
        "A block contains each transaction once." => {
            #[error("duplicate transaction {id}")]
            DuplicateTransaction {
                /// The id of the transaction.
                id: Id,
            },
        }
    ZeroAmount "zero-amount" Body
        "A transfer's amount is at least 1 base unit." => {
            #[error("transfer {id}: amount must be at least 1")]
            ZeroAmount {
                /// The id of the transaction.
                id: Id,
            },
        }
    AmountOverflow "amount-overflow" Body
        "Amount, fee and their sums are at most 2^53 − 1 base units." => {
            #[error("transfer {id}: amount, fee or a sum of them is above 2^53 − 1")]
            AmountOverflow {
                /// The id of the transaction.
                id: Id,
            },
        }
    BadSignature "bad-signature" Body
        "A transfer is signed by its sender for this network." => {
            #[error("transfer {id} is not signed by its sender for this network")]
            BadSignature {
                /// The id of the transaction.
                id: Id,
            },
        }
    WrongCoinbaseHeight "wrong-coinbase-height" BodyOnParent
        "A coinbase contains the height of its block." => {
            #[error("the coinbase has height {actual}, the block is at {expected}")]
            WrongCoinbaseHeight {
                /// The height of the block, one above that of its parent.
                expected: Height,
                /// The height in the coinbase.
                actual: Height,
            },
        }
    BadNonce "bad-nonce" BodyOnParent
        "A sender's transfers are applied in the order of their nonces, without gaps." => {
            #[error("transfer {id} has nonce {actual}, the sender's next is {expected}")]
            BadNonce {
                /// The id of the transaction.
                id: Id,
                /// The number of the sender's earlier transfers in the chain.
                expected: u64,
                /// The nonce of the transfer.
                actual: u64,
            },
        }
    InsufficientBalance "insufficient-balance" BodyOnParent
        "A sender's balance covers the transfer's amount and fee." => {
            #[error("transfer {id} costs {needed} base units, the sender has {available}")]
            InsufficientBalance {
                /// The id of the transaction.
                id: Id,
                /// The sum of amount and fee, in base units.
                needed: u64,
                /// The sender's balance, in base units.
                available: u64,
            },
        }
    WrongReward "wrong-reward" BodyOnParent
        "A coinbase pays exactly the subsidy and the fees." => {
            #[error("the coinbase pays {actual} base units, subsidy and fees are {expected}")]
            WrongReward {
                /// The sum of subsidy and fees, in base units.
                expected: u64,
                /// The reward in the coinbase, in base units.
                actual: u64,
            },
        }
    WrongAccounts "wrong-accounts" BodyOnParent
        "A coinbase commits to the state of all accounts after its block." => {
            #[error(
                "the coinbase commits to the accounts {}, they are {}",
                hex::encode(actual),
                hex::encode(expected)
            )]
            WrongAccounts {
                /// The commitment to the accounts after this block.
                expected: [u8; 32],
                /// The commitment in the coinbase.
                actual: [u8; 32],
            },
        }
}

impl From<&DecodeError> for Rule {
    fn from(error: &DecodeError) -> Rule {
        match error {
            DecodeError::BadCoinbase { .. } => Rule::BadCoinbaseEncoding,
            DecodeError::MemoTooLong { .. } => Rule::MemoTooLong,
            _ => Rule::BadEncoding,
        }
    }
}

impl Rule {
    /// Returns the rule with a stable code.
    pub fn from_code(code: &str) -> Option<Rule> {
        Rule::ALL.iter().copied().find(|rule| rule.code() == code)
    }

    /// Whether breaking the rule makes the header, and so every descendant, permanently invalid.
    pub const fn invalidates_header(self) -> bool {
        matches!(self.stage(), Stage::Body | Stage::BodyOnParent)
    }
}

impl RuleError {
    /// The stable code of the rule.
    pub fn code(&self) -> &'static str {
        self.rule().code()
    }

    /// Whether the header, and so every descendant, is permanently invalid.
    pub fn invalidates_header(&self) -> bool {
        self.rule().invalidates_header()
    }

    /// The required and the found value, where the rule compares two values.
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
