//! `chain wallet send`: signs a payment here and hands it to a node. The network is the one that
//! the recipient's address or `--network` names, never what the node says: a signature is good on
//! that network alone, whatever node it is shown to.

use super::super::account::Account as Holdings;
use super::super::node::block_on;
use super::super::output::{self, Rows};
use super::super::password::PasswordSource;
use super::super::tx;
use super::args::{AccountArgs, WalletArgs};
use crate::client::{ApiError, Client, NodeArgs, Response};
use crate::config::network;
use anyhow::{Context, Error, Result, anyhow, ensure};
use chain::address::Address;
use chain::amount::{Amount, COIN};
use chain::tx::{MAX_MEMO_BYTES, MIN_TRANSFER_BYTES, Memo, Payment};
use chain::{Params, Transfer};
use serde::Deserialize;
use std::time::Duration;

/// The highest fee that is paid because a node asks for it, in base units: nodes may be wrong.
const MAX_ASKED_FEE: u64 = COIN / 10;

/// Pay: sign a transfer with a key of this wallet and send it
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Who is paid
    #[arg(long, value_name = "ADDRESS")]
    to: String,
    /// How much, such as 1.5
    #[arg(long, value_name = "COINS", value_parser = amount)]
    amount: Amount,
    /// What the miner gets for it
    ///
    /// Default: what the node expects to bring it into the next block.
    #[arg(long, value_name = "COINS", value_parser = Amount::from_coins)]
    fee: Option<Amount>,
    /// A text for everybody to read
    #[arg(long, value_name = "TEXT", value_parser = memo, default_value = "")]
    memo: Memo,
    /// Number of the transfer among those of this account: replaces one that waits
    ///
    /// Default: the next one.
    #[arg(long, value_name = "N")]
    nonce: Option<u64>,
    /// Wait until it is in a block
    #[arg(long)]
    wait: bool,
    /// Most seconds to wait
    #[arg(long, value_name = "SECONDS", default_value_t = 600, requires = "wait")]
    timeout: u32,
    #[command(flatten)]
    wallet: WalletArgs,
    #[command(flatten)]
    account: AccountArgs,
    #[command(flatten)]
    password: PasswordSource,
    #[command(flatten)]
    node: NodeArgs,
}

fn amount(text: &str) -> Result<Amount> {
    let amount = Amount::from_coins(text)?;
    ensure!(amount != Amount::ZERO, "a payment of nothing");
    Ok(amount)
}

fn memo(text: &str) -> Result<Memo> {
    let bytes = text.len();
    Memo::new(text.into()).with_context(|| {
        format!("a memo is at most {MAX_MEMO_BYTES} bytes in UTF-8, this one is {bytes}")
    })
}

/// Runs the command.
pub fn run(args: &Args, json: bool) -> Result<()> {
    let params = match args.node.network() {
        Some(network) => network::load(network)?,
        None => network::of_address(&args.to)?,
    };
    let recipient = Address::decode_for(&args.to, params.hrp())
        .with_context(|| format!("address `{}`", args.to))?;
    block_on(async {
        let client = args.node.connect_to(&params).await?;
        let transfer = sign(args, recipient, &params, &client).await?;
        let sent = hand_in(&client, &transfer, args.nonce.is_some()).await?;
        if !json {
            rows(&transfer, &params).print()?;
        }
        if !args.wait {
            return if json { Ok(output::json(&sent)?) } else { Ok(()) };
        }
        let id = transfer.id().to_string();
        let timeout = Duration::from_secs(args.timeout.into());
        let confirmed = tx::wait(&client, &id, 1, timeout, Some(&transfer)).await;
        let confirmed = confirmed.with_context(|| format!("transfer {id} was sent"))?;
        if json {
            return Ok(output::json(&confirmed)?);
        }
        Ok(Rows::new().row("block", block(&confirmed)?).print()?)
    })
}

fn rows(transfer: &Transfer, params: &Params) -> Rows {
    Rows::new()
        .row("id", transfer.id())
        .row("from", transfer.sender_address().encode(params.hrp()))
        .row("nonce", transfer.nonce)
        .row("fee", output::coins(transfer.fee))
}

fn block(confirmed: &Response) -> Result<String> {
    #[derive(Deserialize)]
    struct Confirmed {
        block: String,
        height: u32,
    }
    let Confirmed { block, height } = confirmed.read()?;
    Ok(format!("{block}, at height {height}"))
}

/// Opens the wallet for as long as it takes to sign.
async fn sign(
    args: &Args,
    recipient: Address,
    params: &Params,
    client: &Client,
) -> Result<Transfer> {
    let key = args.wallet.open(&args.password)?.account(args.account.index);
    let own = key.public_key().address().encode(params.hrp());
    let holdings: Holdings = client.get(&["accounts", &own]).await?.read()?;
    let fee = match args.fee {
        Some(fee) => fee,
        None => asked_fee(client, &args.memo).await?,
    };
    is_covered(&own, &holdings, args.amount, fee, args.nonce.is_some())?;
    let payment = Payment {
        nonce: args.nonce.unwrap_or(holdings.next_nonce),
        recipient,
        amount: args.amount.units(),
        fee: fee.units(),
        memo: args.memo.clone(),
    };
    Ok(Transfer::sign(payment, &key, params.genesis_hash()))
}

/// What the node takes to bring a transfer with this memo into the next block.
async fn asked_fee(client: &Client, memo: &Memo) -> Result<Amount> {
    #[derive(Deserialize)]
    struct Rates {
        #[serde(rename = "1")]
        next_block: u64,
    }
    let Rates { next_block } = client.get(&["fees"]).await?.read()?;
    fee_at(next_block, MIN_TRANSFER_BYTES.saturating_add(memo.as_bytes().len()))
}

/// The fee for so many bytes at a rate in base units per byte.
fn fee_at(rate: u64, bytes: usize) -> Result<Amount> {
    let fee = u64::try_from(bytes).ok().and_then(|bytes| rate.checked_mul(bytes));
    let fee = fee.filter(|fee| *fee <= MAX_ASKED_FEE).and_then(Amount::new);
    fee.with_context(|| {
        let most = output::coins(MAX_ASKED_FEE);
        format!("the node asks for a fee above {most}: choose one yourself with --fee COINS")
    })
}

/// Says in advance what the node would refuse. The node counts more exactly: with what waits.
fn is_covered(
    own: &str,
    holdings: &Holdings,
    amount: Amount,
    fee: Amount,
    replaces: bool,
) -> Result<()> {
    let needed = amount.checked_add(fee).context("no account holds that much")?;
    // One that takes the node of another that waits may spend what that one would have.
    let available = match replaces {
        true => holdings.balance,
        false => holdings.balance.min(holdings.pending_balance),
    };
    if needed.units() <= available {
        return Ok(());
    }
    let waits = match holdings.immature {
        0 => String::new(),
        immature => format!(" and {} that are not mature yet", output::coins(immature)),
    };
    let available = output::coins(available);
    Err(anyhow!(
        "{own} has {available} to spend{waits}: the payment takes {needed} coins, {fee} of them \
         the fee"
    ))
}

async fn hand_in(client: &Client, transfer: &Transfer, nonce_is_given: bool) -> Result<Response> {
    tx::hand_in(client, transfer).await.map_err(|error| match error.downcast_ref::<ApiError>() {
        Some(refused) => match way_out(&refused.code, nonce_is_given) {
            Some(way_out) => anyhow!("{refused}: {way_out}"),
            None => error,
        },
        None => doubtful(&error, transfer),
    })
}

/// Whoever sends again what has arrived pays twice.
fn doubtful(error: &Error, transfer: &Transfer) -> Error {
    let id = transfer.id();
    anyhow!("{error:#}; before you send again look whether it arrived: `chain tx show {id}`")
}

fn way_out(code: &str, nonce_is_given: bool) -> Option<&'static str> {
    Some(match (code, nonce_is_given) {
        ("nonce-used" | "nonce-too-far", true) => "leave --nonce out to use the next one",
        ("replacement-too-cheap", true) => {
            "raise --fee to replace that one, or leave --nonce out to send after it"
        }
        ("nonce-used" | "replacement-too-cheap", false) => {
            "another wallet with this key was faster, send again"
        }
        ("min-fee", _) => "raise --fee, or leave it out",
        ("mempool-full", _) => "raise --fee, or try again later",
        ("sender-limit" | "insufficient-balance", _) => "try again when those that wait are mined",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_node_can_make_a_wallet_pay_an_absurd_fee() {
        assert_eq!(fee_at(2, 145).unwrap().units(), 290);
        assert_eq!(fee_at(MAX_ASKED_FEE, 1).unwrap().units(), MAX_ASKED_FEE);
        for (rate, bytes) in [(MAX_ASKED_FEE, 145), (u64::MAX, 145), (u64::MAX, 1)] {
            assert!(fee_at(rate, bytes).unwrap_err().to_string().contains("--fee"), "{rate}");
        }
    }

    // W10
    #[test]
    fn what_cannot_be_a_payment_is_refused_while_it_is_read() {
        for text in ["0", "0.00000000", "-1", "1e3", "1,5", ""] {
            assert!(amount(text).is_err(), "{text}");
        }
        assert_eq!(amount("0.00000001").unwrap().units(), 1);
        assert!(memo(&"ä".repeat(128)).is_ok());
        assert!(memo(&"ä".repeat(129)).is_err());
    }

    #[test]
    fn only_what_is_spendable_covers_a_payment() {
        let holdings = |pending_balance: u64| -> Holdings {
            serde_json::from_value(serde_json::json!({
                "address": "a", "balance": 10, "immature": 5, "nonce": 0, "next_nonce": 0,
                "pending_balance": pending_balance, "transaction_count": 0,
            }))
            .unwrap()
        };
        let covered = |pending, amount, fee, replaces| {
            let [amount, fee] = [amount, fee].map(|units| Amount::new(units).unwrap());
            is_covered("a", &holdings(pending), amount, fee, replaces)
        };
        covered(10, 9, 1, false).unwrap();
        covered(20, 9, 1, false).unwrap();
        let short = covered(20, 10, 1, false).unwrap_err().to_string();
        assert_eq!(
            short,
            "a has 0.0000001 coins to spend and 0.00000005 coins that are not mature yet: the \
             payment takes 0.00000011 coins, 0.00000001 of them the fee"
        );
        assert!(covered(4, 9, 1, false).is_err());
        covered(4, 9, 1, true).unwrap();
        let all = Amount::MAX.units();
        assert!(covered(10, all, 1, false).is_err());
    }
}
