//! Transfers: their submission to the mempool, and the journal by which the mempool survives a
//! restart.

use super::error::TransferError;
use super::mempool_update::MempoolUpdate;
use super::overlay::AccountRows;
use super::records::read_block;
use super::reorg::ChangedAccounts;
use super::schema::{self, TxLocation};
use super::state::State;
use super::writer::Writer;
use crate::accounts::AccountView;
use crate::block::{self, Height, Timestamp};
use crate::block_index::{NodeId, Status};
use crate::mempool::journal::{Bounds, MempoolJournal, Replay, SavedTransfer};
use crate::mempool::{
    Admission, Change, Dropped, InsertError, Replacement, Restored, RestoredTransfer, Source,
};
use crate::rules;
use crate::store::{BackgroundSync, StoreError};
use crate::tx::{Id, Transfer};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

impl Writer {
    /// Validates a transfer, writes it to the journal and accepts it into the mempool, if need be in
    /// place of another one as far as `replacement` allows. It survives the death of the process
    /// when this returns, and a power failure once [`background_sync`](Self::background_sync) has
    /// synced it. A transfer of the best chain is known, like one of the mempool.
    ///
    /// # Errors
    /// Returns [`TransferError::Invalid`], [`Rejected`](TransferError::Rejected), or an error of
    /// the storage. A full disk changes nothing.
    pub fn submit_transfer(
        &mut self,
        transfer: Transfer,
        replacement: Replacement,
        source: Source,
    ) -> Result<Admission, TransferError> {
        let checked = rules::tx::check(transfer, self.shared.params.genesis_hash())?;
        let id = checked.id();
        let shared = Arc::clone(&self.shared);
        let state = shared.read();
        let rows = AccountRows::new(None, &state.rows);
        let insertion = match state.mempool.prepare(checked, replacement, &rows) {
            // Its nonce may be used by this very transfer.
            Err(InsertError::Rejected(_)) if is_confirmed(&state, &id)? => {
                return Ok(Admission::AlreadyKnown);
            }
            prepared => prepared?,
        };
        if let (Some(insertion), Some(journal)) = (&insertion, &mut self.mempool_journal) {
            let logged = journal.log_insertion(insertion, source, &state.mempool);
            self.disk_full |= logged.as_ref().is_err_and(StoreError::is_disk_full);
            logged?;
        }
        drop(state);
        let mut state = shared.write();
        let admission = match insertion {
            Some(insertion) => Admission::Added(state.mempool.apply(insertion, source)),
            None if source == Source::Local => {
                state.mempool.mark_local(&id);
                Admission::AlreadyKnown
            }
            None => Admission::AlreadyKnown,
        };
        let changes = state.mempool.take_unlogged();
        drop(state);
        self.log_changes(&changes, Some(id))?;
        Ok(admission)
    }

    /// Removes a transfer from the mempool of this node; `None` if it is not there.
    ///
    /// # Errors
    /// Returns the error of a disk that cannot be used.
    pub fn remove_transfer(&mut self, id: &Id) -> Result<Option<Dropped>, StoreError> {
        let dropped = self.shared.write().mempool.remove_by_operator(id);
        self.log_mempool()?;
        Ok(dropped)
    }

    /// Removes transfers that have waited too long for a missing nonce. Call it every few minutes.
    ///
    /// # Errors
    /// Returns the error of a disk that cannot be used.
    pub fn expire_transfers(&mut self, now: Timestamp) -> Result<Vec<Dropped>, StoreError> {
        let dropped = self.shared.write().mempool.expire(now);
        self.log_mempool()?;
        Ok(dropped)
    }

    /// Returns the transfers that were submitted to this node and are to be announced again: eleven
    /// minutes after the last time, and at once after a restart. `now` is the time since the start
    /// of the node. Call it every few seconds.
    pub fn take_due_announcements(&mut self, now: Duration) -> Vec<Id> {
        self.shared.write().mempool.take_due_announcements(now)
    }

    /// Writes changes of the mempool that a full disk prevented. Call it every few seconds.
    ///
    /// # Errors
    /// Returns the error of a disk that cannot be used.
    pub fn retry_mempool_journal(&mut self) -> Result<(), StoreError> {
        let Some(journal) = &mut self.mempool_journal else { return Ok(()) };
        journal.retry(&self.shared.read().mempool)
    }

    /// Returns the means by which another thread syncs the journal of the mempool. It has to do so
    /// until the ledger is closed.
    pub fn background_sync(&self) -> BackgroundSync {
        match &self.mempool_journal {
            Some(journal) => journal.background_sync(),
            None => BackgroundSync::closed(),
        }
    }

    /// Takes the report about the mempool that was restored when the ledger was opened.
    pub fn take_restored_mempool(&mut self) -> Restored {
        std::mem::take(&mut self.restored_mempool)
    }

    /// Writes the last changes of the mempool to its journal.
    pub(super) fn log_mempool(&mut self) -> Result<(), StoreError> {
        let changes = self.shared.write().mempool.take_unlogged();
        self.log_changes(&changes, None)
    }

    /// Writes to the journal that the mempool is up to date with the committed tip.
    pub(super) fn log_mempool_tip(&mut self) -> Result<(), StoreError> {
        let Some(journal) = &mut self.mempool_journal else { return Ok(()) };
        let state = self.shared.read();
        journal.log_tip(state.blocks.node(state.tip()).hash, &state.mempool)
    }

    fn log_changes(&mut self, changes: &[Change], logged: Option<Id>) -> Result<(), StoreError> {
        let Some(journal) = &mut self.mempool_journal else { return Ok(()) };
        journal.log_changes(&self.shared.read().mempool, changes, logged)
    }

    /// Closes the journal of the mempool, so that nothing of it is lost by a power failure.
    pub(super) fn close_mempool(&mut self) -> Result<(), StoreError> {
        self.log_mempool()?;
        let Some(mut journal) = self.mempool_journal.take() else { return Ok(()) };
        journal.close(&self.shared.read().mempool)
    }

    /// Restores the mempool from its journal in `folder`. If it was not up to date with the tip, the
    /// [next changes](Self::next_mempool_changes) complete it. Calls `warn` with sentences for the log.
    pub(super) fn restore_mempool(
        &mut self,
        folder: &Path,
        warn: &mut dyn FnMut(String),
    ) -> Result<(), StoreError> {
        let shared = Arc::clone(&self.shared);
        let genesis = shared.params.genesis_hash();
        let bounds = Bounds::of(&shared.read().mempool);
        let (mut journal, mut replay) = MempoolJournal::open(folder, genesis, bounds, warn)?;
        let saved = replay.take_transfers();
        let saved = without_confirmed(&shared.read(), saved)?;
        let (transfers, origins): (Vec<_>, Vec<_>) = saved
            .into_iter()
            .map(|SavedTransfer { transfer, source, seconds, .. }| (transfer, (source, seconds)))
            .unzip();
        let checked = rules::tx::check_all(&transfers, genesis, self.threads);
        let restored =
            checked.into_iter().zip(origins).filter_map(|(checked, (source, seconds))| {
                Some(RestoredTransfer { transfer: checked.ok()?, source, seconds })
            });
        let restored = restored.collect();
        let Replay { drop_reasons, seconds, tip, .. } = replay;
        let mut state = shared.write();
        let disconnected = disconnected_since(&state, tip);
        if disconnected.is_empty() {
            journal.set_tip(state.blocks.node(state.tip()).hash);
        } else {
            let changed = ChangedAccounts::default();
            self.mempool_update = Some(MempoolUpdate::new(&state, changed, &disconnected, None));
        }
        let State { mempool, rows, .. } = &mut *state;
        let rows = AccountRows::new(None, rows);
        let dropped = mempool.restore(restored, &drop_reasons, seconds, &rows)?;
        self.restored_mempool = Restored { count: mempool.count(), dropped };
        drop(mempool.take_unlogged());
        drop(state);
        journal.compact(&shared.read().mempool)?;
        self.mempool_journal = Some(journal);
        Ok(())
    }
}

/// Returns the blocks that left the best chain since the mempool was updated to a tip, that tip first.
/// Their transfers have not returned, because the process ended before.
fn disconnected_since(state: &State, tip: Option<block::Hash>) -> Vec<NodeId> {
    let Some(tip) = tip.and_then(|tip| state.blocks.find(&tip)) else { return Vec::new() };
    let mut disconnected = state.blocks.path(tip, state.tip()).disconnect;
    disconnected.retain(|id| state.blocks.node(*id).status != Status::Pruned);
    disconnected
}

/// Whether a transfer is in the best chain.
fn is_confirmed(state: &State, id: &Id) -> Result<bool, StoreError> {
    for TxLocation { height, position } in state.rows.locations(&schema::id_prefix(id))? {
        let Some(node) = state.best_chain.get(height.get() as usize) else { continue };
        let ids = read_block(&state.log, state.blocks.node(*node))?.ids();
        if ids.get(position as usize) == Some(id) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns the transfers that are not in the best chain, in their order. The process may have died
/// between a block and the journal's record of what the block confirmed.
fn without_confirmed(
    state: &State,
    mut saved: Vec<SavedTransfer>,
) -> Result<Vec<SavedTransfer>, StoreError> {
    let rows = AccountRows::new(None, &state.rows);
    let mut nonces = BTreeMap::new();
    let mut blocks: BTreeMap<Height, Vec<Id>> = BTreeMap::new();
    for SavedTransfer { id, transfer, .. } in &saved {
        let sender = transfer.sender_address();
        let nonce = match nonces.get(&sender) {
            Some(nonce) => *nonce,
            None => *nonces.entry(sender).or_insert(rows.account(&sender)?.nonce),
        };
        if transfer.nonce < nonce {
            for location in state.rows.locations(&schema::id_prefix(id))? {
                blocks.entry(location.height).or_default().push(*id);
            }
        }
    }
    let mut confirmed = BTreeSet::new();
    for (height, wanted) in blocks {
        let Some(node) = state.best_chain.get(height.get() as usize) else { continue };
        let ids: BTreeSet<Id> =
            read_block(&state.log, state.blocks.node(*node))?.ids().into_iter().collect();
        confirmed.extend(wanted.into_iter().filter(|id| ids.contains(id)));
    }
    saved.retain(|saved| !confirmed.contains(&saved.id));
    Ok(saved)
}
