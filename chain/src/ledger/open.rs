//! Opening a data directory. The index is used if it can be trusted, and rebuilt from the log
//! otherwise. Blocks in the log that the index does not cover are accepted like new blocks. The
//! ledger ends at the last acknowledged block without manual repair.

use super::error::SubmitError;
use super::reader::Reader;
use super::records::{encode_undo, read_block, read_block_at, undo_hash};
use super::schema;
use super::state::{InvalidatedBlocks, Shared, State};
use super::writer::Writer;
use crate::accounts::{Account, LtHash, Undo};
use crate::block;
use crate::block_index::{BlockIndex, NodeId};
use crate::mempool::{self, Mempool};
use crate::params::Params;
use crate::store::blocks::{
    BlockLog, FILE_BYTES, LogError, LogPosition, RecordKind, RecordLocation, Truncation,
};
use crate::store::directory::{Directory, ShutdownKind};
use crate::store::index::{Changes, Index, Opened};
use crate::store::{StoreError, invalidated};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::path::Path;
use std::sync::{Arc, RwLock};

/// The options of opening a ledger.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The size of the index cache, in bytes.
    pub cache_bytes: u64,
    /// The number of threads for signatures and account hashes.
    pub threads: usize,
    /// The limits of the mempool.
    pub mempool: mempool::Limits,
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

/// An error of opening a ledger.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The storage failed: the data directory, the block log or the index cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record of the log has a valid checksum but contains an invalid block.
    #[error(
        "block file {} holds an invalid block at offset {}: {reason}. Blocks after it are not \
         changed; restore the file from a backup or another node's data directory",
        location.file, location.offset
    )]
    InvalidRecord {
        /// The location of the record.
        location: RecordLocation,
        /// The reason why the block is invalid.
        reason: String,
    },
    /// The caller of [`open_unless`] has interrupted it.
    #[error("opening the data directory was interrupted")]
    Interrupted,
}

impl From<LogError> for OpenError {
    fn from(error: LogError) -> Self {
        OpenError::Store(error.into())
    }
}

/// A record that the index does not cover.
enum UncoveredRecord {
    Block(RecordLocation),
    Undo(block::Hash, RecordLocation),
}

/// Opens a data directory, or creates it. Calls `progress` with messages for the log.
///
/// # Errors
/// Returns any [`OpenError`] but [`OpenError::Interrupted`].
pub fn open(
    path: &Path,
    params: Params,
    options: Options,
    progress: &mut dyn FnMut(OpenProgress),
) -> Result<(Writer, Reader), OpenError> {
    open_unless(path, params, options, progress, &|| false)
}

/// Opens a data directory as [`open`] does, unless `is_interrupted` returns true meanwhile: then the
/// directory is closed again, and the next opening continues with the blocks that are left to be
/// replayed.
///
/// # Errors
/// Returns any [`OpenError`].
pub fn open_unless(
    path: &Path,
    params: Params,
    options: Options,
    progress: &mut dyn FnMut(OpenProgress),
    is_interrupted: &dyn Fn() -> bool,
) -> Result<(Writer, Reader), OpenError> {
    let directory = Directory::open(path, params.genesis_hash()).map_err(StoreError::from)?;
    let identity =
        [&schema::VERSION.to_le_bytes(), params.genesis_hash().as_bytes().as_slice()].concat();
    let last_shutdown = directory.last_shutdown();
    let (mut index, opened) =
        Index::open(&path.join("index"), last_shutdown, &identity, options.cache_bytes)
            .map_err(StoreError::from)?;
    let is_new = opened == Opened::Created;
    if let Opened::Replaced { reason } = opened {
        progress(OpenProgress::IndexRebuilt { reason });
    }
    let blocks = path.join("blocks");
    let (log, loaded) = match load(&index, &blocks, &params, last_shutdown, is_interrupted) {
        Ok(found) => found,
        Err(LoadError::Fatal(OpenError::Interrupted)) if last_shutdown == ShutdownKind::Clean => {
            index.close().map_err(StoreError::from)?;
            directory.close().map_err(StoreError::from)?;
            return Err(OpenError::Interrupted);
        }
        Err(LoadError::Fatal(error)) => return Err(error),
        Err(LoadError::IndexUnusable(reason)) => {
            progress(OpenProgress::IndexRebuilt { reason });
            index.replace().map_err(StoreError::from)?;
            (OpenedLog::open(&blocks, LogPosition::START, is_interrupted)?, None)
        }
    };
    let OpenedLog { log, truncation, uncovered } = log;
    if is_new && !uncovered.is_empty() {
        progress(OpenProgress::IndexRebuilt { reason: "there is none".into() });
    }
    if let Some(truncation) = truncation {
        progress(OpenProgress::LogTruncated(truncation));
    }
    let mut writer = match loaded {
        Some(loaded) => start(directory, log, index, params, &options, loaded)?,
        None => start_at_genesis(directory, log, index, params, &options, &uncovered)?,
    };
    match replay(&mut writer, uncovered, progress, is_interrupted) {
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

/// A log with the records that the index does not cover.
struct OpenedLog {
    log: BlockLog,
    truncation: Option<Truncation>,
    uncovered: Vec<UncoveredRecord>,
}

impl OpenedLog {
    fn open(
        folder: &Path,
        covered: LogPosition,
        is_interrupted: &dyn Fn() -> bool,
    ) -> Result<OpenedLog, OpenError> {
        let mut uncovered = Vec::new();
        let visit = |kind, location, payload: &[u8]| {
            if is_interrupted() {
                return Err(OpenError::Interrupted);
            }
            uncovered.push(match kind {
                RecordKind::Block => UncoveredRecord::Block(location),
                RecordKind::Undo => UncoveredRecord::Undo(undo_hash(payload, location)?, location),
                RecordKind::JournalEntry => return Err(StoreError::BadRecord { location }.into()),
            });
            Ok::<_, OpenError>(())
        };
        let (log, truncation) = BlockLog::open(folder, FILE_BYTES, covered, visit)?;
        Ok(OpenedLog { log, truncation, uncovered })
    }
}

/// The contents of the index.
struct Loaded {
    blocks: BlockIndex,
    best_chain: Vec<NodeId>,
    accounts_hash: LtHash,
}

/// The reason why the index cannot be loaded.
enum LoadError {
    /// The index has to be rebuilt.
    IndexUnusable(String),
    /// Rebuilding the index would not help.
    Fatal(OpenError),
}

impl<E: Into<OpenError>> From<E> for LoadError {
    fn from(error: E) -> Self {
        match error.into() {
            OpenError::Store(StoreError::Log(LogError::NotCovered { .. })) => {
                LoadError::IndexUnusable("it is ahead of the block log".into())
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

/// Loads the index, and opens the log at the end of the records that the index covers. Returns
/// `None` for an empty index.
fn load(
    index: &Index,
    blocks: &Path,
    params: &Params,
    last_shutdown: ShutdownKind,
    is_interrupted: &dyn Fn() -> bool,
) -> Result<(OpenedLog, Option<Loaded>), LoadError> {
    let Some(row) = index.get(schema::STATE_KEY).map_err(StoreError::from)? else {
        return Ok((OpenedLog::open(blocks, LogPosition::START, is_interrupted)?, None));
    };
    let row = schema::StateRow::decode(&row).ok_or_else(malformed)?;
    let block_index = load_block_index(index, params, row.nodes)?;
    let best_chain = best_chain(&block_index, row.tip).ok_or_else(malformed)?;
    if last_shutdown == ShutdownKind::UncleanSameBoot {
        check_accounts(index, &row.accounts_hash, is_interrupted)?;
    }
    let log = OpenedLog::open(blocks, row.covered, is_interrupted)?;
    let tip = read_block(&log.log.reader(), block_index.node(row.tip));
    let tip = tip.map_err(|error| {
        LoadError::IndexUnusable(format!("it belongs to another block log: {error}"))
    })?;
    let committed = tip.coinbase().map(|coinbase| coinbase.commitment);
    if committed != Some(row.accounts_hash.digest()) {
        let reason = "its accounts are not those that the tip commits to";
        return Err(LoadError::IndexUnusable(reason.into()));
    }
    let accounts_hash = row.accounts_hash;
    Ok((log, Some(Loaded { blocks: block_index, best_chain, accounts_hash })))
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

/// Checks the account rows against their hash, after an unclean shutdown.
fn check_accounts(
    index: &Index,
    expected: &LtHash,
    is_interrupted: &dyn Fn() -> bool,
) -> Result<(), LoadError> {
    let mut accounts_hash = LtHash::empty();
    for row in index.scan_prefix(schema::ACCOUNTS) {
        if is_interrupted() {
            return Err(LoadError::Fatal(OpenError::Interrupted));
        }
        let (key, value) = row.map_err(StoreError::from)?;
        let address = schema::account_address(&key).ok_or_else(malformed)?;
        let row = schema::AccountRow::decode(&value).ok_or_else(malformed)?;
        accounts_hash.add(&address, &row.account);
    }
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

fn start(
    directory: Directory,
    log: BlockLog,
    index: Index,
    params: Params,
    options: &Options,
    loaded: Loaded,
) -> Result<Writer, StoreError> {
    let Loaded { blocks, best_chain, accounts_hash } = loaded;
    let invalidated = InvalidatedBlocks::new(invalidated::read(directory.path())?, &blocks);
    let tip = *best_chain.last().expect("a best chain has genesis");
    let mut state = State {
        visible: 0,
        blocks,
        best_chain,
        invalidated,
        chain_tips: BTreeMap::new(),
        index: index.reader(),
        unflushed: Changes::new(),
        log: log.reader(),
        mempool: Mempool::new(options.mempool),
    };
    state.publish_blocks();
    Ok(Writer {
        shared: Arc::new(Shared { params, state: RwLock::new(state) }),
        log,
        index,
        directory,
        threads: options.threads,
        tip,
        accounts_hash,
        uncommitted: Changes::new(),
        changed_accounts: BTreeSet::new(),
        confirmed: BTreeSet::new(),
        dirty_chunks: BTreeSet::new(),
        logged_undos: HashMap::new(),
        disk_full: false,
        mempool_journal: None,
        restored_mempool: mempool::Restored::default(),
        replayed: None,
    })
}

/// Starts with the genesis block, which is the first record of the log or is appended to it.
fn start_at_genesis(
    directory: Directory,
    mut log: BlockLog,
    index: Index,
    params: Params,
    options: &Options,
    records: &[UncoveredRecord],
) -> Result<Writer, OpenError> {
    let genesis = params.genesis();
    let location = match records.first() {
        Some(UncoveredRecord::Block(location))
            if read_block_at(&log.reader(), *location)? == *genesis =>
        {
            *location
        }
        Some(UncoveredRecord::Block(location) | UncoveredRecord::Undo(_, location)) => {
            let reason = "the log does not start with this network's genesis block".into();
            return Err(OpenError::InvalidRecord { location: *location, reason });
        }
        None => log.append(RecordKind::Block, &genesis.encode())?,
    };
    let undo = match records.get(1) {
        Some(UncoveredRecord::Undo(hash, location)) if *hash == params.genesis_hash() => *location,
        _ => {
            let undo = encode_undo(&params.genesis_hash(), &Undo::default());
            log.append(RecordKind::Undo, &undo)?
        }
    };
    let loaded = Loaded {
        blocks: BlockIndex::new(&genesis.header, location, undo),
        best_chain: vec![NodeId::GENESIS],
        accounts_hash: params.genesis_accounts_hash().clone(),
    };
    let allocations = params.spec().allocations.clone();
    let mut writer = start(directory, log, index, params, options, loaded)?;
    writer.dirty_chunks.insert(0);
    let account_row = |(address, balance): (_, _)| {
        let row = schema::AccountRow { account: Account { balance, nonce: 0 }, transactions: 0 };
        (schema::account_key(&address), row.encode())
    };
    writer.shared.write().unflushed = allocations.into_iter().map(account_row).collect();
    Ok(writer)
}

/// Accepts the blocks of the log that the index does not cover.
fn replay(
    writer: &mut Writer,
    records: Vec<UncoveredRecord>,
    progress: &mut dyn FnMut(OpenProgress),
    is_interrupted: &dyn Fn() -> bool,
) -> Result<(), OpenError> {
    /// The number of blocks between two messages, and between two commits.
    const STEP: usize = 1_000;
    let mut blocks = Vec::new();
    for record in records {
        match record {
            UncoveredRecord::Block(location) => blocks.push(location),
            UncoveredRecord::Undo(hash, location) => {
                writer.logged_undos.insert(hash, location);
            }
        }
    }
    let total = blocks.len();
    let log = writer.log.reader();
    for (done, location) in blocks.into_iter().enumerate() {
        writer.replayed = Some(location.start());
        if is_interrupted() {
            return Err(OpenError::Interrupted);
        }
        if done % STEP == 0 && done > 0 {
            progress(OpenProgress::Replaying { done, total });
            writer.commit()?;
        }
        let block = read_block_at(&log, location)?;
        // The block was accepted once, so its own time satisfies the rule about the clock.
        let now = block.header.time;
        match writer.accept_block(block.into(), now, Some(location)) {
            Ok(_) => {}
            Err(SubmitError::Store(error)) => return Err(error.into()),
            Err(error) => {
                return Err(OpenError::InvalidRecord { location, reason: error.to_string() });
            }
        }
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
