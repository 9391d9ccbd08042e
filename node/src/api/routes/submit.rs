//! Submission of solutions by external miners: the fields of the header and the coinbase that complete
//! a block template, in place of the whole block.

use crate::api::http::content::Json;
use crate::api::http::error;
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::resources::Client;
use crate::api::openapi::route::{Routes, post};
use crate::api::routes::blocks;
use crate::api::routes::solved::{Solved, count_stale};
use crate::mining::templates;
use crate::mining::workers::Interface;
use crate::state::NodeState;
use axum::extract::State;
use axum::response::Response;
use chain::Timestamp;
use chain::ledger::Accepted;
use miner::stratum::Worker;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

pub fn routes() -> Routes {
    Routes::new([post("/v1/mining/solutions", "Submit a solution of a template", submit)
        .returns_created::<blocks::SubmitResponse>("The block is new.")
        .response::<blocks::SubmitResponse>(
            200,
            "The block was known already: it is synced, and readable at `/v1/blocks/{hash}`.",
        )
        .errors(&error::block_errors())
        .errors(&[Kind::STALE_TEMPLATE])])
}

/// A solution of a block template. Omitted fields have the values of the template.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Solution {
    /// The id of the template.
    #[schemars(with = "crate::api::openapi::schema::TemplateId")]
    pub template: String,
    /// The nonce of the header.
    #[schemars(range(max = 4_294_967_295_u32))]
    pub nonce: u32,
    /// The time of the header, Unix seconds.
    #[serde(default)]
    #[schemars(range(max = 4_294_967_295_u32))]
    pub time: Option<u32>,
    /// The version of the header; bits 13 to 28 are free.
    #[serde(default)]
    #[schemars(range(min = -2_147_483_648, max = 2_147_483_647))]
    pub version: Option<i32>,
    /// The extra nonce of the coinbase: 16 hexadecimal digits.
    #[serde(default)]
    #[schemars(regex(pattern = "^[0-9a-f]{16}$"))]
    pub extra_nonce: Option<String>,
    /// The name of the rig, for which the solution counts in `/v1/mining/workers`.
    #[serde(default)]
    pub worker: Option<String>,
}

pub async fn submit(
    State(node): State<Arc<NodeState>>,
    client: Client,
    Json(solution): Json<Solution>,
) -> Result<Response, Problem> {
    let Solution { template, nonce, time, version, extra_nonce, worker } = solution;
    let name = worker.unwrap_or_default();
    let mut candidate = node.templates.find(&template).ok_or_else(|| {
        if let Some(miner) = templates::payout_address(&template) {
            let worker = Worker::new(miner, &name);
            count_stale(&node, &client, Interface::Rest, &worker);
        }
        let detail = "the template is unknown or was issued long ago: request a new one";
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
    let payout_address = candidate.coinbase().recipient;
    let solved = Solved::new(&block, Interface::Rest, &Worker::new(payout_address, &name));
    let result = node.writer.submit_block(block).await?;
    solved.count(&node, &client, &result);
    match result? {
        Accepted::SideBranch => {
            let detail = format!(
                "a block on top of {previous} was connected first: block {hash} is on a side branch; \
                                 request a new template"
            );
            Err(Problem::new(Kind::STALE_TEMPLATE, detail))
        }
        accepted => Ok(blocks::submit_response(&node, hash, accepted)),
    }
}
