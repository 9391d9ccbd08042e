//! Where block candidates come from and mined blocks go to: the node in this process, or another one
//! over its REST API.

pub mod local;
pub mod remote;

use anyhow::Result;
use chain::{Address, Block, Height, Target};

/// A block that lacks its nonce.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// With nonce 0.
    pub block: Block,
    /// Where it would stand.
    pub height: Height,
    /// What its hash must meet.
    pub target: Target,
}

/// Why a candidate is not the best one any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// There is a new tip: work on the old one is lost.
    Tip,
    /// Transfers came: there may be more fees.
    Pool,
}

/// What became of a sealed block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handed {
    /// It is in the best chain.
    Best,
    /// Another one was first: it is a side branch.
    TooLate,
}

/// Where candidates come from and blocks go to.
pub trait Source {
    /// A candidate that pays an address; `None` if no more blocks are wanted. Errors are told and
    /// tried again. Cancelling loses nothing.
    fn candidate(
        &mut self,
        miner: Address,
    ) -> impl Future<Output = Result<Option<Candidate>>> + Send;
    /// Waits for a change since the last candidate. Cancelling loses nothing.
    fn changed(&mut self) -> impl Future<Output = Change> + Send;
    /// Hands a sealed block in.
    fn hand_in(&mut self, block: Block) -> impl Future<Output = Result<Handed>> + Send;
    /// Whether there will never be another candidate.
    fn is_gone(&self) -> bool;
}
