//! The writer task: a thread that owns the ledger's writer.
//!
//! Requests arrive through one bounded queue and are answered by `oneshot`. Changes of the chain are
//! published by `watch`, and to peers by `broadcast`, once they are safe on disk. Blocks that wait
//! in the queue together share one disk sync.

mod block_log;
mod handle;
mod response;
mod solve;

pub use handle::{BlockOverride, ChainVersion, GenerateError, Generation, Handle, Stopped};
pub use solve::solve;

use crate::clock::{Clock, ClockSetting, interval};
use crate::events::{Payment, Publisher};
use crate::metrics::Metrics;
use crate::random::random_bytes;
use crate::seed::Seed;
use crate::thread::OwnedThread;
use block_log::BlockLog;
use chain::block;
use chain::ledger::{
    Accepted, Commit, InvalidateError, MAX_PRUNABLE_BYTES, PrecheckedBlock, Prechecker, Pruned,
    Reader, Submission, SubmitError, Writer,
};
use chain::mempool::{Admission, Changes, Dropped};
use chain::rules::RuleError;
use chain::store::{BackgroundSync, StoreError};
use chain::template::{Template, TemplateError, TemplateRequest};
use chain::tx::{self, Tag};
use chain::{Address, Block, Timestamp, Transfer};
use handle::{QueuedBlock, Request};
use p2p::BlockReply;
use response::{
    fatal, generate_store_error, override_store_error, proposal_store_error, respond,
    submit_store_error, transfer_store_error,
};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::Interval;

/// Capacity of the request queue; senders wait while it is full.
const QUEUE: usize = 512;
/// Most blocks of a batch, which is prechecked together and shares a disk sync.
const BATCH_BLOCKS: usize = 256;
/// Transactions after which no further block joins a batch: its rows are held in memory, and the
/// submitters of its blocks wait for the whole batch.
const BATCH_TRANSACTIONS: usize = 8_000;
/// Updates for peers that a slow receiver may lag behind before it misses some.
const PEER_UPDATES: usize = 65_536;
/// The maximum time after which rows are flushed to the index when nothing else flushes them.
const FLUSH_INTERVAL: Duration = Duration::from_secs(5);
/// The time from the first write to the mempool's journal to the sync for all that are written
/// meanwhile. A power failure costs what was acknowledged within it, and during the sync.
const JOURNAL_SYNC_DELAY: Duration = Duration::from_millis(100);
/// The tag in the coinbases of this node's blocks.
pub const COINBASE_TAG: &[u8] = b"chain";

/// The writer's thread, and the one that syncs the mempool's journal. Without `stop` they end only
/// when the disk fails.
pub struct Thread {
    handle: Handle,
    thread: OwnedThread,
    journal_thread: OwnedThread,
    flush: Option<Interval>,
}

impl Thread {
    /// Starts the threads for the writer, which validates by `clock`, publishes events and counts in
    /// `metrics`. The extra nonces of generated blocks derive from `seed` if there is one.
    pub fn spawn(
        writer: Writer,
        clock: Clock,
        seed: Option<Seed>,
        events: Publisher,
        metrics: Arc<Metrics>,
    ) -> anyhow::Result<Thread> {
        let (requests, queue) = mpsc::channel(QUEUE);
        let reader = writer.reader();
        let tip = reader.view().tip().hash;
        let (publish_version, version) = watch::channel(ChainVersion { tip, sequence: 0 });
        let (peer_updates, _) = broadcast::channel(PEER_UPDATES);
        let (publish_disk_full, disk_full) = watch::channel(writer.is_disk_full());
        let extra_nonce = u32::from_le_bytes(random_bytes()?);
        let journal = writer.background_sync();
        let task = WriterTask {
            writer,
            reader,
            queue,
            next: None,
            version: publish_version,
            peer_updates: peer_updates.clone(),
            events,
            metrics,
            log: BlockLog::default(),
            clock: clock.clone(),
            seed,
            extra_nonce,
            disk_full: publish_disk_full,
            started: Instant::now(),
        };
        let journal_thread = OwnedThread::spawn("journal", move || sync_journal(&journal))?;
        let thread = OwnedThread::spawn("writer", move || task.run())?;
        let handle = Handle { requests, version, peer_updates, clock, disk_full };
        Ok(Thread { handle, thread, journal_thread, flush: None })
    }

    /// A handle that sends requests to the thread.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Flushes rows at intervals; returns once the thread has failed. Cancel-safe.
    pub async fn watch(&mut self) {
        let flush = self.flush.get_or_insert_with(|| interval(FLUSH_INTERVAL));
        loop {
            tokio::select! {
                () = self.thread.ended() => return,
                () = self.journal_thread.ended() => return,
                // When the queue is full, rows are flushed without this.
                _ = flush.tick() => drop(self.handle.requests.try_send(Request::Flush)),
            }
        }
    }

    /// Waits until all queued requests are done, or the ledger is interrupted; closes the data directory
    /// and ends the thread.
    pub async fn stop(self) -> anyhow::Result<()> {
        let _ = self.handle.requests.send(Request::Stop).await;
        let written = self.thread.join().await;
        // First the error of a sync, after which the writer fails as well.
        self.journal_thread.join().await.and(written)
    }
}

/// Syncs the mempool's journal until it is closed.
fn sync_journal(journal: &BackgroundSync) -> anyhow::Result<()> {
    while journal.wait() {
        std::thread::sleep(JOURNAL_SYNC_DELAY);
        journal.sync()?;
    }
    Ok(())
}

/// The state of the writer's thread.
struct WriterTask {
    writer: Writer,
    reader: Reader,
    queue: mpsc::Receiver<Request>,
    /// A request that was received from the queue but not processed yet.
    next: Option<Request>,
    version: watch::Sender<ChainVersion>,
    peer_updates: broadcast::Sender<p2p::ChainUpdate>,
    events: Publisher,
    metrics: Arc<Metrics>,
    log: BlockLog,
    clock: Clock,
    /// What the extra nonces of generated blocks derive from.
    seed: Option<Seed>,
    /// The last four bytes of the next template's extra nonce. Random at the start, so that nodes
    /// that mine for one address search different blocks.
    extra_nonce: u32,
    disk_full: watch::Sender<bool>,
    started: Instant,
}

impl WriterTask {
    fn run(mut self) -> anyhow::Result<()> {
        let mut prechecker = self.writer.prechecker();
        // The last stop may have interrupted it.
        self.update_mempool()?;
        while !self.writer.is_interrupted()
            && let Some(request) = self.next.take().or_else(|| self.queue.blocking_recv())
        {
            match request {
                Request::Block(submission, reply) => {
                    self.process_blocks(&mut prechecker, (submission, reply))?;
                    self.prune()?;
                }
                Request::Headers(headers, reply) => {
                    let result = self.writer.submit_headers(&headers, self.clock.now());
                    let _ = reply.send(result);
                }
                Request::Transfer(transfer, replacement, source, reply) => {
                    let transfer = Arc::unwrap_or_clone(transfer);
                    let result = self.writer.submit_transfer(transfer, replacement, source);
                    self.metrics.writer.transfer(&result);
                    if let Ok(Admission::Added(changes)) = &result {
                        self.publish_version();
                        self.publish_mempool(changes.clone());
                    }
                    respond(reply, result, transfer_store_error)?;
                }
                Request::Template(miner, mark, reply) => {
                    let _ = reply.send(self.template(miner, mark));
                }
                Request::Proposal(proposal, reply) => {
                    let result = self.writer.check_proposal(&proposal);
                    respond(reply, result, proposal_store_error)?;
                }
                Request::Generate(request, reply) => {
                    let result = self.generate_blocks(request);
                    respond(reply, result, generate_store_error)?;
                }
                Request::Override(change, block, reply) => {
                    let result = self.override_block(change, block);
                    respond(reply, result, override_store_error)?;
                }
                Request::RemoveTransfer(id, reply) => {
                    let result = self.remove_transfer(&id);
                    respond(reply, result, |error| Some(error))?;
                }
                Request::SetClock(setting, reply) => {
                    let result = self.clock.set(setting);
                    match setting {
                        _ if result.is_err() => {}
                        ClockSetting::Offset(0) => {
                            tracing::info!("the clock for validation and mining has no offset");
                        }
                        ClockSetting::Offset(seconds) => {
                            tracing::warn!(
                                seconds,
                                "the clock for validation and mining has an offset"
                            );
                        }
                        ClockSetting::Frozen(time) => {
                            tracing::warn!(%time, "the clock for validation and mining is frozen");
                        }
                    }
                    let _ = reply.send(result);
                }
                Request::SetNextBlockTime(time, reply) => {
                    let _ = reply.send(self.clock.set_next_block_time(Some(time)));
                }
                Request::Run(work) => work(),
                Request::Flush => self.flush()?,
                Request::Stop => break,
            }
            self.publish_disk_full();
        }
        Ok(self.writer.close()?)
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        self.log.log_pending(self.reader.view().tip());
        let dropped = self.writer.expire_transfers(self.clock.now())?;
        if !dropped.is_empty() {
            self.publish_version();
            self.publish_mempool(Changes { dropped, ..Changes::default() });
        }
        self.writer.retry_mempool_journal()?;
        let due = self.writer.take_due_announcements(self.started.elapsed());
        if !due.is_empty() {
            let _ = self.peer_updates.send(p2p::ChainUpdate::TransfersDue(due));
        }
        self.writer.start_flush()?;
        self.prune()
    }

    /// Removes the blocks of side branches that take too much space.
    fn prune(&mut self) -> Result<(), StoreError> {
        let Pruned { blocks, freed_bytes } = self.writer.prune(MAX_PRUNABLE_BYTES)?;
        if blocks > 0 {
            tracing::info!(blocks, freed_bytes, "removed blocks of old side branches");
        }
        Ok(())
    }

    /// Processes a block and those queued right behind it. While one batch is connected, the next is
    /// prechecked on another thread.
    fn process_blocks(
        &mut self,
        prechecker: &mut Prechecker,
        first: QueuedBlock,
    ) -> anyhow::Result<()> {
        let (blocks, mut replies) = self.next_batch(Some(first));
        if blocks.len() == 1 {
            // The writer verifies its signatures on all threads while it connects the block.
            return self
                .accept_blocks(blocks.into_iter().map(PrecheckedBlock::from).collect(), replies);
        }
        let started = Instant::now();
        let mut prechecked = prechecker.precheck(blocks, self.clock.now());
        self.metrics.writer.check_time.time(started.elapsed());
        while !prechecked.is_empty() {
            let (queued, next_replies) = self.next_batch(None);
            if queued.is_empty() {
                return self.accept_blocks(prechecked, replies);
            }
            let (now, prechecker) = (self.clock.now(), &mut *prechecker);
            let metrics = Arc::clone(&self.metrics);
            prechecked = std::thread::scope(|scope| {
                let ahead = scope.spawn(move || {
                    let started = Instant::now();
                    let prechecked = prechecker.precheck_beside_writer(queued, now);
                    metrics.writer.check_time.time(started.elapsed());
                    prechecked
                });
                self.accept_blocks(prechecked, replies)?;
                Ok::<_, anyhow::Error>(ahead.join().expect("prechecking does not panic"))
            })?;
            replies = next_replies;
        }
        Ok(())
    }

    /// Validates and connects blocks, commits them with one disk sync, then replies to all in order.
    fn accept_blocks(
        &mut self,
        blocks: Vec<PrecheckedBlock>,
        replies: Vec<BlockReply>,
    ) -> anyhow::Result<()> {
        let mut results = Vec::with_capacity(blocks.len());
        for (block, reply) in blocks.into_iter().zip(replies) {
            let result = self.accept_block(block);
            if let Err(error) = fatal(result.as_ref().err().and_then(submit_store_error)) {
                // No earlier block of the batch is safe on disk, so none of them gets a reply.
                let _ = reply.send(result);
                return Err(error);
            }
            results.push((result, reply));
        }
        for (mut result, reply) in results {
            // Also for a known block: it may be known since a moment ago, from this batch.
            if result.is_ok() && self.writer.has_uncommitted() {
                result = self.commit().map_err(SubmitError::from).and(result);
            }
            respond(reply, result, submit_store_error)?;
        }
        Ok(())
    }

    /// Validates a block in the context of its parent and connects it if that is the best chain.
    fn accept_block(&mut self, block: impl Into<PrecheckedBlock>) -> Result<Accepted, SubmitError> {
        let started = Instant::now();
        let result = self.writer.submit_block(block, self.clock.now());
        self.metrics.writer.block(&result, started.elapsed());
        result
    }

    /// The blocks at the front of the queue, as many as may share a disk sync, after `first`, which
    /// was received already.
    fn next_batch(&mut self, first: Option<QueuedBlock>) -> (Vec<Submission>, Vec<BlockReply>) {
        let (mut blocks, mut replies, mut transactions) = (Vec::new(), Vec::new(), 0_usize);
        let mut next = first.or_else(|| self.next_block());
        while let Some((submission, reply)) = next {
            transactions = transactions.saturating_add(submission.block.transactions.len());
            blocks.push(submission);
            replies.push(reply);
            let is_full = blocks.len() >= BATCH_BLOCKS || transactions >= BATCH_TRANSACTIONS;
            next = if is_full { None } else { self.next_block() };
        }
        (blocks, replies)
    }

    /// The next request of the queue, if there is one and it is a block.
    fn next_block(&mut self) -> Option<QueuedBlock> {
        if self.next.is_some() || self.writer.is_interrupted() {
            return None;
        }
        match self.queue.try_recv().ok()? {
            Request::Block(submission, reply) => Some((submission, reply)),
            other => {
                self.next = Some(other);
                None
            }
        }
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        let started = Instant::now();
        let commit = self.writer.commit()?;
        self.metrics.writer.commit(&commit, started.elapsed());
        let Commit { disconnected, connected, .. } = commit;
        self.publish_version();
        if !(connected.is_empty() && disconnected.is_empty()) {
            self.log.log_blocks(self.reader.view().tip(), disconnected.len(), connected.len());
            // Without peers there is no receiver.
            let _ = self.peer_updates.send(p2p::ChainUpdate::TipChanged);
            self.events.publish_tip(self.reader.view().tip().hash);
        }
        self.update_mempool()
    }

    /// Updates the mempool to the committed tip.
    fn update_mempool(&mut self) -> Result<(), StoreError> {
        let mut is_mempool_changed = false;
        while let Some(changes) = self.writer.next_mempool_changes()? {
            self.publish_mempool(changes);
            is_mempool_changed = true;
        }
        if is_mempool_changed {
            self.publish_version();
        }
        Ok(())
    }

    fn publish_mempool(&self, Changes { pending, dropped }: Changes) {
        let view = self.reader.view();
        let entries = pending.iter().filter_map(|id| view.mempool().get(id));
        let accepted: Vec<_> =
            entries.map(|entry| Payment::of_details(entry.transfer.details())).collect();
        drop(view);
        let counts = &self.metrics.writer.transfers_dropped;
        dropped.iter().for_each(|dropped| counts.count(dropped.reason.code()));
        self.events.publish_mempool(&accepted, &dropped);
        if !pending.is_empty() {
            let _ = self.peer_updates.send(p2p::ChainUpdate::TransfersAccepted(pending));
        }
    }

    fn publish_version(&self) {
        let tip = self.reader.view().tip().hash;
        self.version.send_modify(|version| {
            *version = ChainVersion { tip, sequence: version.sequence.wrapping_add(1) };
        });
    }

    fn publish_disk_full(&self) {
        let is_full = self.writer.is_disk_full();
        if self
            .disk_full
            .send_if_modified(|published| std::mem::replace(published, is_full) != is_full)
        {
            match is_full {
                true => {
                    tracing::error!("the disk is full: no blocks are accepted until it has room");
                }
                false => tracing::info!("the disk has room again: blocks are accepted"),
            }
        }
    }

    fn template(
        &mut self,
        miner: Address,
        mark: [u8; 4],
    ) -> Result<Template, TemplateError<StoreError>> {
        let request = self.template_request(miner, mark);
        self.writer.template(request)
    }

    /// The request for a template at the time of the clock, with an extra nonce of its own.
    fn template_request(&mut self, miner: Address, [a, b, c, d]: [u8; 4]) -> TemplateRequest {
        self.extra_nonce = self.extra_nonce.wrapping_add(1);
        let [e, f, g, h] = self.extra_nonce.to_be_bytes();
        TemplateRequest {
            miner,
            now: self.clock.now(),
            extra_nonce: [a, b, c, d, e, f, g, h],
            tag: Tag::new(COINBASE_TAG.to_vec()).expect("the tag is short"),
        }
    }

    fn override_block(
        &mut self,
        change: BlockOverride,
        block: block::Hash,
    ) -> Result<(), InvalidateError> {
        let overridden = match change {
            BlockOverride::Invalidate => self.writer.invalidate(block),
            BlockOverride::Reconsider => self.writer.reconsider(block),
        };
        // Also after an error, which may have come half-way.
        self.commit()?;
        overridden?;
        tracing::warn!(%block, ?change, "block validity overridden by operator");
        Ok(())
    }

    fn remove_transfer(&mut self, id: &tx::Id) -> Result<Option<Dropped>, StoreError> {
        let removed = self.writer.remove_transfer(id)?;
        if let Some(dropped) = removed.clone() {
            self.publish_version();
            self.publish_mempool(Changes { dropped: vec![dropped], ..Changes::default() });
        }
        Ok(removed)
    }

    fn generate_blocks(&mut self, request: Generation) -> Result<Vec<block::Hash>, GenerateError> {
        let hashes = self.generate_uncommitted(request);
        // Also after an error: the blocks before it are connected.
        self.commit()?;
        hashes
    }

    /// The next block on the tip with its proof of work.
    fn solved_block(
        &mut self,
        miner: Address,
        time: Option<Timestamp>,
        transfers: Option<&[Transfer]>,
    ) -> Result<Block, GenerateError> {
        let mut seeded = self.seed.map(|seed| seed.number("extra nonce"));
        loop {
            let mut request = self.template_request(miner, [0; 4]);
            request.now = time.unwrap_or(request.now);
            if let Some(number) = &mut seeded {
                request.extra_nonce = number.to_be_bytes();
                *number = number.wrapping_add(1);
            }
            let Template { mut block, target, .. } = match transfers {
                Some(transfers) => self.writer.template_of(request, transfers)?,
                None => self.writer.template(request)?,
            };
            solve(&mut block.header, target);
            // A seed gives the same block again on a tip to which the chain has returned.
            if seeded.is_none() || self.reader.view().find(&block.hash()).is_none() {
                return Ok(block);
            }
        }
    }

    /// The time of the next block, if it was set, which is forgotten. If it cannot be removed from the disk,
    /// it applies again after the next start.
    fn take_next_block_time(&self) -> Option<Timestamp> {
        let time = self.clock.next_block_time()?;
        if let Err(error) = self.clock.set_next_block_time(None) {
            tracing::warn!(%error, "the time of the next block cannot be removed");
        }
        Some(time)
    }

    /// Generates blocks, and commits only those that carry transfers: a commit removes these from
    /// the mempool.
    fn generate_uncommitted(
        &mut self,
        request: Generation,
    ) -> Result<Vec<block::Hash>, GenerateError> {
        let Generation { blocks, miner, mut time, mut transfers } = request;
        let mut hashes = Vec::new();
        for _ in 0..blocks {
            if self.writer.is_interrupted() {
                return Err(StoreError::Interrupted.into());
            }
            // Only of the first block, before which all others are committed. A time that was set before
            // is taken also if the block is invalid: it would prevent every later one.
            let time = time.take().or_else(|| self.take_next_block_time());
            let earliest = self.reader.view().tip().time;
            if let Some(actual) = time.filter(|time| *time < earliest) {
                return Err(SubmitError::Invalid(RuleError::TimeTooOld { earliest, actual }).into());
            }
            let block = self.solved_block(miner, time, transfers.take().as_deref())?;
            let carries_transfers = block.transactions.len() > 1;
            hashes.push(block.hash());
            self.accept_block(block)?;
            if carries_transfers {
                self.commit()?;
            }
        }
        Ok(hashes)
    }
}

#[cfg(test)]
mod tests;
