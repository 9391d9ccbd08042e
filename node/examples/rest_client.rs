//! A client of the REST API: prints the tip and the latest blocks, and the balance of an address.
//!
//! ```text
//! cargo run --example rest_client -- [URL] [ADDRESS]        URL: http://127.0.0.1:28400 by default
//! ```
//!
//! Every resource is described by `/openapi.json` of a running node, and for people at `/docs`.

#![allow(clippy::print_stdout)] // the output is the purpose of an example

use anyhow::{Result, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// `GET /v1/chain`, as far as this example uses it.
#[derive(Deserialize)]
struct Chain {
    network: String,
    height: u32,
    tip: String,
}

/// A page of a list: every list of the API has this shape.
#[derive(Deserialize)]
struct Page<T> {
    items: Vec<T>,
}

/// An item of `GET /v1/blocks`.
#[derive(Deserialize)]
struct Block {
    height: u32,
    hash: String,
    transaction_count: u32,
}

/// `GET /v1/accounts/ADDRESS`. Amounts are integers in base units, 100,000,000 per coin.
#[derive(Deserialize)]
struct Account {
    balance: u64,
    immature: u64,
    next_nonce: u64,
}

/// An error of the API: a problem document of RFC 9457 with a stable `code`.
#[derive(Deserialize)]
struct Problem {
    code: String,
    detail: Option<String>,
}

struct Client {
    http: reqwest::Client,
    base: String,
}

impl Client {
    /// Requests a resource below `/v1`. A problem becomes an error with its code.
    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let response = self.http.get(format!("{}/v1/{path}", self.base)).send().await?;
        if response.status().is_success() {
            return Ok(response.json().await?);
        }
        let status = response.status();
        let Problem { code, detail } = response.json().await?;
        bail!("{status}: {} ({code})", detail.unwrap_or_default());
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    // The default features of reqwest include a TLS library; this workspace enables none.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut arguments = std::env::args().skip(1);
    let base = arguments.next().unwrap_or_else(|| "http://127.0.0.1:28400".to_owned());
    let client = Client { http: reqwest::Client::new(), base };

    let chain: Chain = client.get("chain").await?;
    println!("{} at height {}, tip {}", chain.network, chain.height, chain.tip);
    let blocks: Page<Block> = client.get("blocks?limit=5").await?;
    for Block { height, hash, transaction_count } in blocks.items {
        println!("{height:>8}  {hash}  {transaction_count} transactions");
    }
    if let Some(address) = arguments.next() {
        let account: Account = client.get(&format!("accounts/{address}")).await?;
        let Account { balance, immature, next_nonce } = account;
        println!("{address}: balance {balance}, immature {immature}, next nonce {next_nonce}");
    }
    Ok(())
}
