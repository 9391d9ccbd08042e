//! Builds and signs a transfer offline, and prints the JSON that `POST /v1/transactions` and
//! `chain tx send FILE` accept. Needs neither a node nor a network connection.
//!
//! ```text
//! cargo run --example sign_transfer -- RECIPIENT COINS FEE_COINS NONCE [MEMO] > transfer.json
//! ```
//!
//! The recipient's address determines the network. The key is the 32-byte Ed25519 seed in the
//! environment variable `SECRET_KEY`, in hexadecimal; without it, the published key of account 0 of
//! the network `dev`, which is worth nothing. The nonce is `next_nonce` of
//! `GET /v1/accounts/ADDRESS`.

#![allow(clippy::print_stdout)] // the output is the purpose of an example

use anyhow::{Context, Result, bail};
use chain::signature::SecretKey;
use chain::tx::{Memo, Payment};
use chain::{Address, Amount, Params, Transfer};

/// Account 0 of `dev`: `key.secret` of chain/PROTOCOL.md.
const DEV_KEY: &str = "99a953439861639f9519f43b1697063bc40900eb5b307cd6d1168a6cd2d97ce7";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [recipient, amount, fee, nonce, memo @ ..] = arguments.as_slice() else {
        bail!("usage: sign_transfer RECIPIENT COINS FEE_COINS NONCE [MEMO]");
    };
    let (hrp, recipient) = Address::decode(recipient)?;
    let params = Params::built_in().into_iter().find(|params| params.hrp() == hrp);
    let params = params.context("the address belongs to none of the built-in networks")?;

    let key = std::env::var("SECRET_KEY").unwrap_or_else(|_| DEV_KEY.to_owned());
    let seed = hex::decode(key.trim()).ok().and_then(|bytes| bytes.try_into().ok());
    let key = SecretKey::from_seed(seed.context("SECRET_KEY: 64 hexadecimal digits expected")?);

    let payment = Payment {
        nonce: nonce.parse().context("the nonce is not an integer")?,
        recipient,
        amount: Amount::from_coins(amount)?.units(),
        fee: Amount::from_coins(fee)?.units(),
        memo: Memo::new(memo.join(" ").into_bytes()).context("a memo has at most 256 bytes")?,
    };
    let transfer = Transfer::sign(payment, &key, params.genesis_hash());

    eprintln!("from {}", transfer.sender_address().encode(hrp));
    eprintln!("id   {}", transfer.id());
    println!("{}", serde_json::json!({ "hex": hex::encode(transfer.encode()) }));
    Ok(())
}
