//! Blocks that workers submit without shares, over JSON-RPC and REST, and what counts for them.

use crate::api::http::resources::Client;
use crate::mining::workers::{FoundBlock, Interface, Submission, outcome};
use crate::state::NodeState;
use chain::ledger::{Accepted, SubmitError};
use chain::{Address, Block, Header};
use miner::stratum::{ShareOutcome, Worker};

/// A block that a worker submits without shares.
pub struct Solved {
    header: Header,
    found: FoundBlock,
    interface: Interface,
    worker: Worker<Address>,
}

impl Solved {
    /// A block that is about to be submitted.
    pub fn new(block: &Block, interface: Interface, worker: &Worker<Address>) -> Solved {
        let (height, reward) =
            block.coinbase().map_or((0, 0), |coinbase| (coinbase.height.get(), coinbase.reward));
        let found = FoundBlock { hash: block.hash(), height, reward };
        Solved { header: block.header, found, interface, worker: worker.clone() }
    }

    /// Counts it for the worker.
    pub fn count(self, node: &NodeState, client: &Client, result: &Result<Accepted, SubmitError>) {
        let Some(outcome) = outcome(&self.header, result) else { return };
        node.workers.count(Submission {
            worker: &self.worker,
            interface: self.interface,
            from: client.ip(),
            outcome,
            block: matches!(outcome, ShareOutcome::Block(_)).then_some(self.found),
        });
    }
}

/// Counts a solution of an unknown template for a worker.
pub fn count_stale(
    node: &NodeState,
    client: &Client,
    interface: Interface,
    worker: &Worker<Address>,
) {
    let (from, outcome) = (client.ip(), ShareOutcome::Stale);
    node.workers.count(Submission { worker, interface, from, outcome, block: None });
}
