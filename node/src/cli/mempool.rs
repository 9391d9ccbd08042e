//! `chain mempool`: the transfers that are not in a block yet.

use super::node::block_on;
use super::output::{self, Rows};
use crate::api::routes::mempool::Pool;
use crate::client::NodeArgs;
use anyhow::Result;

/// Show the size and the minimum fee rate of the mempool
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    node: NodeArgs,
}

pub fn run(args: &Args, json: bool) -> Result<()> {
    let get = async || args.node.connect(None).await?.get(&["mempool"]).await;
    output::print(&block_on(get())?, json, |mempool: Pool| {
        Rows::new()
            .row("transactions", format!("{} ({} bytes)", mempool.count, mempool.bytes))
            .row("queued", format!("{} wait for an earlier nonce", mempool.queued))
            .row("minimum fee", format!("{} base units per byte", mempool.min_fee_rate))
            .print()
    })
}
