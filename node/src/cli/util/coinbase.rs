//! The coinbase of a job: the address that it pays, and how much.

use super::input::{bytes, unhex};
use super::report::{InputError, Report, ReportResult};
use chain::merkle::Branch;
use chain::{Address, Amount, Coinbase, Header, Params, Transaction};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::BufRead;

/// What a miner chooses of a coinbase, in hexadecimal: both halves of the extra nonce.
const EXTRA_NONCE: &str = "0000000000000000";

#[derive(Debug, Serialize)]
pub(super) struct CoinbaseInfo {
    id: String,
    /// Height of the block that it is part of.
    height: u32,
    /// The reward in base units: subsidy and fees.
    reward: u64,
    /// The reward in coins.
    coins: String,
    /// The address that it pays, without a prefix.
    recipient: String,
    /// That address by built-in network, or the expected one.
    addresses: BTreeMap<String, String>,
    /// Whether it pays the expected address, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pays_address: Option<bool>,
    /// Whether the header of the job commits to it, if the job has a header.
    #[serde(skip_serializing_if = "Option::is_none")]
    in_header: Option<bool>,
    extra_nonce: String,
    tag: String,
    commitment: String,
}

/// Decodes the coinbase of a job, which pays the `expected` address if there is one.
pub(super) fn coinbase(
    source: &str,
    expected: Option<&str>,
    stdin: impl BufRead,
) -> ReportResult<CoinbaseInfo> {
    let expected = expected.map(|text| Ok((text, Address::decode(text)?.1)));
    let expected = expected.transpose().map_err(|error: chain::address::ParseAddressError| {
        InputError::new("bad-request", error.to_string())
    })?;
    let is_json = |text: &[u8]| text.trim_ascii_start().starts_with(b"{");
    let content = if is_json(source.as_bytes()) { source.into() } else { bytes(source, stdin)? };
    let job = if is_json(&content) { Job::parse(&content)? } else { Job::of(content) };
    // Also in the encoding of transactions, as `chain util tx` decodes it.
    let coinbase = match Transaction::decode(&job.coinbase) {
        Ok(Transaction::Coinbase(coinbase)) => coinbase,
        _ => Coinbase::deserialize(&job.coinbase)?,
    };
    let pays_address = expected.map(|(_, address)| address == coinbase.recipient);
    let in_header = job.commitment.as_ref().map(|(header, branch)| {
        branch.root(coinbase.id()).is_some_and(|root| root == header.merkle_root)
    });
    let addresses = match expected {
        Some((text, address)) if address == coinbase.recipient => {
            [("expected".to_owned(), text.to_owned())].into()
        }
        _ => Params::built_in()
            .iter()
            .map(|params| (params.name().to_owned(), coinbase.recipient.encode(params.hrp())))
            .collect(),
    };
    let coins = Amount::new(coinbase.reward).map(|amount| amount.to_string());
    let info = CoinbaseInfo {
        id: coinbase.id().to_string(),
        height: coinbase.height.get(),
        reward: coinbase.reward,
        coins: coins.unwrap_or_default(),
        recipient: hex::encode(coinbase.recipient.as_bytes()),
        addresses,
        pays_address,
        in_header,
        extra_nonce: hex::encode(coinbase.extra_nonce),
        tag: hex::encode(coinbase.tag.as_bytes()),
        commitment: hex::encode(coinbase.commitment),
    };
    Ok(match (pays_address, in_header) {
        (Some(false), _) => Report::failed(info, "wrong-recipient", "it pays another address"),
        (_, Some(false)) => {
            Report::failed(info, "bad-merkle-root", "the header of the job has another coinbase")
        }
        _ => Report::valid(info),
    })
}

/// A job of a miner.
struct Job {
    coinbase: Vec<u8>,
    /// The header and the Merkle branch, if the job has them.
    commitment: Option<(Header, Branch)>,
}

impl Job {
    fn of(coinbase: Vec<u8>) -> Job {
        Job { coinbase, commitment: None }
    }

    /// Parses `mining.notify`, a template of the REST API, or the result of `getblocktemplate`.
    fn parse(json: &[u8]) -> Result<Job, InputError> {
        let value: Value = serde_json::from_slice(json)
            .map_err(|error| InputError::encoding(format!("not JSON: {error}")))?;
        let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
        if let [_, _, first, second, ..] =
            value["params"].as_array().map(Vec::as_slice).unwrap_or_default()
        {
            let parts = [text(first), Some(EXTRA_NONCE.to_owned()), text(second)];
            let digits: Option<String> = parts.into_iter().collect();
            return Ok(Job::of(unhex(digits.unwrap_or_default())?));
        }
        let template = value.get("result").unwrap_or(&value);
        if let Some(digits) = text(&template["coinbasetxn"]["data"]) {
            return Ok(Job::of(unhex(digits)?));
        }
        let digits = text(&template["coinbase"]).ok_or_else(|| {
            let error = "a job is a coinbase in hexadecimal, `mining.notify`, a template of the REST \
                         API, or the result of getblocktemplate";
            InputError::new("bad-request", error)
        })?;
        let coinbase = unhex(digits)?;
        let Some(header) = text(&template["header"]) else { return Ok(Job::of(coinbase)) };
        let header = Header::decode(&unhex(header)?)?;
        let mut siblings = Vec::new();
        for sibling in template["branch"].as_array().map(Vec::as_slice).unwrap_or_default() {
            let sibling = unhex(text(sibling).unwrap_or_default())?;
            let error = || InputError::encoding("a hash of the branch has 32 bytes");
            siblings.push(sibling.try_into().map_err(|_| error())?);
        }
        Ok(Job { coinbase, commitment: Some((header, Branch { siblings, position: 0 })) })
    }
}
