//! Why a transfer is not in the pool: refused at the door or dropped later, the reasons are the
//! same ones.

use crate::tx::Id;

/// Why a transfer may not enter the pool, or had to leave it. Policy, not consensus: another node
/// may judge otherwise, and a block may contain the transfer all the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// `nonce-used`: a transfer with this nonce is in the chain.
    #[error("nonce {actual} is used already, the sender's next is {expected}")]
    NonceUsed {
        /// The account's.
        expected: u64,
        /// The transfer's.
        actual: u64,
    },
    /// `nonce-too-far`
    #[error("nonce {actual} is too far ahead, this pool takes up to {latest} of this sender now")]
    NonceTooFar {
        /// The highest this pool would hold.
        latest: u64,
        /// The transfer's.
        actual: u64,
    },
    /// `insufficient-balance`
    #[error(
        "with those before it the transfer takes {needed} base units, its sender has {available}"
    )]
    InsufficientBalance {
        /// Amounts and fees of the pending ones before it, and its own.
        needed: u64,
        /// The balance at the tip.
        available: u64,
    },
    /// `min-fee`
    #[error("the fee is {actual} base units, at {rate} a byte this transfer needs {needed}")]
    MinFee {
        /// The least rate, base units per byte.
        rate: u64,
        /// The least fee for its size.
        needed: u64,
        /// The transfer's.
        actual: u64,
    },
    /// `mempool-full`
    #[error(
        "the pool is full of transfers that pay more: {needed} base units a byte are needed, with those before it this one pays {actual}"
    )]
    MempoolFull {
        /// Base units per byte that would do.
        needed: u64,
        /// Base units per byte of the transfer and those it counts with, rounded down.
        actual: u64,
    },
    /// `mempool-full`, for one that could not be mined yet.
    #[error("the pool is full, and transfers that wait for an earlier nonce give way first")]
    MempoolFullOfReady,
    /// `replacement-too-cheap`
    #[error(
        "the pool has a transfer with this nonce; to replace it takes a fee of {needed} base units, this one pays {actual}"
    )]
    ReplacementTooCheap {
        /// The least fee.
        needed: u64,
        /// The transfer's.
        actual: u64,
    },
    /// `sender-limit`
    #[error("the pool holds at most {limit} transfers of a sender")]
    SenderLimit {
        /// Transfers.
        limit: usize,
    },
    /// `sender-limit`, for replacements.
    #[error("a sender may replace at most {limit} transfers between two blocks")]
    ReplacementLimit {
        /// Replacements.
        limit: usize,
    },
    /// `replaced`: only for dropped ones.
    #[error("its sender replaced it by {by}")]
    Replaced {
        /// The one that has its nonce now.
        by: Id,
    },
    /// `expired`: only for dropped ones.
    #[error("the transfer with nonce {missing}, which must come first, did not come in time")]
    Expired {
        /// The nonce it waited for.
        missing: u64,
    },
}

impl Refusal {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::NonceUsed { .. } => "nonce-used",
            Refusal::NonceTooFar { .. } => "nonce-too-far",
            Refusal::InsufficientBalance { .. } => "insufficient-balance",
            Refusal::MinFee { .. } => "min-fee",
            Refusal::MempoolFull { .. } | Refusal::MempoolFullOfReady => "mempool-full",
            Refusal::ReplacementTooCheap { .. } => "replacement-too-cheap",
            Refusal::SenderLimit { .. } | Refusal::ReplacementLimit { .. } => "sender-limit",
            Refusal::Replaced { .. } => "replaced",
            Refusal::Expired { .. } => "expired",
        }
    }

    /// What is demanded and what was found, where that is a comparison of two numbers.
    pub fn expected_and_actual(&self) -> Option<(u64, u64)> {
        match *self {
            Refusal::NonceUsed { expected, actual } => Some((expected, actual)),
            Refusal::NonceTooFar { latest, actual } => Some((latest, actual)),
            Refusal::InsufficientBalance { needed, available } => Some((needed, available)),
            Refusal::MinFee { needed, actual, .. }
            | Refusal::MempoolFull { needed, actual }
            | Refusal::ReplacementTooCheap { needed, actual } => Some((needed, actual)),
            Refusal::MempoolFullOfReady
            | Refusal::SenderLimit { .. }
            | Refusal::ReplacementLimit { .. }
            | Refusal::Replaced { .. }
            | Refusal::Expired { .. } => None,
        }
    }
}
