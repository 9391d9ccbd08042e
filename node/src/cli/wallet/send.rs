//! `chain wallet send`: signs a transfer in this process and submits it to a node. The network is that
//! of the recipient's address or of `--network`, never the one that the node reports: a signature is
//! valid on that network only, whichever node receives it.
//!
//! Each signed transfer is on disk before it is submitted, and stays there until it is confirmed. While
//! the outcome of one is uncertain, the user decides whether a further one is the same payment. From
//! reading the nonce to the answer of the node a command holds the lock of the wallet.

mod args;
mod fee;
mod session;

pub use args::Args;

use super::super::node::block_on;
use super::super::output::{self, Rows, label, print_line};
use super::super::tx::{self, SignedTransfer};
use crate::api::routes::transactions::Transaction;
use crate::client::{Client, Response};
use crate::wallet::{self, Lock, SentTransfer};
use anyhow::{Context, Result, bail};
use args::AmountArg;
use chain::address::Address;
use chain::tx::{MIN_TRANSFER_BYTES, Payment};
use chain::{Params, Transfer};
use fee::{FeeRequest, NodeRates};
use session::Session;
use std::io::{self, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;
use tokio::sync::oneshot;

pub fn run(args: &Args, json: bool) -> Result<()> {
    let params = args.node.network_params(args.to.as_deref())?;
    let decode = |to: &String| {
        Address::decode_for(to, params.hrp()).with_context(|| format!("address `{to}`"))
    };
    let recipient = args.to.as_ref().map(decode).transpose()?;
    let path = args.wallet.path()?;
    if args.sign_only {
        return sign_only(args, &params, recipient, json);
    }
    block_on(async {
        let client = args.node.connect_to(&params).await?;
        // Before the lock: a prompt must not keep other commands waiting.
        let key = args.wallet.open()?.account(args.account.index);
        let lock = lock(&path).await?;
        let session = Session::new(args, &params, &client, &path, key);
        let (sent, response) = session.send(recipient).await?;
        if !json {
            show_accepted(&response)?;
        }
        if !args.wait {
            if json {
                output::print(&response, json, |_: Transaction| Ok(()))?;
            }
            io::stdout().flush()?;
            // Only now: a user who saw no result must not pay again unnoticed.
            return session.finish(&sent);
        }
        let running = session.await_confirmation(&sent)?;
        drop(lock);
        let confirmed = confirm(args, &client, &sent).await?;
        output::print(&confirmed, json, |transaction: Transaction| {
            let block = transaction.block.zip(transaction.height);
            let block = block.map(|(hash, height)| format!("{hash}, height {height}"));
            Rows::new().row_if("block", block).print()
        })?;
        io::stdout().flush()?;
        session.finish(&sent)?;
        drop(running);
        session.remove_wait_lock(&sent);
        Ok(())
    })
}

/// Signs a transfer with the nonce and fee of the flags, and prints it for `chain tx send` and the API.
fn sign_only(args: &Args, params: &Params, recipient: Option<Address>, json: bool) -> Result<()> {
    let recipient = recipient.context("--to is missing")?;
    let Some(AmountArg::Exactly(amount)) = args.amount else {
        bail!("--sign-only needs an exact --amount: the balance is not known");
    };
    let nonce = args.nonce.context("--nonce is missing")?;
    let memo = args.memo.clone().unwrap_or_default();
    let bytes = u64::try_from(MIN_TRANSFER_BYTES.saturating_add(memo.as_bytes().len()))?;
    let (fee, max_fee) = (args.fee, args.max_fee);
    let request = FeeRequest { fee, max_fee, bytes, known_min: None, replaced: None };
    let fee = request.decide(NodeRates::default())?.units();
    let key = args.wallet.open()?.account(args.account.index);
    let payment = Payment { nonce, recipient, amount: amount.units(), fee, memo };
    let transfer = Transfer::sign(payment, &key, params.genesis_hash());
    let (id, hex) = (transfer.id().to_string(), hex::encode(transfer.encode()));
    match json {
        true => print_line(&serde_json::json!({ "id": id, "hex": hex }).to_string())?,
        false => print_line(&hex)?,
    }
    Ok(())
}

fn show_accepted(response: &Response) -> Result<()> {
    let transaction: Transaction = response.json()?;
    let rows = Rows::new().row("id", &transaction.id).row("status", label(&transaction.status));
    Ok(rows.row_if("detail", transaction.detail).print()?)
}

/// Waits for the confirmation. An error leaves the outcome uncertain.
async fn confirm(args: &Args, client: &Client, sent: &SentTransfer) -> Result<Response> {
    let id = sent.transfer.id().to_string();
    let timeout = Duration::from_secs(args.timeout.into());
    let signed = SignedTransfer { transfer: &sent.transfer, replaces: sent.replaces };
    let confirmed = tx::wait(client, &id, 1, timeout, Some(signed)).await;
    confirmed.with_context(|| {
        format!("transfer {id} was submitted (the next `chain wallet send` needs --again or --new)")
    })
}

/// Takes the lock of the wallet, in turn with other commands.
async fn lock(wallet: &Path) -> Result<Lock> {
    let path = wallet::send_lock_path(wallet);
    if let Some(lock) = Lock::try_acquire(&path)? {
        return Ok(lock);
    }
    let _ = writeln!(io::stderr(), "waiting for another `chain wallet send` of this wallet");
    let (reply, locked) = oneshot::channel();
    // Not on the runtime, whose end would wait for it.
    thread::Builder::new()
        .name("wallet-lock".to_owned())
        .spawn(move || reply.send(Lock::acquire(&path)))
        .context("cannot start a thread")?;
    Ok(locked.await.context("cannot lock the wallet")??)
}
