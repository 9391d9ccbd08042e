//! Publishing what the writer accepted: to the disk and the readers, and to the mempool.

use super::mempool_update::{MempoolUpdate, Step};
use super::records::read_header_and_count;
use super::state::State;
use super::writer::Writer;
use crate::block_index::NodeId;
use crate::mempool;
use crate::store::StoreError;
use std::sync::Arc;

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
        // While blocks are replayed, the mempool is not restored yet.
        let is_moved = !(path.connect.is_empty() && path.disconnect.is_empty());
        let changed = std::mem::take(&mut self.changed_accounts);
        let last_block = self.connected_ids.take();
        if is_moved && self.mempool_journal.is_some() {
            self.mempool_update =
                Some(MempoolUpdate::new(&state, changed, &path.disconnect, last_block));
        }
        drop(state);
        let rows = std::mem::take(&mut self.uncommitted).into_layers();
        let mut state = shared.write();
        state.publish_blocks();
        let fork_height = state.blocks.node(path.fork).height.get() as usize;
        state.best_chain.truncate(fork_height + 1);
        state.best_chain.extend_from_slice(&path.connect);
        state.count_bodies(&path);
        state.rows.append(rows);
        drop(state);
        Ok(Commit { disconnected: path.disconnect, connected: path.connect, confirmed })
    }

    /// Updates the mempool to the committed tip, step by step: returns the changes of the next
    /// step, and `None` once the mempool is up to date. The number of changes of a step is limited,
    /// however many blocks the best chain lost. Returns `None`, too, once the work is interrupted; the
    /// next start completes it.
    ///
    /// # Errors
    /// Returns an error of the storage.
    pub fn next_mempool_changes(&mut self) -> Result<Option<mempool::Changes>, StoreError> {
        let shared = Arc::clone(&self.shared);
        while !self.interrupt.is_requested()
            && let Some(mut update) = self.mempool_update.take()
        {
            let step = update.next_step(&shared.read(), &shared.params)?;
            let Some(Step { change, accounts }) = step else {
                self.log_mempool_tip()?;
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
}

fn count_transfers(state: &State, blocks: &[NodeId]) -> Result<usize, StoreError> {
    let transfers = |id: &NodeId| {
        let (_, transactions) = read_header_and_count(&state.log, state.blocks.node(*id))?;
        Ok(transactions.saturating_sub(1) as usize)
    };
    blocks.iter().map(transfers).sum()
}
