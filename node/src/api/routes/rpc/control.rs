//! Methods of test scripts, which change the node and need the API token. All but `stop` are
//! available on networks that allow `/v1/dev`.

use super::context::Context;
use super::error::Error;
use super::params::Params;
use crate::api::http::content::Json;
use crate::api::openapi::schema::{Integer, SignedInteger};
use crate::api::routes::dev::{self, BlockRequest, GenerateRequest, TimeRequest};
use axum::extract::State;
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) async fn generate_to_address(
    context: &Context,
    params: Params<'_>,
) -> Result<Value, Error> {
    let (blocks, miner) = (Integer(params.require("nblocks")?), params.require("address")?);
    let request = GenerateRequest { blocks, miner: Some(miner), time: None, transactions: None };
    let Json(generated) = dev::generate(State(Arc::clone(&context.node)), Json(request)).await?;
    Ok(json!(generated.blocks))
}

pub(super) async fn invalidate_block(
    context: &Context,
    params: Params<'_>,
) -> Result<Value, Error> {
    let request = BlockRequest { hash: params.require("blockhash")? };
    dev::invalidate(State(Arc::clone(&context.node)), Json(request)).await?;
    Ok(Value::Null)
}

pub(super) async fn reconsider_block(
    context: &Context,
    params: Params<'_>,
) -> Result<Value, Error> {
    let request = BlockRequest { hash: params.require("blockhash")? };
    dev::reconsider(State(Arc::clone(&context.node)), Json(request)).await?;
    Ok(Value::Null)
}

/// Stops the clock at a Unix time; 0 returns to that of this machine.
pub(super) async fn set_mock_time(context: &Context, params: Params<'_>) -> Result<Value, Error> {
    let timestamp: u64 = params.require("timestamp")?;
    let is_reset = timestamp == 0;
    let request = TimeRequest {
        offset_seconds: is_reset.then_some(SignedInteger(0)),
        time: (!is_reset).then_some(Integer(timestamp)),
        frozen: (!is_reset).then_some(true),
        next_block_time: None,
    };
    dev::time(State(Arc::clone(&context.node)), Json(request)).await?;
    Ok(Value::Null)
}

/// Stops the node as SIGTERM does. The response is sent before.
pub(super) async fn stop(context: &Context, _: Params<'_>) -> Result<Value, Error> {
    tracing::info!("a client stops the node by JSON-RPC");
    context.node.shutdown.cancel();
    Ok(json!("chain stopping"))
}
