//! Flushing committed rows to the index, and merging its runs, on threads of their own. The log is
//! the source of truth, so the writer does not wait for either, unless too many rows are in memory.
//!
//! A flush writes the rows in memory to runs, and then, in one batch, the row that names all runs
//! together with the state that they reflect. So the index is always at one tip: a kill before the
//! batch leaves runs that no row names, and the blocks since then are replayed from the log. A merge
//! changes no row: the next flush names its result, and until then the merged runs stay.

use super::index_jobs::{Flush, FlushError, Flushed, RunningMerge, write};
use super::layers::Layer;
use super::schema::{self, MAX_RUNS, NODES_PER_CHUNK, StateRow};
use super::state::State;
use super::writer::Writer;
use crate::block_index::NodeId;
use crate::store::blocks::LogPosition;
use crate::store::index::Changes;
use crate::store::{IndexError, LogError, StoreError};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

/// The number of changed chunks of block nodes with which a flush starts: about 1 MB.
const MAX_CHUNKS: usize = 256;
/// The number of layers over those that the index names with which a flush starts.
const MAX_LAYERS: usize = 48;

impl Writer {
    /// Flushes all committed rows to the index, and waits for that. If the disk is full, the rows
    /// stay where they are until a later call.
    ///
    /// # Errors
    /// Returns an error of the storage.
    pub fn flush(&mut self) -> Result<(), StoreError> {
        self.finish_flush()?;
        self.start_flush()?;
        self.finish_flush()
    }

    /// Starts to flush all committed rows to the index, unless a flush is under way. Call it every
    /// few seconds while the writer is idle. If the disk is full, the rows stay where they are until
    /// a later call.
    ///
    /// # Errors
    /// Returns an error of the storage, also of an earlier flush.
    pub fn start_flush(&mut self) -> Result<(), StoreError> {
        self.finish_ended_jobs()?;
        if self.jobs.flush.is_some() || !self.can_flush()? || !self.limit_runs()? {
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        // While blocks are replayed, those that are left are not covered.
        let covered = self.replayed.unwrap_or_else(|| self.log.synced());
        let state = shared.read();
        let is_committed = state.visible == state.blocks.len() && state.tip() == self.tip;
        if !is_committed || self.is_flushed(&state, covered) {
            return Ok(());
        }
        let chunks = std::mem::take(&mut self.dirty_chunks);
        let nodes = u32::try_from(state.blocks.len()).expect("ids are u32");
        let mut changes = Changes::new();
        for chunk in &chunks {
            let first = chunk * NODES_PER_CHUNK;
            let end = nodes.min(first + NODES_PER_CHUNK);
            let stored = (first..end).map(|id| state.blocks.stored(NodeId::new(id)));
            changes.insert(schema::chunk_key(*chunk), Some(schema::encode_chunk(stored)));
        }
        let accounts_hash = self.accounts_hash.clone();
        let row = StateRow { tip: self.tip, nodes, covered, accounts_hash };
        changes.insert(schema::STATE_KEY.to_vec(), Some(row.encode()));
        let (layers, folder) = (state.rows.all().to_vec(), self.runs.clone());
        let index = Arc::clone(&self.index);
        let write = move || write(&layers, changes, &folder, &index);
        let thread = thread::Builder::new().name("index-flush".to_owned()).spawn(write);
        let thread = thread.map_err(|error| IndexError::Engine(error.to_string()))?;
        self.jobs.flush = Some(Flush { thread, chunks, covered });
        Ok(())
    }

    /// Whether the index has everything up to a position in the log, and names all runs.
    fn is_flushed(&self, state: &State, covered: LogPosition) -> bool {
        let (runs, named) = (state.rows.oldest_runs(), &self.jobs.named);
        self.dirty_chunks.is_empty()
            && covered == self.covered
            && state.rows.all().len() == runs.len()
            && runs.len() == named.len()
            && runs.iter().zip(named).all(|(run, named)| Arc::ptr_eq(run, named))
    }

    /// Starts a flush if there are many rows in memory, and waits for one if there are too many.
    pub(super) fn flush_if_full(&mut self) -> Result<(), StoreError> {
        let bytes = |writer: &Writer| writer.shared.read().rows.memory_bytes();
        if bytes(self) >= self.flush_bytes.saturating_mul(2) {
            self.finish_flush()?;
        }
        let layers = self.shared.read().rows.all().len().saturating_sub(self.jobs.named.len());
        if bytes(self) >= self.flush_bytes
            || layers >= MAX_LAYERS
            || self.dirty_chunks.len() >= MAX_CHUNKS
        {
            self.start_flush()?;
        }
        Ok(())
    }

    /// Finishes a flush and a merge whose threads have ended, and starts the next merge.
    fn finish_ended_jobs(&mut self) -> Result<(), StoreError> {
        if self.jobs.flush.as_ref().is_some_and(|flush| flush.thread.is_finished()) {
            self.finish_flush()?;
        }
        if self.jobs.merge.as_ref().is_some_and(|merge| merge.thread.is_finished()) {
            self.finish_merge()?;
        }
        if self.jobs.merge.is_none() && !self.jobs.merge_had_no_room && !self.disk_full {
            self.start_merge()?;
        }
        Ok(())
    }

    /// Waits for the flush that is under way, if there is one.
    fn finish_flush(&mut self) -> Result<(), StoreError> {
        let Some(Flush { thread, mut chunks, covered }) = self.jobs.flush.take() else {
            return Ok(());
        };
        let flushed = thread.join().expect("flushing does not panic");
        if flushed.is_err() {
            // The rows stay in memory.
            self.dirty_chunks.append(&mut chunks);
        }
        match flushed {
            Ok(Flushed { replaced, named }) => {
                let mut state = self.shared.write();
                for (old, run) in replaced {
                    state.rows.replace(old, run);
                }
                drop(state);
                self.jobs.set_named(named);
                self.jobs.merge_had_no_room = false;
                self.covered = covered;
                Ok(())
            }
            Err(FlushError { error, maybe_named }) => {
                self.jobs.maybe_named = maybe_named;
                match error {
                    StoreError::Index(IndexError::Full { .. }) => self.reopen_index(),
                    StoreError::Log(LogError::Full { .. }) => {
                        self.disk_full = true;
                        Ok(())
                    }
                    error => Err(error),
                }
            }
        }
    }

    /// Merges all runs if merging some of them now and then was not possible for long, because the
    /// disk had no room. Returns false if it still has none.
    fn limit_runs(&mut self) -> Result<bool, StoreError> {
        let runs = self.shared.read().rows.oldest_runs();
        if runs.len() < MAX_RUNS / 2 {
            return Ok(true);
        }
        self.jobs.cancel_merge();
        let never = AtomicBool::new(false);
        match self.runs.merge(runs.iter().map(|run| &**run), false, &never) {
            Ok(Some(merged)) => {
                let old = runs.into_iter().map(Layer::Run).collect();
                self.shared.write().rows.replace(old, Arc::new(merged));
                Ok(true)
            }
            Ok(None) => Ok(true),
            Err(LogError::Full { .. }) => {
                self.disk_full = true;
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn start_merge(&mut self) -> Result<(), StoreError> {
        let Some((runs, has_older)) = self.shared.read().rows.mergeable() else { return Ok(()) };
        let cancelled = Arc::new(AtomicBool::new(false));
        let (folder, merged, is_cancelled) =
            (self.runs.clone(), runs.clone(), Arc::clone(&cancelled));
        let merge = move || folder.merge(merged.iter().map(|run| &**run), has_older, &is_cancelled);
        let thread = thread::Builder::new().name("index-merge".to_owned()).spawn(merge);
        let thread = thread.map_err(|error| IndexError::Engine(error.to_string()))?;
        self.jobs.merge = Some(RunningMerge { thread, cancelled, runs });
        Ok(())
    }

    fn finish_merge(&mut self) -> Result<(), StoreError> {
        let Some(RunningMerge { thread, runs, .. }) = self.jobs.merge.take() else {
            return Ok(());
        };
        match thread.join().expect("merging does not panic") {
            Ok(Some(merged)) => {
                let old = runs.into_iter().map(Layer::Run).collect();
                self.shared.write().rows.replace(old, Arc::new(merged));
            }
            Ok(None) => {}
            Err(LogError::Full { .. }) => self.jobs.merge_had_no_room = true,
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Flushes, cancels the merge, and closes the index, so that the next start can verify it.
    pub(super) fn close_index(&mut self) -> Result<(), StoreError> {
        self.jobs.cancel_merge();
        self.flush()?;
        self.jobs.cancel_merge();
        self.runs.sync()?;
        Ok(self.index.close()?)
    }
}
