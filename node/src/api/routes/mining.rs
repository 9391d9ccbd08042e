//! Mining: the state of this node's miner, and block templates for external miners.

use crate::api::http::content::{self, Json};
use crate::api::http::extract::Query;
use crate::api::http::long_poll::{self, LongPoll};
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::resources::Client;
use crate::api::http::response::{self, ReadResponse, read};
use crate::api::http::streamed::Items;
use crate::api::openapi::route::{Routes, get};
use crate::api::openapi::schema::{
    AddressText, Bits, BlockHash, Digest, Digits, Hex, TemplateId, Units,
};
use crate::api::routes::transfer;
use crate::difficulty;
use crate::mining::stratum::Endpoint;
use crate::mining::templates;
use crate::mining::workers::{ChainState, Interface, WorkerInfo};
use crate::state::NodeState;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use chain::Height;
use miner::stratum::Worker;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

pub fn routes() -> Routes {
    Routes::new([
        get("/v1/mining", "Get the state of the miner", mining).returns::<Mining>(),
        get("/v1/mining/template", "Get a block template", template)
            .description(
                "The rig is recorded as the worker `miner`.`worker`. \
                                   With `after`, the response waits for a better template than that, at most \
                                   `timeout` seconds. While no block can be mined, the response is \
                                   `not-ready` with the reason. The encoded block, up to 4 MB in \
                                   hexadecimal, is included with `block=true` only; solutions do not \
                                   need it.",
            )
            .response::<Template>(200, "A template for a child of the tip.")
            .same_origin()
            .errors(&[Kind::NO_MINER]),
    ])
}

/// Most workers in the state of the miner.
const SHOWN_WORKERS: usize = 100;

/// The state of this node's miner.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Mining {
    /// Whether the miner is searching.
    pub running: bool,
    /// The ids of the running jobs, oldest first.
    pub jobs: Vec<String>,
    /// The payout address of the first running job, or of the last job that ran.
    #[schemars(with = "Option<AddressText>")]
    pub miner: Option<String>,
    /// The hash rate of all jobs in hashes per second.
    pub hashrate: f64,
    /// The number of hashes since the node started.
    pub hashes: u64,
    /// The number of threads in use.
    pub threads: usize,
    /// The largest number of threads the miner may use.
    pub max_threads: usize,
    /// The number of threads restarted after a panic since the node started.
    pub restarts: u64,
    /// The hash kernel in use.
    pub kernel: Option<String>,
    /// The template the first job is searching.
    pub template: Option<SearchedTemplate>,
    /// Why no block can be mined at present; null if one can. Templates, jobs and Stratum miners get
    /// the same reason.
    pub waiting: Option<String>,
    /// The number of blocks found since the node started.
    pub blocks_found: u64,
    /// The address of the Stratum server for clients on its machine, `ADDRESS:PORT`; null if disabled.
    pub stratum: Option<String>,
    /// The URLs of the Stratum server for miners; empty if disabled. One for each address of the machine
    /// that it listens on, with a certificate also `stratum+ssl`, or that of the setting `stratum_url`.
    #[serde(default)]
    pub stratum_urls: Vec<String>,
    /// The connected Stratum workers with the highest hash rates, at most 100. `/v1/mining/workers` lists all.
    pub stratum_workers: Vec<WorkerInfo>,
}

/// The hash rate of this node's mining threads.
#[derive(Debug, Serialize, JsonSchema)]
pub struct HashrateEvent {
    /// The hash rate of all jobs in hashes per second.
    pub hashrate: f64,
    /// The number of threads in use.
    pub threads: usize,
    /// The number of hashes since the node started.
    pub hashes: u64,
}

/// A template being searched.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "SearchedTemplate")]
pub struct SearchedTemplate {
    /// The height of the block.
    pub height: u32,
    /// The target: 64 hexadecimal digits.
    #[schemars(with = "Digest")]
    pub target: String,
    /// Seconds since the template was created.
    pub age_seconds: f64,
}

pub async fn mining(State(node): State<Arc<NodeState>>) -> Result<Response, Problem> {
    let summary = node.jobs.summary().await?;
    let waiting = node.readiness.check().await.err().map(|reason| reason.to_string());
    Ok(read(&node, |view| {
        let running = || summary.running.iter().map(|(_, progress)| progress);
        let shown = running().next().or(summary.last.as_ref());
        let candidate = running().find_map(|progress| progress.candidate);
        Ok(ReadResponse::new(Json(Mining {
            running: candidate.is_some(),
            jobs: summary.running.iter().map(|(id, _)| id.to_string()).collect(),
            miner: shown.map(|progress| progress.miner.encode(view.params().hrp())),
            // The sum of none is −0.
            hashrate: running().map(|progress| progress.hash_rate).sum::<f64>() + 0.0,
            hashes: summary.hashes,
            threads: running().map(|progress| progress.threads).sum(),
            max_threads: summary.max_threads,
            restarts: summary.restarts,
            kernel: shown.map(|progress| progress.kernel.to_string()),
            template: candidate.map(|(height, target, since)| SearchedTemplate {
                height: height.get(),
                target: target.to_string(),
                age_seconds: since.elapsed().as_secs_f64(),
            }),
            waiting,
            blocks_found: summary.found,
            stratum: node.stratum.as_ref().map(|stratum| stratum.local().to_string()),
            stratum_urls: node.stratum.as_ref().map(Endpoint::urls).unwrap_or_default(),
            stratum_workers: node.workers.top(SHOWN_WORKERS, true, &ChainState::of(view)),
        }))
        .volatile())
    }))
}

/// A block template.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Template")]
pub struct Template {
    /// The unique id of the template.
    #[schemars(with = "TemplateId")]
    pub id: String,
    /// The height of the block.
    pub height: u32,
    /// The hash of the parent.
    #[schemars(with = "BlockHash")]
    pub previous: String,
    /// The 80-byte header with nonce 0.
    #[schemars(with = "Hex")]
    pub header: String,
    /// The target, the largest valid hash: 64 hexadecimal digits.
    #[schemars(with = "Digest")]
    pub target: String,
    /// The compact target in the header.
    #[schemars(with = "Bits")]
    pub bits: String,
    /// The time in the header; the miner may advance it.
    pub time: u32,
    /// The reward of the block: subsidy and fees, in base units.
    #[schemars(with = "Units")]
    pub reward: u64,
    /// The fees of the block, in base units.
    #[schemars(with = "Units")]
    pub fees: u64,
    /// The number of transactions, the coinbase included.
    pub transaction_count: usize,
    /// The serialized coinbase, as it is hashed.
    pub coinbase: String,
    /// The byte offset of the 8-byte extra nonce in `coinbase`.
    pub extra_nonce_at: usize,
    /// The siblings of the coinbase on the path to the Merkle root, each on the right.
    pub branch: Vec<String>,
    /// The encoded block, with `block=true` only; with the nonce set, submit it to `/v1/blocks`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Hex>")]
    pub block: Option<String>,
}

/// The query of a template.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TemplateQuery {
    #[schemars(with = "Option<AddressText>")]
    miner: Option<String>,
    /// The name of the rig, by which `/v1/mining/workers` shows it; its first 64 characters count.
    worker: Option<String>,
    #[schemars(with = "Option<TemplateId>")]
    after: Option<String>,
    #[schemars(range(max = 120))]
    timeout: Option<Digits>,
    block: Option<bool>,
}

pub async fn template(
    State(node): State<Arc<NodeState>>,
    client: Client,
    Query(query): Query<TemplateQuery>,
) -> Result<Response, Problem> {
    let params = node.reader.params();
    let miner = query.miner.as_deref();
    let miner = transfer::payout_address(miner, node.default_miner, params.hrp())?;
    let timeout = long_poll::timeout(query.timeout, "timeout")?;
    if let Some(after) = &query.after {
        let (after, _) = templates::parse_id(after)
            .ok_or_else(|| Problem::new(Kind::BAD_REQUEST, "`after` is not a template id"))?;
        let mut long_poll = LongPoll::new(&node, &client, timeout)?;
        let mut readiness = node.readiness.subscribe();
        if node.readiness.check().await.is_ok() {
            tokio::select! {
                () = node.templates.wait_for_other_than(after) => {}
                () = long_poll.ended() => {}
                _ = readiness.changed() => {}
            }
        }
    }
    let candidate = node.templates.issue(miner).await?;
    // What the encoded block and its hexadecimal digits take, before they are rendered.
    let with_block = query.block.unwrap_or(false);
    let lease = if with_block { client.count_bytes(3 * candidate.size() as u64)? } else { None };
    let (id, header, coinbase) = (candidate.id(), candidate.header(), candidate.coinbase());
    let (template, reward) = (candidate.template(), coinbase.reward);
    let (height, target) = (template.height, template.target);
    let worker = Worker::new(miner, query.worker.as_deref().unwrap_or_default());
    node.workers.request(&worker, client.ip(), Interface::Rest, difficulty::of(target));
    let response = Template {
        id,
        height: height.get(),
        previous: header.previous.to_string(),
        header: hex::encode(header.encode()),
        target: target.to_string(),
        bits: header.bits.to_string(),
        time: header.time.get(),
        reward,
        fees: reward.saturating_sub(params.subsidy(height).units()),
        transaction_count: 1 + template.transfers().len(),
        coinbase: hex::encode(coinbase.serialize()),
        extra_nonce_at: coinbase.extra_nonce_offset(),
        branch: template.branch.siblings.iter().map(hex::encode).collect(),
        block: with_block.then(String::new),
    };
    let mut headers = HeaderMap::new();
    let parent = height.checked_sub(1).unwrap_or(Height::GENESIS);
    response::set_chain_headers(&mut headers, parent, header.previous);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if !with_block {
        return Ok((headers, Json(response)).into_response());
    }
    let digits = hex_pieces(candidate.block().encode());
    let items = Items::in_json(&response, ("\"block\":\"", "\""), digits, "");
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content::JSON));
    Ok((headers, Body::from(items.into_payload(client, lease))).into_response())
}

/// The hexadecimal digits of bytes, some thousand at a time.
fn hex_pieces(bytes: Vec<u8>) -> impl Iterator<Item = Vec<u8>> + Send + 'static {
    let mut at = 0;
    std::iter::from_fn(move || {
        let piece =
            bytes.get(at..(at + 8192).min(bytes.len())).filter(|piece| !piece.is_empty())?;
        at += piece.len();
        Some(hex::encode(piece).into_bytes())
    })
}
