//! Lists of jobs: the runs of a recurring job are folded into it, and listed only when asked for.

use super::Machine;
use crate::jobs::job::{Id, Job, State};

/// The newest runs that the status of a recurring job has.
const RECENT_RUNS: usize = 5;

/// Selects the jobs of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The state of the jobs; `None` for all.
    pub state: Option<State>,
    /// The recurring job whose runs are listed; `None` for the jobs that clients created.
    pub series: Option<Id>,
}

impl Machine {
    /// The first `limit` jobs behind a position, in the order of `Job::list_position`, and their
    /// threads.
    pub fn list(&self, filter: Filter, after: Option<u64>, limit: usize) -> Vec<(&Job, usize)> {
        let is_listed = |(job, _): &(&Job, usize)| {
            // A run may outlive its series in the memory of this machine.
            let series = job.series.filter(|series| self.numbers.contains_key(series));
            let is_of_series = filter.series.map_or(series.is_none(), |id| series == Some(id));
            let is_behind = after.is_none_or(|after| job.list_position() > after);
            is_of_series && is_behind && filter.state.is_none_or(|state| job.state == state)
        };
        let mut jobs: Vec<_> = self.newest().filter(is_listed).collect();
        jobs.sort_unstable_by_key(|(job, _)| job.list_position());
        jobs.truncate(limit);
        jobs
    }

    /// The newest runs of a recurring job, the newest first; none of another job.
    pub fn recent_runs(&self, id: Id) -> impl Iterator<Item = &Job> {
        let runs = self.newest().map(|(job, _)| job).filter(move |job| job.series == Some(id));
        runs.take(RECENT_RUNS)
    }
}
