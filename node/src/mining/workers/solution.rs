//! Blocks that a miner submits over JSON-RPC or REST, which count as shares of the block's difficulty.

use crate::difficulty;
use chain::Header;
use chain::ledger::{Accepted, SubmitError};
use chain::rules::Rule;
use miner::stratum::{AcceptedShare, Difficulty, ShareOutcome};

/// The outcome of the submission of a block; `None` if the node could not validate it.
pub fn outcome(header: &Header, result: &Result<Accepted, SubmitError>) -> Option<ShareOutcome> {
    let target = header.bits.target().ok();
    match (result, target) {
        (Ok(Accepted::Connected | Accepted::SideBranch), Some(target)) => {
            Some(ShareOutcome::Block(AcceptedShare {
                difficulty: Difficulty::from_target(target),
                achieved: difficulty::of_hash(header.hash().as_bytes()),
                network: difficulty::of(target),
            }))
        }
        (Ok(Accepted::AlreadyKnown), _) => Some(ShareOutcome::Duplicate),
        (Err(SubmitError::UnknownParent { .. }), _) => Some(ShareOutcome::Stale),
        (Err(error), _) => match error.code() {
            Some(code) if code == Rule::HighHash.code() => Some(ShareOutcome::LowDifficulty),
            Some(_) => Some(ShareOutcome::Invalid),
            None => None,
        },
        (Ok(_), None) => None,
    }
}
