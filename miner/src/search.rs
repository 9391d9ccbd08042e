//! The progress of one search: its space is split into batches, and each batch is claimed by one
//! thread. New work is a new `Search`; threads check between two batches whether theirs has been
//! replaced.

use crate::work::Work;
use chain::Header;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// An event of a miner, reported on the mining thread where it occurred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A header that meets its target was found. The search continues after it; no header is
    /// reported twice.
    Found {
        /// The id of the work. Differs from the current one if the work has just been replaced.
        work: u64,
        /// The header with its nonce and its rolled version.
        header: Header,
    },
    /// The whole search space has been tried and all solutions reported. The threads are idle.
    Exhausted {
        /// The id of the work.
        work: u64,
    },
}

/// The search through the space of one work.
pub(crate) struct Search {
    pub(crate) work: Work,
    /// Nonces per batch; the last batch of a version may have fewer.
    batch_size: u32,
    batches_per_version: u64,
    batches: u64,
    claimed: AtomicU64,
    finished: AtomicU64,
    replaced: AtomicBool,
    exhaustion_reported: AtomicBool,
}

impl Search {
    pub(crate) fn new(work: Work, batch_size: u32) -> Search {
        let (nonces, rolls) = (work.nonces(), work.rolls());
        let nonces = (u64::from(*nonces.end()) + 1).saturating_sub(u64::from(*nonces.start()));
        let rolls = (u64::from(*rolls.end()) + 1).saturating_sub(u64::from(*rolls.start()));
        let batches_per_version = nonces.div_ceil(u64::from(batch_size));
        Search {
            work,
            batch_size,
            batches_per_version,
            batches: batches_per_version * rolls,
            claimed: AtomicU64::new(0),
            finished: AtomicU64::new(0),
            replaced: AtomicBool::new(false),
            exhaustion_reported: AtomicBool::new(false),
        }
    }

    /// Claims the next batch for the calling thread; `None` once all batches are claimed.
    pub(crate) fn next_batch(&self) -> Option<Batch<'_>> {
        let index = self.claimed.fetch_add(1, Ordering::Relaxed);
        if index >= self.batches {
            return None;
        }
        let (nonces, rolls) = (self.work.nonces(), self.work.rolls());
        let roll = u64::from(*rolls.start()) + index / self.batches_per_version;
        let skipped = index % self.batches_per_version * u64::from(self.batch_size);
        let first = u64::from(*nonces.start()) + skipped;
        let last = (first + u64::from(self.batch_size) - 1).min(u64::from(*nonces.end()));
        let nonce = |number| u32::try_from(number).expect("at most the last nonce of the work");
        Some(Batch {
            finished: &self.finished,
            roll: u16::try_from(roll).expect("at most the last roll of the work"),
            nonces: nonce(first)..=nonce(last),
        })
    }

    /// Stops the threads of this search after their current batch.
    pub(crate) fn replace(&self) {
        self.replaced.store(true, Ordering::Release);
    }

    pub(crate) fn is_replaced(&self) -> bool {
        self.replaced.load(Ordering::Acquire)
    }

    /// Returns true once: to the first caller after all batches are finished.
    pub(crate) fn should_report_exhaustion(&self) -> bool {
        self.finished.load(Ordering::Acquire) == self.batches
            && !self.exhaustion_reported.swap(true, Ordering::Relaxed)
    }
}

/// A part of a search, owned by one thread. Dropping it marks it finished, also on a panic: a
/// retry would panic again, and the solutions already reported must not be reported twice.
pub(crate) struct Batch<'a> {
    finished: &'a AtomicU64,
    pub(crate) roll: u16,
    pub(crate) nonces: RangeInclusive<u32>,
}

impl Batch<'_> {
    pub(crate) fn hashes(&self) -> u64 {
        u64::from(self.nonces.end() - self.nonces.start()) + 1
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.finished.fetch_add(1, Ordering::AcqRel);
    }
}
