//! Publishing what the writer accepted: to the disk and the readers, to the mempool, and later to
//! the index.

use super::flush::{MAX_RUNS, PIECE_ROWS, write_runs};
use super::mempool_update::{MempoolUpdate, Step};
use super::records::read_header_and_count;
use super::schema::{self, NODES_PER_CHUNK, StateRow};
use super::state::State;
use super::writer::Writer;
use crate::block_index::NodeId;
use crate::mempool;
use crate::store::{IndexError, LogError, StoreError};
use std::sync::Arc;

/// The number of rows that are collected in memory before they are flushed to the index.
pub(super) const FLUSH_ROWS: usize = 8_000;

/// The changes of the chain that a commit published to readers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// The blocks that left the best chain, the old tip first.
    pub disconnected: Vec<NodeId>,
    /// The blocks that joined the best chain, the new tip last.
    pub connected: Vec<NodeId>,
    /// The number of transfers in the connected blocks.
    pub confirmed: usize,
}

impl Writer {
    /// Syncs all accepted blocks to the disk, and then publishes them to the readers. Call
    /// [`next_mempool_changes`](Self::next_mempool_changes) until it returns `None` next.
    ///
    /// # Errors
    /// Returns an error of the storage.
    pub fn commit(&mut self) -> Result<Commit, StoreError> {
        while self.next_mempool_changes()?.is_some() {}
        self.log.sync()?;
        self.disk_full |= self.log.is_disk_full();
        let shared = Arc::clone(&self.shared);
        let state = shared.read();
        let path = state.blocks.path(state.tip(), self.tip);
        let confirmed = count_transfers(&state, &path.connect)?;
        if !(path.connect.is_empty() && path.disconnect.is_empty()) {
            let changed = std::mem::take(&mut self.changed_accounts);
            self.mempool_update = Some(MempoolUpdate::new(&state, changed, &path.disconnect));
        }
        drop(state);
        let mut state = shared.write();
        state.publish_blocks();
        let fork_height = state.blocks.node(path.fork).height.get() as usize;
        state.best_chain.truncate(fork_height + 1);
        state.best_chain.extend_from_slice(&path.connect);
        state.count_bodies(&path);
        state.unflushed.append(std::mem::take(&mut self.uncommitted));
        drop(state);
        Ok(Commit { disconnected: path.disconnect, connected: path.connect, confirmed })
    }

    /// Updates the mempool to the committed tip, step by step: returns the changes of the next
    /// step, and `None` once the mempool is up to date. The number of changes of a step is limited,
    /// however many blocks the best chain lost.
    ///
    /// # Errors
    /// Returns an error of the storage.
    pub fn next_mempool_changes(&mut self) -> Result<Option<mempool::Changes>, StoreError> {
        let shared = Arc::clone(&self.shared);
        while let Some(mut update) = self.mempool_update.take() {
            let step = update.next_step(&shared.read(), &shared.params)?;
            let Some(Step { change, accounts }) = step else {
                self.flush_if_full()?;
                break;
            };
            let Ok(mut changes) = shared.write().mempool.reconcile(change, &accounts);
            update.retain_changes(&mut changes);
            self.mempool_update = Some(update);
            self.log_mempool()?;
            if changes != mempool::Changes::default() {
                return Ok(Some(changes));
            }
        }
        Ok(None)
    }

    fn flush_if_full(&mut self) -> Result<(), StoreError> {
        let is_full = {
            let state = self.shared.read();
            state.unflushed.len() >= FLUSH_ROWS || state.unflushed.in_memory().is_none()
        };
        if is_full { self.flush() } else { Ok(()) }
    }

    /// Flushes all committed rows to the index. Call it every few seconds while the writer is idle.
    /// If the disk is full, the rows stay where they are until a later call.
    ///
    /// # Errors
    /// Returns an error of the storage.
    pub fn flush(&mut self) -> Result<(), StoreError> {
        if !self.can_flush()? {
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        // While blocks are replayed, those that are left are not covered.
        let covered = self.replayed.unwrap_or_else(|| self.log.synced());
        let mut state = shared.write();
        let State { blocks, unflushed, visible, .. } = &mut *state;
        let is_committed = *visible == blocks.len();
        let is_current = unflushed.is_empty() && self.dirty_chunks.is_empty();
        if !is_committed || (is_current && covered == self.covered) {
            return Ok(());
        }
        let nodes = u32::try_from(blocks.len()).expect("ids are u32");
        for chunk in std::mem::take(&mut self.dirty_chunks) {
            let first = chunk * NODES_PER_CHUNK;
            let end = nodes.min(first + NODES_PER_CHUNK);
            let stored = (first..end).map(|id| blocks.stored(NodeId::new(id)));
            unflushed.insert(schema::chunk_key(chunk), Some(schema::encode_chunk(stored)));
        }
        let accounts_hash = self.accounts_hash.clone();
        let row = StateRow { tip: self.tip, nodes, covered, accounts_hash };
        let is_small = unflushed.in_memory().is_some_and(|rows| rows.len() < PIECE_ROWS);
        if is_small {
            unflushed.insert(schema::STATE_KEY.to_vec(), Some(row.encode()));
        }
        drop(state);
        let written = if is_small { self.flush_at_once() } else { self.flush_in_pieces(row) };
        match written.and_then(|()| Ok(self.index.reopen_if_due()?)) {
            // The index failed, and the rows stay where they are.
            Err(StoreError::Index(IndexError::Full { .. })) => return self.reopen_index(),
            // There is no room for runs.
            Err(StoreError::Log(LogError::Full { .. })) => {
                self.disk_full = true;
                return Ok(());
            }
            written => written?,
        }
        let flushed = std::mem::take(&mut shared.write().unflushed);
        drop(flushed);
        self.covered = covered;
        Ok(())
    }

    fn flush_at_once(&self) -> Result<(), StoreError> {
        // Readers continue meanwhile, and only the writer changes the rows.
        let state = self.shared.read();
        Ok(state.unflushed.in_memory().map_or(Ok(()), |rows| self.index.apply(rows))?)
    }

    fn flush_in_pieces(&self, row: StateRow) -> Result<(), StoreError> {
        let runs = self.shared.read().unflushed.write_memory(&self.runs)?;
        let replaced = self.shared.write().unflushed.replace_memory(runs);
        drop(replaced);
        if self.shared.read().unflushed.runs().count() > MAX_RUNS {
            let merged = self.shared.read().unflushed.merge_runs(&self.runs)?;
            let replaced = std::mem::replace(&mut self.shared.write().unflushed, merged);
            drop(replaced);
        }
        let state = self.shared.read();
        let runs: Vec<_> = state.unflushed.runs().collect();
        write_runs(&self.index, runs.iter().copied(), row)
    }
}

fn count_transfers(state: &State, blocks: &[NodeId]) -> Result<usize, StoreError> {
    let transfers = |id: &NodeId| {
        let (_, transactions) = read_header_and_count(&state.log, state.blocks.node(*id))?;
        Ok(transactions.saturating_sub(1) as usize)
    };
    blocks.iter().map(transfers).sum()
}
