//! A job as the machine holds it, and as the journal stores it.

use super::job::{self, Job};
use chain::block;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The most blocks that a job can have as its goal, and the most block hashes that a job remembers:
/// those of its newest blocks.
pub const MAX_BLOCKS: u32 = 10_000;

/// The deadline for a change of a job to be in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Nothing has changed since the last record.
    None,
    /// With the next records: the change can be recovered from the chain, or matters little.
    Later,
    /// Before the change is acknowledged or published.
    Now,
}

/// A job with its state in memory.
#[derive(Debug)]
pub struct Entry {
    pub job: Job,
    /// The hashes of the job's newest blocks, oldest first.
    pub found: Vec<block::Hash>,
    /// The number of threads that the job has.
    pub threads: usize,
    /// The time on the monotonic clock at which the job is due; `None` if the wall clock decides.
    pub due: Option<Duration>,
    /// The job's blocks that are not in the journal yet.
    pub unrecorded: Vec<block::Hash>,
    pub change: Change,
}

impl Entry {
    /// The entry of a job as the journal has it.
    pub fn new(job: Job) -> Entry {
        Entry {
            job,
            found: Vec::new(),
            threads: 0,
            due: None,
            unrecorded: Vec::new(),
            change: Change::None,
        }
    }

    /// Whether the job is recurring and starts more runs.
    pub fn is_open_series(&self) -> bool {
        self.job.is_series() && !self.job.state.is_terminal()
    }

    /// Counts a block that the job has found, and remembers its hash.
    pub fn add_block(&mut self, block: block::Hash) {
        self.job.blocks = self.job.blocks.saturating_add(1);
        self.remember(&[block]);
    }

    /// Adds hashes of blocks, dropping the oldest above the limit.
    pub fn remember(&mut self, blocks: &[block::Hash]) {
        self.found.extend(blocks);
        let excess = self.found.len().saturating_sub(MAX_BLOCKS as usize);
        self.found.drain(..excess);
    }
}

/// A record of the journal: replaces the job's earlier record, but adds to its blocks. The blocks of
/// a series follow from the records of its runs, unless its own record is complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub job: Job,
    /// Blocks found since the earlier record.
    #[serde(with = "job::hashes")]
    pub found: Vec<block::Hash>,
    /// Whether `found` holds all blocks rather than those since the earlier record.
    #[serde(rename = "is_whole")]
    pub is_complete: bool,
}
