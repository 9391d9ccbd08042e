//! Why a transfer is not in the pool: refused at the door or dropped later, the reasons are the
//! same ones.

use crate::tx::Id;

/// Why a transfer may not enter the pool, or had to leave it. Policy, not consensus: another node
/// may judge otherwise, and a block may contain the transfer all the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectReason {
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
    MempoolFullOfPending,
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

impl RejectReason {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            RejectReason::NonceUsed { .. } => "nonce-used",
            RejectReason::NonceTooFar { .. } => "nonce-too-far",
            RejectReason::InsufficientBalance { .. } => "insufficient-balance",
            RejectReason::MinFee { .. } => "min-fee",
            RejectReason::MempoolFull { .. } | RejectReason::MempoolFullOfPending => "mempool-full",
            RejectReason::ReplacementTooCheap { .. } => "replacement-too-cheap",
            RejectReason::SenderLimit { .. } | RejectReason::ReplacementLimit { .. } => {
                "sender-limit"
            }
            RejectReason::Replaced { .. } => "replaced",
            RejectReason::Expired { .. } => "expired",
        }
    }

    /// What is demanded and what was found, where that is a comparison of two numbers.
    pub fn expected_and_actual(&self) -> Option<(u64, u64)> {
        match *self {
            RejectReason::NonceUsed { expected, actual } => Some((expected, actual)),
            RejectReason::NonceTooFar { latest, actual } => Some((latest, actual)),
            RejectReason::InsufficientBalance { needed, available } => Some((needed, available)),
            RejectReason::MinFee { needed, actual, .. }
            | RejectReason::MempoolFull { needed, actual }
            | RejectReason::ReplacementTooCheap { needed, actual } => Some((needed, actual)),
            RejectReason::MempoolFullOfPending
            | RejectReason::SenderLimit { .. }
            | RejectReason::ReplacementLimit { .. }
            | RejectReason::Replaced { .. }
            | RejectReason::Expired { .. } => None,
        }
    }
}
