//! Other nodes: who is connected, and whom to connect with.

use crate::api::http::content::Json;
use crate::api::http::extract::Path;
use crate::api::http::page::Page;
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::response::{Answer, read};
use crate::api::openapi::route::{Table, delete, get, post};
use crate::api::openapi::schema::{BlockHash, MultiaddrText, PeerIdText};
use crate::auth::Token;
use crate::config::multiaddr::address;
use crate::state::NodeState;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use p2p::{ConnectError, PeerId, PeerInfo};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The routes of this resource.
pub fn routes(token: &Token) -> Table {
    let protected = Table::new([
        post("/v1/peers", "Connect with a node, and stay connected", add)
            .makes::<Added>("It has answered.")
            .answers::<Added>(202, "It does not answer yet.")
            .fails(&[Kind::BANNED, Kind::NO_PEER]),
        delete("/v1/peers/{id}", "Disconnect from a node", remove)
            .answers_nothing("It is not called again."),
    ]);
    Table::new([get("/v1/peers", "Who is connected", list).shows::<Page<Peer>>()])
        .and(protected.protected(token))
}

/// A connected node.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Peer {
    /// The hash of its public key.
    pub id: String,
    /// Where it is, as this node sees it: a multiaddr.
    pub address: String,
    /// Who called whom.
    pub direction: Direction,
    /// What it calls itself; chosen by it, so anything.
    pub agent: String,
    /// The hash of the best block it told of.
    #[schemars(with = "BlockHash")]
    pub tip: String,
    /// The height of that.
    pub height: u32,
    /// Milliseconds from a ping to its answer, once there was one.
    pub latency_ms: Option<f64>,
    /// Bytes sent to it.
    pub bytes_sent: u64,
    /// Bytes received from it.
    pub bytes_received: u64,
    /// How it behaved: −100 to 20.
    pub score: f64,
    /// Since it is connected.
    pub connected_seconds: u64,
}

/// Who called whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "PeerDirection")]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// It called this node.
    Inbound,
    /// This node called it.
    Outbound,
}

impl From<PeerInfo> for Peer {
    fn from(peer: PeerInfo) -> Peer {
        let tenths = |value: f64| (value * 10.0).round() / 10.0;
        Peer {
            id: peer.id.to_string(),
            address: peer.address.to_string(),
            direction: if peer.outbound { Direction::Outbound } else { Direction::Inbound },
            agent: peer.agent,
            tip: peer.tip.to_string(),
            height: peer.height.get(),
            latency_ms: peer.latency.map(|latency| tenths(latency.as_secs_f64() * 1_000.0)),
            bytes_sent: peer.bytes_sent,
            bytes_received: peer.bytes_received,
            score: tenths(peer.score),
            connected_seconds: peer.connected.as_secs(),
        }
    }
}

/// Who is connected: all of them, as there are few.
pub async fn list(State(node): State<Arc<NodeState>>) -> Response {
    let items = node.peers.peers().await.into_iter().map(Peer::from).collect();
    read(&node, |_| Ok(Answer::new(Json(Page { items, next: None })).changing()))
}

/// Whom to connect with.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "PeerOrder")]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    #[schemars(with = "MultiaddrText")]
    address: String,
}

/// A node that this one stays connected with from now on.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "PeerAdded")]
pub struct Added {
    /// Where it is: a multiaddr.
    pub address: String,
    /// Its id, once it has answered.
    pub id: Option<String>,
    /// Why it is not connected yet, if it is not.
    pub detail: Option<String>,
}

/// Connects with a node, and stays connected: 201 if it answers, 202 if it does not yet.
pub async fn add(
    State(node): State<Arc<NodeState>>,
    Json(wanted): Json<Wanted>,
) -> Result<Response, Problem> {
    let address = address(&wanted.address)
        .map_err(|error| Problem::new(Kind::BAD_REQUEST, format!("address: {error:#}")))?;
    let connected = node.peers.connect(address.clone()).await;
    let address = address.to_string();
    match connected {
        Ok(id) => {
            let id = id.to_string();
            let location = format!("/v1/peers/{id}");
            let added = Added { address, id: Some(id), detail: None };
            Ok((StatusCode::CREATED, [(LOCATION, location)], Json(added)).into_response())
        }
        Err(error @ (ConnectError::Unreachable(_) | ConnectError::Timeout)) => {
            let added = Added { address, id: None, detail: Some(error.to_string()) };
            Ok((StatusCode::ACCEPTED, Json(added)).into_response())
        }
        Err(error) => Err(problem(&error)),
    }
}

fn problem(error: &ConnectError) -> Problem {
    let kind = match error {
        ConnectError::Banned => Kind::BANNED,
        ConnectError::Stopped => Kind::NOT_READY,
        ConnectError::Unsupported(_) => Kind::BAD_REQUEST,
        ConnectError::Own
        | ConnectError::OtherNetwork
        | ConnectError::OtherNode(_)
        | ConnectError::Unreachable(_)
        | ConnectError::Timeout => Kind::NO_PEER,
    };
    Problem::new(kind, error.to_string())
}

/// Disconnects from a node, and does not call it again by itself.
pub async fn remove(
    State(node): State<Arc<NodeState>>,
    Path(PeerIdText(text)): Path<PeerIdText>,
) -> Result<StatusCode, Problem> {
    let id = id(&text)?;
    match node.peers.disconnect(id).await {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::new(Kind::NOT_FOUND, format!("no peer has the id {id}"))),
    }
}

/// A node's id.
pub fn id(text: &str) -> Result<PeerId, Problem> {
    text.parse().map_err(|_| {
        let detail = format!("`{text}` is not a node's id such as 12D3KooW…");
        Problem::new(Kind::BAD_REQUEST, detail)
    })
}
