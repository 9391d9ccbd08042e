//! Bans of peers and IP addresses.

use crate::api::http::content::Json;
use crate::api::http::extract::{Path, in_range};
use crate::api::http::page::Page;
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::response::{ReadResponse, read};
use crate::api::openapi::route::{Routes, delete, get, post};
use crate::api::openapi::schema::{BanId, Integer, IpText, PeerIdText};
use crate::api::routes::peers::parse_id;
use crate::auth::Token;
use crate::state::NodeState;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use p2p::{Cidr, Subject};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;

pub fn routes(token: &Token) -> Routes {
    let protected = Routes::new([
        post("/v1/bans", "Ban a peer, an IP address or a range", add)
            .returns_created::<Ban>("The ban was added.")
            .errors(&[Kind::DISK_FULL]),
        delete("/v1/bans/{who}", "Remove a ban", remove)
            .no_content("The ban was removed.")
            .errors(&[Kind::DISK_FULL]),
    ]);
    Routes::new([get("/v1/bans", "List bans", list).returns::<Page<Ban>>()])
        .merge(protected.protected(token))
}

/// Default duration of a ban in seconds: a day.
const DEFAULT_SECONDS: u64 = 86_400;
/// Largest duration of a ban in seconds: ten years.
const MAX_SECONDS: u64 = 315_360_000;
/// Largest number of characters of a reason, which is stored in a file.
const MAX_REASON: usize = 200;

/// A ban.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Ban {
    /// The peer id, IP address or range of IP addresses.
    pub id: String,
    /// The end of the ban, Unix seconds.
    pub until: u64,
    /// The reason.
    pub reason: String,
}

impl From<p2p::Ban> for Ban {
    fn from(ban: p2p::Ban) -> Ban {
        Ban { id: subject_text(&ban.subject), until: ban.until, reason: ban.reason }
    }
}

fn subject_text(subject: &Subject) -> String {
    match subject {
        Subject::Peer(peer) => peer.to_string(),
        Subject::Ip(ip) => ip.to_string(),
        Subject::Range(range) => range.to_string(),
    }
}

pub async fn list(State(node): State<Arc<NodeState>>) -> Response {
    let items = node.peers.bans().await.into_iter().map(Ban::from).collect();
    read(&node, |_| Ok(ReadResponse::new(Json(Page { items, next: None })).volatile()))
}

/// A request to ban a peer or an IP address: one of the two is set.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(with = "BanRequestSchema")]
pub struct BanRequest {
    peer: Option<String>,
    ip: Option<String>,
    seconds: Option<Integer>,
    reason: Option<String>,
}

/// The schema of [`BanRequest`].
#[derive(JsonSchema)]
#[schemars(rename = "BanRequest", untagged, deny_unknown_fields)]
#[expect(dead_code, reason = "only describes the schema")]
enum BanRequestSchema {
    /// Bans a peer at any address.
    Peer {
        peer: PeerIdText,
        #[schemars(range(min = 1, max = 315_360_000))]
        seconds: Option<Integer>,
        #[schemars(length(max = 200))]
        reason: Option<String>,
    },
    /// Bans an IP address or a range.
    Ip {
        ip: IpText,
        #[schemars(range(min = 1, max = 315_360_000))]
        seconds: Option<Integer>,
        #[schemars(length(max = 200))]
        reason: Option<String>,
    },
}

pub async fn add(
    State(node): State<Arc<NodeState>>,
    Json(request): Json<BanRequest>,
) -> Result<Response, Problem> {
    let subject = match (&request.peer, &request.ip) {
        (Some(peer), None) => Subject::Peer(parse_id(peer)?),
        (None, Some(ip)) => parse_ip(ip)?,
        _ => {
            let detail = "set either `peer`, a peer id, or `ip`, an IP address or a range";
            return Err(Problem::new(Kind::BAD_REQUEST, detail));
        }
    };
    let seconds = request.seconds.map_or(DEFAULT_SECONDS, |seconds| seconds.0);
    in_range(seconds, 1..=MAX_SECONDS, "seconds")?;
    let reason = request.reason.unwrap_or_else(|| "banned by hand".to_owned());
    let length = reason.chars().count();
    if length > MAX_REASON {
        let detail = format!("reason must have at most {MAX_REASON} characters, not {length}");
        return Err(Problem::new(Kind::BAD_REQUEST, detail));
    }
    let subject = subject.normalized();
    node.peers.ban(subject, seconds, reason).await?;
    let made = node.peers.bans().await.into_iter().find(|ban| ban.subject == subject);
    let made = made.ok_or_else(|| Problem::new(Kind::NOT_READY, "the node is stopping"))?;
    let location = format!("/v1/bans/{}", subject_text(&subject).replace('/', "%2F"));
    Ok((StatusCode::CREATED, [(LOCATION, location)], Json(Ban::from(made))).into_response())
}

pub async fn remove(
    State(node): State<Arc<NodeState>>,
    Path(BanId(text)): Path<BanId>,
) -> Result<StatusCode, Problem> {
    let subject = match parse_ip(&text) {
        Ok(subject) => subject,
        Err(_) => Subject::Peer(parse_id(&text)?),
    };
    match node.peers.unban(subject).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => {
            Err(Problem::new(Kind::NOT_FOUND, format!("{} is not banned", subject_text(&subject))))
        }
    }
}

/// Parses an IP address or a range; an IPv4-mapped IPv6 address becomes the IPv4 address.
fn parse_ip(text: &str) -> Result<Subject, Problem> {
    match (text.parse::<IpAddr>(), text.parse::<Cidr>()) {
        (Ok(ip), _) => Ok(Subject::Ip(ip.to_canonical())),
        (_, Ok(range)) => Ok(Subject::Range(range).normalized()),
        _ => {
            let detail = format!("`{text}` is not an IP address or range such as 192.0.2.0/24");
            Err(Problem::new(Kind::BAD_REQUEST, detail))
        }
    }
}
