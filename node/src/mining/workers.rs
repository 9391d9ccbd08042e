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
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The name of the file in the data folder.
const FILE: &str = "stratum.json";
/// Most workers that are counted, some hundred bytes each. Above that, see `make_room`.
const MAX_WORKERS: usize = 4_096;
/// The share of one address while that many are counted.
const MAX_OWNED: usize = 64;
/// A worker with an accepted share in this time is the last to give way, in seconds.
const RECENT_SECONDS: u32 = 600;
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
    /// The address that the worker first connected from; `None` if that was before the node started.
    owner: Option<IpAddr>,
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
        let proven = file.workers.into_iter().filter(|shares| shares.accepted > 0);
        for shares in proven.take(MAX_WORKERS) {
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

    /// Records that a connection from an address authorized as a worker. If all workers are taken,
    /// it is counted from its first accepted share.
    pub fn join(&self, worker: &Worker<Address>, from: IpAddr) {
        let mut state = self.lock();
        if (state.entries.len() < MAX_WORKERS || state.entries.contains_key(worker))
            && let Some(entry) = state.open(worker, owner_of(from), self.hrp)
        {
            entry.connections += 1;
        }
    }

    /// Records that a connection of a worker closed. One without an accepted share is forgotten.
    pub fn leave(&self, worker: &Worker<Address>) {
        let mut state = self.lock();
        let Some(entry) = state.entries.get_mut(worker) else { return };
        entry.connections = entry.connections.saturating_sub(1);
        if entry.connections == 0 && !entry.is_proven() {
            state.entries.remove(worker);
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

    /// Counts a validated share of a connection from an address.
    pub fn count(&self, worker: &Worker<Address>, from: IpAddr, outcome: ShareOutcome) {
        let mut state = self.lock();
        state.is_changed = true;
        state.totals.count(outcome);
        let is_accepted = matches!(outcome, ShareOutcome::Accepted(_) | ShareOutcome::Block(_));
        if is_accepted
            && !state.entries.contains_key(worker)
            && let Some(entry) = state.open(worker, owner_of(from), self.hrp)
        {
            entry.connections = 1;
        }
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
        let proven = state.entries.values().filter(|entry| entry.is_proven());
        let workers = proven.map(|entry| entry.shares.clone()).collect();
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
    /// Opens the account of a worker unless it exists. Returns `None` if there is no room.
    fn open(&mut self, worker: &Worker<Address>, owner: IpAddr, hrp: Hrp) -> Option<&mut Entry> {
        if !self.entries.contains_key(worker) && !self.make_room(owner) {
            return None;
        }
        let entry = self.entries.entry(worker.clone()).or_default();
        entry.owner.get_or_insert(owner);
        entry.shares.address = worker.payout_address.encode(hrp);
        entry.shares.name.clone_from(&worker.name);
        entry.hash_rate.get_or_insert_with(|| HashRate::new(Instant::now()));
        Some(entry)
    }

    /// Makes room for a worker of this owner with an accepted share: above the limit, in place of one
    /// without; then of one whose last share is old; then of one of an owner with more. An owner with
    /// its share replaces only its own. Returns false if there is none to replace.
    fn make_room(&mut self, owner: IpAddr) -> bool {
        if self.entries.len() < MAX_WORKERS {
            return true;
        }
        let mut owned: HashMap<IpAddr, usize> = HashMap::new();
        for owner in self.entries.values().filter_map(|entry| entry.owner) {
            *owned.entry(owner).or_default() += 1;
        }
        let own = owned.get(&owner).copied().unwrap_or_default();
        let now = clock::now().get();
        let victim = self.entries.iter().filter_map(|(worker, entry)| {
            let held = entry.owner.and_then(|owner| owned.get(&owner)).copied().unwrap_or(1);
            let since = entry.shares.last_share.map(|last| now.saturating_sub(last));
            let is_recent = since.is_some_and(|seconds| seconds < RECENT_SECONDS);
            let is_own = entry.owner == Some(owner);
            let gives_way = is_own || (own < MAX_OWNED && (!is_recent || held > own));
            let is_connected = entry.connections > 0;
            let order = (entry.is_proven(), is_recent, Reverse(held), is_connected);
            gives_way.then_some(((order, entry.shares.last_share), worker))
        });
        let victim = victim.min_by_key(|(order, _)| *order).map(|(_, worker)| worker.clone());
        victim.is_some_and(|worker| self.entries.remove(&worker).is_some())
    }
}

/// The owner of the workers that connect from an address: an IPv4 address, or an IPv6 /48, which is
/// the most that one customer of a provider is assigned.
fn owner_of(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V6(ip) => {
            let [a, b, c, ..] = ip.segments();
            Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0).into()
        }
        ip @ IpAddr::V4(_) => ip,
    }
}

impl Entry {
    /// Whether a share of the worker was accepted.
    fn is_proven(&self) -> bool {
        self.shares.accepted > 0
    }

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
    use std::net::Ipv4Addr;

    fn worker(number: u32) -> Worker<Address> {
        Worker { payout_address: Address::from_bytes([9; 20]), name: number.to_string() }
    }

    fn address(number: u32) -> IpAddr {
        Ipv4Addr::from_bits((10 << 24) + number).into()
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
        workers.join(&worker(1), address(1));
        for outcome in [
            accepted(),
            ShareOutcome::Block(Difficulty::new(2.0).unwrap()),
            ShareOutcome::Stale,
            ShareOutcome::Duplicate,
            ShareOutcome::LowDifficulty,
            ShareOutcome::Invalid,
        ] {
            workers.count(&worker(1), address(1), outcome);
        }
        workers.save().unwrap();
        workers.count(&worker(1), address(1), accepted());
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

    fn named(name: &str) -> Worker<Address> {
        Worker { payout_address: Address::from_bytes([7; 20]), name: name.to_owned() }
    }

    /// The shares of the workers with the address of `named`, by name.
    fn shares(workers: &Workers) -> Vec<(String, u64)> {
        let address = named("").payout_address.encode(Params::dev().hrp());
        let all = workers.list(false).into_iter().map(|worker| worker.shares);
        let own = all.filter(|shares| shares.address == address);
        own.map(|shares| (shares.name, shares.accepted)).collect()
    }

    // Q15
    #[test]
    fn invented_names_cost_no_worker_its_shares() {
        let folder = tempfile::tempdir().unwrap();
        let (workers, real) = (open(folder.path()), address(1));
        // One that left, one that stays, and one that has found nothing yet.
        for (name, accepted_shares) in [("left", 2), ("stays", 1), ("new", 0)] {
            workers.join(&named(name), real);
            (0..accepted_shares).for_each(|_| workers.count(&named(name), real, accepted()));
        }
        workers.leave(&named("left"));
        for number in 0..3 * 4_096 {
            let from = address(100 + number / 64);
            workers.join(&worker(number), from);
            workers.count(&worker(number), from, ShareOutcome::Invalid);
        }
        assert_eq!(workers.list(false).len(), MAX_WORKERS);
        workers.join(&named("left"), real);
        for name in ["left", "stays", "new", "later"] {
            workers.count(&named(name), real, accepted());
        }
        let expected = [("later", 1), ("left", 3), ("new", 1), ("stays", 2)];
        assert_eq!(shares(&workers), expected.map(|(name, shares)| (name.to_owned(), shares)));
        assert_eq!(workers.totals().accepted, 7);
        workers.save().unwrap();
        let workers = open(folder.path());
        assert_eq!(workers.list(false).len(), 4, "workers without a share are not saved");
    }

    // Q15
    #[test]
    fn address_with_its_share_of_workers_replaces_only_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let workers = open(folder.path());
        for number in 0..4_096 {
            let from = address(number / 32);
            workers.join(&worker(number), from);
            workers.count(&worker(number), from, accepted());
        }
        let greedy = address(200);
        for number in 10_000..10_200 {
            workers.join(&worker(number), greedy);
            workers.count(&worker(number), greedy, accepted());
        }
        let counted = workers.list(false);
        assert_eq!(counted.len(), MAX_WORKERS);
        let is_greedy = |info: &WorkerInfo| info.shares.name.parse::<u32>().unwrap() >= 10_000;
        let owned = counted.iter().filter(|info| is_greedy(info)).count();
        // As many as the others, whose last shares are as new.
        assert_eq!(owned, 32);
        assert_eq!(workers.totals().accepted, 4_096 + 200);
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
