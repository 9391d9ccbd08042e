//! `chain verify`: verification of a data directory without a node.

use super::output::Rows;
use crate::config::{default_data, network};
use crate::mining::available_threads;
use anyhow::{Context, Result};
use chain::ledger::{self, Options, VerifyProgress};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::io::{self, Write};
use std::path::PathBuf;

/// Verify a data directory: every record, every rule from genesis on, and the index
///
/// Nothing is written to the directory, which may be read-only. The index is copied to the folder
/// for temporary files (TMPDIR).
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Data directory
    ///
    /// Default: `chain/NETWORK` in the platform's data directory.
    #[arg(long, env = "CHAIN_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// Network: main, testnet, dev or the path of a network file
    #[arg(long, env = "CHAIN_NETWORK", value_name = "NAME|FILE")]
    network: Option<String>,
}

pub fn run(args: Args, json: bool) -> Result<()> {
    let (data, params) = resolve(args)?;
    let options = Options { threads: available_threads().get(), ..Options::default() };
    let bar = ProgressBar::new(0).with_style(
        ProgressStyle::with_template("{bar:40} {pos} of {len} blocks, {per_sec}, {eta} left")
            .expect("the template is well-formed"),
    );
    let scratch = tempfile::Builder::new().prefix("chain-verify-").tempdir();
    let scratch = scratch.context("a temporary folder for a copy of the index")?;
    let verified =
        ledger::verify(&data, &params, &options, scratch.path(), &mut |progress| match progress {
            VerifyProgress::Verified { done, total } => {
                bar.set_length(total as u64);
                bar.set_position(done as u64);
            }
            note => bar.suspend(|| drop(writeln!(io::stderr(), "{note}"))),
        });
    bar.finish_and_clear();
    let verified = verified?;
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
            "unused_index": verified.unused_index,
        });
        writeln!(io::stdout(), "{value}")?;
    } else {
        let index = verified.unused_index.map_or_else(
            || "matches".to_owned(),
            |reason| format!("not compared: {reason}; the next start rebuilds it"),
        );
        Rows::new()
            .row("height", verified.height)
            .row("tip", verified.tip)
            .row("blocks", format!("{} (side branches included)", verified.blocks))
            .row("transfers", verified.transfers)
            .row("accounts", verified.accounts)
            .row("issued", format!("{} coins", verified.issued))
            .row("commitment", hex::encode(verified.commitment))
            .row("index", index)
            .row("result", "valid")
            .print()?;
    }
    Ok(())
}

/// The data directory and its network: that of the flags, otherwise the one of its genesis block.
fn resolve(args: Args) -> Result<(PathBuf, chain::Params)> {
    let network = args.network.as_deref().map(network::load).transpose()?;
    let Some(data) = args.data else {
        let params = network.map_or_else(|| network::load(network::DEFAULT), Ok)?;
        return Ok((default_data(params.name())?, params));
    };
    anyhow::ensure!(data.is_dir(), "no data directory {}", data.display());
    let params = match network {
        Some(params) => params,
        None => network::of_data(&data)?,
    };
    Ok((data, params))
}
