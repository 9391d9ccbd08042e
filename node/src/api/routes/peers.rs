//! Peers: listing, connecting and disconnecting.

use crate::api::http::content::Json;
use crate::api::http::extract::Path;
use crate::api::http::page::Page;
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::response::{ReadResponse, read};
use crate::api::openapi::route::{Routes, delete, get, post};
use crate::api::openapi::schema::{BlockHash, Digest, MultiaddrText, PeerIdText};
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
            .errors(&[Kind::BANNED, Kind::NO_PEER, Kind::DISK_FULL]),
        delete("/v1/peers/{id}", "Disconnect a peer", remove)
            .no_content("The peer was disconnected.")
            .errors(&[Kind::DISK_FULL]),
    ]);
    let protected = protected.merge(Routes::new([delete(
        "/v1/persistent-peers/{address}",
        "Remove a persistent peer, and disconnect it",
        remove_persistent,
    )
    .no_content("The peer is no longer persistent.")
    .errors(&[Kind::DISK_FULL])]));
    Routes::new([
        get("/v1/peers", "List connected peers", list).returns::<Page<Peer>>(),
        get("/v1/persistent-peers", "List persistent peers", list_persistent)
            .returns::<Page<PersistentPeer>>(),
    ])
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
    /// The purpose of the connection.
    pub purpose: Purpose,
    /// The version of the peer-to-peer protocol that is used with the peer.
    pub version: u16,
    /// The features of the peer, one a bit, in hexadecimal.
    pub features: String,
    /// The user agent, chosen by the peer.
    pub agent: String,
    /// The hash of its best block.
    #[schemars(with = "BlockHash")]
    pub tip: String,
    /// The height of its best block, as claimed by the peer.
    pub height: u32,
    /// The work of its best chain in hexadecimal, as claimed by the peer.
    #[schemars(with = "Digest")]
    pub claimed_work: String,
    /// The most work of a chain of valid headers that the peer has sent, or that it claims and this
    /// node knows, in hexadecimal; zero if there is none.
    #[schemars(with = "Digest")]
    pub shown_work: String,
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
    /// Seconds since the peer was last the first to announce a block; null for never.
    pub last_block_seconds: Option<u64>,
    /// Seconds since the peer was last the first to announce a transaction; null for never.
    pub last_transaction_seconds: Option<u64>,
}

/// A peer that connected or disconnected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PeerEvent {
    /// The peer id.
    pub id: String,
    /// The multiaddr as seen by this node.
    pub address: String,
    /// The direction of the connection.
    pub direction: Direction,
    /// The user agent, chosen by the peer.
    pub agent: String,
}

impl From<PeerInfo> for PeerEvent {
    fn from(peer: PeerInfo) -> PeerEvent {
        let Peer { id, address, direction, agent, .. } = peer.into();
        PeerEvent { id, address, direction, agent }
    }
}

/// The purpose of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "PeerPurpose")]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// The peer dialed this node.
    Inbound,
    /// The peer is persistent: configured, or added by the operator.
    Persistent,
    /// The peer was connected before this node restarted.
    Anchor,
    /// The node chose the peer from its address book.
    Outbound,
    /// The peer is a boot node of the network.
    Boot,
    /// The connection tests whether a node listens at the address.
    Feeler,
}

impl From<Option<p2p::Purpose>> for Purpose {
    fn from(purpose: Option<p2p::Purpose>) -> Purpose {
        match purpose {
            None => Purpose::Inbound,
            Some(p2p::Purpose::Persistent) => Purpose::Persistent,
            Some(p2p::Purpose::Anchor) => Purpose::Anchor,
            Some(p2p::Purpose::Outbound) => Purpose::Outbound,
            Some(p2p::Purpose::Boot) => Purpose::Boot,
            Some(p2p::Purpose::Feeler) => Purpose::Feeler,
        }
    }
}

/// A peer to which the node remains connected.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct PersistentPeer {
    /// The multiaddr, with the expected peer id if there is one.
    #[schemars(with = "MultiaddrText")]
    pub address: String,
    /// The peer id, once known.
    pub id: Option<String>,
    /// Where the peer comes from.
    pub origin: Origin,
    /// Whether the peer is connected.
    pub connected: bool,
    /// The reason the peer is not connected; null if it is connected, or was not dialed yet.
    pub detail: Option<String>,
    /// Seconds until the node dials the peer again; 0 if it is connected or being dialed.
    pub next_dial_seconds: u64,
}

/// The origin of a persistent peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "PersistentPeerOrigin")]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The configuration of the node.
    Configured,
    /// `POST /v1/peers`.
    Added,
}

impl From<p2p::PersistentPeer> for PersistentPeer {
    fn from(peer: p2p::PersistentPeer) -> PersistentPeer {
        PersistentPeer {
            address: peer.address.to_string(),
            id: peer.id.map(|id| id.to_string()),
            origin: if peer.is_added { Origin::Added } else { Origin::Configured },
            connected: peer.is_connected,
            detail: peer.problem,
            next_dial_seconds: peer.next_dial.as_secs(),
        }
    }
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
            purpose: peer.purpose.into(),
            version: peer.version,
            features: format!("{:016x}", peer.features),
            agent: peer.agent,
            tip: peer.tip.to_string(),
            height: peer.height.get(),
            claimed_work: peer.claimed_work.to_string(),
            shown_work: peer.shown_work.to_string(),
            latency_ms: peer.latency.map(|latency| tenths(latency.as_secs_f64() * 1_000.0)),
            bytes_sent: peer.bytes_sent,
            bytes_received: peer.bytes_received,
            score: tenths(peer.score),
            connected_seconds: peer.connected.as_secs(),
            last_block_seconds: peer.last_block.map(|age| age.as_secs()),
            last_transaction_seconds: peer.last_transfer.map(|age| age.as_secs()),
        }
    }
}

pub async fn list(State(node): State<Arc<NodeState>>) -> Response {
    let items = node.peers.peers().await.into_iter().map(Peer::from).collect();
    read(&node, |_| Ok(ReadResponse::new(Json(Page { items, next: None })).volatile()))
}

pub async fn list_persistent(State(node): State<Arc<NodeState>>) -> Response {
    let items = node.peers.persistent_peers().await;
    let items = items.into_iter().map(PersistentPeer::from).collect();
    read(&node, |_| Ok(ReadResponse::new(Json(Page { items, next: None })).volatile()))
}

/// Disconnects a persistent peer and stops dialing it.
pub async fn remove_persistent(
    State(node): State<Arc<NodeState>>,
    Path(MultiaddrText(text)): Path<MultiaddrText>,
) -> Result<StatusCode, Problem> {
    let address = address(&text)
        .map_err(|error| Problem::new(Kind::BAD_REQUEST, format!("address: {error:#}")))?;
    match node.peers.remove_persistent_peer(address).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::new(Kind::NOT_FOUND, format!("{text} is not a persistent peer"))),
    }
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
        ConnectError::NotSaved(error) => return error.clone().into(),
        ConnectError::Banned => Kind::BANNED,
        ConnectError::Stopped => Kind::NOT_READY,
        ConnectError::Unsupported(_) => Kind::BAD_REQUEST,
        ConnectError::Own
        | ConnectError::NotAllowed
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
    match node.peers.disconnect(id).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => {
            let detail = format!("no connected or persistent peer has the id {id}");
            Err(Problem::new(Kind::NOT_FOUND, detail))
        }
    }
}

/// Parses a peer id.
pub fn parse_id(text: &str) -> Result<PeerId, Problem> {
    text.parse().map_err(|_| {
        let detail = format!("`{text}` is not a peer id such as 12D3KooW…");
        Problem::new(Kind::BAD_REQUEST, detail)
    })
}
