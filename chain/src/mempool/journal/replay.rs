//! Reading the mempool's journal, which yields the transfers that were in the mempool.

use super::record::{Entry, VERSION};
use crate::block;
use crate::codec::DecodeError;
use crate::fifo_map::FifoMap;
use crate::mempool::{MAX_REASONS, RejectReason, Source};
use crate::store::JournalError;
use crate::tx::{Id, Transfer};
use std::collections::{BTreeMap, HashMap};

/// A reason why a journal is not read any further.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReplayError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("it has a malformed record: {0}")]
    Malformed(#[from] DecodeError),
    #[error("it has no header of format {VERSION}")]
    OtherFormat,
    #[error("it belongs to genesis {0}")]
    OtherGenesis(block::Hash),
    #[error("it has more transfers than the mempool can hold")]
    TooManyTransfers,
}

/// A transfer of the journal that is still to be validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SavedTransfer {
    pub(crate) id: Id,
    pub(crate) transfer: Transfer,
    pub(crate) source: Source,
    /// The mempool time at which the transfer arrived, or since which it has waited, in seconds.
    pub(crate) seconds: u64,
}

/// The contents of a mempool as read from its journal.
#[derive(Debug)]
pub(crate) struct Replay {
    genesis: block::Hash,
    max_transfers: usize,
    has_header: bool,
    transfers: BTreeMap<u64, SavedTransfer>,
    positions: HashMap<Id, u64>,
    next_position: u64,
    pub(crate) drop_reasons: FifoMap<Id, RejectReason, MAX_REASONS>,
    /// The mempool time of the last record, in seconds.
    pub(crate) seconds: u64,
    /// The tip with which the mempool was last up to date; `None` in journals that do not name it.
    pub(crate) tip: Option<block::Hash>,
}

impl Replay {
    /// Creates an empty replay of a journal with at most `max_transfers` at any time.
    pub(super) fn new(genesis: block::Hash, max_transfers: usize) -> Replay {
        Replay {
            genesis,
            max_transfers,
            has_header: false,
            transfers: BTreeMap::new(),
            positions: HashMap::new(),
            next_position: 0,
            drop_reasons: FifoMap::default(),
            seconds: 0,
            tip: None,
        }
    }

    /// Returns the transfers in their order of arrival.
    pub(crate) fn take_transfers(&mut self) -> Vec<SavedTransfer> {
        self.positions.clear();
        std::mem::take(&mut self.transfers).into_values().collect()
    }

    /// Applies a record, or nothing of it if there is an error.
    pub(super) fn apply(&mut self, record: &[u8]) -> Result<(), ReplayError> {
        for entry in Entry::decode_all(record)? {
            if !self.has_header && !matches!(entry, Entry::Header { .. }) {
                return Err(ReplayError::OtherFormat);
            }
            match entry {
                Entry::Header { version, genesis } => {
                    if version != VERSION {
                        return Err(ReplayError::OtherFormat);
                    }
                    if genesis != self.genesis {
                        return Err(ReplayError::OtherGenesis(genesis));
                    }
                    self.has_header = true;
                }
                Entry::Added { source, seconds, transfer } => {
                    self.seconds = self.seconds.max(seconds);
                    let id = transfer.id();
                    self.add(SavedTransfer { id, transfer, source, seconds })?;
                }
                Entry::Removed { id, reason } => {
                    self.remove(&id);
                    match reason {
                        Some(reason) => self.drop_reasons.insert(id, reason),
                        None => self.drop_reasons.remove(&id),
                    }
                }
                Entry::Local { id } => {
                    let position = self.positions.get(&id);
                    if let Some(saved) = position.and_then(|at| self.transfers.get_mut(at)) {
                        saved.source = Source::Local;
                    }
                }
                Entry::Time { seconds } => self.seconds = self.seconds.max(seconds),
                Entry::Tip { hash } => self.tip = Some(hash),
            }
        }
        Ok(())
    }

    fn add(&mut self, saved: SavedTransfer) -> Result<(), ReplayError> {
        let id = saved.id;
        self.remove(&id);
        self.drop_reasons.remove(&id);
        if self.transfers.len() >= self.max_transfers {
            return Err(ReplayError::TooManyTransfers);
        }
        self.positions.insert(id, self.next_position);
        self.transfers.insert(self.next_position, saved);
        self.next_position += 1;
        Ok(())
    }

    fn remove(&mut self, id: &Id) {
        if let Some(position) = self.positions.remove(id) {
            self.transfers.remove(&position);
        }
    }
}
