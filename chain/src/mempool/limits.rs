//! The limits of the mempool.

/// The memory in bytes that one transfer counts for, including all bookkeeping. Measured: 590 bytes
/// where a sender has many transfers without memo, 1,160 bytes where each sender has one with the
/// longest memo. All transfers count the same, so that evicting one always makes room for another.
pub const ENTRY_BYTES: usize = 1_280;

/// The limits of the mempool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The maximum memory in bytes, at [`ENTRY_BYTES`] per transfer.
    pub max_bytes: usize,
    /// The minimum fee in base units per byte; 0 accepts transfers without a fee.
    pub min_fee_rate: u64,
    /// The maximum number of transfers of one sender, and of replacements by one sender between two
    /// blocks. The default suits a script that pays a class from one account; 52 such senders fill
    /// the mempool, and then fees decide.
    pub max_per_sender: usize,
    /// The maximum distance of a nonce from the first missing one, which also limits the number of
    /// queued transfers.
    pub max_nonces_ahead: u64,
    /// The maximum time that transfers wait for a missing nonce, in seconds.
    pub max_wait_seconds: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_bytes: 64 << 20,
            min_fee_rate: 1,
            max_per_sender: 1_000,
            max_nonces_ahead: 64,
            max_wait_seconds: 3_600,
        }
    }
}
