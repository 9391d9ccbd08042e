//! `chain block ID`: a block.

use super::node::block_on;
use super::output::{self, Rows, ago, coins, print_lines};
use crate::api::routes::blocks::{BlockResponse, Transactions};
use crate::client::NodeArgs;
use anyhow::Result;

/// Show a block
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Height, hash or `tip`
    #[arg(default_value = "tip")]
    id: String,
    #[command(flatten)]
    node: NodeArgs,
}

pub fn run(args: &Args, json: bool) -> Result<()> {
    let get = async || args.node.connect(None).await?.get(&["blocks", &args.id]).await;
    let response = block_on(get())?;
    output::print(&response, json, |BlockResponse { summary: block, transactions, .. }| {
        let chain = match block.in_best_chain {
            true => format!("best chain, {} confirmations", block.confirmations),
            false => "side branch".to_owned(),
        };
        Rows::new()
            .row("hash", block.hash)
            .row("height", block.height)
            .row("chain", chain)
            .row("previous", block.previous)
            .row("time", format!("{} ({})", block.time, ago(block.time.into())))
            .row("difficulty", format!("{} (bits {})", block.difficulty, block.bits))
            .row("size", format!("{} bytes", block.size))
            .row("miner", block.miner)
            .row("reward", format!("{}, fees {}", coins(block.reward), coins(block.fees)))
            .row("transactions", block.transaction_count)
            .print()?;
        let ids: Vec<_> = match transactions {
            Transactions::Ids(ids) => ids,
            Transactions::Full(whole) => {
                whole.into_iter().map(|transaction| transaction.id).collect()
            }
        };
        print_lines(&ids.iter().map(|id| format!("  {id}")).collect::<Vec<_>>())
    })
}
