//! Runs the engine: passes it inputs one at a time and carries its outputs to the driver and to the
//! writer. Reads of the chain may block on the writer, so the runner has a thread of its own.

use crate::clock::Clock;
use crate::engine::{BlockValidation, Engine, Input, Output, Progress, TransferValidation};
use crate::message::Status;
use crate::submit::Submit;
use crate::view::ChainView;
use chain::ledger::Submission;
use chain::pow::Work;
use chain::tx::{Id, Transfer};
use futures::future::BoxFuture;
use futures::stream::{FuturesOrdered, FuturesUnordered};
use futures::{FutureExt, StreamExt};
use libp2p::PeerId;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{OwnedSemaphorePermit, broadcast, mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;

/// The interval at which the engine and the driver check the time.
pub(crate) const TICK: Duration = Duration::from_millis(250);

/// A change of the chain or the mempool that concerns peers.
#[derive(Clone, Debug)]
pub enum ChainUpdate {
    /// The best chain has another tip.
    TipChanged,
    /// Transfers entered the mempool, or returned to it after a reorganisation.
    TransfersAccepted(Vec<Id>),
    /// Transfers of the mempool that were submitted to this node are to be announced again.
    TransfersDue(Vec<Id>),
}

/// An input for the engine. An announcement holds a permit of the queue until it is handled.
pub(crate) struct Queued {
    pub(crate) input: Input,
    pub(crate) permit: Option<OwnedSemaphorePermit>,
}

impl From<Input> for Queued {
    fn from(input: Input) -> Queued {
        Queued { input, permit: None }
    }
}

/// The runner's ends of the channels to the other tasks.
pub(crate) struct Channels {
    /// Inputs from the driver. The driver bounds their number: permits for announcements, in-flight
    /// requests, connections.
    pub(crate) inputs: mpsc::UnboundedReceiver<Queued>,
    /// Outputs for the driver, of which each input causes a bounded number.
    pub(crate) outputs: mpsc::UnboundedSender<Output>,
    pub(crate) updates: broadcast::Receiver<ChainUpdate>,
    pub(crate) status: watch::Sender<Status>,
    pub(crate) progress: watch::Sender<Progress>,
    /// The work that each peer has shown, at the last tick.
    pub(crate) shown_work: watch::Sender<BTreeMap<PeerId, Work>>,
}

/// The task that runs the engine.
pub(crate) struct Runner<C, W> {
    engine: Engine,
    chain: C,
    writer: Arc<W>,
    clock: Clock,
    channels: Channels,
    /// Submissions to the writer. The first one waits for room in its queue, the others for the
    /// first one.
    submissions: VecDeque<BoxFuture<'static, ()>>,
    /// Blocks under validation, in the order of submission.
    blocks: FuturesOrdered<BoxFuture<'static, Input>>,
    transfers: FuturesUnordered<BoxFuture<'static, Input>>,
}

impl<C: ChainView, W: Submit> Runner<C, W> {
    pub(crate) fn new(
        engine: Engine,
        (chain, writer): (C, W),
        clock: Clock,
        channels: Channels,
    ) -> Runner<C, W> {
        Runner {
            engine,
            chain,
            writer: Arc::new(writer),
            clock,
            channels,
            submissions: VecDeque::new(),
            blocks: FuturesOrdered::new(),
            transfers: FuturesUnordered::new(),
        }
    }

    /// Runs until the driver has ended.
    pub(crate) async fn run(mut self) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut has_updates = true;
        loop {
            tokio::select! {
                queued = self.channels.inputs.recv() => match queued {
                    Some(Queued { input, permit }) => {
                        drop(permit);
                        self.handle(input);
                    }
                    None => return,
                },
                Some(validated) = self.blocks.next() => self.handle(validated),
                Some(validated) = self.transfers.next() => self.handle(validated),
                update = self.channels.updates.recv(), if has_updates => {
                    has_updates = self.handle_updates(update);
                }
                () = submit_first(&mut self.submissions), if !self.submissions.is_empty() => {}
                _ = tick.tick() => {
                    self.handle(Input::Tick);
                    self.channels.shown_work.send_replace(self.engine.shown_work(&self.chain));
                }
            }
        }
    }

    /// Handles all pending updates; several changes of the tip count as one. Returns false if the
    /// sender is gone.
    fn handle_updates(&mut self, first: Result<ChainUpdate, RecvError>) -> bool {
        let (mut tip_changed, mut accepted, mut due) = (false, Vec::new(), Vec::new());
        let mut next = first;
        let is_open = loop {
            match next {
                Ok(ChainUpdate::TipChanged) => tip_changed = true,
                Ok(ChainUpdate::TransfersAccepted(ids)) => accepted.extend(ids),
                Ok(ChainUpdate::TransfersDue(ids)) => due.extend(ids),
                // The chain has the current tip; peers fetch missed transfers by mempool sync.
                Err(RecvError::Lagged(_)) => tip_changed = true,
                Err(RecvError::Closed) => break false,
            }
            next = match self.channels.updates.try_recv() {
                Ok(update) => Ok(update),
                Err(TryRecvError::Lagged(missed)) => Err(RecvError::Lagged(missed)),
                Err(TryRecvError::Empty) => break true,
                Err(TryRecvError::Closed) => break false,
            };
        };
        if tip_changed {
            self.handle(Input::TipChanged);
            self.publish_status();
        }
        if !accepted.is_empty() {
            self.handle(Input::TransfersAccepted(accepted));
        }
        if !due.is_empty() {
            self.handle(Input::TransfersDue(due));
        }
        is_open
    }

    fn handle(&mut self, input: Input) {
        for output in self.engine.handle(self.clock.now(), input, &self.chain) {
            match output {
                Output::ImportBlock(submission) => self.import_block(submission),
                Output::ImportTransfer(transfer) => self.import_transfer(transfer),
                Output::Progress(progress) => {
                    self.channels.progress.send_replace(progress);
                    self.publish_status();
                }
                // Without a driver the inputs end as well.
                output => drop(self.channels.outputs.send(output)),
            }
        }
    }

    fn publish_status(&self) {
        self.channels.status.send_replace(self.engine.status(self.clock.now(), &self.chain));
    }

    fn import_block(&mut self, submission: Submission) {
        let (hash, writer) = (submission.block.hash(), self.writer.clone());
        let (reply, validated) = oneshot::channel();
        let submit = async move { writer.submit_block(submission, reply).await };
        self.submissions.push_back(submit.boxed());
        let validated = validated.map(move |result| {
            // A dropped reply means that the writer could not validate the block.
            let validation = result.as_ref().map_or(BlockValidation::Failed, BlockValidation::from);
            Input::BlockValidated { hash, validation }
        });
        self.blocks.push_back(validated.boxed());
    }

    fn import_transfer(&mut self, transfer: Arc<Transfer>) {
        let (id, writer) = (transfer.id(), self.writer.clone());
        let (reply, validated) = oneshot::channel();
        let submit = async move { writer.submit_transfer(transfer, reply).await };
        self.submissions.push_back(submit.boxed());
        let validated = validated.map(move |result| {
            let validation =
                result.as_ref().map_or(TransferValidation::Failed, TransferValidation::from);
            Input::TransferValidated { id, validation }
        });
        self.transfers.push(validated.boxed());
    }
}

/// Completes the first submission. Cancel-safe: it remains the first one until it is complete.
async fn submit_first(submissions: &mut VecDeque<BoxFuture<'static, ()>>) {
    if let Some(first) = submissions.front_mut() {
        first.await;
    }
    submissions.pop_front();
}
