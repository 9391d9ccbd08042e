//! Block templates: the parts of a block that miners do not choose, and the shares already
//! submitted for it.

use super::difficulty::Difficulty;
use chain::merkle::Branch;
use chain::{Header, Target, Timestamp, block};
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// The maximum number of shares recorded per template, over all sessions: 20,000 per second for 26
/// seconds. They use some 10 MB.
const MAX_SHARES: usize = 1 << 19;

/// Builds the coinbase of a block template for any payout address.
pub trait CoinbaseSource {
    /// The address that a coinbase pays.
    type PayoutAddress: Clone + PartialEq;

    /// Returns the coinbase that pays `payout_address`.
    fn coinbase(&self, payout_address: &Self::PayoutAddress) -> CoinbaseParts;
}

/// A serialized coinbase without the 8 bytes of extra nonce between its two parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoinbaseParts {
    /// The bytes before the extra nonce.
    pub prefix: Vec<u8>,
    /// The bytes after the extra nonce.
    pub suffix: Vec<u8>,
}

/// A block template shared by all sessions. `C` builds its coinbase.
#[derive(Debug)]
pub struct BlockTemplate<C> {
    pub(super) id: u32,
    pub(super) header: Header,
    pub(super) branch: Branch,
    pub(super) target: Target,
    /// The difficulty of `target`: no share needs more.
    pub(super) max_difficulty: Difficulty,
    pub(super) earliest: Timestamp,
    source: C,
    /// The first eight bytes of the hash of each share, which no target constrains.
    shares: Mutex<HashSet<u64>>,
}

/// Whether a share of the same hash was submitted before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DuplicateStatus {
    New,
    Duplicate,
    /// Not known, because the template already has `MAX_SHARES`.
    Unknown,
}

impl<C> BlockTemplate<C> {
    /// Creates a template.
    ///
    /// `id` must be larger than that of every earlier template. The nonce and the Merkle root of
    /// `header` are ignored. `branch` leads from the coinbase to the Merkle root, and `earliest` is
    /// the least valid time of the block.
    pub fn new(
        id: u32,
        header: Header,
        branch: Branch,
        target: Target,
        earliest: Timestamp,
        source: C,
    ) -> BlockTemplate<C> {
        let (max_difficulty, shares) = (Difficulty::from_target(target), Mutex::default());
        BlockTemplate { id, header, branch, target, max_difficulty, earliest, source, shares }
    }

    /// The source of the coinbase, as passed to `new`.
    pub fn source(&self) -> &C {
        &self.source
    }

    /// Records a share by its hash.
    pub(super) fn record_share(&self, hash: &block::Hash) -> DuplicateStatus {
        let [a, b, c, d, e, f, g, h, ..] = *hash.as_bytes();
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        let key = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        if shares.contains(&key) {
            DuplicateStatus::Duplicate
        } else if shares.len() >= MAX_SHARES {
            DuplicateStatus::Unknown
        } else {
            shares.insert(key);
            DuplicateStatus::New
        }
    }
}
