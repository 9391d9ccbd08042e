//! Runs the engine: hands it what happens, one input at a time, and carries its commands to the driver
//! and to the chain. Reads of the chain may wait for its writer, so this has a thread of its own.

use crate::clock::Clock;
use crate::engine::{BlockValidation, Engine, Input, Output, Progress, TransferValidation};
use crate::message::Status;
use crate::view::ChainView;
use crate::{ChainUpdate, Event};
use chain::block::Block;
use chain::tx::Transfer;
use futures::future::BoxFuture;
use futures::stream::{FuturesOrdered, FuturesUnordered};
use futures::{FutureExt, StreamExt};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{OwnedSemaphorePermit, broadcast, mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;

/// Between two looks at the time.
pub(crate) const TICK: Duration = Duration::from_millis(250);
/// Events that may wait for the chain. The engine has fewer on the way, so none waits here for long.
pub(crate) const EVENTS: usize = 4_096;

/// An input on its way to the engine; an announcement keeps its place in the queue with it.
pub(crate) struct Queued {
    pub(crate) input: Input,
    pub(crate) place: Option<OwnedSemaphorePermit>,
}

impl From<Input> for Queued {
    fn from(input: Input) -> Queued {
        Queued { input, place: None }
    }
}

/// What the runner is connected with.
pub(crate) struct Channels {
    /// What the driver hears. Its length is limited by what the driver lets in: places for
    /// announcements, requests on the way, connections.
    pub(crate) inputs: mpsc::UnboundedReceiver<Queued>,
    /// What the driver has to do: a limited number for each input.
    pub(crate) outputs: mpsc::UnboundedSender<Output>,
    pub(crate) news: broadcast::Receiver<ChainUpdate>,
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) status: watch::Sender<Status>,
    pub(crate) progress: watch::Sender<Progress>,
}

/// The engine and all that moves it.
pub(crate) struct Runner<C> {
    engine: Engine,
    chain: C,
    clock: Clock,
    channels: Channels,
    /// Blocks and transfers that the chain has no room for yet.
    waiting: VecDeque<Event>,
    /// Blocks that are being judged, in the order of handing over.
    blocks: FuturesOrdered<BoxFuture<'static, Input>>,
    transfers: FuturesUnordered<BoxFuture<'static, Input>>,
}

impl<C: ChainView> Runner<C> {
    pub(crate) fn new(engine: Engine, chain: C, clock: Clock, channels: Channels) -> Runner<C> {
        Runner {
            engine,
            chain,
            clock,
            channels,
            waiting: VecDeque::new(),
            blocks: FuturesOrdered::new(),
            transfers: FuturesUnordered::new(),
        }
    }

    /// Runs until the driver is gone.
    pub(crate) async fn run(mut self) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut has_news = true;
        loop {
            let events = self.channels.events.clone();
            tokio::select! {
                queued = self.channels.inputs.recv() => match queued {
                    Some(Queued { input, place }) => {
                        drop(place);
                        self.handle(input);
                    }
                    None => return,
                },
                Some(validated) = self.blocks.next() => self.handle(validated),
                Some(validated) = self.transfers.next() => self.handle(validated),
                news = self.channels.news.recv(), if has_news => {
                    has_news = self.handle_news(news);
                }
                room = events.reserve(), if !self.waiting.is_empty() => match room {
                    Ok(room) => drop(self.waiting.pop_front().map(|event| room.send(event))),
                    // Nobody judges any more.
                    Err(_) => self.waiting.clear(),
                },
                _ = tick.tick() => self.handle(Input::Tick),
            }
        }
    }

    /// All the news there is, a changed tip only once. False if there will be none any more.
    fn handle_news(&mut self, first: Result<ChainUpdate, RecvError>) -> bool {
        let (mut tip_changed, mut pooled) = (false, Vec::new());
        let mut next = first;
        let goes_on = loop {
            match next {
                Ok(ChainUpdate::TipChanged) => tip_changed = true,
                Ok(ChainUpdate::TransfersAccepted(ids)) => pooled.extend(ids),
                // What was missed about the tip is in the chain; for transfers peers ask by themselves.
                Err(RecvError::Lagged(_)) => tip_changed = true,
                Err(RecvError::Closed) => break false,
            }
            next = match self.channels.news.try_recv() {
                Ok(news) => Ok(news),
                Err(TryRecvError::Lagged(missed)) => Err(RecvError::Lagged(missed)),
                Err(TryRecvError::Empty) => break true,
                Err(TryRecvError::Closed) => break false,
            };
        };
        if tip_changed {
            self.handle(Input::TipChanged);
            self.tell_status();
        }
        if !pooled.is_empty() {
            self.handle(Input::TransfersAccepted(pooled));
        }
        goes_on
    }

    fn handle(&mut self, input: Input) {
        for output in self.engine.handle(self.clock.now(), input, &self.chain) {
            match output {
                Output::ImportBlock(block) => self.import_block(&block),
                Output::ImportTransfer(transfer) => self.import_transfer(&transfer),
                Output::Progress(progress) => {
                    self.channels.progress.send_replace(progress);
                    self.tell_status();
                }
                // Without a driver the inputs end as well.
                output => drop(self.channels.outputs.send(output)),
            }
        }
    }

    fn tell_status(&self) {
        self.channels.status.send_replace(self.engine.status(self.clock.now(), &self.chain));
    }

    fn import_block(&mut self, block: &Arc<Block>) {
        let hash = block.hash();
        let (reply, validated) = oneshot::channel();
        self.waiting.push_back(Event::Block { block: Arc::clone(block), reply });
        let validated = validated.map(move |result| {
            // Whoever drops the question cannot judge it.
            let validation = result.as_ref().map_or(BlockValidation::Failed, BlockValidation::from);
            Input::BlockValidated { hash, validation }
        });
        self.blocks.push_back(validated.boxed());
    }

    fn import_transfer(&mut self, transfer: &Arc<Transfer>) {
        let id = transfer.id();
        let (reply, validated) = oneshot::channel();
        let transfer = Box::new(Transfer::clone(transfer));
        self.waiting.push_back(Event::Transfer { transfer, reply });
        let validated = validated.map(move |result| {
            let validation =
                result.as_ref().map_or(TransferValidation::Failed, TransferValidation::from);
            Input::TransferValidated { id, validation }
        });
        self.transfers.push(validated.boxed());
    }
}
