//! The one that changes the chain. `Writer` is not `Clone`: holding it is the right to do so.

use super::overlay::{Draft, Rows};
use super::precheck::{Body, PrecheckedBlock, Prechecker};
use super::schema;
use super::{Accepted, Commit, Reader, Shared, State, SubmitError, TransferError};
use crate::accounts::{LtHash, Overlay, Undo};
use crate::address::Address;
use crate::amount::Amount;
use crate::block::{self, Block, Header, Timestamp};
use crate::block_index::{BlockNode, NewNode, NodeId, Status};
use crate::mempool;
use crate::params::Params;
use crate::pow::Work;
use crate::rules::body::{self, CheckedBlock, ConnectError, Reward};
use crate::rules::tx::CheckedTransfer;
use crate::rules::{self, RuleError, header};
use crate::store::StoreError;
use crate::store::blocks::{BlockLog, LogReader, RecordKind, RecordLocation};
use crate::store::directory::Directory;
use crate::store::index::{Changes, Index};
use crate::template::{self, Template, TemplateError, TemplateRequest};
use crate::tx::{Id, Transfer};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Rows that wait in memory before they go to the index together, unless one block has more: the
/// engine lets nobody read while it takes them in.
const FLUSH_ROWS: usize = 8_000;

/// Changes the chain.
pub struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) log: BlockLog,
    pub(super) index: Index,
    pub(super) directory: Directory,
    pub(super) threads: usize,
    /// The tip that blocks are connected to; ahead of the readers' until the next commit.
    pub(super) tip: NodeId,
    /// The commitment to the accounts at that tip.
    pub(super) accounts_hash: LtHash,
    /// Rows that wait for the next commit.
    pub(super) pending: Changes,
    /// Whose accounts those change.
    pub(super) touched: BTreeSet<Address>,
    /// Transfers that the blocks since the last commit carry.
    pub(super) confirmed: BTreeSet<Id>,
    /// Chunks of nodes that changed since the last flush.
    pub(super) dirty_chunks: BTreeSet<u32>,
    /// Undo records that are in the log already, of blocks that are not known to be valid: those
    /// that a replay is yet to come to, and those whose block did not fit on the disk.
    pub(super) known_undos: HashMap<block::Hash, RecordLocation>,
}

impl Writer {
    /// A reader of the same chain.
    pub fn reader(&self) -> Reader {
        Reader(Arc::clone(&self.shared))
    }

    /// The network's parameters.
    pub fn params(&self) -> &Params {
        &self.shared.params
    }

    /// Takes a block in. Readers see it after the next `commit`.
    pub fn submit_block(
        &mut self,
        block: impl Into<PrecheckedBlock>,
        now: Timestamp,
    ) -> Result<Accepted, SubmitError> {
        self.take_in(block.into(), now, None)
    }

    /// Checks blocks alone, ahead of their turn with this writer.
    pub fn prechecker(&self) -> Prechecker {
        Prechecker::new(self.reader(), self.threads)
    }

    /// Takes a block in that may be in the log already.
    pub(super) fn take_in(
        &mut self,
        candidate: PrecheckedBlock,
        now: Timestamp,
        stored: Option<RecordLocation>,
    ) -> Result<Accepted, SubmitError> {
        let shared = Arc::clone(&self.shared);
        let PrecheckedBlock { header, hash, body } = candidate;
        let state = shared.read();
        if let Some(known) = known(&state, &hash) {
            return known;
        }
        header::check_standalone(&header, &shared.params)?;
        let parent = find_parent(&state, &header)?;
        header::check_contextual(&header, &state.tree.as_parent(parent), &shared.params, now)?;
        let is_known = |id: &_| state.mempool.contains(id);
        let checked = match body {
            Body::Checked(checked) => *checked,
            Body::Unchecked(block) => body::check(block, &shared.params, is_known, self.threads),
        };
        let work = header.bits.target().map_or(Work::ZERO, crate::Target::work);
        let work = state.tree.node(parent).chain_work.saturating_add(work);
        let is_heavier = work > state.tree.node(self.tip).chain_work;
        let may_lead = is_heavier && !state.aside.takes_in(&hash, parent);
        drop(state);
        let checked = match checked {
            Ok(checked) => checked,
            Err(error) => return Err(self.refuse(hash, parent, error).into()),
        };
        if may_lead {
            self.adopt(parent, &checked, stored)?;
            Ok(Accepted::Connected)
        } else {
            let location = self.log_block(&checked, stored)?;
            self.insert(parent, &checked, location);
            Ok(Accepted::SideBranch)
        }
    }

    /// Remembers a block that can never be valid.
    fn refuse(&mut self, hash: block::Hash, parent: NodeId, error: RuleError) -> RuleError {
        if error.invalidates_header() || matches!(error, RuleError::InvalidAncestor { .. }) {
            self.shared.write().tree.mark_invalid_hash(hash, parent, error.rule());
        }
        error
    }

    /// Adds a block that is in the log to the tree.
    fn insert(&mut self, parent: NodeId, block: &CheckedBlock, location: RecordLocation) -> NodeId {
        let coinbase = block.coinbase();
        let reward = Reward {
            recipient: coinbase.recipient,
            // Out of range only in a block that will not be connected.
            amount: Amount::new(coinbase.reward).unwrap_or(Amount::MAX),
        };
        let new = NewNode::new(&block.block().header, parent, location, reward);
        let mut state = self.shared.write();
        let number = state.tree.insert(new);
        state.aside.follow(number, &block.hash(), parent);
        drop(state);
        self.dirty_chunks.insert(number.get() / schema::NODES_PER_CHUNK);
        number
    }

    fn log_block(
        &mut self,
        block: &CheckedBlock,
        stored: Option<RecordLocation>,
    ) -> Result<RecordLocation, StoreError> {
        match stored {
            Some(location) => Ok(location),
            None => Ok(self.log.append(RecordKind::Block, block.encoded())?),
        }
    }

    fn log_undo(&mut self, hash: block::Hash, undo: &Undo) -> Result<RecordLocation, StoreError> {
        if let Some(location) = self.known_undos.get(&hash) {
            return Ok(*location);
        }
        let location = self.log.append(RecordKind::Undo, &encode_undo(&hash, undo))?;
        self.known_undos.insert(hash, location);
        Ok(location)
    }

    /// Makes a block with more work than the tip the new tip, if its whole branch is valid.
    fn adopt(
        &mut self,
        parent: NodeId,
        block: &CheckedBlock,
        stored: Option<RecordLocation>,
    ) -> Result<(), SubmitError> {
        let (branch, undo) = match self.try_block(parent, block)? {
            Ok(tried) => tried,
            Err(Fault::NewBlock(error)) => {
                return Err(self.refuse(block.hash(), parent, error).into());
            }
            Err(Fault::Ancestor(number, error)) => {
                let ancestor = self.mark_invalid(number, &error);
                let error = RuleError::InvalidAncestor { ancestor };
                return Err(self.refuse(block.hash(), parent, error).into());
            }
        };
        // All records before any change in memory, and the block, which alone can change anything
        // when the log is replayed, last: a full disk then leaves everything as it was.
        let mut made_valid = self.log_undos(&branch.path)?;
        let undo = self.log_undo(block.hash(), &undo)?;
        let location = self.log_block(block, stored)?;
        let tip = self.insert(parent, block, location);
        made_valid.push((tip, undo));
        self.enter(tip, made_valid, branch);
        Ok(())
    }

    /// Makes a block of the tree the tip, if its whole branch is valid; otherwise remembers that it
    /// is not, and stays.
    pub(super) fn move_to(&mut self, tip: NodeId) -> Result<(), StoreError> {
        match self.try_way(tip)? {
            Ok(branch) => {
                let made_valid = self.log_undos(&branch.path)?;
                self.enter(tip, made_valid, branch);
            }
            Err((number, error)) => {
                self.mark_invalid(number, &error);
            }
        }
        Ok(())
    }

    /// Writes down how to take the blocks of a way back; those that become valid by it.
    fn log_undos(
        &mut self,
        path: &[(NodeId, Undo)],
    ) -> Result<Vec<(NodeId, RecordLocation)>, StoreError> {
        let mut made_valid = Vec::with_capacity(path.len() + 1);
        for (number, undo) in path {
            let BlockNode { hash, status, .. } = *self.shared.read().tree.node(*number);
            // One that was connected before was so on the same parent: its undo is the same.
            if status == Status::Stored {
                made_valid.push((*number, self.log_undo(hash, undo)?));
            }
        }
        Ok(made_valid)
    }

    /// Changes what is in memory to a new tip, once all records are in the log.
    fn enter(&mut self, tip: NodeId, made_valid: Vec<(NodeId, RecordLocation)>, branch: Branch) {
        for (number, undo) in made_valid {
            let hash = self.shared.write().tree.set_valid(number, undo);
            self.known_undos.remove(&hash);
            self.dirty_chunks.insert(number.get() / schema::NODES_PER_CHUNK);
        }
        let Branch { changes, touched, unconfirmed, confirmed, accounts_hash, .. } = branch;
        self.pending.extend(changes);
        self.touched.extend(touched);
        for id in unconfirmed {
            self.confirmed.remove(&id);
        }
        self.confirmed.extend(confirmed);
        self.accounts_hash = accounts_hash;
        self.tip = tip;
    }

    /// Tries the way from the tip to a new block on a draft.
    fn try_block(
        &self,
        parent: NodeId,
        block: &CheckedBlock,
    ) -> Result<Result<(Branch, Undo), Fault>, StoreError> {
        let state = self.shared.read();
        let mut attempt = self.attempt(&state);
        let path = match attempt.walk(self.tip, parent)? {
            Ok(path) => path,
            Err((number, error)) => return Ok(Err(Fault::Ancestor(number, error))),
        };
        Ok(match attempt.connect(block, parent)? {
            Ok(undo) => Ok((attempt.into_branch(path), undo)),
            Err(error) => Err(Fault::NewBlock(error)),
        })
    }

    /// Tries the way from the tip to a block of the tree; otherwise which one on it breaks a rule.
    fn try_way(&self, to: NodeId) -> Result<Result<Branch, (NodeId, RuleError)>, StoreError> {
        let state = self.shared.read();
        let mut attempt = self.attempt(&state);
        Ok(attempt.walk(self.tip, to)?.map(|path| attempt.into_branch(path)))
    }

    fn attempt<'a>(&'a self, state: &'a State) -> Attempt<'a> {
        Attempt {
            params: &self.shared.params,
            state,
            draft: Draft::new(Rows::new(Some(&self.pending), &state.cached, &state.index)),
            accounts_hash: self.accounts_hash.clone(),
            touched: BTreeSet::new(),
            unconfirmed: Vec::new(),
            confirmed: Vec::new(),
            threads: self.threads,
        }
    }

    fn mark_invalid(&mut self, number: NodeId, error: &RuleError) -> block::Hash {
        let mut state = self.shared.write();
        let changed = state.tree.set_invalid(number, error.rule());
        self.dirty_chunks
            .extend(changed.iter().map(|number| number.get() / schema::NODES_PER_CHUNK));
        state.tree.node(number).hash
    }

    /// Makes all that was taken in safe, then shows it to readers.
    pub fn commit(&mut self) -> Result<Commit, StoreError> {
        self.log.sync()?;
        let shared = Arc::clone(&self.shared);
        let (path, returned) = {
            let state = shared.read();
            let path = state.tree.path(state.tip(), self.tip);
            let returned = transfers_of(&state, &shared.params, &path.disconnect)?;
            (path, returned)
        };
        let mut state = shared.write();
        state.show_all();
        let fork_height = state.tree.node(path.fork).height.get() as usize;
        state.best.truncate(fork_height + 1);
        state.best.extend_from_slice(&path.connect);
        // Not `append`, which would move every row that waits.
        state.cached.extend(std::mem::take(&mut self.pending));
        let touched = std::mem::take(&mut self.touched);
        let confirmed = std::mem::take(&mut self.confirmed);
        let confirmed_count = confirmed.len();
        let pool = if path.connect.is_empty() && path.disconnect.is_empty() {
            mempool::Changes::default()
        } else {
            let State { mempool, cached, index, .. } = &mut *state;
            let change = mempool::TipChange { returned, confirmed, touched };
            mempool.reconcile(change, &Rows::new(None, cached, index))?
        };
        let full = state.cached.len() >= FLUSH_ROWS;
        drop(state);
        if full {
            self.flush()?;
        }
        Ok(Commit {
            disconnected: path.disconnect,
            connected: path.connect,
            confirmed: confirmed_count,
            mempool: pool,
        })
    }

    /// Writes all rows that wait in memory to the index. Call it now and then when all is quiet.
    pub fn flush(&mut self) -> Result<(), StoreError> {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.write();
        let State { tree, cached, visible, .. } = &mut *state;
        let all_is_shown = *visible == tree.len();
        if !all_is_shown || (cached.is_empty() && self.dirty_chunks.is_empty()) {
            return Ok(());
        }
        let nodes = u32::try_from(tree.len()).expect("numbers are u32");
        for chunk in std::mem::take(&mut self.dirty_chunks) {
            let first = chunk * schema::NODES_PER_CHUNK;
            let last = nodes.min(first + schema::NODES_PER_CHUNK);
            let stored = (first..last).map(|number| tree.stored(NodeId::new(number)));
            cached.insert(schema::chunk_key(chunk), Some(schema::encode_chunk(stored)));
        }
        let covered = self.log.end();
        let row = schema::State {
            tip: self.tip,
            nodes,
            covered,
            accounts_hash: self.accounts_hash.clone(),
        };
        cached.insert(schema::STATE_KEY.to_vec(), Some(row.encode()));
        drop(state);
        // Readers go on meanwhile; nobody else changes the rows.
        self.index.apply(&shared.read().cached)?;
        let written = std::mem::take(&mut shared.write().cached);
        drop(written);
        Ok(())
    }

    /// Takes a transfer into the pool.
    pub fn submit_transfer(
        &mut self,
        transfer: Transfer,
    ) -> Result<mempool::Admission, TransferError> {
        let checked = rules::tx::check(transfer, self.shared.params.genesis_hash())?;
        let mut state = self.shared.write();
        let State { mempool, cached, index, .. } = &mut *state;
        Ok(mempool.insert(checked, &Rows::new(None, cached, index))?)
    }

    /// Lets transfers go that have waited too long. To be called every few minutes.
    pub fn expire_transfers(&mut self, now: Timestamp) -> Vec<mempool::Dropped> {
        self.shared.write().mempool.expire(now)
    }

    /// A block to mine on the tip, from the pool.
    pub fn template(
        &self,
        request: TemplateRequest,
    ) -> Result<Template, TemplateError<StoreError>> {
        let state = self.shared.read();
        let node = state.tree.node(self.tip);
        let parent = template::Parent {
            hash: node.hash,
            height: node.height,
            header: state.tree.as_parent(self.tip),
            matured: matured(&state, &self.shared.params, self.tip),
            commitment: &self.accounts_hash,
        };
        let rows = Rows::new(Some(&self.pending), &state.cached, &state.index);
        template::build(&self.shared.params, &parent, request, &state.mempool, &rows, self.threads)
    }

    /// Writes everything and closes the data directory: the next start has nothing to repair.
    pub fn close(mut self) -> Result<(), StoreError> {
        self.commit()?;
        self.flush()?;
        self.index.close()?;
        Ok(self.directory.close()?)
    }
}

/// A way to a new tip that was found valid.
struct Branch {
    /// Blocks of the tree on the way, and how to take them back.
    path: Vec<(NodeId, Undo)>,
    changes: Changes,
    touched: BTreeSet<Address>,
    unconfirmed: Vec<Id>,
    confirmed: Vec<Id>,
    accounts_hash: LtHash,
}

/// Which block on the way to a new one breaks a rule.
enum Fault {
    NewBlock(RuleError),
    Ancestor(NodeId, RuleError),
}

/// The blocks of the tree that a way enters and how to take them back, or the one that breaks a rule.
type Walked = Result<Vec<(NodeId, Undo)>, (NodeId, RuleError)>;

/// A branch being tried.
struct Attempt<'a> {
    params: &'a Params,
    state: &'a State,
    draft: Draft<'a>,
    accounts_hash: LtHash,
    touched: BTreeSet<Address>,
    /// Transfers of the blocks that are left, and of those that are entered.
    unconfirmed: Vec<Id>,
    confirmed: Vec<Id>,
    threads: usize,
}

impl Attempt<'_> {
    /// From a tip to a block of the tree.
    fn walk(&mut self, from: NodeId, to: NodeId) -> Result<Walked, StoreError> {
        let path = self.state.tree.path(from, to);
        for number in &path.disconnect {
            self.disconnect(*number)?;
        }
        if !path.disconnect.is_empty() {
            self.is_back_at(self.state.tree.node(path.fork))?;
        }
        let mut entered = Vec::with_capacity(path.connect.len());
        for number in path.connect {
            let node = self.state.tree.node(number);
            let checked = read_checked(&self.state.log, node, self.params)?;
            match self.connect(&checked, node.parent)? {
                Ok(undo) => entered.push((number, undo)),
                Err(error) => return Ok(Err((number, error))),
            }
        }
        Ok(Ok(entered))
    }

    fn into_branch(self, path: Vec<(NodeId, Undo)>) -> Branch {
        let Attempt { draft, accounts_hash, touched, unconfirmed, confirmed, .. } = self;
        let changes = draft.into_changes();
        Branch { path, changes, touched, unconfirmed, confirmed, accounts_hash }
    }

    fn connect(
        &mut self,
        block: &CheckedBlock,
        parent: NodeId,
    ) -> Result<Result<Undo, RuleError>, StoreError> {
        let node = self.state.tree.node(parent);
        let context = body::BlockContext {
            height: node.height.next().ok_or(StoreError::HeightOverflow)?,
            matured: matured(self.state, self.params, parent),
        };
        let mut overlay = Overlay::new(&self.draft);
        let connected = body::connect(
            block,
            &context,
            self.params,
            &mut overlay,
            &mut self.accounts_hash,
            self.threads,
        );
        let changes = match connected {
            Ok(changes) => changes,
            Err(ConnectError::Rule(error)) => return Ok(Err(error)),
            Err(ConnectError::View(error)) => return Err(error),
        };
        self.draft.connect(context.height, block.block(), block.ids(), &changes)?;
        self.touched.extend(changes.iter().map(|change| change.address));
        self.confirmed.extend(block.transfers().iter().map(|details| details.id));
        Ok(Ok(Undo::of(&changes)))
    }

    fn disconnect(&mut self, number: NodeId) -> Result<(), StoreError> {
        let node = self.state.tree.node(number);
        let block = read_block(&self.state.log, node)?;
        let undo = read_undo(&self.state.log, node)?;
        let mut overlay = Overlay::new(&self.draft);
        for (address, account) in undo.accounts() {
            overlay.set(*address, *account)?;
        }
        let changes = overlay.end_block();
        self.accounts_hash.apply(&changes, self.threads);
        self.draft.disconnect(node.height, &block, &undo)?;
        self.unconfirmed.extend(block.transfers().map(|(_, transfer)| transfer.id()));
        self.touched.extend(changes.iter().map(|change| change.address));
        Ok(())
    }

    /// Whether disconnecting led to the accounts the fork commits to: otherwise the next block would
    /// be blamed for what is wrong on this disk.
    fn is_back_at(&self, fork: &BlockNode) -> Result<(), StoreError> {
        let coinbase = read_block(&self.state.log, fork)?.coinbase().cloned();
        let committed = coinbase.map(|coinbase| coinbase.commitment);
        let is_back = committed == Some(self.accounts_hash.digest());
        is_back.then_some(()).ok_or(StoreError::BadUndo { fork: fork.hash })
    }
}

/// What is already known of a block, if it has been here before.
fn known(state: &State, hash: &block::Hash) -> Option<Result<Accepted, SubmitError>> {
    let invalid = |rule| Some(Err(SubmitError::KnownInvalid { hash: *hash, rule }));
    if let Some(refused) = state.tree.invalid_block(hash) {
        return invalid(refused.rule);
    }
    match state.tree.node(state.tree.find(hash)?).status {
        Status::Invalid { rule } => invalid(rule),
        Status::Stored | Status::Valid { .. } => Some(Ok(Accepted::AlreadyKnown)),
    }
}

fn find_parent(state: &State, header: &Header) -> Result<NodeId, SubmitError> {
    let parent = header.previous;
    if state.tree.invalid_block(&parent).is_some() {
        return Err(RuleError::InvalidAncestor { ancestor: parent }.into());
    }
    let number = state.tree.find(&parent).ok_or(SubmitError::UnknownParent { parent })?;
    match state.tree.node(number).status {
        Status::Invalid { .. } => Err(RuleError::InvalidAncestor { ancestor: parent }.into()),
        Status::Stored | Status::Valid { .. } => Ok(number),
    }
}

/// The reward that becomes spendable in the child of a block; genesis never has one.
fn matured(state: &State, params: &Params, parent: NodeId) -> Option<Reward> {
    let number = state.tree.ancestor(parent, params.spec().maturity.saturating_sub(1))?;
    (number != NodeId::GENESIS).then(|| state.tree.reward(number))
}

/// The transfers of blocks that leave the best chain, oldest block first.
fn transfers_of(
    state: &State,
    params: &Params,
    blocks: &[NodeId],
) -> Result<Vec<CheckedTransfer>, StoreError> {
    let mut transfers = Vec::new();
    for number in blocks.iter().rev() {
        let block = read_checked(&state.log, state.tree.node(*number), params)?;
        transfers.extend(block.into_transfers());
    }
    Ok(transfers)
}

/// A block of the tree, which was checked before it was logged: its signatures are not checked again.
fn read_checked(
    log: &LogReader,
    node: &BlockNode,
    params: &Params,
) -> Result<CheckedBlock, StoreError> {
    let block = read_block(log, node)?;
    body::check(block, params, |_| true, 1)
        .map_err(|error| StoreError::BadBlock { hash: node.hash, reason: error.to_string() })
}

/// A block of the tree.
pub(super) fn read_block(log: &LogReader, node: &BlockNode) -> Result<Block, StoreError> {
    let block = block_at(log, node.location)?;
    if block.hash() == node.hash {
        Ok(block)
    } else {
        Err(StoreError::BadRecord { location: node.location })
    }
}

/// Whatever block is at a place.
pub(super) fn block_at(log: &LogReader, location: RecordLocation) -> Result<Block, StoreError> {
    let (kind, bytes) = log.read(location)?;
    if kind != RecordKind::Block {
        return Err(StoreError::BadRecord { location });
    }
    Block::decode(&bytes).map_err(|_| StoreError::BadRecord { location })
}

/// Hash of the block ‖ accounts as they were before it.
pub(super) fn encode_undo(hash: &block::Hash, undo: &Undo) -> Vec<u8> {
    [hash.as_bytes().as_slice(), &undo.encode()].concat()
}

/// How to take a block of the best chain back.
pub(super) fn read_undo(log: &LogReader, node: &BlockNode) -> Result<Undo, StoreError> {
    let location = node.undo().expect("a block of the best chain is valid");
    let (kind, bytes) = log.read(location)?;
    let undo = bytes.strip_prefix(node.hash.as_bytes()).filter(|_| kind == RecordKind::Undo);
    let undo = undo.and_then(|bytes| Undo::decode(bytes).ok().flatten());
    undo.ok_or(StoreError::BadRecord { location })
}
