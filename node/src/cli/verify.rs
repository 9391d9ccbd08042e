//! `chain verify`: checks a whole data directory without a node.

use crate::config::{default_data, network};
use crate::mining::available_threads;
use anyhow::Result;
use chain::ledger::{self, Options};
use chain::mempool;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::io::{self, Write};
use std::path::PathBuf;

/// Check a whole data folder: every record, every rule from genesis on, and the index against them
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The data folder
    ///
    /// Default: the folder `chain/NETWORK` in the platform's data folder.
    #[arg(long, env = "CHAIN_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// A built-in network (main, testnet, dev) or the path of a network file
    #[arg(long, env = "CHAIN_NETWORK", value_name = "NAME|FILE")]
    network: Option<String>,
}

/// Runs the command.
pub fn run(args: Args, json: bool) -> Result<()> {
    let (data, params) = place(args)?;
    let options = Options {
        cache_bytes: 64 << 20,
        threads: available_threads().get(),
        mempool: mempool::Limits::default(),
    };
    let bar = ProgressBar::new(0).with_style(
        ProgressStyle::with_template("{bar:40} {pos} of {len} blocks, {per_sec}, {eta} left")
            .expect("the template is well-formed"),
    );
    let verified = ledger::verify(
        &data,
        params,
        options,
        &mut |notice| bar.suspend(|| drop(writeln!(io::stderr(), "{notice}"))),
        &mut |done, total| {
            bar.set_length(total.into());
            bar.set_position(done.into());
        },
    );
    bar.finish_and_clear();
    let verified = verified?;
    let mut out = io::stdout().lock();
    if json {
        let value = json!({
            "valid": true,
            "height": verified.height.get(),
            "tip": verified.tip.to_string(),
            "blocks": verified.blocks,
            "transfers": verified.transfers,
            "accounts": verified.accounts,
            "issued": verified.issued.units(),
            "commitment": hex::encode(verified.commitment),
        });
        writeln!(out, "{value}")?;
    } else {
        writeln!(out, "height      {}", verified.height)?;
        writeln!(out, "tip         {}", verified.tip)?;
        writeln!(out, "blocks      {} (side branches included)", verified.blocks)?;
        writeln!(out, "transfers   {}", verified.transfers)?;
        writeln!(out, "accounts    {}", verified.accounts)?;
        writeln!(out, "issued      {} coins", verified.issued)?;
        writeln!(out, "commitment  {}", hex::encode(verified.commitment))?;
        writeln!(out, "everything is in order")?;
    }
    Ok(())
}

/// The data folder and its network: the one named, otherwise the one whose genesis the folder has.
fn place(args: Args) -> Result<(PathBuf, chain::Params)> {
    let named = args.network.as_deref().map(network::load).transpose()?;
    let Some(data) = args.data else {
        let params = named.map_or_else(|| network::load(network::DEFAULT), Ok)?;
        return Ok((default_data(params.name())?, params));
    };
    anyhow::ensure!(data.is_dir(), "there is no data folder {}", data.display());
    let params = match named {
        Some(params) => params,
        None => network::of_data(&data)?,
    };
    Ok((data, params))
}
