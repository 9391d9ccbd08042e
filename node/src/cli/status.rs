//! `chain status`: the state of a node.

use super::node::block_on;
use super::output::{self, Rows, ago, coins, duration, human_rate, label};
use crate::api::routes::chain::{Chain, SyncState};
use crate::client::NodeArgs;
use anyhow::Result;

/// Show node status: height, tip, sync, difficulty, mempool, peers
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    node: NodeArgs,
}

/// How this machine's clock differs from those of peers.
fn clock(skew: i64) -> String {
    let direction = if skew > 0 { "behind" } else { "ahead of" };
    format!("{} {direction} the clocks of peers", duration(skew.unsigned_abs()))
}

pub fn run(args: &Args, json: bool) -> Result<()> {
    let get = async || args.node.connect(None).await?.get(&["chain"]).await;
    output::print(&block_on(get())?, json, |chain: Chain| {
        let sync = match chain.sync.state {
            SyncState::Synced => "synced".to_owned(),
            state => {
                let (best, percent) = (chain.sync.best_header_height, chain.sync.progress * 100.0);
                format!("{}: {} of {best} ({percent:.0} %)", label(&state), chain.height)
            }
        };
        Rows::new()
            .row("network", chain.network)
            .row("height", chain.height)
            .row("tip", chain.tip)
            .row("mined", ago(chain.tip_time.into()))
            .row("sync", sync)
            .row_if("mining waits", chain.waiting)
            .row_if("clock", chain.clock_skew_seconds.map(clock))
            .row("difficulty", chain.difficulty)
            .row_if("hash rate", chain.hashrate_estimate.map(human_rate))
            .row("issued", coins(chain.issued))
            .row("mempool", format!("{} ({} bytes)", chain.mempool.count, chain.mempool.bytes))
            .row("peers", chain.peers)
            .row("version", format!("{}, up {}", chain.version, duration(chain.uptime_seconds)))
            .print()
    })
}
