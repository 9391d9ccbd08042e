//! A node of a testnet, over its REST API.

use crate::http::request;
use crate::{Error, SignedTransfer};
use serde::Deserialize;
use serde_json::{Value, json};
use std::thread;
use std::time::{Duration, Instant};

/// Longest long poll; a longer wait needs several.
const LONG_POLL: Duration = Duration::from_secs(30);

/// The pause between requests for a transaction that a node does not know yet.
const POLL: Duration = Duration::from_millis(20);

/// A block.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Block {
    /// The hash.
    pub hash: String,
    /// The height.
    pub height: u32,
    /// The hash of the parent.
    pub previous: String,
    /// Whether the block is in the best chain.
    pub in_best_chain: bool,
    /// The ids of the transactions, the coinbase first.
    pub transactions: Vec<String>,
}

/// A transaction and its status.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Transaction {
    /// The transaction id.
    pub id: String,
    /// `pending`, `queued`, `confirmed` or `dropped`.
    pub status: String,
    /// The number of confirmations; 0 outside the best chain.
    pub confirmations: u32,
    /// The stable code of the reason it was dropped.
    #[serde(default)]
    pub reason: Option<String>,
}

/// A running node.
#[derive(Clone, Debug)]
pub struct Node {
    number: usize,
    host: String,
    token: String,
}

/// The end of a wait.
struct Limit {
    timeout: Duration,
    started: Instant,
}

impl Limit {
    fn new(timeout: Duration) -> Limit {
        Limit { timeout, started: Instant::now() }
    }

    fn is_over(&self) -> bool {
        self.started.elapsed() >= self.timeout
    }

    /// Seconds of the next long poll.
    fn poll(&self) -> u64 {
        let left = self.timeout.saturating_sub(self.started.elapsed());
        left.min(LONG_POLL).as_secs().max(1)
    }
}

impl Node {
    pub(crate) fn new(number: usize, url: &str, token: &str) -> Node {
        let host = url.trim_start_matches("http://").to_owned();
        Node { number, host, token: token.trim().to_owned() }
    }

    /// The URL of the REST API.
    pub fn url(&self) -> String {
        format!("http://{}", self.host)
    }

    /// Reads a path of the REST API, such as `/v1/chain`.
    pub fn get(&self, path: &str) -> Result<Value, Error> {
        request(&self.host, &self.token, "GET", path, None)
    }

    /// Sends JSON to a path of the REST API, with the token of the node.
    pub fn post(&self, path: &str, body: &Value) -> Result<Value, Error> {
        let body = body.to_string();
        request(&self.host, &self.token, "POST", path, Some(("application/json", &body)))
    }

    /// The block of a height or hash, or the `tip`.
    pub fn block(&self, id: &str) -> Result<Block, Error> {
        Ok(serde_json::from_value(self.get(&format!("/v1/blocks/{id}"))?)?)
    }

    /// A transaction and its status.
    pub fn transaction(&self, id: &str) -> Result<Transaction, Error> {
        Ok(serde_json::from_value(self.get(&format!("/v1/transactions/{id}"))?)?)
    }

    /// The nonce of the next transfer of an account, unconfirmed ones included.
    pub fn next_nonce(&self, address: &str) -> Result<u64, Error> {
        let account = self.get(&format!("/v1/accounts/{address}"))?;
        Ok(account["next_nonce"].as_u64().unwrap_or_default())
    }

    /// The spendable balance of an account in base units.
    pub fn balance(&self, address: &str) -> Result<u64, Error> {
        let account = self.get(&format!("/v1/accounts/{address}"))?;
        Ok(account["balance"].as_u64().unwrap_or_default())
    }

    /// Submits a transfer.
    pub fn submit(&self, transfer: &SignedTransfer) -> Result<(), Error> {
        self.post("/v1/transactions", &json!({ "hex": transfer.hex })).map(drop)
    }

    fn poll_tip(&self, after: &str, limit: &Limit) -> Result<Block, Error> {
        self.block(&format!("tip?after={after}&wait={}", limit.poll()))
    }

    /// Waits until the tip is another block than the one with a hash.
    pub fn wait_for_tip(&self, after: &str, timeout: Duration) -> Result<Block, Error> {
        let limit = Limit::new(timeout);
        loop {
            let tip = self.poll_tip(after, &limit)?;
            if tip.hash != after {
                return Ok(tip);
            }
            if limit.is_over() {
                let number = self.number;
                return Err(Error::Timeout(format!("node {number} still has the tip {after}")));
            }
        }
    }

    /// Waits until the best chain has a height, and returns the tip.
    pub fn wait_for_height(&self, height: u32, timeout: Duration) -> Result<Block, Error> {
        let limit = Limit::new(timeout);
        let mut tip = self.block("tip")?;
        while tip.height < height {
            if limit.is_over() {
                let (number, found) = (self.number, tip.height);
                return Err(Error::Timeout(format!("node {number} is at height {found}")));
            }
            tip = self.poll_tip(&tip.hash, &limit)?;
        }
        Ok(tip)
    }

    /// Waits until a transaction has a number of confirmations. It may have been submitted to another
    /// node, and not have arrived yet.
    ///
    /// # Errors
    /// Returns `Error::Dropped` if it left the mempool unconfirmed.
    pub fn wait_for_transaction(
        &self,
        id: &str,
        confirmations: u32,
        timeout: Duration,
    ) -> Result<Transaction, Error> {
        let limit = Limit::new(timeout);
        loop {
            let seconds = limit.poll();
            let query = format!("wait=confirmed&confirmations={confirmations}&timeout={seconds}");
            let found = match self.transaction(&format!("{id}?{query}")) {
                Err(Error::Api { code, .. }) if code == "not-found" && !limit.is_over() => {
                    thread::sleep(POLL);
                    continue;
                }
                found => found?,
            };
            if found.status == "dropped" {
                let reason = found.reason.unwrap_or_default();
                return Err(Error::Dropped { id: id.to_owned(), reason });
            }
            if found.confirmations >= confirmations {
                return Ok(found);
            }
            if limit.is_over() {
                let Transaction { status, confirmations, .. } = found;
                let found = format!("{id} is {status} with {confirmations} confirmations");
                return Err(Error::Timeout(found));
            }
        }
    }
}
