//! The transfers of a scenario, between the accounts that own coins from the genesis block on.

use super::step::Pay;
use super::world::{Submitted, World};
use crate::api::routes::accounts::AccountResponse;
use crate::faucet::dev_account;
use anyhow::{Context, Result, ensure};
use chain::Transfer;
use chain::tx::{Memo, Payment};

/// Base units of a coin.
const COIN: u64 = 100_000_000;
/// Fee of a transfer in base units.
const FEE: u64 = 1_000;

/// Signs and submits a transfer.
pub async fn pay(world: &mut World, pay: &Pay) -> Result<()> {
    let client = world.client(world.number(&pay.node)?)?;
    let params = world.testnet().params().clone();
    let [key, recipient] = [pay.from, pay.to].map(dev_account);
    let address = key.public_key().address().encode(params.hrp());
    let account: AccountResponse = client.get(&["accounts", &address]).await?.json()?;
    let nonce = match &pay.conflicts {
        None => account.next_nonce,
        Some(other) => {
            let other = world.transfer(other)?;
            ensure!(
                other.from == pay.from,
                "a conflicting transfer has the sender of the other, account {}",
                other.from
            );
            other.nonce
        }
    };
    let payment = Payment {
        nonce,
        recipient: recipient.public_key().address(),
        amount: pay.coins.checked_mul(COIN).context("more coins than can exist")?,
        fee: FEE,
        memo: Memo::default(),
    };
    let transfer = Transfer::sign(payment, &key, params.genesis_hash());
    let body = serde_json::json!({ "hex": hex::encode(transfer.encode()) }).to_string();
    client.post(&["transactions"], "application/json", body).await?;
    let submitted = Submitted { id: transfer.id().to_string(), nonce, from: pay.from };
    world.add_transfer(&pay.name, submitted)
}
