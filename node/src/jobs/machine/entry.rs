//! A job as the machine holds it, and as it is written down.

use super::super::job::{self, Job};
use super::{MAX_BLOCKS, Machine};
use chain::block;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How soon a change should be written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Change {
    /// There is none.
    None,
    /// When it is convenient: the chain tells as well, or it does not matter much.
    Later,
    /// Before anybody is told.
    Now,
}

/// A job and what goes with it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) job: Job,
    /// The newest of its blocks, oldest first.
    pub(super) found: Vec<block::Hash>,
    /// Threads it has.
    pub(super) threads: usize,
    /// When it is due, by the time that never jumps; `None` if the clock says when.
    pub(super) due: Option<Duration>,
    /// Of its blocks those that are not written down yet.
    pub(super) unwritten: Vec<block::Hash>,
    pub(super) change: Change,
}

impl Entry {
    /// As it is written down.
    pub(super) fn new(job: Job) -> Entry {
        Entry {
            job,
            found: Vec::new(),
            threads: 0,
            due: None,
            unwritten: Vec::new(),
            change: Change::None,
        }
    }

    /// Whether it gives rise to runs.
    pub(super) fn is_open_series(&self) -> bool {
        self.job.is_series() && !self.job.state.is_terminal()
    }

    /// One more block.
    pub(super) fn found(&mut self, block: block::Hash) {
        self.job.blocks = self.job.blocks.saturating_add(1);
        self.remember(&[block]);
    }

    pub(super) fn remember(&mut self, blocks: &[block::Hash]) {
        self.found.extend(blocks);
        let excess = self.found.len().saturating_sub(MAX_BLOCKS as usize);
        self.found.drain(..excess);
    }
}

/// What the journal holds of a job: each record replaces the one before, but adds to the blocks.
/// What a series has found is told by the records of its runs, unless the record is a whole one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The job.
    pub job: Job,
    /// Blocks found since the record before.
    #[serde(with = "job::hashes")]
    pub found: Vec<block::Hash>,
    /// Whether `found` is all there is, not what came since.
    pub is_whole: bool,
}

impl Machine {
    /// Whether something has to be written down before anybody is told.
    pub fn is_urgent(&self) -> bool {
        self.jobs.values().any(|entry| entry.change == Change::Now)
    }

    /// What is to be written down since the last call.
    pub fn changes(&mut self) -> Vec<Record> {
        let changed = self.jobs.values_mut().filter(|entry| entry.change != Change::None);
        let record = |entry: &mut Entry| {
            entry.change = Change::None;
            let found = std::mem::take(&mut entry.unwritten);
            Record { job: entry.job.clone(), found, is_whole: false }
        };
        changed.map(record).collect()
    }

    /// Everything, in place of all that was written down before.
    pub fn all(&mut self) -> Vec<Record> {
        let record = |entry: &mut Entry| {
            entry.change = Change::None;
            entry.unwritten.clear();
            Record { job: entry.job.clone(), found: entry.found.clone(), is_whole: true }
        };
        self.jobs.values_mut().map(record).collect()
    }
}
