//! Methods of test scripts, which change the node and need the API token. All but `stop` are
//! available on networks that allow `/v1/dev`.

use super::context::Context;
use super::error::Error;
use super::params::Params;
use crate::api::http::content::Json;
use crate::api::openapi::schema::{Integer, SignedInteger};
use crate::api::routes::dev::{self, BlockRequest, GenerateRequest, TimeRequest};
use crate::clock;
use axum::extract::State;
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) async fn generate_to_address(
    context: &Context,
    params: Params<'_>,
) -> Result<Value, Error> {
    let (blocks, miner) = (Integer(params.require("nblocks")?), params.require("address")?);
    let request = GenerateRequest { blocks, miner: Some(miner) };
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

/// Sets the clock to a Unix time, from which it goes on; 0 returns to that of this machine.
pub(super) async fn set_mock_time(context: &Context, params: Params<'_>) -> Result<Value, Error> {
    let time: u32 = params.require("timestamp")?;
    let offset = match time {
        0 => 0,
        _ => i64::from(time) - i64::from(clock::now().get()),
    };
    let request = TimeRequest { offset_seconds: SignedInteger(offset) };
    dev::time(State(Arc::clone(&context.node)), Json(request)).await?;
    Ok(Value::Null)
}

/// Stops the node as SIGTERM does. The response is sent before.
pub(super) async fn stop(context: &Context, _: Params<'_>) -> Result<Value, Error> {
    tracing::info!("a client stops the node by JSON-RPC");
    context.node.shutdown.cancel();
    Ok(json!("chain stopping"))
}
