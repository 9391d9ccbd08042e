//! What is mined: a block's header but for what miners choose, and which shares of it came already.

use super::difficulty::Difficulty;
use chain::merkle::Branch;
use chain::{Header, Target, Timestamp, block};
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// Most shares of one work, over all connections: 20,000 a second for 26 seconds. They take some
/// 10 MB.
const MAX_SHARES: usize = 1 << 19;

/// A block that lacks its nonce and knows what its coinbase would be, whomever it paid.
pub trait CoinbaseSource {
    /// Whom it can pay.
    type PayoutAddress: Clone + PartialEq;

    /// The coinbase that pays somebody.
    fn coinbase(&self, payout_address: &Self::PayoutAddress) -> CoinbaseParts;
}

/// The two parts of a coinbase, with the 8 bytes of extra nonce left out between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoinbaseParts {
    /// All bytes before it.
    pub prefix: Vec<u8>,
    /// All bytes after it.
    pub suffix: Vec<u8>,
}

/// Something to mine. Shared by all connections.
#[derive(Debug)]
pub struct BlockTemplate<C> {
    pub(super) id: u32,
    pub(super) header: Header,
    pub(super) branch: Branch,
    pub(super) target: Target,
    /// The difficulty of `target`.
    pub(super) hardest: Difficulty,
    pub(super) earliest: Timestamp,
    source: C,
    /// Eight bytes of each share's hash, which no target fixes.
    seen: Mutex<HashSet<u64>>,
}

/// Whether a share came before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DuplicateStatus {
    First,
    Again,
    /// So many came that this cannot be told any more.
    Unknown,
}

impl<C> BlockTemplate<C> {
    /// From the header, of which the nonce and the Merkle root do not matter; from the branch
    /// between coinbase and root; and from the parent's time, which no block may be before. Ids
    /// must grow.
    pub fn new(
        id: u32,
        header: Header,
        branch: Branch,
        target: Target,
        earliest: Timestamp,
        source: C,
    ) -> BlockTemplate<C> {
        let (hardest, seen) = (Difficulty::from_target(target), Mutex::default());
        BlockTemplate { id, header, branch, target, hardest, earliest, source, seen }
    }

    /// The header that miners begin with.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The block as the caller knows it.
    pub fn source(&self) -> &C {
        &self.source
    }

    /// Remembers a share by its hash.
    pub(super) fn arrives(&self, hash: &block::Hash) -> DuplicateStatus {
        let [a, b, c, d, e, f, g, h, ..] = *hash.as_bytes();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let key = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        if seen.contains(&key) {
            DuplicateStatus::Again
        } else if seen.len() >= MAX_SHARES {
            DuplicateStatus::Unknown
        } else {
            seen.insert(key);
            DuplicateStatus::First
        }
    }
}
