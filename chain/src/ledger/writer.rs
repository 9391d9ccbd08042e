//! The writer, which alone changes the chain.

use super::error::SubmitError;
use super::overlay::LayeredView;
use super::precheck::{Body, PrecheckedBlock, Prechecker};
use super::reader::Reader;
use super::records::{encode_undo, read_checked_block};
use super::reorg::{NewTipError, ReorgError, ReorgStaging, StagedReorg, matured_reward};
use super::schema::{self, NODES_PER_CHUNK};
use super::state::{Shared, State};
use crate::accounts::{LtHash, Undo};
use crate::address::Address;
use crate::amount::Amount;
use crate::block::{self, Header, Timestamp};
use crate::block_index::{BlockNode, NodeFields, NodeId, Status};
use crate::mempool;
use crate::mempool::journal::MempoolJournal;
use crate::params::Params;
use crate::pow::{Target, Work};
use crate::rules::body::{self, CheckedBlock, Reward};
use crate::rules::tx::CheckedTransfer;
use crate::rules::{RuleError, header};
use crate::store::blocks::{BlockLog, LogPosition, RecordKind, RecordLocation};
use crate::store::directory::Directory;
use crate::store::index::{Changes, Index};
use crate::store::{IndexError, StoreError};
use crate::template::{self, Template, TemplateError, TemplateRequest};
use crate::tx::Id;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// The number of rows that are collected in memory before they are flushed to the index. The index
/// blocks its readers while it writes, so batches are limited unless one block has more rows.
pub(super) const FLUSH_ROWS: usize = 8_000;

/// The result of accepting a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// The block is the new tip.
    Connected,
    /// The block is on a branch with no more work than the best chain. It is valid in isolation and
    /// was not connected.
    SideBranch,
    /// The block is already known.
    AlreadyKnown,
}

/// The changes that a commit published to readers.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// The blocks that left the best chain, the old tip first.
    pub disconnected: Vec<NodeId>,
    /// The blocks that joined the best chain, the new tip last.
    pub connected: Vec<NodeId>,
    /// The number of transfers in the connected blocks.
    pub confirmed: usize,
    /// The changes of the mempool.
    pub mempool: mempool::Changes,
}

/// Changes the chain. It is not `Clone`: the owner has the exclusive right to write.
pub struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) log: BlockLog,
    pub(super) index: Index,
    pub(super) directory: Directory,
    pub(super) threads: usize,
    /// The tip to which blocks are connected, which readers see after the next commit.
    pub(super) tip: NodeId,
    /// The hash of the accounts at that tip.
    pub(super) accounts_hash: LtHash,
    /// The rows that the next commit publishes.
    pub(super) uncommitted: Changes,
    /// The addresses whose accounts changed since the last commit.
    pub(super) changed_accounts: BTreeSet<Address>,
    /// The transfers in the blocks since the last commit.
    pub(super) confirmed: BTreeSet<Id>,
    /// The chunks of block nodes that changed since the last flush.
    pub(super) dirty_chunks: BTreeSet<u32>,
    /// Undo records that are in the log, of blocks that are not known to be valid: blocks that are
    /// still to be replayed, and blocks that did not fit on the disk after their undo record.
    pub(super) logged_undos: HashMap<block::Hash, RecordLocation>,
    /// Whether the last write found the disk full.
    pub(super) disk_full: bool,
    /// `None` until the mempool is restored.
    pub(super) mempool_journal: Option<MempoolJournal>,
    pub(super) restored_mempool: mempool::Restored,
    /// While blocks are replayed, the position of the next one.
    pub(super) replayed: Option<LogPosition>,
}

impl Writer {
    /// Returns a reader of the same chain.
    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.shared))
    }

    /// Returns the parameters of the network.
    pub fn params(&self) -> &Params {
        &self.shared.params
    }

    /// Whether accepted blocks or a change of the tip wait for a [`commit`](Self::commit).
    pub fn has_uncommitted(&self) -> bool {
        let state = self.shared.read();
        state.visible != state.blocks.len() || state.tip() != self.tip
    }

    /// Returns a prechecker, which validates blocks in isolation before they are submitted.
    pub fn prechecker(&self) -> Prechecker {
        Prechecker::new(self.reader(), self.threads)
    }

    /// Validates a block and accepts it into the chain. Readers see it after the next
    /// [`commit`](Self::commit).
    ///
    /// # Errors
    /// Returns [`SubmitError::Invalid`] or [`KnownInvalid`](SubmitError::KnownInvalid) for an
    /// invalid block, [`UnknownParent`](SubmitError::UnknownParent), or an error of the storage.
    pub fn submit_block(
        &mut self,
        block: impl Into<PrecheckedBlock>,
        now: Timestamp,
    ) -> Result<Accepted, SubmitError> {
        self.accept_block(block.into(), now, None)
    }

    /// Accepts a block that may already be in the log, at the location `logged`.
    pub(super) fn accept_block(
        &mut self,
        block: PrecheckedBlock,
        now: Timestamp,
        logged: Option<RecordLocation>,
    ) -> Result<Accepted, SubmitError> {
        let shared = Arc::clone(&self.shared);
        let PrecheckedBlock { header, hash, body } = block;
        let state = shared.read();
        if let Some(result) = find_known(&state, &hash) {
            return result;
        }
        header::check_standalone(&header, &shared.params)?;
        let parent = find_parent(&state, &header)?;
        header::check_contextual(&header, &state.blocks.as_parent(parent), &shared.params, now)?;
        let is_known = |id: &_| state.mempool.contains(id);
        let checked = match body {
            Body::Checked(checked) => *checked,
            Body::Unchecked(block) => body::check(block, &shared.params, is_known, self.threads),
        };
        let work = header.bits.target().map_or(Work::ZERO, Target::work);
        let work = state.blocks.node(parent).chain_work.saturating_add(work);
        let is_heavier = work > state.blocks.node(self.tip).chain_work;
        let is_candidate = is_heavier && !state.invalidated.contains_child(&hash, parent);
        drop(state);
        let checked = match checked {
            Ok(checked) => checked,
            Err(error) => return Err(self.cache_invalid(hash, parent, error).into()),
        };
        if is_candidate {
            self.connect_best_chain(parent, &checked, logged)?;
            Ok(Accepted::Connected)
        } else {
            let location = self.log_block(&checked, logged)?;
            self.insert(parent, &checked, location);
            Ok(Accepted::SideBranch)
        }
    }

    /// Caches the hash of a block that can never be valid.
    fn cache_invalid(&mut self, hash: block::Hash, parent: NodeId, error: RuleError) -> RuleError {
        if error.invalidates_header() || matches!(error, RuleError::InvalidAncestor { .. }) {
            self.shared.write().blocks.cache_invalid(hash, parent, error.rule());
        }
        error
    }

    /// Marks a block of the block index as invalid and returns its hash.
    fn mark_invalid(&mut self, id: NodeId, error: &RuleError) -> block::Hash {
        let mut state = self.shared.write();
        let changed = state.blocks.set_invalid(id, error.rule());
        self.dirty_chunks.extend(changed.iter().map(|id| id.get() / NODES_PER_CHUNK));
        state.blocks.node(id).hash
    }

    /// Adds a logged block to the block index.
    fn insert(&mut self, parent: NodeId, block: &CheckedBlock, location: RecordLocation) -> NodeId {
        let coinbase = block.coinbase();
        let reward = Reward {
            recipient: coinbase.recipient,
            // Only a block that will not be connected can have an amount out of range.
            amount: Amount::new(coinbase.reward).unwrap_or(Amount::MAX),
        };
        let new = NodeFields::new(&block.block().header, parent, location, reward);
        let mut state = self.shared.write();
        let id = state.blocks.insert(new);
        state.invalidated.add_block(id, &block.hash(), parent);
        drop(state);
        self.dirty_chunks.insert(id.get() / NODES_PER_CHUNK);
        id
    }

    fn log_block(
        &mut self,
        block: &CheckedBlock,
        logged: Option<RecordLocation>,
    ) -> Result<RecordLocation, StoreError> {
        match logged {
            Some(location) => self.check_memory().map(|()| location),
            None => self.append(RecordKind::Block, block.encoded()),
        }
    }

    fn log_undo(&mut self, hash: block::Hash, undo: &Undo) -> Result<RecordLocation, StoreError> {
        if let Some(location) = self.logged_undos.get(&hash) {
            return Ok(*location);
        }
        let location = self.append(RecordKind::Undo, &encode_undo(&hash, undo))?;
        self.logged_undos.insert(hash, location);
        Ok(location)
    }

    /// Logs the undo data of the connected blocks, and returns those that become valid.
    fn log_undos(
        &mut self,
        connected: &[(NodeId, Undo)],
    ) -> Result<Vec<(NodeId, RecordLocation)>, StoreError> {
        let mut newly_valid = Vec::with_capacity(connected.len() + 1);
        for (id, undo) in connected {
            let BlockNode { hash, status, .. } = *self.shared.read().blocks.node(*id);
            // A block that was connected before had the same parent, and so the same undo data.
            if status == Status::Stored {
                newly_valid.push((*id, self.log_undo(hash, undo)?));
            }
        }
        Ok(newly_valid)
    }

    /// Makes a new block with more work than the tip the new tip, if its whole branch is valid.
    fn connect_best_chain(
        &mut self,
        parent: NodeId,
        block: &CheckedBlock,
        logged: Option<RecordLocation>,
    ) -> Result<(), SubmitError> {
        let (reorg, undo) = match self.stage_block(parent, block) {
            Ok(staged) => staged,
            Err(NewTipError::Parent(ReorgError::Store(error))) => return Err(error.into()),
            Err(NewTipError::Invalid(error)) => {
                return Err(self.cache_invalid(block.hash(), parent, error).into());
            }
            Err(NewTipError::Parent(ReorgError::Invalid(id, error))) => {
                let ancestor = self.mark_invalid(id, &error);
                let error = RuleError::InvalidAncestor { ancestor };
                return Err(self.cache_invalid(block.hash(), parent, error).into());
            }
        };
        // All records are appended before any change in memory, so that a full disk changes
        // nothing. The block comes last: only a block record has an effect when the log is
        // replayed.
        let mut newly_valid = self.log_undos(&reorg.connected)?;
        let undo = self.log_undo(block.hash(), &undo)?;
        let location = self.log_block(block, logged)?;
        let tip = self.insert(parent, block, location);
        newly_valid.push((tip, undo));
        self.set_tip(tip, newly_valid, reorg);
        Ok(())
    }

    /// Makes a block of the block index the tip if its whole branch is valid. Otherwise marks the
    /// first invalid block of the branch, and the tip does not change.
    pub(super) fn try_activate(&mut self, tip: NodeId) -> Result<(), StoreError> {
        match self.stage_reorg(tip) {
            Ok(reorg) => {
                let newly_valid = self.log_undos(&reorg.connected)?;
                self.set_tip(tip, newly_valid, reorg);
            }
            Err(ReorgError::Store(error)) => return Err(error),
            Err(ReorgError::Invalid(id, error)) => {
                self.mark_invalid(id, &error);
            }
        }
        Ok(())
    }

    /// Updates the tip in memory, after all records were appended to the log.
    fn set_tip(
        &mut self,
        tip: NodeId,
        newly_valid: Vec<(NodeId, RecordLocation)>,
        reorg: StagedReorg,
    ) {
        for (id, undo) in newly_valid {
            let hash = self.shared.write().blocks.set_valid(id, undo);
            self.logged_undos.remove(&hash);
            self.dirty_chunks.insert(id.get() / NODES_PER_CHUNK);
        }
        self.uncommitted.extend(reorg.rows);
        self.changed_accounts.extend(reorg.changed_accounts);
        for id in reorg.unconfirmed {
            self.confirmed.remove(&id);
        }
        self.confirmed.extend(reorg.confirmed);
        self.accounts_hash = reorg.accounts_hash;
        self.tip = tip;
    }

    /// Stages the reorganisation from the tip to a new block.
    fn stage_block(
        &self,
        parent: NodeId,
        block: &CheckedBlock,
    ) -> Result<(StagedReorg, Undo), NewTipError> {
        let state = self.shared.read();
        let mut staging = self.staging(&state);
        staging.move_tip(self.tip, parent).map_err(NewTipError::Parent)?;
        let undo = staging.connect(block, parent)?;
        Ok((staging.finish(), undo))
    }

    /// Stages the reorganisation from the tip to a block of the block index.
    fn stage_reorg(&self, to: NodeId) -> Result<StagedReorg, ReorgError> {
        let state = self.shared.read();
        let mut staging = self.staging(&state);
        staging.move_tip(self.tip, to)?;
        Ok(staging.finish())
    }

    fn staging<'a>(&'a self, state: &'a State) -> ReorgStaging<'a> {
        let (rows, accounts_hash) = (self.tip_rows(state), self.accounts_hash.clone());
        ReorgStaging::new(&self.shared.params, state, rows, accounts_hash, self.threads)
    }

    /// Returns the rows at the writer's tip.
    fn tip_rows<'a>(&'a self, state: &'a State) -> LayeredView<'a> {
        LayeredView::new(Some(&self.uncommitted), &state.unflushed, &state.index)
    }

    /// Syncs all accepted blocks to the disk, and then publishes them to the readers.
    pub fn commit(&mut self) -> Result<Commit, StoreError> {
        self.log.sync()?;
        self.disk_full |= self.log.is_disk_full();
        let shared = Arc::clone(&self.shared);
        let (path, returned) = {
            let state = shared.read();
            let path = state.blocks.path(state.tip(), self.tip);
            let returned = transfers_of(&state, &shared.params, &path.disconnect)?;
            (path, returned)
        };
        let mut state = shared.write();
        state.publish_blocks();
        let fork_height = state.blocks.node(path.fork).height.get() as usize;
        state.best_chain.truncate(fork_height + 1);
        state.best_chain.extend_from_slice(&path.connect);
        // `extend` instead of `append`, which would move all unflushed rows.
        state.unflushed.extend(std::mem::take(&mut self.uncommitted));
        let touched = std::mem::take(&mut self.changed_accounts);
        let confirmed = std::mem::take(&mut self.confirmed);
        let confirmed_count = confirmed.len();
        let mempool = if path.connect.is_empty() && path.disconnect.is_empty() {
            mempool::Changes::default()
        } else {
            let State { mempool, unflushed, index, .. } = &mut *state;
            let change = mempool::TipChange { returned, confirmed, touched };
            mempool.reconcile(change, &LayeredView::new(None, unflushed, index))?
        };
        let is_full = state.unflushed.len() >= FLUSH_ROWS;
        drop(state);
        self.log_mempool()?;
        if is_full {
            self.flush()?;
        }
        Ok(Commit {
            disconnected: path.disconnect,
            connected: path.connect,
            confirmed: confirmed_count,
            mempool,
        })
    }

    /// Flushes all committed rows to the index. Call it every few seconds while the writer is idle.
    /// If the disk is full, the rows stay in memory until a later call.
    pub fn flush(&mut self) -> Result<(), StoreError> {
        if !self.can_flush()? {
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        let mut state = shared.write();
        let State { blocks, unflushed, visible, .. } = &mut *state;
        let is_committed = *visible == blocks.len();
        if !is_committed || (unflushed.is_empty() && self.dirty_chunks.is_empty()) {
            return Ok(());
        }
        let nodes = u32::try_from(blocks.len()).expect("ids are u32");
        for chunk in std::mem::take(&mut self.dirty_chunks) {
            let first = chunk * NODES_PER_CHUNK;
            let end = nodes.min(first + NODES_PER_CHUNK);
            let stored = (first..end).map(|id| blocks.stored(NodeId::new(id)));
            unflushed.insert(schema::chunk_key(chunk), Some(schema::encode_chunk(stored)));
        }
        let row = schema::StateRow {
            tip: self.tip,
            nodes,
            // While blocks are replayed, those that are left are not covered.
            covered: self.replayed.unwrap_or_else(|| self.log.end()),
            accounts_hash: self.accounts_hash.clone(),
        };
        unflushed.insert(schema::STATE_KEY.to_vec(), Some(row.encode()));
        drop(state);
        // Readers continue meanwhile, and only the writer changes the rows.
        match self.index.apply(&shared.read().unflushed) {
            // The index failed, and the rows stay in memory.
            Err(IndexError::Full { .. }) => return self.reopen_index(),
            applied => applied?,
        }
        let flushed = std::mem::take(&mut shared.write().unflushed);
        drop(flushed);
        Ok(())
    }

    /// Builds a block template on the tip from the transfers of the mempool.
    pub fn template(
        &self,
        request: TemplateRequest,
    ) -> Result<Template, TemplateError<StoreError>> {
        let state = self.shared.read();
        let node = state.blocks.node(self.tip);
        let parent = template::Parent {
            hash: node.hash,
            height: node.height,
            header: state.blocks.as_parent(self.tip),
            matured: matured_reward(&state, &self.shared.params, self.tip),
            accounts_hash: &self.accounts_hash,
        };
        let (params, rows) = (&self.shared.params, self.tip_rows(&state));
        template::build(params, &parent, request, &state.mempool, &rows, self.threads)
    }

    /// Commits, flushes and closes the data directory, so that the next start has nothing to
    /// repair.
    pub fn close(mut self) -> Result<(), StoreError> {
        self.commit()?;
        self.close_mempool()?;
        self.flush()?;
        self.index.close()?;
        Ok(self.directory.close()?)
    }
}

/// Returns the result for a block that is already known; `None` if it is new.
fn find_known(state: &State, hash: &block::Hash) -> Option<Result<Accepted, SubmitError>> {
    let invalid = |rule| Some(Err(SubmitError::KnownInvalid { hash: *hash, rule }));
    if let Some(block) = state.blocks.invalid_block(hash) {
        return invalid(block.rule);
    }
    match state.blocks.node(state.blocks.find(hash)?).status {
        Status::Invalid { rule } => invalid(rule),
        Status::Stored | Status::Valid { .. } => Some(Ok(Accepted::AlreadyKnown)),
    }
}

fn find_parent(state: &State, header: &Header) -> Result<NodeId, SubmitError> {
    let parent = header.previous;
    let invalid = || SubmitError::from(RuleError::InvalidAncestor { ancestor: parent });
    if state.blocks.invalid_block(&parent).is_some() {
        return Err(invalid());
    }
    let id = state.blocks.find(&parent).ok_or(SubmitError::UnknownParent { parent })?;
    if state.blocks.node(id).is_invalid() { Err(invalid()) } else { Ok(id) }
}

/// Returns the transfers of disconnected blocks, those of the oldest block first.
fn transfers_of(
    state: &State,
    params: &Params,
    blocks: &[NodeId],
) -> Result<Vec<CheckedTransfer>, StoreError> {
    let mut transfers = Vec::new();
    for id in blocks.iter().rev() {
        let block = read_checked_block(&state.log, state.blocks.node(*id), params)?;
        transfers.extend(block.into_transfers());
    }
    Ok(transfers)
}
