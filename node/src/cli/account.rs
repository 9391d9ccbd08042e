//! `chain account ADDRESS`: what an address holds.

use super::node::block_on;
use super::show::{self, Rows, coins};
use crate::client::Place;
use anyhow::Result;
use serde::Deserialize;

/// Show what an address holds
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The address
    address: String,
    #[command(flatten)]
    place: Place,
}

#[derive(Deserialize)]
struct Account {
    address: String,
    balance: u64,
    immature: u64,
    nonce: u64,
    next_nonce: u64,
    pending_balance: u64,
    transaction_count: u64,
}

/// Runs the command.
pub fn run(args: &Args, json: bool) -> Result<()> {
    block_on(async {
        let client = args.place.connect().await?;
        let answer = client.get(&["accounts", &args.address]).await?;
        if json {
            return Ok(show::json(&answer)?);
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
    })
}
