//! The reasons why the mempool rejects or drops a transfer.

use crate::tx::Id;

/// The reason why a transfer was not accepted into the mempool, or was dropped from it. This is
/// policy, not consensus: another node may accept the transfer, and a block may contain it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectReason {
    /// `nonce-used`: the chain has a transfer of the sender with this nonce.
    #[error("nonce {actual} is already used; the sender's next nonce is {expected}")]
    NonceUsed {
        /// The next nonce of the account.
        expected: u64,
        /// The nonce of the transfer.
        actual: u64,
    },
    /// `nonce-too-far`: the nonce is too far beyond the first missing one.
    #[error("nonce {actual} is too far ahead; the maximum for this sender is now {latest}")]
    NonceTooFar {
        /// The highest nonce that the mempool accepts from the sender.
        latest: u64,
        /// The nonce of the transfer.
        actual: u64,
    },
    /// `insufficient-balance`: the balance does not cover the transfer and the pending ones before
    /// it.
    #[error(
        "the transfer and the sender's earlier ones cost {needed} base units, the balance is \
         {available}"
    )]
    InsufficientBalance {
        /// The amounts and fees of the transfer and of the pending ones before it, in base units.
        needed: u64,
        /// The balance at the tip, in base units.
        available: u64,
    },
    /// `min-fee`: the fee is below the minimum fee rate.
    #[error("the fee of {actual} base units is too low; {needed} are needed at {rate} per byte")]
    MinFee {
        /// The minimum fee rate, in base units per byte.
        rate: u64,
        /// The minimum fee for the size of the transfer, in base units.
        needed: u64,
        /// The fee of the transfer, in base units.
        actual: u64,
    },
    /// `mempool-full`: the mempool is full of transfers with higher fee rates.
    #[error(
        "the mempool is full; a fee rate of {needed} base units per byte is needed, the transfer \
         and its ancestors pay {actual}"
    )]
    MempoolFull {
        /// The sufficient fee rate, in base units per byte.
        needed: u64,
        /// The fee rate of the transfer together with the earlier ones that it is mined with, in
        /// base units per byte, rounded down.
        actual: u64,
    },
    /// `mempool-full`: the mempool is full of pending transfers, and this one is only queued.
    #[error("the mempool is full; transfers that wait for an earlier nonce are dropped first")]
    MempoolFullOfPending,
    /// `replacement-too-cheap`: the transfer does not pay enough to replace another one.
    #[error(
        "replacing the transfer with this nonce needs a fee of {needed} base units, the new fee \
         is {actual}"
    )]
    ReplacementTooCheap {
        /// The minimum fee, in base units.
        needed: u64,
        /// The fee of the transfer, in base units.
        actual: u64,
    },
    /// `would-replace`: the sender has another transfer with this nonce in the mempool, and the
    /// submitter forbids a replacement.
    #[error("transfer {id} of the same sender has this nonce, and must not be replaced")]
    WouldReplace {
        /// The id of the other transfer.
        id: Id,
    },
    /// `sender-limit`: the sender has too many transfers in the mempool.
    #[error("the mempool holds at most {limit} transfers of a sender")]
    SenderLimit {
        /// The maximum number of transfers.
        limit: usize,
    },
    /// `sender-limit`: the sender replaced too many transfers since the last block.
    #[error("a sender may replace at most {limit} transfers between two blocks")]
    ReplacementLimit {
        /// The maximum number of replacements.
        limit: usize,
    },
    /// `replaced`: the transfer was dropped because its sender replaced it.
    #[error("replaced by transfer {by} of the same sender")]
    Replaced {
        /// The id of the replacement.
        by: Id,
    },
    /// `expired`: the transfer was dropped because an earlier nonce did not arrive in time.
    #[error("expired while waiting for the transfer with nonce {missing}")]
    Expired {
        /// The nonce of the transfer that did not arrive.
        missing: u64,
    },
    /// `removed`: the transfer was dropped because the operator of the node removed it.
    #[error("removed by the operator of the node")]
    Removed,
}

impl RejectReason {
    /// Returns the stable code of the reason.
    pub fn code(&self) -> &'static str {
        match self {
            RejectReason::NonceUsed { .. } => "nonce-used",
            RejectReason::NonceTooFar { .. } => "nonce-too-far",
            RejectReason::InsufficientBalance { .. } => "insufficient-balance",
            RejectReason::MinFee { .. } => "min-fee",
            RejectReason::MempoolFull { .. } | RejectReason::MempoolFullOfPending => "mempool-full",
            RejectReason::ReplacementTooCheap { .. } => "replacement-too-cheap",
            RejectReason::WouldReplace { .. } => "would-replace",
            RejectReason::SenderLimit { .. } | RejectReason::ReplacementLimit { .. } => {
                "sender-limit"
            }
            RejectReason::Replaced { .. } => "replaced",
            RejectReason::Expired { .. } => "expired",
            RejectReason::Removed => "removed",
        }
    }

    /// Returns the required value and the actual one, if the reason compares two numbers.
    pub fn expected_and_actual(&self) -> Option<(u64, u64)> {
        match *self {
            RejectReason::NonceUsed { expected, actual } => Some((expected, actual)),
            RejectReason::NonceTooFar { latest, actual } => Some((latest, actual)),
            RejectReason::InsufficientBalance { needed, available } => Some((needed, available)),
            RejectReason::MinFee { needed, actual, .. }
            | RejectReason::MempoolFull { needed, actual }
            | RejectReason::ReplacementTooCheap { needed, actual } => Some((needed, actual)),
            RejectReason::MempoolFullOfPending
            | RejectReason::WouldReplace { .. }
            | RejectReason::SenderLimit { .. }
            | RejectReason::ReplacementLimit { .. }
            | RejectReason::Replaced { .. }
            | RejectReason::Expired { .. }
            | RejectReason::Removed => None,
        }
    }
}
