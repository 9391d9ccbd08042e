//! JSON-RPC at `POST /`, for programs that know Bitcoin Core: the methods that mining, pool and test
//! software calls. Each is a row of `methods` over what the REST API serves.
//! Source: JSON-RPC 1.0 and 2.0; BIP 22 and 23; error codes of Bitcoin Core's `rpc/protocol.h`.

mod blockchain;
mod call;
mod context;
mod control;
mod credentials;
mod error;
mod methods;
mod mining;
mod network;
mod params;
mod rest;
mod submission;
mod template;

use crate::api::http::extract::{Bytes, MAX_BLOCK_BODY};
use crate::api::http::problem::Problem;
use crate::api::http::rate_limit::SUBMISSION;
use crate::api::http::resources::Client;
use crate::api::openapi::route::{Routes, post};
use crate::auth::Token;
use crate::state::NodeState;
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, HOST, USER_AGENT, WWW_AUTHENTICATE};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use call::{Body, Call, CallResponse, Reply, RpcResponse};
use context::Context;
use error::Error;
use p2p::shares::Lease;
use serde_json::Value;
use std::sync::Arc;

pub fn routes(token: &Token) -> Routes {
    let token = token.clone();
    let serve =
        move |node, client, headers, body| serve(token.clone(), node, client, headers, body);
    Routes::new([post("/", "Call JSON-RPC methods", serve)
        .description(
            "Implements methods of Bitcoin Core for mining, pool and test software; `docs/rpc.md` lists \
             them. The user name of HTTP Basic is a payout address, or `token` with the API token as \
             password. Errors of a call have status 200. A list of calls is a batch, in which each call \
             counts for the rate limit.",
        )
        .body_limit(MAX_BLOCK_BODY)
        .response::<RpcResponse>(200, "The result of the call, or those of a batch.")
        .no_content("The calls are notifications of JSON-RPC 2.0, which have no response.")
        .response::<CallResponse>(401, "The user name is no address, or the method needs the token.")])
}

/// The URL of the Stratum server: miners that support Stratum switch to it.
const X_STRATUM: HeaderName = HeaderName::from_static("x-stratum");
/// The size of the responses of a batch in bytes, after which no further call of it is executed.
const MAX_BATCH_RESPONSE: usize = 8 << 20;

async fn serve(
    token: Token,
    State(node): State<Arc<NodeState>>,
    client: Client,
    headers: HeaderMap,
    Bytes(body): Bytes,
) -> Response {
    let stratum = stratum(&node, &headers);
    let mut context = Context { node, client, headers, token, is_batch: false };
    let response = match Body::parse(&body) {
        Ok(Body::Call(call)) => single(&context, &call).await,
        Ok(Body::Batch(calls)) => {
            context.is_batch = true;
            batch(&context, &calls).await.unwrap_or_else(IntoResponse::into_response)
        }
        Err(error) => json(StatusCode::OK, Reply::UNKNOWN.render(Err(error), false)),
    };
    let mut response = response;
    response.headers_mut().extend(stratum.map(|url| (X_STRATUM, url)));
    response
}

/// Responds to a single call.
async fn single(context: &Context, call: &Call<'_>) -> Response {
    let result = run(context, call).await;
    let is_unauthorized = matches!(&result, Err(error) if error.code == Error::UNAUTHORIZED);
    if call.is_notification() {
        return StatusCode::NO_CONTENT.into_response();
    }
    let body = call.reply.render(result, false);
    if !is_unauthorized {
        return json(StatusCode::OK, body);
    }
    let mut response = json(StatusCode::UNAUTHORIZED, body);
    let challenge = HeaderValue::from_static("Basic realm=\"payout address or token\"");
    response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    response
}

/// Responds to the calls of a batch, one after the other.
///
/// # Errors
/// The calls together exceed the rate limit of the client; none is executed.
async fn batch(context: &Context, calls: &[Call<'_>]) -> Result<Response, Problem> {
    let cost: u32 = calls.iter().map(|call| methods::cost(call.method())).sum();
    // The request has paid for one submission.
    context.client.charge(cost.saturating_sub(SUBMISSION))?;
    let null_error = expects_null_error(&context.headers);
    let mut responses = Responses::default();
    for call in calls {
        let result = match responses.check() {
            Ok(()) => run(context, call).await,
            Err(error) => Err(error),
        };
        if !call.is_notification() {
            let response = call.reply.render(result, null_error);
            let added = responses.add(&context.client, &response);
            if let Err(error) = added {
                responses.push(&call.reply.render(Err(error), null_error));
            }
        }
    }
    Ok(match responses.body.is_empty() {
        true => StatusCode::NO_CONTENT.into_response(),
        false => json(StatusCode::OK, responses.body + "]"),
    })
}

/// The responses of a batch so far, whose bytes are counted while the others are awaited.
#[derive(Default)]
struct Responses {
    body: String,
    leases: Vec<Lease>,
    /// The length of the body when it was last counted.
    counted: usize,
    is_refused: bool,
}

impl Responses {
    /// Checks that another call may be executed.
    fn check(&self) -> Result<(), Error> {
        let why = match (self.is_refused, self.body.len()) {
            (true, _) => "too many bytes of responses are unread".to_owned(),
            (false, ..MAX_BATCH_RESPONSE) => return Ok(()),
            (false, _) => {
                format!("the responses of the batch have more than {MAX_BATCH_RESPONSE} bytes")
            }
        };
        Err(Error::new(Error::MISC, format!("not executed: {why}")))
    }

    /// Adds a response, unless the client has too many unread bytes with it.
    fn add(&mut self, client: &Client, response: &str) -> Result<(), Error> {
        let uncounted = self.body.len() - self.counted + response.len();
        match client.count_bytes(uncounted as u64) {
            Ok(None) => self.push(response),
            Ok(Some(lease)) => {
                self.leases.push(lease);
                self.push(response);
                self.counted = self.body.len();
            }
            Err(problem) => {
                self.is_refused = true;
                return Err(problem.into());
            }
        }
        Ok(())
    }

    fn push(&mut self, response: &str) {
        self.body.push(if self.body.is_empty() { '[' } else { ',' });
        self.body.push_str(response);
    }
}

/// Whether the client is python-bitcoinrpc. Its batches are of version 2.0, but it fails at a response
/// without an `error`.
fn expects_null_error(headers: &HeaderMap) -> bool {
    headers.get(USER_AGENT).is_some_and(|agent| agent.as_bytes().starts_with(b"AuthServiceProxy/"))
}

async fn run(context: &Context, call: &Call<'_>) -> Result<Value, Error> {
    let request = call.request.as_ref().map_err(Clone::clone)?;
    methods::call(context, &request.method, request.params).await
}

fn json(status: StatusCode, body: String) -> Response {
    let media_type = HeaderValue::from_static("application/json");
    (status, [(CONTENT_TYPE, media_type)], body).into_response()
}

/// The URL of the Stratum server: that of the operator, or at the host name of the request.
fn stratum(node: &NodeState, headers: &HeaderMap) -> Option<HeaderValue> {
    let endpoint = node.stratum.as_ref()?;
    let host: Authority = headers.get(HOST)?.to_str().ok()?.parse().ok()?;
    HeaderValue::try_from(endpoint.url_at(host.host())).ok()
}
