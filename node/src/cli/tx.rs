//! `chain tx`: send a signed transfer, look at a transaction, wait for it. Signing is the wallet's.

use super::node::block_on;
use super::output::{self, Rows, coins};
use crate::client::{ApiError, Client, NodeArgs, Response, printable};
use anyhow::{Context, Result, bail, ensure};
use chain::Transfer;
use serde::Deserialize;
use std::fs;
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

/// How long one question waits for its answer; a longer wait asks again.
const HOLD: Duration = Duration::from_secs(30);
/// The pause between questions to a node that does not hold its answers.
const PAUSE: Duration = Duration::from_secs(1);
/// Most bytes of a signed transfer in any form: 401 bytes take 802 digits, JSON a little more.
const MAX_INPUT: u64 = 16_384;

/// Send, show and await transactions
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Send a transfer that is signed already
    Send {
        /// Hexadecimal digits, or a file with them or with JSON, or - for stdin
        #[arg(value_name = "HEX|FILE")]
        source: String,
        #[command(flatten)]
        node: NodeArgs,
    },
    /// Show a transaction
    Show {
        /// Its id
        id: String,
        #[command(flatten)]
        node: NodeArgs,
    },
    /// Wait until a transaction is confirmed
    ///
    /// The exit code is 1 if the node drops it, or if the time is over.
    Wait {
        /// Its id
        id: String,
        /// So many blocks deep; 1 is in the tip
        #[arg(long, value_name = "N", default_value_t = 1)]
        #[arg(value_parser = clap::value_parser!(u32).range(1..))]
        confirmations: u32,
        /// Most seconds to wait
        #[arg(long, value_name = "SECONDS", default_value_t = 600)]
        timeout: u32,
        #[command(flatten)]
        node: NodeArgs,
    },
}

/// What the node says of a transaction, the fields of both kinds included.
#[derive(Deserialize)]
struct Transaction {
    id: String,
    status: String,
    reason: Option<String>,
    block: Option<String>,
    height: Option<u32>,
    #[serde(default)]
    confirmations: i64,
    sender: Option<String>,
    recipient: Option<String>,
    amount: Option<u64>,
    reward: Option<u64>,
    fee: Option<u64>,
    nonce: Option<u64>,
    memo: Option<String>,
}

/// Runs the command.
pub fn run(args: Args, json: bool) -> Result<()> {
    block_on(async {
        match args.command {
            Command::Send { source, node } => send(&source, &node, json).await,
            Command::Show { id, node } => {
                let answer = node.connect().await?.get(&["transactions", &id]).await?;
                print(&answer, json)
            }
            Command::Wait { id, confirmations, timeout, node } => {
                let client = node.connect().await?;
                let timeout = Duration::from_secs(timeout.into());
                print(&wait(&client, &id, confirmations, timeout, None).await?, json)
            }
        }
    })
}

async fn send(source: &str, node: &NodeArgs, json: bool) -> Result<()> {
    let body = read(source)?;
    let media_type = match body.starts_with('{') {
        true => "application/json",
        false => "text/plain",
    };
    let answer = node.connect().await?.post(&["transactions"], media_type, body).await?;
    if json {
        return Ok(output::json(&answer)?);
    }
    let transaction: Transaction = answer.read()?;
    writeln!(io::stdout(), "{}", printable(&transaction.id))?;
    Ok(())
}

/// The transfer: given in digits, in a file, or on stdin.
fn read(source: &str) -> Result<String> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if digits(source) {
        return Ok(source.to_owned());
    }
    let mut text = String::new();
    let most = MAX_INPUT.saturating_add(1);
    let read = match source {
        "-" => io::stdin().take(most).read_to_string(&mut text),
        path => fs::File::open(path).and_then(|file| file.take(most).read_to_string(&mut text)),
    };
    read.with_context(|| format!("cannot read a signed transfer from {source}"))?;
    let text = text.trim();
    ensure!(
        text.len() as u64 <= MAX_INPUT && (text.starts_with('{') || digits(text)),
        "{source} holds no signed transfer: neither hexadecimal digits nor a JSON object"
    );
    Ok(text.to_owned())
}

/// Sends a transfer.
pub async fn hand_in(client: &Client, transfer: &Transfer) -> Result<Response> {
    client.post(&["transactions"], "text/plain", hex::encode(transfer.encode())).await
}

/// Asks until a transaction is deep enough; the node holds each answer for a while. A node that is
/// asked because another one is away may not know the transaction yet; a transfer that is at hand
/// is then sent to it.
pub async fn wait(
    client: &Client,
    id: &str,
    confirmations: u32,
    timeout: Duration,
    transfer: Option<&Transfer>,
) -> Result<Response> {
    let (begun, at) = (Instant::now(), client.at());
    let mut has_moved = false;
    let deep_enough = confirmations.to_string();
    loop {
        let asked = Instant::now();
        let hold = timeout.saturating_sub(begun.elapsed()).min(HOLD);
        let seconds = hold.as_secs().to_string();
        let query =
            [("wait", "confirmed"), ("confirmations", &*deep_enough), ("timeout", &*seconds)];
        let answer = client.get_within(&["transactions", id], &query, hold).await;
        // Also the first may have lost it when it is its turn again.
        has_moved |= client.at() != at;
        let answer = match answer {
            Err(error) if has_moved && is_unknown(&error) && begun.elapsed() < timeout => {
                if let Some(transfer) = transfer {
                    hand_in(client, transfer).await?;
                }
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            answer => answer?,
        };
        let transaction: Transaction = answer.read()?;
        let status = printable(&transaction.status);
        match &*status {
            "confirmed" if transaction.confirmations >= i64::from(confirmations) => {
                return Ok(answer);
            }
            "dropped" => {
                let reason =
                    transaction.reason.as_deref().map_or("no reason given".into(), printable);
                bail!("the node dropped the transaction: {reason}");
            }
            _ => {}
        }
        if begun.elapsed() >= timeout {
            let depth = transaction.confirmations;
            let seconds = timeout.as_secs();
            bail!("not confirmed after {seconds} s: it is {status}, {depth} blocks deep");
        }
        if asked.elapsed() < PAUSE {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn is_unknown(error: &anyhow::Error) -> bool {
    error.downcast_ref::<ApiError>().is_some_and(|refused| refused.code == "not-found")
}

fn print(answer: &Response, json: bool) -> Result<()> {
    if json {
        return Ok(output::json(answer)?);
    }
    let transaction: Transaction = answer.read()?;
    let status = match transaction.status.as_str() {
        "confirmed" => format!("confirmed, {} blocks deep", transaction.confirmations),
        status => status.to_owned(),
    };
    Rows::new()
        .row("id", transaction.id)
        .row("status", status)
        .row_if("reason", transaction.reason)
        .row_if("block", transaction.block)
        .row_if("height", transaction.height)
        .row_if("sender", transaction.sender)
        .row_if("recipient", transaction.recipient)
        .row_if("amount", transaction.amount.map(coins))
        .row_if("reward", transaction.reward.map(coins))
        .row_if("fee", transaction.fee.map(coins))
        .row_if("nonce", transaction.nonce)
        .row_if("memo", transaction.memo.filter(|memo| !memo.is_empty()))
        .print()?;
    Ok(())
}
