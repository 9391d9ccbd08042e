//! Development tools, on networks whose blocks take practically no work.

use crate::api::http::content::Json;
use crate::api::http::error;
use crate::api::http::extract::in_range;
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::response::blocking;
use crate::api::openapi::route::{Routes, post};
use crate::api::openapi::schema::{AddressText, BlockHash, Integer, SignedInteger};
use crate::api::routes::{transactions, transfer};
use crate::auth::Token;
use crate::state::NodeState;
use crate::writer::BlockOverride;
use axum::extract::State;
use axum::response::Response;
use chain::mempool::Replacement;
use chain::rules::Rule;
use chain::{Address, Params, block};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::io;
use std::sync::Arc;

pub fn routes(token: &Token) -> Routes {
    Routes::new([
        post("/v1/dev/generate", "Generate blocks", generate)
            .response::<Generated>(200, "The blocks are the last of the best chain.")
            .errors(&[Kind::NOT_AVAILABLE, Kind::NO_MINER, Kind::DISK_FULL])
            .errors(&[Kind::rule(Rule::TimeTooNew)]),
        post("/v1/dev/time", "Offset the clock", time)
            .description(
                "Blocks are validated and mined by the adjusted clock, also after a restart. Messages \
                                   of peers are still compared with the system clock first.",
            )
            .response::<TimeResponse>(200, "The clock was adjusted.")
            .errors(&[Kind::NOT_AVAILABLE, Kind::DISK_FULL]),
        post("/v1/dev/invalidate", "Invalidate a block", invalidate)
            .description(
                "Invalidates the block and its descendants, persistently: the tip moves to the best \
                                   other branch. Other nodes are not affected.",
            )
            .response::<TipResponse>(200, "The block is invalidated.")
            .errors(&[Kind::NOT_AVAILABLE, Kind::NOT_FOUND, Kind::DISK_FULL]),
        post("/v1/dev/reconsider", "Reconsider an invalidated block", reconsider)
            .description("Reverts `invalidate` for the block, its ancestors and its descendants.")
            .response::<TipResponse>(200, "The block may be connected again.")
            .errors(&[Kind::NOT_AVAILABLE, Kind::NOT_FOUND, Kind::DISK_FULL]),
        post("/v1/dev/faucet", "Send coins to an address", faucet)
            .description(
                "The coins come from the last of the ten accounts allocated on `dev`, whose seed words \
                                   are public. The next block confirms the transfer.",
            )
            .returns_created::<transactions::Transaction>("The transfer is in the mempool.")
            .errors(&error::transfer_errors())
            .errors(&[Kind::NOT_AVAILABLE]),
    ])
    .protected(token)
}

/// Largest number of blocks per request.
const MAX_BLOCKS: u64 = 10_000;
/// Blocks the writer generates before it serves other requests.
const BATCH: u64 = 200;
/// Largest expected number of hashes of a block generated on demand: some milliseconds.
const MAX_WORK: u64 = 1 << 16;

/// Largest clock offset in seconds, either way: ten years.
const MAX_SHIFT: i64 = 315_360_000;
/// The status code of a branch that the operator invalidated.
pub const INVALIDATED: &str = "invalidated";

/// Returns whether the routes of this file are available on a network.
pub fn is_available(params: &Params) -> bool {
    let spec = params.spec();
    let work = spec.genesis_bits.target().map(|target| u64::try_from(target.work().value()));
    spec.fixed_difficulty && work.is_ok_and(|work| work.is_ok_and(|work| work <= MAX_WORK))
}

/// A request to generate blocks.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "GenerateRequest")]
#[serde(deny_unknown_fields)]
pub struct GenerateRequest {
    /// The number of blocks.
    #[schemars(range(min = 1, max = 10_000))]
    pub blocks: Integer,
    /// The payout address; the default one of the node unless given.
    #[schemars(with = "Option<AddressText>")]
    pub miner: Option<String>,
}

/// Generated blocks, oldest first.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Generated {
    /// The hashes of the blocks.
    #[schemars(with = "Vec<BlockHash>")]
    pub blocks: Vec<String>,
}

pub async fn generate(
    State(node): State<Arc<NodeState>>,
    Json(request): Json<GenerateRequest>,
) -> Result<Json<Generated>, Problem> {
    require_dev_network(&node)?;
    let params = node.reader.params();
    let blocks = in_range(request.blocks.0, 1..=MAX_BLOCKS, "blocks")?;
    let miner = request.miner.as_deref();
    let miner = transfer::payout_address(miner, default_miner(&node), params.hrp())?;
    let mut made: Vec<block::Hash> = Vec::new();
    let mut left = blocks;
    while left > 0 {
        let batch = left.min(BATCH);
        let batch = u32::try_from(batch).expect("a batch is short");
        made.extend(node.writer.generate_blocks(batch, miner).await??);
        left = left.saturating_sub(u64::from(batch));
    }
    Ok(Json(Generated { blocks: made.iter().map(ToString::to_string).collect() }))
}

fn require_dev_network(node: &NodeState) -> Result<(), Problem> {
    let params = node.reader.params();
    if is_available(params) {
        return Ok(());
    }
    let detail = format!("`{}` is not a development network: its blocks take work", params.name());
    Err(Problem::new(Kind::NOT_AVAILABLE, detail))
}

/// The node's default payout address, or else the first allocated one.
fn default_miner(node: &NodeState) -> Option<Address> {
    let allocations = &node.reader.params().spec().allocations;
    node.default_miner.or_else(|| allocations.first().map(|(address, _)| *address))
}

/// A request to offset the clock.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "TimeRequest")]
#[serde(deny_unknown_fields)]
pub struct TimeRequest {
    /// The offset from the system clock in seconds.
    #[schemars(range(min = -315_360_000, max = 315_360_000))]
    pub offset_seconds: SignedInteger,
}

/// The state of the clock.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct TimeResponse {
    /// The offset from the system clock in seconds.
    pub offset_seconds: i64,
    /// The adjusted time, Unix seconds.
    pub time: u32,
}

pub async fn time(
    State(node): State<Arc<NodeState>>,
    Json(request): Json<TimeRequest>,
) -> Result<Json<TimeResponse>, Problem> {
    require_dev_network(&node)?;
    let SignedInteger(offset_seconds) = request.offset_seconds;
    in_range(offset_seconds, -MAX_SHIFT..=MAX_SHIFT, "offset_seconds")?;
    let time = node.writer.set_clock_offset(offset_seconds).await?.map_err(|error| {
        let kind = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Kind::DISK_FULL,
            _ => Kind::INTERNAL,
        };
        Problem::new(kind, format!("the offset cannot be stored: {error}"))
    })?;
    let time = time.get();
    // Published before the response.
    let _ = node.readiness.check().await;
    Ok(Json(TimeResponse { offset_seconds, time }))
}

/// A request that names a block.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "BlockRequest")]
#[serde(deny_unknown_fields)]
pub struct BlockRequest {
    /// The hash of the block.
    #[schemars(with = "BlockHash")]
    pub hash: String,
}

/// The tip after a change.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "TipResponse")]
pub struct TipResponse {
    /// The hash of the tip.
    #[schemars(with = "BlockHash")]
    pub tip: String,
    /// The height of the tip.
    pub height: u32,
}

pub async fn invalidate(
    State(node): State<Arc<NodeState>>,
    Json(request): Json<BlockRequest>,
) -> Result<Json<TipResponse>, Problem> {
    override_block(&node, BlockOverride::Invalidate, &request).await
}

pub async fn reconsider(
    State(node): State<Arc<NodeState>>,
    Json(request): Json<BlockRequest>,
) -> Result<Json<TipResponse>, Problem> {
    override_block(&node, BlockOverride::Reconsider, &request).await
}

async fn override_block(
    node: &NodeState,
    override_kind: BlockOverride,
    request: &BlockRequest,
) -> Result<Json<TipResponse>, Problem> {
    require_dev_network(node)?;
    let hash = crate::api::routes::blocks::hash(&request.hash).ok_or_else(|| {
        let detail = "`hash` must be 64 lower-case hexadecimal digits";
        Problem::new(Kind::BAD_REQUEST, detail)
    })?;
    node.writer.override_block(override_kind, hash).await??;
    let tip = *node.reader.view().tip();
    Ok(Json(TipResponse { tip: tip.hash.to_string(), height: tip.height.get() }))
}

/// A request for coins; the amount is in base units.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "FaucetRequest")]
#[serde(deny_unknown_fields)]
pub struct FaucetRequest {
    #[schemars(with = "AddressText")]
    address: String,
    amount: Integer,
}

pub async fn faucet(
    State(node): State<Arc<NodeState>>,
    Json(request): Json<FaucetRequest>,
) -> Result<Response, Problem> {
    require_dev_network(&node)?;
    let recipient = transfer::address(&request.address, node.reader.params().hrp(), "address")?;
    let Integer(amount) = request.amount;
    let _turn = node.faucet.lock().await;
    let paying = node.clone();
    let paid =
        blocking(move || paying.faucet.sign_payment(&paying.reader, recipient, amount)).await??;
    let transfer = paid.ok_or_else(|| {
        let detail = "the paying account has no allocation on this network";
        Problem::new(Kind::NOT_AVAILABLE, detail)
    })?;
    transactions::respond_to_submit(&node, transfer, Replacement::Forbidden).await
}
