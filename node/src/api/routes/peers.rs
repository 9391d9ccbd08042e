//! Peers: listing, connecting and disconnecting.

use crate::api::http::content::Json;
use crate::api::http::extract::Path;
use crate::api::http::page::Page;
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::response::{ReadResponse, read};
use crate::api::openapi::route::{Routes, delete, get, post};
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

pub fn routes(token: &Token) -> Routes {
    let protected = Routes::new([
        post("/v1/peers", "Add a persistent peer", add)
            .returns_created::<PeerAdded>("The peer is connected.")
            .response::<PeerAdded>(202, "The peer is not reachable yet; the node retries.")
            .errors(&[Kind::BANNED, Kind::NO_PEER]),
        delete("/v1/peers/{id}", "Disconnect a peer", remove)
            .no_content("The peer was disconnected."),
    ]);
    Routes::new([get("/v1/peers", "List connected peers", list).returns::<Page<Peer>>()])
        .merge(protected.protected(token))
}

/// A connected peer.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Peer {
    /// The peer id, the hash of its public key.
    pub id: String,
    /// The multiaddr as seen by this node.
    pub address: String,
    /// The direction of the connection.
    pub direction: Direction,
    /// The user agent, chosen by the peer.
    pub agent: String,
    /// The hash of its best block.
    #[schemars(with = "BlockHash")]
    pub tip: String,
    /// The height of its best block.
    pub height: u32,
    /// The latency of the last ping in milliseconds; null before the first.
    pub latency_ms: Option<f64>,
    /// The number of bytes sent to the peer.
    pub bytes_sent: u64,
    /// The number of bytes received from the peer.
    pub bytes_received: u64,
    /// The score, from −100 to 20.
    pub score: f64,
    /// Seconds since the connection was established.
    pub connected_seconds: u64,
}

/// The direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "PeerDirection")]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The peer dialed this node.
    Inbound,
    /// This node dialed the peer.
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

pub async fn list(State(node): State<Arc<NodeState>>) -> Response {
    let items = node.peers.peers().await.into_iter().map(Peer::from).collect();
    read(&node, |_| Ok(ReadResponse::new(Json(Page { items, next: None })).volatile()))
}

/// A request to add a persistent peer.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "PeerRequest")]
#[serde(deny_unknown_fields)]
pub struct PeerRequest {
    #[schemars(with = "MultiaddrText")]
    address: String,
}

/// A persistent peer.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "PeerAdded")]
pub struct PeerAdded {
    /// The multiaddr of the peer.
    pub address: String,
    /// The peer id, once it is connected.
    pub id: Option<String>,
    /// The reason it is not connected yet.
    pub detail: Option<String>,
}

/// Responds with 201 if the peer is connected and with 202 if it is unreachable for now.
pub async fn add(
    State(node): State<Arc<NodeState>>,
    Json(request): Json<PeerRequest>,
) -> Result<Response, Problem> {
    let address = address(&request.address)
        .map_err(|error| Problem::new(Kind::BAD_REQUEST, format!("address: {error:#}")))?;
    let connected = node.peers.connect(address.clone()).await;
    let address = address.to_string();
    match connected {
        Ok(id) => {
            let id = id.to_string();
            let location = format!("/v1/peers/{id}");
            let added = PeerAdded { address, id: Some(id), detail: None };
            Ok((StatusCode::CREATED, [(LOCATION, location)], Json(added)).into_response())
        }
        Err(error @ (ConnectError::Unreachable(_) | ConnectError::Timeout)) => {
            let added = PeerAdded { address, id: None, detail: Some(error.to_string()) };
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
        | ConnectError::IncompatibleVersion { .. }
        | ConnectError::Unreachable(_)
        | ConnectError::Timeout => Kind::NO_PEER,
    };
    Problem::new(kind, error.to_string())
}

/// Disconnects a peer and stops dialing it.
pub async fn remove(
    State(node): State<Arc<NodeState>>,
    Path(PeerIdText(text)): Path<PeerIdText>,
) -> Result<StatusCode, Problem> {
    let id = parse_id(&text)?;
    match node.peers.disconnect(id).await {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::new(Kind::NOT_FOUND, format!("no connected peer has the id {id}"))),
    }
}

/// Parses a peer id.
pub fn parse_id(text: &str) -> Result<PeerId, Problem> {
    text.parse().map_err(|_| {
        let detail = format!("`{text}` is not a peer id such as 12D3KooW…");
        Problem::new(Kind::BAD_REQUEST, detail)
    })
}
