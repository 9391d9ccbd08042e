//! The workers of the Stratum server and their shares, stored in `DATA/stratum.json`.
//!
//! The file is at most a second old: a crash may lose the shares of the last second. No share counts
//! twice, because each run of the node has its own coinbases, and shares of other runs are invalid.

use crate::clock;
use crate::shutdown::shutdown_requested;
use anyhow::{Context, Result};
use chain::Address;
use chain::address::Hrp;
use miner::stratum::{Difficulty, ShareOutcome, Worker};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The name of the file in the data folder.
const FILE: &str = "stratum.json";
/// Most workers that are remembered, some hundred bytes each; the longest inactive are dropped.
const MAX_WORKERS: usize = 4_096;
/// Interval at which changes are saved.
const SAVE_INTERVAL: Duration = Duration::from_millis(500);
/// The time constant of the exponential average of hash rates.
const AVERAGE_SECONDS: f64 = 600.0;
/// Least time over which a hash rate is estimated.
const MIN_SECONDS: f64 = 10.0;

/// The share counts of a worker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Shares {
    /// The address that its blocks pay.
    pub address: String,
    /// The name of the worker; may be empty.
    pub name: String,
    /// Accepted shares.
    pub accepted: u64,
    /// The sum of the difficulties of accepted shares.
    pub accepted_difficulty: f64,
    /// Shares of an old job.
    pub stale: u64,
    /// Shares that were submitted before.
    pub duplicate: u64,
    /// Shares that did not meet their difficulty.
    pub low: u64,
    /// Malformed shares.
    pub invalid: u64,
    /// Accepted shares that solved a block.
    pub blocks: u64,
    /// When the last share was accepted, in Unix seconds.
    pub last_share: Option<u32>,
}

/// The state of a worker.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "StratumWorker")]
pub struct WorkerInfo {
    /// The share counts.
    #[serde(flatten)]
    pub shares: Shares,
    /// The number of present connections of the worker.
    pub connections: u32,
    /// The last difficulty since the node started.
    pub difficulty: Option<f64>,
    /// The hash rate in hashes a second, estimated from its shares since the node started.
    pub hashrate: f64,
}

/// The contents of the file.
#[derive(Debug, Default, Serialize, Deserialize)]
struct File {
    workers: Vec<Shares>,
}

/// All known Stratum workers, and the file that stores their share counts.
pub struct Workers {
    path: PathBuf,
    hrp: Hrp,
    state: Mutex<WorkersState>,
}

#[derive(Default)]
struct WorkersState {
    /// The totals of all workers since the node started, including dropped ones.
    totals: Shares,
    entries: BTreeMap<Worker<Address>, Entry>,
    is_changed: bool,
}

#[derive(Default)]
struct Entry {
    shares: Shares,
    connections: u32,
    difficulty: Option<Difficulty>,
    hash_rate: Option<HashRate>,
}

impl Workers {
    /// Opens the workers of a data folder. A damaged file is ignored.
    pub fn open(data: &Path, hrp: Hrp) -> Workers {
        let path = data.join(FILE);
        let file = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                let path = path.display();
                tracing::warn!("{path} is damaged, share counts start from zero: {error}");
                File::default()
            }),
            Err(_) => File::default(),
        };
        let mut state = WorkersState::default();
        for shares in file.workers.into_iter().take(MAX_WORKERS) {
            if let Ok(payout_address) = Address::decode_for(&shares.address, hrp) {
                let worker = Worker { payout_address, name: shares.name.clone() };
                state.entries.insert(worker, Entry { shares, ..Entry::default() });
            }
        }
        Workers { path, hrp, state: Mutex::new(state) }
    }

    /// All workers, or only the connected ones, by address and name.
    pub fn list(&self, connected_only: bool) -> Vec<WorkerInfo> {
        let (state, now) = (self.lock(), Instant::now());
        let entries = state.entries.values();
        let wanted = entries.filter(|entry| !connected_only || entry.connections > 0);
        wanted.map(|entry| entry.info(now)).collect()
    }

    /// The totals of all workers since the node started.
    pub fn totals(&self) -> Shares {
        self.lock().totals.clone()
    }

    /// Records that a connection authorized as a worker.
    pub fn join(&self, worker: &Worker<Address>) {
        let mut state = self.lock();
        if state.entries.len() >= MAX_WORKERS && !state.entries.contains_key(worker) {
            state.drop_inactive();
        }
        // If all remembered workers are connected, this one is not counted.
        if state.entries.len() < MAX_WORKERS || state.entries.contains_key(worker) {
            let entry = state.entries.entry(worker.clone()).or_default();
            entry.shares.address = worker.payout_address.encode(self.hrp);
            entry.shares.name.clone_from(&worker.name);
            entry.connections += 1;
            entry.hash_rate.get_or_insert_with(|| HashRate::new(Instant::now()));
        }
    }

    /// Records that a connection of a worker closed.
    pub fn leave(&self, worker: &Worker<Address>) {
        if let Some(entry) = self.lock().entries.get_mut(worker) {
            entry.connections = entry.connections.saturating_sub(1);
        }
    }

    /// Records the difficulty of a connection's workers.
    pub fn set_difficulty(&self, workers: &[Arc<Worker<Address>>], difficulty: Difficulty) {
        let mut state = self.lock();
        for worker in workers {
            if let Some(entry) = state.entries.get_mut(&**worker) {
                entry.difficulty = Some(difficulty);
            }
        }
    }

    /// Counts a validated share.
    pub fn count(&self, worker: &Worker<Address>, outcome: ShareOutcome) {
        let mut state = self.lock();
        state.is_changed = true;
        state.totals.count(outcome);
        let Some(Entry { shares, hash_rate, .. }) = state.entries.get_mut(worker) else { return };
        shares.count(outcome);
        if let ShareOutcome::Accepted(difficulty) | ShareOutcome::Block(difficulty) = outcome {
            let now = Instant::now();
            hash_rate
                .get_or_insert_with(|| HashRate::new(now))
                .add(difficulty.expected_hashes(), now);
        }
    }

    /// Saves the share counts if they have changed.
    fn save(&self) -> Result<()> {
        let mut state = self.lock();
        if !std::mem::take(&mut state.is_changed) {
            return Ok(());
        }
        let workers = state.entries.values().map(|entry| entry.shares.clone()).collect();
        drop(state);
        let write = || {
            let folder = self.path.parent().context("the file has no parent folder")?;
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            // Not synced: a crash of the machine may lose more shares than one of the node.
            file.write_all(&serde_json::to_vec(&File { workers })?)?;
            file.persist(&self.path)?;
            Ok(())
        };
        write().inspect_err(|_| self.lock().is_changed = true)
    }

    fn lock(&self) -> MutexGuard<'_, WorkersState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shares {
    fn count(&mut self, outcome: ShareOutcome) {
        match outcome {
            ShareOutcome::Accepted(difficulty) | ShareOutcome::Block(difficulty) => {
                self.accepted += 1;
                self.accepted_difficulty += difficulty.get();
                self.blocks += u64::from(matches!(outcome, ShareOutcome::Block(_)));
                self.last_share = Some(clock::now().get());
            }
            ShareOutcome::Stale => self.stale += 1,
            ShareOutcome::Duplicate => self.duplicate += 1,
            ShareOutcome::LowDifficulty => self.low += 1,
            ShareOutcome::Invalid => self.invalid += 1,
        }
    }
}

impl WorkersState {
    /// Drops the worker that is not connected and has found no share for the longest time.
    fn drop_inactive(&mut self) {
        let disconnected = self.entries.iter().filter(|(_, entry)| entry.connections == 0);
        let oldest = disconnected.min_by_key(|(_, entry)| entry.shares.last_share);
        if let Some(worker) = oldest.map(|(worker, _)| worker.clone()) {
            self.entries.remove(&worker);
        }
    }
}

impl Entry {
    fn info(&self, now: Instant) -> WorkerInfo {
        WorkerInfo {
            shares: self.shares.clone(),
            connections: self.connections,
            difficulty: self.difficulty.map(Difficulty::get),
            hashrate: self
                .hash_rate
                .as_ref()
                .map_or(0.0, |hash_rate| hash_rate.hashes_per_second(now)),
        }
    }
}

/// An exponential average of hashes over time.
struct HashRate {
    since: Instant,
    at: Instant,
    hashes: f64,
}

impl HashRate {
    fn new(now: Instant) -> HashRate {
        HashRate { since: now, at: now, hashes: 0.0 }
    }

    fn decayed(&self, now: Instant) -> f64 {
        let age = now.saturating_duration_since(self.at).as_secs_f64();
        self.hashes * (-age / AVERAGE_SECONDS).exp()
    }

    fn add(&mut self, hashes: f64, now: Instant) {
        (self.hashes, self.at) = (self.decayed(now) + hashes, now);
    }

    fn hashes_per_second(&self, now: Instant) -> f64 {
        let age = now.saturating_duration_since(self.since).as_secs_f64().max(MIN_SECONDS);
        self.decayed(now) / (AVERAGE_SECONDS * (1.0 - (-age / AVERAGE_SECONDS).exp()))
    }
}

/// Saves changes periodically until `stop` becomes true.
pub(super) async fn save_periodically(workers: Arc<Workers>, mut stop: watch::Receiver<bool>) {
    let mut due = clock::interval(SAVE_INTERVAL);
    loop {
        tokio::select! {
            () = shutdown_requested(&mut stop) => return,
            _ = due.tick() => save(Arc::clone(&workers)).await,
        }
    }
}

/// Saves the share counts if they have changed.
pub(super) async fn save(workers: Arc<Workers>) {
    let saved = tokio::task::spawn_blocking(move || workers.save()).await;
    if let Ok(Err(error)) = saved {
        tracing::warn!("cannot save miners' share counts: {error:#}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chain::Params;

    fn worker(number: u32) -> Worker<Address> {
        Worker { payout_address: Address::from_bytes([9; 20]), name: number.to_string() }
    }

    fn open(data: &Path) -> Workers {
        Workers::open(data, Params::dev().hrp())
    }

    fn accepted() -> ShareOutcome {
        ShareOutcome::Accepted(Difficulty::new(0.5).unwrap())
    }

    // Q13
    #[test]
    fn saved_shares_survive_a_crash() {
        let folder = tempfile::tempdir().unwrap();
        let workers = open(folder.path());
        workers.join(&worker(1));
        for outcome in [
            accepted(),
            ShareOutcome::Block(Difficulty::new(2.0).unwrap()),
            ShareOutcome::Stale,
            ShareOutcome::Duplicate,
            ShareOutcome::LowDifficulty,
            ShareOutcome::Invalid,
        ] {
            workers.count(&worker(1), outcome);
        }
        workers.save().unwrap();
        workers.count(&worker(1), accepted());
        assert_eq!(workers.totals().accepted, 3);
        let workers = open(folder.path());
        assert_eq!(workers.totals(), Shares::default(), "totals start from zero");
        let info = workers.list(false).remove(0);
        let Shares { accepted, stale, duplicate, low, invalid, blocks, .. } = info.shares;
        assert_eq!((accepted, stale, duplicate, low, invalid, blocks), (2, 1, 1, 1, 1, 1));
        assert!((info.shares.accepted_difficulty - 2.5).abs() < 1e-9);
        assert!(info.shares.last_share.is_some());
        assert_eq!((info.connections, info.difficulty), (0, None));
        assert!(workers.list(true).is_empty());
        std::fs::write(folder.path().join(FILE), "{").unwrap();
        assert!(open(folder.path()).list(false).is_empty());
    }

    #[test]
    fn limits_workers_and_drops_disconnected_ones() {
        let folder = tempfile::tempdir().unwrap();
        let workers = open(folder.path());
        for number in 0..4_096 {
            workers.join(&worker(number));
            workers.count(&worker(number), accepted());
        }
        workers.join(&worker(5_000));
        workers.count(&worker(5_000), accepted());
        assert_eq!(workers.list(true).len(), MAX_WORKERS, "connected workers are retained");
        workers.leave(&worker(7));
        workers.join(&worker(5_000));
        let names: Vec<_> =
            workers.list(false).into_iter().map(|worker| worker.shares.name).collect();
        assert_eq!(names.len(), MAX_WORKERS);
        assert!(names.contains(&"5000".to_owned()) && !names.contains(&"7".to_owned()));
    }

    #[test]
    fn hash_rate_converges_for_steady_miner() {
        let mut now = Instant::now();
        let mut hash_rate = HashRate::new(now);
        for share in 1..500 {
            now += Duration::from_secs(10);
            hash_rate.add(5e9, now);
            let rate = hash_rate.hashes_per_second(now) / 5e8;
            assert!(share < 10 || (0.9..1.2).contains(&rate), "{share}: {rate}");
        }
        now += Duration::from_secs(3_600);
        assert!(hash_rate.hashes_per_second(now) < 1.3e6);
    }
}
