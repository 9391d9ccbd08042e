//! `chain mempool`: what waits for a block.

use super::node::block_on;
use super::output::{self, Rows};
use crate::client::NodeArgs;
use anyhow::Result;
use serde::Deserialize;

/// Show what waits for a block
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    node: NodeArgs,
}

#[derive(Deserialize)]
struct Mempool {
    count: u64,
    bytes: u64,
    min_fee_rate: f64,
    queued: u64,
}

/// Runs the command.
pub fn run(args: &Args, json: bool) -> Result<()> {
    block_on(async {
        let answer = args.node.connect().await?.get(&["mempool"]).await?;
        if json {
            return Ok(output::json(&answer)?);
        }
        let mempool: Mempool = answer.read()?;
        Rows::new()
            .row("transactions", format!("{} ({} bytes)", mempool.count, mempool.bytes))
            .row("not ready", format!("{} wait for an earlier nonce", mempool.queued))
            .row("least fee", format!("{} base units per byte", mempool.min_fee_rate))
            .print()?;
        Ok(())
    })
}
