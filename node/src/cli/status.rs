//! `chain status`: how a node is.

use super::node::block_on;
use super::output::{self, Rows, ago, coins, duration, human_rate};
use crate::client::NodeArgs;
use anyhow::Result;
use serde::Deserialize;

/// Show how a node is: height, tip, sync, difficulty, mempool, peers
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    node: NodeArgs,
}

#[derive(Deserialize)]
struct Chain {
    network: String,
    height: u32,
    tip: String,
    tip_time: u32,
    difficulty: f64,
    issued: u64,
    hashrate_estimate: Option<f64>,
    sync: Sync,
    mempool: Mempool,
    peers: u32,
    version: String,
    uptime_seconds: u64,
}

#[derive(Deserialize)]
struct Sync {
    state: String,
    best_header_height: u32,
    progress: f64,
}

#[derive(Deserialize)]
struct Mempool {
    count: u64,
    bytes: u64,
}

/// Runs the command.
pub fn run(args: &Args, json: bool) -> Result<()> {
    block_on(async {
        let answer = args.node.connect().await?.get(&["chain"]).await?;
        if json {
            return Ok(output::json(&answer)?);
        }
        let chain: Chain = answer.read()?;
        let sync = match chain.sync.state.as_str() {
            "synced" => "synced".to_owned(),
            state => {
                let Sync { best_header_height: best, progress, .. } = chain.sync;
                format!("{state}: {} of {best} ({:.0} %)", chain.height, progress * 100.0)
            }
        };
        Rows::new()
            .row("network", chain.network)
            .row("height", chain.height)
            .row("tip", chain.tip)
            .row("mined", ago(chain.tip_time))
            .row("sync", sync)
            .row("difficulty", chain.difficulty)
            .row_if("hash rate", chain.hashrate_estimate.map(human_rate))
            .row("issued", coins(chain.issued))
            .row("mempool", format!("{} ({} bytes)", chain.mempool.count, chain.mempool.bytes))
            .row("peers", chain.peers)
            .row("version", format!("{}, up {}", chain.version, duration(chain.uptime_seconds)))
            .print()?;
        Ok(())
    })
}
