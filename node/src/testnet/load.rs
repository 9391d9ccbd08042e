//! Load on a testnet: transfers at a rate, between accounts of their own, submitted to all nodes.

use super::Testnet;
use super::topology::NodeNumber;
use crate::api::routes::accounts::AccountResponse;
use crate::api::routes::blocks::{BlockResponse, Transactions};
use crate::api::routes::chain::Chain;
use crate::api::routes::transactions::{Status, Transaction};
use crate::client::{ApiError, Client, is_unavailable};
use crate::faucet::dev_account;
use anyhow::{Context, Result, bail, ensure};
use chain::hash::sha256;
use chain::signature::SecretKey;
use chain::tx::{Memo, Payment};
use chain::{Address, Params, Transfer};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, sleep};

/// Connections to each node; a node syncs its journal for the transfers of many at once.
const CONNECTIONS: usize = 8;
/// Largest number of transfers in a request.
const MAX_BATCH: usize = 50;
/// Shortest time between the requests of a connection that is on time: a request costs a node as much as
/// several transfers do.
const REQUEST_INTERVAL: Duration = Duration::from_millis(100);
/// Amount and fee of a transfer in base units.
const AMOUNT: u64 = 1;
const FEE: u64 = 1_000;
/// Balance in base units with which each account starts: enough for a million transfers.
const BALANCE: u64 = 2_000_000_000;
/// Number of accounts of the public mnemonic that own coins from the genesis block on.
const FUNDED_ACCOUNTS: u32 = 10;
/// Time limit of the funding of accounts, and of the confirmation of what was accepted.
const FUNDING_LIMIT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(50);
/// Number of blocks before the start of a load that are read if a reorganisation has replaced the start.
const REREAD_BLOCKS: u32 = 1_000;

/// What to submit.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Transfers per second.
    pub rate: f64,
    /// Number of sending accounts.
    pub accounts: usize,
    /// Time for which transfers are submitted.
    pub duration: Duration,
    /// Time limit of the confirmation of what was accepted.
    pub drain: Duration,
}

/// What became of the transfers.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Number of transfers submitted.
    pub submitted: usize,
    /// Number of transfers that a node accepted.
    pub accepted: usize,
    /// Number of transfers that a node rejected, or did not respond to.
    pub failed: usize,
    /// Number of accepted transfers in the best chain.
    pub mined: usize,
    /// Number of accepted transfers that still wait for a block.
    pub pending: usize,
    /// Number of accepted transfers that every node has dropped or does not know.
    pub lost: usize,
    /// Number of accepted transfers of which no node said anything else, and some did not respond.
    pub unknown: usize,
    /// Accepted transfers per second.
    pub accepted_per_second: f64,
    /// Time in milliseconds until a transfer was accepted.
    pub accept_ms: Percentiles,
    /// Time in milliseconds from acceptance until a transfer was in a block.
    pub mine_ms: Percentiles,
    /// The reason for which the first failed transfer failed.
    pub first_error: Option<String>,
}

/// Percentiles of a duration in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Percentiles {
    /// The median.
    pub p50: u64,
    /// The 90th percentile.
    pub p90: u64,
    /// The 99th percentile.
    pub p99: u64,
    /// The maximum.
    pub max: u64,
}

impl Percentiles {
    fn of(durations: &[Duration]) -> Percentiles {
        let mut sorted: Vec<u64> =
            durations.iter().map(|it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX)).collect();
        sorted.sort_unstable();
        let at = |percent: usize| {
            let index = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
            sorted.get(index).copied().unwrap_or_default()
        };
        Percentiles { p50: at(50), p90: at(90), p99: at(99), max: at(100) }
    }
}

/// The progress of a load.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Number of transfers submitted so far.
    pub submitted: usize,
    /// Number of transfers accepted so far.
    pub accepted: usize,
    /// Number of transfers in the best chain.
    pub mined: usize,
}

/// The nodes that a load uses, and their network.
#[derive(Clone, Debug)]
pub struct Targets {
    clients: Vec<Client>,
    params: Params,
}

impl Targets {
    /// The running nodes of a testnet.
    pub fn of(testnet: &Testnet) -> Result<Targets> {
        let all: Vec<NodeNumber> = testnet.manifest().numbers().collect();
        let running = testnet.processes(&all)?.into_iter();
        let client = |number| Client::new(&testnet.manifest().node(number).api_url());
        let clients: Result<Vec<_>> = running.map(|(number, _)| client(number)).collect();
        let targets = Targets { clients: clients?, params: testnet.params().clone() };
        ensure!(!targets.clients.is_empty(), "no node runs: start some with `chain testnet up`");
        Ok(targets)
    }

    fn first(&self) -> &Client {
        &self.clients[0]
    }
}

/// An accepted transfer.
#[derive(Clone, Copy, Debug)]
struct Accepted {
    at: Instant,
    /// The height of its block in the best chain.
    height: Option<u32>,
    mined: Option<Duration>,
}

/// What all connections have seen so far.
#[derive(Debug, Default)]
struct Seen {
    submitted: usize,
    failed: usize,
    first_error: Option<String>,
    accept: Vec<Duration>,
    /// By transaction id.
    accepted: HashMap<String, Accepted>,
    /// The heights of all transactions of blocks since the start: a block may have a transfer before
    /// the response arrives that it was accepted.
    in_blocks: HashMap<String, u32>,
}

type Shared = Arc<Mutex<Seen>>;

fn with<T>(shared: &Shared, action: impl FnOnce(&mut Seen) -> T) -> T {
    action(&mut shared.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Submits transfers, waits until they are mined, and reports.
pub async fn run(
    targets: &Targets,
    load: Load,
    mut progress: impl FnMut(Progress),
) -> Result<Report> {
    ensure!(load.accounts > 0, "a load needs at least one account");
    let begun = Instant::now();
    let keys: Vec<SecretKey> = (0..load.accounts).map(|it| key(&targets.params, it)).collect();
    let nonces = loop {
        match fund(targets, &keys).await {
            // The node is starting again, perhaps.
            Err(error) if is_unavailable(&error) && begun.elapsed() < FUNDING_LIMIT => {
                sleep(POLL).await;
            }
            funded => break funded?,
        }
    };
    let shared = Shared::default();
    let tip: Chain = targets.first().get(&["chain"]).await?.json()?;
    let mut confirmations = Confirmations::new(&tip);
    let start = Instant::now();
    let mut senders = JoinSet::new();
    let (stop, stopped) = watch::channel(false);
    let connections = (targets.clients.len() * CONNECTIONS).min(load.accounts);
    let mut accounts: Vec<Vec<Account>> = (0..connections).map(|_| Vec::new()).collect();
    for (index, (key, nonce)) in keys.into_iter().zip(nonces).enumerate() {
        accounts[index % connections].push(Account { key, nonce });
    }
    for (index, accounts) in accounts.into_iter().enumerate() {
        let sender = Sender {
            client: targets.clients[index % targets.clients.len()].clone(),
            params: targets.params.clone(),
            accounts,
            rate: load.rate / connections as f64,
            shared: Arc::clone(&shared),
        };
        senders.spawn(sender.run(start, stopped.clone()));
    }
    drop(stopped);
    let mut ended = None;
    let mut interval = tokio::time::interval(POLL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        if ended.is_none() && start.elapsed() >= load.duration {
            stop.send_replace(true);
            while senders.join_next().await.is_some() {}
            ended = Some(Instant::now());
        }
        // The node may have been stopped for a while.
        let _ = confirmations.update(targets, &shared).await;
        let so_far = with(&shared, |seen| seen.progress());
        progress(so_far);
        let is_late = ended.is_some_and(|ended: Instant| ended.elapsed() >= load.drain);
        if ended.is_some() && (so_far.mined == so_far.accepted || is_late) {
            break;
        }
    }
    report(targets, &shared, load).await
}

impl Seen {
    fn progress(&self) -> Progress {
        let mined = self.accepted.values().filter(|it| it.height.is_some()).count();
        Progress { submitted: self.submitted, accepted: self.accepted.len(), mined }
    }
}

async fn report(targets: &Targets, shared: &Shared, load: Load) -> Result<Report> {
    let unmined: Vec<String> = with(shared, |seen| {
        let unmined = seen.accepted.iter().filter(|(_, it)| it.height.is_none());
        unmined.map(|(id, _)| id.clone()).collect()
    });
    let (mut pending, mut lost, mut unknown, mut mined_since) = (0, 0, 0, 0);
    for id in &unmined {
        match status_anywhere(targets, id).await {
            Some(Status::Confirmed) => mined_since += 1,
            Some(Status::Pending | Status::Queued) => pending += 1,
            Some(Status::Dropped) => lost += 1,
            None => unknown += 1,
        }
    }
    Ok(with(shared, |seen| {
        let mined: Vec<Duration> = seen.accepted.values().filter_map(|it| it.mined).collect();
        Report {
            submitted: seen.submitted,
            accepted: seen.accepted.len(),
            failed: seen.failed,
            mined: seen.progress().mined + mined_since,
            pending,
            lost,
            unknown,
            accepted_per_second: seen.accepted.len() as f64 / load.duration.as_secs_f64(),
            accept_ms: Percentiles::of(&seen.accept),
            mine_ms: Percentiles::of(&mined),
            first_error: seen.first_error.clone(),
        }
    }))
}

/// The best status of a transaction among the nodes. It counts as dropped if no node knows it, and has
/// none if one that may know it does not respond.
async fn status_anywhere(targets: &Targets, id: &str) -> Option<Status> {
    let (mut waiting, mut is_silent) = (None, false);
    for client in &targets.clients {
        let transaction = match client.get(&["transactions", id]).await {
            Ok(response) => response.json::<Transaction>(),
            Err(error) => Err(error),
        };
        match transaction.map(|it| it.status) {
            Ok(Status::Confirmed) => return Some(Status::Confirmed),
            Ok(Status::Dropped) => {}
            Ok(status) => waiting = Some(status),
            Err(error) => {
                let error = error.downcast_ref::<ApiError>();
                is_silent |= !error.is_some_and(ApiError::is_not_found);
            }
        }
    }
    waiting.or((!is_silent).then_some(Status::Dropped))
}

/// The key of a sending account: the same in each run, so that accounts are funded once.
fn key(params: &Params, account: usize) -> SecretKey {
    let mut seed = b"chain testnet load".to_vec();
    seed.extend(params.genesis_hash().as_bytes());
    seed.extend(account.to_le_bytes());
    SecretKey::from_seed(sha256(&seed))
}

struct Account {
    key: SecretKey,
    nonce: u64,
}

/// A connection to a node, with the accounts whose transfers it submits.
struct Sender {
    client: Client,
    params: Params,
    accounts: Vec<Account>,
    rate: f64,
    shared: Shared,
}

impl Sender {
    async fn run(mut self, start: Instant, mut stopped: watch::Receiver<bool>) {
        let (mut sent, mut next) = (0_usize, 0_usize);
        let mut next_request = start;
        while !*stopped.borrow() {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // not negative
            let due = (start.elapsed().as_secs_f64() * self.rate) as usize;
            let most = MAX_BATCH.min(self.accounts.len());
            let count = due.saturating_sub(sent).min(most);
            let is_early = count < most && Instant::now() < next_request;
            if count == 0 || is_early {
                let wait = Duration::from_secs_f64((1.0 / self.rate).clamp(0.001, 0.05));
                let wait = wait.max(next_request.saturating_duration_since(Instant::now()));
                tokio::select! {
                    () = sleep(wait) => {}
                    _ = stopped.changed() => {}
                }
                continue;
            }
            next_request = Instant::now() + REQUEST_INTERVAL;
            let indices: Vec<usize> =
                (0..count).map(|it| (next + it) % self.accounts.len()).collect();
            next = (next + count) % self.accounts.len();
            sent += count;
            self.submit(&indices).await;
        }
    }

    /// Submits a transfer of each of some accounts.
    async fn submit(&mut self, indices: &[usize]) {
        let recipient = self.accounts[indices[0]].key.public_key().address();
        let transfers: Vec<Transfer> = indices
            .iter()
            .map(|index| {
                let Account { key, nonce } = &self.accounts[*index];
                sign(&self.params, key, *nonce, recipient, AMOUNT)
            })
            .collect();
        let at = Instant::now();
        let response = submit(&self.client, &transfers).await;
        let elapsed = at.elapsed();
        with(&self.shared, |seen| seen.submitted += transfers.len());
        let problems = match response {
            Ok(problems) => problems,
            Err(error) => vec![Some(format!("{error:#}")); transfers.len()],
        };
        for ((index, transfer), problem) in indices.iter().zip(&transfers).zip(problems) {
            match problem {
                None => {
                    self.accounts[*index].nonce += 1;
                    let id = transfer.id().to_string();
                    with(&self.shared, |seen| {
                        seen.accept.push(elapsed);
                        let height = seen.in_blocks.get(&id).copied();
                        let mined = height.map(|_| Duration::ZERO);
                        let accepted = Accepted { at: Instant::now(), height, mined };
                        seen.accepted.insert(id, accepted);
                    });
                }
                Some(problem) => {
                    with(&self.shared, |seen| {
                        seen.failed += 1;
                        seen.first_error.get_or_insert(problem);
                    });
                    self.resume(*index).await;
                }
            }
        }
    }

    /// Requests the next nonce of an account after a failure, which may or may not have used one.
    async fn resume(&mut self, index: usize) {
        let address = self.accounts[index].key.public_key().address();
        match account(&self.client, &self.params, &address).await {
            Ok(account) => self.accounts[index].nonce = account.next_nonce,
            // The node does not run, perhaps.
            Err(_) => sleep(Duration::from_millis(200)).await,
        }
    }
}

fn sign(params: &Params, key: &SecretKey, nonce: u64, recipient: Address, amount: u64) -> Transfer {
    let payment = Payment { nonce, recipient, amount, fee: FEE, memo: Memo::default() };
    Transfer::sign(payment, key, params.genesis_hash())
}

/// Submits transfers to a node: for each, why it was rejected.
async fn submit(client: &Client, transfers: &[Transfer]) -> Result<Vec<Option<String>>> {
    let batch: Vec<Value> =
        transfers.iter().map(|it| json!({ "hex": hex::encode(it.encode()) })).collect();
    let batch = Value::from(batch).to_string();
    let path = ["transactions", "batch"];
    let results: Vec<Value> = client.post(&path, "application/json", batch).await?.json()?;
    ensure!(results.len() == transfers.len(), "the node responded to some transfers only");
    let problem = |result: &Value| result.get("problem").map(|it| it["detail"].to_string());
    Ok(results.iter().map(problem).collect())
}

async fn account(client: &Client, params: &Params, address: &Address) -> Result<AccountResponse> {
    client.get(&["accounts", &address.encode(params.hrp())]).await?.json()
}

/// Gives each account coins unless it has some: the next nonce of each.
async fn fund(targets: &Targets, keys: &[SecretKey]) -> Result<Vec<u64>> {
    let (client, params) = (targets.first(), &targets.params);
    let mut poor = Vec::new();
    for key in keys {
        let address = key.public_key().address();
        if account(client, params, &address).await?.pending_balance < BALANCE / 2 {
            poor.push(address);
        }
    }
    if !poor.is_empty() {
        give(targets, &poor).await?;
    }
    let start = Instant::now();
    let mut nonces = Vec::new();
    for key in keys {
        let address = key.public_key().address();
        loop {
            let account = account(client, params, &address).await?;
            if account.spendable >= BALANCE / 2 {
                nonces.push(account.next_nonce);
                break;
            }
            let seconds = FUNDING_LIMIT.as_secs();
            ensure!(
                start.elapsed() < FUNDING_LIMIT,
                "no block has confirmed the funding of the accounts in {seconds} s: does a node mine?"
            );
            sleep(POLL).await;
        }
    }
    Ok(nonces)
}

/// Pays each address from the accounts that own coins in the genesis block.
async fn give(targets: &Targets, addresses: &[Address]) -> Result<()> {
    let (client, params) = (targets.first(), &targets.params);
    let mut by_payer: BTreeMap<u32, Vec<Address>> = BTreeMap::new();
    for (payer, address) in (0..FUNDED_ACCOUNTS).cycle().zip(addresses) {
        by_payer.entry(payer).or_default().push(*address);
    }
    for (payer, addresses) in by_payer {
        let key = dev_account(payer);
        let account = account(client, params, &key.public_key().address()).await?;
        let needed = (BALANCE + FEE).saturating_mul(addresses.len() as u64);
        ensure!(
            account.spendable >= needed,
            "the accounts with coins of the genesis block own too few on network {}",
            params.name()
        );
        let transfers: Vec<Transfer> = (account.next_nonce..)
            .zip(addresses)
            .map(|(nonce, address)| sign(params, &key, nonce, address, BALANCE))
            .collect();
        for batch in transfers.chunks(MAX_BATCH) {
            if let Some(problem) = submit(client, batch).await?.into_iter().flatten().next() {
                bail!("cannot fund the accounts of the load: {problem}");
            }
        }
    }
    Ok(())
}

/// The blocks of the best chain since the start of a load.
struct Confirmations {
    /// Hashes by height from the tip at the start on.
    hashes: BTreeMap<u32, String>,
}

impl Confirmations {
    fn new(tip: &Chain) -> Confirmations {
        Confirmations { hashes: BTreeMap::from([(tip.height, tip.tip.clone())]) }
    }

    /// Reads new blocks of the node with the highest tip; those that a reorganisation has disconnected
    /// do not count any more.
    async fn update(&mut self, targets: &Targets, shared: &Shared) -> Result<()> {
        let mut best: Option<(u32, &Client)> = None;
        for client in &targets.clients {
            let Ok(response) = client.get(&["chain"]).await else { continue };
            let height = response.json::<Chain>()?.height;
            if best.is_none_or(|(other, _)| height > other) {
                best = Some((height, client));
            }
        }
        let (tip, client) = best.context("no node responds")?;
        while let Some((&height, hash)) = self.hashes.last_key_value() {
            if height >= tip {
                break;
            }
            let block = block(client, height + 1).await?;
            if block.summary.previous != *hash {
                self.disconnect(client, shared, height).await?;
                continue;
            }
            if let Transactions::Ids(ids) = &block.transactions {
                with(shared, |seen| {
                    for id in ids {
                        seen.in_blocks.insert(id.clone(), height + 1);
                        if let Some(accepted) = seen.accepted.get_mut(id) {
                            accepted.height = Some(height + 1);
                            accepted.mined.get_or_insert(accepted.at.elapsed());
                        }
                    }
                });
            }
            self.hashes.insert(height + 1, block.summary.hash);
        }
        Ok(())
    }

    /// Forgets the last block, which is not in the best chain any more.
    async fn disconnect(&mut self, client: &Client, shared: &Shared, height: u32) -> Result<()> {
        ensure!(height > 0, "a node has another genesis block");
        if self.hashes.len() == 1 {
            // The fork is before the start of the load, and the blocks since then may confirm transfers.
            let base = height.saturating_sub(REREAD_BLOCKS);
            self.hashes.insert(base, block(client, base).await?.summary.hash);
        }
        self.hashes.remove(&height);
        with(shared, |seen| {
            seen.in_blocks.retain(|_, found| *found != height);
            let ids = seen.accepted.values_mut();
            ids.filter(|it| it.height == Some(height)).for_each(|it| it.height = None);
        });
        Ok(())
    }
}

async fn block(client: &Client, height: u32) -> Result<BlockResponse> {
    client.get(&["blocks", &height.to_string()]).await?.json()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_sorted_durations() {
        assert_eq!(Percentiles::of(&[]), Percentiles::default());
        let durations: Vec<Duration> = (1..=200).rev().map(Duration::from_millis).collect();
        let expected = Percentiles { p50: 100, p90: 180, p99: 198, max: 200 };
        assert_eq!(Percentiles::of(&durations), expected);
        let one = Percentiles { p50: 7, p90: 7, p99: 7, max: 7 };
        assert_eq!(Percentiles::of(&[Duration::from_millis(7)]), one);
    }

    #[test]
    fn accounts_differ_and_are_the_same_in_each_run() {
        let params = Params::dev();
        let address = |account| key(&params, account).public_key().address();
        assert_eq!(address(1), address(1));
        assert_ne!(address(1), address(2));
    }
}
