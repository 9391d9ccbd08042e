//! What becomes of jobs when a node starts again.

use super::entry::{Change, Entry, Record};
use super::{Failure, FailureKind, Height, Id, Job, Machine, Now, Order, Priority, Start, State};
use std::time::Duration;

impl Machine {
    /// Takes a record of the journal, in the order in which they were written. Nothing is done
    /// before `resume`.
    pub fn replay(&mut self, record: Record) {
        let Record { job, found, is_whole } = record;
        let (id, series) = (job.id, job.series);
        let hashes = job.hashes;
        let is_series = job.is_series();
        let before = match self.entry(id) {
            None => {
                self.add(Entry::new(job));
                0
            }
            Some(entry) if is_series && !is_whole => {
                let (blocks, hashes) = (entry.job.blocks, entry.job.hashes);
                entry.job = Job { blocks, hashes, ..job };
                return;
            }
            Some(entry) => std::mem::replace(&mut entry.job, job).hashes,
        };
        let Some(entry) = self.entry(id) else { return };
        if is_whole {
            entry.found.clear();
        }
        entry.remember(&found);
        if let Some(series) = series.filter(|_| !is_whole)
            && let Some(series) = self.entry(series)
        {
            series.job.blocks = series.job.blocks.saturating_add(found.len() as u64);
            let more = hashes.saturating_sub(before);
            series.job.hashes = series.job.hashes.saturating_add(more);
            series.remember(&found);
        }
    }

    /// Jobs that may have found blocks that nobody counted, above `counted_to`.
    pub fn uncounted(&self) -> Vec<Job> {
        self.open().filter(|job| job.started_at.is_some() && !job.is_series()).cloned().collect()
    }

    /// Goes on with what was written down. `standing` is what this process is to mine all the
    /// time; it goes on as the job it was, if it was the same. What belonged to another process
    /// has ended with it. Delays go on by the clock: nobody knows how long the node was down.
    /// The chain has this height.
    pub fn resume(&mut self, standing: Option<Order>, height: Height, now: Now) {
        self.forget();
        let mut standing = standing;
        let open: Vec<Id> = self.open().map(|job| job.id).collect();
        for id in open {
            let Some(entry) = self.entry(id) else { continue };
            entry.due = match (entry.job.order.start, entry.job.order.every_seconds) {
                (Start::At(_), None) => None,
                (Start::At(_), Some(_)) if entry.job.state == State::Scheduled => None,
                (start, every) => {
                    // Whatever happened to the clock, no longer than it was to be.
                    let delay = if let Start::In(seconds) = start { seconds } else { 0 };
                    let longest = every.map_or(delay, |every| every.get().max(delay));
                    let left = entry.job.due_at.saturating_sub(now.unix).min(longest);
                    Some(now.elapsed.saturating_add(Duration::from_secs(left)))
                }
            };
            let order = entry.job.order;
            if !order.of_process {
                continue;
            }
            let is_standing = |wanted: &Order| {
                order.priority == Priority::Lowest
                    && wanted.priority == Priority::Lowest
                    && (wanted.miner, wanted.goal) == (order.miner, order.goal)
            };
            match standing.take_if(|wanted| is_standing(wanted)) {
                Some(wanted) => {
                    entry.job.order = wanted;
                    entry.job.state = State::Queued;
                    entry.change = Change::Now;
                }
                None => {
                    let detail = "the process that the job belonged to has ended".to_owned();
                    let failure = Failure { kind: FailureKind::Interrupted, detail };
                    self.finish(id, State::Failed, Some(failure), now);
                }
            }
        }
        if let Some(order) = standing {
            self.insert(order, None, None, height.get(), now);
        }
        self.advance(now);
    }
}
