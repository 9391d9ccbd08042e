//! Staging a reorganisation: the blocks from one tip to another are disconnected and connected on
//! staged rows, without any change to the ledger.

use super::interrupt::Interrupt;
use super::layers::Rows;
use super::overlay::StagedRows;
use super::records::{encode_undo, read_block, read_checked_block, read_undo};
use super::state::State;
use crate::accounts::{LtHash, Overlay, Undo};
use crate::address::Address;
use crate::block;
use crate::block_index::{BlockIndex, BlockNode, NodeId, Status};
use crate::params::Params;
use crate::rules::RuleError;
use crate::rules::body::{self, BlockContext, CheckedBlock, ConnectError, Reward};
use crate::store::StoreError;
use crate::store::blocks::{BlockLog, RecordKind, RecordLocation};
use std::collections::{BTreeSet, HashMap};

/// The undo data in bytes that are held in memory until the whole branch is known to be valid.
const MAX_UNDO_BYTES: usize = 8 << 20;
/// The number of changed accounts that are remembered one by one: those of a few full blocks.
const MAX_CHANGED_ACCOUNTS: usize = 65_536;

/// A staged reorganisation whose blocks are all valid.
pub(super) struct StagedReorg {
    /// The connected blocks that were not known to be valid, with their undo data, in order.
    pub(super) newly_valid: Vec<(NodeId, StagedUndo)>,
    pub(super) rows: Rows,
    pub(super) changed_accounts: ChangedAccounts,
    pub(super) accounts_hash: LtHash,
}

/// The undo data of a staged block.
pub(super) enum StagedUndo {
    InMemory(Undo),
    Logged(RecordLocation),
}

/// The addresses of changed accounts.
#[derive(Debug)]
pub(super) enum ChangedAccounts {
    Listed(BTreeSet<Address>),
    /// The accounts are too many to be listed; any may have changed.
    Any,
}

impl Default for ChangedAccounts {
    fn default() -> ChangedAccounts {
        ChangedAccounts::Listed(BTreeSet::new())
    }
}

impl ChangedAccounts {
    fn extend(&mut self, addresses: impl Iterator<Item = Address>) {
        if let ChangedAccounts::Listed(listed) = self {
            if listed.is_empty() {
                // Faster, because the addresses are sorted.
                *listed = addresses.collect();
            } else {
                listed.extend(addresses);
            }
            if listed.len() > MAX_CHANGED_ACCOUNTS {
                *self = ChangedAccounts::Any;
            }
        }
    }

    pub(super) fn append(&mut self, other: ChangedAccounts) {
        match other {
            ChangedAccounts::Listed(listed) => self.extend(listed.into_iter()),
            ChangedAccounts::Any => *self = ChangedAccounts::Any,
        }
    }
}

/// Appends undo data to the log, once for each block.
pub(super) struct UndoLog<'a> {
    pub(super) log: &'a mut BlockLog,
    /// Undo records that are in the log already.
    pub(super) logged: &'a mut HashMap<block::Hash, RecordLocation>,
}

impl UndoLog<'_> {
    pub(super) fn append(
        &mut self,
        hash: block::Hash,
        undo: &Undo,
    ) -> Result<RecordLocation, StoreError> {
        if let Some(location) = self.logged.get(&hash) {
            return Ok(*location);
        }
        let location = self.log.append(RecordKind::Undo, &encode_undo(&hash, undo))?;
        self.logged.insert(hash, location);
        Ok(location)
    }
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

/// A reorganisation that is being staged. Its memory does not depend on the number of blocks.
pub(super) struct ReorgStaging<'a> {
    params: &'a Params,
    state: &'a State,
    threads: usize,
    rows: StagedRows<'a>,
    accounts_hash: LtHash,
    changed_accounts: ChangedAccounts,
    newly_valid: Vec<(NodeId, StagedUndo)>,
    /// The undo data in memory, in bytes.
    undo_bytes: usize,
    undo_log: UndoLog<'a>,
    interrupt: &'a Interrupt,
}

impl<'a> ReorgStaging<'a> {
    /// Starts at the tip with these rows and accounts.
    pub(super) fn new(
        params: &'a Params,
        state: &'a State,
        rows: StagedRows<'a>,
        accounts_hash: LtHash,
        undo_log: UndoLog<'a>,
        threads: usize,
        interrupt: &'a Interrupt,
    ) -> ReorgStaging<'a> {
        ReorgStaging {
            params,
            state,
            threads,
            rows,
            accounts_hash,
            changed_accounts: ChangedAccounts::default(),
            newly_valid: Vec::new(),
            undo_bytes: 0,
            undo_log,
            interrupt,
        }
    }

    /// Moves the tip from one block of the block index to another, unless it is interrupted.
    pub(super) fn move_tip(&mut self, from: NodeId, to: NodeId) -> Result<(), ReorgError> {
        let path = self.state.blocks.path(from, to);
        for id in &path.disconnect {
            self.interrupt.check()?;
            self.disconnect(*id)?;
        }
        if !path.disconnect.is_empty() {
            self.check_fork_state(self.state.blocks.node(path.fork))?;
        }
        for id in path.connect {
            self.interrupt.check()?;
            let node = self.state.blocks.node(id);
            let block = read_checked_block(&self.state.log, node, self.params)?;
            match self.connect(&block, node.parent) {
                // A block that was connected before had the same parent, and so the same undo data.
                Ok(undo) if node.status == Status::Stored => self.hold_undo(id, undo)?,
                Ok(_) => {}
                Err(ConnectError::Rule(error)) => return Err(ReorgError::Invalid(id, error)),
                Err(ConnectError::View(error)) => return Err(error.into()),
            }
        }
        Ok(())
    }

    pub(super) fn finish(self) -> StagedReorg {
        StagedReorg {
            newly_valid: self.newly_valid,
            rows: self.rows.into_changes(),
            changed_accounts: self.changed_accounts,
            accounts_hash: self.accounts_hash,
        }
    }

    /// Holds the undo data of a valid block, in memory or in the log. A record of undo data has no
    /// effect without its block, so it may stay in the log even if a later block is invalid.
    fn hold_undo(&mut self, id: NodeId, undo: Undo) -> Result<(), StoreError> {
        self.undo_bytes += size_of_val(undo.accounts());
        self.newly_valid.push((id, StagedUndo::InMemory(undo)));
        if self.undo_bytes <= MAX_UNDO_BYTES {
            return Ok(());
        }
        for (id, held) in &mut self.newly_valid {
            if let StagedUndo::InMemory(undo) = held {
                let location = self.undo_log.append(self.state.blocks.node(*id).hash, undo)?;
                *held = StagedUndo::Logged(location);
            }
        }
        self.undo_bytes = 0;
        Ok(())
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
            matured: matured_reward(&self.state.blocks, self.params, parent),
        };
        let mut overlay = Overlay::new(&self.rows);
        let changes = body::connect(
            block,
            &context,
            self.params,
            &mut overlay,
            &mut self.accounts_hash,
            self.threads,
        )?;
        self.rows.connect(context.height, block, &changes).map_err(ConnectError::View)?;
        self.changed_accounts.extend(changes.iter().map(|change| change.address));
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
        self.accounts_hash.apply(&changes, self.threads);
        self.rows.disconnect(node.height, &block, &undo)?;
        self.changed_accounts.extend(changes.iter().map(|change| change.address));
        Ok(())
    }

    /// Checks that disconnecting led to the accounts that the fork block commits to. Otherwise a
    /// defect of this disk would be blamed on the next block.
    fn check_fork_state(&self, fork: &BlockNode) -> Result<(), StoreError> {
        let block = read_block(&self.state.log, fork)?;
        let committed = block.coinbase().map(|coinbase| coinbase.commitment);
        let matches = committed == Some(self.accounts_hash.digest());
        matches.then_some(()).ok_or(StoreError::BadUndo { fork: fork.hash })
    }
}

/// Returns the reward that becomes spendable in the child of a block; genesis never has one.
pub(super) fn matured_reward(
    blocks: &BlockIndex,
    params: &Params,
    parent: NodeId,
) -> Option<Reward> {
    let id = blocks.ancestor(parent, params.spec().maturity.saturating_sub(1))?;
    (id != NodeId::GENESIS).then(|| blocks.reward(id))
}
