//! What helps development, on networks where blocks take no work worth speaking of.

use crate::api::http::content::Json;
use crate::api::http::error;
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::response::aside;
use crate::api::openapi::route::{Table, post};
use crate::api::openapi::schema::{AddressText, BlockHash, Integer, SignedInteger};
use crate::api::routes::{transactions, transfer};
use crate::auth::Token;
use crate::state::NodeState;
use crate::writer::BlockOverride;
use axum::extract::State;
use axum::response::Response;
use chain::rules::Rule;
use chain::{Address, Params, block};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The routes of this resource.
pub fn routes(token: &Token) -> Table {
    Table::new([
        post("/v1/dev/generate", "Make blocks at once", generate)
            .answers::<Generated>(200, "They are the best chain's last ones.")
            .fails(&[Kind::NOT_AVAILABLE, Kind::NO_MINER, Kind::DISK_FULL])
            .fails(&[Kind::rule(Rule::TimeTooNew)]),
        post("/v1/dev/time", "Shift the clock", time)
            .says(
                "By it this node judges and mines, until it stops. Peers keep theirs, and what \
                   they send is compared with this machine's first.",
            )
            .answers::<Clock>(200, "It is shifted.")
            .fails(&[Kind::NOT_AVAILABLE]),
        post("/v1/dev/invalidate", "Turn away from a block", invalidate)
            .says(
                "And from all that descends from it, over restarts: the tip moves to the best \
                   of the other branches. Other nodes are not told.",
            )
            .answers::<Moved>(200, "It is not followed.")
            .fails(&[Kind::NOT_AVAILABLE, Kind::NOT_FOUND, Kind::DISK_FULL]),
        post("/v1/dev/reconsider", "Follow a block again, if it is the best", reconsider)
            .says("Takes back what `invalidate` did to it, its ancestors and its descendants.")
            .answers::<Moved>(200, "It may be followed.")
            .fails(&[Kind::NOT_AVAILABLE, Kind::NOT_FOUND, Kind::DISK_FULL]),
        post("/v1/dev/faucet", "Have coins sent to an address", faucet)
            .says(
                "They come from the last of the ten accounts that own something on `dev`, whose \
                   words are public. They arrive with the next block.",
            )
            .makes::<transactions::Transaction>("They are on their way.")
            .fails(&error::of_transfers())
            .fails(&[Kind::NOT_AVAILABLE]),
    ])
    .protected(token)
}

/// Most blocks of a request.
const MAX_BLOCKS: u64 = 10_000;
/// Blocks the writer makes before it looks at other requests.
const TURN: u64 = 200;
/// Most expected hashes of a block that may be made on demand: some milliseconds.
const MAX_WORK: u64 = 1 << 16;

/// Most seconds that the clock may be shifted, either way: ten years.
const MAX_SHIFT: i64 = 315_360_000;
/// What is said of a branch that was invalidated here, in place of a rule's code.
pub const INVALIDATED: &str = "invalidated";

/// Whether blocks may be made on demand, and all else here be done.
pub fn is_available(params: &Params) -> bool {
    let spec = params.spec();
    let work = spec.genesis_bits.target().map(|target| u64::try_from(target.work().value()));
    spec.fixed_difficulty && work.is_ok_and(|work| work.is_ok_and(|work| work <= MAX_WORK))
}

/// What to generate.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "GenerateOrder")]
#[serde(deny_unknown_fields)]
pub struct Order {
    #[schemars(range(min = 1, max = 10_000))]
    blocks: Integer,
    #[schemars(with = "Option<AddressText>")]
    miner: Option<String>,
}

/// Blocks that were made, oldest first.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Generated {
    /// Their hashes.
    #[schemars(with = "Vec<BlockHash>")]
    pub blocks: Vec<String>,
}

/// Makes blocks at once.
pub async fn generate(
    State(node): State<Arc<NodeState>>,
    Json(order): Json<Order>,
) -> Result<Json<Generated>, Problem> {
    must_be_available(&node)?;
    let params = node.reader.params();
    let Integer(blocks) = order.blocks;
    if !(1..=MAX_BLOCKS).contains(&blocks) {
        let detail = format!("blocks must be 1 to {MAX_BLOCKS}, not {blocks}");
        return Err(Problem::new(Kind::BAD_REQUEST, detail));
    }
    let miner = match order.miner {
        Some(text) => transfer::address(&text, params.hrp(), "miner")?,
        None => default_miner(&node).ok_or_else(|| {
            let detail = "nobody is named to be paid: give `miner`, an address";
            Problem::new(Kind::NO_MINER, detail)
        })?,
    };
    let mut made: Vec<block::Hash> = Vec::new();
    let mut left = blocks;
    while left > 0 {
        let turn = left.min(TURN);
        let turn_blocks = u32::try_from(turn).expect("a turn is short");
        made.extend(node.writer.generate_blocks(turn_blocks, miner).await??);
        left = left.saturating_sub(turn);
    }
    Ok(Json(Generated { blocks: made.iter().map(ToString::to_string).collect() }))
}

fn must_be_available(node: &NodeState) -> Result<(), Problem> {
    let params = node.reader.params();
    if is_available(params) {
        return Ok(());
    }
    let detail = format!("`{}` is no network for development: its blocks take work", params.name());
    Err(Problem::new(Kind::NOT_AVAILABLE, detail))
}

/// The node's own, or the first that owns something from the beginning.
fn default_miner(node: &NodeState) -> Option<Address> {
    let allocations = &node.reader.params().spec().allocations;
    node.default_miner.or_else(|| allocations.first().map(|(address, _)| *address))
}

/// How to shift the clock.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "ClockOrder")]
#[serde(deny_unknown_fields)]
pub struct Shift {
    #[schemars(range(min = -315_360_000, max = 315_360_000))]
    offset_seconds: SignedInteger,
}

/// What the clock is now.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Clock {
    /// How far it is ahead of this machine's clock, or behind it.
    pub offset_seconds: i64,
    /// What it says.
    pub time: u32,
}

/// Shifts the clock by which blocks are judged and mined, until the node stops. What peers send
/// is still compared with this machine's clock first.
pub async fn time(
    State(node): State<Arc<NodeState>>,
    Json(shift): Json<Shift>,
) -> Result<Json<Clock>, Problem> {
    must_be_available(&node)?;
    let SignedInteger(offset_seconds) = shift.offset_seconds;
    if !(-MAX_SHIFT..=MAX_SHIFT).contains(&offset_seconds) {
        let detail =
            format!("offset_seconds must be −{MAX_SHIFT} to {MAX_SHIFT}, not {offset_seconds}");
        return Err(Problem::new(Kind::BAD_REQUEST, detail));
    }
    let time = node.writer.set_clock_offset(offset_seconds).await?.get();
    Ok(Json(Clock { offset_seconds, time }))
}

/// Which block is meant.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "BlockOrder")]
#[serde(deny_unknown_fields)]
pub struct Named {
    #[schemars(with = "BlockHash")]
    hash: String,
}

/// Where the chain stands after it was told what to follow.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "NewTip")]
pub struct Moved {
    /// The tip's hash.
    #[schemars(with = "BlockHash")]
    pub tip: String,
    /// The tip's height.
    pub height: u32,
}

/// Turns away from a block and all that descends from it, even if they are the best; over restarts.
pub async fn invalidate(
    State(node): State<Arc<NodeState>>,
    Json(named): Json<Named>,
) -> Result<Json<Moved>, Problem> {
    steer(&node, BlockOverride::Invalidate, &named).await
}

/// Follows a block again, if it is the best: itself, its ancestors and its descendants.
pub async fn reconsider(
    State(node): State<Arc<NodeState>>,
    Json(named): Json<Named>,
) -> Result<Json<Moved>, Problem> {
    steer(&node, BlockOverride::Reconsider, &named).await
}

async fn steer(
    node: &NodeState,
    steering: BlockOverride,
    named: &Named,
) -> Result<Json<Moved>, Problem> {
    must_be_available(node)?;
    let hash = crate::api::routes::blocks::hash(&named.hash).ok_or_else(|| {
        let detail = "`hash` must be the 64 hexadecimal digits of a block's hash in lower case";
        Problem::new(Kind::BAD_REQUEST, detail)
    })?;
    node.writer.override_block(steering, hash).await??;
    let tip = *node.reader.view().tip();
    Ok(Json(Moved { tip: tip.hash.to_string(), height: tip.height.get() }))
}

/// Whom to give how much, base units.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "FaucetOrder")]
#[serde(deny_unknown_fields)]
pub struct Wish {
    #[schemars(with = "AddressText")]
    address: String,
    amount: Integer,
}

/// Sends coins from the last of the accounts whose words are public; a block then confirms them.
pub async fn faucet(
    State(node): State<Arc<NodeState>>,
    Json(wish): Json<Wish>,
) -> Result<Response, Problem> {
    must_be_available(&node)?;
    let recipient = transfer::address(&wish.address, node.reader.params().hrp(), "address")?;
    let Integer(amount) = wish.amount;
    let _turn = node.faucet.lock().await;
    let paying = node.clone();
    let paid =
        aside(move || paying.faucet.sign_payment(&paying.reader, recipient, amount)).await??;
    let transfer = paid.ok_or_else(|| {
        let detail = "the account that pays owns nothing on this network from the beginning";
        Problem::new(Kind::NOT_AVAILABLE, detail)
    })?;
    transactions::take(&node, transfer).await
}
