//! `chain wallet send`: signs a transfer in this process and submits it to a node. The network is that
//! of the recipient's address or of `--network`, never the one that the node reports: a signature is
//! valid on that network only, whichever node receives it.

use super::super::node::block_on;
use super::super::output::{self, Rows};
use super::super::tx;
use super::args::{AccountArgs, WalletArgs};
use crate::api::routes::accounts::AccountResponse as Account;
use crate::api::routes::mempool::Rates;
use crate::api::routes::transactions::Transaction;
use crate::client::{ApiError, Client, NodeArgs, Response};
use anyhow::{Context, Error, Result, anyhow, ensure};
use chain::address::Address;
use chain::amount::{Amount, COIN};
use chain::tx::{MAX_MEMO_BYTES, MIN_TRANSFER_BYTES, Memo, Payment};
use chain::{Params, Transfer};
use std::time::Duration;

/// Highest fee to accept from a node's estimate, in base units: nodes may be wrong.
const MAX_ESTIMATED_FEE: u64 = COIN / 10;

/// Sign a transfer with a key of the wallet and submit it
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Recipient
    #[arg(long, value_name = "ADDRESS")]
    to: String,
    /// Amount, such as 1.5
    #[arg(long, value_name = "COINS", value_parser = amount)]
    amount: Amount,
    /// Fee for the miner
    ///
    /// Default: the node's estimate for the next block.
    #[arg(long, value_name = "COINS", value_parser = Amount::from_coins)]
    fee: Option<Amount>,
    /// Public text
    #[arg(long, value_name = "TEXT", value_parser = memo, default_value = "")]
    memo: Memo,
    /// Nonce; that of a pending transfer replaces it [default: the next nonce]
    #[arg(long, value_name = "N")]
    nonce: Option<u64>,
    /// Wait until the transfer is confirmed
    #[arg(long)]
    wait: bool,
    /// Timeout of --wait in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600, requires = "wait")]
    timeout: u32,
    #[command(flatten)]
    wallet: WalletArgs,
    #[command(flatten)]
    account: AccountArgs,
    #[command(flatten)]
    node: NodeArgs,
}

fn amount(text: &str) -> Result<Amount> {
    let amount = Amount::from_coins(text)?;
    ensure!(amount != Amount::ZERO, "the amount must be above zero");
    Ok(amount)
}

fn memo(text: &str) -> Result<Memo> {
    let bytes = text.len();
    Memo::new(text.into()).with_context(|| {
        format!("a memo is at most {MAX_MEMO_BYTES} bytes of UTF-8, this one is {bytes}")
    })
}

pub fn run(args: &Args, json: bool) -> Result<()> {
    let params = args.node.network_params(Some(&args.to))?;
    let recipient = Address::decode_for(&args.to, params.hrp())
        .with_context(|| format!("address `{}`", args.to))?;
    block_on(async {
        let client = args.node.connect_to(&params).await?;
        let transfer = sign(args, recipient, &params, &client).await?;
        let sent = submit(&client, &transfer, args.nonce.is_some()).await?;
        if !json {
            rows(&transfer, &params).print()?;
        }
        if !args.wait {
            return output::print(&sent, json, |_: Transaction| Ok(()));
        }
        let id = transfer.id().to_string();
        let timeout = Duration::from_secs(args.timeout.into());
        let confirmed = tx::wait(&client, &id, 1, timeout, Some(&transfer)).await;
        let confirmed = confirmed.with_context(|| format!("transfer {id} was submitted"))?;
        output::print(&confirmed, json, |transaction: Transaction| {
            let block = transaction.block.zip(transaction.height);
            let block = block.map(|(hash, height)| format!("{hash}, height {height}"));
            Rows::new().row_if("block", block).print()
        })
    })
}

fn rows(transfer: &Transfer, params: &Params) -> Rows {
    Rows::new()
        .row("id", transfer.id())
        .row("from", transfer.sender_address().encode(params.hrp()))
        .row("nonce", transfer.nonce)
        .row("fee", output::coins(transfer.fee))
}

/// Signs the transfer; the wallet is open only meanwhile.
async fn sign(
    args: &Args,
    recipient: Address,
    params: &Params,
    client: &Client,
) -> Result<Transfer> {
    let key = args.wallet.open()?.account(args.account.index);
    let own = key.public_key().address().encode(params.hrp());
    let account: Account = client.get(&["accounts", &own]).await?.json()?;
    let fee = match args.fee {
        Some(fee) => fee,
        None => estimate_fee(client, &args.memo).await?,
    };
    check_balance(&own, &account, args.amount, fee, args.nonce.is_some())?;
    let payment = Payment {
        nonce: args.nonce.unwrap_or(account.next_nonce),
        recipient,
        amount: args.amount.units(),
        fee: fee.units(),
        memo: args.memo.clone(),
    };
    Ok(Transfer::sign(payment, &key, params.genesis_hash()))
}

/// The node's estimate of the fee of a transfer with this memo in the next block.
async fn estimate_fee(client: &Client, memo: &Memo) -> Result<Amount> {
    let rates: Rates = client.get(&["fees"]).await?.json()?;
    let next_block = rates.get("1").context("the node estimates no fee: use --fee COINS")?;
    fee_at(*next_block, MIN_TRANSFER_BYTES.saturating_add(memo.as_bytes().len()))
}

/// The fee for a size in bytes at a rate in base units per byte.
fn fee_at(rate: u64, bytes: usize) -> Result<Amount> {
    let fee = u64::try_from(bytes).ok().and_then(|bytes| rate.checked_mul(bytes));
    let fee = fee.filter(|fee| *fee <= MAX_ESTIMATED_FEE).and_then(Amount::new);
    fee.with_context(|| {
        let max = output::coins(MAX_ESTIMATED_FEE);
        format!("the node estimates a fee above {max}: use --fee COINS")
    })
}

/// Checks that the balance covers the transfer, for a clear error. The node checks more exactly: it
/// counts pending transfers.
fn check_balance(
    own: &str,
    account: &Account,
    amount: Amount,
    fee: Amount,
    replaces: bool,
) -> Result<()> {
    let needed = amount.checked_add(fee).context("amount and fee exceed the total supply")?;
    // A replacement may spend what the replaced transfer would have spent.
    let available = match replaces {
        true => account.balance,
        false => account.balance.min(account.pending_balance),
    };
    if needed.units() <= available {
        return Ok(());
    }
    let immature = match account.immature {
        0 => String::new(),
        immature => format!(" and {} immature", output::coins(immature)),
    };
    let available = output::coins(available);
    Err(anyhow!(
        "{own} has {available} to spend{immature}: the transfer needs {needed} coins, {fee} of them \
         the fee"
    ))
}

async fn submit(client: &Client, transfer: &Transfer, has_nonce: bool) -> Result<Response> {
    tx::submit(client, transfer).await.map_err(|error| match error.downcast_ref::<ApiError>() {
        Some(rejected) => match hint(&rejected.code, has_nonce) {
            Some(hint) => anyhow!("{rejected}: {hint}"),
            None => error,
        },
        None => unknown_outcome(&error, transfer),
    })
}

/// The error of a transfer that may have arrived: sending it again could pay twice.
fn unknown_outcome(error: &Error, transfer: &Transfer) -> Error {
    let id = transfer.id();
    anyhow!("{error:#}; check whether it arrived before you send again: `chain tx show {id}`")
}

/// A hint to resolve a rejection.
fn hint(code: &str, has_nonce: bool) -> Option<&'static str> {
    Some(match (code, has_nonce) {
        ("nonce-used" | "nonce-too-far", true) => "leave --nonce out to use the next one",
        ("replacement-too-cheap", true) => {
            "raise --fee to replace that one, or leave --nonce out to send after it"
        }
        ("nonce-used" | "replacement-too-cheap", false) => {
            "another wallet has used the nonce meanwhile, send again"
        }
        ("min-fee", _) => "raise --fee, or leave it out",
        ("mempool-full", _) => "raise --fee, or try again later",
        ("sender-limit" | "insufficient-balance", _) => {
            "try again when pending transfers are confirmed"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_the_fee_estimate_of_a_node() {
        assert_eq!(fee_at(2, 145).unwrap().units(), 290);
        assert_eq!(fee_at(MAX_ESTIMATED_FEE, 1).unwrap().units(), MAX_ESTIMATED_FEE);
        for (rate, bytes) in [(MAX_ESTIMATED_FEE, 145), (u64::MAX, 145), (u64::MAX, 1)] {
            assert!(fee_at(rate, bytes).unwrap_err().to_string().contains("--fee"), "{rate}");
        }
    }

    // W10
    #[test]
    fn rejects_invalid_amounts_and_memos() {
        for text in ["0", "0.00000000", "-1", "1e3", "1,5", ""] {
            assert!(amount(text).is_err(), "{text}");
        }
        assert_eq!(amount("0.00000001").unwrap().units(), 1);
        assert!(memo(&"ä".repeat(128)).is_ok());
        assert!(memo(&"ä".repeat(129)).is_err());
    }

    #[test]
    fn only_the_spendable_balance_covers_a_transfer() {
        let account = |pending_balance: u64| -> Account {
            serde_json::from_value(serde_json::json!({
                "address": "a", "balance": 10, "immature": 5, "nonce": 0, "next_nonce": 0,
                "pending_balance": pending_balance, "transaction_count": 0,
            }))
            .unwrap()
        };
        let covered = |pending, amount, fee, replaces| {
            let [amount, fee] = [amount, fee].map(|units| Amount::new(units).unwrap());
            check_balance("a", &account(pending), amount, fee, replaces)
        };
        covered(10, 9, 1, false).unwrap();
        covered(20, 9, 1, false).unwrap();
        let short = covered(20, 10, 1, false).unwrap_err().to_string();
        assert_eq!(
            short,
            "a has 0.0000001 coins to spend and 0.00000005 coins immature: the \
             transfer needs 0.00000011 coins, 0.00000001 of them the fee"
        );
        assert!(covered(4, 9, 1, false).is_err());
        covered(4, 9, 1, true).unwrap();
        let all = Amount::MAX.units();
        assert!(covered(10, all, 1, false).is_err());
    }
}
