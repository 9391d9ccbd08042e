//! Making a reorganisation happen: a node is cut off and mines blocks that nobody else has, until the
//! others, who mined more meanwhile, are let at it again.

use super::topology::Number;
use super::{Testnet, addresses, partition};
use crate::client::Client;
use crate::mining::source::remote::Remote;
use crate::mining::{self, Goal};
use anyhow::{Context, Result, ensure};
use chain::Address;
use serde::Deserialize;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

/// How long the others may take to mine more, and the node to leave its branch.
const LIMIT: Duration = Duration::from_secs(600);
const POLL: Duration = Duration::from_millis(100);

/// What happened.
#[derive(Debug, serde::Serialize)]
pub struct Reorganised {
    /// The node.
    pub node: String,
    /// The height of the last block that both branches share.
    pub fork_height: u32,
    /// Blocks it left.
    pub depth: u32,
    /// The last of those.
    pub old_tip: String,
    /// The tip it had after that.
    pub new_tip: String,
}

/// What a node says of its chain.
#[derive(Deserialize)]
struct Tip {
    height: u32,
    tip: String,
    chain_work: String,
}

impl Tip {
    async fn of(client: &Client) -> Result<Tip> {
        client.get(&["chain"]).await?.json()
    }

    /// Hexadecimal digits, always as many.
    fn is_heavier_than(&self, other: &Tip) -> bool {
        self.chain_work > other.chain_work
    }
}

/// Makes a node that does not mine by itself leave so many blocks. `tell` hears of each step. Every
/// node must run; whatever goes wrong, the testnet is one again afterwards if it can be.
pub async fn make(
    testnet: &Testnet,
    node: Number,
    depth: u32,
    mut tell: impl FnMut(&str),
) -> Result<Reorganised> {
    let plan = testnet.plan();
    ensure!(
        plan.node(node).miner.is_none(),
        "{node} mines, and would not stop at {depth} blocks: name a node that does not"
    );
    let other = plan.numbers().find(|other| *other != node);
    let other = other.context("a reorganisation takes two nodes: `chain testnet up --nodes 2`")?;
    tell(&format!("cutting {node} off"));
    partition::cut(testnet, &[node]).await?;
    let outgrown = async {
        let client = Client::new(&plan.node(node).api_url())?;
        let fork = Tip::of(&client).await?;
        tell(&format!("mining {depth} blocks on {node} from height {} on", fork.height));
        mine(testnet, client.clone(), depth).await?;
        let left = Tip::of(&client).await?;
        outgrow(testnet, other, &left, depth, &mut tell).await?;
        Ok::<_, anyhow::Error>((client, fork, left))
    };
    let outgrown = outgrown.await;
    tell("connecting all again");
    partition::heal(testnet).await?;
    let (client, fork, left) = outgrown?;
    let taken = until(node, || async {
        let tip = Tip::of(&client).await?;
        Ok(Some(tip).filter(|tip| tip.is_heavier_than(&left)))
    });
    let new_tip = taken.await?.tip;
    let depth = left.height.saturating_sub(fork.height);
    let (node, old_tip) = (node.to_string(), left.tip);
    Ok(Reorganised { node, fork_height: fork.height, depth, old_tip, new_tip })
}

/// Waits until the side of a node has more work; mines there if nobody else does.
async fn outgrow(
    testnet: &Testnet,
    other: Number,
    left: &Tip,
    depth: u32,
    tell: &mut impl FnMut(&str),
) -> Result<()> {
    let client = Client::new(&testnet.plan().node(other).api_url())?;
    if testnet.plan().miners() == 0 {
        tell(&format!("mining {} blocks on {other}", depth + 1));
        return mine(testnet, client, depth + 1).await;
    }
    tell("waiting until the others have mined more");
    let heavier = until(other, || async {
        let tip = Tip::of(&client).await?;
        Ok(tip.is_heavier_than(left).then_some(()))
    });
    heavier.await
}

/// Mines so many blocks for a node, with one thread of this process.
async fn mine(testnet: &Testnet, client: Client, blocks: u32) -> Result<()> {
    let goal =
        Goal { miner: miner(testnet)?, blocks: Some(blocks), kernel: None, pause: Duration::ZERO };
    let (progress, _) = watch::channel(None);
    let (_crew, one_thread) = watch::channel(1);
    // There is room for all, so nobody needs to listen before the end.
    let (finding, _finds) = mpsc::channel(blocks.max(1) as usize);
    let source = Remote::new(client, testnet.params().hrp());
    mining::mine(source, goal, one_thread, finding, progress).await.map(drop)
}

/// An address of the testnet's wallet that no node mines for: two nodes that mine for the same one
/// could find the same block.
fn miner(testnet: &Testnet) -> Result<Address> {
    let count = testnet.plan().miners() + 1;
    let all = addresses(testnet.folder(), count, testnet.params())?;
    let last = all.last().context("there is one address at least")?;
    Ok(Address::decode_for(last, testnet.params().hrp())?)
}

/// Looks until there is something.
async fn until<T, F: Future<Output = Result<Option<T>>>>(
    node: Number,
    mut look: impl FnMut() -> F,
) -> Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        ensure!(begun.elapsed() < LIMIT, "{node} has not got that far in ten minutes: see its log");
        sleep(POLL).await;
    }
}
