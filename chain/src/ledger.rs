//! The ledger: one writer that takes blocks and transfers in, and readers that see one tip at a time.
//!
//! A block's way in: known? → header alone → parent → header after parent → body alone → more work
//! than the tip? → the branch as a whole on a draft of the rows → log. `Writer::commit` then syncs
//! the log and shows readers all that came since the last commit, at once. So nothing is written
//! until it is checked, and nothing is shown until it is safe. While the writer is at some blocks,
//! a `Prechecker` may check the bodies of the next alone.
//!
//! Does not know peers, miners or the clock: times are arguments.

mod invalidate;
mod precheck;
mod overlay;
mod open;
pub mod schema;
mod verify;
mod view;
mod writer;

pub use invalidate::InvalidateError;
pub use open::{OpenError, OpenProgress, Options, open};
pub use precheck::{PrecheckedBlock, Prechecker};
pub use verify::{VerifyError, VerifyReport, verify};
pub use view::{ChainTip, ChainTipStatus, View};
pub use writer::Writer;

use self::invalidate::Invalidated;
use crate::block::{self, Header};
use crate::block_index::{BlockIndex, BlockNode, NodeId};
use crate::mempool::{self, Mempool};
use crate::params::Params;
use crate::rules::{Rule, RuleError};
use crate::store::StoreError;
use crate::store::blocks::LogReader;
use crate::store::index::{Changes, IndexReader};
use std::collections::BTreeSet;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// What became of a block that was taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It is the new tip.
    Connected,
    /// It is valid as far as that can be told on a branch with no more work than the best.
    SideBranch,
    /// It has been here before.
    AlreadyKnown,
}

/// Why a block was not taken in.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The sender's fault.
    #[error("{code}: {0}", code = .0.code())]
    Invalid(#[from] RuleError),
    /// The sender's fault, and found out before.
    #[error("{}: block {hash} was found invalid before", rule.code())]
    KnownInvalid {
        /// The block.
        hash: block::Hash,
        /// The rule that it breaks.
        rule: Rule,
    },
    /// Nobody's fault: the parent has to come first.
    #[error("unknown-parent: this node does not have the parent {parent}")]
    UnknownParent {
        /// The missing block.
        parent: block::Hash,
    },
    /// Ours.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SubmitError {
    /// The code of the broken rule; `None` if it is none of the block's fault.
    pub fn code(&self) -> Option<&'static str> {
        match self {
            SubmitError::Invalid(error) => Some(error.code()),
            SubmitError::KnownInvalid { rule, .. } => Some(rule.code()),
            SubmitError::UnknownParent { .. } => Some(Rule::UnknownParent.code()),
            SubmitError::Store(_) => None,
        }
    }
}

/// Why a transfer was not taken in.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// It can never be valid, or not on these accounts.
    #[error("{code}: {0}", code = .0.code())]
    Invalid(#[from] RuleError),
    /// The pool's policy is against it.
    #[error("{code}: {0}", code = .0.code())]
    Rejected(mempool::RejectReason),
    /// Ours.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl TransferError {
    /// The code of the broken rule or policy; `None` if it is none of the transfer's fault.
    pub fn code(&self) -> Option<&'static str> {
        match self {
            TransferError::Invalid(error) => Some(error.code()),
            TransferError::Rejected(refusal) => Some(refusal.code()),
            TransferError::Store(_) => None,
        }
    }
}

impl From<mempool::InsertError<StoreError>> for TransferError {
    fn from(error: mempool::InsertError<StoreError>) -> Self {
        match error {
            mempool::InsertError::Rejected(refusal) => TransferError::Rejected(refusal),
            mempool::InsertError::View(error) => TransferError::Store(error),
        }
    }
}

/// What changed for readers.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// Blocks that left the best chain, the old tip first.
    pub disconnected: Vec<NodeId>,
    /// Blocks that entered it, the new tip last.
    pub connected: Vec<NodeId>,
    /// Transfers that these carry.
    pub confirmed: usize,
    /// What that did to the pool.
    pub mempool: mempool::Changes,
}

/// What writer and readers share.
struct Shared {
    params: Params,
    state: RwLock<State>,
}

impl Shared {
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().expect("a thread that panics while writing ends the process")
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().expect("a thread that panics while writing ends the process")
    }
}

/// Everything at the last commit. Changed by the writer only.
struct State {
    tree: BlockIndex,
    /// Blocks of the tree that readers may see: those that are safe in the log.
    visible: usize,
    /// The best chain by height.
    best: Vec<NodeId>,
    /// What its operator does not want this node to follow.
    aside: Invalidated,
    /// Visible blocks that no other visible block names as its parent.
    tips: BTreeSet<NodeId>,
    index: IndexReader,
    /// Rows that are newer than the index.
    cached: Changes,
    log: LogReader,
    mempool: Mempool,
}

impl State {
    fn tip(&self) -> NodeId {
        *self.best.last().expect("genesis is always there")
    }

    fn is_best(&self, number: NodeId) -> bool {
        self.best.get(self.tree.node(number).height.get() as usize) == Some(&number)
    }

    /// Shows readers all blocks of the tree.
    fn show_all(&mut self) {
        for number in self.visible..self.tree.len() {
            let number = NodeId::new(u32::try_from(number).expect("numbers are u32"));
            self.tips.remove(&self.tree.node(number).parent);
            self.tips.insert(number);
        }
        self.visible = self.tree.len();
    }
}

/// Reads the chain. Cheap to clone; any number on any thread.
#[derive(Clone)]
pub struct Reader(Arc<Shared>);

impl Reader {
    /// The chain as it is now. The writer waits while a view is held: hold it briefly, and never
    /// ask for another one meanwhile.
    pub fn view(&self) -> View<'_> {
        View::new(&self.0)
    }

    /// The network's parameters.
    pub fn params(&self) -> &Params {
        &self.0.params
    }

    /// A whole block as encoded, read while the writer goes on.
    pub fn raw_block(&self, node: &BlockNode) -> Result<Vec<u8>, StoreError> {
        view::raw_block(&self.log(), node)
    }

    /// The headers of blocks, read without their bodies and while the writer goes on.
    pub fn headers(&self, nodes: &[BlockNode]) -> Result<Vec<Header>, StoreError> {
        Ok(self.headers_and_counts(nodes)?.into_iter().map(|(header, _)| header).collect())
    }

    /// Headers and the number of transactions, read without those and while the writer goes on.
    pub fn headers_and_counts(
        &self,
        nodes: &[BlockNode],
    ) -> Result<Vec<(Header, u32)>, StoreError> {
        let log = self.log();
        let head = |node| view::head_of(node, &log.read_prefix(node.location, view::HEAD_BYTES)?);
        nodes.iter().map(head).collect()
    }

    fn log(&self) -> LogReader {
        self.0.read().log.clone()
    }
}
