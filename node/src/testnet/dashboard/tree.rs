//! The blocks of all nodes around a height, as a tree. They come from the indexes of the nodes, which
//! never forget a branch.

use crate::client::Client;
use crate::testnet::topology::NodeNumber;
use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Heights shown.
const HEIGHTS: u32 = 50;
/// Heights shown before the requested one.
const HEIGHTS_BEFORE: u32 = 10;
/// Maximum number of blocks of a branch that are read, from its tip down to the heights shown.
const MAX_STEPS: usize = 500;
/// Maximum number of side branches shown.
const MAX_BRANCHES: usize = 32;
/// Maximum number of blocks that are retained for the next request.
const MAX_CACHE: usize = 10_000;

/// A block as the nodes have it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Block {
    hash: String,
    height: u32,
    previous: String,
    miner: String,
    time: u32,
}

/// A block of the tree.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TreeBlock {
    #[serde(flatten)]
    block: Block,
    /// Whether the block is in the chain of the highest tip.
    is_best: bool,
    /// Whether it is of a branch that a node rejects.
    is_invalid: bool,
    /// The nodes whose tip it is.
    nodes: BTreeSet<NodeNumber>,
}

/// A part of the tree of blocks.
#[derive(Debug, Serialize)]
pub struct Tree {
    lowest: u32,
    highest: u32,
    blocks: Vec<TreeBlock>,
}

/// The tip of a branch, and the nodes that have it.
#[derive(Clone, Debug, Serialize)]
pub struct Branch {
    pub hash: String,
    pub height: u32,
    /// Number of blocks above the last one in a best chain.
    pub length: u32,
    pub status: String,
    pub nodes: BTreeSet<NodeNumber>,
}

/// The tip of a node's best chain.
#[derive(Clone, Debug)]
pub struct Tip {
    pub node: NodeNumber,
    pub hash: String,
    pub height: u32,
}

/// Reads blocks of the nodes, and retains them: a block never changes.
#[derive(Debug, Default)]
pub struct Blocks {
    cache: BTreeMap<String, Block>,
}

impl Blocks {
    /// The tree around a height, or that of the newest blocks.
    pub async fn tree(
        &mut self,
        around: Option<u32>,
        clients: &BTreeMap<NodeNumber, Client>,
        tips: &[Tip],
        branches: &[Branch],
    ) -> Result<Tree> {
        let Some(best) = tips.iter().max_by_key(|tip| tip.height) else {
            bail!("no node responds");
        };
        let lowest = match around {
            Some(height) => height.min(best.height).saturating_sub(HEIGHTS_BEFORE),
            None => best.height.saturating_sub(HEIGHTS - 1),
        };
        let highest = lowest.saturating_add(HEIGHTS - 1);
        let mut shown: BTreeMap<String, TreeBlock> = BTreeMap::new();
        for tip in std::iter::once(best).chain(tips) {
            let is_best = shown.is_empty();
            let start = match tip.height > highest {
                true => self.at_height(&clients[&tip.node], highest).await?,
                false => self.block(&tip.hash, clients).await?,
            };
            self.add_branch(start, (lowest, highest), clients, &mut shown, (is_best, false))
                .await?;
        }
        let overlaps = |branch: &&Branch| {
            let fork = branch.height.saturating_sub(branch.length);
            branch.height >= lowest && fork <= highest
        };
        for branch in branches.iter().filter(overlaps).take(MAX_BRANCHES) {
            // Of a branch of headers the nodes have no blocks.
            let Ok(start) = self.block(&branch.hash, clients).await else { continue };
            let kind = (false, branch.status == "invalid");
            self.add_branch(start, (lowest, highest), clients, &mut shown, kind).await?;
        }
        for tip in tips {
            if let Some(block) = shown.get_mut(&tip.hash) {
                block.nodes.insert(tip.node);
            }
        }
        Ok(Tree { lowest, highest, blocks: shown.into_values().collect() })
    }

    /// Adds the blocks of a branch from its tip down to one that is shown.
    async fn add_branch(
        &mut self,
        mut block: Block,
        (lowest, highest): (u32, u32),
        clients: &BTreeMap<NodeNumber, Client>,
        shown: &mut BTreeMap<String, TreeBlock>,
        (is_best, is_invalid): (bool, bool),
    ) -> Result<()> {
        for _ in 0..MAX_STEPS {
            if block.height < lowest || shown.contains_key(&block.hash) {
                break;
            }
            let (height, previous) = (block.height, block.previous.clone());
            if height <= highest {
                let nodes = BTreeSet::new();
                let hash = block.hash.clone();
                shown.insert(hash, TreeBlock { block, is_best, is_invalid, nodes });
            }
            if height == 0 {
                break;
            }
            block = self.block(&previous, clients).await?;
        }
        Ok(())
    }

    async fn at_height(&mut self, client: &Client, height: u32) -> Result<Block> {
        let block: Block = client.get(&["blocks", &height.to_string()]).await?.json()?;
        Ok(self.retain(block))
    }

    /// The block of a hash, from the first node that has it.
    async fn block(&mut self, hash: &str, clients: &BTreeMap<NodeNumber, Client>) -> Result<Block> {
        if let Some(known) = self.cache.get(hash) {
            return Ok(known.clone());
        }
        for client in clients.values() {
            if let Ok(response) = client.get(&["blocks", hash]).await {
                return Ok(self.retain(response.json()?));
            }
        }
        bail!("no node that responds has block {hash}")
    }

    fn retain(&mut self, block: Block) -> Block {
        if self.cache.len() >= MAX_CACHE {
            self.cache.clear();
        }
        self.cache.insert(block.hash.clone(), block.clone());
        block
    }
}
