//! `chain testnet reorg`: reorganisations on all nodes or on one, and double-spends.

use super::args::{lock_testnet, notice};
use crate::cli::node::{block_on, stop_signal};
use crate::cli::output::short;
use crate::testnet::replace::{self, Changes};
use crate::testnet::{Directory, Testnet, reorg};
use anyhow::{Context, Result, bail};
use chain::tx::{self, Transfer};
use serde::Serialize;
use std::io::{self, Write};

/// Replace the last blocks on every node
///
/// A branch is mined away from the nodes, with the transfers of the blocks that it replaces except for
/// the changes of --drop and --replace, and submitted to the nodes once it has more work.
///
/// With NODE only that node reorganises: it is disconnected and mines a branch; once the other nodes
/// have more work, all are reconnected.
#[derive(Debug, clap::Args)]
pub struct Reorg {
    /// Node that does not mine, to reorganise alone
    #[arg(value_name = "NODE")]
    node: Option<String>,
    /// Number of blocks to disconnect
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    depth: u32,
    /// Leave a transfer out of the branch, and remove it from the mempools (repeatable)
    #[arg(long, value_name = "ID", value_parser = parse_id, conflicts_with = "node")]
    drop: Vec<tx::Id>,
    /// Signed transfer that takes the place of one with its sender and nonce (repeatable)
    #[arg(long, value_name = "HEX", value_parser = parse_transfer, conflicts_with = "node")]
    replace: Vec<Transfer>,
}

fn parse_id(text: &str) -> Result<tx::Id, String> {
    text.parse().map_err(|_| "a transaction id is 64 hexadecimal digits".to_owned())
}

fn parse_transfer(text: &str) -> Result<Transfer, String> {
    let bytes = hex::decode(text).map_err(|_| "expected hexadecimal digits".to_owned())?;
    Transfer::decode(&bytes).map_err(|error| format!("not a signed transfer: {error}"))
}

impl Reorg {
    pub fn run(self, directory: &Directory, json: bool) -> Result<()> {
        let (_claim, testnet) = lock_testnet(directory)?;
        // Whatever was paused or partitioned for it is restored when it is interrupted.
        block_on(async {
            tokio::select! {
                done = self.cause(&testnet, json) => done,
                () = stop_signal()? => bail!("interrupted: `chain testnet heal` reconnects all nodes"),
            }
        })
    }

    async fn cause(self, testnet: &Testnet, json: bool) -> Result<()> {
        let Reorg { node, depth, drop, replace } = self;
        let Some(name) = node else {
            let changes = Changes { drop, replace };
            let done = replace::last_blocks(testnet, depth, &changes, notice).await?;
            return if json { print_json(&done) } else { print(&done) };
        };
        let [node] = testnet.manifest().select(std::slice::from_ref(&name))?[..] else {
            bail!("a reorganisation is caused on one node, or without a name on all: name one");
        };
        let done = reorg::cause(testnet, node, depth, notice).await?;
        if json {
            return print_json(&done);
        }
        let (depth, height) = (done.depth, done.fork_height);
        let (old, new) = (short(&done.old_tip), short(&done.new_tip));
        writeln!(
            io::stdout(),
            "{node} disconnected {depth} blocks above height {height}: tip {old} was replaced by {new}"
        )?;
        Ok(())
    }
}

fn print_json(done: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(done).context("the result as JSON")?;
    writeln!(io::stdout(), "{text}")?;
    Ok(())
}

fn print(done: &replace::Replacement) -> Result<()> {
    let (depth, height, connected) = (done.depth, done.fork_height, done.connected);
    let (old, new) = (short(&done.old_tip), short(&done.new_tip));
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{} nodes reorganised, depth {depth}: {connected} blocks above height {height}, tip {old} was \
         replaced by {new}",
        done.nodes.len()
    )?;
    for id in &done.dropped {
        writeln!(out, "transfer {id} was dropped")?;
    }
    for (id, by) in &done.replaced {
        writeln!(out, "transfer {id} was replaced by {by}")?;
    }
    for id in &done.left_out {
        writeln!(out, "transfer {id} is invalid on the new branch")?;
    }
    Ok(())
}
