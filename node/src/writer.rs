//! The thread that owns the chain's writer. Requests come through one bounded queue and are answered
//! by `oneshot`; what is new goes out by `watch` and, for peers, by `broadcast`, after it is safe on
//! disk. Blocks that wait together share one sync of the disk.

mod block_log;

use crate::clock::Clock;
use crate::events::{Payment, Publisher};
use crate::metrics::Metrics;
use anyhow::Context;
use block_log::Told;
use chain::block::{self, Block, Timestamp};
use chain::ledger::{
    Accepted, Commit, InvalidateError, PrecheckedBlock, Prechecker, Reader, SubmitError,
    TransferError, Writer,
};
use chain::mempool::{Admission, Changes};
use chain::store::{LogError, StoreError};
use chain::template::{Template, TemplateError, TemplateRequest};
use chain::tx::{Tag, Transfer};
use chain::{Address, Header};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::{Interval, MissedTickBehavior};

/// Requests that may wait; beyond that whoever asks waits too.
const QUEUE: usize = 256;
/// Most blocks that are checked together and share a sync of the disk, and transactions above which no
/// further block joins them: their rows wait in memory, and their senders for an answer.
const BATCH_BLOCKS: usize = 64;
const BATCH_TRANSACTIONS: usize = 8_000;
/// News for peers that may wait for a slow reader, who is told that it missed some.
const PEER_NEWS: usize = 65_536;
/// How long rows stay in memory when nothing forces them out.
const FLUSH_EVERY: Duration = Duration::from_secs(5);
/// What our own coinbases say.
pub const TAG: &[u8] = b"chain";

/// What changed last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct News {
    /// The best block.
    pub tip: block::Hash,
    /// Grows with every change of the tip or the pool.
    pub number: u64,
}

/// Why a candidate block could not be made, or blocks not generated.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// There is no candidate.
    #[error(transparent)]
    Template(#[from] TemplateError<StoreError>),
    /// A generated block was refused.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// The disk.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The writer has stopped: the node is going down.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the node is stopping")]
pub struct Stopped;

/// Waits for the judgement of a block.
pub type BlockVerdict = oneshot::Sender<Result<Accepted, SubmitError>>;
/// Waits for the judgement of a transfer.
pub type TransferVerdict = oneshot::Sender<Result<Admission, TransferError>>;

/// A block, and who waits for its judgement.
type WaitingBlock = (Arc<Block>, BlockVerdict);

enum Request {
    Block(Arc<Block>, BlockVerdict),
    Transfer(Box<Transfer>, TransferVerdict),
    Template(Address, [u8; 4], oneshot::Sender<Result<Template, TemplateError<StoreError>>>),
    Generate(u32, Address, oneshot::Sender<Result<Vec<block::Hash>, GenerateError>>),
    Steer(Steering, block::Hash, oneshot::Sender<Result<(), InvalidateError>>),
    ShiftClock(i64, oneshot::Sender<Timestamp>),
    Flush,
    Stop,
}

/// What an operator thinks of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steering {
    /// Neither it nor what descends from it is to be followed.
    SetAside,
    /// It may be followed again.
    Reconsider,
}

/// Asks the writer. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    requests: mpsc::Sender<Request>,
    news: watch::Receiver<News>,
    peer_news: broadcast::Sender<p2p::ChainUpdate>,
    clock: Clock,
}

impl Handle {
    /// What the clock says by which blocks are judged.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Queues a block, in the order of the calls; its verdict comes when it is safe on disk.
    pub async fn queue_block(
        &self,
        block: Arc<Block>,
        verdict: BlockVerdict,
    ) -> Result<(), Stopped> {
        self.queue(Request::Block(block, verdict)).await
    }

    /// Queues a transfer, in the order of the calls.
    pub async fn queue_transfer(
        &self,
        transfer: Box<Transfer>,
        verdict: TransferVerdict,
    ) -> Result<(), Stopped> {
        self.queue(Request::Transfer(transfer, verdict)).await
    }

    /// Takes a block in; answered when it is safe on disk.
    pub async fn block(&self, block: Block) -> Result<Result<Accepted, SubmitError>, Stopped> {
        self.ask(|reply| Request::Block(Arc::new(block), reply)).await
    }

    /// Takes a transfer into the pool.
    pub async fn transfer(
        &self,
        transfer: Transfer,
    ) -> Result<Result<Admission, TransferError>, Stopped> {
        self.ask(|reply| Request::Transfer(Box::new(transfer), reply)).await
    }

    /// A block to mine for an address.
    pub async fn template(
        &self,
        miner: Address,
    ) -> Result<Result<Template, TemplateError<StoreError>>, Stopped> {
        self.marked_template(miner, [0; 4]).await
    }

    /// The same with a mark: the first bytes of the coinbase's extra nonce, by which whoever asked
    /// knows the block again. All 0 for none.
    pub async fn marked_template(
        &self,
        miner: Address,
        mark: [u8; 4],
    ) -> Result<Result<Template, TemplateError<StoreError>>, Stopped> {
        self.ask(|reply| Request::Template(miner, mark, reply)).await
    }

    /// Mines so many blocks at once, on a network where that takes no work worth speaking of.
    /// Other requests wait meanwhile: ask for some hundred at most.
    pub async fn generate(
        &self,
        blocks: u32,
        miner: Address,
    ) -> Result<Result<Vec<block::Hash>, GenerateError>, Stopped> {
        self.ask(|reply| Request::Generate(blocks, miner, reply)).await
    }

    /// Sets a block aside, or follows it again; answered when the tip has moved, if it does.
    pub async fn steer(
        &self,
        steering: Steering,
        block: block::Hash,
    ) -> Result<Result<(), InvalidateError>, Stopped> {
        self.ask(|reply| Request::Steer(steering, block, reply)).await
    }

    /// From now on the node judges and mines by a clock that is so many seconds ahead of this
    /// machine's, or behind it; what that says now.
    pub async fn shift_clock(&self, seconds: i64) -> Result<Timestamp, Stopped> {
        self.ask(|reply| Request::ShiftClock(seconds, reply)).await
    }

    /// Tells when tip or pool change.
    pub fn news(&self) -> watch::Receiver<News> {
        self.news.clone()
    }

    /// What peers should hear of: new tips, and transfers that became pending.
    pub fn peer_news(&self) -> broadcast::Receiver<p2p::ChainUpdate> {
        self.peer_news.subscribe()
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<T, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.queue(request(reply)).await?;
        answer.await.map_err(|_| Stopped)
    }

    async fn queue(&self, request: Request) -> Result<(), Stopped> {
        self.requests.send(request).await.map_err(|_| Stopped)
    }
}

/// The writer's thread. It ends by itself only when the disk fails.
pub struct Thread {
    handle: Handle,
    thread: JoinHandle<anyhow::Result<()>>,
    ended: oneshot::Receiver<()>,
    flush: Option<Interval>,
}

impl Thread {
    /// Gives the writer a thread of its own, which tells events and counts.
    pub fn spawn(
        writer: Writer,
        events: Publisher,
        metrics: Arc<Metrics>,
    ) -> anyhow::Result<Thread> {
        let (requests, queue) = mpsc::channel(QUEUE);
        let reader = writer.reader();
        let (news_sender, news) = watch::channel(News { tip: reader.view().tip().hash, number: 0 });
        let (end, ended) = oneshot::channel();
        let (peer_news, _) = broadcast::channel(PEER_NEWS);
        let extra_nonce = u32::from_le_bytes(random()?);
        let clock = Clock::default();
        let desk = Desk {
            writer,
            reader,
            queue,
            next: None,
            news: news_sender,
            peer_news: peer_news.clone(),
            events,
            metrics,
            told: Told::default(),
            clock: clock.clone(),
            extra_nonce,
        };
        let run = move || {
            let result = desk.run();
            let _ = end.send(());
            result
        };
        let thread = std::thread::Builder::new().name("writer".into()).spawn(run);
        let thread = thread.context("cannot start the writer's thread")?;
        let handle = Handle { requests, news, peer_news, clock };
        Ok(Thread { handle, thread, ended, flush: None })
    }

    /// Asks the writer.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Writes rows out now and then; returns when the thread has ended by itself.
    pub async fn watch(&mut self) {
        // Kept, as whoever calls this may give up and call again at any time.
        let flush = self.flush.get_or_insert_with(|| {
            let mut flush = tokio::time::interval(FLUSH_EVERY);
            flush.set_missed_tick_behavior(MissedTickBehavior::Delay);
            flush
        });
        loop {
            tokio::select! {
                _ = &mut self.ended => return,
                // A full queue flushes by itself.
                _ = flush.tick() => drop(self.handle.requests.try_send(Request::Flush)),
            }
        }
    }

    /// Lets the writer finish what it was asked, close the data directory and end.
    pub async fn stop(self) -> anyhow::Result<()> {
        let _ = self.handle.requests.send(Request::Stop).await;
        let joined = tokio::task::spawn_blocking(|| self.thread.join()).await?;
        match joined {
            Ok(closed) => closed,
            Err(_panic) => anyhow::bail!("the writer's thread panicked; the next start repairs"),
        }
    }
}

/// What the thread works with.
struct Desk {
    writer: Writer,
    reader: Reader,
    queue: mpsc::Receiver<Request>,
    /// Taken from the queue already.
    next: Option<Request>,
    news: watch::Sender<News>,
    peer_news: broadcast::Sender<p2p::ChainUpdate>,
    events: Publisher,
    metrics: Arc<Metrics>,
    told: Told,
    clock: Clock,
    /// Makes every template another search, also than those of other nodes that mine for the same
    /// address: the last bytes of the extra nonce.
    extra_nonce: u32,
}

impl Desk {
    fn run(mut self) -> anyhow::Result<()> {
        let mut checker = self.writer.prechecker();
        while let Some(request) = self.next.take().or_else(|| self.queue.blocking_recv()) {
            match request {
                Request::Block(block, verdict) => self.blocks(&mut checker, (block, verdict))?,
                Request::Transfer(transfer, verdict) => {
                    let result = self.writer.submit_transfer(*transfer);
                    self.metrics.writing.transfer(&result);
                    if let Ok(Admission::Added(changes)) = &result {
                        self.tell();
                        self.tell_of_pool(changes.clone());
                    }
                    let _ = verdict.send(result);
                }
                Request::Template(miner, mark, reply) => {
                    let _ = reply.send(self.template(miner, mark));
                }
                Request::Generate(blocks, miner, reply) => {
                    let result = self.generate(blocks, miner);
                    let failed = fatal(result.as_ref().err().and_then(of_generate));
                    let _ = reply.send(result);
                    failed?;
                }
                Request::Steer(steering, block, reply) => {
                    let result = self.steer(steering, block);
                    let failed = fatal(result.as_ref().err().and_then(of_steering));
                    let _ = reply.send(result);
                    failed?;
                }
                Request::ShiftClock(seconds, reply) => {
                    self.clock.shift(seconds);
                    tracing::warn!(seconds, "the clock by which blocks are judged is shifted");
                    let _ = reply.send(self.clock.now());
                }
                Request::Flush => {
                    self.told.tell_rest(self.reader.view().tip());
                    let dropped = self.writer.expire_transfers(self.clock.now());
                    if !dropped.is_empty() {
                        self.tell();
                        self.tell_of_pool(Changes { dropped, ..Changes::default() });
                    }
                    self.writer.flush()?;
                }
                Request::Stop => break,
            }
        }
        Ok(self.writer.close()?)
    }

    /// Takes a block in, and those that wait right behind it. While some are taken in, those behind
    /// them are checked alone.
    fn blocks(&mut self, checker: &mut Prechecker, first: WaitingBlock) -> anyhow::Result<()> {
        let (blocks, mut verdicts) = self.waiting_blocks(Some(first));
        let begun = Instant::now();
        let mut candidates = checker.precheck(blocks, self.clock.now());
        self.metrics.writing.check_time.time(begun.elapsed());
        while !candidates.is_empty() {
            let (waiting, next_verdicts) = self.waiting_blocks(None);
            if waiting.is_empty() {
                return self.take_in(candidates, verdicts);
            }
            let (now, checker) = (self.clock.now(), &mut *checker);
            let metrics = Arc::clone(&self.metrics);
            candidates = std::thread::scope(|scope| {
                let ahead = scope.spawn(move || {
                    let begun = Instant::now();
                    let checked = checker.precheck_beside_writer(waiting, now);
                    metrics.writing.check_time.time(begun.elapsed());
                    checked
                });
                self.take_in(candidates, verdicts)?;
                Ok::<_, anyhow::Error>(ahead.join().expect("checking does not panic"))
            })?;
            verdicts = next_verdicts;
        }
        Ok(())
    }

    /// Takes blocks in, then answers all of them in order.
    fn take_in(
        &mut self,
        candidates: Vec<PrecheckedBlock>,
        verdicts: Vec<BlockVerdict>,
    ) -> anyhow::Result<()> {
        let mut judged = Vec::with_capacity(candidates.len());
        for (candidate, verdict) in candidates.into_iter().zip(verdicts) {
            let result = self.judge(candidate);
            if let Err(error) = fatal(result.as_ref().err().and_then(of_submit)) {
                // Nothing before it is safe on disk, so nobody else is answered.
                let _ = verdict.send(result);
                return Err(error);
            }
            judged.push((result, verdict));
        }
        let is_new = |accepted: &Accepted| *accepted != Accepted::AlreadyKnown;
        let mut is_safe = !judged.iter().any(|(result, _)| result.as_ref().is_ok_and(is_new));
        for (mut result, verdict) in judged {
            // A block that is known may be so from a moment ago.
            if result.is_ok() && !is_safe {
                match self.commit() {
                    Ok(()) => is_safe = true,
                    Err(error) => result = Err(error.into()),
                }
            }
            let failed = fatal(result.as_ref().err().and_then(of_submit));
            let _ = verdict.send(result);
            failed?;
        }
        Ok(())
    }

    /// Judges a block on its parent, and takes it in if it is good.
    fn judge(&mut self, block: impl Into<PrecheckedBlock>) -> Result<Accepted, SubmitError> {
        let begun = Instant::now();
        let result = self.writer.submit_block(block, self.clock.now());
        self.metrics.writing.block(&result, begun.elapsed());
        result
    }

    /// The blocks that come next in the queue, after one that may have been taken from it already:
    /// as many as may share a sync.
    fn waiting_blocks(
        &mut self,
        first: Option<WaitingBlock>,
    ) -> (Vec<Arc<Block>>, Vec<BlockVerdict>) {
        let (mut blocks, mut verdicts, mut transactions) = (Vec::new(), Vec::new(), 0_usize);
        let mut next = first.or_else(|| self.waiting_block());
        while let Some((block, verdict)) = next {
            transactions = transactions.saturating_add(block.transactions.len());
            blocks.push(block);
            verdicts.push(verdict);
            let is_full = blocks.len() >= BATCH_BLOCKS || transactions >= BATCH_TRANSACTIONS;
            next = if is_full { None } else { self.waiting_block() };
        }
        (blocks, verdicts)
    }

    /// The next request, if it is there and a block.
    fn waiting_block(&mut self) -> Option<WaitingBlock> {
        if self.next.is_some() {
            return None;
        }
        match self.queue.try_recv().ok()? {
            Request::Block(block, verdict) => Some((block, verdict)),
            other => {
                self.next = Some(other);
                None
            }
        }
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        let begun = Instant::now();
        let commit = self.writer.commit()?;
        self.metrics.writing.commit(&commit, begun.elapsed());
        let Commit { disconnected, connected, mempool, .. } = commit;
        self.tell();
        if !(connected.is_empty() && disconnected.is_empty()) {
            self.told.tell(self.reader.view().tip(), disconnected.len(), connected.len());
            // Nobody listens on a node without peers.
            let _ = self.peer_news.send(p2p::ChainUpdate::TipChanged);
            self.events.tip(self.reader.view().tip().hash);
        }
        self.tell_of_pool(mempool);
        Ok(())
    }

    fn tell_of_pool(&self, Changes { pending, dropped }: Changes) {
        let view = self.reader.view();
        let entries = pending.iter().filter_map(|id| view.mempool().get(id));
        let accepted = entries.map(|entry| Payment::of_terms(entry.transfer.details())).collect();
        drop(view);
        let counts = &self.metrics.writing.transfers_dropped;
        dropped.iter().for_each(|dropped| counts.count(dropped.reason.code()));
        self.events.pool(accepted, &dropped);
        if !pending.is_empty() {
            let _ = self.peer_news.send(p2p::ChainUpdate::TransfersAccepted(pending));
        }
    }

    fn tell(&self) {
        let tip = self.reader.view().tip().hash;
        self.news.send_modify(|news| *news = News { tip, number: news.number.wrapping_add(1) });
    }

    fn template(
        &mut self,
        miner: Address,
        [a, b, c, d]: [u8; 4],
    ) -> Result<Template, TemplateError<StoreError>> {
        self.extra_nonce = self.extra_nonce.wrapping_add(1);
        let [e, f, g, h] = self.extra_nonce.to_be_bytes();
        self.writer.template(TemplateRequest {
            miner,
            now: self.clock.now(),
            extra_nonce: [a, b, c, d, e, f, g, h],
            tag: Tag::new(TAG.to_vec()).expect("the tag is short"),
        })
    }

    fn steer(&mut self, steering: Steering, block: block::Hash) -> Result<(), InvalidateError> {
        match steering {
            Steering::SetAside => self.writer.invalidate(block)?,
            Steering::Reconsider => self.writer.reconsider(block)?,
        }
        tracing::warn!(%block, ?steering, "told by the operator");
        Ok(self.commit()?)
    }

    /// One sync for all blocks, unless they carry transfers: those leave the pool with a commit.
    fn generate(&mut self, blocks: u32, miner: Address) -> Result<Vec<block::Hash>, GenerateError> {
        let mut hashes = Vec::new();
        for _ in 0..blocks {
            let Template { mut block, target, .. } = self.template(miner, [0; 4])?;
            seal(&mut block.header, target);
            let carries_transfers = block.transactions.len() > 1;
            hashes.push(block.hash());
            self.judge(block)?;
            if carries_transfers {
                self.commit()?;
            }
        }
        self.commit()?;
        Ok(hashes)
    }
}

/// Searches the nonce, and then the version bits that may roll.
fn seal(header: &mut Header, target: chain::Target) {
    while !target.is_met_by(header.hash().as_bytes()) {
        header.nonce = header.nonce.wrapping_add(1);
        if header.nonce == 0 {
            header.version ^= 1 << 13;
        }
    }
}

fn of_submit(error: &SubmitError) -> Option<&StoreError> {
    match error {
        SubmitError::Store(error) => Some(error),
        _ => None,
    }
}

fn of_generate(error: &GenerateError) -> Option<&StoreError> {
    match error {
        GenerateError::Template(TemplateError::View(error)) | GenerateError::Store(error) => {
            Some(error)
        }
        GenerateError::Submit(error) => of_submit(error),
        GenerateError::Template(_) => None,
    }
}

fn of_steering(error: &InvalidateError) -> Option<&StoreError> {
    match error {
        InvalidateError::Store(error) => Some(error),
        InvalidateError::Unknown { .. } | InvalidateError::Genesis => None,
    }
}

/// A full disk ends nothing: reads go on, and writing works again once there is room.
fn fatal(error: Option<&StoreError>) -> anyhow::Result<()> {
    match error {
        None | Some(StoreError::Log(LogError::Full { .. })) => Ok(()),
        Some(error) => Err(anyhow::anyhow!("{error}")),
    }
}

/// Where to begin a search, so that no two nodes or runs of one do the same work.
pub fn random<const BYTES: usize>() -> anyhow::Result<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).context("the system has no random numbers")?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
