//! Loading the index: the block index and the state that the accounts have.

use super::error::OpenError;
use super::interrupt::Interrupt;
use super::records::read_block;
use super::schema::{self, AccountRow, StateRow};
use crate::accounts::LtHash;
use crate::address::Address;
use crate::block;
use crate::block_index::{BlockIndex, NodeId};
use crate::params::Params;
use crate::store::StoreError;
use crate::store::blocks::{LogError, LogPosition, LogReader};
use crate::store::directory::ShutdownKind;
use crate::store::index::Index;
use crate::store::sorted_run::{Merge, Run, RunFolder};
use std::sync::Arc;

/// The contents of the index.
pub(super) struct Loaded {
    pub(super) blocks: BlockIndex,
    /// The ids of the best chain by height.
    pub(super) best_chain: Vec<NodeId>,
    pub(super) accounts_hash: LtHash,
    pub(super) covered: LogPosition,
    /// The runs with the rows about transactions, the oldest first.
    pub(super) runs: Vec<Arc<Run>>,
}

impl Loaded {
    /// Returns the hash of the block whose accounts the index has.
    pub(super) fn tip_hash(&self) -> block::Hash {
        self.blocks.node(self.tip()).hash
    }

    fn tip(&self) -> NodeId {
        *self.best_chain.last().expect("a best chain has genesis")
    }

    /// Checks that the block at the tip is in the log and commits to the accounts of the index.
    pub(super) fn check_tip(&self, log: &LogReader) -> Result<(), LoadError> {
        let tip = read_block(log, self.blocks.node(self.tip())).map_err(|error| {
            LoadError::IndexUnusable(format!("it belongs to another block log: {error}"))
        })?;
        let committed = tip.coinbase().map(|coinbase| coinbase.commitment);
        if committed == Some(self.accounts_hash.digest()) {
            return Ok(());
        }
        let reason = "its accounts are not those that the tip commits to";
        Err(LoadError::IndexUnusable(reason.into()))
    }
}

/// The reason why the index cannot be loaded.
pub(super) enum LoadError {
    /// The index has to be rebuilt.
    IndexUnusable(String),
    /// Rebuilding the index would not help.
    Fatal(OpenError),
}

impl<E: Into<OpenError>> From<E> for LoadError {
    fn from(error: E) -> Self {
        match error.into() {
            OpenError::Store(StoreError::Log(LogError::NotCovered { .. })) => {
                LoadError::IndexUnusable("it belongs to another block log".into())
            }
            OpenError::Store(StoreError::Index(error)) => {
                LoadError::IndexUnusable(error.to_string())
            }
            error => LoadError::Fatal(error),
        }
    }
}

fn malformed() -> LoadError {
    LoadError::IndexUnusable("a row in it is malformed".into())
}

/// Returns what identifies the index of a network and of this version.
pub(super) fn index_identity(params: &Params) -> Vec<u8> {
    [&schema::VERSION.to_le_bytes(), params.genesis_hash().as_bytes().as_slice()].concat()
}

/// Loads the index; `None` if it is empty.
pub(super) fn load_index(
    index: &Index,
    runs: &RunFolder,
    params: &Params,
    last_shutdown: ShutdownKind,
    interrupt: &Interrupt,
) -> Result<Option<Loaded>, LoadError> {
    let Some(row) = index.get(schema::STATE_KEY).map_err(StoreError::from)? else {
        return Ok(None);
    };
    let row = StateRow::decode(&row).ok_or_else(malformed)?;
    let blocks = load_block_index(index, params, row.nodes)?;
    let best_chain = best_chain(&blocks, row.tip).ok_or_else(malformed)?;
    let runs = open_runs(index, runs)?;
    if last_shutdown == ShutdownKind::UncleanSameBoot {
        check_accounts(&runs, &row.accounts_hash, interrupt)?;
    }
    let StateRow { accounts_hash, covered, .. } = row;
    Ok(Some(Loaded { blocks, best_chain, accounts_hash, covered, runs }))
}

/// Adds the blocks of the best chain that are missing to the error of a log that ends too early.
pub(super) fn name_lost_blocks(error: OpenError, loaded: &Loaded) -> OpenError {
    let Loaded { blocks, best_chain, .. } = loaded;
    let OpenError::Store(StoreError::Log(error @ LogError::Lost { end, .. })) = error else {
        return error;
    };
    let is_missing = |id: &&NodeId| blocks.node(**id).location.end() > end;
    let mut missing = best_chain.iter().filter(is_missing).map(|id| blocks.node(*id).height.get());
    let missing = match (missing.next(), missing.next_back()) {
        (None, _) => "records of the block log are".to_owned(),
        (Some(height), None) => format!("block {height} is"),
        (Some(first), Some(last)) => format!("blocks {first} to {last} are"),
    };
    OpenError::Lost { missing, error }
}

/// Loads the block index, which must have `count` blocks.
fn load_block_index(index: &Index, params: &Params, count: u32) -> Result<BlockIndex, LoadError> {
    let read_chunk = |chunk| {
        let value = index.get(&schema::chunk_key(chunk)).map_err(StoreError::from)?;
        value.and_then(|value| schema::decode_chunk(&value)).ok_or_else(malformed)
    };
    let chunks = count.div_ceil(schema::NODES_PER_CHUNK);
    // Memory for all blocks is reserved only if the last chunk exists.
    read_chunk(chunks.saturating_sub(1))?;
    let genesis = &params.genesis().header;
    let mut blocks = None;
    for chunk in 0..chunks {
        for node in read_chunk(chunk)? {
            match &mut blocks {
                Some(blocks) => BlockIndex::restore(blocks, node).ok_or_else(malformed)?,
                None => {
                    let restored = BlockIndex::restore_genesis(genesis, &node, count as usize);
                    blocks = Some(restored.ok_or_else(malformed)?);
                }
            }
        }
    }
    blocks.filter(|blocks| blocks.len() == count as usize).ok_or_else(malformed)
}

/// Opens the runs that the index names, whose files must be unchanged.
fn open_runs(index: &Index, folder: &RunFolder) -> Result<Vec<Arc<Run>>, LoadError> {
    let named = index.get(schema::RUNS_KEY).map_err(StoreError::from)?.unwrap_or_default();
    let named = schema::decode_runs(&named).ok_or_else(malformed)?;
    let runs = named.into_iter().map(|run| folder.open(run).map(Arc::new)).collect();
    let unusable = || LoadError::IndexUnusable("a file of its rows is missing or damaged".into());
    Option::ok_or_else(runs, unusable)
}

/// Visits all accounts of the index.
pub(super) fn visit_accounts(
    runs: &[Arc<Run>],
    mut visit: impl FnMut(Address, AccountRow) -> Result<(), LoadError>,
) -> Result<(), LoadError> {
    let unreadable = |error: LogError| LoadError::IndexUnusable(error.to_string());
    let mut rows = Merge::new(runs.iter().map(|run| &**run)).map_err(unreadable)?;
    while let Some((key, value)) = rows.next().map_err(unreadable)? {
        if !key.starts_with(schema::ACCOUNTS) {
            break;
        }
        if let (Some(address), Some(value)) = (schema::account_address(key), value) {
            visit(address, AccountRow::decode(value).ok_or_else(malformed)?)?;
        }
    }
    Ok(())
}

/// Checks the account rows against their hash, after an unclean shutdown.
fn check_accounts(
    runs: &[Arc<Run>],
    expected: &LtHash,
    interrupt: &Interrupt,
) -> Result<(), LoadError> {
    let mut accounts_hash = LtHash::empty();
    visit_accounts(runs, |address, row| {
        accounts_hash.add(&address, &row.account);
        Ok(interrupt.check()?)
    })?;
    if accounts_hash == *expected {
        Ok(())
    } else {
        Err(LoadError::IndexUnusable("its accounts do not match their hash".into()))
    }
}

/// Returns the chain that ends in a tip, by height; `None` unless all its blocks are known to be
/// valid.
fn best_chain(blocks: &BlockIndex, tip: NodeId) -> Option<Vec<NodeId>> {
    if tip.get() as usize >= blocks.len() {
        return None;
    }
    let mut best_chain = vec![tip];
    let mut id = tip;
    while id != NodeId::GENESIS {
        let node = blocks.node(id);
        node.undo()?;
        id = node.parent;
        best_chain.push(id);
    }
    best_chain.reverse();
    Some(best_chain)
}
