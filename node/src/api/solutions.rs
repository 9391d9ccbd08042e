//! Solutions of miners elsewhere: what they chose in a candidate that they were given, instead of
//! the whole block.

use super::blocks;
use super::extract::Json;
use super::problem::{Kind, Problem};
use crate::daemon::Node;
use axum::extract::State;
use axum::response::Response;
use chain::Timestamp;
use chain::ledger::Accepted;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a miner found. What it does not say is as it was in the candidate.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Solution {
    /// The candidate's id.
    #[schemars(with = "super::shape::TemplateId")]
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
    State(node): State<Node>,
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
    let block = candidate.sealed(|header| {
        header.nonce = nonce;
        header.time = time.map_or(header.time, Timestamp::new);
        header.version = version.unwrap_or(header.version);
    });
    let (hash, previous) = (block.hash(), block.header.previous);
    match node.writer.block(block).await?? {
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
