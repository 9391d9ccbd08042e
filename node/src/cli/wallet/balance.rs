//! `chain wallet balance [ADDRESS]`: what an account of a wallet holds, or any address.

use super::super::account;
use super::super::node::block_on;
use super::super::password::PasswordSource;
use super::args::{AccountArgs, WalletArgs};
use crate::client::{Client, NodeArgs};
use anyhow::{Context, Result};
use chain::address::Hrp;
use serde::Deserialize;

/// Show what an account holds: what it may spend, what is pending, what is immature
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The address
    ///
    /// Default: that of the wallet's account.
    #[arg(conflicts_with_all = ["name", "index"])]
    address: Option<String>,
    #[command(flatten)]
    wallet: WalletArgs,
    #[command(flatten)]
    account: AccountArgs,
    #[command(flatten)]
    password: PasswordSource,
    #[command(flatten)]
    node: NodeArgs,
}

/// Runs the command.
pub fn run(args: &Args, json: bool) -> Result<()> {
    block_on(async {
        let client = args.node.connect().await?;
        let address = match &args.address {
            Some(address) => address.clone(),
            None => {
                let own = args.wallet.address(args.account.index, &args.password)?;
                own.encode(hrp(&client).await?)
            }
        };
        account::print(&client, &address, json).await
    })
}

/// What addresses start with on the node's network: a key has one on each.
async fn hrp(client: &Client) -> Result<Hrp> {
    #[derive(Deserialize)]
    struct Parameters {
        hrp: String,
    }
    let Parameters { hrp } = client.get(&["chain", "params"]).await?.read()?;
    Hrp::new(&hrp).context("the node's network has addresses that this program does not know")
}
