//! Opening a data directory. The index is used if it can be trusted, and rebuilt from the log
//! otherwise. Blocks in the log that the index does not cover are accepted like new blocks. The
//! ledger ends at the last acknowledged block without manual repair.

use super::error::{OpenError, SubmitError};
use super::index_jobs::IndexJobs;
use super::interrupt::Interrupt;
use super::layers::{Layers, Rows};
use super::load::{LoadError, Loaded, index_identity, load_index, name_lost_blocks};
use super::reader::Reader;
use super::records::{LoggedRecord, encode_undo, read_block_at};
use super::reorg::ChangedAccounts;
use super::rows::MemoryRows;
use super::schema;
use super::side_branches::SideBranches;
use super::state::{OperatorBlocks, Shared, State};
use super::writer::Writer;
use crate::accounts::{Account, Undo};
use crate::block_index::{BlockIndex, NodeId};
use crate::mempool::{self, Mempool};
use crate::params::Params;
use crate::store::blocks::{
    BlockLog, FILE_BYTES, LogPosition, RecordKind, RecordLocation, Truncation,
};
use crate::store::directory::{Directory, ShutdownKind};
use crate::store::index::{Index, Opened};
use crate::store::invalidated::List;
use crate::store::sorted_run::RunFolder;
use crate::store::{StoreError, invalidated};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::path::Path;
use std::sync::{Arc, RwLock};

/// The options of opening a ledger.
#[derive(Clone, Debug)]
pub struct Options {
    /// The memory for the index, in bytes: the caches, and the rows that are not flushed yet.
    pub cache_bytes: u64,
    /// The number of threads for signatures and account hashes.
    pub threads: usize,
    /// The limits of the mempool.
    pub mempool: mempool::Limits,
    /// Whether to continue with what is left if the end of the block log is lost. Otherwise opening
    /// fails with [`OpenError::Lost`].
    pub accept_loss: bool,
    /// The memory that the rows of connected blocks may need before they are committed, in bytes;
    /// more are in temporary files.
    pub staging_bytes: usize,
    /// Ends the opening, and long work of the writer. After an interrupted opening the directory is
    /// closed, and the next one continues with the blocks that are left to be replayed.
    pub interrupt: Interrupt,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            cache_bytes: 64 << 20,
            threads: 1,
            mempool: mempool::Limits::default(),
            accept_loss: false,
            staging_bytes: 12 << 20,
            interrupt: Interrupt::default(),
        }
    }
}

/// The shares of the memory of the index, in bytes.
pub(super) struct Memory {
    /// The cache of sled, whose real memory is more than twice as much.
    pub(super) engine: u64,
    /// The rows that are flushed at a time. There are up to three times as many: those that are
    /// flushed, a copy of them, and newer ones.
    pub(super) flush: usize,
    /// The cached accounts.
    pub(super) cached_accounts: usize,
}

impl Options {
    pub(super) fn memory(&self) -> Memory {
        let share = |part: u64| usize::try_from(self.cache_bytes / part).unwrap_or(usize::MAX);
        Memory { engine: self.cache_bytes / 16, flush: share(8), cached_accounts: share(4) }
    }
}

/// Progress of opening a ledger, which displays as one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenProgress {
    /// The log ended in an unfinished write, which was truncated.
    LogTruncated(Truncation),
    /// The index cannot be used and is rebuilt from the log.
    IndexRebuilt {
        /// The reason, as a clause.
        reason: String,
    },
    /// Blocks are replayed from the log.
    Replaying {
        /// The number of replayed blocks.
        done: usize,
        /// The total number of blocks to replay.
        total: usize,
    },
    /// A part of the mempool's journal is lost.
    MempoolDamaged {
        /// What is lost, as a sentence.
        warning: String,
    },
}

impl fmt::Display for OpenProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenProgress::LogTruncated(truncation) => write!(f, "{truncation}"),
            OpenProgress::IndexRebuilt { reason } => {
                write!(f, "rebuilding the index from the block log: {reason}")
            }
            OpenProgress::Replaying { done, total } => {
                write!(f, "replaying blocks from the log: {done} of {total}")
            }
            OpenProgress::MempoolDamaged { warning } => f.write_str(warning),
        }
    }
}

/// Opens a data directory, or creates it. Calls `progress` with messages for the log.
///
/// # Errors
/// Returns any [`OpenError`].
pub fn open(
    path: &Path,
    params: Params,
    options: &Options,
    progress: &mut dyn FnMut(OpenProgress),
) -> Result<(Writer, Reader), OpenError> {
    let interrupt = &options.interrupt;
    let directory = Directory::open(path, params.genesis_hash()).map_err(StoreError::from)?;
    let (identity, last_shutdown) = (index_identity(&params), directory.last_shutdown());
    let (mut index, opened) =
        Index::open(&path.join("index"), last_shutdown, &identity, options.memory().engine)
            .map_err(StoreError::from)?;
    let is_new = opened == Opened::Created;
    if let Opened::Replaced { reason } = opened {
        progress(OpenProgress::IndexRebuilt { reason });
    }
    let blocks = path.join("blocks");
    let runs = RunFolder::new(&path.join("runs"), schema::filter_key);
    let load = load(&index, &runs, &blocks, &params, last_shutdown, interrupt);
    let (log, loaded) = match load {
        Ok(found) => found,
        Err(LoadError::Fatal(OpenError::Lost { missing, error })) if options.accept_loss => {
            let reason = format!("{missing} lost: {error}");
            rebuild_index(&mut index, &blocks, reason, progress, interrupt)?
        }
        Err(LoadError::Fatal(error)) => {
            // An index of an unclean shutdown is discarded after a reboot. This one is sound, and
            // may be the only evidence of a loss.
            let is_interrupted = matches!(error, OpenError::Interrupted);
            let is_sound = last_shutdown == ShutdownKind::Clean || !is_interrupted;
            if is_sound && runs.sync().is_ok() && index.close().is_ok() {
                let _ = directory.close();
            }
            return Err(error);
        }
        Err(LoadError::IndexUnusable(reason)) => {
            rebuild_index(&mut index, &blocks, reason, progress, interrupt)?
        }
    };
    let named = loaded.iter().flat_map(|loaded| &loaded.runs).map(|run| run.description());
    runs.remove_others(&named.collect::<Vec<_>>()).map_err(StoreError::from)?;
    let OpenedLog { log, truncation, uncovered } = log;
    if is_new && !uncovered.is_empty() {
        progress(OpenProgress::IndexRebuilt { reason: "there is none".into() });
    }
    if let Some(truncation) = truncation {
        progress(OpenProgress::LogTruncated(truncation));
    }
    let mut writer = match loaded {
        Some(loaded) => start(Stores { directory, log, index, runs }, params, options, loaded)?,
        None => {
            let stores = Stores { directory, log, index, runs };
            start_at_genesis(stores, params, options, &uncovered)?
        }
    };
    match replay(&mut writer, uncovered, progress) {
        Err(OpenError::Interrupted) => {
            writer.close()?;
            return Err(OpenError::Interrupted);
        }
        replayed => replayed?,
    }
    let warn = &mut |warning| progress(OpenProgress::MempoolDamaged { warning });
    writer.restore_mempool(&path.join("journal").join("mempool"), warn)?;
    let reader = writer.reader();
    Ok((writer, reader))
}

/// Empties the index, and opens the log at its start.
fn rebuild_index(
    index: &mut Index,
    blocks: &Path,
    reason: String,
    progress: &mut dyn FnMut(OpenProgress),
    interrupt: &Interrupt,
) -> Result<(OpenedLog, Option<Loaded>), OpenError> {
    progress(OpenProgress::IndexRebuilt { reason });
    index.replace().map_err(StoreError::from)?;
    Ok((OpenedLog::open(blocks, LogPosition::START, interrupt)?, None))
}

/// A log with the records that the index does not cover.
struct OpenedLog {
    log: BlockLog,
    truncation: Option<Truncation>,
    uncovered: Vec<LoggedRecord>,
}

impl OpenedLog {
    fn open(
        folder: &Path,
        covered: LogPosition,
        interrupt: &Interrupt,
    ) -> Result<OpenedLog, OpenError> {
        let mut uncovered = Vec::new();
        let visit = |kind, location, payload: &[u8]| {
            interrupt.check()?;
            uncovered.push(LoggedRecord::new(kind, location, payload)?);
            Ok::<_, OpenError>(())
        };
        let (log, truncation) = BlockLog::open(folder, FILE_BYTES, covered, visit)?;
        Ok(OpenedLog { log, truncation, uncovered })
    }
}

/// Loads the index, and opens the log at the end of the records that the index covers. Returns
/// `None` for an empty index.
fn load(
    index: &Index,
    runs: &RunFolder,
    blocks: &Path,
    params: &Params,
    last_shutdown: ShutdownKind,
    interrupt: &Interrupt,
) -> Result<(OpenedLog, Option<Loaded>), LoadError> {
    let Some(loaded) = load_index(index, runs, params, last_shutdown, interrupt)? else {
        return Ok((OpenedLog::open(blocks, LogPosition::START, interrupt)?, None));
    };
    let log = OpenedLog::open(blocks, loaded.covered, interrupt);
    let log = log.map_err(|error| LoadError::from(name_lost_blocks(error, &loaded)))?;
    loaded.check_tip(&log.log.reader())?;
    Ok((log, Some(loaded)))
}

/// What a writer owns on the disk.
struct Stores {
    directory: Directory,
    log: BlockLog,
    index: Index,
    runs: RunFolder,
}

fn start(
    stores: Stores,
    params: Params,
    options: &Options,
    loaded: Loaded,
) -> Result<Writer, StoreError> {
    let Stores { directory, log, index, runs } = stores;
    let Loaded { mut blocks, best_chain, accounts_hash, covered, runs: named } = loaded;
    for id in blocks.ids().filter(|_| log.has_removed()) {
        if log.is_removed(blocks.node(id).location) {
            blocks.prune(id);
        }
    }
    let operators = |list| {
        Ok::<_, StoreError>(OperatorBlocks::new(
            invalidated::read(directory.path(), list)?,
            &blocks,
        ))
    };
    let (invalidated, reconsidered) =
        (operators(List::Invalidated)?, operators(List::Reconsidered)?);
    let side_branches = SideBranches::new(&blocks, &best_chain);
    let tip = *best_chain.last().expect("a best chain has genesis");
    let mut state = State {
        visible: 0,
        blocks,
        best_chain,
        invalidated,
        reconsidered,
        side_branches,
        chain_tips: BTreeMap::new(),
        rows: Layers::new(&named, options.memory().cached_accounts),
        log: log.reader(),
        mempool: Mempool::new(options.mempool),
    };
    state.publish_blocks();
    Ok(Writer {
        shared: Arc::new(Shared { params, state: RwLock::new(state) }),
        log,
        index: Arc::new(index),
        directory,
        threads: options.threads,
        tip,
        accounts_hash,
        uncommitted: Rows::default(),
        staging_bytes: options.staging_bytes,
        flush_bytes: options.memory().flush,
        runs,
        jobs: IndexJobs::new(named),
        changed_accounts: ChangedAccounts::default(),
        connected_ids: None,
        mempool_update: None,
        covered,
        dirty_chunks: BTreeSet::new(),
        logged_undos: HashMap::new(),
        disk_full: false,
        mempool_journal: None,
        restored_mempool: mempool::Restored::default(),
        replayed: None,
        interrupt: options.interrupt.clone(),
    })
}

/// Starts with the genesis block, which is the first record of the log or is appended to it.
fn start_at_genesis(
    mut stores: Stores,
    params: Params,
    options: &Options,
    records: &[LoggedRecord],
) -> Result<Writer, OpenError> {
    let genesis = params.genesis();
    let location = match records.first() {
        Some(LoggedRecord::Block(location))
            if read_block_at(&stores.log.reader(), *location)? == *genesis =>
        {
            *location
        }
        Some(LoggedRecord::Block(location) | LoggedRecord::Undo(_, location)) => {
            let reason = "the log does not start with this network's genesis block".into();
            return Err(OpenError::InvalidRecord { location: *location, reason });
        }
        None => stores.log.append(RecordKind::Block, &genesis.encode())?,
    };
    let undo = match records.get(1) {
        Some(LoggedRecord::Undo(hash, location)) if *hash == params.genesis_hash() => *location,
        _ => {
            let undo = encode_undo(&params.genesis_hash(), &Undo::default());
            stores.log.append(RecordKind::Undo, &undo)?
        }
    };
    let loaded = Loaded {
        blocks: BlockIndex::new(&genesis.header, location, undo),
        best_chain: vec![NodeId::GENESIS],
        accounts_hash: params.genesis_accounts_hash().clone(),
        covered: LogPosition::START,
        runs: Vec::new(),
    };
    let allocations = params.spec().allocations.clone();
    let mut writer = start(stores, params, options, loaded)?;
    writer.dirty_chunks.insert(0);
    let account_row = |(address, balance): (_, _)| {
        let row = schema::AccountRow { account: Account { balance, nonce: 0 }, transactions: 0 };
        (address, row)
    };
    let rows = MemoryRows::of_accounts(allocations.into_iter().map(account_row));
    writer.shared.write().rows.append(Layers::of(rows));
    Ok(writer)
}

/// Accepts the blocks of the log that the index does not cover.
fn replay(
    writer: &mut Writer,
    records: Vec<LoggedRecord>,
    progress: &mut dyn FnMut(OpenProgress),
) -> Result<(), OpenError> {
    /// The number of blocks between two commits.
    const STEP: usize = 1_000;
    /// The number of bytes of blocks after which progress is reported, before that number of blocks.
    const STEP_BYTES: u64 = 16 << 20;
    let mut blocks = Vec::new();
    for record in records {
        match record {
            LoggedRecord::Block(location) => blocks.push(location),
            LoggedRecord::Undo(hash, location) => {
                writer.logged_undos.insert(hash, location);
            }
        }
    }
    let (total, mut bytes) = (blocks.len(), 0_u64);
    for (done, location) in blocks.into_iter().enumerate() {
        writer.replayed = Some(location.start());
        writer.interrupt.check()?;
        if (done % STEP == 0 && done > 0) || bytes >= STEP_BYTES {
            progress(OpenProgress::Replaying { done, total });
            bytes = 0;
        }
        bytes = bytes.saturating_add(location.length.into());
        if done % STEP == 0 || writer.uncommitted.memory_bytes() >= writer.staging_bytes {
            writer.commit()?;
        }
        replay_block(writer, location)?;
    }
    if total > 0 {
        progress(OpenProgress::Replaying { done: total, total });
    }
    writer.logged_undos = HashMap::new();
    writer.replayed = None;
    // The list of invalidated blocks may be newer than the index.
    writer.activate_best_chain()?;
    writer.commit()?;
    writer.flush()?;
    Ok(())
}

/// Accepts a block of the log. A block that was only ever stored may turn out to be invalid now,
/// because the operator invalidated other blocks since then: it is marked. A block that was
/// connected before, which its undo record proves, must be valid.
fn replay_block(writer: &mut Writer, location: RecordLocation) -> Result<(), OpenError> {
    let block = Arc::new(read_block_at(&writer.log.reader(), location)?);
    let was_connected = writer.logged_undos.contains_key(&block.hash());
    // The block was accepted once, so its own time satisfies the rule about the clock.
    let now = block.header.time;
    let error = match writer.accept_block(Arc::clone(&block).into(), now, Some(location)) {
        Ok(_) => return Ok(()),
        Err(SubmitError::Store(error)) => return Err(error.into()),
        Err(error) => error,
    };
    if let SubmitError::Invalid(rule) = &error
        && !was_connected
        && writer.insert_invalid(block, location, rule)
    {
        return Ok(());
    }
    Err(OpenError::InvalidRecord { location, reason: error.to_string() })
}
