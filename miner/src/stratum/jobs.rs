//! The jobs sent to one miner, with the shares it submitted for them.
//!
//! A share is a header, which contains the extra nonce of its session. As no two sessions have the
//! same one, it suffices that each session knows its own shares for as long as it knows their jobs. A
//! miner that reconnects gets the extra nonce of its lost session only together with these jobs.

use super::difficulty::Difficulty;
use super::message::RejectReason;
use super::share::Submission;
use super::template::{BlockTemplate, CoinbaseSource};
use chain::hash::sha256d;
use chain::{Header, block, tx};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The maximum number of valid jobs, which a miner is sent in 43 minutes or more.
const MAX_JOBS: usize = 256;
/// The maximum number of shares that a session remembers, some 40 kB. A miner is assigned one every
/// ten seconds; until the difficulty fits the fastest, it finds some 1,500.
const MAX_SHARES: usize = 2_048;
/// How long shares of earlier jobs count after the difficulty was raised: miners switch to a new job
/// with a delay.
const RAISE_GRACE: Duration = Duration::from_secs(60);
/// The maximum number of jobs and shares of all parked sessions, some 24 bytes each.
const MAX_PARKED: usize = 1 << 18;
/// What a parked session counts for besides its jobs and shares.
const PARKED_SESSION: usize = 8;

/// A job sent to one session.
#[derive(Debug)]
pub(super) struct Job<C> {
    pub id: String,
    /// The number of earlier jobs of the session with the same template.
    pub revision: u32,
    pub template: Arc<BlockTemplate<C>>,
    /// The minimum difficulty of shares for the job, and what each counts for.
    pub difficulty: Difficulty,
    /// The time from which only blocks are accepted, because the difficulty was raised.
    pub expires: Option<Instant>,
}

impl<C: CoinbaseSource> Job<C> {
    /// Assembles the header of a share that pays this address.
    pub(super) fn header(
        &self,
        payout_address: &C::PayoutAddress,
        extra_nonce: &[u8; 8],
        share: &Submission,
    ) -> Header {
        let template = &self.template;
        let coinbase = template.source().coinbase(payout_address);
        let coinbase = [&coinbase.prefix[..], extra_nonce, &coinbase.suffix].concat();
        let id = tx::Id::from_bytes(sha256d(&coinbase));
        Header {
            version: template.header.version ^ share.version_bits.cast_signed(),
            merkle_root: template.branch.root(id).expect("the branch is that of a coinbase"),
            time: share.time,
            nonce: share.nonce,
            ..template.header
        }
    }
}

/// The jobs of one session for the current tip and the previous one, with the shares that were
/// accepted for them.
#[derive(Debug)]
pub(super) struct Jobs<C> {
    /// Oldest first.
    jobs: VecDeque<Job<C>>,
    /// The first eight bytes of the hash of each share, which no target constrains, and the id of
    /// its template.
    shares: HashMap<u64, u32>,
}

impl<C> Default for Jobs<C> {
    fn default() -> Jobs<C> {
        Jobs { jobs: VecDeque::new(), shares: HashMap::new() }
    }
}

impl<C> Jobs<C> {
    /// The job that was sent last.
    pub(super) fn last(&self) -> Option<&Job<C>> {
        self.jobs.back()
    }

    /// Finds a job by its id.
    pub(super) fn find(&self, id: &str) -> Option<&Job<C>> {
        self.jobs.iter().rev().find(|job| job.id == id)
    }

    /// Adds a job, and forgets those of tips before the previous one. Above the limit, forgets the
    /// oldest.
    pub(super) fn push(&mut self, job: Job<C>) {
        let tip = job.template.header.previous;
        let previous = self.last().map(|last| last.template.header.previous);
        if previous != Some(tip) {
            self.jobs.retain(|job| {
                let of = job.template.header.previous;
                of == tip || Some(of) == previous
            });
            let jobs = &self.jobs;
            self.shares.retain(|_, id| jobs.iter().any(|job| job.template.id == *id));
        }
        while self.jobs.len() >= MAX_JOBS {
            self.forget_oldest();
        }
        self.jobs.push_back(job);
    }

    /// Limits the time for which shares of all present jobs count, because the difficulty is raised.
    pub(super) fn expire(&mut self, now: Instant) {
        for job in &mut self.jobs {
            job.expires.get_or_insert(now + RAISE_GRACE);
        }
    }

    /// Records a share. Above the limit, forgets the oldest jobs with their shares.
    ///
    /// # Errors
    /// The share was recorded before, or too many were recorded for this job. A block is recorded in
    /// any case.
    pub(super) fn record_share(
        &mut self,
        hash: &block::Hash,
        template: u32,
        is_block: bool,
    ) -> Result<(), RejectReason> {
        let [a, b, c, d, e, f, g, h, ..] = *hash.as_bytes();
        let key = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        if self.shares.contains_key(&key) {
            return Err(RejectReason::Duplicate);
        }
        while self.shares.len() >= MAX_SHARES
            && self.jobs.front().is_some_and(|oldest| oldest.template.id != template)
        {
            self.forget_oldest();
        }
        if self.shares.len() >= MAX_SHARES && !is_block {
            return Err(RejectReason::Other("Too many shares of this job: wait for the next"));
        }
        self.shares.insert(key, template);
        Ok(())
    }

    /// Forgets the jobs of the oldest template, with their shares.
    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.jobs.pop_front() {
            let id = oldest.template.id;
            self.jobs.retain(|job| job.template.id != id);
            self.shares.retain(|_, template| *template != id);
        }
    }
}

/// The jobs of sessions that were lost, for miners that reconnect, by the first half of their extra
/// nonce; oldest first.
#[derive(Debug)]
pub(super) struct ParkedJobs<C>(Mutex<VecDeque<(u32, Jobs<C>)>>);

impl<C> Default for ParkedJobs<C> {
    fn default() -> ParkedJobs<C> {
        ParkedJobs(Mutex::new(VecDeque::new()))
    }
}

impl<C> ParkedJobs<C> {
    /// Parks the jobs of a session if shares were accepted for them. Above the limit, forgets those
    /// that were parked first: their miners are sent new jobs with another extra nonce.
    pub(super) fn park(&self, extra_nonce1: u32, jobs: Jobs<C>) {
        if jobs.shares.is_empty() {
            return;
        }
        let mut parked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        parked.push_back((extra_nonce1, jobs));
        let size =
            |(_, jobs): &(u32, Jobs<C>)| PARKED_SESSION + jobs.jobs.len() + jobs.shares.len();
        let mut total: usize = parked.iter().map(size).sum();
        while total > MAX_PARKED
            && let Some(oldest) = parked.pop_front()
        {
            total -= size(&oldest);
        }
    }

    /// Takes the jobs of a lost session.
    pub(super) fn take(&self, extra_nonce1: u32) -> Option<Jobs<C>> {
        let mut parked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = parked.iter().position(|(parked, _)| *parked == extra_nonce1)?;
        parked.remove(at).map(|(_, jobs)| jobs)
    }
}
