//! What helps development, on networks where blocks take no work worth speaking of.

use super::extract::Json;
use super::number::Integer;
use super::problem::{Kind, Problem};
use super::transfer;
use crate::daemon::Node;
use axum::extract::State;
use chain::{Address, Params, block};
use serde::{Deserialize, Serialize};

/// Most blocks of a request.
const MAX_BLOCKS: u64 = 10_000;
/// Blocks the writer makes before it looks at other requests.
const TURN: u64 = 200;
/// Most expected hashes of a block that may be made on demand: some milliseconds.
const MAX_WORK: u64 = 1 << 16;

/// Whether blocks may be made on demand.
pub fn is_available(params: &Params) -> bool {
    let spec = params.spec();
    let work = spec.genesis_bits.target().map(|target| u64::try_from(target.work().value()));
    spec.fixed_difficulty && work.is_ok_and(|work| work.is_ok_and(|work| work <= MAX_WORK))
}

/// What to generate.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    blocks: Integer,
    miner: Option<String>,
}

/// Blocks that were made, oldest first.
#[derive(Debug, Serialize, Deserialize)]
pub struct Generated {
    /// Their hashes.
    pub blocks: Vec<String>,
}

/// Makes blocks at once.
pub async fn generate(
    State(node): State<Node>,
    Json(order): Json<Order>,
) -> Result<Json<Generated>, Problem> {
    let params = node.reader.params();
    if !is_available(params) {
        let detail = format!("blocks of `{}` take work: they are mined", params.name());
        return Err(Problem::new(Kind::NOT_AVAILABLE, detail));
    }
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
        made.extend(node.writer.generate(turn_blocks, miner).await??);
        left = left.saturating_sub(turn);
    }
    Ok(Json(Generated { blocks: made.iter().map(ToString::to_string).collect() }))
}

/// The node's own, or the first that owns something from the beginning.
fn default_miner(node: &Node) -> Option<Address> {
    let allocations = &node.reader.params().spec().allocations;
    node.default_miner.or_else(|| allocations.first().map(|(address, _)| *address))
}
