//! `chain block ID`: one block.

use super::node::block_on;
use super::output::{self, Rows, ago, coins};
use crate::client::{NodeArgs, printable};
use anyhow::Result;
use serde::Deserialize;
use std::io::{self, Write};

/// Show a block
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Its height, its hash, or `tip`
    #[arg(default_value = "tip")]
    id: String,
    #[command(flatten)]
    node: NodeArgs,
}

#[derive(Deserialize)]
struct Block {
    hash: String,
    height: u32,
    confirmations: i64,
    in_best_chain: bool,
    previous: String,
    time: u32,
    bits: String,
    difficulty: f64,
    size: u64,
    miner: String,
    reward: u64,
    fees: u64,
    transaction_count: u64,
    transactions: Vec<String>,
}

/// Runs the command.
pub fn run(args: &Args, json: bool) -> Result<()> {
    block_on(async {
        let client = args.node.connect().await?;
        let answer = client.get(&["blocks", &args.id]).await?;
        if json {
            return Ok(output::json(&answer)?);
        }
        let block: Block = answer.read()?;
        let chain = match block.in_best_chain {
            true => format!("in the best chain, {} confirmations", block.confirmations),
            false => "on a side branch".to_owned(),
        };
        Rows::new()
            .row("hash", block.hash)
            .row("height", block.height)
            .row("place", chain)
            .row("previous", block.previous)
            .row("time", format!("{} ({})", block.time, ago(block.time)))
            .row("difficulty", format!("{} (bits {})", block.difficulty, block.bits))
            .row("size", format!("{} bytes", block.size))
            .row("miner", block.miner)
            .row("reward", format!("{}, fees {}", coins(block.reward), coins(block.fees)))
            .row("transactions", block.transaction_count)
            .print()?;
        let mut out = io::stdout().lock();
        for id in block.transactions {
            writeln!(out, "  {}", printable(&id))?;
        }
        Ok(())
    })
}
