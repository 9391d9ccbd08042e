//! Solutions of miners elsewhere: what they chose in a candidate that they were given, instead of
//! the whole block.

use crate::api::http::content::Json;
use crate::api::http::error;
use crate::api::http::problem::{Kind, Problem};
use crate::api::openapi::route::{Table, post};
use crate::api::routes::blocks;
use crate::state::NodeState;
use axum::extract::State;
use axum::response::Response;
use chain::Timestamp;
use chain::ledger::Accepted;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The routes of this resource.
pub fn routes() -> Table {
    Table::new([post("/v1/mining/solutions", "Hand in what was found in a template", submit)
        .makes::<blocks::HandedIn>("It is a new block.")
        .answers::<blocks::HandedIn>(200, "The block is known.")
        .fails(&error::of_blocks())
        .fails(&[Kind::STALE_TEMPLATE])])
}

/// What a miner found. What it does not say is as it was in the candidate.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Solution {
    /// The candidate's id.
    #[schemars(with = "crate::api::openapi::schema::TemplateId")]
    pub template: String,
    /// The header's.
    #[schemars(range(max = 4_294_967_295_u32))]
    pub nonce: u32,
    /// The header's.
    #[serde(default)]
    #[schemars(range(max = 4_294_967_295_u32))]
    pub time: Option<u32>,
    /// The header's: bits 13 to 28 may be anything.
    #[serde(default)]
    #[schemars(range(min = -2_147_483_648, max = 2_147_483_647))]
    pub version: Option<i32>,
    /// The coinbase's: 16 hexadecimal digits.
    #[serde(default)]
    #[schemars(regex(pattern = "^[0-9a-f]{16}$"))]
    pub extra_nonce: Option<String>,
}

/// Takes a solution in.
pub async fn submit(
    State(node): State<Arc<NodeState>>,
    Json(solution): Json<Solution>,
) -> Result<Response, Problem> {
    let Solution { template, nonce, time, version, extra_nonce } = solution;
    let mut candidate = node.templates.find(&template).ok_or_else(|| {
        let detail = "no such template, or one of long ago: get a new one";
        Problem::new(Kind::STALE_TEMPLATE, detail)
    })?;
    if let Some(text) = extra_nonce {
        let mut bytes = [0; 8];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| {
            Problem::new(Kind::BAD_REQUEST, "extra_nonce is not 16 hexadecimal digits")
        })?;
        candidate = candidate.with_extra_nonce(bytes);
    }
    let block = candidate.solved(|header| {
        header.nonce = nonce;
        header.time = time.map_or(header.time, Timestamp::new);
        header.version = version.unwrap_or(header.version);
    });
    let (hash, previous) = (block.hash(), block.header.previous);
    match node.writer.submit_block(block).await?? {
        Accepted::SideBranch => {
            let detail = format!(
                "another block came after {previous} first: block {hash} is kept as a side branch; \
                 get a new template"
            );
            Err(Problem::new(Kind::STALE_TEMPLATE, detail))
        }
        accepted => Ok(blocks::handed_in(&node, hash, accepted)),
    }
}
