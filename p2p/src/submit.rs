//! Submission of blocks and transfers from peers to the node's writer.

use chain::ledger::{Accepted, Submission, SubmitError, TransferError};
use chain::mempool::Admission;
use chain::tx::Transfer;
use std::future::Future;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Receives the result of a block's validation.
pub type BlockReply = oneshot::Sender<Result<Accepted, SubmitError>>;
/// Receives the result of a transfer's validation.
pub type TransferReply = oneshot::Sender<Result<Admission, TransferError>>;

/// The queue of the thread that writes the chain.
///
/// Each future completes once the queue has room for the block or transfer. The network submits one
/// at a time, in order, and requests less from peers while its submissions are pending. A writer
/// that has stopped drops the reply.
pub trait Submit: Send + Sync + 'static {
    /// Enqueues a block, with the work of the validated headers of its branch. Blocks are validated
    /// in the order of submission.
    fn submit_block(
        &self,
        submission: Submission,
        reply: BlockReply,
    ) -> impl Future<Output = ()> + Send;

    /// Enqueues a transfer for the mempool.
    fn submit_transfer(
        &self,
        transfer: Arc<Transfer>,
        reply: TransferReply,
    ) -> impl Future<Output = ()> + Send;
}
