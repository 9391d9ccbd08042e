//! The workers that mine on this node, over Stratum, JSON-RPC and REST: their shares, hash rates, found
//! blocks and activity, stored in `DATA/workers.jsonl`.
//!
//! A worker is a payout address and a name, by whatever interface it mines. The file is at most a second
//! old: a crash may lose the shares of the last second. No share counts twice: each run of the node has
//! its own Stratum coinbases, shares of other runs are invalid, and a block is accepted once.

mod account;
mod info;
mod journal;
mod rate;
mod solution;

pub use account::{FoundBlock, Hour, Interface, Shares};
pub use info::{WorkerEvent, WorkerInfo};
pub use solution::outcome;

use crate::clock;
use crate::difficulty;
use crate::logging;
use crate::shutdown::shutdown_requested;
use account::Account;
use anyhow::Result;
use chain::address::Hrp;
use chain::ledger::{Reader, View};
use chain::{Address, Height};
use journal::{Journal, Line};
use miner::stratum::{Difficulty, ShareOutcome, Worker};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// Most workers that are counted, some thousand bytes each with two days of history. Above that, see
/// `make_room`.
const MAX_WORKERS: usize = 4_096;
/// The share of one address while that many are counted, and of those without an accepted share that
/// request templates.
const MAX_OWNED: usize = 64;
/// A worker with an accepted share in this time is the last to give way, and one without that has
/// requested no template for as long is forgotten; in seconds.
const RECENT_SECONDS: u32 = 600;
/// Interval at which changes are saved.
const SAVE_INTERVAL: Duration = Duration::from_millis(500);

/// What the figures of a worker depend on beside its shares.
pub struct ChainState<'a> {
    /// Expected hashes of the next block.
    block_hashes: f64,
    /// Rewards of blocks up to this height are spendable.
    settled: Height,
    is_best: Box<dyn Fn(&FoundBlock) -> bool + 'a>,
}

impl<'a> ChainState<'a> {
    /// The state of a view.
    pub fn of(view: &'a View<'a>) -> ChainState<'a> {
        let (tip, params) = (view.tip(), view.params());
        let target = view.as_parent(tip).next_bits(params).target();
        let maturity = params.spec().maturity;
        ChainState {
            block_hashes: target.map_or(0.0, difficulty::expected_hashes),
            settled: tip.height.checked_sub(maturity).unwrap_or(Height::GENESIS),
            is_best: Box::new(|found| {
                let block = view.at_height(Height::new(found.height));
                block.is_some_and(|block| block.hash == found.hash)
            }),
        }
    }
}

/// A share of a worker, or a block that one submitted without shares.
#[derive(Debug)]
pub struct Submission<'a> {
    pub worker: &'a Worker<Address>,
    pub interface: Interface,
    /// The address that it came from.
    pub from: IpAddr,
    pub outcome: ShareOutcome,
    /// The block if it is an accepted one.
    pub block: Option<FoundBlock>,
}

/// All known workers, and the file that stores their accounts.
pub struct Workers {
    hrp: Hrp,
    /// When the node started.
    start: u32,
    /// Locked before `state`.
    journal: Mutex<Journal>,
    state: Mutex<WorkersState>,
}

#[derive(Default)]
struct WorkersState {
    /// The totals of all workers by interface since the node started, including dropped ones.
    totals: [Shares; Interface::ALL.len()],
    entries: BTreeMap<Worker<Address>, Entry>,
    /// The workers whose accounts have changed since they were saved.
    changed: BTreeSet<Worker<Address>>,
}

#[derive(Default)]
struct Entry {
    account: Account,
    /// The address that the worker first connected from; `None` if that was before the node started.
    owner: Option<IpAddr>,
    connections: u32,
    connected_since: Option<u32>,
    difficulty: Option<f64>,
}

impl Workers {
    /// Opens the workers of a data directory. What is damaged of their file is not counted.
    pub fn open(data: &Path, hrp: Hrp) -> Workers {
        let (journal, accounts) = Journal::open(data);
        let mut state = WorkersState::default();
        let proven = accounts.into_iter().filter(Account::is_proven);
        for account in proven.take(MAX_WORKERS) {
            if let Ok(address) = Address::decode_for(&account.shares.address, hrp) {
                let worker = Worker::new(address, &account.shares.name);
                state.entries.insert(worker, Entry { account, ..Entry::default() });
            }
        }
        let start = clock::now().get();
        Workers { hrp, start, journal: Mutex::new(journal), state: Mutex::new(state) }
    }

    /// All workers, or only those with a Stratum connection, by address and name.
    pub fn list(&self, connected_only: bool, chain: &ChainState<'_>) -> Vec<WorkerInfo> {
        let (state, now) = (self.lock(), clock::now().get());
        state.wanted(connected_only).map(|entry| entry.info(now, chain)).collect()
    }

    /// Those of `list` with the highest hash rates of the last ten minutes, the highest first.
    pub fn top(
        &self,
        count: usize,
        connected_only: bool,
        chain: &ChainState<'_>,
    ) -> Vec<WorkerInfo> {
        let (state, now) = (self.lock(), clock::now().get());
        let rate = |entry: &Entry| entry.account.rates(now).ten_minutes;
        let mut ranked: Vec<_> =
            state.wanted(connected_only).map(|entry| (rate(entry), entry)).collect();
        ranked.sort_by(|(one, _), (other, _)| other.total_cmp(one));
        ranked.truncate(count);
        ranked.into_iter().map(|(_, entry)| entry.info(now, chain)).collect()
    }

    /// The numbers of workers with a Stratum connection and of these connections, and their hash rate
    /// in hashes a second.
    pub fn connected(&self) -> (usize, u32, f64) {
        let (state, now) = (self.lock(), clock::now().get());
        let wanted = || state.wanted(true);
        let rate = wanted().map(|entry| entry.account.rates(now).ten_minutes).sum::<f64>();
        // The sum of none is −0.
        (wanted().count(), wanted().map(|entry| entry.connections).sum(), rate + 0.0)
    }

    /// A worker and its history, oldest first; `None` if it is not recorded.
    pub fn get(
        &self,
        worker: &Worker<Address>,
        chain: &ChainState<'_>,
    ) -> Option<(WorkerInfo, Vec<Hour>)> {
        let state = self.lock();
        let entry = state.entries.get(worker)?;
        let hours = entry.account.hours.iter().copied().collect();
        Some((entry.info(clock::now().get(), chain), hours))
    }

    /// The totals of all workers of an interface since the node started.
    pub fn totals(&self, interface: Interface) -> Shares {
        self.lock().totals[interface as usize].clone()
    }

    /// The number of workers that are silent.
    pub fn silent_count(&self) -> usize {
        self.lock().entries.values().filter(|entry| entry.account.is_silent).count()
    }

    /// Records that a Stratum connection from an address authorized as a worker. If all workers are
    /// taken, it is counted from its first accepted share.
    pub fn join(&self, worker: &Worker<Address>, from: IpAddr) {
        let mut state = self.lock();
        if state.has_room_for(worker)
            && let Some(entry) = state.open(worker, from, Interface::Stratum, self.hrp)
        {
            entry.connect();
        }
    }

    /// Records that a connection of a worker closed. One without an accepted share is forgotten.
    pub fn leave(&self, worker: &Worker<Address>) {
        let mut state = self.lock();
        let Some(entry) = state.entries.get_mut(worker) else { return };
        entry.connections = entry.connections.saturating_sub(1);
        if entry.connections == 0 {
            entry.connected_since = None;
            if !entry.account.is_proven() {
                state.remove(worker);
            }
        }
    }

    /// Records that a worker requested a template for a block of this difficulty. If all workers are
    /// taken, or its address has too many without an accepted block, it is counted from its first one.
    /// Anyone can request templates for any address: those for a worker of Stratum do not count.
    pub fn request(
        &self,
        worker: &Worker<Address>,
        from: IpAddr,
        interface: Interface,
        difficulty: f64,
    ) {
        let mut state = self.lock();
        let is_admitted = match state.entries.get(worker) {
            Some(entry) => !entry.is_of_stratum(),
            None => state.has_room_for(worker) && state.unproven_of(owner_of(from)) < MAX_OWNED,
        };
        if is_admitted && let Some(entry) = state.open(worker, from, interface, self.hrp) {
            entry.account.interface = interface;
            entry.account.record_activity(clock::now().get());
            entry.difficulty = Some(difficulty);
            state.changed.insert(worker.clone());
        }
    }

    /// Records the difficulty of a connection's workers.
    pub fn set_difficulty(&self, workers: &[Arc<Worker<Address>>], difficulty: Difficulty) {
        let mut state = self.lock();
        for worker in workers {
            if let Some(entry) = state.entries.get_mut(&**worker) {
                entry.difficulty = Some(difficulty.get());
            }
        }
    }

    /// Whether a worker is recorded.
    pub fn contains(&self, worker: &Worker<Address>) -> bool {
        self.lock().entries.contains_key(worker)
    }

    /// Counts a validated share.
    pub fn count(&self, submission: Submission<'_>) {
        let Submission { worker, interface, from, outcome, block } = submission;
        let now = clock::now().get();
        let mut state = self.lock();
        state.totals[interface as usize].count(outcome, now);
        let is_accepted = matches!(outcome, ShareOutcome::Accepted(_) | ShareOutcome::Block(_));
        if is_accepted
            && !state.entries.contains_key(worker)
            && let Some(entry) = state.open(worker, from, interface, self.hrp)
            && interface == Interface::Stratum
        {
            entry.connect();
        }
        let Some(entry) = state.entries.get_mut(worker) else { return };
        if is_accepted {
            entry.account.interface = interface;
        }
        entry.account.count(outcome, block, now);
        state.changed.insert(worker.clone());
    }

    /// Updates which workers are silent, of at most `limit`, and returns these: whether each has become
    /// silent or is active again.
    pub fn update_silence(&self, limit: usize) -> Vec<(bool, WorkerEvent)> {
        let now = clock::now().get();
        let mut state = self.lock();
        let WorkersState { entries, changed, .. } = &mut *state;
        let mut events = Vec::new();
        for (worker, entry) in entries.iter_mut().filter(|(_, entry)| entry.account.is_proven()) {
            let is_overdue = entry.account.is_overdue(self.start, now);
            // One that was silent before the node started is so until it is active.
            let is_active = entry.account.last_seen >= self.start;
            let is_silent = is_overdue || (entry.account.is_silent && !is_active);
            if is_silent != entry.account.is_silent && events.len() < limit {
                entry.account.is_silent = is_silent;
                changed.insert(worker.clone());
                events.push((is_silent, entry.event()));
            }
        }
        events
    }

    /// Settles rewards that are spendable, and forgets workers without an accepted block that request
    /// no templates any more.
    fn maintain(&self, chain: &ChainState<'_>) {
        let now = clock::now().get();
        let mut state = self.lock();
        let WorkersState { entries, changed, .. } = &mut *state;
        entries.retain(|worker, entry| {
            if entry.account.settle(chain.settled, &chain.is_best) {
                changed.insert(worker.clone());
            }
            let is_kept = entry.account.is_proven()
                || entry.connections > 0
                || now.saturating_sub(entry.account.last_seen) < RECENT_SECONDS;
            if !is_kept {
                changed.remove(worker);
            }
            is_kept
        });
    }

    /// Saves the accounts that have changed.
    fn save(&self) -> Result<()> {
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.lock();
        if state.changed.is_empty() {
            return Ok(());
        }
        let changed = std::mem::take(&mut state.changed);
        let needs_rewrite = journal.needs_rewrite();
        let lines: Vec<Line> = if needs_rewrite {
            let proven = state.entries.values().filter(|entry| entry.account.is_proven());
            proven.map(|entry| Line::Account(Box::new(entry.account.clone()))).collect()
        } else {
            changed.iter().filter_map(|worker| state.change(worker, self.hrp)).collect()
        };
        // Shares are counted while these are written.
        drop(state);
        let written = if needs_rewrite { journal.rewrite(&lines) } else { journal.append(&lines) };
        written.inspect_err(|_| self.lock().changed.extend(changed))
    }

    fn lock(&self) -> MutexGuard<'_, WorkersState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WorkersState {
    /// The workers, or only those with a Stratum connection.
    fn wanted(&self, connected_only: bool) -> impl Iterator<Item = &Entry> {
        self.entries.values().filter(move |entry| !connected_only || entry.connections > 0)
    }

    /// Opens the account of a worker unless it exists. Returns `None` if there is no room.
    fn open(
        &mut self,
        worker: &Worker<Address>,
        from: IpAddr,
        interface: Interface,
        hrp: Hrp,
    ) -> Option<&mut Entry> {
        let owner = owner_of(from);
        if !self.entries.contains_key(worker) && !self.make_room(owner) {
            return None;
        }
        let entry = self.entries.entry(worker.clone()).or_insert_with(|| {
            let (address, name) = (worker.payout_address.encode(hrp), worker.name.clone());
            let account = Account::new(address, name, interface, clock::now().get());
            Entry { account, ..Entry::default() }
        });
        entry.owner.get_or_insert(owner);
        Some(entry)
    }

    fn remove(&mut self, worker: &Worker<Address>) {
        let removed = self.entries.remove(worker);
        // Others are not in the file.
        if removed.is_some_and(|entry| entry.account.is_proven()) {
            self.changed.insert(worker.clone());
        } else {
            self.changed.remove(worker);
        }
    }

    /// The change of a worker's account, or its removal; `None` for one that is not saved.
    fn change(&self, worker: &Worker<Address>, hrp: Hrp) -> Option<Line> {
        let Some(entry) = self.entries.get(worker) else {
            let removed = worker.payout_address.encode(hrp).into();
            return Some(Line::Removed { removed, name: worker.name.clone().into() });
        };
        let account = &entry.account;
        account.is_proven().then(|| Line::Account(Box::new(account.change())))
    }

    /// Whether a worker is recorded or can be without another giving way.
    fn has_room_for(&self, worker: &Worker<Address>) -> bool {
        self.entries.len() < MAX_WORKERS || self.entries.contains_key(worker)
    }

    /// The workers of an owner that have neither an accepted share nor a connection.
    fn unproven_of(&self, owner: IpAddr) -> usize {
        let of_owner = self.entries.values().filter(|entry| entry.owner == Some(owner));
        of_owner.filter(|entry| !entry.account.is_proven() && entry.connections == 0).count()
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
            let last_share = entry.account.shares.last_share;
            let held = entry.owner.and_then(|owner| owned.get(&owner)).copied().unwrap_or(1);
            let since = last_share.map(|last| now.saturating_sub(last));
            let is_recent = since.is_some_and(|seconds| seconds < RECENT_SECONDS);
            let is_own = entry.owner == Some(owner);
            let gives_way = is_own || (own < MAX_OWNED && (!is_recent || held > own));
            let is_connected = entry.connections > 0;
            let is_proven = entry.account.is_proven();
            let order = (is_proven, is_recent, Reverse(held), is_connected);
            gives_way.then_some(((order, last_share), worker))
        });
        let victim = victim.min_by_key(|(order, _)| *order).map(|(_, worker)| worker.clone());
        victim.is_some_and(|worker| {
            self.remove(&worker);
            true
        })
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
    /// Counts one more connection.
    fn connect(&mut self) {
        self.connections += 1;
        self.connected_since.get_or_insert_with(|| clock::now().get());
    }

    /// Whether it has a Stratum connection, or its last accepted share came over one.
    fn is_of_stratum(&self) -> bool {
        let is_proven = self.account.is_proven();
        self.connections > 0 || (is_proven && self.account.interface == Interface::Stratum)
    }

    fn id(&self) -> String {
        let Shares { address, name, .. } = &self.account.shares;
        if name.is_empty() { address.clone() } else { format!("{address}.{name}") }
    }

    fn info(&self, now: u32, chain: &ChainState<'_>) -> WorkerInfo {
        let account = &self.account;
        let (rates, is_proven) = (account.rates(now), account.is_proven());
        WorkerInfo {
            id: self.id(),
            shares: account.shares.clone(),
            interface: account.interface,
            connections: self.connections,
            connected_since: self.connected_since,
            first_seen: account.first_seen,
            last_seen: account.last_seen,
            interval_seconds: account.interval,
            silent: account.is_silent,
            difficulty: self.difficulty,
            best_share: is_proven.then_some(account.best_share),
            hashrate: rates.ten_minutes,
            hashrate_1m: rates.minute,
            hashrate_1h: rates.hour,
            hashrate_1d: rates.day,
            expected_blocks: account.expected_blocks,
            luck: (account.expected_blocks > 0.0)
                .then(|| account.shares.blocks as f64 / account.expected_blocks),
            expected_seconds: (rates.hour > 0.0).then(|| chain.block_hashes / rates.hour),
            earnings: account.earnings(&chain.is_best),
        }
    }

    fn event(&self) -> WorkerEvent {
        let account = &self.account;
        WorkerEvent {
            worker: self.id(),
            address: account.shares.address.clone(),
            name: account.shares.name.clone(),
            last_seen: account.last_seen,
            interval_seconds: account.interval,
            connections: self.connections,
        }
    }
}

/// Saves changes periodically until `stop` becomes true.
pub async fn run(workers: Arc<Workers>, reader: Reader, mut stop: watch::Receiver<bool>) {
    let mut due = clock::interval(SAVE_INTERVAL);
    loop {
        tokio::select! {
            () = shutdown_requested(&mut stop) => return,
            _ = due.tick() => {
                let (workers, reader) = (Arc::clone(&workers), reader.clone());
                save_with(move || {
                    workers.maintain(&ChainState::of(&reader.view()));
                    workers.save()
                }).await;
            }
        }
    }
}

/// Saves the accounts that have changed.
pub async fn save(workers: Arc<Workers>) {
    save_with(move || workers.save()).await;
}

async fn save_with(save: impl FnOnce() -> Result<()> + Send + 'static) {
    if let Ok(Err(error)) = tokio::task::spawn_blocking(save).await {
        logging::limited("save workers", |dropped| {
            tracing::warn!(dropped, "cannot save miners' share counts: {error:#}");
        });
    }
}

#[cfg(test)]
mod tests;
