//! `chain account ADDRESS`: what an address holds.

use super::node::block_on;
use super::output::{self, Rows, coins};
use crate::client::{Client, NodeArgs};
use anyhow::Result;
use serde::Deserialize;

/// Show what an address holds
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The address
    address: String,
    #[command(flatten)]
    node: NodeArgs,
}

/// What a node says of an address. Amounts in base units.
#[derive(Debug, Deserialize)]
pub struct Account {
    address: String,
    /// What it may spend.
    pub balance: u64,
    /// Rewards it may not spend yet.
    pub immature: u64,
    nonce: u64,
    /// The nonce of its next transfer.
    pub next_nonce: u64,
    /// The balance once the mempool is mined.
    pub pending_balance: u64,
    transaction_count: u64,
}

/// Runs the command.
pub fn run(args: &Args, json: bool) -> Result<()> {
    block_on(async { print(&args.node.connect().await?, &args.address, json).await })
}

/// Shows what an address holds.
pub async fn print(client: &Client, address: &str, json: bool) -> Result<()> {
    let answer = client.get(&["accounts", address]).await?;
    if json {
        return Ok(output::json(&answer)?);
    }
    let account: Account = answer.read()?;
    let waits = (account.pending_balance != account.balance)
        .then(|| format!("{} once the mempool is mined", coins(account.pending_balance)));
    Rows::new()
        .row("address", account.address)
        .row("balance", coins(account.balance))
        .row_if("pending", waits)
        .row("immature", coins(account.immature))
        .row("nonce", format!("{}, next to use {}", account.nonce, account.next_nonce))
        .row("transactions", account.transaction_count)
        .print()?;
    Ok(())
}
