//! JSON-RPC at `POST /` for existing miners: `getblocktemplate`, `submitblock` and `getmininginfo`, as
//! far as Bitcoin miners use them. The user name of HTTP Basic is the payout address. Errors of a call
//! have status 200, except 401 where no payout address is known.
//! Source: BIP 22 and 23; error codes of Bitcoin Core's `rpc/protocol.h`.

mod basic;
mod error;
mod submission;
mod template;

use crate::api::http::extract::{Bytes, MAX_BLOCK_BODY};
use crate::api::http::resources::Client;
use crate::api::openapi::route::{Routes, post};
use crate::difficulty;
use crate::state::NodeState;
use axum::extract::State;
use axum::http::header::{HOST, WWW_AUTHENTICATE};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use error::Error;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;

pub fn routes() -> Routes {
    Routes::new([post("/", "Call a JSON-RPC method", serve)
        .description(
            "Implements `getblocktemplate`, `submitblock` and `getmininginfo` for Bitcoin miners; \
                               the user name is the payout address. Errors of a call have status 200.",
        )
        .body_limit(MAX_BLOCK_BODY)
        .response::<CallResponse>(200, "The result of the call.")
        .response::<CallResponse>(401, "The user name is not a valid address.")])
}

/// The URL of the Stratum server: miners that support Stratum switch to it.
const X_STRATUM: HeaderName = HeaderName::from_static("x-stratum");

/// The response to a JSON-RPC call.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "JsonRpcResponse")]
struct CallResponse {
    /// The result; null if the call failed.
    #[schemars(schema_with = "any_json")]
    result: Value,
    /// Why the call failed; null if it succeeded.
    error: Option<CallError>,
    /// The id of the call.
    #[schemars(schema_with = "any_json")]
    id: Value,
}

/// The error of a JSON-RPC call.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "JsonRpcError")]
struct CallError {
    /// The code, as of Bitcoin Core.
    code: i32,
    /// A description.
    message: String,
}

/// The schema of any JSON value. That of `Value` is `true`, which generators of clients refuse.
fn any_json(_: &mut SchemaGenerator) -> Schema {
    json_schema!({})
}

pub async fn serve(
    State(node): State<Arc<NodeState>>,
    client: Client,
    headers: HeaderMap,
    Bytes(body): Bytes,
) -> Response {
    let (id, result) = match read(&body) {
        Ok((id, method, params)) => (id, call(&node, &client, &headers, &method, &params).await),
        Err(error) => (Value::Null, Err(error)),
    };
    let mut headers_out = HeaderMap::new();
    headers_out.extend(stratum(&node, &headers).map(|url| (X_STRATUM, url)));
    let (status, body) = match result {
        Ok(result) => (StatusCode::OK, CallResponse { result, error: None, id }),
        Err(Error { code, message }) => {
            let is_unauthorized = code == Error::UNAUTHORIZED;
            if is_unauthorized {
                let challenge = HeaderValue::from_static("Basic realm=\"payout address\"");
                headers_out.insert(WWW_AUTHENTICATE, challenge);
            }
            let status = if is_unauthorized { StatusCode::UNAUTHORIZED } else { StatusCode::OK };
            let error = Some(CallError { code, message });
            (status, CallResponse { result: Value::Null, error, id })
        }
    };
    (status, headers_out, axum::Json(body)).into_response()
}

/// Parses the id, method and parameters of a call.
fn read(body: &[u8]) -> Result<(Value, String, Vec<Value>), Error> {
    let call: Value = serde_json::from_slice(body)
        .map_err(|error| Error::new(Error::PARSE, format!("the body is not JSON: {error}")))?;
    let method = call.get("method").and_then(Value::as_str);
    let params = match call.get("params") {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::Array(params)) => Some(params.clone()),
        Some(_) => None,
    };
    match (method, params) {
        (Some(method), Some(params)) => {
            let id = call.get("id").cloned().unwrap_or_default();
            Ok((id, method.to_owned(), params))
        }
        _ => {
            let message = "a call is an object with `method` and an array of `params`";
            Err(Error::new(Error::INVALID_REQUEST, message))
        }
    }
}

async fn call(
    node: &NodeState,
    client: &Client,
    headers: &HeaderMap,
    method: &str,
    params: &[Value],
) -> Result<Value, Error> {
    match method {
        "getblocktemplate" => {
            let miner = basic::payout_address(headers, node)?;
            template::get(node, client, miner, params.first().unwrap_or(&Value::Null)).await
        }
        "submitblock" => submission::submit(node, params).await,
        "getmininginfo" => Ok(mining_info(node)),
        _ => {
            let message = format!(
                "method `{method}` not found: available are getblocktemplate, submitblock and \
                                 getmininginfo; the REST API is under /v1"
            );
            Err(Error::new(Error::METHOD_NOT_FOUND, message))
        }
    }
}

/// The result of `getmininginfo`, with the field names of Bitcoin Core.
fn mining_info(node: &NodeState) -> Value {
    let view = node.reader.view();
    let tip = view.tip();
    let bits = view.as_parent(tip).next_bits(view.params());
    let target = bits.target().expect("the difficulty is computed as canonical bits");
    json!({
        "blocks": tip.height.get(),
        "bits": bits.to_string(),
        "difficulty": difficulty::of(target),
        "target": target.to_string(),
        "networkhashps": crate::api::routes::chain::hashrate_estimate(&view).unwrap_or(0.0),
        "pooledtx": view.mempool().count(),
        "chain": view.params().name(),
        "warnings": "",
    })
}

/// The URL of the Stratum server at the host name of the request.
fn stratum(node: &NodeState, headers: &HeaderMap) -> Option<HeaderValue> {
    let (address, _) = node.stratum.as_ref()?;
    let host: Authority = headers.get(HOST)?.to_str().ok()?.parse().ok()?;
    HeaderValue::try_from(format!("stratum+tcp://{}:{}", host.host(), address.port())).ok()
}
