//! `chain mine`: mines for an address. A job of the node on this machine, if one runs and lets us;
//! for a node elsewhere with the threads of this process; otherwise with a node in this process.

mod args;
mod balance;
mod embedded;
mod job;
mod remote;

use super::node::{block_on, stop_signal};
use crate::config::network;
use crate::wallet::mnemonic::Length;
use crate::wallet::{Index, Mnemonic, Wallet};
use anyhow::{Context, Result};
use chain::{Address, Params};
use std::io::{self, Write};
use zeroize::Zeroizing;

pub use args::Args;
pub use job::follow;

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let params = match (args.node.network(), &args.miner) {
        (Some(network), _) => network::load(network)?,
        (None, Some(miner)) => network::of_address(miner)?,
        (None, None) => network::load(network::DEFAULT)?,
    };
    let miner = match &args.miner {
        Some(text) => {
            Address::decode_for(text, params.hrp()).with_context(|| format!("--miner {text}"))?
        }
        None => wallet_address(args, &params)?,
    };
    block_on(async {
        let mut stop = std::pin::pin!(stop_signal()?);
        let Some(client) = args.node.find(&params).await? else {
            return embedded::mine(args, &params, miner, &mut stop).await;
        };
        let steered = match args.node.has_url() || args.kernel.is_some() {
            true => None,
            false => args.node.with_token(client.clone(), Some(&params)).ok(),
        };
        match steered {
            Some(client) => job::mine(&client, args, &params, miner, &mut stop).await,
            None => remote::mine(&client, args, &params, miner, &mut stop).await,
        }
    })
}

/// The first account of the wallet; a wallet is made if there is none.
fn wallet_address(args: &Args, params: &Params) -> Result<Address> {
    let path = args.wallet.path()?;
    if path.exists() {
        return args.wallet.address(Index::default(), &args.password);
    }
    let mnemonic = Mnemonic::generate(Length::Twelve, getrandom::fill)?;
    let phrase = Zeroizing::new(mnemonic.phrase().to_string());
    let password = args.password.new_one_or_none()?;
    let wallet = match &password {
        Some(password) => Wallet::create(&path, mnemonic, password)?,
        None => Wallet::create_unprotected(&path, mnemonic)?,
    };
    let address = wallet.address(Index::default());
    let mut out = io::stderr().lock();
    writeln!(out, "made a wallet: {}", path.display())?;
    writeln!(out, "its words, the only other copy of its keys: {}", *phrase)?;
    if password.is_none() {
        writeln!(out, "it has no password: whoever can read the file can spend what it holds")?;
    }
    writeln!(out, "its address: {}", address.encode(params.hrp()))?;
    Ok(address)
}
