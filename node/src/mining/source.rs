//! Sources of block candidates, to which mined blocks are submitted: the node in this process, or
//! another one over its REST API.

pub mod local;
pub mod remote;

use anyhow::Result;
use chain::{Address, Block, Header, Height, Target};

/// A block to mine: complete but for its nonce.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The block, with nonce 0.
    pub block: Block,
    /// The height of the block.
    pub height: Height,
    /// The target that its hash must meet.
    pub target: Target,
}

/// Why a candidate is no longer the best one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Work on the candidate is useless: the tip changed, or no block can be mined any more.
    Tip,
    /// The mempool changed: a new candidate may pay more fees.
    Mempool,
}

/// The effect of a mined block that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubmitOutcome {
    /// The block joined the best chain.
    Connected,
    /// Another block was first: the submitted one is on a side branch.
    Stale,
}

/// Provides candidates and accepts mined blocks.
pub trait Source {
    /// Fetches a candidate that pays an address; `None` if no more blocks are wanted. Errors are
    /// logged and retried. Cancel-safe.
    fn candidate(
        &mut self,
        miner: Address,
    ) -> impl Future<Output = Result<Option<Candidate>>> + Send;
    /// Waits until the last candidate is no longer the best one. Cancel-safe.
    fn changed(&mut self) -> impl Future<Output = Change> + Send;
    /// Whether a mined block with this header is worth submitting: not if the clock was set back so
    /// far that it would be refused as too new.
    fn accepts(&self, header: &Header) -> bool;
    /// Submits a mined block.
    fn submit(&mut self, block: Block) -> impl Future<Output = Result<SubmitOutcome>> + Send;
    /// Whether there will be no more candidates.
    fn is_closed(&self) -> bool;
}
