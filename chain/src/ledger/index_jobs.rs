//! The threads that write to the index: a flush, and a merge of its runs.

use super::layers::Layer;
use super::rows::MemoryRows;
use super::schema;
use crate::store::blocks::LogPosition;
use crate::store::index::{Changes, Index};
use crate::store::sorted_run::{Run, RunFolder};
use crate::store::{IndexError, LogError, StoreError};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// A flush that is under way.
pub(super) struct Flush {
    pub(super) thread: JoinHandle<Result<Flushed, FlushError>>,
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

/// The reason why rows are not flushed.
pub(super) struct FlushError {
    pub(super) error: StoreError,
    /// The runs that the index names now if it has the batch nevertheless.
    pub(super) maybe_named: Vec<Arc<Run>>,
}

impl<E: Into<StoreError>> From<E> for FlushError {
    fn from(error: E) -> FlushError {
        FlushError { error: error.into(), maybe_named: Vec::new() }
    }
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
    /// The runs that it names instead if it has the batch of the last flush, which failed. All files
    /// stay until this is known.
    pub(super) maybe_named: Vec<Arc<Run>>,
}

impl IndexJobs {
    /// Starts with the runs that the index names.
    pub(super) fn new(named: Vec<Arc<Run>>) -> IndexJobs {
        IndexJobs {
            flush: None,
            merge: None,
            merge_had_no_room: false,
            named,
            maybe_named: Vec::new(),
        }
    }

    pub(super) fn cancel_merge(&mut self) {
        if let Some(RunningMerge { thread, cancelled, .. }) = self.merge.take() {
            cancelled.store(true, Ordering::Relaxed);
            drop(thread.join());
        }
    }

    /// Replaces the list of the runs that the index names. Those that it does not name are removed
    /// once they are not in use.
    pub(super) fn set_named(&mut self, named: Vec<Arc<Run>>) {
        let before = std::mem::replace(&mut self.named, named);
        for run in before.into_iter().chain(self.maybe_named.drain(..)) {
            run.set_kept(self.named.iter().any(|named| Arc::ptr_eq(named, &run)));
        }
    }

    /// Finds out which runs the index names after a flush failed.
    ///
    /// # Errors
    /// Returns an error of the index.
    pub(super) fn find_named(&mut self, index: &Index) -> Result<(), IndexError> {
        if self.maybe_named.is_empty() {
            return Ok(());
        }
        let row = index.get(schema::RUNS_KEY)?;
        let encode =
            |runs: &[Arc<Run>]| schema::encode_runs(runs.iter().map(|run| run.description()));
        let has_batch = row == Some(encode(&self.maybe_named));
        let named = if has_batch { self.maybe_named.clone() } else { self.named.clone() };
        self.set_named(named);
        Ok(())
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
/// Returns an error of the storage. The rows stay in memory then.
pub(super) fn write(
    layers: &[Layer],
    mut changes: Changes,
    folder: &RunFolder,
    index: &Index,
) -> Result<Flushed, FlushError> {
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
    // From now on a kill may leave an index that names them.
    named.iter().for_each(|run| run.set_kept(true));
    match index.apply(&changes).and_then(|()| index.reopen_if_due()) {
        Ok(()) => Ok(Flushed { replaced, named }),
        Err(error) => Err(FlushError { error: error.into(), maybe_named: named }),
    }
}

fn both_in_memory(a: &Layer, b: &Layer) -> bool {
    matches!((a, b), (Layer::Memory(_), Layer::Memory(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::directory::ShutdownKind;
    use std::path::Path;

    fn run(folder: &RunFolder, key: u8) -> Arc<Run> {
        Arc::new(folder.write(1, |append| append(&[key], Some(&[key]))).unwrap())
    }

    fn files(folder: &Path) -> usize {
        std::fs::read_dir(folder).unwrap().count()
    }

    // After a batch that failed, the index may name the runs from before, or those of the batch: it
    // stays usable in both cases, also after a kill.
    #[test]
    fn failed_flush_keeps_the_files_that_the_index_names() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("runs");
        let folder = RunFolder::new(&path, schema::filter_key);
        let opened =
            Index::open(&directory.path().join("index"), ShutdownKind::FirstRun, b"", 1 << 20);
        let (index, _) = opened.unwrap();
        for has_batch in [false, true] {
            let (old, new) = (run(&folder, 1), run(&folder, 2));
            let mut jobs = IndexJobs::new(vec![Arc::clone(&old)]);
            jobs.maybe_named = vec![Arc::clone(&old), Arc::clone(&new)];
            old.set_kept(true);
            new.set_kept(true);
            let named = if has_batch { &jobs.maybe_named } else { &jobs.named };
            let row = schema::encode_runs(named.iter().map(|run| run.description()));
            index.apply(&Changes::from([(schema::RUNS_KEY.to_vec(), Some(row))])).unwrap();
            assert_eq!(files(&path), 2);
            jobs.find_named(&index).unwrap();
            drop((old, new));
            assert_eq!((files(&path), jobs.named.len()), if has_batch { (2, 2) } else { (1, 1) });
            jobs.set_named(Vec::new());
            assert_eq!(files(&path), 0);
        }
    }
}
