//! The threads that write to the index: a flush, and a merge of its runs.

use super::layers::Layer;
use super::rows::MemoryRows;
use super::schema;
use crate::store::blocks::LogPosition;
use crate::store::index::{Changes, Index};
use crate::store::sorted_run::{Run, RunFolder};
use crate::store::{LogError, StoreError};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// A flush that is under way.
pub(super) struct Flush {
    pub(super) thread: JoinHandle<Result<Flushed, StoreError>>,
    /// The chunks of block nodes that it writes.
    pub(super) chunks: BTreeSet<u32>,
    /// The position in the log up to which the index covers it then.
    pub(super) covered: LogPosition,
}

/// What a flush wrote.
pub(super) struct Flushed {
    /// Layers, each with the run that has the same rows.
    pub(super) replaced: Vec<(Vec<Layer>, Arc<Run>)>,
    /// All runs that the index names now, the oldest first.
    pub(super) named: Vec<Arc<Run>>,
}

/// A merge that is under way.
pub(super) struct RunningMerge {
    pub(super) thread: JoinHandle<Result<Option<Run>, LogError>>,
    pub(super) cancelled: Arc<AtomicBool>,
    pub(super) runs: Vec<Arc<Run>>,
}

/// The threads that write to the index. Dropping them waits for the flush and cancels the merge.
pub(super) struct IndexJobs {
    pub(super) flush: Option<Flush>,
    pub(super) merge: Option<RunningMerge>,
    /// Whether the last merge had no room on the disk. The next one is tried after another flush.
    pub(super) merge_had_no_room: bool,
    /// The runs that the index names, the oldest first.
    pub(super) named: Vec<Arc<Run>>,
}

impl IndexJobs {
    /// Starts with the runs that the index names.
    pub(super) fn new(named: Vec<Arc<Run>>) -> IndexJobs {
        IndexJobs { flush: None, merge: None, merge_had_no_room: false, named }
    }

    pub(super) fn cancel_merge(&mut self) {
        if let Some(RunningMerge { thread, cancelled, .. }) = self.merge.take() {
            cancelled.store(true, Ordering::Relaxed);
            drop(thread.join());
        }
    }

    /// Replaces the list of the runs that the index names. Those that it no longer names are
    /// removed.
    pub(super) fn set_named(&mut self, named: Vec<Arc<Run>>) {
        for run in std::mem::replace(&mut self.named, named) {
            run.set_kept(self.named.iter().any(|named| Arc::ptr_eq(named, &run)));
        }
    }
}

impl Drop for IndexJobs {
    fn drop(&mut self) {
        self.cancel_merge();
        if let Some(Flush { thread, .. }) = self.flush.take() {
            drop(thread.join());
        }
    }
}

/// Writes the layers in memory to runs, and then names all runs in the index.
///
/// # Errors
/// Returns an error of the storage. The rows are not in the index then.
pub(super) fn write(
    layers: &[Layer],
    mut changes: Changes,
    folder: &RunFolder,
    index: &Index,
) -> Result<Flushed, StoreError> {
    let (mut replaced, mut named) = (Vec::new(), Vec::new());
    for group in layers.chunk_by(both_in_memory) {
        let mut rows = MemoryRows::default();
        for layer in group {
            match layer {
                Layer::Memory(newer) => rows.append(MemoryRows::clone(newer)),
                Layer::Run(run) => named.push(Arc::clone(run)),
            }
        }
        if !rows.is_empty() {
            rows.sort();
            let run = Arc::new(rows.write(folder)?);
            named.push(Arc::clone(&run));
            replaced.push((group.to_vec(), run));
        }
    }
    let runs = schema::encode_runs(named.iter().map(|run| run.description()));
    changes.insert(schema::RUNS_KEY.to_vec(), Some(runs));
    named.iter().for_each(|run| run.set_kept(true));
    let applied = index.apply(&changes).and_then(|()| index.reopen_if_due());
    if applied.is_err() {
        // The next flush writes these rows again.
        replaced.iter().for_each(|(_, run)| run.set_kept(false));
    }
    applied?;
    Ok(Flushed { replaced, named })
}

fn both_in_memory(a: &Layer, b: &Layer) -> bool {
    matches!((a, b), (Layer::Memory(_), Layer::Memory(_)))
}
