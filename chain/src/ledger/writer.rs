//! The writer, which alone changes the chain.

use super::error::SubmitError;
use super::index_jobs::IndexJobs;
use super::interrupt::Interrupt;
use super::layers::Rows;
use super::mempool_update::{BlockIds, MempoolUpdate};
use super::overlay::{AccountRows, StagedRows};
use super::precheck::{Body, PrecheckedBlock, Prechecker};
use super::reader::Reader;
use super::records::encode_undo;
use super::reorg::{
    ChangedAccounts, NewTipError, ReorgError, ReorgStaging, StagedReorg, StagedUndo, UndoLog,
    matured_reward,
};
use super::schema::NODES_PER_CHUNK;
use super::state::{Shared, State};
use crate::accounts::{LtHash, Undo};
use crate::amount::Amount;
use crate::block::{self, Block, Header, Timestamp};
use crate::block_index::{NodeFields, NodeId, Status};
use crate::mempool;
use crate::mempool::journal::MempoolJournal;
use crate::params::Params;
use crate::pow::{Target, Work};
use crate::rules::body::{self, CheckedBlock, Reward, UnverifiedBlock};
use crate::rules::{RuleError, header};
use crate::store::StoreError;
use crate::store::blocks::{BlockLog, LogPosition, RecordKind, RecordLocation};
use crate::store::directory::Directory;
use crate::store::index::Index;
use crate::store::sorted_run::RunFolder;
use crate::template::{self, Template, TemplateError, TemplateRequest, Transfers};
use crate::tx::Transfer;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

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

/// Changes the chain. It is not `Clone`: the owner has the exclusive right to write.
pub struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) log: BlockLog,
    pub(super) index: Arc<Index>,
    pub(super) directory: Directory,
    pub(super) threads: usize,
    /// The tip to which blocks are connected, which readers see after the next commit.
    pub(super) tip: NodeId,
    /// The hash of the accounts at that tip.
    pub(super) accounts_hash: LtHash,
    /// The rows that the next commit publishes.
    pub(super) uncommitted: Rows,
    /// The memory that uncommitted rows and those of a staged reorganisation may need, in bytes.
    pub(super) staging_bytes: usize,
    /// The memory that committed rows need when they are flushed to the index, in bytes; twice as
    /// much is the limit.
    pub(super) flush_bytes: usize,
    /// The folder of the runs of the index, and of rows beyond the memory.
    pub(super) runs: RunFolder,
    pub(super) jobs: IndexJobs,
    /// The accounts that changed since the last commit.
    pub(super) changed_accounts: ChangedAccounts,
    /// The ids of the last connected block.
    pub(super) connected_ids: Option<BlockIds>,
    /// The rest of updating the mempool to the committed tip.
    pub(super) mempool_update: Option<MempoolUpdate>,
    /// The position in the log up to which the index covers it.
    pub(super) covered: LogPosition,
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
    pub(super) interrupt: Interrupt,
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

    /// Whether the [`Interrupt`](super::Options::interrupt) of the options is requested.
    pub fn is_interrupted(&self) -> bool {
        self.interrupt.is_requested()
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
    /// invalid block, [`UnknownParent`](SubmitError::UnknownParent),
    /// [`TooDeep`](SubmitError::TooDeep), or an error of the storage.
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
        let PrecheckedBlock { header, hash, branch_work, body } = block;
        let state = shared.read();
        if let Some(result) = find_known(&state, &hash) {
            return result;
        }
        header::check_standalone(&header, &shared.params)?;
        let parent = find_parent(&state, &header)?;
        header::check_contextual(&header, &state.blocks.as_parent(parent), &shared.params, now)?;
        let work = header.bits.target().map_or(Work::ZERO, Target::work);
        let work = state.blocks.node(parent).chain_work.saturating_add(work);
        let tip_work = state.blocks.node(self.tip).chain_work;
        let is_candidate = work > tip_work && !state.invalidated.contains_child(&hash, parent);
        let branch_work = branch_work.max(work).max(state.side_branches.headers.most_work(&hash));
        if logged.is_none() {
            state.check_depth(&shared.params, self.tip, (&hash, parent), branch_work)?;
        }
        let is_known = |id: &_| state.mempool.contains(id);
        let unverified = match body {
            Body::Checked(checked) => (*checked).map(UnverifiedBlock::from),
            Body::Unchecked(block) => body::check_unsigned(block, &shared.params, is_known),
        };
        drop(state);
        let verified = unverified.and_then(|unverified| {
            // The signatures are verified while the block is staged.
            unverified.verify_beside(self.threads, |block| {
                is_candidate.then(|| self.stage_block(parent, block))
            })
        });
        let (checked, staged) = match verified {
            Ok(verified) => verified,
            Err(error) => return Err(self.cache_invalid(hash, parent, error).into()),
        };
        if let Some(staged) = staged {
            self.connect_best_chain(parent, &checked, staged, logged)?;
            Ok(Accepted::Connected)
        } else {
            let location = self.log_block(&checked, logged)?;
            let id = self.insert(parent, &checked, location);
            if branch_work > tip_work {
                self.shared.write().side_branches.expect(id, parent, branch_work);
            }
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

    /// Caches the hash of a block that is invalid on its parent, unless the block is in the log and
    /// so joins the block index.
    fn refuse(
        &mut self,
        hash: block::Hash,
        parent: NodeId,
        error: RuleError,
        logged: Option<RecordLocation>,
    ) -> RuleError {
        if logged.is_some() { error } else { self.cache_invalid(hash, parent, error) }
    }

    /// Adds a logged block that is invalid on its parent to the block index. Returns false, and
    /// changes nothing, if the block is not even valid in isolation.
    pub(super) fn insert_invalid(
        &mut self,
        block: Arc<Block>,
        location: RecordLocation,
        error: &RuleError,
    ) -> bool {
        let shared = Arc::clone(&self.shared);
        let state = shared.read();
        let (header, params) = (block.header, &shared.params);
        let Some(parent) = state.blocks.find(&header.previous) else { return false };
        let context = state.blocks.as_parent(parent);
        let is_invalid = state.blocks.node(parent).is_invalid();
        drop(state);
        if header::check_standalone(&header, params).is_err()
            || header::check_contextual(&header, &context, params, header.time).is_err()
        {
            return false;
        }
        let Ok(checked) = body::check(block, params, |_| false, self.threads) else { return false };
        let id = self.insert(parent, &checked, location);
        if !is_invalid {
            self.mark_invalid(id, error);
        }
        true
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
        state.reconsidered.add_block(id, &block.hash(), parent);
        state.side_branches.headers.remove(&block.hash());
        state.side_branches.body_bytes =
            state.side_branches.body_bytes.saturating_add(location.length.into());
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

    /// Logs the undo data of the blocks that become valid, and returns their locations.
    fn log_undos(
        &mut self,
        newly_valid: Vec<(NodeId, StagedUndo)>,
    ) -> Result<Vec<(NodeId, RecordLocation)>, StoreError> {
        let mut logged = Vec::with_capacity(newly_valid.len() + 1);
        for (id, undo) in newly_valid {
            let hash = self.shared.read().blocks.node(id).hash;
            let location = match undo {
                StagedUndo::InMemory(undo) => self.log_undo(hash, &undo)?,
                StagedUndo::Logged(location) => location,
            };
            logged.push((id, location));
        }
        Ok(logged)
    }

    /// Makes a new block with more work than the tip the new tip, if its whole branch, which was
    /// staged, is valid.
    fn connect_best_chain(
        &mut self,
        parent: NodeId,
        block: &CheckedBlock,
        staged: Result<(StagedReorg, Undo), NewTipError>,
        logged: Option<RecordLocation>,
    ) -> Result<(), SubmitError> {
        let (mut reorg, undo) = match staged {
            Ok(staged) => staged,
            Err(NewTipError::Parent(ReorgError::Store(error))) => return Err(error.into()),
            Err(NewTipError::Invalid(error)) => {
                return Err(self.refuse(block.hash(), parent, error, logged).into());
            }
            Err(NewTipError::Parent(ReorgError::Invalid(id, error))) => {
                let ancestor = self.mark_invalid(id, &error);
                let error = RuleError::InvalidAncestor { ancestor };
                return Err(self.refuse(block.hash(), parent, error, logged).into());
            }
        };
        // All records are appended before any change in memory, so that a full disk changes
        // nothing. The block comes last: only a block record has an effect when the log is
        // replayed.
        self.make_room_for(&reorg.rows)?;
        let mut newly_valid = self.log_undos(std::mem::take(&mut reorg.newly_valid))?;
        let undo = self.log_undo(block.hash(), &undo)?;
        let location = self.log_block(block, logged)?;
        let tip = self.insert(parent, block, location);
        newly_valid.push((tip, undo));
        self.set_tip(tip, newly_valid, reorg);
        self.connected_ids = Some(BlockIds { block: tip, ids: block.ids().to_vec() });
        Ok(())
    }

    /// Makes a block of the block index the tip if its whole branch is valid. Otherwise marks the
    /// first invalid block of the branch, and the tip does not change.
    pub(super) fn try_activate(&mut self, tip: NodeId) -> Result<(), StoreError> {
        match self.stage_reorg(tip) {
            Ok(mut reorg) => {
                self.make_room_for(&reorg.rows)?;
                let newly_valid = self.log_undos(std::mem::take(&mut reorg.newly_valid))?;
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
        self.uncommitted.append(reorg.rows);
        self.changed_accounts.append(reorg.changed_accounts);
        self.accounts_hash = reorg.accounts_hash;
        self.tip = tip;
    }

    /// Keeps the memory for uncommitted rows within its limit when these rows join them.
    fn make_room_for(&mut self, rows: &Rows) -> Result<(), StoreError> {
        let bytes = self.uncommitted.memory_bytes().saturating_add(rows.memory_bytes());
        if bytes > self.staging_bytes {
            self.uncommitted.spill(&self.runs)?;
        }
        Ok(())
    }

    /// Stages the reorganisation from the tip to a new block.
    pub(super) fn stage_block(
        &mut self,
        parent: NodeId,
        block: &CheckedBlock,
    ) -> Result<(StagedReorg, Undo), NewTipError> {
        let (shared, tip) = (Arc::clone(&self.shared), self.tip);
        let state = shared.read();
        let mut staging = self.staging(&state);
        let moved = staging.move_tip(tip, parent).map_err(NewTipError::Parent);
        let connected = moved.and_then(|()| Ok(staging.connect(block, parent)?));
        let staged = connected.map(|undo| (staging.finish(), undo));
        if let Err(NewTipError::Parent(ReorgError::Store(error))) = &staged {
            self.disk_full |= error.is_disk_full();
        }
        staged
    }

    /// Stages the reorganisation from the tip to a block of the block index.
    fn stage_reorg(&mut self, to: NodeId) -> Result<StagedReorg, ReorgError> {
        let (shared, tip) = (Arc::clone(&self.shared), self.tip);
        let state = shared.read();
        let mut staging = self.staging(&state);
        let moved = staging.move_tip(tip, to);
        let staged = moved.map(|()| staging.finish());
        if let Err(ReorgError::Store(error)) = &staged {
            self.disk_full |= error.is_disk_full();
        }
        staged
    }

    fn staging<'a>(&'a mut self, state: &'a State) -> ReorgStaging<'a> {
        let base = AccountRows::new(Some(&self.uncommitted), &state.rows);
        let rows = StagedRows::new(base, self.staging_bytes, &self.runs);
        let undo_log = UndoLog { log: &mut self.log, logged: &mut self.logged_undos };
        let (params, accounts_hash) = (&self.shared.params, self.accounts_hash.clone());
        let interrupt = &self.interrupt;
        ReorgStaging::new(params, state, rows, accounts_hash, undo_log, self.threads, interrupt)
    }

    /// Returns the rows at the writer's tip.
    fn tip_rows<'a>(&'a self, state: &'a State) -> AccountRows<'a> {
        AccountRows::new(Some(&self.uncommitted), &state.rows)
    }

    /// Builds a block template on the tip from the transfers of the mempool.
    ///
    /// # Errors
    /// Returns the errors of [`template::build`].
    pub fn template(
        &self,
        request: TemplateRequest,
    ) -> Result<Template, TemplateError<StoreError>> {
        let state = self.shared.read();
        self.build_template(&state, request, Transfers::OfMempool(&state.mempool))
    }

    /// Builds a block template on the tip from exactly these transfers, in their order.
    ///
    /// # Errors
    /// Returns the errors of [`template::build`].
    pub fn template_of(
        &self,
        request: TemplateRequest,
        transfers: &[Transfer],
    ) -> Result<Template, TemplateError<StoreError>> {
        self.build_template(&self.shared.read(), request, Transfers::Listed(transfers))
    }

    fn build_template(
        &self,
        state: &State,
        request: TemplateRequest,
        transfers: Transfers,
    ) -> Result<Template, TemplateError<StoreError>> {
        let node = state.blocks.node(self.tip);
        let parent = template::Parent {
            hash: node.hash,
            height: node.height,
            header: state.blocks.as_parent(self.tip),
            matured: matured_reward(&state.blocks, &self.shared.params, self.tip),
            accounts_hash: &self.accounts_hash,
        };
        let (params, rows) = (&self.shared.params, self.tip_rows(state));
        template::build(params, &parent, request, transfers, &rows, self.threads)
    }

    /// Commits, flushes and closes the data directory, so that the next start has nothing to
    /// repair. If it is interrupted, the next start completes the update of the mempool.
    pub fn close(mut self) -> Result<(), StoreError> {
        self.commit()?;
        while self.next_mempool_changes()?.is_some() {}
        self.close_mempool()?;
        self.log.seal()?;
        self.close_index()?;
        Ok(self.directory.close()?)
    }
}

/// Returns the result for a block that is already known; `None` if it is new.
pub(super) fn find_known(
    state: &State,
    hash: &block::Hash,
) -> Option<Result<Accepted, SubmitError>> {
    let invalid = |rule| Some(Err(SubmitError::KnownInvalid { hash: *hash, rule }));
    if let Some(block) = state.blocks.invalid_block(hash) {
        return invalid(block.rule);
    }
    match state.blocks.node(state.blocks.find(hash)?).status {
        Status::Invalid { rule } => invalid(rule),
        Status::Stored | Status::Valid { .. } => Some(Ok(Accepted::AlreadyKnown)),
        Status::Pruned => None,
    }
}

pub(super) fn find_parent(state: &State, header: &Header) -> Result<NodeId, SubmitError> {
    let parent = header.previous;
    let invalid = || SubmitError::from(RuleError::InvalidAncestor { ancestor: parent });
    if state.blocks.invalid_block(&parent).is_some() {
        return Err(invalid());
    }
    let id = state.blocks.find(&parent).ok_or(SubmitError::UnknownParent { parent })?;
    if state.blocks.node(id).is_invalid() { Err(invalid()) } else { Ok(id) }
}
