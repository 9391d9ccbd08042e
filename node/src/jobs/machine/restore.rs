//! Jobs and their journal: records of changes, and restoring the jobs at the next start.

use super::{Machine, Now};
use crate::jobs::job::{Failure, FailureKind, Hashing, Id, Job, JobSpec, Priority, Start, State};
use crate::jobs::record::{Change, Entry, Record};
use chain::Height;
use std::time::Duration;

impl Machine {
    /// Whether a change must be recorded before it is acknowledged or published.
    pub fn is_urgent(&self) -> bool {
        self.jobs.values().any(|entry| entry.change == Change::Now)
    }

    /// The records of all changes since the last call.
    pub fn changed_records(&mut self) -> Vec<Record> {
        let changed = self.jobs.values_mut().filter(|entry| entry.change != Change::None);
        let record = |entry: &mut Entry| {
            entry.change = Change::None;
            let found = std::mem::take(&mut entry.unrecorded);
            Record { job: entry.job.clone(), found, is_complete: false }
        };
        changed.map(record).collect()
    }

    /// The complete records of all jobs, which replace all earlier records.
    pub fn all_records(&mut self) -> Vec<Record> {
        let record = |entry: &mut Entry| {
            entry.change = Change::None;
            entry.unrecorded.clear();
            Record { job: entry.job.clone(), found: entry.found.clone(), is_complete: true }
        };
        self.jobs.values_mut().map(record).collect()
    }

    /// Applies a record of the journal. Records must come in the order in which they were written;
    /// nothing is started before `resume`.
    pub fn replay(&mut self, record: Record) {
        let Record { job, found, is_complete } = record;
        let (id, series) = (job.id, job.series);
        let (is_series, state) = (job.is_series(), job.state);
        let total = hashing(&job);
        let before = match self.entry(id) {
            None => {
                self.add(Entry::new(job));
                None
            }
            Some(entry) if is_series && !is_complete => {
                let Job { blocks, hashes, expected_nanoblocks, ended_runs, .. } = entry.job;
                entry.job = Job { blocks, hashes, expected_nanoblocks, ended_runs, ..job };
                return;
            }
            Some(entry) => Some(std::mem::replace(&mut entry.job, job)),
        };
        let Some(entry) = self.entry(id) else { return };
        if is_complete {
            entry.found.clear();
        }
        entry.remember(&found);
        if let Some(series) = series.filter(|_| !is_complete)
            && let Some(series) = self.entry(series)
        {
            series.job.blocks = series.job.blocks.saturating_add(found.len() as u64);
            let counted = before.as_ref().map(hashing).unwrap_or_default();
            series.job.add_hashing(Hashing {
                hashes: total.hashes.saturating_sub(counted.hashes),
                expected_nanoblocks: total
                    .expected_nanoblocks
                    .saturating_sub(counted.expected_nanoblocks),
            });
            if before.is_none_or(|before| !before.state.is_terminal()) {
                series.job.ended_runs.count(state);
            }
            series.remember(&found);
        }
    }

    /// The jobs that may have blocks above `counted_to` that were not counted.
    pub fn recoverable(&self) -> Vec<Job> {
        self.open().filter(|job| job.started_at.is_some() && !job.is_series()).cloned().collect()
    }

    /// Resumes the jobs on a chain of this height. Jobs that ended with an earlier process fail.
    ///
    /// `background` is the background job of this process, if it is to have one; an equal one of an
    /// earlier process is resumed as such. Delays continue by the wall clock, as only that shows how
    /// long the node was down.
    pub fn resume(&mut self, background: Option<JobSpec>, height: Height, now: Now) {
        self.prune_finished();
        let mut background = background;
        let open: Vec<Id> = self.open().map(|job| job.id).collect();
        for id in open {
            let Some(entry) = self.entry(id) else { continue };
            entry.due = match (entry.job.spec.start, entry.job.spec.every_seconds) {
                (Start::At(_), None) => None,
                (Start::At(_), Some(_)) if entry.job.state == State::Scheduled => None,
                (start, every) => {
                    // At most the original delay, wherever the wall clock was set meanwhile.
                    let delay = if let Start::In(seconds) = start { seconds } else { 0 };
                    let longest = every.map_or(delay, |every| every.get().max(delay));
                    let left = entry.job.due_at.saturating_sub(now.unix).min(longest);
                    Some(now.elapsed.saturating_add(Duration::from_secs(left)))
                }
            };
            let spec = entry.job.spec;
            if !spec.ends_with_process {
                continue;
            }
            let is_background = |wanted: &JobSpec| {
                spec.priority == Priority::Lowest
                    && wanted.priority == Priority::Lowest
                    && (wanted.miner, wanted.goal) == (spec.miner, spec.goal)
            };
            match background.take_if(|wanted| is_background(wanted)) {
                Some(wanted) => {
                    entry.job.spec = wanted;
                    entry.job.state = State::Queued;
                    entry.change = Change::Now;
                }
                None => {
                    let detail = "the process that created the job has ended".to_owned();
                    let failure = Failure { kind: FailureKind::Interrupted, detail };
                    self.finish(id, State::Failed, Some(failure), now);
                }
            }
        }
        if let Some(spec) = background {
            self.insert(spec, None, None, height.get(), now);
        }
        self.advance(now);
    }
}

/// The hashes of a job so far.
fn hashing(job: &Job) -> Hashing {
    Hashing { hashes: job.hashes, expected_nanoblocks: job.expected_nanoblocks.unwrap_or_default() }
}
