//! Mining: what this node's threads do, and candidates for miners elsewhere.

use super::answer::{self, Answer, read};
use super::extract::{Json, Query};
use super::number::Digits;
use super::problem::{Kind, Problem};
use super::shape::{AddressText, Bits, BlockHash, Digest, Hex, TemplateId, Units};
use super::transfer;
use super::wait::Hold;
use crate::daemon::Node;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::HeaderValue;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use chain::Height;
use chain::template::Template;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What this node's threads do.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Mining {
    /// Whether they search at this moment.
    pub running: bool,
    /// Whom their blocks pay.
    #[schemars(with = "Option<AddressText>")]
    pub miner: Option<String>,
    /// Hashes a second.
    pub hashrate: f64,
    /// Hashes since mining began.
    pub hashes: u64,
    /// How many they are.
    pub threads: usize,
    /// What they hash with.
    pub kernel: Option<String>,
    /// What they search.
    pub template: Option<Age>,
    /// Blocks found since mining began.
    pub blocks_found: usize,
    /// Miners connected by Stratum, by name.
    pub stratum_workers: Vec<String>,
}

/// The candidate that is searched.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "SearchedTemplate")]
pub struct Age {
    /// The height of the block it would be.
    pub height: u32,
    /// The target: 64 hexadecimal digits.
    #[schemars(with = "Digest")]
    pub target: String,
    /// Since it was made.
    pub age_seconds: f64,
}

/// What this node's threads do.
pub async fn mining(State(node): State<Node>) -> Response {
    let progress = node.mining.borrow().clone();
    read(&node, |view| {
        let progress = progress.as_ref();
        let candidate = progress.and_then(|progress| progress.candidate);
        Ok(Answer::new(Json(Mining {
            running: candidate.is_some(),
            miner: progress.map(|progress| progress.miner.encode(view.params().hrp())),
            hashrate: progress.map_or(0.0, |progress| progress.hash_rate),
            hashes: progress.map_or(0, |progress| progress.hashes),
            threads: progress.map_or(0, |progress| progress.threads),
            kernel: progress.map(|progress| progress.kernel.to_string()),
            template: candidate.map(|(height, target, since)| Age {
                height: height.get(),
                target: target.to_string(),
                age_seconds: since.elapsed().as_secs_f64(),
            }),
            blocks_found: progress.map_or(0, |progress| progress.found.len()),
            stratum_workers: Vec::new(),
        }))
        .changing())
    })
}

/// A block that lacks its nonce.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Template")]
pub struct Candidate {
    /// Tells it from every other.
    #[schemars(with = "TemplateId")]
    pub id: String,
    /// The height of the block it would be.
    pub height: u32,
    /// The hash of its parent.
    #[schemars(with = "BlockHash")]
    pub previous: String,
    /// Its 80 bytes to hash, with nonce 0.
    #[schemars(with = "Hex")]
    pub header: String,
    /// What its hash must be at most: 64 hexadecimal digits.
    #[schemars(with = "Digest")]
    pub target: String,
    /// The same as in the header.
    #[schemars(with = "Bits")]
    pub bits: String,
    /// As in the header; a miner may move it on as its clock does.
    pub time: u32,
    /// What it pays the miner, base units.
    #[schemars(with = "Units")]
    pub reward: u64,
    /// The part of that which transfers pay.
    #[schemars(with = "Units")]
    pub fees: u64,
    /// Its transactions, the coinbase included.
    pub transaction_count: usize,
    /// The whole block, its header first: with the nonce in place, hand it in at `/v1/blocks`.
    #[schemars(with = "Hex")]
    pub block: String,
}

/// Which candidate is wanted.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CandidateQuery {
    #[schemars(with = "Option<AddressText>")]
    miner: Option<String>,
    #[schemars(with = "Option<TemplateId>")]
    after: Option<String>,
    #[schemars(range(max = 120))]
    timeout: Option<Digits>,
}

/// A candidate for miners elsewhere; once there is a better one than `after`, if that is given.
pub async fn template(
    State(node): State<Node>,
    Query(query): Query<CandidateQuery>,
) -> Result<Response, Problem> {
    let params = node.reader.params();
    let miner = match &query.miner {
        Some(text) => transfer::address(text, params.hrp(), "miner")?,
        None => node.default_miner.ok_or_else(|| {
            let detail = "this node has no address of its own to pay: give `miner`";
            Problem::new(Kind::BAD_REQUEST, detail)
        })?,
    };
    let mut hold = Hold::new(&node, query.timeout)?;
    if let Some(after) = &query.after {
        while state_of(after)? == hold.state() && hold.changed().await {}
    }
    if let Some(wait) = node.outlook.wait().await {
        return Err(Problem::new(Kind::NOT_READY, wait.to_string()));
    }
    // Whatever changes from here on makes the candidate an old one.
    let state = hold.state();
    let Template { block, height, target, .. } = node.writer.template(miner).await??;
    let reward = block.coinbase().map_or(0, |coinbase| coinbase.reward);
    let candidate = Candidate {
        id: format!("{state:x}-{}", &block.header.merkle_root.to_string()[..16]),
        height: height.get(),
        previous: block.header.previous.to_string(),
        header: hex::encode(block.header.encode()),
        target: target.to_string(),
        bits: block.header.bits.to_string(),
        time: block.header.time.get(),
        reward,
        fees: reward.saturating_sub(params.subsidy(height).units()),
        transaction_count: block.transactions.len(),
        block: hex::encode(block.encode()),
    };
    let mut headers = HeaderMap::new();
    let parent = height.back(1).unwrap_or(Height::GENESIS);
    answer::mark(&mut headers, parent, block.header.previous);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok((headers, Json(candidate)).into_response())
}

/// The state of tip and pool that a candidate was made from.
fn state_of(id: &str) -> Result<u64, Problem> {
    let is_hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let parts = id.split_once('-');
    let parts = parts.filter(|(state, root)| is_hex(state) && is_hex(root) && root.len() == 16);
    let state = parts.and_then(|(state, _)| u64::from_str_radix(state, 16).ok());
    state.ok_or_else(|| Problem::new(Kind::BAD_REQUEST, "`after` is not the id of a template"))
}
