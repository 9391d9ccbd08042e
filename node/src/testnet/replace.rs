//! Replacing the last blocks on every node: a branch is mined away from the nodes, and submitted to them
//! once it has more work. Transfers of the replaced blocks can be left out or replaced, as by the sender
//! of a double-spend.

use super::Testnet;
use super::branch::{Branch, PlannedBlock, block_at};
use super::process::Process;
use super::reorg::{POLL, chain, miner, until};
use super::topology::NodeNumber;
use crate::api::routes::blocks::Summary;
use crate::api::routes::chain::Chain;
use crate::api::routes::transactions::{Status, Transaction};
use crate::auth::Token;
use crate::client::Client;
use anyhow::{Context, Result, bail, ensure};
use chain::tx::{self, Transaction as BlockTransaction, Transfer};
use chain::{Block, Params};
use futures_util::future::try_join_all;
use reqwest::Method;
use rustix::process::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Time limit of removing a transfer from a mempool.
const LIMIT: Duration = Duration::from_secs(30);
/// Time limit until all nodes have one tip: a tie lasts until the next block.
const AGREEMENT_LIMIT: Duration = Duration::from_secs(60);
/// Time limit of gaining on the nodes, which continue to mine between two blocks of the branch.
const MINING_LIMIT: Duration = Duration::from_secs(600);

/// The changes of the transfers on the new branch.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// The transfers to leave out, and to remove from the mempools.
    pub drop: Vec<tx::Id>,
    /// Transfers that take the places of those with their senders and nonces.
    pub replace: Vec<Transfer>,
}

/// The last blocks that were replaced on every node.
#[derive(Debug, serde::Serialize)]
pub struct Replacement {
    /// Names of the nodes, all of which reorganised.
    pub nodes: Vec<String>,
    /// Height of the last common block.
    pub fork_height: u32,
    /// Number of disconnected blocks.
    pub depth: u32,
    /// Number of connected blocks.
    pub connected: u32,
    /// Hash of the last disconnected block.
    pub old_tip: String,
    /// Hash of the last block of the new branch.
    pub new_tip: String,
    /// Transfers that were left out and removed from the mempools.
    pub dropped: Vec<String>,
    /// Transfers that were replaced, by their replacements.
    pub replaced: BTreeMap<String, String>,
    /// Transfers that became invalid on the new branch.
    pub left_out: Vec<String>,
}

/// Replaces the last `depth` blocks on every node; all nodes must run and have one tip. Reports each
/// step.
pub async fn last_blocks(
    testnet: &Testnet,
    depth: u32,
    changes: &Changes,
    mut report: impl FnMut(&str),
) -> Result<Replacement> {
    let clients = clients(testnet)?;
    let first = clients.values().next().context("a testnet has nodes")?;
    let old = common_tip(&clients, &mut report).await?;
    let fork_height = old.height.checked_sub(depth).with_context(|| {
        format!("the chain has only {} blocks: use a smaller --depth", old.height)
    })?;
    let mut replaced_blocks = Vec::new();
    for height in fork_height + 1..=old.height {
        replaced_blocks.push(block_at(first, height).await?);
    }
    let mut plan = Plan::new(&replaced_blocks, changes, testnet.params())?;
    report(&format!("mining a branch of {} blocks above height {fork_height}", depth + 1));
    let miner = miner(testnet)?;
    let required = changes.replace.iter().map(Transfer::id).collect();
    // Every branch has extra nonces of its own, so that none is a branch of before.
    let seed = testnet.manifest().seed.filter(|_| testnet.is_deterministic());
    let extra_nonce = seed.map(|seed| seed.number(&format!("branch {}", old.tip)));
    let params = testnet.params();
    let mut branch =
        Branch::start(first, params, fork_height, miner, required, extra_nonce).await?;
    let last_time = replaced_blocks.last().context("the depth is 1 at least")?.header.time;
    let extra = || vec![PlannedBlock { time: last_time, transfers: Vec::new() }];
    plan.blocks.extend(extra());
    let (mut blocks, mut next) = (Vec::new(), std::mem::take(&mut plan.blocks));
    let start = Instant::now();
    let mut old = old;
    // The nodes may find further blocks while the branch is mined, and before it arrives.
    let new_tip = loop {
        let paused = Paused::miners(testnet)?;
        blocks.extend(branch.mine(next).await?);
        drop(paused);
        let work = branch.chain_work()?;
        let tip = chain(first).await?;
        if !blocks.iter().any(|block| block.hash().to_string() == tip.tip) {
            old = tip;
        }
        if work > old.chain_work {
            report("submitting the branch");
            match adopt(&clients, &blocks, &work).await? {
                Adoption::Everywhere(tip) => break tip,
                Adoption::Outmined(tip) => old = *tip,
            }
        }
        ensure!(
            start.elapsed() < MINING_LIMIT,
            "the nodes have found blocks faster than the branch for ten minutes: stop the miners outside the testnet"
        );
        report("the nodes have found as much work meanwhile: mining one more block");
        next = extra();
    };
    for id in &changes.drop {
        remove_everywhere(&clients, &id.to_string()).await?;
    }
    Ok(Replacement {
        nodes: clients.keys().map(NodeNumber::to_string).collect(),
        fork_height,
        depth: old.height.saturating_sub(fork_height),
        connected: u32::try_from(blocks.len())?,
        old_tip: old.tip,
        new_tip,
        dropped: changes.drop.iter().map(ToString::to_string).collect(),
        replaced: plan.replaced,
        left_out: branch.left_out().iter().map(ToString::to_string).collect(),
    })
}

/// Clients of all nodes, with their tokens.
type Clients = BTreeMap<NodeNumber, Client>;

/// Clients of all nodes, which must run.
fn clients(testnet: &Testnet) -> Result<Clients> {
    let all: Vec<NodeNumber> = testnet.manifest().numbers().collect();
    let running = testnet.processes(&all)?;
    let mut clients = Clients::new();
    for number in all {
        let process = running.iter().find(|(running, _)| *running == number);
        let (_, process) = process.with_context(|| {
            format!("{number} must run for this: start all nodes with `chain testnet up`")
        })?;
        ensure!(
            !process.is_paused(),
            "{number} must run for this: continue it with `chain testnet resume {number}`"
        );
        let client = Client::new(&testnet.manifest().node(number).api_url())?;
        let token = Token::read(&testnet.directory().node(number))?;
        clients.insert(number, client.with_token(token));
    }
    Ok(clients)
}

/// The tip that all nodes have; waits for a common one while blocks are on their way.
async fn common_tip(clients: &Clients, mut report: impl FnMut(&str)) -> Result<Chain> {
    let start = Instant::now();
    let mut is_reported = false;
    loop {
        // All again: nodes that mine have left the tip that one of them had a moment ago.
        let mut chains = try_join_all(clients.values().map(chain)).await?;
        if chains.windows(2).all(|two| two[0].tip == two[1].tip) {
            return chains.pop().context("a testnet has nodes");
        }
        ensure!(
            start.elapsed() < AGREEMENT_LIMIT,
            "the nodes have had several tips for {} s: `chain testnet heal` ends a partition",
            AGREEMENT_LIMIT.as_secs()
        );
        if !std::mem::replace(&mut is_reported, true) {
            report("waiting until all nodes have one tip");
        }
        sleep(POLL).await;
    }
}

/// The blocks of the branch, and what they replace.
struct Plan {
    blocks: Vec<PlannedBlock>,
    replaced: BTreeMap<String, String>,
}

impl Plan {
    /// The replaced blocks with the changes.
    fn new(replaced_blocks: &[Block], changes: &Changes, params: &Params) -> Result<Plan> {
        let mut replaced = BTreeMap::new();
        let (mut dropped, mut used) = (BTreeSet::new(), BTreeSet::new());
        let mut blocks = Vec::new();
        for block in replaced_blocks {
            let mut transfers = Vec::new();
            for transaction in &block.transactions {
                let BlockTransaction::Transfer(transfer) = transaction else { continue };
                let id = transfer.id();
                if changes.drop.contains(&id) {
                    dropped.insert(id);
                    continue;
                }
                let replacement = changes.replace.iter().find(|replacement| {
                    (replacement.sender, replacement.nonce) == (transfer.sender, transfer.nonce)
                });
                if let Some(replacement) = replacement {
                    used.insert(replacement.id());
                    replaced.insert(id.to_string(), replacement.id().to_string());
                }
                transfers.push(replacement.unwrap_or(transfer).clone());
            }
            blocks.push(PlannedBlock { time: block.header.time, transfers });
        }
        let depth = replaced_blocks.len();
        for id in &changes.drop {
            ensure!(
                dropped.contains(id),
                "transfer {id} is not in the last {depth} blocks: use a greater --depth"
            );
        }
        for replacement in &changes.replace {
            ensure!(
                used.contains(&replacement.id()),
                "no transfer in the last {depth} blocks has nonce {} of {}: use a greater --depth",
                replacement.nonce,
                replacement.sender_address().encode(params.hrp())
            );
        }
        Ok(Plan { blocks, replaced })
    }
}

/// Whether a branch became the best chain.
#[derive(Debug)]
enum Adoption {
    /// It did on every node. The hash of its tip.
    Everywhere(String),
    /// The chain of a node has as much work or more. A tie would last as long as the nodes mine on
    /// their own tip.
    Outmined(Box<Chain>),
}

/// Submits a branch of a certain work to every node, since the connections of nodes that were paused
/// may have to be established again; waits until each has it or has a chain that prevents it.
async fn adopt(clients: &Clients, blocks: &[Block], work: &str) -> Result<Adoption> {
    for client in clients.values() {
        submit(client, blocks).await?;
    }
    let new_tip = blocks.last().context("the branch has blocks")?.hash().to_string();
    for (number, client) in clients {
        let outmined = until(*number, || async {
            // Read before the block: if the branch is not in the best chain after it, this chain is another.
            let chain = chain(client).await?;
            let block = client.get(&["blocks", &new_tip]).await;
            let block = block.and_then(|response| response.json::<Summary>());
            Ok(match block.is_ok_and(|block| block.in_best_chain) {
                true => Some(None),
                false => (chain.chain_work.as_str() >= work).then_some(Some(chain)),
            })
        });
        if let Some(chain) = outmined.await? {
            return Ok(Adoption::Outmined(Box::new(chain)));
        }
    }
    Ok(Adoption::Everywhere(new_tip))
}

/// Submits the blocks of the branch to a node, which may know them from another one by now.
async fn submit(client: &Client, blocks: &[Block]) -> Result<()> {
    for block in blocks {
        let body = hex::encode(block.encode());
        client.post(&["blocks"], "text/plain", body).await?;
    }
    Ok(())
}

/// Removes a transfer, which returned when its block was disconnected, from the mempools.
async fn remove_everywhere(clients: &Clients, id: &str) -> Result<()> {
    for (number, client) in clients {
        until(*number, || async {
            let response = client.get(&["transactions", id]).await?;
            match response.json::<Transaction>()?.status {
                Status::Dropped => Ok(Some(())),
                Status::Confirmed => bail!("transfer {id} was mined again before it was removed"),
                Status::Pending | Status::Queued => {
                    let path = ["mempool", "transactions", id];
                    // It may just have left the mempool.
                    let _ = client.send_once(Method::DELETE, &path, None, LIMIT).await;
                    Ok(None)
                }
            }
        })
        .await?;
    }
    Ok(())
}

/// Mining nodes whose processes are paused until this is dropped: the branch could not gain on them
/// otherwise, since they share the processors.
struct Paused(Vec<Process>);

impl Paused {
    fn miners(testnet: &Testnet) -> Result<Paused> {
        let manifest = testnet.manifest();
        let mut paused = Paused(Vec::new());
        if testnet.params().spec().fixed_difficulty {
            return Ok(paused);
        }
        let miners = manifest.numbers().filter(|number| manifest.node(*number).miner.is_some());
        let miners: Vec<NodeNumber> = miners.collect();
        for (number, process) in testnet.processes(&miners)? {
            process.signal(Signal::STOP).with_context(|| number.to_string())?;
            paused.0.push(process);
        }
        Ok(paused)
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        for process in &self.0 {
            // One that has ended needs nothing.
            let _ = process.signal(Signal::CONT);
        }
    }
}
