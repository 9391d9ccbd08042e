//! Mining: what this node's threads do, and candidates for miners elsewhere.

use crate::api::http::content::Json;
use crate::api::http::extract::Query;
use crate::api::http::long_poll::Hold;
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::response::{self, Answer, read};
use crate::api::openapi::route::{Table, get};
use crate::api::openapi::schema::{
    AddressText, Bits, BlockHash, Digest, Digits, Hex, TemplateId, Units,
};
use crate::api::routes::transfer;
use crate::mining::stratum::WorkerInfo;
use crate::state::NodeState;
use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use chain::Height;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The routes of this resource.
pub fn routes() -> Table {
    Table::new([
        get("/v1/mining", "What this node's threads do", mining).shows::<Mining>(),
        get("/v1/mining/template", "A block that lacks its nonce", template)
            .says(
                "With `after` it is answered once there is a better one than that, or \
                   `timeout` seconds are over.",
            )
            .answers::<Candidate>(200, "For a child of the tip.")
            .fails(&[Kind::NO_MINER]),
        get("/v1/mining/workers", "Who ever mined here by Stratum", workers)
            .shows::<Vec<WorkerInfo>>(),
    ])
}

/// What this node's threads do.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Mining {
    /// Whether they search at this moment.
    pub running: bool,
    /// The jobs that have threads, first who came first.
    pub jobs: Vec<String>,
    /// Whom blocks of the first of them pay; if there is none, those of the last that was.
    #[schemars(with = "Option<AddressText>")]
    pub miner: Option<String>,
    /// Hashes a second, of all of them.
    pub hashrate: f64,
    /// Hashes since the node started.
    pub hashes: u64,
    /// How many threads they have.
    pub threads: usize,
    /// How many they may have.
    pub max_threads: usize,
    /// How often one was restarted since the node started because it panicked.
    pub restarts: u64,
    /// What they hash with.
    pub kernel: Option<String>,
    /// What the first job's search.
    pub template: Option<Age>,
    /// Blocks found since the node started.
    pub blocks_found: u64,
    /// Where mining machines connect, if anywhere: `ADDRESS:PORT`.
    pub stratum: Option<String>,
    /// Those that are connected.
    pub stratum_workers: Vec<WorkerInfo>,
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
pub async fn mining(State(node): State<Arc<NodeState>>) -> Result<Response, Problem> {
    let overview = node.jobs.summary().await?;
    Ok(read(&node, |view| {
        let running = || overview.running.iter().map(|(_, progress)| progress);
        let shown = running().next().or(overview.last.as_ref());
        let candidate = running().find_map(|progress| progress.candidate);
        Ok(Answer::new(Json(Mining {
            running: candidate.is_some(),
            jobs: overview.running.iter().map(|(id, _)| id.to_string()).collect(),
            miner: shown.map(|progress| progress.miner.encode(view.params().hrp())),
            hashrate: running().map(|progress| progress.hash_rate).sum(),
            hashes: overview.hashes,
            threads: running().map(|progress| progress.threads).sum(),
            max_threads: overview.max_threads,
            restarts: overview.restarts,
            kernel: shown.map(|progress| progress.kernel.to_string()),
            template: candidate.map(|(height, target, since)| Age {
                height: height.get(),
                target: target.to_string(),
                age_seconds: since.elapsed().as_secs_f64(),
            }),
            blocks_found: overview.found,
            stratum: node.stratum.as_ref().map(|(address, _)| address.to_string()),
            stratum_workers: stratum_workers(&node, true),
        }))
        .changing())
    }))
}

/// Everybody who ever mined here by Stratum, as far as is remembered.
pub async fn workers(State(node): State<Arc<NodeState>>) -> Response {
    read(&node, |_| Ok(Answer::new(Json(stratum_workers(&node, false))).changing()))
}

fn stratum_workers(node: &NodeState, connected_only: bool) -> Vec<WorkerInfo> {
    node.stratum.as_ref().map_or_else(Vec::new, |(_, workers)| workers.list(connected_only))
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
    /// The first of them, which pays the miner, as it is hashed.
    pub coinbase: String,
    /// Where 8 bytes of that begin that a miner may choose, counted in bytes.
    pub extra_nonce_at: usize,
    /// What the coinbase's hash is paired with on the way to the Merkle root: each on the right.
    pub branch: Vec<String>,
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
    State(node): State<Arc<NodeState>>,
    Query(query): Query<CandidateQuery>,
) -> Result<Response, Problem> {
    let params = node.reader.params();
    let miner = match &query.miner {
        Some(text) => transfer::address(text, params.hrp(), "miner")?,
        None => node.default_miner.ok_or_else(|| {
            let detail = "this node has no address of its own to pay: give `miner`";
            Problem::new(Kind::NO_MINER, detail)
        })?,
    };
    let mut hold = Hold::new(&node, query.timeout)?;
    if let Some(after) = &query.after {
        while state_of(after)? == hold.state() && hold.changed().await {}
    }
    let (id, candidate) = node.templates.issue(miner).await?;
    let (block, template) = (candidate.block(), candidate.template());
    let (height, target) = (template.height, template.target);
    let coinbase = candidate.coinbase().expect("a template has a coinbase");
    let reward = coinbase.reward;
    let candidate = Candidate {
        id,
        height: height.get(),
        previous: block.header.previous.to_string(),
        header: hex::encode(block.header.encode()),
        target: target.to_string(),
        bits: block.header.bits.to_string(),
        time: block.header.time.get(),
        reward,
        fees: reward.saturating_sub(params.subsidy(height).units()),
        transaction_count: block.transactions.len(),
        coinbase: hex::encode(coinbase.serialize()),
        extra_nonce_at: coinbase.extra_nonce_offset(),
        branch: template.branch.siblings.iter().map(hex::encode).collect(),
        block: hex::encode(block.encode()),
    };
    let mut headers = HeaderMap::new();
    let parent = height.checked_sub(1).unwrap_or(Height::GENESIS);
    response::mark(&mut headers, parent, block.header.previous);
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
