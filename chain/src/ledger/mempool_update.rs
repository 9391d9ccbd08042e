//! Updating the mempool to a new tip, in steps: a reorganisation may return any number of
//! transfers, and readers wait only for one step at a time.

use super::overlay::AccountRows;
use super::records::{read_block, read_checked_block};
use super::reorg::ChangedAccounts;
use super::schema::{self, TxLocation};
use super::state::State;
use crate::accounts::{Account, AccountView};
use crate::address::Address;
use crate::block_index::NodeId;
use crate::mempool::{Changes, TipChange};
use crate::params::Params;
use crate::rules::tx::CheckedTransfer;
use crate::store::StoreError;
use crate::tx::Id;
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::vec;

/// The maximum number of senders, and of returned transfers, of a step.
const STEP: usize = 500;

/// What remains of updating the mempool to the committed tip.
#[derive(Debug)]
pub(super) struct MempoolUpdate {
    /// The disconnected blocks whose transfers are still to return, the oldest last.
    disconnected: Vec<NodeId>,
    /// The transfers of the block that returns now.
    returned: vec::IntoIter<CheckedTransfer>,
    /// The transfers that were pending before some returned. Those that wait for returning ones
    /// meanwhile, and are pending again, are no change.
    were_pending: HashSet<Id>,
    /// The accounts that may have changed; `None` once `senders` lists them.
    changed: Option<ChangedAccounts>,
    /// The senders whose transfers are still to be revalidated.
    senders: vec::IntoIter<Address>,
    /// The block of the best chain that was looked into last, so that steps need not read it again.
    last_block: Option<BlockIds>,
}

/// The ids of the transactions of a block, in order.
#[derive(Debug)]
pub(super) struct BlockIds {
    pub(super) block: NodeId,
    pub(super) ids: Vec<Id>,
}

/// A step: the change for the mempool, with all accounts that it needs.
pub(super) struct Step {
    pub(super) change: TipChange,
    pub(super) accounts: HashMap<Address, Account>,
}

impl MempoolUpdate {
    /// Starts the update after these accounts changed. `disconnected` are the blocks that left the
    /// best chain, the old tip first, and `last_block` is one that joined it.
    pub(super) fn new(
        state: &State,
        changed: ChangedAccounts,
        disconnected: &[NodeId],
        last_block: Option<BlockIds>,
    ) -> Self {
        let were_pending = if disconnected.is_empty() {
            HashSet::new()
        } else {
            state.mempool.pending_ids().collect()
        };
        MempoolUpdate {
            disconnected: disconnected.to_vec(),
            returned: Vec::new().into_iter(),
            were_pending,
            changed: Some(changed),
            senders: Vec::new().into_iter(),
            last_block,
        }
    }

    /// Returns the next step; `None` after the last one. The returned transfers come first, in the
    /// order of the chain, and take the room that is left.
    pub(super) fn next_step(
        &mut self,
        state: &State,
        params: &Params,
    ) -> Result<Option<Step>, StoreError> {
        while self.returned.as_slice().is_empty()
            && let Some(id) = self.disconnected.pop()
        {
            let block = read_checked_block(&state.log, state.blocks.node(id), params)?;
            self.returned = block.into_transfers().into_iter();
        }
        let returned: Vec<_> = self.returned.by_ref().take(STEP).collect();
        if !returned.is_empty() {
            let change = TipChange { returned, is_partial: true, ..TipChange::default() };
            return self.step(state, change).map(Some);
        }
        // The tip changed, so there is one step at least.
        let is_first = self.changed.is_some();
        if let Some(changed) = self.changed.take() {
            self.senders = senders(state, changed).into_iter();
        }
        let touched: BTreeSet<Address> = self.senders.by_ref().take(STEP).collect();
        if touched.is_empty() && !is_first {
            return Ok(None);
        }
        self.step(state, TipChange { touched, ..TipChange::default() }).map(Some)
    }

    /// Removes what is no change over all steps together.
    pub(super) fn retain_changes(&self, changes: &mut Changes) {
        changes.pending.retain(|id| !self.were_pending.contains(id));
    }

    /// Reads what the mempool needs for a step.
    fn step(&mut self, state: &State, mut change: TipChange) -> Result<Step, StoreError> {
        let rows = AccountRows::new(None, &state.rows);
        let TipChange { returned, touched, .. } = &change;
        let mut accounts = HashMap::new();
        let senders = returned.iter().map(|transfer| transfer.details().sender);
        for address in touched.iter().copied().chain(senders) {
            if let Entry::Vacant(entry) = accounts.entry(address) {
                entry.insert(rows.account(&address)?);
            }
        }
        // These leave the mempool, or do not return, because their nonces are used.
        let is_used = |transfer: &&CheckedTransfer| {
            let details = transfer.details();
            accounts.get(&details.sender).is_some_and(|account| details.nonce < account.nonce)
        };
        let mut used: Vec<Id> = returned.iter().filter(is_used).map(CheckedTransfer::id).collect();
        for (sender, account) in &accounts {
            used.extend(state.mempool.ids_below(sender, account.nonce));
        }
        change.confirmed = self.confirmed(state, &used)?;
        Ok(Step { change, accounts })
    }

    /// Returns those of the transfers that are in the best chain.
    fn confirmed(&mut self, state: &State, ids: &[Id]) -> Result<BTreeSet<Id>, StoreError> {
        let mut found: Vec<(TxLocation, Id)> = Vec::new();
        for id in ids {
            let locations = state.rows.locations(&schema::id_prefix(id))?;
            found.extend(locations.into_iter().map(|location| (location, *id)));
        }
        // Sorted, so that each block is read once.
        found.sort_unstable();
        let mut confirmed = BTreeSet::new();
        for block in found.chunk_by(|(a, _), (b, _)| a.height == b.height) {
            let Some((location, _)) = block.first() else { continue };
            let Some(node) = state.best_chain.get(location.height.get() as usize) else { continue };
            let ids = match &self.last_block {
                Some(last) if last.block == *node => &last.ids,
                _ => {
                    let ids = read_block(&state.log, state.blocks.node(*node))?.ids();
                    &self.last_block.insert(BlockIds { block: *node, ids }).ids
                }
            };
            let is_there = |(location, id): &&(TxLocation, Id)| {
                ids.get(location.position as usize) == Some(id)
            };
            confirmed.extend(block.iter().filter(is_there).map(|(_, id)| *id));
        }
        Ok(confirmed)
    }
}

/// Returns the senders of the mempool whose accounts may have changed.
fn senders(state: &State, changed: ChangedAccounts) -> Vec<Address> {
    match changed {
        ChangedAccounts::Listed(listed) => {
            listed.into_iter().filter(|address| state.mempool.has_sender(address)).collect()
        }
        ChangedAccounts::Any => state.mempool.senders().copied().collect(),
    }
}
