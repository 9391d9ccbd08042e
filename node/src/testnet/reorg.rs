//! Causing a reorganisation on one node: it is partitioned off and mines a branch; once the other nodes have
//! mined more work, the partition is healed and the node switches to their branch.

use super::process::Process;
use super::topology::NodeNumber;
use super::{Testnet, miner_addresses, partition};
use crate::api::routes::chain::Chain;
use crate::auth::Token;
use crate::client::Client;
use crate::mining::source::remote::RemoteSource;
use crate::mining::{self, MiningConfig};
use anyhow::{Context, Result, anyhow, ensure};
use chain::Address;
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

/// Time limit of the other nodes to mine more work, and of the node to switch branches.
const LIMIT: Duration = Duration::from_secs(600);
pub(super) const POLL: Duration = Duration::from_millis(100);

/// A reorganisation that was caused.
#[derive(Debug, serde::Serialize)]
pub struct Reorganisation {
    /// Name of the node.
    pub node: String,
    /// Height of the last common block.
    pub fork_height: u32,
    /// Number of disconnected blocks.
    pub depth: u32,
    /// Hash of the last disconnected block.
    pub old_tip: String,
    /// Hash of the new tip.
    pub new_tip: String,
}

pub(super) async fn chain(client: &Client) -> Result<Chain> {
    client.get(&["chain"]).await?.json()
}

/// Whether a chain has more work: hexadecimal digits of fixed length compare as numbers.
fn is_heavier(one: &Chain, other: &Chain) -> bool {
    one.chain_work > other.chain_work
}

/// Makes a node that does not mine disconnect a number of blocks. Reports each step. Every node must
/// run; the partition is healed after a failure, too, if possible.
pub async fn cause(
    testnet: &Testnet,
    node: NodeNumber,
    depth: u32,
    mut report: impl FnMut(&str),
) -> Result<Reorganisation> {
    let manifest = testnet.manifest();
    ensure!(
        manifest.node(node).miner.is_none(),
        "{node} mines and would not stop at {depth} blocks: name a node that does not mine"
    );
    // The partition may separate the others, too: the miners' branch counts.
    let others = || manifest.numbers().filter(|other| *other != node);
    let other = others().find(|other| manifest.node(*other).miner.is_some()).or(others().next());
    let other = other.context("a reorganisation needs two nodes: `chain testnet up --nodes 2`")?;
    report(&format!("partitioning {node} off"));
    partition::cut(testnet, &[node]).await?;
    let outmined = async {
        let client = client(testnet, node)?;
        let fork = chain(&client).await?;
        report(&format!("mining {depth} blocks on {node} above height {}", fork.height));
        mine(testnet, client.clone(), depth).await?;
        let left = chain(&client).await?;
        outmine(testnet, other, &left, depth, &mut report).await?;
        Ok::<_, anyhow::Error>((client, fork, left))
    };
    let outmined = tokio::select! {
        outmined = outmined => outmined,
        error = until_one_does_not_run(testnet, [node, other]) => Err(error),
    };
    report("healing the partition");
    partition::heal(testnet).await?;
    let (client, fork, left) = outmined?;
    let switched = until(node, || async {
        let tip = chain(&client).await?;
        Ok(Some(tip).filter(|tip| is_heavier(tip, &left)))
    });
    let new_tip = switched.await?.tip;
    let depth = left.height.saturating_sub(fork.height);
    let (node, old_tip) = (node.to_string(), left.tip);
    Ok(Reorganisation { node, fork_height: fork.height, depth, old_tip, new_tip })
}

/// Waits until one of two nodes does not run, which would be waited for without an end.
async fn until_one_does_not_run(testnet: &Testnet, nodes: [NodeNumber; 2]) -> anyhow::Error {
    loop {
        for number in nodes {
            match Process::find(&testnet.directory().node(number)) {
                Ok(Some(process)) if !process.is_paused() => {}
                Ok(_) => return anyhow!("{number} does not run any more, or is paused"),
                Err(error) => return error,
            }
        }
        sleep(POLL).await;
    }
}

/// Waits until the side of a node has more work; mines there if no node of the testnet mines.
async fn outmine(
    testnet: &Testnet,
    other: NodeNumber,
    left: &Chain,
    depth: u32,
    report: &mut impl FnMut(&str),
) -> Result<()> {
    let client = client(testnet, other)?;
    let manifest = testnet.manifest();
    if manifest.miners() == 0 || manifest.generation.is_enabled() {
        report(&format!("mining {} blocks on {other}", depth + 1));
        return mine(testnet, client, depth + 1).await;
    }
    report("waiting until the others have more work");
    let heavier = until(other, || async {
        let tip = chain(&client).await?;
        Ok(is_heavier(&tip, left).then_some(()))
    });
    heavier.await
}

/// A client of a node, with its token.
fn client(testnet: &Testnet, node: NodeNumber) -> Result<Client> {
    let client = Client::new(&testnet.manifest().node(node).api_url())?;
    Ok(client.with_token(Token::read(&testnet.directory().node(node))?))
}

/// Mines a number of blocks for a node, with one thread of this process, or by the node itself if its
/// blocks derive from a seed.
async fn mine(testnet: &Testnet, client: Client, blocks: u32) -> Result<()> {
    if testnet.is_deterministic() {
        let miner = miner(testnet)?.encode(testnet.params().hrp());
        let body = json!({ "blocks": blocks, "miner": miner });
        client.create(&["dev", "generate"], &body, LIMIT).await?;
        return Ok(());
    }
    let goal = MiningConfig {
        miner: miner(testnet)?,
        blocks: Some(blocks),
        kernel: None,
        pause: Duration::ZERO,
    };
    let (progress, _) = watch::channel(None);
    let (_threads, one_thread) = watch::channel(1);
    // The channel has room for all blocks, so it need not be drained.
    let (found, _receiver) = mpsc::channel(blocks.max(1) as usize);
    let source = RemoteSource::new(client, testnet.params().hrp());
    mining::mine(source, goal, one_thread, found, progress).await.map(drop)
}

/// An address of the testnet's wallet that no node mines for: two miners of one address could find
/// the same block.
pub(super) fn miner(testnet: &Testnet) -> Result<Address> {
    let count = testnet.manifest().miners() + 1;
    let all = miner_addresses(testnet.directory(), count, testnet.params())?;
    let last = all.last().context("there is at least one address")?;
    Ok(Address::decode_for(last, testnet.params().hrp())?)
}

/// Polls until there is a value.
pub(super) async fn until<T, F: Future<Output = Result<Option<T>>>>(
    node: NodeNumber,
    mut poll: impl FnMut() -> F,
) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = poll().await? {
            return Ok(found);
        }
        ensure!(
            start.elapsed() < LIMIT,
            "{node} has not reached this state in ten minutes: see its log"
        );
        sleep(POLL).await;
    }
}
