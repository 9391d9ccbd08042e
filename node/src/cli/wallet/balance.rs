//! `chain wallet balance [ADDRESS]`: the balance of a wallet account, or of any address.

use super::super::account;
use super::super::node::block_on;
use super::args::{AccountArgs, WalletArgs};
use crate::api::routes::chain::Parameters;
use crate::client::{Client, NodeArgs};
use anyhow::{Context, Result};
use chain::address::Hrp;

/// Show the spendable, pending and immature balance of an account
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Address [default: that of the wallet account]
    #[arg(conflicts_with_all = ["name", "index"])]
    address: Option<String>,
    #[command(flatten)]
    wallet: WalletArgs,
    #[command(flatten)]
    account: AccountArgs,
    #[command(flatten)]
    node: NodeArgs,
}

pub fn run(args: &Args, json: bool) -> Result<()> {
    block_on(async {
        let client = args.node.connect(args.address.as_deref()).await?;
        let address = match &args.address {
            Some(address) => address.clone(),
            None => {
                let own = args.wallet.address(args.account.index)?;
                own.encode(hrp(&client).await?)
            }
        };
        account::print(&client, &address, json).await
    })
}

/// The address prefix of the node's network; a key has an address on each network.
async fn hrp(client: &Client) -> Result<Hrp> {
    let Parameters { hrp, .. } = client.get(&["chain", "params"]).await?.json()?;
    Hrp::new(&hrp).context("the node reports an invalid address prefix")
}
