//! Opening a data directory: the index is used if it can be trusted, otherwise made anew; then what
//! the log holds beyond it goes through the same door as a new block. Ends at the last block that
//! was acknowledged, without help.

use super::invalidate::Invalidated;
use super::schema;
use super::writer::{block_at, encode_undo, read_block};
use super::{Reader, Shared, State, SubmitError, Writer};
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
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, RwLock};

/// How to open a ledger.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Memory the index may use for its cache, bytes.
    pub cache_bytes: u64,
    /// Threads for signatures and commitments.
    pub threads: usize,
    /// What the pool may hold and demands.
    pub mempool: mempool::Limits,
}

/// What an opening found and does, to be told in a line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenProgress {
    /// The log ended in a record that was never acknowledged.
    LogTruncated(Truncation),
    /// The index could not be trusted.
    IndexRebuilt {
        /// Why.
        reason: String,
    },
    /// Blocks are taken from the log.
    Replaying {
        /// So far.
        done: usize,
        /// In all.
        total: usize,
    },
}

impl std::fmt::Display for OpenProgress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            OpenProgress::LogTruncated(cut) => write!(f, "{cut}"),
            OpenProgress::IndexRebuilt { reason } => {
                write!(f, "the index is rebuilt from the block log: {reason}")
            }
            OpenProgress::Replaying { done, total } => {
                write!(f, "replaying blocks from the log: {done} of {total}")
            }
        }
    }
}

/// Why a ledger cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk, or what is on it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A whole record holds a block that is invalid where it stands.
    #[error(
        "block file {} holds an invalid block at offset {}: {reason}. Blocks after it are kept; \
         restore the file from a backup or another node's data directory",
        location.file, location.offset
    )]
    InvalidRecord {
        /// Where.
        location: RecordLocation,
        /// What is wrong.
        reason: String,
    },
}

impl From<LogError> for OpenError {
    fn from(error: LogError) -> Self {
        OpenError::Store(error.into())
    }
}

/// A record that the index does not cover yet.
enum Record {
    Block(RecordLocation),
    Undo(block::Hash, RecordLocation),
}

/// Opens a data directory, making it if there is none.
pub fn open(
    path: &Path,
    params: Params,
    options: Options,
    notice: &mut dyn FnMut(OpenProgress),
) -> Result<(Writer, Reader), OpenError> {
    let directory = Directory::open(path, params.genesis_hash()).map_err(StoreError::from)?;
    let identity =
        [&schema::SCHEMA.to_le_bytes(), params.genesis_hash().as_bytes().as_slice()].concat();
    let last_shutdown = directory.last_shutdown();
    let (mut index, opened) =
        Index::open(&path.join("index"), last_shutdown, &identity, options.cache_bytes)
            .map_err(StoreError::from)?;
    let is_new = opened == Opened::Created;
    if let Opened::Replaced { reason } = opened {
        notice(OpenProgress::IndexRebuilt { reason });
    }
    let blocks = path.join("blocks");
    let (log, records, loaded) = match load(&index, &blocks, &params, last_shutdown) {
        Ok(found) => found,
        Err(Mistrust::Error(error)) => return Err(error),
        Err(Mistrust::Index(reason)) => {
            notice(OpenProgress::IndexRebuilt { reason });
            index.replace().map_err(StoreError::from)?;
            let (log, records) = open_log(&blocks, LogPosition::START)?;
            (log, records, None)
        }
    };
    if is_new && !records.is_empty() {
        notice(OpenProgress::IndexRebuilt { reason: "there is none".into() });
    }
    let (log, cut) = log;
    if let Some(cut) = cut {
        notice(OpenProgress::LogTruncated(cut));
    }
    let mut writer = match loaded {
        Some(loaded) => start(directory, log, index, params, &options, loaded)?,
        None => start_at_genesis(directory, log, index, params, &options, &records)?,
    };
    replay(&mut writer, records, notice)?;
    let reader = writer.reader();
    Ok((writer, reader))
}

type OpenedLog = (BlockLog, Option<Truncation>);

fn open_log(folder: &Path, covered: LogPosition) -> Result<(OpenedLog, Vec<Record>), OpenError> {
    let mut records = Vec::new();
    let log = BlockLog::open(folder, FILE_BYTES, covered, |kind, location, payload| {
        records.push(match kind {
            RecordKind::Block => Record::Block(location),
            RecordKind::Undo => Record::Undo(undo_hash(payload, location)?, location),
            RecordKind::JournalEntry => return Err(StoreError::BadRecord { location }.into()),
        });
        Ok::<_, OpenError>(())
    })?;
    Ok((log, records))
}

fn undo_hash(payload: &[u8], location: RecordLocation) -> Result<block::Hash, StoreError> {
    let hash = payload.first_chunk::<32>().ok_or(StoreError::BadRecord { location })?;
    Ok(block::Hash::from_bytes(*hash))
}

/// What the index holds.
struct Loaded {
    tree: BlockIndex,
    best: Vec<NodeId>,
    accounts_hash: LtHash,
}

/// Why the index is not used.
enum Mistrust {
    /// It has to be rebuilt.
    Index(String),
    /// Nothing helps.
    Error(OpenError),
}

impl<E: Into<OpenError>> From<E> for Mistrust {
    fn from(error: E) -> Self {
        match error.into() {
            OpenError::Store(StoreError::Log(LogError::NotCovered { .. })) => {
                Mistrust::Index("it is ahead of the block log".into())
            }
            OpenError::Store(StoreError::Index(error)) => Mistrust::Index(error.to_string()),
            error => Mistrust::Error(error),
        }
    }
}

fn malformed() -> Mistrust {
    Mistrust::Index("a row in it is malformed".into())
}

/// Reads the index and the log after it; `None` in place of the index if it is empty.
fn load(
    index: &Index,
    blocks: &Path,
    params: &Params,
    last_shutdown: ShutdownKind,
) -> Result<(OpenedLog, Vec<Record>, Option<Loaded>), Mistrust> {
    let Some(row) = index.get(schema::STATE_KEY).map_err(StoreError::from)? else {
        let (log, records) = open_log(blocks, LogPosition::START)?;
        return Ok((log, records, None));
    };
    let row = schema::State::decode(&row).ok_or_else(malformed)?;
    let tree = load_tree(index, params, row.nodes)?;
    let best = best_chain(&tree, row.tip).ok_or_else(malformed)?;
    if last_shutdown == ShutdownKind::UncleanSameBoot {
        accounts_match(index, &row.accounts_hash)?;
    }
    let (log, records) = open_log(blocks, row.covered)?;
    let tip = read_block(&log.0.reader(), tree.node(row.tip));
    let tip =
        tip.map_err(|error| Mistrust::Index(format!("it is of another block log: {error}")))?;
    let committed = tip.coinbase().map(|coinbase| coinbase.commitment);
    if committed != Some(row.accounts_hash.digest()) {
        return Err(Mistrust::Index("its accounts are not those the tip commits to".into()));
    }
    Ok((log, records, Some(Loaded { tree, best, accounts_hash: row.accounts_hash })))
}

/// Reads so many nodes.
fn load_tree(index: &Index, params: &Params, count: u32) -> Result<BlockIndex, Mistrust> {
    let chunk_at = |chunk| {
        let value = index.get(&schema::chunk_key(chunk)).map_err(StoreError::from)?;
        value.and_then(|value| schema::decode_chunk(&value)).ok_or_else(malformed)
    };
    let chunks = count.div_ceil(schema::NODES_PER_CHUNK);
    // Room is made for all of them only if the last one is there.
    chunk_at(chunks.saturating_sub(1))?;
    let genesis = &params.genesis().header;
    let mut tree = None;
    for chunk in 0..chunks {
        for node in chunk_at(chunk)? {
            match &mut tree {
                Some(tree) => BlockIndex::restore(tree, node).ok_or_else(malformed)?,
                None => {
                    let restored = BlockIndex::restored(genesis, &node, count as usize);
                    tree = Some(restored.ok_or_else(malformed)?);
                }
            }
        }
    }
    tree.filter(|tree| tree.len() == count as usize).ok_or_else(malformed)
}

/// After a kill, what the rows say is added up again.
fn accounts_match(index: &Index, expected: &LtHash) -> Result<(), Mistrust> {
    let mut sum = LtHash::empty();
    for row in index.scan_prefix(schema::ACCOUNTS) {
        let (key, value) = row.map_err(StoreError::from)?;
        let address = schema::account_address(&key).ok_or_else(malformed)?;
        let row = schema::AccountRow::decode(&value).ok_or_else(malformed)?;
        sum.add(&address, &row.account);
    }
    if sum == *expected {
        Ok(())
    } else {
        Err(Mistrust::Index("its accounts do not add up to their commitment".into()))
    }
}

/// The chain that ends in a tip, by height; `None` unless all of it is known to be valid.
fn best_chain(tree: &BlockIndex, tip: NodeId) -> Option<Vec<NodeId>> {
    if tip.get() as usize >= tree.len() {
        return None;
    }
    let mut best = vec![tip];
    let mut at = tip;
    while at != NodeId::GENESIS {
        let node = tree.node(at);
        node.undo()?;
        at = node.parent;
        best.push(at);
    }
    best.reverse();
    Some(best)
}

fn start(
    directory: Directory,
    log: BlockLog,
    index: Index,
    params: Params,
    options: &Options,
    loaded: Loaded,
) -> Result<Writer, StoreError> {
    let Loaded { tree, best, accounts_hash } = loaded;
    let aside = Invalidated::new(invalidated::read(directory.path())?, &tree);
    let tip = *best.last().expect("a best chain holds genesis");
    let mut state = State {
        visible: 0,
        tree,
        best,
        aside,
        tips: BTreeSet::new(),
        index: index.reader(),
        cached: Changes::new(),
        log: log.reader(),
        mempool: Mempool::new(options.mempool),
    };
    state.show_all();
    Ok(Writer {
        shared: Arc::new(Shared { params, state: RwLock::new(state) }),
        log,
        index,
        directory,
        threads: options.threads,
        tip,
        accounts_hash,
        pending: Changes::new(),
        touched: BTreeSet::new(),
        confirmed: BTreeSet::new(),
        dirty_chunks: BTreeSet::new(),
        known_undos: HashMap::new(),
    })
}

/// Begins with the genesis block, which is the first record of the log or becomes it.
fn start_at_genesis(
    directory: Directory,
    mut log: BlockLog,
    index: Index,
    params: Params,
    options: &Options,
    records: &[Record],
) -> Result<Writer, OpenError> {
    let genesis = params.genesis();
    let location = match records.first() {
        Some(Record::Block(location)) if block_at(&log.reader(), *location)? == *genesis => {
            *location
        }
        Some(Record::Block(location) | Record::Undo(_, location)) => {
            let reason = "the log does not begin with this network's genesis".into();
            return Err(OpenError::InvalidRecord { location: *location, reason });
        }
        None => log.append(RecordKind::Block, &genesis.encode())?,
    };
    let undo = match records.get(1) {
        Some(Record::Undo(hash, location)) if *hash == params.genesis_hash() => *location,
        _ => {
            log.append(RecordKind::Undo, &encode_undo(&params.genesis_hash(), &Undo::default()))?
        }
    };
    let tree = BlockIndex::new(&genesis.header, location, undo);
    let accounts_hash = params.genesis_accounts_hash().clone();
    let allocations = params.spec().allocations.clone();
    let mut writer = start(
        directory,
        log,
        index,
        params,
        options,
        Loaded { tree, best: vec![NodeId::GENESIS], accounts_hash },
    )?;
    writer.dirty_chunks.insert(0);
    let funded = |(address, balance): (_, _)| {
        let row = schema::AccountRow { account: Account { balance, nonce: 0 }, entries: 0 };
        (schema::account_key(&address), row.encode())
    };
    writer.shared.write().cached = allocations.into_iter().map(funded).collect();
    Ok(writer)
}

/// Takes in what the log holds beyond the index.
fn replay(
    writer: &mut Writer,
    records: Vec<Record>,
    notice: &mut dyn FnMut(OpenProgress),
) -> Result<(), OpenError> {
    /// Blocks between two lines of progress, and between two commits.
    const STEP: usize = 1_000;
    let mut blocks = Vec::new();
    for record in records {
        match record {
            Record::Block(location) => blocks.push(location),
            Record::Undo(hash, location) => {
                writer.known_undos.insert(hash, location);
            }
        }
    }
    let total = blocks.len();
    let log = writer.log.reader();
    for (done, location) in blocks.into_iter().enumerate() {
        if done % STEP == 0 && done > 0 {
            notice(OpenProgress::Replaying { done, total });
            writer.commit()?;
        }
        let block = block_at(&log, location)?;
        // It was accepted once; what the clock says now is no property of the block.
        let now = block.header.time;
        let invalid = |reason: String| OpenError::InvalidRecord { location, reason };
        match writer.take_in(block.into(), now, Some(location)) {
            Ok(_) => {}
            Err(SubmitError::Store(error)) => return Err(error.into()),
            Err(error) => return Err(invalid(error.to_string())),
        }
    }
    if total > 0 {
        notice(OpenProgress::Replaying { done: total, total });
    }
    writer.known_undos = HashMap::new();
    // A mark may be newer than the index.
    writer.settle()?;
    writer.commit()?;
    writer.flush()?;
    Ok(())
}
