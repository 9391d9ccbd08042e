//! The handle by which the rest of the node sends requests to the writer's thread.

use crate::clock::{Clock, ClockSetting};
use chain::Address;
use chain::block::{self, Block, Header, Timestamp};
use chain::ledger::{
    Accepted, CheckedProposal, HeaderBranch, HeadersError, InvalidateError, ProposalError,
    Submission, SubmitError, TransferError,
};
use chain::mempool::{Admission, Dropped, Replacement, Source};
use chain::store::StoreError;
use chain::template::{Template, TemplateError};
use chain::tx::{self, Transfer};
use p2p::{BlockReply, Submit, TransferReply};
use std::io;
use std::sync::Arc;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

/// The state of the chain and the mempool, to compare with a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainVersion {
    /// The hash of the best block.
    pub tip: block::Hash,
    /// Grows with every change of the tip or the mempool.
    pub sequence: u64,
}

/// An error of generating blocks.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// No template could be made.
    #[error(transparent)]
    Template(#[from] TemplateError<StoreError>),
    /// A generated block was rejected.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// The store failed to read or write.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The blocks to generate.
#[derive(Clone, Debug)]
pub struct Generation {
    /// The number of blocks.
    pub blocks: u32,
    /// The address that they pay.
    pub miner: Address,
    /// The time of the first block; `None` for the time of the clock.
    pub time: Option<Timestamp>,
    /// Exactly the transfers of the first block; `None` for those of the mempool.
    pub transfers: Option<Vec<Transfer>>,
}

impl Generation {
    /// A number of blocks with the transfers of the mempool.
    pub fn new(blocks: u32, miner: Address) -> Generation {
        Generation { blocks, miner, time: None, transfers: None }
    }
}

/// The writer has stopped: the node is shutting down.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the node is stopping")]
pub struct Stopped;

/// A block in the queue.
pub(super) type QueuedBlock = (Submission, BlockReply);

pub(super) enum Request {
    Block(Submission, BlockReply),
    Headers(Vec<Header>, oneshot::Sender<Result<HeaderBranch, HeadersError>>),
    Transfer(Arc<Transfer>, Replacement, Source, TransferReply),
    Template(Address, [u8; 4], oneshot::Sender<Result<Template, TemplateError<StoreError>>>),
    Proposal(Box<CheckedProposal>, oneshot::Sender<Result<(), ProposalError>>),
    Generate(Generation, oneshot::Sender<Result<Vec<block::Hash>, GenerateError>>),
    Override(BlockOverride, block::Hash, oneshot::Sender<Result<(), InvalidateError>>),
    RemoveTransfer(tx::Id, oneshot::Sender<Result<Option<Dropped>, StoreError>>),
    SetClock(ClockSetting, oneshot::Sender<io::Result<()>>),
    SetNextBlockTime(Timestamp, oneshot::Sender<io::Result<()>>),
    Run(Box<dyn FnOnce() + Send>),
    Flush,
    Stop,
}

/// A manual override of a block's validity by the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockOverride {
    /// Exclude the block and its descendants from the best chain.
    Invalidate,
    /// Revoke an earlier `Invalidate`.
    Reconsider,
}

/// Sends requests to the writer. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    pub(super) requests: mpsc::Sender<Request>,
    pub(super) version: watch::Receiver<ChainVersion>,
    pub(super) peer_updates: broadcast::Sender<p2p::ChainUpdate>,
    pub(super) clock: Clock,
    pub(super) disk_full: watch::Receiver<bool>,
}

impl Handle {
    /// The present time by the clock that blocks are validated with.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Submits a block and waits until it is rejected, or accepted and safe on disk.
    pub async fn submit_block(
        &self,
        block: Block,
    ) -> Result<Result<Accepted, SubmitError>, Stopped> {
        self.request(|reply| Request::Block(block.into(), reply)).await
    }

    /// Submits headers of which each is the parent of the next.
    pub async fn submit_headers(
        &self,
        headers: Vec<Header>,
    ) -> Result<Result<HeaderBranch, HeadersError>, Stopped> {
        self.request(|reply| Request::Headers(headers, reply)).await
    }

    /// Enqueues a transfer, in the order of these calls, and returns a receiver of its result: that it
    /// was rejected, or accepted into the mempool and written to the journal. It survives the death of the
    /// process from then on, and a power failure a fifth of a second later. This node announces it again
    /// until it is confirmed or dropped.
    pub async fn enqueue_transfer(
        &self,
        transfer: Transfer,
        replacement: Replacement,
    ) -> Result<oneshot::Receiver<Result<Admission, TransferError>>, Stopped> {
        let (reply, response) = oneshot::channel();
        let transfer = Arc::new(transfer);
        self.enqueue(Request::Transfer(transfer, replacement, Source::Local, reply)).await?;
        Ok(response)
    }

    /// A block template that pays an address.
    pub async fn template(
        &self,
        miner: Address,
    ) -> Result<Result<Template, TemplateError<StoreError>>, Stopped> {
        self.template_with_mark(miner, [0; 4]).await
    }

    /// A block template whose coinbase begins its extra nonce with `mark`, by which the requester
    /// recognises the block in the chain. Zeros mean no mark.
    pub async fn template_with_mark(
        &self,
        miner: Address,
        mark: [u8; 4],
    ) -> Result<Result<Template, TemplateError<StoreError>>, Stopped> {
        self.request(|reply| Request::Template(miner, mark, reply)).await
    }

    /// Validates a proposed block on the accounts of the tip, without connecting it.
    pub async fn check_proposal(
        &self,
        proposal: CheckedProposal,
    ) -> Result<Result<(), ProposalError>, Stopped> {
        self.request(|reply| Request::Proposal(Box::new(proposal), reply)).await
    }

    /// Mines and submits blocks at once, on a network whose proof of work is trivial. Other requests
    /// wait meanwhile, so a call should ask for some hundred blocks at most.
    pub async fn generate_blocks(
        &self,
        request: Generation,
    ) -> Result<Result<Vec<block::Hash>, GenerateError>, Stopped> {
        self.request(|reply| Request::Generate(request, reply)).await
    }

    /// Overrides the validity of a block; returns after the reorganisation that follows, if any.
    pub async fn override_block(
        &self,
        change: BlockOverride,
        block: block::Hash,
    ) -> Result<Result<(), InvalidateError>, Stopped> {
        self.request(|reply| Request::Override(change, block, reply)).await
    }

    /// Removes a transfer from the mempool of this node; `None` if it is not there.
    pub async fn remove_transfer(
        &self,
        id: tx::Id,
    ) -> Result<Result<Option<Dropped>, StoreError>, Stopped> {
        self.request(|reply| Request::RemoveTransfer(id, reply)).await
    }

    /// The setting of the clock that blocks are validated with.
    pub fn clock_setting(&self) -> ClockSetting {
        self.clock.setting()
    }

    /// Changes the clock that blocks are validated with, also for later starts.
    pub async fn set_clock(&self, setting: ClockSetting) -> Result<io::Result<()>, Stopped> {
        self.request(|reply| Request::SetClock(setting, reply)).await
    }

    /// Sets the time of the next block that is generated, also after a restart.
    pub async fn set_next_block_time(&self, time: Timestamp) -> Result<io::Result<()>, Stopped> {
        self.request(|reply| Request::SetNextBlockTime(time, reply)).await
    }

    /// Runs work on the writer's thread: the chain and the mempool do not change meanwhile.
    pub async fn between_changes<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        self.request(|reply| Request::Run(Box::new(move || drop(reply.send(work()))))).await
    }

    /// A receiver of every change of the tip or the mempool.
    pub fn watch_chain(&self) -> watch::Receiver<ChainVersion> {
        self.version.clone()
    }

    /// A receiver of whether the disk is full. Meanwhile no block is accepted, and reads go on; it
    /// becomes false a few seconds after there is room again.
    pub fn disk_full(&self) -> watch::Receiver<bool> {
        self.disk_full.clone()
    }

    /// A receiver of what is announced to peers: new tips and accepted transfers.
    pub fn subscribe_peer_updates(&self) -> broadcast::Receiver<p2p::ChainUpdate> {
        self.peer_updates.subscribe()
    }

    async fn request<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<T, Stopped> {
        let (reply, response) = oneshot::channel();
        self.enqueue(request(reply)).await?;
        response.await.map_err(|_| Stopped)
    }

    pub(super) async fn enqueue(&self, request: Request) -> Result<(), Stopped> {
        self.requests.send(request).await.map_err(|_| Stopped)
    }
}

/// Blocks and transfers from peers. The result of a block is sent once it is safe on disk.
impl Submit for Handle {
    async fn submit_block(&self, submission: Submission, reply: BlockReply) {
        let _ = self.enqueue(Request::Block(submission, reply)).await;
    }

    async fn submit_transfer(&self, transfer: Arc<Transfer>, reply: TransferReply) {
        // A peer relays replacements, which its own submitters allowed.
        let request = Request::Transfer(transfer, Replacement::Allowed, Source::Peer, reply);
        let _ = self.enqueue(request).await;
    }
}
