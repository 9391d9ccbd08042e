//! Who is kept out, by id or by address.

use crate::api::http::content::Json;
use crate::api::http::extract::Path;
use crate::api::http::page::Page;
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::response::{Answer, read};
use crate::api::openapi::route::{Table, delete, get, post};
use crate::api::openapi::schema::{BanId, Integer, IpText, PeerIdText};
use crate::api::routes::peers::id;
use crate::auth::Token;
use crate::state::NodeState;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use p2p::Subject;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;

/// The routes of this resource.
pub fn routes(token: &Token) -> Table {
    let protected = Table::new([
        post("/v1/bans", "Keep somebody out", add).makes::<Ban>("Until then."),
        delete("/v1/bans/{who}", "Let somebody in again", lift)
            .answers_nothing("Who it was may come."),
    ]);
    Table::new([get("/v1/bans", "Who is kept out", list).shows::<Page<Ban>>()])
        .and(protected.protected(token))
}

/// How long somebody is kept out unless told otherwise: a day.
const DEFAULT_SECONDS: u64 = 86_400;
/// Ten years: for ever, as far as nodes go.
const MAX_SECONDS: u64 = 315_360_000;
/// Most characters of a reason, which is kept in a file.
const MAX_REASON: usize = 200;

/// Somebody who is kept out.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Ban {
    /// The id of a node, or an IP address.
    pub id: String,
    /// Until when, Unix seconds.
    pub until: u64,
    /// Why.
    pub reason: String,
}

impl From<p2p::Ban> for Ban {
    fn from(ban: p2p::Ban) -> Ban {
        Ban { id: name(&ban.subject), until: ban.until, reason: ban.reason }
    }
}

fn name(subject: &Subject) -> String {
    match subject {
        Subject::Peer(peer) => peer.to_string(),
        Subject::Ip(ip) => ip.to_string(),
    }
}

/// Who is kept out: all of them.
pub async fn list(State(node): State<Arc<NodeState>>) -> Response {
    let items = node.peers.bans().await.into_iter().map(Ban::from).collect();
    read(&node, |_| Ok(Answer::new(Json(Page { items, next: None })).changing()))
}

/// Whom to keep out.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(with = "Orders")]
pub struct Order {
    peer: Option<String>,
    ip: Option<String>,
    seconds: Option<Integer>,
    reason: Option<String>,
}

/// The two ways to say it.
#[derive(JsonSchema)]
#[schemars(rename = "BanOrder", untagged, deny_unknown_fields)]
#[expect(dead_code, reason = "says what an order looks like")]
enum Orders {
    /// A node, wherever it is.
    Peer {
        peer: PeerIdText,
        #[schemars(range(min = 1, max = 315_360_000))]
        seconds: Option<Integer>,
        #[schemars(length(max = 200))]
        reason: Option<String>,
    },
    /// Whoever is at an address.
    Ip {
        ip: IpText,
        #[schemars(range(min = 1, max = 315_360_000))]
        seconds: Option<Integer>,
        #[schemars(length(max = 200))]
        reason: Option<String>,
    },
}

/// Keeps somebody out; who is connected is disconnected.
pub async fn add(
    State(node): State<Arc<NodeState>>,
    Json(order): Json<Order>,
) -> Result<Response, Problem> {
    let subject = match (&order.peer, &order.ip) {
        (Some(peer), None) => Subject::Peer(id(peer)?),
        (None, Some(ip)) => Subject::Ip(address(ip)?),
        _ => {
            let detail = "give either `peer`, the id of a node, or `ip`, an address";
            return Err(Problem::new(Kind::BAD_REQUEST, detail));
        }
    };
    let seconds = order.seconds.map_or(DEFAULT_SECONDS, |seconds| seconds.0);
    if !(1..=MAX_SECONDS).contains(&seconds) {
        let detail = format!("seconds must be 1 to {MAX_SECONDS}, not {seconds}");
        return Err(Problem::new(Kind::BAD_REQUEST, detail));
    }
    let reason = order.reason.unwrap_or_else(|| "banned by hand".to_owned());
    let length = reason.chars().count();
    if length > MAX_REASON {
        let detail = format!("reason must have at most {MAX_REASON} characters, not {length}");
        return Err(Problem::new(Kind::BAD_REQUEST, detail));
    }
    let subject = subject.normalized();
    node.peers.ban(subject, seconds, reason).await;
    let made = node.peers.bans().await.into_iter().find(|ban| ban.subject == subject);
    let made = made.ok_or_else(|| Problem::new(Kind::NOT_READY, "the node is stopping"))?;
    let location = format!("/v1/bans/{}", name(&subject));
    Ok((StatusCode::CREATED, [(LOCATION, location)], Json(Ban::from(made))).into_response())
}

/// Lets somebody in again.
pub async fn lift(
    State(node): State<Arc<NodeState>>,
    Path(BanId(text)): Path<BanId>,
) -> Result<StatusCode, Problem> {
    let subject = match address(&text) {
        Ok(ip) => Subject::Ip(ip),
        Err(_) => Subject::Peer(id(&text)?),
    };
    match node.peers.unban(subject).await {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::new(Kind::NOT_FOUND, format!("{} is not banned", name(&subject)))),
    }
}

/// An address in its one form: an IPv4 address written as IPv6 is the IPv4 address.
fn address(text: &str) -> Result<IpAddr, Problem> {
    let ip: Option<IpAddr> = text.parse().ok();
    ip.map(|ip| ip.to_canonical()).ok_or_else(|| {
        let detail = format!("`{text}` is not an IP address such as 192.0.2.7");
        Problem::new(Kind::BAD_REQUEST, detail)
    })
}
