//! `chain mine`: mining for an address. By a job of the node on this machine, if one runs and its
//! token is readable; with the threads of this process for a node elsewhere; otherwise with a node in
//! this process.

mod args;
mod balance;
mod embedded;
mod job;
mod remote;

use super::node::{block_on, stop_signal};
use super::secrets;
use crate::wallet::mnemonic::Length;
use crate::wallet::{Index, Mnemonic, Wallet};
use anyhow::{Context, Result};
use chain::{Address, Params};
use std::io::{self, Write};
use zeroize::Zeroizing;

pub use args::Args;
pub use job::follow;

pub fn run(args: &Args) -> Result<()> {
    secrets::forbid_core_dumps()?;
    let params = args.node.network_params(args.miner.as_deref())?;
    let miner = match &args.miner {
        Some(text) => {
            Address::decode_for(text, params.hrp()).with_context(|| format!("--miner {text}"))?
        }
        None => wallet_address(args, &params)?,
    };
    secrets::forget_password();
    block_on(async {
        let mut stop = std::pin::pin!(stop_signal()?);
        let Some(client) = args.node.find(&params).await? else {
            return embedded::mine(args, &params, miner, &mut stop).await;
        };
        let authorized = match args.node.has_url() || args.kernel.is_some() {
            true => None,
            false => args.node.authorize(client.clone(), Some(&params)).ok(),
        };
        match authorized {
            Some(client) => job::mine(&client, args, &params, miner, &mut stop).await,
            None => remote::mine(&client, args, &params, miner, &mut stop).await,
        }
    })
}

/// The address of the first account of the wallet, which is created if there is none.
fn wallet_address(args: &Args, params: &Params) -> Result<Address> {
    let path = args.wallet.path()?;
    if path.exists() {
        return args.wallet.address(Index::default());
    }
    let mnemonic = Mnemonic::generate(Length::Twelve, getrandom::fill)?;
    let phrase = Zeroizing::new(mnemonic.phrase().to_string());
    let password = args.wallet.password.new_one_or_none()?;
    let wallet = match &password {
        Some(password) => Wallet::create(&path, mnemonic, password)?,
        None => Wallet::create_unprotected(&path, mnemonic)?,
    };
    let address = wallet.address(Index::default());
    let mut out = io::stderr().lock();
    writeln!(out, "created wallet: {}", path.display())?;
    writeln!(out, "mnemonic, the only backup of its keys: {}", *phrase)?;
    if password.is_none() {
        writeln!(out, "no password: anyone who can read the file can spend its coins")?;
    }
    writeln!(out, "address: {}", address.encode(params.hrp()))?;
    Ok(address)
}
