//! Block templates: the parts of a block that miners do not choose.

use super::difficulty::Difficulty;
use chain::merkle::Branch;
use chain::{Header, Target, Timestamp};

/// Builds the coinbase of a block template for any payout address. The coinbases of two templates
/// differ, so that a share is valid for one only.
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
        let max_difficulty = Difficulty::from_target(target);
        BlockTemplate { id, header, branch, target, max_difficulty, earliest, source }
    }

    /// The source of the coinbase, as passed to `new`.
    pub fn source(&self) -> &C {
        &self.source
    }
}
