//! `chain tx`: submit a signed transfer, show a transaction, wait for it. Does not sign.

use super::node::block_on;
use super::output::{self, Rows, coins, label, print_line};
use crate::api::routes::transactions::{Status, Transaction};
use crate::api::routes::transfer::Fields;
use crate::client::{ApiError, Client, NodeArgs, Response, Submission, printable};
use anyhow::{Context, Result, bail, ensure};
use chain::Transfer;
use std::fs;
use std::io::{self, Read};
use std::time::{Duration, Instant};

/// Time for which the node may delay a response; a longer wait needs several requests.
const LONG_POLL: Duration = Duration::from_secs(30);
/// Shortest time between two requests.
const POLL: Duration = Duration::from_secs(1);
/// Most bytes of a signed transfer in any form: 401 bytes are 802 digits, JSON is a little longer.
const MAX_INPUT: u64 = 16_384;

/// Send and show transactions, wait for confirmations
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Send a signed transfer
    Send {
        /// Hexadecimal digits, a file with them or with JSON, or - for stdin
        #[arg(value_name = "HEX|FILE")]
        source: String,
        #[command(flatten)]
        node: NodeArgs,
    },
    /// Show a transaction
    Show {
        /// Transaction id
        id: String,
        #[command(flatten)]
        node: NodeArgs,
    },
    /// Wait until a transaction is confirmed
    ///
    /// Exits with 1 if the node drops the transaction, or on a timeout.
    Wait {
        /// Transaction id
        id: String,
        /// Number of confirmations; 1 is a transaction in the tip
        #[arg(long, value_name = "N", default_value_t = 1)]
        #[arg(value_parser = clap::value_parser!(u32).range(1..))]
        confirmations: u32,
        /// Timeout in seconds
        #[arg(long, value_name = "SECONDS", default_value_t = 600)]
        timeout: u32,
        #[command(flatten)]
        node: NodeArgs,
    },
}

pub fn run(args: Args, json: bool) -> Result<()> {
    block_on(async {
        match args.command {
            Command::Send { source, node } => send(&source, &node, json).await,
            Command::Show { id, node } => {
                let response = node.connect(None).await?.get(&["transactions", &id]).await?;
                print(&response, json)
            }
            Command::Wait { id, confirmations, timeout, node } => {
                let client = node.connect(None).await?;
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
    let client = node.connect(None).await?;
    let response = match client.submit(&["transactions"], &[], media_type, body).await {
        Submission::Accepted(response) => response,
        Submission::Rejected(error) => return Err(error.into()),
        Submission::NotSent(error) => return Err(error),
        Submission::Unknown(error) => {
            bail!("{error:#}: the transfer may have arrived; sending the same one again is safe")
        }
    };
    output::print(&response, json, |transaction: Transaction| print_line(&transaction.id))
}

/// Reads a transfer from digits, a file or stdin.
fn read(source: &str) -> Result<String> {
    let is_hex = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hex(source) {
        return Ok(source.to_owned());
    }
    let mut text = String::new();
    let limit = MAX_INPUT.saturating_add(1);
    let read = match source {
        "-" => io::stdin().take(limit).read_to_string(&mut text),
        path => fs::File::open(path).and_then(|file| file.take(limit).read_to_string(&mut text)),
    };
    read.with_context(|| format!("cannot read a signed transfer from {source}"))?;
    let text = text.trim();
    ensure!(
        text.len() as u64 <= MAX_INPUT && (text.starts_with('{') || is_hex(text)),
        "{source} holds no signed transfer: neither hexadecimal digits nor a JSON object"
    );
    Ok(text.to_owned())
}

/// A signed transfer, and whether it may replace another one.
#[derive(Clone, Copy, Debug)]
pub struct SignedTransfer<'a> {
    /// The transfer.
    pub transfer: &'a Transfer,
    /// Whether it may replace another transfer of the same sender and nonce.
    pub replaces: bool,
}

impl SignedTransfer<'_> {
    /// Submits the transfer.
    pub async fn submit(self, client: &Client) -> Submission {
        let body = hex::encode(self.transfer.encode());
        let query: &[_] = if self.replaces { &[] } else { &[("replace", "false")] };
        client.submit(&["transactions"], query, "text/plain", body).await
    }
}

/// Waits until a transaction has a number of confirmations, by long polling. After a switch to
/// another node, which may not know the transaction, `signed` is submitted to that one.
pub async fn wait(
    client: &Client,
    id: &str,
    confirmations: u32,
    timeout: Duration,
    signed: Option<SignedTransfer<'_>>,
) -> Result<Response> {
    let (start, first_node) = (Instant::now(), client.current());
    let mut has_switched = false;
    let wanted = confirmations.to_string();
    loop {
        let sent = Instant::now();
        let wait = timeout.saturating_sub(start.elapsed()).min(LONG_POLL);
        let seconds = wait.as_secs().to_string();
        let query = [("wait", "confirmed"), ("confirmations", &*wanted), ("timeout", &*seconds)];
        let response = client.get_with(&["transactions", id], &query, wait).await;
        // The first node, too, may have lost the transaction when it is used again.
        has_switched |= client.current() != first_node;
        let response = match response {
            Err(error) if has_switched && is_unknown(&error) && start.elapsed() < timeout => {
                if let Some(signed) = signed {
                    let submission = signed.submit(client).await;
                    if let Submission::Rejected(error) = submission {
                        return Err(error.into());
                    }
                }
                tokio::time::sleep(POLL).await;
                continue;
            }
            response => response?,
        };
        let transaction: Transaction = response.json()?;
        match transaction.status {
            Status::Confirmed if transaction.confirmations >= confirmations => return Ok(response),
            Status::Dropped => {
                let reason = transaction.reason.as_deref().unwrap_or("unknown reason");
                bail!("the node dropped the transaction: {}", printable(reason));
            }
            _ => {}
        }
        if start.elapsed() >= timeout {
            let (seconds, status) = (timeout.as_secs(), label(&transaction.status));
            match &transaction.detail {
                Some(why) => {
                    bail!("not confirmed after {seconds} s: it is {status}, {}", printable(why))
                }
                None => {
                    let depth = transaction.confirmations;
                    bail!("not confirmed after {seconds} s: it is {status}, {depth} confirmations");
                }
            }
        }
        if sent.elapsed() < POLL {
            tokio::time::sleep(POLL).await;
        }
    }
}

fn is_unknown(error: &anyhow::Error) -> bool {
    error.downcast_ref::<ApiError>().is_some_and(|error| error.code == "not-found")
}

/// Prints a transaction.
pub fn print(response: &Response, json: bool) -> Result<()> {
    output::print(response, json, |transaction: Transaction| {
        let status = match transaction.status {
            Status::Confirmed => format!("confirmed, {} confirmations", transaction.confirmations),
            status => label(&status),
        };
        let rows = Rows::new()
            .row("id", transaction.id)
            .row("status", status)
            .row_if("reason", transaction.reason)
            .row_if("detail", transaction.detail)
            .row_if("block", transaction.block)
            .row_if("height", transaction.height);
        match transaction.body.map(|body| body.fields) {
            None => rows,
            Some(Fields::Coinbase { recipient, reward, .. }) => {
                rows.row("recipient", recipient).row("reward", coins(reward))
            }
            Some(Fields::Transfer { sender, recipient, amount, fee, nonce, memo, .. }) => rows
                .row("sender", sender)
                .row("recipient", recipient)
                .row("amount", coins(amount))
                .row("fee", coins(fee))
                .row("nonce", nonce)
                .row_if("memo", memo.filter(|memo| !memo.is_empty())),
        }
        .print()
    })
}
