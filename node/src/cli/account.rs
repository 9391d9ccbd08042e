//! `chain account ADDRESS`: the balance of an address.

use super::node::block_on;
use super::output::{self, Rows, coins};
use crate::api::routes::accounts::AccountResponse as Account;
use crate::client::{Client, NodeArgs};
use anyhow::Result;

/// Show the balance of an address
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Address to show
    address: String,
    #[command(flatten)]
    node: NodeArgs,
}

pub fn run(args: &Args, json: bool) -> Result<()> {
    block_on(async {
        let client = args.node.connect(Some(&args.address)).await?;
        print(&client, &args.address, json).await
    })
}

pub async fn print(client: &Client, address: &str, json: bool) -> Result<()> {
    let response = client.get(&["accounts", address]).await?;
    output::print(&response, json, |account: Account| {
        let pending = (account.pending_balance != account.balance)
            .then(|| format!("{} once the mempool is mined", coins(account.pending_balance)));
        Rows::new()
            .row("address", account.address)
            .row("balance", coins(account.balance))
            .row_if("pending", pending)
            .row("immature", coins(account.immature))
            .row("nonce", format!("{}, next {}", account.nonce, account.next_nonce))
            .row("transactions", account.transaction_count)
            .print()
    })
}
