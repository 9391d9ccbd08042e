//! Who mines here, and what came of it. Kept in `DATA/stratum.json`, at most a second behind: after a
//! crash the last second's shares may be missing. None can count twice, since every run of the node
//! has coinbases of its own, so that a share of one is no share in another.

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
use tokio::time::MissedTickBehavior;

const FILE: &str = "stratum.json";
/// Workers that are remembered, of some hundred bytes each; those unseen for longest are forgotten.
const MAX_WORKERS: usize = 4_096;
/// How often what changed is written.
const KEEP_EVERY: Duration = Duration::from_millis(500);
/// A hash rate is an average over so many seconds, recent ones counting more.
const MEMORY_SECONDS: f64 = 600.0;
/// A worker's first seconds say nothing about its hash rate.
const LEAST_SECONDS: f64 = 10.0;

/// A worker's shares.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Shares {
    /// Whom its blocks pay.
    pub address: String,
    /// What its owner calls it; may be empty.
    pub name: String,
    /// Shares that counted.
    pub accepted: u64,
    /// The sum of their difficulties.
    pub accepted_difficulty: f64,
    /// Shares of an old tip.
    pub stale: u64,
    /// Shares that came before.
    pub duplicate: u64,
    /// Shares that did not meet their difficulty.
    pub low: u64,
    /// Malformed ones.
    pub invalid: u64,
    /// Accepted ones that were blocks.
    pub blocks: u64,
    /// When the last accepted one came.
    pub last_share: Option<u32>,
}

/// A worker as others see it.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "StratumWorker")]
pub struct Known {
    /// Its shares.
    #[serde(flatten)]
    pub shares: Shares,
    /// Connections that mine under this name at this moment.
    pub connections: u32,
    /// What it was last told, since this node started.
    pub difficulty: Option<f64>,
    /// Hashes a second, estimated from its shares since this node started.
    pub hashrate: f64,
}

/// What is on disk.
#[derive(Debug, Default, Serialize, Deserialize)]
struct File {
    workers: Vec<Shares>,
}

/// All workers.
pub struct Workers {
    path: PathBuf,
    hrp: Hrp,
    ledger: Mutex<Ledger>,
}

#[derive(Default)]
struct Ledger {
    /// Everybody's since the node started, also of those who are forgotten.
    totals: Shares,
    entries: BTreeMap<Worker<Address>, Entry>,
    is_changed: bool,
}

#[derive(Default)]
struct Entry {
    shares: Shares,
    connections: u32,
    difficulty: Option<Difficulty>,
    speed: Option<Speed>,
}

impl Workers {
    /// Goes on with what a data folder holds.
    pub fn open(data: &Path, hrp: Hrp) -> Workers {
        let path = data.join(FILE);
        let file = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                let path = path.display();
                tracing::warn!("{path} is damaged, miners' shares are counted anew: {error}");
                File::default()
            }),
            Err(_) => File::default(),
        };
        let mut ledger = Ledger::default();
        for shares in file.workers.into_iter().take(MAX_WORKERS) {
            if let Ok(payout_address) = Address::decode_for(&shares.address, hrp) {
                let worker = Worker { payout_address, name: shares.name.clone() };
                ledger.entries.insert(worker, Entry { shares, ..Entry::default() });
            }
        }
        Workers { path, hrp, ledger: Mutex::new(ledger) }
    }

    /// Everybody, or those who are connected, by address and name.
    pub fn list(&self, connected_only: bool) -> Vec<Known> {
        let (ledger, now) = (self.lock(), Instant::now());
        let entries = ledger.entries.values();
        let wanted = entries.filter(|entry| !connected_only || entry.connections > 0);
        wanted.map(|entry| entry.shown(now)).collect()
    }

    /// Everybody's shares since the node started, under no name.
    pub fn totals(&self) -> Shares {
        self.lock().totals.clone()
    }

    /// A connection mines under this name from now on.
    pub fn join(&self, worker: &Worker<Address>) {
        let mut ledger = self.lock();
        if ledger.entries.len() >= MAX_WORKERS && !ledger.entries.contains_key(worker) {
            ledger.forget_one();
        }
        // Room for all who are connected is not promised.
        if ledger.entries.len() < MAX_WORKERS || ledger.entries.contains_key(worker) {
            let entry = ledger.entries.entry(worker.clone()).or_default();
            entry.shares.address = worker.payout_address.encode(self.hrp);
            entry.shares.name.clone_from(&worker.name);
            entry.connections += 1;
            entry.speed.get_or_insert_with(|| Speed::new(Instant::now()));
        }
    }

    /// A connection that mined under this name is gone.
    pub fn leave(&self, worker: &Worker<Address>) {
        if let Some(entry) = self.lock().entries.get_mut(worker) {
            entry.connections = entry.connections.saturating_sub(1);
        }
    }

    /// The miner of these names is at another difficulty.
    pub fn adjust(&self, workers: &[Arc<Worker<Address>>], difficulty: Difficulty) {
        let mut ledger = self.lock();
        for worker in workers {
            if let Some(entry) = ledger.entries.get_mut(&**worker) {
                entry.difficulty = Some(difficulty);
            }
        }
    }

    /// A share was judged.
    pub fn count(&self, worker: &Worker<Address>, outcome: ShareOutcome) {
        let mut ledger = self.lock();
        ledger.is_changed = true;
        ledger.totals.count(outcome);
        let Some(Entry { shares, speed, .. }) = ledger.entries.get_mut(worker) else { return };
        shares.count(outcome);
        if let ShareOutcome::Accepted(difficulty) | ShareOutcome::Block(difficulty) = outcome {
            let now = Instant::now();
            speed.get_or_insert_with(|| Speed::new(now)).add(difficulty.expected_hashes(), now);
        }
    }

    /// Writes what changed since it was last written, if anything.
    fn save(&self) -> Result<()> {
        let mut ledger = self.lock();
        if !std::mem::take(&mut ledger.is_changed) {
            return Ok(());
        }
        let workers = ledger.entries.values().map(|entry| entry.shares.clone()).collect();
        drop(ledger);
        let write = || {
            let folder = self.path.parent().context("a file without a folder")?;
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            // Not synced: a crash of the machine may cost more shares than one of the node.
            file.write_all(&serde_json::to_vec(&File { workers })?)?;
            file.persist(&self.path)?;
            Ok(())
        };
        write().inspect_err(|_| self.lock().is_changed = true)
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
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

impl Ledger {
    /// Makes room: somebody who is not connected and found nothing for longest.
    fn forget_one(&mut self) {
        let absent = self.entries.iter().filter(|(_, entry)| entry.connections == 0);
        let longest = absent.min_by_key(|(_, entry)| entry.shares.last_share);
        if let Some(worker) = longest.map(|(worker, _)| worker.clone()) {
            self.entries.remove(&worker);
        }
    }
}

impl Entry {
    fn shown(&self, now: Instant) -> Known {
        Known {
            shares: self.shares.clone(),
            connections: self.connections,
            difficulty: self.difficulty.map(Difficulty::get),
            hashrate: self.speed.as_ref().map_or(0.0, |speed| speed.hashes_per_second(now)),
        }
    }
}

/// Hashes that fade with time.
struct Speed {
    since: Instant,
    at: Instant,
    hashes: f64,
}

impl Speed {
    fn new(now: Instant) -> Speed {
        Speed { since: now, at: now, hashes: 0.0 }
    }

    fn left(&self, now: Instant) -> f64 {
        let age = now.saturating_duration_since(self.at).as_secs_f64();
        self.hashes * (-age / MEMORY_SECONDS).exp()
    }

    fn add(&mut self, hashes: f64, now: Instant) {
        (self.hashes, self.at) = (self.left(now) + hashes, now);
    }

    fn hashes_per_second(&self, now: Instant) -> f64 {
        let age = now.saturating_duration_since(self.since).as_secs_f64().max(LEAST_SECONDS);
        self.left(now) / (MEMORY_SECONDS * (1.0 - (-age / MEMORY_SECONDS).exp()))
    }
}

/// Writes what changes now and then, until `stop` becomes true.
pub(super) async fn keep(workers: Arc<Workers>, mut stop: watch::Receiver<bool>) {
    let mut due = tokio::time::interval(KEEP_EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown_requested(&mut stop) => return,
            _ = due.tick() => save(Arc::clone(&workers)).await,
        }
    }
}

/// Writes what changed, if anything.
pub(super) async fn save(workers: Arc<Workers>) {
    let saved = tokio::task::spawn_blocking(move || workers.save()).await;
    if let Ok(Err(error)) = saved {
        tracing::warn!("miners' shares could not be written: {error:#}");
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
    fn shares_are_there_after_a_crash_but_for_the_last() {
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
        assert_eq!(workers.totals(), Shares::default(), "nothing since that start");
        let known = workers.list(false).remove(0);
        let Shares { accepted, stale, duplicate, low, invalid, blocks, .. } = known.shares;
        assert_eq!((accepted, stale, duplicate, low, invalid, blocks), (2, 1, 1, 1, 1, 1));
        assert!((known.shares.accepted_difficulty - 2.5).abs() < 1e-9);
        assert!(known.shares.last_share.is_some());
        assert_eq!((known.connections, known.difficulty), (0, None));
        assert!(workers.list(true).is_empty());
        std::fs::write(folder.path().join(FILE), "{").unwrap();
        assert!(open(folder.path()).list(false).is_empty());
    }

    #[test]
    fn workers_are_bounded_and_those_who_are_gone_make_room() {
        let folder = tempfile::tempdir().unwrap();
        let workers = open(folder.path());
        for number in 0..4_096 {
            workers.join(&worker(number));
            workers.count(&worker(number), accepted());
        }
        workers.join(&worker(5_000));
        workers.count(&worker(5_000), accepted());
        assert_eq!(workers.list(true).len(), MAX_WORKERS, "nobody who is there is forgotten");
        workers.leave(&worker(7));
        workers.join(&worker(5_000));
        let names: Vec<_> = workers.list(false).into_iter().map(|it| it.shares.name).collect();
        assert_eq!(names.len(), MAX_WORKERS);
        assert!(names.contains(&"5000".to_owned()) && !names.contains(&"7".to_owned()));
    }

    #[test]
    fn a_steady_miners_hash_rate_is_seen_after_a_while() {
        let mut now = Instant::now();
        let mut speed = Speed::new(now);
        for share in 1..500 {
            now += Duration::from_secs(10);
            speed.add(5e9, now);
            let rate = speed.hashes_per_second(now) / 5e8;
            assert!(share < 10 || (0.9..1.2).contains(&rate), "{share}: {rate}");
        }
        now += Duration::from_secs(3_600);
        assert!(speed.hashes_per_second(now) < 1.3e6);
    }
}
