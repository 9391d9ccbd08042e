//! When blocks arrive at nodes, and their reorganisations, from the event streams of the nodes.

use crate::client::Client;
use crate::testnet::Testnet;
use crate::testnet::directory::Directory;
use crate::testnet::topology::NodeNumber;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::sleep;

/// Maximum number of blocks whose arrivals are retained.
const MAX_BLOCKS: usize = 200;
/// Blocks more than this below the highest one are not added: a node that catches up reports them, and
/// would displace those of the others.
const MAX_DEPTH: u32 = 100;
/// Maximum number of different reorganisations that are retained.
const MAX_REORGS: usize = 500;
/// Pause before a stream that has ended is opened again.
const PAUSE: Duration = Duration::from_secs(1);

/// What the streams have reported so far. A clone is another handle of the same.
#[derive(Clone, Debug, Default)]
pub struct Arrivals {
    seen: Arc<Mutex<Seen>>,
}

#[derive(Debug, Default)]
struct Seen {
    /// The nodes whose streams are followed.
    followed: BTreeSet<NodeNumber>,
    /// Newest last.
    blocks: VecDeque<BlockArrivals>,
    /// Newest last.
    reorgs: VecDeque<NodeReorg>,
}

/// A block, and when each node reported it.
#[derive(Clone, Debug, Serialize)]
pub struct BlockArrivals {
    hash: String,
    height: u32,
    miner: String,
    /// Unix milliseconds by node.
    arrivals: BTreeMap<NodeNumber, u64>,
}

/// A reorganisation of one node or several.
#[derive(Clone, Debug, Serialize)]
pub struct NodeReorg {
    /// Unix seconds at the first of the nodes.
    time: u64,
    #[serde(flatten)]
    reorg: Reorg,
    nodes: BTreeSet<NodeNumber>,
}

#[derive(Debug, Deserialize)]
struct Connected {
    hash: String,
    height: u32,
    miner: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Reorg {
    fork_height: u32,
    depth: u32,
    connected: u32,
    old_tip: String,
    new_tip: String,
}

impl Arrivals {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows the streams of nodes that are not followed yet, as long as the runtime lives.
    pub fn follow(&self, directory: &Directory, nodes: impl Iterator<Item = NodeNumber>) {
        for node in nodes {
            if !self.seen().followed.insert(node) {
                continue;
            }
            // Blocks from now on, and all reorganisations that the node retains.
            for (topic, last) in [("block.connected", None), ("reorg", Some(0))] {
                let (all, directory) = (self.clone(), directory.clone());
                tokio::spawn(async move { all.follow_topic(&directory, node, topic, last).await });
            }
        }
    }

    async fn follow_topic(
        &self,
        directory: &Directory,
        node: NodeNumber,
        topic: &str,
        mut last: Option<u64>,
    ) {
        loop {
            // The port of a node may have changed while it was stopped.
            let url = Testnet::read(directory)
                .ok()
                .and_then(|testnet| Some(testnet.manifest().nodes.get(node.index())?.api_url()));
            if let Some(client) = url.and_then(|url| Client::new(&url).ok())
                && let Ok(mut stream) = client.events(&[("topics", topic)], last).await
            {
                while let Ok(Some(event)) = stream.next().await {
                    if event.event == "reset" {
                        // Older events are gone: from the first retained one on.
                        last = serde_json::from_str::<Value>(&event.data)
                            .ok()
                            .and_then(|reset| reset["oldest"].as_u64())
                            .map(|oldest| oldest.saturating_sub(1));
                        break;
                    }
                    last = last.map(|_| event.id);
                    self.record(node, topic, &event.data);
                }
            }
            sleep(PAUSE).await;
        }
    }

    fn record(&self, node: NodeNumber, topic: &str, data: &str) {
        if topic == "reorg" {
            #[derive(Deserialize)]
            struct Timed {
                time: u64,
                #[serde(flatten)]
                reorg: Reorg,
            }
            if let Ok(Timed { time, reorg }) = serde_json::from_str(data) {
                self.seen().add_reorg(node, time, reorg);
            }
        } else if let Ok(block) = serde_json::from_str(data) {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
            self.seen().add_block(node, now, block);
        }
    }

    /// The newest blocks first.
    pub fn blocks(&self, count: usize) -> Vec<BlockArrivals> {
        self.seen().blocks.iter().rev().take(count).cloned().collect()
    }

    /// The newest reorganisations first.
    pub fn reorgs(&self, count: usize) -> Vec<NodeReorg> {
        let mut all: Vec<NodeReorg> = self.seen().reorgs.iter().rev().cloned().collect();
        // Nodes report theirs of the past one node after the other.
        all.sort_by_key(|one| std::cmp::Reverse(one.time));
        all.truncate(count);
        all
    }
}

impl Seen {
    fn add_block(&mut self, node: NodeNumber, now: u64, block: Connected) {
        let Connected { hash, height, miner } = block;
        if let Some(known) = self.blocks.iter_mut().rev().find(|known| known.hash == hash) {
            // A block that a reorganisation connects again arrived before.
            known.arrivals.entry(node).or_insert(now);
            return;
        }
        let highest = self.blocks.iter().map(|known| known.height).max().unwrap_or_default();
        if height.saturating_add(MAX_DEPTH) < highest {
            return;
        }
        let arrivals = BTreeMap::from([(node, now)]);
        self.blocks.push_back(BlockArrivals { hash, height, miner, arrivals });
        if self.blocks.len() > MAX_BLOCKS {
            self.blocks.pop_front();
        }
    }

    fn add_reorg(&mut self, node: NodeNumber, time: u64, reorg: Reorg) {
        if let Some(known) = self.reorgs.iter_mut().rev().find(|known| known.reorg == reorg) {
            known.time = known.time.min(time);
            known.nodes.insert(node);
            return;
        }
        self.reorgs.push_back(NodeReorg { time, reorg, nodes: BTreeSet::from([node]) });
        if self.reorgs.len() > MAX_REORGS {
            self.reorgs.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> NodeNumber {
        NodeNumber::parse(name).unwrap()
    }

    fn block(height: u32) -> Connected {
        Connected { hash: format!("{height:064x}"), height, miner: "dch1".to_owned() }
    }

    #[test]
    fn first_arrival_of_a_block_counts() {
        let all = Arrivals::default();
        all.seen().add_block(node("1"), 1_000, block(7));
        all.seen().add_block(node("2"), 1_040, block(7));
        // A reorganisation connects it again.
        all.seen().add_block(node("1"), 9_000, block(7));
        let [found] = &all.blocks(5)[..] else { panic!("several blocks") };
        assert_eq!(found.arrivals, BTreeMap::from([(node("1"), 1_000), (node("2"), 1_040)]));
    }

    #[test]
    fn node_that_catches_up_does_not_displace_newer_blocks() {
        let all = Arrivals::default();
        for node in [node("1"), node("2")] {
            for number in 0..1_000 {
                all.seen().add_block(node, 5, block(number));
            }
        }
        let newest = &all.blocks(1)[0];
        assert_eq!((newest.height, newest.arrivals.len()), (999, 2));
    }

    #[test]
    fn number_of_blocks_and_reorganisations_is_limited() {
        let all = Arrivals::default();
        for number in 0..2_000 {
            all.seen().add_block(node("1"), 5, block(number));
            let data = format!(
                "{{\"number\":1,\"time\":{number},\"fork_height\":{number},\"depth\":1,\"connected\":2,\
                 \"old_tip\":\"a\",\"new_tip\":\"b\"}}"
            );
            all.record(node("1"), "reorg", &data);
            all.record(node("2"), "reorg", &data);
        }
        assert_eq!((all.blocks(9_999).len(), all.reorgs(9_999).len()), (MAX_BLOCKS, MAX_REORGS));
        let newest = &all.reorgs(1)[0];
        assert_eq!((newest.time, newest.nodes.len()), (1_999, 2));
        assert_eq!(all.blocks(1)[0].height, 1_999);
        all.record(node("1"), "reorg", "not an event");
    }
}
