//! Staging a reorganisation: the blocks from one tip to another are disconnected and connected on
//! staged rows, without any change to the ledger.

use super::overlay::{LayeredView, StagedRows};
use super::records::{read_block, read_checked_block, read_undo};
use super::state::State;
use crate::accounts::{LtHash, Overlay, Undo};
use crate::address::Address;
use crate::block_index::{BlockNode, NodeId};
use crate::params::Params;
use crate::rules::RuleError;
use crate::rules::body::{self, BlockContext, CheckedBlock, ConnectError, Reward};
use crate::store::StoreError;
use crate::store::index::Changes;
use crate::tx::Id;
use std::collections::BTreeSet;

/// A staged reorganisation whose blocks are all valid.
pub(super) struct StagedReorg {
    /// The connected blocks of the block index with their undo data, in order.
    pub(super) connected: Vec<(NodeId, Undo)>,
    pub(super) rows: Changes,
    pub(super) changed_accounts: BTreeSet<Address>,
    /// The transfers of the disconnected blocks.
    pub(super) unconfirmed: Vec<Id>,
    /// The transfers of the connected blocks.
    pub(super) confirmed: Vec<Id>,
    pub(super) accounts_hash: LtHash,
}

/// The reason why the tip cannot move to a block of the block index.
pub(super) enum ReorgError {
    /// A block on the path breaks a rule.
    Invalid(NodeId, RuleError),
    Store(StoreError),
}

impl From<StoreError> for ReorgError {
    fn from(error: StoreError) -> ReorgError {
        ReorgError::Store(error)
    }
}

/// The reason why a new block cannot become the tip.
pub(super) enum NewTipError {
    /// The new block breaks a rule.
    Invalid(RuleError),
    /// The tip cannot move to the parent.
    Parent(ReorgError),
}

impl From<ConnectError<StoreError>> for NewTipError {
    fn from(error: ConnectError<StoreError>) -> NewTipError {
        match error {
            ConnectError::Rule(error) => NewTipError::Invalid(error),
            ConnectError::View(error) => NewTipError::Parent(ReorgError::Store(error)),
        }
    }
}

/// A reorganisation that is being staged.
pub(super) struct ReorgStaging<'a> {
    params: &'a Params,
    state: &'a State,
    threads: usize,
    rows: StagedRows<'a>,
    reorg: StagedReorg,
}

impl<'a> ReorgStaging<'a> {
    /// Starts at the tip with these rows and accounts.
    pub(super) fn new(
        params: &'a Params,
        state: &'a State,
        rows: LayeredView<'a>,
        accounts_hash: LtHash,
        threads: usize,
    ) -> ReorgStaging<'a> {
        let reorg = StagedReorg {
            connected: Vec::new(),
            rows: Changes::new(),
            changed_accounts: BTreeSet::new(),
            unconfirmed: Vec::new(),
            confirmed: Vec::new(),
            accounts_hash,
        };
        ReorgStaging { params, state, threads, rows: StagedRows::new(rows), reorg }
    }

    /// Moves the tip from one block of the block index to another.
    pub(super) fn move_tip(&mut self, from: NodeId, to: NodeId) -> Result<(), ReorgError> {
        let path = self.state.blocks.path(from, to);
        for id in &path.disconnect {
            self.disconnect(*id)?;
        }
        if !path.disconnect.is_empty() {
            self.check_fork_state(self.state.blocks.node(path.fork))?;
        }
        for id in path.connect {
            let node = self.state.blocks.node(id);
            let block = read_checked_block(&self.state.log, node, self.params)?;
            match self.connect(&block, node.parent) {
                Ok(undo) => self.reorg.connected.push((id, undo)),
                Err(ConnectError::Rule(error)) => return Err(ReorgError::Invalid(id, error)),
                Err(ConnectError::View(error)) => return Err(error.into()),
            }
        }
        Ok(())
    }

    pub(super) fn finish(self) -> StagedReorg {
        StagedReorg { rows: self.rows.into_changes(), ..self.reorg }
    }

    /// Connects a block to its parent, which must be the current tip, and returns its undo data.
    pub(super) fn connect(
        &mut self,
        block: &CheckedBlock,
        parent: NodeId,
    ) -> Result<Undo, ConnectError<StoreError>> {
        let height = self.state.blocks.node(parent).height.next();
        let context = BlockContext {
            height: height.ok_or(ConnectError::View(StoreError::HeightOverflow))?,
            matured: matured_reward(self.state, self.params, parent),
        };
        let mut overlay = Overlay::new(&self.rows);
        let changes = body::connect(
            block,
            &context,
            self.params,
            &mut overlay,
            &mut self.reorg.accounts_hash,
            self.threads,
        )?;
        self.rows
            .connect(context.height, block.block(), block.ids(), &changes)
            .map_err(ConnectError::View)?;
        self.reorg.changed_accounts.extend(changes.iter().map(|change| change.address));
        self.reorg.confirmed.extend(block.transfers().iter().map(|details| details.id));
        Ok(Undo::of(&changes))
    }

    fn disconnect(&mut self, id: NodeId) -> Result<(), StoreError> {
        let node = self.state.blocks.node(id);
        let block = read_block(&self.state.log, node)?;
        let undo = read_undo(&self.state.log, node)?;
        let mut overlay = Overlay::new(&self.rows);
        for (address, account) in undo.accounts() {
            overlay.set(*address, *account)?;
        }
        let changes = overlay.end_block();
        self.reorg.accounts_hash.apply(&changes, self.threads);
        self.rows.disconnect(node.height, &block, &undo)?;
        self.reorg.unconfirmed.extend(block.transfers().map(|(_, transfer)| transfer.id()));
        self.reorg.changed_accounts.extend(changes.iter().map(|change| change.address));
        Ok(())
    }

    /// Checks that disconnecting led to the accounts that the fork block commits to. Otherwise a
    /// defect of this disk would be blamed on the next block.
    fn check_fork_state(&self, fork: &BlockNode) -> Result<(), StoreError> {
        let block = read_block(&self.state.log, fork)?;
        let committed = block.coinbase().map(|coinbase| coinbase.commitment);
        let matches = committed == Some(self.reorg.accounts_hash.digest());
        matches.then_some(()).ok_or(StoreError::BadUndo { fork: fork.hash })
    }
}

/// Returns the reward that becomes spendable in the child of a block; genesis never has one.
pub(super) fn matured_reward(state: &State, params: &Params, parent: NodeId) -> Option<Reward> {
    let id = state.blocks.ancestor(parent, params.spec().maturity.saturating_sub(1))?;
    (id != NodeId::GENESIS).then(|| state.blocks.reward(id))
}
