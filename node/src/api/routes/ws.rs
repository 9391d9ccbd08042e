//! Events over a WebSocket, for clients that also want to send: each message is one JSON object.
//!
//! From the node: `{"event": TOPIC, "id": NUMBER, "data": {…}}`, and an answer to each message it
//! gets: `{"subscribed": …}`, `{"submitted": …}` or `{"error": PROBLEM}`. To the node:
//! `{"subscribe": [TOPIC…], "address": …, "since": NUMBER}` (all but the first may be left out), and
//! `{"submit_transaction": …}` with the transfer in hexadecimal or as JSON.

use crate::api::http::extract::{Query, unhex};
use crate::api::http::host_check::Hosts;
use crate::api::http::problem::{Kind, Problem};
use crate::api::openapi::route::{Table, get};
use crate::api::openapi::schema::Integer;
use crate::api::routes::events::{ALIVE_EVERY, EventsQuery, seat, topics};
use crate::api::routes::transactions::hand_in;
use crate::api::routes::transfer::{self, Submitted};
use crate::events::{Feed, Filter};
use crate::shutdown::shutdown_requested;
use crate::state::NodeState;
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::HeaderMap;
use axum::response::Response;
use chain::Transfer;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, MissedTickBehavior};

/// The routes of this resource.
pub fn routes(hosts: &Hosts) -> Table {
    Table::new([get("/v1/ws", "The same over a WebSocket", open)
        .says(
            "It also takes `subscribe` and `submit_transaction`. Pages of other sites are \
                   turned away.",
        )
        .switches("The WebSocket is open.")
        .for_own_pages(hosts)
        .fails(&[Kind::TOO_MANY_READERS])])
}

/// Most bytes of a message from a client: a transfer with the longest memo has some 1,500.
const MAX_MESSAGE: usize = 16 << 10;
/// Bytes that may wait to be sent: a page of events, and its last event may be a long one.
const MAX_WAITING: usize = 2 << 20;
/// A client that sends nothing for so long, not even answers to pings, is gone.
const SILENCE: std::time::Duration = std::time::Duration::from_secs(50);

/// Opens a WebSocket; the query is that of `/v1/events`.
pub async fn open(
    State(node): State<Arc<NodeState>>,
    Query(query): Query<EventsQuery>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let upgrade = upgrade.map_err(|rejection| {
        let detail = format!("a WebSocket is opened here: {rejection}");
        Problem::new(Kind::BAD_REQUEST, detail)
    })?;
    let (since, filter) = query.check(&headers, node.reader.params().hrp())?;
    let seat = seat(&node)?;
    let feed = node.events.feed(since, filter);
    let upgrade = upgrade
        .max_message_size(MAX_MESSAGE)
        .max_frame_size(MAX_MESSAGE)
        .write_buffer_size(0)
        .max_write_buffer_size(MAX_WAITING);
    Ok(upgrade.on_upgrade(|socket| Conversation { node, feed, socket, _seat: seat }.run()))
}

struct Conversation {
    node: Arc<NodeState>,
    feed: Feed,
    socket: WebSocket,
    _seat: OwnedSemaphorePermit,
}

/// What a client may send.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    subscribe: Option<Vec<String>>,
    address: Option<String>,
    since: Option<Integer>,
    submit_transaction: Option<Value>,
}

impl Conversation {
    /// Until either side has enough.
    async fn run(mut self) {
        let mut stopping = self.node.stopping.clone();
        let mut ping = tokio::time::interval(ALIVE_EVERY);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        loop {
            let sent = tokio::select! {
                () = shutdown_requested(&mut stopping) => {
                    return self.close(close_code::AWAY, "the node is stopping").await;
                }
                received = self.socket.recv() => {
                    heard = Instant::now();
                    match received {
                        Some(Ok(Message::Text(text))) => {
                            let answer = self.answer(text.as_str()).await;
                            self.socket.send(Message::text(answer.to_string())).await
                        }
                        Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
                        Some(Ok(Message::Binary(_))) => {
                            return self.close(close_code::UNSUPPORTED, "messages are text").await;
                        }
                        Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                    }
                }
                events = self.feed.next() => {
                    let Some(events) = events else { return };
                    let mut sent = Ok(());
                    for event in events {
                        sent = self.socket.send(Message::text(event.to_message())).await;
                        if sent.is_err() {
                            break;
                        }
                    }
                    sent
                }
                _ = ping.tick() => {
                    if heard.elapsed() > SILENCE {
                        return self.close(close_code::POLICY, "no answer to pings").await;
                    }
                    self.socket.send(Message::Ping(Default::default())).await
                }
            };
            if sent.is_err() {
                // It does not read, or is gone.
                return;
            }
        }
    }

    async fn close(mut self, code: u16, reason: &'static str) {
        let frame = CloseFrame { code, reason: reason.into() };
        let _ = self.socket.send(Message::Close(Some(frame))).await;
    }

    async fn answer(&mut self, text: &str) -> Value {
        match self.carry_out(text).await {
            Ok(answer) => answer,
            Err(problem) => json!({ "error": problem }),
        }
    }

    async fn carry_out(&mut self, text: &str) -> Result<Value, Problem> {
        let bad = |detail: String| Problem::new(Kind::BAD_REQUEST, detail);
        let request: Request =
            serde_json::from_str(text).map_err(|error| bad(format!("message: {error}")))?;
        match request {
            Request { subscribe: Some(names), address, since, submit_transaction: None } => {
                let hrp = self.node.reader.params().hrp();
                let topics = topics(names.iter().map(String::as_str))?;
                let wanted = address.as_deref();
                let wanted = wanted.map(|text| transfer::address(text, hrp, "address"));
                let address = wanted.transpose()?;
                self.feed.resubscribe(
                    since.map(|since| since.0),
                    Filter { topics: Some(topics), address },
                );
                Ok(json!({ "subscribed": names, "since": self.feed.position() }))
            }
            Request {
                subscribe: None,
                address: None,
                since: None,
                submit_transaction: Some(transfer),
            } => submit(&self.node, transfer).await,
            _ => {
                let detail = "a message has `subscribe`, and with it perhaps `address` and \
                              `since`, or it has `submit_transaction`";
                Err(bad(detail.to_owned()))
            }
        }
    }
}

/// As over REST.
async fn submit(node: &NodeState, transfer: Value) -> Result<Value, Problem> {
    let transfer = match transfer {
        Value::String(hex) => Transfer::decode(&unhex(&hex, "`submit_transaction`")?)?,
        other => {
            let submitted = serde_json::from_value::<Submitted>(other).map_err(|error| {
                let detail = format!("submit_transaction: {error}");
                Problem::new(Kind::BAD_REQUEST, detail)
            })?;
            submitted.read(node.reader.params().hrp())?
        }
    };
    let (_, transaction) = hand_in(node, transfer).await?;
    Ok(json!({ "submitted": transaction }))
}
