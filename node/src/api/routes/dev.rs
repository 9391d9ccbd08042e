//! Development tools, on networks whose blocks take practically no work.

use crate::api::http::content::Json;
use crate::api::http::error;
use crate::api::http::extract::{MAX_BLOCK_BODY, in_range};
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::response::blocking;
use crate::api::openapi::route::{Routes, post};
use crate::api::openapi::schema::{AddressText, BlockHash, Integer, SignedInteger};
use crate::api::routes::{transactions, transfer};
use crate::auth::Token;
use crate::clock::ClockSetting;
use crate::config::Config;
use crate::state::NodeState;
use crate::writer::{BlockOverride, Generation};
use anyhow::ensure;
use axum::extract::State;
use axum::response::Response;
use chain::mempool::Replacement;
use chain::{Address, Params, Timestamp, Transfer, block, tx};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::io;
use std::sync::Arc;

pub fn routes(token: &Token) -> Routes {
    Routes::new([
        post("/v1/dev/generate", "Generate blocks", generate)
            .description(
                "`time` and `transactions` apply to the first block: its time, and exactly its \
                 transfers, in their order; otherwise it has the time of the clock and the transfers \
                 of the mempool.",
            )
            .body_limit(MAX_BLOCK_BODY)
            .response::<Generated>(200, "The blocks are the last of the best chain.")
            .errors(&[Kind::NOT_AVAILABLE, Kind::NO_MINER, Kind::NOT_FOUND, Kind::DISK_FULL])
            .errors(&Kind::rules().collect::<Vec<_>>()),
        post("/v1/dev/time", "Set the clock", time)
            .description(
                "Blocks are validated and mined by this clock, also after a restart: it is that of the \
                 machine with an offset, runs on from a `time`, or stands still while it is `frozen`. \
                 `next_block_time` is the time of the next block that is generated, by a request or by \
                 `--automine` and `--block-time`. Messages of peers are still compared with the system \
                 clock first. A request that sets nothing returns the state of the clock.",
            )
            .response::<TimeResponse>(200, "The state of the clock.")
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

/// Most transfers in a request to generate blocks: they fit into a block.
const MAX_LISTED: u64 = 10_000;

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

/// Checks that a node can generate blocks by itself and derive them from a seed, if it is to.
pub fn check_generation(config: &Config) -> anyhow::Result<()> {
    if config.seed.is_some() {
        ensure!(
            is_available(&config.params),
            "--seed needs a development network: blocks of `{}` take work, and keys must be secret",
            config.params.name()
        );
        ensure!(
            !config.mine,
            "--mine searches blocks with threads, which find them at random times: leave out --seed, or use \
             --automine or --block-time instead of --mine"
        );
    }
    if !config.generation.is_enabled() {
        return Ok(());
    }
    ensure!(
        is_available(&config.params),
        "--automine and --block-time need a development network: blocks of `{}` take work",
        config.params.name()
    );
    ensure!(
        !config.mine,
        "--mine searches blocks with threads: use either --mine, or --automine and --block-time"
    );
    ensure!(
        payout_address(&config.params, config.miner).is_some(),
        "--automine and --block-time need an address to pay: add --miner ADDRESS"
    );
    Ok(())
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
    /// The time of the first block, Unix seconds.
    #[schemars(range(max = 4_294_967_295_u32))]
    pub time: Option<Integer>,
    /// The transfers of the first block: ids of transfers in the mempool, or signed transfers in
    /// hexadecimal.
    #[schemars(length(max = 10_000))]
    pub transactions: Option<Vec<String>>,
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
    let miner =
        transfer::payout_address(miner, payout_address(params, node.default_miner), params.hrp())?;
    let mut time = request.time.map(|time| timestamp(time.0, "time")).transpose()?;
    let mut transfers = match request.transactions {
        Some(listed) => Some(listed_transfers(&node, &listed)?),
        None => None,
    };
    let mut made: Vec<block::Hash> = Vec::new();
    let mut left = blocks;
    while left > 0 {
        let batch = left.min(BATCH);
        let blocks = u32::try_from(batch).expect("a batch is short");
        let (time, transfers) = (time.take(), transfers.take());
        let request = Generation { blocks, miner, time, transfers };
        made.extend(node.writer.generate_blocks(request).await??);
        left = left.saturating_sub(batch);
    }
    Ok(Json(Generated { blocks: made.iter().map(ToString::to_string).collect() }))
}

/// A time in Unix seconds from the field `name`.
fn timestamp(seconds: u64, name: &str) -> Result<Timestamp, Problem> {
    let seconds = in_range(seconds, 0..=u32::MAX.into(), name)?;
    Ok(Timestamp::new(u32::try_from(seconds).expect("it is in the range")))
}

/// The transfers that ids of the mempool and hexadecimal encodings name.
fn listed_transfers(node: &NodeState, listed: &[String]) -> Result<Vec<Transfer>, Problem> {
    in_range(listed.len() as u64, 0..=MAX_LISTED, "the number of transactions")?;
    let view = node.reader.view();
    let named = listed.iter().map(|text| match text.parse::<tx::Id>() {
        Ok(id) => {
            view.mempool().get(&id).map(|it| it.transfer.transfer().clone()).ok_or_else(|| {
                Problem::new(Kind::NOT_FOUND, format!("no transfer {id} in the mempool"))
            })
        }
        Err(_) => {
            let bytes = hex::decode(text).map_err(|_| {
                let detail = "expected the id or the hexadecimal digits of a signed transfer";
                Problem::new(Kind::BAD_REQUEST, detail)
            })?;
            Ok(Transfer::decode(&bytes)?)
        }
    });
    named.enumerate().map(|(index, it)| it.map_err(|problem| problem.for_item(index))).collect()
}

pub(super) fn require_dev_network(node: &NodeState) -> Result<(), Problem> {
    let params = node.reader.params();
    if is_available(params) {
        return Ok(());
    }
    let detail = format!("`{}` is not a development network: its blocks take work", params.name());
    Err(Problem::new(Kind::NOT_AVAILABLE, detail))
}

/// The address that generated blocks pay: the node's default one, or else the first allocated one.
pub fn payout_address(params: &Params, default_miner: Option<Address>) -> Option<Address> {
    let allocations = &params.spec().allocations;
    default_miner.or_else(|| allocations.first().map(|(address, _)| *address))
}

/// A request to set the clock, or the time of the next block.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "TimeRequest")]
#[serde(deny_unknown_fields)]
pub struct TimeRequest {
    /// The offset from the system clock in seconds; excludes `time`.
    #[schemars(range(min = -315_360_000, max = 315_360_000))]
    pub offset_seconds: Option<SignedInteger>,
    /// The time that the clock shows now, Unix seconds.
    #[schemars(range(max = 4_294_967_295_u32))]
    pub time: Option<Integer>,
    /// Whether the clock stands still. Without it a new time or offset makes it run; `false` alone
    /// makes a frozen clock run on from its time.
    pub frozen: Option<bool>,
    /// The time of the next generated block, Unix seconds.
    #[schemars(range(max = 4_294_967_295_u32))]
    pub next_block_time: Option<Integer>,
}

impl TimeRequest {
    /// The setting of the clock after the request; `None` if it does not change the clock.
    fn setting(&self, current: ClockSetting) -> Result<Option<ClockSetting>, Problem> {
        let set = match (&self.offset_seconds, &self.time) {
            (Some(SignedInteger(offset)), None) => {
                in_range(*offset, -MAX_SHIFT..=MAX_SHIFT, "offset_seconds")?;
                Some(ClockSetting::Offset(*offset))
            }
            (None, Some(Integer(time))) => {
                Some(ClockSetting::running_from(timestamp(*time, "time")?))
            }
            (None, None) => None,
            (Some(_), Some(_)) => {
                let detail = "set the clock by `offset_seconds` or by `time`, not by both";
                return Err(Problem::new(Kind::BAD_REQUEST, detail));
            }
        };
        Ok(match (set, self.frozen) {
            (None, None) => None,
            (set, Some(true)) => Some(ClockSetting::Frozen(set.unwrap_or(current).now())),
            (None, Some(false)) => Some(match current {
                ClockSetting::Frozen(time) => ClockSetting::running_from(time),
                running => running,
            }),
            (set, _) => set,
        })
    }
}

/// The state of the clock.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct TimeResponse {
    /// The offset from the system clock in seconds.
    pub offset_seconds: i64,
    /// The adjusted time, Unix seconds.
    pub time: u32,
    /// Whether the clock stands still.
    pub frozen: bool,
}

pub async fn time(
    State(node): State<Arc<NodeState>>,
    Json(request): Json<TimeRequest>,
) -> Result<Json<TimeResponse>, Problem> {
    require_dev_network(&node)?;
    let next_block_time = request.next_block_time.as_ref();
    let next_block_time = next_block_time.map(|time| timestamp(time.0, "next_block_time"));
    let next_block_time = next_block_time.transpose()?;
    let setting = request.setting(node.writer.clock_setting())?;
    if let Some(setting) = setting {
        node.writer.set_clock(setting).await?.map_err(|error| clock_not_stored(&error))?;
        // Published before the response.
        let _ = node.readiness.check().await;
    }
    if let Some(time) = next_block_time {
        let set = node.writer.set_next_block_time(time).await?;
        set.map_err(|error| clock_not_stored(&error))?;
    }
    let setting = node.writer.clock_setting();
    Ok(Json(TimeResponse {
        offset_seconds: setting.offset(),
        time: setting.now().get(),
        frozen: matches!(setting, ClockSetting::Frozen(_)),
    }))
}

fn clock_not_stored(error: &io::Error) -> Problem {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Kind::DISK_FULL,
        _ => Kind::INTERNAL,
    };
    Problem::new(kind, format!("the clock cannot be stored: {error}"))
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
