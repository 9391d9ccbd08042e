//! Writing rows to the index in pieces. The index blocks its readers while it applies a batch, and
//! a batch is in memory, so batches are small; the rows of a large flush are in runs meanwhile,
//! where readers find them. A row of the index names these runs until all of them are written, so
//! that the next start after a kill writes them again.

use super::schema::{FLUSH_KEY, FlushRow, STATE_KEY, StateRow};
use crate::store::StoreError;
use crate::store::index::{Changes, Index};
use crate::store::sorted_run::{Merge, Run, RunFolder};

/// The maximum number of rows of a batch.
pub(super) const PIECE_ROWS: usize = 1_000;
/// The maximum number of runs, which the row that names them has room for.
pub(super) const MAX_RUNS: usize = 64;
/// The maximum size of the keys and values of a batch in bytes, unless one row is larger.
const PIECE_BYTES: usize = 256 << 10;

/// Writes runs, the oldest first, and then the row of the state that they lead to.
pub(super) fn write_runs<'a>(
    index: &Index,
    runs: impl Iterator<Item = &'a Run> + Clone,
    state: StateRow,
) -> Result<(), StoreError> {
    let flush = FlushRow { state, runs: runs.clone().map(Run::description).collect() };
    index.apply(&Changes::from([(FLUSH_KEY.to_vec(), Some(flush.encode()))]))?;
    write_rows(index, runs, &flush.state)
}

fn write_rows<'a>(
    index: &Index,
    runs: impl Iterator<Item = &'a Run>,
    state: &StateRow,
) -> Result<(), StoreError> {
    let (mut piece, mut bytes) = (Changes::new(), 0_usize);
    for row in Merge::new(runs)? {
        let (key, value) = row?;
        bytes = bytes.saturating_add(key.len() + value.as_ref().map_or(0, Vec::len));
        piece.insert(key, value);
        if piece.len() >= PIECE_ROWS || bytes >= PIECE_BYTES {
            index.apply(&piece)?;
            (piece, bytes) = (Changes::new(), 0);
        }
    }
    piece.insert(STATE_KEY.to_vec(), Some(state.encode()));
    piece.insert(FLUSH_KEY.to_vec(), None);
    Ok(index.apply(&piece)?)
}

/// Completes the flush that a kill interrupted, if any. Returns false if its runs are not there any
/// more; the index is of no use then.
pub(super) fn complete(index: &Index, folder: &RunFolder) -> Result<bool, StoreError> {
    let Some(value) = index.get(FLUSH_KEY)? else { return Ok(true) };
    let Some(flush) = FlushRow::decode(&value) else { return Ok(false) };
    let runs: Option<Vec<Run>> = flush.runs.iter().map(|run| folder.reopen(*run)).collect();
    let Some(runs) = runs else { return Ok(false) };
    write_rows(index, runs.iter(), &flush.state)?;
    Ok(true)
}
