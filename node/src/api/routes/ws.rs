//! Events over a WebSocket, for clients that also send: each message is one JSON object.
//!
//! The node sends `{"event": TOPIC, "id": NUMBER, "data": {…}}`, and a response to each message of the
//! client: `{"subscribed": …}`, `{"submitted": …}` or `{"error": PROBLEM}`. The client sends
//! `{"subscribe": [TOPIC…], "address": …, "since": NUMBER}` (only the first is required) or
//! `{"submit_transaction": …}` with the transfer in hexadecimal or as JSON, and optionally
//! `"replace": false`, by which it replaces no other transfer.

use crate::api::http::extract::{Query, unhex};
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::rate_limit::{READ, SUBMISSION};
use crate::api::http::resources::{Client, Subscription};
use crate::api::openapi::route::{Routes, get};
use crate::api::openapi::schema::{AddressText, Hex, Integer};
use crate::api::routes::event_schema::AnyEvent;
use crate::api::routes::events::{EventsQuery, KEEP_ALIVE_INTERVAL, topics};
use crate::api::routes::transactions::{Transaction, replacement, submit_transfer};
use crate::api::routes::transfer::{self, TransferRequest};
use crate::events::{Feed, Filter};
use crate::shutdown::shutdown_requested;
use crate::state::NodeState;
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::HeaderMap;
use axum::response::Response;
use chain::Transfer;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior};

pub fn routes() -> Routes {
    Routes::new([get("/v1/ws", "Stream events over a WebSocket", open)
        .description(
            "Accepts `subscribe` and `submit_transaction` messages, which count like requests for the \
             rate limit. A submitted transfer survives as after `POST /v1/transactions`. Pages of other \
             hosts are rejected.",
        )
        .upgrades("The WebSocket is open. `x-websocket-messages` describes its messages.")
        .messages::<ServerMessage, Request>()
        .same_origin()
        .errors(&[Kind::TOO_MANY_READERS])])
}

/// Largest message of a client in bytes: a transfer with the longest memo has about 1,500.
const MAX_MESSAGE: usize = 16 << 10;
/// Largest number of unsent bytes: a page of events, whose last one may be large.
const MAX_WRITE_BUFFER: usize = 2 << 20;
/// A client that sends nothing for this long, pongs included, is disconnected.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);
/// The time for which nothing is read from a client that has exceeded its rate limit.
const LIMITED_PAUSE: Duration = Duration::from_secs(1);

/// Upgrades to a WebSocket; the query is that of `/v1/events`.
pub async fn open(
    State(node): State<Arc<NodeState>>,
    client: Client,
    Query(query): Query<EventsQuery>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let upgrade = upgrade.map_err(|rejection| {
        let detail = format!("expected a WebSocket upgrade: {rejection}");
        Problem::new(Kind::BAD_REQUEST, detail)
    })?;
    let (since, filter) = query.check(&headers, node.reader.params().hrp())?;
    let subscription = client.subscribe()?;
    let feed = node.events.feed(since, filter);
    let upgrade = upgrade
        .max_message_size(MAX_MESSAGE)
        .max_frame_size(MAX_MESSAGE)
        .write_buffer_size(0)
        .max_write_buffer_size(MAX_WRITE_BUFFER);
    Ok(upgrade.on_upgrade(|socket| WsSession { node, client, feed, socket, subscription }.run()))
}

struct WsSession {
    node: Arc<NodeState>,
    client: Client,
    feed: Feed,
    socket: WebSocket,
    subscription: Subscription,
}

/// A message of a client: `subscribe`, with optional `address` and `since`, or `submit_transaction`,
/// with optional `replace`.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "WebSocketRequest")]
#[serde(deny_unknown_fields)]
struct Request {
    /// The topics to receive from now on.
    subscribe: Option<Vec<String>>,
    /// Restricts the events to those of an address.
    #[schemars(with = "Option<AddressText>")]
    address: Option<String>,
    /// The number after which events are sent.
    since: Option<Integer>,
    /// The transfer, in hexadecimal or as JSON.
    #[schemars(with = "Option<SubmittedTransfer>")]
    submit_transaction: Option<Value>,
    /// Whether the transfer may replace another one.
    replace: Option<bool>,
}

/// The forms of a submitted transfer.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "describes a field")]
enum SubmittedTransfer {
    Encoded(Hex),
    Fields(TransferRequest),
}

/// The response to a message of a client.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "WebSocketResponse")]
#[serde(untagged)]
enum Reply {
    /// The subscription has changed.
    Subscribed {
        /// The topics.
        subscribed: Vec<String>,
        /// The number after which events are sent.
        since: u64,
    },
    /// The transfer is in the mempool or the best chain.
    Submitted {
        /// The transfer.
        submitted: Box<Transaction>,
    },
    /// The message was rejected.
    Rejected {
        /// The reason.
        error: Problem,
    },
}

/// A message of the node: an event, or the response to a message of the client.
#[derive(JsonSchema)]
#[schemars(rename = "WebSocketMessage", untagged)]
#[expect(dead_code, reason = "describes messages")]
enum ServerMessage {
    Event(AnyEvent),
    Reply(Reply),
}

impl WsSession {
    /// Serves the client until either side closes.
    async fn run(mut self) {
        let mut stopping = self.node.stopping.clone();
        let mut ping = tokio::time::interval(KEEP_ALIVE_INTERVAL);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last_received = Instant::now();
        let mut read_at = last_received;
        // The request has ended, but not what its connection is used for.
        let _active = self.client.begin();
        loop {
            let sent = tokio::select! {
                () = shutdown_requested(&mut stopping) => {
                    return self.close(close_code::AWAY, "the node is stopping").await;
                }
                () = self.subscription.ended() => {
                    return self.close(close_code::AGAIN, "too many subscribers").await;
                }
                received = receive(&mut self.socket, read_at) => {
                    last_received = Instant::now();
                    match received {
                        Some(Ok(Message::Text(text))) => {
                            let response = self.handle(text.as_str()).await;
                            let response = response.unwrap_or_else(|problem| {
                                if problem.kind() == Kind::RATE_LIMITED {
                                    read_at = Instant::now() + LIMITED_PAUSE;
                                }
                                Reply::Rejected { error: problem }
                            });
                            let text = serde_json::to_string(&response);
                            let text = text.expect("keys of JSON types are strings");
                            self.socket.send(Message::text(text)).await
                        }
                        Some(Ok(Message::Ping(_) | Message::Pong(_))) => {
                            if self.client.charge(READ).is_err() {
                                read_at = Instant::now() + LIMITED_PAUSE;
                            }
                            Ok(())
                        }
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
                    if last_received.elapsed() > IDLE_TIMEOUT {
                        return self.close(close_code::POLICY, "no response to pings").await;
                    }
                    self.socket.send(Message::Ping(Default::default())).await
                }
            };
            if sent.is_err() {
                // The client does not read, or has disconnected.
                return;
            }
        }
    }

    async fn close(mut self, code: u16, reason: &'static str) {
        let frame = CloseFrame { code, reason: reason.into() };
        let _ = self.socket.send(Message::Close(Some(frame))).await;
    }

    async fn handle(&mut self, text: &str) -> Result<Reply, Problem> {
        self.client.charge(READ)?;
        let bad = |detail: String| Problem::new(Kind::BAD_REQUEST, detail);
        let request: Request =
            serde_json::from_str(text).map_err(|error| bad(format!("message: {error}")))?;
        if request.submit_transaction.is_some() {
            self.client.charge(SUBMISSION - READ)?;
        }
        match request {
            Request {
                subscribe: Some(names),
                address,
                since,
                submit_transaction: None,
                replace: None,
            } => {
                let hrp = self.node.reader.params().hrp();
                let topics = topics(names.iter().map(String::as_str))?;
                let wanted = address.as_deref();
                let wanted = wanted.map(|text| transfer::address(text, hrp, "address"));
                let address = wanted.transpose()?;
                self.feed.resubscribe(
                    since.map(|since| since.0),
                    Filter { topics: Some(topics), address },
                );
                Ok(Reply::Subscribed { subscribed: names, since: self.feed.position() })
            }
            Request {
                subscribe: None,
                address: None,
                since: None,
                submit_transaction: Some(transfer),
                replace,
            } => submit(&self.node, transfer, replace).await,
            _ => {
                let detail = "a message has either `subscribe`, with optional `address` and `since`, \
                                              or `submit_transaction`, with optional `replace`";
                Err(bad(detail.to_owned()))
            }
        }
    }
}

/// Receives the next message, but not before a time. Cancel-safe.
async fn receive(
    socket: &mut WebSocket,
    not_before: Instant,
) -> Option<Result<Message, axum::Error>> {
    tokio::time::sleep_until(not_before).await;
    socket.recv().await
}

async fn submit(
    node: &NodeState,
    transfer: Value,
    replace: Option<bool>,
) -> Result<Reply, Problem> {
    let transfer = match transfer {
        Value::String(hex) => Transfer::decode(&unhex(&hex, "`submit_transaction`")?)?,
        other => {
            let submitted = serde_json::from_value::<TransferRequest>(other).map_err(|error| {
                let detail = format!("submit_transaction: {error}");
                Problem::new(Kind::BAD_REQUEST, detail)
            })?;
            submitted.read(node.reader.params().hrp())?
        }
    };
    let (_, transaction) = submit_transfer(node, transfer, replacement(replace)).await?;
    Ok(Reply::Submitted { submitted: Box::new(transaction) })
}
